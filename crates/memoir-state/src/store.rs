//! The database of one shard, and the atomic write that commits an epoch.

use std::path::{Path, PathBuf};

use memoir_core::cell::KeyedState;
use memoir_core::processor::Request;
use memoir_core::source::Offset;
use memoir_core::table::RowBuffer;
use memoir_core::{Epoch, ShardId, Timestamp};
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, LogLevel, Options, ReadOptions, WriteBatch, WriteBufferManager,
    WriteOptions,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::keys::Table;
use crate::state_table::StateReader;
use crate::{ShardMeta, StateError, held_table, meta_table, offset_table, outbox_table, pending_table, state_table};

/// The version byte of entries that are encoded as a whole.
const FORMAT: u8 = 1;

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Writing to a vector fails only for values without a known length; none is stored.
    postcard::to_extend(value, vec![FORMAT]).expect("stored values are plain structs of known length")
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], shard: ShardId, table: &'static str) -> Result<T, StateError> {
    let damaged = |reason: String| StateError::Entry { shard, table, reason };
    match bytes.split_first() {
        Some((&FORMAT, body)) => postcard::from_bytes(body).map_err(|error| damaged(error.to_string())),
        Some((format, _)) => Err(damaged(format!("it has format {format}, this program reads format {FORMAT}"))),
        None => Err(damaged("it is empty".to_owned())),
    }
}

/// What the databases of a process share: memory for blocks that were read, and for writes that were not flushed.
#[derive(Clone)]
pub struct Resources {
    cache: Cache,
    write_buffers: WriteBufferManager,
    write_buffer_bytes: usize,
}

impl Resources {
    /// `cache_bytes` for blocks and `write_buffer_bytes` for write buffers, over all shards.
    #[must_use]
    pub fn new(cache_bytes: usize, write_buffer_bytes: usize) -> Self {
        Self {
            cache: Cache::new_lru_cache(cache_bytes),
            // Without stalls: a writer that waits for a flush would hold up its shard.
            write_buffers: WriteBufferManager::new_write_buffer_manager(write_buffer_bytes, false),
            write_buffer_bytes,
        }
    }
}

/// The database of one shard.
pub struct ShardStore {
    db: DB,
    path: PathBuf,
    shard: ShardId,
    synced: WriteOptions,
    unsynced: WriteOptions,
}

impl ShardStore {
    /// Opens the shard's database, and creates it where there is none.
    ///
    /// # Errors
    /// When the folder or the database can't be opened.
    pub fn open(path: &Path, shard: ShardId, resources: &Resources) -> Result<Self, StateError> {
        let mut options = options(resources);
        options.create_if_missing(true);
        let db = DB::open(&options, path);
        Self::opened(db, path, shard)
    }

    /// Opens the shard's database to look at it only.
    ///
    /// # Errors
    /// When there is none, or it can't be opened.
    pub fn open_read_only(path: &Path, shard: ShardId, resources: &Resources) -> Result<Self, StateError> {
        let db = DB::open_for_read_only(&options(resources), path, false);
        Self::opened(db, path, shard)
    }

    fn opened(db: Result<DB, rocksdb::Error>, path: &Path, shard: ShardId) -> Result<Self, StateError> {
        let db = db.map_err(|cause| StateError::Store { shard, path: path.to_owned(), cause })?;
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Ok(Self { db, path: path.to_owned(), shard, synced, unsynced: WriteOptions::default() })
    }

    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// The shard's own record.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn meta(&self) -> Result<ShardMeta, StateError> {
        meta_table::read(self, self.shard)
    }

    /// Reads states as they are now.
    #[must_use]
    pub fn reader(&self) -> StateReader<'_> {
        let mut options = ReadOptions::default();
        options.set_iterate_range(Table::State.start()..Table::State.end());
        StateReader::new(self, self.db.raw_iterator_opt(options))
    }

    /// Commits an epoch: all of the batch or none of it, durable when this returns.
    ///
    /// # Errors
    /// When the database can't be written; nothing of the batch is then in it.
    pub fn commit(&self, batch: EpochBatch) -> Result<(), StateError> {
        self.write(batch.into_inner(), true)
    }

    pub(crate) fn write(&self, batch: WriteBatch, sync: bool) -> Result<(), StateError> {
        let options = if sync { &self.synced } else { &self.unsynced };
        self.db.write_opt(batch, options).map_err(|cause| self.failed(cause))
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.db.get(key).map_err(|cause| self.failed(cause))
    }

    /// All entries of a table.
    pub(crate) fn scan(
        &self,
        table: Table,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        self.scan_range(table.start(), table.end(), |key, value| visit(key, value).map(|()| true))
    }

    /// The entries from `start` on and below `end`, until `visit` returns `false`.
    pub(crate) fn scan_range(
        &self,
        start: Vec<u8>,
        end: Vec<u8>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, StateError>,
    ) -> Result<(), StateError> {
        let mut options = ReadOptions::default();
        options.set_iterate_range(start.clone()..end);
        let mut iterator = self.db.raw_iterator_opt(options);
        iterator.seek(&start);
        while let Some((key, value)) = iterator.item() {
            if !visit(key, value)? {
                break;
            }
            iterator.next();
        }
        iterator.status().map_err(|cause| self.failed(cause))
    }

    pub(crate) fn failed(&self, cause: rocksdb::Error) -> StateError {
        StateError::Store { shard: self.shard, path: self.path.clone(), cause }
    }

    pub(crate) fn damaged(&self, table: &'static str, reason: &str) -> StateError {
        StateError::Entry { shard: self.shard, table, reason: reason.to_owned() }
    }
}

fn options(resources: &Resources) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&resources.cache);
    blocks.set_block_size(16 * 1024);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_write_buffer_manager(&resources.write_buffers);
    options.set_write_buffer_size(resources.write_buffer_bytes);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_bytes_per_sync(1 << 20);
    options.set_keep_log_file_num(2);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options
}

/// What an epoch changes: offsets, states with their timers, requests and rows, to be committed at once.
#[derive(Default)]
pub struct EpochBatch {
    batch: WriteBatch,
    scratch: Vec<u8>,
}

impl EpochBatch {
    pub(crate) fn into_inner(self) -> WriteBatch {
        self.batch
    }

    pub fn put_meta(&mut self, meta: &ShardMeta) {
        meta_table::put(&mut self.batch, meta);
    }

    pub fn put_offset(&mut self, source: &str, partition: &str, offset: &Offset) {
        offset_table::put(&mut self.batch, source, partition, offset);
    }

    /// What changed in a state. The key's timer moves from `stored_timer`, under which it stands in the timer table, to
    /// `timer`.
    pub fn put_state<S: KeyedState>(
        &mut self,
        key: &str,
        state: &mut S,
        stored_timer: Option<Timestamp>,
        timer: Option<Timestamp>,
    ) {
        state_table::put(&mut self.batch, key, state, stored_timer, timer, &mut self.scratch);
    }

    pub fn put_pending<R: Request>(&mut self, key: &str, request: &R) {
        pending_table::put(&mut self.batch, key, request);
    }

    pub fn delete_pending(&mut self, key: &str, number: u64) {
        pending_table::delete(&mut self.batch, key, number);
    }

    pub fn put_rows(&mut self, table: &str, epoch: Epoch, rows: &RowBuffer) {
        outbox_table::put(&mut self.batch, table, epoch, rows);
    }

    pub fn delete_rows(&mut self, table: &str, epoch: Epoch) {
        outbox_table::delete(&mut self.batch, table, epoch);
    }

    /// How far a table holds this shard's rows from here on, also where that is less than before.
    pub fn put_trimmed(&mut self, table: &str, through: Epoch) {
        outbox_table::put_trimmed(&mut self.batch, table, through);
    }

    /// The same of a shard that a repartition took away.
    pub fn put_trimmed_elsewhere(&mut self, shard: ShardId, table: &str, through: Epoch) {
        outbox_table::put_trimmed_elsewhere(&mut self.batch, shard, table, through);
    }

    /// What a table holds of a request that the state does not know of yet.
    pub fn put_held_request(&mut self, key: &str, number: u64, table: &str, rows: &RowBuffer) {
        held_table::put_request(&mut self.batch, key, number, table, rows);
    }

    pub fn delete_held_request(&mut self, key: &str, number: u64, table: &str) {
        held_table::delete_request(&mut self.batch, key, number, table);
    }

    /// Whether a table holds the rows of a pending request already.
    pub fn put_held_back(&mut self, key: &str, number: u64, table: &str, is_held: bool) {
        held_table::put_back(&mut self.batch, key, number, table, is_held);
    }

    /// How often a table holds a row that the source will give again; 0 forgets it.
    pub fn put_held_row(&mut self, table: &str, fingerprint: u128, times: u64) {
        held_table::put_row(&mut self.batch, table, fingerprint, times);
    }

    /// Notes that a reconcile is under way, or that it came to its end.
    pub fn put_reconciling(&mut self, is_under_way: bool) {
        held_table::put_reconciling(&mut self.batch, is_under_way);
    }

    /// About how many bytes this will write.
    #[must_use]
    pub fn size_in_bytes(&self) -> usize {
        self.batch.size_in_bytes()
    }
}
