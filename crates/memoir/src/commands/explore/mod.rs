//! `memoir explore`: the demo's report. Who is remembered, how facts changed with the words that changed them, when
//! emissions happened, and who found the facts.
//!
//! This file asks the tables; [`report`] writes. Nothing in it depends on the wall clock, so the same tables give the
//! same report.

mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use memoir_core::Timestamp;
use memoir_core::event::CONVERSATION_EVENTS;
use memoir_core::profile::{EXTRACTIONS, PROFILE_AUDIT, STATUS_KEY};
use memoir_lake::view::CURRENT_VIEW;
use memoir_lake::{LakeError, Warehouse};

use super::open_warehouse;
use crate::config::Settings;
use crate::exit::Exit;
use crate::messages::{self, Message, literal};
use crate::output::{self, NamedRow, Rows};

/// Users that the report shows; the others are counted.
const SHOWN_USERS: usize = 12;
/// Facts whose evolution is told.
const SHOWN_EVOLUTIONS: usize = 4;

/// All that the report says.
#[derive(Debug, Default)]
struct Report {
    users: i64,
    facts: i64,
    messages: Option<i64>,
    emissions: i64,
    span: Option<(Timestamp, Timestamp)>,
    people: Vec<Person>,
    evolutions: Vec<Evolution>,
    statuses: Vec<Status>,
    extractions: Vec<Extractions>,
    /// Reserved keys that the view shows: none, or something is wrong.
    reserved_in_view: i64,
}

#[derive(Debug, Default)]
struct Person {
    user_id: String,
    facts: Vec<Fact>,
    emissions: Vec<Emission>,
}

#[derive(Debug)]
struct Fact {
    key: String,
    kind: String,
    value: String,
}

#[derive(Debug)]
struct Emission {
    at: Timestamp,
    trigger: String,
    changes: Vec<Change>,
}

/// One change of one fact.
#[derive(Clone, Debug)]
struct Change {
    user_id: String,
    at: Timestamp,
    key: String,
    kind: String,
    action: String,
    value: String,
    previous_value: String,
    reason: String,
    source_event_ids: Vec<String>,
}

/// A fact with all its changes, and the words behind each.
#[derive(Debug)]
struct Evolution {
    user_id: String,
    key: String,
    steps: Vec<(Change, Words)>,
}

#[derive(Debug, PartialEq)]
enum Words {
    /// The user's message, from `conversation_events`.
    Message(Message),
    /// What the extractor gave as its reason.
    Reason(String),
}

/// A status row's value, and how often and since when it was written.
#[derive(Debug)]
struct Status {
    value: String,
    count: i64,
    users: i64,
}

#[derive(Debug)]
struct Extractions {
    extractor: String,
    status: String,
    count: i64,
    accepted: i64,
}

pub async fn run(settings: &Settings) -> anyhow::Result<Exit> {
    let warehouse = open_warehouse(settings)?;
    let report = gather(&warehouse).await?;
    let mut out = output::stdout();
    out.write_all(report::write(&report).as_bytes())?;
    out.flush()?;
    Ok(Exit::DONE)
}

async fn gather(warehouse: &Warehouse) -> anyhow::Result<Report> {
    if !warehouse.has_table(PROFILE_AUDIT.name).await? {
        return Err(LakeError::TableMissing { table: warehouse.table_path(PROFILE_AUDIT.name) }.into());
    }
    let mut report = totals(warehouse).await?;
    let shown = users(warehouse).await?;
    let mut people: BTreeMap<String, Person> =
        shown.iter().map(|user| (user.clone(), Person { user_id: user.clone(), ..Person::default() })).collect();
    facts(warehouse, &shown, &mut people).await?;
    emissions(warehouse, &shown, &mut people).await?;
    report.people = people.into_values().collect();
    report.evolutions = evolutions(warehouse, &report.people).await?;
    Ok(report)
}

async fn ask(warehouse: &Warehouse, sql: &str) -> anyhow::Result<Rows> {
    let result = warehouse.query(sql).await?;
    Ok(Rows::from_batches(&result.schema, &result.batches)?)
}

async fn totals(warehouse: &Warehouse) -> anyhow::Result<Report> {
    let audit = PROFILE_AUDIT.name;
    let mut report = Report::default();
    let view = format!(
        "SELECT count(*) AS facts, count(DISTINCT user_id) AS users, \
         count(*) FILTER (WHERE substr(key, 1, 2) = '__') AS reserved FROM {CURRENT_VIEW}"
    );
    for row in ask(warehouse, &view).await?.named() {
        report.facts = row.get("facts").as_int().unwrap_or(0);
        report.users = row.get("users").as_int().unwrap_or(0);
        report.reserved_in_view = row.get("reserved").as_int().unwrap_or(0);
    }
    let emissions = format!(
        "SELECT count(DISTINCT emission_id) AS emissions, min(emission_ts) AS first_ts, max(emission_ts) AS last_ts FROM {audit}"
    );
    for row in ask(warehouse, &emissions).await?.named() {
        report.emissions = row.get("emissions").as_int().unwrap_or(0);
        report.span = row.get("first_ts").as_time().zip(row.get("last_ts").as_time());
    }
    if warehouse.has_table(CONVERSATION_EVENTS.name).await? {
        let messages = format!("SELECT count(*) AS messages FROM {}", CONVERSATION_EVENTS.name);
        report.messages = ask(warehouse, &messages).await?.named().next().and_then(|row| row.get("messages").as_int());
    }
    let statuses = format!(
        "SELECT value, count(*) AS row_count, count(DISTINCT user_id) AS users FROM {audit} WHERE key = {} \
         GROUP BY value ORDER BY value",
        literal(STATUS_KEY)
    );
    for row in ask(warehouse, &statuses).await?.named() {
        report.statuses.push(Status {
            value: row.text("value").to_owned(),
            count: row.get("row_count").as_int().unwrap_or(0),
            users: row.get("users").as_int().unwrap_or(0),
        });
    }
    if warehouse.has_table(EXTRACTIONS.name).await? {
        let extractions = format!(
            "SELECT extractor, status, count(*) AS extractions, sum(facts_accepted) AS accepted FROM {} \
             GROUP BY extractor, status ORDER BY extractor, status",
            EXTRACTIONS.name
        );
        for row in ask(warehouse, &extractions).await?.named() {
            report.extractions.push(Extractions {
                extractor: row.text("extractor").to_owned(),
                status: row.text("status").to_owned(),
                count: row.get("extractions").as_int().unwrap_or(0),
                accepted: row.get("accepted").as_int().unwrap_or(0),
            });
        }
    }
    Ok(report)
}

/// The first users that something is remembered about.
async fn users(warehouse: &Warehouse) -> anyhow::Result<Vec<String>> {
    let sql = format!("SELECT DISTINCT user_id FROM {CURRENT_VIEW} ORDER BY user_id LIMIT {SHOWN_USERS}");
    Ok(ask(warehouse, &sql).await?.named().map(|row| row.text("user_id").to_owned()).collect())
}

/// `IN (…)` with these users; with nobody, a list that nobody is in.
fn among(users: &[String]) -> String {
    let list = users.iter().map(|user| literal(user)).collect::<Vec<_>>().join(", ");
    if list.is_empty() { "user_id IS NULL".to_owned() } else { format!("user_id IN ({list})") }
}

async fn facts(warehouse: &Warehouse, shown: &[String], people: &mut BTreeMap<String, Person>) -> anyhow::Result<()> {
    let sql =
        format!("SELECT user_id, key, kind, value FROM {CURRENT_VIEW} WHERE {} ORDER BY user_id, key", among(shown));
    for row in ask(warehouse, &sql).await?.named() {
        if let Some(person) = people.get_mut(row.text("user_id")) {
            person.facts.push(Fact {
                key: row.text("key").to_owned(),
                kind: row.text("kind").to_owned(),
                value: row.text("value").to_owned(),
            });
        }
    }
    Ok(())
}

async fn emissions(
    warehouse: &Warehouse,
    shown: &[String],
    people: &mut BTreeMap<String, Person>,
) -> anyhow::Result<()> {
    let audit = PROFILE_AUDIT.name;
    let sql = format!(
        "SELECT user_id, emission_id, key, kind, action, value, previous_value, reason, source_event_ids FROM {audit} \
         WHERE {} AND action <> 'unchanged' AND substr(key, 1, 2) <> '__' ORDER BY user_id, emission_id, key",
        among(shown)
    );
    let changed = ask(warehouse, &sql).await?;
    let mut by_emission: BTreeMap<&str, Vec<NamedRow<'_>>> = BTreeMap::new();
    for row in changed.named() {
        by_emission.entry(row.text("emission_id")).or_default().push(row);
    }
    let sql = format!(
        "SELECT user_id, emission_id, min(emission_ts) AS emitted, min(trigger) AS cause FROM {audit} WHERE {} \
         GROUP BY user_id, emission_id ORDER BY user_id, emitted, emission_id",
        among(shown)
    );
    for row in ask(warehouse, &sql).await?.named() {
        let (Some(person), Some(at)) = (people.get_mut(row.text("user_id")), row.get("emitted").as_time()) else {
            continue;
        };
        let changes = by_emission.get(row.text("emission_id")).into_iter().flatten();
        person.emissions.push(Emission {
            at,
            trigger: row.text("cause").to_owned(),
            changes: changes.map(|row| change(*row, at)).collect(),
        });
    }
    Ok(())
}

fn change(row: NamedRow<'_>, at: Timestamp) -> Change {
    Change {
        user_id: row.text("user_id").to_owned(),
        at,
        key: row.text("key").to_owned(),
        kind: row.text("kind").to_owned(),
        action: row.text("action").to_owned(),
        value: row.text("value").to_owned(),
        previous_value: row.text("previous_value").to_owned(),
        reason: row.text("reason").to_owned(),
        source_event_ids: row.get("source_event_ids").as_texts().map(str::to_owned).collect(),
    }
}

/// The facts whose story is told, with the words behind each step.
async fn evolutions(warehouse: &Warehouse, people: &[Person]) -> anyhow::Result<Vec<Evolution>> {
    let mut evolutions = Vec::new();
    for steps in most_telling(people) {
        let Some(first) = steps.first() else { continue };
        let (user_id, key) = (first.user_id.clone(), first.key.clone());
        let ids: BTreeSet<String> = steps.iter().flat_map(|change| change.source_event_ids.clone()).collect();
        let messages = messages::find(warehouse, &user_id, &ids).await?;
        let steps = steps.into_iter().map(|change| {
            let words = words(&change, &messages);
            (change, words)
        });
        evolutions.push(Evolution { user_id, key, steps: steps.collect() });
    }
    Ok(evolutions)
}

/// Facts that were updated, the most telling first: one a person, those of identity before others, and those that
/// changed most before others.
fn most_telling(people: &[Person]) -> Vec<Vec<Change>> {
    let mut best = Vec::new();
    for person in people {
        let mut by_key: BTreeMap<&str, Vec<&Change>> = BTreeMap::new();
        for change in person.emissions.iter().flat_map(|emission| &emission.changes) {
            by_key.entry(&change.key).or_default().push(change);
        }
        let updated = by_key.into_values().filter(|steps| steps.iter().any(|change| change.action == "updated"));
        best.extend(updated.min_by_key(|steps| rank(steps)));
    }
    best.sort_by_key(|steps| rank(steps));
    best.truncate(SHOWN_EVOLUTIONS);
    best.into_iter().map(|steps| steps.into_iter().cloned().collect()).collect()
}

/// Less is told earlier. Ties go by the first step's place in the list of people, as sorting is stable.
fn rank(steps: &[&Change]) -> (usize, std::cmp::Reverse<usize>, String) {
    let kind = steps.last().map_or("", |change| change.kind.as_str());
    let order = ["identity", "project", "constraint", "preference"].iter().position(|known| *known == kind);
    let key = steps.first().map(|change| change.key.clone()).unwrap_or_default();
    (order.unwrap_or(usize::MAX), std::cmp::Reverse(steps.len()), key)
}

/// The message that shows a change best: the one that the reason quotes, else one that has the value in it, else the
/// last one. Where no message of the user is kept, the reason itself.
fn words(change: &Change, messages: &BTreeMap<String, Message>) -> Words {
    let said: Vec<&Message> = change
        .source_event_ids
        .iter()
        .filter_map(|id| messages.get(id))
        .filter(|message| message.role == memoir_core::profile::USER_ROLE)
        .collect();
    let holds = |part: &str| {
        let part = memoir_core::text::comparable(part);
        said.iter()
            .rev()
            .find(|message| !part.is_empty() && memoir_core::text::comparable(&message.content).contains(&part))
    };
    let quoted = quotes(&change.reason).into_iter().find_map(holds);
    match quoted.or_else(|| holds(&change.value)).or(said.last()) {
        Some(message) => Words::Message((*message).clone()),
        None => Words::Reason(change.reason.clone()),
    }
}

/// What stands in quotation marks.
fn quotes(text: &str) -> Vec<&str> {
    text.split(['"', '“', '”']).skip(1).step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn message(id: &str, role: &str, content: &str) -> (String, Message) {
        let ts = at("2026-01-05T09:00:00Z");
        (id.to_owned(), Message { event_id: id.into(), ts, role: role.into(), content: content.into() })
    }

    pub(super) fn step(user: &str, key: &str, kind: &str, action: &str, value: &str, ids: &[&str]) -> Change {
        Change {
            user_id: user.into(),
            at: at("2026-01-05T09:00:00Z"),
            key: key.into(),
            kind: kind.into(),
            action: action.into(),
            value: value.into(),
            previous_value: String::new(),
            reason: String::new(),
            source_event_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        }
    }

    #[test]
    fn the_words_of_a_change_are_the_users_message_that_is_quoted_or_holds_the_value() {
        let messages = BTreeMap::from([
            message("e1", "user", "I live in Brooklyn"),
            message("e2", "assistant", "Brooklyn is nice"),
            message("e3", "user", "ok thanks"),
        ]);
        let mut change = step("sam", "location", "identity", "new", "Brooklyn", &["e1", "e2", "e3"]);
        let expected = Words::Message(messages["e1"].clone());
        assert_eq!(words(&change, &messages), expected);
        change.value = "NYC".to_owned();
        assert_eq!(words(&change, &messages), Words::Message(messages["e3"].clone()));
        change.reason = "the user says \"I live in brooklyn\"".to_owned();
        assert_eq!(words(&change, &messages), expected);
    }

    #[test]
    fn without_a_message_the_reason_stands_in() {
        let mut change = step("sam", "location", "identity", "new", "Brooklyn", &["e2"]);
        change.reason = "said so".to_owned();
        let messages = BTreeMap::from([message("e2", "assistant", "Brooklyn is nice")]);
        assert_eq!(words(&change, &messages), Words::Reason("said so".to_owned()));
    }

    #[test]
    fn one_story_a_person_is_told_and_identity_comes_first() {
        let person = |user: &str, changes: Vec<Change>| Person {
            user_id: user.into(),
            facts: Vec::new(),
            emissions: vec![Emission { at: at("2026-01-05T09:00:00Z"), trigger: "drain".into(), changes }],
        };
        let two = |user: &str, key: &str, kind: &str| {
            vec![step(user, key, kind, "new", "a", &[]), step(user, key, kind, "updated", "b", &[])]
        };
        let people = [
            person("ann", two("ann", "diet", "preference")),
            person("bob", [two("bob", "app", "project"), two("bob", "location", "identity")].concat()),
            person("cat", vec![step("cat", "job", "identity", "new", "nurse", &[])]),
        ];
        let told: Vec<_> = most_telling(&people).into_iter().map(|steps| steps[0].key.clone()).collect();
        assert_eq!(told, ["location", "diet"]);
    }
}
