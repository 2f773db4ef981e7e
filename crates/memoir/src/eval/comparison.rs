//! How texts of an exam are compared with what is remembered.
//!
//! Both are folded: no case, no accents, dashes and underscores as blanks, `5,000` as `5000`. A text occurs in another
//! if it stands there at the start of a word (`cat` in `two cats`, not in `education`); one that ends in a digit must
//! not go on with a digit, and one of one or two letters must be a whole word.

use memoir_core::text::without_case_and_marks;

use super::exam::GoldFact;

/// A remembered value must be this long to count where it occurs in what was wanted.
const LEAST_VALUE_CHARS: usize = 3;

/// A text in the form that is compared.
#[derive(Debug, PartialEq, Eq)]
pub struct Folded(String);

impl Folded {
    pub fn new(text: &str) -> Self {
        let text = without_case_and_marks(&text.replace('’', "'"));
        let text = without_thousands_separators(&text);
        let words = text.split(|c| matches!(c, '-' | '_' | '\u{2010}'..='\u{2014}') || is_blank(c));
        Self(words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))
    }

    /// Whether this stands in `text` at the start of a word, and ends where it may.
    pub fn occurs_in(&self, text: &Self) -> bool {
        let Some(last) = self.0.chars().next_back() else { return false };
        let is_short = self.chars() < LEAST_VALUE_CHARS;
        let may_precede = |c: char| !is_word(c);
        let may_follow = |c: char| {
            if is_digit(last) { !is_digit(c) } else { !(is_short && is_word(c)) }
        };
        let mut before = None;
        let mut rest = text.0.as_str();
        loop {
            if before.is_none_or(may_precede)
                && let Some(after) = rest.strip_prefix(self.0.as_str())
                && after.chars().next().is_none_or(may_follow)
            {
                return true;
            }
            let mut chars = rest.chars();
            before = chars.next();
            if before.is_none() {
                return false;
            }
            rest = chars.as_str();
        }
    }

    fn chars(&self) -> usize {
        self.0.chars().count()
    }
}

/// A wanted fact, ready for comparison.
#[derive(Debug)]
pub struct Wanted(Vec<Folded>);

impl Wanted {
    pub fn new(fact: &GoldFact) -> Self {
        Self(fact.values.iter().map(|value| Folded::new(value)).collect())
    }

    /// Whether a remembered value holds one of the wanted ones, or is part of one.
    pub fn is_matched_by(&self, value: &Folded) -> bool {
        let is_long_enough = value.chars() >= LEAST_VALUE_CHARS;
        self.0.iter().any(|wanted| wanted.occurs_in(value) || (is_long_enough && value.occurs_in(wanted)))
    }
}

/// Without the commas between digits that exactly three digits follow.
fn without_thousands_separators(text: &str) -> String {
    if !text.contains(',') {
        return text.to_owned();
    }
    let chars: Vec<char> = text.chars().collect();
    let digit_at = |index: usize| chars.get(index).is_some_and(|c| is_digit(*c));
    let is_separator =
        |index: usize| index > 0 && digit_at(index - 1) && (1..=3).all(|n| digit_at(index + n)) && !digit_at(index + 4);
    chars.iter().enumerate().filter(|(index, c)| **c != ',' || !is_separator(*index)).map(|(_, c)| *c).collect()
}

/// Fractions, superscripts and the like are ASCII digits by now; what is numeric beyond that are other scripts' digits.
fn is_digit(c: char) -> bool {
    c.is_numeric()
}

/// What a word's start is told by. Letters without an ASCII form are none, as in the exam's own comparison.
fn is_word(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

/// Unicode's white space and the separators of ASCII.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_drops_case_accents_dashes_and_thousands_separators() {
        for (text, folded) in [
            ("  Gdańsk\u{a0}by  Night ", "gdansk by night"),
            ("night-bus_driver – Leeds", "night bus driver leeds"),
            ("it’s", "it's"),
            ("5,000", "5000"),
            ("1,234,567.50", "1234567.50"),
            ("12,34", "12,34"),
            ("1,0000", "1,0000"),
            ("a,123", "a,123"),
            ("１,０００", "1000"),
            ("Straße", "strasse"),
            ("½ cup", "1⁄2 cup"),
            ("a\u{1f}b", "a b"),
            ("- _", ""),
        ] {
            assert_eq!(Folded::new(text).0, folded, "{text:?}");
        }
    }

    #[test]
    fn a_text_occurs_at_the_start_of_a_word_and_ends_where_it_may() {
        let occurs = |needle: &str, text: &str| Folded::new(needle).occurs_in(&Folded::new(text));
        for (needle, text, expected) in [
            ("cat", "two cats", true),
            ("cat", "education", false),
            ("cat", "education, cat", true),
            ("50", "50 euros", true),
            ("50", "500 euros", false),
            ("5,000", "about 5000", true),
            ("c", "c", true),
            ("c", "c++ and go", true),
            ("go", "google", false),
            ("go", "go-karting", true),
            ("x1", "x12", false),
            ("x1", "x1y", true),
            ("", "anything", false),
            ("--", "anything", false),
            ("gdansk", "in GDAŃSK", true),
            ("aa", "aaa aa", true),
            ("ana", "banana", false),
            ("é", "été", false),
            ("ж", "жжж", true),
        ] {
            assert_eq!(occurs(needle, text), expected, "{needle:?} in {text:?}");
        }
    }

    #[test]
    fn a_value_matches_that_holds_a_wanted_one_or_is_part_of_one() {
        let fact = |values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            Wanted::new(&GoldFact { kind: memoir_core::profile::Kind::Identity, about: String::new(), values })
        };
        let pet = fact(&["border collie", "dog"]);
        assert!(pet.is_matched_by(&Folded::new("a dog called Bo")));
        assert!(pet.is_matched_by(&Folded::new("Collie")));
        assert!(!pet.is_matched_by(&Folded::new("cat")));
        // Two characters say too little to count as part of something.
        assert!(!fact(&["rust and go"]).is_matched_by(&Folded::new("Go")));
        assert!(fact(&["go"]).is_matched_by(&Folded::new("Go")));
    }
}
