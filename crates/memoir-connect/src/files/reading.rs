//! Reads one file: opens it at the place where it was left, and brings its lines into a batch as events.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};

use memoir_core::processor::StreamEvent;
use memoir_core::source::{Position, ReadUntil, SourceBatch, SourceRecord};

use super::FileOptions;
use super::content::{Content, ContentError, FileBytes, Format};
use super::identity::{Damage, HEAD_BYTES, Head, Stat, read_head};
use super::lines::{Lines, Next, Tail, is_blank};
use super::tracked::Tracked;
use crate::decode::{Decoder, RecordPlace, refused};

/// A dead letter about damage has no line of its own: its position is that of the last record with this much more for
/// each such letter. So it lies behind that record, before whatever is read there when the file is repaired, and the
/// number of lines is still to be told.
const DAMAGE_LETTER: u64 = 1 << 40;

/// The smallest block: small files need no more, and there may be many.
const SMALL_BLOCK_BYTES: u64 = 64 * 1024;

/// An open file.
pub(crate) struct FileReader {
    lines: Lines<FileBytes>,
    stat: Stat,
    compressed: bool,
}

/// What became of opening a file where it was left.
enum Opened {
    Ready(Box<FileReader>),
    /// Another file lies at the path by now.
    Replaced,
    /// The place can't be reached any more: why.
    Damaged(String),
}

/// What became of reading a file.
pub(crate) enum Read {
    /// The batch is full, there may be more.
    Full,
    /// Nothing more for now. What was left unread at the end of the run.
    Drained(Option<String>),
    /// The path leads to another file by now.
    Replaced,
}

/// What a reader needs to know beside the file.
pub(crate) struct Reading<'a> {
    pub decoder: &'a Decoder,
    pub options: &'a FileOptions,
    pub until: ReadUntil,
    pub max_records: usize,
    /// So many bytes of content, and the rest of a line.
    pub max_bytes: u64,
    /// The index of the file in the batch.
    pub partition: usize,
}

impl FileReader {
    fn open(tracked: &Tracked, options: &FileOptions) -> io::Result<Opened> {
        let notes = &tracked.notes;
        let mut file = File::open(&notes.path)?;
        let stat = Stat::of(&file.metadata()?);
        let head = read_head(&file)?;
        if !notes.head.begins(&head) || stat.size < notes.raw_bytes {
            return Ok(Opened::Replaced);
        }
        let position = Position::new(tracked.position.major, tracked.position.minor % DAMAGE_LETTER);
        let format = Format::of(&head);
        let start = if format == Some(Format::Plain) { position.major } else { 0 };
        file.seek(SeekFrom::Start(start))?;
        let bytes = FileBytes::new(file, start, tracked.limit);
        let content = match format {
            Some(format) => Content::of_format(bytes, format)?,
            None => Content::new(bytes),
        };
        let compressed = format != Some(Format::Plain);
        let enough = if compressed { u64::MAX } else { stat.size.max(SMALL_BLOCK_BYTES) };
        let block_bytes = options.block_bytes.min(usize::try_from(enough).unwrap_or(usize::MAX));
        let mut lines = Lines::new(content, block_bytes, options.max_line_bytes);
        if !compressed {
            lines.begin_at(position);
            return Ok(Opened::Ready(Box::new(Self { lines, stat, compressed })));
        }
        Ok(match lines.skip_to(position) {
            Ok(true) => Opened::Ready(Box::new(Self { lines, stat, compressed })),
            Ok(false) => {
                Opened::Damaged(format!("it holds less than the {} bytes that were read of it", position.major))
            }
            Err(ContentError::Damaged(reason)) => Opened::Damaged(reason),
            Err(ContentError::Io(error)) => return Err(error),
        })
    }

    /// Whether what was read, also beyond the last whole line, is still there and of the same file.
    pub fn goes_on_in(&self, stat: &Stat) -> bool {
        self.stat.inode == stat.inode && self.lines.content().raw().at() <= stat.size
    }

    pub fn is_compressed(&self) -> bool {
        self.compressed
    }

    /// How long the file is now, also where its path leads elsewhere.
    pub fn stat_now(&self) -> io::Result<Stat> {
        Ok(Stat::of(&self.lines.content().raw().file().metadata()?))
    }
}

impl Tracked {
    /// Brings what the file has into the batch, up to its limit.
    pub fn read_into<E: StreamEvent>(&mut self, batch: &mut SourceBatch<E>, reading: &Reading<'_>) -> io::Result<Read> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => match FileReader::open(self, reading.options)? {
                Opened::Ready(reader) => reader,
                Opened::Replaced => return Ok(Read::Replaced),
                Opened::Damaged(reason) => {
                    self.note_damage(batch, reading, &reason, &[]);
                    return Ok(Read::Drained(None));
                }
            },
        };
        reader.lines.content_mut().raw_mut().set_limit(self.limit);
        let full_at = reader.lines.position().major.saturating_add(reading.max_bytes);
        let damage = loop {
            if batch.records.len() >= reading.max_records || reader.lines.position().major >= full_at {
                self.note_progress(&reader, reader.lines.position());
                self.reader = Some(reader);
                return Ok(Read::Full);
            }
            let next = match reader.lines.next() {
                Ok(next) => next,
                Err(error) => {
                    // What was read before is in the batch, and stays there.
                    self.note_progress(&reader, reader.lines.position());
                    return Err(error);
                }
            };
            let (event, position) = match next {
                Next::Line(line, behind) => (reading.decoder.json(line, || self.place(behind.minor)), behind),
                Next::TooLong(prefix, length, behind) => {
                    let limit = reading.options.max_line_bytes;
                    let reason = format!("the line has {length} bytes, over the limit of {limit}");
                    (Err(refused(self.place(behind.minor), prefix, reason, None)), behind)
                }
                Next::Exhausted => break None,
                Next::Damaged(reason) => break Some(reason),
            };
            batch.records.push(SourceRecord { partition: reading.partition, position, event });
        };
        self.note_progress(&reader, reader.lines.position());
        match damage {
            Some(reason) => {
                self.note_damage(batch, reading, &reason, reader.lines.tail().bytes);
                Ok(Read::Drained(None))
            }
            None if reading.until == ReadUntil::WhatIsThere => Ok(Read::Drained(self.end(batch, reading, &mut reader))),
            None => {
                self.note_drained(&reader);
                reader.lines.shrink();
                self.reader = Some(reader);
                Ok(Read::Drained(None))
            }
        }
    }

    /// Takes what stands behind the last line feed where it is whole, at the end of an available-now run. Gives what is
    /// left unread.
    fn end<E: StreamEvent>(
        &mut self,
        batch: &mut SourceBatch<E>,
        reading: &Reading<'_>,
        reader: &mut FileReader,
    ) -> Option<String> {
        let path = self.shown.display().to_string();
        let Tail { bytes, length, over_limit } = reader.lines.tail();
        if reader.lines.content().is_unfinished() {
            let reason = "the compressed data ends in the middle: the file was cut off, or is still being written";
            self.note_damage(batch, reading, reason, bytes);
            return None;
        }
        self.note_drained(reader);
        if is_blank(bytes) && !over_limit {
            return None;
        }
        let number = reader.lines.tail_number();
        let left = format!("{path}: line {number} has no end yet and is no whole record: {length} bytes left unread");
        if over_limit {
            return Some(left);
        }
        let event = reading.decoder.json::<E>(bytes, || self.place(number));
        if event.is_err() && !is_json_object(bytes) {
            return Some(left);
        }
        reader.lines.take_tail();
        let position = reader.lines.position();
        batch.records.push(SourceRecord { partition: reading.partition, position, event });
        self.note_progress(reader, position);
        self.note_drained(reader);
        None
    }

    fn place(&self, line: u64) -> RecordPlace {
        RecordPlace {
            source: self.shown.display().to_string(),
            partition: self.id.clone(),
            place: i64::try_from(line).unwrap_or(i64::MAX),
        }
    }

    /// Goes to the first line that is wanted, or to the end of the last whole line where none is. For a new state.
    pub fn skip_until(&mut self, options: &FileOptions, mut is_wanted: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
        let Opened::Ready(mut reader) = FileReader::open(self, options)? else { return Ok(()) };
        let mut position = reader.lines.position();
        loop {
            match reader.lines.next()? {
                Next::Line(line, _) if is_wanted(line) => {
                    self.note_progress(&reader, position);
                    return Ok(());
                }
                Next::Line(_, behind) | Next::TooLong(_, _, behind) => position = behind,
                Next::Exhausted | Next::Damaged(_) => {
                    // Blank lines may have been passed over since the last line.
                    self.note_progress(&reader, reader.lines.position());
                    self.note_drained(&reader);
                    return Ok(());
                }
            }
        }
    }

    /// Notes how far the file was read.
    fn note_progress(&mut self, reader: &FileReader, position: Position) {
        if position > self.position {
            self.position = position;
            self.notes.damage = None;
        }
        let raw = reader.lines.content().raw();
        self.notes.plain = !reader.compressed;
        self.notes.raw_bytes = if reader.compressed { raw.at() } else { self.position.major };
        self.notes.drained_at = None;
        // The head grows with what was read, up to its full length: the more of it, the surer it tells.
        let length = usize::try_from(self.notes.raw_bytes).unwrap_or(HEAD_BYTES).min(HEAD_BYTES);
        if self.notes.head.length < length
            && let Ok(head) = read_head(raw.file())
            && let Some(head) = head.get(..length)
        {
            self.notes.head = Head::of(head);
        }
    }

    /// Notes that all of a file was read, so that it need not be decompressed again only to see that.
    fn note_drained(&mut self, reader: &FileReader) {
        if !reader.lines.content().is_unfinished() && reader.lines.tail().length == 0 {
            self.notes.drained_at = Some(self.limit);
        }
    }

    /// One dead letter for what is damaged. Its place is that of the line that could not be read to its end; nothing
    /// more is read until the file changes.
    fn note_damage<E>(&mut self, batch: &mut SourceBatch<E>, reading: &Reading<'_>, reason: &str, tail: &[u8]) {
        let line = self.position.minor % DAMAGE_LETTER + 1;
        let place = self.place(line);
        let reason = format!("{reason} (behind byte {} of the content)", self.position.major);
        let path = self.shown.display();
        tracing::warn!(%path, line, reason, "a file is damaged: the rest is not read until it changes");
        self.position.minor += DAMAGE_LETTER;
        let (size, modified) = self.seen.map_or((self.limit, 0), |stat| (stat.size, stat.modified));
        self.notes.damage = Some(Damage { size, modified });
        self.notes.drained_at = None;
        let event = Err(refused(place, tail, reason, None));
        batch.records.push(SourceRecord { partition: reading.partition, position: self.position, event });
    }
}

fn is_json_object(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
}
