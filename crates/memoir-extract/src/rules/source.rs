//! Where rules come from: the files that come with Memoir, or those of the user's own. Each holds the rules of one
//! language, with its own vocabulary, guards and shapes; how they go together is here and in the module above.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::ExtractError;

/// The text of a rules file, and what errors call it.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub name: Cow<'static, str>,
    pub text: Cow<'static, str>,
    /// The tagger beside the file: `en.tagger` beside `en.toml`.
    pub tagger: Option<Cow<'static, [u8]>>,
}

/// The rules that come with Memoir, a language each.
pub(super) const BUILT_IN: [Source; 3] = [
    built_in("config/rules/en.toml (built in)", include_str!("../../../../config/rules/en.toml"), Some(EN_TAGGER)),
    built_in("config/rules/de.toml (built in)", include_str!("../../../../config/rules/de.toml"), None),
    built_in("config/rules/es.toml (built in)", include_str!("../../../../config/rules/es.toml"), None),
];

const EN_TAGGER: &[u8] = include_bytes!("../../../../config/rules/en.tagger");

const fn built_in(name: &'static str, text: &'static str, tagger: Option<&'static [u8]>) -> Source {
    let tagger = match tagger {
        Some(bytes) => Some(Cow::Borrowed(bytes)),
        None => None,
    };
    Source { name: Cow::Borrowed(name), text: Cow::Borrowed(text), tagger }
}

/// A file, or the `.toml` files of a folder in the order of their names.
///
/// # Errors
/// When one of them cannot be read, or the folder holds none.
pub(super) fn read(path: &Path) -> Result<Vec<Source>, ExtractError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| ExtractError::ReadRules { path, source }
    };
    let mut files: Vec<PathBuf> = vec![path.to_owned()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(failed(path))?;
        files = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(failed(path))?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
        files.sort_unstable();
    }
    if files.is_empty() {
        let problem = "no file in this folder ends in .toml".to_owned();
        return Err(ExtractError::Rules { file: path.display().to_string(), problem });
    }
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).map_err(failed(&file))?;
        let tagger = file.with_extension("tagger");
        let bytes = if tagger.is_file() { Some(std::fs::read(&tagger).map_err(failed(&tagger))?) } else { None };
        Ok(Source { name: file.display().to_string().into(), text: text.into(), tagger: bytes.map(Cow::Owned) })
    };
    files.into_iter().map(read).collect()
}
