//! Where events come from: newline-delimited JSON in files or streams, and Delta tables read version by version.
//!
//! Each source implements [`memoir_core::source::Source`] for any [`memoir_core::processor::StreamEvent`]: it knows
//! places and bytes, and nothing of what an event means. A record that is no event becomes a
//! [`memoir_core::source::BadRecord`]; writing that to a table is the engine's.

mod decode;
pub mod delta;
mod error;
pub mod files;

pub use decode::DEFAULT_MAX_AHEAD;
pub use error::ConnectError;
