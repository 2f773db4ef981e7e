//! `memoir bundle`: validate, deploy and run the jobs of `bundle.yml`.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;

use crate::bundle::{self, BundleError, Document, Job, Resolved, Variables};
use crate::cli::{BundleCommand, BundleRunArguments, BundleTargetArguments, Cli};
use crate::exit::Exit;
use crate::output;

pub async fn run(command: &BundleCommand, cli: &Cli) -> anyhow::Result<Exit> {
    let here = std::env::current_dir().context("the working directory cannot be read")?;
    let root = bundle::root(&here, std::env::var("BUNDLE_ROOT").ok().filter(|root| !root.is_empty()).as_deref())?;
    match command {
        BundleCommand::Validate(arguments) => validate(&resolve(&root, arguments)?),
        BundleCommand::Deploy(arguments) => deploy(&root, &resolve(&root, arguments)?),
        BundleCommand::Run(arguments) => run_job(&root, arguments, &handed_on(cli, &here)).await,
    }
}

fn resolve(root: &Path, arguments: &BundleTargetArguments) -> anyhow::Result<Resolved> {
    let document = Document::read(root)?;
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let variables = Variables::new(&arguments.var, environment)?;
    Ok(bundle::resolve(&document, arguments.target.as_deref(), &variables)?)
}

fn validate(resolved: &Resolved) -> anyhow::Result<Exit> {
    let mut out = output::stdout();
    let mode = resolved.mode.map(|mode| format!(" ({mode})")).unwrap_or_default();
    writeln!(out, "Bundle {}, target {}{mode}", resolved.bundle, resolved.target)?;
    if !resolved.variables.is_empty() {
        writeln!(out, "\nVariables")?;
    }
    for variable in &resolved.variables {
        writeln!(out, "  {} = {}{}", variable.name, variable.value, comment(&variable.description))?;
    }
    for job in &resolved.jobs {
        writeln!(out, "\nJob {}{}", job.name, comment(&job.description))?;
        for task in &job.tasks {
            let after = match task.depends_on.as_slice() {
                [] => String::new(),
                depends_on => format!(", after {}", depends_on.join(", ")),
            };
            writeln!(out, "  {}{after}{}", task.task_key, comment(&task.description))?;
            writeln!(out, "    memoir {}", task.memoir.join(" "))?;
        }
    }
    writeln!(out, "\nValidation OK")?;
    out.flush()?;
    Ok(Exit::DONE)
}

fn comment(description: &Option<String>) -> String {
    description.as_ref().map(|text| format!("  # {text}")).unwrap_or_default()
}

fn deploy(root: &Path, resolved: &Resolved) -> anyhow::Result<Exit> {
    let mut out = output::stdout();
    for path in bundle::deploy(root, resolved)? {
        let path = path.strip_prefix(root).unwrap_or(&path);
        writeln!(out, "Deployed {}", path.display())?;
    }
    out.flush()?;
    Ok(Exit::DONE)
}

async fn run_job(root: &Path, arguments: &BundleRunArguments, extra: &[String]) -> anyhow::Result<Exit> {
    let document = Document::read(root)?;
    let target = bundle::pick_target(&document, arguments.target.target.as_deref())?;
    let job = match bundle::deployed(root, &target, &arguments.job) {
        Err(BundleError::NotDeployed { .. }) => return Err(why_not_deployed(&document, &arguments.job, &target).into()),
        job => job?,
    };
    warn_if_changed(root, arguments, &job);
    let program = std::env::current_exe().context("the path of this program cannot be found")?;
    let code = bundle::run(&program, root, &job, extra, &mut io::stderr()).await?;
    Ok(Exit(code))
}

/// A job that is not deployed may also be one that the bundle does not have: then deploying is not the remedy.
fn why_not_deployed(document: &Document, job: &str, target: &str) -> BundleError {
    if document.has_job(job) {
        BundleError::NotDeployed { job: job.to_owned(), target: target.to_owned() }
    } else {
        let known: Vec<String> = document.jobs.keys().map(|key| format!("`{key}`")).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        BundleError::UnknownJob { name: job.to_owned(), known }
    }
}

/// `run` runs what was deployed; somebody who has edited the bundle since should hear that.
fn warn_if_changed(root: &Path, arguments: &BundleRunArguments, deployed: &Job) {
    let Ok(now) = resolve(root, &arguments.target) else { return };
    if now.jobs.iter().all(|job| job != deployed) {
        tracing::warn!(
            job = deployed.name,
            "the bundle says something else than what was deployed, which runs; `memoir bundle deploy -t {}` deploys it",
            now.target
        );
    }
}

/// Configuration flags for the tasks: they run in the bundle's folder, so a file is named in full.
fn handed_on(cli: &Cli, here: &Path) -> Vec<String> {
    let mut extra = Vec::new();
    if let Some(file) = cli.config_file() {
        extra.extend(["--config".to_owned(), here.join(file).to_string_lossy().into_owned()]);
    }
    for assignment in cli.assignments() {
        extra.extend(["--set".to_owned(), assignment.clone()]);
    }
    extra
}
