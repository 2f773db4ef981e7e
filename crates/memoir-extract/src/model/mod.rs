//! The model behind an endpoint: OpenAI-compatible chat completions, one repair turn, and the rules as the fallback.
//!
//! One module makes a request ([`http`]), one holds the conversation ([`conversation`]); between them is the place for
//! retries, limits and a circuit breaker. What is asked is in [`prompt`], what is read in [`answer`].

mod answer;
mod conversation;
mod http;
mod prompt;
mod secret;

use std::sync::Arc;
use std::time::Duration;

use memoir_core::Clock;
use memoir_core::profile::{ExtractionAnswer, ExtractionCall, ExtractionStatus, ExtractorKind};

use self::http::ChatClient;
pub use self::secret::Token;
use crate::{ExtractError, Rules};

/// Where a model is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelUrl {
    /// A workspace: requests go to `{host}/serving-endpoints/{endpoint}/invocations`.
    Workspace { host: String },
    /// An OpenAI-compatible base: requests go to `{base_url}/chat/completions`, with the endpoint as the model.
    Base { base_url: String },
}

/// What a model client needs.
#[derive(Clone, Debug)]
pub struct ModelSettings {
    pub url: ModelUrl,
    /// The endpoint's or the model's name.
    pub endpoint: String,
    pub token: Option<Token>,
    pub connect_timeout: Duration,
    /// From sending a request to the end of its answer.
    pub timeout: Duration,
}

/// Asks a model, and the rules where that is in vain.
pub struct ModelExtractor {
    client: ChatClient,
    endpoint: String,
    rules: Arc<Rules>,
}

impl std::fmt::Debug for ModelExtractor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelExtractor").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl ModelExtractor {
    /// # Errors
    /// When the URL is none, or the HTTP client cannot be made.
    pub fn new(settings: ModelSettings, rules: Arc<Rules>) -> Result<Self, ExtractError> {
        let ModelSettings { url, endpoint, token, connect_timeout, timeout } = settings;
        let (url, model) = match &url {
            ModelUrl::Workspace { host } => {
                let host = checked_url("databricks.host", host)?;
                let name: String = percent_encoded(&endpoint);
                (format!("{host}/serving-endpoints/{name}/invocations"), None)
            }
            ModelUrl::Base { base_url } => {
                let base = checked_url("extractor.base_url", base_url)?;
                (format!("{base}/chat/completions"), Some(endpoint.clone()))
            }
        };
        let client = ChatClient::new(url, model, token, connect_timeout, timeout)?;
        Ok(Self { client, endpoint, rules })
    }

    /// Never fails: what the model does not answer the rules do, and the answer says so.
    pub async fn answer(&self, call: &ExtractionCall, clock: &dyn Clock) -> ExtractionAnswer {
        let asked_at = clock.now();
        let outcome = conversation::hold(&self.client, call).await;
        let answered_at = clock.now();
        let latency_ms = i64::try_from(answered_at.since(asked_at).as_millis()).unwrap_or(i64::MAX);
        let (extractor, model, status, facts, error) = match outcome.facts {
            Some(facts) => {
                let status = if outcome.repaired { ExtractionStatus::Repaired } else { ExtractionStatus::Ok };
                (ExtractorKind::Model, Some(self.endpoint.clone()), status, facts, outcome.error)
            }
            None => {
                let error = outcome.error.unwrap_or_else(|| "the model gave no answer".to_owned());
                tracing::warn!(endpoint = %self.endpoint, emission_id = %call.emission_id, attempts = outcome.attempts, %error, "the model failed, the rules answer");
                (ExtractorKind::Heuristic, None, ExtractionStatus::Failed, self.rules.extract(call), Some(error))
            }
        };
        ExtractionAnswer {
            extractor,
            model,
            status,
            facts,
            answered_at,
            attempts: outcome.attempts,
            latency_ms,
            prompt_tokens: outcome.prompt_tokens,
            completion_tokens: outcome.completion_tokens,
            error,
        }
    }
}

/// The URL without a slash at its end; a host without a scheme is meant to be reached over https.
fn checked_url(setting: &'static str, url: &str) -> Result<String, ExtractError> {
    let trimmed = url.trim().trim_end_matches('/');
    let whole = if trimmed.contains("://") { trimmed.to_owned() } else { format!("https://{trimmed}") };
    match reqwest::Url::parse(&whole) {
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() && !trimmed.is_empty() => {
            Ok(whole)
        }
        // A URL may hold credentials: only its beginning is shown.
        _ => Err(ExtractError::Url { setting, url: trimmed.chars().take(20).collect() }),
    }
}

/// The name as one segment of a path.
fn percent_encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.trim().bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
