//! What shows the endpoint who asks: nothing, a token, or tokens that an OAuth client is given.

mod oauth;
mod profile;
mod secret;

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};

pub use self::oauth::ClientCredentials;
use self::oauth::OAuthTokens;
pub use self::profile::Profile;
pub use self::secret::Token;
use super::http::CallError;
use super::pace::Pace;
use super::url::workspace_host;
use crate::ExtractError;

/// How Memoir shows who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CredentialSettings {
    /// A local server may need nothing.
    #[default]
    None,
    Token(Token),
    Client(ClientCredentials),
}

/// Ready to be sent.
pub(super) enum Credentials {
    None,
    /// With the header that the endpoint wants it in.
    Token(Token, HeaderName),
    OAuth(OAuthTokens),
}

/// What a request is sent with.
pub(super) struct Proof {
    pub header: HeaderName,
    pub value: HeaderValue,
    token: Token,
}

/// Azure's name for it.
const API_KEY: HeaderName = HeaderName::from_static("api-key");

impl Credentials {
    /// `as_api_key`: a token goes into Azure's header. `timeout` is for requests for tokens.
    ///
    /// # Errors
    /// When the host of an OAuth client is no URL, or a token has signs that no header can hold.
    pub fn new(settings: CredentialSettings, as_api_key: bool, timeout: Duration) -> Result<Self, ExtractError> {
        Ok(match settings {
            CredentialSettings::None => Self::None,
            CredentialSettings::Token(token) => {
                HeaderValue::from_str(token.reveal()).map_err(|_| ExtractError::TokenSigns)?;
                Self::Token(token, if as_api_key { API_KEY } else { AUTHORIZATION })
            }
            CredentialSettings::Client(ClientCredentials { host, client_id, client_secret }) => {
                Self::OAuth(OAuthTokens::new(&workspace_host(&host)?, client_id, client_secret, timeout))
            }
        })
    }

    /// What the next request is sent with; `None` where nothing is needed.
    ///
    /// # Errors
    /// When a token is needed that nobody gives.
    pub async fn proof(&self, http: &reqwest::Client, pace: &dyn Pace) -> Result<Option<Proof>, CallError> {
        let (token, header) = match self {
            Self::None => return Ok(None),
            Self::Token(token, header) => (token.clone(), header.clone()),
            Self::OAuth(tokens) => (tokens.token(http, pace).await?, AUTHORIZATION),
        };
        let text =
            if header == AUTHORIZATION { format!("Bearer {}", token.reveal()) } else { token.reveal().to_owned() };
        let mut value = HeaderValue::from_str(&text).map_err(|_| CallError::NotAToken)?;
        value.set_sensitive(true);
        Ok(Some(Proof { header, value, token }))
    }

    /// The endpoint did not take the proof. Says whether another one may be had.
    pub fn refused(&self, proof: &Proof) -> bool {
        match self {
            Self::OAuth(tokens) => {
                tokens.forget(&proof.token);
                true
            }
            Self::None | Self::Token(..) => false,
        }
    }

    /// Blanks out every secret in a text.
    pub fn redact(&self, text: &str) -> String {
        match self {
            Self::None => text.to_owned(),
            Self::Token(token, _) => token.redact(text),
            Self::OAuth(tokens) => tokens.redact(text),
        }
    }
}
