//! Resolved jobs on disk: `.memoir/bundle/<target>/<job>.json` below the bundle's folder.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::document::FILE;
use super::error::BundleError;
use super::resolve::{Job, Resolved};

/// What `deploy` writes and `run` reads.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Deployment {
    format: u32,
    bundle: String,
    target: String,
    job: Job,
}

const FORMAT: u32 = 1;

/// The bundle's folder: that of `BUNDLE_ROOT`, or the nearest one from `from` upwards that holds `bundle.yml`.
pub fn root(from: &Path, bundle_root: Option<&str>) -> Result<PathBuf, BundleError> {
    match bundle_root {
        Some(root) => Some(from.join(root)).filter(|root| root.join(FILE).is_file()),
        None => from.ancestors().find(|folder| folder.join(FILE).is_file()).map(Path::to_owned),
    }
    .ok_or(BundleError::NoBundle)
}

fn folder(root: &Path, target: &str) -> PathBuf {
    root.join(".memoir").join("bundle").join(target)
}

/// Writes every job, and takes away those that the bundle does not have any more. Gives the files written.
pub fn deploy(root: &Path, resolved: &Resolved) -> Result<Vec<PathBuf>, BundleError> {
    let folder = folder(root, &resolved.target);
    fs::create_dir_all(&folder).map_err(io("cannot create", &folder))?;
    let mut written = Vec::new();
    for job in &resolved.jobs {
        let deployment = Deployment {
            format: FORMAT,
            bundle: resolved.bundle.clone(),
            target: resolved.target.clone(),
            job: job.clone(),
        };
        let path = folder.join(format!("{}.json", job.key));
        let mut text = serde_json::to_string_pretty(&deployment)
            .map_err(|error| io("cannot write", &path)(std::io::Error::other(error)))?;
        text.push('\n');
        // Written beside and renamed, so that a run never reads half a job.
        let beside = folder.join(format!("{}.json.new", job.key));
        fs::write(&beside, text).map_err(io("cannot write", &beside))?;
        fs::rename(&beside, &path).map_err(io("cannot write", &path))?;
        written.push(path);
    }
    for path in files(&folder)? {
        if !written.contains(&path) {
            fs::remove_file(&path).map_err(io("cannot remove", &path))?;
        }
    }
    Ok(written)
}

/// The deployed job of that key or name.
pub fn deployed(root: &Path, target: &str, name: &str) -> Result<Job, BundleError> {
    let folder = folder(root, target);
    let not_deployed = || BundleError::NotDeployed { job: name.to_owned(), target: target.to_owned() };
    if !folder.is_dir() {
        return Err(not_deployed());
    }
    for path in files(&folder)? {
        let text = fs::read_to_string(&path).map_err(io("cannot read", &path))?;
        let deployment: Deployment = serde_json::from_str(&text)
            .map_err(|error| BundleError::UnreadableDeployment { path: path.clone(), message: error.to_string() })?;
        if deployment.format != FORMAT {
            let message = format!("format {}", deployment.format);
            return Err(BundleError::UnreadableDeployment { path, message });
        }
        if deployment.job.is_named(name) {
            return Ok(deployment.job);
        }
    }
    Err(not_deployed())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, BundleError> {
    let entries = fs::read_dir(folder).map_err(io("cannot list", folder))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    Ok(paths)
}

fn io(what: &'static str, path: &Path) -> impl Fn(std::io::Error) -> BundleError {
    move |source| BundleError::Io { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::super::resolve::Task;
    use super::*;

    fn resolved(keys: &[&str]) -> Resolved {
        let task = Task { task_key: "a".into(), description: None, depends_on: vec![], memoir: vec!["setup".into()] };
        let job = |key: &&str| Job {
            key: (*key).into(),
            name: format!("the-{key}"),
            description: None,
            tasks: vec![task.clone()],
        };
        let jobs = keys.iter().map(job).collect();
        Resolved { bundle: "b".into(), target: "dev".into(), mode: None, variables: Vec::new(), jobs }
    }

    #[test]
    fn what_was_deployed_is_read_back_by_key_and_name_and_only_for_its_target() {
        let root = tempfile::tempdir().unwrap();
        deploy(root.path(), &resolved(&["one", "two"])).unwrap();
        assert_eq!(deployed(root.path(), "dev", "two").unwrap().key, "two");
        assert_eq!(deployed(root.path(), "dev", "the-one").unwrap().key, "one");
        let error = deployed(root.path(), "prod", "one").unwrap_err().to_string();
        assert!(error.contains("memoir bundle deploy -t prod"), "{error}");
    }

    #[test]
    fn a_job_that_is_gone_from_the_bundle_is_gone_from_the_deployment() {
        let root = tempfile::tempdir().unwrap();
        deploy(root.path(), &resolved(&["one", "two"])).unwrap();
        deploy(root.path(), &resolved(&["one"])).unwrap();
        assert!(matches!(deployed(root.path(), "dev", "two"), Err(BundleError::NotDeployed { .. })));
    }

    #[test]
    fn the_bundle_is_found_from_a_folder_below_it() {
        let root_folder = tempfile::tempdir().unwrap();
        let below = root_folder.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        assert!(matches!(root(&below, None), Err(BundleError::NoBundle)));
        fs::write(root_folder.path().join(FILE), "bundle: {name: x}\n").unwrap();
        assert_eq!(root(&below, None).unwrap(), root_folder.path());
        assert!(matches!(root(&below, Some("..")), Err(BundleError::NoBundle)));
        assert_eq!(root(&below, Some("../..")).unwrap(), below.join("../.."));
    }
}
