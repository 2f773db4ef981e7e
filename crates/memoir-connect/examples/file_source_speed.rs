//! Measures the file source alone: `cargo run --release --example file_source_speed [EVENTS [BLOCK_BYTES]]`.
//!
//! Writes lines of about 250 bytes into a temporary folder, plain, as gzip and as zstd, and prints how many events are
//! decoded a second on one core.

use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use memoir_connect::files::{FileOptions, FileSource};
use memoir_core::source::{Polled, ReadUntil, Source, SourceBatch};
use memoir_core::{ConversationEvent, SystemClock};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let events: usize = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let mut options = FileOptions::default();
    if let Some(block_bytes) = arguments.next() {
        options.block_bytes = block_bytes.parse()?;
    }
    let mut plain = Vec::new();
    for number in 0..events {
        writeln!(
            plain,
            r#"{{"event_id":"evt-{number:010}","ts":"2026-01-{:02}T09:{:02}:00Z","conversation_id":"conv-{:08}","user_id":"user-{:06}","role":"user","content":"We moved the migration to \"next\" week, and I am still working on the Rust part of it. {}"}}"#,
            number % 28 + 1,
            number % 60,
            number / 20,
            number % 50_000,
            number * 7919
        )?;
    }
    let folder = std::env::temp_dir().join(format!("file_source_speed.{}", std::process::id()));
    fs::create_dir(&folder)?;
    println!("{events} events, {} bytes each, blocks of {}", plain.len() / events.max(1), options.block_bytes);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&plain)?;
    for (name, bytes) in [("gzip", gzip.finish()?), ("zstd", zstd::encode_all(plain.as_slice(), 3)?), ("plain", plain)]
    {
        let path = folder.join(name);
        fs::write(&path, bytes)?;
        let begun = Instant::now();
        let mut source = FileSource::new(&path.to_string_lossy(), options.clone(), Arc::new(SystemClock))?;
        Source::<ConversationEvent>::resume(&mut source, Vec::new(), ReadUntil::WhatIsThere)?;
        let mut batch: SourceBatch<ConversationEvent> = SourceBatch::default();
        let mut read = 0;
        while source.poll(&mut batch, 8192)? != Polled::End {
            read += batch.records.iter().filter(|record| record.event.is_ok()).count();
            batch.partitions.clear();
            batch.records.clear();
        }
        let seconds = begun.elapsed().as_secs_f64();
        println!("{name:>6}: {read} events in {seconds:.3} s, {:.0} a second", read as f64 / seconds);
    }
    fs::remove_dir_all(&folder)?;
    Ok(())
}
