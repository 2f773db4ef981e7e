//! The source over files: looks at the file system, keeps the queue of files that have something to read, and reads
//! them in the order in which they were begun.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memoir_core::processor::StreamEvent;
use memoir_core::source::{Offset, Polled, ReadUntil, Source, SourceBatch, SourceError, StartAt};
use memoir_core::time::Clock;

use super::FileOptions;
use super::identity::read_head;
use super::listing::{Found, Kind, Listed, Listing, rotated};
use super::reading::{Read, Reading};
use super::tracked::{Candidate, Tracked, TrackedFiles};
use crate::decode::Decoder;
use crate::error::ConnectError;

/// A batch holds no more bytes of content than this and the rest of a line, however few records they make.
pub(super) const BATCH_BYTES: u64 = 8 * 1024 * 1024;

/// While following, so much may be held open: a plain file counts one, and a compressed one eight, because its decoder
/// holds megabytes. Files beyond that are opened again when they grow.
const MAX_OPEN: usize = 64;
const COMPRESSED_COUNTS: usize = 8;

/// Reads files. See the [module](super) for what it promises.
pub struct FileSource {
    pub(super) listing: Listing,
    pub(super) options: FileOptions,
    pub(super) decoder: Decoder,
    until: ReadUntil,
    files: TrackedFiles,
    /// Files that may have more, the next one first.
    queue: VecDeque<usize>,
    /// Files with an open reader that have nothing more now, the one longest unread first.
    open: VecDeque<usize>,
    /// Files that are gone from the listing, and were looked for beside their old path.
    looked_for: HashSet<usize>,
    /// What was warned of already, as long as it stays so.
    warned: HashSet<PathBuf>,
    leftovers: Vec<String>,
}

impl FileSource {
    /// # Errors
    /// When the path is empty or a glob that can't be used.
    pub fn new(path: &str, options: FileOptions, clock: Arc<dyn Clock>) -> Result<Self, ConnectError> {
        let decoder = Decoder::new(clock, options.max_ahead);
        Ok(Self {
            listing: Listing::new(path)?,
            options,
            decoder,
            until: ReadUntil::WhatIsThere,
            files: TrackedFiles::default(),
            queue: VecDeque::new(),
            open: VecDeque::new(),
            looked_for: HashSet::new(),
            warned: HashSet::new(),
            leftovers: Vec::new(),
        })
    }

    fn follows(&self) -> bool {
        self.until == ReadUntil::Stopped
    }

    /// Looks at the file system, finds out which file is which, and queues those that may have more.
    fn look(&mut self, listed: Listed) -> Result<(), SourceError> {
        self.unreadable(listed.unreadable)?;
        let by_path = self.files.by_path();
        let (mut settled, mut changed) = (HashSet::new(), Vec::new());
        for found in listed.files {
            let known = by_path.get(&found.canonical).copied();
            match known {
                Some(index) if self.files.files.get(index).and_then(|file| file.seen) == Some(found.stat) => {
                    settled.insert(index);
                }
                // An empty file has no head, so it is no file yet.
                _ if found.stat.size == 0 => {}
                known => changed.push((found, known)),
            }
        }
        let (mut touched, mut candidates) = (Vec::new(), Vec::new());
        let are_known = !self.files.files.is_empty();
        for (found, known) in changed {
            let Some(head) = self.head_of(&found)? else { continue };
            match known.and_then(|index| self.files.files.get_mut(index).map(|file| (index, file))) {
                Some((index, file)) if file.is_where_it_was(&found, &head) => {
                    file.found_at(&found);
                    settled.insert(index);
                    touched.push(index);
                }
                _ => candidates.push(Candidate::new(found, head, are_known)),
            }
        }
        let away = self.rotated_away(&settled, &candidates);
        candidates.extend(away);
        touched.extend(self.files.attribute(candidates, &settled));
        touched.extend(self.held_open(&settled, &touched));
        touched.sort_unstable();
        for index in touched {
            let Some(file) = self.files.files.get_mut(index) else { continue };
            if file.may_have_more() && !file.queued {
                file.queued = true;
                self.queue.push_back(index);
            }
        }
        Ok(())
    }

    /// The first bytes of a file that is new or has changed; `None` where there are none or they can't be had.
    pub(super) fn head_of(&mut self, found: &Found) -> Result<Option<Vec<u8>>, SourceError> {
        match File::open(&found.canonical).and_then(|file| read_head(&file)) {
            Ok(head) => {
                self.warned.remove(&found.path);
                Ok(Some(head).filter(|head| !head.is_empty()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::warn!(path = %found.path.display(), "a file is gone before it could be read");
                Ok(None)
            }
            Err(error) => self.unreadable(vec![(found.path.clone(), error)]).map(|()| None),
        }
    }

    /// Where known files may be that are no longer at their path: beside it, under a longer name.
    fn rotated_away(&mut self, settled: &HashSet<usize>, candidates: &[Candidate]) -> Vec<Candidate> {
        let at_path: HashMap<_, _> = candidates.iter().map(|one| (&one.found.canonical, one)).collect();
        let is_in_sight = |index: &usize, file: &Tracked| {
            settled.contains(index)
                || file.reader.is_some()
                || at_path.get(&file.notes.path).is_some_and(|there| file.notes.head.begins(&there.head))
        };
        let files = self.files.files.iter().enumerate();
        let lost: HashSet<usize> =
            files.filter(|(index, file)| !file.closed && !is_in_sight(index, file)).map(|(index, _)| index).collect();
        // Looking once is enough: what is moved later is moved by somebody who looks on.
        let new: Vec<usize> = lost.difference(&self.looked_for).copied().collect();
        self.looked_for = lost;
        if new.is_empty() {
            return Vec::new();
        }
        let mut listed: HashSet<&PathBuf> = at_path.into_keys().collect();
        listed.extend(settled.iter().filter_map(|index| self.files.files.get(*index)).map(|file| &file.notes.path));
        let mut away = BTreeMap::new();
        for file in new.into_iter().filter_map(|index| self.files.files.get(index)) {
            for found in rotated(&file.notes.path) {
                if !listed.contains(&found.canonical)
                    && let Ok(head) = File::open(&found.canonical).and_then(|file| read_head(&file))
                {
                    away.insert(found.canonical.clone(), Candidate::known_only(found, head));
                }
            }
        }
        away.into_values().collect()
    }

    /// Files that are out of sight, but are held open and have grown.
    fn held_open(&mut self, settled: &HashSet<usize>, touched: &[usize]) -> Vec<usize> {
        let mut grown = Vec::new();
        let in_sight = |index: &usize| settled.contains(index) || touched.contains(index);
        for index in self.open.iter().filter(|index| !in_sight(index)) {
            let Some(file) = self.files.files.get_mut(*index) else { continue };
            let Some(Ok(stat)) = file.reader.as_ref().map(|reader| reader.stat_now()) else { continue };
            if stat.size > file.limit {
                file.limit = stat.size;
                grown.push(*index);
            }
        }
        grown
    }

    /// An available-now run ends at what it can't read; a daemon says so once and tries again at each look.
    fn unreadable(&mut self, unreadable: Vec<(PathBuf, io::Error)>) -> Result<(), SourceError> {
        for (path, error) in unreadable {
            if !self.follows() {
                return Err(cannot_read(&path, &error));
            }
            if self.warned.insert(path.clone()) {
                tracing::warn!(path = %path.display(), %error, "a file can't be read: it is tried again at each look");
            }
        }
        Ok(())
    }

    /// Keeps the reader of a file that is followed, and lets go of the one longest unread where there are too many.
    fn keep_open(&mut self, index: usize) {
        self.open.retain(|other| *other != index);
        self.open.push_back(index);
        let files = &self.files.files;
        let weigh = |index: &usize| match files.get(*index).and_then(|file| file.reader.as_ref()) {
            Some(reader) if reader.is_compressed() => COMPRESSED_COUNTS,
            Some(_) => 1,
            None => 0,
        };
        let mut weight: usize = self.open.iter().map(weigh).sum();
        let mut let_go = Vec::new();
        while weight > MAX_OPEN
            && let Some(index) = self.open.pop_front()
        {
            weight -= weigh(&index);
            let_go.push(index);
        }
        for index in let_go {
            if let Some(file) = self.files.files.get_mut(index) {
                file.reader = None;
            }
        }
    }

    /// Reads the files in the queue until the batch is full.
    fn read_queue<E: StreamEvent>(
        &mut self,
        batch: &mut SourceBatch<E>,
        max_records: usize,
    ) -> Result<(), SourceError> {
        let mut max_bytes = BATCH_BYTES;
        while let Some(index) = self.queue.front().copied() {
            let Some(file) = self.files.files.get_mut(index) else { break };
            if batch.records.len() >= max_records || max_bytes == 0 {
                return Ok(());
            }
            let before = (file.position, file.notes.drained_at, file.notes.damage);
            let reading = Reading {
                decoder: &self.decoder,
                options: &self.options,
                until: self.until,
                max_records,
                max_bytes,
                partition: batch.partitions.len(),
            };
            let read = file.read_into(batch, &reading);
            if before != (file.position, file.notes.drained_at, file.notes.damage) {
                let offset = file.offset()?;
                batch.partitions.push((file.id.clone(), offset));
            }
            max_bytes = max_bytes.saturating_sub(file.position.major - before.0.major);
            file.queued = matches!(read, Ok(Read::Full));
            match read {
                Ok(Read::Full) => return Ok(()),
                Ok(Read::Drained(left)) => {
                    self.leftovers.extend(left);
                    if self.follows() {
                        self.keep_open(index);
                    }
                }
                Ok(Read::Replaced) => {
                    tracing::warn!(path = %file.shown.display(), "a file was replaced while it waited to be read");
                    // Only a new look can tell what lies there now.
                    file.seen = None;
                }
                Err(error) => self.not_read(index, error)?,
            }
            self.queue.pop_front();
        }
        Ok(())
    }

    fn not_read(&mut self, index: usize, error: io::Error) -> Result<(), SourceError> {
        let Some(file) = self.files.files.get_mut(index) else { return Ok(()) };
        (file.seen, file.reader) = (None, None);
        let path = file.shown.clone();
        if error.kind() == io::ErrorKind::NotFound {
            tracing::warn!(path = %path.display(), "a file is gone before it was read to its end");
            return Ok(());
        }
        self.unreadable(vec![(path, error)])
    }

    fn check(&self, kind: Kind, is_empty: bool) -> Result<(), SourceError> {
        let path = self.listing.path().display();
        match kind {
            Kind::Missing => Err(SourceError::new(format!(
                "{path}: no such file or folder; check source.path (a file, a folder, a glob, or `-` for \
                 standard input)"
            ))),
            Kind::Glob if is_empty && !self.follows() => {
                Err(SourceError::new(format!("{path}: no file matches; check source.path")))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn cannot_read(path: &Path, error: &io::Error) -> SourceError {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "give the user that runs memoir the right to read it, or leave it out of source.path with a glob"
        }
        _ => "check the disk, or leave it out of source.path with a glob",
    };
    SourceError::new(format!("{}: can't be read ({error}); {remedy}", path.display()))
}

impl<E: StreamEvent> Source<E> for FileSource {
    fn describe(&self) -> String {
        format!("files:{}", self.listing.path().display())
    }

    /// Each partition is told by its own path and head, so the same files are known whatever path they are found by.
    fn identity(&self) -> String {
        "files".to_owned()
    }

    /// With a time, each file begins at its first event of that time or later; what comes behind it in the file is
    /// read whatever its time is. Files that are found later are read from their beginning.
    fn origin(&mut self, start: &StartAt) -> Result<Vec<(String, Offset)>, SourceError> {
        self.origin_of::<E>(start)
    }

    fn resume(&mut self, offsets: Vec<(String, Offset)>, until: ReadUntil) -> Result<(), SourceError> {
        self.until = until;
        self.files = TrackedFiles::from_offsets(&offsets)?;
        self.queue.clear();
        self.open.clear();
        self.looked_for.clear();
        self.leftovers.clear();
        let listed = self.listing.list();
        self.check(listed.kind, listed.files.is_empty())?;
        self.look(listed)
    }

    fn poll(&mut self, batch: &mut SourceBatch<E>, max_records: usize) -> Result<Polled, SourceError> {
        self.decoder.look_at_clock();
        let max_records = max_records.max(1);
        self.read_queue(batch, max_records)?;
        if batch.partitions.is_empty() && self.queue.is_empty() && self.follows() {
            self.look(self.listing.list())?;
            self.read_queue(batch, max_records)?;
        }
        Ok(match (batch.partitions.is_empty(), self.follows()) {
            (false, _) => Polled::Some,
            (true, true) => Polled::Idle,
            (true, false) => Polled::End,
        })
    }

    fn leftovers(&self) -> Vec<String> {
        self.leftovers.clone()
    }
}
