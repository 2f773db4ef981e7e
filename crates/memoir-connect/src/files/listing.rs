//! What a path names: one file, all files of a folder and the folders in it, or what a glob matches.
//!
//! Hidden files and folders (a name that begins with a dot, as editors and copying tools make them for a while) are
//! passed over unless the path or glob names such a thing; so is what is no regular file. Symbolic links are followed.
//! The order is that of the bytes of the path as it was found. A file that is found twice counts once.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use walkdir::WalkDir;

use super::identity::Stat;
use crate::error::ConnectError;

/// The path that a source was given.
pub(crate) struct Listing {
    /// Absolute, but not free of links.
    path: PathBuf,
    glob: Option<Glob>,
}

struct Glob {
    matcher: GlobMatcher,
    /// The folder in front of the first component with a wildcard.
    base: PathBuf,
    /// How deep below the base matches lie, where `**` does not leave it open.
    depth: Option<usize>,
    /// Whether it names hidden things.
    hidden_too: bool,
}

/// A regular file.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// As it was found.
    pub path: PathBuf,
    pub canonical: PathBuf,
    pub stat: Stat,
}

#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// In the order of the bytes of their paths.
    pub files: Vec<Found>,
    /// What could not be looked into.
    pub unreadable: Vec<(PathBuf, io::Error)>,
    /// What the path turned out to be.
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Missing,
    File,
    Folder,
    Glob,
}

impl Listing {
    pub fn new(path: &str) -> Result<Self, ConnectError> {
        if path.is_empty() {
            return Err(ConnectError::NoPath);
        }
        let absolute =
            std::path::absolute(path).map_err(|cause| ConnectError::CurrentFolder { path: path.to_owned(), cause })?;
        let is_glob = path.contains(['*', '?', '[', '{']) && !absolute.exists();
        let glob = is_glob.then(|| Glob::new(&absolute)).transpose()?;
        Ok(Self { path: absolute, glob })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at the file system.
    pub fn list(&self) -> Listed {
        let mut look = Look::default();
        match std::fs::metadata(&self.path) {
            Ok(metadata) if metadata.is_dir() => {
                look.listed.kind = Kind::Folder;
                look.folder(&self.path);
            }
            Ok(metadata) => {
                look.listed.kind = Kind::File;
                look.take(self.path.clone(), true, metadata.is_file().then(|| Stat::of(&metadata)));
            }
            // A file may be called like a glob, and then is that file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(glob) = &self.glob {
                    look.listed.kind = Kind::Glob;
                    look.glob(glob);
                }
            }
            Err(error) => {
                look.listed.kind = Kind::File;
                look.listed.unreadable.push((self.path.clone(), error));
            }
        }
        look.finish()
    }
}

impl Glob {
    fn new(absolute: &Path) -> Result<Self, ConnectError> {
        let bad = |cause| ConnectError::BadGlob { path: absolute.to_owned(), cause };
        let is_wild = |part: &Component<'_>| part.as_os_str().as_bytes().iter().any(|byte| b"*?[{".contains(byte));
        let text = absolute.to_str().ok_or(ConnectError::GlobNotUtf8 { path: absolute.to_owned() })?;
        let matcher = GlobBuilder::new(text).literal_separator(true).build().map_err(bad)?.compile_matcher();
        let base: PathBuf = absolute.components().take_while(|part| !is_wild(part)).collect();
        let below: Vec<_> = absolute.components().skip_while(|part| !is_wild(part)).collect();
        // Alternatives may hold separators.
        let open = text.contains("**") || text.contains('{');
        let hidden_too = below.iter().any(|part| part.as_os_str().as_bytes().starts_with(b"."));
        Ok(Self { matcher, base, depth: (!open).then_some(below.len()), hidden_too })
    }
}

/// One look at the file system.
#[derive(Default)]
struct Look {
    hidden_too: bool,
    listed: Listed,
    seen: HashSet<PathBuf>,
    /// Canonical paths of folders: most files share theirs with others.
    folders: HashMap<PathBuf, PathBuf>,
}

impl Look {
    fn folder(&mut self, folder: &Path) {
        for entry in self.walk(WalkDir::new(folder)) {
            self.take_entry(&entry);
        }
    }

    fn glob(&mut self, glob: &Glob) {
        if !glob.base.exists() {
            return;
        }
        self.hidden_too = glob.hidden_too;
        let mut walk = WalkDir::new(&glob.base).min_depth(1);
        if let Some(depth) = glob.depth {
            walk = walk.max_depth(depth);
        }
        for entry in self.walk(walk) {
            if glob.matcher.is_match(entry.path()) {
                if entry.file_type().is_dir() {
                    self.folder(entry.path());
                } else {
                    self.take_entry(&entry);
                }
            }
        }
    }

    fn walk(&mut self, walk: WalkDir) -> Vec<walkdir::DirEntry> {
        let hidden_too = self.hidden_too;
        let is_hidden = |entry: &walkdir::DirEntry| entry.depth() > 0 && entry.file_name().as_bytes().starts_with(b".");
        let entries = walk.follow_links(true).into_iter().filter_entry(|entry| hidden_too || !is_hidden(entry));
        let mut walked = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) => walked.push(entry),
                Err(error) => self.not_walked(error),
            }
        }
        walked
    }

    fn not_walked(&mut self, error: walkdir::Error) {
        let path = error.path().map_or_else(PathBuf::new, Path::to_owned);
        if error.loop_ancestor().is_some() {
            // What the link leads to is walked where it lies.
            tracing::warn!(path = %path.display(), "a link leads back to a folder that holds it: not followed");
            return;
        }
        let error = error.into_io_error().unwrap_or_else(|| io::Error::other("it can't be looked at"));
        // A link to nothing, or gone since the folder was read.
        if error.kind() != io::ErrorKind::NotFound {
            self.listed.unreadable.push((path, error));
        }
    }

    fn take_entry(&mut self, entry: &walkdir::DirEntry) {
        if !entry.file_type().is_file() {
            return;
        }
        match entry.metadata() {
            Ok(metadata) => self.take(entry.path().to_owned(), entry.path_is_symlink(), Some(Stat::of(&metadata))),
            Err(error) => self.not_walked(error),
        }
    }

    fn take(&mut self, path: PathBuf, may_be_link: bool, stat: Option<Stat>) {
        let Some(stat) = stat else { return };
        match self.canonical(&path, may_be_link) {
            Ok(canonical) => {
                if self.seen.insert(path.clone()) {
                    self.listed.files.push(Found { path, canonical, stat });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.listed.unreadable.push((path, error)),
        }
    }

    fn canonical(&mut self, path: &Path, may_be_link: bool) -> io::Result<PathBuf> {
        let (Some(folder), Some(name), false) = (path.parent(), path.file_name(), may_be_link) else {
            return path.canonicalize();
        };
        if let Some(canonical) = self.folders.get(folder) {
            return Ok(canonical.join(name));
        }
        let canonical = folder.canonicalize()?;
        let file = canonical.join(name);
        self.folders.insert(folder.to_owned(), canonical);
        Ok(file)
    }

    fn finish(self) -> Listed {
        let mut listed = self.listed;
        listed
            .files
            .sort_unstable_by(|one, other| one.path.as_os_str().as_bytes().cmp(other.path.as_os_str().as_bytes()));
        let mut canonical = HashSet::new();
        listed.files.retain(|found| canonical.insert(found.canonical.clone()));
        listed
    }
}

/// Files beside `path` whose name begins with its name: where rotation puts what it held.
pub(crate) fn rotated(path: &Path) -> Vec<Found> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name() != name && entry.file_name().as_bytes().starts_with(name.as_bytes()))
        .filter_map(|entry| {
            let (path, metadata) = (entry.path(), entry.metadata().ok()?);
            metadata.is_file().then(|| Found { canonical: path.clone(), path, stat: Stat::of(&metadata) })
        })
        .collect();
    found.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::Builder::new().prefix("listing").tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        folder
    }

    fn names(folder: &tempfile::TempDir, path: &str) -> Vec<String> {
        let listed = Listing::new(folder.path().join(path).to_str().unwrap()).unwrap().list();
        assert!(listed.unreadable.is_empty(), "{:?}", listed.unreadable);
        let name = |found: &Found| found.path.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned();
        listed.files.iter().map(name).collect()
    }

    const FILES: &[&str] = &["a.ndjson", "a/x.ndjson", "a/deep/y.gz", "b.txt", ".hidden", ".git/z.ndjson", "a/.tmp"];

    #[test]
    fn a_folder_gives_all_its_files_by_the_bytes_of_their_paths_and_no_hidden_ones() {
        let folder = folder(FILES);
        assert_eq!(names(&folder, ""), ["a.ndjson", "a/deep/y.gz", "a/x.ndjson", "b.txt"]);
        assert_eq!(names(&folder, ".git"), [".git/z.ndjson"]);
    }

    #[test]
    fn a_glob_keeps_to_its_depth_and_takes_folders_whole() {
        let folder = folder(FILES);
        assert_eq!(names(&folder, "*.ndjson"), ["a.ndjson"]);
        assert_eq!(names(&folder, "**/*.ndjson"), ["a.ndjson", "a/x.ndjson"]);
        assert_eq!(names(&folder, "*/*.ndjson"), ["a/x.ndjson"]);
        assert_eq!(names(&folder, "a*"), ["a.ndjson", "a/deep/y.gz", "a/x.ndjson"]);
        assert_eq!(names(&folder, "{b,a}.{txt,ndjson}"), ["a.ndjson", "b.txt"]);
        assert_eq!(names(&folder, "a/.t*"), ["a/.tmp"]);
        assert_eq!(names(&folder, "none/*.x"), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_is_called_like_a_glob_is_that_file() {
        let folder = folder(&["day[1].ndjson", "day1.ndjson"]);
        assert_eq!(names(&folder, "day[1].ndjson"), ["day[1].ndjson"]);
        assert_eq!(names(&folder, "day[12].ndjson"), ["day1.ndjson"]);
    }

    #[test]
    fn links_are_followed_once_and_a_link_to_nothing_is_no_error() {
        let folder = folder(&["data/one"]);
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(folder.path().join(to), folder.path().join(name));
        link("data/one", "alias").unwrap();
        link("nothing", "broken").unwrap();
        link("", "data/loop").unwrap();
        assert_eq!(names(&folder, ""), ["alias"]);
    }

    #[test]
    fn a_bad_glob_is_refused_with_the_reason() {
        let error = Listing::new("/data/[a").err().unwrap().to_string();
        assert!(error.contains("/data/[a"), "{error}");
    }
}
