//! A sentence as tokens: words, numbers and marks, each with what is known of it by itself.

use super::model::Words;

/// Runs of digits count as one of so many at most.
const MAX_DIGITS: usize = 4;

/// One word, number or mark of a sentence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    /// Where it lies in the sentence, in bytes.
    pub start: usize,
    pub end: usize,
    /// The hash of its form: small letters, no apostrophes, each digit a zero.
    pub word: u32,
    /// The hash of the first three bytes of its form, and of the last three and two.
    pub prefix: u32,
    pub suffix: u32,
    pub ending: u32,
    /// Words that stand in like places have one class: a fine one, and two that are coarser.
    pub fine: u16,
    pub middle: u16,
    pub coarse: u16,
    pub shape: Shape,
}

/// How a token is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Small,
    Capital,
    AllCapitals,
    Digits,
    Mixed,
    Mark,
}

/// FNV-1a, which the training program computes too.
pub(super) fn hash(bytes: impl IntoIterator<Item = u8>) -> u32 {
    bytes.into_iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The tokens of a sentence with straight quotes.
pub(super) fn tokens(sentence: &str, words: &Words, found: &mut Vec<Token>) {
    found.clear();
    let mut form = Vec::new();
    spans(sentence, |start, end| found.push(token(sentence, start, end, words, &mut form)));
}

/// The hashes of the forms of a text's tokens.
pub(super) fn words(text: &str, found: &mut Vec<u32>) {
    let mut form = Vec::new();
    spans(text, |start, end| {
        put_form(text.get(start..end).unwrap_or_default(), &mut form);
        found.push(hash(form.iter().copied()));
    });
}

/// Where the tokens of a sentence lie.
fn spans(sentence: &str, mut found: impl FnMut(usize, usize)) {
    let mut chars = sentence.char_indices().peekable();
    while let Some((start, first)) = chars.next() {
        if first.is_whitespace() {
            continue;
        }
        let mut end = start + first.len_utf8();
        if first.is_alphanumeric() {
            let mut last = first;
            while let Some(&(at, c)) = chars.peek() {
                let after = || sentence.get(at + c.len_utf8()..).and_then(|rest| rest.chars().next());
                let inside = match c {
                    '\'' => after().is_some_and(char::is_alphabetic) && !ends_in_s(sentence, at),
                    '.' | ',' | ':' => last.is_ascii_digit() && after().is_some_and(|c| c.is_ascii_digit()),
                    _ => c.is_alphanumeric(),
                };
                if !inside {
                    break;
                }
                chars.next();
                last = c;
                end = at + c.len_utf8();
            }
        } else if first == '\'' && ends_in_s(sentence, start) {
            chars.next();
            end += 1;
        } else {
            // "!!!" and "..." are one token.
            while chars.next_if(|(_, c)| *c == first).is_some() {
                end += first.len_utf8();
            }
        }
        found(start, end);
    }
}

/// Whether an apostrophe and an s end a word: "husband's", "it's".
fn ends_in_s(sentence: &str, apostrophe: usize) -> bool {
    let mut after = sentence.get(apostrophe + 1..).unwrap_or_default().chars();
    matches!(after.next(), Some('s' | 'S')) && !after.next().is_some_and(char::is_alphanumeric)
}

fn token(sentence: &str, start: usize, end: usize, words: &Words, form: &mut Vec<u8>) -> Token {
    let written = sentence.get(start..end).unwrap_or_default();
    put_form(written, form);
    let word = hash(form.iter().copied());
    // In bytes: a part of a character tells as much.
    let part = |bytes: &[u8]| hash(bytes.iter().copied());
    let last = |count: usize| form.get(form.len().saturating_sub(count)..).unwrap_or_default();
    let (fine, middle, coarse) = words.classes(word);
    Token {
        start,
        end,
        word,
        prefix: part(form.get(..form.len().min(3)).unwrap_or_default()),
        suffix: part(last(3)),
        ending: part(last(2)),
        fine,
        middle,
        coarse,
        shape: shape(written),
    }
}

/// Puts the form of a token: small letters, no apostrophes, zeros for digits, of which there are so many at most.
fn put_form(written: &str, form: &mut Vec<u8>) {
    form.clear();
    if written.is_ascii() {
        let mut digits = 0;
        for byte in written.bytes().filter(|byte| *byte != b'\'') {
            digits += usize::from(byte.is_ascii_digit());
            match byte {
                b'0'..=b'9' if digits <= MAX_DIGITS => form.push(b'0'),
                b'0'..=b'9' => {}
                _ => form.push(byte.to_ascii_lowercase()),
            }
        }
    } else {
        let mut small = [0; 4];
        for c in written.chars().filter(|c| *c != '\'').flat_map(char::to_lowercase) {
            form.extend_from_slice(c.encode_utf8(&mut small).as_bytes());
        }
    }
}

fn shape(written: &str) -> Shape {
    let mut chars = written.chars();
    let Some(first) = chars.next() else { return Shape::Mark };
    let rest = || chars.clone();
    if first.is_numeric() {
        if rest().any(char::is_alphabetic) { Shape::Mixed } else { Shape::Digits }
    } else if !first.is_alphabetic() {
        Shape::Mark
    } else if rest().any(char::is_numeric) {
        Shape::Mixed
    } else if !first.is_uppercase() {
        Shape::Small
    } else if rest().next().is_some() && rest().all(|c| !c.is_lowercase()) {
        Shape::AllCapitals
    } else {
        Shape::Capital
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(sentence: &str) -> Vec<&str> {
        let mut found = Vec::new();
        tokens(sentence, &Words::default(), &mut found);
        found.iter().filter_map(|token| sentence.get(token.start..token.end)).collect()
    }

    #[test]
    fn a_sentence_is_words_numbers_and_marks() {
        assert_eq!(
            split("I'm 34, gluten-free; under $5,000.50 by 7:30am!!"),
            ["I'm", "34", ",", "gluten", "-", "free", ";", "under", "$", "5,000.50", "by", "7:30am", "!!"]
        );
        assert_eq!(split("my kids' école"), ["my", "kids", "'", "école"]);
        assert_eq!(split("my mum's, it's don't 's"), ["my", "mum", "'s", ",", "it", "'s", "don't", "'s"]);
        assert_eq!(split(" "), [""; 0]);
    }

    #[test]
    fn a_form_has_no_case_no_apostrophes_and_no_numbers_of_its_own() {
        let of = |text: &str| {
            let mut found = Vec::new();
            tokens(text, &Words::default(), &mut found);
            found[0].word
        };
        assert_eq!(of("I'm"), of("im"));
        assert_eq!(of("900"), of("134"));
        assert_ne!(of("900"), of("34"));
        assert_eq!(of("123456"), of("12345"));
    }

    #[test]
    fn shapes() {
        let of =
            [("leeds", Shape::Small), ("Leeds", Shape::Capital), ("A", Shape::Capital), ("UK", Shape::AllCapitals)];
        let others = [("12", Shape::Digits), ("9am", Shape::Mixed), ("b12", Shape::Mixed), ("!!", Shape::Mark)];
        for (text, expected) in of.into_iter().chain(others) {
            assert_eq!(shape(text), expected, "{text}");
        }
    }
}
