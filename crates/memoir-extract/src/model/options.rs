//! What a client is told about waiting, trying again and stopping.

use std::time::Duration;

/// How an endpoint is asked. The defaults are those of the configuration.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    pub connect_timeout: Duration,
    /// From sending a request to the first byte of its answer.
    pub first_byte_timeout: Duration,
    /// From sending a request to the end of its answer.
    pub timeout: Duration,
    /// For all requests of an extraction and the waits between them; waiting for a limit does not count.
    pub total_timeout: Duration,
    /// How often one request is sent before it is given up, at least 1.
    pub max_attempts: u32,
    /// The longest wait before the second try; it doubles with each further one.
    pub retry_backoff: Duration,
    /// `None` is no limit; else above 0.
    pub max_requests_per_second: Option<f64>,
    /// Prompt and answer together; `None` is no limit, else above 0.
    pub max_tokens_per_minute: Option<f64>,
    /// Prompt and answer together, by UTC day; `None` is no limit.
    pub max_tokens_per_day: Option<u64>,
    /// So many failed requests in a row open the circuit breaker.
    pub breaker_failures: u32,
    /// How long it stays open before one request tries again.
    pub breaker_cooldown: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_secs(60),
            timeout: Duration::from_secs(60),
            total_timeout: Duration::from_secs(120),
            max_attempts: 5,
            retry_backoff: Duration::from_millis(500),
            max_requests_per_second: None,
            max_tokens_per_minute: None,
            max_tokens_per_day: None,
            breaker_failures: 8,
            breaker_cooldown: Duration::from_secs(30),
        }
    }
}
