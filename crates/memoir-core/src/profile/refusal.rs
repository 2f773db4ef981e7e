//! Why a proposed fact does not count, and how often each reason came up.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a proposed fact was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Nothing is left of its key, or the key is reserved.
    Key,
    Kind,
    Action,
    /// An empty value.
    Value,
    /// Below the threshold.
    Confidence,
    /// No quote occurs in a message that this user wrote.
    NoEvidence,
    /// What it rests on is not newer than what last changed, confirmed or deleted the key.
    OldWords,
    /// It only repeats a remembered fact.
    Repeated,
    /// More facts than an emission may hold.
    TooMany,
}

impl Refusal {
    pub const ALL: [Self; 9] = [
        Self::Key,
        Self::Kind,
        Self::Action,
        Self::Value,
        Self::Confidence,
        Self::NoEvidence,
        Self::OldWords,
        Self::Repeated,
        Self::TooMany,
    ];

    /// The word that logs and metrics use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Kind => "kind",
            Self::Action => "action",
            Self::Value => "value",
            Self::Confidence => "confidence",
            Self::NoEvidence => "no_evidence",
            Self::OldWords => "old_words",
            Self::Repeated => "repeated",
            Self::TooMany => "too_many",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Counts by reason.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; Refusal::ALL.len()]);

impl Refusals {
    pub(super) fn count(&self, refusal: Refusal) {
        if let Some(counter) = self.0.get(refusal as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The reasons that came up, with their counts.
    pub fn counts(&self) -> impl Iterator<Item = (Refusal, u64)> {
        Refusal::ALL
            .into_iter()
            .zip(&self.0)
            .map(|(refusal, count)| (refusal, count.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
    }
}
