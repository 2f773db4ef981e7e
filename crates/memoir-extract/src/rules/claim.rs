//! What is said by words that a rule or the tagger found: which fact, of which kind, with which value.

use std::collections::BTreeMap;
use std::sync::Arc;

use memoir_core::profile::Kind;
use memoir_core::text::{fold_and_clip, normalize_key};

use super::Hit;
use super::passage::Sentence;
use super::shape::Shape;

/// The longest quote and the longest sentence in a reason, in characters.
const MAX_QUOTE_CHARS: usize = 200;

/// What it does to the facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The key has the value.
    Given(Kind),
    /// The key has no value any more; with a value in the claim, only if it is the one that is known.
    Deleted,
    /// The value of the fact that was last given in the conversation is replaced.
    Corrected,
}

/// A part of a key or value template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Group(String),
    /// The head of what the group caught.
    Head(String),
}

/// What a match of a rule, or words with a tag, say.
pub(super) struct Claim {
    /// Of the rule or the tag.
    pub name: String,
    pub key: Vec<Part>,
    pub value: Option<Vec<Part>>,
    pub effect: Effect,
    pub confidence: f64,
    /// By group name.
    pub shapes: Vec<(String, Arc<Shape>)>,
    /// Which language's guards it has.
    pub language: usize,
    /// What words are called in keys, by the words in small letters.
    pub keys: Arc<BTreeMap<String, String>>,
    /// What words mean that name no value: the keys of "the car", of "where I work".
    pub topics: Arc<BTreeMap<String, Vec<String>>>,
}

/// What words say to which the tagger gives a label, the claim's name.
pub(super) struct Tag {
    pub claim: Claim,
    /// How likely the label must be.
    pub threshold: f32,
    /// Whether it counts also where a sentence has come to somebody else.
    pub anyone: bool,
}

impl Claim {
    /// Whether what it does depends on what was said before.
    pub fn looks_back(&self) -> bool {
        match self.effect {
            Effect::Given(_) => false,
            Effect::Corrected => true,
            Effect::Deleted => {
                self.value.is_some() || matches!(self.key.as_slice(), [Part::Text(key)] if key.ends_with('*'))
            }
        }
    }

    /// What the words from `whole.0` to `whole.1` of a sentence say; `group` tells where each group lies in them, and
    /// the claim is made from `start` on. `None` where a value has not its group's shape.
    pub fn hit(
        &self,
        sentence: &Sentence<'_>,
        whole: (usize, usize),
        start: usize,
        group: impl Fn(&str) -> Option<(usize, usize)>,
    ) -> Option<Hit> {
        let (whole_start, whole_end) = whole;
        let text = sentence.text.written;
        let mut values: Vec<(&str, String)> = Vec::with_capacity(self.shapes.len());
        // The quote ends where the last value does: what was cut off a value is no evidence for it.
        let mut end = if self.shapes.is_empty() { whole_end } else { whole_start };
        for (name, shape) in &self.shapes {
            let Some((from, to)) = group(name) else { continue };
            let shaped = shape.shape(sentence.text.get(from, to)?)?;
            end = end.max(from + shaped.end);
            values.push((name, shaped.value));
        }
        // A quote holds whole words: of "two cats" the value may be "cat".
        let tail = text.get(end..).unwrap_or_default();
        end += tail.len() - tail.trim_start_matches(char::is_alphanumeric).len();
        let quote = text.get(whole_start..end.max(whole_start))?;
        let quote = if quote.trim().is_empty() { text.get(whole_start..whole_end)? } else { quote };
        let key = self.fill_key(&values)?;
        let value = match &self.value {
            Some(parts) => Some(self.fill(parts, &values, |_| None)?),
            None => None,
        };
        Some(Hit {
            key,
            value,
            start: sentence.start + start,
            end: sentence.start + end,
            quote: fold_and_clip(quote, MAX_QUOTE_CHARS),
            sentence: fold_and_clip(text, MAX_QUOTE_CHARS),
            ..Hit::default()
        })
    }

    /// `None` where a group of the template took no part in the match. `called` has another word for some.
    fn fill<'k>(
        &self,
        parts: &[Part],
        values: &[(&str, String)],
        called: impl Fn(&str) -> Option<&'k str>,
    ) -> Option<String> {
        let mut filled = String::new();
        for part in parts {
            let (Part::Text(name) | Part::Group(name) | Part::Head(name)) = part;
            let value = || values.iter().find(|(group, _)| group == name).map(|(_, value)| value);
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Group(_) => filled.push_str(called(value()?).unwrap_or(value()?)),
                Part::Head(_) => {
                    let (_, shape) = self.shapes.iter().find(|(group, _)| group == name)?;
                    let head = shape.head(value()?)?;
                    filled.push_str(called(&head).unwrap_or(&head));
                }
            }
        }
        Some(filled)
    }

    fn fill_key(&self, values: &[(&str, String)]) -> Option<String> {
        let key = self.fill(&self.key, values, |word| self.keys.get(&word.to_lowercase()).map(String::as_str))?;
        if self.effect == Effect::Deleted && key.ends_with('*') {
            return Some(key.to_lowercase());
        }
        if self.effect == Effect::Corrected { Some(String::new()) } else { normalize_key(&in_ascii(&key)) }
    }
}

/// Keys are ASCII: letters with marks become letters without them, as people write them who lack them.
fn in_ascii(key: &str) -> String {
    if key.is_ascii() {
        return key.to_owned();
    }
    let mut plain = String::with_capacity(key.len());
    for c in key.chars().flat_map(char::to_lowercase) {
        match c {
            'ä' | 'æ' => plain.push_str("ae"),
            'ö' | 'ø' | 'œ' => plain.push_str("oe"),
            'ü' => plain.push_str("ue"),
            'ß' => plain.push_str("ss"),
            'á' | 'à' | 'â' | 'ã' | 'å' => plain.push('a'),
            'é' | 'è' | 'ê' | 'ë' => plain.push('e'),
            'í' | 'ì' | 'î' | 'ï' => plain.push('i'),
            'ó' | 'ò' | 'ô' | 'õ' => plain.push('o'),
            'ú' | 'ù' | 'û' => plain.push('u'),
            'ñ' => plain.push('n'),
            'ç' => plain.push('c'),
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_no_letters_with_marks() {
        assert_eq!(in_ascii("allergy_Nüsse"), "allergy_nuesse");
        assert_eq!(in_ascii("likes_cañón"), "likes_canon");
        assert_eq!(in_ascii("likes_東"), "likes_東");
    }
}
