//! A folder with tables and state of its own, and the commands that are run in it.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::process::{Outcome, Running};

/// Where nothing but the test's own files is: no configuration, no `.env`, no variables that name either.
pub struct Workspace {
    folder: TempDir,
}

impl Workspace {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn append(&self, name: &str, content: &str) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(content.as_bytes()).unwrap();
    }

    /// The binary, with arguments, in this folder.
    pub fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_memoir"));
        command.current_dir(self.folder.path()).args(arguments).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let upper = name.to_string_lossy().to_uppercase();
            let configures = ["MEMOIR_", "DATABRICKS_", "BUNDLE_VAR_"].iter().any(|start| upper.starts_with(start));
            // A proxy would get what is meant for the endpoint of a test.
            if configures || upper.ends_with("_PROXY") {
                command.env_remove(name);
            }
        }
        command
    }

    pub fn start(&self, arguments: &[impl AsRef<OsStr>]) -> Running {
        Running::start(self.command(arguments))
    }

    /// Runs a command to its end.
    #[track_caller]
    pub fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Outcome {
        self.start(arguments).wait()
    }

    /// The command line of a stream processor over files, with further settings.
    pub fn over_files(trigger: &str, path: &str, settings: &[&str]) -> Vec<String> {
        let mut arguments = vec!["run".to_owned(), "--trigger".to_owned(), trigger.to_owned()];
        let path = format!("source.path={path}");
        for setting in ["source.kind=files", path.as_str()].iter().chain(settings) {
            arguments.extend(["--set".to_owned(), (*setting).to_owned()]);
        }
        arguments
    }

    /// An available-now run over files.
    #[track_caller]
    pub fn process(&self, path: &str, settings: &[&str]) -> Outcome {
        self.run(&Self::over_files("available-now", path, settings))
    }

    /// The rows of a query.
    #[track_caller]
    pub fn query(&self, sql: &str) -> Vec<Value> {
        let outcome = self.run(&["query", sql, "--format", "json"]).succeeded();
        serde_json::from_str(&outcome.stdout).unwrap()
    }

    /// The rows of a query, or none where a table is not there yet.
    pub fn query_if_there(&self, sql: &str) -> Vec<Value> {
        let outcome = self.run(&["query", sql, "--format", "json"]);
        if outcome.status.success() { serde_json::from_str(&outcome.stdout).unwrap() } else { Vec::new() }
    }

    /// The whole audit, in a fixed order.
    #[track_caller]
    pub fn audit(&self) -> Vec<Value> {
        self.query("SELECT * FROM profile_memory_audit ORDER BY user_id, emission_id, key")
    }

    /// What of the extractions is the same in every run, in a fixed order.
    #[track_caller]
    pub fn extractions(&self) -> Vec<Value> {
        let mut rows = self.query("SELECT * FROM profile_memory_extractions ORDER BY user_id, emission_id");
        for row in &mut rows {
            let row = row.as_object_mut().unwrap();
            for volatile in ["extraction_ts", "latency_ms"] {
                row.remove(volatile).unwrap();
            }
        }
        rows
    }

    pub fn table(&self, name: &str) -> PathBuf {
        self.path("data/warehouse/main/memory_demo").join(name)
    }

    pub fn state(&self) -> PathBuf {
        self.path("data/state/profile_memory")
    }

    /// How many commits a table has; none where it is not there.
    pub fn commits(&self, table: &str) -> usize {
        let Ok(log) = fs::read_dir(self.table(table).join("_delta_log")) else { return 0 };
        log.filter(|file| file.as_ref().is_ok_and(|file| has_extension(&file.path(), "json"))).count()
    }

    /// All files below a folder.
    pub fn files(&self, folder: &Path) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let mut files = Vec::new();
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.is_dir() {
                files.extend(self.files(&path));
            } else {
                files.push(path);
            }
        }
        files
    }

    /// Copies a folder with all that is in it.
    pub fn copy(&self, from: &Path, to: &Path) {
        for file in self.files(from) {
            let target = to.join(file.strip_prefix(from).unwrap());
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(file, target).unwrap();
        }
    }
}

pub fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// A text of a row.
#[track_caller]
pub fn text<'a>(row: &'a Value, column: &str) -> &'a str {
    row[column].as_str().unwrap_or_else(|| panic!("no text {column} in {row}"))
}
