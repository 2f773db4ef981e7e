//! Text as it is kept and as it is compared.

use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{UnicodeNormalization, is_nfc_quick};

/// Folds each run of white space (and control characters) to one blank, trims, and clips to `max_chars` characters.
#[must_use]
pub fn fold_and_clip(text: &str, max_chars: usize) -> String {
    let mut folded = String::with_capacity(text.len().min(max_chars.saturating_mul(4)));
    let mut chars = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if chars > 0 {
            if chars + 1 >= max_chars {
                break;
            }
            folded.push(' ');
            chars += 1;
        }
        if word.len() <= max_chars - chars {
            folded.push_str(word);
            chars += if word.is_ascii() { word.len() } else { word.chars().count() };
        } else {
            for c in word.chars() {
                if chars == max_chars {
                    return folded;
                }
                folded.push(c);
                chars += 1;
            }
        }
    }
    folded
}

/// The form in which two values are compared: white space folded, NFC, without case, quotes and dashes straight.
#[must_use]
pub fn comparable(text: &str) -> String {
    let folded = fold_and_clip(text, usize::MAX);
    if folded.is_ascii() {
        return folded.to_ascii_lowercase();
    }
    let straight = folded.chars().map(straighten);
    let lower = straight.flat_map(char::to_lowercase).collect::<String>();
    if is_nfc_quick(lower.chars()) == unicode_normalization::IsNormalized::Yes { lower } else { lower.nfc().collect() }
}

/// Typographic quotes, apostrophes and hyphens as their keyboard forms.
fn straighten(c: char) -> char {
    match c {
        '\u{2018}'..='\u{201b}' | '\u{2032}' | '\u{02bc}' | '\u{00b4}' | '`' => '\'',
        '\u{201c}'..='\u{201f}' | '\u{2033}' | '\u{00ab}' | '\u{00bb}' => '"',
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        _ => c,
    }
}

/// Text to be searched by people who may type it with or without case and accents: NFKD, lower case, without combining
/// marks. `Gdańsk` is `gdansk`, `Straße` is `strasse`.
///
/// Case goes by Unicode's folding as far as lower case is the same, and for `ß` and final sigma. The other characters
/// that the two treat differently are Greek ones with a subscript iota, Cherokee, and some of historic Cyrillic.
#[must_use]
pub fn without_case_and_marks(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut folded = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        match c {
            'ß' => folded.push_str("ss"),
            'ς' => folded.push('σ'),
            _ => folded.push(c),
        }
    }
    folded.nfkd().filter(|c| canonical_combining_class(*c) == 0).collect()
}

/// The longest key of a fact, in characters.
pub const MAX_KEY_CHARS: usize = 64;

/// A fact's key as it is kept: lower case, each run of other characters than `a-z0-9` as one `_`, trimmed, at most
/// [`MAX_KEY_CHARS`]. `None` where nothing remains, or where the key is reserved (it begins with `__`).
#[must_use]
pub fn normalize_key(key: &str) -> Option<String> {
    if key.trim_start().starts_with("__") {
        return None;
    }
    let mut normalized = String::with_capacity(key.len().min(MAX_KEY_CHARS));
    for c in key.chars().flat_map(char::to_lowercase) {
        if normalized.len() == MAX_KEY_CHARS {
            break;
        }
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            normalized.push(c);
        } else if !normalized.is_empty() && !normalized.ends_with('_') {
            normalized.push('_');
        }
    }
    normalized.truncate(normalized.trim_end_matches('_').len());
    (!normalized.is_empty()).then_some(normalized)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn white_space_is_folded_and_text_is_clipped_between_characters() {
        assert_eq!(fold_and_clip("  a \t\n b\u{a0}\u{3000}c ", 100), "a b c");
        assert_eq!(fold_and_clip("grüße an alle", 4), "grüß");
        assert_eq!(fold_and_clip("ab cd", 3), "ab");
        assert_eq!(fold_and_clip("ab cd", 4), "ab c");
        assert_eq!(fold_and_clip("ab", 0), "");
    }

    #[test]
    fn comparable_texts_ignore_case_form_and_typography() {
        assert_eq!(comparable("Zoe\u{308}  Müller"), comparable("zoë MÜLLER"));
        assert_eq!(comparable("it’s “fine”"), comparable("It's \"fine\""));
        assert_ne!(comparable("Leeds"), comparable("Leads"));
    }

    #[test]
    fn text_for_searching_has_no_case_no_accents_and_no_ligatures() {
        assert_eq!(without_case_and_marks("Zoë in GDAŃSK"), "zoe in gdansk");
        assert_eq!(without_case_and_marks("Zoe\u{308}"), without_case_and_marks("zoë"));
        assert_eq!(without_case_and_marks("Straße STRASSE ẞ"), "strasse strasse ss");
        assert_eq!(without_case_and_marks("ΟΔΟΣ οδος"), "οδοσ οδοσ");
        assert_eq!(without_case_and_marks("ﬁne ５ km²"), "fine 5 km2");
    }

    #[test]
    fn keys_become_lower_snake_case_and_reserved_ones_are_refused() {
        assert_eq!(normalize_key("  Pet Name!! ").as_deref(), Some("pet_name"));
        assert_eq!(normalize_key("café-ÜBER").as_deref(), Some("caf_ber"));
        assert_eq!(normalize_key("_x_").as_deref(), Some("x"));
        assert_eq!(normalize_key("__llm_status__"), None);
        assert_eq!(normalize_key(" __x"), None);
        assert_eq!(normalize_key("!?"), None);
        assert_eq!(normalize_key(&"k".repeat(99)).map(|key| key.len()), Some(64));
    }

    proptest! {
        #[test]
        fn a_normalized_key_stays_as_it_is(key in ".{0,90}") {
            if let Some(key) = normalize_key(&key) {
                prop_assert_eq!(normalize_key(&key), Some(key.clone()));
                prop_assert!(!key.starts_with("__"));
            }
        }

        #[test]
        fn a_clipped_text_stays_as_it_is(text in ".{0,60}", max in 0usize..40) {
            let clipped = fold_and_clip(&text, max);
            prop_assert!(clipped.chars().count() <= max);
            prop_assert_eq!(fold_and_clip(&clipped, max), clipped);
        }
    }
}
