//! The extractor that the settings name.

use std::path::{Path, PathBuf};

use anyhow::Context;
use deltalake::arrow::array::AsArray;
use deltalake::arrow::datatypes::Int64Type;
use memoir_core::Timestamp;
use memoir_core::profile::EXTRACTIONS;
use memoir_extract::{self as extract, ExtractError, Extractor, Token};
use memoir_lake::Warehouse;

use crate::config::{ExtractorChoice, Secret, Settings};

/// # Errors
/// When a file cannot be used, a URL is none, or a model is demanded and cannot be asked: wrong configuration.
pub fn open(settings: &Settings) -> Result<Extractor, ExtractError> {
    let (extractor, databricks) = (&settings.extractor, &settings.databricks);
    let token = |secret: &Option<Secret>| secret.as_ref().and_then(|secret| Token::new(secret.reveal()));
    Extractor::new(extract::ExtractorSettings {
        kind: match extractor.kind {
            ExtractorChoice::Auto => extract::ExtractorChoice::Auto,
            ExtractorChoice::Model => extract::ExtractorChoice::Model,
            ExtractorChoice::Heuristic => extract::ExtractorChoice::Heuristic,
        },
        host: databricks.host.clone(),
        token: token(&databricks.token),
        client_id: databricks.client_id.clone(),
        client_secret: token(&databricks.client_secret),
        profile: databricks.profile.clone(),
        profiles_file: profiles_file(databricks.config_file.as_deref()),
        base_url: extractor.base_url.clone(),
        api_version: extractor.api_version.clone(),
        api_key: token(&extractor.api_key),
        endpoint: extractor.endpoint.clone(),
        rules: extractor.rules.clone(),
        prompt: extractor.prompt.clone(),
        client: extractor.client.clone(),
    })
}

/// The file of Databricks profiles; a `~` in front stands for the home folder, which shells leave alone in files.
fn profiles_file(named: Option<&Path>) -> PathBuf {
    let home = || std::env::home_dir().unwrap_or_default();
    match named {
        None => home().join(".databrickscfg"),
        Some(path) => path.strip_prefix("~").map_or_else(|_| path.to_owned(), |below| home().join(below)),
    }
}

/// Counts what the extractions table holds of the day of `now` against the daily token budget, where there is one: a
/// restart does not give it anew. Fallbacks name no model, so they count for every endpoint.
///
/// # Errors
/// When the table, which must be there, cannot be read.
pub async fn recover_tokens(
    extractor: &Extractor,
    settings: &Settings,
    warehouse: &Warehouse,
    now: Timestamp,
) -> anyhow::Result<()> {
    let (Extractor::Model(model), Some(_)) = (extractor, settings.extractor.client.max_tokens_per_day) else {
        return Ok(());
    };
    let day: String = now.to_string().chars().take(10).collect();
    let sql = format!(
        "SELECT CAST(coalesce(sum(coalesce(prompt_tokens, 0) + coalesce(completion_tokens, 0)), 0) AS BIGINT) \
         FROM {} WHERE extraction_ts >= TIMESTAMP '{day}T00:00:00Z' AND (model IS NULL OR model = '{}')",
        EXTRACTIONS.name,
        model.name().replace('\'', "''")
    );
    let result = warehouse.query(&sql).await.context("reading what was spent today (extractor.max_tokens_per_day)")?;
    let rows = result.batches.iter().filter(|batch| batch.num_rows() > 0);
    let spent: i64 =
        rows.filter_map(|batch| batch.column(0).as_primitive_opt::<Int64Type>()).map(|sum| sum.value(0)).sum();
    model.recover_tokens(u64::try_from(spent).unwrap_or_default(), now);
    Ok(())
}
