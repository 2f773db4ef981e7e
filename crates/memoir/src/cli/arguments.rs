//! What each command takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use memoir_core::Timestamp;

use crate::config::Flag;
use crate::eval::ReportFormat;
use crate::output::Format;

/// Flags that every command takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Configuration")]
pub struct ConfigurationArguments {
    /// Set a configuration key, as in `--set state.shards=4`; may be given many times (`memoir config` lists all keys)
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,

    /// The configuration file [default: config/memoir.toml, where it exists]
    #[arg(long, value_name = "FILE", overrides_with = "config", value_hint = clap::ValueHint::FilePath)]
    pub config: Option<PathBuf>,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, Args)]
pub struct FormatArguments {
    /// How rows are written
    #[arg(long, value_enum, default_value_t, hide_possible_values = false)]
    pub format: Format,
}

/// Create the tables
///
/// What is there stays as it is: run again, it changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  memoir setup\n  memoir setup --print-sql > current_view.sql")]
pub struct SetupArguments {
    /// Print the view of current facts as Spark SQL, and create nothing
    #[arg(long, conflicts_with = "format")]
    pub print_sql: bool,

    #[command(flatten)]
    pub format: FormatArguments,
    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}

/// Write synthetic conversations: those of the demo, or a load of any size
///
/// Without --users, the hand-written conversations of the demo. Ids are the same in every run, and only rows that are
/// not there yet are appended.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  memoir generate\n  memoir generate --users 50000 --events 1000000 --seed 1 --out load.ndjson"
)]
pub struct GenerateArguments {
    /// How many users a load has
    #[arg(long, value_name = "N", requires = "events", value_parser = clap::value_parser!(u64).range(1..))]
    pub users: Option<u64>,

    /// How many events a load has
    #[arg(long, value_name = "N", requires = "users", value_parser = clap::value_parser!(u64).range(1..))]
    pub events: Option<u64>,

    /// What a load is made from: another seed gives another load
    #[arg(long, value_name = "S", default_value_t = 1, requires = "users")]
    pub seed: u64,

    /// Write NDJSON to this file (`-` is standard output) instead of appending to the table
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub out: Option<PathBuf>,

    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}

/// Append events from NDJSON to conversation_events
///
/// Only ids that are not there yet are appended. A record that is no event goes to conversation_events_rejected.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  memoir ingest chats.ndjson\n  memoir ingest 'export/*.ndjson.zst'\n  zcat chats.gz | memoir ingest -"
)]
pub struct IngestArguments {
    /// Files, folders or globs of newline-delimited JSON, plain, gzip or zstd; `-` is standard input
    #[arg(required = true, value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
    pub files: Vec<String>,

    #[command(flatten)]
    pub bad_records: BadRecordArguments,
    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}

#[derive(Clone, Debug, Args)]
pub struct BadRecordArguments {
    /// What a record that is no event does: `dead-letter` or `fail` (sets source.on_bad_record)
    #[arg(long, value_name = "ACTION")]
    pub on_bad_record: Option<String>,
}

impl BadRecordArguments {
    pub fn flags(&self) -> impl Iterator<Item = Flag> {
        flag("--on-bad-record", "source.on_bad_record", self.on_bad_record.as_ref())
    }
}

fn flag(flag: &'static str, key: &str, value: Option<&String>) -> impl Iterator<Item = Flag> + use<> {
    value.map(|value| Flag { flag, key: key.to_owned(), value: value.clone() }).into_iter()
}

/// Run the stream processor
///
/// Goes on where the last run of this query stopped. SIGTERM and ctrl-c commit and leave within engine.grace; a second
/// one leaves at once.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  memoir run --trigger available-now\n  memoir run --trigger processing-time --interval 5s\n  memoir run --trigger available-now --set source.kind=files --set source.path=chats.ndjson"
)]
pub struct RunArguments {
    /// `available-now` handles all that is there and ends, `processing-time` runs until stopped (sets engine.trigger)
    #[arg(long)]
    pub trigger: Option<String>,

    /// How often a processing-time run looks at its source, as in 1s (sets engine.interval)
    #[arg(long, value_name = "DURATION")]
    pub interval: Option<String>,

    #[command(flatten)]
    pub bad_records: BadRecordArguments,
    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}

impl RunArguments {
    pub fn flags(&self) -> impl Iterator<Item = Flag> {
        flag("--trigger", "engine.trigger", self.trigger.as_ref())
            .chain(flag("--interval", "engine.interval", self.interval.as_ref()))
            .chain(self.bad_records.flags())
    }
}

/// Run SQL over the tables and the view of current facts
///
/// Reads only: no DDL, no COPY, no files from outside.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  memoir query \"SELECT * FROM v_profile_memory_current\"\n  memoir query \"SELECT action, count(*) FROM profile_memory_audit GROUP BY action\" --format csv"
)]
pub struct QueryArguments {
    /// One SELECT, EXPLAIN, DESCRIBE or SHOW statement
    pub sql: String,

    #[command(flatten)]
    pub format: FormatArguments,
    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}

/// Print what is remembered about a user, now or as it stood at a time
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  memoir profile sam_patel\n  memoir profile sam_patel --as-of 2025-10-01T00:00:00Z --format json"
)]
pub struct ProfileArguments {
    pub user: String,

    /// The facts as they stood after all emissions up to this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub as_of: Option<Timestamp>,

    #[command(flatten)]
    pub format: FormatArguments,
    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}

/// Print how a user's facts, or one of them, came to be
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  memoir history sam_patel\n  memoir history sam_patel location --all")]
pub struct HistoryArguments {
    pub user: String,

    /// Only this fact
    pub key: Option<String>,

    /// Also the emissions that left a fact as it was
    #[arg(long)]
    pub all: bool,

    #[command(flatten)]
    pub format: FormatArguments,
    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}

/// Print the messages that a fact rests on, and every change of it
///
/// The messages stand word for word where conversation_events has them; else the quote that the extractor gave. It says
/// which.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  memoir explain sam_patel location")]
pub struct ExplainArguments {
    pub user: String,
    pub key: String,

    #[command(flatten)]
    pub format: FormatArguments,
    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}

/// Print a report: who is remembered, how facts changed, and when
#[derive(Debug, Args)]
pub struct ExploreArguments {
    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}

/// Score the extractor in force against labelled conversations
///
/// Runs the conversations of an exam end to end, in event time, in a warehouse and state of their own, and compares the
/// facts that are remembered in the end with those that should be. Nothing is written to the warehouse in force.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  memoir eval exam.jsonl --errors\n  memoir eval exam.jsonl --format json --set extractor.kind=heuristic\n  memoir eval exam.jsonl --keep exam-run && memoir explore --set warehouse.uri=exam-run/warehouse"
)]
pub struct EvalArguments {
    /// Conversations with the facts that should be remembered at their end, one JSON object a line
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub exam: PathBuf,

    /// How the figures are written
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,

    /// List every fact that is wrong or missed, and every violation
    #[arg(long)]
    pub errors: bool,

    /// Keep events, warehouse and state in this folder, which must be new or empty
    #[arg(long, value_name = "FOLDER", value_hint = clap::ValueHint::DirPath)]
    pub keep: Option<PathBuf>,

    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}

/// Look into the state of a query while nothing runs
///
/// Without a command, its shards.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  memoir state\n  memoir state user sam_patel --format json"
)]
pub struct StateArguments {
    #[command(subcommand)]
    pub command: Option<StateCommand>,

    #[command(flatten)]
    pub format: FormatArguments,
    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}

#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// The shards: epochs, offsets, what is pending
    #[command(visible_alias = "list")]
    Shards(ShardsArguments),
    /// The users, and how much is kept for each
    Users(LimitedArguments),
    /// The variables of one user
    User(StateUserArguments),
    /// The timers, in the order in which they are due
    Timers(LimitedArguments),
    /// Move all users to another number of shards
    ///
    /// The last run must have come to its end: every shard has read equally far, and no row waits for its table.
    #[command(after_help = "Example:\n  memoir state repartition --shards 16")]
    Repartition(RepartitionArguments),
    /// Make state and tables fit each other again, and print what was found and done
    ///
    /// For a state that was deleted, a table that was deleted, or an older copy of either. What a table holds is not
    /// appended again: the next run reads the source again where the state lacks something, and takes from the tables what
    /// they hold. Nothing is deleted from a table. Without a state, one is made.
    #[command(after_help = "Examples:\n  memoir state reconcile --dry-run\n  memoir state reconcile --format json")]
    Reconcile(ReconcileArguments),
}

impl StateArguments {
    pub fn configuration(&self) -> &ConfigurationArguments {
        match &self.command {
            None => &self.configuration,
            Some(StateCommand::Shards(arguments)) => &arguments.configuration,
            Some(StateCommand::Users(arguments) | StateCommand::Timers(arguments)) => &arguments.configuration,
            Some(StateCommand::User(arguments)) => &arguments.configuration,
            Some(StateCommand::Repartition(arguments)) => &arguments.configuration,
            Some(StateCommand::Reconcile(arguments)) => &arguments.configuration,
        }
    }

    pub fn flags(&self) -> impl Iterator<Item = Flag> {
        let shards = match &self.command {
            Some(StateCommand::Repartition(arguments)) => arguments.shards.as_ref(),
            _ => None,
        };
        flag("--shards", "state.shards", shards)
    }
}

#[derive(Debug, Args)]
pub struct RepartitionArguments {
    /// The new number of shards (sets state.shards)
    #[arg(long, value_name = "N")]
    pub shards: Option<String>,

    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}

#[derive(Debug, Args)]
pub struct ReconcileArguments {
    /// Only find out what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub format: FormatArguments,
    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}

#[derive(Debug, Args)]
pub struct ShardsArguments {
    #[command(flatten)]
    pub format: FormatArguments,
    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}

#[derive(Debug, Args)]
pub struct LimitedArguments {
    /// At most so many rows
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    pub limit: usize,

    #[command(flatten)]
    pub format: FormatArguments,
    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}

#[derive(Debug, Args)]
pub struct StateUserArguments {
    pub user: String,

    #[command(flatten)]
    pub format: FormatArguments,
    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}

/// Check folders, tables, source and endpoint, and say what to do
///
/// Ends with exit code 1 where a run would fail. Where a model is configured, it is asked one small question.
#[derive(Debug, Args)]
pub struct DoctorArguments {
    #[command(flatten)]
    pub format: FormatArguments,
    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}

/// Reads a time, or a day as its first moment.
fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text)
        .or_else(|error| Timestamp::parse(&format!("{text}T00:00:00Z")).map_err(|_| error))
        .map_err(|error| error.to_string())
}

/// Print the configuration in force, and where each value came from
///
/// Secrets are masked.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  memoir config\n  memoir config --set state.shards=4 --format json\n  memoir config --docs > docs/configuration.md"
)]
pub struct ConfigArguments {
    /// Print the reference of all keys in Markdown instead
    #[arg(long, conflicts_with = "format")]
    pub docs: bool,

    #[command(flatten)]
    pub format: FormatArguments,
    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}

/// Validate, deploy and run the jobs of bundle.yml
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct BundleArguments {
    #[command(flatten)]
    pub configuration: ConfigurationArguments,

    #[command(subcommand)]
    pub command: BundleCommand,
}

#[derive(Debug, Subcommand)]
pub enum BundleCommand {
    /// Check the bundle for a target, and say what it holds
    #[command(after_help = "Example:\n  memoir bundle validate -t dev")]
    Validate(BundleTargetArguments),
    /// Write the resolved jobs to .memoir/bundle/<target>/
    #[command(
        after_help = "Examples:\n  memoir bundle deploy -t dev\n  memoir bundle deploy -t prod --var warehouse_uri=s3://lake/memoir"
    )]
    Deploy(BundleTargetArguments),
    /// Run a job that was deployed
    ///
    /// Its tasks run one after the other, each as a process of its own, in the bundle's folder. The first that fails
    /// ends the job with its exit code. Configuration flags are handed on to every task.
    #[command(after_help = "Example:\n  memoir bundle run profile-memory-demo -t dev")]
    Run(BundleRunArguments),
}

impl BundleCommand {
    pub fn target(&self) -> &BundleTargetArguments {
        match self {
            Self::Validate(arguments) | Self::Deploy(arguments) => arguments,
            Self::Run(arguments) => &arguments.target,
        }
    }
}

#[derive(Debug, Args)]
pub struct BundleTargetArguments {
    /// The target; without it the bundle's default one
    #[arg(short, long)]
    pub target: Option<String>,

    /// Give a variable a value; may be given many times. Wins over the environment's BUNDLE_VAR_<name>
    #[arg(long, value_name = "NAME=VALUE")]
    pub var: Vec<String>,

    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}

#[derive(Debug, Args)]
pub struct BundleRunArguments {
    /// The job's key or name
    pub job: String,

    #[command(flatten)]
    pub target: BundleTargetArguments,
}

/// Serve a test tool that behaves like a model endpoint, good and bad; it is never a model
///
/// It speaks the paths of Databricks, OpenAI and Azure, and fails as a script says. Its answers are made by the built-in
/// rules. The first line on standard output is its address; GET /stats gives what it counted. See docs/model.md.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  memoir simulate-endpoint --script storm.toml --port 8400\n  memoir run --set extractor.base_url=http://127.0.0.1:8400/v1 --set extractor.endpoint=simulated"
)]
pub struct SimulateEndpointArguments {
    /// What it does with which request: a TOML file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub script: PathBuf,

    /// The port on 127.0.0.1; 0 is any that is free
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub port: u16,

    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  memoir completions bash > ~/.local/share/bash-completion/completions/memoir")]
pub struct CompletionsArguments {
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,

    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}

/// Print the manual page, or write the pages of all commands to a folder
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  memoir man | man -l -\n  memoir man --out ~/.local/share/man/man1")]
pub struct ManArguments {
    /// The folder for the pages of all commands
    #[arg(long, value_name = "FOLDER", value_hint = clap::ValueHint::DirPath)]
    pub out: Option<PathBuf>,

    #[command(flatten)]
    pub configuration: ConfigurationArguments,
}
