//! An extractor behind a network that does not exist: answers come late, in any order, or only when a test lets them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use memoir_core::profile::{ExtractionAnswer, ExtractionCall};
use memoir_engine::RemoteAnswerer;
use tokio::sync::Notify;

use super::extractor::{Extract, extract};
use super::processor::Watched;
use super::sink::PATIENCE;

#[derive(Default)]
struct Inner {
    asked: HashMap<String, u32>,
    /// Window contents of the calls that began.
    under_way: usize,
    most_under_way: usize,
    /// Calls whose window holds an event of these ids' prefix wait until they are let go.
    held: HashSet<String>,
    all_held: bool,
}

/// Counts what it is asked, and answers when it may.
pub struct Remote {
    inner: Mutex<Inner>,
    changed: Condvar,
    released: Notify,
    /// Spreads the answers: a call gives way so many times at most.
    spread: u64,
    extract: Extract,
}

impl Remote {
    pub fn new(spread: u64) -> Arc<Self> {
        Self::by(spread, extract)
    }

    pub fn by(spread: u64, extract: Extract) -> Arc<Self> {
        let (inner, changed, released) = (Mutex::default(), Condvar::new(), Notify::new());
        Arc::new(Self { inner, changed, released, spread, extract })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls about events whose ids begin so wait.
    pub fn hold(&self, event_ids: &str) {
        self.lock().held.insert(event_ids.to_owned());
    }

    pub fn hold_all(&self) {
        self.lock().all_held = true;
    }

    pub fn release(&self) {
        let mut inner = self.lock();
        inner.held.clear();
        inner.all_held = false;
        drop(inner);
        self.released.notify_waiters();
    }

    /// How often each emission was asked for.
    pub fn asked(&self) -> HashMap<String, u32> {
        self.lock().asked.clone()
    }

    pub fn most_under_way(&self) -> usize {
        self.lock().most_under_way
    }

    pub fn wait_until_under_way(&self, count: usize) {
        let waited = self.changed.wait_timeout_while(self.lock(), PATIENCE, |inner| inner.under_way < count);
        let (inner, result) = waited.unwrap_or_else(PoisonError::into_inner);
        let reached = inner.under_way;
        drop(inner);
        assert!(!result.timed_out(), "waited in vain for {count} calls under way, there are {reached}");
    }

    fn is_held(&self, call: &ExtractionCall) -> bool {
        let inner = self.lock();
        let about =
            |prefix: &String| call.request.window.iter().any(|window| window.message.event_id.starts_with(prefix));
        inner.all_held || inner.held.iter().any(about)
    }
}

/// What the engine is given.
pub struct Endpoint(pub Arc<Remote>);

impl RemoteAnswerer<Watched> for Endpoint {
    fn answer(&self, call: ExtractionCall) -> BoxFuture<'static, (ExtractionCall, ExtractionAnswer)> {
        let remote = Arc::clone(&self.0);
        async move {
            {
                let mut inner = remote.lock();
                *inner.asked.entry(call.emission_id.clone()).or_default() += 1;
                inner.under_way += 1;
                inner.most_under_way = inner.most_under_way.max(inner.under_way);
            }
            remote.changed.notify_all();
            let seed =
                call.emission_id.bytes().fold(17u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
            for _ in 0..seed % remote.spread.max(1) {
                tokio::task::yield_now().await;
            }
            loop {
                let released = remote.released.notified();
                if !remote.is_held(&call) {
                    break;
                }
                released.await;
            }
            let answer = (remote.extract)(&call);
            remote.lock().under_way -= 1;
            (call, answer)
        }
        .boxed()
    }
}
