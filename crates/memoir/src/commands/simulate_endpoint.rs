//! `memoir simulate-endpoint`: a test tool in place of a model endpoint.

use std::io::Write;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::cli::SimulateEndpointArguments;
use crate::exit::{Exit, usage};
use crate::output;
use crate::simulator::{Script, Simulator};

/// Serves until a signal comes.
pub async fn run(arguments: &SimulateEndpointArguments) -> anyhow::Result<Exit> {
    let path = arguments.script.display();
    let text = std::fs::read_to_string(&arguments.script)
        .map_err(|error| usage(format!("cannot read the script {path}: {error}")))?;
    let script = Script::parse(&text).map_err(|error| usage(format!("{path} is not a script: {error}")))?;
    let simulator = Simulator::new(&script).map_err(|error| usage(format!("{path} is not a script: {error}")))?;
    let listener = TcpListener::bind(("127.0.0.1", arguments.port))
        .await
        .map_err(|error| usage(format!("port {} cannot be used: {error} (see --port)", arguments.port)))?;
    let address = listener.local_addr()?;
    warn!("this is a test tool, never a model: its answers are made by rules");
    let mut out = output::stdout();
    writeln!(out, "http://{address}")?;
    out.flush()?;
    drop(out);

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stats = simulator.stats();
    tokio::select! {
        served = axum::serve(listener, simulator.router()) => served?,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    info!(stats = serde_json::to_string(&stats.snapshot())?, "stopped");
    Ok(Exit::DONE)
}
