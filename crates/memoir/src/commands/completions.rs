//! `memoir completions`: a completion script, made from the command line's definitions.

use std::io::Write;

use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArguments};
use crate::exit::Exit;
use crate::output;

pub fn run(arguments: &CompletionsArguments) -> anyhow::Result<Exit> {
    // clap_complete panics when its writer fails: a buffer cannot.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "memoir", &mut script);
    let mut out = output::stdout();
    out.write_all(&script)?;
    out.flush()?;
    Ok(Exit::DONE)
}
