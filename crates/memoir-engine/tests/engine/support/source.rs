//! A log in memory with some partitions, and a source that reads it. The source remembers nothing from run to run;
//! the log may be fed more at any time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use memoir_core::ConversationEvent;
use memoir_core::source::{
    BadRecord, Offset, Polled, Position, ReadUntil, Source, SourceBatch, SourceError, SourceRecord, StartAt,
};
use memoir_engine::Halt;

#[derive(Clone)]
struct Entry {
    partition: usize,
    /// Counted from 1 in its partition.
    position: u64,
    event: Result<ConversationEvent, BadRecord>,
}

/// Records in the order of the source.
pub struct Log {
    name: String,
    partitions: usize,
    entries: Mutex<Vec<Entry>>,
    pokes: AtomicU64,
}

impl Log {
    pub fn new(name: &str, partitions: usize) -> Arc<Self> {
        Arc::new(Self { name: name.to_owned(), partitions, entries: Mutex::default(), pokes: AtomicU64::new(0) })
    }

    /// A log of events that are dealt to the partitions by their event ids.
    pub fn of(events: &[ConversationEvent], partitions: usize) -> Arc<Self> {
        let log = Self::new("memory:log", partitions);
        log.feed(events);
        log
    }

    pub fn feed(&self, events: &[ConversationEvent]) {
        for event in events {
            let partition = event.event_id.len() + usize::from(*event.event_id.as_bytes().last().unwrap_or(&0));
            self.push(partition % self.partitions, Ok(event.clone()));
        }
    }

    pub fn feed_bad(&self, reason: &str, key: Option<&str>) {
        let place = self.len() as i64;
        let bad = BadRecord {
            source: self.name.clone(),
            partition: "p0".to_owned(),
            place,
            reason: reason.to_owned(),
            record: format!("record {place}"),
            key: key.map(str::to_owned),
        };
        self.push(0, Err(bad));
    }

    fn push(&self, partition: usize, event: Result<ConversationEvent, BadRecord>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let position = entries.iter().filter(|entry| entry.partition == partition).count() as u64 + 1;
        entries.push(Entry { partition, position, event });
    }

    pub fn len(&self) -> usize {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Lets the next poll give a batch without records, which wakes everybody who waits for one.
    pub fn poke(&self) {
        self.pokes.fetch_add(1, Ordering::SeqCst);
    }
}

/// How a source misbehaves, or ends a run early.
#[derive(Clone, Default)]
pub enum Stop {
    #[default]
    Never,
    /// Everybody is told to halt when so many records were given.
    Halt(usize, Halt),
    /// The poll after so many records fails.
    Fail(usize),
    /// It can't be opened.
    Missing,
}

pub struct MemorySource {
    log: Arc<Log>,
    /// The sizes of batches, over and over.
    cuts: Vec<usize>,
    polls: usize,
    stop: Stop,
    given: usize,
    /// The place in the log.
    at: usize,
    /// How far each partition is read.
    read: Vec<u64>,
    end: Option<usize>,
    pokes: u64,
}

impl MemorySource {
    pub fn new(log: &Arc<Log>, cuts: &[usize], stop: Stop) -> Self {
        let cuts = if cuts.is_empty() { vec![1000] } else { cuts.to_vec() };
        let read = vec![0; log.partitions];
        let pokes = log.pokes.load(Ordering::SeqCst);
        Self { log: Arc::clone(log), cuts, polls: 0, stop, given: 0, at: 0, read, end: None, pokes }
    }

    fn offset(&self, partition: usize, position: u64) -> (String, Offset) {
        let name = format!("p{partition}");
        let notes = format!("notes of {name}").into_bytes();
        (name, Offset { position: Position::new(position, 0), notes })
    }

    fn offsets(&self) -> Vec<(String, Offset)> {
        (0..self.log.partitions).map(|partition| self.offset(partition, self.read[partition])).collect()
    }
}

impl Source<ConversationEvent> for MemorySource {
    /// Not the same in every run, as the path of files is not.
    fn describe(&self) -> String {
        format!("{} in batches of {:?}", self.log.name, self.cuts)
    }

    fn identity(&self) -> String {
        self.log.name.clone()
    }

    fn origin(&mut self, start: &StartAt) -> Result<Vec<(String, Offset)>, SourceError> {
        let entries = self.log.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let last = |partition| entries.iter().filter(|entry| entry.partition == partition).count() as u64;
        Ok(match start {
            StartAt::Latest => {
                (0..self.log.partitions).map(|partition| self.offset(partition, last(partition))).collect()
            }
            _ => Vec::new(),
        })
    }

    fn resume(&mut self, offsets: Vec<(String, Offset)>, until: ReadUntil) -> Result<(), SourceError> {
        if matches!(self.stop, Stop::Missing) {
            return Err(SourceError::new("no such log"));
        }
        for (name, offset) in offsets {
            let partition: usize =
                name.strip_prefix('p').and_then(|number| number.parse().ok()).expect("a partition of ours");
            assert_eq!(offset.notes, format!("notes of {name}").into_bytes(), "notes come back as they were given");
            self.read[partition] = offset.position.major;
        }
        self.end = (until == ReadUntil::WhatIsThere).then(|| self.log.len());
        Ok(())
    }

    fn poll(&mut self, batch: &mut SourceBatch<ConversationEvent>, max_records: usize) -> Result<Polled, SourceError> {
        assert!(batch.records.is_empty() && batch.partitions.is_empty(), "a poll gets an empty batch");
        let mut size = self.cuts[self.polls % self.cuts.len()].clamp(1, max_records);
        self.polls += 1;
        match &self.stop {
            Stop::Never | Stop::Missing => {}
            Stop::Halt(after, halt) => {
                if self.given >= *after {
                    halt.halt();
                } else {
                    size = size.min(after - self.given);
                }
            }
            Stop::Fail(after) if self.given >= *after => return Err(SourceError::new("the log is gone")),
            Stop::Fail(after) => size = size.min(after - self.given),
        }
        let entries = self.log.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let end = self.end.unwrap_or(entries.len());
        while batch.records.len() < size && self.at < end {
            let Entry { partition, position, event } = entries[self.at].clone();
            self.at += 1;
            if position > self.read[partition] {
                self.read[partition] = position;
                let position = Position::new(position, 0);
                batch.records.push(SourceRecord { partition, position, event });
            }
        }
        drop(entries);
        self.given += batch.records.len();
        let pokes = self.log.pokes.load(Ordering::SeqCst);
        if !batch.records.is_empty() || pokes != std::mem::replace(&mut self.pokes, pokes) {
            batch.partitions = self.offsets();
            return Ok(Polled::Some);
        }
        Ok(if self.end.is_some() { Polled::End } else { Polled::Idle })
    }

    fn leftovers(&self) -> Vec<String> {
        vec!["half a line".to_owned()]
    }
}
