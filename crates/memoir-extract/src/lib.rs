//! Extractors: who finds facts in what a user wrote.
//!
//! Two of them: the rules ([`Rules`], deterministic, no network) and a model behind an endpoint ([`ModelExtractor`]),
//! with the rules as its fallback. [`Extractor`] is the front that the engine asks; once it stands it always answers.
//!
//! What is promised: only the user's own messages are evidence for the rules, a fact of theirs names its message and
//! quotes its words, and no token or user id is in a request's body, an error or a log. What is left to others: whether
//! a fact is accepted (memoir-core checks and grounds each one again), how many calls are in flight, and when one is made.

mod error;
mod extractor;
mod model;
mod rules;
mod settings;

pub use error::ExtractError;
pub use extractor::{AtOnce, Extractor};
pub use model::{
    ClientCredentials, ClientOptions, CredentialSettings, ModelCounts, ModelExtractor, ModelSettings, ModelUrl,
    Profile, Prompt, Token,
};
pub use rules::{Annotated, Rules, TrainingError, TrainingOptions, TrainingSentence};
pub use settings::{ExtractorChoice, ExtractorSettings};
