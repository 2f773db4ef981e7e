//! What stops a run.

use memoir_core::cell::CellError;
use memoir_core::sink::SinkError;
use memoir_core::source::SourceError;
use memoir_core::table::RowError;
use memoir_state::StateError;

/// What stops a run. Everything that was committed stays, and the next run goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error("state of key {key:?}: {cause}")]
    Cell {
        key: String,
        #[source]
        cause: CellError,
    },
    #[error(
        "table {table} already holds rows of query {query}, but this state ({state}) has not written them: the state was \
         deleted or replaced. Use another query.name, or `memoir state reconcile` to go on from what the table holds"
    )]
    TablesWithoutState { table: String, query: String, state: String },
    #[error(
        "the state of query {query} has written to table {table}, but the table there now knows nothing of it: it was \
         deleted or replaced. Restore it, use another query.name, or `memoir state reconcile` to go on with the new table"
    )]
    StateWithoutTables { table: String, query: String },
    #[error(
        "shard {shard} of query {query} is at epoch {state_epoch}, but table {table} already holds its epoch \
         {table_epoch}: the state is an older copy. Restore the newest one, use another query.name, or `memoir state \
         reconcile` to go on from what the table holds"
    )]
    StateBehindTables { shard: u32, query: String, table: String, state_epoch: u64, table_epoch: u64 },
    #[error(
        "table {table} holds rows of shard {shard} of query {query} up to epoch {table_epoch}, but it held them up to epoch \
         {trimmed_epoch} before: the table is an older copy. Restore the newest one, use another query.name, or `memoir \
         state reconcile` to go on with the table as it is"
    )]
    TableBehindState { table: String, query: String, shard: u32, table_epoch: u64, trimmed_epoch: u64 },
    #[error(
        "`memoir state reconcile` of query {query} was interrupted: run it again, it goes on from the start and repeats \
         nothing"
    )]
    ReconcileInterrupted { query: String },
    #[error("table {table}: {cause}; restore the table, or use another query.name")]
    TableRow {
        table: String,
        #[source]
        cause: RowError,
    },
    #[error(
        "this state runs by processing time, and can't go back to event time: timers that fired by the wall clock can't \
         be taken back. Leave processor.clock at processing_time, or begin anew under another query.name"
    )]
    ClockGoesBack,
    #[error(
        "the state has {state} shards, the configuration asks for {asked}: set state.shards = {state}, or `memoir state \
         repartition`"
    )]
    OtherShardCount { state: u32, asked: u32 },
    #[error("{place}: {reason} (the run stops at the first bad record because of --on-bad-record fail)")]
    BadRecord { place: String, reason: String },
    #[error("a thread of the engine ended without a word: please report this, with the log")]
    Panicked,
}
