//! What tables hold of emissions that a user's state does not know of: applied as it stands, in place of an answer.
//!
//! The table wins: facts become what the audit rows say, and nothing of it is appended again. Which held emission answers
//! which request is told by number and time; see `docs/design/reconcile.md`.

use std::collections::BTreeSet;
use std::str::FromStr;

use super::apply::{EXPIRED, prune_marks};
use super::extraction::{ExtractionAnswer, ExtractionRequest, ExtractionStatus, ExtractorKind, ProposedFact, Trigger};
use super::fact::{Action, Fact, Kind, UNREAD};
use super::rows::{EmissionRows, STATUS_KEY, emission_id};
use super::state::UserState;
use crate::cell::CellError;
use crate::processor::{Aligned, HeldRequest};
use crate::table::{ColumnType, RowBuffer, RowError, RowReader};
use crate::time::Timestamp;

/// The user and number of the emission that a row of the `table`th table came of, if it is one of this query.
pub(super) fn request_of(query: &str, table: usize, row: &[u8]) -> Result<Option<(String, u64)>, RowError> {
    let mut reader = RowReader::new(row);
    let first = reader.text()?;
    let second = reader.text()?;
    let (user, id) = if table == 0 { (first, second) } else { (second, first) };
    let Some((user, id)) = user.zip(id) else { return Ok(None) };
    let number = id.rsplit_once('-').and_then(|(_, number)| number.parse().ok());
    Ok(number.filter(|number| emission_id(query, user, *number) == id).map(|number| (user.to_owned(), number)))
}

/// One audit row, as the table holds it.
struct AuditRow<'a> {
    emission_ts: Timestamp,
    key: &'a str,
    kind: Kind,
    value: &'a str,
    confidence: f64,
    action: Action,
    source_event_ids: Vec<String>,
    reason: &'a str,
    trigger: Trigger,
    extractor: ExtractorKind,
    model: Option<&'a str>,
}

impl<'a> AuditRow<'a> {
    fn read(row: &mut RowReader<'a>) -> Result<Self, RowError> {
        row.skip(ColumnType::Text)?;
        row.skip(ColumnType::Text)?;
        let emission_ts = row.timestamp()?.ok_or(missing(row))?;
        let key = row.text()?.ok_or(missing(row))?;
        let kind = word(row)?;
        let value = row.text()?.unwrap_or_default();
        let confidence = row.double()?.unwrap_or_default();
        let action = word(row)?;
        row.skip(ColumnType::Text)?;
        let sources = row.texts()?.unwrap_or_default();
        let reason = row.text()?.unwrap_or_default();
        let (trigger, extractor, model) = (word(row)?, word(row)?, row.text()?);
        let source_event_ids = sources.into_iter().map(str::to_owned).collect();
        Ok(Self {
            emission_ts,
            key,
            kind,
            value,
            confidence,
            action,
            source_event_ids,
            reason,
            trigger,
            extractor,
            model,
        })
    }

    fn is_status(&self) -> bool {
        self.key == STATUS_KEY
    }
}

fn word<T: FromStr>(row: &mut RowReader<'_>) -> Result<T, RowError> {
    let known = row.text()?.and_then(|word| word.parse().ok());
    known.ok_or(RowError { at: row.at(), reason: "a word that this program does not know" })
}

fn missing(row: &RowReader<'_>) -> RowError {
    RowError { at: row.at(), reason: "a value is missing" }
}

/// The audit rows of a held emission.
fn audit(held: &HeldRequest) -> Result<Vec<AuditRow<'_>>, RowError> {
    let mut rows = Vec::new();
    if let Some(buffer) = held.tables.first().and_then(Option::as_ref) {
        let mut reader = RowReader::new(&buffer.bytes);
        while !reader.is_at_end() {
            rows.push(AuditRow::read(&mut reader)?);
        }
    }
    Ok(rows)
}

/// Whether a held emission answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    Wholly,
    /// It was triggered before all of the request's messages were written.
    Partly,
    /// It can't be told: what a drain took depends on where the source ended.
    Perhaps,
}

/// Whether a held emission answers a request: where it is stamped at or behind the newest fresh message. Only audit rows
/// tell a stamp; without one, an emission in its order answers a request that was triggered in the same way.
fn answers(held: &HeldRequest, stamp: Option<Timestamp>, request: &ExtractionRequest) -> Result<Answers, RowError> {
    let newest = request.newest_fresh();
    if stamp.is_some() {
        return Ok(if stamp >= newest { Answers::Wholly } else { Answers::Partly });
    }
    let Some(extraction) = held.tables.get(1).and_then(Option::as_ref) else { return Ok(Answers::Partly) };
    let mut row = RowReader::new(&extraction.bytes);
    row.skip(ColumnType::Text)?;
    row.skip(ColumnType::Text)?;
    let answered_at = row.timestamp()?;
    let trigger: Trigger = word(&mut row)?;
    Ok(match trigger {
        _ if trigger != request.trigger || answered_at < newest => Answers::Partly,
        Trigger::Drain => Answers::Perhaps,
        _ => Answers::Wholly,
    })
}

/// Brings requests that were just triggered together with what is held: see [`crate::processor::Processor::on_held_ahead`].
pub(super) fn align(
    query: &str,
    key: &str,
    state: &mut UserState,
    requests: Vec<ExtractionRequest>,
    held: &[HeldRequest],
    rows: &mut [RowBuffer],
) -> Result<Aligned<ExtractionRequest>, CellError> {
    let mut aligned = Aligned { ask: Vec::new(), through: 0, again: Vec::new() };
    let mut number = requests.first().map_or(0, |request| request.number);
    let mut held = held.iter().peekable();
    // The latest stamp that was used up in this step.
    let mut latest = None;
    for mut request in requests {
        let mut is_answered = false;
        while held.next_if(|held| held.number < number).is_some() {}
        while !is_answered && let Some(next) = held.next_if(|held| held.number == number) {
            let stamp = audit(next)?.first().map(|row| row.emission_ts);
            let answers = answers(next, stamp, &request)?;
            // Behind a drain that others follow, the source had more to give.
            if answers == Answers::Perhaps && held.peek().is_none() {
                aligned.again.push(number);
                break;
            }
            apply(query, key, state, &request, next, rows)?;
            is_answered = answers == Answers::Wholly;
            latest = latest.max(stamp);
            aligned.through = number;
            number += 1;
        }
        if is_answered {
            continue;
        }
        request.number = number;
        number += 1;
        if let Some(latest) = latest
            && request.emission_ts <= latest
        {
            request.emission_ts = latest.next();
        }
        latest = latest.map(|_| request.emission_ts);
        let header = state.header.edit();
        header.emissions = header.emissions.max(request.number);
        header.last_emission = header.last_emission.max(Some(request.emission_ts));
        aligned.ask.push(request);
    }
    Ok(aligned)
}

impl ExtractionRequest {
    /// When the newest message that no earlier window held was written by the user.
    fn newest_fresh(&self) -> Option<Timestamp> {
        let fresh = self.window.iter().filter(|window| window.seq >= self.fresh_from && window.message.is_users());
        fresh.map(|window| window.message.ts).max()
    }

    /// The place of the newest message of the window among these. Where none of them is the user's, they stand for the
    /// window as a whole.
    fn place_of(&self, event_ids: &[String]) -> Option<u64> {
        let ids: BTreeSet<&str> = event_ids.iter().map(String::as_str).collect();
        let mut named = self.window.iter().rev().filter(|window| ids.contains(window.message.event_id.as_str()));
        let first = named.next()?;
        let mut users = std::iter::once(first).chain(named).filter(|window| window.message.is_users());
        let users = users.next().or_else(|| self.window.iter().rfind(|window| window.message.is_users()));
        Some(users.unwrap_or(first).seq)
    }
}

/// The place of the newest message that a fact rests on, as far as that is known now.
///
/// A message that is still to be read again counts as newer than all that were written until the fact was confirmed.
pub(super) fn mark(state: &UserState, request: &ExtractionRequest, fact: &Fact) -> u64 {
    if fact.mark != UNREAD {
        return fact.mark;
    }
    let place = place(state, request, &fact.source_event_ids);
    if place != UNREAD {
        return place;
    }
    let later = request.window.iter().find(|window| window.message.ts > fact.confirmed);
    later.map_or(UNREAD, |window| window.seq.saturating_sub(1))
}

/// The place of the newest of these messages: in the window, before it, or still to be read.
fn place(state: &UserState, request: &ExtractionRequest, event_ids: &[String]) -> u64 {
    let before = request.window.first().map_or(0, |oldest| oldest.seq.saturating_sub(1));
    match event_ids.last() {
        None => before,
        Some(newest) => match request.place_of(event_ids) {
            Some(place) if request.window.iter().any(|window| window.message.event_id == *newest) => place,
            _ if state.has_seen(newest, u16::MAX, None) => request.place_of(event_ids).unwrap_or(before),
            _ => UNREAD,
        },
    }
}

/// Applies a held emission: see [`crate::processor::Processor::on_held`].
pub(super) fn apply(
    query: &str,
    key: &str,
    state: &mut UserState,
    request: &ExtractionRequest,
    held: &HeldRequest,
    rows: &mut [RowBuffer],
) -> Result<(), CellError> {
    let audit = audit(held)?;
    for row in audit.iter().filter(|row| !row.is_status()) {
        apply_row(state, request, row)?;
    }
    prune_marks(state, request)?;
    let header = state.header.edit();
    header.emissions = header.emissions.max(held.number);
    header.last_emission = header.last_emission.max(audit.first().map(|row| row.emission_ts));
    // Audit rows are appended first, so a crash may have left them without their extraction row.
    if let ([_, extractions, ..], Some(None)) = (rows, held.tables.get(1)) {
        write_extraction(query, key, held.number, &audit, extractions);
    }
    Ok(())
}

fn apply_row(state: &mut UserState, request: &ExtractionRequest, row: &AuditRow<'_>) -> Result<(), CellError> {
    let known = state.facts.get(row.key)?;
    if row.action == Action::Deleted {
        let mark = match &known {
            Some(known) if row.reason == EXPIRED => mark(state, request, known),
            _ => place(state, request, &row.source_event_ids),
        };
        // What was read so far is older in any case.
        let mark = if mark == UNREAD { request.window.last().map_or(0, |newest| newest.seq) } else { mark };
        state.forgotten.insert(row.key, &mark);
        state.facts.remove(row.key);
        return Ok(());
    }
    let mut fact = Fact {
        kind: row.kind,
        value: row.value.to_owned(),
        confidence: row.confidence,
        since: row.emission_ts,
        confirmed: row.emission_ts,
        source_event_ids: row.source_event_ids.clone(),
        reason: row.reason.to_owned(),
        mark: place(state, request, &row.source_event_ids),
    };
    if let Some(known) = &known
        && row.action == Action::Unchanged
    {
        fact.since = known.since;
        if known.source_event_ids == fact.source_event_ids {
            // Only listed: nothing confirmed it.
            fact.confirmed = known.confirmed;
            fact.mark = if known.mark == UNREAD { fact.mark } else { known.mark };
        }
    }
    state.facts.insert(row.key, &fact);
    state.forgotten.remove(row.key);
    Ok(())
}

/// The extraction row of an emission of which only the audit rows are left.
fn write_extraction(query: &str, user_id: &str, number: u64, audit: &[AuditRow<'_>], rows: &mut RowBuffer) {
    let Some(first) = audit.first() else { return };
    let status_row = audit.iter().find(|row| row.is_status());
    let statuses = ExtractionStatus::ALL.iter().copied();
    let status = status_row.and_then(|row| statuses.clone().find(|status| status.audit_value() == Some(row.value)));
    let is_change = |row: &&AuditRow<'_>| !row.is_status() && row.action != Action::Unchanged && row.reason != EXPIRED;
    let changes = audit.iter().filter(is_change).count();
    let answer = ExtractionAnswer {
        extractor: first.extractor,
        model: first.model.map(str::to_owned),
        status: status.unwrap_or(ExtractionStatus::Ok),
        facts: vec![ProposedFact::default(); changes],
        answered_at: first.emission_ts,
        attempts: 0,
        latency_ms: 0,
        prompt_tokens: None,
        completion_tokens: None,
        error: status_row.map(|row| row.reason.to_owned()).filter(|reason| !reason.is_empty()),
        prompt_version: None,
    };
    let emission = EmissionRows {
        user_id,
        emission_id: &emission_id(query, user_id, number),
        emission_ts: first.emission_ts,
        trigger: first.trigger,
        answer: &answer,
    };
    emission.extraction(rows, changes);
}
