//! One rule: a pattern with what a match of it says.

use std::sync::Arc;

use super::Hit;
use super::claim::Claim;
use super::guard::Guards;
use super::literals::AnyOf;
use super::passage::Sentence;
use super::pattern::Pattern;

pub(super) struct Rule {
    pub claim: Claim,
    pub pattern: Pattern,
    /// Sets of literals: a match holds one of each.
    pub needs: Vec<AnyOf>,
    /// The group that holds a list, each element of which is a fact.
    pub each: Option<String>,
    pub presupposed: bool,
    /// What the assistant must have asked just before.
    pub asked: Option<Pattern>,
    /// Rules that say more of the same words: where one of them matches, this one does not count.
    pub yields_to: Vec<usize>,
    /// What stands between the elements of a list.
    pub separators: Arc<[String]>,
}

impl Rule {
    pub fn needs(&self) -> &[AnyOf] {
        &self.needs
    }

    /// All of its patterns.
    pub fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        let shapes = self.claim.shapes.iter().flat_map(|(_, shape)| shape.patterns());
        [&self.pattern].into_iter().chain(&self.asked).chain(shapes)
    }

    pub fn find(&self, sentence: &Sentence<'_>, guards: &Guards, mut found: impl FnMut(Hit)) {
        for matched in self.pattern.find_all(sentence.text) {
            let (start, end) = matched.span();
            if !guards.lets_pass(sentence, start, end, self.presupposed) {
                continue;
            }
            match self.each.as_deref().and_then(|group| matched.group(group).map(|list| (group, list))) {
                None => {
                    let hit = self.claim.hit(sentence, (start, end), start, |name| matched.group(name));
                    hit.into_iter().for_each(&mut found);
                }
                Some((group, list)) => {
                    let text = sentence.text.written.get(list.0..list.1).unwrap_or_default();
                    for (from, to) in elements(text, &self.separators) {
                        let element = (list.0 + from, list.0 + to);
                        let of = |name: &str| if name == group { Some(element) } else { matched.group(name) };
                        let hit = self.claim.hit(sentence, (start, end), element.0, of);
                        hit.into_iter().for_each(&mut found);
                    }
                }
            }
        }
    }
}

/// The elements of a list in words: "Spanish, German and a bit of Polish".
fn elements(list: &str, separators: &[String]) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    let mut from = 0;
    let mut at = 0;
    let mut rest = list;
    while let Some(c) = rest.chars().next() {
        let separator = separators
            .iter()
            .find(|separator| rest.get(..separator.len()).is_some_and(|head| head.eq_ignore_ascii_case(separator)));
        let length = separator.map_or(c.len_utf8(), String::len);
        if separator.is_some() {
            spans.push((from, at));
            from = at + length;
        }
        at += length;
        rest = rest.get(length..).unwrap_or_default();
    }
    spans.push((from, at));
    spans.retain(|(from, to)| list.get(*from..*to).is_some_and(|element| !element.trim().is_empty()));
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_in_words_has_its_elements() {
        let separators = [", and ", " and ", ","].map(str::to_owned);
        let of = |list: &'static str| {
            elements(list, &separators)
                .into_iter()
                .filter_map(|(from, to)| list.get(from..to))
                .map(str::trim)
                .collect::<Vec<_>>()
        };
        assert_eq!(of("Spanish, German and a bit of Polish"), ["Spanish", "German", "a bit of Polish"]);
        assert_eq!(of("C, C++, and Rust"), ["C", "C++", "Rust"]);
        assert_eq!(of("Go"), ["Go"]);
        assert_eq!(of(""), [""; 0]);
    }
}
