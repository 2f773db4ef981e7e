//! The per-user rules of the contract, written down as plainly as possible: the whole history of a user in a vector,
//! every question answered by looking through it. No engine, no cells, no requests that wait: an emission is answered
//! and applied in the moment of its trigger, which the contract says must come to the same.

use std::collections::BTreeMap;
use std::time::Duration;

use memoir_core::profile::{
    AuditRows, ExtractionAnswer, ExtractionCall, ExtractionRequest, ExtractionStatus, Fact, Kind, Message,
    ProfileConfig, ProposedFact, Trigger, WindowMessage, emission_id,
};
use memoir_core::text::comparable;
use memoir_core::{ConversationEvent, Timestamp};

use super::rows::{AuditRow, ExtractionRow};

pub struct Reference {
    config: ProfileConfig,
    extract: fn(&ExtractionCall) -> ExtractionAnswer,
    users: BTreeMap<String, User>,
    pub audit: Vec<AuditRow>,
    pub extractions: Vec<ExtractionRow>,
    pub duplicates: u64,
}

#[derive(Clone, Default)]
struct User {
    id: String,
    clock: Option<Timestamp>,
    /// Everything ever taken.
    history: Vec<Message>,
    seen: Vec<(String, Timestamp)>,
    /// Messages from this place on have not been in a window.
    fresh_from: usize,
    emissions: u64,
    last_emission: Option<Timestamp>,
    facts: BTreeMap<String, Fact>,
    /// The place of the message on which a key was last made, changed, confirmed or deleted.
    marks: BTreeMap<String, u64>,
}

fn minus(time: Timestamp, duration: Option<Duration>) -> Timestamp {
    duration.map_or(Timestamp::MIN, |duration| {
        Timestamp::from_micros(time.as_micros() - i64::try_from(duration.as_micros()).unwrap())
    })
}

fn fold(text: &str, max: usize) -> String {
    let folded = text.split_whitespace().collect::<Vec<_>>().join(" ");
    folded.chars().take(max).collect::<String>().trim_end().to_owned()
}

fn snake_case(key: &str) -> Option<String> {
    if key.trim().starts_with("__") {
        return None;
    }
    let key: String = key.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let key = key.split('_').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_");
    let key: String = key.chars().take(64).collect();
    (!key.is_empty()).then_some(key)
}

impl User {
    /// The places of the messages in the buffer.
    fn buffer(&self, config: &ProfileConfig, clock: Timestamp) -> Vec<usize> {
        let from = self.history.len().saturating_sub(usize::from(config.message_buffer_size));
        (from..self.history.len()).filter(|at| self.history[*at].at >= minus(clock, config.buffer_ttl)).collect()
    }

    /// The places of the user messages that no emission has counted.
    fn pending(&self, config: &ProfileConfig, clock: Timestamp) -> Vec<usize> {
        (self.fresh_from..self.history.len())
            .filter(|at| self.history[*at].role == "user" && self.history[*at].at >= minus(clock, config.buffer_ttl))
            .collect()
    }

    /// The last conversations, by latest event.
    fn open_conversations(&self) -> Vec<&str> {
        let mut open: Vec<&str> = Vec::new();
        for message in self.history.iter().rev() {
            if open.len() < 8 && !open.contains(&message.conversation_id.as_str()) {
                open.push(&message.conversation_id);
            }
        }
        open
    }

    /// When the timer of the oldest pending message fires, if it does so until `now`.
    fn due(&self, config: &ProfileConfig, now: Timestamp) -> Option<Timestamp> {
        let ttl = config.timer_ttl?;
        // A message that its TTL took away before its time was up fires nothing.
        let dues = (self.fresh_from..self.history.len())
            .filter(|at| self.history[*at].role == "user")
            .map(|at| (at, self.history[at].at.plus(ttl)));
        dues.filter(|(at, due)| *due <= now && self.pending(config, *due).contains(at)).map(|(_, due)| due).min()
    }
}

impl Reference {
    pub fn new(config: &ProfileConfig, extract: fn(&ExtractionCall) -> ExtractionAnswer) -> Self {
        let (audit, extractions) = (Vec::new(), Vec::new());
        Self { config: config.clone(), extract, users: BTreeMap::new(), audit, extractions, duplicates: 0 }
    }

    /// The audit of a whole stream in event time.
    pub fn of_stream(
        config: &ProfileConfig,
        extract: fn(&ExtractionCall) -> ExtractionAnswer,
        events: &[ConversationEvent],
        drain: bool,
    ) -> Self {
        let mut reference = Self::new(config, extract);
        for event in events {
            reference.event(event, event.ts);
        }
        if drain {
            reference.drain(None);
        }
        reference.sorted()
    }

    pub fn sorted(mut self) -> Self {
        AuditRow::sort(&mut self.audit);
        self.extractions.sort();
        self
    }

    /// An event, at its own time or at the wall clock's.
    pub fn event(&mut self, event: &ConversationEvent, now: Timestamp) {
        let mut user = self.take_user(&event.user_id);
        let now = user.clock.map_or(now, |clock| clock.max(now));
        let window = usize::from(self.config.dedup_window).min(user.seen.len());
        let last = &user.seen[user.seen.len() - window..];
        if last.iter().any(|(id, at)| *id == event.event_id && *at >= minus(now, self.config.dedup_ttl)) {
            self.duplicates += 1;
            self.users.insert(user.id.clone(), user);
            return;
        }
        user.seen.push((event.event_id.clone(), now));

        self.fire(&mut user, now);
        user.clock = Some(now);
        if self.config.emit_on_conversation_end
            && !user.open_conversations().contains(&event.conversation_id.as_str())
            && !user.pending(&self.config, now).is_empty()
        {
            self.emit(&mut user, Trigger::ConversationEnd, now);
        }
        user.history.push(Message {
            event_id: event.event_id.clone(),
            conversation_id: event.conversation_id.clone(),
            role: event.role.clone(),
            content: fold(&event.content, self.config.max_content_chars),
            ts: event.ts,
            at: now,
        });
        let buffer = user.buffer(&self.config, now);
        let pending = user.pending(&self.config, now);
        if self.config.emit_before_overflow
            && buffer.len() == usize::from(self.config.message_buffer_size)
            && pending.contains(&buffer[0])
        {
            self.emit(&mut user, Trigger::Overflow, now);
        }
        if user.pending(&self.config, now).len() >= self.config.emission_threshold as usize {
            self.emit(&mut user, Trigger::Threshold, now);
        }
        self.users.insert(user.id.clone(), user);
    }

    /// The wall clock is at `now`: what is due fires.
    pub fn time(&mut self, now: Timestamp) {
        for id in self.users.keys().cloned().collect::<Vec<_>>() {
            let mut user = self.take_user(&id);
            self.fire(&mut user, now);
            self.users.insert(id, user);
        }
    }

    /// The end of an available-now run.
    pub fn drain(&mut self, now: Option<Timestamp>) {
        for id in self.users.keys().cloned().collect::<Vec<_>>() {
            let mut user = self.take_user(&id);
            let clock = user.clock.max(now).expect("a user has a clock");
            self.fire(&mut user, clock);
            if !user.pending(&self.config, clock).is_empty() {
                user.clock = Some(clock);
                self.emit(&mut user, Trigger::Drain, clock);
            }
            self.users.insert(id, user);
        }
    }

    fn take_user(&mut self, id: &str) -> User {
        self.users.remove(id).unwrap_or_else(|| User { id: id.to_owned(), ..User::default() })
    }

    fn fire(&mut self, user: &mut User, now: Timestamp) {
        while let Some(due) = user.due(&self.config, now) {
            user.clock = user.clock.max(Some(due));
            self.emit(user, Trigger::Timer, due);
        }
    }

    fn emit(&mut self, user: &mut User, trigger: Trigger, stamp: Timestamp) {
        let emission_ts = match user.last_emission {
            Some(last) if last >= stamp => last.next(),
            _ => stamp,
        };
        user.emissions += 1;
        user.last_emission = Some(emission_ts);
        let window = user.buffer(&self.config, stamp);
        let window = window.into_iter().map(|at| WindowMessage { seq: at as u64, message: user.history[at].clone() });
        let request = ExtractionRequest {
            number: user.emissions,
            trigger,
            emission_ts,
            fresh_from: user.fresh_from as u64,
            window: window.collect(),
        };
        user.fresh_from = user.history.len();
        let call = ExtractionCall {
            emission_id: emission_id(&self.config.query_name, &user.id, user.emissions),
            facts: user.facts.clone().into_iter().collect(),
            request,
        };
        let answer = (self.extract)(&call);
        self.apply(user, &call, &answer);
    }

    fn apply(&mut self, user: &mut User, call: &ExtractionCall, answer: &ExtractionAnswer) {
        let request = &call.request;
        let last_ten: Vec<String> =
            request.window.iter().rev().take(10).rev().map(|window| window.message.event_id.clone()).collect();

        // Which proposals count, before any is applied.
        let mut given: BTreeMap<String, (ProposedFact, Kind, Vec<String>, u64)> = BTreeMap::new();
        let mut deleted: BTreeMap<String, (ProposedFact, Vec<String>, u64)> = BTreeMap::new();
        for fact in &answer.facts {
            let Some(key) = snake_case(&fact.key) else { continue };
            let is_deletion = match fact.action.trim().to_lowercase().as_str() {
                "new" | "updated" | "unchanged" => false,
                "deleted" => true,
                _ => continue,
            };
            let kind = fact.kind.parse::<Kind>();
            if !is_deletion
                && (kind.is_err()
                    || fold(&fact.value, 100).is_empty()
                    || fact.confidence.clamp(0.0, 1.0) < self.config.confidence_threshold)
            {
                continue;
            }
            let Some((sources, newest)) = self.ground(request, fact, &last_ten) else { continue };
            if user.marks.get(&key).is_some_and(|mark| newest <= *mark) {
                continue;
            }
            if !is_deletion
                && user.facts.values().any(|known| {
                    Ok(known.kind) == kind
                        && comparable(&known.value) == comparable(&fold(&fact.value, 100))
                        && newest <= known.mark
                })
            {
                continue;
            }
            let is_known = given.contains_key(&key) || deleted.contains_key(&key);
            if !is_known && given.len() + deleted.len() == self.config.max_facts_per_emission {
                continue;
            }
            if is_deletion {
                if given.contains_key(&key) {
                    continue;
                }
                deleted.insert(key, (fact.clone(), sources, newest));
            } else if let Ok(kind) = kind {
                deleted.remove(&key);
                given.insert(key, (fact.clone(), kind, sources, newest));
            }
        }
        let accepted = given.len() + deleted.len();

        // Key, action, previous value, the fact, sources and reason.
        let mut rows: Vec<(String, &str, Option<String>, Fact)> = Vec::new();
        for (key, (proposed, sources, newest)) in deleted {
            user.marks.insert(key.clone(), newest);
            if let Some(fact) = user.facts.remove(&key) {
                let fact = Fact { source_event_ids: sources, reason: proposed.reason, ..fact };
                rows.push((key, "deleted", None, fact));
            }
        }
        let mut changed: BTreeMap<String, (&str, Option<String>)> = BTreeMap::new();
        for (key, (proposed, kind, source_event_ids, newest)) in given {
            user.marks.insert(key.clone(), newest);
            let proposed = Fact {
                kind,
                value: fold(&proposed.value, 100),
                confidence: proposed.confidence.clamp(0.0, 1.0),
                since: request.emission_ts,
                confirmed: request.emission_ts,
                source_event_ids,
                reason: proposed.reason,
                mark: newest,
            };
            let stored = match user.facts.get(&key) {
                None => {
                    changed.insert(key.clone(), ("new", None));
                    proposed
                }
                Some(known) if known.kind != kind || comparable(&known.value) != comparable(&proposed.value) => {
                    changed.insert(key.clone(), ("updated", Some(known.value.clone())));
                    proposed
                }
                // A fact confirmed keeps its words and since; a newer confidence is no change where changes are asked.
                Some(known) if self.config.audit_rows == AuditRows::Changes => {
                    Fact { confirmed: request.emission_ts, mark: newest, ..known.clone() }
                }
                Some(known) => Fact { value: known.value.clone(), since: known.since, ..proposed },
            };
            user.facts.insert(key, stored);
        }
        let oldest = minus(request.emission_ts, self.config.facts_ttl);
        for (key, fact) in user.facts.clone() {
            if fact.confirmed < oldest {
                user.facts.remove(&key);
                rows.push((key, "deleted", None, Fact { reason: "expired".to_owned(), ..fact }));
            }
        }
        for (key, fact) in &user.facts {
            match changed.remove(key) {
                Some((action, previous)) => rows.push((key.clone(), action, previous, fact.clone())),
                None if self.config.audit_rows == AuditRows::Snapshot => {
                    rows.push((key.clone(), "unchanged", None, fact.clone()));
                }
                None => {}
            }
        }
        let status = match answer.status {
            ExtractionStatus::Ok => None,
            ExtractionStatus::Repaired => Some("llm_primary_failed_repair_succeeded"),
            ExtractionStatus::Unavailable => Some("llm_unavailable_heuristic_fallback"),
            ExtractionStatus::Failed => Some("llm_failed_heuristic_fallback"),
        };
        if let Some(value) = status {
            let fact = Fact {
                kind: Kind::Constraint,
                value: value.to_owned(),
                confidence: 1.0,
                since: request.emission_ts,
                confirmed: request.emission_ts,
                source_event_ids: last_ten,
                reason: answer.error.clone().unwrap_or_default(),
                mark: 0,
            };
            rows.push(("__llm_status__".to_owned(), "deleted", None, fact));
        }
        for (key, action, previous_value, fact) in rows {
            self.audit.push(AuditRow {
                user_id: user.id.clone(),
                emission_id: call.emission_id.clone(),
                emission_ts: request.emission_ts,
                key,
                kind: fact.kind.as_str().to_owned(),
                value: fact.value,
                confidence: fact.confidence,
                action: action.to_owned(),
                previous_value,
                source_event_ids: fact.source_event_ids,
                reason: Some(fact.reason).filter(|reason| !reason.is_empty()),
                trigger: request.trigger.as_str().to_owned(),
                extractor: answer.extractor.as_str().to_owned(),
                model: answer.model.clone(),
            });
        }
        self.extractions.push(ExtractionRow {
            user_id: user.id.clone(),
            emission_id: call.emission_id.clone(),
            trigger: request.trigger.as_str().to_owned(),
            extractor: answer.extractor.as_str().to_owned(),
            model: answer.model.clone(),
            status: answer.status.as_str().to_owned(),
            attempts: answer.attempts,
            facts_proposed: answer.facts.len() as i32,
            facts_accepted: accepted as i32,
            error: answer.error.clone(),
        });
    }

    /// The events that a proposal rests on, and the place of the newest; `None` where it rests on nothing.
    fn ground(
        &self,
        request: &ExtractionRequest,
        fact: &ProposedFact,
        last_ten: &[String],
    ) -> Option<(Vec<String>, u64)> {
        let users: Vec<_> = request.window.iter().filter(|window| window.message.role == "user").collect();
        let mut found: Vec<&WindowMessage> = Vec::new();
        for evidence in &fact.evidence {
            let named = users.iter().rfind(|window| Some(&window.message.event_id) == evidence.event_id.as_ref());
            let holds = |window: &WindowMessage| {
                let quote = evidence.quote.as_deref().unwrap_or_default();
                comparable(&window.message.content).contains(&comparable(quote))
            };
            found.extend(match &evidence.quote {
                None => named.filter(|_| !self.config.require_evidence),
                Some(_) => named.filter(|window| holds(window)).or_else(|| users.iter().rfind(|window| holds(window))),
            });
        }
        found.sort_by_key(|window| window.seq);
        found.dedup_by_key(|window| window.seq);
        if let Some(newest) = found.last() {
            return Some((found.iter().map(|window| window.message.event_id.clone()).collect(), newest.seq));
        }
        if self.config.require_evidence || fact.evidence.iter().any(|evidence| evidence.quote.is_some()) {
            return None;
        }
        users.last().map(|newest| (last_ten.to_vec(), newest.seq))
    }
}
