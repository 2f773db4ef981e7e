//! The source over a Delta table: goes from version to version, and through the rows of each.

use std::sync::Arc;

use memoir_core::processor::StreamEvent;
use memoir_core::source::{
    Offset, Polled, Position, ReadUntil, Source, SourceBatch, SourceError, SourceRecord, StartAt,
};
use memoir_core::table::{RowBuffer, RowReader, TableSchema};
use memoir_core::time::{Clock, Timestamp};
use memoir_lake::{Changes, LakeError, RowStream, TableReader, Warehouse};

use super::DeltaOptions;
use super::notes::{Commit, Notes};
use super::row_json::row_as_json;
use crate::decode::{Decoder, RecordPlace};

/// A table is one partition: its versions are the order.
const PARTITION: &str = "table";

/// A batch holds no more bytes of rows than this and the rest of a row.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Reads a Delta table. See the [module](super) for what it promises.
pub struct DeltaSource {
    warehouse: Warehouse,
    options: DeltaOptions,
    decoder: Decoder,
    reader: Option<TableReader>,
    until: ReadUntil,
    /// Where reading goes on.
    position: Position,
    notes: Notes,
    /// The latest version that is known, and in an available-now run the last that is read.
    latest: Option<u64>,
    rows: Option<VersionRows>,
}

/// The rows of one version, under way.
struct VersionRows {
    stream: RowStream,
    buffer: RowBuffer,
    at: usize,
}

impl DeltaSource {
    #[must_use]
    pub fn new(warehouse: Warehouse, options: DeltaOptions, clock: Arc<dyn Clock>) -> Self {
        Self {
            decoder: Decoder::new(clock, options.max_ahead),
            warehouse,
            options,
            reader: None,
            until: ReadUntil::WhatIsThere,
            position: Position::default(),
            notes: Notes::from_changes("", 0),
            latest: None,
            rows: None,
        }
    }

    fn reader(&mut self, schema: &TableSchema) -> Result<&mut TableReader, SourceError> {
        if self.reader.is_none() {
            let opened = self.warehouse.block_on(TableReader::open(&self.warehouse, schema, self.options.order));
            self.reader = Some(opened.map_err(failed)?);
        }
        // It was filled just now.
        self.reader.as_mut().ok_or_else(|| SourceError::new("no table was opened"))
    }

    fn latest_version(&mut self, schema: &TableSchema) -> Result<u64, SourceError> {
        let warehouse = self.warehouse.clone();
        let reader = self.reader(schema)?;
        warehouse.block_on(reader.latest_version()).map_err(failed)
    }

    fn earliest_version(&mut self, schema: &TableSchema) -> Result<u64, SourceError> {
        let warehouse = self.warehouse.clone();
        let reader = self.reader(schema)?;
        warehouse.block_on(reader.earliest_version()).map_err(failed)
    }

    /// A snapshot of the table as it is now, from its first row on.
    fn snapshot_now(&mut self, schema: &TableSchema) -> Result<Offset, SourceError> {
        let latest = self.latest_version(schema)?;
        let notes = Notes::from_snapshot(&self.table_id(schema)?, latest);
        notes.at(notes.begin())
    }

    fn table_id(&mut self, schema: &TableSchema) -> Result<String, SourceError> {
        self.reader(schema)?.table_id().map(str::to_owned).map_err(failed)
    }

    /// A commit as it is now; `None` where it was cleaned away.
    fn commit(&mut self, schema: &TableSchema, version: u64) -> Result<Option<Commit>, SourceError> {
        let warehouse = self.warehouse.clone();
        let bytes = warehouse.block_on(self.reader(schema)?.commit_bytes(version)).map_err(failed)?;
        Ok(bytes.map(|bytes| Commit::of(version, &bytes)))
    }

    /// The first version that was committed at `time` or later.
    fn first_version_from(&mut self, schema: &TableSchema, time: Timestamp) -> Result<u64, SourceError> {
        let warehouse = self.warehouse.clone();
        let before = Timestamp::from_micros(time.as_micros().saturating_sub(1));
        let reader = self.reader(schema)?;
        if let Some(version) = warehouse.block_on(reader.version_at(before)).map_err(failed)? {
            return Ok(version + 1);
        }
        match self.earliest_version(schema)? {
            0 => Ok(0),
            earliest => Err(SourceError::new(format!(
                "table {}: source.start = {time} lies before version {earliest}, the earliest whose changes are still \
                 there; start at `earliest` (a snapshot of the table as it is) or at that version",
                self.warehouse.table_path(schema.name)
            ))),
        }
    }

    fn first_version(&mut self, schema: &TableSchema, version: u64) -> Result<u64, SourceError> {
        let (earliest, latest) = (self.earliest_version(schema)?, self.latest_version(schema)?);
        if (earliest..=latest + 1).contains(&version) {
            return Ok(version);
        }
        Err(SourceError::new(format!(
            "table {}: source.start = version {version} is not there; it has the changes of versions \
             {earliest} to {latest}",
            self.warehouse.table_path(schema.name)
        )))
    }

    /// Whether the version at the position can be read now.
    fn is_there(&mut self, schema: &TableSchema) -> Result<bool, SourceError> {
        if self.until == ReadUntil::Stopped && self.latest.is_none_or(|latest| latest < self.position.major) {
            let latest = self.latest_version(schema)?;
            if self.latest != Some(latest) {
                self.check_same(schema, latest)?;
            }
            self.latest = Some(latest);
        }
        Ok(self.latest.is_some_and(|latest| self.position.major <= latest))
    }

    /// Whether the table that is there now is the one that was read so far, with all that was read.
    fn check_same(&mut self, schema: &TableSchema, latest: u64) -> Result<(), SourceError> {
        let last_read = self.notes.last_read;
        let read_to = last_read.map(|commit| commit.version).max(self.position.major.checked_sub(1));
        if let Some(read_to) = read_to.filter(|read_to| *read_to > latest) {
            let found = format!("is at version {latest}, but was read up to version {read_to}");
            return Err(self.other_table(schema, &found));
        }
        if let Some(read) = last_read {
            match self.commit(schema, read.version)? {
                Some(found) if found == read => return Ok(()),
                Some(_) => {
                    let found = format!("has another version {} than the one that was read", read.version);
                    return Err(self.other_table(schema, &found));
                }
                None => {}
            }
        }
        // Only the id is left to tell, and it is that of the table as it was when it was opened.
        self.reader = None;
        let id = self.table_id(schema)?;
        if id != self.notes.table {
            let found = format!("has the id {id}, and the one that was read has the id {}", self.notes.table);
            return Err(self.other_table(schema, &found));
        }
        Ok(())
    }

    fn other_table(&self, schema: &TableSchema, found: &str) -> SourceError {
        SourceError::new(format!(
            "table {} {found}: it was made anew, or an old copy was restored; put back the table that was read, or \
             begin with another query.name",
            self.warehouse.table_path(schema.name)
        ))
    }

    /// Begins with the rows of the version at the position, behind those that were taken. A version without rows of
    /// its own is passed over.
    fn begin_version(&mut self, schema: &TableSchema) -> Result<(), SourceError> {
        let Position { major: version, minor: taken } = self.position;
        let is_snapshot = self.notes.is_snapshot(version);
        let warehouse = self.warehouse.clone();
        let reader = self.reader(schema)?;
        let changes = warehouse.block_on(async {
            if is_snapshot {
                reader.snapshot(version, taken).await.map(Changes::Rows)
            } else {
                reader.changes(version, taken).await
            }
        });
        let changes = changes.map_err(failed)?;
        // Cleaned away in this moment: then the id has to do.
        self.notes.last_read = self.commit(schema, version)?;
        match changes {
            Changes::Rows(stream) => {
                self.rows = Some(VersionRows { stream, buffer: RowBuffer::default(), at: 0 });
            }
            Changes::Nothing => self.end_version(),
            Changes::ChangesData { version } if self.options.skip_change_commits => {
                let table = warehouse.table_path(schema.name);
                tracing::warn!(table, version, "a version that removes or changes rows is passed over");
                self.end_version();
            }
            Changes::ChangesData { version } => {
                return Err(SourceError::new(format!(
                    "version {version} of table {} removes or changes rows, and what was made of them can't be taken \
                     back; set source.skip_change_commits = true to pass over such versions, or begin with another \
                     query.name",
                    warehouse.table_path(schema.name)
                )));
            }
        }
        Ok(())
    }

    fn end_version(&mut self) {
        self.rows = None;
        self.position = Position::new(self.position.major + 1, 0);
    }

    /// Goes on until the batch is full or nothing more is there now.
    fn fill<E: StreamEvent>(&mut self, batch: &mut SourceBatch<E>, max_records: usize) -> Result<(), SourceError> {
        let mut max_bytes = BATCH_BYTES;
        while batch.records.len() < max_records && max_bytes > 0 {
            let Some(rows) = &mut self.rows else {
                if !self.is_there(E::SCHEMA)? {
                    return Ok(());
                }
                self.begin_version(E::SCHEMA)?;
                continue;
            };
            if rows.at < rows.buffer.bytes.len() {
                max_bytes = max_bytes.saturating_sub(self.take_rows(batch, max_records, max_bytes)?);
                continue;
            }
            match self.warehouse.block_on(rows.stream.next()).map_err(failed)? {
                Some(buffer) => (rows.buffer, rows.at) = (buffer, 0),
                None => self.end_version(),
            }
        }
        Ok(())
    }

    /// Takes rows of the buffer, and gives how many bytes they were.
    fn take_rows<E: StreamEvent>(
        &mut self,
        batch: &mut SourceBatch<E>,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<usize, SourceError> {
        let Some(VersionRows { buffer, at, .. }) = &mut self.rows else { return Ok(0) };
        let path = || self.warehouse.table_path(E::SCHEMA.name);
        let damaged = |error| SourceError::because(format!("a row of table {} is damaged in memory", path()), error);
        let mut reader = RowReader::new(buffer.bytes.get(*at..).unwrap_or_default());
        while batch.records.len() < max_records && reader.at() < max_bytes && !reader.is_at_end() {
            let position = Position::new(self.position.major, self.position.minor + 1);
            let mut same_row = reader.clone();
            let place = || RecordPlace {
                source: path(),
                partition: position.major.to_string(),
                place: i64::try_from(position.minor).unwrap_or(i64::MAX),
            };
            let as_json = || row_as_json(E::SCHEMA, &mut same_row).unwrap_or_default();
            let event = self.decoder.row::<E>(&mut reader, place, as_json).map_err(damaged)?;
            self.position = position;
            batch.records.push(SourceRecord { partition: 0, position, event });
        }
        *at += reader.at();
        Ok(reader.at())
    }
}

fn failed(error: LakeError) -> SourceError {
    // Its message tells its causes, so they are not handed on.
    SourceError { transient: error.is_transient(), ..SourceError::new(error.to_string()) }
}

impl<E: StreamEvent> Source<E> for DeltaSource {
    fn describe(&self) -> String {
        format!("delta:{}", self.warehouse.table_path(E::SCHEMA.name))
    }

    /// The table of events, wherever the warehouse is. That it is the same table is looked after by [`Notes`].
    fn identity(&self) -> String {
        format!("delta:{}", E::SCHEMA.name)
    }

    /// A time is that of the commit.
    fn origin(&mut self, start: &StartAt) -> Result<Vec<(String, Offset)>, SourceError> {
        let version = match start {
            StartAt::Earliest => return Ok(vec![(PARTITION.to_owned(), self.snapshot_now(E::SCHEMA)?)]),
            StartAt::Latest => self.latest_version(E::SCHEMA)? + 1,
            StartAt::Time(time) => self.first_version_from(E::SCHEMA, *time)?,
            StartAt::Version(version) => self.first_version(E::SCHEMA, *version)?,
        };
        let mut notes = Notes::from_changes(&self.table_id(E::SCHEMA)?, version);
        if let Some(before) = version.checked_sub(1) {
            notes.last_read = self.commit(E::SCHEMA, before)?;
        }
        Ok(vec![(PARTITION.to_owned(), notes.at(notes.begin())?)])
    }

    fn resume(&mut self, offsets: Vec<(String, Offset)>, until: ReadUntil) -> Result<(), SourceError> {
        let latest = self.latest_version(E::SCHEMA)?;
        let offset = match offsets.into_iter().find(|(partition, _)| partition == PARTITION) {
            Some((_, offset)) => offset,
            None => self.snapshot_now(E::SCHEMA)?,
        };
        self.notes = Notes::decode(&offset.notes)?;
        // Nothing lies before where the state began.
        let position = offset.position.max(self.notes.begin());
        (self.position, self.until, self.rows, self.latest) = (position, until, None, Some(latest));
        self.check_same(E::SCHEMA, latest)
    }

    fn poll(&mut self, batch: &mut SourceBatch<E>, max_records: usize) -> Result<Polled, SourceError> {
        self.decoder.look_at_clock();
        let before = self.position;
        let filled = self.fill(batch, max_records.max(1));
        if let Err(error) = filled {
            // The stream is in an unknown place; the position is not.
            self.rows = None;
            if self.until == ReadUntil::WhatIsThere || !error.transient {
                return Err(error);
            }
            tracing::warn!(%error, "the table can't be read now: it is tried again");
        }
        if self.position != before {
            batch.partitions.push((PARTITION.to_owned(), self.notes.at(self.position)?));
            return Ok(Polled::Some);
        }
        Ok(if self.until == ReadUntil::WhatIsThere { Polled::End } else { Polled::Idle })
    }
}
