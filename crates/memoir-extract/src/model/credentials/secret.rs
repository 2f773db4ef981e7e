//! A token that does not show by accident.

use std::fmt;

/// A token, key or client secret. `Debug` does not show it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// What stands where a secret stood.
const MASK: &str = "********";

impl Token {
    /// `None` where nothing but blanks is given.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    pub(in crate::model) fn reveal(&self) -> &str {
        &self.0
    }

    /// A text in which the token, wherever it stands, is blanked out.
    pub(in crate::model) fn redact(&self, text: &str) -> String {
        text.replace(&self.0, MASK)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}
