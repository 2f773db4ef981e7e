//! A Delta table as a source, read version by version.
//!
//! * **Order.** By version; within a version, and within the snapshot that a new state starts with, by the columns of
//!   [`DeltaOptions::order`] (`ts, event_id`), then all others.
//! * **Position.** The version, and how many of its rows were taken. Behind the last row of version `v` it is
//!   `(v + 1, 0)`. A snapshot at version `v` counts as the rows of version `v`; the notes of an offset say that it is
//!   one, so that a restart in its middle reads the same snapshot again and passes over what was taken.
//! * **Which table.** A table may be moved. One that was made anew has another id, and an older copy that has grown
//!   since has another commit in place of the one that was read last: both are refused.
//! * **What is no news.** A compaction adds no rows. A version that removes or changes rows stops the run, unless
//!   [`DeltaOptions::skip_change_commits`] passes over it. A version that is no longer there is an error.
//!
//! It is read in the thread that polls; what is asynchronous runs on the warehouse's runtime.

mod notes;
mod row_json;
mod source;

use std::time::Duration;

pub use source::DeltaSource;

use crate::decode::DEFAULT_MAX_AHEAD;

/// How a table is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaOptions {
    /// An event dated further ahead of the clock is a dead letter.
    pub max_ahead: Duration,
    /// Passes over versions that remove or change rows, with all that they do, instead of stopping there.
    pub skip_change_commits: bool,
    /// The columns that order the rows of a version, first of all.
    pub order: &'static [&'static str],
}

impl Default for DeltaOptions {
    fn default() -> Self {
        Self { max_ahead: DEFAULT_MAX_AHEAD, skip_change_commits: false, order: &["ts", "event_id"] }
    }
}
