//! Durable state: what a shard keeps, in a RocksDB of its own.
//!
//! A [`ShardStore`] holds everything that a shard must find again after a crash, and changes it only by
//! [`EpochBatch`]es, each one atomic, synced write. What lives where is in [`keys`]; each table has a module that
//! encodes and decodes its entries: [`state_table`] (the cells of each key), [`timer_table`], [`pending_table`]
//! (requests without an answer), [`outbox_table`] (rows that no table holds yet), [`held_table`] (rows that a table
//! holds and the state does not know of yet), [`offset_table`] and [`meta_table`].
//! A [`StateHome`] is the folder with all shards of one query: it knows their number and is locked by one process.
//!
//! This crate knows nothing of what keys, requests and rows mean, and decides nothing.

pub mod held_table;
pub mod keys;
pub mod meta_table;
pub mod offset_table;
pub mod outbox_table;
pub mod pending_table;
pub mod state_table;
pub mod timer_table;

mod error;
mod home;
mod repartition;
mod store;

pub use error::StateError;
pub use held_table::HeldRequestRows;
pub use home::{Manifest, StateHome};
pub use meta_table::{Origin, ShardMeta};
pub use state_table::Loaded;
pub use store::{EpochBatch, Resources, ShardStore};
