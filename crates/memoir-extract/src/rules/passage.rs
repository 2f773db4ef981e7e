//! A message as sentences of the user's own words: what is quoted, pasted or written in code is blanked out.

use std::borrow::Cow;

use super::guard::Guards;
use super::plain::{Text, TextBuffer};

/// Stands for each byte that is not the user's own; no pattern's word matches it.
pub(super) const BLANK: char = '\u{1}';

/// A quotation of fewer words is a name or a phrase that the user makes their own.
const QUOTATION_WORDS: usize = 4;

/// A message with the words of others blanked out.
pub(super) struct Passage<'g> {
    buffer: TextBuffer<'g>,
    guards: &'g [Guards],
}

/// One sentence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sentence<'p> {
    pub text: Text<'p>,
    /// Where it begins in the passage, in bytes.
    pub start: usize,
    /// It belongs to something that is only imagined.
    pub imagined: bool,
}

/// Typographic quotes, apostrophes and dashes as their keyboard forms.
pub(super) fn straight(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let straighten = |c: char| match c {
        '\u{2018}'..='\u{201b}' | '\u{2032}' | '\u{02bc}' | '\u{00b4}' => '\'',
        '\u{201c}'..='\u{201f}' | '\u{2033}' | '\u{00ab}' | '\u{00bb}' => '"',
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        _ => c,
    };
    Cow::Owned(text.chars().map(straighten).collect())
}

impl Sentence<'_> {
    /// Where it ends in the passage.
    pub fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

impl<'g> Passage<'g> {
    /// Of a message with straight quotes and dashes. `pasted_in` are the languages in which it may ask for work on a
    /// text that follows.
    pub fn new(mut buffer: TextBuffer<'g>, pasted_in: &[&Guards], guards: &'g [Guards]) -> Self {
        if let Some(from) = pasted_in.iter().filter_map(|guards| guards.pasted_from(buffer.text())).min() {
            buffer.blank(from, usize::MAX, BLANK);
        }
        let written = buffer.text().written;
        let spans: Vec<_> = code_spans(written).into_iter().chain(quotations(written)).collect();
        for (from, to) in spans {
            buffer.blank(from, to, BLANK);
        }
        Self { buffer, guards }
    }

    /// The sentences that hold words of the user.
    pub fn sentences(&self) -> impl Iterator<Item = Sentence<'_>> {
        let mut imagined = false;
        let text = self.buffer.text();
        sentence_spans(text.written).filter_map(move |(start, end)| {
            let untrimmed = text.get(start, end)?;
            let text = untrimmed.trim_start();
            let start = start + (untrimmed.len() - text.len());
            if !text.written.chars().any(char::is_alphanumeric) {
                return None;
            }
            imagined |= self.guards.iter().any(|guards| guards.begins_to_imagine(text));
            Some(Sentence { text, start, imagined })
        })
    }
}

/// Fenced code, JSON, and what follows a heading or a quoted line.
fn code_spans(text: &str) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    if !text.bytes().any(|byte| matches!(byte, b'`' | b'{' | b'[' | b'#' | b'<' | b'>')) {
        return spans;
    }
    let mut fences = text.match_indices("```").map(|(at, _)| at);
    while let Some(from) = fences.next() {
        spans.push((from, fences.next().map_or(usize::MAX, |to| to + 3)));
    }
    for opening in ["{\"", "[{", "[[", "### ", "<<<", "</"] {
        spans.extend(text.find(opening).map(|from| (from, usize::MAX)));
    }
    // A mail's quoted line: "> " at the beginning of something, before a capital letter.
    let quoted = text.match_indices("> ").find(|(at, _)| {
        let before = text.get(..*at).unwrap_or_default();
        let after = text.get(at + 2..).unwrap_or_default();
        (before.is_empty() || before.ends_with(' ')) && after.starts_with(|c: char| c.is_uppercase() || c == '>')
    });
    spans.extend(quoted.map(|(from, _)| (from, usize::MAX)));
    spans
}

/// Whole sentences between quotation marks. A mark that is not closed quotes the rest.
fn quotations(text: &str) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    let mut opened: Option<(usize, u8)> = None;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().copied().enumerate().filter(|(_, byte)| matches!(byte, b'"' | b'\'')) {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at)).copied().unwrap_or(b' ');
        let after = bytes.get(at + 1).copied().unwrap_or(b' ');
        match opened {
            None => {
                // An apostrophe stands after a letter; an inch mark after a digit.
                if !before.is_ascii_alphanumeric() && before < 0x80 && after != b' ' {
                    opened = Some((at, byte));
                }
            }
            Some((from, mark)) if mark == byte => {
                if byte == b'\'' && (after.is_ascii_alphanumeric() || after >= 0x80) {
                    continue;
                }
                opened = None;
                if text.get(from..at).is_some_and(|words| words.split(' ').count() >= QUOTATION_WORDS) {
                    spans.push((from, at + 1));
                }
            }
            Some(_) => {}
        }
    }
    if let Some((from, b'"')) = opened
        && text.get(from..).is_some_and(|words| words.split(' ').count() >= QUOTATION_WORDS)
    {
        spans.push((from, usize::MAX));
    }
    spans
}

/// Words that end in a dot and end no sentence.
const ABBREVIATIONS: [&str; 20] = [
    "mr", "mrs", "ms", "dr", "st", "prof", "vs", "approx", "e.g", "i.e", "no", "mt", "ft", "jr", "sr", "z.b", "nr",
    "sra", "dra", "bzw",
];

/// Words before which a number with a dot is an ordinal number, as German writes them.
const COUNTED: [&str; 24] = [
    "januar",
    "jan",
    "februar",
    "feb",
    "märz",
    "maerz",
    "april",
    "mai",
    "juni",
    "juli",
    "august",
    "aug",
    "september",
    "sept",
    "oktober",
    "okt",
    "november",
    "nov",
    "dezember",
    "dez",
    "klasse",
    "semester",
    "geburtstag",
    "stock",
];

/// Where sentences begin and end, the ending marks included.
fn sentence_spans(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    std::iter::from_fn(move || {
        if start >= text.len() {
            return None;
        }
        while let Some((at, c)) = chars.next() {
            let ends = match c {
                '!' | '?' | '…' | '\u{3002}' | '\u{ff01}' | '\u{ff1f}' | '\n' => true,
                '.' => {
                    let sentence = text.get(start..at).unwrap_or_default();
                    !is_abbreviation(sentence) && !is_of_a_number(sentence, text.get(at + 1..).unwrap_or_default())
                }
                _ => false,
            };
            // A run of marks ends one sentence, and what follows is a blank, a bracket or a quote.
            let next = chars.peek().map(|(_, next)| *next);
            let goes_on = matches!(next, Some('.' | '!' | '?' | '…'));
            let apart = next.is_none_or(|next| next.is_whitespace() || matches!(next, ')' | '"' | '\'' | BLANK))
                || !c.is_ascii();
            if ends && !goes_on && apart {
                let end = at + c.len_utf8();
                let span = (start, end);
                start = end;
                return Some(span);
            }
        }
        let span = (start, text.len());
        start = text.len();
        Some(span)
    })
}

fn is_abbreviation(sentence: &str) -> bool {
    let word = sentence.rsplit(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default();
    let initial = word.len() == 1 && word.chars().all(|c| c.is_ascii_uppercase() && c != 'I');
    initial || ABBREVIATIONS.iter().any(|abbreviation| word.eq_ignore_ascii_case(abbreviation))
}

/// Words before a number that end in a dot.
const BEFORE_NUMBERS: [&str; 4] = ["max", "min", "ca", "nr"];

/// Whether a dot belongs to a number or to a word that goes with one.
fn is_of_a_number(sentence: &str, after: &str) -> bool {
    let word = sentence.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_lowercase();
    if BEFORE_NUMBERS.contains(&word.as_str()) {
        return after.trim_start().starts_with(|c: char| c.is_ascii_digit());
    }
    let counted = after.trim_start().split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
    sentence.ends_with(|c: char| c.is_ascii_digit()) && COUNTED.contains(&counted.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        sentence_spans(text).filter_map(|(start, end)| text.get(start..end)).map(str::trim).collect()
    }

    #[test]
    fn sentences_end_at_marks_and_not_in_numbers_or_abbreviations() {
        assert_eq!(
            split("Hi!! I pay 1.5 k. Dr. Lee says so... ok"),
            ["Hi!!", "I pay 1.5 k.", "Dr. Lee says so...", "ok"]
        );
        assert_eq!(split("which? this one"), ["which?", "this one"]);
        assert_eq!(split("see example.com now"), ["see example.com now"]);
        assert_eq!(split("I am J. Smith. You?"), ["I am J. Smith.", "You?"]);
        assert_eq!(split("Am 3. Mai werde ich 30. Und du?"), ["Am 3. Mai werde ich 30.", "Und du?"]);
        assert_eq!(split("Max. 600 Euro. Ich bin Max. Und du?"), ["Max. 600 Euro.", "Ich bin Max.", "Und du?"]);
    }

    #[test]
    fn quotations_of_whole_sentences_are_blanked_and_names_in_quotes_are_not() {
        let quoted = |text: &str| quotations(text).len();
        assert_eq!(quoted(r#"she wrote "I live in Paris now" to me"#), 1);
        assert_eq!(quoted(r#"a place called "Mesa Larga""#), 0);
        assert_eq!(quoted("it's fine, don't worry, that's it"), 0);
        assert_eq!(quoted("he said 'I am allergic to nuts' twice"), 1);
        assert_eq!(quoted("\"I live in Paris and so on"), 1);
    }
}
