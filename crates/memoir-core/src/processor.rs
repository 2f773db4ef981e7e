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

    /// The number of the last request that was triggered, 0 where none was.
    fn last_number(&self, state: &Self::State) -> u64;

    /// The columns by which the rows of one request stand together in each of [`Processor::tables`].
    fn row_order(&self) -> &'static [&'static str];

    /// The key and number of the request that a row of the `table`th of [`Processor::tables`] came of; `None` where it came
    /// of somebody else's.
    ///
    /// # Errors
    /// When the bytes are no row of that table.
    fn request_of(&self, table: usize, row: &[u8]) -> Result<Option<(String, u64)>, RowError>;

    /// Applies what the tables hold of a request as it stands there, in place of an answer. `rows` gets what the tables
    /// should hold and do not.
    fn on_held(
        &self,
        key: &str,
        state: &mut Self::State,
        request: &Self::Request,
        held: &HeldRequest,
        rows: &mut [RowBuffer],
    ) -> Result<(), CellError>;

    /// Takes requests that were just triggered, in order, where tables hold requests that the state did not know of:
    /// applies what is held as far as it answers them, and gives the others numbers that are free.
    fn on_held_ahead(
        &self,
        key: &str,
        state: &mut Self::State,
        requests: Vec<Self::Request>,
        held: &[HeldRequest],
        rows: &mut [RowBuffer],
    ) -> Result<Aligned<Self::Request>, CellError>;
}

/// What tables hold of a request that the state does not know of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldRequest {
    pub number: u64,
    /// For each of [`Processor::tables`] the rows that it holds. A table without rows holds all that it should where a later
    /// table has some: earlier tables are appended to first.
    pub tables: Vec<Option<RowBuffer>>,
}

/// Requests and what tables hold, brought together.
#[derive(Clone, Debug, PartialEq)]
pub struct Aligned<R> {
    /// The requests that nothing held answers.
    pub ask: Vec<R>,
    /// What is held up to this number is used up.
    pub through: u64,
    /// Numbers among [`Aligned::ask`] of which tables hold something, though perhaps not the answer: of their rows, those
    /// tables get none.
    pub again: Vec<u64>,
}

/// A durable request.
pub trait Request: Serialize + DeserializeOwned + Clone + fmt::Debug + Send + 'static {
    /// The number of this request among those of its key: rising, and the same in every run.
    fn number(&self) -> u64;
}
