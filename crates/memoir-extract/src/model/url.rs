//! Where requests go: the forms of URLs that endpoints are known by.

use reqwest::Url;

use crate::ExtractError;

/// Where a model is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelUrl {
    /// A workspace: requests go to `{host}/serving-endpoints/{endpoint}/invocations`.
    Workspace { host: String },
    /// An OpenAI-compatible base, such as a local server's `http://localhost:8000/v1`, a workspace's
    /// `{host}/serving-endpoints` or an AI Gateway's `{host}/ai-gateway/mlflow/v1`: requests go to
    /// `{base_url}/chat/completions`, with the endpoint as the model. A URL that ends in `/chat/completions` or
    /// `/invocations` is taken as it is, and so is a query.
    Base { base_url: String },
    /// Azure OpenAI: requests go to `{base_url}/openai/deployments/{endpoint}/chat/completions?api-version=…`, and the
    /// token into the header `api-key`.
    Azure { base_url: String, api_version: String },
}

/// What a URL says about requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub url: Url,
    /// Sent in the body where the URL does not name the endpoint.
    pub model: Option<String>,
    /// The token goes into Azure's header.
    pub takes_api_key: bool,
}

const HOST: &str = "databricks.host";
const BASE_URL: &str = "extractor.base_url";

impl ModelUrl {
    /// # Errors
    /// When the URL is none.
    pub(super) fn target(&self, endpoint: &str) -> Result<Target, ExtractError> {
        let endpoint = endpoint.trim();
        Ok(match self {
            Self::Workspace { host } => {
                let mut url = checked(HOST, host)?;
                push(&mut url, &["serving-endpoints", endpoint, "invocations"]);
                Target { url, model: None, takes_api_key: false }
            }
            Self::Base { base_url } => {
                let mut url = checked(BASE_URL, base_url)?;
                let path = url.path().trim_end_matches('/').to_owned();
                let names_endpoint = path.ends_with("/invocations") || path.contains("/openai/deployments/");
                if !path.ends_with("/chat/completions") && !path.ends_with("/invocations") {
                    push(&mut url, &["chat", "completions"]);
                }
                Target {
                    takes_api_key: path.contains("/openai/deployments/"),
                    model: (!names_endpoint).then(|| endpoint.to_owned()),
                    url,
                }
            }
            Self::Azure { base_url, api_version } => {
                let mut url = checked(BASE_URL, base_url)?;
                push(&mut url, &["openai", "deployments", endpoint, "chat", "completions"]);
                url.query_pairs_mut().append_pair("api-version", api_version);
                Target { url, model: None, takes_api_key: true }
            }
        })
    }
}

/// A workspace's host as a URL without a slash at its end.
pub(super) fn workspace_host(host: &str) -> Result<String, ExtractError> {
    checked(HOST, host).map(|url| url.as_str().trim_end_matches('/').to_owned())
}

/// Whether two URLs, with or without a scheme, name the same host.
pub(crate) fn same_host(one: &str, other: &str) -> bool {
    let place = |url: &str| {
        let url = checked(HOST, url).ok()?;
        Some((url.host_str()?.to_owned(), url.port_or_known_default()))
    };
    place(one).is_some_and(|one| Some(one) == place(other))
}

/// Whether a URL is one of Databricks' own, to which a workspace's token may go.
pub(crate) fn is_databricks(url: &str) -> bool {
    let domains =
        [".databricks.com", ".azuredatabricks.net", ".databricks.us", ".databricks.mil", ".databricks.azure.us"];
    let host = checked(BASE_URL, url).ok().and_then(|url| url.host_str().map(str::to_ascii_lowercase));
    host.is_some_and(|host| domains.iter().any(|domain| host.ends_with(domain)))
}

/// A host without a scheme is meant to be reached over https.
fn checked(setting: &'static str, text: &str) -> Result<Url, ExtractError> {
    let trimmed = text.trim();
    let whole = if trimmed.contains("://") { trimmed.to_owned() } else { format!("https://{trimmed}") };
    match Url::parse(&whole) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Err(ExtractError::UrlWithPassword { setting })
        }
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() && !trimmed.is_empty() => Ok(url),
        // What is no URL may hold a password too: only its beginning is shown, and nothing where there is an @.
        _ if trimmed.contains('@') => Err(ExtractError::UrlWithPassword { setting }),
        _ => Err(ExtractError::Url { setting, url: trimmed.chars().take(20).collect() }),
    }
}

/// Appends segments; what of them has no place in a path is encoded.
fn push(url: &mut Url, segments: &[&str]) {
    // Only URLs without a host have no segments, and those were refused.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(base_url: &str) -> (String, Option<String>, bool) {
        let target = ModelUrl::Base { base_url: base_url.to_owned() }.target("chat model").unwrap();
        (target.url.to_string(), target.model, target.takes_api_key)
    }

    #[test]
    fn a_workspace_is_asked_at_the_endpoints_invocations() {
        for host in ["https://w.example.net/", " w.example.net ", "https://w.example.net"] {
            let target = ModelUrl::Workspace { host: host.to_owned() }.target("chat/äß").unwrap();
            let expected = "https://w.example.net/serving-endpoints/chat%2F%C3%A4%C3%9F/invocations";
            assert_eq!((target.url.as_str(), target.model, target.takes_api_key), (expected, None, false));
        }
        assert_eq!(workspace_host("w.example.net/").unwrap(), "https://w.example.net");
    }

    #[test]
    fn openai_bases_local_servers_and_gateways_are_asked_at_chat_completions() {
        let model = Some("chat model".to_owned());
        for (given, url) in [
            ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080/v1/chat/completions"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/chat/completions"),
            ("w.example.net/serving-endpoints", "https://w.example.net/serving-endpoints/chat/completions"),
            (
                "https://w.example.net/ai-gateway/mlflow/v1",
                "https://w.example.net/ai-gateway/mlflow/v1/chat/completions",
            ),
            ("https://api.example.net/v1/chat/completions", "https://api.example.net/v1/chat/completions"),
            ("https://api.example.net/v1?tier=2", "https://api.example.net/v1/chat/completions?tier=2"),
        ] {
            assert_eq!(base(given), (url.to_owned(), model.clone(), false), "{given}");
        }
        let invocations = "https://w.example.net/serving-endpoints/x/invocations";
        assert_eq!(base(invocations), (invocations.to_owned(), None, false));
    }

    #[test]
    fn azure_wants_its_deployments_version_and_header() {
        let azure =
            ModelUrl::Azure { base_url: "https://r.openai.azure.com/".into(), api_version: "2024-10-21".into() };
        let url = "https://r.openai.azure.com/openai/deployments/chat%20model/chat/completions?api-version=2024-10-21";
        let target = azure.target("chat model").unwrap();
        assert_eq!((target.url.as_str(), target.model, target.takes_api_key), (url, None, true));
        let written_out = base("https://r.openai.azure.com/openai/deployments/d?api-version=2024-10-21");
        let url = "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21";
        assert_eq!(written_out, (url.to_owned(), None, true));
    }

    #[test]
    fn what_is_no_url_is_refused_and_passwords_are_not_shown() {
        for (wrong, shown) in [("ftp://x", true), ("", true), ("http://", true), ("https://me:hush@x", false)] {
            let error = ModelUrl::Base { base_url: wrong.to_owned() }.target("m").unwrap_err();
            assert_eq!(matches!(error, ExtractError::Url { .. }), shown, "{wrong}");
            assert!(error.to_string().contains("extractor.base_url") && !error.to_string().contains("hush"));
        }
    }

    #[test]
    fn hosts_are_the_same_whatever_is_written_around_them() {
        assert!(same_host("https://W.example.net/", "w.example.net/ai-gateway/v1"));
        assert!(!same_host("https://w.example.net", "https://w.example.net.evil.com"));
        assert!(!same_host("http://127.0.0.1:1", "http://127.0.0.1:2"));
        assert!(is_databricks("https://1.ai-gateway.cloud.databricks.com/mlflow/v1"));
        assert!(!is_databricks("https://databricks.com.evil.net") && !is_databricks("https://evil-databricks.com"));
    }
}
