//! `memoir profile`: the facts about a user, now or as they stood at a time.

use super::open_warehouse;
use crate::cli::ProfileArguments;
use crate::config::Settings;
use crate::exit::Exit;
use crate::output::{self, Format, Rows};

/// What a table shows; JSON and CSV have all columns of the view.
const SHOWN: &[&str] = &["key", "kind", "value", "confidence", "emission_ts", "reason"];

pub async fn run(arguments: &ProfileArguments, settings: &Settings) -> anyhow::Result<Exit> {
    let facts = open_warehouse(settings)?.current_facts(&arguments.user, arguments.as_of).await?;
    let facts = Rows::from_batches(&facts.schema, &facts.batches)?;
    if facts.is_empty() {
        let when = arguments.as_of.map(|time| format!(" at {time}")).unwrap_or_default();
        tracing::warn!("nothing is remembered about {}{when}", arguments.user);
    }
    let format = arguments.format.format;
    output::print(&if format == Format::Table { facts.select(SHOWN) } else { facts }, format)?;
    Ok(Exit::DONE)
}
