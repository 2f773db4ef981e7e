//! An endpoint with all that stands around a request to it: limits, budget, breaker, retries, tokens and counters.
//!
//! Each try goes the same way: is there budget, does the breaker let it through, whose turn is it, what is it sent with;
//! then the request; then what its outcome means for the breaker, the limits and the next try.

use std::sync::Arc;
use std::time::Duration;

use memoir_core::Clock;

use super::breaker::{Breaker, Pass};
use super::credentials::{Credentials, Proof};
use super::dialect::{Dialect, KnownDialect, Parameter};
use super::http::{CallError, ChatClient, Patience};
use super::limits::Limits;
use super::meter::TokenMeter;
use super::metrics::ModelMetrics;
use super::options::ClientOptions;
use super::pace::Pace;
use super::retry::{Failure, backoff, retry_after};
use super::wire::{ChatMessage, ChatReply};

/// Thirty facts with quotes and reasons need about half of it.
const MAX_ANSWER_TOKENS: u32 = 4096;
/// Of a text in a European language, about so many characters are a token.
const CHARS_PER_TOKEN: u64 = 4;

/// Why the endpoint gave no answer.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("the circuit breaker is open: the endpoint failed too often, and is asked again later")]
    BreakerOpen,
    #[error("the token budget of the day is spent (extractor.max_tokens_per_day)")]
    TokensSpent,
    #[error("no time is left for another request (extractor.total_timeout)")]
    NoTimeLeft,
    #[error("{last}; no time is left for another try (extractor.total_timeout)")]
    OutOfTime { last: CallError },
    #[error("{0}")]
    Failed(CallError),
}

/// What an extraction has used up, over all its requests.
#[derive(Debug)]
pub(super) struct Spent {
    /// Requests sent.
    pub attempts: i32,
    /// The time of [`Pace`] at which no more is tried. Waiting for a limit moves it on: that is nobody's failure.
    deadline: Duration,
}

pub(super) struct Endpoint {
    client: ChatClient,
    credentials: Credentials,
    dialect: KnownDialect,
    breaker: Breaker,
    limits: Limits,
    pub meter: TokenMeter,
    pub metrics: ModelMetrics,
    options: ClientOptions,
    pace: Arc<dyn Pace>,
}

/// What is to be done after a try that failed.
enum Next {
    /// Again at once, in another form.
    Anew,
    /// Again after this time.
    After(Duration),
    Never,
}

impl Endpoint {
    pub fn new(client: ChatClient, credentials: Credentials, options: ClientOptions, pace: Arc<dyn Pace>) -> Self {
        Self {
            client,
            credentials,
            dialect: KnownDialect::new(),
            breaker: Breaker::new(options.breaker_failures, options.breaker_cooldown),
            limits: Limits::new(options.max_requests_per_second, options.max_tokens_per_minute),
            meter: TokenMeter::new(options.max_tokens_per_day),
            metrics: ModelMetrics::default(),
            options,
            pace,
        }
    }

    /// Begins an extraction.
    pub fn begin(&self) -> Spent {
        Spent { attempts: 0, deadline: self.pace.now().saturating_add(self.options.total_timeout) }
    }

    /// Asks until there is an answer or no hope for one.
    ///
    /// # Errors
    /// What stood in the way last.
    pub async fn ask(
        &self,
        messages: &[ChatMessage],
        spent: &mut Spent,
        clock: &dyn Clock,
    ) -> Result<ChatReply, NoAnswer> {
        let mut failed_tries = 0;
        let mut has_new_token = false;
        loop {
            let (pass, reserved) = self.admit(messages, spent, clock).await?;
            let dialect = self.dialect.get();
            let (error, proof) = match self.send(messages, dialect, spent).await {
                (Ok(reply), _) => {
                    pass.succeeded();
                    self.account(messages, &reply, reserved, clock);
                    return Ok(reply);
                }
                (Err(error), proof) => (error, proof),
            };
            self.limits.settle(reserved, 0.0);
            let is_refused_token = matches!(&error, CallError::Status(error) if error.status == 401);
            let next = if refused_in(&error).is_some_and(|parameter| self.dialect.refused(dialect, parameter)) {
                // It answers, only not to this.
                pass.succeeded();
                Next::Anew
            } else if is_refused_token
                && !has_new_token
                && proof.as_ref().is_some_and(|proof| self.credentials.refused(proof))
            {
                has_new_token = true;
                Next::Anew
            } else {
                failed_tries += 1;
                self.after_failure(&error, pass, failed_tries, clock)
            };
            match next {
                Next::Never => return Err(NoAnswer::Failed(error)),
                Next::Anew => {}
                Next::After(wait) if self.pace.now().saturating_add(wait) >= spent.deadline => {
                    return Err(NoAnswer::OutOfTime { last: error });
                }
                Next::After(wait) => {
                    tracing::debug!(%error, wait_ms = wait.as_millis(), failed_tries, "asking again");
                    self.metrics.retries.one();
                    self.pace.sleep(wait).await;
                }
            }
        }
    }

    /// Waits until a request may be made. Returns the right to make it, and the tokens that are reserved.
    async fn admit(
        &self,
        messages: &[ChatMessage],
        spent: &mut Spent,
        clock: &dyn Clock,
    ) -> Result<(Pass<'_>, f64), NoAnswer> {
        // Looked at first, so that nobody waits for a turn that cannot be used.
        self.check(clock)?;
        let waits_from = self.pace.now();
        let reserved = self.limits.turn(estimate(messages), self.pace.as_ref()).await;
        spent.deadline = spent.deadline.saturating_add(self.pace.now().saturating_sub(waits_from));
        let has_time = if self.pace.now() < spent.deadline { Ok(()) } else { Err(NoAnswer::NoTimeLeft) };
        let admitted = has_time
            .and_then(|()| self.check(clock))
            .and_then(|()| self.breaker.admit(self.pace.now()).ok_or(NoAnswer::BreakerOpen));
        match admitted {
            Ok(pass) => Ok((pass, reserved)),
            Err(refused) => {
                self.limits.settle(reserved, 0.0);
                Err(refused)
            }
        }
    }

    /// Whether anybody may ask now.
    fn check(&self, clock: &dyn Clock) -> Result<(), NoAnswer> {
        if self.meter.is_spent(clock.now()) {
            return Err(NoAnswer::TokensSpent);
        }
        if self.breaker.refuses(self.pace.now()) {
            return Err(NoAnswer::BreakerOpen);
        }
        Ok(())
    }

    /// One request, with what it was sent with.
    async fn send(
        &self,
        messages: &[ChatMessage],
        dialect: Dialect,
        spent: &mut Spent,
    ) -> (Result<ChatReply, CallError>, Option<Proof>) {
        spent.attempts += 1;
        self.metrics.requests.one();
        let left = spent.deadline.saturating_sub(self.pace.now());
        let proof = self.credentials.proof(self.client.http(), self.pace.as_ref());
        let proof = match tokio::time::timeout(left, proof).await {
            Ok(Ok(proof)) => proof,
            Ok(Err(error)) => return (Err(error), None),
            Err(_) => {
                let late = CallError::TimedOut { what: "no answer", after: left };
                return (Err(CallError::Token(Box::new(late))), None);
            }
        };
        let left = spent.deadline.saturating_sub(self.pace.now());
        let patience =
            Patience { first_byte: self.options.first_byte_timeout.min(left), whole: self.options.timeout.min(left) };
        let reply = self
            .client
            .complete(messages, MAX_ANSWER_TOKENS, dialect, proof.as_ref(), &self.credentials, patience)
            .await;
        (reply, proof)
    }

    /// Counts what an answer took. What an endpoint does not count is estimated.
    fn account(&self, messages: &[ChatMessage], reply: &ChatReply, reserved: f64, clock: &dyn Clock) {
        let count = |tokens: Option<i64>| tokens.and_then(|tokens| u64::try_from(tokens).ok());
        let prompt = count(reply.prompt_tokens);
        let completion = count(reply.completion_tokens);
        self.metrics.prompt_tokens.add(prompt.unwrap_or_default());
        self.metrics.completion_tokens.add(completion.unwrap_or_default());
        let prompt = prompt.unwrap_or_else(|| tokens_of(messages));
        let completion = completion.unwrap_or(reply.content.chars().count() as u64 / CHARS_PER_TOKEN);
        let total = prompt.saturating_add(completion);
        self.meter.add(total, clock.now());
        self.limits.learn(as_float(completion));
        self.limits.settle(reserved, as_float(total));
    }

    /// What a failure means for the breaker and the next try.
    fn after_failure(&self, error: &CallError, pass: Pass<'_>, failed_tries: u32, clock: &dyn Clock) -> Next {
        let failure = Failure::of(error);
        let now = self.pace.now();
        let opened = match failure {
            Failure::Passing | Failure::Lasting => pass.failed(now),
            Failure::Throttled => {
                self.metrics.throttled.one();
                pass.put_off(now)
            }
            Failure::OfThisRequest => {
                pass.succeeded();
                false
            }
        };
        if opened {
            self.metrics.breaker_openings.one();
            let seconds = self.options.breaker_cooldown.as_secs_f64();
            tracing::warn!(%error, "the endpoint fails: the rules answer for {seconds} s, then one request tries it");
        }
        let demanded = retry_after(error).map(|after| after.wait(clock.now()));
        if let Some(demanded) = demanded.filter(|_| failure == Failure::Throttled) {
            // What the endpoint asks of one it asks of all; but not for longer than one extraction may take.
            self.limits.hold(now.saturating_add(demanded.min(self.options.total_timeout)));
        }
        if !failure.heals() || failed_tries >= self.options.max_attempts {
            return Next::Never;
        }
        Next::After(backoff(self.options.retry_backoff, failed_tries, failure, demanded, self.pace.chance()))
    }
}

fn refused_in(error: &CallError) -> Option<Parameter> {
    match error {
        CallError::Status(error) => error.refused,
        _ => None,
    }
}

fn tokens_of(messages: &[ChatMessage]) -> u64 {
    messages.iter().map(|message| message.content.chars().count() as u64).sum::<u64>() / CHARS_PER_TOKEN
}

fn estimate(messages: &[ChatMessage]) -> f64 {
    as_float(tokens_of(messages))
}

/// Tokens of one request: far below 2^52.
#[allow(clippy::cast_precision_loss)]
fn as_float(tokens: u64) -> f64 {
    tokens as f64
}
