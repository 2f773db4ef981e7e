//! What a window says in the end: of each key the newest words count.

use std::collections::BTreeMap;

use memoir_core::evidence::Quote;
use memoir_core::profile::{ExtractionCall, Fact, Kind};
use memoir_core::text::comparable;

use super::claim::Effect;
use super::{Hit, Rules};

/// A correction means what was said in so many messages before it, counting its own.
const CORRECTION_REACH: usize = 6;

/// How likely the tagger must hold a label to change by it what is known of a key: to add something takes less.
const CHANGES: f32 = 0.8;

/// The keys of dates of plans.
const DATES: [&str; 2] = ["deadline", "trip_date"];

/// What is to be proposed for a key.
pub(super) struct Entry {
    pub key: String,
    pub rule: usize,
    pub kind: Option<Kind>,
    /// `None` is a deletion.
    pub value: Option<String>,
    pub message: usize,
    pub quote: String,
    pub sentence: String,
}

pub(super) struct Ledger<'a> {
    call: &'a ExtractionCall,
    rules: &'a Rules,
    entries: BTreeMap<String, Entry>,
    /// The key that the newest words gave.
    last_given: Option<String>,
}

impl<'a> Ledger<'a> {
    pub fn new(call: &'a ExtractionCall, rules: &'a Rules) -> Self {
        Self { call, rules, entries: BTreeMap::new(), last_given: None }
    }

    /// Takes what a rule found; hits come in the order of the words.
    pub fn enter(&mut self, hit: Hit) {
        let Some(claim) = self.rules.claim(hit.rule) else { return };
        match &claim.effect {
            Effect::Given(kind) => {
                let Some(value) = hit.value.clone() else { return };
                if hit.probability.is_some_and(|probability| probability < CHANGES)
                    && self.is_otherwise(&hit.key, &value)
                {
                    return;
                }
                self.last_given = Some(hit.key.clone());
                self.write(hit.key.clone(), Some(*kind), Some(value), &hit);
            }
            Effect::Corrected => self.correct(&hit),
            Effect::Deleted => {
                let deleted = self.deleted_keys(&hit, &claim.topics);
                let dates: Vec<String> = deleted.iter().flat_map(|key| self.dates_of(key)).collect();
                for key in deleted.into_iter().chain(dates) {
                    self.write(key, None, None, &hit);
                }
            }
        }
    }

    pub fn close(self) -> impl Iterator<Item = Entry> {
        self.entries.into_values()
    }

    fn write(&mut self, key: String, kind: Option<Kind>, value: Option<String>, hit: &Hit) {
        let entry = Entry {
            key: key.clone(),
            rule: hit.rule,
            kind,
            value,
            message: hit.message,
            quote: hit.quote.clone(),
            sentence: hit.sentence.clone(),
        };
        self.entries.insert(key, entry);
    }

    /// Puts the new value in the place of the last one, if both are of one sort and that one is near enough.
    fn correct(&mut self, hit: &Hit) {
        let Some(value) = &hit.value else { return };
        let Some(last) = self.last_given.as_ref().and_then(|key| self.entries.get(key)) else { return };
        let Some(old) = &last.value else { return };
        let conversation = |at: usize| self.call.request.window.get(at).map(|window| &window.message.conversation_id);
        let near =
            hit.message - last.message < CORRECTION_REACH && conversation(hit.message) == conversation(last.message);
        let (key, kind) = (last.key.clone(), last.kind);
        if near && sort_of(old) == sort_of(value) && comparable(old) != comparable(value) {
            self.write(key, kind, Some(value.clone()), hit);
        }
    }

    /// Whether a key is known with a value that this one says nothing of.
    fn is_otherwise(&self, key: &str, value: &str) -> bool {
        let said = self.entries.get(key).map(|entry| entry.value.as_ref());
        let old = said.unwrap_or_else(|| self.remembered(key).map(|fact| &fact.value));
        old.is_some_and(|old| !same_words(old, value))
    }

    /// What was remembered of a key before this window.
    fn remembered(&self, key: &str) -> Option<&Fact> {
        self.call.facts.iter().find(|(known, _)| known == key).map(|(_, fact)| fact)
    }

    /// The dates that were given in the words that gave a plan: they go with it.
    fn dates_of(&self, plan: &str) -> Vec<String> {
        let said = |key: &str| self.entries.get(key).filter(|entry| entry.kind == Some(Kind::Project));
        let together = |date: &&str| match (said(plan), said(date)) {
            (Some(plan), Some(date)) => plan.message == date.message,
            (None, None) => self.remembered(plan).zip(self.remembered(date)).is_some_and(|(plan, date)| {
                plan.kind == Kind::Project && plan.source_event_ids == date.source_event_ids
            }),
            _ => false,
        };
        DATES.into_iter().filter(|date| *date != plan).filter(together).map(str::to_owned).collect()
    }

    fn deleted_keys(&self, hit: &Hit, topics: &BTreeMap<String, Vec<String>>) -> Vec<String> {
        let known = self.call.facts.iter().map(|(key, fact)| (key, Some(&fact.value)));
        let said = self.entries.iter().map(|(key, entry)| (key, entry.value.as_ref()));
        // What was said in this window is newer than what is remembered.
        let known = known.filter(|(key, _)| !self.entries.contains_key(*key));
        let meant = known.chain(said).filter(|(key, _)| stands_for(&hit.key, key));
        match &hit.value {
            None => {
                let mut keys: Vec<String> = meant.map(|(key, _)| key.clone()).collect();
                if !hit.key.ends_with('*') && keys.is_empty() {
                    keys.push(hit.key.clone());
                }
                keys
            }
            Some(value) => {
                let names =
                    |key: &str, text: &str| same_words(value, text) || same_words(value, &key.replace('_', " "));
                let meant: Vec<(&String, Option<&String>)> = meant.collect();
                let named = meant.iter().filter(|(key, text)| text.is_some_and(|text| names(key, text)));
                let named: Vec<String> = named.map(|(key, _)| (*key).clone()).collect();
                if !named.is_empty() {
                    return named;
                }
                let value = comparable(value);
                let topics: Vec<&String> = value.split(' ').filter_map(|word| topics.get(word)).flatten().collect();
                let of_topic = |key: &str| topics.iter().any(|topic| stands_for(topic, key));
                meant
                    .iter()
                    .filter(|(key, text)| text.is_some() && of_topic(key))
                    .map(|(key, _)| (*key).clone())
                    .collect()
            }
        }
    }
}

/// Whether a key is the one that is meant, or begins as the one that ends in `*`.
fn stands_for(meant: &str, key: &str) -> bool {
    meant.strip_suffix('*').map_or(key == meant, |beginning| key.starts_with(beginning))
}

/// Whether one text stands in the other, as whole words.
fn same_words(one: &str, other: &str) -> bool {
    let (one, other) = (comparable(one), comparable(other));
    let in_text = |words: &str, text: &str| Quote::new(words).is_some_and(|quote| quote.occurs_in(text));
    in_text(&one, &other) || in_text(&other, &one)
}

/// A correction of a number is a number, and of a name a name.
fn sort_of(value: &str) -> u8 {
    if value.chars().any(|c| c.is_ascii_digit()) {
        0
    } else if value.chars().next().is_some_and(char::is_uppercase) {
        1
    } else {
        2
    }
}
