//! What can be wrong with how a source is set up. What fails later is a [`SourceError`].

use std::io;
use std::path::PathBuf;

use memoir_core::source::SourceError;

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no path to read from; set source.path to a file, a folder, a glob, or `-` for standard input")]
    NoPath,
    #[error("{}: not a glob that can be used ({cause}); check its brackets", path.display())]
    BadGlob { path: PathBuf, cause: globset::Error },
    #[error("{}: a glob must be UTF-8; name the folder instead", path.display())]
    GlobNotUtf8 { path: PathBuf },
    #[error("{path}: the current folder can't be told; give an absolute path")]
    CurrentFolder { path: String, cause: io::Error },
}

impl From<ConnectError> for SourceError {
    fn from(error: ConnectError) -> Self {
        Self::new(error.to_string())
    }
}
