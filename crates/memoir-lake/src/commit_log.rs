//! What one version of a Delta log says, as far as Memoir needs to know it.
//!
//! The library reads whole tables; following a log version by version, as a writer after a conflict and a source do,
//! needs only the one file of each version.

use deltalake::DeltaTableError;
use deltalake::kernel::Add;
use deltalake::logstore::object_store::{self, ObjectStoreExt as _};
use deltalake::logstore::{LogStore, commit_uri_from_version};
use futures::TryStreamExt as _;
use memoir_core::time::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The key under `commitInfo` that holds a commit's own id.
pub(crate) const COMMIT_ID: &str = "memoirCommit";

/// One commit.
#[derive(Debug, Default)]
pub(crate) struct Commit {
    /// Files with rows that were not there before.
    pub added: Vec<Add>,
    /// Whether rows were taken away or replaced.
    pub removes_rows: bool,
    /// Whether columns, properties or protocol may have changed.
    pub changes_table: bool,
    /// Writers and the versions that they set.
    pub transactions: Vec<(String, i64)>,
    /// What [`COMMIT_ID`] holds.
    pub id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    add: Option<Add>,
    remove: Option<Remove>,
    meta_data: Option<IgnoredAny>,
    protocol: Option<IgnoredAny>,
    txn: Option<TxnAction>,
    commit_info: Option<CommitInfo>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Remove {
    #[serde(default = "changes_data")]
    data_change: bool,
}

/// A writer that leaves the flag out is taken at its worst.
fn changes_data() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TxnAction {
    app_id: String,
    version: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CommitInfo {
    memoir_commit: Option<String>,
}

impl Commit {
    fn parse(version: u64, bytes: &[u8]) -> Result<Self, DeltaTableError> {
        let mut commit = Self::default();
        for line in serde_json::Deserializer::from_slice(bytes).into_iter::<Line>() {
            let line = line.map_err(|json_err| DeltaTableError::InvalidJsonLog {
                line: format!("line {}, column {}", json_err.line(), json_err.column()),
                json_err,
                version,
            })?;
            if let Some(add) = line.add.filter(|add| add.data_change) {
                commit.added.push(add);
            }
            commit.removes_rows |= line.remove.is_some_and(|remove| remove.data_change);
            commit.changes_table |= line.meta_data.is_some() || line.protocol.is_some();
            commit.transactions.extend(line.txn.map(|txn| (txn.app_id, txn.version)));
            commit.id = line.commit_info.and_then(|info| info.memoir_commit).or(commit.id);
        }
        Ok(commit)
    }

    /// Reads a version; `None` where its file is not there.
    pub(crate) async fn read(log: &dyn LogStore, version: u64) -> Result<Option<Self>, DeltaTableError> {
        match log.read_commit_entry(version).await? {
            Some(bytes) => Self::parse(version, &bytes).map(Some),
            None => Ok(None),
        }
    }
}

/// Whether the file of a version is there.
pub(crate) async fn has_version(log: &dyn LogStore, version: u64) -> Result<bool, DeltaTableError> {
    match log.object_store(None).head(&commit_uri_from_version(Some(version))).await {
        Ok(_) => Ok(true),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The versions whose files are there, with the time at which each was written, in order.
pub(crate) async fn versions(log: &dyn LogStore) -> Result<Vec<(u64, Timestamp)>, DeltaTableError> {
    let mut versions: Vec<(u64, Timestamp)> = log
        .object_store(None)
        .list(Some(log.log_path()))
        .try_filter_map(|file| async move {
            let version = file
                .location
                .filename()
                .and_then(|name| name.strip_suffix(".json"))
                .filter(|digits| digits.len() == 20)
                .and_then(|digits| digits.parse().ok());
            Ok(version.map(|version| (version, Timestamp::from_micros(file.last_modified.timestamp_micros()))))
        })
        .try_collect()
        .await?;
    versions.sort_unstable();
    // Clocks of writers differ; as in Delta, a version is never older than the one before it.
    let mut latest = Timestamp::MIN;
    for (_, time) in &mut versions {
        latest = latest.max(*time);
        *time = latest;
    }
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_gives_what_it_added_and_what_it_took_away() {
        let log = br#"{"commitInfo":{"operation":"WRITE","memoirCommit":"c1"}}
            {"txn":{"appId":"q/0","version":7}}
            {"domainMetadata":{"domain":"x","configuration":"","removed":false}}
            {"add":{"path":"a.parquet","partitionValues":{},"size":1,"modificationTime":0,"dataChange":true}}
            {"add":{"path":"b.parquet","partitionValues":{},"size":1,"modificationTime":0,"dataChange":false}}
            {"remove":{"path":"c.parquet","dataChange":false}}"#;
        let commit = Commit::parse(3, log).unwrap();
        let added: Vec<&str> = commit.added.iter().map(|add| add.path.as_str()).collect();
        assert_eq!(added, ["a.parquet"]);
        assert!(!commit.removes_rows && !commit.changes_table);
        assert_eq!(commit.transactions, [("q/0".to_owned(), 7)]);
        assert_eq!(commit.id.as_deref(), Some("c1"));
        assert!(Commit::parse(3, br#"{"remove":{"path":"c.parquet"}}"#).unwrap().removes_rows);
        assert!(Commit::parse(3, br#"{"protocol":{}}"#).unwrap().changes_table);
        assert!(Commit::parse(3, b"{\"add\":").is_err());
    }
}
