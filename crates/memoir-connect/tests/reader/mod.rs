//! What the tests of sources share: events by number, and a reader that keeps offsets as a state does.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use memoir_connect::files::{FileOptions, FileSource};
use memoir_core::source::{BadRecord, Offset, Polled, Position, ReadUntil, Source, SourceBatch, SourceError, StartAt};
use memoir_core::{ConversationEvent, ManualClock, Timestamp};

pub type Offsets = BTreeMap<String, Offset>;
pub type EventSource = Box<dyn Source<ConversationEvent>>;

pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::parse("2026-06-01T00:00:00Z").unwrap()))
}

/// The event of a number, a minute later than the one before.
pub fn line(number: usize) -> String {
    format!(
        r#"{{"event_id":"{number}","ts":"2026-01-01T{:02}:{:02}:00Z","conversation_id":"c","user_id":"u","role":"user","content":"nº {number}"}}"#,
        number / 60 % 24,
        number % 60
    )
}

pub fn lines(numbers: impl IntoIterator<Item = usize>) -> String {
    numbers.into_iter().map(|number| line(number) + "\n").collect()
}

pub fn append(path: &Path, text: &str) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

/// No events.
pub const NOTHING: [usize; 0] = [];

pub type Compress = fn(&[u8]) -> Vec<u8>;

/// A content as it may lie in a file.
pub const FORMATS: [Compress; 3] = [<[u8]>::to_vec, gzip, zstd];

/// Reads a source as an engine with one shard does.
#[derive(Default)]
pub struct Reader {
    pub offsets: Offsets,
    pub ids: Vec<usize>,
    pub bad: Vec<BadRecord>,
}

impl Reader {
    /// One poll. Checks what holds for each batch.
    pub fn poll(&mut self, source: &mut EventSource, max_records: usize) -> Polled {
        let mut batch = SourceBatch::default();
        let polled = source.poll(&mut batch, max_records).unwrap();
        assert!(batch.records.len() <= max_records);
        assert_eq!(polled == Polled::Some, !batch.partitions.is_empty());
        let mut behind: Vec<Position> = batch
            .partitions
            .iter()
            .map(|(partition, _)| self.offsets.get(partition).map(|offset| offset.position).unwrap_or_default())
            .collect();
        for record in batch.records {
            assert!(record.position > behind[record.partition], "positions rise");
            behind[record.partition] = record.position;
            match record.event {
                Ok(event) => self.ids.push(event.event_id.parse().unwrap()),
                Err(bad) => self.bad.push(bad),
            }
        }
        for ((partition, offset), behind) in batch.partitions.into_iter().zip(behind) {
            assert!(offset.position >= behind, "the offset is behind all records");
            self.offsets.insert(partition, offset);
        }
        polled
    }

    /// Polls until there is nothing more now.
    pub fn drain(&mut self, source: &mut EventSource) -> Vec<usize> {
        let before = self.ids.len();
        for _ in 0..10_000 {
            if self.poll(source, 100) != Polled::Some {
                return self.ids[before..].to_vec();
            }
        }
        panic!("the source does not come to its end");
    }

    pub fn resume(&self, mut source: EventSource, until: ReadUntil) -> Result<EventSource, SourceError> {
        source.resume(self.offsets.clone().into_iter().collect(), until)?;
        Ok(source)
    }

    /// Goes on with files where it stopped.
    pub fn open(&self, path: impl AsRef<Path>, until: ReadUntil) -> EventSource {
        self.resume(files(path), until).unwrap()
    }

    /// A whole available-now run.
    pub fn run(&mut self, path: impl AsRef<Path>) -> Vec<usize> {
        let mut source = self.open(path, ReadUntil::WhatIsThere);
        self.drain(&mut source)
    }

    /// Begins as a new state does.
    pub fn begin(&mut self, source: &mut EventSource, start: &StartAt) {
        self.offsets = source.origin(start).unwrap().into_iter().collect();
    }
}

pub fn files(path: impl AsRef<Path>) -> EventSource {
    files_with(path, FileOptions::default())
}

pub fn files_with(path: impl AsRef<Path>, options: FileOptions) -> EventSource {
    Box::new(FileSource::new(path.as_ref().to_str().unwrap(), options, clock()).unwrap())
}
