//! Whether words stand in a message.
//!
//! A quote shows something only where it occurs in what the user wrote. Both are compared in one form
//! ([`crate::text::comparable`]: white space, case, Unicode form, quotes and hyphens folded), the quote without the
//! quotation marks, dots and ellipses around it. A quote in two parts (`a … b`) occurs where its parts do, in order.

use crate::text::comparable;

/// The shortest quote that shows anything, in characters (letters and digits).
pub const MIN_QUOTE_CHARS: usize = 2;

/// A quote, ready to be looked for in many messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    parts: Vec<String>,
}

impl Quote {
    /// `None` where the text holds too little to show anything.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = comparable(text).replace('…', "...");
        let parts: Vec<String> = text
            .split("...")
            .map(|part| part.trim_matches(|c: char| c.is_whitespace() || "\"'.,;:!?()[]-".contains(c)).to_owned())
            .filter(|part| !part.is_empty())
            .collect();
        let solid = parts.iter().flat_map(|part| part.chars()).filter(|c| c.is_alphanumeric()).count();
        (solid >= MIN_QUOTE_CHARS).then_some(Self { parts })
    }

    /// Whether it stands in a text that is in [`comparable`] form, as whole words.
    #[must_use]
    pub fn occurs_in(&self, message: &str) -> bool {
        let mut rest = message;
        self.parts.iter().all(|part| match find_words(rest, part) {
            Some(end) => {
                rest = rest.get(end..).unwrap_or_default();
                true
            }
            None => false,
        })
    }
}

/// The end of the first occurrence of `words` in `text` that neither begins nor ends inside of a word.
fn find_words(text: &str, words: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = text.get(from..)?.find(words) {
        let (start, end) = (from + found, from + found + words.len());
        let before = text.get(..start)?.chars().next_back();
        let after = text.get(end..)?.chars().next();
        let cuts = |outer: Option<char>, inner: Option<char>| {
            outer.is_some_and(char::is_alphanumeric) && inner.is_some_and(char::is_alphanumeric)
        };
        if !cuts(before, words.chars().next()) && !cuts(after, words.chars().next_back()) {
            return Some(end);
        }
        from = start + words.chars().next().map_or(1, char::len_utf8);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shows(quote: &str, message: &str) -> bool {
        Quote::new(quote).is_some_and(|quote| quote.occurs_in(&comparable(message)))
    }

    #[test]
    fn a_quote_is_found_whatever_its_case_form_and_typography() {
        assert!(shows("“I LIVE in  Zu\u{308}rich.”", "Well, I live in Zürich. You?"));
        assert!(shows("it's", "and it’s raining"));
        assert!(shows("i moved … to Austin", "I moved last week to Austin!"));
    }

    #[test]
    fn words_that_are_not_there_show_nothing() {
        assert!(!shows("I live in Leeds", "I live in London"));
        assert!(!shows("to Austin ... I moved", "I moved to Austin"));
        assert!(!shows("art", "a heart"));
        assert!(!shows("...", "anything"));
        assert!(!shows("\"!\"", "what \"!\""));
    }
}
