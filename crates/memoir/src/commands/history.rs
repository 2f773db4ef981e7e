//! `memoir history`: how a user's facts came to be.

use super::open_warehouse;
use crate::cli::HistoryArguments;
use crate::config::Settings;
use crate::exit::Exit;
use crate::output::{self, Format, Rows};

/// What a table shows; JSON and CSV have all columns of the audit.
const SHOWN: &[&str] = &["emission_ts", "key", "action", "value", "previous_value", "trigger", "reason"];

pub async fn run(arguments: &HistoryArguments, settings: &Settings) -> anyhow::Result<Exit> {
    let history = open_warehouse(settings)?.history(&arguments.user, arguments.key.as_deref()).await?;
    let history = Rows::from_batches(&history.schema, &history.batches)?;
    if history.is_empty() {
        let of_key = arguments.key.as_ref().map(|key| format!(" under `{key}`")).unwrap_or_default();
        tracing::warn!("nothing was ever remembered about {}{of_key}", arguments.user);
    }
    let history = if arguments.all { history } else { changes(history) };
    let format = arguments.format.format;
    output::print(&if format == Format::Table { history.select(SHOWN) } else { history }, format)?;
    Ok(Exit::DONE)
}

/// Rows that say how a fact changed, without those that say that it did not.
fn changes(history: Rows) -> Rows {
    history.filtered(|row| row.text("action") != "unchanged")
}
