//! Profiles of the Databricks command line: `~/.databrickscfg`, an INI file with a section for each workspace.
//!
//! Read are `host`, `token`, `client_id` and `client_secret`; other keys (`auth_type`, `account_id`, …) are passed over.

use std::path::Path;

use super::secret::Token;
use crate::ExtractError;

/// One section of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    pub host: Option<String>,
    pub token: Option<Token>,
    pub client_id: Option<String>,
    pub client_secret: Option<Token>,
}

impl Profile {
    /// # Errors
    /// When the file cannot be read, or has no such profile.
    pub fn load(path: &Path, name: &str) -> Result<Self, ExtractError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ExtractError::ReadProfiles { path: path.to_owned(), source })?;
        Self::find(&text, name)
            .ok_or_else(|| ExtractError::NoProfile { path: path.to_owned(), profile: name.to_owned() })
    }

    fn find(text: &str, name: &str) -> Option<Self> {
        let mut found: Option<Self> = None;
        let mut is_here = false;
        for line in text.lines().map(str::trim) {
            if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                is_here = section.trim() == name;
                if is_here {
                    found.get_or_insert_default();
                }
                continue;
            }
            let Some(profile) = found.as_mut().filter(|_| is_here) else { continue };
            let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with(['#', ';'])) else { continue };
            let value = Some(value.trim()).filter(|value| !value.is_empty());
            match key.trim().to_ascii_lowercase().as_str() {
                "host" => profile.host = value.map(str::to_owned),
                "token" => profile.token = value.and_then(Token::new),
                "client_id" => profile.client_id = value.map(str::to_owned),
                "client_secret" => profile.client_secret = value.and_then(Token::new),
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "; made by hand\n[DEFAULT]\nhost = https://a.example.net\ntoken=dapi-a\n\n\
        [ machine ]\r\nHOST = https://b.example.net/ \r\nclient_id = id-b\r\n# token = dapi-old\r\n\
        client_secret = s=b\r\nauth_type = oauth-m2m\r\ntoken =\r\n[empty]\n";

    #[test]
    fn a_profile_is_its_section_and_nothing_of_the_others() {
        let machine = Profile::find(FILE, "machine").unwrap();
        assert_eq!(machine.host.as_deref(), Some("https://b.example.net/"));
        assert_eq!(machine.client_id.as_deref(), Some("id-b"));
        assert_eq!(machine.client_secret, Token::new("s=b"));
        assert_eq!(machine.token, None, "neither the comment nor the empty one");
        assert_eq!(Profile::find(FILE, "DEFAULT").unwrap().token, Token::new("dapi-a"));
        assert_eq!(Profile::find(FILE, "empty"), Some(Profile::default()));
        assert_eq!(Profile::find(FILE, "other"), None);
    }

    #[test]
    fn errors_and_debug_output_name_file_and_profile_and_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("databrickscfg");
        let missing = Profile::load(&path, "x").unwrap_err().to_string();
        assert!(missing.contains("databrickscfg") && missing.contains("databricks.config_file"), "{missing}");
        std::fs::write(&path, FILE).unwrap();
        let unknown = Profile::load(&path, "staging").unwrap_err().to_string();
        assert!(unknown.contains("staging") && !unknown.contains("dapi"), "{unknown}");
        assert!(!format!("{:?}", Profile::load(&path, "machine").unwrap()).contains("s=b"));
    }
}
