//! The messages of one window while they are read: what several rules ask of a message is found out once.

use std::cell::{OnceCell, RefCell};

use memoir_core::profile::{Message, WindowMessage};

use super::guard::{Guards, SceneMark, has_stage_directions};
use super::passage::straight;
use super::plain::TextBuffer;
use super::prefilter::Literal;
use super::tagger::{MessageWords, Tagger};

pub(super) struct Reading<'w> {
    window: &'w [WindowMessage],
    guards: &'w [Guards],
    texts: Vec<OnceCell<TextBuffer<'w>>>,
    scenes: Vec<OnceCell<SceneMark>>,
    /// The words of each message, as taggers form them.
    words: Vec<OnceCell<MessageWords>>,
    /// Of the message that is being read.
    pub literals: RefCell<Vec<Literal>>,
}

impl<'w> Reading<'w> {
    pub fn new(window: &'w [WindowMessage], guards: &'w [Guards]) -> Self {
        let (texts, scenes) = (vec![OnceCell::new(); window.len()], vec![OnceCell::new(); window.len()]);
        let words = vec![OnceCell::new(); window.len()];
        Self { window, guards, texts, scenes, words, literals: RefCell::default() }
    }

    pub fn message(&self, at: usize) -> Option<&'w Message> {
        self.window.get(at).map(|window| &window.message)
    }

    /// The text of a message, its quotes and dashes straight.
    pub fn text(&self, at: usize) -> Option<&TextBuffer<'w>> {
        let message = self.message(at)?;
        Some(self.texts.get(at)?.get_or_init(|| TextBuffer::new(straight(&message.content))))
    }

    /// The words of a message, as taggers form them.
    pub fn words(&self, at: usize) -> Option<&MessageWords> {
        let words = || self.text(at).map_or_else(Vec::new, |text| Tagger::words(text.text().written));
        Some(self.words.get(at)?.get_or_init(words))
    }

    /// What the assistant said directly before a message, in its conversation.
    pub fn question(&self, at: usize) -> Option<&TextBuffer<'w>> {
        let before = at.checked_sub(1)?;
        let (question, answer) = (self.message(before)?, self.message(at)?);
        (!question.is_users() && question.conversation_id == answer.conversation_id).then(|| self.text(before))?
    }

    /// Whether a message is spoken in a play: one that its conversation began and did not end, or one with stage
    /// directions.
    pub fn in_a_scene(&self, at: usize) -> bool {
        let Some(message) = self.message(at) else { return false };
        if has_stage_directions(&message.content) {
            return true;
        }
        let of_conversation = |at: &usize| {
            let of = |other: &Message| other.is_users() && other.conversation_id == message.conversation_id;
            self.message(*at).is_some_and(of)
        };
        let marks = (0..=at).rev().filter(of_conversation).map(|at| self.scene(at));
        marks.into_iter().find(|mark| *mark != SceneMark::Nothing) == Some(SceneMark::Begins)
    }

    fn scene(&self, at: usize) -> SceneMark {
        let mark = || self.text(at).map_or(SceneMark::Nothing, |text| SceneMark::of(text.text(), self.guards));
        self.scenes.get(at).map_or(SceneMark::Nothing, |scene| *scene.get_or_init(mark))
    }
}
