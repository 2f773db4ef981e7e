//! What every text that a pattern matches must hold: sets of literals, found by looking at the pattern's structure.

use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// More literals than this say too little to be worth looking for, unless they are a vocabulary of their own.
const MAX_LITERALS: usize = 96;
const MAX_VOCABULARY: usize = 8 * MAX_LITERALS;
/// A class of more characters than the digits tells nothing.
const MAX_CHARS: usize = 10;
/// So many sets of literals are looked for at most.
pub(super) const MAX_SETS: usize = 3;
/// Where sentences are so rare that hold a literal of each set, another set is not worth the look.
const RARE: f64 = 0.002;
/// Sets of which so many sentences hold a literal tell nothing.
const COMMON_SET: f64 = 0.35;

/// A literal that a text may hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Needle {
    pub text: String,
    /// It counts only where no word goes on before it, and where none goes on behind it.
    pub starts_word: bool,
    pub ends_word: bool,
}

/// Literals of which any match of a pattern holds one.
pub(super) type AnyOf = Vec<Needle>;

/// What every text that a pattern in its plain form matches holds: of each of these sets one literal at least, the most
/// telling set first.
pub(super) fn required(hir: &Hir) -> Vec<AnyOf> {
    let rated = Literals::of(hir, false).all().map(|texts| (chance_of_any(&texts), texts));
    let mut sets: Vec<(f64, Vec<String>)> = rated.filter(|(chance, _)| *chance < 1.0).collect();
    sets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let mut chosen: Vec<AnyOf> = Vec::new();
    let mut together = 1.0;
    for (chance, texts) in sets {
        // The sets that follow are no rarer.
        let wanted = chosen.is_empty() || (together > RARE && chance < COMMON_SET && chosen.len() < MAX_SETS);
        if !wanted {
            break;
        }
        let mut set: AnyOf = texts.iter().map(|text| Needle::new(text)).collect();
        set.sort_unstable();
        set.dedup();
        if !chosen.iter().any(|known| implies(known, &set)) {
            together *= chance;
            chosen.push(set);
        }
    }
    chosen
}

/// Whether a text that holds one of the one set surely holds one of the other. Large sets are not looked at.
fn implies(one: &AnyOf, other: &AnyOf) -> bool {
    let within = |needle: &Needle| other.iter().any(|other| needle.text.contains(&other.text));
    one.len() * other.len() <= 1024 && one.iter().all(within)
}

/// Stands in texts where a word begins or ends, or where nothing of a word is at all.
const EDGE: char = '\0';

/// A character that words are made of, in texts in their plain form.
pub(super) fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

impl Needle {
    /// `text` may hold edges. One beside something that is no part of a word says nothing.
    fn new(text: &str) -> Self {
        let bare: String = text.chars().filter(|c| *c != EDGE).collect();
        Self {
            starts_word: text.starts_with(EDGE) && bare.starts_with(is_word),
            ends_word: text.ends_with(EDGE) && bare.ends_with(is_word),
            text: bare,
        }
    }
}

/// In what share of sentences a text with edges may stand: a guess from its length, since words of few letters are common
/// and short literals stand inside of words too.
fn chance(text: &str) -> f64 {
    let bare = text.trim_matches(EDGE);
    if !bare.contains(is_word) {
        // Marks tell something, blanks do not.
        return if bare.trim().is_empty() { 1.0 } else { 0.2 };
    }
    let words = bare.split(|c: char| !is_word(c) && c != '\'').filter(|word| !word.is_empty());
    let of_words = words.map(|word| {
        if COMMON.binary_search(&word).is_ok() {
            return 0.2;
        }
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return 0.01;
        }
        [0.1, 0.02, 0.004, 0.0012, 0.0005, 0.0003].get(word.len() - 1).copied().unwrap_or(0.0002)
    });
    // Each further word makes it rarer.
    let (least, further) = of_words.fold((1.0_f64, -1), |(least, count), chance| (least.min(chance), count + 1));
    let open = usize::from(text.starts_with(is_word)) + usize::from(text.ends_with(is_word));
    let inside = if bare.len() < 5 { 3_f64 } else { 1.3 };
    (least * 0.6_f64.powi(further) * inside.powi(i32::try_from(open).unwrap_or_default())).min(0.9)
}

/// In what share of sentences one of some texts may stand.
fn chance_of_any(texts: &[String]) -> f64 {
    1.0 - texts.iter().map(|text| 1.0 - chance(text)).product::<f64>()
}

/// Words that very many sentences hold, in the languages that the built-in rules are for, in order.
const COMMON: [&str; 151] = [
    "a", "aber", "about", "al", "all", "also", "am", "an", "and", "any", "are", "as", "at", "auch", "auf", "be",
    "been", "bin", "but", "by", "can", "como", "con", "could", "das", "de", "del", "dem", "den", "der", "did", "die",
    "do", "does", "ein", "eine", "einen", "el", "en", "er", "es", "for", "from", "get", "give", "go", "good", "hab",
    "habe", "had", "has", "have", "he", "her", "his", "how", "i", "i'm", "i've", "ich", "if", "im", "in", "into", "is",
    "ist", "it", "it's", "its", "just", "know", "la", "las", "like", "lo", "los", "make", "me", "mein", "meine", "mi",
    "mich", "mir", "mis", "mit", "more", "my", "need", "nicht", "no", "noch", "not", "now", "o", "of", "on", "one",
    "or", "our", "out", "para", "please", "por", "que", "really", "se", "should", "so", "some", "soy", "te", "tell",
    "tengo", "than", "that", "the", "their", "them", "then", "there", "they", "think", "this", "time", "to", "today",
    "too", "un", "una", "und", "up", "us", "von", "want", "was", "we", "were", "what", "when", "which", "who", "wie",
    "will", "wir", "with", "would", "y", "yo", "you", "your", "zu",
];

/// What is known of the texts that a part of a pattern matches. The texts may hold edges.
struct Literals {
    /// All of them, where they are few.
    exact: Option<Vec<String>>,
    /// Each of them begins with one of these.
    prefix: Option<Vec<String>>,
    /// Each of them holds one of each of these sets.
    inner: Vec<Vec<String>>,
    /// One of them may be empty.
    may_be_empty: bool,
    /// No word goes on behind those that are not empty.
    closes: bool,
}

impl Literals {
    fn exact(texts: Vec<String>) -> Self {
        let may_be_empty = texts.iter().any(String::is_empty);
        let closes = texts.iter().all(|text| !text.ends_with(is_word));
        Self { exact: Some(texts), prefix: None, inner: Vec::new(), may_be_empty, closes }
    }

    fn unknown() -> Self {
        Self { exact: None, prefix: None, inner: Vec::new(), may_be_empty: false, closes: false }
    }

    /// What the texts begin with, as far as it is known.
    fn head(&self) -> Option<&Vec<String>> {
        self.exact.as_ref().or(self.prefix.as_ref())
    }

    fn all(self) -> impl Iterator<Item = Vec<String>> {
        self.exact.into_iter().chain(self.prefix).chain(self.inner)
    }

    /// The set that tells most.
    fn best(self) -> Option<Vec<String>> {
        let rated = self.all().map(|texts| (chance_of_any(&texts), texts));
        rated.min_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, texts)| texts)
    }

    /// `at_edge`: no word goes on in it that began before it.
    fn of(hir: &Hir, at_edge: bool) -> Self {
        let begin = |text: String| if at_edge { format!("{EDGE}{text}") } else { text };
        match hir.kind() {
            HirKind::Empty | HirKind::Look(Look::WordAsciiNegate) => Self::exact(vec![String::new()]),
            HirKind::Look(_) => Self::exact(vec![EDGE.to_string()]),
            HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
                Ok(text) if !text.contains(EDGE) => Self::exact(vec![begin(text.to_owned())]),
                _ => Self::unknown(),
            },
            HirKind::Class(Class::Unicode(class)) => {
                let chars = || class.ranges().iter().flat_map(|range| range.start()..=range.end());
                let count: usize = class.ranges().iter().map(|range| range.len()).sum();
                if count <= MAX_CHARS && !chars().any(|c| c == EDGE) {
                    return Self::exact(chars().map(|c| begin(c.to_string())).collect());
                }
                // Classes of texts in their plain form are ASCII.
                let closes = count <= 128 && !chars().any(is_word);
                let prefix = closes.then(|| vec![EDGE.to_string()]);
                Self { prefix, closes, ..Self::unknown() }
            }
            HirKind::Class(Class::Bytes(_)) => Self::unknown(),
            HirKind::Capture(capture) => Self::of(&capture.sub, at_edge),
            HirKind::Repetition(repetition) => {
                // Of what is repeated only the first may stand at the edge.
                let mut sub = Self::of(&repetition.sub, at_edge && repetition.max == Some(1));
                match (repetition.min, repetition.max) {
                    (1, Some(1)) => sub,
                    (0, max) => {
                        sub.exact.iter_mut().for_each(|texts| texts.push(String::new()));
                        let exact = sub.exact.filter(|_| max == Some(1));
                        Self { exact, may_be_empty: true, closes: sub.closes, ..Self::unknown() }
                    }
                    _ => {
                        let (may_be_empty, closes) = (sub.may_be_empty, sub.closes);
                        let prefix = sub.head().cloned();
                        Self { exact: None, prefix, inner: sub.all().collect(), may_be_empty, closes }
                    }
                }
            }
            HirKind::Alternation(parts) => Self::any_of(parts.iter().map(|part| Self::of(part, at_edge)).collect()),
            HirKind::Concat(parts) => Self::one_after_the_other(parts, at_edge),
        }
    }

    fn any_of(parts: Vec<Self>) -> Self {
        Self {
            exact: merged(parts.iter().map(|part| part.exact.as_deref())),
            prefix: merged(parts.iter().map(|part| part.head().map(Vec::as_slice))),
            may_be_empty: parts.iter().any(|part| part.may_be_empty),
            closes: parts.iter().all(|part| part.closes),
            inner: merged(parts.into_iter().map(Self::best)).into_iter().collect(),
        }
    }

    fn one_after_the_other(parts: &[Hir], mut at_edge: bool) -> Self {
        let mut run = vec![String::new()];
        let mut prefix = None;
        let mut inner = Vec::new();
        let (mut may_be_empty, mut closes) = (true, true);
        for part in parts {
            let part = Self::of(part, at_edge);
            let (empty, closed) = (part.may_be_empty, part.closes);
            let next_at_edge = closed && (at_edge || !empty);
            may_be_empty &= empty;
            closes = closed && (closes || !empty);
            if let Some(texts) = part.exact.as_ref().and_then(|texts| product(&run, texts)) {
                run = texts;
            } else {
                // What several ways begin with was taken out of them: with it their beginnings tell more.
                let begun = part.head().and_then(|head| product_or_edge(&run, head)).unwrap_or(run);
                if prefix.is_none() {
                    prefix = Some(begun);
                } else {
                    inner.push(begun);
                }
                run = match part.exact {
                    // A vocabulary that is too large to be told with each of what may stand before it.
                    Some(texts) => texts,
                    None => {
                        inner.extend(part.all());
                        vec![String::new()]
                    }
                };
            }
            at_edge = next_at_edge;
        }
        let exact = prefix.is_none().then(|| run.clone());
        inner.extend(prefix.is_some().then_some(run));
        Self { exact, prefix, inner, may_be_empty, closes }
    }
}

/// Each of the one followed by each of the other, unless these are too many.
fn product(heads: &[String], tails: &[String]) -> Option<Vec<String>> {
    let all = || heads.iter().flat_map(|head| tails.iter().map(move |tail| format!("{head}{tail}"))).collect();
    (heads.len() == 1 || tails.len() == 1 || heads.len() * tails.len() <= MAX_LITERALS).then(all)
}

/// The same; where they are too many and no word goes on in any of the other, that much.
fn product_or_edge(heads: &[String], tails: &[String]) -> Option<Vec<String>> {
    let edge = [EDGE.to_string()];
    let apart = || tails.iter().all(|tail| tail.starts_with(|c| !is_word(c)));
    product(heads, tails).or_else(|| apart().then(|| product(heads, &edge)).flatten())
}

/// All of them, unless one is unknown or they are too many.
fn merged<T: AsRef<[String]>>(sets: impl Iterator<Item = Option<T>>) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for set in sets {
        all.extend_from_slice(set?.as_ref());
        if all.len() > MAX_VOCABULARY {
            return None;
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sets, with a stroke where a word must begin or end.
    fn needs(pattern: &str) -> Vec<Vec<String>> {
        let plain = crate::rules::plain::plain_pattern(&regex_syntax::parse(pattern).unwrap());
        let stroke = |is: bool| if is { "|" } else { "" };
        let shown =
            |needle: &Needle| format!("{}{}{}", stroke(needle.starts_word), needle.text, stroke(needle.ends_word));
        required(&plain).iter().map(|set| set.iter().map(shown).collect()).collect()
    }

    #[test]
    fn every_match_holds_one_literal_of_each_set_that_a_pattern_needs() {
        let nothing: Vec<Vec<String>> = Vec::new();
        assert_eq!(needs(r"\bi (?:live|reside) in (\w+)"), [["|i live in ", "|i reside in "]]);
        assert_eq!(needs(r"\b(?:i am|i'?m) from \w+"), [["|i am from ", "|i'm from ", "|im from "]]);
        assert_eq!(needs(r"dog \w+ (?:named|called)"), [[" called", " named"]]);
        assert_eq!(needs(r"my \w+ (?:budget|limit)"), [[" budget", " limit"]]);
        assert_eq!(needs(r"\bmy \w+ (?:is|in) (?:\w+ )?dog\b"), [vec!["|dog|"], vec!["|my "]]);
        assert_eq!(needs(r"(?:cats?|\w+)"), nothing);
        assert_eq!(needs(r"a*b?"), nothing);
        assert_eq!(needs(r"(?:very )?vegan"), [["vegan", "very vegan"]]);
        assert_eq!(needs(r"\bi(?: am| was) \w+|\bi come from"), [["|i am ", "|i come from", "|i was "]]);
    }

    #[test]
    fn words_that_must_be_whole_are_told_from_parts_of_words() {
        assert_eq!(needs(r"\b(?:(?:so|very) )*go\b"), [["|go|"]]);
        assert_eq!(needs(r"\bgo(?:$|[^\w'])"), [["|go|"]]);
        assert_eq!(needs(r"^(?:just )*(?:go|run)s?"), [["|go", "|gos", "|run", "|runs"]]);
        assert_eq!(needs(r"\w+ing\b"), [["ing|"]]);
        assert_eq!(needs(r"(?:un)?(?:a )*go"), [["go"]]);
    }

    #[test]
    fn a_large_vocabulary_is_told_without_what_stands_before_it() {
        let words: Vec<String> = (0..200).map(|n| format!("word{n:03}")).collect();
        let pattern = format!(r"\bi (?:eat|like) (?:{})\b", words.join("|"));
        let found = needs(&pattern);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().any(|set| set.len() == 200 && set.iter().all(|word| word.contains("word"))));
        assert!(found.contains(&vec!["|i eat ".to_owned(), "|i like ".to_owned()]));
    }
}
