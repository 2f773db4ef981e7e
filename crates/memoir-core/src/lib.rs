//! What Memoir decides, with no runtime at all: events, facts, emissions, clocks and the per-user processor.
//!
//! Nothing in this crate does I/O, is async, or reads a clock of its own. Time comes in as [`Timestamp`]s, state as
//! cells that somebody else loads and stores ([`cell`]), and rows go out as bytes that only need a
//! [`table::TableSchema`] to be read. So every decision here can be tested, fuzzed and replayed as plain function calls.
//!
//! The engine knows only [`processor::Processor`]; [`profile`] is the first implementation of it.

pub mod cell;
pub mod event;
pub mod evidence;
pub mod processor;
pub mod profile;
pub mod rejected;
pub mod shard;
pub mod sink;
pub mod source;
pub mod table;
pub mod text;
pub mod time;

pub use event::{ConversationEvent, EventError};
pub use shard::{Epoch, ShardId};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
