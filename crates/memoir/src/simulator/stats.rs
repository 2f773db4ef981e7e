//! What the simulator counts, for tests that ask `GET /stats`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Stats {
    /// Requests to chat endpoints.
    pub requests: u64,
    pub in_flight: u64,
    pub max_in_flight: u64,
    /// The most that came within any one second.
    pub max_requests_in_a_second: usize,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// Tokens given to OAuth clients.
    pub oauth_tokens: u64,
    /// Requests that held a text which the script forbids.
    pub forbidden: u64,
    pub by_status: BTreeMap<u16, u64>,
    pub by_act: BTreeMap<&'static str, u64>,
    pub by_format: BTreeMap<String, u64>,
    /// When the requests of the last second came.
    #[serde(skip)]
    recent: VecDeque<Instant>,
}

#[derive(Clone, Debug, Default)]
pub struct SharedStats(Arc<Mutex<Stats>>);

impl SharedStats {
    pub fn change<T>(&self, change: impl FnOnce(&mut Stats) -> T) -> T {
        change(&mut self.lock())
    }

    pub fn snapshot(&self) -> Stats {
        self.lock().clone()
    }

    /// A request came. It is in flight until what is returned is dropped, also where the client goes away.
    pub fn begin(&self) -> InFlight {
        self.change(|stats| {
            stats.requests += 1;
            stats.in_flight += 1;
            stats.max_in_flight = stats.max_in_flight.max(stats.in_flight);
            let now = Instant::now();
            stats.recent.push_back(now);
            while stats.recent.front().is_some_and(|first| now - *first >= Duration::from_secs(1)) {
                stats.recent.pop_front();
            }
            stats.max_requests_in_a_second = stats.max_requests_in_a_second.max(stats.recent.len());
        });
        InFlight(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Stats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct InFlight(SharedStats);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.change(|stats| stats.in_flight -= 1);
    }
}
