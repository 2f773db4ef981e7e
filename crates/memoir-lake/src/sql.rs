//! SQL over all tables of a warehouse, and nothing but reading.
//!
//! Only one statement is taken, and only of a kind that reads; the plan is then checked once more by the query engine.
//! Tables are opened when a query names them, so a query pays for what it reads.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use deltalake::arrow::array::RecordBatch;
use deltalake::arrow::datatypes::SchemaRef;
use deltalake::datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, SchemaProvider, TableProvider};
use deltalake::datafusion::common::DataFusionError;
use deltalake::datafusion::execution::context::SQLOptions;
use deltalake::datafusion::prelude::{SessionConfig, SessionContext};
use deltalake::datafusion::sql::parser::{DFParser, Statement};
use deltalake::datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use deltalake::datafusion::sql::sqlparser::dialect::GenericDialect;
use futures::TryStreamExt as _;

use crate::error::LakeError;
use crate::session::session;
use crate::view::{AUDIT_TABLE, CURRENT_VIEW, current_view};
use crate::warehouse::Warehouse;

/// What a query gave. The schema is there also where no row is.
#[derive(Clone, Debug)]
pub struct QueryResult {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}

impl QueryResult {
    #[must_use]
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

impl Warehouse {
    /// Runs one reading statement over the tables that are there and the view of current facts. Identifiers that are
    /// not quoted may be written in any case.
    ///
    /// # Errors
    /// [`LakeError::NotReadOnly`] for anything that does not just read, [`LakeError::Sql`] with the engine's words for
    /// what it can't make sense of, and what reading the tables can fail with.
    pub async fn query(&self, sql: &str) -> Result<QueryResult, LakeError> {
        let statement = reading_statement(sql)?;
        let session = self.sql_session().await?;
        let plan = match session.state().statement_to_plan(statement).await {
            Ok(plan) => plan,
            Err(error) => return Err(self.with_names(sql_error(error)).await),
        };
        let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        options.verify_plan(&plan).map_err(|error| LakeError::NotReadOnly { what: error.strip_backtrace() })?;
        let frame = session.execute_logical_plan(plan).await.map_err(sql_error)?;
        let stream = frame.execute_stream().await.map_err(sql_error)?;
        let schema = stream.schema();
        let batches = stream.try_collect().await.map_err(sql_error)?;
        Ok(QueryResult { schema, batches })
    }

    /// Adds the names that are known to an error about one that is not.
    async fn with_names(&self, error: LakeError) -> LakeError {
        let LakeError::Sql(message) = &error else { return error };
        if !(message.contains("table '") && message.contains("not found")) {
            return error;
        }
        let names = self.tables().await.unwrap_or_default();
        let known =
            if names.is_empty() { "there are no tables".to_owned() } else { format!("there are {}", names.join(", ")) };
        LakeError::Sql(format!("{message}: {known}; `memoir setup` creates what is missing"))
    }

    /// A session that knows the tables by their names, alone or behind schema and catalog.
    pub(crate) async fn sql_session(&self) -> Result<SessionContext, LakeError> {
        let config = SessionConfig::new()
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(self.catalog(), self.schema())
            .with_information_schema(true);
        let session = session(config)?;
        let schema = WarehouseSchema { warehouse: self.clone(), names: self.tables().await? };
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(self.schema(), Arc::new(schema)).map_err(sql_error)?;
        session.register_catalog(self.catalog(), Arc::new(catalog));
        Ok(session)
    }
}

/// The one statement of a text, if all it does is read.
fn reading_statement(sql: &str) -> Result<Statement, LakeError> {
    let mut statements = DFParser::parse_sql_with_dialect(sql, &GenericDialect {}).map_err(sql_error)?;
    let (Some(statement), true) = (statements.pop_front(), statements.is_empty()) else {
        return Err(LakeError::NotReadOnly { what: "anything but exactly one statement".to_owned() });
    };
    if reads_only(&statement) {
        return Ok(statement);
    }
    let text = statement.to_string();
    let verbs: Vec<&str> = text.split_whitespace().take(2).collect();
    Err(LakeError::NotReadOnly { what: verbs.join(" ") })
}

fn reads_only(statement: &Statement) -> bool {
    match statement {
        Statement::Statement(statement) => matches!(
            statement.as_ref(),
            SqlStatement::Query(_)
                | SqlStatement::ExplainTable { .. }
                | SqlStatement::ShowTables { .. }
                | SqlStatement::ShowColumns { .. }
        ),
        Statement::Explain(explain) => reads_only(&explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => false,
    }
}

/// What the query engine says, or the error of our own that it has carried.
pub(crate) fn sql_error(mut error: DataFusionError) -> LakeError {
    loop {
        error = match error {
            DataFusionError::External(inner) => match inner.downcast::<LakeError>() {
                Ok(own) => return *own,
                Err(other) => return LakeError::Sql(other.to_string()),
            },
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => *inner,
            other => return LakeError::Sql(other.strip_backtrace()),
        };
    }
}

/// The tables of a warehouse, opened as they are named.
struct WarehouseSchema {
    warehouse: Warehouse,
    names: Vec<String>,
}

impl fmt::Debug for WarehouseSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WarehouseSchema").field("names", &self.names).finish_non_exhaustive()
    }
}

#[async_trait]
impl SchemaProvider for WarehouseSchema {
    fn table_names(&self) -> Vec<String> {
        let mut names = self.names.clone();
        if self.table_exist(CURRENT_VIEW) && !names.iter().any(|name| name == CURRENT_VIEW) {
            names.push(CURRENT_VIEW.to_owned());
        }
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        if name == CURRENT_VIEW {
            let Some(audit) = self.provider(AUDIT_TABLE).await? else { return Ok(None) };
            return current_view(audit).await.map(Some);
        }
        self.provider(name).await
    }

    fn table_exist(&self, name: &str) -> bool {
        let name = if name == CURRENT_VIEW { AUDIT_TABLE } else { name };
        self.names.iter().any(|table| table == name)
    }
}

impl WarehouseSchema {
    async fn provider(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        if !self.names.iter().any(|table| table == name) {
            return Ok(None);
        }
        let table = self.warehouse.open_table(name).await;
        let table = table.map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(Some(Arc::new(table.table_provider().build().await?)))
    }
}
