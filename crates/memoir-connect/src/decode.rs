//! From bytes or a row to an event, or to a dead letter that says what was wrong and where it stood.
//!
//! Every source decodes here, so that one rule holds everywhere: an event dated far ahead of the wall clock would
//! freeze its user's clock, and is refused.

use std::sync::Arc;
use std::time::Duration;

use memoir_core::processor::StreamEvent;
use memoir_core::source::BadRecord;
use memoir_core::table::{RowError, RowReader};
use memoir_core::time::{Clock, Timestamp};

/// How far ahead of the wall clock an event may be dated, unless it is set otherwise.
pub const DEFAULT_MAX_AHEAD: Duration = Duration::from_secs(24 * 60 * 60);

/// Where a record stood, for its dead letter.
pub(crate) struct RecordPlace {
    pub source: String,
    pub partition: String,
    /// The 1-based line or row.
    pub place: i64,
}

/// Decodes records, and holds them against the clock.
pub(crate) struct Decoder {
    clock: Arc<dyn Clock>,
    max_ahead: Duration,
    horizon: Timestamp,
}

impl Decoder {
    pub fn new(clock: Arc<dyn Clock>, max_ahead: Duration) -> Self {
        let horizon = clock.now().plus(max_ahead);
        Self { clock, max_ahead, horizon }
    }

    /// Looks at the clock. Once a batch is often enough: a call for each record would cost a twentieth of decoding it.
    pub fn look_at_clock(&mut self) {
        self.horizon = self.clock.now().plus(self.max_ahead);
    }

    #[expect(clippy::result_large_err, reason = "the error is data, and goes into the batch as it is")]
    pub fn json<E: StreamEvent>(&self, record: &[u8], place: impl FnOnce() -> RecordPlace) -> Result<E, BadRecord> {
        match E::from_json(record) {
            Ok(event) if event.ts() <= self.horizon => Ok(event),
            Ok(event) => Err(refused(place(), record, self.too_far_ahead(), Some(event.key().to_owned()))),
            Err(bad) => {
                let RecordPlace { source, partition, place } = place();
                Err(BadRecord::of_bytes(source, partition, place, record, bad))
            }
        }
    }

    /// Reads one row of the event's table; `as_json` makes what a dead letter shows of it.
    pub fn row<E: StreamEvent>(
        &self,
        row: &mut RowReader<'_>,
        place: impl FnOnce() -> RecordPlace,
        as_json: impl FnOnce() -> String,
    ) -> Result<Result<E, BadRecord>, RowError> {
        Ok(match E::from_row(row)? {
            Ok(event) if event.ts() <= self.horizon => Ok(event),
            Ok(event) => {
                Err(refused(place(), as_json().as_bytes(), self.too_far_ahead(), Some(event.key().to_owned())))
            }
            Err(bad) => {
                let RecordPlace { source, partition, place } = place();
                Err(BadRecord::of_bytes(source, partition, place, as_json().as_bytes(), bad))
            }
        })
    }

    fn too_far_ahead(&self) -> String {
        format!("`ts` is more than {} ahead of the clock", in_words(self.max_ahead))
    }
}

/// A dead letter for a reason that the source found itself.
pub(crate) fn refused(place: RecordPlace, record: &[u8], reason: String, key: Option<String>) -> BadRecord {
    BadRecord::because(place.source, place.partition, place.place, record, reason, key)
}

/// A duration as the configuration writes it, in the largest unit that divides it.
fn in_words(duration: Duration) -> String {
    let millis = duration.as_millis();
    let (unit, size) = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)]
        .into_iter()
        .find(|(_, size)| millis >= *size && millis.is_multiple_of(*size))
        .unwrap_or(("ms", 1));
    format!("{}{unit}", millis / size)
}

#[cfg(test)]
mod tests {
    use memoir_core::{ConversationEvent, ManualClock};

    use super::*;

    fn line(ts: &str) -> String {
        format!(r#"{{"event_id":"e","ts":"{ts}","conversation_id":"c","user_id":"u","role":"user","content":"hi"}}"#)
    }

    fn place() -> RecordPlace {
        RecordPlace { source: "f".to_owned(), partition: "p".to_owned(), place: 3 }
    }

    #[test]
    fn an_event_past_the_horizon_is_a_dead_letter_until_the_clock_has_come_so_far() {
        let clock = Arc::new(ManualClock::at(Timestamp::parse("2026-01-01T00:00:00Z").unwrap()));
        let mut decoder = Decoder::new(clock.clone(), DEFAULT_MAX_AHEAD);
        let refused = |decoder: &Decoder, ts: &str| decoder.json::<ConversationEvent>(line(ts).as_bytes(), place).err();
        assert_eq!(refused(&decoder, "2026-01-02T00:00:00Z"), None);
        let bad = refused(&decoder, "2026-01-02T00:00:00.000001Z").unwrap();
        assert_eq!(bad.reason, "`ts` is more than 1d ahead of the clock");
        assert_eq!((bad.place, bad.key.as_deref()), (3, Some("u")));
        assert_eq!(bad.record, line("2026-01-02T00:00:00.000001Z"));
        clock.advance(Duration::from_millis(1));
        decoder.look_at_clock();
        assert_eq!(refused(&decoder, "2026-01-02T00:00:00.000001Z"), None);
    }

    #[test]
    fn a_duration_is_written_in_the_largest_unit_that_divides_it() {
        for (seconds, words) in [(86_400, "1d"), (90_000, "25h"), (60, "1m"), (61, "61s")] {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
        assert_eq!(in_words(Duration::from_millis(1500)), "1500ms");
        assert_eq!(in_words(Duration::ZERO), "0ms");
    }
}
