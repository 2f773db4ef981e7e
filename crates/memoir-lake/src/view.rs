//! The current view of the audit table, and the questions that people ask of it: the one place of this crate that knows
//! columns by name.
//!
//! A fact's latest row is found first and judged after: filtering deleted rows before ranking would bring the older
//! value of a deleted fact back.

use std::sync::Arc;

use deltalake::datafusion::catalog::TableProvider;
use deltalake::datafusion::common::{DataFusionError, ScalarValue};
use deltalake::datafusion::datasource::ViewTable;
use deltalake::datafusion::prelude::SessionContext;
use futures::TryStreamExt as _;
use memoir_core::table::{ColumnType, TableSchema};
use memoir_core::time::Timestamp;

use crate::error::LakeError;
use crate::sql::{QueryResult, sql_error};
use crate::warehouse::Warehouse;

/// The table that the view is over.
pub const AUDIT_TABLE: &str = "profile_memory_audit";

/// The view's name.
pub const CURRENT_VIEW: &str = "v_profile_memory_current";

/// The latest row of each fact among the rows of `source` that fulfil `condition`, if it still stands. `columns` is what
/// is selected. Reserved keys begin with two underscores; `LIKE` would take an underscore for any character.
fn latest(columns: &str, source: &str, condition: &str) -> String {
    format!(
        "SELECT {columns}\nFROM (\n  SELECT *, row_number() OVER (PARTITION BY user_id, key ORDER BY emission_ts DESC, \
         emission_id DESC) AS fact_rank\n  FROM {source}\n  WHERE {condition}\n) AS ranked\n\
         WHERE fact_rank = 1 AND action <> 'deleted' AND substr(key, 1, 2) <> '__'"
    )
}

/// What the view shows, in the order of the audit table.
const COLUMNS: &str = "user_id, emission_id, emission_ts, key, kind, value, confidence, action, previous_value, \
                       source_event_ids, reason, trigger, extractor, model";

/// The view over an audit table.
pub(crate) async fn current_view(audit: Arc<dyn TableProvider>) -> Result<Arc<dyn TableProvider>, DataFusionError> {
    let session = SessionContext::new();
    session.register_table("audit", audit)?;
    let sql = latest(COLUMNS, "audit", "TRUE");
    let plan = session.state().create_logical_plan(&sql).await?;
    Ok(Arc::new(ViewTable::new(plan, Some(sql))))
}

/// The same view as Spark SQL, over `catalog.schema`.
#[must_use]
pub fn view_sql_spark(catalog: &str, schema: &str) -> String {
    let place = format!("{}.{}", quoted(catalog), quoted(schema));
    let columns = COLUMNS.split(", ").map(quoted).collect::<Vec<_>>().join(", ");
    let query = latest(&columns, &format!("{place}.{AUDIT_TABLE}"), "TRUE");
    format!("CREATE OR REPLACE VIEW {place}.{CURRENT_VIEW} AS\n{query};\n")
}

/// The statement that creates a table in Spark as [`Warehouse::ensure_table`] creates it here.
#[must_use]
pub fn table_sql_spark(catalog: &str, schema: &str, table: &TableSchema) -> String {
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            let column_type = match column.column_type {
                ColumnType::Text => "STRING",
                ColumnType::Timestamp => "TIMESTAMP",
                ColumnType::Double => "DOUBLE",
                ColumnType::Int => "INT",
                ColumnType::Long => "BIGINT",
                ColumnType::TextList => "ARRAY<STRING>",
            };
            format!("  {} {column_type} COMMENT {}", quoted(column.name), text(column.comment))
        })
        .collect();
    let properties: Vec<String> = crate::create::properties(table)
        .into_iter()
        .map(|(name, value)| format!("  {} = {}", text(name), text(&value)))
        .collect();
    format!(
        "CREATE TABLE IF NOT EXISTS {}.{}.{} (\n{}\n) USING DELTA\nCOMMENT {}\nTBLPROPERTIES (\n{}\n);\n",
        quoted(catalog),
        quoted(schema),
        quoted(table.name),
        columns.join(",\n"),
        text(table.comment),
        properties.join(",\n")
    )
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

impl Warehouse {
    /// The facts of a user now, or as they stood at a time of emission. Sorted by key; the columns of the view.
    ///
    /// # Errors
    /// When there is no audit table or it can't be read.
    pub async fn current_facts(&self, user_id: &str, as_of: Option<Timestamp>) -> Result<QueryResult, LakeError> {
        let condition = match as_of {
            None => "user_id = $1",
            Some(_) => "user_id = $1 AND emission_ts <= $2",
        };
        let sql = format!("{} ORDER BY key", latest(COLUMNS, AUDIT_TABLE, condition));
        self.ask(&sql, [Some(user_text(user_id)), as_of.map(time)].into_iter().flatten().collect()).await
    }

    /// The facts of all users now, or as they stood at a time. Sorted by user and key.
    ///
    /// # Errors
    /// As for [`Warehouse::current_facts`].
    pub async fn all_current_facts(&self, as_of: Option<Timestamp>) -> Result<QueryResult, LakeError> {
        let condition = if as_of.is_some() { "emission_ts <= $1" } else { "TRUE" };
        let sql = format!("{} ORDER BY user_id, key", latest(COLUMNS, AUDIT_TABLE, condition));
        self.ask(&sql, as_of.map(time).into_iter().collect()).await
    }

    /// Every row about a user, or about one of the user's facts, in the order in which they were emitted. Rows of
    /// reserved keys are among them only where the key is asked for.
    ///
    /// # Errors
    /// As for [`Warehouse::current_facts`].
    pub async fn history(&self, user_id: &str, key: Option<&str>) -> Result<QueryResult, LakeError> {
        let condition = if key.is_some() { "key = $2" } else { "substr(key, 1, 2) <> '__'" };
        let sql = format!(
            "SELECT {COLUMNS} FROM {AUDIT_TABLE} WHERE user_id = $1 AND {condition} ORDER BY emission_ts, emission_id, key"
        );
        self.ask(&sql, [Some(user_text(user_id)), key.map(user_text)].into_iter().flatten().collect()).await
    }

    /// Runs a statement of our own with values in the places of `$1`, `$2`.
    async fn ask(&self, sql: &str, values: Vec<ScalarValue>) -> Result<QueryResult, LakeError> {
        if !self.has_table(AUDIT_TABLE).await? {
            return Err(LakeError::TableMissing { table: self.table_path(AUDIT_TABLE) });
        }
        let session = self.sql_session().await?;
        let frame = session.sql(sql).await.map_err(sql_error)?;
        let frame = frame.with_param_values(values).map_err(sql_error)?;
        let stream = frame.execute_stream().await.map_err(sql_error)?;
        let schema = stream.schema();
        let batches = stream.try_collect().await.map_err(sql_error)?;
        Ok(QueryResult { schema, batches })
    }
}

fn user_text(text: &str) -> ScalarValue {
    ScalarValue::Utf8(Some(text.to_owned()))
}

fn time(time: Timestamp) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(time.as_micros()), Some("UTC".into()))
}
