//! Synthetic conversations: the hand-written people of the demo, and a load of any size.
//!
//! Both are functions of their arguments alone: equal arguments give equal events, byte for byte, on every machine.
//! Event ids are unique within what one call gives, so a second `memoir generate` finds everything already there.
//! Where the events go is not decided here: a caller appends them to `conversation_events`, or calls [`write_ndjson`].

use std::borrow::Borrow;
use std::io::Write;

use memoir_core::event::ConversationEvent;

mod demo;
mod load;
mod phrases;
mod random;

pub use demo::demo_events;
pub use load::Load;
pub use random::SplitMix64;

/// Why no conversations were generated.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    #[error("demo conversation {file}, line {line}: {problem}")]
    Demo { file: &'static str, line: usize, problem: String },
    #[error("{events} events over {users} users: there must be at least one user, and an event for each")]
    TooFewEvents { users: u64, events: u64 },
    #[error("{users} users: at most {max} can be generated at once; take fewer users, or several seeds")]
    TooManyUsers { users: u64, max: u64 },
    #[error("cannot write event number {number}: {source}")]
    Write { number: u64, source: std::io::Error },
}

/// How much is gathered before it is written: large enough that the cost of a system call disappears.
const WRITE_SIZE: usize = 256 * 1024;

/// Writes one JSON object a line, in the order given, and says how many. It buffers by itself and flushes at the end.
///
/// # Errors
/// When `out` does not take the bytes; the number says near which event (counted from 1), since writes are buffered.
pub fn write_ndjson<E: Borrow<ConversationEvent>>(
    events: impl IntoIterator<Item = E>,
    out: &mut impl Write,
) -> Result<u64, GenerateError> {
    let mut buffer = Vec::with_capacity(WRITE_SIZE + 4096);
    let mut number = 0;
    let failed = |number| move |source| GenerateError::Write { number, source };
    for event in events {
        number += 1;
        serde_json::to_writer(&mut buffer, event.borrow()).map_err(|error| failed(number)(error.into()))?;
        buffer.push(b'\n');
        if buffer.len() >= WRITE_SIZE {
            out.write_all(&buffer).map_err(failed(number))?;
            buffer.clear();
        }
    }
    out.write_all(&buffer).and_then(|()| out.flush()).map_err(failed(number))?;
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_as_the_same_events() {
        let events: Vec<_> = Load { users: 20, events: 2000, seed: 5 }.events().unwrap().collect();
        let mut lines = Vec::new();
        assert_eq!(write_ndjson(&events, &mut lines).unwrap(), 2000);
        let again: Vec<_> = lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| ConversationEvent::from_json(line).unwrap())
            .collect();
        assert_eq!(again, events);
    }

    #[test]
    fn a_full_disk_is_told_with_the_event_that_did_not_fit() {
        let mut small = [0; 1000];
        let events = Load { users: 2, events: 50, seed: 1 }.events().unwrap();
        let error = write_ndjson(events, &mut small.as_mut_slice()).unwrap_err();
        assert!(matches!(error, GenerateError::Write { number: 50, .. }), "{error}");
    }
}
