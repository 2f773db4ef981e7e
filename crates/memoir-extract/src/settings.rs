//! What an extractor is made from, and what of it makes a model that can be asked.

use std::path::PathBuf;

use crate::ExtractError;
use crate::model::{
    ClientCredentials, ClientOptions, CredentialSettings, ModelSettings, ModelUrl, Profile, Prompt, Token,
    is_databricks, same_host,
};

/// Which extractor is wanted: `extractor.kind`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExtractorChoice {
    /// The model where there is one to ask, else the rules.
    #[default]
    Auto,
    Model,
    Heuristic,
}

/// What an extractor is made from. A text of nothing but blanks counts as not given.
#[derive(Clone, Debug, Default)]
pub struct ExtractorSettings {
    pub kind: ExtractorChoice,
    /// `databricks.host`, with or without `https://`.
    pub host: Option<String>,
    /// `databricks.token`.
    pub token: Option<Token>,
    /// `databricks.client_id` and `databricks.client_secret`: an OAuth client, used where there is no token.
    pub client_id: Option<String>,
    pub client_secret: Option<Token>,
    /// `databricks.profile`, in the file `databricks.config_file`: gives what of the above is not given.
    pub profile: Option<String>,
    pub profiles_file: PathBuf,
    /// `extractor.base_url`: an OpenAI-compatible server in place of the workspace. It may need no token.
    pub base_url: Option<String>,
    /// `extractor.api_version`: the server speaks Azure OpenAI's form.
    pub api_version: Option<String>,
    /// `extractor.api_key`: the token of a server that is no workspace.
    pub api_key: Option<Token>,
    /// `extractor.endpoint`: the name of the endpoint, model or deployment.
    pub endpoint: Option<String>,
    /// `extractor.rules`: a rules file, or a folder of such files, in place of the built-in rules.
    pub rules: Option<PathBuf>,
    /// `extractor.prompt`: a file in place of the built-in instructions.
    pub prompt: Option<PathBuf>,
    pub client: ClientOptions,
}

/// A model that can be asked, or what is missing for one.
pub(crate) fn model_settings(
    settings: &ExtractorSettings,
) -> Result<Result<ModelSettings, &'static str>, ExtractError> {
    let workspace = Workspace::of(settings)?;
    let (url, credentials) = match given(settings.base_url.as_ref()) {
        Some(base_url) => {
            let credentials = match &settings.api_key {
                Some(key) => CredentialSettings::Token(key.clone()),
                None => workspace.credentials_for(&base_url),
            };
            let url = match given(settings.api_version.as_ref()) {
                Some(api_version) => ModelUrl::Azure { base_url, api_version },
                None => ModelUrl::Base { base_url },
            };
            (url, credentials)
        }
        None => {
            let Some(host) = workspace.host.clone() else {
                return Ok(Err("databricks.host (the environment's DATABRICKS_HOST)"));
            };
            match workspace.credentials() {
                Some(credentials) => (ModelUrl::Workspace { host }, credentials),
                None if workspace.client_id.is_some() => {
                    return Ok(Err("databricks.client_secret (the environment's DATABRICKS_CLIENT_SECRET)"));
                }
                None => {
                    return Ok(Err(
                        "databricks.token (the environment's DATABRICKS_TOKEN), or databricks.client_id and \
                                   databricks.client_secret",
                    ));
                }
            }
        }
    };
    let Some(endpoint) = given(settings.endpoint.as_ref()) else { return Ok(Err("extractor.endpoint")) };
    let prompt = settings.prompt.as_deref().map(Prompt::load_file).transpose()?.unwrap_or_default();
    Ok(Ok(ModelSettings { url, endpoint, credentials, prompt, options: settings.client.clone() }))
}

fn given(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty()).cloned()
}

/// A workspace and who asks there.
struct Workspace {
    host: Option<String>,
    token: Option<Token>,
    client_id: Option<String>,
    client_secret: Option<Token>,
}

impl Workspace {
    /// What is given, completed by the profile.
    fn of(settings: &ExtractorSettings) -> Result<Self, ExtractError> {
        let own = Self {
            host: given(settings.host.as_ref()),
            token: settings.token.clone(),
            client_id: given(settings.client_id.as_ref()),
            client_secret: settings.client_secret.clone(),
        };
        let Some(name) = given(settings.profile.as_ref()) else { return Ok(own) };
        let profile = Profile::load(&settings.profiles_file, name.trim())?;
        if let (Some(own), Some(of_profile)) = (&own.host, &profile.host)
            && !same_host(own, of_profile)
        {
            return Err(ExtractError::OtherHost { profile: name });
        }
        // Whoever gives a token or a client wants that one, and not the profile's other.
        let has_own = own.token.is_some() || own.client_id.is_some();
        let or_profiles = |profiles: Self| if has_own { Self { host: profiles.host, ..own } } else { profiles };
        Ok(or_profiles(Self {
            host: given(settings.host.as_ref()).or(profile.host),
            token: profile.token,
            client_id: profile.client_id,
            client_secret: profile.client_secret,
        }))
    }

    fn credentials(&self) -> Option<CredentialSettings> {
        if let Some(token) = &self.token {
            return Some(CredentialSettings::Token(token.clone()));
        }
        let (host, client_id) = (self.host.clone()?, self.client_id.clone()?);
        let client_secret = self.client_secret.clone()?;
        Some(CredentialSettings::Client(ClientCredentials { host, client_id, client_secret }))
    }

    /// A workspace's credentials go to its own host and to Databricks' gateways. Without a host the token is meant for
    /// the server that is named.
    fn credentials_for(&self, base_url: &str) -> CredentialSettings {
        let Some(credentials) = self.credentials() else { return CredentialSettings::None };
        let is_meant = match &self.host {
            Some(host) => same_host(host, base_url) || is_databricks(base_url),
            None => true,
        };
        if is_meant {
            return credentials;
        }
        tracing::warn!(
            "extractor.base_url is of another host than databricks.host: the workspace's token is not sent there; set \
             extractor.api_key if it needs one"
        );
        CredentialSettings::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> ExtractorSettings {
        ExtractorSettings { endpoint: Some("chat".to_owned()), ..ExtractorSettings::default() }
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn token(text: &str) -> CredentialSettings {
        CredentialSettings::Token(Token::new(text).unwrap())
    }

    fn model(settings: &ExtractorSettings) -> ModelSettings {
        model_settings(settings).unwrap().unwrap()
    }

    #[test]
    fn an_oauth_client_is_used_where_there_is_no_token_and_needs_both_its_halves() {
        let mut settings = ExtractorSettings { host: text("w.example.net"), client_id: text("id"), ..settings() };
        assert!(model_settings(&settings).unwrap().unwrap_err().contains("client_secret"));
        settings.client_secret = Token::new("hush");
        let CredentialSettings::Client(client) = model(&settings).credentials else { panic!("an OAuth client") };
        assert_eq!((client.host.as_str(), client.client_id.as_str()), ("w.example.net", "id"));
        settings.token = Token::new("dapi1");
        assert_eq!(model(&settings).credentials, token("dapi1"));
        assert!(!format!("{settings:?}").contains("hush"));
    }

    #[test]
    fn a_profile_gives_host_and_credentials_and_only_to_its_own_host() {
        let folder = tempfile::tempdir().unwrap();
        let profiles_file = folder.path().join("databrickscfg");
        let file = "[p]\nhost = https://w.example.net\ntoken = dapi-p\n[q]\nhost=https://q.example.net\nclient_id=i\nclient_secret=s\n";
        std::fs::write(&profiles_file, file).unwrap();
        let of =
            |name: &str| ExtractorSettings { profile: text(name), profiles_file: profiles_file.clone(), ..settings() };
        let profile = model(&of("p"));
        assert_eq!(profile.url, ModelUrl::Workspace { host: "https://w.example.net".to_owned() });
        assert_eq!(profile.credentials, token("dapi-p"));
        assert!(matches!(model(&of("q")).credentials, CredentialSettings::Client(_)));
        let own_token = ExtractorSettings { token: Token::new("dapi-own"), ..of("q") };
        assert_eq!(model(&own_token).credentials, token("dapi-own"), "what is given wins over the profile");
        let same = ExtractorSettings { host: text("w.example.net"), ..of("p") };
        assert_eq!(model(&same).credentials, token("dapi-p"));
        let other = ExtractorSettings { host: text("evil.example.net"), ..of("p") };
        assert!(matches!(model_settings(&other), Err(ExtractError::OtherHost { .. })));
        assert!(matches!(model_settings(&of("r")), Err(ExtractError::NoProfile { .. })));
    }

    #[test]
    fn a_workspaces_token_goes_to_no_foreign_server() {
        let at = |host: Option<&str>, base_url: &str| {
            let settings = ExtractorSettings {
                host: host.map(str::to_owned),
                token: Token::new("dapi1"),
                base_url: text(base_url),
                ..settings()
            };
            model(&settings).credentials
        };
        assert_eq!(at(Some("w.example.net"), "https://w.example.net/ai-gateway/mlflow/v1"), token("dapi1"));
        assert_eq!(at(Some("w.example.net"), "https://1.ai-gateway.cloud.databricks.com/mlflow/v1"), token("dapi1"));
        assert_eq!(at(Some("w.example.net"), "https://api.example.org/v1"), CredentialSettings::None);
        assert_eq!(at(None, "https://api.example.org/v1"), token("dapi1"), "it can be meant for nobody else");
        let keyed = ExtractorSettings {
            host: text("w.example.net"),
            token: Token::new("dapi1"),
            base_url: text("https://r.openai.azure.com"),
            api_version: text("2024-10-21"),
            api_key: Token::new("azure-key"),
            ..settings()
        };
        let azure = model(&keyed);
        assert_eq!(azure.credentials, token("azure-key"));
        assert!(matches!(azure.url, ModelUrl::Azure { .. }));
    }
}
