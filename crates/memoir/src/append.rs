//! Appends events to `conversation_events`: only those whose id is not there yet, so that the same call again appends
//! nothing, and one that was broken off goes on where it stopped.

use std::collections::HashSet;

use memoir_core::event::{CONVERSATION_EVENTS, ConversationEvent};
use memoir_core::processor::StreamEvent as _;
use memoir_core::table::RowBuffer;
use memoir_lake::{LakeError, TableWriter, Warehouse};

use crate::progress::Progress;

/// Events of one commit: few enough that they fit into memory with their ids, and so many that a million events are
/// a handful of commits, each of which reads the ids that are there.
const COMMIT_EVENTS: usize = 200_000;

/// Gathers events and appends them. Blocking: to be used from a thread that may wait.
pub struct EventAppender<'a> {
    warehouse: &'a Warehouse,
    writer: TableWriter,
    progress: &'a Progress,
    events: Vec<ConversationEvent>,
    outcome: Appended,
}

/// What became of the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    pub appended: u64,
    /// Their ids were in the table, or earlier in the same input.
    pub already_there: u64,
}

impl<'a> EventAppender<'a> {
    /// Opens the table, and creates it where it is missing.
    pub fn open(warehouse: &'a Warehouse, progress: &'a Progress) -> Result<Self, LakeError> {
        let writer = warehouse.block_on(async {
            warehouse.ensure_table(&CONVERSATION_EVENTS).await?;
            TableWriter::open(warehouse, &CONVERSATION_EVENTS).await
        })?;
        Ok(Self { warehouse, writer, progress, events: Vec::new(), outcome: Appended::default() })
    }

    pub fn push(&mut self, event: ConversationEvent) -> Result<(), LakeError> {
        self.events.push(event);
        if self.events.len() < COMMIT_EVENTS { Ok(()) } else { self.commit() }
    }

    /// Appends what is left.
    pub fn finish(mut self) -> Result<Appended, LakeError> {
        self.commit()?;
        Ok(self.outcome)
    }

    fn commit(&mut self) -> Result<(), LakeError> {
        let events = std::mem::take(&mut self.events);
        if events.is_empty() {
            return Ok(());
        }
        let count = events.len() as u64;
        let mut wanted: HashSet<String> = events.iter().map(|event| event.event_id.clone()).collect();
        let existing = self.warehouse.existing_ids(&CONVERSATION_EVENTS, "event_id", &wanted);
        for id in self.warehouse.block_on(existing)? {
            wanted.remove(&id);
        }
        let mut rows = RowBuffer::default();
        for event in &events {
            // Taken out, so that a second event with the same id is not new.
            if wanted.remove(&event.event_id) {
                event.write_row(&mut rows.row());
            }
        }
        let appended = rows.rows;
        if !rows.is_empty() {
            self.warehouse.block_on(self.writer.append(&[rows], &[]))?;
        }
        self.outcome.appended += appended;
        self.outcome.already_there += count - appended;
        self.progress.advance(count);
        Ok(())
    }
}
