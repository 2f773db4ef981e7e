//! The client against a small server that answers as it is told.

mod answers;
mod persistence;
mod server;
mod tokens;
