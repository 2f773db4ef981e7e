//! Runs a deployed job: one task after the other, each a child process of this same binary, until one fails.

use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::BundleError;
use super::resolve::{Job, Task};

/// Runs the tasks in their order with `program`, in the bundle's folder, each with `extra` arguments after its own.
/// Their output goes straight to ours; what the runner has to say goes to `report`.
///
/// Gives the exit code: 0, or that of the first task that failed, after which none is started. A signal is handed on
/// to the task that runs, and no further task is started after it.
pub async fn run(
    program: &Path,
    root: &Path,
    job: &Job,
    extra: &[String],
    report: &mut impl Write,
) -> Result<u8, BundleError> {
    let count = job.tasks.len();
    for (index, task) in job.tasks.iter().enumerate() {
        let arguments = task.memoir.iter().chain(extra).cloned().collect::<Vec<_>>();
        say(report, &format!("==> task {} ({} of {count}): memoir {}", task.task_key, index + 1, arguments.join(" ")));
        let (code, interrupted) = run_task(program, root, task, &arguments).await?;
        if code != 0 || interrupted.is_some() {
            let rest: Vec<&str> = job.tasks.iter().skip(index + 1).map(|task| task.task_key.as_str()).collect();
            let not_run = if rest.is_empty() { String::new() } else { format!("; not run: {}", rest.join(", ")) };
            say(
                report,
                &format!("==> job {} stopped: task {} ended with exit code {code}{not_run}", job.name, task.task_key),
            );
            // A task that a signal ended in good order has done its part, the job has not.
            let by_signal = interrupted.filter(|_| !rest.is_empty()).unwrap_or(0);
            return Ok(if code == 0 { by_signal } else { code });
        }
    }
    say(report, &format!("==> job {} done: {count} of {count} tasks", job.name));
    Ok(0)
}

/// Runs one task. Gives its exit code, and the code of a signal that came meanwhile.
async fn run_task(
    program: &Path,
    root: &Path,
    task: &Task,
    arguments: &[String],
) -> Result<(u8, Option<u8>), BundleError> {
    let cannot_start = |source| BundleError::CannotStart { task: task.task_key.clone(), source };
    let mut signals = Signals::new().map_err(cannot_start)?;
    // A process group of its own: else ctrl-c would reach the task twice, from the terminal and from here, and the
    // second one means "at once".
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(cannot_start)?;
    let id = child.id();
    let mut ended = tokio::task::spawn_blocking(move || wait(&mut child));
    let mut interrupted = None;
    loop {
        tokio::select! {
            status = &mut ended => {
                let status = status.map_err(|error| cannot_start(io::Error::other(error)))?.map_err(cannot_start)?;
                return Ok((code_of(status), interrupted));
            }
            number = signals.next() => {
                interrupted = Some(128 + number);
                hand_on(number, id).map_err(cannot_start)?;
            }
        }
    }
}

fn wait(child: &mut Child) -> io::Result<ExitStatus> {
    child.wait()
}

/// As a shell has it: the exit code, or 128 and the number of the signal that ended the process.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|number| 128 + number)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

/// Sends a signal to a process. The shell's own `kill` does it, as the standard library can only kill for good.
fn hand_on(number: u8, id: u32) -> io::Result<()> {
    // A process that has ended meanwhile cannot be told; its end is seen by the one who waits.
    Command::new("sh").arg("-c").arg(format!("kill -{number} {id}")).stderr(Stdio::null()).status().map(drop)
}

/// The signals that end a job.
struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The number of the next one.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.hangup.recv() => 1,
            _ = self.interrupt.recv() => 2,
            _ = self.terminate.recv() => 15,
        }
    }
}

fn say(report: &mut impl Write, line: &str) {
    // Standard error may be closed; the job goes on.
    let _ = writeln!(report, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(scripts: &[(&str, &str)]) -> Job {
        let tasks = scripts.iter().map(|(key, script)| Task {
            task_key: (*key).to_owned(),
            description: None,
            depends_on: Vec::new(),
            memoir: vec!["-c".to_owned(), (*script).to_owned()],
        });
        Job { key: "demo".to_owned(), name: "demo".to_owned(), description: None, tasks: tasks.collect() }
    }

    /// Runs scripts as tasks in a folder; gives the exit code, what was reported, and the lines of the file `log`.
    fn outcome(scripts: &[(&str, &str)], extra: &[&str]) -> (u8, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let extra: Vec<String> = extra.iter().map(|text| (*text).to_owned()).collect();
        let mut report = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let code = runtime.block_on(run(Path::new("sh"), folder.path(), &job(scripts), &extra, &mut report)).unwrap();
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        (code, String::from_utf8(report).unwrap(), log)
    }

    #[test]
    fn tasks_run_in_their_order_in_the_bundles_folder_with_the_extra_arguments() {
        let (code, report, log) = outcome(&[("one", "echo 1 $0 >> log"), ("two", "echo 2 $0 >> log")], &["extra"]);
        assert_eq!((code, log.as_str()), (0, "1 extra\n2 extra\n"));
        assert!(report.contains("task two (2 of 2)") && report.contains("job demo done"), "{report}");
    }

    #[test]
    fn the_first_failure_stops_the_job_with_its_exit_code_and_names_what_did_not_run() {
        let scripts = [("one", "exit 7"), ("two", "echo 2 >> log"), ("three", "echo 3 >> log")];
        let (code, report, log) = outcome(&scripts, &[]);
        assert_eq!((code, log.as_str()), (7, ""));
        assert!(report.contains("task one ended with exit code 7; not run: two, three"), "{report}");
    }

    #[test]
    fn a_task_that_a_signal_ended_counts_as_failed_with_128_and_its_number() {
        let (code, ..) = outcome(&[("one", "kill -9 $$"), ("two", "true")], &[]);
        assert_eq!(code, 137);
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_that_names_the_task() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let result = runtime.block_on(run(
            Path::new("/no/such/program"),
            Path::new("/"),
            &job(&[("one", "true")]),
            &[],
            &mut Vec::new(),
        ));
        assert!(result.unwrap_err().to_string().contains("task `one` cannot be started"));
    }
}
