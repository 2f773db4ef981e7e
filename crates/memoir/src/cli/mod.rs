//! The command line: every command and flag, with its help. Shell completions and the man pages are made from the same
//! definitions. What a command does stands in `commands/`, a file a command.

mod arguments;

use clap::{Parser, Subcommand};

pub use arguments::*;

use crate::config::{ConfigError, Flag};

const EXAMPLES: &str = "\
Examples:
  memoir setup                                   create the tables
  memoir generate                                write the demo's conversations
  memoir run --trigger available-now             remember what they say
  memoir explore                                 look at what is remembered
  memoir query \"SELECT * FROM v_profile_memory_current\" --format json

Exit codes: 0 done, 1 failed while running, 2 wrong usage or configuration,
130 or 143 an available-now run ended by a signal.";

/// Long-term memory about the people who talk to an assistant.
///
/// Memoir reads conversation events, keeps state per user, finds out which durable facts a conversation reveals, and
/// appends every change of every fact to a Delta table.
#[derive(Debug, Parser)]
#[command(name = "memoir", version, after_help = EXAMPLES, max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub configuration: ConfigurationArguments,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Setup(SetupArguments),
    Generate(GenerateArguments),
    Ingest(IngestArguments),
    Run(RunArguments),
    Query(QueryArguments),
    Profile(ProfileArguments),
    History(HistoryArguments),
    Explain(ExplainArguments),
    Explore(ExploreArguments),
    Eval(EvalArguments),
    State(StateArguments),
    Doctor(DoctorArguments),
    Config(ConfigArguments),
    Bundle(BundleArguments),
    SimulateEndpoint(SimulateEndpointArguments),
    Completions(CompletionsArguments),
    Man(ManArguments),
}

impl Command {
    /// The configuration flags that were given after the command.
    fn configuration(&self) -> &ConfigurationArguments {
        match self {
            Self::Setup(arguments) => &arguments.configuration,
            Self::Generate(arguments) => &arguments.configuration,
            Self::Ingest(arguments) => &arguments.configuration,
            Self::Run(arguments) => &arguments.configuration,
            Self::Query(arguments) => &arguments.configuration,
            Self::Profile(arguments) => &arguments.configuration,
            Self::History(arguments) => &arguments.configuration,
            Self::Explain(arguments) => &arguments.configuration,
            Self::Explore(arguments) => &arguments.configuration,
            Self::Eval(arguments) => &arguments.configuration,
            Self::State(arguments) => arguments.configuration(),
            Self::Doctor(arguments) => &arguments.configuration,
            Self::Config(arguments) => &arguments.configuration,
            Self::Bundle(arguments) => &arguments.command.target().configuration,
            Self::SimulateEndpoint(arguments) => &arguments.configuration,
            Self::Completions(arguments) => &arguments.configuration,
            Self::Man(arguments) => &arguments.configuration,
        }
    }

    /// The keys that a command's own flags set.
    fn own_flags(&self) -> Vec<Flag> {
        match self {
            Self::Ingest(arguments) => arguments.bad_records.flags().collect(),
            Self::Run(arguments) => arguments.flags().collect(),
            Self::State(arguments) => arguments.flags().collect(),
            _ => Vec::new(),
        }
    }
}

impl Cli {
    /// Every key that is set on the command line; a later one wins. A command's own flags win over `--set`.
    pub fn flags(&self) -> Result<Vec<Flag>, ConfigError> {
        let mut flags = self.assignments().map(|text| Flag::from_assignment(text)).collect::<Result<Vec<_>, _>>()?;
        flags.extend(self.command.own_flags());
        Ok(flags)
    }

    /// What `--set` was given, before and after the command.
    pub fn assignments(&self) -> impl Iterator<Item = &String> {
        self.configurations().flat_map(|arguments| &arguments.set)
    }

    /// The file of `--config`: the last one given.
    pub fn config_file(&self) -> Option<&std::path::Path> {
        self.configurations().filter_map(|arguments| arguments.config.as_deref()).last()
    }

    /// The configuration flags in the order of the command line: before the command, between its words, after it.
    fn configurations(&self) -> impl Iterator<Item = &ConfigurationArguments> {
        let between = match &self.command {
            Command::Bundle(arguments) => Some(&arguments.configuration),
            _ => None,
        };
        [Some(&self.configuration), between, Some(self.command.configuration())].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn keys_may_be_set_before_and_after_a_command_and_the_later_one_counts() {
        let cli = parse("memoir --set state.shards=1 --config a.toml config --set state.shards=2 --set query.name=q")
            .unwrap();
        let values: Vec<_> = cli.flags().unwrap().into_iter().map(|flag| flag.value).collect();
        assert_eq!(values, ["1", "2", "q"]);
        assert_eq!(cli.config_file(), Some(std::path::Path::new("a.toml")));
    }

    #[test]
    fn keys_may_be_set_between_the_words_of_a_command() {
        let cli = parse("memoir bundle --set state.shards=1 run job --set state.shards=2").unwrap();
        let values: Vec<_> = cli.flags().unwrap().into_iter().map(|flag| flag.value).collect();
        assert_eq!(values, ["1", "2"]);
    }

    #[test]
    fn a_commands_own_flags_set_keys_and_win_over_set() {
        let cli =
            parse("memoir run --trigger available-now --interval 5s --set engine.trigger=processing-time").unwrap();
        let flags: Vec<_> = cli.flags().unwrap().into_iter().map(|flag| (flag.flag, flag.key, flag.value)).collect();
        let of = |flag, key: &str, value: &str| (flag, key.to_owned(), value.to_owned());
        assert_eq!(
            flags,
            [
                of("--set", "engine.trigger", "processing-time"),
                of("--trigger", "engine.trigger", "available-now"),
                of("--interval", "engine.interval", "5s")
            ]
        );
    }

    #[test]
    fn every_command_has_an_about_line_and_takes_configuration_flags() {
        fn check(command: &clap::Command, path: &str) {
            assert!(command.get_about().is_some(), "{path} has no help");
            if command.has_subcommands() {
                for sub in command.get_subcommands() {
                    check(sub, &format!("{path} {}", sub.get_name()));
                }
            } else {
                for flag in ["set", "config"] {
                    assert!(command.get_arguments().any(|a| a.get_long() == Some(flag)), "{path} lacks --{flag}");
                }
            }
        }
        check(&Cli::command(), "memoir");
    }
}
