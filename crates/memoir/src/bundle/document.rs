//! `bundle.yml` and the files that it includes, as they are written.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::error::BundleError;

/// The bundle's own file.
pub const FILE: &str = "bundle.yml";

/// A bundle as written: variables are not replaced yet.
#[derive(Debug)]
pub struct Document {
    pub name: String,
    pub variables: BTreeMap<String, Variable>,
    pub targets: BTreeMap<String, Target>,
    pub jobs: BTreeMap<String, JobText>,
}

/// One file: any of them may hold any part, only `bundle` and `include` stand in `bundle.yml` alone.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    bundle: Option<Bundle>,
    #[serde(default)]
    include: Vec<String>,
    #[serde(default)]
    variables: BTreeMap<String, Variable>,
    #[serde(default)]
    targets: BTreeMap<String, Option<Target>>,
    #[serde(default)]
    resources: Resources,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bundle {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resources {
    #[serde(default)]
    jobs: BTreeMap<String, JobText>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// What it is for; shown by `validate`.
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub default: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    #[serde(default)]
    pub default: bool,
    #[serde(default)]
    pub mode: Option<Mode>,
    #[serde(default)]
    pub variables: BTreeMap<String, Override>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Development,
    Production,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Development => "development",
            Self::Production => "production",
        })
    }
}

/// A target's value for a variable: the value itself, or a mapping with a new default.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Override {
    Default { default: String },
    Value(String),
}

impl Override {
    pub fn value(&self) -> &str {
        match self {
            Self::Default { default } => default,
            Self::Value(value) => value,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobText {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub tasks: Vec<TaskText>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct TaskText {
    pub task_key: String,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub depends_on: Vec<Dependency>,
    #[serde(default)]
    pub memoir: Option<Vec<String>>,
    /// Task types of other runners, and slips; [`super::resolve`] refuses them by name.
    #[serde(flatten)]
    pub others: BTreeMap<String, IgnoredAny>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    pub task_key: String,
}

impl Document {
    /// Reads `bundle.yml` in `root` and all that it includes.
    pub fn read(root: &Path) -> Result<Self, BundleError> {
        let path = root.join(FILE);
        let main = parse(&path, &read(&path)?)?;
        let Some(bundle) = main.bundle else {
            return Err(BundleError::Malformed { path, message: "`bundle: {name: …}` is missing".to_owned() });
        };
        let mut files = vec![(PathBuf::from(FILE), main.variables, main.targets, main.resources.jobs)];
        for pattern in &main.include {
            let found = matching(root, pattern)?;
            if found.is_empty() {
                return Err(BundleError::NothingIncluded { pattern: pattern.clone() });
            }
            for relative in found {
                let path = root.join(&relative);
                let file = parse(&path, &read(&path)?)?;
                if file.bundle.is_some() || !file.include.is_empty() {
                    let message = "`bundle` and `include` belong into bundle.yml".to_owned();
                    return Err(BundleError::Malformed { path, message });
                }
                files.push((relative, file.variables, file.targets, file.resources.jobs));
            }
        }
        let mut variables = Merge::new("variable");
        let mut targets = Merge::new("target");
        let mut jobs = Merge::new("job");
        for (path, file_variables, file_targets, file_jobs) in files {
            variables.add(&path, file_variables)?;
            targets.add(&path, file_targets)?;
            jobs.add(&path, file_jobs)?;
        }
        let targets = targets.items.into_iter().map(|(name, (_, target))| (name, target.unwrap_or_default()));
        Ok(Self {
            name: bundle.name,
            variables: variables.into_items(),
            targets: targets.collect(),
            jobs: jobs.into_items(),
        })
    }
}

impl Document {
    /// Whether a job has that key or name, with `-` for `_` or the other way round.
    pub fn has_job(&self, name: &str) -> bool {
        let plain = |text: &str| text.replace('-', "_");
        self.jobs.iter().any(|(key, job)| {
            plain(key) == plain(name) || job.name.as_deref().is_some_and(|own| plain(own) == plain(name))
        })
    }
}

/// Definitions of several files, each name once.
struct Merge<T> {
    kind: &'static str,
    items: BTreeMap<String, (PathBuf, T)>,
}

impl<T> Merge<T> {
    fn new(kind: &'static str) -> Self {
        Self { kind, items: BTreeMap::new() }
    }

    fn add(&mut self, path: &Path, items: BTreeMap<String, T>) -> Result<(), BundleError> {
        for (name, item) in items {
            if !is_name(&name) {
                return Err(BundleError::BadName { kind: self.kind, name });
            }
            if let Some((first, _)) = self.items.get(&name) {
                let (first, second) = (first.clone(), path.to_owned());
                return Err(BundleError::DefinedTwice { kind: self.kind, name, first, second });
            }
            self.items.insert(name, (path.to_owned(), item));
        }
        Ok(())
    }

    fn into_items(self) -> BTreeMap<String, T> {
        self.items.into_iter().map(|(name, (_, item))| (name, item)).collect()
    }
}

/// Names become parts of files' names and of variables.
fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !name.is_empty() && !name.starts_with('.') && name.chars().all(good)
}

fn read(path: &Path) -> Result<String, BundleError> {
    std::fs::read_to_string(path).map_err(|source| BundleError::Io {
        what: "cannot read",
        path: path.to_owned(),
        source,
    })
}

fn parse(path: &Path, text: &str) -> Result<File, BundleError> {
    serde_saphyr::from_str(text)
        .map_err(|error| BundleError::Malformed { path: path.to_owned(), message: error.to_string() })
}

/// The files below `root` that a pattern names, in the order of their names. `*` and `?` stand for parts of a name;
/// folders are named in full.
fn matching(root: &Path, pattern: &str) -> Result<Vec<PathBuf>, BundleError> {
    let bad = |message: &str| BundleError::BadPattern { pattern: pattern.to_owned(), message: message.to_owned() };
    let relative = Path::new(pattern);
    let name = relative.file_name().and_then(|name| name.to_str()).ok_or_else(|| bad("it names no file"))?;
    let folder = relative.parent().unwrap_or(Path::new(""));
    if relative.is_absolute() || folder.to_string_lossy().contains(['*', '?']) || pattern.contains("..") {
        return Err(bad("only the last part may hold `*` or `?`, and it must lie below the bundle's folder"));
    }
    let expression = format!("^{}$", regex::escape(name).replace(r"\*", ".*").replace(r"\?", "."));
    let expression = regex::Regex::new(&expression).map_err(|error| bad(&error.to_string()))?;
    let entries = match std::fs::read_dir(root.join(folder)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(BundleError::Io { what: "cannot list", path: root.join(folder), source }),
    };
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| expression.is_match(name))
        .map(|name| folder.join(name))
        .filter(|path| path != Path::new(FILE))
        .collect();
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(files: &[(&str, &str)]) -> Result<Document, BundleError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Document::read(folder.path())
    }

    const MAIN: &str = "bundle:\n  name: memoir\ninclude:\n  - resources/*.yml\ntargets:\n  dev:\n    default: true\n";
    const JOB: &str = "resources:\n  jobs:\n    demo:\n      name: d\n      tasks:\n        - task_key: a\n          memoir: [generate, --users, 5]\n";

    #[test]
    fn included_files_are_part_of_the_bundle_and_numbers_are_arguments() {
        let document = bundle(&[("bundle.yml", MAIN), ("resources/demo.yml", JOB), ("resources/x.txt", "no")]).unwrap();
        assert_eq!(document.name, "memoir");
        assert_eq!(document.jobs["demo"].tasks[0].memoir.as_ref().unwrap(), &["generate", "--users", "5"]);
    }

    #[test]
    fn an_include_that_finds_nothing_is_an_error() {
        let error = bundle(&[("bundle.yml", MAIN)]).unwrap_err();
        assert!(matches!(error, BundleError::NothingIncluded { .. }), "{error}");
    }

    #[test]
    fn a_job_defined_twice_names_both_files() {
        let files = [("bundle.yml", MAIN), ("resources/a.yml", JOB), ("resources/b.yml", JOB)];
        let error = bundle(&files).unwrap_err().to_string();
        assert!(error.contains("job `demo`") && error.contains("a.yml") && error.contains("b.yml"), "{error}");
    }

    #[test]
    fn an_unknown_field_is_named_with_its_file() {
        let error = bundle(&[("bundle.yml", "bundle:\n  name: m\nworkspace:\n  host: x\n")]).unwrap_err().to_string();
        assert!(error.contains("bundle.yml") && error.contains("workspace"), "{error}");
        let job = JOB.replace("name: d", "nmae: d");
        let error = bundle(&[("bundle.yml", MAIN), ("resources/a.yml", &job)]).unwrap_err().to_string();
        assert!(error.contains("a.yml") && error.contains("nmae"), "{error}");
    }

    #[test]
    fn a_names_that_would_leave_the_folder_is_refused() {
        let job = JOB.replace("demo:", "../../etc:");
        let error = bundle(&[("bundle.yml", MAIN), ("resources/a.yml", &job)]).unwrap_err();
        assert!(matches!(error, BundleError::BadName { kind: "job", .. }), "{error}");
    }
}
