//! The form of a text in which patterns are looked for: ASCII, in small letters, as long as the text in bytes.
//!
//! Word borders and classes of Unicode cost the regex engine its fast automata, and case-insensitive ones are large. So
//! text and patterns are both brought into a form in which bytes are all there is: capital letters become small ones,
//! and a character outside of ASCII becomes as many bytes as it has, capital letters for a letter and control characters
//! for anything else. What was found lies where it lies in the text as it was written, since no byte moved.
//!
//! Two characters of one script never share a form of two bytes; of the larger scripts some do, which can make a pattern
//! match one word more. And a class of all but a letter outside of ASCII holds that letter too.

use std::borrow::Cow;

use regex_syntax::hir::{Capture, Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look, Repetition};

/// The capital letters, which are free in a text of small ones.
const LETTERS: u32 = 26;
/// The first of sixteen control characters that are no white space.
const FIRST_CONTROL: u8 = 0x0e;
/// A class of more characters outside of ASCII stands for letters, or for all but some, and not for each of them; the digits
/// and marks of all scripts are none of these, and only those of ASCII count.
const MAX_CHARS: usize = 256;

/// A text as it is written, and in its plain form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'t> {
    pub written: &'t str,
    plain: &'t str,
}

/// The owner of a [`Text`].
#[derive(Clone, Debug)]
pub(super) struct TextBuffer<'m> {
    written: Cow<'m, str>,
    plain: String,
}

impl<'m> TextBuffer<'m> {
    pub fn new(written: Cow<'m, str>) -> Self {
        let plain = plain(&written);
        Self { written, plain }
    }

    pub fn text(&self) -> Text<'_> {
        Text { written: &self.written, plain: &self.plain }
    }

    /// Puts `blank` in the place of each byte between two places, both moved to the end of the text if they are behind
    /// it; nothing where one of them lies inside of a character.
    pub fn blank(&mut self, from: usize, to: usize, blank: char) {
        let to = to.min(self.written.len());
        if from < to && self.written.is_char_boundary(from) && self.written.is_char_boundary(to) {
            let blanks: String = std::iter::repeat_n(blank, to - from).collect();
            self.written.to_mut().replace_range(from..to, &blanks);
            self.plain.replace_range(from..to, &blanks);
        }
    }
}

impl<'t> Text<'t> {
    pub fn plain(self) -> &'t str {
        self.plain
    }

    pub fn len(self) -> usize {
        self.written.len()
    }

    pub fn is_empty(self) -> bool {
        self.written.is_empty()
    }

    /// `None` where an end lies inside of a character.
    pub fn get(self, from: usize, to: usize) -> Option<Self> {
        Some(Self { written: self.written.get(from..to)?, plain: self.plain.get(from..to)? })
    }

    /// What stands before a place; nothing where it lies inside of a character.
    pub fn before(self, at: usize) -> Self {
        self.get(0, at).unwrap_or(Self { written: "", plain: "" })
    }

    pub fn after(self, at: usize) -> Self {
        self.get(at, self.len()).unwrap_or(Self { written: "", plain: "" })
    }

    pub fn trim_start(self) -> Self {
        self.after(self.len() - self.written.trim_start().len())
    }

    pub fn trim_end_matches(self, trimmed: impl Fn(char) -> bool) -> Self {
        self.before(self.written.trim_end_matches(trimmed).len())
    }

    /// The least stretch of whole characters that holds the bytes from `from` to `to`.
    pub fn snap(self, mut from: usize, mut to: usize) -> (usize, usize) {
        while !self.written.is_char_boundary(from) {
            from -= 1;
        }
        while !self.written.is_char_boundary(to) {
            to += 1;
        }
        (from, to)
    }
}

/// The plain form of a text.
pub(super) fn plain(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut plain = String::with_capacity(text.len());
    text.chars().for_each(|c| push_plain(c, &mut plain));
    plain
}

fn push_plain(c: char, plain: &mut String) {
    if c.is_ascii() {
        plain.push(c.to_ascii_lowercase());
        return;
    }
    let mut small = c.to_lowercase();
    let c = match (small.next(), small.next()) {
        (Some(small), None) if small.len_utf8() == c.len_utf8() => small,
        _ => c,
    };
    if c.is_alphanumeric() || regex_syntax::is_word_character(c) {
        let mut rest = u32::from(c);
        for _ in 0..c.len_utf8() {
            plain.push(char::from(b'A' + u8::try_from(rest % LETTERS).unwrap_or_default()));
            rest /= LETTERS;
        }
    } else {
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            plain.push(char::from(FIRST_CONTROL + (byte & 0x0f)));
        }
    }
}

/// The plain form of a pattern that was parsed without case: it finds in plain texts what the pattern finds in texts.
pub(super) fn plain_pattern(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(text) => Hir::literal(plain(text).into_bytes()),
            Err(_) => hir.clone(),
        },
        HirKind::Class(Class::Unicode(class)) => plain_class(class),
        HirKind::Class(Class::Bytes(_)) => hir.clone(),
        HirKind::Look(look) => Hir::look(match look {
            Look::WordUnicode => Look::WordAscii,
            Look::WordUnicodeNegate => Look::WordAsciiNegate,
            Look::WordStartUnicode => Look::WordStartAscii,
            Look::WordEndUnicode => Look::WordEndAscii,
            Look::WordStartHalfUnicode => Look::WordStartHalfAscii,
            Look::WordEndHalfUnicode => Look::WordEndHalfAscii,
            other => *other,
        }),
        HirKind::Repetition(repetition) => {
            let sub = Box::new(plain_pattern(&repetition.sub));
            Hir::repetition(Repetition { sub, ..repetition.clone() })
        }
        HirKind::Capture(capture) => {
            let sub = Box::new(plain_pattern(&capture.sub));
            Hir::capture(Capture { sub, ..capture.clone() })
        }
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(plain_pattern).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(plain_pattern).collect()),
    }
}

/// Whether a pattern, parsed with case, finds less or other things in plain texts than without case: where a class has a
/// capital letter without its small one, or has nearly everything and not all letters in both cases.
pub(super) fn depends_on_case(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            let (capital, small) = (letters(class, b'A'), letters(class, b'a'));
            capital & !small != 0 || (small & !capital != 0 && count(class) > MAX_CHARS)
        }
        HirKind::Repetition(repetition) => depends_on_case(&repetition.sub),
        HirKind::Capture(capture) => depends_on_case(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(depends_on_case),
        // The plain form of a literal is in small letters whatever it was.
        HirKind::Literal(_) | HirKind::Empty | HirKind::Look(_) | HirKind::Class(Class::Bytes(_)) => false,
    }
}

/// Which letters of ASCII, of the case whose first letter is given, a class holds: a bit each.
fn letters(class: &ClassUnicode, first: u8) -> u32 {
    let (first, last) = (u32::from(first), u32::from(first) + LETTERS - 1);
    let in_range = |range: &ClassUnicodeRange| {
        let (from, to) = (u32::from(range.start()).max(first), u32::from(range.end()).min(last));
        (from..=to).fold(0, |bits, letter| bits | 1 << (letter - first))
    };
    class
        .ranges()
        .iter()
        .take_while(|range| u32::from(range.start()) <= last)
        .map(in_range)
        .fold(0, |all, bits| all | bits)
}

fn count(class: &ClassUnicode) -> usize {
    class.ranges().iter().map(|range| range.end() as usize - range.start() as usize + 1).sum()
}

fn plain_class(class: &ClassUnicode) -> Hir {
    /// What the letters k and s bring along where case does not matter: a unit, and a letter out of use.
    const BY_FOLDING: [char; 2] = ['\u{212a}', '\u{17f}'];

    let part = |from, to| {
        let mut part = ClassUnicode::new([ClassUnicodeRange::new(from, to)]);
        part.intersect(class);
        part
    };
    let mut ascii = part('\0', '\x7f');
    ascii.difference(&ClassUnicode::new([ClassUnicodeRange::new('A', 'Z')]));
    let others = part('\u{80}', char::MAX);
    if count(&others) > MAX_CHARS {
        let holds = |c: char| others.ranges().iter().any(|range| (range.start()..=range.end()).contains(&c));
        if ['é', 'ж', '中'].into_iter().any(holds) {
            ascii.push(ClassUnicodeRange::new('A', 'Z'));
        }
        return Hir::class(Class::Unicode(ascii));
    }
    let chars = others.ranges().iter().flat_map(|range| range.start()..=range.end());
    let mut forms: Vec<String> = chars.filter(|c| !BY_FOLDING.contains(c)).map(|c| plain(&c.to_string())).collect();
    forms.sort_unstable();
    forms.dedup();
    let mut parts: Vec<Hir> = forms.into_iter().map(|form| Hir::literal(form.into_bytes())).collect();
    if !ascii.ranges().is_empty() || parts.is_empty() {
        parts.insert(0, Hir::class(Class::Unicode(ascii)));
    }
    Hir::alternation(parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_byte_keeps_its_place_and_letters_stay_letters() {
        for text in ["Ich wohne in KÖLN, 5 € – ок? 東京", "plain", "ÄÖÜß", "İstanbul", "e\u{301}"] {
            assert_eq!(plain(text).len(), text.len(), "{text}");
            assert!(plain(text).is_ascii(), "{text}");
        }
        assert_eq!(plain("KÖLN"), plain("köln"));
        assert_ne!(plain("für"), plain("fär"));
        assert_ne!(plain("живу"), plain("жену"));
        assert!(!plain("5 €").contains(|c: char| c.is_ascii_alphabetic()));
    }

    #[test]
    fn what_is_blanked_keeps_its_place() {
        let mut buffer = TextBuffer::new(Cow::Borrowed("aé\"B"));
        buffer.blank(1, 3, '_');
        assert_eq!((buffer.text().written, buffer.text().plain()), ("a__\"B", "a__\"b"));
        buffer.blank(9, 12, '_');
        buffer.blank(2, usize::MAX, '_');
        assert_eq!((buffer.text().written, buffer.text().plain()), ("a____", "a____"));
        let mut buffer = TextBuffer::new(Cow::Borrowed("é"));
        buffer.blank(1, 2, '_');
        assert_eq!(buffer.text().written, "é");
    }

    #[test]
    fn a_stretch_is_widened_to_whole_characters() {
        let buffer = TextBuffer::new(Cow::Borrowed("aéb"));
        assert_eq!(buffer.text().snap(2, 2), (1, 3));
        assert_eq!(buffer.text().snap(0, 4), (0, 4));
    }

    #[test]
    fn only_classes_with_capital_letters_of_their_own_depend_on_case() {
        for (pattern, expected) in [
            (r"\bI live\W(?P<City>\p{L}\S+)\D[a-z]", false),
            (r"É|[éà]\B[^\w']+[^,;]", false),
            (r"\p{Lu}", true),
            (r"[[:upper:]]", true),
            (r"x[\x41-C]", true),
            (r"[^A]", true),
            (r"[^a]", true),
        ] {
            assert_eq!(depends_on_case(&regex_syntax::parse(pattern).unwrap()), expected, "{pattern}");
        }
    }

    proptest! {
        /// The definition of the plain form: a pattern finds the same in it as case-insensitively in the text.
        #[test]
        fn a_plain_pattern_finds_in_the_plain_text_what_the_pattern_finds_in_the_text(
            text in "[a-cA-CéÉöÖßжЖ€…' .0-9]{0,16}",
            which in 0usize..13,
        ) {
            let pattern = [
                r"\b(\w+) b", r"[aé]b?", r"(?:ö|c)\w*", r"[^,'. ]+", r"\bж", r"\d+ ?[€$]", r"[a-cé]+\b", "ÉA",
                r"(?:é|ö|ß)+$",
                r"(?:a+)?b", r"[A-B]+", r"[^A']+", r"[[:upper:]É]",
            ][which];
            let without_case = regex_syntax::ParserBuilder::new().case_insensitive(true).build().parse(pattern).unwrap();
            let with_case = regex_syntax::parse(pattern).unwrap();
            let parsed = if depends_on_case(&with_case) { without_case } else { with_case };
            let of_text = regex::RegexBuilder::new(pattern).case_insensitive(true).build().unwrap();
            let of_plain = regex_automata::meta::Regex::builder().build_from_hir(&plain_pattern(&parsed)).unwrap();
            let expected: Vec<_> = of_text.find_iter(&text).map(|found| found.range()).collect();
            let form = plain(&text);
            let got: Vec<_> = of_plain.find_iter(form.as_bytes()).map(|found| found.range()).collect();
            prop_assert_eq!(expected, got);
        }
    }
}
