//! From settings to the parts that they describe: what a run is put together from.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use memoir_connect::delta::{DeltaOptions, DeltaSource};
use memoir_connect::files::FileOptions;
use memoir_core::profile::{self, ProfileConfig};
use memoir_core::source::{ReadUntil, Source, StartAt};
use memoir_core::{Clock, ConversationEvent, SystemClock};
use memoir_engine::{Answerer, BadRecords, ClockMode, EngineOptions};
use memoir_extract::Extractor;
use memoir_lake::Warehouse;
use memoir_state::{Manifest, Resources};

use crate::config::{AuditRows, OnBadRecord, Settings, SourceKind, Start, Trigger};
use crate::exit::usage;

/// How the profile processor is told to work.
pub fn profile_config(settings: &Settings) -> anyhow::Result<ProfileConfig> {
    let processor = &settings.processor;
    Ok(ProfileConfig {
        query_name: settings.query.name.clone(),
        message_buffer_size: within("processor.message_buffer_size", processor.message_buffer_size, 1, 1000)?,
        max_content_chars: processor.max_content_chars,
        emission_threshold: within("processor.emission_threshold", processor.emission_threshold, 1, 1_000_000)?,
        dedup_window: within("processor.dedup_window", processor.dedup_window, 0, 60_000)?,
        timer_ttl: processor.timer_ttl,
        emit_on_conversation_end: processor.emit_on_conversation_end,
        emit_before_overflow: processor.emit_before_overflow,
        max_facts_per_emission: processor.max_facts_per_emission,
        confidence_threshold: processor.confidence_threshold,
        require_evidence: processor.require_evidence,
        audit_rows: match settings.sink.audit_rows {
            AuditRows::Snapshot => profile::AuditRows::Snapshot,
            AuditRows::Changes => profile::AuditRows::Changes,
        },
        buffer_ttl: processor.ttl.buffer,
        facts_ttl: processor.ttl.facts,
        dedup_ttl: processor.ttl.dedup,
    })
}

/// A number that must lie within bounds.
fn within<T: TryFrom<usize>>(key: &str, value: usize, least: usize, most: usize) -> anyhow::Result<T> {
    let refused = || usage(format!("{key} = {value}: it must be from {least} to {most}"));
    if !(least..=most).contains(&value) {
        return Err(refused());
    }
    T::try_from(value).map_err(|_| refused())
}

/// How the engine is told to work.
pub fn engine_options(settings: &Settings) -> anyhow::Result<EngineOptions> {
    let (engine, extractor) = (&settings.engine, &settings.extractor);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if settings.state.checkpoint_uri.is_some() {
        return Err(usage(
            "state.checkpoint_uri is not in this version: a state belongs to one process. Leave it unset",
        ));
    }
    let defaults = EngineOptions::default();
    Ok(EngineOptions {
        query: settings.query.name.clone(),
        threads: if engine.threads == 0 { cores } else { engine.threads },
        until: match engine.trigger {
            Trigger::AvailableNow => ReadUntil::WhatIsThere,
            Trigger::ProcessingTime => ReadUntil::Stopped,
        },
        start: match settings.source.start {
            Start::Earliest => StartAt::Earliest,
            Start::Latest => StartAt::Latest,
            Start::Time(time) => StartAt::Time(time),
            Start::Version(version) => StartAt::Version(version),
        },
        clock: if settings.runs_in_event_time() { ClockMode::EventTime } else { ClockMode::ProcessingTime },
        drain: settings.processor.drain,
        archive: settings.source.archive && settings.source.kind != SourceKind::Delta,
        bad_records: match settings.source.on_bad_record {
            OnBadRecord::DeadLetter => BadRecords::DeadLetter,
            OnBadRecord::Fail => BadRecords::Fail,
        },
        poll_interval: at_least(engine.interval, Duration::from_millis(1)),
        epoch_interval: engine.epoch_interval,
        epoch_events: within("engine.epoch_events", engine.epoch_events, 1, 10_000_000)?,
        commit_interval: at_least(settings.sink.commit_interval, Duration::from_millis(1)),
        cache_bytes: engine.cache_mb.saturating_mul(1 << 20),
        max_pending: within("extractor.max_pending", extractor.max_pending, 1, 1_000_000)?,
        max_in_flight: within("extractor.max_in_flight", extractor.max_in_flight, 1, 10_000)?,
        grace: engine.grace,
        ..defaults
    })
}

fn at_least(duration: Duration, least: Duration) -> Duration {
    duration.max(least)
}

/// Memory that the databases of all shards share: blocks that were read, and writes that were not flushed.
pub fn state_resources() -> Resources {
    Resources::new(32 << 20, 64 << 20)
}

/// What a new state is to be. Of one that exists its own manifest counts.
pub fn new_manifest(settings: &Settings) -> anyhow::Result<Manifest> {
    let shards: u32 = within("state.shards", settings.state.shards as usize, 1, 1024)?;
    // 62 random bits: version 4 UUIDs fix six of 128.
    let id = i64::try_from(uuid::Uuid::new_v4().as_u128() >> 66).context("a shifted random number")?;
    Ok(Manifest::new(&settings.query.name, shards, id.max(1)))
}

/// The source of the settings.
pub fn source(settings: &Settings, warehouse: &Warehouse) -> anyhow::Result<Box<dyn Source<ConversationEvent>>> {
    let source = &settings.source;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    match source.kind {
        SourceKind::Files => {
            let path = source.path.as_deref();
            let path =
                path.ok_or_else(|| usage("source.kind = files needs source.path: a file, folder, glob or `-`"))?;
            check_there(path)?;
            let options = FileOptions {
                max_line_bytes: source.max_line_bytes,
                max_ahead: settings.processor.max_ahead,
                ..FileOptions::default()
            };
            Ok(memoir_connect::files::open(path, options, clock)?)
        }
        SourceKind::Delta => {
            let options = DeltaOptions {
                skip_change_commits: source.skip_change_commits,
                max_ahead: settings.processor.max_ahead,
                ..DeltaOptions::default()
            };
            Ok(Box::new(DeltaSource::new(warehouse.clone(), options, clock)))
        }
        SourceKind::Kafka => Err(usage(
            "source.kind = kafka is not in this version: it will be read from source.brokers, source.topic and \
             source.group. Until then read files, or a Delta table that Kafka is written to",
        )),
    }
}

/// A path that is mistyped is found here, before there is a state for it. Where it can't be told, the source says why.
fn check_there(path: &str) -> anyhow::Result<()> {
    let is_glob = path.contains(['*', '?', '[', '{']);
    if path != "-" && !is_glob && matches!(Path::new(path).try_exists(), Ok(false)) {
        return Err(usage(format!(
            "{path}: no such file or folder; check source.path (a file, a folder, a glob, or `-` for standard input)"
        )));
    }
    Ok(())
}

/// Who answers extractions.
pub fn answerer(extractor: Extractor) -> Answerer<profile::ProfileProcessor> {
    match extractor.at_once() {
        Some(rules) => Answerer::Now(Arc::new(move |call| rules.answer(call, &SystemClock))),
        None => Answerer::Later(Arc::new(Asking(extractor))),
    }
}

/// An extractor as the engine asks it.
struct Asking(Extractor);

impl memoir_engine::RemoteAnswerer<profile::ProfileProcessor> for Asking {
    fn answer(
        &self,
        call: profile::ExtractionCall,
    ) -> futures::future::BoxFuture<'static, (profile::ExtractionCall, profile::ExtractionAnswer)> {
        let extractor = self.0.clone();
        Box::pin(async move {
            let answer = extractor.answer(&call, &SystemClock).await;
            (call, answer)
        })
    }
}
