//! Random numbers from a seed that a failing test shows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// SplitMix64.
pub struct Random(u64);

impl Random {
    /// From the environment's `MEMOIR_TEST_SEED`, else from the clock. The seed goes to standard error, which a test
    /// that fails shows.
    pub fn shown() -> Self {
        let seed = match std::env::var("MEMOIR_TEST_SEED") {
            Ok(seed) => seed.parse().expect("MEMOIR_TEST_SEED is a whole number"),
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64,
        };
        eprintln!("the moments of this run come from MEMOIR_TEST_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From nothing to `most`.
    pub fn duration(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.next() % (most.as_micros() as u64).max(1))
    }
}
