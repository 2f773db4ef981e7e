//! A pattern that is compiled when a message first needs it: of some three hundred most runs use a few dozen, and
//! compiling all of them takes a third of a second.

use std::sync::OnceLock;

use regex_automata::meta::{Config, Regex};
use regex_automata::util::captures::Captures;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind};

use super::plain::{Text, depends_on_case, plain_pattern};

/// What the automaton of one pattern may keep for one thread, in bytes: it is built as texts need it, and where this
/// is too little slow engines take its place.
const AUTOMATON_BYTES: usize = 2 << 20;
/// A pattern that compiles to more bytes is refused.
const MAX_BYTES: usize = 10 << 20;

/// A regular expression without case, for texts in their plain form. Its syntax is known to be right.
pub(super) struct Pattern {
    text: String,
    regex: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// The pattern, and the structure of its plain form.
    ///
    /// # Errors
    /// What is wrong with its syntax.
    pub fn parse(text: String) -> Result<(Self, Hir), String> {
        let plain = plain_form(&text).map_err(|error| error.to_string())?;
        Ok((Self { text, regex: OnceLock::new() }, plain))
    }

    /// Compiles it now. Right syntax can still be too large.
    pub fn compile(&self) -> Result<(), String> {
        let regex = self.build()?;
        self.regex.get_or_init(|| Some(regex));
        Ok(())
    }

    /// `None` where it does not compile, which loading a file and the tests of the built-in rules rule out.
    fn regex(&self) -> Option<&Regex> {
        self.regex.get_or_init(|| self.build().ok()).as_ref()
    }

    fn build(&self) -> Result<Regex, String> {
        let plain = plain_form(&self.text).map_err(|error| error.to_string())?;
        let config = Config::new().nfa_size_limit(Some(MAX_BYTES)).hybrid_cache_capacity(AUTOMATON_BYTES);
        Regex::builder().configure(config).build_from_hir(&plain).map_err(|error| error.to_string())
    }

    pub fn is_match(&self, text: Text<'_>) -> bool {
        self.regex().is_some_and(|regex| regex.is_match(text.plain()))
    }

    /// Where its first match begins and ends.
    pub fn find(&self, text: Text<'_>) -> Option<(usize, usize)> {
        let found = self.regex()?.find(text.plain())?;
        Some(text.snap(found.start(), found.end()))
    }

    /// Its matches, one after the other.
    pub fn find_all<'t>(&'t self, text: Text<'t>) -> impl Iterator<Item = Match<'t>> {
        // Few texts that are looked at match, and to see that they do not costs much less than to look for groups.
        let regex = self.regex().filter(|regex| regex.is_match(text.plain()));
        regex
            .into_iter()
            .flat_map(move |regex| regex.captures_iter(text.plain()))
            .map(move |captures| Match { text, captures })
    }
}

/// Kept by nobody: the structures of all patterns take tens of megabytes.
fn plain_form(text: &str) -> Result<Hir, Box<regex_syntax::Error>> {
    // To make a pattern match without case takes most of the time of reading it, and few need it.
    let parsed = regex_syntax::parse(text)?;
    if !depends_on_case(&parsed) {
        return Ok(plain_pattern(&parsed));
    }
    Ok(plain_pattern(&ParserBuilder::new().case_insensitive(true).build().parse(text)?))
}

/// A match with its groups.
pub(super) struct Match<'t> {
    text: Text<'t>,
    captures: Captures,
}

impl Match<'_> {
    /// Where it begins and ends.
    pub fn span(&self) -> (usize, usize) {
        self.captures.get_match().map_or((0, 0), |whole| self.text.snap(whole.start(), whole.end()))
    }

    /// Where a group begins and ends, if it took part.
    pub fn group(&self, name: &str) -> Option<(usize, usize)> {
        self.captures.get_group_by_name(name).map(|group| self.text.snap(group.start, group.end))
    }
}

/// The names of the groups, in the order of the pattern.
pub(super) fn group_names(hir: &Hir) -> Vec<String> {
    match hir.kind() {
        HirKind::Capture(capture) => {
            let name = capture.name.as_ref().map(|name| name.to_string());
            name.into_iter().chain(group_names(&capture.sub)).collect()
        }
        HirKind::Repetition(repetition) => group_names(&repetition.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().flat_map(group_names).collect(),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::rules::plain::TextBuffer;

    #[test]
    fn a_pattern_tells_its_groups_and_compiles_when_it_is_needed() {
        let text = r"i (?:live (?P<place>\w+)|(?P<thing>(?P<tool>a)+))?";
        let (pattern, plain) = Pattern::parse(text.to_owned()).unwrap();
        assert_eq!(group_names(&plain), ["place", "thing", "tool"]);
        assert!(pattern.regex.get().is_none());
        let text = TextBuffer::new(Cow::Borrowed("eh, I LIVE hére"));
        assert!(pattern.is_match(text.text()));
        let found: Vec<_> = pattern.find_all(text.text()).map(|found| (found.span(), found.group("place"))).collect();
        assert_eq!(found, [((4, 16), Some((11, 16)))]);
        assert!(pattern.compile().is_ok());
    }

    #[test]
    fn a_wrong_or_too_large_pattern_is_told() {
        assert!(Pattern::parse("i (live".to_owned()).is_err());
        let (large, _) = Pattern::parse(r"(?:\w{1000}){1000}".to_owned()).unwrap();
        assert!(large.compile().is_err());
        assert!(!large.is_match(TextBuffer::new(Cow::Borrowed("a")).text()));
    }
}
