//! What a run counts, for progress, logs and its summary.

use std::sync::atomic::{AtomicU64, Ordering};

/// A running number that any thread may change.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn subtract(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of a run.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Events taken.
    pub events: Counter,
    /// Events dropped because they had been seen.
    pub duplicates: Counter,
    /// Records that were no events.
    pub rejected: Counter,
    /// Records passed over because their shard had them already.
    pub skipped: Counter,
    /// Requests answered.
    pub answers: Counter,
    /// Requests whose outcome a table held already: nobody was asked.
    pub held: Counter,
    /// Requests without an answer, now.
    pub pending: Counter,
    /// Epochs committed.
    pub epochs: Counter,
    /// Rows appended to tables.
    pub rows: Counter,
    /// Appends.
    pub appends: Counter,
    /// Bytes in the outboxes, now.
    pub outbox_bytes: Counter,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub events: u64,
    pub duplicates: u64,
    pub rejected: u64,
    pub skipped: u64,
    pub answers: u64,
    pub held: u64,
    pub pending: u64,
    pub epochs: u64,
    pub rows: u64,
    pub appends: u64,
    pub outbox_bytes: u64,
}

impl Metrics {
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            events: self.events.get(),
            duplicates: self.duplicates.get(),
            rejected: self.rejected.get(),
            skipped: self.skipped.get(),
            answers: self.answers.get(),
            held: self.held.get(),
            pending: self.pending.get(),
            epochs: self.epochs.get(),
            rows: self.rows.get(),
            appends: self.appends.get(),
            outbox_bytes: self.outbox_bytes.get(),
        }
    }
}
