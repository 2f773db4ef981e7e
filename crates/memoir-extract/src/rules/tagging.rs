//! A message through the taggers: what of the conversation they are told, and what is made of the words that they label.

use std::cell::OnceCell;

use memoir_core::profile::Message;

use super::claim::Tag;
use super::passage::{BLANK, Sentence};
use super::plain::{Text, TextBuffer};
use super::reading::Reading;
use super::source::Source;
use super::tagger::{Context, Said, Scratch, Tagger, TrainingSentence};
use super::{Hit, Rules};
use crate::ExtractError;

/// How many messages before one a tagger is told of.
const MEMORY: usize = 12;

/// The tagger of a language, and which tag goes with each of its labels.
pub(super) struct Tagging {
    pub tagger: Tagger,
    pub tags: Vec<Option<usize>>,
    language: usize,
}

impl Tagging {
    /// `None` where a language has no tagger.
    pub fn new(
        source: &Source,
        language: usize,
        tags: &[Tag],
        tags_before: usize,
    ) -> Result<Option<Self>, ExtractError> {
        let wrong = |problem| ExtractError::Rules { file: source.name.to_string(), problem };
        let Some(bytes) = &source.tagger else {
            let problem = "it has tags, and no tagger lies beside it (en.tagger beside en.toml)".to_owned();
            return if tags.is_empty() { Ok(None) } else { Err(wrong(problem)) };
        };
        let tagger = Tagger::read(bytes).map_err(|problem| wrong(format!("the tagger beside it: {problem}")))?;
        if let Some(tag) = tags.iter().find(|tag| !tagger.labels().contains(&tag.claim.name)) {
            return Err(wrong(format!("the tagger beside it has no label {:?}", tag.claim.name)));
        }
        let of_label = |label| tags.iter().position(|tag| &tag.claim.name == label).map(|tag| tags_before + tag);
        let tags = tagger.labels().iter().map(of_label).collect();
        Ok(Some(Self { tagger, tags, language }))
    }
}

/// How much of a sentence stands in a quote before the words that a tag is for, in bytes.
const QUOTE_REACH: usize = 100;

/// Where a quote begins that ends with words at a place: the beginning of the sentence or of a word not too far before,
/// and nothing of others between.
fn quote_start(sentence: &str, at: usize) -> usize {
    let before = sentence.get(..at).unwrap_or_default();
    let from = before.rfind(BLANK).map_or(0, |at| at + BLANK.len_utf8());
    if at - from <= QUOTE_REACH {
        return from;
    }
    let near = (at - QUOTE_REACH..at).find(|at| before.is_char_boundary(*at)).unwrap_or(at);
    before.get(near..).and_then(|words| words.find(' ')).map_or(at, |blank| near + blank + 1)
}

/// A message while its sentences are tagged.
pub(super) struct Tagged<'r> {
    tagging: &'r Tagging,
    reading: &'r Reading<'r>,
    /// The place of the message in the window.
    at: usize,
    said: OnceCell<Said<'r>>,
    /// Of the next sentence.
    context: Context,
    scratch: Scratch,
}

impl<'r> Tagged<'r> {
    pub fn new(tagging: &'r Tagging, reading: &'r Reading<'r>, at: usize) -> Self {
        let later = before(reading, at).any(|(_, message)| message.is_users());
        let context = Context { first: true, answers: reading.question(at).is_some(), later, ..Context::default() };
        Self { tagging, reading, at, said: OnceCell::new(), context, scratch: Scratch::default() }
    }

    /// Tells what the next sentence says.
    pub fn sentence(&mut self, rules: &Rules, sentence: &Sentence<'_>, mut found: impl FnMut(Hit)) {
        let text = sentence.text.written;
        let tagger = &self.tagging.tagger;
        let guards = rules.guards.get(self.tagging.language);
        if !sentence.imagined {
            let said = || self.said.get_or_init(|| said(self.reading, self.at));
            tagger.tag(text, &self.context, said, &mut self.scratch, |span| {
                let Some(number) = self.tagging.tags.get(span.label).copied().flatten() else { return };
                let Some(tag) = rules.tags.get(number) else { return };
                if span.probability < tag.threshold || span.others_own || (span.of_another && !tag.anyone) {
                    return;
                }
                let before = sentence.text.before(span.start);
                if guards.is_some_and(|guards| guards.jests(sentence.text) || guards.fancied.is_match(before)) {
                    return;
                }
                let whole = (quote_start(text, span.start), span.end);
                let hit = tag.claim.hit(sentence, whole, span.start, |_| Some((span.start, span.end)));
                hit.into_iter().for_each(|hit| {
                    found(Hit { rule: rules.rules.len() + number, probability: Some(span.probability), ..hit })
                });
            });
        }
        self.go_on();
    }

    /// The next sentence as training takes it, with its marks; nothing if it is only imagined.
    pub fn train(&mut self, sentence: &Sentence<'_>, marks: &[(usize, usize, &str)]) -> Option<TrainingSentence> {
        let text = sentence.text.written;
        let tagger = &self.tagging.tagger;
        let said = self.said.get_or_init(|| said(self.reading, self.at));
        let taken =
            (!sentence.imagined).then(|| tagger.training_sentence(text, &self.context, said, marks, &mut self.scratch));
        self.go_on();
        taken
    }

    fn go_on(&mut self) {
        self.context = Context { first: false, answers: false, before: self.scratch.beginning(), ..self.context };
    }
}

/// The messages before one in its conversation, the last first.
fn before<'r>(reading: &'r Reading<'_>, at: usize) -> impl Iterator<Item = (usize, &'r Message)> {
    let conversation = reading.message(at).map(|message| &message.conversation_id);
    let messages = (0..at).rev().take(MEMORY).filter_map(|at| Some((at, reading.message(at)?)));
    messages.filter(move |(_, message)| Some(&message.conversation_id) == conversation)
}

/// The words of the conversation so far.
fn said<'r>(reading: &'r Reading<'_>, at: usize) -> Said<'r> {
    let mut said = Said::default();
    for (at, message) in before(reading, at) {
        let list = if message.is_users() { &mut said.by_user } else { &mut said.by_assistant };
        list.extend(reading.words(at));
    }
    let question = reading.question(at).map(TextBuffer::text).map(last_sentence);
    said.asked = question.map_or_else(Vec::new, Tagger::words);
    said
}

/// The last sentence of what the assistant said: its question, if there is one.
fn last_sentence(text: Text<'_>) -> &str {
    let text = text.written.trim_end();
    let inner = text.trim_end_matches(['?', '.', '!']);
    let from = inner.rfind(['?', '.', '!', '\n']).map_or(0, |at| at + 1);
    text.get(from..).unwrap_or_default().trim()
}
