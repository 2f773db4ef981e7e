//! The unanswered requests of a shard: those of a key in order, one of them under way at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use memoir_core::processor::Request;

/// A request that waits for its answer.
struct Waiting<R> {
    number: u64,
    /// In memory only until the epoch that asked is committed; after that it is read back when its turn comes.
    request: Option<R>,
}

/// The queues.
pub(crate) struct PendingRequests<R> {
    by_key: HashMap<Arc<str>, VecDeque<Waiting<R>>>,
    /// Keys whose first request is not under way.
    ready: VecDeque<Arc<str>>,
    /// Keys with requests that are in memory.
    fresh: Vec<Arc<str>>,
    len: usize,
    under_way: usize,
}

impl<R> Default for PendingRequests<R> {
    fn default() -> Self {
        Self { by_key: HashMap::new(), ready: VecDeque::new(), fresh: Vec::new(), len: 0, under_way: 0 }
    }
}

impl<R: Request> PendingRequests<R> {
    /// Takes up what an earlier run left. Requests of a key must come in order.
    pub fn restore(&mut self, key: &str, number: u64) {
        self.push_waiting(key, Waiting { number, request: None });
    }

    /// Adds a request that was just triggered.
    pub fn push(&mut self, key: &str, request: R) {
        self.fresh.push(key.into());
        self.push_waiting(key, Waiting { number: request.number(), request: Some(request) });
    }

    fn push_waiting(&mut self, key: &str, waiting: Waiting<R>) {
        self.len += 1;
        if let Some(queue) = self.by_key.get_mut(key) {
            queue.push_back(waiting);
            return;
        }
        let key: Arc<str> = key.into();
        self.ready.push_back(Arc::clone(&key));
        self.by_key.insert(key, VecDeque::from([waiting]));
    }

    pub fn contains(&self, key: &str) -> bool {
        self.by_key.contains_key(key)
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// A request whose turn has come, with its number; the request itself where it is still in memory. It is under way
    /// from here on.
    pub fn next_ready(&mut self) -> Option<(Arc<str>, u64, Option<R>)> {
        let key = self.ready.pop_front()?;
        let first = self.by_key.get_mut(&key)?.front_mut()?;
        self.under_way += 1;
        Some((key, first.number, first.request.take()))
    }

    /// The request of a key that was under way is answered; the key's next one has its turn.
    pub fn answered(&mut self, key: &str) {
        let Some(queue) = self.by_key.get_mut(key) else { return };
        queue.pop_front();
        self.len -= 1;
        self.under_way -= 1;
        if queue.is_empty() {
            self.by_key.remove(key);
        } else {
            self.ready.push_back(key.into());
        }
    }

    /// The epoch that holds all requests so far is committed: their windows need not stay in memory.
    pub fn committed(&mut self) {
        for key in self.fresh.drain(..) {
            for waiting in self.by_key.get_mut(&key).into_iter().flatten() {
                waiting.request = None;
            }
        }
    }
}
