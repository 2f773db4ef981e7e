//! Grounding: what a fact rests on. Only the user's own messages of the window are evidence.

use std::cell::OnceCell;

use super::extraction::{Evidence, ExtractionRequest, Message, WindowMessage};
use super::rows::last_event_ids;
use crate::evidence::Quote;
use crate::text::comparable;

/// The messages of a window, folded for comparison when first needed.
pub(super) struct Window<'a> {
    request: &'a ExtractionRequest,
    users: Vec<UserMessage<'a>>,
}

struct UserMessage<'a> {
    seq: u64,
    message: &'a Message,
    comparable: OnceCell<String>,
}

/// Evidence that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grounded {
    /// In the order of the window.
    pub event_ids: Vec<String>,
    /// The sequence number of the newest message among them.
    pub newest: u64,
}

impl UserMessage<'_> {
    fn shows(&self, quote: &Quote) -> bool {
        quote.occurs_in(self.comparable.get_or_init(|| comparable(&self.message.content)))
    }
}

impl<'a> Window<'a> {
    pub fn new(request: &'a ExtractionRequest) -> Self {
        let users = request
            .window
            .iter()
            .filter(|window| window.message.is_users())
            .map(|WindowMessage { seq, message }| UserMessage { seq: *seq, message, comparable: OnceCell::new() });
        Self { users: users.collect(), request }
    }

    /// The messages that the evidence holds in; `None` where it holds in none of the user's.
    ///
    /// A quote counts where it occurs: in the message that it names, else in the newest one that holds it. Evidence
    /// without a quote counts only where no quote is required; no evidence at all then means the window as a whole.
    pub fn ground(&self, evidence: &[Evidence], require_quote: bool) -> Option<Grounded> {
        let mut found: Vec<usize> = evidence.iter().filter_map(|one| self.find(one, require_quote)).collect();
        found.sort_unstable();
        found.dedup();
        if let Some(newest) = found.last().and_then(|at| self.users.get(*at)) {
            let ids = found.iter().filter_map(|at| self.users.get(*at)).map(|user| user.message.event_id.clone());
            return Some(Grounded { event_ids: ids.collect(), newest: newest.seq });
        }
        if require_quote || evidence.iter().any(|one| one.quote.is_some()) {
            return None;
        }
        let newest = self.users.last()?.seq;
        Some(Grounded { event_ids: last_event_ids(self.request), newest })
    }

    fn find(&self, evidence: &Evidence, require_quote: bool) -> Option<usize> {
        let named =
            evidence.event_id.as_deref().and_then(|id| self.users.iter().rposition(|user| user.message.event_id == id));
        let Some(quote) = &evidence.quote else { return named.filter(|_| !require_quote) };
        let quote = Quote::new(quote)?;
        let in_named = named.filter(|at| self.users.get(*at).is_some_and(|user| user.shows(&quote)));
        in_named.or_else(|| self.users.iter().rposition(|user| user.shows(&quote)))
    }
}
