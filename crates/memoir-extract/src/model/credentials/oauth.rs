//! OAuth for machines: a client id and its secret are changed into a token that lives for an hour or so.
//!
//! One request for a token is under way at a time, whoever needs it. It is asked for while the old one still holds, so
//! that a slow or failing token endpoint is noticed before anybody stands without one.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Semaphore;

use super::secret::Token;
use crate::model::http::{self, CallError, Patience};
use crate::model::pace::Pace;

/// The client that a workspace knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCredentials {
    /// The workspace's host, with or without `https://`.
    pub host: String,
    pub client_id: String,
    pub client_secret: Token,
}

/// Tokens for one client.
pub(in crate::model) struct OAuthTokens {
    url: String,
    client_id: String,
    client_secret: Token,
    timeout: Duration,
    held: Mutex<Option<Held>>,
    /// When a token was last asked for in vain, and why.
    failed: Mutex<Option<(Duration, CallError)>>,
    /// One permit: who has it asks for a token.
    asking: Semaphore,
}

#[derive(Clone)]
struct Held {
    token: Token,
    /// From here on a new one is asked for.
    refresh_at: Duration,
    expires_at: Duration,
}

#[derive(Deserialize)]
struct TokenReply {
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// How long a token lives whose endpoint does not say it.
const UNTOLD_LIFETIME: Duration = Duration::from_secs(3600);
/// How long before its end a token is replaced at the latest; of a short life a fifth.
const REFRESH_BEFORE: Duration = Duration::from_secs(300);

impl OAuthTokens {
    /// `host` with its scheme, without a slash at its end.
    pub fn new(host: &str, client_id: String, client_secret: Token, timeout: Duration) -> Self {
        let url = format!("{host}/oidc/v1/token");
        let (held, failed) = (Mutex::default(), Mutex::default());
        Self { url, client_id, client_secret, timeout, held, failed, asking: Semaphore::new(1) }
    }

    /// A token that holds; asks for one where there is none.
    ///
    /// # Errors
    /// When there is none and the token endpoint gives none.
    pub async fn token(&self, http: &reqwest::Client, pace: &dyn Pace) -> Result<Token, CallError> {
        if let Some(held) = self.held().clone().filter(|held| pace.now() < held.refresh_at) {
            return Ok(held.token);
        }
        let waits_since = pace.now();
        // Never closed.
        let Ok(_turn) = self.asking.acquire().await else { return Err(CallError::Broken) };
        let held = self.held().clone();
        if let Some(held) = held.as_ref().filter(|held| pace.now() < held.refresh_at) {
            return Ok(held.token.clone());
        }
        if let Some((at, error)) = self.failed().clone()
            && at >= waits_since
        {
            // Whoever waited for a request that failed shares its outcome, or they would fail one after the other.
            return Err(error);
        }
        match self.ask(http, pace).await {
            Ok(new) => {
                let token = new.token.clone();
                *self.held() = Some(new);
                Ok(token)
            }
            Err(error) => {
                let now = pace.now();
                let Some(mut held) = held.filter(|held| now < held.expires_at) else {
                    let error = CallError::Token(Box::new(error));
                    *self.failed() = Some((now, error.clone()));
                    return Err(error);
                };
                // It holds for a while; not every request is to wait for another try.
                held.refresh_at = now + (held.expires_at - now) / 2;
                let token = held.token.clone();
                *self.held() = Some(held);
                Ok(token)
            }
        }
    }

    /// The endpoint did not take this token: it is not used again.
    pub fn forget(&self, refused: &Token) {
        let mut held = self.held();
        if held.as_ref().is_some_and(|held| held.token == *refused) {
            *held = None;
        }
    }

    /// Blanks out the secret and the token.
    pub fn redact(&self, text: &str) -> String {
        let text = self.client_secret.redact(text);
        self.held().as_ref().map_or(text.clone(), |held| held.token.redact(&text))
    }

    async fn ask(&self, http: &reqwest::Client, pace: &dyn Pace) -> Result<Held, CallError> {
        let asked_at = pace.now();
        let patience = Patience { first_byte: self.timeout, whole: self.timeout };
        let request = http
            .post(&self.url)
            .timeout(self.timeout)
            .basic_auth(&self.client_id, Some(self.client_secret.reveal()))
            .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body("grant_type=client_credentials&scope=all-apis");
        let reply = http::exchange(request, patience, self.timeout).await?;
        if !reply.status.is_success() {
            return Err(http::status_error(&reply, |text| self.redact(text)));
        }
        let reply: TokenReply = serde_json::from_slice(&reply.body).map_err(|_| CallError::NotAToken)?;
        let token = Token::new(&reply.access_token).ok_or(CallError::NotAToken)?;
        let lifetime = reply.expires_in.map_or(UNTOLD_LIFETIME, Duration::from_secs);
        let early = REFRESH_BEFORE.min(lifetime / 5);
        Ok(Held {
            token,
            refresh_at: asked_at.saturating_add(lifetime.saturating_sub(early)),
            expires_at: asked_at.saturating_add(lifetime),
        })
    }

    fn failed(&self) -> MutexGuard<'_, Option<(Duration, CallError)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
