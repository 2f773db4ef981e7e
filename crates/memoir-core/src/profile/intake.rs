//! The steps of one event: timers due, `conversation_end`, adding, `overflow`, `threshold`. Each may trigger an
//! emission, which fixes its window, number and time at once and leaves the rest to the answer.

use std::time::Duration;

use super::config::{OPEN_CONVERSATIONS, ProfileConfig};
use super::extraction::{ExtractionRequest, Message, Trigger, WindowMessage};
use super::state::UserState;
use crate::cell::CellError;
use crate::event::ConversationEvent;
use crate::processor::Handled;
use crate::text::fold_and_clip;
use crate::time::Timestamp;

type Requests = Vec<ExtractionRequest>;

/// Takes an event at `now`; see [`crate::processor::Processor::on_event`].
pub(super) fn take(
    config: &ProfileConfig,
    state: &mut UserState,
    event: ConversationEvent,
    now: Timestamp,
    requests: &mut Requests,
) -> Result<Handled, CellError> {
    let now = state.header.clock.map_or(now, |clock| clock.max(now));
    if config.dedup_window > 0 {
        let oldest = config.dedup_ttl.map(|ttl| before(now, ttl));
        if state.has_seen(&event.event_id, config.dedup_window, oldest) {
            return Ok(Handled::Duplicate);
        }
        state.remember(&event.event_id, now, config.dedup_window)?;
    }
    fire_due(config, state, now, requests)?;
    state.header.edit().clock = Some(now);
    expire_messages(config, state, now)?;
    begin_conversation(config, state, &event.conversation_id, now, requests)?;
    add(config, state, event, now);
    if config.emit_before_overflow && is_about_to_overflow(config, state)? {
        emit(state, Trigger::Overflow, now, requests)?;
    }
    if state.header.pending >= config.emission_threshold.max(1) {
        emit(state, Trigger::Threshold, now, requests)?;
    }
    Ok(Handled::Taken)
}

/// Fires the timer as often as it is due at `now`.
pub(super) fn fire_due(
    config: &ProfileConfig,
    state: &mut UserState,
    now: Timestamp,
    requests: &mut Requests,
) -> Result<(), CellError> {
    // Where the buffer has a TTL, the message that the timer waited for may be gone when it is due.
    while let Some(due) = timer(config, state).filter(|due| *due <= now && *due < Timestamp::MAX) {
        expire_messages(config, state, due)?;
        if timer(config, state) == Some(due) {
            let header = state.header.edit();
            header.clock = header.clock.max(Some(due));
            emit(state, Trigger::Timer, due, requests)?;
        }
    }
    Ok(())
}

/// Emits what is pending because the run ends.
pub(super) fn drain(
    config: &ProfileConfig,
    state: &mut UserState,
    now: Option<Timestamp>,
    requests: &mut Requests,
) -> Result<(), CellError> {
    let Some(clock) = state.header.clock.max(now) else { return Ok(()) };
    fire_due(config, state, clock, requests)?;
    expire_messages(config, state, clock)?;
    if state.header.pending > 0 {
        state.header.edit().clock = Some(clock);
        emit(state, Trigger::Drain, clock, requests)?;
    }
    Ok(())
}

/// When the oldest pending message has waited long enough.
pub(super) fn timer(config: &ProfileConfig, state: &UserState) -> Option<Timestamp> {
    let header = &state.header;
    if header.pending == 0 {
        return None;
    }
    Some(match (config.timer_ttl, header.pending_since) {
        (Some(ttl), Some(since)) => since.plus(ttl),
        _ => Timestamp::MAX,
    })
}

/// Ends what is pending where a conversation begins that is none of the last ones, and makes this one the latest.
fn begin_conversation(
    config: &ProfileConfig,
    state: &mut UserState,
    conversation_id: &str,
    now: Timestamp,
    requests: &mut Requests,
) -> Result<(), CellError> {
    let known = state.conversations.iter().position(|id| id == conversation_id);
    match known {
        Some(0) => {}
        Some(at) => {
            if let Some(recent) = state.conversations.edit().get_mut(..=at) {
                recent.rotate_right(1);
            }
        }
        None => {
            if config.emit_on_conversation_end && state.header.pending > 0 {
                emit(state, Trigger::ConversationEnd, now, requests)?;
            }
            let conversations = state.conversations.edit();
            conversations.insert(0, conversation_id.to_owned());
            conversations.truncate(OPEN_CONVERSATIONS);
        }
    }
    Ok(())
}

fn add(config: &ProfileConfig, state: &mut UserState, event: ConversationEvent, now: Timestamp) {
    let ConversationEvent { event_id, ts, conversation_id, user_id: _, role, content } = event;
    let content = fold_and_clip(&content, config.max_content_chars);
    let message = Message { event_id, conversation_id, role, content, ts, at: now };
    let header = state.header.edit();
    let seq = header.next_seq;
    header.next_seq += 1;
    if message.is_users() {
        header.pending += 1;
        header.pending_since = header.pending_since.or(Some(now));
    }
    state.messages.push(seq, &message, config.message_buffer_size.max(1));
}

/// Whether the next message would push a user message out that no window has held.
fn is_about_to_overflow(config: &ProfileConfig, state: &UserState) -> Result<bool, CellError> {
    let full = state.messages.len() >= usize::from(config.message_buffer_size.max(1));
    if !full || state.messages.first_seq().is_none_or(|seq| seq < state.header.fresh_from) {
        return Ok(false);
    }
    Ok(state.messages.front()?.is_some_and(|(_, oldest)| oldest.is_users()))
}

/// Drops the messages that are older than the buffer's TTL; pending ones leave with count and timer.
fn expire_messages(config: &ProfileConfig, state: &mut UserState, now: Timestamp) -> Result<(), CellError> {
    let Some(ttl) = config.buffer_ttl else { return Ok(()) };
    let oldest = before(now, ttl);
    let mut lost_pending = false;
    while let Some((seq, message)) = state.messages.front()?.filter(|(_, message)| message.at < oldest) {
        state.messages.pop_front();
        lost_pending |= message.is_users() && seq >= state.header.fresh_from;
    }
    if lost_pending {
        // What had fallen out of the buffer unseen was older still, so it does not count any more either.
        let (mut pending, mut since) = (0, None);
        for item in state.messages.iter() {
            let (seq, message) = item?;
            if seq >= state.header.fresh_from && message.is_users() {
                pending += 1;
                since = since.or(Some(message.at));
            }
        }
        let header = state.header.edit();
        (header.pending, header.pending_since) = (pending, since);
    }
    Ok(())
}

/// Triggers an emission: fixes window, number and time, and resets count and timer.
fn emit(state: &mut UserState, trigger: Trigger, stamp: Timestamp, requests: &mut Requests) -> Result<(), CellError> {
    let window = state.messages.iter().map(|item| item.map(|(seq, message)| WindowMessage { seq, message }));
    let window = window.collect::<Result<Vec<_>, _>>()?;
    let header = state.header.edit();
    let emission_ts = match header.last_emission {
        Some(last) if stamp <= last => last.next(),
        _ => stamp,
    };
    header.emissions += 1;
    header.last_emission = Some(emission_ts);
    let fresh_from = std::mem::replace(&mut header.fresh_from, header.next_seq);
    header.pending = 0;
    header.pending_since = None;
    requests.push(ExtractionRequest { number: header.emissions, trigger, emission_ts, fresh_from, window });
    Ok(())
}

fn before(now: Timestamp, ttl: Duration) -> Timestamp {
    let micros = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.as_micros().saturating_sub(micros))
}
