//! `memoir setup`: creates the tables.

use std::io::Write;

use memoir_core::event::CONVERSATION_EVENTS;
use memoir_core::profile::{EXTRACTIONS, PROFILE_AUDIT};
use memoir_core::rejected::REJECTED;
use memoir_core::table::TableSchema;
use memoir_lake::view::view_sql_spark;

use super::open_warehouse;
use crate::cli::SetupArguments;
use crate::config::Settings;
use crate::exit::Exit;
use crate::output::{self, Rows};

/// Every table, in the order of a message's way.
pub static TABLES: [&TableSchema; 4] = [&CONVERSATION_EVENTS, &PROFILE_AUDIT, &EXTRACTIONS, &REJECTED];

pub async fn run(arguments: &SetupArguments, settings: &Settings) -> anyhow::Result<Exit> {
    if arguments.print_sql {
        let mut out = output::stdout();
        out.write_all(view_sql_spark(&settings.warehouse.catalog, &settings.warehouse.schema).as_bytes())?;
        out.flush()?;
        return Ok(Exit::DONE);
    }
    let warehouse = open_warehouse(settings)?;
    let mut rows = Rows::new(["table", "status", "location"]);
    for schema in TABLES {
        let status = if warehouse.ensure_table(schema).await? { "created" } else { "exists" };
        rows.push([schema.name.into(), status.into(), warehouse.table_path(schema.name).into()]);
    }
    output::print(&rows, arguments.format.format)?;
    Ok(Exit::DONE)
}
