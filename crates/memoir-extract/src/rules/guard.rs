//! What keeps a rule from reading a statement where there is none: questions, suppositions, reported speech, play.
//!
//! Which words tell so is data (`[guards]` of a rules file); where they must stand is here. What begins a text of others,
//! a play or something imagined does so for the rules of every language, the other guards for those of their own: "am"
//! begins a question in English and a date in German.

use super::literals::AnyOf;
use super::passage::Sentence;
use super::pattern::Pattern;
use super::plain::Text;

/// The guards of a language, compiled.
pub(super) struct Guards {
    /// Matches at the beginning of a question that may lack its mark.
    pub question: Pattern,
    /// Matches a statement that is a question where nothing stands before it: "bin ich", am I.
    pub inverted: Pattern,
    /// Words in a clause that make it a supposition.
    pub supposed: Pattern,
    /// Words after which what a sentence says is only fancied: "what if". Other suppositions may hold true: "if I have asthma".
    pub fancied: Pattern,
    /// Matches at the beginning of a sentence that begins a supposition which the rest of the message goes on with.
    pub imagine: Pattern,
    /// Words directly before a statement that make it none: "do", "they".
    pub before: Pattern,
    /// Words directly before a statement that make it somebody else's or a denied one: "she thinks", "I never said".
    pub reported: Pattern,
    /// People whom a sentence may be about.
    pub others: Pattern,
    /// Words by which a statement is the user's own.
    pub first_person: Pattern,
    /// Places and beings that no earnest sentence is about.
    pub jest: Pattern,
    /// Words after which a new clause of the user's own begins: "and", "because".
    pub joins: Pattern,
    /// What asks for work on a text that follows.
    pub pasted: Pattern,
    /// Literals that any text holds in which it matches: one of each set.
    pub pasted_needs: Vec<AnyOf>,
    /// Begins a play in which the user is somebody else; and ends it.
    pub scene: Pattern,
    pub scene_end: Pattern,
}

/// What a message says of a play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SceneMark {
    Begins,
    Ends,
    Nothing,
}

impl SceneMark {
    /// What a message says of a play that its conversation is in, in whatever language. Who ends a play names it too.
    pub fn of(message: Text<'_>, languages: &[Guards]) -> Self {
        if languages.iter().any(|guards| guards.scene_end.is_match(message)) {
            Self::Ends
        } else if languages.iter().any(|guards| guards.scene.is_match(message)) {
            Self::Begins
        } else {
            Self::Nothing
        }
    }
}

impl Guards {
    pub fn all(&self) -> [&Pattern; 14] {
        let Self { question, inverted, supposed, fancied, imagine, before, reported, others, .. } = self;
        let Self { first_person, jest, joins, pasted, scene, scene_end, .. } = self;
        [
            question,
            inverted,
            supposed,
            fancied,
            imagine,
            before,
            reported,
            others,
            first_person,
            jest,
            joins,
            pasted,
            scene,
            scene_end,
        ]
    }

    /// Where the user's own words end because a text follows that they want to have worked on.
    pub fn pasted_from(&self, text: Text<'_>) -> Option<usize> {
        self.pasted.find(text).map(|(start, _)| start)
    }

    fn is_question(&self, sentence: Text<'_>) -> bool {
        let opening = sentence.written.len() - sentence.written.trim_start_matches(['¿', ' ']).len();
        asks(sentence) || self.question.is_match(sentence.after(opening))
    }

    pub fn begins_to_imagine(&self, sentence: Text<'_>) -> bool {
        self.imagine.is_match(sentence.trim_start())
    }

    /// Whether no earnest sentence is like this one.
    pub fn jests(&self, sentence: Text<'_>) -> bool {
        self.jest.is_match(sentence)
    }

    /// Whether what stands from `start` to `end` of the sentence may be a statement of the user's.
    ///
    /// `presupposed` is for words that hold also in a question: who asks what "my dog Rex" may eat has a dog.
    pub fn lets_pass(&self, sentence: &Sentence<'_>, start: usize, end: usize, presupposed: bool) -> bool {
        let text = sentence.text;
        if sentence.imagined || self.jests(text) {
            return false;
        }
        let before = text.before(start);
        let clause = before.written.rfind([',', ';', ':', '(', ')']).map_or(before, |at| before.after(at + 1));
        if self.supposed.is_match(clause) {
            return false;
        }
        // Without a word of the first person it is about whom the sentence was about so far.
        let statement = text.get(start, end).is_some_and(|statement| self.first_person.is_match(statement));
        if !statement && self.others.is_match(before) {
            return false;
        }
        let before = before.trim_end_matches(char::is_whitespace);
        if before.written.ends_with('¿') || self.reported.is_match(before.trim_end_matches(|c| c == ':' || c == ' ')) {
            return false;
        }
        if presupposed {
            return true;
        }
        if self.inverted.is_match(text.after(start)) && (before.is_empty() || asks(text)) {
            return false;
        }
        if before.is_empty() {
            return true;
        }
        if before.written.ends_with(|c: char| !c.is_alphanumeric() && c != '\'') || self.joins.is_match(before) {
            return true;
        }
        !self.before.is_match(before) && !self.is_question(text)
    }
}

/// Whether a sentence ends as a question.
fn asks(sentence: Text<'_>) -> bool {
    let trimmed = sentence.written.trim_end_matches(|c: char| c.is_whitespace() || "\"')!".contains(c));
    trimmed.ends_with(['?', '\u{ff1f}'])
}

/// Whether a message is spoken in a play by its looks: with stage directions.
pub(super) fn has_stage_directions(text: &str) -> bool {
    text.trim_start().starts_with('*') && text.matches('*').count() >= 2
}
