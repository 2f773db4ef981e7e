//! `memoir config`: what is in force and where each value came from; or the reference of all keys.

use std::io::Write;

use crate::cli::ConfigArguments;
use crate::config::{self, Configuration};
use crate::exit::Exit;
use crate::output::{self, Rows};

pub fn run(arguments: &ConfigArguments, configuration: &Configuration) -> anyhow::Result<Exit> {
    if arguments.docs {
        let mut out = output::stdout();
        out.write_all(config::markdown().as_bytes())?;
        out.flush()?;
    } else {
        output::print(&rows(configuration), arguments.format.format)?;
    }
    Ok(Exit::DONE)
}

fn rows(configuration: &Configuration) -> Rows {
    let mut rows = Rows::new(["key", "value", "origin"]);
    for entry in &configuration.entries {
        rows.push([entry.key.as_str().into(), entry.value.clone().into(), entry.origin.to_string().into()]);
    }
    rows
}
