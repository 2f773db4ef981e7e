//! What the engine can be told.

use std::time::Duration;

use memoir_core::source::{ReadUntil, StartAt};

/// Which clock tells timers and emissions the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockMode {
    /// The events' own: each key's clock moves with its events only.
    EventTime,
    /// The wall clock.
    ProcessingTime,
}

impl ClockMode {
    /// The name that the state keeps.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EventTime => "event_time",
            Self::ProcessingTime => "processing_time",
        }
    }
}

/// What becomes of records that are no events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRecords {
    DeadLetter,
    /// The run stops before the first; all that was read before it is taken and committed.
    Fail,
}

/// The settings of a run.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The query's name: what the marks in the tables begin with.
    pub query: String,
    /// Threads that process shards, at least 1.
    pub threads: usize,
    pub until: ReadUntil,
    pub start: StartAt,
    pub clock: ClockMode,
    /// Whether an available-now run ends with an emission of everything pending.
    pub drain: bool,
    /// Whether events are also appended to their own table.
    pub archive: bool,
    pub bad_records: BadRecords,
    /// How often a daemon looks at a source that had nothing new.
    pub poll_interval: Duration,
    /// The longest that something processed waits for its commit.
    pub epoch_interval: Duration,
    /// Records of a shard after which an epoch is committed.
    pub epoch_events: usize,
    /// How long rows wait in the outbox for the next append.
    pub commit_interval: Duration,
    /// Memory for states in use, over all shards.
    pub cache_bytes: usize,
    /// Rows in the outboxes of all shards, in bytes, at which the source is paused.
    pub max_outbox_bytes: usize,
    /// Unanswered requests of a shard at which the source is paused.
    pub max_pending: usize,
    /// Calls under way at once, in the whole process.
    pub max_in_flight: usize,
    /// How long a run that is told to stop may still append rows.
    pub grace: Duration,
    /// How long an available-now run tries again when a table can't be reached.
    pub sink_patience: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            query: "profile_memory".to_owned(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            until: ReadUntil::WhatIsThere,
            start: StartAt::Earliest,
            clock: ClockMode::EventTime,
            drain: true,
            archive: false,
            bad_records: BadRecords::DeadLetter,
            poll_interval: Duration::from_secs(1),
            epoch_interval: Duration::from_millis(500),
            epoch_events: 8192,
            commit_interval: Duration::from_secs(1),
            cache_bytes: 96 << 20,
            max_outbox_bytes: 64 << 20,
            max_pending: 1000,
            max_in_flight: 16,
            grace: Duration::from_secs(10),
            sink_patience: Duration::from_secs(60),
        }
    }
}
