//! Who answers the requests of a processor.

use std::sync::Arc;

use futures::future::BoxFuture;
use memoir_core::processor::Processor;

/// Answers over the network, in its own time.
pub trait RemoteAnswerer<P: Processor>: Send + Sync {
    /// Answers a call, and gives it back. Never fails: what goes wrong is part of the answer.
    fn answer(&self, call: P::Call) -> BoxFuture<'static, (P::Call, P::Answer)>;
}

/// Answers at once.
pub type AnswerNow<P> = dyn Fn(&<P as Processor>::Call) -> <P as Processor>::Answer + Send + Sync;

/// Who answers.
pub enum Answerer<P: Processor> {
    /// At once, on the shard's own thread, so that request and answer share an epoch.
    Now(Arc<AnswerNow<P>>),
    /// Later: the request is kept as state until the answer is committed.
    Later(Arc<dyn RemoteAnswerer<P>>),
}

impl<P: Processor> Clone for Answerer<P> {
    fn clone(&self) -> Self {
        match self {
            Self::Now(answer) => Self::Now(Arc::clone(answer)),
            Self::Later(answerer) => Self::Later(Arc::clone(answerer)),
        }
    }
}
