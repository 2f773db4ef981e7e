//! The per-user memory: recent messages, facts, counters and timers, and the emissions that they lead to.
//!
//! [`ProfileProcessor`] is the processor. The steps of one event are in [`intake`], what an answer does is in
//! [`apply`], the rows are in [`rows`], and what is kept in [`state`].

mod apply;
mod config;
mod extraction;
mod fact;
mod grounding;
mod held;
mod intake;
mod refusal;
mod rows;
mod state;

#[cfg(test)]
mod held_tests;
#[cfg(test)]
mod tests;

pub use apply::ProfileProcessor;
pub use config::{AuditRows, DEFAULT_SOURCES, MAX_VALUE_CHARS, OPEN_CONVERSATIONS, ProfileConfig};
pub use extraction::{
    Evidence, ExtractionAnswer, ExtractionCall, ExtractionRequest, ExtractionStatus, ExtractorKind, Message,
    ProposedFact, Trigger, USER_ROLE, WindowMessage,
};
pub use fact::{Action, Fact, Kind, UnknownWord};
pub use refusal::{Refusal, Refusals};
pub use rows::{EXTRACTIONS, PROFILE_AUDIT, STATUS_KEY, emission_id};
pub use state::{Header, UserState};
