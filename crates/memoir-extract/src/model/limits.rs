//! How fast the endpoint may be asked: requests a second, tokens a minute, and a pause that the endpoint asked for.
//!
//! A request reserves its turn and waits for it; turns are given in the order of asking. Tokens are reserved by estimate
//! and settled when the endpoint has counted them. How many requests are under way at once is the engine's to bound.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::pace::Pace;

/// Shared by all requests to one endpoint.
#[derive(Debug)]
pub(super) struct Limits {
    /// Between two requests.
    interval: Duration,
    tokens_per_second: Option<f64>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The first turn that nobody has.
    next_turn: Duration,
    /// Nobody asks before.
    held_until: Duration,
    /// Tokens that may be spent now; below zero they are spent ahead.
    tokens: f64,
    /// When `tokens` was last brought up to date.
    tokens_at: Duration,
    /// What an answer takes, as far as is known.
    completion_tokens: f64,
}

/// Before the first answer is counted: some ten facts with quotes and reasons.
const FIRST_COMPLETION_TOKENS: f64 = 600.0;
/// How much the last answer says about the next one.
const WEIGHT_OF_LAST: f64 = 0.1;
const SECONDS_PER_MINUTE: f64 = 60.0;

impl Limits {
    /// `None` is no limit. Both numbers are above 0.
    pub fn new(requests_per_second: Option<f64>, tokens_per_minute: Option<f64>) -> Self {
        let interval = requests_per_second.map_or(Duration::ZERO, |rate| {
            // A rate so small that no duration holds its interval stands for one request for ever.
            Duration::try_from_secs_f64(rate.recip()).unwrap_or(Duration::MAX)
        });
        let tokens_per_second = tokens_per_minute.map(|tokens| tokens / SECONDS_PER_MINUTE);
        let state = State {
            next_turn: Duration::ZERO,
            held_until: Duration::ZERO,
            tokens: tokens_per_minute.unwrap_or_default(),
            tokens_at: Duration::ZERO,
            completion_tokens: FIRST_COMPLETION_TOKENS,
        };
        Self { interval, tokens_per_second, state: Mutex::new(state) }
    }

    /// Waits for a turn. Returns the tokens that are reserved for it, to be settled.
    pub async fn turn(&self, prompt_tokens: f64, pace: &dyn Pace) -> f64 {
        loop {
            let now = pace.now();
            let (at, reserved) = self.reserve(prompt_tokens, now);
            if at <= now {
                return reserved;
            }
            pace.sleep(at - now).await;
            if !self.is_held(pace.now()) {
                return reserved;
            }
            // The endpoint asked for a pause meanwhile: this turn is gone.
            self.settle(reserved, 0.0);
        }
    }

    /// When the next request may go out, and the tokens that it takes.
    fn reserve(&self, prompt_tokens: f64, now: Duration) -> (Duration, f64) {
        let mut state = self.state();
        let mut at = now.max(state.next_turn).max(state.held_until);
        let mut reserved = 0.0;
        if let Some(rate) = self.tokens_per_second {
            let most = rate * SECONDS_PER_MINUTE;
            let passed = now.saturating_sub(state.tokens_at).as_secs_f64();
            state.tokens = (state.tokens + passed * rate).min(most);
            state.tokens_at = now;
            // What is larger than the limit can only wait for all of it.
            reserved = (prompt_tokens + state.completion_tokens).min(most);
            let missing = (reserved - state.tokens).max(0.0);
            state.tokens -= reserved;
            at = at.max(now + Duration::try_from_secs_f64(missing / rate).unwrap_or(Duration::MAX));
        }
        state.next_turn = at.saturating_add(self.interval);
        (at, reserved)
    }

    /// The endpoint has counted: `spent` in place of `reserved`.
    pub fn settle(&self, reserved: f64, spent: f64) {
        if let Some(rate) = self.tokens_per_second {
            let mut state = self.state();
            state.tokens = (state.tokens + reserved - spent).min(rate * SECONDS_PER_MINUTE);
        }
    }

    /// An answer took so many tokens.
    pub fn learn(&self, completion_tokens: f64) {
        let mut state = self.state();
        state.completion_tokens += (completion_tokens - state.completion_tokens) * WEIGHT_OF_LAST;
    }

    /// Nobody asks before `until`.
    pub fn hold(&self, until: Duration) {
        let mut state = self.state();
        state.held_until = state.held_until.max(until);
    }

    fn is_held(&self, now: Duration) -> bool {
        self.state().held_until > now
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::pace::manual::ManualPace;
    use super::*;

    fn ms(duration: Duration) -> u128 {
        duration.as_millis()
    }

    #[test]
    fn turns_are_apart_by_the_rate_and_none_is_saved_up() {
        let limits = Limits::new(Some(10.0), None);
        let turn = |now| ms(limits.reserve(1.0, Duration::from_millis(now)).0);
        assert_eq!([turn(0), turn(0), turn(0)], [0, 100, 200]);
        assert_eq!([turn(5000), turn(5000)], [5000, 5100], "an idle time gives no burst");
    }

    #[test]
    fn without_limits_nobody_waits() {
        let limits = Limits::new(None, None);
        assert!((0..100).all(|_| limits.reserve(1e9, Duration::ZERO).0.is_zero()));
    }

    #[test]
    fn tokens_are_reserved_by_estimate_and_settled_by_count() {
        let limits = Limits::new(None, Some(6000.0));
        let turn = |prompt| limits.reserve(prompt, Duration::ZERO);
        assert_eq!(turn(4400.0), (Duration::ZERO, 5000.0), "with what an answer takes");
        assert_eq!(turn(900.0), (Duration::from_secs(5), 1500.0), "500 of 1500 are missing at 100 a second");
        limits.settle(5000.0, 1000.0);
        assert_eq!(turn(400.0).0, Duration::from_secs(5), "4000 came back, and nobody overtakes");
        for _ in 0..100 {
            limits.learn(50.0);
        }
        assert!(limits.reserve(0.0, Duration::ZERO).1 < 51.0, "the estimate follows the answers");
    }

    #[test]
    fn a_request_larger_than_the_limit_waits_for_all_of_it_and_not_for_ever() {
        let limits = Limits::new(None, Some(60.0));
        assert_eq!(limits.reserve(1e6, Duration::ZERO), (Duration::ZERO, 60.0));
        assert_eq!(limits.reserve(1e6, Duration::ZERO).0, Duration::from_secs(60));
    }

    #[tokio::test]
    async fn a_pause_holds_those_that_have_a_turn_already() {
        let limits = Limits::new(Some(1.0), None);
        let pace = ManualPace::default();
        limits.turn(1.0, &pace).await;
        limits.hold(Duration::from_secs(20));
        limits.turn(1.0, &pace).await;
        limits.turn(1.0, &pace).await;
        assert_eq!(pace.now(), Duration::from_secs(21));
        // Meanwhile held: the turn at 22 is lost.
        let (at, _) = limits.reserve(1.0, pace.now());
        limits.hold(Duration::from_secs(40));
        assert!(limits.is_held(at));
        limits.turn(1.0, &pace).await;
        assert_eq!(pace.now(), Duration::from_secs(40));
    }

    proptest! {
        #[test]
        fn no_second_has_more_turns_than_the_rate(rate in 1u32..50, gaps in prop::collection::vec(0u64..300, 1..100)) {
            let limits = Limits::new(Some(f64::from(rate)), None);
            let mut now = Duration::ZERO;
            let mut turns = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                turns.push(limits.reserve(1.0, now).0);
            }
            for (first, turn) in turns.iter().enumerate() {
                // A hair less than a second: intervals are rounded to nanoseconds.
                let end = *turn + Duration::from_micros(999_000);
                let within = turns[first..].iter().filter(|other| **other < end).count();
                prop_assert!(within <= rate as usize, "{within} in a second at {rate}");
            }
        }
    }
}
