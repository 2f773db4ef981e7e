//! `memoir man`: manual pages, made from the command line's definitions.

use std::io::Write;

use anyhow::Context;
use clap::CommandFactory;

use crate::cli::{Cli, ManArguments};
use crate::exit::Exit;
use crate::output;

pub fn run(arguments: &ManArguments) -> anyhow::Result<Exit> {
    match &arguments.out {
        Some(folder) => {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
            clap_mangen::generate_to(Cli::command(), folder)
                .with_context(|| format!("cannot write manual pages to {}", folder.display()))?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            let mut out = output::stdout();
            out.write_all(&page)?;
            out.flush()?;
        }
    }
    Ok(Exit::DONE)
}
