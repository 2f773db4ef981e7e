//! `memoir explain`: every change of a fact, and the messages that each rests on.
//!
//! A message stands word for word where `conversation_events` has it. Else what is left is the reason that the
//! extractor gave, which quotes the user where it can.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use memoir_core::Timestamp;

use super::open_warehouse;
use crate::cli::ExplainArguments;
use crate::config::Settings;
use crate::exit::Exit;
use crate::messages::{self, Message};
use crate::output::{self, Cell, Format, NamedRow, Rows, printable, short_time};
use crate::text::wrap;

const WIDTH: usize = 100;

/// One emission that changed the fact, or the latest one that confirmed it.
struct Change {
    emission_ts: Option<Timestamp>,
    action: String,
    value: String,
    previous_value: Cell,
    kind: String,
    confidence: Option<f64>,
    trigger: String,
    extractor: String,
    reason: String,
    support: Vec<Support>,
}

/// What a change rests on.
enum Support {
    /// The message itself.
    Message(Message),
    /// A message that no table has: only its id is known.
    Missing(String),
}

pub async fn run(arguments: &ExplainArguments, settings: &Settings) -> anyhow::Result<Exit> {
    let warehouse = open_warehouse(settings)?;
    let history = warehouse.history(&arguments.user, Some(&arguments.key)).await?;
    let history = Rows::from_batches(&history.schema, &history.batches)?;
    let told: Vec<NamedRow<'_>> = worth_telling(&history);
    let ids: BTreeSet<String> =
        told.iter().flat_map(|row| row.get("source_event_ids").as_texts().map(str::to_owned)).collect();
    let messages = messages::find(&warehouse, &arguments.user, &ids).await?;
    let changes: Vec<Change> = told.into_iter().map(|row| change(row, &messages)).collect();
    if changes.is_empty() {
        tracing::warn!("nothing was ever remembered about {} under `{}`", arguments.user, arguments.key);
    }
    match arguments.format.format {
        Format::Table => {
            let mut out = output::stdout();
            out.write_all(story(&arguments.user, &arguments.key, &changes).as_bytes())?;
            out.flush()?;
        }
        format => output::print(&rows(&changes), format)?,
    }
    Ok(Exit::DONE)
}

/// Every change, and the latest row where that is a confirmation: newer messages than those of the change support it.
fn worth_telling(history: &Rows) -> Vec<NamedRow<'_>> {
    let last = history.len().saturating_sub(1);
    let told = |(index, row): &(usize, NamedRow<'_>)| {
        row.text("action") != "unchanged" || (*index == last && !same_sources_as_change(history, *row))
    };
    history.named().enumerate().filter(told).map(|(_, row)| row).collect()
}

fn same_sources_as_change(history: &Rows, confirmation: NamedRow<'_>) -> bool {
    let change = history.named().filter(|row| row.text("action") != "unchanged").last();
    change.is_some_and(|change| change.get("source_event_ids") == confirmation.get("source_event_ids"))
}

fn change(row: NamedRow<'_>, messages: &BTreeMap<String, Message>) -> Change {
    let support = row.get("source_event_ids").as_texts().map(|id| match messages.get(id) {
        Some(message) => Support::Message(message.clone()),
        None => Support::Missing(id.to_owned()),
    });
    Change {
        emission_ts: row.get("emission_ts").as_time(),
        action: row.text("action").to_owned(),
        value: row.text("value").to_owned(),
        previous_value: row.get("previous_value").clone(),
        kind: row.text("kind").to_owned(),
        confidence: row.get("confidence").as_float(),
        trigger: row.text("trigger").to_owned(),
        extractor: row.text("extractor").to_owned(),
        reason: row.text("reason").to_owned(),
        support: support.collect(),
    }
}

/// A row for each message of each change; `words_from` says whose words `words` are.
fn rows(changes: &[Change]) -> Rows {
    let mut rows = Rows::new([
        "emission_ts",
        "action",
        "kind",
        "value",
        "previous_value",
        "confidence",
        "trigger",
        "extractor",
        "event_id",
        "message_ts",
        "role",
        "words",
        "words_from",
    ]);
    for change in changes {
        let common = [
            change.emission_ts.into(),
            change.action.as_str().into(),
            change.kind.as_str().into(),
            change.value.as_str().into(),
            change.previous_value.clone(),
            change.confidence.into(),
            change.trigger.as_str().into(),
            change.extractor.as_str().into(),
        ];
        let mut push = |own: [Cell; 5]| rows.push(common.iter().cloned().chain(own));
        let reason = || -> [Cell; 2] {
            if change.reason.is_empty() {
                [Cell::Null, Cell::Null]
            } else {
                [change.reason.as_str().into(), "reason".into()]
            }
        };
        for support in &change.support {
            match support {
                Support::Message(message) => push([
                    message.event_id.as_str().into(),
                    message.ts.into(),
                    message.role.as_str().into(),
                    message.content.as_str().into(),
                    "conversation_events".into(),
                ]),
                Support::Missing(id) => {
                    let [words, from] = reason();
                    push([id.as_str().into(), Cell::Null, Cell::Null, words, from]);
                }
            }
        }
        if change.support.is_empty() {
            let [words, from] = reason();
            push([Cell::Null, Cell::Null, Cell::Null, words, from]);
        }
    }
    rows
}

/// The same for people.
fn story(user: &str, key: &str, changes: &[Change]) -> String {
    let mut text = String::new();
    let Some(last) = changes.last() else { return text };
    let now = if last.action == "deleted" {
        format!("{user} · {key}: nothing now; it was {}", last.value)
    } else {
        let confidence = last.confidence.map(|c| format!(", confidence {c:.2}")).unwrap_or_default();
        format!("{user} · {key} = {}  ({}{confidence})", last.value, last.kind)
    };
    push_line(&mut text, &printable(&now));
    for change in changes {
        let at = change.emission_ts.map(short_time).unwrap_or_default();
        let value = match &change.previous_value {
            Cell::Text(previous) if change.action == "updated" => format!("{previous} → {}", change.value),
            _ => change.value.clone(),
        };
        let by = format!("[{}, {}]", change.trigger, change.extractor);
        push_line(&mut text, "");
        push_line(&mut text, &printable(&format!("{at}  {:<9}  {value}  {by}", change.action)));
        let mut missing = Vec::new();
        for support in &change.support {
            match support {
                Support::Message(message) => {
                    let head = format!("  {}  {} wrote ({}):", short_time(message.ts), message.role, message.event_id);
                    push_line(&mut text, &printable(&head));
                    push_quote(&mut text, &message.content);
                }
                Support::Missing(id) => missing.push(id.as_str()),
            }
        }
        if !missing.is_empty() {
            let list = format!("not in conversation_events: {}", missing.join(", "));
            wrap(&printable(&list), WIDTH - 2).iter().for_each(|line| push_line(&mut text, &format!("  {line}")));
        }
        if (!missing.is_empty() || change.support.is_empty()) && !change.reason.is_empty() {
            push_line(&mut text, "  the extractor's reason:");
            push_quote(&mut text, &change.reason);
        }
    }
    text
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

fn push_quote(text: &mut String, words: &str) {
    for line in wrap(&printable(words), WIDTH - 6) {
        push_line(text, &format!("    │ {line}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Time, action, value, previous value and sources of a row.
    type HistoryRow<'a> = (&'a str, &'a str, &'a str, Option<&'a str>, &'a [&'a str]);

    fn history(rows: &[HistoryRow<'_>]) -> Rows {
        let mut history = Rows::new([
            "emission_ts",
            "action",
            "value",
            "previous_value",
            "source_event_ids",
            "kind",
            "confidence",
            "trigger",
            "extractor",
            "reason",
        ]);
        for (at, action, value, previous, ids) in rows {
            history.push([
                Timestamp::parse(at).unwrap().into(),
                (*action).into(),
                (*value).into(),
                previous.map(str::to_owned).into(),
                ids.to_vec().into(),
                "identity".into(),
                0.9.into(),
                "threshold".into(),
                "heuristic".into(),
                "said so: \"I live there\"".into(),
            ]);
        }
        history
    }

    fn told(history: &Rows, messages: &[(&str, &str)]) -> Vec<Change> {
        let messages = messages.iter().map(|(id, content)| {
            let ts = Timestamp::parse("2026-01-05T08:59:00Z").unwrap();
            let message = Message { event_id: (*id).into(), ts, role: "user".into(), content: (*content).into() };
            ((*id).to_owned(), message)
        });
        let messages: BTreeMap<_, _> = messages.collect();
        worth_telling(history).into_iter().map(|row| change(row, &messages)).collect()
    }

    #[test]
    fn a_change_is_told_with_the_words_of_its_message() {
        let history = history(&[
            ("2026-01-05T09:00:00Z", "new", "Brooklyn", None, &["e1"]),
            ("2026-01-06T09:00:00Z", "unchanged", "Brooklyn", None, &["e1"]),
            ("2026-01-07T09:00:00Z", "updated", "Austin", Some("Brooklyn"), &["e2"]),
        ]);
        let changes = told(&history, &[("e1", "I live in Brooklyn"), ("e2", "I just moved to Austin!")]);
        let story = story("sam", "location", &changes);
        assert!(story.starts_with("sam · location = Austin  (identity, confidence 0.90)\n"), "{story}");
        assert!(
            story.contains("2026-01-07T09:00:00Z  updated    Brooklyn → Austin  [threshold, heuristic]"),
            "{story}"
        );
        assert!(story.contains("    │ I just moved to Austin!\n"), "{story}");
        assert!(!story.contains("the extractor's reason"), "{story}");
        assert_eq!(changes.len(), 2);
    }

    #[test]
    fn where_the_message_is_not_kept_the_reason_stands_in_and_it_says_so() {
        let history = history(&[("2026-01-05T09:00:00Z", "new", "Brooklyn", None, &["e1"])]);
        let changes = told(&history, &[]);
        let story = story("sam", "location", &changes);
        assert!(story.contains("not in conversation_events: e1"), "{story}");
        assert!(story.contains("the extractor's reason:\n    │ said so: \"I live there\""), "{story}");
        let rows = rows(&changes);
        let row = rows.named().next().unwrap();
        assert_eq!((row.text("event_id"), row.text("words_from")), ("e1", "reason"));
    }

    #[test]
    fn a_latest_confirmation_is_told_only_where_it_brings_newer_messages() {
        let mut rows = vec![
            ("2026-01-05T09:00:00Z", "new", "Brooklyn", None, &["e1"][..]),
            ("2026-01-06T09:00:00Z", "unchanged", "Brooklyn", None, &["e1"][..]),
        ];
        assert_eq!(told(&history(&rows), &[]).len(), 1);
        rows.push(("2026-01-07T09:00:00Z", "unchanged", "Brooklyn", None, &["e5"][..]));
        assert_eq!(told(&history(&rows), &[]).len(), 2);
    }

    #[test]
    fn a_deleted_fact_is_told_as_gone() {
        let history = history(&[
            ("2026-01-05T09:00:00Z", "new", "Brooklyn", None, &["e1"]),
            ("2026-01-06T09:00:00Z", "deleted", "Brooklyn", None, &["e2"]),
        ]);
        let story = story("sam", "location", &told(&history, &[]));
        assert!(story.starts_with("sam · location: nothing now; it was Brooklyn\n"), "{story}");
    }
}
