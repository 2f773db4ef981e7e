//! Puts everything that was given in order of precedence, and gives the settings in force with the origin of each.

use std::collections::BTreeMap;
use std::path::Path;

use super::definitions::{DEFINITIONS, Definition, find, nearest};
use super::error::ConfigError;
use super::kind::Kind;
use super::origin::{Assignment, Environment, Flag, Form, Given, Origin, read_file};
use super::settings::Settings;

/// What is in force.
#[derive(Clone, Debug)]
pub struct Configuration {
    pub settings: Settings,
    /// One for each key, in the order of the definitions, and one for each key of a map that is set.
    pub entries: Vec<Entry>,
}

/// One key as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    /// None is not set. A secret is masked.
    pub value: Option<String>,
    pub origin: Origin,
}

const MASK: &str = "********";

impl Configuration {
    /// Reads the file and resolves it with the environment and the flags. A later flag wins over an earlier one.
    pub fn load(flags: &[Flag], environment: &Environment, file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::resolve(read_file(file)?, environment, flags)
    }

    /// Whether a key has a value that somebody gave, and not its default.
    pub fn is_set(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key && entry.origin != Origin::Default)
    }

    /// Flags over environment over file over defaults.
    pub fn resolve(file: Vec<Assignment>, environment: &Environment, flags: &[Flag]) -> Result<Self, ConfigError> {
        let mut given = file;
        given.extend(from_environment(environment)?);
        given.extend(flags.iter().map(|flag| Assignment {
            key: flag.key.clone(),
            given: Given::text(flag.value.clone()),
            origin: Origin::Flag(flag.flag),
        }));

        // Each value is checked, also one that another overrides: a wrong line in the file is wrong today, not on the
        // day that the variable is gone.
        let mut settings = Settings::default();
        for definition in DEFINITIONS {
            if let Some(default) = definition.default {
                apply(definition, "", &Given::text(default), &Origin::Default, &mut settings)?;
            }
        }
        let mut in_force: BTreeMap<String, &Assignment> = BTreeMap::new();
        for assignment in &given {
            let Some((definition, below)) = find(&assignment.key) else {
                return Err(unknown(&assignment.key, assignment.origin.clone()));
            };
            apply(definition, below, &assignment.given, &assignment.origin, &mut settings)?;
            in_force.insert(assignment.key.clone(), assignment);
        }
        Ok(Self { settings, entries: entries(&in_force) })
    }
}

fn apply(
    definition: &Definition,
    below: &str,
    given: &Given,
    origin: &Origin,
    settings: &mut Settings,
) -> Result<(), ConfigError> {
    if definition.kind.apply(settings, below, given) {
        return Ok(());
    }
    let key = if below.is_empty() { definition.key.to_owned() } else { format!("{}.{below}", definition.key) };
    let found = match given.form {
        _ if is_secret(definition, &key) => "not of the right type".to_owned(),
        Form::Text => format!("{:?}", given.text),
        Form::TomlString => format!("the string {:?}", given.text),
        Form::TomlInteger | Form::TomlFloat => format!("the number {}", given.text),
        Form::TomlBoolean => given.text.clone(),
        Form::TomlOther(what) => what.to_owned(),
    };
    Err(ConfigError::WrongValue { key, origin: origin.clone(), found, expected: definition.kind.expected() })
}

fn unknown(key: &str, origin: Origin) -> ConfigError {
    ConfigError::UnknownKey { key: key.to_owned(), origin, nearest: nearest(key).to_owned() }
}

/// The assignments that variables make, those of `.env` first. An alias counts less than the `MEMOIR_` name.
fn from_environment(environment: &Environment) -> Result<Vec<Assignment>, ConfigError> {
    let mut aliases = Vec::new();
    let mut own = Vec::new();
    for (name, value, origin) in environment.variables() {
        if let Some(definition) = DEFINITIONS.iter().find(|definition| definition.alias == Some(name)) {
            aliases.push(Assignment { key: definition.key.to_owned(), given: Given::text(value), origin });
        } else if let Some(path) = name.strip_prefix("MEMOIR_") {
            let key = key_of_variable(name).ok_or_else(|| unknown(&guess(path), origin.clone()))?;
            own.push(Assignment { key, given: Given::text(value), origin });
        }
    }
    aliases.extend(own);
    Ok(aliases)
}

fn key_of_variable(name: &str) -> Option<String> {
    DEFINITIONS.iter().find_map(|definition| {
        let variable = definition.variable();
        if matches!(definition.kind, Kind::TextMap { .. }) {
            let below = name.strip_prefix(&variable)?.strip_prefix("__")?;
            (!below.is_empty()).then(|| format!("{}.{}", definition.key, below.to_ascii_lowercase().replace('_', ".")))
        } else {
            (variable == name).then(|| definition.key.to_owned())
        }
    })
}

/// The key that somebody may have meant by a variable's name, for the error.
fn guess(path: &str) -> String {
    path.to_ascii_lowercase().replace("__", ".")
}

fn entries(in_force: &BTreeMap<String, &Assignment>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for definition in DEFINITIONS {
        if let Kind::TextMap { .. } = definition.kind {
            let prefix = format!("{}.", definition.key);
            let of_map = in_force.iter().filter(|(key, _)| key.starts_with(&prefix));
            entries.extend(of_map.map(|(key, assignment)| entry(definition, key, assignment)));
        } else if let Some(assignment) = in_force.get(definition.key) {
            entries.push(entry(definition, definition.key, assignment));
        } else {
            let value = definition.default.map(str::to_owned);
            entries.push(Entry { key: definition.key.to_owned(), value, origin: Origin::Default });
        }
    }
    entries
}

fn entry(definition: &Definition, key: &str, assignment: &Assignment) -> Entry {
    let text = assignment.given.text.trim();
    let value = match text {
        "" => None,
        _ if is_secret(definition, key) => Some(MASK.to_owned()),
        _ => Some(without_password(definition.key, text)),
    };
    Entry { key: key.to_owned(), value, origin: assignment.origin.clone() }
}

/// A text as it may be shown: what a URL holds of who asks is masked. In other schemes than HTTP a name alone is no
/// secret: `abfss://container@account`.
fn without_password(key: &str, text: &str) -> String {
    let (scheme, rest) = match text.find("://") {
        Some(at) => text.split_at(at + "://".len()),
        // A host without a scheme is taken too.
        None if ["extractor.base_url", "databricks.host"].contains(&key) => ("", text),
        None => return text.to_owned(),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let has_odd_port = || authority.rsplit_once(':').is_some_and(|(_, port)| !is_port(port));
    // A password with a slash ends the authority too soon.
    let end = authority.rfind('@').or_else(|| has_odd_port().then(|| rest.rfind('@')).flatten());
    let Some((user, host)) = end.and_then(|at| rest.split_at_checked(at)) else { return text.to_owned() };
    match user.split_once(':') {
        _ if scheme.is_empty() || scheme.starts_with("http") => format!("{scheme}{MASK}{host}"),
        Some((name, _)) => format!("{scheme}{name}:{MASK}{host}"),
        None => text.to_owned(),
    }
}

/// A key that is marked so, or one of a map whose name says it.
fn is_secret(definition: &Definition, key: &str) -> bool {
    let below = key.strip_prefix(definition.key).unwrap_or_default();
    definition.secret
        || ["password", "secret", "token", "credential", "sasl.jaas", "pem"].iter().any(|w| below.contains(w))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::super::origin::parse_file;
    use super::super::settings::{ExtractorChoice, SourceKind, Trigger};
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn resolve(
        file: &str,
        dotenv: &[(&str, &str)],
        real: &[(&str, &str)],
        sets: &[&str],
    ) -> Result<Configuration, ConfigError> {
        let environment = Environment { real: variables(real), dotenv: variables(dotenv) };
        let flags: Vec<Flag> = sets.iter().map(|text| Flag::from_assignment(text).unwrap()).collect();
        Configuration::resolve(parse_file(Path::new("config/memoir.toml"), file)?, &environment, &flags)
    }

    #[test]
    fn a_password_inside_of_a_url_is_masked_and_the_rest_is_shown() {
        for (set, shown) in [
            ("extractor.base_url=https://u:pw@h/v1", "https://********@h/v1"),
            ("extractor.base_url=https://pw@h:8080/v1", "https://********@h:8080/v1"),
            ("extractor.base_url=https://u:p/w@h/v1", "https://********@h/v1"),
            ("extractor.base_url=u:pw@h/v1", "********@h/v1"),
            ("extractor.base_url=https://h:80/v1@2", "https://h:80/v1@2"),
            ("databricks.host=https://u:p@w@h", "https://********@h"),
            ("warehouse.uri=s3://key:pw@bucket/x", "s3://key:********@bucket/x"),
            ("warehouse.uri=abfss://box@account.dfs.core.windows.net/x", "abfss://box@account.dfs.core.windows.net/x"),
            ("warehouse.uri=./a:b@c", "./a:b@c"),
        ] {
            let configuration = resolve("", &[], &[], &[set]).unwrap();
            let (key, _) = set.split_once('=').unwrap();
            assert_eq!(of(&configuration, key).0, Some(shown), "{set}");
        }
    }

    fn of<'a>(configuration: &'a Configuration, key: &str) -> (Option<&'a str>, String) {
        let entry = configuration.entries.iter().find(|entry| entry.key == key).unwrap();
        (entry.value.as_deref(), entry.origin.to_string())
    }

    #[test]
    fn each_origin_wins_over_the_one_below_it() {
        let file = "[state]\nshards = 2\n";
        let dotenv = [("MEMOIR_STATE__SHARDS", "3")];
        let real = [("MEMOIR_STATE__SHARDS", "4")];
        let sets = ["state.shards=5", "state.shards=6"];
        let shards = |c: Result<Configuration, ConfigError>| {
            let c = c.unwrap();
            (c.settings.state.shards, of(&c, "state.shards").1)
        };
        assert!(!resolve("", &[], &[], &[]).unwrap().is_set("state.shards"));
        assert!(resolve(file, &[], &[], &[]).unwrap().is_set("state.shards"));
        assert_eq!(shards(resolve("", &[], &[], &[])), (8, "default".into()));
        assert_eq!(shards(resolve(file, &[], &[], &[])), (2, "config/memoir.toml:2".into()));
        assert_eq!(shards(resolve(file, &dotenv, &[], &[])), (3, ".env: MEMOIR_STATE__SHARDS".into()));
        assert_eq!(shards(resolve(file, &dotenv, &real, &[])), (4, "environment: MEMOIR_STATE__SHARDS".into()));
        assert_eq!(shards(resolve(file, &dotenv, &real, &sets)), (6, "--set".into()));
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let settings = resolve("", &[], &[], &[]).unwrap().settings;
        assert_eq!(settings.warehouse.uri, "./data/warehouse");
        assert_eq!(settings.query.name, "profile_memory");
        assert_eq!(settings.source.kind, SourceKind::Delta);
        assert_eq!(settings.processor.timer_ttl, Some(Duration::from_secs(600)));
        assert_eq!(settings.processor.ttl.facts, None);
        assert_eq!(settings.extractor.kind, ExtractorChoice::Auto);
        assert_eq!(settings.sink.commit_interval, Duration::from_secs(1));
        assert!(!settings.runs_in_event_time());
    }

    #[test]
    fn the_trigger_decides_the_clock_unless_one_is_set() {
        let settings = resolve("", &[], &[], &["engine.trigger=availableNow"]).unwrap().settings;
        assert_eq!(settings.engine.trigger, Trigger::AvailableNow);
        assert!(settings.runs_in_event_time());
        let sets = ["engine.trigger=available-now", "processor.clock=processing_time"];
        assert!(!resolve("", &[], &[], &sets).unwrap().settings.runs_in_event_time());
    }

    #[test]
    fn an_unknown_key_names_its_origin_and_the_nearest_known_one() {
        let message = |c: Result<Configuration, ConfigError>| c.unwrap_err().to_string();
        let error = message(resolve("[state]\nshard = 2\n", &[], &[], &[]));
        assert!(error.contains("`state.shard` (config/memoir.toml:2)") && error.contains("`state.shards`"), "{error}");
        let error = message(resolve("", &[], &[("MEMOIR_STATE__SHRDS", "2")], &[]));
        assert!(error.contains("environment: MEMOIR_STATE__SHRDS") && error.contains("`state.shards`"), "{error}");
        let error = message(resolve("", &[("MEMOIR_SINK_COMMIT_INTERVAL", "2s")], &[], &[]));
        assert!(error.contains(".env") && error.contains("`sink.commit_interval`"), "{error}");
        let error = message(resolve("", &[], &[], &["procesor.drain=false"]));
        assert!(error.contains("--set") && error.contains("`processor.drain`"), "{error}");
    }

    #[test]
    fn a_wrong_value_names_key_value_origin_and_what_is_expected() {
        let error = resolve("[state]\nshards = \"many\"\n", &[], &[], &[]).unwrap_err().to_string();
        assert_eq!(
            error,
            "configuration key `state.shards` (config/memoir.toml:2) is the string \"many\"; \
             expected a whole number from 1 to 1024"
        );
        let error = resolve("", &[], &[("MEMOIR_SINK__COMMIT_INTERVAL", "1")], &[]).unwrap_err().to_string();
        assert_eq!(
            error,
            "configuration key `sink.commit_interval` (environment: MEMOIR_SINK__COMMIT_INTERVAL) is \"1\"; \
             expected a duration such as 100ms, 1s, 10m, 1h or 1d"
        );
    }

    #[test]
    fn a_wrong_value_is_an_error_also_where_another_overrides_it() {
        assert!(resolve("[state]\nshards = 0\n", &[], &[], &["state.shards=4"]).is_err());
    }

    #[test]
    fn databricks_variables_count_less_than_their_memoir_names() {
        let c = resolve("", &[], &[("DATABRICKS_HOST", "https://a"), ("DATABRICKS_TOKEN", "dapi1")], &[]).unwrap();
        assert_eq!(c.settings.databricks.host.as_deref(), Some("https://a"));
        assert_eq!(c.settings.databricks.token.as_ref().map(|t| t.reveal()), Some("dapi1"));
        assert_eq!(of(&c, "databricks.token"), (Some(MASK), "environment: DATABRICKS_TOKEN".into()));
        let both = [("DATABRICKS_HOST", "https://a"), ("MEMOIR_DATABRICKS__HOST", "https://b")];
        assert_eq!(resolve("", &[], &both, &[]).unwrap().settings.databricks.host.as_deref(), Some("https://b"));
    }

    #[test]
    fn keys_of_the_kafka_client_are_taken_from_every_origin_and_passwords_masked() {
        let file = "[source.client]\n\"security.protocol\" = \"ssl\"\nlinger = 5\n";
        let real = [("MEMOIR_SOURCE__CLIENT__SASL_PASSWORD", "hush ")];
        let c = resolve(file, &[], &real, &["source.client.\"sasl.username\"=me"]).unwrap();
        let client = &c.settings.source.client;
        assert_eq!(client.get("security.protocol").map(String::as_str), Some("ssl"));
        assert_eq!(client.get("linger").map(String::as_str), Some("5"));
        assert_eq!(client.get("sasl.username").map(String::as_str), Some("me"));
        assert_eq!(client.get("sasl.password").map(String::as_str), Some("hush "));
        assert_eq!(of(&c, "source.client.sasl.password").0, Some(MASK));
        assert!(!c.entries.iter().any(|entry| entry.value.as_deref() == Some("hush")));
    }

    #[test]
    fn an_optional_key_can_be_set_back_to_nothing() {
        let file = "[extractor]\nendpoint = \"chat\"\n";
        let c = resolve(file, &[], &[], &["extractor.endpoint="]).unwrap();
        assert_eq!(c.settings.extractor.endpoint, None);
        assert_eq!(of(&c, "extractor.endpoint"), (None, "--set".into()));
    }
}
