//! Makes state and tables belong together again: what the tables hold and the state lacks is held for it, what the outbox
//! has and the tables hold is dropped, and both get each other's marks. The design is in `docs/design/reconcile.md`.
//!
//! [`survey`] reads the tables and fills the shards' held entries, [`settle`] changes each shard in one epoch. Nothing here
//! reads the source: the next run does, and uses up what is held.

mod settle;
mod survey;

use memoir_core::processor::{Processor, StreamEvent as _};
use memoir_core::sink::{Sink, TableScan, Transaction};
use memoir_core::table::TableSchema;
use memoir_core::{Epoch, ShardId};
use memoir_state::{EpochBatch, Manifest, ShardStore, StateHome};

use crate::attach::{change_meta, epoch_of, state_app_id, writer_app_id};
use crate::shard::tables;
use crate::{EngineError, EngineOptions};

/// What a reconcile works with.
pub struct Reconcile<'a, P: Processor> {
    pub processor: &'a P,
    pub sink: &'a dyn Sink,
    pub scan: &'a dyn TableScan,
    /// What the state is, or is to be.
    pub manifest: &'a Manifest,
    /// The state to be changed. Without one nothing is changed, and only found out what would be.
    pub home: Option<&'a mut StateHome>,
    /// All shards; none where there is no state and nothing is to be changed.
    pub stores: &'a [ShardStore],
    pub options: &'a EngineOptions,
    /// A positive random number, for a state that needs another id.
    pub random: i64,
}

/// How a table and the state stood to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    InOrder,
    /// Neither had heard of the other.
    New,
    /// The table holds rows of this query that another state wrote: this one is new, or was replaced.
    OtherState,
    /// The state is an older copy.
    StateBehind,
    /// The table was deleted, or replaced by a new one.
    TableLost,
    /// The table is an older copy.
    TableBehind,
}

impl Finding {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InOrder => "in order",
            Self::New => "new",
            Self::OtherState => "another state's",
            Self::StateBehind => "the state is an older copy",
            Self::TableLost => "the table was deleted or replaced",
            Self::TableBehind => "the table is an older copy",
        }
    }
}

/// What was found and done about one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconciledTable {
    pub table: &'static str,
    pub finding: Finding,
    /// Emissions, or rows of other tables, that it holds and the state does not know of yet.
    pub held: u64,
    /// Rows of the outbox that it holds.
    pub dropped: u64,
    /// Rows of the outbox that it does not hold: the next run appends them.
    pub kept: u64,
    /// Whether it was given the state's mark.
    pub attached: bool,
    /// Shards whose epoch was below the table's mark.
    pub raised: u64,
}

/// What was found and done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconciled {
    pub tables: Vec<ReconciledTable>,
    /// Pending requests that the tables hold: they were applied to the state.
    pub applied: u64,
}

/// A table as it was found.
struct Found {
    table: &'static TableSchema,
    exists: bool,
    state_id: Option<i64>,
    /// Whether the state has written to it.
    known: bool,
    /// How far it holds the rows of each shard.
    marks: Vec<Epoch>,
    /// The same of shards that a repartition took away, where it once held more.
    lost_elsewhere: Vec<(ShardId, Epoch)>,
}

/// Brings state and tables together. Holds nothing but what one user's emission and the outboxes take in memory. May be
/// repeated, and must be where it was interrupted: until it comes to its end, no run starts.
///
/// # Errors
/// When a table or the state can't be read or written.
pub fn reconcile<P: Processor>(job: Reconcile<'_, P>) -> Result<Reconciled, EngineError> {
    let Reconcile { processor, sink, scan, manifest, home, stores, options, random } = job;
    let mut found = Vec::new();
    for table in tables(processor, &EngineOptions { archive: true, ..options.clone() }) {
        let looked = look(sink, scan, table, manifest, stores)?;
        // Whoever reconciles need not say that the query archives: the archive tells.
        let is_archive = table.name == P::Event::SCHEMA.name;
        if !is_archive || options.archive || looked.is_ours() {
            found.push(looked);
        }
    }
    let tables: Vec<_> = found.iter().map(|found| found.table).collect();
    let findings = found.iter().map(|found| found.finding(manifest, stores)).collect::<Result<Vec<_>, _>>()?;
    let mut needs_rows = findings.iter().any(|found| matches!(found, Finding::OtherState | Finding::StateBehind));
    for store in stores {
        // Held rows that a run has not used up yet must be found anew, and so must those of a reconcile that was
        // interrupted. Rows at or below their table's mark are dropped only where the table is seen to hold them.
        needs_rows |= store.is_reconciling()? || store.holds()?.1;
        for found in &found {
            needs_rows |= !store.outbox(found.table.name, Epoch(0), found.mark(store), 1)?.is_empty();
        }
    }
    let changes = home.is_some();
    if let Some(first) = stores.first()
        && changes
    {
        let mut batch = EpochBatch::default();
        batch.put_reconciling(true);
        first.commit(batch)?;
        stores.iter().try_for_each(ShardStore::clear_held)?;
    }
    let mut survey = survey::Survey::new(processor, &tables, manifest.shards, stores, changes)?;
    for (at, found) in found.iter().enumerate().filter(|(_, found)| found.exists) {
        if at < processor.tables().len() {
            survey.requests(scan, at, found.table)?;
        } else if needs_rows {
            survey.rows(scan, at, found.table)?;
        }
    }
    let surveyed = survey.finish()?;

    let mut reconciled = Reconciled { tables: Vec::new(), applied: 0 };
    for ((at, found), finding) in found.iter().enumerate().zip(findings) {
        let raised = stores.iter().map(|store| Ok(u64::from(found.mark(store) > store.meta()?.epoch)));
        reconciled.tables.push(ReconciledTable {
            table: found.table.name,
            finding,
            held: surveyed.held.get(at).copied().unwrap_or(0),
            dropped: 0,
            kept: 0,
            attached: found.state_id != Some(manifest.state_id),
            raised: raised.sum::<Result<u64, EngineError>>()?,
        });
    }
    for (store, shard) in stores.iter().zip(&surveyed.shards) {
        settle::shard(processor, store, shard, &found, changes, &mut reconciled)?;
    }
    if let Some(home) = home {
        attach(sink, home, stores, &found, random)?;
    }
    Ok(reconciled)
}

fn look(
    sink: &dyn Sink,
    scan: &dyn TableScan,
    table: &'static TableSchema,
    manifest: &Manifest,
    stores: &[ShardStore],
) -> Result<Found, EngineError> {
    let query = &manifest.query;
    let known = match stores.first() {
        Some(store) => store.meta()?.attached.iter().any(|name| name == table.name),
        None => false,
    };
    let exists = scan.exists(table)?;
    let (mut state_id, mut marks) = (None, vec![Epoch(0); manifest.shards as usize]);
    if exists {
        state_id = sink.committed(table, &state_app_id(query))?;
        for (shard, mark) in (0..).map(ShardId).zip(&mut marks) {
            *mark = sink.committed(table, &writer_app_id(query, shard))?.map_or(Epoch(0), epoch_of);
        }
    }
    let mut lost_elsewhere = Vec::new();
    let elsewhere = stores.first().map(ShardStore::trimmed_elsewhere).transpose()?.unwrap_or_default();
    for (shard, _, trimmed) in elsewhere.into_iter().filter(|(_, of, _)| of == table.name) {
        let mark = if exists { sink.committed(table, &writer_app_id(query, shard))? } else { None };
        let mark = mark.map_or(Epoch(0), epoch_of);
        if mark < trimmed {
            lost_elsewhere.push((shard, mark));
        }
    }
    Ok(Found { table, exists, state_id, known, marks, lost_elsewhere })
}

impl Found {
    /// Whether it is there, and this query has written to it.
    fn is_ours(&self) -> bool {
        self.exists && (self.known || self.state_id.is_some())
    }

    /// How far the table holds the rows of a shard.
    fn mark(&self, store: &ShardStore) -> Epoch {
        self.marks.get(store.shard().0 as usize).copied().unwrap_or_default()
    }

    fn finding(&self, manifest: &Manifest, stores: &[ShardStore]) -> Result<Finding, EngineError> {
        let finding = match self.state_id {
            Some(id) if id == manifest.state_id => Finding::InOrder,
            Some(_) => return Ok(Finding::OtherState),
            None if self.known => return Ok(Finding::TableLost),
            None => Finding::New,
        };
        for store in stores {
            if self.mark(store) > store.meta()?.epoch {
                return Ok(Finding::StateBehind);
            }
            if self.mark(store) < store.trimmed(self.table.name)? {
                return Ok(Finding::TableBehind);
            }
        }
        if !self.lost_elsewhere.is_empty() {
            return Ok(Finding::TableBehind);
        }
        Ok(finding)
    }
}

/// Gives state and tables each other's marks, the tables first; then the reconcile is over.
fn attach(
    sink: &dyn Sink,
    home: &mut StateHome,
    stores: &[ShardStore],
    found: &[Found],
    random: i64,
) -> Result<(), EngineError> {
    let own = home.manifest().state_id;
    let others = found.iter().filter_map(|found| found.state_id).filter(|id| *id != own);
    if let Some(other) = others.max().filter(|other| *other > own) {
        // A mark never goes back, so the state's id must be above. Ids are random below 2^62: there is room.
        home.set_state_id(other.saturating_add(1 + random.rem_euclid(1 << 32)))?;
    }
    let version = home.manifest().state_id;
    let app_id = state_app_id(&home.manifest().query);
    for found in found.iter().filter(|found| found.state_id != Some(version)) {
        sink.append(found.table, &[], &[Transaction { app_id: app_id.clone(), version }])?;
    }
    let Some(first) = stores.first() else { return Ok(()) };
    change_meta(first, |meta| {
        for found in found {
            if !meta.attached.iter().any(|name| name == found.table.name) {
                meta.attached.push(found.table.name.to_owned());
            }
        }
    })?;
    let mut batch = EpochBatch::default();
    batch.put_reconciling(false);
    Ok(first.commit(batch)?)
}
