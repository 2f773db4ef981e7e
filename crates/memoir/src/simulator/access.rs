//! Who may ask the simulator: a fixed token, or tokens that an OAuth client is given.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::script::Auth;

/// Tokens that were given, and how they may still be used.
#[derive(Debug)]
pub struct Access {
    auth: Auth,
    given: HashMap<String, Grant>,
}

#[derive(Debug)]
struct Grant {
    until: Instant,
    requests_left: u64,
}

const LIFETIME: Duration = Duration::from_secs(3600);

impl Access {
    pub fn new(auth: Auth) -> Self {
        Self { auth, given: HashMap::new() }
    }

    /// Whether a chat request may be made. `as_api_key`: the token is in Azure's header.
    pub fn admits(&mut self, headers: &HeaderMap, as_api_key: bool) -> bool {
        let Auth { token, client_id, .. } = &self.auth;
        if token.is_none() && client_id.is_none() {
            return true;
        }
        let sent = if as_api_key { header(headers, "api-key") } else { bearer(headers) };
        let Some(sent) = sent else { return false };
        if token.as_deref() == Some(sent) {
            return true;
        }
        match self.given.get_mut(sent) {
            Some(grant) if grant.requests_left > 0 && Instant::now() < grant.until => {
                grant.requests_left -= 1;
                true
            }
            _ => false,
        }
    }

    /// A token and its lifetime for a client that shows who it is.
    pub fn grant(&mut self, headers: &HeaderMap, form: &str) -> Option<(String, Duration)> {
        let Auth { client_id, client_secret, token_lifetime_s, token_requests, .. } = &self.auth;
        let (id, secret) = (client_id.as_deref()?, client_secret.as_deref().unwrap_or_default());
        let basic = header(headers, "authorization").and_then(|value| value.strip_prefix("Basic "));
        let shown = STANDARD.encode(format!("{id}:{secret}"));
        if basic != Some(shown.as_str()) || !form.contains("grant_type=client_credentials") {
            return None;
        }
        let lifetime = token_lifetime_s.map_or(LIFETIME, Duration::from_secs);
        let token = format!("simulated-token-{}", self.given.len() + 1);
        let grant = Grant { until: Instant::now() + lifetime, requests_left: token_requests.unwrap_or(u64::MAX) };
        self.given.insert(token.clone(), grant);
        Some((token, lifetime))
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    header(headers, "authorization")?.strip_prefix("Bearer ")
}
