//! A fact about a user, and what may happen to it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::comparable;
use crate::time::Timestamp;

/// What sort of thing a fact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Identity,
    Preference,
    Project,
    Constraint,
}

/// What an emission says of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    New,
    Updated,
    Unchanged,
    Deleted,
}

/// A word that is none of the known ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {word:?} (known: {known})")]
pub struct UnknownWord {
    pub what: &'static str,
    pub word: String,
    pub known: &'static str,
}

macro_rules! words {
    ($type:ident, $what:literal, $known:literal, $($variant:ident => $word:literal),+) => {
        impl $type {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word that tables hold.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = UnknownWord;

            /// Blanks around the word and its case do not matter.
            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                match word.trim().to_ascii_lowercase().as_str() {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownWord { what: $what, word: word.to_owned(), known: $known }),
                }
            }
        }
    };
}
pub(crate) use words;

words!(Kind, "kind", "identity, preference, project, constraint",
    Identity => "identity", Preference => "preference", Project => "project", Constraint => "constraint");
words!(Action, "action", "new, updated, unchanged, deleted",
    New => "new", Updated => "updated", Unchanged => "unchanged", Deleted => "deleted");

/// A fact as the state keeps it, under its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    pub kind: Kind,
    pub value: String,
    pub confidence: f64,
    /// The `emission_ts` of the last `new` or `updated`.
    pub since: Timestamp,
    /// The `emission_ts` at which newer words last confirmed it; what its TTL counts from.
    pub confirmed: Timestamp,
    pub source_event_ids: Vec<String>,
    pub reason: String,
    /// The sequence number of the newest message that it was made, changed or confirmed on; [`UNREAD`] where that message
    /// is still to be read again.
    pub mark: u64,
}

/// The mark of a fact that came from a table before the message that it rests on came from the source.
pub const UNREAD: u64 = u64::MAX;

impl Fact {
    /// Whether a value and kind say the same as this fact.
    #[must_use]
    pub fn says(&self, kind: Kind, value: &str) -> bool {
        self.kind == kind && comparable(&self.value) == comparable(value)
    }
}
