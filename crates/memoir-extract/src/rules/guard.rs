//! What keeps a rule from reading a statement where there is none: questions, suppositions, reported speech, play.
//!
//! Which words tell so is data (`[guards]` of the rules file); where they must stand is here.

use memoir_core::profile::WindowMessage;
use regex::Regex;

use super::passage::Sentence;

/// The guards of a language, compiled.
pub(super) struct Guards {
    /// Matches at the beginning of a question that may lack its mark.
    pub question: Regex,
    /// Words in a clause that make it a supposition.
    pub supposed: Regex,
    /// Matches at the beginning of a sentence that begins a supposition which the rest of the message goes on with.
    pub imagine: Regex,
    /// Words directly before a statement that make it none: "do", "they".
    pub before: Regex,
    /// Words directly before a statement that make it somebody else's or a denied one: "she thinks", "I never said".
    pub reported: Regex,
    /// People whom a sentence may be about.
    pub others: Regex,
    /// Words by which a statement is the user's own.
    pub first_person: Regex,
    /// Places and beings that no earnest sentence is about.
    pub jest: Regex,
    /// Words after which a new clause of the user's own begins: "and", "because".
    pub joins: Regex,
    /// What asks for work on a text that follows.
    pub pasted: Regex,
    /// Begins a play in which the user is somebody else; and ends it.
    pub scene: Regex,
    pub scene_end: Regex,
}

impl Guards {
    /// Where the user's own words end because a text follows that they want to have worked on.
    pub fn pasted_from(&self, text: &str) -> Option<usize> {
        self.pasted.find(text).map(|found| found.start())
    }

    fn is_question(&self, sentence: &str) -> bool {
        let trimmed = sentence.trim_end_matches(|c: char| c.is_whitespace() || "\"')!".contains(c));
        trimmed.ends_with(['?', '\u{ff1f}']) || self.question.is_match(sentence.trim_start_matches(['¿', ' ']))
    }

    pub fn begins_to_imagine(&self, sentence: &str) -> bool {
        self.imagine.is_match(sentence.trim_start())
    }

    /// Whether the last message of `window` is spoken in a play: one that its conversation began and did not end, or
    /// one with stage directions.
    pub fn in_a_scene(&self, window: &[WindowMessage]) -> bool {
        let Some(last) = window.last() else { return false };
        let text = last.message.content.as_str();
        if text.matches('*').count() >= 2 && text.trim_start().starts_with('*') {
            return true;
        }
        let conversation = &last.message.conversation_id;
        for WindowMessage { message, .. } in window.iter().rev() {
            if message.is_users() && &message.conversation_id == conversation {
                // Who ends a play names it too.
                if self.scene_end.is_match(&message.content) {
                    return false;
                }
                if self.scene.is_match(&message.content) {
                    return true;
                }
            }
        }
        false
    }

    /// Whether what stands from `start` to `end` of the sentence may be a statement of the user's.
    ///
    /// `presupposed` is for words that hold also in a question: who asks what "my dog Rex" may eat has a dog.
    pub fn lets_pass(&self, sentence: &Sentence<'_>, start: usize, end: usize, presupposed: bool) -> bool {
        if sentence.imagined || self.jest.is_match(sentence.text) {
            return false;
        }
        let before = sentence.text.get(..start).unwrap_or_default();
        let clause = before.rfind([',', ';', ':', '(', ')']).and_then(|at| before.get(at + 1..)).unwrap_or(before);
        if self.supposed.is_match(clause) {
            return false;
        }
        // Without a word of the first person it is about whom the sentence was about so far.
        let statement = sentence.text.get(start..end).unwrap_or_default();
        if self.others.is_match(before) && !self.first_person.is_match(statement) {
            return false;
        }
        let before = before.trim_end();
        if before.ends_with('¿') || self.reported.is_match(before.trim_end_matches([':', ' '])) {
            return false;
        }
        if presupposed || before.is_empty() {
            return true;
        }
        if before.ends_with(|c: char| !c.is_alphanumeric() && c != '\'') || self.joins.is_match(before) {
            return true;
        }
        !self.before.is_match(before) && !self.is_question(sentence.text)
    }
}
