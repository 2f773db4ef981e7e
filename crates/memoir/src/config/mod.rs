//! Configuration: every key is defined once ([`definitions`]), read from its origins ([`origin`]), put in order of
//! precedence and turned into typed [`Settings`] ([`resolve`]).
//!
//! Flags win over the environment (where the real one wins over `.env`), the environment over the file, the file over
//! defaults. A key that nobody knows is an error wherever it comes from. Nothing here decides what a key means for a
//! run; that is up to the commands.

mod definitions;
mod error;
mod kind;
mod origin;
mod reference;
mod resolve;
mod settings;

pub use error::ConfigError;
pub use origin::{Environment, Flag};
pub use reference::markdown;
pub use resolve::Configuration;
pub use settings::{
    AuditRows, ClockChoice, ExtractorChoice, LogFormat, LogSettings, OnBadRecord, Secret, Settings, SourceKind, Start,
    Trigger,
};
