//! The rules: facts found by patterns, with no network, no clock and no chance.
//!
//! What is looked for is data, a file a language (`config/rules/`, or files of the user's own); this module is the engine
//! behind it. The rules of all languages read each message, each rule with its own language's guards ([`source`]).
//! It reads only what the user wrote, and of that only the user's own words: what is quoted, pasted or played, what is
//! asked, supposed or said of others is left out ([`passage`], [`guard`]). Of a key the newest words win ([`ledger`]).
//! Every fact that it proposes quotes words that stand in the message that it names.
//!
//! A first pass over a message, one automaton for all rules ([`literals`]), tells which rules could match at all; for
//! most messages that is none, and nothing else is done.

mod claim;
mod example;
mod file;
mod guard;
mod ledger;
mod literals;
mod passage;
mod pattern;
mod plain;
mod prefilter;
mod reading;
mod rule;
mod shape;
mod source;
mod tagger;
mod tagging;
mod training;

use std::path::Path;

use memoir_core::evidence::Quote;
use memoir_core::profile::{Evidence, ExtractionCall, Message, ProposedFact};
use memoir_core::text::comparable;

use self::claim::{Claim, Effect, Tag};
use self::example::Example;
use self::guard::Guards;
use self::ledger::Ledger;
use self::passage::Passage;
use self::pattern::Pattern;
use self::prefilter::{Literal, Prefilter, RuleSet};
use self::reading::Reading;
use self::rule::Rule;
use self::source::Source;
pub use self::tagger::{TrainingOptions, TrainingSentence};
use self::tagging::{Tagged, Tagging};
pub use self::training::{Annotated, TrainingError};
use crate::ExtractError;

/// A set of rules, ready to be used from many threads.
pub struct Rules {
    /// In order of precedence: language after language.
    rules: Vec<Rule>,
    prefilter: Prefilter,
    /// The rules that answer a question of the assistant's.
    asked: RuleSet,
    /// By the number of the language.
    guards: Vec<Guards>,
    /// Numbered behind the rules.
    tags: Vec<Tag>,
    taggers: Vec<Tagging>,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

impl Rules {
    /// Reads the rules of each language and tries each rule on its own examples, among all of them.
    ///
    /// # Errors
    /// When a text is no rules file, a rule is wrong, or an example does not come out as it says.
    fn load(sources: &[Source]) -> Result<Self, ExtractError> {
        let (rules, examples) = Self::compile(sources)?;
        let names = || sources.iter().map(|source| source.name.as_ref());
        for rule in &rules.rules {
            rule.patterns().try_for_each(Pattern::compile).map_err(|problem| ExtractError::Rule {
                file: names().nth(rule.claim.language).unwrap_or_default().to_owned(),
                rule: rule.claim.name.clone(),
                problem,
            })?;
        }
        for (guards, name) in rules.guards.iter().zip(names()) {
            let compiled = guards.all().into_iter().try_for_each(Pattern::compile);
            compiled.map_err(|problem| ExtractError::Rules { file: name.to_owned(), problem })?;
        }
        for (examples, name) in examples.iter().zip(names()) {
            example::check(&rules, examples, name)?;
        }
        Ok(rules)
    }

    /// Reads the rules of a file, or of each `.toml` file in a folder, and tries them on their examples.
    ///
    /// # Errors
    /// When nothing can be read there, a file is no rules file, a rule is wrong, or an example does not come out as it
    /// says.
    pub fn load_path(path: &Path) -> Result<Self, ExtractError> {
        Self::load(&source::read(path)?)
    }

    /// The rules that come with Memoir. Their examples are tests of this crate, and not tried again.
    ///
    /// # Errors
    /// Never with a build that passed its tests.
    pub fn built_in() -> Result<Self, ExtractError> {
        Self::compile(&source::BUILT_IN).map(|(rules, _)| rules)
    }

    /// The rules, and the examples of each language.
    fn compile(sources: &[Source]) -> Result<(Self, Vec<Vec<Example>>), ExtractError> {
        let (mut rules, mut guards, mut examples) = (Vec::new(), Vec::new(), Vec::new());
        let (mut tags, mut taggers, mut tag_examples) = (Vec::new(), Vec::new(), Vec::new());
        for (language, source) in sources.iter().enumerate() {
            let compiled = file::compile(&source.text, &source.name, language, rules.len())?;
            taggers.extend(Tagging::new(source, language, &compiled.tags, tags.len())?);
            tag_examples.push((tags.len(), compiled.tag_examples));
            rules.extend(compiled.rules);
            tags.extend(compiled.tags);
            guards.push(compiled.guards);
            examples.push(compiled.examples);
        }
        for (examples, (before, of_tags)) in examples.iter_mut().zip(tag_examples) {
            let numbered = |example: Example| Example { rule: rules.len() + before + example.rule, ..example };
            examples.extend(of_tags.into_iter().map(numbered));
        }
        // Behind the rules stands, for each language, what begins a pasted text.
        let needs = rules.iter().map(Rule::needs).chain(guards.iter().map(|guards| guards.pasted_needs.as_slice()));
        let prefilter = Prefilter::new(needs).map_err(|problem| ExtractError::Rules {
            file: sources.iter().map(|source| source.name.as_ref()).collect::<Vec<_>>().join(", "),
            problem,
        })?;
        let mut asked = RuleSet::new(rules.len() + guards.len());
        (0..).zip(&rules).filter(|(_, rule)| rule.asked.is_some()).for_each(|(number, _)| asked.insert(number));
        Ok((Self { rules, prefilter, asked, guards, tags, taggers }, examples))
    }

    /// What a rule or a tag says, by its number.
    fn claim(&self, number: usize) -> Option<&Claim> {
        let tag = || self.tags.get(number.checked_sub(self.rules.len())?).map(|tag| &tag.claim);
        self.rules.get(number).map(|rule| &rule.claim).or_else(tag)
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What the fresh messages of the window say, in the order of keys, at most one fact a key.
    ///
    /// Older messages are context: they were in an earlier window. Only the user's own messages are read.
    #[must_use]
    pub fn extract(&self, call: &ExtractionCall) -> Vec<ProposedFact> {
        self.extract_with_rules(call).into_iter().map(|(_, fact)| fact).collect()
    }

    /// The facts, each with the number of the rule that found it.
    fn extract_with_rules(&self, call: &ExtractionCall) -> Vec<(usize, ProposedFact)> {
        let request = &call.request;
        let fresh = |at: &usize| request.window.get(*at).is_some_and(|window| window.seq >= request.fresh_from);
        let reading = Reading::new(&request.window, &self.guards);
        let mut hits: Vec<Hit> = Vec::new();
        for at in (0..request.window.len()).filter(fresh) {
            self.read(&reading, at, &mut hits);
        }
        if hits.is_empty() {
            return Vec::new();
        }
        // What corrects or takes back a value needs the value, which an older message may hold.
        if hits.iter().any(|hit| self.claim(hit.rule).is_some_and(Claim::looks_back)) {
            let mut older = Vec::new();
            for at in (0..request.window.len()).filter(|at| !fresh(at)) {
                self.read(&reading, at, &mut older);
            }
            hits.append(&mut older);
        }
        hits.sort_by_key(|hit| (hit.message, hit.start, hit.rule));
        let mut ledger = Ledger::new(call, self);
        for hit in hits {
            ledger.enter(hit);
        }
        ledger.close().filter(|entry| fresh(&entry.message)).filter_map(|entry| self.propose(call, entry)).collect()
    }

    /// Adds what one message says.
    fn read<'r>(&'r self, reading: &'r Reading<'r>, at: usize, hits: &mut Vec<Hit>) {
        if !reading.message(at).is_some_and(Message::is_users) {
            return;
        }
        let Some(text) = reading.text(at) else { return };
        let mut literals = reading.literals.borrow_mut();
        self.prefilter.scan(text.text(), &mut literals);
        let mut candidates = self.prefilter.candidates(literals.iter());
        let numbered = (self.rules.len()..).zip(&self.guards);
        let pasted_in: Vec<&Guards> =
            numbered.filter(|(number, _)| candidates.remove(*number)).map(|(_, guards)| guards).collect();
        for number in candidates.both(&self.asked) {
            let asked = self.rules.get(number).and_then(|rule| rule.asked.as_ref());
            if !asked.zip(reading.question(at)).is_some_and(|(asked, question)| asked.is_match(question.text())) {
                candidates.remove(number);
            }
        }
        if candidates.is_empty() && self.taggers.is_empty() {
            return;
        }
        let first_of_message = hits.len();
        let mut tagged: Vec<Tagged<'_>> =
            self.taggers.iter().map(|tagging| Tagged::new(tagging, reading, at)).collect();
        let passage = Passage::new(text.clone(), &pasted_in, &self.guards);
        for sentence in passage.sentences() {
            let first = hits.len();
            let within = |literal: &&Literal| sentence.start <= literal.start && literal.end <= sentence.end();
            let mut of_sentence = self.prefilter.candidates(literals.iter().filter(within));
            of_sentence.keep(&candidates);
            for number in of_sentence.iter() {
                let Some(rule) = self.rules.get(number) else { continue };
                let Some(guards) = self.guards.get(rule.claim.language) else { continue };
                rule.find(&sentence, guards, |found| {
                    // Of two rules that read the same words for one key the first one counts.
                    let overlaps = |hit: &Hit| {
                        let one = hit.key == found.key || rule.yields_to.contains(&hit.rule);
                        one && hit.start < found.end && found.start < hit.end
                    };
                    if !hits.get(first..).is_some_and(|hits| hits.iter().any(overlaps)) {
                        hits.push(Hit { rule: number, message: at, ..found });
                    }
                });
            }
            for tagged in &mut tagged {
                tagged.sentence(self, &sentence, |found| {
                    if !hits.get(first..).is_some_and(|hits| hits.iter().any(|hit| hit.says_the_same(&found))) {
                        hits.push(Hit { message: at, ..found });
                    }
                });
            }
        }
        // Asked last, since it reads the messages before this one: few messages come so far.
        if hits.len() > first_of_message && reading.in_a_scene(at) {
            hits.truncate(first_of_message);
        }
    }

    /// `None` where the quote would not hold: combining characters may bind a word to what follows it.
    fn propose(&self, call: &ExtractionCall, entry: ledger::Entry) -> Option<(usize, ProposedFact)> {
        let claim = self.claim(entry.rule)?;
        let message = &call.request.window.get(entry.message)?.message;
        if !Quote::new(&entry.quote)?.occurs_in(&comparable(&message.content)) {
            return None;
        }
        let (kind, value, action) = match (&claim.effect, entry.value) {
            (Effect::Deleted, _) | (_, None) => (String::new(), String::new(), "deleted"),
            (_, Some(value)) => (entry.kind.map_or_else(String::new, |kind| kind.to_string()), value, "new"),
        };
        let fact = ProposedFact {
            key: entry.key,
            kind,
            value,
            confidence: claim.confidence,
            action: action.to_owned(),
            evidence: vec![Evidence { event_id: Some(message.event_id.clone()), quote: Some(entry.quote) }],
            reason: format!("the user wrote \"{}\" (rule {})", entry.sentence, claim.name),
        };
        Some((entry.rule, fact))
    }
}

/// What one rule found in one sentence.
#[derive(Clone, Debug, Default)]
struct Hit {
    rule: usize,
    /// The place of its message in the window.
    message: usize,
    /// Where the match lies in the message, in bytes.
    start: usize,
    end: usize,
    key: String,
    value: Option<String>,
    quote: String,
    sentence: String,
    /// How likely the tagger holds the label; `None` is a rule's.
    probability: Option<f32>,
}

impl Hit {
    /// Whether both are of one key, or the value of one stands in that of the other.
    fn says_the_same(&self, other: &Self) -> bool {
        if self.key == other.key {
            return true;
        }
        let (Some(one), Some(other)) = (&self.value, &other.value) else { return false };
        let (one, other) = (comparable(one), comparable(other));
        one.contains(&other) || other.contains(&one)
    }
}

#[cfg(test)]
pub(crate) use self::example::call_of;

#[cfg(test)]
mod tests;
