//! The report as text, at most a hundred columns wide.

use memoir_core::Timestamp;

use super::{Change, Emission, Evolution, Person, Report, Words};
use crate::output::printable;
use crate::text::{clip, wrap};

const WIDTH: usize = 100;

pub fn write(report: &Report) -> String {
    let mut page = Page::default();
    headline(&mut page, report);
    if report.people.is_empty() {
        page.line("");
        page.line("Nobody is remembered yet: `memoir run --trigger available-now` reads what people have said.");
    } else {
        people(&mut page, report);
        evolutions(&mut page, &report.evolutions);
        timeline(&mut page, &report.people);
    }
    finding(&mut page, report);
    page.text
}

/// Lines without blanks at their ends. What people wrote cannot move the cursor.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(printable(line).trim_end());
        self.text.push('\n');
    }

    fn title(&mut self, title: &str) {
        self.line("");
        let rule = "─".repeat(WIDTH.saturating_sub(title.chars().count() + 4));
        self.line(&format!("── {title} {rule}"));
    }

    /// Text behind a head; what does not fit goes on below, where the text began.
    fn hanging(&mut self, head: &str, text: &str) {
        let indent = head.chars().count();
        for (index, line) in wrap(text, WIDTH - indent).iter().enumerate() {
            self.line(&if index == 0 { format!("{head}{line}") } else { format!("{}{line}", " ".repeat(indent)) });
        }
    }
}

fn headline(page: &mut Page, report: &Report) {
    let messages = report.messages.map(|n| format!(" from {}", count(n, "message"))).unwrap_or_default();
    page.line("Memoir: what is remembered");
    page.line(&format!(
        "{}, {}{messages}, in {}",
        count(report.users, "person"),
        count(report.facts, "fact"),
        count(report.emissions, "emission")
    ));
    if let Some((first, last)) = report.span {
        page.line(&format!("emitted from {} to {} (UTC)", minute(first), minute(last)));
    }
}

fn people(page: &mut Page, report: &Report) {
    page.title("Who is remembered");
    for person in &report.people {
        page.line("");
        page.line(&person.user_id);
        let width = person.facts.iter().map(|fact| fact.key.chars().count()).max().unwrap_or(0).min(32);
        for kind in ["identity", "preference", "project", "constraint"] {
            for (index, fact) in person.facts.iter().filter(|fact| fact.kind == kind).enumerate() {
                let kind = if index == 0 { kind } else { "" };
                let head = format!("  {kind:<10}  {:<width$}  ", clip(&fact.key, width));
                page.hanging(&head, &fact.value);
            }
        }
    }
    let others = report.users - i64::try_from(report.people.len()).unwrap_or(i64::MAX);
    if others > 0 {
        page.line("");
        page.line(&format!("… and {} more: `memoir profile USER`", count(others, "person")));
    }
}

fn evolutions(page: &mut Page, evolutions: &[Evolution]) {
    if evolutions.is_empty() {
        return;
    }
    page.title("How facts changed, and the words that changed them");
    for evolution in evolutions {
        page.line("");
        page.line(&format!("{} · {}", evolution.user_id, evolution.key));
        for (change, words) in &evolution.steps {
            let value = match change.action.as_str() {
                "updated" => format!("{} → {}", change.previous_value, change.value),
                "deleted" => format!("{} (forgotten)", change.value),
                _ => change.value.clone(),
            };
            page.hanging(&format!("  {}  {:<8}  ", minute(change.at), change.action), &value);
            let quote = match words {
                Words::Message(message) => format!("“{}”", message.content),
                Words::Reason(reason) if reason.is_empty() => continue,
                Words::Reason(reason) => format!("{reason} (the extractor's reason; the message is not kept)"),
            };
            page.hanging("                    ", &quote);
        }
    }
    page.line("");
    page.line("`memoir explain USER KEY` tells this for any fact.");
}

fn timeline(page: &mut Page, people: &[Person]) {
    page.title("Emissions by person  (+ new, ~ updated, - deleted)");
    for person in people {
        page.line("");
        let total = i64::try_from(person.emissions.len()).unwrap_or(i64::MAX);
        page.line(&format!("{}  {}", person.user_id, count(total, "emission")));
        let mut quiet = Vec::new();
        for emission in &person.emissions {
            if emission.changes.is_empty() {
                quiet.push(emission);
                continue;
            }
            quiet_emissions(page, &mut quiet);
            page.hanging(
                &format!("  {}  {:<16}  ", minute(emission.at), emission.trigger),
                &changes(&emission.changes),
            );
        }
        quiet_emissions(page, &mut quiet);
    }
}

/// Emissions in a row that changed nothing, as one line.
fn quiet_emissions(page: &mut Page, quiet: &mut Vec<&Emission>) {
    match quiet.as_slice() {
        [] => {}
        [one] => page.line(&format!("  {}  {:<16}  nothing new", minute(one.at), one.trigger)),
        [first, .., last] => {
            page.line(&format!("  {}  {} times nothing new, until {}", minute(first.at), quiet.len(), minute(last.at)))
        }
    }
    quiet.clear();
}

fn changes(changes: &[Change]) -> String {
    let of = |action: &str, sign: &str| {
        let keys: Vec<&str> =
            changes.iter().filter(|change| change.action == action).map(|change| change.key.as_str()).collect();
        if keys.is_empty() { None } else { Some(format!("{sign} {}", keys.join(", "))) }
    };
    [of("new", "+"), of("updated", "~"), of("deleted", "-")].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn finding(page: &mut Page, report: &Report) {
    page.title("Who found the facts");
    page.line("");
    for group in &report.extractions {
        let head = format!("  {:<10}  {:<12}  ", group.extractor, group.status);
        page.line(&format!("{head}{}, {} accepted", count(group.count, "extraction"), count(group.accepted, "fact")));
    }
    for status in &report.statuses {
        let text = format!("{} in the audit, for {}", count(status.count, "status row"), count(status.users, "person"));
        page.hanging("  ", &format!("{}: {text}", status.value));
    }
    if report.statuses.is_empty() {
        page.line("  No status rows in the audit: nothing stood in for anything else.");
    }
    page.line(&match report.reserved_in_view {
        0 => "  The view of current facts shows no status row.".to_owned(),
        n => format!("  The view of current facts shows {} that it should not.", count(n, "reserved key")),
    });
}

/// `1 fact`, `2 facts`, `2 people`.
fn count(n: i64, what: &str) -> String {
    match (n, what) {
        (1, _) => format!("1 {what}"),
        (_, "person") => format!("{n} people"),
        _ => format!("{n} {what}s"),
    }
}

/// To the minute: emissions are not told apart here, but read.
fn minute(time: Timestamp) -> String {
    time.to_string().chars().take(16).map(|c| if c == 'T' { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::step;
    use super::super::{Extractions, Fact, Status};
    use super::*;
    use crate::messages::Message;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn sample() -> Report {
        let first = step("sam_patel", "location", "identity", "new", "Brooklyn", &["e1"]);
        let mut second = step("sam_patel", "location", "identity", "updated", "Austin", &["e2"]);
        second.previous_value = "Brooklyn".to_owned();
        second.at = at("2026-02-05T10:30:40Z");
        let words = |content: &str| {
            let ts = at("2026-01-05T09:00:00Z");
            Words::Message(Message { event_id: "e".into(), ts, role: "user".into(), content: content.into() })
        };
        let emission =
            |at: Timestamp, changes: Vec<Change>| Emission { at, trigger: "conversation_end".into(), changes };
        let fact =
            |key: &str, kind: &str, value: &str| Fact { key: key.into(), kind: kind.into(), value: value.into() };
        Report {
            users: 14,
            facts: 3,
            messages: Some(40),
            emissions: 5,
            span: Some((first.at, second.at)),
            people: vec![Person {
                user_id: "sam_patel".into(),
                facts: vec![
                    fact("location", "identity", "Austin"),
                    fact("pet", "identity", "a dog named Beau"),
                    fact("walks", "preference", &"long ".repeat(30)),
                ],
                emissions: vec![
                    emission(first.at, vec![first.clone(), step("sam_patel", "pet", "identity", "new", "Beau", &[])]),
                    emission(at("2026-01-06T09:00:00Z"), vec![]),
                    emission(at("2026-01-07T09:00:00Z"), vec![]),
                    emission(second.at, vec![second.clone()]),
                    emission(at("2026-02-06T09:00:00Z"), vec![]),
                ],
            }],
            evolutions: vec![Evolution {
                user_id: "sam_patel".into(),
                key: "location".into(),
                steps: vec![(first, words("I live in Brooklyn")), (second, words(&"I moved to Austin ".repeat(8)))],
            }],
            statuses: vec![Status { value: "llm_unavailable_heuristic_fallback".into(), count: 5, users: 1 }],
            extractions: vec![Extractions {
                extractor: "heuristic".into(),
                status: "unavailable".into(),
                count: 5,
                accepted: 3,
            }],
            reserved_in_view: 0,
        }
    }

    #[test]
    fn the_report_fits_a_hundred_columns_and_tells_each_part() {
        let text = write(&sample());
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        for part in [
            "14 people, 3 facts from 40 messages, in 5 emissions",
            "emitted from 2026-01-05 09:00 to 2026-02-05 10:30 (UTC)",
            "  identity    location  Austin\n              pet       a dog named Beau\n  preference  walks     long",
            "… and 13 people more",
            "sam_patel · location\n  2026-01-05 09:00  new       Brooklyn\n                    “I live in Brooklyn”\n  \
             2026-02-05 10:30  updated   Brooklyn → Austin\n",
            "  2026-01-05 09:00  conversation_end  + location, pet\n  2026-01-06 09:00  2 times nothing new, until \
             2026-01-07 09:00\n  2026-02-05 10:30  conversation_end  ~ location\n  2026-02-06 09:00  conversation_end  \
             nothing new\n",
            "llm_unavailable_heuristic_fallback: 5 status rows in the audit, for 1 person",
            "The view of current facts shows no status row.",
        ] {
            assert!(text.contains(part), "missing {part:?} in\n{text}");
        }
    }

    #[test]
    fn with_nobody_to_show_it_says_what_to_do() {
        let text = write(&Report::default());
        assert!(text.contains("Nobody is remembered yet: `memoir run"), "{text}");
    }

    #[test]
    fn what_people_wrote_cannot_colour_the_screen() {
        let mut report = sample();
        report.people[0].facts[0].value = "Aus\u{1b}[31mtin".to_owned();
        assert!(!write(&report).contains('\u{1b}'));
    }
}
