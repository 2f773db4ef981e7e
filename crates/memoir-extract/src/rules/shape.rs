//! How the words that a pattern caught become a value: what is cut off, what is refused.

use memoir_core::profile::MAX_VALUE_CHARS;
use memoir_core::text::{fold_and_clip, normalize_key};
use regex::Regex;

/// What is done with a value of too many words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Overlong {
    #[default]
    Refuse,
    Clip,
}

/// The form of the values of one group name.
pub(super) struct Shape {
    /// Words that begin what does not belong to the value; it ends before them.
    pub stop: Option<Regex>,
    /// Words to drop from the beginning, as articles.
    pub leading: Option<Regex>,
    /// Words to drop from the end, as "lol".
    pub trailing: Option<Regex>,
    /// Values that are none, matched as a whole.
    pub refuse: Option<Regex>,
    /// Only words with a capital letter belong to the value.
    pub capitals: bool,
    pub max_words: usize,
    pub overlong: Overlong,
    /// Words before which the head of a phrase stands ("app" of "app for dogs").
    pub head_ends: Option<Regex>,
}

/// A value, and where it ends in the text that it was cut from, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shaped {
    pub value: String,
    pub end: usize,
}

const PUNCTUATION: &[char] =
    &['.', ',', ';', ':', '!', '?', '"', '\'', '(', ')', '[', ']', '*', '-', '~', '…', ' ', '\u{1}'];

impl Shape {
    /// `None` where the words are no value of this form.
    pub fn shape(&self, caught: &str) -> Option<Shaped> {
        let mut from = caught.len() - caught.trim_start_matches(PUNCTUATION).len();
        while let Some(leading) = self.leading.as_ref().and_then(|leading| leading.find(caught.get(from..)?)) {
            if leading.start() > 0 || leading.is_empty() {
                break;
            }
            from += leading.end();
        }
        let mut text = caught.get(from..)?;
        if let Some(stop) = self.stop.as_ref().and_then(|stop| stop.find(text)) {
            text = text.get(..stop.start())?;
        }
        text = text.trim_end_matches(PUNCTUATION);
        while let Some(trailing) = self.trailing.as_ref().and_then(|trailing| trailing.find(text)) {
            text = text.get(..trailing.start())?.trim_end_matches(PUNCTUATION);
        }
        if self.capitals {
            text = capitalised(text)?;
        }
        if text.split_whitespace().count() > self.max_words {
            if self.overlong == Overlong::Refuse {
                return None;
            }
            let clipped: usize = text.split_inclusive(' ').take(self.max_words).map(str::len).sum();
            text = text.get(..clipped)?.trim_end_matches(PUNCTUATION);
        }
        let refused = self.refuse.as_ref().is_some_and(|refuse| refuse.is_match(text));
        if refused || !text.chars().any(char::is_alphanumeric) || looks_secret(text) {
            return None;
        }
        Some(Shaped { value: fold_and_clip(text, MAX_VALUE_CHARS), end: from + text.len() })
    }

    /// The head of a phrase as a part of a key: "wedding planning app for couples" is an `app`.
    pub fn head(&self, value: &str) -> Option<String> {
        let phrase = match self.head_ends.as_ref().and_then(|ends| ends.find(value)) {
            Some(end) if end.start() > 0 => value.get(..end.start())?,
            _ => value,
        };
        normalize_key(phrase.split_whitespace().next_back()?)
    }
}

/// Small words that stand inside of names.
const PARTICLES: [&str; 15] =
    ["de", "da", "del", "della", "di", "do", "dos", "la", "le", "van", "von", "der", "of", "al", "and"];

/// The run of capitalised words at the beginning, with the particles between them.
fn capitalised(text: &str) -> Option<&str> {
    let mut end = 0;
    let mut at = 0;
    for word in text.split_inclusive(' ') {
        let bare = word.trim();
        let capital = bare.chars().next().is_some_and(char::is_uppercase);
        if capital {
            end = at + word.trim_end().len();
        } else if end == 0 || !PARTICLES.contains(&bare) {
            break;
        }
        at += word.len();
    }
    text.get(..end).filter(|run| !run.is_empty()).map(|run| run.trim_end_matches(PUNCTUATION))
}

/// What is never kept whatever rule caught it: long numbers, addresses, keys.
fn looks_secret(text: &str) -> bool {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let mixed = |word: &str| {
        word.len() >= 10
            && word.chars().any(|c| c.is_ascii_digit())
            && word.chars().any(char::is_alphabetic)
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_/+=.".contains(c))
    };
    digits > 9 || text.contains('@') || text.contains("://") || text.split_whitespace().any(mixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Shape {
        Shape {
            stop: Some(Regex::new(r"(?i)\s(?:and|but|right by)\b").unwrap()),
            leading: Some(Regex::new(r"(?i)^(?:the|a|an)\s+").unwrap()),
            trailing: Some(Regex::new(r"(?i)\s(?:lol|now)$").unwrap()),
            refuse: Some(Regex::new(r"(?i)^(?:moon|it)$").unwrap()),
            capitals: false,
            max_words: 3,
            overlong: Overlong::Refuse,
            head_ends: Some(Regex::new(r"(?i)\s(?:for|in)\b").unwrap()),
        }
    }

    fn value(shape: &Shape, text: &str) -> Option<String> {
        shape.shape(text).map(|shaped| shaped.value)
    }

    #[test]
    fn a_value_is_cut_at_the_words_that_do_not_belong_to_it() {
        let mut shape = shape();
        assert_eq!(value(&shape, " the Hague right by the sea").as_deref(), Some("Hague"));
        assert_eq!(value(&shape, "Leeds now lol!").as_deref(), Some("Leeds"));
        assert_eq!(value(&shape, "the moon"), None);
        assert_eq!(value(&shape, "one two three four"), None);
        shape.overlong = Overlong::Clip;
        assert_eq!(value(&shape, "one two three four").as_deref(), Some("one two three"));
        shape.capitals = true;
        assert_eq!(value(&shape, "Rio de Janeiro these days").as_deref(), Some("Rio de Janeiro"));
        assert_eq!(value(&shape, "somewhere nice"), None);
    }

    #[test]
    fn what_looks_like_a_secret_is_no_value() {
        for secret in ["4000 1234 5678 9010", "me@example.org", "qz-live-9f83kk21", "https://x.org"] {
            assert_eq!(value(&shape(), secret), None, "{secret}");
        }
        assert_eq!(value(&shape(), "15,000 dollars").as_deref(), Some("15,000 dollars"));
    }

    #[test]
    fn the_head_of_a_phrase_names_what_it_is() {
        assert_eq!(shape().head("wedding planning app for couples").as_deref(), Some("app"));
        assert_eq!(shape().head("thesis").as_deref(), Some("thesis"));
    }
}
