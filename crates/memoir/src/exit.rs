//! Exit codes: 0 done, 1 failed while running, 2 wrong usage or configuration, 130 or 143 ended by a signal.
//!
//! Commands return `anyhow::Result<Exit>`. What kind of failure an error is follows from the types in its chain, so
//! that a command can use `?` everywhere and still end with the right code.

use std::process::ExitCode;

use memoir_connect::ConnectError;
use memoir_engine::EngineError;
use memoir_extract::ExtractError;
use memoir_lake::LakeError;

use crate::bundle::BundleError;
use crate::config::ConfigError;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub u8);

impl Exit {
    pub const DONE: Self = Self(0);
    pub const FAILED: Self = Self(1);
    pub const USAGE: Self = Self(2);
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

/// A wrong use of a command that the command line's grammar cannot see, such as a missing file or a time that is none.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// A [`UsageError`] as an [`anyhow::Error`].
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(UsageError(message.into()))
}

/// The exit code that an error stands for.
pub fn exit_of(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if is_broken_pipe(cause) {
            // Whoever read our output has enough of it (`memoir query … | head`): that is no failure.
            return Exit::DONE;
        }
        if cause.is::<UsageError>()
            || cause.is::<ConfigError>()
            || cause.is::<ExtractError>()
            || cause.is::<ConnectError>()
        {
            return Exit::USAGE;
        }
        if let Some(EngineError::OtherShardCount { .. } | EngineError::ClockGoesBack) = cause.downcast_ref() {
            return Exit::USAGE;
        }
        if let Some(error) = cause.downcast_ref::<BundleError>() {
            return if error.is_definition() { Exit::USAGE } else { Exit::FAILED };
        }
        if let Some(error) = cause.downcast_ref::<LakeError>() {
            return of_lake(error);
        }
    }
    Exit::FAILED
}

/// Statements and places that cannot be are wrong usage; what fails with tables that are there is not.
fn of_lake(error: &LakeError) -> Exit {
    match error {
        LakeError::NotReadOnly { .. } | LakeError::BadLocation { .. } => Exit::USAGE,
        // The engine's own words for a statement that it cannot read or plan.
        LakeError::Sql(words)
            if ["SQL error", "Schema error", "Error during planning", "Invalid function"]
                .iter()
                .any(|start| words.starts_with(start)) =>
        {
            Exit::USAGE
        }
        _ => Exit::FAILED,
    }
}

/// Whether the error is a reader of standard output that went away, which is to end the program without a word.
pub fn is_quiet(error: &anyhow::Error) -> bool {
    error.chain().any(is_broken_pipe)
}

fn is_broken_pipe(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn wrong_usage_is_2_also_below_a_context_and_anything_else_is_1() {
        let wrapped = Err::<(), _>(usage("no such time")).context("profile").unwrap_err();
        assert_eq!(exit_of(&wrapped), Exit::USAGE);
        assert_eq!(exit_of(&anyhow::anyhow!("the disk is full")), Exit::FAILED);
    }

    #[test]
    fn a_setting_that_the_state_does_not_allow_is_wrong_usage() {
        for error in [EngineError::ClockGoesBack, EngineError::OtherShardCount { state: 8, asked: 4 }] {
            assert_eq!(exit_of(&error.into()), Exit::USAGE);
        }
        let older = EngineError::ReconcileInterrupted { query: "q".to_owned() };
        assert_eq!(exit_of(&older.into()), Exit::FAILED);
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let error = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let error = Err::<(), _>(error).context("writing rows").unwrap_err();
        assert_eq!(exit_of(&error), Exit::DONE);
        assert!(is_quiet(&error));
    }
}
