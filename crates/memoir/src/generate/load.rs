//! A load of any size: many users whose conversations are open at the same time, in order of time.
//!
//! Promises, for equal arguments on every machine the same events, and
//! - exactly `events` events over exactly `users` users, each with at least one;
//! - the share of a user falls with the square root of its rank, `…-0000000` being the busiest;
//! - a user's conversations come one after the other, with [`SHORTEST`] to [`LONGEST`] messages each. Only where there
//!   are fewer than [`SHORTEST`] events for each user, a user has one conversation that is shorter;
//! - messages of a conversation are 5 to 120 seconds apart, conversations of a user hours to days;
//! - the whole begins at [`START`] and takes [`USUAL_SPAN_MS`], longer only where the busiest user needs more, and never
//!   more than [`LONGEST_SPAN_MS`]: there, all pauses shrink alike.
//!
//! Memory is some hundred bytes for each user, whatever the number of events.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fmt::Write as _;

use memoir_core::event::ConversationEvent;
use memoir_core::time::Timestamp;

use super::GenerateError;
use super::phrases::{self, Persona};
use super::random::SplitMix64;

/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000_000;
const SHORTEST: u64 = 8;
const LONGEST: u64 = 40;

const HOUR_MS: u64 = 3_600_000;
const USUAL_SPAN_MS: u64 = 30 * 24 * HOUR_MS;
/// From one conversation's slot to the next of the same user; a conversation itself takes 47 minutes at most.
const LEAST_SLOT_MS: u64 = 4 * HOUR_MS;
/// A busier load is compressed rather than dated in the future, where a stream processor refuses it.
const LONGEST_SPAN_MS: u64 = 240 * 24 * HOUR_MS;
/// Above it the state of the users alone would take some 10 GB.
const MAX_USERS: u64 = 100_000_000;
/// A user's conversations have this many messages on average; how many exactly, differs from user to user.
const MEAN_LENGTHS: (u64, u64) = (10, 24);

/// What to generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub users: u64,
    pub events: u64,
    /// Part of every id, so that loads of two seeds may go to one table.
    pub seed: u64,
}

impl Load {
    /// The events, ordered by time. They are made while they are taken.
    ///
    /// # Errors
    /// Without users, with fewer events than users, or with more users than memory is planned for.
    pub fn events(&self) -> Result<LoadEvents, GenerateError> {
        let Self { users, events, seed } = *self;
        if users == 0 || events < users {
            return Err(GenerateError::TooFewEvents { users, events });
        }
        if users > MAX_USERS {
            return Err(GenerateError::TooManyUsers { users, max: MAX_USERS });
        }
        let shares = Shares::new(users, events);
        let busiest = Shares::new(users, events).next().unwrap_or(0) / MEAN_LENGTHS.0;
        let span = USUAL_SPAN_MS.max(busiest.saturating_mul(LEAST_SLOT_MS));
        let mut first = Vec::new();
        let mut states = Vec::new();
        for (user, share) in (0..).zip(shares) {
            let mut state = UserState::new(seed, u64::from(user), share, span);
            first.push(Reverse((state.begin_conversation(), user)));
            states.push(state);
        }
        Ok(LoadEvents { seed, states, next: first.into(), span, left: events })
    }
}

/// How many events each user gets, from the busiest on; they add up exactly.
struct Shares {
    base: u64,
    /// What is shared out by weight, above `base` for everybody.
    rest: u64,
    total_weight: u64,
    users: u64,
    rank: u64,
    weight_so_far: u64,
}

impl Shares {
    fn new(users: u64, events: u64) -> Self {
        let base = SHORTEST.min(events / users);
        let total_weight = (1..=users).map(weight).sum();
        Self { base, rest: events - base * users, total_weight, users, rank: 0, weight_so_far: 0 }
    }

    /// The part of `rest` that belongs to the first ranks whose weights add up to `weight`, rounded down.
    fn up_to(&self, weight: u64) -> u64 {
        // The quotient is at most `rest`, since `weight` is at most `total_weight`.
        (u128::from(self.rest) * u128::from(weight) / u128::from(self.total_weight)) as u64
    }
}

impl Iterator for Shares {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.rank == self.users {
            return None;
        }
        self.rank += 1;
        let before = self.up_to(self.weight_so_far);
        self.weight_so_far += weight(self.rank);
        Some(self.base + self.up_to(self.weight_so_far) - before)
    }
}

/// Zipf's law with the exponent 1/2, in integers: floating-point powers differ between machines.
fn weight(rank: u64) -> u64 {
    (1 << 32) / (rank << 20).isqrt()
}

/// Where one user stands between two messages.
struct UserState {
    random: SplitMix64,
    persona: Persona,
    /// The part of the span that each of the user's conversations has for itself, and where in it they begin at the earliest.
    slot_ms: u64,
    phase_ms: u64,
    /// Of the conversation that is open; 0 before the first.
    conversation: u64,
    /// That have not begun yet, and the messages left for them.
    conversations_left: u64,
    messages_left: u64,
    /// Written and to be written in the open conversation.
    message: u64,
    length: u64,
    user_spoke_last: bool,
}

impl UserState {
    fn new(seed: u64, user: u64, messages: u64, span_ms: u64) -> Self {
        let mut random = SplitMix64::new(seed, user);
        let persona = Persona::new(random.next());
        let mean = random.between(MEAN_LENGTHS.0, MEAN_LENGTHS.1);
        // Bounded so that they can all have SHORTEST to LONGEST messages.
        let conversations = (messages.saturating_add(mean / 2) / mean).min(messages / SHORTEST).max(1);
        let slot_ms = span_ms / conversations;
        Self {
            phase_ms: random.below(slot_ms / 4 * 3),
            random,
            persona,
            slot_ms,
            conversation: 0,
            conversations_left: conversations,
            messages_left: messages,
            message: 0,
            length: 0,
            user_spoke_last: false,
        }
    }

    /// Opens the next conversation, which there must be, and says when it begins.
    fn begin_conversation(&mut self) -> u64 {
        let at = self.conversation * self.slot_ms + self.phase_ms + self.random.below(self.slot_ms / 4);
        self.length = self.next_length();
        self.conversation += 1;
        self.conversations_left -= 1;
        self.messages_left -= self.length;
        self.message = 0;
        self.user_spoke_last = false;
        at
    }

    /// A length that leaves to each later conversation at least SHORTEST and at most LONGEST.
    fn next_length(&mut self) -> u64 {
        let later = self.conversations_left - 1;
        if later == 0 {
            return self.messages_left;
        }
        let low = SHORTEST.max(self.messages_left.saturating_sub(LONGEST * later));
        let high = LONGEST.min(self.messages_left - SHORTEST * later);
        // Drawn around the mean of what is left, so that early conversations do not eat up the later ones.
        let mean = self.messages_left / self.conversations_left;
        self.random.between(low, high.min((2 * mean).saturating_sub(SHORTEST)).max(low))
    }

    /// The next message: its role and its words.
    fn speak(&mut self) -> (&'static str, String) {
        let by_user = !self.user_spoke_last || self.random.percent(12);
        self.user_spoke_last = by_user;
        self.message += 1;
        if by_user {
            ("user", phrases::user_message(&mut self.random, &mut self.persona))
        } else {
            ("assistant", phrases::assistant_message(&mut self.random))
        }
    }

    /// When the next message is due after the one at `at`; nothing where it was the user's last.
    fn next_at(&mut self, at: u64) -> Option<u64> {
        if self.message == self.length {
            return (self.conversations_left > 0).then(|| self.begin_conversation());
        }
        // An assistant answers fast; a person reads and types.
        let pause = if self.user_spoke_last {
            self.random.between(5_000, 20_000)
        } else {
            self.random.between(15_000, 120_000)
        };
        Some(at + pause)
    }
}

/// The events of a [`Load`], ordered by time.
pub struct LoadEvents {
    seed: u64,
    states: Vec<UserState>,
    /// When each user's next message is due, in milliseconds since the start.
    next: BinaryHeap<Reverse<(u64, u32)>>,
    span: u64,
    left: u64,
}

/// The time of a message in a load that would take `span_ms`, compressed where that is too long.
fn timestamp(at_ms: u64, span_ms: u64) -> Timestamp {
    let micros = u128::from(at_ms) * 1000 * u128::from(LONGEST_SPAN_MS.min(span_ms)) / u128::from(span_ms);
    Timestamp::from_micros(START.saturating_add(i64::try_from(micros).unwrap_or(i64::MAX)))
}

impl Iterator for LoadEvents {
    type Item = ConversationEvent;

    fn next(&mut self) -> Option<ConversationEvent> {
        let mut top = self.next.peek_mut()?;
        let Reverse((at, user)) = *top;
        let state = self.states.get_mut(user as usize)?;
        let (role, content) = state.speak();
        let user_id = format!("load-{}-{user:07}", self.seed);
        let mut conversation_id = String::with_capacity(user_id.len() + 6);
        let mut event_id = String::with_capacity(user_id.len() + 10);
        // Writing to a String cannot fail.
        let _ = write!(conversation_id, "{user_id}-c{:04}", state.conversation);
        let _ = write!(event_id, "{conversation_id}-m{:02}", state.message);
        match state.next_at(at) {
            Some(due) => *top = Reverse((due, user)),
            None => drop(PeekMut::pop(top)),
        }
        self.left = self.left.saturating_sub(1);
        let ts = timestamp(at, self.span);
        Some(ConversationEvent { event_id, ts, conversation_id, user_id, role: role.to_owned(), content })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use super::*;

    fn generated(users: u64, events: u64, seed: u64) -> Vec<ConversationEvent> {
        Load { users, events, seed }.events().unwrap().collect()
    }

    /// FNV-1a over the lines as they are written.
    fn digest(load: Load) -> u64 {
        let mut bytes = Vec::new();
        super::super::write_ndjson(load.events().unwrap(), &mut bytes).unwrap();
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
    }

    fn conversations(events: &[ConversationEvent]) -> BTreeMap<&str, Vec<&ConversationEvent>> {
        let mut map: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for event in events {
            map.entry(event.conversation_id.as_str()).or_default().push(event);
        }
        map
    }

    #[test]
    fn equal_arguments_give_the_same_bytes_for_ever() {
        let load = Load { users: 500, events: 20_000, seed: 1 };
        assert_eq!(digest(load), digest(load));
        // Pinned: figures that were measured with a load can only be repeated with the same load.
        assert_eq!(digest(load), PINNED);
        assert_ne!(digest(Load { seed: 2, ..load }), PINNED);
    }

    const PINNED: u64 = 0x90bc_8e3e_20a3_16a5;

    #[test]
    fn there_are_exactly_as_many_events_and_users_as_asked() {
        for (users, events) in
            [(1, 1), (1, 9), (3, 3), (7, 50), (10, 79), (10, 80), (100, 1000), (1000, 20_011), (2, 9000)]
        {
            let made = generated(users, events, 3);
            assert_eq!(made.len() as u64, events, "{users} users");
            let ids: HashSet<_> = made.iter().map(|event| event.user_id.as_str()).collect();
            assert_eq!(ids.len() as u64, users, "{events} events");
            let ids: HashSet<_> = made.iter().map(|event| event.event_id.as_str()).collect();
            assert_eq!(ids.len() as u64, events, "{users} users");
        }
    }

    #[test]
    fn fewer_events_than_users_or_no_user_at_all_is_an_error() {
        for (users, events) in [(0, 0), (0, 10), (10, 9)] {
            let error = Load { users, events, seed: 1 }.events().err().unwrap();
            assert!(matches!(error, GenerateError::TooFewEvents { .. }), "{error}");
        }
        let error = Load { users: u64::MAX, events: u64::MAX, seed: 1 }.events().err().unwrap();
        assert!(matches!(error, GenerateError::TooManyUsers { .. }), "{error}");
    }

    #[test]
    fn time_never_goes_back_and_the_usual_load_takes_thirty_days() {
        let made = generated(2000, 40_000, 1);
        assert!(made.is_sorted_by_key(|event| event.ts));
        let (first, last) = (made[0].ts, made[made.len() - 1].ts);
        assert!(first.as_micros() >= START);
        let days = last.as_micros().saturating_sub(START) as f64 / 86_400e6;
        assert!((28.0..31.0).contains(&days), "{days}");
    }

    #[test]
    fn a_load_of_few_very_busy_users_is_compressed_to_stay_in_the_past() {
        let made = generated(1, 60_000, 1);
        assert!(made.is_sorted_by_key(|event| event.ts));
        let days = made[made.len() - 1].ts.as_micros().saturating_sub(START) as f64 / 86_400e6;
        assert!((100.0..=241.0).contains(&days), "{days}");
    }

    #[test]
    fn a_conversation_has_eight_to_forty_messages_and_shorter_ones_are_where_events_are_too_few() {
        let made = generated(2000, 60_000, 4);
        let lengths: HashSet<_> = conversations(&made).values().map(Vec::len).collect();
        assert!(lengths.iter().all(|length| (8..=40).contains(length)), "{lengths:?}");
        assert!(lengths.len() > 25, "{lengths:?}");

        let sparse = generated(100, 450, 4);
        let per_user = conversations(&sparse);
        assert_eq!(per_user.len(), 100);
        assert!(per_user.values().all(|talk| (4..=14).contains(&talk.len())));
    }

    #[test]
    fn messages_are_seconds_apart_and_a_users_conversations_hours_to_days() {
        let made = generated(300, 30_000, 9);
        let mut by_user: BTreeMap<&str, Vec<&ConversationEvent>> = BTreeMap::new();
        for event in &made {
            by_user.entry(event.user_id.as_str()).or_default().push(event);
        }
        for events in by_user.values() {
            for pair in events.windows(2) {
                let seconds = pair[1].ts.since(pair[0].ts).as_secs();
                if pair[0].conversation_id == pair[1].conversation_id {
                    assert!((5..=120).contains(&seconds), "{seconds}");
                } else {
                    assert!((3600..=20 * 86_400).contains(&seconds), "{seconds}");
                }
            }
        }
    }

    #[test]
    fn many_conversations_are_open_at_once_and_some_users_have_many() {
        let made = generated(5000, 100_000, 1);
        let talks = conversations(&made);
        let ends: Vec<_> = talks.values().map(|talk| (talk[0].ts, talk[talk.len() - 1].ts)).collect();
        let middle = made[made.len() / 2].ts;
        let open = ends.iter().filter(|(from, to)| (*from..=*to).contains(&middle)).count();
        let changes = made.windows(2).filter(|pair| pair[0].user_id != pair[1].user_id).count();
        assert!(changes * 10 > made.len() * 5, "{changes}");
        assert!(open >= 1, "{open}");
        let of_first = talks.keys().filter(|id| id.starts_with("load-1-0000000-")).count();
        let of_last = talks.keys().filter(|id| id.starts_with("load-1-0004999-")).count();
        assert!(of_first >= 20 && of_last == 1, "{of_first} {of_last}");
    }

    #[test]
    fn a_conversation_begins_with_its_user_and_roles_are_nearly_even() {
        let made = generated(1000, 30_000, 2);
        assert!(conversations(&made).values().all(|talk| talk[0].role == "user"));
        let users = made.iter().filter(|event| event.role == "user").count() * 100 / made.len();
        assert!((50..=60).contains(&users), "{users} %");
    }
}
