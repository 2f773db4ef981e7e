//! The circuit breaker: after a run of failures nobody asks the endpoint for a while, then one request tries it.
//!
//! What counts as a failure is the caller's to say; a request that is told to slow down is none, as the endpoint lives.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Shared by all requests to one endpoint.
#[derive(Debug)]
pub(super) struct Breaker {
    failures_to_open: u32,
    cooldown: Duration,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Requests go out. So many have failed since the last that did not.
    Closed { failures: u32 },
    /// Nobody asks before this time; then one may.
    Open { until: Duration },
    /// One request is under way, and its outcome decides.
    Probing,
}

/// The right to make one request. Whoever drops it without a word has learnt nothing.
#[derive(Debug)]
#[must_use]
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
}

impl Breaker {
    /// `failures_to_open` in a row open it for `cooldown`.
    pub fn new(failures_to_open: u32, cooldown: Duration) -> Self {
        Self { failures_to_open: failures_to_open.max(1), cooldown, state: Mutex::new(State::Closed { failures: 0 }) }
    }

    /// `None` while nobody may ask.
    pub fn admit(&self, now: Duration) -> Option<Pass<'_>> {
        let mut state = self.state();
        let is_probe = match *state {
            State::Closed { .. } => false,
            State::Open { until } if now >= until => {
                *state = State::Probing;
                true
            }
            State::Open { .. } | State::Probing => return None,
        };
        Some(Pass { breaker: self, is_probe })
    }

    /// Whether [`Breaker::admit`] would refuse.
    pub fn refuses(&self, now: Duration) -> bool {
        match *self.state() {
            State::Closed { .. } => false,
            State::Open { until } => now < until,
            State::Probing => true,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// The endpoint does its work.
    pub fn succeeded(mut self) {
        let mut state = self.breaker.state();
        // What was sent before the breaker opened and is answered late changes nothing: the probe decides.
        if std::mem::take(&mut self.is_probe) || matches!(*state, State::Closed { .. }) {
            *state = State::Closed { failures: 0 };
        }
    }

    /// The endpoint does not do its work. Says whether that opened the breaker.
    #[must_use]
    pub fn failed(mut self, now: Duration) -> bool {
        let mut state = self.breaker.state();
        let open = State::Open { until: now + self.breaker.cooldown };
        match *state {
            _ if std::mem::take(&mut self.is_probe) => *state = open,
            State::Closed { failures } if failures + 1 >= self.breaker.failures_to_open => *state = open,
            State::Closed { failures } => {
                *state = State::Closed { failures: failures + 1 };
                return false;
            }
            State::Open { .. } | State::Probing => return false,
        }
        true
    }

    /// The endpoint lives, but does not take requests now. Says whether that opened the breaker: only a probe does.
    #[must_use]
    pub fn put_off(self, now: Duration) -> bool {
        self.is_probe && self.failed(now)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        // A probe that was given up leaves the next one to somebody else.
        if self.is_probe {
            *self.breaker.state() = State::Open { until: Duration::ZERO };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn opened() -> Breaker {
        let breaker = Breaker::new(3, COOLDOWN);
        for last in [false, false, true] {
            assert_eq!(breaker.admit(at(0)).unwrap().failed(at(0)), last);
        }
        breaker
    }

    #[test]
    fn it_opens_after_a_run_of_failures_and_a_success_breaks_the_run() {
        let breaker = Breaker::new(3, COOLDOWN);
        for _ in 0..5 {
            assert!(!breaker.admit(at(0)).unwrap().failed(at(0)));
            assert!(!breaker.admit(at(0)).unwrap().failed(at(0)));
            breaker.admit(at(0)).unwrap().succeeded();
        }
        assert!(!breaker.refuses(at(0)));
        let breaker = opened();
        assert!(breaker.admit(at(29)).is_none() && breaker.refuses(at(29)));
    }

    #[test]
    fn being_put_off_neither_counts_nor_breaks_the_run() {
        let breaker = Breaker::new(2, COOLDOWN);
        assert!(!breaker.admit(at(0)).unwrap().failed(at(0)));
        for _ in 0..10 {
            assert!(!breaker.admit(at(0)).unwrap().put_off(at(0)));
        }
        assert!(breaker.admit(at(0)).unwrap().failed(at(0)));
    }

    #[test]
    fn after_the_cooldown_one_request_tries_and_its_success_closes_it() {
        let breaker = opened();
        let probe = breaker.admit(at(30)).unwrap();
        assert!(breaker.admit(at(31)).is_none(), "one probe at a time");
        assert!(breaker.refuses(at(31)));
        probe.succeeded();
        let (first, second) = (breaker.admit(at(31)), breaker.admit(at(31)));
        assert!(first.is_some() && second.is_some());
    }

    #[test]
    fn a_probe_that_fails_or_is_put_off_opens_it_for_another_cooldown() {
        let breaker = opened();
        assert!(breaker.admit(at(30)).unwrap().failed(at(32)));
        assert!(breaker.admit(at(61)).is_none());
        assert!(breaker.admit(at(62)).unwrap().put_off(at(62)));
        assert!(breaker.admit(at(91)).is_none());
        assert!(breaker.admit(at(92)).is_some());
    }

    #[test]
    fn a_probe_that_is_given_up_makes_room_for_another() {
        let breaker = opened();
        drop(breaker.admit(at(30)).unwrap());
        assert!(breaker.admit(at(30)).is_some());
    }

    #[test]
    fn what_comes_late_from_before_it_opened_changes_nothing() {
        let breaker = Breaker::new(1, COOLDOWN);
        let (late_failure, late_success) = (breaker.admit(at(0)).unwrap(), breaker.admit(at(0)).unwrap());
        assert!(breaker.admit(at(0)).unwrap().failed(at(0)));
        assert!(!late_failure.failed(at(20)));
        late_success.succeeded();
        assert!(breaker.admit(at(29)).is_none());
        assert!(breaker.admit(at(30)).is_some(), "a late failure does not prolong it");
    }
}
