//! What the client counts, for the summary of a run.

use std::sync::atomic::{AtomicU64, Ordering};

/// A running number that any thread may add to.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub fn one(&self) {
        self.add(1);
    }

    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(super) struct ModelMetrics {
    pub requests: Count,
    pub retries: Count,
    pub throttled: Count,
    pub breaker_openings: Count,
    pub prompt_tokens: Count,
    pub completion_tokens: Count,
    pub repaired: Count,
    pub failed: Count,
    pub unavailable: Count,
}

/// The counters of a model client at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelCounts {
    /// Requests sent, repairs and retries among them.
    pub requests: u64,
    /// Requests that were sent again because an earlier one failed.
    pub retries: u64,
    /// Answers with status 429.
    pub throttled: u64,
    /// How often the circuit breaker opened.
    pub breaker_openings: u64,
    /// As the endpoint counts them.
    pub prompt_tokens: u64,
    /// As the endpoint counts them.
    pub completion_tokens: u64,
    /// Extractions whose second answer could be read.
    pub repaired: u64,
    /// Extractions that the rules answered because requests failed.
    pub failed: u64,
    /// Extractions that the rules answered without a request: open breaker, spent budget.
    pub unavailable: u64,
}

impl ModelMetrics {
    pub fn counts(&self) -> ModelCounts {
        ModelCounts {
            requests: self.requests.get(),
            retries: self.retries.get(),
            throttled: self.throttled.get(),
            breaker_openings: self.breaker_openings.get(),
            prompt_tokens: self.prompt_tokens.get(),
            completion_tokens: self.completion_tokens.get(),
            repaired: self.repaired.get(),
            failed: self.failed.get(),
            unavailable: self.unavailable.get(),
        }
    }
}
