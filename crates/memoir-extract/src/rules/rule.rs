//! One rule: a pattern with what a match of it says.

use std::collections::BTreeMap;
use std::sync::Arc;

use memoir_core::profile::Kind;
use memoir_core::text::{fold_and_clip, normalize_key};

use super::Hit;
use super::guard::Guards;
use super::literals::AnyOf;
use super::passage::Sentence;
use super::pattern::{Match, Pattern};
use super::shape::Shape;

/// The longest quote and the longest sentence in a reason, in characters.
const MAX_QUOTE_CHARS: usize = 200;

/// What a match does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The key has the value.
    Given(Kind),
    /// The key has no value any more; with a value in the rule, only if it is the one that is known.
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

pub(super) struct Rule {
    pub name: String,
    pub pattern: Pattern,
    /// Sets of literals: a match holds one of each.
    pub needs: Vec<AnyOf>,
    pub key: Vec<Part>,
    pub value: Option<Vec<Part>>,
    pub effect: Effect,
    pub confidence: f64,
    /// The group that holds a list, each element of which is a fact.
    pub each: Option<String>,
    pub presupposed: bool,
    /// What the assistant must have asked just before.
    pub asked: Option<Pattern>,
    /// Rules that say more of the same words: where one of them matches, this one does not count.
    pub yields_to: Vec<usize>,
    /// By group name.
    pub shapes: Vec<(String, Arc<Shape>)>,
    /// Which language's guards it has.
    pub language: usize,
    /// What stands between the elements of a list.
    pub separators: Arc<[String]>,
    /// What words are called in keys, by the words in small letters.
    pub keys: Arc<BTreeMap<String, String>>,
}

impl Rule {
    pub fn needs(&self) -> &[AnyOf] {
        &self.needs
    }

    /// All of its patterns.
    pub fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        let shapes = self.shapes.iter().flat_map(|(_, shape)| shape.patterns());
        [&self.pattern].into_iter().chain(&self.asked).chain(shapes)
    }

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

    pub fn find(&self, sentence: &Sentence<'_>, guards: &Guards, mut found: impl FnMut(Hit)) {
        for matched in self.pattern.find_all(sentence.text) {
            let (start, end) = matched.span();
            if !guards.lets_pass(sentence, start, end, self.presupposed) {
                continue;
            }
            match self.each.as_deref().and_then(|group| matched.group(group).map(|list| (group, list))) {
                None => self.hit(sentence, &matched, None).into_iter().for_each(&mut found),
                Some((group, (start, end))) => {
                    for (from, to) in
                        elements(sentence.text.written.get(start..end).unwrap_or_default(), &self.separators)
                    {
                        let element = (group, start + from, start + to);
                        self.hit(sentence, &matched, Some(element)).into_iter().for_each(&mut found);
                    }
                }
            }
        }
    }

    fn hit(&self, sentence: &Sentence<'_>, matched: &Match<'_>, element: Option<(&str, usize, usize)>) -> Option<Hit> {
        let (whole_start, whole_end) = matched.span();
        let text = sentence.text.written;
        let mut values: Vec<(&str, String)> = Vec::with_capacity(self.shapes.len());
        // The quote ends where the last value does: what was cut off a value is no evidence for it.
        let mut end = if self.shapes.is_empty() { whole_end } else { whole_start };
        for (group, shape) in &self.shapes {
            let (start, to) = match element {
                Some((name, from, to)) if name == group => (from, to),
                _ => match matched.group(group) {
                    Some(caught) => caught,
                    None => continue,
                },
            };
            let shaped = shape.shape(sentence.text.get(start, to)?)?;
            end = end.max(start + shaped.end);
            values.push((group, shaped.value));
        }
        // A quote holds whole words: of "two cats" the value may be "cat".
        let tail = text.get(end..).unwrap_or_default();
        end += tail.len() - tail.trim_start_matches(char::is_alphanumeric).len();
        let start = element.map_or(whole_start, |(_, from, _)| from);
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

/// The elements of a list in words: "Spanish, German and a bit of Polish".
fn elements(list: &str, separators: &[String]) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    let mut from = 0;
    let mut at = 0;
    let mut rest = list;
    while let Some(c) = rest.chars().next() {
        let separator = separators
            .iter()
            .find(|separator| rest.get(..separator.len()).is_some_and(|head| head.eq_ignore_ascii_case(separator)));
        let length = separator.map_or(c.len_utf8(), String::len);
        if separator.is_some() {
            spans.push((from, at));
            from = at + length;
        }
        at += length;
        rest = rest.get(length..).unwrap_or_default();
    }
    spans.push((from, at));
    spans.retain(|(from, to)| list.get(*from..*to).is_some_and(|element| !element.trim().is_empty()));
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_in_words_has_its_elements() {
        let separators = [", and ", " and ", ","].map(str::to_owned);
        let of = |list: &'static str| {
            elements(list, &separators)
                .into_iter()
                .filter_map(|(from, to)| list.get(from..to))
                .map(str::trim)
                .collect::<Vec<_>>()
        };
        assert_eq!(of("Spanish, German and a bit of Polish"), ["Spanish", "German", "a bit of Polish"]);
        assert_eq!(of("C, C++, and Rust"), ["C", "C++", "Rust"]);
        assert_eq!(of("Go"), ["Go"]);
        assert_eq!(of(""), [""; 0]);
    }

    #[test]
    fn a_key_has_no_letters_with_marks() {
        assert_eq!(in_ascii("allergy_Nüsse"), "allergy_nuesse");
        assert_eq!(in_ascii("likes_cañón"), "likes_canon");
        assert_eq!(in_ascii("likes_東"), "likes_東");
    }
}
