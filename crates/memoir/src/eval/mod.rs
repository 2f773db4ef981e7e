//! How good an extractor is: an exam of labelled conversations, the comparison of what is remembered with what should
//! be, and the figures.
//!
//! Everything here is a function of its arguments; the exam's file is the only thing that is read. Running the
//! conversations through the engine is the command's part.

mod comparison;
mod exam;
mod report;
mod score;

pub use exam::Exam;
pub use report::{ReportFormat, write};
pub use score::{Remembered, score};
