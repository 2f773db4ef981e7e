//! Where values come from: flags, the environment, `.env` and the configuration file, each read as it is written.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::error::ConfigError;

/// The file that is read when no `--config` names another. It may be missing.
pub const DEFAULT_FILE: &str = "config/memoir.toml";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File {
        path: PathBuf,
        line: usize,
    },
    /// A variable of the `.env` file in the working directory.
    DotEnv(String),
    /// A variable of the process's environment.
    Environment(String),
    /// `--set`, or a flag of its own such as `--trigger`.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::DotEnv(name) => write!(f, ".env: {name}"),
            Self::Environment(name) => write!(f, "environment: {name}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A value as it was written, before anybody asked what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub text: String,
    pub form: Form,
}

/// What a value looked like where it was written. Flags and variables have only text; TOML says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Text,
    TomlString,
    TomlInteger,
    TomlFloat,
    TomlBoolean,
    /// A list or a date: no key takes one.
    TomlOther(&'static str),
}

impl Given {
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), form: Form::Text }
    }
}

/// One key with what was given for it.
#[derive(Clone, Debug)]
pub struct Assignment {
    pub key: String,
    pub given: Given,
    pub origin: Origin,
}

/// A key that was set on the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The flag as it is typed: `--set`, `--trigger`.
    pub flag: &'static str,
    pub key: String,
    pub value: String,
}

impl Flag {
    /// Splits `section.key=value`. A key in quotes, as TOML writes it (`source.client."sasl.username"`), is taken too.
    pub fn from_assignment(text: &str) -> Result<Self, ConfigError> {
        let flag = "--set";
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Self { flag, key: key.trim().replace('"', ""), value: value.to_owned() })
            }
            _ => Err(ConfigError::NotAnAssignment { flag, text: text.to_owned() }),
        }
    }
}

/// The variables that a run sees: those of the process, and those of `.env` that the process does not have.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub real: BTreeMap<String, String>,
    pub dotenv: BTreeMap<String, String>,
}

impl Environment {
    /// Reads the process's variables and `.env` in the working directory, and makes the latter variables of this
    /// process too, so that libraries (credentials of object stores, proxies) and child processes see them.
    ///
    /// To be called before any thread is started.
    pub fn load() -> Result<Self, ConfigError> {
        let real: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let path = Path::new(".env");
        let broken = |error: dotenvy::Error| ConfigError::DotEnv { path: path.to_owned(), message: error.to_string() };
        if !path.is_file() {
            return Ok(Self { real, dotenv: BTreeMap::new() });
        }
        let mut dotenv = BTreeMap::new();
        for pair in dotenvy::from_path_iter(path).map_err(broken)? {
            let (name, value) = pair.map_err(broken)?;
            if !real.contains_key(&name) {
                dotenv.insert(name, value);
            }
        }
        dotenvy::from_path(path).map_err(broken)?;
        Ok(Self { real, dotenv })
    }

    /// Every variable with its origin; one that is empty counts as not set.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str, Origin)> {
        let dotenv =
            self.dotenv.iter().map(|(name, value)| (name.as_str(), value.as_str(), Origin::DotEnv(name.clone())));
        let real =
            self.real.iter().map(|(name, value)| (name.as_str(), value.as_str(), Origin::Environment(name.clone())));
        dotenv.chain(real).filter(|(_, value, _)| !value.is_empty())
    }
}

/// Reads a configuration file. `named` is the file of `--config`, which must exist; the default one may be missing.
pub fn read_file(named: Option<&Path>) -> Result<Vec<Assignment>, ConfigError> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    match std::fs::read_to_string(path) {
        Ok(text) => parse_file(path, &text),
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(ConfigError::Unreadable { path: path.to_owned(), source }),
    }
}

/// The assignments of a TOML text, with dotted keys and the line that each stands in.
pub fn parse_file(path: &Path, text: &str) -> Result<Vec<Assignment>, ConfigError> {
    let table = DeTable::parse(text)
        .map_err(|error| ConfigError::NotToml { path: path.to_owned(), message: error.to_string() })?;
    let mut assignments = Vec::new();
    flatten(path, text, "", table.get_ref(), &mut assignments);
    Ok(assignments)
}

fn flatten(path: &Path, text: &str, prefix: &str, table: &DeTable<'_>, into: &mut Vec<Assignment>) {
    for (name, value) in table.iter() {
        let key = if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
        let given = match value.get_ref() {
            DeValue::Table(inner) => {
                flatten(path, text, &key, inner, into);
                continue;
            }
            DeValue::String(value) => Given { text: value.to_string(), form: Form::TomlString },
            DeValue::Integer(value) => Given { text: value.to_string(), form: Form::TomlInteger },
            DeValue::Float(value) => Given { text: value.to_string(), form: Form::TomlFloat },
            DeValue::Boolean(value) => Given { text: value.to_string(), form: Form::TomlBoolean },
            DeValue::Array(_) => Given { text: String::new(), form: Form::TomlOther("a list") },
            DeValue::Datetime(value) => Given { text: value.to_string(), form: Form::TomlOther("a date") },
        };
        let before = text.get(..name.span().start).unwrap_or_default();
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        into.push(Assignment { key, given, origin: Origin::File { path: path.to_owned(), line } });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_dotted_keys_with_their_lines() {
        let text = "[state]\npath = \"x\"\nshards = 4\n\n[source.client]\n\"sasl.username\" = \"me\"\n[processor]\nttl.facts = \"1d\"\n";
        let got: Vec<_> = parse_file(Path::new("m.toml"), text)
            .unwrap()
            .into_iter()
            .map(|a| (a.key, a.given.text, a.origin.to_string()))
            .collect();
        let of = |key: &str| got.iter().find(|(k, ..)| k == key).cloned().unwrap();
        assert_eq!(of("state.shards"), ("state.shards".into(), "4".into(), "m.toml:3".into()));
        assert_eq!(of("source.client.sasl.username").2, "m.toml:6");
        assert_eq!(of("processor.ttl.facts").1, "1d");
    }

    #[test]
    fn a_file_that_is_not_toml_says_where() {
        let error = parse_file(Path::new("m.toml"), "[state\n").unwrap_err().to_string();
        assert!(error.contains("m.toml") && error.contains("line 1"), "{error}");
    }

    #[test]
    fn only_the_default_file_may_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none.toml");
        let error = read_file(Some(&missing)).unwrap_err().to_string();
        assert!(error.contains("none.toml"), "{error}");
    }

    #[test]
    fn an_assignment_is_split_at_its_first_equals_sign_and_may_quote_its_key() {
        let flag = Flag::from_assignment("source.client.\"sasl.password\"=a=b").unwrap();
        assert_eq!((flag.key.as_str(), flag.value.as_str()), ("source.client.sasl.password", "a=b"));
        assert!(Flag::from_assignment("state.shards").is_err());
        assert!(Flag::from_assignment("=4").is_err());
    }

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let environment = Environment {
            real: BTreeMap::from([("A".to_owned(), String::new()), ("B".to_owned(), "1".to_owned())]),
            dotenv: BTreeMap::new(),
        };
        assert_eq!(environment.variables().map(|(name, ..)| name).collect::<Vec<_>>(), ["B"]);
    }
}
