//! The bundle: jobs as data, written as Databricks Asset Bundles write them, so that the same file reads like one.
//!
//! [`document`] reads `bundle.yml` and what it includes; [`resolve`] picks a target, gives variables their values and
//! orders each job's tasks; [`deployment`] keeps resolved jobs under `.memoir/bundle/<target>/`; [`run`] runs one of
//! them, a child process a task. What a task does is the command line's business: a task is a list of arguments.

mod deployment;
mod document;
mod error;
mod resolve;
mod run;
mod template;

pub use deployment::{deploy, deployed, root};
pub use document::Document;
pub use error::BundleError;
pub use resolve::{Job, Resolved, Variables, pick_target, resolve};
pub use run::run;
