//! A query with its state folder and its tables, run again and again as a person would.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use memoir_core::profile::{ExtractionAnswer, ExtractionCall, ProfileConfig};
use memoir_core::source::ReadUntil;
use memoir_core::{Clock, ManualClock};
use memoir_engine::{
    Answerer, EngineError, EngineOptions, Halt, Job, Metrics, Reconcile, Reconciled, Summary, reconcile, run,
};
use memoir_state::{Manifest, Resources, ShardStore, StateHome};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::extractor::extract;
use super::processor::Watched;
use super::remote::{Endpoint, Remote};
use super::sink::MemorySink;
use super::source::MemorySource;
use super::streams::start;

pub struct Query {
    pub folder: TempDir,
    pub config: ProfileConfig,
    pub shards: u32,
    pub state_id: i64,
    pub sink: Arc<MemorySink>,
    /// The clock in use, and the same where it is moved by hand.
    pub clock: Arc<dyn Clock>,
    pub manual: Arc<ManualClock>,
    pub options: EngineOptions,
    pub metrics: Arc<Metrics>,
}

pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap())
}

/// Answers at once, on the shard's thread.
pub fn now() -> Answerer<Watched> {
    Answerer::Now(Arc::new(extract))
}

pub fn now_by(answer: impl Fn(&ExtractionCall) -> ExtractionAnswer + Send + Sync + 'static) -> Answerer<Watched> {
    Answerer::Now(Arc::new(answer))
}

pub fn later(remote: &Arc<Remote>) -> Answerer<Watched> {
    Answerer::Later(Arc::new(Endpoint(Arc::clone(remote))))
}

/// Options under which nothing waits long.
pub fn quick() -> EngineOptions {
    EngineOptions {
        query: "test".to_owned(),
        threads: 2,
        poll_interval: Duration::from_millis(1),
        epoch_interval: Duration::from_millis(5),
        commit_interval: Duration::from_millis(1),
        grace: Duration::from_secs(5),
        sink_patience: Duration::from_secs(5),
        ..EngineOptions::default()
    }
}

impl Query {
    pub fn new(config: &ProfileConfig, shards: u32) -> Self {
        let manual = Arc::new(ManualClock::at(start()));
        Self {
            folder: fast_folder(),
            config: config.clone(),
            shards,
            state_id: 4711,
            sink: Arc::default(),
            clock: Arc::clone(&manual) as Arc<dyn Clock>,
            manual,
            options: quick(),
            metrics: Arc::default(),
        }
    }

    pub fn daemon(mut self) -> Self {
        self.options.until = ReadUntil::Stopped;
        self.options.clock = memoir_engine::ClockMode::ProcessingTime;
        self
    }

    pub fn stores(&self) -> (StateHome, Vec<ShardStore>) {
        let manifest = Manifest::new("test", self.shards, self.state_id);
        let home = StateHome::open_or_create(self.folder.path(), manifest).unwrap();
        let stores = home.open_shards(&Resources::new(1 << 20, 4 << 20)).unwrap();
        (home, stores)
    }

    /// Opens the state, runs, and closes it again.
    pub fn run_with(
        &self,
        processor: &Watched,
        source: &mut MemorySource,
        answerer: Answerer<Watched>,
        halt: &Halt,
    ) -> Result<Summary, EngineError> {
        let (home, stores) = self.stores();
        run(Job {
            processor,
            source,
            sink: self.sink.as_ref(),
            answerer,
            manifest: home.manifest(),
            stores: &stores,
            options: &self.options,
            clock: self.clock.as_ref(),
            runtime: runtime().handle().clone(),
            metrics: &self.metrics,
            halt,
        })
    }

    pub fn run(&self, source: &mut MemorySource, answerer: Answerer<Watched>) -> Result<Summary, EngineError> {
        self.run_with(&Watched::new(&self.config), source, answerer, &Halt::default())
    }

    /// Reconciles state and tables, or only looks.
    pub fn reconcile_with(&self, processor: &Watched, dry_run: bool) -> Result<Reconciled, EngineError> {
        let (mut home, stores) = self.stores();
        let manifest = home.manifest().clone();
        reconcile(Reconcile {
            processor,
            sink: self.sink.as_ref(),
            scan: self.sink.as_ref(),
            manifest: &manifest,
            home: (!dry_run).then_some(&mut home),
            stores: &stores,
            options: &self.options,
            random: 99,
        })
    }

    pub fn reconcile(&self) -> Reconciled {
        self.reconcile_with(&Watched::new(&self.config), false).unwrap()
    }

    /// Puts a copy of the state in the place of what is there; without one, nothing is left.
    pub fn restore_state(&self, copy: Option<&Path>) {
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
        }
        if let Some(copy) = copy {
            copy_folder(copy, self.folder.path());
        }
    }

    /// Runs a daemon on a thread of its own while `script` plays; then halts it, and returns what it came to.
    pub fn while_running<T>(
        &self,
        processor: &Watched,
        source: &mut MemorySource,
        answerer: Answerer<Watched>,
        script: impl FnOnce(&Halt) -> T,
    ) -> (Result<Summary, EngineError>, T) {
        let halt = Halt::default();
        std::thread::scope(|scope| {
            let engine = scope.spawn(|| self.run_with(processor, source, answerer, &halt));
            // The daemon must end also where the script fails.
            let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| script(&halt)));
            halt.halt();
            let ended = engine.join().unwrap();
            match played {
                Ok(played) => (ended, played),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

/// A folder in memory where the machine has that: thousands of databases are opened here, and what they survive is the end
/// of a process and never that of a machine.
pub fn fast_folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir()
        && let Ok(folder) = tempfile::tempdir_in(memory)
    {
        return folder;
    }
    tempfile::tempdir().unwrap()
}

/// Copies a folder that nobody writes to.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Copies the state of a running query as the end of the process would leave it at some moment.
///
/// RocksDB writes and deletes files meanwhile, so each database is copied until no file came or went and its manifest did
/// not grow: then all files that the copied manifest names are in the copy. Of a log that grew, the copy has a beginning.
pub fn image_of_running(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    loop {
        let before = files(from);
        let whole = before.keys().all(|name| match std::fs::copy(from.join(name), to.join(name)) {
            Ok(_) => true,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => panic!("copying {name} of {}: {error}", from.display()),
        });
        if whole && files(from) == before {
            break;
        }
        std::fs::remove_dir_all(to).unwrap();
        std::fs::create_dir(to).unwrap();
    }
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            image_of_running(&entry.path(), &to.join(entry.file_name()));
        }
    }
}

/// The names of a folder's files, with the lengths of manifests, which are only ever appended to.
fn files(folder: &Path) -> BTreeMap<String, Option<u64>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        // A file that goes away while it is looked at makes the next look differ.
        if let Ok(metadata) = entry.metadata()
            && metadata.is_file()
        {
            let length = name.starts_with("MANIFEST").then_some(metadata.len());
            files.insert(name, length);
        }
    }
    files
}
