//! The extractor that the settings name.

use memoir_extract::{self as extract, ExtractError, Extractor, Token};

use crate::config::{ExtractorChoice, Settings};

/// # Errors
/// When a rules file cannot be used, or a model is demanded and cannot be asked: wrong configuration either way.
pub fn open(settings: &Settings) -> Result<Extractor, ExtractError> {
    let extractor = &settings.extractor;
    Extractor::new(extract::ExtractorSettings {
        kind: match extractor.kind {
            ExtractorChoice::Auto => extract::ExtractorChoice::Auto,
            ExtractorChoice::Model => extract::ExtractorChoice::Model,
            ExtractorChoice::Heuristic => extract::ExtractorChoice::Heuristic,
        },
        host: settings.databricks.host.clone(),
        token: settings.databricks.token.as_ref().and_then(|token| Token::new(token.reveal())),
        base_url: extractor.base_url.clone(),
        endpoint: extractor.endpoint.clone(),
        rules: extractor.rules.clone(),
        timeout: extractor.timeout,
        ..extract::ExtractorSettings::default()
    })
}
