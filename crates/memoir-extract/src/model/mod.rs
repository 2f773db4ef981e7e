//! The model behind an endpoint: OpenAI-compatible chat completions, one repair turn, and the rules as the fallback.
//!
//! From the outside in: a [`conversation`] asks and reads ([`prompt`], [`answer`]); an [`endpoint`] asks as often and as
//! fast as it may ([`retry`], [`limits`], [`breaker`], [`meter`]); [`http`] sends one request. Where it goes, with what
//! and in which form is in [`url`], [`credentials`] and [`dialect`].

mod answer;
mod breaker;
mod conversation;
mod credentials;
mod dialect;
mod endpoint;
mod http;
mod json_scan;
mod limits;
mod meter;
mod metrics;
mod options;
mod pace;
mod prompt;
mod retry;
mod url;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use memoir_core::profile::{ExtractionAnswer, ExtractionCall, ExtractionStatus, ExtractorKind};
use memoir_core::{Clock, Timestamp};

use self::conversation::Outcome;
use self::credentials::Credentials;
pub use self::credentials::{ClientCredentials, CredentialSettings, Profile, Token};
use self::endpoint::Endpoint;
use self::http::ChatClient;
pub use self::metrics::ModelCounts;
pub use self::options::ClientOptions;
use self::pace::{Pace, SystemPace};
pub use self::prompt::Prompt;
pub use self::url::ModelUrl;
pub(crate) use self::url::{is_databricks, same_host};
use crate::{ExtractError, Rules};

/// What a model client needs.
#[derive(Clone, Debug)]
pub struct ModelSettings {
    pub url: ModelUrl,
    /// The endpoint's or the model's name.
    pub endpoint: String,
    pub credentials: CredentialSettings,
    pub prompt: Prompt,
    pub options: ClientOptions,
}

/// Asks a model, and the rules where that is in vain.
pub struct ModelExtractor {
    endpoint: Endpoint,
    name: String,
    prompt: Prompt,
    rules: Arc<Rules>,
    /// When the log last told of a fallback.
    told: Mutex<Option<Timestamp>>,
}

/// Between two log lines about fallbacks: in an outage there is one for each extraction, and the first says it all.
const TELL_EVERY: Duration = Duration::from_secs(10);

impl std::fmt::Debug for ModelExtractor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelExtractor").field("endpoint", &self.name).finish_non_exhaustive()
    }
}

impl ModelExtractor {
    /// # Errors
    /// When the URL is none, a token cannot be sent, or the HTTP client cannot be made.
    pub fn new(settings: ModelSettings, rules: Arc<Rules>) -> Result<Self, ExtractError> {
        Self::with_pace(settings, rules, Arc::new(SystemPace::new()))
    }

    fn with_pace(settings: ModelSettings, rules: Arc<Rules>, pace: Arc<dyn Pace>) -> Result<Self, ExtractError> {
        let ModelSettings { url, endpoint: name, credentials, prompt, options } = settings;
        let target = url.target(&name)?;
        let token_timeout = options.timeout.min(options.total_timeout);
        let credentials = Credentials::new(credentials, target.takes_api_key, token_timeout)?;
        let client = ChatClient::new(target.url, target.model, options.connect_timeout)?;
        let endpoint = Endpoint::new(client, credentials, options, pace);
        Ok(Self { endpoint, name, prompt, rules, told: Mutex::default() })
    }

    /// The endpoint's or the model's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version of the instructions.
    #[must_use]
    pub fn prompt_version(&self) -> &str {
        self.prompt.version()
    }

    /// What has been counted so far.
    #[must_use]
    pub fn counts(&self) -> ModelCounts {
        self.endpoint.metrics.counts()
    }

    /// Tokens that earlier processes spent on the day of `now`: they count against `max_tokens_per_day`.
    pub fn recover_tokens(&self, tokens: u64, now: Timestamp) {
        self.endpoint.meter.recover(tokens, now);
    }

    /// Never fails: what the model does not answer the rules do, and the answer says so.
    pub async fn answer(&self, call: &ExtractionCall, clock: &dyn Clock) -> ExtractionAnswer {
        let asked_at = clock.now();
        let outcome = conversation::hold(&self.endpoint, &self.prompt, call, clock).await;
        let answered_at = clock.now();
        let latency_ms = i64::try_from(answered_at.since(asked_at).as_millis()).unwrap_or(i64::MAX);
        let Outcome { facts, repaired, attempts, prompt_tokens, completion_tokens, error } = outcome;
        let metrics = &self.endpoint.metrics;
        let (extractor, model, status, facts) = match facts {
            Some(facts) if repaired => {
                metrics.repaired.one();
                (ExtractorKind::Model, Some(self.name.clone()), ExtractionStatus::Repaired, facts)
            }
            Some(facts) => (ExtractorKind::Model, Some(self.name.clone()), ExtractionStatus::Ok, facts),
            None => {
                // Without a request nothing has failed: the breaker is open or the budget spent.
                let status = if attempts == 0 { ExtractionStatus::Unavailable } else { ExtractionStatus::Failed };
                if attempts == 0 {
                    metrics.unavailable.one()
                } else {
                    metrics.failed.one()
                }
                self.tell(call, attempts, error.as_deref().unwrap_or_default(), answered_at);
                (ExtractorKind::Heuristic, None, status, self.rules.extract(call))
            }
        };
        ExtractionAnswer {
            extractor,
            model,
            status,
            facts,
            answered_at,
            attempts,
            latency_ms,
            prompt_tokens,
            completion_tokens,
            error,
            prompt_version: (attempts > 0).then(|| self.prompt.version().to_owned()),
        }
    }

    fn tell(&self, call: &ExtractionCall, attempts: i32, error: &str, now: Timestamp) {
        let endpoint = &self.name;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|last| last <= now && now.since(last) < TELL_EVERY) {
            tracing::debug!(%endpoint, emission_id = %call.emission_id, attempts, %error, "the rules answer");
        } else {
            *told = Some(now);
            tracing::warn!(%endpoint, emission_id = %call.emission_id, attempts, %error, "the model gave no answer, the rules answer; the extractions table has each case");
        }
    }
}

#[cfg(test)]
mod tests;
