//! The engine: runs a processor over a source, exactly once from source offset to table row.
//!
//! It knows processors, sources and sinks only as the traits of `memoir-core`. The design, with what else was
//! considered, is in `docs/design/epochs.md`. The way through this crate is the way of a record:
//!
//! 1. [`reader`] polls the source and routes each record to its shard's worker.
//! 2. [`worker`] is a thread with some shards: it decides when to take records, answers and timers, and when to commit.
//! 3. [`shard`] is one shard: it calls the processor, keeps the states in use in its [`cache`], its unanswered requests
//!    in [`pending`], and commits epochs.
//! 4. [`answer`] is who answers requests, at once or over the network.
//! 5. [`drainer`] appends the rows of committed epochs to their tables, and empties the outbox behind itself.
//!
//! [`attach`] brings state, tables and source together before anything runs; [`run`] puts it all in motion. Where state
//! and tables do not belong together any more, [`reconcile()`] makes them: it leaves in each shard what the tables [`held`].

mod answer;
mod attach;
mod cache;
mod drainer;
mod error;
mod halt;
mod held;
mod metrics;
mod options;
mod pending;
mod reader;
mod reconcile;
mod run;
mod shard;
mod worker;

pub use answer::{Answerer, RemoteAnswerer};
pub use attach::{state_app_id, writer_app_id};
pub use error::EngineError;
pub use halt::Halt;
pub use metrics::{Counts, Metrics};
pub use options::{BadRecords, ClockMode, EngineOptions};
pub use reconcile::{Finding, Reconcile, Reconciled, ReconciledTable, reconcile};
pub use run::{Ending, Job, Summary, run};
