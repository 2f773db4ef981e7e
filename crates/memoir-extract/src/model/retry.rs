//! When a request is sent again: what heals, how long to wait, and when it is enough.

use std::time::Duration;

use chrono::DateTime;
use memoir_core::Timestamp;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::http::{CallError, StatusError};

/// What a failed request says about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The endpoint is ill: another request may succeed.
    Passing,
    /// The endpoint is well, and wants to be asked later.
    Throttled,
    /// The endpoint cannot be asked like this by anybody: wrong token, wrong name.
    Lasting,
    /// This request cannot be answered; others may be.
    OfThisRequest,
}

impl Failure {
    pub fn of(error: &CallError) -> Self {
        match error {
            CallError::Connect | CallError::TimedOut { .. } | CallError::Broken | CallError::NotAChat => Self::Passing,
            CallError::Status(error) => Self::of_status(error.status),
            CallError::Token(error) => match Self::of(error) {
                Self::OfThisRequest => Self::Lasting,
                failure => failure,
            },
            CallError::NotAToken => Self::Lasting,
            CallError::NoContent | CallError::TooLong => Self::OfThisRequest,
        }
    }

    fn of_status(status: u16) -> Self {
        match status {
            429 => Self::Throttled,
            // Not implemented: no other request will be either.
            501 => Self::Lasting,
            408 | 425 | 500.. => Self::Passing,
            401 | 403 | 404 | 405 | 410 | 300..=399 => Self::Lasting,
            _ => Self::OfThisRequest,
        }
    }

    /// Whether the same request may succeed later.
    pub fn heals(self) -> bool {
        matches!(self, Self::Passing | Self::Throttled)
    }
}

/// What a server says about when to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryAfter {
    In(Duration),
    At(Timestamp),
}

impl RetryAfter {
    /// `Retry-After` in seconds or as an HTTP date, or Azure's `retry-after-ms`.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let seconds = |text: &str| text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        if let Some(wait) = text("retry-after-ms").and_then(seconds) {
            return Some(Self::In(wait / 1000));
        }
        let text = text(RETRY_AFTER.as_str())?;
        if let Some(wait) = seconds(text) {
            return Some(Self::In(wait));
        }
        let date = DateTime::parse_from_rfc2822(text).ok()?;
        Some(Self::At(Timestamp::from_micros(date.timestamp_micros())))
    }

    /// How long it is until then; nothing where it is over.
    pub fn wait(self, now: Timestamp) -> Duration {
        match self {
            Self::In(wait) => wait,
            Self::At(time) => time.since(now),
        }
    }
}

/// What an error's server said about when to come back.
pub(super) fn retry_after(error: &CallError) -> Option<RetryAfter> {
    match error {
        CallError::Status(error) => {
            let StatusError { status, retry_after, .. } = error.as_ref();
            retry_after.filter(|_| Failure::of_status(*status).heals())
        }
        CallError::Token(error) => retry_after(error),
        _ => None,
    }
}

/// No wait is chosen from more than this.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// An endpoint that is throttled and does not say for how long counts by the minute: it is asked more seldom.
const THROTTLED_TIMES: u32 = 4;

/// How long to wait before the next try. Full jitter: anything from nothing to `base` doubled with each try, so that
/// those who failed together do not come back together. What the server demands comes on top of at most one `base`.
pub(super) fn backoff(
    base: Duration,
    failed_tries: u32,
    failure: Failure,
    demanded: Option<Duration>,
    chance: f64,
) -> Duration {
    if let Some(demanded) = demanded {
        return demanded.saturating_add(base.min(demanded).mul_f64(chance));
    }
    let base = if failure == Failure::Throttled { base.saturating_mul(THROTTLED_TIMES) } else { base };
    let doubled = base.saturating_mul(2_u32.saturating_pow(failed_tries.saturating_sub(1)));
    doubled.min(LONGEST_BACKOFF.max(base)).mul_f64(chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn status(status: u16) -> CallError {
        CallError::Status(Box::new(StatusError { status, code: None, message: None, retry_after: None, refused: None }))
    }

    #[test]
    fn what_heals_is_told_from_what_does_not() {
        use Failure::{Lasting, OfThisRequest, Passing, Throttled};
        for (code, failure) in [
            (408, Passing),
            (429, Throttled),
            (500, Passing),
            (502, Passing),
            (503, Passing),
            (504, Passing),
            (529, Passing),
            (501, Lasting),
            (400, OfThisRequest),
            (413, OfThisRequest),
            (422, OfThisRequest),
            (401, Lasting),
            (403, Lasting),
            (404, Lasting),
            (307, Lasting),
        ] {
            assert_eq!(Failure::of(&status(code)), failure, "{code}");
            assert_eq!(failure.heals(), matches!(code, 408 | 429 | 500 | 502..=504 | 529), "{code}");
        }
        assert!(Failure::of(&CallError::Connect).heals() && Failure::of(&CallError::Broken).heals());
        assert_eq!(Failure::of(&CallError::Token(Box::new(status(400)))), Lasting, "no client can be asked with it");
        assert_eq!(Failure::of(&CallError::Token(Box::new(status(503)))), Passing);
    }

    #[test]
    fn retry_after_is_read_in_seconds_milliseconds_and_as_a_date() {
        let now = Timestamp::parse("1994-11-06T08:49:30Z").unwrap();
        let wait = |pairs: &[(&'static str, &str)]| RetryAfter::of(&headers(pairs)).map(|after| after.wait(now));
        assert_eq!(wait(&[("retry-after", "12")]), Some(Duration::from_secs(12)));
        assert_eq!(wait(&[("retry-after", " 0.5")]), Some(Duration::from_millis(500)));
        assert_eq!(wait(&[("retry-after-ms", "250"), ("retry-after", "12")]), Some(Duration::from_millis(250)));
        assert_eq!(wait(&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]), Some(Duration::from_secs(7)));
        assert_eq!(wait(&[("retry-after", "Sun, 06 Nov 1994 08:49:07 GMT")]), Some(Duration::ZERO));
        for wrong in ["soon", "-3", "NaN", "1e99", ""] {
            assert_eq!(wait(&[("retry-after", wrong)]), None, "{wrong}");
        }
        assert_eq!(wait(&[]), None);
    }

    #[test]
    fn waits_double_and_are_any_part_of_it() {
        let base = Duration::from_millis(500);
        let wait = |tries, chance| backoff(base, tries, Failure::Passing, None, chance).as_millis();
        assert_eq!([wait(1, 1.0), wait(2, 1.0), wait(3, 1.0), wait(4, 1.0)], [500, 1000, 2000, 4000]);
        assert_eq!((wait(20, 1.0), wait(200, 0.5)), (30_000, 15_000));
        assert_eq!((wait(3, 0.0), wait(3, 0.25)), (0, 500));
        assert_eq!(backoff(base, 1, Failure::Throttled, None, 1.0), Duration::from_secs(2));
    }

    #[test]
    fn what_the_server_demands_is_never_undercut() {
        let base = Duration::from_millis(500);
        let demanded = Duration::from_secs(7);
        let wait = |chance| backoff(base, 1, Failure::Throttled, Some(demanded), chance);
        assert_eq!((wait(0.0), wait(1.0)), (demanded, demanded + base));
        assert_eq!(backoff(base, 1, Failure::Throttled, Some(Duration::ZERO), 1.0), Duration::ZERO);
    }
}
