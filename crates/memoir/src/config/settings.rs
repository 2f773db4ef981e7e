//! The settings in force, typed: what commands read. Each field is filled from the key of the same name.
//!
//! `Default` gives empty values, not the defaults of the keys; those stand in the definitions, and only
//! [`Configuration::resolve`](super::Configuration::resolve) makes settings that are complete.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use memoir_core::Timestamp;
use memoir_extract::ClientOptions;

#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub warehouse: WarehouseSettings,
    pub query: QuerySettings,
    pub source: SourceSettings,
    pub state: StateSettings,
    pub processor: ProcessorSettings,
    pub extractor: ExtractorSettings,
    pub sink: SinkSettings,
    pub engine: EngineSettings,
    pub databricks: DatabricksSettings,
    pub log: LogSettings,
}

#[derive(Clone, Debug, Default)]
pub struct WarehouseSettings {
    /// A folder, or the URI of an object store.
    pub uri: String,
    pub catalog: String,
    pub schema: String,
}

#[derive(Clone, Debug, Default)]
pub struct QuerySettings {
    pub name: String,
}

#[derive(Clone, Debug, Default)]
pub struct SourceSettings {
    pub kind: SourceKind,
    pub path: Option<String>,
    pub start: Start,
    pub archive: bool,
    pub skip_change_commits: bool,
    pub max_line_bytes: usize,
    pub on_bad_record: OnBadRecord,
    pub brokers: String,
    pub topic: String,
    pub group: String,
    pub client: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default)]
pub struct StateSettings {
    pub path: PathBuf,
    pub shards: u32,
    pub checkpoint_uri: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct ProcessorSettings {
    pub message_buffer_size: usize,
    pub max_content_chars: usize,
    pub emission_threshold: usize,
    pub dedup_window: usize,
    /// None is `off`.
    pub timer_ttl: Option<Duration>,
    pub emit_on_conversation_end: bool,
    pub emit_before_overflow: bool,
    pub drain: bool,
    pub max_facts_per_emission: usize,
    pub confidence_threshold: f64,
    pub require_evidence: bool,
    pub max_ahead: Duration,
    pub clock: ClockChoice,
    pub ttl: TimeToLive,
}

/// None is `off`.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimeToLive {
    pub buffer: Option<Duration>,
    pub facts: Option<Duration>,
    pub dedup: Option<Duration>,
}

#[derive(Clone, Debug, Default)]
pub struct ExtractorSettings {
    pub kind: ExtractorChoice,
    pub base_url: Option<String>,
    pub endpoint: Option<String>,
    pub api_key: Option<Secret>,
    pub api_version: Option<String>,
    /// A rules file, or a folder of rules files, in place of the built-in rules.
    pub rules: Option<PathBuf>,
    /// A file in place of the built-in instructions.
    pub prompt: Option<PathBuf>,
    /// How a model is asked.
    pub client: ClientOptions,
    pub max_in_flight: usize,
    pub max_pending: usize,
}

#[derive(Clone, Debug, Default)]
pub struct SinkSettings {
    pub commit_interval: Duration,
    pub audit_rows: AuditRows,
}

#[derive(Clone, Debug, Default)]
pub struct EngineSettings {
    pub trigger: Trigger,
    pub interval: Duration,
    pub epoch_interval: Duration,
    pub epoch_events: usize,
    /// 0 is as many as the machine has cores.
    pub threads: usize,
    pub cache_mb: usize,
    pub grace: Duration,
}

#[derive(Clone, Debug, Default)]
pub struct DatabricksSettings {
    pub host: Option<String>,
    pub token: Option<Secret>,
    pub client_id: Option<String>,
    pub client_secret: Option<Secret>,
    /// A section of `config_file`.
    pub profile: Option<String>,
    /// None is `~/.databrickscfg`.
    pub config_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Default)]
pub struct LogSettings {
    pub format: LogFormat,
    pub level: LogLevel,
}

/// A text that is not shown by accident.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

/// Where a new state begins to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    #[default]
    Earliest,
    Latest,
    Time(Timestamp),
    /// The version of a Delta table.
    Version(u64),
}

impl FromStr for Start {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            _ if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().map(Self::Version).map_err(|_| ())
            }
            _ => Timestamp::parse(text).map(Self::Time).map_err(|_| ()),
        }
    }
}

/// Defines an enum of words. A word is understood in any case, with `-`, `_` or nothing between its parts, so that
/// Spark's `availableNow` is `available-now`.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_meta])* $variant),+ }

        impl FromStr for $name {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                let plain = |word: &str| word.replace(['-', '_'], "").to_ascii_lowercase();
                $(if plain(text) == plain($word) { return Ok(Self::$variant); })+
                Err(())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

words!(SourceKind { #[default] Delta = "delta", Files = "files", Kafka = "kafka" });
words!(OnBadRecord { #[default] DeadLetter = "dead-letter", Fail = "fail" });
words!(
    /// Which clock timers and stamps go by; `auto` leaves it to the trigger.
    ClockChoice { #[default] Auto = "auto", ProcessingTime = "processing_time", EventTime = "event_time" }
);
words!(ExtractorChoice { #[default] Auto = "auto", Model = "model", Heuristic = "heuristic" });
words!(AuditRows { #[default] Snapshot = "snapshot", Changes = "changes" });
words!(Trigger { #[default] ProcessingTime = "processing-time", AvailableNow = "available-now" });
words!(LogFormat { #[default] Text = "text", Json = "json" });
words!(LogLevel { Error = "error", Warn = "warn", #[default] Info = "info", Debug = "debug", Trace = "trace" });

impl Settings {
    /// The clock that a run goes by: the one that was set, else the trigger's.
    pub fn runs_in_event_time(&self) -> bool {
        match self.processor.clock {
            ClockChoice::EventTime => true,
            ClockChoice::ProcessingTime => false,
            ClockChoice::Auto => self.engine.trigger == Trigger::AvailableNow,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparks_spelling_of_the_triggers_is_understood() {
        for word in ["available-now", "availableNow", "available_now"] {
            assert_eq!(word.parse(), Ok(Trigger::AvailableNow), "{word}");
        }
        assert_eq!("processingTime".parse(), Ok(Trigger::ProcessingTime));
        assert!("once".parse::<Trigger>().is_err());
    }

    #[test]
    fn a_start_is_a_word_a_version_or_a_time() {
        assert_eq!("latest".parse(), Ok(Start::Latest));
        assert_eq!("12".parse(), Ok(Start::Version(12)));
        let time = Timestamp::parse("2026-01-05T09:00:00Z").unwrap();
        assert_eq!("2026-01-05T09:00:00Z".parse(), Ok(Start::Time(time)));
        assert!("yesterday".parse::<Start>().is_err());
        assert!("".parse::<Start>().is_err());
    }

    #[test]
    fn a_secret_does_not_show_in_debug_output() {
        let settings =
            DatabricksSettings { token: Some(Secret::new("dapi123".to_owned())), ..DatabricksSettings::default() };
        assert!(!format!("{settings:?}").contains("dapi123"));
    }
}
