//! What the tests run the engine with: a source, a sink, clocks and answerers in memory, random streams, and a naive
//! model of the profile processor whose rows the engine must equal.

pub mod extractor;
pub mod processor;
pub mod query;
pub mod reference;
pub mod remote;
pub mod rows;
pub mod sink;
pub mod source;
pub mod streams;
