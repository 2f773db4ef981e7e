//! Every configuration key: its name, default, sort of value, meaning, and whether it is secret. This is the only
//! place; `memoir config`, the reference in the documentation and the environment names follow from it.

use std::str::FromStr;

use super::kind::Kind;
use super::settings::Secret;

pub struct Definition {
    /// `section.key`.
    pub key: &'static str,
    /// As it would be written after `--set`; None is not set.
    pub default: Option<&'static str>,
    pub kind: Kind,
    pub secret: bool,
    /// A variable that sets this key beside its `MEMOIR_` name.
    pub alias: Option<&'static str>,
    /// One or two sentences in Markdown.
    pub doc: &'static str,
}

impl Definition {
    /// `MEMOIR_SECTION__KEY`; a further dot in the key is two underscores again.
    pub fn variable(&self) -> String {
        format!("MEMOIR_{}", self.key.to_ascii_uppercase().replace('.', "__"))
    }

    const fn alias(mut self, variable: &'static str) -> Self {
        self.alias = Some(variable);
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

const fn key(key: &'static str, default: &'static str, kind: Kind, doc: &'static str) -> Definition {
    Definition { key, default: Some(default), kind, secret: false, alias: None, doc }
}

const fn unset(key: &'static str, kind: Kind, doc: &'static str) -> Definition {
    Definition { key, default: None, kind, secret: false, alias: None, doc }
}

fn put<T: FromStr>(slot: &mut T, text: &str) -> bool {
    text.parse().map(|value| *slot = value).is_ok()
}

/// None where the text is neither `off` nor a number above 0.
fn rate(text: &str) -> Option<Option<f64>> {
    if text == "off" {
        return Some(None);
    }
    text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0).map(Some)
}

fn put_rate(slot: &mut Option<f64>, text: &str) -> bool {
    rate(text).map(|value| *slot = value).is_some()
}

/// As [`rate`], for whole numbers.
fn put_count(slot: &mut Option<u64>, text: &str) -> bool {
    let count = || text.replace('_', "").parse().ok().filter(|count| *count > 0);
    let value = if text == "off" { Some(None) } else { count().map(Some) };
    value.map(|value| *slot = value).is_some()
}

/// In the order of the reference.
pub static DEFINITIONS: &[Definition] = &[
    key(
        "warehouse.uri",
        "./data/warehouse",
        Kind::Text { set: |s, t| s.warehouse.uri = t },
        "The folder or object-store URI (`s3://`, `abfss://`, `gs://`) that holds the tables, each under `<catalog>/<schema>/<table>`.",
    ),
    key("warehouse.catalog", "main", Kind::Name { set: |s, t| s.warehouse.catalog = t }, "The catalog's name."),
    key(
        "warehouse.schema",
        "memory_demo",
        Kind::Name { set: |s, t| s.warehouse.schema = t },
        "The schema's name within the catalog.",
    ),
    key(
        "query.name",
        "profile_memory",
        Kind::Name { set: |s, t| s.query.name = t },
        "The name of the running job. Emission ids and the `appId` of Delta transactions begin with it, and it owns its state.",
    ),
    key(
        "source.kind",
        "delta",
        Kind::Parsed { expected: "delta, files or kafka", set: |s, t| put(&mut s.source.kind, t) },
        "Where events come from: `delta` (the `conversation_events` table), `files` (see `source.path`) or `kafka`, which is not in this version and refused.",
    ),
    unset(
        "source.path",
        Kind::OptionalText { set: |s, t| s.source.path = t },
        "For `files`: a file, a folder (recursive), a glob, or `-` for standard input. Plain, gzip or zstd.",
    ),
    key(
        "source.start",
        "earliest",
        Kind::Parsed {
            expected: "earliest, latest, a time such as 2026-01-31T09:30:00Z, or the version of a Delta table",
            set: |s, t| put(&mut s.source.start, t),
        },
        "Where a new state begins to read: `earliest`, `latest`, a time, or a table version. A state that exists goes on where it stopped.",
    ),
    key(
        "source.archive",
        "false",
        Kind::Switch { set: |s, on| s.source.archive = on },
        "Whether events taken from files or Kafka are also appended to `conversation_events`.",
    ),
    key(
        "source.skip_change_commits",
        "false",
        Kind::Switch { set: |s, on| s.source.skip_change_commits = on },
        "For `delta`: whether versions that remove or rewrite data are passed over. Otherwise they stop the run.",
    ),
    key(
        "source.max_line_bytes",
        "1048576",
        Kind::Count { range: 1024..=1_073_741_824, set: |s, n| s.source.max_line_bytes = n as usize },
        "A longer line of a file is a dead letter.",
    ),
    key(
        "source.on_bad_record",
        "dead-letter",
        Kind::Parsed { expected: "dead-letter or fail", set: |s, t| put(&mut s.source.on_bad_record, t) },
        "What a record that is no event does: `dead-letter` writes it to `conversation_events_rejected`, `fail` stops the run. Also `--on-bad-record`.",
    ),
    key(
        "source.brokers",
        "localhost:9092",
        Kind::Text { set: |s, t| s.source.brokers = t },
        "For `kafka`, which is not in this version: the bootstrap servers, separated by commas.",
    ),
    key(
        "source.topic",
        "conversation_events",
        Kind::Text { set: |s, t| s.source.topic = t },
        "For `kafka`, which is not in this version: the topic.",
    ),
    key("source.group", "memoir", Kind::Text { set: |s, t| s.source.group = t }, "For `kafka`, which is not in this version: the consumer group."),
    unset(
        "source.client",
        Kind::TextMap { set: |s, name, t| drop(s.source.client.insert(name.to_owned(), t)) },
        "For `kafka`, which is not in this version: any key of librdkafka, as in `source.client.\"security.protocol\" = \"ssl\"`. In the environment, dots are underscores: `MEMOIR_SOURCE__CLIENT__SECURITY_PROTOCOL`.",
    ),
    key(
        "state.path",
        "./data/state",
        Kind::Text { set: |s, t| s.state.path = t.into() },
        "The folder that holds the state, one RocksDB a shard.",
    ),
    key(
        "state.shards",
        "8",
        Kind::Count { range: 1..=1024, set: |s, n| s.state.shards = n as u32 },
        "How many shards a new state has; fixed from then on (`memoir state repartition`). With Kafka, the topic's partitions.",
    ),
    unset(
        "state.checkpoint_uri",
        Kind::OptionalText { set: |s, t| s.state.checkpoint_uri = t },
        "Not in this version, and refused: a shared folder or object store where another process finds a shard's state. Not set: one process on one machine.",
    ),
    key(
        "processor.message_buffer_size",
        "20",
        Kind::Count { range: 1..=1000, set: |s, n| s.processor.message_buffer_size = n as usize },
        "How many recent messages of a user are kept: the window of an extraction.",
    ),
    key(
        "processor.max_content_chars",
        "2000",
        Kind::Count { range: 1..=100_000, set: |s, n| s.processor.max_content_chars = n as usize },
        "A message is clipped to so many characters when it is kept.",
    ),
    key(
        "processor.emission_threshold",
        "10",
        Kind::Count { range: 1..=1_000_000, set: |s, n| s.processor.emission_threshold = n as usize },
        "So many user messages since the last emission trigger the next one.",
    ),
    key(
        "processor.dedup_window",
        "256",
        Kind::Count { range: 0..=60_000, set: |s, n| s.processor.dedup_window = n as usize },
        "An `event_id` seen among so many last events of its user is dropped.",
    ),
    key(
        "processor.timer_ttl",
        "10m",
        Kind::DurationOrOff { set: |s, d| s.processor.timer_ttl = d },
        "No user message waits longer than this for an emission.",
    ),
    key(
        "processor.emit_on_conversation_end",
        "true",
        Kind::Switch { set: |s, on| s.processor.emit_on_conversation_end = on },
        "Whether a new conversation triggers an emission for what is pending.",
    ),
    key(
        "processor.emit_before_overflow",
        "true",
        Kind::Switch { set: |s, on| s.processor.emit_before_overflow = on },
        "Whether an emission is triggered before a pending message would fall out of the buffer unseen.",
    ),
    key(
        "processor.drain",
        "true",
        Kind::Switch { set: |s, on| s.processor.drain = on },
        "Whether the end of an available-now run triggers an emission for everything pending.",
    ),
    key(
        "processor.max_facts_per_emission",
        "30",
        Kind::Count { range: 1..=1000, set: |s, n| s.processor.max_facts_per_emission = n as usize },
        "At most so many facts are taken from one answer.",
    ),
    key(
        "processor.confidence_threshold",
        "0.6",
        Kind::Fraction { set: |s, n| s.processor.confidence_threshold = n },
        "A fact below this confidence is ignored; a deletion is not.",
    ),
    key(
        "processor.require_evidence",
        "true",
        Kind::Switch { set: |s, on| s.processor.require_evidence = on },
        "Whether a fact must quote words that the user wrote.",
    ),
    key(
        "processor.max_ahead",
        "1d",
        Kind::Duration { set: |s, d| s.processor.max_ahead = d },
        "An event further past the wall clock than this is a dead letter.",
    ),
    key(
        "processor.clock",
        "auto",
        Kind::Parsed { expected: "auto, processing_time or event_time", set: |s, t| put(&mut s.processor.clock, t) },
        "The clock of timers and stamps: `processing_time`, `event_time`, or `auto`: event time for an available-now run, else processing time.",
    ),
    key(
        "processor.ttl.buffer",
        "off",
        Kind::DurationOrOff { set: |s, d| s.processor.ttl.buffer = d },
        "Messages older than this leave the window.",
    ),
    key(
        "processor.ttl.facts",
        "off",
        Kind::DurationOrOff { set: |s, d| s.processor.ttl.facts = d },
        "A fact that nothing confirmed for so long is deleted in the user's next emission.",
    ),
    key(
        "processor.ttl.dedup",
        "off",
        Kind::DurationOrOff { set: |s, d| s.processor.ttl.dedup = d },
        "How long an `event_id` is remembered at most.",
    ),
    key(
        "extractor.kind",
        "auto",
        Kind::Parsed { expected: "auto, model or heuristic", set: |s, t| put(&mut s.extractor.kind, t) },
        "Who finds facts: `model` (a Model Serving endpoint), `heuristic` (the rules, no network), or `auto`: the model where host, token and endpoint are set, else the rules.",
    ),
    unset(
        "extractor.endpoint",
        Kind::OptionalText { set: |s, t| s.extractor.endpoint = t },
        "The name of the Model Serving endpoint.",
    ),
    unset(
        "extractor.base_url",
        Kind::OptionalText { set: |s, t| s.extractor.base_url = t },
        "An OpenAI-compatible server or gateway in place of the workspace's endpoint: requests go to `<base_url>/chat/completions`. It may need no token.",
    ),
    unset(
        "extractor.api_key",
        Kind::OptionalText { set: |s, t| s.extractor.api_key = t.map(Secret::new) },
        "The token of the server at `extractor.base_url`. Without it `databricks.token` or the OAuth client is used, if that server is the workspace's own, Databricks', or no `databricks.host` is set.",
    )
    .secret(),
    unset(
        "extractor.api_version",
        Kind::OptionalText { set: |s, t| s.extractor.api_version = t },
        "The server at `extractor.base_url` is Azure OpenAI: requests go to `<base_url>/openai/deployments/<endpoint>/chat/completions` with this `api-version`, the token into the header `api-key`.",
    ),
    unset(
        "extractor.rules",
        Kind::OptionalText { set: |s, t| s.extractor.rules = t.map(Into::into) },
        "A rules file, or a folder of rules files, in place of the built-in rules.",
    ),
    unset(
        "extractor.prompt",
        Kind::OptionalText { set: |s, t| s.extractor.prompt = t.map(Into::into) },
        "A file of instructions for the model in place of the built-in ones (`config/prompts/`). The file's name is their version.",
    ),
    key(
        "extractor.connect_timeout",
        "10s",
        Kind::Duration { set: |s, d| s.extractor.client.connect_timeout = d },
        "A connection to the endpoint that takes longer has failed.",
    ),
    key(
        "extractor.first_byte_timeout",
        "60s",
        Kind::Duration { set: |s, d| s.extractor.client.first_byte_timeout = d },
        "A request whose answer begins later has failed. Most endpoints begin when the whole answer is written.",
    ),
    key(
        "extractor.timeout",
        "60s",
        Kind::Duration { set: |s, d| s.extractor.client.timeout = d },
        "A request whose answer is whole later has failed.",
    ),
    key(
        "extractor.total_timeout",
        "2m",
        Kind::Duration { set: |s, d| s.extractor.client.total_timeout = d },
        "For all requests of one extraction and the waits between them; then the rules answer. Waiting for a limit of `extractor.*` does not count.",
    ),
    key(
        "extractor.max_attempts",
        "5",
        Kind::Count { range: 1..=100, set: |s, n| s.extractor.client.max_attempts = n as u32 },
        "How often a request is sent before it is given up. Sent again is what may heal: time-outs, lost connections, 408, 429 and 5xx.",
    ),
    key(
        "extractor.retry_backoff",
        "500ms",
        Kind::Duration { set: |s, d| s.extractor.client.retry_backoff = d },
        "The longest wait before a second try; it doubles with each further one, and each wait is a random part of it. `Retry-After` is obeyed.",
    ),
    key(
        "extractor.max_in_flight",
        "16",
        Kind::Count { range: 1..=1024, set: |s, n| s.extractor.max_in_flight = n as usize },
        "At most so many requests wait for an answer at once, in the whole process.",
    ),
    key(
        "extractor.max_pending",
        "1000",
        Kind::Count { range: 1..=10_000_000, set: |s, n| s.extractor.max_pending = n as usize },
        "When a shard has so many extractions pending the source is paused.",
    ),
    key(
        "extractor.max_requests_per_second",
        "off",
        Kind::Parsed {
            expected: "a number above 0, or off",
            set: |s, t| put_rate(&mut s.extractor.client.max_requests_per_second, t),
        },
        "At most so many requests a second to the endpoint, in the whole process, evenly spaced.",
    ),
    key(
        "extractor.max_tokens_per_minute",
        "off",
        Kind::Parsed {
            expected: "a number above 0, or off",
            set: |s, t| put_rate(&mut s.extractor.client.max_tokens_per_minute, t),
        },
        "At most so many tokens a minute, prompts and answers together, in the whole process. Estimated before a request, corrected by the endpoint's count.",
    ),
    key(
        "extractor.max_tokens_per_day",
        "off",
        Kind::Parsed {
            expected: "a whole number above 0, or off",
            set: |s, t| put_count(&mut s.extractor.client.max_tokens_per_day, t),
        },
        "So many tokens may be spent on a UTC day, prompts and answers together; then the rules answer until the next. What the extractions table holds of today counts.",
    ),
    key(
        "extractor.breaker_failures",
        "8",
        Kind::Count { range: 1..=1_000_000, set: |s, n| s.extractor.client.breaker_failures = n as u32 },
        "So many failed requests in a row open the circuit breaker: nobody asks, and the rules answer.",
    ),
    key(
        "extractor.breaker_cooldown",
        "30s",
        Kind::Duration { set: |s, d| s.extractor.client.breaker_cooldown = d },
        "How long the circuit breaker stays open. Then one request tries, and closes it or opens it again.",
    ),
    key(
        "sink.commit_interval",
        "1s",
        Kind::Duration { set: |s, d| s.sink.commit_interval = d },
        "How often the outboxes are drained into Delta commits.",
    ),
    key(
        "sink.audit_rows",
        "snapshot",
        Kind::Parsed { expected: "snapshot or changes", set: |s, t| put(&mut s.sink.audit_rows, t) },
        "What an emission appends: `snapshot` is every current fact, unchanged ones too; `changes` only what changed.",
    ),
    key(
        "engine.trigger",
        "processing-time",
        Kind::Parsed { expected: "available-now or processing-time", set: |s, t| put(&mut s.engine.trigger, t) },
        "`available-now` handles all that is there and ends; `processing-time` runs until it is stopped. Also `--trigger`.",
    ),
    key(
        "engine.interval",
        "1s",
        Kind::Duration { set: |s, d| s.engine.interval = d },
        "How often a processing-time run looks at its source. Also `--interval`.",
    ),
    key(
        "engine.epoch_interval",
        "500ms",
        Kind::Duration { set: |s, d| s.engine.epoch_interval = d },
        "A shard commits an epoch at least this often while there is something to commit.",
    ),
    key(
        "engine.epoch_events",
        "8192",
        Kind::Count { range: 1..=10_000_000, set: |s, n| s.engine.epoch_events = n as usize },
        "A shard commits an epoch after so many events at the latest.",
    ),
    key(
        "engine.threads",
        "0",
        Kind::Count { range: 0..=1024, set: |s, n| s.engine.threads = n as usize },
        "Threads that process shards; 0 is as many as the machine has cores.",
    ),
    key(
        "engine.cache_mb",
        "96",
        Kind::Count { range: 8..=1_048_576, set: |s, n| s.engine.cache_mb = n as usize },
        "The memory in MiB for the states of users in use, over all shards.",
    ),
    key(
        "engine.grace",
        "10s",
        Kind::Duration { set: |s, d| s.engine.grace = d },
        "After SIGTERM or ctrl-c, so long may it take to commit and leave.",
    ),
    unset(
        "databricks.host",
        Kind::OptionalText { set: |s, t| s.databricks.host = t },
        "The workspace's host, as in `https://adb-1234567890.1.azuredatabricks.net`.",
    )
    .alias("DATABRICKS_HOST"),
    unset(
        "databricks.token",
        Kind::OptionalText { set: |s, t| s.databricks.token = t.map(Secret::new) },
        "The token sent to the endpoint. Best kept in the environment or in `.env`.",
    )
    .alias("DATABRICKS_TOKEN")
    .secret(),
    unset(
        "databricks.client_id",
        Kind::OptionalText { set: |s, t| s.databricks.client_id = t },
        "The id of a service principal's OAuth client, which gets tokens from the workspace. Used where there is no token.",
    )
    .alias("DATABRICKS_CLIENT_ID"),
    unset(
        "databricks.client_secret",
        Kind::OptionalText { set: |s, t| s.databricks.client_secret = t.map(Secret::new) },
        "The secret of that client. Best kept in the environment or in `.env`.",
    )
    .alias("DATABRICKS_CLIENT_SECRET")
    .secret(),
    unset(
        "databricks.profile",
        Kind::OptionalText { set: |s, t| s.databricks.profile = t },
        "A profile of `databricks.config_file` that gives what of host, token and client is not set.",
    )
    .alias("DATABRICKS_CONFIG_PROFILE"),
    unset(
        "databricks.config_file",
        Kind::OptionalText { set: |s, t| s.databricks.config_file = t.map(Into::into) },
        "The file of profiles. Not set: `~/.databrickscfg`.",
    )
    .alias("DATABRICKS_CONFIG_FILE"),
    key(
        "log.format",
        "text",
        Kind::Parsed { expected: "text or json", set: |s, t| put(&mut s.log.format, t) },
        "How log lines on standard error are written.",
    ),
    key(
        "log.level",
        "info",
        Kind::Parsed { expected: "error, warn, info, debug or trace", set: |s, t| put(&mut s.log.level, t) },
        "The least important log lines that are written.",
    ),
];

/// The definition that a key belongs to, and what follows its name where it is a map (`source.client.…`).
pub fn find(key: &str) -> Option<(&'static Definition, &str)> {
    DEFINITIONS.iter().find_map(|definition| match definition.kind {
        Kind::TextMap { .. } => {
            let below = key.strip_prefix(definition.key)?.strip_prefix('.')?;
            (!below.is_empty()).then_some((definition, below))
        }
        _ => (definition.key == key).then_some((definition, "")),
    })
}

/// The known key that is most like `key`.
pub fn nearest(key: &str) -> &'static str {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |known: &str| {
        let whole = strsim::normalized_damerau_levenshtein(known, key);
        // `shards` or `stat.shards` is to find `state.shards`, though the sections differ.
        let end = strsim::normalized_damerau_levenshtein(&last(known), &last(key));
        whole + end
    };
    DEFINITIONS.iter().map(|d| d.key).max_by(|a, b| likeness(a).total_cmp(&likeness(b))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::origin::Given;
    use super::super::settings::Settings;
    use super::*;

    #[test]
    fn every_default_is_a_value_of_its_own_key() {
        for definition in DEFINITIONS {
            if let Some(default) = definition.default {
                let fits = definition.kind.apply(&mut Settings::default(), "", &Given::text(default));
                assert!(fits, "{} = {default}, expected {}", definition.key, definition.kind.expected());
            }
        }
    }

    #[test]
    fn keys_and_variables_are_unique() {
        let keys: BTreeSet<_> = DEFINITIONS.iter().map(|d| d.key).collect();
        let variables: BTreeSet<_> = DEFINITIONS.iter().map(Definition::variable).collect();
        assert_eq!(keys.len(), DEFINITIONS.len());
        assert_eq!(variables.len(), DEFINITIONS.len());
    }

    #[test]
    fn the_nearest_key_is_found_by_a_slip_a_missing_section_and_another_section() {
        for (wrong, right) in [
            ("state.shard", "state.shards"),
            ("shards", "state.shards"),
            ("processor.emision_threshold", "processor.emission_threshold"),
            ("extractor.confidence_threshold", "processor.confidence_threshold"),
            ("sink.comit_interval", "sink.commit_interval"),
            ("warehouse.url", "warehouse.uri"),
        ] {
            assert_eq!(nearest(wrong), right, "{wrong}");
        }
    }

    #[test]
    fn a_map_takes_any_key_below_its_name_and_none_at_it() {
        let (definition, below) = find("source.client.security.protocol").unwrap();
        assert_eq!((definition.key, below), ("source.client", "security.protocol"));
        assert!(find("source.client").is_none());
        assert!(find("source.clients.x").is_none());
    }
}
