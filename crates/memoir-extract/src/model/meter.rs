//! What the endpoint costs: tokens by UTC day, and the budget after which the rules take over until the next day.
//!
//! The meter lives as long as the process; what earlier ones spent today is handed in at the start
//! ([`TokenMeter::recover`]), as the extractions table holds it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use memoir_core::Timestamp;

const MICROS_PER_DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// Tokens of one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Day {
    /// Days since 1970-01-01.
    number: i64,
    tokens: u64,
}

#[derive(Debug)]
pub(super) struct TokenMeter {
    /// Tokens a day; `None` is no bound.
    budget: Option<u64>,
    day: Mutex<Day>,
}

impl TokenMeter {
    pub fn new(budget: Option<u64>) -> Self {
        Self { budget, day: Mutex::default() }
    }

    /// An answer took so many tokens.
    pub fn add(&self, tokens: u64, now: Timestamp) {
        let mut day = self.day_at(now);
        day.tokens = day.tokens.saturating_add(tokens);
    }

    /// What was spent on the day of `at` before this process was there.
    pub fn recover(&self, tokens: u64, at: Timestamp) {
        self.add(tokens, at);
    }

    /// Whether nothing more may be spent today.
    pub fn is_spent(&self, now: Timestamp) -> bool {
        self.budget.is_some_and(|budget| self.day_at(now).tokens >= budget)
    }

    /// The day of `now`. A clock that steps back stays on the day that was reached: a budget is not given twice.
    fn day_at(&self, now: Timestamp) -> MutexGuard<'_, Day> {
        let mut day = self.day.lock().unwrap_or_else(PoisonError::into_inner);
        let number = now.as_micros().div_euclid(MICROS_PER_DAY);
        if number > day.number {
            *day = Day { number, tokens: 0 };
        }
        day
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn the_budget_is_for_a_day_in_utc_and_is_given_anew_the_next() {
        let meter = TokenMeter::new(Some(1000));
        let (evening, night) = (at("2026-01-05T23:59:59Z"), at("2026-01-06T00:00:00Z"));
        meter.add(999, evening);
        assert!(!meter.is_spent(evening));
        meter.add(1, evening);
        assert!(meter.is_spent(evening));
        assert!(!meter.is_spent(night));
        assert!(!meter.is_spent(evening), "the clock stepped back; the new day's budget counts, which is whole");
        meter.add(1000, evening);
        assert!(meter.is_spent(night), "and what is spent then counts for it");
    }

    #[test]
    fn what_earlier_processes_spent_today_counts() {
        let meter = TokenMeter::new(Some(10));
        meter.recover(10, at("2026-01-05T01:00:00Z"));
        assert!(meter.is_spent(at("2026-01-05T02:00:00Z")));
    }

    #[test]
    fn without_a_budget_nothing_is_ever_spent() {
        let meter = TokenMeter::new(None);
        meter.add(u64::MAX, at("2026-01-05T01:00:00Z"));
        assert!(!meter.is_spent(at("2026-01-05T02:00:00Z")));
    }
}
