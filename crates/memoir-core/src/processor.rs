//! What the engine runs: a keyed, stateful function of events, timers and answers.
//!
//! A processor gets an event with the state of its key and changes that state; it may ask for something that takes
//! time (a *request*), and is called again with the answer; the answer gives rows. The engine keeps state, requests
//! and rows durable, calls everything about one key in order, and never interprets any of them.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cell::{CellError, KeyedState};
use crate::event::BadEvent;
use crate::table::{RowBuffer, RowError, RowReader, RowWriter, TableSchema};
use crate::time::Timestamp;

/// An event as a source can decode it and a table can hold it.
pub trait StreamEvent: Sized + Send + 'static {
    /// The table that such events are kept in, and read from.
    const SCHEMA: &'static TableSchema;

    /// The key whose state the event belongs to. Never empty.
    fn key(&self) -> &str;

    /// When the event happened.
    fn ts(&self) -> Timestamp;

    /// # Errors
    /// What is wrong with the record, and its key where that could be read.
    fn from_json(record: &[u8]) -> Result<Self, BadEvent>;

    /// Reads one row of [`StreamEvent::SCHEMA`]. The outer error is a damaged row, the inner one a row that is no event.
    ///
    /// # Errors
    /// When the bytes are no row.
    fn from_row(row: &mut RowReader<'_>) -> Result<Result<Self, BadEvent>, RowError>;

    fn write_row(&self, row: &mut RowWriter<'_>);
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    Taken,
    /// Seen before: nothing was changed.
    Duplicate,
}

/// A keyed, stateful function. All methods are pure: time comes in, effects go out.
pub trait Processor: Send + Sync + 'static {
    type Event: StreamEvent;
    type State: KeyedState;
    /// What was asked for: fixed when it was triggered, and kept as state until it is answered.
    type Request: Request;
    /// A request with what it needs to know of the state when its turn comes.
    type Call: Send + 'static;
    type Answer: Send + 'static;

    /// The tables that [`Processor::on_answer`] writes to, in the order of its row buffers.
    fn tables(&self) -> &'static [&'static TableSchema];

    /// Takes an event. `now` is the clock in force: the event's own time or the wall clock. Requests are pushed in the
    /// order in which they were triggered.
    ///
    /// # Errors
    /// When stored state does not decode; so do all methods below.
    fn on_event(
        &self,
        key: &str,
        state: &mut Self::State,
        event: Self::Event,
        now: Timestamp,
        requests: &mut Vec<Self::Request>,
    ) -> Result<Handled, CellError>;

    /// Fires what is due at `now`.
    fn on_time(
        &self,
        key: &str,
        state: &mut Self::State,
        now: Timestamp,
        requests: &mut Vec<Self::Request>,
    ) -> Result<(), CellError>;

    /// Brings pending work to its end, because the run ends. `now` is the wall clock where that is the clock in force,
    /// and `None` where events tell the time. Called for keys that hold a timer.
    fn on_drain(
        &self,
        key: &str,
        state: &mut Self::State,
        now: Option<Timestamp>,
        requests: &mut Vec<Self::Request>,
    ) -> Result<(), CellError>;

    /// When this key wants to be woken. A key with pending work always holds a timer ([`Timestamp::MAX`] where only a
    /// drain ends it), and one without holds none.
    fn timer(&self, state: &Self::State) -> Option<Timestamp>;

    /// Makes a call of a request whose turn has come: all earlier requests of the key have been answered.
    fn call(&self, key: &str, state: &Self::State, request: Self::Request) -> Result<Self::Call, CellError>;

    /// Applies an answer. `rows` has a buffer for each of [`Processor::tables`].
    fn on_answer(
        &self,
        key: &str,
        state: &mut Self::State,
        call: Self::Call,
        answer: Self::Answer,
        rows: &mut [RowBuffer],
    ) -> Result<(), CellError>;
}

/// A durable request.
pub trait Request: Serialize + DeserializeOwned + Clone + fmt::Debug + Send + 'static {
    /// The number of this request among those of its key: rising, and the same in every run.
    fn number(&self) -> u64;
}
