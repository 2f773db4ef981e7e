//! The files that a reader follows, and which of them a file found now is.
//!
//! A file found is a known one where its head is that of the known one and nothing of it was cut off. Where several
//! are, the same path with the same inode comes first, then the same inode under a new path (it was renamed while it
//! was followed), then the same path, then an equal head alone (renamed while nobody looked). What is left is new.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::PathBuf;

use memoir_core::source::{Offset, Position, SourceError};

use super::identity::{Damage, Head, Inode, Notes, Stat, partition_id, read_head};
use super::listing::Found;
use super::reading::FileReader;

/// A file that was begun, or will be.
pub(crate) struct Tracked {
    pub id: String,
    pub notes: Notes,
    pub position: Position,
    /// What it was when it was last looked at and found to be this file.
    pub seen: Option<Stat>,
    /// Where it lies as it was found, for messages.
    pub shown: PathBuf,
    /// Read no further than this.
    pub limit: u64,
    pub reader: Option<Box<FileReader>>,
    /// Waits to be read.
    pub queued: bool,
    /// Nothing more is to be had under this identity: its content was cut off or replaced.
    pub closed: bool,
}

impl Tracked {
    pub fn from_offset(id: String, offset: &Offset) -> Result<Self, SourceError> {
        let mut notes = Notes::decode(&id, &offset.notes)?;
        if notes.position != offset.position {
            (notes.drained_at, notes.damage) = (None, None);
        }
        let shown = notes.path.clone();
        Ok(Self {
            id,
            notes,
            position: offset.position,
            seen: None,
            shown,
            limit: 0,
            reader: None,
            queued: false,
            closed: false,
        })
    }

    fn new(id: String, candidate: &Candidate, order: u64) -> Self {
        let mut tracked = Self {
            id,
            notes: Notes::new(candidate.found.canonical.clone(), candidate.identity, order),
            position: Position::default(),
            seen: None,
            shown: PathBuf::new(),
            limit: 0,
            reader: None,
            queued: false,
            closed: false,
        };
        tracked.found_at(&candidate.found);
        tracked
    }

    /// Takes note of where the file is now and how far it goes.
    pub fn found_at(&mut self, found: &Found) {
        if self.notes.path != found.canonical && self.seen.is_some() {
            let (from, to) = (self.notes.path.display(), found.path.display());
            tracing::info!(%from, %to, "a file was renamed: it goes on");
        }
        // A reader that holds another file, or bytes that were cut off since, begins again at the position.
        if self.reader.as_ref().is_some_and(|reader| !reader.goes_on_in(&found.stat)) {
            self.reader = None;
        }
        self.notes.path.clone_from(&found.canonical);
        self.notes.inode = Some(found.stat.inode);
        self.shown.clone_from(&found.path);
        self.seen = Some(found.stat);
        self.limit = found.stat.size;
    }

    /// Whether a look into the file may give something that was not read.
    pub fn may_have_more(&self) -> bool {
        let still_damaged =
            |damage: Damage| self.seen.is_some_and(|stat| (stat.size, stat.modified) == (damage.size, damage.modified));
        !self.closed && !self.notes.damage.is_some_and(still_damaged) && self.notes.drained_at != Some(self.limit)
    }

    pub fn offset(&mut self) -> Result<Offset, SourceError> {
        self.notes.position = self.position;
        Ok(Offset { position: self.position, notes: self.notes.encode()? })
    }

    /// Another file has come to this one's path. What is still written to this one can be read only where it is held
    /// open, or when it is found elsewhere.
    fn lost_to(&mut self, candidate: &Candidate) {
        let found = &candidate.found;
        let same_inode = self.notes.inode == Some(found.stat.inode);
        if found.stat.size < self.notes.raw_bytes && (same_inode || self.notes.head.begins(&candidate.head)) {
            tracing::warn!(
                path = %found.path.display(), read = self.notes.raw_bytes, size = found.stat.size,
                "a file was truncated below what was read: it is read as new content"
            );
        } else {
            tracing::info!(path = %found.path.display(), "a file was replaced: the new one is read from its beginning");
        }
        if same_inode {
            self.closed = true;
            self.reader = None;
        }
    }

    /// Whether a file that begins with `head` may be this one.
    fn may_be(&self, found: &Found, head: &[u8]) -> bool {
        !self.closed && found.stat.size >= self.notes.raw_bytes && self.notes.head.begins(head)
    }

    /// Whether it lies where it was, though out of sight: then another file that begins alike is none of its names.
    fn is_still_there(&self) -> bool {
        let head = File::open(&self.notes.path).and_then(|file| read_head(&file));
        head.is_ok_and(|head| self.notes.head.begins(&head))
    }

    /// Whether the file found is this one, where it has always been: the one case that leaves no choice.
    pub fn is_where_it_was(&self, found: &Found, head: &[u8]) -> bool {
        self.notes.inode == Some(found.stat.inode) && self.notes.path == found.canonical && self.may_be(found, head)
    }
}

/// A file found now.
pub(crate) struct Candidate {
    pub found: Found,
    pub identity: Head,
    /// Its first bytes, unless there is no known file to hold them against.
    pub head: Vec<u8>,
    /// Not in the listing: it counts only where it is a known file.
    pub known_only: bool,
}

impl Candidate {
    /// A file of the listing. Its head is kept only where it is needed: there may be very many new files.
    pub fn new(found: Found, head: Vec<u8>, keep_head: bool) -> Self {
        let identity = Head::of(&head);
        let head = if keep_head { head } else { Vec::new() };
        Self { found, identity, head, known_only: false }
    }

    /// A file beside those of the listing.
    pub fn known_only(found: Found, head: Vec<u8>) -> Self {
        Self { found, identity: Head::of(&head), head, known_only: true }
    }
}

/// All files that are or were followed, in the order in which they were begun.
#[derive(Default)]
pub(crate) struct TrackedFiles {
    pub files: Vec<Tracked>,
    ids: HashSet<String>,
}

impl TrackedFiles {
    pub fn from_offsets(offsets: &[(String, Offset)]) -> Result<Self, SourceError> {
        let mut files = offsets
            .iter()
            .map(|(id, offset)| Tracked::from_offset(id.clone(), offset))
            .collect::<Result<Vec<_>, _>>()?;
        files.sort_by(|one, other| (one.notes.order, &one.id).cmp(&(other.notes.order, &other.id)));
        let ids = files.iter().map(|file| file.id.clone()).collect();
        Ok(Self { files, ids })
    }

    /// The open file at each path.
    pub fn by_path(&self) -> HashMap<&PathBuf, usize> {
        // Of several the last begun stays.
        self.open().map(|(index, file)| (&file.notes.path, index)).collect()
    }

    fn open(&self) -> impl Iterator<Item = (usize, &Tracked)> {
        self.files.iter().enumerate().filter(|(_, file)| !file.closed)
    }

    /// Says which file each candidate is, and takes up those that are new. `settled` are the files that were found
    /// unchanged. Gives the files that were looked at, in no order.
    pub fn attribute(&mut self, candidates: Vec<Candidate>, settled: &HashSet<usize>) -> Vec<usize> {
        let matched = self.matches(&candidates, settled);
        let known: HashSet<usize> = matched.iter().flatten().chain(settled).copied().collect();
        let mut lost = HashMap::<PathBuf, Vec<usize>>::new();
        for (index, file) in self.open().filter(|(index, _)| !known.contains(index)) {
            lost.entry(file.notes.path.clone()).or_default().push(index);
        }
        let mut touched = Vec::new();
        for (candidate, matched) in candidates.iter().zip(matched) {
            match matched {
                Some(index) => {
                    if let Some(file) = self.files.get_mut(index) {
                        file.found_at(&candidate.found);
                    }
                    touched.push(index);
                }
                None if candidate.known_only => {}
                None => {
                    for index in lost.remove(&candidate.found.canonical).into_iter().flatten() {
                        if let Some(file) = self.files.get_mut(index) {
                            file.lost_to(candidate);
                        }
                    }
                    let id = partition_id(&candidate.found.canonical, candidate.identity, &self.ids);
                    self.ids.insert(id.clone());
                    let order = self.files.last().map_or(0, |last| last.notes.order + 1);
                    touched.push(self.files.len());
                    self.files.push(Tracked::new(id, candidate, order));
                }
            }
        }
        touched
    }

    /// For each candidate the known file that it is.
    fn matches(&self, candidates: &[Candidate], settled: &HashSet<usize>) -> Vec<Option<usize>> {
        let mut matched = vec![None; candidates.len()];
        let mut free: HashSet<usize> =
            self.open().map(|(index, _)| index).filter(|index| !settled.contains(index)).collect();
        let (mut by_path, mut by_inode) = (HashMap::<_, Vec<usize>>::new(), HashMap::<Inode, Vec<usize>>::new());
        for (index, file) in self.open().filter(|(index, _)| free.contains(index)) {
            by_path.entry(&file.notes.path).or_default().push(index);
            if let Some(inode) = file.notes.inode {
                by_inode.entry(inode).or_default().push(index);
            }
        }
        let at_path = |candidate: &Candidate| by_path.get(&candidate.found.canonical).into_iter().flatten().rev();
        let at_inode = |candidate: &Candidate| by_inode.get(&candidate.found.stat.inode).into_iter().flatten().rev();
        let may_be = |index: &usize, candidate: &Candidate| {
            self.files.get(*index).is_some_and(|file| file.may_be(&candidate.found, &candidate.head))
        };
        let has_inode = |index: &usize, candidate: &Candidate| {
            self.files.get(*index).is_some_and(|file| file.notes.inode == Some(candidate.found.stat.inode))
        };

        let mut pass = |choose: &dyn Fn(&Candidate, &HashSet<usize>) -> Option<usize>| {
            for (candidate, matched) in candidates.iter().zip(&mut matched) {
                if matched.is_none()
                    && let Some(index) = choose(candidate, &free)
                {
                    free.remove(&index);
                    *matched = Some(index);
                }
            }
        };
        pass(&|candidate, free| {
            at_path(candidate)
                .find(|index| has_inode(index, candidate) && free.contains(index) && may_be(index, candidate))
                .copied()
        });
        pass(&|candidate, free| {
            // A known file that may be this one at its own path goes before.
            let stays = at_path(candidate).any(|index| free.contains(index) && may_be(index, candidate));
            at_inode(candidate).find(|index| !stays && free.contains(index) && may_be(index, candidate)).copied()
        });
        pass(&|candidate, free| {
            at_path(candidate).find(|index| free.contains(index) && may_be(index, candidate)).copied()
        });
        let mut by_head = HashMap::<Head, Vec<usize>>::new();
        for (index, file) in self.open().filter(|(_, file)| file.notes.head.length > 0) {
            by_head.entry(file.notes.head).or_default().push(index);
        }
        let lengths: HashSet<usize> = by_head.keys().map(|head| head.length).collect();
        pass(&|candidate, free| {
            // Most heads are of full length: few hashes are taken.
            let mut lengths: Vec<_> = lengths.iter().filter(|length| **length <= candidate.head.len()).collect();
            lengths.sort_unstable_by(|one, other| other.cmp(one));
            let heads = lengths.into_iter().filter_map(|length| candidate.head.get(..*length)).map(Head::of);
            heads
                .filter_map(|head| by_head.get(&head))
                .flat_map(|files| files.iter().rev())
                .filter(|index| free.contains(index) && may_be(index, candidate))
                .find(|index| !self.files.get(**index).is_some_and(Tracked::is_still_there))
                .copied()
        });
        matched
    }
}
