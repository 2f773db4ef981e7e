//! `memoir ingest`: NDJSON files to `conversation_events`. What is no event becomes a dead letter.

use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use memoir_connect::files::{self, FileOptions};
use memoir_core::event::ConversationEvent;
use memoir_core::source::{Polled, ReadUntil, SourceBatch};
use memoir_core::{Clock, SystemClock};
use memoir_lake::Warehouse;

use super::{blocking, generate, open_warehouse};
use crate::append::{Appended, EventAppender};
use crate::cli::IngestArguments;
use crate::config::{OnBadRecord, Settings};
use crate::dead_letters::{DeadLetters, Refused};
use crate::exit::{Exit, usage};
use crate::progress::Progress;

/// Records of one poll.
const POLL_RECORDS: usize = 10_000;

pub async fn run(arguments: &IngestArguments, settings: &Settings) -> anyhow::Result<Exit> {
    for file in &arguments.files {
        let is_pattern = file == "-" || file.contains(['*', '?', '[', '{']);
        if !is_pattern && !Path::new(file).exists() {
            return Err(usage(format!("{file}: no such file or folder")));
        }
    }
    let warehouse = open_warehouse(settings)?;
    let (paths, settings) = (arguments.files.clone(), settings.clone());
    let (done, refused) = blocking(move || ingest(&warehouse, &paths, &settings)).await?;
    generate::report(done)?;
    let Refused { refused, written } = refused;
    if refused > 0 {
        tracing::warn!("{refused} records are no events; {written} of them are new in conversation_events_rejected");
    }
    Ok(Exit::DONE)
}

fn ingest(warehouse: &Warehouse, paths: &[String], settings: &Settings) -> anyhow::Result<(Appended, Refused)> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let options = FileOptions {
        max_line_bytes: settings.source.max_line_bytes,
        max_ahead: settings.processor.max_ahead,
        ..FileOptions::default()
    };
    let progress = Progress::start("events", None);
    let mut appender = EventAppender::open(warehouse, &progress)?;
    let mut dead_letters = DeadLetters::new(warehouse);
    for path in paths {
        let is_stream = files::is_stream(path);
        let mut source = files::open::<ConversationEvent>(path, options.clone(), Arc::clone(&clock))
            .map_err(|error| usage(error.to_string()))?;
        source.resume(Vec::new(), ReadUntil::WhatIsThere)?;
        loop {
            let mut batch = SourceBatch::default();
            let polled = source.poll(&mut batch, POLL_RECORDS)?;
            for record in batch.records {
                match record.event {
                    Ok(event) => appender.push(event)?,
                    Err(bad) if settings.source.on_bad_record == OnBadRecord::Fail => {
                        bail!("{}, record {}: {}", bad.source, bad.place, bad.reason)
                    }
                    Err(bad) => dead_letters.push(&bad, is_stream, clock.now())?,
                }
            }
            // Idle is no end: standard input may be silent for a while.
            if polled == Polled::End {
                break;
            }
        }
        for leftover in source.leftovers() {
            tracing::warn!("{leftover}");
        }
    }
    let done = appender.finish()?;
    Ok((done, dead_letters.finish()?))
}
