//! Time that passes, and chance. Both are handed in, so that back-off, limits and the breaker are tested without waiting.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

/// Where the client learns how much time has passed, waits, and throws its dice.
pub(super) trait Pace: Send + Sync {
    /// Time since a moment that stays the same; never goes back, whatever the wall clock does.
    fn now(&self) -> Duration;

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// A number from 0 up to 1.
    fn chance(&self) -> f64;
}

/// The machine's own.
pub(super) struct SystemPace {
    start: Instant,
    seed: RandomState,
    thrown: AtomicU64,
}

impl SystemPace {
    pub fn new() -> Self {
        Self { start: Instant::now(), seed: RandomState::new(), thrown: AtomicU64::new(0) }
    }
}

impl Pace for SystemPace {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn chance(&self) -> f64 {
        // A keyed hash of a counter: enough to spread retries, and no generator is needed.
        let number = self.seed.hash_one(self.thrown.fetch_add(1, Ordering::Relaxed));
        fraction(number)
    }
}

/// The upper 32 bits of a number as a fraction of their range.
fn fraction(number: u64) -> f64 {
    let upper = u32::try_from(number >> 32).unwrap_or(u32::MAX);
    f64::from(upper) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
pub(super) mod manual {
    use std::sync::Mutex;

    use super::*;

    /// Whoever sleeps moves the time on, and need not wait.
    #[derive(Default)]
    pub struct ManualPace {
        now: Mutex<Duration>,
        slept: Mutex<Vec<Duration>>,
        /// What each throw of the dice gives.
        pub dice: f64,
    }

    impl ManualPace {
        pub fn with_dice(dice: f64) -> Self {
            Self { dice, ..Self::default() }
        }

        pub fn advance(&self, by: Duration) {
            *self.now.lock().unwrap() += by;
        }

        pub fn slept(&self) -> Vec<Duration> {
            self.slept.lock().unwrap().clone()
        }
    }

    impl Pace for ManualPace {
        fn now(&self) -> Duration {
            *self.now.lock().unwrap()
        }

        fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
            self.slept.lock().unwrap().push(duration);
            self.advance(duration);
            Box::pin(std::future::ready(()))
        }

        fn chance(&self) -> f64 {
            self.dice
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_stays_below_one_and_differs_from_throw_to_throw() {
        let pace = SystemPace::new();
        let thrown: Vec<f64> = (0..1000).map(|_| pace.chance()).collect();
        assert!(thrown.iter().all(|number| (0.0..1.0).contains(number)));
        let mean = thrown.iter().sum::<f64>() / 1000.0;
        assert!((0.4..0.6).contains(&mean), "{mean}");
        assert!(fraction(u64::MAX) < 1.0);
    }
}
