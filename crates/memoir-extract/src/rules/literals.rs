//! Which rules could match a message at all: literals that every match of a pattern must hold, looked for in one pass.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use regex_syntax::hir::{Class, Hir, HirKind};

use super::plain::Text;

/// More literals than this say too little to be worth looking for.
const MAX_LITERALS: usize = 96;
/// So many sets of literals are looked for at most: where two or three coincide a match is likely.
const MAX_SETS: usize = 3;

/// Literals of which any match of a pattern holds one.
type AnyOf = Vec<String>;

/// What every text that a pattern in its plain form matches holds: of each of these sets one literal at least, the most
/// telling set first.
pub(super) fn required(hir: &Hir) -> Vec<AnyOf> {
    let mut sets = Literals::of(hir).all();
    sets.sort_by_key(|set| std::cmp::Reverse(weight(set)));
    sets.dedup();
    // Common words are worth the look only where there is nothing better.
    let telling = sets.iter().filter(|set| weight(set) > COMMON_WEIGHT).count();
    sets.truncate(telling.clamp(1, MAX_SETS));
    sets
}

/// What is known of the texts that a part of a pattern matches.
struct Literals {
    /// All of them, where they are few.
    exact: Option<AnyOf>,
    /// Each of them begins with one of these.
    prefix: Option<AnyOf>,
    /// Each of them holds one of each of these sets.
    inner: Vec<AnyOf>,
}

impl Literals {
    fn exact(texts: AnyOf) -> Self {
        Self { exact: Some(texts), prefix: None, inner: Vec::new() }
    }

    fn unknown() -> Self {
        Self { exact: None, prefix: None, inner: Vec::new() }
    }

    /// What the texts begin with, as far as it is known.
    fn head(&self) -> Option<&AnyOf> {
        self.exact.as_ref().or(self.prefix.as_ref())
    }

    /// The sets that are worth looking for. An empty literal, which every text holds, makes a set useless.
    fn all(self) -> Vec<AnyOf> {
        self.exact.into_iter().chain(self.prefix).chain(self.inner).filter(|set| weight(set) > 0).collect()
    }

    fn best(self) -> Option<AnyOf> {
        self.all().into_iter().max_by_key(|set| weight(set))
    }

    fn of(hir: &Hir) -> Self {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Self::exact(vec![String::new()]),
            HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
                Ok(text) => Self::exact(vec![text.to_owned()]),
                Err(_) => Self::unknown(),
            },
            HirKind::Class(Class::Unicode(class)) => {
                let chars = class.ranges().iter().map(|range| range.end() as usize - range.start() as usize + 1);
                if chars.sum::<usize>() > 6 {
                    return Self::unknown();
                }
                let chars = class.ranges().iter().flat_map(|range| range.start()..=range.end());
                Self::exact(chars.map(String::from).collect())
            }
            HirKind::Class(Class::Bytes(_)) => Self::unknown(),
            HirKind::Capture(capture) => Self::of(&capture.sub),
            HirKind::Repetition(repetition) => {
                let sub = Self::of(&repetition.sub);
                match (repetition.min, repetition.max) {
                    (1, Some(1)) => sub,
                    (0, Some(1)) => {
                        let mut exact = sub.exact;
                        if let Some(texts) = &mut exact {
                            texts.push(String::new());
                        }
                        Self { exact, ..Self::unknown() }
                    }
                    (0, _) => Self::unknown(),
                    _ => Self { exact: None, prefix: sub.head().cloned(), inner: sub.all() },
                }
            }
            HirKind::Alternation(parts) => Self::any_of(parts.iter().map(Self::of)),
            HirKind::Concat(parts) => Self::one_after_the_other(parts.iter().map(Self::of)),
        }
    }

    fn any_of(parts: impl Iterator<Item = Self>) -> Self {
        let (mut exact, mut prefix, mut inner) = (Some(Vec::new()), Some(Vec::new()), Some(Vec::new()));
        for part in parts {
            prefix = merged(prefix, part.head().cloned());
            exact = merged(exact, part.exact.clone());
            inner = merged(inner, part.best());
        }
        Self { exact, prefix, inner: inner.into_iter().collect() }
    }

    fn one_after_the_other(parts: impl Iterator<Item = Self>) -> Self {
        let mut run = vec![String::new()];
        let mut whole = true;
        let mut prefix = None;
        let mut inner = Vec::new();
        for part in parts {
            if let Some(texts) = part.exact.as_ref().and_then(|texts| product(&run, texts)) {
                run = texts;
                continue;
            }
            // What several ways begin with was taken out of them: with it their beginnings tell more.
            let run = std::mem::replace(&mut run, vec![String::new()]);
            let begun = part.head().and_then(|head| product(&run, head)).unwrap_or(run);
            if whole {
                prefix = Some(begun.clone());
            }
            whole = false;
            inner.push(begun);
            inner.extend(part.all());
        }
        if whole {
            return Self::exact(run);
        }
        inner.push(run);
        Self { exact: None, prefix, inner }
    }
}

/// Each of the one followed by each of the other, unless these are too many.
fn product(heads: &[String], tails: &[String]) -> Option<AnyOf> {
    let all = || heads.iter().flat_map(|head| tails.iter().map(move |tail| format!("{head}{tail}"))).collect();
    (heads.len() * tails.len() <= MAX_LITERALS).then(all)
}

fn merged(all: Option<AnyOf>, more: Option<AnyOf>) -> Option<AnyOf> {
    let (mut all, more) = (all?, more?);
    all.extend(more);
    all.sort_unstable();
    all.dedup();
    (all.len() <= 8 * MAX_LITERALS).then_some(all)
}

const COMMON_WEIGHT: usize = 1;

/// Words that nearly every message holds tell nothing.
const COMMON: [&str; 40] = [
    "a", "an", "and", "as", "at", "be", "but", "by", "can", "do", "for", "from", "have", "have to", "i", "i have",
    "in", "in the", "is", "it", "it's", "like", "my", "no", "not", "now", "of", "of the", "on", "on the", "or",
    "please", "so", "that", "the", "this", "to", "we", "with", "you",
];

/// How much it tells that a text holds one of the literals: as much as the least telling one of them.
fn weight(set: &[String]) -> usize {
    let of_one = |literal: &String| match literal.trim() {
        _ if literal.is_empty() => 0,
        word if COMMON.contains(&word) || word.len() < 3 => COMMON_WEIGHT,
        word => word.len().min(8),
    };
    set.iter().map(of_one).min().unwrap_or(0)
}

/// Finds the rules whose literals a message holds.
pub(super) struct Prefilter {
    automaton: AhoCorasick,
    /// By literal: of which rules it is one, and of which of their sets.
    waiting: Vec<Vec<(usize, usize)>>,
    /// Rules that have no such set.
    lacking: [RuleSet; MAX_SETS],
}

impl Prefilter {
    /// `needs` are the sets of each rule, at most [`MAX_SETS`] of them.
    pub fn new<'a>(needs: impl Iterator<Item = &'a [AnyOf]>) -> Result<Self, String> {
        let needs: Vec<_> = needs.collect();
        let none = || std::array::from_fn::<_, MAX_SETS, _>(|_| RuleSet::new(needs.len()));
        let mut lacking = none();
        let mut literals: Vec<(&str, usize, usize)> = Vec::new();
        for (rule, sets) in needs.iter().enumerate() {
            for (place, lacking) in lacking.iter_mut().enumerate() {
                match sets.get(place) {
                    Some(set) => literals.extend(set.iter().map(|literal| (literal.as_str(), place, rule))),
                    None => lacking.insert(rule),
                }
            }
        }
        literals.sort_unstable();
        let mut texts: Vec<&str> = Vec::new();
        let mut waiting: Vec<Vec<(usize, usize)>> = Vec::new();
        for (literal, place, rule) in literals {
            if texts.last() != Some(&literal) {
                texts.push(literal);
                waiting.push(Vec::new());
            }
            if let Some(waiting) = waiting.last_mut() {
                waiting.push((place, rule));
            }
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&texts)
            .map_err(|error| error.to_string())?;
        Ok(Self { automaton, waiting, lacking })
    }

    /// Where literals stand in a text, in the order of their ends.
    pub fn scan(&self, text: Text<'_>, found: &mut Vec<Literal>) {
        found.clear();
        let literals = self.automaton.find_overlapping_iter(text.plain().as_bytes());
        found.extend(literals.map(|literal| Literal {
            number: literal.pattern().as_usize(),
            start: literal.start(),
            end: literal.end(),
        }));
    }

    /// The rules of which there is a literal of every set among these.
    pub fn candidates<'l>(&self, literals: impl Iterator<Item = &'l Literal>) -> RuleSet {
        let mut seen = self.lacking.clone();
        for (place, rule) in literals.filter_map(|literal| self.waiting.get(literal.number)).flatten() {
            if let Some(seen) = seen.get_mut(*place) {
                seen.insert(*rule);
            }
        }
        let [mut all, others @ ..] = seen;
        for other in &others {
            all.keep(other);
        }
        all
    }
}

/// A literal in a text: which one, and where it begins and ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Literal {
    number: usize,
    pub start: usize,
    pub end: usize,
}

/// A set of rule numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RuleSet(Box<[u64]>);

impl RuleSet {
    pub fn new(rules: usize) -> Self {
        Self(vec![0; rules.div_ceil(64)].into_boxed_slice())
    }

    pub fn insert(&mut self, rule: usize) {
        if let Some(word) = self.0.get_mut(rule / 64) {
            *word |= 1 << (rule % 64);
        }
    }

    /// Takes out what is not in the other.
    pub fn keep(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word &= other;
        }
    }

    /// Takes a rule out; whether it was in.
    pub fn remove(&mut self, rule: usize) -> bool {
        let Some(word) = self.0.get_mut(rule / 64) else { return false };
        let was_in = *word & (1 << (rule % 64)) != 0;
        *word &= !(1 << (rule % 64));
        was_in
    }

    /// What is in it and in the other.
    pub fn both(&self, other: &Self) -> Vec<usize> {
        let mut both = self.clone();
        both.keep(other);
        both.iter().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(at, word)| bits(*word).map(move |bit| at * 64 + bit))
    }
}

/// The places of the bits that are set, from the lowest.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (word != 0).then(|| word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(lowest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::passage::straight;
    use crate::rules::plain::TextBuffer;

    #[test]
    fn every_match_holds_one_literal_of_each_set_that_a_pattern_needs() {
        let needs = |pattern: &str| required(&regex_syntax::Parser::new().parse(pattern).unwrap());
        let nothing: Vec<AnyOf> = Vec::new();
        assert_eq!(needs(r"\bi (?:live|reside) in (\w+)"), [["i live in ", "i reside in "]]);
        assert_eq!(needs(r"\b(?:i am|i'?m) from \w+"), [["i am from ", "i'm from ", "im from "]]);
        assert_eq!(needs(r"dog \w+ (?:named|called)"), [vec![" called", " named"], vec!["dog "]]);
        assert_eq!(needs(r"my \w+ (?:budget|limit)"), [[" budget", " limit"]]);
        assert_eq!(needs(r"(?:cats?|\w+)"), nothing);
        assert_eq!(needs(r"a*b?"), nothing);
        assert_eq!(needs(r"(?:very )?vegan"), [["very vegan", "vegan"]]);
        assert_eq!(needs(r"\bi(?: am| was) \w+|\bi come from"), [["i am ", "i come from", "i was "]]);
    }

    #[test]
    fn the_prefilter_names_the_rules_of_which_a_message_holds_every_set_in_any_case() {
        let set = |literals: &[&str]| literals.iter().map(|literal| (*literal).to_owned()).collect::<AnyOf>();
        let needs = [vec![set(&["i live in"])], vec![set(&["vegan", "vegetarian"]), set(&["i'm "])], vec![]];
        let prefilter = Prefilter::new(needs.iter().map(Vec::as_slice)).unwrap();
        let buffer = |text: &'static str| TextBuffer::new(straight(text));
        let candidates_of = |prefilter: &Prefilter, text| {
            let mut literals = Vec::new();
            prefilter.scan(buffer(text).text(), &mut literals);
            prefilter.candidates(literals.iter()).iter().collect::<Vec<_>>()
        };
        let candidates = |text| candidates_of(&prefilter, text);
        assert_eq!(candidates("I LIVE IN Leeds and i’m Vegan"), [0, 1, 2]);
        assert_eq!(candidates("a vegetarian"), [2]);
        let prefilter = Prefilter::new(needs.iter().take(2).map(Vec::as_slice)).unwrap();
        assert_eq!(candidates_of(&prefilter, "nothing here"), [0; 0]);
    }
}
