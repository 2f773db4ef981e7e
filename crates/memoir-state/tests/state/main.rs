//! Every table of a shard through a real database: what was committed is there when it is opened again, and nothing
//! else; what is of another format is refused.

mod held;
mod outbox;
mod query_state;
mod repartition;
mod support;
mod tables;
mod timers;
