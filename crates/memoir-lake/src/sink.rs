//! The engine's sink: one writer a table, behind a blocking door, and maintenance every so many commits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use memoir_core::sink::{Rows, Sink, SinkError, TableScan, Transaction};
use memoir_core::table::{RowBuffer, TableSchema};
use tokio::task::JoinSet;

use crate::error::LakeError;
use crate::warehouse::Warehouse;
use crate::writer::TableWriter;

/// Appends to the tables of a warehouse. Call it from threads of your own, never from a worker thread of the runtime.
/// Tables that are not there are an error: [`Warehouse::ensure_table`] makes them.
pub struct DeltaSink {
    warehouse: Warehouse,
    tables: Mutex<HashMap<&'static str, Arc<Table>>>,
    /// Commits after which a table is maintained.
    maintain_every: Option<u64>,
    maintenance: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct Table {
    writer: tokio::sync::Mutex<Option<TableWriter>>,
    is_maintained: AtomicBool,
}

impl DeltaSink {
    /// A sink that leaves maintenance to others.
    #[must_use]
    pub fn new(warehouse: Warehouse) -> Self {
        Self { warehouse, tables: Mutex::default(), maintain_every: None, maintenance: Mutex::default() }
    }

    /// Maintains a table in the background whenever its version passes a multiple of `commits`, one maintenance a table
    /// at a time. What a process leaves unfinished when it ends does no harm.
    #[must_use]
    pub fn with_maintenance_every(mut self, commits: u64) -> Self {
        self.maintain_every = Some(commits.max(1));
        self
    }

    #[must_use]
    pub fn warehouse(&self) -> &Warehouse {
        &self.warehouse
    }

    /// Waits for maintenance that is under way. Blocking, as all of the sink.
    pub fn finish_maintenance(&self) {
        let mut running = std::mem::take(&mut *self.maintenance.lock().unwrap_or_else(PoisonError::into_inner));
        self.warehouse.block_on(async { while running.join_next().await.is_some() {} });
    }

    fn table(&self, name: &'static str) -> Arc<Table> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tables.entry(name).or_default())
    }

    /// Runs an operation with the table's writer, which is opened at the first one.
    fn with_writer<T>(
        &self,
        schema: &TableSchema,
        operation: impl AsyncFnOnce(&mut TableWriter) -> Result<T, LakeError>,
    ) -> Result<T, SinkError> {
        let table = self.table(schema.name);
        let done = self.warehouse.block_on(async {
            let mut writer = table.writer.lock().await;
            let writer = match &mut *writer {
                Some(writer) => writer,
                none => none.insert(TableWriter::open(&self.warehouse, schema).await?),
            };
            operation(writer).await
        });
        done.map_err(|error| error.into_sink_error(&self.warehouse.table_path(schema.name)))
    }

    fn maintain(&self, schema: &TableSchema) {
        let table = self.table(schema.name);
        if table.is_maintained.swap(true, Ordering::SeqCst) {
            return;
        }
        let schema = TableSchema { name: schema.name, comment: schema.comment, columns: schema.columns };
        let warehouse = self.warehouse.clone();
        let work = async move {
            if let Err(error) = warehouse.maintain(&schema).await {
                tracing::warn!(table = schema.name, %error, "maintenance failed; it is tried again later");
            }
            table.is_maintained.store(false, Ordering::SeqCst);
        };
        let mut running = self.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        // What has ended is forgotten, so the set stays as small as the number of tables.
        while running.try_join_next().is_some() {}
        running.spawn_on(work, self.warehouse.runtime());
    }
}

impl Sink for DeltaSink {
    fn committed(&self, table: &TableSchema, app_id: &str) -> Result<Option<i64>, SinkError> {
        self.with_writer(table, async |writer| writer.committed(app_id).await)
    }

    fn append(&self, table: &TableSchema, rows: &[RowBuffer], marks: &[Transaction]) -> Result<(), SinkError> {
        let version = self.with_writer(table, async |writer| writer.append(rows, marks).await)?;
        if let (Some(version), Some(every)) = (version, self.maintain_every)
            && version.is_multiple_of(every)
        {
            self.maintain(table);
        }
        Ok(())
    }
}

impl TableScan for DeltaSink {
    fn exists(&self, table: &TableSchema) -> Result<bool, SinkError> {
        let found = self.warehouse.block_on(self.warehouse.has_table(table.name));
        found.map_err(|error| error.into_sink_error(&self.warehouse.table_path(table.name)))
    }

    fn rows(&self, table: &'static TableSchema, order: &[&str]) -> Result<Rows<'_>, SinkError> {
        let failed = move |error: LakeError| error.into_sink_error(&self.warehouse.table_path(table.name));
        let mut rows = self.warehouse.block_on(self.warehouse.scan(table, order)).map_err(failed)?;
        Ok(Box::new(std::iter::from_fn(move || self.warehouse.block_on(rows.next()).map_err(failed).transpose())))
    }
}
