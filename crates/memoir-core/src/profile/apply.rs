//! What an answer does: each proposed fact is checked and grounded, compared with the facts as they are now, and the
//! emission's rows are written.

use std::collections::BTreeMap;

use super::config::{AuditRows, MAX_VALUE_CHARS, ProfileConfig};
use super::extraction::{ExtractionAnswer, ExtractionCall, ExtractionRequest, ProposedFact};
use super::fact::{Action, Fact, Kind};
use super::grounding::{Grounded, Window};
use super::held;
use super::intake;
use super::refusal::{Refusal, Refusals};
use super::rows::{AuditRow, EXTRACTIONS, EmissionRows, PROFILE_AUDIT, STATUS_KEY, emission_id, last_event_ids};
use super::state::UserState;
use crate::cell::CellError;
use crate::event::ConversationEvent;
use crate::processor::{Aligned, Handled, HeldRequest, Processor};
use crate::table::{RowBuffer, RowError, TableSchema};
use crate::text::{fold_and_clip, normalize_key};
use crate::time::Timestamp;

/// The profile memory as a [`Processor`].
#[derive(Debug, Default)]
pub struct ProfileProcessor {
    config: ProfileConfig,
    refusals: Refusals,
}

impl ProfileProcessor {
    #[must_use]
    pub fn new(config: ProfileConfig) -> Self {
        Self { config, refusals: Refusals::default() }
    }

    #[must_use]
    pub fn config(&self) -> &ProfileConfig {
        &self.config
    }

    /// How many proposed facts were refused so far, by reason.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }
}

impl Processor for ProfileProcessor {
    type Event = ConversationEvent;
    type State = UserState;
    type Request = ExtractionRequest;
    type Call = ExtractionCall;
    type Answer = ExtractionAnswer;

    fn tables(&self) -> &'static [&'static TableSchema] {
        static TABLES: [&TableSchema; 2] = [&PROFILE_AUDIT, &EXTRACTIONS];
        &TABLES
    }

    fn on_event(
        &self,
        _key: &str,
        state: &mut UserState,
        event: ConversationEvent,
        now: Timestamp,
        requests: &mut Vec<ExtractionRequest>,
    ) -> Result<Handled, CellError> {
        intake::take(&self.config, state, event, now, requests)
    }

    fn on_time(
        &self,
        _key: &str,
        state: &mut UserState,
        now: Timestamp,
        requests: &mut Vec<ExtractionRequest>,
    ) -> Result<(), CellError> {
        intake::fire_due(&self.config, state, now, requests)
    }

    fn on_drain(
        &self,
        _key: &str,
        state: &mut UserState,
        now: Option<Timestamp>,
        requests: &mut Vec<ExtractionRequest>,
    ) -> Result<(), CellError> {
        intake::drain(&self.config, state, now, requests)
    }

    fn timer(&self, state: &UserState) -> Option<Timestamp> {
        intake::timer(&self.config, state)
    }

    fn call(&self, key: &str, state: &UserState, request: ExtractionRequest) -> Result<ExtractionCall, CellError> {
        let facts = state.facts.iter().map(|entry| entry.map(|(key, fact)| (key.to_owned(), fact)));
        Ok(ExtractionCall {
            emission_id: emission_id(&self.config.query_name, key, request.number),
            facts: facts.collect::<Result<_, _>>()?,
            request,
        })
    }

    fn on_answer(
        &self,
        key: &str,
        state: &mut UserState,
        call: ExtractionCall,
        answer: ExtractionAnswer,
        rows: &mut [RowBuffer],
    ) -> Result<(), CellError> {
        let ExtractionCall { request, emission_id, facts: _ } = call;
        let changes = self.apply(state, &request, &answer)?;
        let [audit, extractions, ..] = rows else { return Ok(()) };
        let emission = EmissionRows {
            user_id: key,
            emission_id: &emission_id,
            emission_ts: request.emission_ts,
            trigger: request.trigger,
            answer: &answer,
        };
        emission.extraction(extractions, changes.accepted);
        self.write_audit(state, &request, &changes, &emission, audit)
    }

    fn last_number(&self, state: &UserState) -> u64 {
        state.header.emissions
    }

    fn row_order(&self) -> &'static [&'static str] {
        &["user_id", "emission_id"]
    }

    fn request_of(&self, table: usize, row: &[u8]) -> Result<Option<(String, u64)>, RowError> {
        held::request_of(&self.config.query_name, table, row)
    }

    fn on_held(
        &self,
        key: &str,
        state: &mut UserState,
        request: &ExtractionRequest,
        held: &HeldRequest,
        rows: &mut [RowBuffer],
    ) -> Result<(), CellError> {
        held::apply(&self.config.query_name, key, state, request, held, rows)
    }

    fn on_held_ahead(
        &self,
        key: &str,
        state: &mut UserState,
        requests: Vec<ExtractionRequest>,
        held: &[HeldRequest],
        rows: &mut [RowBuffer],
    ) -> Result<Aligned<ExtractionRequest>, CellError> {
        held::align(&self.config.query_name, key, state, requests, held, rows)
    }
}

/// What an answer changed.
#[derive(Default)]
struct Changes {
    /// By key.
    deleted: BTreeMap<String, Deleted>,
    /// `new` and `updated` facts by key, with the value that was before.
    changed: BTreeMap<String, (Action, Option<String>)>,
    /// Facts of the answer that passed all checks.
    accepted: usize,
}

struct Deleted {
    fact: Fact,
    sources: Vec<String>,
    reason: String,
}

/// A proposed fact that passed its checks.
struct Accepted {
    /// Kind, value and confidence; `None` for a deletion.
    given: Option<(Kind, String, f64)>,
    grounded: Grounded,
    reason: String,
}

/// The reason of a fact that its TTL ended.
pub(super) const EXPIRED: &str = "expired";

impl ProfileProcessor {
    fn apply(
        &self,
        state: &mut UserState,
        request: &ExtractionRequest,
        answer: &ExtractionAnswer,
    ) -> Result<Changes, CellError> {
        let mut changes = Changes::default();
        let accepted = self.check(state, request, &answer.facts)?;
        for (key, accepted) in accepted {
            changes.accepted += 1;
            match accepted.given {
                Some((kind, value, confidence)) => {
                    let proposed = Fact {
                        kind,
                        value,
                        confidence,
                        since: request.emission_ts,
                        confirmed: request.emission_ts,
                        source_event_ids: accepted.grounded.event_ids,
                        reason: accepted.reason,
                        mark: accepted.grounded.newest,
                    };
                    self.give(state, key, proposed, &mut changes)?;
                }
                None => {
                    // Also of an unknown key: the words that were taken back may still be in the next windows.
                    state.forgotten.insert(&key, &accepted.grounded.newest);
                    let Some(fact) = state.facts.get(&key)? else { continue };
                    state.facts.remove(&key);
                    let sources = accepted.grounded.event_ids;
                    changes.deleted.insert(key, Deleted { fact, sources, reason: accepted.reason });
                }
            }
        }
        self.expire(state, request, &mut changes)?;
        prune_marks(state, request)?;
        Ok(changes)
    }

    /// The facts of an answer that count, by key: of equal keys the last, and a given one over a deletion. The bound is on
    /// keys, so that it can't part a correction from the deletion that it takes the place of.
    fn check(
        &self,
        state: &UserState,
        request: &ExtractionRequest,
        proposed: &[ProposedFact],
    ) -> Result<BTreeMap<String, Accepted>, CellError> {
        let window = Window::new(request);
        let mut by_key: BTreeMap<String, Accepted> = BTreeMap::new();
        for fact in proposed {
            let (key, accepted) = match self.check_one(state, request, &window, fact)? {
                Ok(checked) => checked,
                Err(refusal) => {
                    self.refusals.count(refusal);
                    continue;
                }
            };
            match by_key.get(&key) {
                Some(earlier) if earlier.given.is_some() && accepted.given.is_none() => continue,
                None if by_key.len() >= self.config.max_facts_per_emission => {
                    self.refusals.count(Refusal::TooMany);
                    continue;
                }
                _ => {}
            }
            by_key.insert(key, accepted);
        }
        Ok(by_key)
    }

    fn check_one(
        &self,
        state: &UserState,
        request: &ExtractionRequest,
        window: &Window<'_>,
        proposed: &ProposedFact,
    ) -> Result<Result<(String, Accepted), Refusal>, CellError> {
        let Some(key) = normalize_key(&proposed.key) else { return Ok(Err(Refusal::Key)) };
        let Ok(action) = proposed.action.parse::<Action>() else { return Ok(Err(Refusal::Action)) };
        let given = if action == Action::Deleted {
            None
        } else {
            match self.check_given(proposed) {
                Ok(given) => Some(given),
                Err(refusal) => return Ok(Err(refusal)),
            }
        };
        let Some(grounded) = window.ground(&proposed.evidence, self.config.require_evidence) else {
            return Ok(Err(Refusal::NoEvidence));
        };
        let mark = match state.facts.get(&key)? {
            Some(fact) => Some(held::mark(state, request, &fact)),
            None => state.forgotten.get(&key)?,
        };
        if mark.is_some_and(|mark| grounded.newest <= mark) {
            return Ok(Err(Refusal::OldWords));
        }
        if let Some((kind, value, _)) = &given {
            for entry in state.facts.iter() {
                let (_, known) = entry?;
                if held::mark(state, request, &known) >= grounded.newest && known.says(*kind, value) {
                    return Ok(Err(Refusal::Repeated));
                }
            }
        }
        let reason = fold_and_clip(&proposed.reason, MAX_REASON_CHARS);
        Ok(Ok((key, Accepted { given, grounded, reason })))
    }

    fn check_given(&self, proposed: &ProposedFact) -> Result<(Kind, String, f64), Refusal> {
        let kind = proposed.kind.parse::<Kind>().map_err(|_| Refusal::Kind)?;
        let value = fold_and_clip(&proposed.value, MAX_VALUE_CHARS);
        if value.is_empty() {
            return Err(Refusal::Value);
        }
        // NaN is no confidence at all.
        let confidence = if proposed.confidence.is_nan() { 0.0 } else { proposed.confidence.clamp(0.0, 1.0) };
        if confidence < self.config.confidence_threshold {
            return Err(Refusal::Confidence);
        }
        Ok((kind, value, confidence))
    }

    /// Makes, changes or confirms a fact.
    fn give(&self, state: &mut UserState, key: String, proposed: Fact, changes: &mut Changes) -> Result<(), CellError> {
        match state.facts.get(&key)? {
            Some(known) if known.says(proposed.kind, &proposed.value) => {
                let mut confirmed = Fact { confirmed: proposed.confirmed, mark: proposed.mark, ..known };
                if self.config.audit_rows == AuditRows::Snapshot {
                    confirmed.confidence = proposed.confidence;
                    confirmed.source_event_ids = proposed.source_event_ids;
                    confirmed.reason = proposed.reason;
                }
                state.facts.insert(&key, &confirmed);
            }
            Some(known) => {
                state.facts.insert(&key, &proposed);
                changes.changed.insert(key, (Action::Updated, Some(known.value)));
            }
            None => {
                state.facts.insert(&key, &proposed);
                state.forgotten.remove(&key);
                changes.changed.insert(key, (Action::New, None));
            }
        }
        Ok(())
    }

    /// Deletes the facts that nothing confirmed for longer than their TTL.
    fn expire(
        &self,
        state: &mut UserState,
        request: &ExtractionRequest,
        changes: &mut Changes,
    ) -> Result<(), CellError> {
        let Some(ttl) = self.config.facts_ttl else { return Ok(()) };
        let mut expired = Vec::new();
        for entry in state.facts.iter() {
            let (key, fact) = entry?;
            if fact.confirmed.plus(ttl) < request.emission_ts {
                expired.push((key.to_owned(), fact));
            }
        }
        for (key, fact) in expired {
            state.facts.remove(&key);
            let mark = held::mark(state, request, &fact);
            state.forgotten.insert(&key, &mark);
            let sources = fact.source_event_ids.clone();
            changes.deleted.insert(key, Deleted { fact, sources, reason: EXPIRED.to_owned() });
        }
        Ok(())
    }

    /// Deletions, at most one status row, the facts: in this order.
    fn write_audit(
        &self,
        state: &UserState,
        request: &ExtractionRequest,
        changes: &Changes,
        emission: &EmissionRows<'_>,
        rows: &mut RowBuffer,
    ) -> Result<(), CellError> {
        for (key, deleted) in &changes.deleted {
            let row = AuditRow {
                key,
                kind: deleted.fact.kind,
                value: &deleted.fact.value,
                confidence: deleted.fact.confidence,
                action: Action::Deleted,
                previous_value: None,
                source_event_ids: deleted.sources.iter(),
                reason: Some(deleted.reason.as_str()).filter(|reason| !reason.is_empty()),
            };
            emission.audit(rows, row);
        }
        if let Some(value) = emission.answer.status.audit_value() {
            let row = AuditRow {
                key: STATUS_KEY,
                kind: Kind::Constraint,
                value,
                confidence: 1.0,
                action: Action::Deleted,
                previous_value: None,
                source_event_ids: last_event_ids(request).into_iter(),
                reason: emission.answer.error.as_deref(),
            };
            emission.audit(rows, row);
        }
        match self.config.audit_rows {
            AuditRows::Snapshot => {
                for entry in state.facts.iter() {
                    let (key, fact) = entry?;
                    let (action, previous) = match changes.changed.get(key) {
                        Some((action, previous)) => (*action, previous.as_deref()),
                        None => (Action::Unchanged, None),
                    };
                    emission.fact(rows, key, &fact, action, previous);
                }
            }
            AuditRows::Changes => {
                for (key, (action, previous)) in &changes.changed {
                    if let Some(fact) = state.facts.get(key)? {
                        emission.fact(rows, key, &fact, *action, previous.as_deref());
                    }
                }
            }
        }
        Ok(())
    }
}

/// The longest reason that is kept, in characters.
const MAX_REASON_CHARS: usize = 500;

/// Forgets the marks of deleted keys that no later window can hold older words of: windows only move on.
pub(super) fn prune_marks(state: &mut UserState, request: &ExtractionRequest) -> Result<(), CellError> {
    if state.forgotten.is_empty() {
        return Ok(());
    }
    let oldest = request.window.first().map_or(u64::MAX, |window| window.seq);
    let mut stale = Vec::new();
    for key in state.forgotten.keys() {
        if state.forgotten.get(key)?.is_some_and(|mark| mark < oldest) {
            stale.push(key.to_owned());
        }
    }
    for key in stale {
        state.forgotten.remove(&key);
    }
    Ok(())
}
