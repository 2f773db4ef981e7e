//! What can go wrong before the first extraction. Once an extractor stands it never fails: it falls back to the rules.

use std::path::PathBuf;

/// Why an extractor could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    #[error("cannot read the rules file {}: {source} (set extractor.rules to a file or folder that exists, or leave it out for the built-in rules)", path.display())]
    ReadRules { path: PathBuf, source: std::io::Error },

    #[error("{file} is not a rules file: {source}")]
    ParseRules { file: String, source: Box<toml::de::Error> },

    #[error("{file}: {problem}")]
    Rules { file: String, problem: String },

    #[error("{file}: rule {rule:?}: {problem}")]
    Rule { file: String, rule: String, problem: String },

    #[error("{file}: examples that do not come out as they say:{}", failures.iter().map(|failure| format!("\n  {failure}")).collect::<String>())]
    Examples { file: String, failures: Vec<String> },

    #[error("extractor.kind = \"model\" needs {missing} (or set extractor.kind to \"auto\" or \"heuristic\")")]
    NoModel { missing: &'static str },

    #[error("{setting} is not an http or https URL: {url:?}")]
    Url { setting: &'static str, url: String },

    #[error("{setting} holds a user name or a password: leave it out, and set extractor.api_key or databricks.token")]
    UrlWithPassword { setting: &'static str },

    #[error("the token has signs that cannot be sent: set it anew, in one line of plain letters and digits")]
    TokenSigns,

    #[error("cannot read the prompt file {}: {source} (set extractor.prompt to a file that exists, or leave it out for the built-in prompt)", path.display())]
    ReadPrompt { path: PathBuf, source: std::io::Error },

    #[error("cannot read the Databricks profiles in {}: {source} (set databricks.config_file, the environment's DATABRICKS_CONFIG_FILE, or leave databricks.profile out)", path.display())]
    ReadProfiles { path: PathBuf, source: std::io::Error },

    #[error("{} has no profile {profile:?} (see databricks.profile, the environment's DATABRICKS_CONFIG_PROFILE)", path.display())]
    NoProfile { path: PathBuf, profile: String },

    #[error(
        "the profile {profile:?} is of another host than databricks.host, and its credentials are not sent there: set one of both"
    )]
    OtherHost { profile: String },

    #[error("the HTTP client cannot be made: {0} (check the system's certificates)")]
    HttpClient(String),
}
