//! Proves the engine with the profile processor: against a naive model of the contract, and by the laws that hold
//! whatever the threads, cuts, crashes and answers are.

mod support;

mod audit_equals_reference;
mod daemon;
mod faults;
mod laws;
mod reconciling;
mod remote;
mod tables_and_state;
