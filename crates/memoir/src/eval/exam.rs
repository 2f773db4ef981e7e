//! The exam: one JSON object a line, each a conversation with the facts that should be remembered at its end.
//!
//! ```text
//! {"id":"x-1", "theme":"diet", "turns":[{"role":"user", "text":"I am vegan now."}],
//!  "facts":[{"kind":"preference", "about":"diet", "values":["vegan"]}], "not":["omnivore"], "why":"for readers"}
//! ```
//!
//! Each of `values` alone is enough; no facts means that nothing is to be remembered; `not` is what no value may hold.
//! Other fields are ignored, and so are blank lines. A line that is no such object is an error that names it.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memoir_core::profile::Kind;
use memoir_core::{ConversationEvent, Timestamp};
use serde::Deserialize;

/// 2026-01-05T09:00:00Z in microseconds: when the first conversation begins.
const START_MICROS: i64 = 1_767_603_600_000_000;
/// From the beginning of one conversation to that of the next.
const BETWEEN_CONVERSATIONS: Duration = Duration::from_secs(3600);
/// From one message of a conversation to the next.
const BETWEEN_MESSAGES: Duration = Duration::from_secs(20);

/// Labelled conversations, at least one, with ids that differ.
#[derive(Debug)]
pub struct Exam {
    pub items: Vec<Item>,
}

/// One conversation, of a user of its own.
#[derive(Debug, Deserialize)]
pub struct Item {
    /// Also the id of the user.
    pub id: String,
    pub theme: String,
    pub turns: Vec<Turn>,
    /// What should be remembered at the end.
    pub facts: Vec<GoldFact>,
    /// What must not occur in anything that is remembered.
    #[serde(rename = "not")]
    pub forbidden: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub struct Turn {
    pub role: String,
    pub text: String,
}

#[derive(Debug, Deserialize)]
pub struct GoldFact {
    pub kind: Kind,
    /// A label for readers.
    pub about: String,
    /// Any one of these is enough.
    pub values: Vec<String>,
}

/// Why a file is no exam.
#[derive(Debug, thiserror::Error)]
pub enum ExamError {
    #[error("cannot read the exam {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}, line {line}: {problem}", path.display())]
    BadLine { path: PathBuf, line: usize, problem: String },
    #[error("{} holds no conversation: an exam has one JSON object a line", path.display())]
    Empty { path: PathBuf },
}

impl Exam {
    /// # Errors
    /// When the file can't be read, a line is no conversation or has an id that was there before, or no line is one.
    pub fn read(path: &Path) -> Result<Self, ExamError> {
        let unreadable = |source| ExamError::Unreadable { path: path.to_owned(), source };
        Self::parse(path, &std::fs::read_to_string(path).map_err(unreadable)?)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, ExamError> {
        let mut items = Vec::new();
        let mut lines_of_ids = HashMap::new();
        for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
            let bad = |problem| ExamError::BadLine { path: path.to_owned(), line, problem };
            let item = parse_item(text).map_err(bad)?;
            if let Some(first) = lines_of_ids.insert(item.id.clone(), line) {
                return Err(bad(format!("the id {:?} is that of line {first} too", item.id)));
            }
            items.push(item);
        }
        if items.is_empty() { Err(ExamError::Empty { path: path.to_owned() }) } else { Ok(Self { items }) }
    }

    /// The conversations as events, in order. Ids and times are the same in every run.
    pub fn events(&self) -> impl Iterator<Item = ConversationEvent> {
        (0..).zip(&self.items).flat_map(|(number, item)| {
            let begin = Timestamp::from_micros(START_MICROS).plus(BETWEEN_CONVERSATIONS * number);
            (0..).zip(&item.turns).map(move |(message, turn)| ConversationEvent {
                event_id: format!("{}-e{}", item.id, message + 1),
                ts: begin.plus(BETWEEN_MESSAGES * message),
                conversation_id: format!("{}-c1", item.id),
                user_id: item.id.clone(),
                role: turn.role.clone(),
                content: turn.text.clone(),
            })
        })
    }
}

fn parse_item(line: &str) -> Result<Item, String> {
    // serde would take an array of the fields' values, too.
    if !line.trim_start().starts_with('{') {
        return Err("not a JSON object: it does not begin with `{`".to_owned());
    }
    let item: Item = serde_json::from_str(line).map_err(|error| {
        // The line that serde means is always the first.
        let text = error.to_string();
        let problem = text.rsplit_once(" at line ").map_or(text.as_str(), |(problem, _)| problem);
        format!("{problem} (column {})", error.column())
    })?;
    if item.id.is_empty() {
        return Err("`id` is empty".to_owned());
    }
    for (number, fact) in (1..).zip(&item.facts) {
        if fact.values.is_empty() {
            return Err(format!("fact {number} ({}) has no values: nothing could ever match it", fact.about));
        }
    }
    Ok(item)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"id":"a","theme":"t","turns":[{"role":"user","text":"hi"},{"role":"assistant","text":"hello"}],"facts":[{"kind":"identity","about":"name","values":["ada"]}],"not":["bob"],"why":"w"}"#;

    fn parse(text: &str) -> Result<Exam, ExamError> {
        Exam::parse(Path::new("exam.jsonl"), text)
    }

    #[test]
    fn events_have_ids_and_times_that_are_the_same_in_every_run() {
        let exam = parse(&format!("{GOOD}\n\n{}\r\n", GOOD.replace("\"a\"", "\"b\""))).unwrap();
        let events: Vec<_> = exam.events().map(|event| serde_json::to_string(&event).unwrap()).collect();
        assert_eq!(
            events,
            [
                r#"{"event_id":"a-e1","ts":"2026-01-05T09:00:00.000000Z","conversation_id":"a-c1","user_id":"a","role":"user","content":"hi"}"#,
                r#"{"event_id":"a-e2","ts":"2026-01-05T09:00:20.000000Z","conversation_id":"a-c1","user_id":"a","role":"assistant","content":"hello"}"#,
                r#"{"event_id":"b-e1","ts":"2026-01-05T10:00:00.000000Z","conversation_id":"b-c1","user_id":"b","role":"user","content":"hi"}"#,
                r#"{"event_id":"b-e2","ts":"2026-01-05T10:00:20.000000Z","conversation_id":"b-c1","user_id":"b","role":"assistant","content":"hello"}"#,
            ]
        );
    }

    #[test]
    fn a_bad_line_is_named_with_what_is_wrong() {
        let cases = [
            (GOOD.replace("\"not\":[\"bob\"],", ""), "missing field `not`"),
            (GOOD.replace("identity", "identify"), "unknown variant `identify`"),
            (GOOD.replace("[\"ada\"]", "[]"), "fact 1 (name) has no values"),
            (GOOD.replace("\"a\"", "\"\""), "`id` is empty"),
            (GOOD.replace("\"hi\"", "7"), "invalid type: integer `7`, expected a string"),
            (GOOD.replace("\"why\"", "why"), "key must be a string"),
            (GOOD.to_owned(), "the id \"a\" is that of line 1 too"),
            ("[1]".to_owned(), "not a JSON object"),
        ];
        for (line, problem) in cases {
            let error = parse(&format!("{GOOD}\n\n{line}\n")).unwrap_err().to_string();
            assert!(error.starts_with("exam.jsonl, line 3: ") && error.contains(problem), "{error}");
            assert!(!error.contains("at line 1"), "{error}");
        }
    }

    #[test]
    fn a_file_without_a_conversation_is_no_exam() {
        assert!(matches!(parse("\n \n").unwrap_err(), ExamError::Empty { .. }));
    }
}
