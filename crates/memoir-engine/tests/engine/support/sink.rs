//! Tables in memory: appended to atomically with the writers' marks, and faulty where a test says so. They outlive the
//! engine, as tables do.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use memoir_core::ConversationEvent;
use memoir_core::event::CONVERSATION_EVENTS;
use memoir_core::processor::StreamEvent;
use memoir_core::profile::{EXTRACTIONS, PROFILE_AUDIT};
use memoir_core::rejected::REJECTED;
use memoir_core::sink::{Rows, Sink, SinkError, TableScan, Transaction};
use memoir_core::table::{RowBuffer, RowReader, TableSchema};

use super::rows::{AuditRow, ExtractionRow, RejectedRow};

/// What goes wrong with one append of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails, and nothing is appended.
    Before,
    /// It fails after the rows are appended: the result is lost.
    After,
    /// It can't be tried again, and nothing is appended.
    Fatal,
    /// It can't be tried again in this run, but the rows are appended.
    FatalAfter,
}

#[derive(Clone, Debug, Default)]
pub struct Table {
    pub appended: Vec<RowBuffer>,
    pub marks: HashMap<String, i64>,
}

/// The tables at one moment.
pub type Tables = BTreeMap<&'static str, Table>;

type Hook = Box<dyn FnMut(&Tables) + Send>;

#[derive(Default)]
struct Inner {
    tables: Tables,
    /// What becomes of the next appends of rows, one by one.
    faults: VecDeque<Option<Fault>>,
    /// Every append of rows fails, and may be tried again.
    down: bool,
    /// Appends of rows wait.
    held: bool,
    /// Appends of rows that began.
    attempts: u64,
    /// Appends of marks alone until they fail.
    until_marks_fail: Option<u64>,
    /// Called when an append of rows has been made or refused, before its writer is told.
    hook: Option<Hook>,
}

#[derive(Default)]
pub struct MemorySink {
    inner: Mutex<Inner>,
    changed: Condvar,
}

/// How long a test waits for what must happen, before it fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

impl MemorySink {
    pub fn of(tables: Tables) -> Self {
        Self { inner: Mutex::new(Inner { tables, ..Inner::default() }), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    pub fn set_faults(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.change(|inner| inner.faults = faults.into_iter().collect());
    }

    pub fn set_down(&self, down: bool) {
        self.change(|inner| inner.down = down);
    }

    /// The `n`th append of marks alone fails, and all after it.
    pub fn fail_marks_at(&self, n: Option<u64>) {
        self.change(|inner| inner.until_marks_fail = n);
    }

    pub fn hold(&self, held: bool) {
        self.change(|inner| inner.held = held);
    }

    pub fn set_hook(&self, hook: impl FnMut(&Tables) + Send + 'static) {
        self.change(|inner| inner.hook = Some(Box::new(hook)));
    }

    pub fn tables(&self) -> Tables {
        self.lock().tables.clone()
    }

    pub fn restore(&self, tables: Tables) {
        self.change(|inner| inner.tables = tables);
    }

    /// Waits until what was appended, or the number of attempts, is as wanted.
    pub fn wait_until(&self, what: &str, is_there: impl Fn(&Tables, u64) -> bool) {
        let waited =
            self.changed.wait_timeout_while(self.lock(), PATIENCE, |inner| !is_there(&inner.tables, inner.attempts));
        let (inner, result) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(inner);
        assert!(!result.timed_out(), "waited in vain for {what}");
    }

    pub fn audit(&self) -> Vec<AuditRow> {
        audit(&self.lock().tables)
    }

    /// Audit rows in the order in which they were appended.
    pub fn audit_as_appended(&self) -> Vec<AuditRow> {
        buffers(&self.lock().tables, &PROFILE_AUDIT).flat_map(AuditRow::read).collect()
    }

    pub fn extractions(&self) -> Vec<ExtractionRow> {
        extractions(&self.lock().tables)
    }

    pub fn rejected(&self) -> Vec<RejectedRow> {
        let mut rows: Vec<_> = buffers(&self.lock().tables, &REJECTED).flat_map(RejectedRow::read).collect();
        rows.sort();
        rows
    }

    /// Archived events in the order in which they were appended.
    pub fn archived(&self) -> Vec<ConversationEvent> {
        let mut events = Vec::new();
        for buffer in buffers(&self.lock().tables, &CONVERSATION_EVENTS) {
            let mut reader = RowReader::new(&buffer.bytes);
            while !reader.is_at_end() {
                events.push(ConversationEvent::from_row(&mut reader).unwrap().unwrap());
            }
        }
        events
    }
}

fn buffers<'a>(tables: &'a Tables, table: &TableSchema) -> impl Iterator<Item = &'a RowBuffer> {
    tables.get(table.name).into_iter().flat_map(|table| &table.appended)
}

pub fn audit(tables: &Tables) -> Vec<AuditRow> {
    let mut rows: Vec<_> = buffers(tables, &PROFILE_AUDIT).flat_map(AuditRow::read).collect();
    AuditRow::sort(&mut rows);
    rows
}

pub fn extractions(tables: &Tables) -> Vec<ExtractionRow> {
    let mut rows: Vec<_> = buffers(tables, &EXTRACTIONS).flat_map(ExtractionRow::read).collect();
    rows.sort();
    rows
}

impl Sink for MemorySink {
    fn committed(&self, table: &TableSchema, app_id: &str) -> Result<Option<i64>, SinkError> {
        Ok(self.lock().tables.get(table.name).and_then(|table| table.marks.get(app_id)).copied())
    }

    fn append(&self, table: &TableSchema, rows: &[RowBuffer], marks: &[Transaction]) -> Result<(), SinkError> {
        let failed = |message: &str, transient| {
            Err(SinkError::Failed { table: table.name.to_owned(), message: message.to_owned(), cause: None, transient })
        };
        let mut inner = self.lock();
        let has_rows = !rows.is_empty();
        if has_rows {
            inner.attempts += 1;
            self.changed.notify_all();
            inner = self.changed.wait_while(inner, |inner| inner.held).unwrap_or_else(PoisonError::into_inner);
        }
        let fault = match has_rows {
            true if inner.down => Some(Fault::Before),
            true => inner.faults.pop_front().flatten(),
            false => inner.until_marks_fail.as_mut().and_then(|left| {
                *left = left.saturating_sub(1);
                (*left == 0).then_some(Fault::Fatal)
            }),
        };
        let name = tables_name(table);
        if !matches!(fault, Some(Fault::Before | Fault::Fatal)) {
            let table = inner.tables.entry(name).or_default();
            let landed =
                marks.iter().filter(|mark| table.marks.get(&mark.app_id).is_some_and(|held| *held >= mark.version));
            match landed.count() {
                0 => {
                    table.appended.extend_from_slice(rows);
                    table.marks.extend(marks.iter().map(|mark| (mark.app_id.clone(), mark.version)));
                }
                // Landed before, with a lost result.
                count if count == marks.len() => {}
                _ => panic!("an append that has landed in part: {marks:?}"),
            }
        }
        if has_rows {
            let Inner { hook, tables, .. } = &mut *inner;
            if let Some(hook) = hook {
                hook(tables);
            }
        }
        self.changed.notify_all();
        match fault {
            None => Ok(()),
            Some(Fault::Before) => failed("it is down", true),
            Some(Fault::After) => failed("the result is lost", true),
            Some(Fault::Fatal | Fault::FatalAfter) => failed("it is broken", false),
        }
    }
}

/// Rows that a scan gives at once: few, so that what belongs together is torn apart.
const SCANNED_AT_ONCE: usize = 3;

impl TableScan for MemorySink {
    fn exists(&self, table: &TableSchema) -> Result<bool, SinkError> {
        Ok(self.lock().tables.contains_key(table.name))
    }

    fn rows(&self, table: &'static TableSchema, order: &[&str]) -> Result<Rows<'_>, SinkError> {
        // Equal columns stand side by side, which is all that a scan is asked for here.
        let mut rows: Vec<(Vec<Vec<u8>>, Vec<u8>)> = Vec::new();
        for buffer in buffers(&self.lock().tables, table) {
            let mut reader = RowReader::new(&buffer.bytes);
            while !reader.is_at_end() {
                let row = reader.row(table.columns).unwrap();
                let mut column = RowReader::new(row);
                let mut columns = HashMap::new();
                for of_schema in table.columns {
                    let from = column.at();
                    column.skip(of_schema.column_type).unwrap();
                    columns.insert(of_schema.name, row[from..column.at()].to_vec());
                }
                rows.push((order.iter().map(|name| columns[name].clone()).collect(), row.to_vec()));
            }
        }
        rows.sort();
        let mut scanned = Vec::new();
        for rows in rows.chunks(SCANNED_AT_ONCE) {
            let mut buffer = RowBuffer::default();
            rows.iter().for_each(|(_, row)| buffer.push(row));
            scanned.push(Ok(buffer));
        }
        Ok(Box::new(scanned.into_iter()))
    }
}

fn tables_name(table: &TableSchema) -> &'static str {
    [&PROFILE_AUDIT, &EXTRACTIONS, &REJECTED, &CONVERSATION_EVENTS]
        .into_iter()
        .map(|known| known.name)
        .find(|name| *name == table.name)
        .expect("a table of the profile memory")
}
