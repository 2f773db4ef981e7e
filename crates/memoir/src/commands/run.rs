//! `memoir run`: the stream processor.
//!
//! Opens the state, creates what is missing of the tables, runs the engine until the source ends or a signal comes,
//! and says what it did.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use memoir_core::processor::Processor;
use memoir_core::profile::ProfileProcessor;
use memoir_core::rejected::REJECTED;
use memoir_core::source::ReadUntil;
use memoir_core::{Clock, ConversationEvent, SystemClock};
use memoir_engine::{Counts, Ending, EngineError, Halt, Job, Metrics, Summary};
use memoir_extract::{Extractor, ModelCounts};
use memoir_lake::{DeltaSink, Warehouse};
use memoir_state::StateHome;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::config::{Configuration, Settings};
use crate::exit::Exit;
use crate::{extractor, progress, wiring};

use super::open_warehouse;

/// Runs until the source ends or a signal comes.
pub async fn run(configuration: &Configuration) -> anyhow::Result<Exit> {
    let settings = &configuration.settings;
    // A state has the shards that it was created with; asking for another number is a mistake, leaving it open is not.
    let asked = configuration.is_set("state.shards").then_some(settings.state.shards);
    execute(settings, asked).await
}

/// Runs the query of the settings. `shards` is the number of shards that the state must have, where that matters.
pub(super) async fn execute(settings: &Settings, shards: Option<u32>) -> anyhow::Result<Exit> {
    let options = wiring::engine_options(settings)?;
    let until = options.until;
    // From here on, so that a signal that comes while state and tables are opened is none that kills.
    let halt = Halt::default();
    let signalled = watch_signals(halt.clone(), until);
    let processor = ProfileProcessor::new(wiring::profile_config(settings)?);
    let extractor = extractor::open(settings)?;
    let warehouse = open_warehouse(settings)?;
    let source = wiring::source(settings, &warehouse)?;
    let home = StateHome::open_or_create(&settings.state.path, wiring::new_manifest(settings)?)?;
    check_shards(shards, home.manifest().shards)?;
    create_tables(&warehouse, &processor, options.archive).await?;
    extractor::recover_tokens(&extractor, settings, &warehouse, SystemClock.now()).await?;
    let asked = extractor.clone();

    let metrics = Arc::new(Metrics::default());
    let progress = tokio::spawn(progress::show(Arc::clone(&metrics), halt.clone()));
    let began = Instant::now();
    let engine_metrics = Arc::clone(&metrics);
    let runtime = tokio::runtime::Handle::current();
    let engine_halt = halt.clone();
    let done = tokio::task::spawn_blocking(move || {
        let stores = home.open_shards(&wiring::state_resources())?;
        let sink = DeltaSink::new(warehouse).with_maintenance_every(MAINTENANCE_COMMITS);
        let mut source = source;
        let summary = memoir_engine::run(Job {
            processor: &processor,
            source: source.as_mut(),
            sink: &sink,
            answerer: wiring::answerer(extractor),
            manifest: home.manifest(),
            stores: &stores,
            options: &options,
            clock: &SystemClock,
            runtime,
            metrics: &engine_metrics,
            halt: &engine_halt,
        });
        for (refusal, count) in processor.refusals().counts() {
            info!(reason = %refusal, count, "proposed facts refused");
        }
        summary
    });
    let done = done.await?;
    progress.abort();
    let _ = progress.await;
    let summary = done?;
    report(&summary, began.elapsed());
    if let Extractor::Model(model) = &asked {
        report_model(model.name(), model.prompt_version(), model.counts());
    }
    Ok(match (until, summary.ending, signalled.get()) {
        (ReadUntil::WhatIsThere, Ending::Halted, Some(code)) => Exit(*code),
        _ => Exit::DONE,
    })
}

pub(super) fn check_shards(asked: Option<u32>, state: u32) -> Result<(), EngineError> {
    match asked {
        Some(asked) if asked != state => Err(EngineError::OtherShardCount { state, asked }),
        _ => Ok(()),
    }
}

/// Creates what is missing of the tables that a run writes to.
pub(super) async fn create_tables(
    warehouse: &Warehouse,
    processor: &ProfileProcessor,
    archive: bool,
) -> anyhow::Result<()> {
    for table in processor.tables() {
        warehouse.ensure_table(table).await?;
    }
    warehouse.ensure_table(&REJECTED).await?;
    if archive {
        warehouse.ensure_table(<ConversationEvent as memoir_core::processor::StreamEvent>::SCHEMA).await?;
    }
    Ok(())
}

/// The first signal halts the run, a second one ends the process at once. What is returned holds the exit code of the
/// first before the run halts.
fn watch_signals(halt: Halt, until: ReadUntil) -> Arc<OnceLock<u8>> {
    let signalled = Arc::new(OnceLock::new());
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        warn!("signals can't be watched: the process ends at once when one comes, and goes on from its last commit");
        return signalled;
    };
    let first = Arc::clone(&signalled);
    tokio::spawn(async move {
        let code = next_signal(&mut interrupt, &mut terminate).await;
        first.get_or_init(|| code);
        info!("stopping: what was taken is committed; a second signal ends the process at once");
        halt.halt();
        let code = next_signal(&mut interrupt, &mut terminate).await;
        // Not `std::process::exit`: that takes down what RocksDB's threads still use, and they abort the process. What is
        // committed is synced, so nothing has to be tidied up.
        signal_hook::low_level::exit(match until {
            ReadUntil::WhatIsThere => i32::from(code),
            ReadUntil::Stopped => 1,
        });
    });
    signalled
}

/// The number that a shell gives to the signal that comes next.
async fn next_signal(interrupt: &mut Signal, terminate: &mut Signal) -> u8 {
    const INTERRUPTED: u8 = 130;
    const TERMINATED: u8 = 143;
    tokio::select! {
        _ = interrupt.recv() => INTERRUPTED,
        _ = terminate.recv() => TERMINATED,
    }
}

fn report(summary: &Summary, took: Duration) {
    let Summary { ending, counts, leftovers } = summary;
    for leftover in leftovers {
        warn!("{leftover}");
    }
    let Counts { events, duplicates, rejected, skipped, answers, held, pending, epochs, rows, appends, .. } = *counts;
    let seconds = took.as_secs_f64();
    // Far below 2^52.
    #[allow(clippy::cast_precision_loss)]
    let events_per_second = format!("{:.0}", events as f64 / seconds.max(1e-9));
    let ending = match ending {
        Ending::Complete => "complete",
        Ending::Halted => "stopped",
    };
    info!(
        events,
        duplicates,
        rejected,
        skipped,
        extractions = answers,
        held,
        pending,
        epochs,
        rows,
        appends,
        seconds = format!("{seconds:.2}"),
        events_per_second,
        "{ending}"
    );
}

fn report_model(endpoint: &str, prompt: &str, counts: ModelCounts) {
    let ModelCounts {
        requests,
        retries,
        throttled,
        breaker_openings,
        prompt_tokens,
        completion_tokens,
        repaired,
        failed,
        unavailable,
    } = counts;
    info!(
        endpoint,
        prompt,
        requests,
        retries,
        throttled,
        breaker_openings,
        prompt_tokens,
        completion_tokens,
        repaired,
        failed,
        unavailable,
        "model"
    );
}

/// Commits of a table after which its small files are compacted and its log is cleaned.
const MAINTENANCE_COMMITS: u64 = 100;
