//! A shard's database in a folder of its own, closed and opened again at will.

use std::path::Path;

use memoir_core::cell::{Cell, CellId, KeyedState, ListState, MapState, ValueState};
use memoir_core::processor::Request;
use memoir_core::{ShardId, Timestamp};
use memoir_state::{Resources, ShardStore};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

pub struct Database {
    folder: TempDir,
}

impl Database {
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self { folder: folder.unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn open(&self) -> ShardStore {
        ShardStore::open(self.folder.path(), ShardId(3), &Resources::new(1 << 20, 1 << 20)).unwrap()
    }

    /// Writes an entry past the store, as another version of the program might have.
    pub fn put_raw(&self, key: &[u8], value: &[u8]) {
        rocksdb::DB::open_default(self.folder.path()).unwrap().put(key, value).unwrap();
    }

    pub fn get_raw(&self, key: &[u8]) -> Option<Vec<u8>> {
        rocksdb::DB::open_default(self.folder.path()).unwrap().get(key).unwrap()
    }

    /// How many entries the whole database holds.
    pub fn entries(&self) -> usize {
        rocksdb::DB::open_default(self.folder.path()).unwrap().iterator(rocksdb::IteratorMode::Start).count()
    }
}

/// A state with a cell of each sort.
#[derive(Debug, Default)]
pub struct Sample {
    pub count: ValueState<u64>,
    pub list: ListState<String>,
    pub map: MapState<i64>,
}

impl KeyedState for Sample {
    const CELLS: &'static [(CellId, &'static str)] = &[(CellId(1), "count"), (CellId(2), "list"), (CellId(200), "map")];

    fn cell(&mut self, id: CellId) -> Option<&mut dyn Cell> {
        Some(match id.0 {
            1 => &mut self.count,
            2 => &mut self.list,
            200 => &mut self.map,
            _ => return None,
        })
    }
}

/// What a [`Sample`] holds, to be compared.
pub type Plain = (u64, Vec<(u64, String)>, Vec<(String, i64)>);

impl Sample {
    pub fn plain(&self) -> Plain {
        let list = self.list.iter().map(Result::unwrap).collect();
        let map = self.map.iter().map(|entry| entry.map(|(key, value)| (key.to_owned(), value)).unwrap()).collect();
        (*self.count, list, map)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    pub number: u64,
    pub words: Vec<String>,
    pub at: Timestamp,
}

impl Request for Ask {
    fn number(&self) -> u64 {
        self.number
    }
}
