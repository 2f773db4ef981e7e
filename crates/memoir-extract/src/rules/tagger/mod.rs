//! The tagger: which words of a sentence say something lasting of the user, and what.
//!
//! Patterns find what was said in the words that somebody thought of; people have others. The tagger is a linear-chain
//! conditional random field (Lafferty, McCallum and Pereira 2001) over the words of a sentence, their classes and how
//! they are written, with weights that were found on annotated conversations. It has no say in what the values become:
//! that is up to the tags of a rules file ([`super::claim`]), and the guards hold for it as for the rules.

mod features;
mod lattice;
mod model;
mod tokens;
mod train;

use self::features::Features;
pub(super) use self::features::{Context, MessageWords, Said};
use self::lattice::{Follows, Lattice};
use self::model::{Model, UNIT};
use self::tokens::Token;
pub use self::train::{TrainingOptions, TrainingSentence};

/// What stands for "nothing to remember".
const OUTSIDE: &str = "O";

/// Words with one label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    /// Where they lie in the sentence, in bytes.
    pub start: usize,
    pub end: usize,
    /// The number of the label.
    pub label: usize,
    /// How likely the label is, of the least likely of the words.
    pub probability: f32,
    /// Whether the last person named before it in the sentence is he or she.
    pub of_another: bool,
    /// Whether the word right before it says that it is somebody else's: "his wife".
    pub others_own: bool,
}

/// A model, ready to be used from many threads.
pub(super) struct Tagger {
    model: Model,
    features: Features,
    /// Of the tags, but for the first, which is [`OUTSIDE`].
    labels: Vec<String>,
    follows: Follows,
}

impl Tagger {
    /// # Errors
    /// Says what is wrong with the file.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let model = Model::read(bytes)?;
        let Some(labels) = model.tags.strip_prefix(&[OUTSIDE.to_owned()]) else {
            return Err(format!("its first tag is not {OUTSIDE:?}"));
        };
        let labels = labels.to_vec();
        let follows = Follows::new(model.tags.len(), &model.transitions);
        Ok(Self { model, features: Features::new(), labels, follows })
    }

    pub fn labels(&self) -> &[String] {
        &self.labels
    }
}

/// Words are of a label from so much probability on; whether it is enough is up to the tag.
const BOUNDARY: f32 = 0.3;

/// How much less than "nothing", the first of the tags, a tag may weigh and still have a chance, in thousandths: what precedes
/// and follows a token can make up for so much.
const CHANCE: i16 = 500;
/// How much less it may weigh and take part where another has a chance.
const PART: i16 = 1000;

/// What is needed while a message is tagged.
#[derive(Default)]
pub(super) struct Scratch {
    tokens: Vec<Token>,
    /// Which tokens the gate let pass.
    passed: Vec<bool>,
    /// The tags that take part, and how they follow one another.
    labels: Vec<usize>,
    follows: Follows,
    features: Vec<u32>,
    /// Sums of weights, in thousandths: of the whole sentence, and of its tokens one after the other.
    row: Vec<i16>,
    sums: Vec<i16>,
    lattice: Lattice,
}

impl Scratch {
    /// The first two words of the sentence that was looked at.
    pub fn beginning(&self) -> [u32; 2] {
        let word = |at: usize| self.tokens.get(at).map_or(0, |token| token.word);
        [word(0), word(1)]
    }
}

impl Tagger {
    /// The words of a text, in order.
    pub fn words(text: &str) -> MessageWords {
        let mut words = MessageWords::new();
        tokens::words(text, &mut words);
        words.sort_unstable();
        words.dedup();
        words
    }

    /// The spans of a sentence, in the order of the words.
    ///
    /// `said` is asked only where the sentence is worth a look.
    pub fn tag<'s, 'r: 's>(
        &self,
        sentence: &str,
        context: &Context,
        said: impl FnOnce() -> &'s Said<'r>,
        scratch: &mut Scratch,
        mut found: impl FnMut(Span),
    ) {
        tokens::tokens(sentence, &self.model.words, &mut scratch.tokens);
        if scratch.tokens.is_empty() || !self.is_worth_a_look(context, scratch) {
            return;
        }
        if self.features.is_foreign(&scratch.tokens) || !self.decode(context, said(), scratch) {
            return;
        }
        let tags = scratch.labels.len();
        let mut open: Option<(Span, f32)> = None;
        let mut of_another = false;
        for (at, (token, of_tags)) in scratch.tokens.iter().zip(scratch.lattice.likely.chunks_exact(tags)).enumerate() {
            let labels = of_tags.iter().copied().skip(1).enumerate();
            let (label, inside) = labels.fold((0, 0.0), |most, one| if one.1 > most.1 { one } else { most });
            let label = scratch.labels.get(label + 1).map_or(0, |tag| tag - 1);
            let goes_on = open.as_ref().is_some_and(|(span, _)| span.label == label);
            if inside < BOUNDARY || !goes_on {
                open.take().into_iter().for_each(|(span, _)| found(span));
            }
            if inside >= BOUNDARY {
                let before = at.checked_sub(1).and_then(|at| scratch.tokens.get(at));
                let others_own = before.is_some_and(|before| self.features.is_of_others(before));
                let span = Span { start: token.start, end: token.end, label, probability: 0.0, of_another, others_own };
                let (span, words) = open.get_or_insert((span, 0.0));
                span.probability = (span.probability * *words + inside) / (*words + 1.0);
                *words += 1.0;
                span.end = token.end;
            }
            of_another = self.features.is_of_another(token, scratch.tokens.get(at + 1)).unwrap_or(of_another);
        }
        open.into_iter().for_each(|(span, _)| found(span));
    }

    /// A sentence as training takes it, with its marks: from where to where, in bytes, and the label.
    pub fn training_sentence(
        &self,
        sentence: &str,
        context: &Context,
        said: &Said<'_>,
        marks: &[(usize, usize, &str)],
        scratch: &mut Scratch,
    ) -> TrainingSentence {
        let tokens = &mut scratch.tokens;
        tokens::tokens(sentence, &self.model.words, tokens);
        let mut taken = TrainingSentence::default();
        self.features.of_sentence(tokens, context, said, &mut taken.of_sentence);
        self.features.of_gate(tokens, context, |features| taken.of_gate.push(*features));
        self.features.of_tokens(tokens, said, |_| true, |_, features| taken.features.push(features.to_vec()));
        taken.tags.extend(tokens.iter().map(|token| {
            let mark = marks.iter().find(|(from, to, _)| token.start < *to && *from < token.end);
            mark.map_or(OUTSIDE, |(_, _, label)| *label).to_owned()
        }));
        taken
    }

    /// A tagger's file with the words of this one and the weights found on sentences.
    pub fn train(&self, sentences: &[TrainingSentence], options: &TrainingOptions) -> Vec<u8> {
        self.model.words.write(&train::train(sentences, options))
    }

    /// Whether some token may be one to remember, as far as its nearest neighbours tell.
    fn is_worth_a_look(&self, context: &Context, scratch: &mut Scratch) -> bool {
        let gate = &self.model.gate;
        let Scratch { tokens, passed, .. } = scratch;
        passed.clear();
        self.features.of_gate(tokens, context, |features| {
            passed.push(features.iter().map(|feature| gate.weight(*feature)).sum::<i32>() >= gate.least);
        });
        passed.contains(&true)
    }

    /// How likely each tag is of each token; `false` where none but "nothing" has a chance.
    fn decode(&self, context: &Context, said: &Said<'_>, scratch: &mut Scratch) -> bool {
        let Scratch { tokens, features, row, sums, lattice, passed, labels, follows } = scratch;
        let weights = &self.model.weights;
        row.clear();
        row.resize(weights.width(), 0);
        self.features.of_sentence(tokens, context, said, features);
        features.iter().for_each(|feature| weights.add(*feature, row));
        sums.clear();
        tokens.iter().for_each(|_| sums.extend_from_slice(row));
        let of = |at: usize| at * weights.width()..(at + 1) * weights.width();
        let mut weigh = |passed_or_not: bool| {
            let mut chance = false;
            self.features.of_tokens(
                tokens,
                said,
                |at| passed.get(at) == Some(&passed_or_not),
                |at, features| {
                    let Some(sums) = sums.get_mut(of(at)) else { return };
                    features.iter().for_each(|feature| weights.add(*feature, sums));
                    chance |= has_a_chance(sums.get(..self.model.tags.len()).unwrap_or_default());
                },
            );
            chance
        };
        // Those that the gate let pass come first: mostly they have no chance, and the others need not be looked at.
        if !weigh(true) {
            return false;
        }
        weigh(false);
        // Of the labels only those that some token may have take part.
        labels.clear();
        let tags = 0..self.model.tags.len();
        labels.extend(tags.filter(|tag| {
            *tag == 0 || sums.chunks_exact(weights.width()).any(|sums| may_be(sums.first(), sums.get(*tag), PART))
        }));
        lattice.begin(labels.len());
        for sums in sums.chunks_exact(weights.width()) {
            lattice.push(labels.iter().map(|tag| sums.get(*tag).map_or(0.0, |sum| f32::from(*sum) * UNIT)));
        }
        follows.take(&self.follows, labels);
        lattice.run(follows);
        true
    }
}

/// Whether a token with these sums may have a label.
fn has_a_chance(sums: &[i16]) -> bool {
    sums.iter().skip(1).any(|sum| may_be(sums.first(), Some(sum), CHANCE))
}

/// Whether a label weighs no more than so much less than "nothing".
fn may_be(nothing: Option<&i16>, label: Option<&i16>, less: i16) -> bool {
    nothing.zip(label).is_some_and(|(nothing, label)| *label > nothing.saturating_sub(less))
}
