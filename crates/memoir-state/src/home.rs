//! The folder that holds all shards of one query.
//!
//! `<state.path>/<query>/` holds `manifest.json` (what the state is), `lock` (held by the process that uses it) and
//! `generation-<n>/shard-<s>/`, the databases. Repartitioning writes a new generation and then names it in the manifest.
//! The lock is the operating system's: it ends with its process, however that ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use memoir_core::ShardId;
use serde::{Deserialize, Serialize};

use crate::{Resources, ShardStore, StateError};

/// The format of a state as a whole.
pub const STATE_FORMAT: u64 = 1;

const MANIFEST: &str = "manifest.json";
const LOCK: &str = "lock";

/// What a state is. Written once, when it is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u64,
    /// The random id by which this state and its tables know each other; positive.
    pub state_id: i64,
    pub query: String,
    pub shards: u32,
    /// Which generation of shard folders counts, from 1.
    pub generation: u32,
}

impl Manifest {
    /// What a new state is to be.
    #[must_use]
    pub fn new(query: impl Into<String>, shards: u32, state_id: i64) -> Self {
        Self { format: STATE_FORMAT, state_id, query: query.into(), shards, generation: 1 }
    }
}

/// A query's state folder, locked.
#[derive(Debug)]
pub struct StateHome {
    path: PathBuf,
    manifest: Manifest,
    /// Holding the file holds the lock.
    _lock: File,
}

impl StateHome {
    /// The folder of a query's state. A name that is no plain folder name is escaped.
    #[must_use]
    pub fn folder(state_path: &Path, query: &str) -> PathBuf {
        let mut name = String::with_capacity(query.len());
        let mut before = None;
        for c in query.chars() {
            let plain =
                c.is_alphanumeric() || "_-".contains(c) || (c == '.' && before.is_some_and(char::is_alphanumeric));
            if plain {
                name.push(c);
            } else {
                // Byte by byte, so that no two names become one.
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    name.push_str(&format!("%{byte:02x}"));
                }
            }
            before = Some(c);
        }
        state_path.join(name)
    }

    /// Whether a query has a state.
    #[must_use]
    pub fn exists(state_path: &Path, query: &str) -> bool {
        Self::folder(state_path, query).join(MANIFEST).exists()
    }

    /// Opens and locks a query's state, and creates it by `manifest` where there is none.
    ///
    /// # Errors
    /// When another process holds it, when it has another format, or when the folder can't be used.
    pub fn open_or_create(state_path: &Path, manifest: Manifest) -> Result<Self, StateError> {
        let path = Self::folder(state_path, &manifest.query);
        fs::create_dir_all(&path)
            .map_err(failed(&path, "it can't be created; check its permissions or set state.path"))?;
        let lock = lock(&path)?;
        let manifest = match read_manifest(&path)? {
            Some(found) => found,
            None => {
                write_manifest(&path, &manifest)?;
                manifest
            }
        };
        Ok(Self { path, manifest, _lock: lock })
    }

    /// Opens and locks a query's state.
    ///
    /// # Errors
    /// When there is none, and as [`StateHome::open_or_create`].
    pub fn open(state_path: &Path, query: &str) -> Result<Self, StateError> {
        let path = Self::folder(state_path, query);
        if !path.join(MANIFEST).exists() {
            return Err(StateError::NotThere { path });
        }
        let lock = lock(&path)?;
        let manifest = read_manifest(&path)?.ok_or_else(|| StateError::NotThere { path: path.clone() })?;
        Ok(Self { path, manifest, _lock: lock })
    }

    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the state another id, durably.
    ///
    /// # Errors
    /// When the manifest can't be written; the id is then as it was.
    pub fn set_state_id(&mut self, state_id: i64) -> Result<(), StateError> {
        let manifest = Manifest { state_id, ..self.manifest.clone() };
        write_manifest(&self.path, &manifest)?;
        self.manifest = manifest;
        Ok(())
    }

    /// Opens the databases of all shards.
    ///
    /// # Errors
    /// The first that can't be opened.
    pub fn open_shards(&self, resources: &Resources) -> Result<Vec<ShardStore>, StateError> {
        self.open_generation(&self.manifest, resources)
    }

    /// Opens the databases of all shards to look at them only.
    ///
    /// # Errors
    /// The first that can't be opened.
    pub fn open_shards_read_only(&self, resources: &Resources) -> Result<Vec<ShardStore>, StateError> {
        let folder = self.generation_folder(self.manifest.generation);
        let open = |shard: ShardId| ShardStore::open_read_only(&shard_folder(&folder, shard), shard, resources);
        (0..self.manifest.shards).map(ShardId).map(open).collect()
    }

    pub(crate) fn open_generation(
        &self,
        manifest: &Manifest,
        resources: &Resources,
    ) -> Result<Vec<ShardStore>, StateError> {
        let folder = self.generation_folder(manifest.generation);
        fs::create_dir_all(&folder).map_err(failed(&folder, "it can't be created; check its permissions"))?;
        let open = |shard: ShardId| ShardStore::open(&shard_folder(&folder, shard), shard, resources);
        (0..manifest.shards).map(ShardId).map(open).collect()
    }

    /// Makes another manifest count, and deletes the folders of all other generations.
    pub(crate) fn replace_manifest(&mut self, manifest: Manifest) -> Result<(), StateError> {
        write_manifest(&self.path, &manifest)?;
        self.manifest = manifest;
        self.delete_other_generations()
    }

    /// Deletes what a repartitioning left behind, or did not come to name.
    pub(crate) fn delete_other_generations(&self) -> Result<(), StateError> {
        let current = self.generation_folder(self.manifest.generation);
        let unread = || failed(&self.path, "it can't be listed");
        for entry in fs::read_dir(&self.path).map_err(unread())? {
            let folder = entry.map_err(unread())?.path();
            let is_generation =
                folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("generation-"));
            if is_generation && folder != current {
                fs::remove_dir_all(&folder).map_err(failed(&folder, "it can't be deleted"))?;
            }
        }
        Ok(())
    }

    fn generation_folder(&self, generation: u32) -> PathBuf {
        self.path.join(format!("generation-{generation}"))
    }
}

fn shard_folder(generation: &Path, shard: ShardId) -> PathBuf {
    generation.join(format!("shard-{:03}", shard.0))
}

fn lock(path: &Path) -> Result<File, StateError> {
    let file = path.join(LOCK);
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&file);
    let lock = lock.map_err(failed(&file, "the lock file can't be opened; check the folder's permissions"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StateError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(cause)) => Err(failed(&file, "the lock can't be taken")(cause)),
    }
}

fn read_manifest(path: &Path) -> Result<Option<Manifest>, StateError> {
    /// Read first: a later format may have other fields.
    #[derive(Deserialize)]
    struct Format {
        format: u64,
    }

    let file = path.join(MANIFEST);
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(failed(&file, "it can't be read")(cause)),
    };
    let damaged = |error: serde_json::Error| StateError::Damaged {
        path: path.to_owned(),
        message: format!("{MANIFEST}: {error}"),
    };
    let found = serde_json::from_slice::<Format>(&text).map_err(damaged)?.format;
    if found != STATE_FORMAT {
        return Err(StateError::Format { path: path.to_owned(), found, expected: STATE_FORMAT });
    }
    serde_json::from_slice(&text).map(Some).map_err(damaged)
}

/// Writes the manifest so that it is there as a whole, durably, or not at all.
fn write_manifest(path: &Path, manifest: &Manifest) -> Result<(), StateError> {
    let (file, draft) = (path.join(MANIFEST), path.join("manifest.json.new"));
    let written = (|| {
        let mut out = File::create(&draft)?;
        out.write_all(&serde_json::to_vec_pretty(manifest)?)?;
        out.write_all(b"\n")?;
        out.sync_all()?;
        fs::rename(&draft, &file)?;
        File::open(path)?.sync_all()
    })();
    written.map_err(failed(&file, "it can't be written; check the folder's permissions and space"))
}

fn failed(path: &Path, message: &'static str) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |cause| StateError::Folder { path, message: message.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(query: &str) -> Manifest {
        Manifest::new(query, 2, 7)
    }

    #[test]
    fn a_state_in_use_is_refused_and_free_again_when_its_holder_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let home = StateHome::open_or_create(folder.path(), manifest("q")).unwrap();
        assert!(matches!(StateHome::open(folder.path(), "q"), Err(StateError::Locked { .. })));
        drop(home);
        assert_eq!(StateHome::open(folder.path(), "q").unwrap().manifest(), &manifest("q"));
    }

    #[test]
    fn what_was_created_first_stays() {
        let folder = tempfile::tempdir().unwrap();
        drop(StateHome::open_or_create(folder.path(), manifest("q")).unwrap());
        let other = Manifest { state_id: 8, shards: 5, ..manifest("q") };
        assert_eq!(StateHome::open_or_create(folder.path(), other).unwrap().manifest(), &manifest("q"));
    }

    #[test]
    fn a_state_of_another_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(StateHome::open_or_create(folder.path(), manifest("q")).unwrap());
        let file = StateHome::folder(folder.path(), "q").join(MANIFEST);
        fs::write(&file, r#"{"format": 99, "anything": []}"#).unwrap();
        assert!(matches!(StateHome::open(folder.path(), "q"), Err(StateError::Format { found: 99, .. })));
        fs::write(&file, "{").unwrap();
        assert!(matches!(StateHome::open(folder.path(), "q"), Err(StateError::Damaged { .. })));
    }

    #[test]
    fn a_name_that_is_no_folder_name_is_escaped() {
        for (query, folder) in [
            ("a-b_1.x", "a-b_1.x"),
            ("../x", "%2e%2e%2fx"),
            ("a..b", "a.%2eb"),
            (".", "%2e"),
            ("a/b", "a%2fb"),
            ("a 26", "a%2026"),
            ("a…", "a%e2%80%a6"),
        ] {
            assert_eq!(StateHome::folder(Path::new("s"), query), Path::new("s").join(folder));
        }
    }
}
