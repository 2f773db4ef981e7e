//! Where a new state begins in files: at their beginnings, at their ends, or at a time.

use std::collections::HashSet;

use memoir_core::processor::StreamEvent;
use memoir_core::source::{Offset, SourceError, StartAt};
use memoir_core::time::Timestamp;

use super::source::{FileSource, cannot_read};
use super::tracked::{Candidate, TrackedFiles};

impl FileSource {
    pub(super) fn origin_of<E: StreamEvent>(&mut self, start: &StartAt) -> Result<Vec<(String, Offset)>, SourceError> {
        match start {
            StartAt::Earliest => Ok(Vec::new()),
            StartAt::Latest => self.offsets_at(|_| false),
            StartAt::Time(time) => self.offsets_at(|line| is_from::<E>(line, *time)),
            StartAt::Version(_) => Err(SourceError::new(
                "source.start names a version, which only a Delta table has; files begin at earliest, latest or a time",
            )),
        }
    }

    /// An offset for each file that is there now, at its first line that is wanted or else at its end. Files that begin
    /// at their beginning have one too, so that the order of their paths is kept.
    fn offsets_at(&mut self, is_wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<(String, Offset)>, SourceError> {
        let listed = self.listing.list();
        if let Some((path, error)) = listed.unreadable.into_iter().next() {
            return Err(cannot_read(&path, &error));
        }
        let mut candidates = Vec::new();
        for found in listed.files {
            if let Some(head) = self.head_of(&found)? {
                candidates.push(Candidate::new(found, head, false));
            }
        }
        let mut tracked = TrackedFiles::default();
        tracked.attribute(candidates, &HashSet::new());
        let mut offsets = Vec::with_capacity(tracked.files.len());
        for file in &mut tracked.files {
            file.skip_until(&self.options, &is_wanted).map_err(|error| cannot_read(&file.shown, &error))?;
            offsets.push((file.id.clone(), file.offset()?));
        }
        Ok(offsets)
    }
}

fn is_from<E: StreamEvent>(line: &[u8], time: Timestamp) -> bool {
    E::from_json(line).is_ok_and(|event| event.ts() >= time)
}
