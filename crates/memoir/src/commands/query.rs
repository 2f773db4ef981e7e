//! `memoir query`: SQL over the tables and the view of current facts.

use super::open_warehouse;
use crate::cli::QueryArguments;
use crate::config::Settings;
use crate::exit::Exit;
use crate::output::{self, Rows};

pub async fn run(arguments: &QueryArguments, settings: &Settings) -> anyhow::Result<Exit> {
    let result = open_warehouse(settings)?.query(&arguments.sql).await?;
    output::print(&Rows::from_batches(&result.schema, &result.batches)?, arguments.format.format)?;
    Ok(Exit::DONE)
}
