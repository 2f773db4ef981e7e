//! Appends dead letters of `memoir ingest`: of files only those that are not there yet, so that the same call again
//! appends nothing. Two streams have nothing but their name in common, so each of their dead letters is new.

use std::collections::HashSet;

use memoir_core::Timestamp;
use memoir_core::rejected::{REJECTED, rejected_fingerprint, write_rejected};
use memoir_core::source::BadRecord;
use memoir_core::table::{RowBuffer, RowError, RowReader};
use memoir_lake::{LakeError, TableWriter, Warehouse};

/// Bytes of rows of one commit. An input may be all bad.
const COMMIT_BYTES: usize = 8 << 20;

/// Gathers dead letters and appends them. Blocking: to be used from a thread that may wait.
pub struct DeadLetters<'a> {
    warehouse: &'a Warehouse,
    writer: Option<TableWriter>,
    /// The files whose dead letters are among the known ones.
    looked_up: HashSet<String>,
    known: HashSet<u128>,
    rows: RowBuffer,
    outcome: Refused,
}

/// What became of the records that are no events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    pub refused: u64,
    /// Those that were not in the table before.
    pub written: u64,
}

impl<'a> DeadLetters<'a> {
    pub fn new(warehouse: &'a Warehouse) -> Self {
        let (looked_up, known) = (HashSet::new(), HashSet::new());
        Self { warehouse, writer: None, looked_up, known, rows: RowBuffer::default(), outcome: Refused::default() }
    }

    /// Takes one, refused `now`. The table is made when the first comes.
    pub fn push(&mut self, bad: &BadRecord, is_stream: bool, now: Timestamp) -> Result<(), LakeError> {
        self.outcome.refused += 1;
        if self.writer.is_none() {
            let warehouse = self.warehouse;
            self.writer = Some(warehouse.block_on(async {
                warehouse.ensure_table(&REJECTED).await?;
                TableWriter::open(warehouse, &REJECTED).await
            })?);
        }
        let mut row = RowBuffer::default();
        write_rejected(bad, now, &mut row);
        if !is_stream {
            if self.looked_up.insert(bad.source.clone()) {
                self.look_up(&bad.source)?;
            }
            if !self.known.insert(rejected_fingerprint(&row.bytes).map_err(damaged)?) {
                return Ok(());
            }
        }
        self.rows.append(&row);
        if self.rows.bytes.len() < COMMIT_BYTES { Ok(()) } else { self.commit() }
    }

    /// Appends what is left.
    pub fn finish(mut self) -> Result<Refused, LakeError> {
        self.commit()?;
        Ok(self.outcome)
    }

    fn commit(&mut self) -> Result<(), LakeError> {
        let rows = std::mem::take(&mut self.rows);
        let Some(writer) = self.writer.as_mut().filter(|_| !rows.is_empty()) else { return Ok(()) };
        let count = rows.rows;
        self.warehouse.block_on(writer.append(&[rows], &[]))?;
        self.outcome.written += count;
        Ok(())
    }

    /// Learns which dead letters of a file the table has.
    fn look_up(&mut self, source: &str) -> Result<(), LakeError> {
        let (warehouse, known) = (self.warehouse, &mut self.known);
        warehouse.block_on(async {
            let mut stream = warehouse.rows(&REJECTED, &["position"], "source", source).await?;
            while let Some(rows) = stream.next().await? {
                let mut row = RowReader::new(&rows.bytes);
                while !row.is_at_end() {
                    let bytes = row.row(REJECTED.columns).map_err(damaged)?;
                    known.insert(rejected_fingerprint(bytes).map_err(damaged)?);
                }
            }
            Ok(())
        })
    }
}

fn damaged(source: RowError) -> LakeError {
    LakeError::DamagedRow { table: REJECTED.name.to_owned(), source }
}
