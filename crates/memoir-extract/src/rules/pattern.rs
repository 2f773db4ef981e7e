//! A pattern that is compiled when a message first needs it: of some three hundred most runs use a few dozen, and
//! compiling all of them takes a third of a second.

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind};

/// A regular expression without case. Its syntax is known to be right.
pub(super) struct Pattern {
    text: String,
    regex: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// The pattern, and its structure as it is written.
    pub fn parse(text: String) -> Result<(Self, Hir), String> {
        let hir = regex_syntax::Parser::new().parse(&text).map_err(|error| error.to_string())?;
        Ok((Self { text, regex: OnceLock::new() }, hir))
    }

    /// Compiles it now. Right syntax can still be too large.
    pub fn compile(&self) -> Result<(), String> {
        let regex = self.build().map_err(|error| error.to_string())?;
        self.regex.get_or_init(|| Some(regex));
        Ok(())
    }

    /// `None` where it does not compile, which loading a file and the tests of the built-in rules rule out.
    pub fn regex(&self) -> Option<&Regex> {
        self.regex.get_or_init(|| self.build().ok()).as_ref()
    }

    fn build(&self) -> Result<Regex, regex::Error> {
        RegexBuilder::new(&self.text).case_insensitive(true).build()
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
    use super::*;

    #[test]
    fn a_pattern_tells_its_groups_and_compiles_when_it_is_needed() {
        let (pattern, hir) = Pattern::parse(r"i (?:live (?P<place>\w+)|(?P<thing>(?P<tool>a)+))?".to_owned()).unwrap();
        assert_eq!(group_names(&hir), ["place", "thing", "tool"]);
        assert!(pattern.regex.get().is_none());
        assert!(pattern.regex().is_some_and(|regex| regex.is_match("I LIVE here")));
        assert!(pattern.compile().is_ok());
    }

    #[test]
    fn a_wrong_or_too_large_pattern_is_told() {
        assert!(Pattern::parse("i (live".to_owned()).is_err());
        let (large, _) = Pattern::parse(r"(?:\w{1000}){1000}".to_owned()).unwrap();
        assert!(large.compile().is_err());
        assert!(large.regex().is_none());
    }
}
