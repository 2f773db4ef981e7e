//! A bundle for one target: variables have values, tasks have an order, and what is wrong is said before anything runs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::document::{Document, JobText, Mode, TaskText};
use super::error::BundleError;
use super::template::expand;

/// Values for variables that do not stand in the bundle: they win over those that do.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    /// `--var name=value`.
    pub flags: BTreeMap<String, String>,
    /// `BUNDLE_VAR_name`, without the prefix.
    pub environment: BTreeMap<String, String>,
}

impl Variables {
    pub fn new(flags: &[String], environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, BundleError> {
        let mut variables = Self::default();
        for text in flags {
            let (name, value) =
                text.split_once('=').ok_or_else(|| BundleError::NotAnAssignment { text: text.clone() })?;
            variables.flags.insert(name.trim().to_owned(), value.to_owned());
        }
        for (name, value) in environment {
            if let Some(name) = name.strip_prefix("BUNDLE_VAR_") {
                variables.environment.insert(name.to_owned(), value);
            }
        }
        Ok(variables)
    }
}

/// A bundle for one target.
#[derive(Debug, PartialEq, Eq)]
pub struct Resolved {
    pub bundle: String,
    pub target: String,
    pub mode: Option<Mode>,
    pub variables: Vec<ResolvedVariable>,
    pub jobs: Vec<Job>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct ResolvedVariable {
    pub name: String,
    pub value: String,
    pub description: Option<String>,
}

/// A job that can run: no references are left, and tasks stand in an order in which each follows what it depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    pub key: String,
    pub name: String,
    pub description: Option<String>,
    pub tasks: Vec<Task>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    pub task_key: String,
    pub description: Option<String>,
    pub depends_on: Vec<String>,
    /// The arguments for the binary.
    pub memoir: Vec<String>,
}

impl Job {
    /// Whether `name` means this job: its key or its name, with `-` for `_` or the other way round.
    pub fn is_named(&self, name: &str) -> bool {
        let plain = |text: &str| text.replace('-', "_");
        plain(&self.key) == plain(name) || plain(&self.name) == plain(name)
    }
}

/// Resolves a bundle for `target`, or for the default one.
pub fn resolve(document: &Document, target: Option<&str>, given: &Variables) -> Result<Resolved, BundleError> {
    let target = pick_target(document, target)?;
    let scope = Scope::new(document, &target, given)?;
    // Each variable must have a value, also one that no job uses: as Databricks has it.
    let mut variables = Vec::new();
    for (name, variable) in &document.variables {
        let value = scope.variable(name, "variables", &mut Vec::new())?;
        variables.push(ResolvedVariable { name: name.clone(), value, description: variable.description.clone() });
    }
    let jobs = document.jobs.iter().map(|(key, job)| resolve_job(&scope, key, job)).collect::<Result<_, _>>()?;
    let mode = document.targets.get(&target).and_then(|target| target.mode);
    Ok(Resolved { bundle: document.name.clone(), target, mode, variables, jobs })
}

/// The target of that name, or the one marked as default, or the only one.
pub fn pick_target(document: &Document, name: Option<&str>) -> Result<String, BundleError> {
    if let Some(name) = name {
        return if document.targets.contains_key(name) {
            Ok(name.to_owned())
        } else {
            Err(BundleError::UnknownTarget { name: name.to_owned(), known: list(document.targets.keys()) })
        };
    }
    let mut names: Vec<&String> =
        document.targets.iter().filter(|(_, target)| target.default).map(|(name, _)| name).collect();
    if names.is_empty() && document.targets.len() == 1 {
        names = document.targets.keys().collect();
    }
    match names.as_slice() {
        [] => Err(BundleError::NoDefaultTarget),
        [name] => Ok((*name).clone()),
        _ => Err(BundleError::ManyDefaultTargets { names: list(names) }),
    }
}

/// What references mean for one target.
struct Scope<'a> {
    document: &'a Document,
    target: &'a str,
    /// Each declared variable with its text before expansion, where it has one.
    texts: BTreeMap<&'a str, Option<&'a str>>,
}

impl<'a> Scope<'a> {
    fn new(document: &'a Document, target: &'a str, given: &'a Variables) -> Result<Self, BundleError> {
        let mut texts: BTreeMap<&str, Option<&str>> =
            document.variables.iter().map(|(name, variable)| (name.as_str(), variable.default.as_deref())).collect();
        let of_target = document.targets.get(target).map(|target| &target.variables);
        let of_target = of_target.into_iter().flatten().map(|(name, value)| (name.as_str(), value.value()));
        for (name, value) in of_target {
            set_known(&mut texts, name, value, || format!("target `{target}`"))?;
        }
        for (name, value) in &given.environment {
            // The environment may serve other bundles too: what is not declared here is not meant for us.
            if let Some(text) = texts.get_mut(name.as_str()) {
                *text = Some(value);
            }
        }
        for (name, value) in &given.flags {
            set_known(&mut texts, name, value, || "--var".to_owned())?;
        }
        Ok(Self { document, target, texts })
    }

    /// The value of a variable. `path` holds the variables whose values are being worked out.
    fn variable(&self, name: &str, place: &str, path: &mut Vec<String>) -> Result<String, BundleError> {
        let Some(text) = self.texts.get(name) else {
            return Err(unknown_variable(name, place, self.texts.keys()));
        };
        let text =
            text.ok_or_else(|| BundleError::NoValue { name: name.to_owned(), target: self.target.to_owned() })?;
        if let Some(start) = path.iter().position(|on_path| on_path == name) {
            let circle = path.iter().skip(start).map(String::as_str).chain([name]).collect::<Vec<_>>().join(" → ");
            return Err(BundleError::VariableCycle { circle });
        }
        path.push(name.to_owned());
        let value = expand(text, &format!("variable `{name}`"), |reference| self.reference(reference, name, path));
        path.pop();
        value
    }

    fn reference(&self, reference: &str, place: &str, path: &mut Vec<String>) -> Result<String, BundleError> {
        match reference {
            "bundle.target" => Ok(self.target.to_owned()),
            "bundle.name" => Ok(self.document.name.clone()),
            _ => match reference.strip_prefix("var.") {
                Some(name) => self.variable(name, place, path),
                None => Err(BundleError::UnknownReference { reference: reference.to_owned(), place: place.to_owned() }),
            },
        }
    }

    fn expand(&self, text: &str, place: &str) -> Result<String, BundleError> {
        expand(text, place, |reference| self.reference(reference, place, &mut Vec::new()))
    }
}

fn set_known<'a>(
    texts: &mut BTreeMap<&'a str, Option<&'a str>>,
    name: &'a str,
    value: &'a str,
    place: impl Fn() -> String,
) -> Result<(), BundleError> {
    match texts.get_mut(name) {
        Some(text) => {
            *text = Some(value);
            Ok(())
        }
        None => Err(unknown_variable(name, &place(), texts.keys())),
    }
}

fn unknown_variable<'a>(name: &str, place: &str, known: impl IntoIterator<Item = &'a &'a str>) -> BundleError {
    BundleError::UnknownVariable { name: name.to_owned(), place: place.to_owned(), known: list(known) }
}

fn resolve_job(scope: &Scope<'_>, key: &str, job: &JobText) -> Result<Job, BundleError> {
    if job.tasks.is_empty() {
        return Err(BundleError::NoTasks { job: key.to_owned() });
    }
    let name = match &job.name {
        Some(name) => scope.expand(name, &format!("the name of job `{key}`"))?,
        None => key.to_owned(),
    };
    let tasks = job.tasks.iter().map(|task| resolve_task(scope, key, task)).collect::<Result<Vec<_>, _>>()?;
    Ok(Job { key: key.to_owned(), name, description: job.description.clone(), tasks: in_order(key, tasks)? })
}

fn resolve_task(scope: &Scope<'_>, job: &str, task: &TaskText) -> Result<Task, BundleError> {
    let place = format!("task `{}` of job `{job}`", task.task_key);
    if let Some(field) = task.others.keys().next() {
        let (job, task, field) = (job.to_owned(), task.task_key.clone(), field.clone());
        return Err(if field.ends_with("_task") {
            BundleError::OtherTaskType { job, task, kind: field }
        } else {
            BundleError::UnknownTaskField { job, task, field }
        });
    }
    let arguments = task.memoir.as_deref().unwrap_or_default();
    if arguments.is_empty() {
        return Err(BundleError::NoCommand { job: job.to_owned(), task: task.task_key.clone() });
    }
    Ok(Task {
        task_key: task.task_key.clone(),
        description: task.description.clone(),
        depends_on: task.depends_on.iter().map(|dependency| dependency.task_key.clone()).collect(),
        memoir: arguments.iter().map(|text| scope.expand(text, &place)).collect::<Result<_, _>>()?,
    })
}

/// Puts tasks in an order in which each follows what it depends on; otherwise the order as written is kept.
fn in_order(job: &str, tasks: Vec<Task>) -> Result<Vec<Task>, BundleError> {
    let mut keys = BTreeSet::new();
    for task in &tasks {
        if !keys.insert(task.task_key.clone()) {
            return Err(BundleError::DuplicateTask { job: job.to_owned(), task: task.task_key.clone() });
        }
    }
    for task in &tasks {
        if let Some(on) = task.depends_on.iter().find(|on| !keys.contains(*on)) {
            let (task, on) = (task.task_key.clone(), on.clone());
            return Err(BundleError::UnknownTask { job: job.to_owned(), task, on, known: list(&keys) });
        }
    }
    let mut waiting = tasks;
    let mut ordered: Vec<Task> = Vec::new();
    while !waiting.is_empty() {
        let done = |key: &String| ordered.iter().any(|task| &task.task_key == key);
        match waiting.iter().position(|task| task.depends_on.iter().all(done)) {
            Some(next) => ordered.push(waiting.remove(next)),
            None => return Err(BundleError::TaskCycle { job: job.to_owned(), circle: circle(&waiting) }),
        }
    }
    Ok(ordered)
}

/// Among tasks that all wait for one another, a way that comes back to where it began.
fn circle(waiting: &[Task]) -> String {
    let mut path: Vec<&str> = Vec::new();
    let mut next = waiting.first();
    while let Some(task) = next {
        if let Some(start) = path.iter().position(|key| *key == task.task_key) {
            path.push(&task.task_key);
            return path.split_off(start).join(" → ");
        }
        path.push(&task.task_key);
        // Each of these waits for another of these, or it would not be here.
        next = waiting.iter().find(|other| task.depends_on.contains(&other.task_key));
    }
    path.join(" → ")
}

fn list<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUNDLE: &str = "
bundle:
  name: memoir
variables:
  trigger:
    description: how the pipeline runs
    default: available-now
  warehouse:
    default: ./data/${bundle.target}/${var.schema}
  schema:
    default: memory_demo
targets:
  dev:
    default: true
    mode: development
  prod:
    mode: production
    variables:
      schema: memory
resources:
  jobs:
    profile_memory_demo:
      name: profile-memory-demo
      tasks:
        - task_key: run
          depends_on: [{task_key: setup}]
          memoir: [run, --trigger, '${var.trigger}', --set, 'warehouse.uri=${var.warehouse}']
        - task_key: setup
          memoir: [setup]
";

    fn document(text: &str) -> Document {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("bundle.yml"), text).unwrap();
        Document::read(folder.path()).unwrap()
    }

    fn resolved(text: &str, target: Option<&str>, flags: &[&str]) -> Result<Resolved, BundleError> {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        resolve(&document(text), target, &Variables::new(&flags, []).unwrap())
    }

    fn arguments(resolved: &Resolved) -> String {
        resolved.jobs[0].tasks[1].memoir.join(" ")
    }

    #[test]
    fn tasks_follow_what_they_depend_on_and_references_have_their_values() {
        let resolved = resolved(BUNDLE, None, &[]).unwrap();
        assert_eq!(resolved.target, "dev");
        assert_eq!(resolved.jobs[0].tasks[0].task_key, "setup");
        assert_eq!(arguments(&resolved), "run --trigger available-now --set warehouse.uri=./data/dev/memory_demo");
    }

    #[test]
    fn a_flag_wins_over_the_environment_over_the_target_over_the_default() {
        let of_target = resolved(BUNDLE, Some("prod"), &[]).unwrap();
        assert!(arguments(&of_target).ends_with("./data/prod/memory"));
        let environment = [("BUNDLE_VAR_schema".to_owned(), "from_env".to_owned())];
        let given = Variables::new(&[], environment.clone()).unwrap();
        assert!(arguments(&resolve(&document(BUNDLE), Some("prod"), &given).unwrap()).ends_with("/from_env"));
        let given = Variables::new(&["schema=from_flag".to_owned()], environment).unwrap();
        assert!(arguments(&resolve(&document(BUNDLE), Some("prod"), &given).unwrap()).ends_with("/from_flag"));
    }

    #[test]
    fn a_job_is_known_by_its_key_and_its_name() {
        let resolved = resolved(BUNDLE, None, &[]).unwrap();
        assert!(resolved.jobs[0].is_named("profile-memory-demo"));
        assert!(resolved.jobs[0].is_named("profile_memory_demo"));
        assert!(!resolved.jobs[0].is_named("profile"));
    }

    fn error(from: &str, to: &str, target: Option<&str>, flags: &[&str]) -> String {
        assert!(BUNDLE.contains(from));
        resolved(&BUNDLE.replace(from, to), target, flags).unwrap_err().to_string()
    }

    #[test]
    fn a_cycle_is_named_from_task_to_task() {
        let message = error("memoir: [setup]", "depends_on: [{task_key: run}]\n          memoir: [setup]", None, &[]);
        assert!(message.contains("run → setup → run"), "{message}");
        let message = error("default: memory_demo", "default: ${var.warehouse}", None, &[]);
        assert!(message.contains("schema → warehouse → schema"), "{message}");
        let message = error("default: memory_demo", "default: ${var.schema}", None, &[]);
        assert!(message.contains("schema → schema"), "{message}");
    }

    #[test]
    fn what_is_unknown_is_named_with_what_is_known() {
        let message = resolved(BUNDLE, Some("staging"), &[]).unwrap_err().to_string();
        assert!(message.contains("`staging`") && message.contains("`dev`, `prod`"), "{message}");
        let message = resolved(BUNDLE, None, &["shema=x"]).unwrap_err().to_string();
        assert!(message.contains("`shema` in --var") && message.contains("`schema`"), "{message}");
        let message = error("schema: memory\n", "shema: memory\n", Some("prod"), &[]);
        assert!(message.contains("`shema` in target `prod`"), "{message}");
        let message = error("${var.trigger}", "${var.triger}", None, &[]);
        assert!(message.contains("`triger` in task `run` of job `profile_memory_demo`"), "{message}");
        let message = error("${var.trigger}", "${workspace.host}", None, &[]);
        assert!(message.contains("${workspace.host}"), "{message}");
        let message = error("{task_key: setup}", "{task_key: stup}", None, &[]);
        assert!(message.contains("depends on `stup`") && message.contains("`run`, `setup`"), "{message}");
    }

    #[test]
    fn a_variable_without_a_value_says_how_to_give_it_one() {
        let message = error("default: memory_demo", "description: none", None, &[]);
        assert!(message.contains("`schema` has no value") && message.contains("BUNDLE_VAR_schema"), "{message}");
        let text = BUNDLE.replace("default: memory_demo", "description: none");
        assert!(resolved(&text, None, &["schema=x"]).is_ok());
    }

    #[test]
    fn two_tasks_with_one_key_are_refused() {
        let message = error("task_key: setup\n          memoir", "task_key: run\n          memoir", None, &[]);
        assert!(message.contains("two tasks with the key `run`"), "{message}");
    }

    #[test]
    fn tasks_of_other_types_and_unknown_fields_are_refused_by_name() {
        let message = error("memoir: [setup]", "spark_python_task: {python_file: a.py}", None, &[]);
        assert!(message.contains("`spark_python_task`") && message.contains("`setup`"), "{message}");
        let message = error("memoir: [setup]", "memoir: [setup]\n          timeout: 5", None, &[]);
        assert!(message.contains("unknown field `timeout`"), "{message}");
        let message = error("memoir: [setup]", "description: none", None, &[]);
        assert!(message.contains("nothing to run"), "{message}");
    }

    #[test]
    fn a_target_must_be_named_where_none_is_the_default() {
        let message = error("    default: true\n    mode: development", "    mode: development", None, &[]);
        assert!(message.contains("no default target"), "{message}");
        let message = error("mode: production", "default: true", None, &[]);
        assert!(message.contains("`dev`, `prod`"), "{message}");
    }
}
