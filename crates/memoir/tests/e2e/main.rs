//! The real binary, from its command line to the rows of its tables.
//!
//! Every test has a folder of its own and runs `memoir` as a user does. What the inside is like is none of these tests'
//! business; the crates' own tests look there.

mod audit_is_the_same;
mod command_line;
mod daemon;
mod demo;
mod errors;
mod evaluation;
mod killed;
mod model_endpoint;
mod reconcile;
mod rejected_records;
mod signals;
mod simulated_endpoint;
mod sources;
mod state_and_tables;
mod storm;
mod support;
mod usage;
