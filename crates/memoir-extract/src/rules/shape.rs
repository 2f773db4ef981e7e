//! How the words that a pattern caught become a value: what is cut off, what is refused.

use memoir_core::profile::MAX_VALUE_CHARS;
use memoir_core::text::{fold_and_clip, normalize_key};

use super::pattern::Pattern;
use super::plain::{Text, TextBuffer};

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
    pub stop: Option<Pattern>,
    /// Words to drop from the beginning, as articles.
    pub leading: Option<Pattern>,
    /// Words to drop from the end, as "lol".
    pub trailing: Option<Pattern>,
    /// Values that are none, matched as a whole.
    pub refuse: Option<Pattern>,
    /// Only words with a capital letter belong to the value.
    pub capitals: bool,
    pub max_words: usize,
    pub overlong: Overlong,
    /// Words before which the head of a phrase stands ("app" of "app for dogs").
    pub head_ends: Option<Pattern>,
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
    pub fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        [&self.stop, &self.leading, &self.trailing, &self.refuse, &self.head_ends].into_iter().flatten()
    }

    /// `None` where the words are no value of this form.
    pub fn shape(&self, caught: Text<'_>) -> Option<Shaped> {
        let is_mark = |c: char| PUNCTUATION.contains(&c);
        let mut text = caught.after(caught.len() - caught.written.trim_start_matches(PUNCTUATION).len());
        while let Some((0, end)) = self.leading.as_ref().and_then(|leading| leading.find(text)) {
            if end == 0 {
                break;
            }
            text = text.after(end);
        }
        let from = caught.len() - text.len();
        if let Some((stop, _)) = self.stop.as_ref().and_then(|stop| stop.find(text)) {
            text = text.before(stop);
        }
        text = text.trim_end_matches(is_mark);
        while let Some((trailing, _)) = self.trailing.as_ref().and_then(|trailing| trailing.find(text)) {
            text = text.before(trailing).trim_end_matches(is_mark);
        }
        if self.capitals {
            text = text.before(capitalised(text.written)?.len());
        }
        if text.written.split_whitespace().count() > self.max_words {
            if self.overlong == Overlong::Refuse {
                return None;
            }
            let clipped = text.written.split_inclusive(' ').take(self.max_words).map(str::len).sum();
            text = text.before(clipped).trim_end_matches(is_mark);
        }
        let refused = self.refuse.as_ref().is_some_and(|refuse| refuse.is_match(text));
        let value = text.written;
        if refused || !value.chars().any(char::is_alphanumeric) || looks_secret(value) {
            return None;
        }
        Some(Shaped { value: fold_and_clip(value, MAX_VALUE_CHARS), end: from + text.len() })
    }

    /// The head of a phrase as a part of a key: "wedding planning app for couples" is an `app`.
    pub fn head(&self, value: &str) -> Option<String> {
        let buffer = TextBuffer::new(value.into());
        let phrase = match self.head_ends.as_ref().and_then(|ends| ends.find(buffer.text())) {
            Some((end, _)) if end > 0 => value.get(..end)?,
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
            stop: pattern(r"\s(?:and|but|right by)\b"),
            leading: pattern(r"^(?:the|a|an)\s+"),
            trailing: pattern(r"\s(?:lol|now)$"),
            refuse: pattern(r"^(?:moon|it)$"),
            capitals: false,
            max_words: 3,
            overlong: Overlong::Refuse,
            head_ends: pattern(r"\s(?:for|in)\b"),
        }
    }

    fn pattern(text: &str) -> Option<Pattern> {
        Some(Pattern::parse(text.to_owned()).unwrap().0)
    }

    fn value(shape: &Shape, text: &str) -> Option<String> {
        shape.shape(TextBuffer::new(text.into()).text()).map(|shaped| shaped.value)
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
