//! The commands, a file each.

mod bundle;
mod completions;
mod config;
mod doctor;
mod eval;
mod explain;
mod explore;
mod generate;
mod history;
mod ingest;
mod man;
mod profile;
mod query;
mod run;
mod setup;
mod simulate_endpoint;
mod state;

use memoir_lake::{LakeError, Warehouse};
use tokio::runtime::Handle;

use crate::cli::{Cli, Command};
use crate::config::{Configuration, Environment, Settings};
use crate::exit::Exit;
use crate::logging;

/// Does what needs no configuration, and is to work where it is broken. None where a command is none of these.
pub fn run_unconfigured(command: &Command) -> Option<anyhow::Result<Exit>> {
    match command {
        Command::Completions(arguments) => Some(completions::run(arguments)),
        Command::Man(arguments) => Some(man::run(arguments)),
        _ => None,
    }
}

/// Reads the configuration and does what the command line says.
pub async fn run(cli: &Cli, environment: &Environment) -> anyhow::Result<Exit> {
    let configuration = Configuration::load(&cli.flags()?, environment, cli.config_file())?;
    let settings = &configuration.settings;
    logging::start(&settings.log);
    match &cli.command {
        Command::Setup(arguments) => setup::run(arguments, settings).await,
        Command::Generate(arguments) => generate::run(arguments, settings).await,
        Command::Ingest(arguments) => ingest::run(arguments, settings).await,
        Command::Run(_) => run::run(&configuration).await,
        Command::Query(arguments) => query::run(arguments, settings).await,
        Command::Profile(arguments) => profile::run(arguments, settings).await,
        Command::History(arguments) => history::run(arguments, settings).await,
        Command::Explain(arguments) => explain::run(arguments, settings).await,
        Command::State(arguments) => state::run(arguments, &configuration).await,
        Command::Doctor(arguments) => doctor::run(arguments, settings).await,
        Command::Explore(_) => explore::run(settings).await,
        Command::Eval(arguments) => eval::run(arguments, settings).await,
        Command::SimulateEndpoint(arguments) => simulate_endpoint::run(arguments).await,
        Command::Completions(arguments) => completions::run(arguments),
        Command::Man(arguments) => man::run(arguments),
        Command::Config(arguments) => config::run(arguments, &configuration),
        Command::Bundle(arguments) => bundle::run(&arguments.command, cli).await,
    }
}

/// The warehouse that the settings name. Nothing is created.
fn open_warehouse(settings: &Settings) -> Result<Warehouse, LakeError> {
    let place = &settings.warehouse;
    Warehouse::new(&place.uri, &place.catalog, &place.schema, Handle::current())
}

/// Does work that waits, away from the runtime's own threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> anyhow::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // The runtime cancels nothing while the command runs, so the work has panicked.
        Err(error) => Err(anyhow::Error::new(error)),
    }
}
