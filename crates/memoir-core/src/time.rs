//! Time as a value: microseconds since the Unix epoch, in UTC, and the clock that somebody hands in.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, SecondsFormat, TimeZone, Utc};
use serde::{Deserialize, Serialize};

/// A point in time in microseconds since 1970-01-01T00:00:00Z, within the years 1 to 9999 that a Delta table can hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(i64);

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z.
const MIN_MICROS: i64 = -62_135_596_800_000_000;
const MAX_MICROS: i64 = 253_402_300_799_999_999;

/// Why a text is not a [`Timestamp`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    #[error("not an RFC 3339 time: {0:?} (write it as 2026-01-31T09:30:00Z)")]
    NotRfc3339(String),
    #[error("outside of the years 1 to 9999: {0:?}")]
    OutOfRange(String),
}

impl Timestamp {
    pub const MIN: Self = Self(MIN_MICROS);
    /// Also the due time of a timer that never fires by itself.
    pub const MAX: Self = Self(MAX_MICROS);

    /// Microseconds since the epoch; what lies outside of the years 1 to 9999 is moved to their edge.
    #[must_use]
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(MIN_MICROS, MAX_MICROS))
    }

    #[must_use]
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// Reads RFC 3339; without a zone it means UTC, `T` may be a blank, and what is finer than a microsecond is cut.
    ///
    /// # Errors
    /// When the text is no such time, or lies outside of the years 1 to 9999.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let utc = match DateTime::parse_from_rfc3339(text) {
            Ok(time) => time.with_timezone(&Utc),
            Err(_) => ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
                .iter()
                .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
                .ok_or_else(|| TimestampError::NotRfc3339(text.to_owned()))?
                .and_utc(),
        };
        let micros = utc.timestamp_micros();
        if (MIN_MICROS..=MAX_MICROS).contains(&micros) {
            Ok(Self(micros))
        } else {
            Err(TimestampError::OutOfRange(text.to_owned()))
        }
    }

    /// This time and `duration` later, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_add(micros))
    }

    /// The next microsecond, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn next(self) -> Self {
        Self::from_micros(self.0 + 1)
    }

    /// How long after `earlier` this is; zero where it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with `Z` and six digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Utc.timestamp_micros(self.0).single() {
            Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::Micros, true)),
            None => write!(f, "{}us", self.0),
        }
    }
}

/// Tells the time. The only way by which any part of Memoir learns it.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// The machine's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(Utc::now().timestamp_micros())
    }
}

/// A clock that stands still until it is told to move. For tests and simulations.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    #[must_use]
    pub fn at(time: Timestamp) -> Self {
        Self(AtomicI64::new(time.0))
    }

    pub fn set(&self, time: Timestamp) {
        self.0.store(time.0, Ordering::SeqCst);
    }

    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_a_zone_is_utc_and_finer_than_microseconds_is_cut() {
        let expected = "2026-01-05T09:00:00.123456Z";
        for text in [
            "2026-01-05T09:00:00.123456Z",
            "2026-01-05T09:00:00.123456789Z",
            "2026-01-05T09:00:00.123456",
            "2026-01-05 09:00:00.123456",
            "2026-01-05T10:00:00.123456+01:00",
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_or_out_of_range_is_refused() {
        for text in ["", "yesterday", "2026-13-01T00:00:00Z", "2026-01-05"] {
            assert!(matches!(Timestamp::parse(text), Err(TimestampError::NotRfc3339(_))), "{text}");
        }
        assert!(matches!(Timestamp::parse("0000-01-05T09:00:00Z"), Err(TimestampError::OutOfRange(_))));
    }

    #[test]
    fn arithmetic_stays_in_range() {
        assert_eq!(Timestamp::MAX.next(), Timestamp::MAX);
        assert_eq!(Timestamp::MAX.plus(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MIN.since(Timestamp::MAX), Duration::ZERO);
    }
}
