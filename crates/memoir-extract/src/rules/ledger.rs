//! What a window says in the end: of each key the newest words count.

use std::collections::BTreeMap;

use memoir_core::evidence::Quote;
use memoir_core::profile::{ExtractionCall, Kind};
use memoir_core::text::comparable;

use super::Hit;
use super::rule::{Effect, Rule};

/// A correction means what was said in so many messages before it, counting its own.
const CORRECTION_REACH: usize = 6;

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
    rules: &'a [Rule],
    entries: BTreeMap<String, Entry>,
    /// The key that the newest words gave.
    last_given: Option<String>,
}

impl<'a> Ledger<'a> {
    pub fn new(call: &'a ExtractionCall, rules: &'a [Rule]) -> Self {
        Self { call, rules, entries: BTreeMap::new(), last_given: None }
    }

    /// Takes what a rule found; hits come in the order of the words.
    pub fn enter(&mut self, hit: Hit) {
        let Some(rule) = self.rules.get(hit.rule) else { return };
        match &rule.effect {
            Effect::Given(kind) => {
                let Some(value) = hit.value.clone() else { return };
                self.last_given = Some(hit.key.clone());
                self.write(hit.key.clone(), Some(*kind), Some(value), &hit);
            }
            Effect::Corrected => self.correct(&hit),
            Effect::Deleted => {
                for key in self.deleted_keys(&hit) {
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

    fn deleted_keys(&self, hit: &Hit) -> Vec<String> {
        let is_meant = |key: &str| match hit.key.strip_suffix('*') {
            Some(beginning) => key.starts_with(beginning),
            None => key == hit.key,
        };
        let known = self.call.facts.iter().map(|(key, fact)| (key, Some(&fact.value)));
        let said = self.entries.iter().map(|(key, entry)| (key, entry.value.as_ref()));
        // What was said in this window is newer than what is remembered.
        let known = known.filter(|(key, _)| !self.entries.contains_key(*key));
        let meant = known.chain(said).filter(|(key, _)| is_meant(key));
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
                let keys = meant.filter(|(key, text)| text.is_some_and(|text| names(key, text)));
                keys.map(|(key, _)| key.clone()).collect()
            }
        }
    }
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
