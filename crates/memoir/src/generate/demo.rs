//! The demo's people: conversations written by hand, one data file a person, compiled into the binary.
//!
//! A file begins with `# user_id`; other lines that begin with `#` and blank lines are ignored. Then come
//! - `== <RFC 3339 time> <conversation>`: a conversation begins; a later one begins after the earlier one's last message;
//! - `user: …` and `assistant: …`: one message a line, [`MESSAGE_GAP`] after the one before it;
//! - `expect: <kind> <key> = <value core> | <another>; was <previous>`: a fact that plain rules should remember at the
//!   end, the cores any of which is enough, and what it was before. The key is a proposal; values are what matters;
//! - `model: …`: the same for a fact that may need a model;
//! - `absent: <words>`: what no fact may hold at the end: corrected, forgotten, somebody else's or the assistant's.
//!
//! The last three are for tests and never become events.

use std::time::Duration;

use memoir_core::event::ConversationEvent;
use memoir_core::time::Timestamp;

use super::GenerateError;

const FILES: &[(&str, &str)] = &[
    ("alex_chen.txt", include_str!("../../demo/alex_chen.txt")),
    ("ben_hartley.txt", include_str!("../../demo/ben_hartley.txt")),
    ("diego_morales.txt", include_str!("../../demo/diego_morales.txt")),
    ("grace_kimani.txt", include_str!("../../demo/grace_kimani.txt")),
    ("jordan_lee.txt", include_str!("../../demo/jordan_lee.txt")),
    ("lars_eriksen.txt", include_str!("../../demo/lars_eriksen.txt")),
    ("maria_okafor.txt", include_str!("../../demo/maria_okafor.txt")),
    ("nina_haddad.txt", include_str!("../../demo/nina_haddad.txt")),
    ("sam_patel.txt", include_str!("../../demo/sam_patel.txt")),
];

/// Between two messages of one conversation.
const MESSAGE_GAP: Duration = Duration::from_secs(20);

const KINDS: [&str; 4] = ["identity", "preference", "project", "constraint"];

/// One person of the demo.
#[derive(Debug)]
pub struct DemoPerson {
    pub user_id: String,
    /// In the order in which they were written; `event_id` is `<user>-<conversation>-m<number>`.
    pub events: Vec<ConversationEvent>,
    #[cfg_attr(not(test), allow(dead_code, reason = "what tests expect to be remembered; no part of the product"))]
    pub expected: Vec<ExpectedFact>,
    #[cfg_attr(not(test), allow(dead_code, reason = "what tests expect to be gone; no part of the product"))]
    pub absent: Vec<String>,
}

/// A fact that should be current after the last message.
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "what tests expect to be remembered; no part of the product"))]
pub struct ExpectedFact {
    pub kind: String,
    pub key: String,
    /// Any of these words within the value is enough, whatever their case.
    pub values: Vec<String>,
    pub previous: Option<String>,
    /// Stated in words that plain rules can find; else only a model might.
    pub plain: bool,
}

/// Every message of the demo, by time and then by event id.
///
/// # Errors
/// When a data file is malformed, with the file and the line.
pub fn demo_events() -> Result<Vec<ConversationEvent>, GenerateError> {
    let mut events: Vec<_> = demo_people()?.into_iter().flat_map(|person| person.events).collect();
    events.sort_by(|a, b| (a.ts, &a.event_id).cmp(&(b.ts, &b.event_id)));
    Ok(events)
}

/// The people, by user id.
///
/// # Errors
/// When a data file is malformed, with the file and the line.
pub fn demo_people() -> Result<Vec<DemoPerson>, GenerateError> {
    FILES.iter().map(|(file, text)| parse_person(file, text)).collect()
}

/// The conversation that the parser is in.
struct Open {
    id: String,
    next_ts: Timestamp,
    messages: usize,
}

fn parse_person(file: &'static str, text: &str) -> Result<DemoPerson, GenerateError> {
    let at = |line: usize| move |problem: String| GenerateError::Demo { file, line, problem };
    let user_id = match text.lines().next().and_then(|line| line.strip_prefix("# ")).map(str::trim) {
        Some(id) if !id.is_empty() && !id.contains(' ') => id.to_owned(),
        _ => return Err(at(1)("the first line must be `# user_id`".to_owned())),
    };
    let mut person = DemoPerson { user_id, events: Vec::new(), expected: Vec::new(), absent: Vec::new() };
    let mut open: Option<Open> = None;
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(header) = line.strip_prefix("==") {
            open = Some(parse_header(header, &person).map_err(at(number))?);
            continue;
        }
        let (tag, rest) = match line.split_once(": ").map(|(tag, rest)| (tag, rest.trim())) {
            Some((tag, rest)) if !rest.is_empty() => (tag, rest),
            _ => return Err(at(number)("a line is `user: …`, `assistant: …`, `== time id` or an expectation".into())),
        };
        match tag {
            "user" | "assistant" => {
                let Some(open) = open.as_mut() else {
                    return Err(at(number)("a message before the first `== time id`".to_owned()));
                };
                person.events.push(open.message(&person.user_id, tag, rest));
            }
            "expect" | "model" => person.expected.push(parse_expected(rest, tag == "expect").map_err(at(number))?),
            "absent" => person.absent.push(rest.to_owned()),
            other => return Err(at(number)(format!("unknown tag `{other}:`"))),
        }
    }
    Ok(person)
}

impl Open {
    fn message(&mut self, user_id: &str, role: &str, content: &str) -> ConversationEvent {
        self.messages += 1;
        let event = ConversationEvent {
            event_id: format!("{}-m{:03}", self.id, self.messages),
            ts: self.next_ts,
            conversation_id: self.id.clone(),
            user_id: user_id.to_owned(),
            role: role.to_owned(),
            content: content.to_owned(),
        };
        self.next_ts = self.next_ts.plus(MESSAGE_GAP);
        event
    }
}

fn parse_header(header: &str, person: &DemoPerson) -> Result<Open, String> {
    let mut words = header.split_whitespace();
    let (Some(time), Some(conversation), None) = (words.next(), words.next(), words.next()) else {
        return Err("a conversation begins as `== 2025-09-02T09:14:00Z c01`".to_owned());
    };
    let next_ts = Timestamp::parse(time).map_err(|error| error.to_string())?;
    let id = format!("{}-{conversation}", person.user_id);
    if person.events.last().is_some_and(|last| last.ts >= next_ts) {
        return Err(format!("conversation `{conversation}` begins before the one above it has ended"));
    }
    if person.events.iter().any(|event| event.conversation_id == id) {
        return Err(format!("conversation `{conversation}` was there before"));
    }
    Ok(Open { id, next_ts, messages: 0 })
}

fn parse_expected(text: &str, plain: bool) -> Result<ExpectedFact, String> {
    let form = || format!("`{text}` is not `kind key = value | value; was previous`");
    let (name, values) = text.split_once(" = ").ok_or_else(form)?;
    let (kind, key) = name.trim().split_once(' ').ok_or_else(form)?;
    if !KINDS.contains(&kind) {
        return Err(format!("unknown kind `{kind}`; it is one of {}", KINDS.join(", ")));
    }
    let (values, previous) = match values.split_once("; was ") {
        Some((values, previous)) => (values, Some(previous.trim().to_owned())),
        None => (values, None),
    };
    let values: Vec<String> = values.split(" | ").map(|value| value.trim().to_owned()).collect();
    if values.iter().any(String::is_empty) {
        return Err(form());
    }
    Ok(ExpectedFact { kind: kind.to_owned(), key: key.trim().to_owned(), values, previous, plain })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn conversations(person: &DemoPerson) -> Vec<&[ConversationEvent]> {
        person.events.chunk_by(|a, b| a.conversation_id == b.conversation_id).collect()
    }

    fn problem(text: &str) -> (usize, String) {
        match parse_person("test.txt", text).unwrap_err() {
            GenerateError::Demo { line, problem, .. } => (line, problem),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn eight_to_ten_people_write_thirty_to_eighty_messages_each() {
        let people = demo_people().unwrap();
        assert!((8..=10).contains(&people.len()));
        for person in &people {
            assert!((30..=80).contains(&person.events.len()), "{}: {}", person.user_id, person.events.len());
        }
        for promised in ["alex_chen", "sam_patel", "jordan_lee"] {
            assert!(people.iter().any(|person| person.user_id == promised), "{promised}");
        }
    }

    #[test]
    fn every_data_file_is_named_by_its_user_and_holds_expectations_of_its_own() {
        for ((file, text), person) in FILES.iter().zip(demo_people().unwrap()) {
            assert_eq!(*file, format!("{}.txt", person.user_id));
            assert!(text.lines().filter(|line| line.starts_with("expect: ")).count() >= 5, "{file}");
            assert!(person.absent.len() >= 4, "{file}");
        }
    }

    #[test]
    fn event_ids_are_unique_and_the_events_are_in_order_of_time() {
        let events = demo_events().unwrap();
        let ids: HashSet<_> = events.iter().map(|event| event.event_id.as_str()).collect();
        assert_eq!(ids.len(), events.len());
        assert!(ids.contains("alex_chen-c01-m003"));
        assert!(events.is_sorted_by_key(|event| (event.ts, event.event_id.clone())));
        let (from, to) =
            (Timestamp::parse("2025-09-01T00:00:00Z").unwrap(), Timestamp::parse("2025-12-01T00:00:00Z").unwrap());
        assert!(events.iter().all(|event| (from..to).contains(&event.ts)));
    }

    #[test]
    fn messages_are_twenty_seconds_apart_and_conversations_minutes_or_days() {
        for person in demo_people().unwrap() {
            let talks = conversations(&person);
            for talk in &talks {
                assert!(talk.windows(2).all(|pair| pair[1].ts.since(pair[0].ts) == MESSAGE_GAP), "{}", person.user_id);
            }
            let gaps: Vec<_> =
                talks.windows(2).map(|pair| pair[1][0].ts.since(pair[0][pair[0].len() - 1].ts)).collect();
            let soon = |gap: &&Duration| **gap <= Duration::from_secs(600);
            let later = |gap: &&Duration| **gap >= Duration::from_secs(86_400);
            assert!(gaps.iter().filter(soon).count() >= 1, "{}: {gaps:?}", person.user_id);
            assert_eq!(gaps.iter().filter(soon).count() + gaps.iter().filter(later).count(), gaps.len());
        }
    }

    #[test]
    fn a_quick_return_comes_while_the_first_message_still_waits_so_that_the_end_of_a_conversation_is_seen() {
        for person in demo_people().unwrap() {
            let quick = conversations(&person).windows(2).any(|pair| {
                let users = pair[0].iter().filter(|event| event.role == "user").count();
                users < 10 && pair[1][0].ts.since(pair[0][0].ts) < Duration::from_secs(600)
            });
            assert!(quick, "{}", person.user_id);
        }
    }

    #[test]
    fn every_person_has_short_conversations_and_one_that_reaches_the_threshold_in_time() {
        for person in demo_people().unwrap() {
            let users = |talk: &&[ConversationEvent]| talk.iter().filter(|event| event.role == "user").count();
            let talks = conversations(&person);
            assert!(talks.iter().filter(|talk| users(talk) < 10).count() >= 3, "{}", person.user_id);
            let tenth_in_time = talks.iter().any(|talk| {
                let mut own = talk.iter().filter(|event| event.role == "user");
                let first = own.next().map(|event| event.ts);
                let tenth = own.nth(8).map(|event| event.ts);
                matches!((first, tenth), (Some(a), Some(b)) if b.since(a) < Duration::from_secs(600))
            });
            assert!(tenth_in_time, "{}", person.user_id);
        }
    }

    #[test]
    fn what_is_expected_was_said_by_the_user() {
        for person in demo_people().unwrap() {
            let said: Vec<_> = person.events.iter().filter(|event| event.role == "user").collect();
            let by_user =
                |words: &str| said.iter().any(|event| event.content.to_lowercase().contains(&words.to_lowercase()));
            for fact in &person.expected {
                assert!(fact.values.iter().any(|value| by_user(value)), "{}: {fact:?}", person.user_id);
                assert!(fact.previous.iter().all(|value| by_user(value)), "{}: {fact:?}", person.user_id);
            }
        }
    }

    #[test]
    fn what_must_be_absent_was_said_by_somebody_and_is_not_expected() {
        for person in demo_people().unwrap() {
            for words in &person.absent {
                let words = words.to_lowercase();
                let said = person.events.iter().any(|event| event.content.to_lowercase().contains(&words));
                assert!(said, "{}: {words}", person.user_id);
                let expected = person.expected.iter().flat_map(|fact| &fact.values);
                assert!(!expected.clone().any(|value| value.to_lowercase() == words), "{}: {words}", person.user_id);
            }
        }
    }

    #[test]
    fn a_malformed_file_is_told_with_its_line() {
        assert_eq!(problem("user: hi").0, 1);
        assert_eq!(problem("# ann\nuser: hi").0, 2);
        assert_eq!(problem("# ann\n== soon c01").0, 2);
        assert_eq!(problem("# ann\n== 2025-09-01T10:00:00Z").0, 2);
        assert_eq!(problem("# ann\n== 2025-09-01T10:00:00Z c01\nuser:").0, 3);
        assert_eq!(problem("# ann\n== 2025-09-01T10:00:00Z c01\nbot: hi").1, "unknown tag `bot:`");
        let early = "# ann\n== 2025-09-01T10:00:00Z c01\nuser: a\nuser: b\n== 2025-09-01T10:00:20Z c02";
        assert_eq!(problem(early).0, 5);
        let twice = "# ann\n== 2025-09-01T10:00:00Z c01\nuser: a\n== 2025-09-02T10:00:20Z c01";
        assert_eq!(problem(twice).0, 4);
        assert!(problem("# ann\nexpect: taste diet = vegan").1.contains("unknown kind `taste`"));
        assert_eq!(problem("# ann\nexpect: identity location").0, 2);
    }

    #[test]
    fn an_expectation_holds_alternatives_and_the_value_before() {
        let fact = parse_expected("identity location = Austin | ATX; was Brooklyn", true).unwrap();
        let values = vec!["Austin".to_owned(), "ATX".to_owned()];
        let previous = Some("Brooklyn".to_owned());
        let (kind, key) = ("identity".to_owned(), "location".to_owned());
        assert_eq!(fact, ExpectedFact { kind, key, values, previous, plain: true });
    }
}
