//! How everybody is told to stop: once, for all, and without polling.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

/// Tells any number of threads to stop. Cheap to clone; a halt can't be taken back.
///
/// It is a channel on which nothing is ever sent: dropping its only sender wakes everybody who waits on it.
#[derive(Clone, Debug)]
pub struct Halt {
    sender: Arc<Mutex<Option<Sender<Infallible>>>>,
    receiver: Receiver<Infallible>,
}

impl Default for Halt {
    fn default() -> Self {
        let (sender, receiver) = bounded(0);
        Self { sender: Arc::new(Mutex::new(Some(sender))), receiver }
    }
}

impl Halt {
    /// Tells everybody to stop.
    pub fn halt(&self) {
        // The lock guards a single assignment, so a poisoned one is as good as a sound one.
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Becomes ready when everybody is told to stop: for `select!`.
    #[must_use]
    pub fn signal(&self) -> &Receiver<Infallible> {
        &self.receiver
    }
}
