//! Newline-delimited JSON from a file, a folder, a glob or standard input; plain, gzip or zstd.
//!
//! * **Order.** Files by the bytes of their path, then by line. A file that is found later comes after those that were
//!   begun; the order of beginning is kept with each offset, so that a restart keeps it. One reader reads one file
//!   after the other.
//! * **Identity.** A partition is a file: its canonical path and a hash of its first 4 KiB, as far as it had been read.
//!   Renamed with an equal head it goes on; another head under an old path is a new file. See `tracked`.
//! * **Position.** The decompressed byte behind the record, before its line end, and the lines so far. A restart
//!   re-reads nothing that it counted: it seeks in a plain file, and decompresses up to the place in others.
//! * **Growth.** While following, every poll that finds nothing else looks at the file system once. A line without its
//!   end is never taken then; at the end of an available-now run it is where it is a whole record, else it is left for
//!   the next run and reported by `leftovers`.
//! * **Damage.** A line that is no event or over the limit is a dead letter. Damaged compressed data is one dead letter,
//!   and the rest of that file is not read until the file changes.
//!
//! Standard input ([`StreamSource`]) has no position: exactly once ends there.
//!
//! A file that was compressed after rotation has another head, and is therefore a new file: keep it out of the glob.

mod content;
mod identity;
mod lines;
mod listing;
mod origin;
mod reading;
mod source;
mod stream;
mod tracked;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use memoir_core::processor::StreamEvent;
use memoir_core::source::Source;
use memoir_core::time::Clock;

pub use source::FileSource;
pub use stream::StreamSource;

use crate::decode::DEFAULT_MAX_AHEAD;
use crate::error::ConnectError;

/// How files are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOptions {
    /// A longer line is a dead letter.
    pub max_line_bytes: usize,
    /// An event dated further ahead of the clock is a dead letter.
    pub max_ahead: Duration,
    /// Content is read in blocks of this size. From 64 KiB to 1 MiB the speed measured is the same.
    pub block_bytes: usize,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self { max_line_bytes: 1024 * 1024, max_ahead: DEFAULT_MAX_AHEAD, block_bytes: 256 * 1024 }
    }
}

/// The source at a path: standard input for `-`, a stream for a named pipe, else files.
///
/// # Errors
/// When the path is none that can be used. Whether anything is there is found out later.
pub fn open<E: StreamEvent>(
    path: &str,
    options: FileOptions,
    clock: Arc<dyn Clock>,
) -> Result<Box<dyn Source<E>>, ConnectError> {
    if path == "-" {
        return Ok(Box::new(StreamSource::standard_input(options, clock)));
    }
    if is_stream(path) {
        return Ok(Box::new(StreamSource::at(Path::new(path), options, clock)?));
    }
    Ok(Box::new(FileSource::new(path, options, clock)?))
}

/// Whether this is standard input, a pipe or a device, which can be read once and has no places to go back to.
#[must_use]
pub fn is_stream(path: &str) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    path == "-"
        || std::fs::metadata(path).is_ok_and(|metadata| {
            let kind = metadata.file_type();
            kind.is_fifo() || kind.is_char_device()
        })
}
