//! Which file is which: its head, the notes that go with its offset, and the id of its partition.
//!
//! A file is its canonical path and a hash of its first 4 KiB, as far as it had been read that far. The inode only
//! helps to choose between files that are equal in that.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use memoir_core::source::{Position, SourceError};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

/// So many bytes of a file tell it from others.
pub(crate) const HEAD_BYTES: usize = 4096;

/// The version of [`Notes`] that is written.
const NOTES_VERSION: u32 = 1;

/// What a look at the file system says about a file, for nothing but to see whether it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub inode: Inode,
    pub size: u64,
    pub modified: i128,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Inode {
    device: u64,
    number: u64,
}

impl Stat {
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            inode: Inode { device: metadata.dev(), number: metadata.ino() },
            size: metadata.size(),
            modified: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
        }
    }
}

/// The first bytes of a file: how many, and their hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Head {
    pub length: usize,
    #[serde(with = "hex")]
    pub hash: u128,
}

impl Head {
    /// Of the first 4 KiB of `bytes`, or of all where there are fewer.
    pub fn of(bytes: &[u8]) -> Self {
        let bytes = bytes.get(..HEAD_BYTES).unwrap_or(bytes);
        Self { length: bytes.len(), hash: xxh3_128(bytes) }
    }

    /// Whether a file that begins with `bytes` may be the same. `bytes` are its first 4 KiB.
    pub fn begins(&self, bytes: &[u8]) -> bool {
        bytes.get(..self.length).is_some_and(|head| xxh3_128(head) == self.hash)
    }
}

/// Reads the first bytes of a file, wherever its cursor is.
pub(crate) fn read_head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD_BYTES];
    let mut length = 0;
    while length < HEAD_BYTES {
        // The head is that long.
        match file.read_at(&mut head[length..], length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    head.truncate(length);
    Ok(head)
}

/// Compressed data that ended in damage, as the file then was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Damage {
    pub size: u64,
    pub modified: i128,
}

/// What is kept with an offset, to find the file again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notes {
    version: u32,
    #[serde(with = "path_as_text")]
    pub path: PathBuf,
    pub head: Head,
    /// Files are read in the order in which they were begun.
    pub order: u64,
    /// The position at which these notes were made: what is said of the end of what was read holds only there.
    pub position: Position,
    /// Whether the content is not compressed: then a position is a place in the file.
    pub plain: bool,
    /// How much of the file itself was read, as it lies there: it is not the same file where it is shorter.
    pub raw_bytes: u64,
    /// The raw size at which all of a compressed file was read: it need not be decompressed again to know that.
    pub drained_at: Option<u64>,
    pub damage: Option<Damage>,
    pub inode: Option<Inode>,
}

impl Notes {
    pub fn new(path: PathBuf, head: Head, order: u64) -> Self {
        Self {
            version: NOTES_VERSION,
            path,
            head,
            order,
            position: Position::default(),
            plain: false,
            raw_bytes: 0,
            drained_at: None,
            damage: None,
            inode: None,
        }
    }

    pub fn encode(&self) -> Result<Vec<u8>, SourceError> {
        serde_json::to_vec(self)
            .map_err(|error| SourceError::because(format!("can't note where {} is", self.path.display()), error))
    }

    pub fn decode(partition: &str, notes: &[u8]) -> Result<Self, SourceError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let version: Version = serde_json::from_slice(notes).map_err(|error| {
            SourceError::because(
                format!(
                    "the state's offset of file partition {partition} can't be read; restore the state \
                     from a copy, or begin with another query.name"
                ),
                error,
            )
        })?;
        if version.version != NOTES_VERSION {
            return Err(SourceError::new(format!(
                "the state's offset of file partition {partition} is of version {}, and this memoir reads \
                 version {NOTES_VERSION}; use the memoir that wrote it, or a newer one",
                version.version
            )));
        }
        serde_json::from_slice(notes).map_err(|error| {
            SourceError::because(format!("the state's offset of file partition {partition} is damaged"), error)
        })
    }
}

/// An id for a file found now, other than all that were handed out before.
pub(crate) fn partition_id(path: &Path, head: Head, known: &HashSet<String>) -> String {
    let mut identity = path.as_os_str().as_bytes().to_vec();
    identity.push(0);
    identity.extend_from_slice(&head.hash.to_le_bytes());
    let id = format!("{:032x}", xxh3_128(&identity));
    // The same path with the same head can come twice: truncated, say, and written anew.
    let mut unused = id.clone();
    let mut time = 1;
    while known.contains(&unused) {
        time += 1;
        unused = format!("{id}-{time}");
    }
    unused
}

mod hex {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(hash: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{hash:032x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

/// A path as text where it is UTF-8, else as bytes.
mod path_as_text {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

    use serde::{Deserializer, Serializer};

    use super::{Deserialize, Path, PathBuf, Serialize};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Text {
        Utf8(String),
        Bytes(Vec<u8>),
    }

    pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        match path.to_str() {
            Some(text) => Text::Utf8(text.to_owned()),
            None => Text::Bytes(path.as_os_str().as_bytes().to_vec()),
        }
        .serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        Ok(match Text::deserialize(deserializer)? {
            Text::Utf8(text) => PathBuf::from(text),
            Text::Bytes(bytes) => PathBuf::from(OsString::from_vec(bytes)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn notes_read_back_as_written_whatever_the_path_is_made_of() {
        for path in [Path::new("/data/chät.ndjson"), Path::new(OsStr::from_bytes(b"/data/\xff\xfe"))] {
            let mut notes = Notes::new(path.to_owned(), Head::of(b"abc"), 7);
            notes.damage = Some(Damage { size: 5, modified: -1 });
            assert_eq!(Notes::decode("p", &notes.encode().unwrap()).unwrap(), notes);
        }
    }

    #[test]
    fn notes_of_another_version_and_damaged_notes_are_refused() {
        let mut notes = Notes::new(PathBuf::from("/a"), Head::of(b"abc"), 7);
        notes.version = 2;
        let error = Notes::decode("p", &notes.encode().unwrap()).unwrap_err();
        assert!(error.message.contains("version 2"), "{error}");
        assert!(Notes::decode("p", b"").is_err());
        assert!(Notes::decode("p", b"{\"version\":1}").is_err());
    }

    #[test]
    fn a_head_is_the_same_while_the_file_grows_and_another_when_it_is_replaced() {
        let head = Head::of(b"first");
        assert!(head.begins(b"first"));
        assert!(head.begins(b"first and more"));
        assert!(!head.begins(b"firs"));
        assert!(!head.begins(b"other and more"));
    }

    #[test]
    fn a_partition_id_depends_on_path_and_head_and_is_never_handed_out_twice() {
        let mut known = HashSet::new();
        for _ in 0..3 {
            for (path, head) in [("/a", "x"), ("/b", "x"), ("/a", "y")] {
                let id = partition_id(Path::new(path), Head::of(head.as_bytes()), &known);
                assert!(known.insert(id));
            }
        }
    }
}
