//! Annotated conversations, and what the tagger would look at in them: what its weights are found on.

use super::passage::Passage;
use super::reading::Reading;
use super::tagger::{TrainingOptions, TrainingSentence};
use super::tagging::Tagged;
use super::{Rules, example};

/// A conversation whose user's words carry marks: `i'm from [Leeds|hometown]`.
///
/// Messages stand in one line with ` || ` between them; one that begins with `A: ` is the assistant's.
#[derive(Clone, Debug)]
pub struct Annotated {
    pub(super) texts: Vec<String>,
    /// Of each text: where the marks lie in it, in bytes, with their labels.
    marks: Vec<Vec<(usize, usize, String)>>,
}

/// A line that is no annotated conversation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} in {text:?}")]
pub struct TrainingError {
    pub problem: &'static str,
    pub text: String,
}

impl Annotated {
    /// # Errors
    /// When a mark is not closed, or has no label.
    pub fn parse(line: &str) -> Result<Self, TrainingError> {
        let (mut texts, mut marks) = (Vec::new(), Vec::new());
        for message in line.split(" || ") {
            let wrong = |problem| TrainingError { problem, text: message.to_owned() };
            let (mut text, mut of_text) = (String::new(), Vec::new());
            let mut rest = message;
            while let Some((before, mark)) = rest.split_once('[') {
                let (mark, after) = mark.split_once(']').ok_or_else(|| wrong("a mark is not closed"))?;
                let (words, label) = mark.split_once('|').ok_or_else(|| wrong("a mark has no label"))?;
                text.push_str(before);
                of_text.push((text.len(), text.len() + words.len(), label.to_owned()));
                text.push_str(words);
                rest = after;
            }
            text.push_str(rest);
            texts.push(text);
            marks.push(of_text);
        }
        Ok(Self { texts, marks })
    }

    /// The marked words.
    #[cfg(test)]
    pub(super) fn marked(&self) -> impl Iterator<Item = &str> {
        let of_text = |(text, marks): (&'_ String, &'_ Vec<(usize, usize, String)>)| -> Vec<(usize, usize)> {
            marks.iter().filter(|(_, to, _)| *to <= text.len()).map(|(from, to, _)| (*from, *to)).collect()
        };
        let texts = self.texts.iter().zip(self.texts.iter().zip(&self.marks).map(of_text));
        texts.flat_map(|(text, marks)| marks.into_iter().filter_map(|(from, to)| text.get(from..to)))
    }
}

impl Rules {
    /// The sentences of an annotated conversation, as the tagger of the first language that has one would see them.
    #[must_use]
    pub fn training_sentences(&self, conversation: &Annotated) -> Vec<TrainingSentence> {
        let mut sentences = Vec::new();
        let Some(tagging) = self.taggers.first() else { return sentences };
        let texts: Vec<&str> = conversation.texts.iter().map(String::as_str).collect();
        let call = example::call_of(&texts);
        let reading = Reading::new(&call.request.window, &self.guards);
        for (at, marks) in conversation.marks.iter().enumerate() {
            let users = reading.message(at).is_some_and(|message| message.is_users());
            let Some(text) = reading.text(at).filter(|_| users && !reading.in_a_scene(at)) else { continue };
            let mut tagged = Tagged::new(tagging, &reading, at);
            let passage = Passage::new(text.clone(), &[], &self.guards);
            for sentence in passage.sentences() {
                let within = |(from, to, _): &&(usize, usize, String)| sentence.start <= *from && *to <= sentence.end();
                let marks: Vec<(usize, usize, &str)> = marks
                    .iter()
                    .filter(within)
                    .map(|(from, to, label)| (from - sentence.start, to - sentence.start, label.as_str()))
                    .collect();
                sentences.extend(tagged.train(&sentence, &marks));
            }
        }
        sentences
    }

    /// A tagger's file, with the words of the tagger of the first language that has one and weights found on sentences;
    /// empty if none has.
    #[must_use]
    pub fn train_tagger(&self, sentences: &[TrainingSentence], options: &TrainingOptions) -> Vec<u8> {
        self.taggers.first().map(|tagging| tagging.tagger.train(sentences, options)).unwrap_or_default()
    }
}
