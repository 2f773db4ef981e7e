//! Which rules could match a message at all: literals that every match of a pattern must hold, looked for in one pass.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::literals::{AnyOf, MAX_SETS, Needle, is_word};
use super::plain::Text;

/// Finds the rules whose literals a message holds.
pub(super) struct Prefilter {
    automaton: AhoCorasick,
    /// By literal.
    needles: Vec<Needle>,
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
        let mut literals: Vec<(&Needle, usize, usize)> = Vec::new();
        for (rule, sets) in needs.iter().enumerate() {
            for (place, lacking) in lacking.iter_mut().enumerate() {
                match sets.get(place) {
                    Some(set) => literals.extend(set.iter().map(|needle| (needle, place, rule))),
                    None => lacking.insert(rule),
                }
            }
        }
        literals.sort_unstable();
        let mut needles: Vec<Needle> = Vec::new();
        let mut waiting: Vec<Vec<(usize, usize)>> = Vec::new();
        for (needle, place, rule) in literals {
            if needles.last() != Some(needle) {
                needles.push(needle.clone());
                waiting.push(Vec::new());
            }
            if let Some(waiting) = waiting.last_mut() {
                waiting.push((place, rule));
            }
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(needles.iter().map(|needle| &needle.text))
            .map_err(|error| error.to_string())?;
        Ok(Self { automaton, needles, waiting, lacking })
    }

    /// Where literals stand in a text, in the order of their ends.
    pub fn scan(&self, text: Text<'_>, found: &mut Vec<Literal>) {
        found.clear();
        let bytes = text.plain().as_bytes();
        let in_word =
            |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(|byte| is_word(char::from(*byte)));
        found.extend(self.automaton.find_overlapping_iter(bytes).filter_map(|literal| {
            let (number, start, end) = (literal.pattern().as_usize(), literal.start(), literal.end());
            let needle = self.needles.get(number)?;
            let inside =
                (needle.starts_word && in_word(start.checked_sub(1))) || (needle.ends_word && in_word(Some(end)));
            (!inside).then_some(Literal { number, start, end })
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

    /// A stroke stands where a word must begin or end.
    fn set(literals: &[&str]) -> AnyOf {
        let needle = |text: &&str| Needle {
            text: text.trim_matches('|').to_owned(),
            starts_word: text.starts_with('|'),
            ends_word: text.ends_with('|'),
        };
        literals.iter().map(needle).collect()
    }

    fn candidates(needs: &[Vec<AnyOf>], text: &str) -> Vec<usize> {
        let prefilter = Prefilter::new(needs.iter().map(Vec::as_slice)).unwrap();
        let (buffer, mut literals) = (TextBuffer::new(straight(text)), Vec::new());
        prefilter.scan(buffer.text(), &mut literals);
        prefilter.candidates(literals.iter()).iter().collect()
    }

    #[test]
    fn the_prefilter_names_the_rules_of_which_a_message_holds_every_set_in_any_case() {
        let needs = [vec![set(&["i live in"])], vec![set(&["vegan", "vegetarian"]), set(&["i'm "])], vec![]];
        assert_eq!(candidates(&needs, "I LIVE IN Leeds and i’m Vegan"), [0, 1, 2]);
        assert_eq!(candidates(&needs, "a vegetarian"), [2]);
        assert_eq!(candidates(&needs[..2], "nothing here"), [0; 0]);
    }

    #[test]
    fn what_must_be_a_whole_word_is_not_found_inside_of_one() {
        let needs = [vec![set(&["|go|"])], vec![set(&["|go"])], vec![set(&["go|"])], vec![set(&["go"])]];
        assert_eq!(candidates(&needs, "let's go"), [0, 1, 2, 3]);
        assert_eq!(candidates(&needs, "Go!"), [0, 1, 2, 3]);
        assert_eq!(candidates(&needs, "gone"), [1, 3]);
        assert_eq!(candidates(&needs, "ago"), [2, 3]);
        assert_eq!(candidates(&needs, "égoi"), [3]);
    }
}
