//! `memoir ingest`: NDJSON files to `conversation_events`. What is no event becomes a dead letter.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use memoir_connect::files::{self, FileOptions};
use memoir_core::event::ConversationEvent;
use memoir_core::rejected::{REJECTED, write_rejected};
use memoir_core::source::{BadRecord, Polled, ReadUntil, SourceBatch};
use memoir_core::table::{RowBuffer, RowReader};
use memoir_core::{Clock, SystemClock};
use memoir_lake::{LakeError, TableWriter, Warehouse};

use super::{blocking, generate, open_warehouse};
use crate::append::{Appended, EventAppender};
use crate::cli::IngestArguments;
use crate::config::{OnBadRecord, Settings};
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
    if refused > 0 {
        tracing::warn!("{refused} records are no events: see conversation_events_rejected");
    }
    Ok(Exit::DONE)
}

fn ingest(warehouse: &Warehouse, paths: &[String], settings: &Settings) -> anyhow::Result<(Appended, u64)> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let options = FileOptions {
        max_line_bytes: settings.source.max_line_bytes,
        max_ahead: settings.processor.max_ahead,
        ..FileOptions::default()
    };
    let progress = Progress::start("events", None);
    let mut appender = EventAppender::open(warehouse, &progress)?;
    let mut bad_records = Vec::new();
    for path in paths {
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
                    Err(bad) => bad_records.push(bad),
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
    let refused = bad_records.len() as u64;
    reject(warehouse, bad_records, &SystemClock)?;
    Ok((done, refused))
}

/// Appends dead letters that the table does not have yet.
fn reject(warehouse: &Warehouse, bad_records: Vec<BadRecord>, clock: &dyn Clock) -> anyhow::Result<()> {
    if bad_records.is_empty() {
        return Ok(());
    }
    warehouse.block_on(async {
        warehouse.ensure_table(&REJECTED).await?;
        let sources: HashSet<&str> = bad_records.iter().map(|bad| bad.source.as_str()).collect();
        let mut known = HashSet::new();
        for source in sources {
            known.extend(known_places(warehouse, source).await?);
        }
        let mut rows = RowBuffer::default();
        let now = clock.now();
        for bad in &bad_records {
            if known.insert((bad.partition.clone(), bad.place)) {
                write_rejected(bad, now, &mut rows);
            }
        }
        if !rows.is_empty() {
            TableWriter::open(warehouse, &REJECTED).await?.append(&[rows], &[]).await?;
        }
        Ok(())
    })
}

/// The partition and place of each dead letter of a source.
async fn known_places(warehouse: &Warehouse, source: &str) -> anyhow::Result<HashSet<(String, i64)>> {
    let mut stream = warehouse.rows(&REJECTED, &["partition", "position"], "source", source).await?;
    let mut places = HashSet::new();
    while let Some(rows) = stream.next().await? {
        let mut row = RowReader::new(&rows.bytes);
        while !row.is_at_end() {
            let damaged = |source| LakeError::DamagedRow { table: REJECTED.name.to_owned(), source };
            row.timestamp().map_err(damaged)?;
            row.text().map_err(damaged)?;
            let partition = row.text().map_err(damaged)?.unwrap_or_default().to_owned();
            let place = row.long().map_err(damaged)?.unwrap_or_default();
            row.text().map_err(damaged)?;
            row.text().map_err(damaged)?;
            places.insert((partition, place));
        }
    }
    Ok(places)
}
