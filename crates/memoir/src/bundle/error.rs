//! What can be wrong with a bundle.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("no bundle.yml here or in a folder above; run this where bundle.yml is, or set BUNDLE_ROOT")]
    NoBundle,
    #[error("{path} is no bundle file: {message}")]
    Malformed { path: PathBuf, message: String },
    #[error("`include: {pattern}` in bundle.yml matches no file")]
    NothingIncluded { pattern: String },
    #[error("`include: {pattern}` in bundle.yml is no pattern for files: {message}")]
    BadPattern { pattern: String, message: String },
    #[error("{kind} `{name}` is defined in {first} and again in {second}")]
    DefinedTwice { kind: &'static str, name: String, first: PathBuf, second: PathBuf },
    #[error("unknown target `{name}`; bundle.yml has {known}")]
    UnknownTarget { name: String, known: String },
    #[error("bundle.yml has no default target: name one with -t, or mark one with `default: true`")]
    NoDefaultTarget,
    #[error("targets {names} all say `default: true`; only one can")]
    ManyDefaultTargets { names: String },
    #[error("unknown variable `{name}` in {place}; the bundle declares {known}")]
    UnknownVariable { name: String, place: String, known: String },
    #[error(
        "`${{{reference}}}` in {place} means nothing; there are ${{var.NAME}}, ${{bundle.target}} and ${{bundle.name}}"
    )]
    UnknownReference { reference: String, place: String },
    #[error("`${{` in {place} is not closed by `}}`")]
    Unclosed { place: String },
    #[error(
        "variable `{name}` has no value for target `{target}`: give it a default, or a value in the target, in the \
         environment as BUNDLE_VAR_{name}, or by --var {name}=VALUE"
    )]
    NoValue { name: String, target: String },
    #[error("variables refer to each other in a circle: {circle}")]
    VariableCycle { circle: String },
    #[error("`--var` takes name=value; found `{text}`")]
    NotAnAssignment { text: String },
    #[error("unknown job `{name}`; the bundle has {known}")]
    UnknownJob { name: String, known: String },
    #[error("job `{job}` has no tasks")]
    NoTasks { job: String },
    #[error("job `{job}` has two tasks with the key `{task}`")]
    DuplicateTask { job: String, task: String },
    #[error("task `{task}` of job `{job}` depends on `{on}`, which is none of the job's tasks ({known})")]
    UnknownTask { job: String, task: String, on: String, known: String },
    #[error("tasks of job `{job}` wait for each other in a circle: {circle}")]
    TaskCycle { job: String, circle: String },
    #[error("task `{task}` of job `{job}` is a `{kind}`; only `memoir: [ARGS…]` runs here")]
    OtherTaskType { job: String, task: String, kind: String },
    #[error(
        "task `{task}` of job `{job}` has an unknown field `{field}`; a task has task_key, depends_on, description and memoir"
    )]
    UnknownTaskField { job: String, task: String, field: String },
    #[error("task `{task}` of job `{job}` has nothing to run: give it `memoir: [ARGS…]`")]
    NoCommand { job: String, task: String },
    #[error("`{name}` cannot name a {kind}: use letters, digits, `_`, `-` and `.`, as it becomes a file's name")]
    BadName { kind: &'static str, name: String },
    #[error("job `{job}` is not deployed to target `{target}`; run `memoir bundle deploy -t {target}` first")]
    NotDeployed { job: String, target: String },
    #[error("{path} was not written by this version of `memoir bundle deploy` ({message}); deploy again")]
    UnreadableDeployment { path: PathBuf, message: String },
    #[error("{what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("task `{task}` cannot be started: {source}")]
    CannotStart { task: String, source: io::Error },
}

impl BundleError {
    /// Whether what was written is wrong (exit code 2), rather than something failed while running (1).
    pub fn is_definition(&self) -> bool {
        !matches!(
            self,
            Self::NotDeployed { .. } | Self::UnreadableDeployment { .. } | Self::Io { .. } | Self::CannotStart { .. }
        )
    }
}
