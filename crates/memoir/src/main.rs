//! The `memoir` binary: reads the command line and the configuration, and wires the libraries together. It decides
//! nothing itself.

mod append;
mod bundle;
mod cli;
mod commands;
mod config;
mod dead_letters;
mod eval;
mod exit;
mod extractor;
mod generate;
mod logging;
mod messages;
mod output;
mod progress;
mod simulator;
mod text;
mod wiring;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use cli::Cli;
use exit::Exit;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Two providers are linked in; without a choice the first TLS connection would panic. It can only fail when one
    // is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = Cli::parse();
    match run(&cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            if !exit::is_quiet(&error) {
                // With standard error closed there is nobody to tell.
                let _ = writeln!(std::io::stderr(), "error: {error:#}");
            }
            exit::exit_of(&error).into()
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<Exit> {
    if let Some(done) = commands::run_unconfigured(&cli.command) {
        return done;
    }
    // Before the runtime's threads start, as variables of `.env` become variables of this process.
    let environment = config::Environment::load()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let exit = runtime.block_on(commands::run(cli, &environment))?;
    // A blocking read that nobody waits for any more must not keep the process.
    runtime.shutdown_background();
    Ok(exit)
}
