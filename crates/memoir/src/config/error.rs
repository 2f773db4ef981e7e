//! What can be wrong with a configuration. Every message names the key, where it came from and what to write instead.

use std::io;
use std::path::PathBuf;

use super::origin::Origin;

/// All of these end the program with exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "unknown configuration key `{key}` ({origin}); the nearest known one is `{nearest}` (`memoir config` lists all)"
    )]
    UnknownKey { key: String, origin: Origin, nearest: String },

    #[error("configuration key `{key}` ({origin}) is {found}; expected {expected}")]
    WrongValue { key: String, origin: Origin, found: String, expected: String },

    #[error("`{flag}` takes section.key=value, as in `--set state.shards=4`; found `{text}`")]
    NotAnAssignment { flag: &'static str, text: String },

    #[error("configuration file {path} cannot be read: {source} (create it, or leave out --config)")]
    Unreadable { path: PathBuf, source: io::Error },

    #[error("configuration file {path} is not TOML: {message}")]
    NotToml { path: PathBuf, message: String },

    #[error("{path} cannot be read: {message} (lines are NAME=value)")]
    DotEnv { path: PathBuf, message: String },
}
