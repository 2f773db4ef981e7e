//! Cuts content into lines, with the exact place behind each.
//!
//! Lines are looked at where they lie in the block that was read, and only a line that crosses the end of a block is
//! moved. Blank lines, a byte order mark at the very beginning and the carriage return before a line feed are no part
//! of any record, but count as bytes and lines. Of a line over the limit only the beginning is held.
//!
//! The place behind a record is where its last byte ends, before white space and line feed. So a line that is taken
//! before it has its end has the same place as when it is read again with it, and whoever begins at a place first
//! passes over the rest of a line that was taken.

use std::io;

use memchr::memchr;
use memoir_core::source::{MAX_DEAD_LETTER_BYTES, Position};

use super::content::{Content, ContentError, RawBytes};

/// What is kept of a line over the limit: what a dead letter shows, and the rest of its last character.
const PREFIX_BYTES: usize = MAX_DEAD_LETTER_BYTES + 4;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    /// A line that is not blank, without its end, and the place behind it.
    Line(&'a [u8], Position),
    /// A line over the limit: its beginning, how many bytes it has, and the place behind it.
    TooLong(&'a [u8], u64, Position),
    /// Nothing more now; what was begun is the [`Lines::tail`].
    Exhausted,
    /// Nothing behind this place can be had; what was begun is the tail.
    Damaged(String),
}

/// The unterminated line at the end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tail<'a> {
    /// All of it, or the beginning where it is over the limit.
    pub bytes: &'a [u8],
    /// All of its bytes.
    pub length: u64,
    pub over_limit: bool,
}

/// Every slice of `block` below rests on `start <= searched <= end <= block.len()`, which all methods keep.
pub(crate) struct Lines<R> {
    content: Content<R>,
    block_bytes: usize,
    max_line_bytes: usize,
    block: Vec<u8>,
    /// What is not yet given: `block[start..end]`, and up to `searched` it holds no line feed.
    start: usize,
    searched: usize,
    end: usize,
    /// Where `start` lies in the content, or where the line begins of which bytes were dropped.
    line_start: u64,
    /// Behind the last line that was given or passed over.
    behind: Position,
    /// What is at `start` follows a line that was taken, up to its end.
    continues: bool,
    /// Of a line over the limit: its beginning, and how many of its bytes were dropped from the block.
    dropped: Option<(Vec<u8>, u64)>,
}

impl<R: RawBytes> Lines<R> {
    pub fn new(content: Content<R>, block_bytes: usize, max_line_bytes: usize) -> Self {
        Self {
            content,
            block_bytes: block_bytes.max(1),
            max_line_bytes,
            block: Vec::new(),
            start: 0,
            searched: 0,
            end: 0,
            line_start: 0,
            behind: Position::default(),
            continues: false,
            dropped: None,
        }
    }

    /// Says that the content begins at `position`.
    pub fn begin_at(&mut self, position: Position) {
        (self.line_start, self.behind, self.continues) = (position.major, position, position.minor > 0);
    }

    /// Reads up to `position` and gives nothing of it. False where the content ends before.
    pub fn skip_to(&mut self, position: Position) -> Result<bool, ContentError> {
        let mut left = position.major;
        while left > 0 {
            self.block.resize(self.block_bytes, 0);
            let read = self.content.read(&mut self.block)?;
            if read == 0 {
                return Ok(false);
            }
            let passed = usize::try_from(left).unwrap_or(usize::MAX).min(read);
            left -= passed as u64;
            (self.start, self.searched, self.end) = (passed, passed, read);
        }
        self.begin_at(position);
        Ok(true)
    }

    pub fn content(&self) -> &Content<R> {
        &self.content
    }

    pub fn content_mut(&mut self) -> &mut Content<R> {
        &mut self.content
    }

    /// The place behind the last line that was given or passed over. Its minor part is the number of that line.
    pub fn position(&self) -> Position {
        self.behind
    }

    /// The number of the line that the [`Lines::tail`] is, or belongs to.
    pub fn tail_number(&self) -> u64 {
        self.behind.minor + u64::from(!self.continues)
    }

    /// Gives the next line.
    pub fn next(&mut self) -> Result<Next<'_>, io::Error> {
        loop {
            if let Some(found) = memchr(b'\n', &self.block[self.searched..self.end]) {
                let (raw_from, raw_to) = (self.start, self.searched + found);
                let (from, to) = self.without_marks(raw_from, raw_to);
                let length = (raw_to - raw_from) as u64;
                let line_start = self.line_start;
                let (continues, number) = (self.continues, self.tail_number());
                self.line_start += length + 1;
                self.continues = false;
                (self.start, self.searched) = (raw_to + 1, raw_to + 1);
                if let Some((mut prefix, dropped)) = self.dropped.take() {
                    extend_prefix(&mut prefix, &self.block[raw_from..raw_to]);
                    self.line_start += dropped;
                    self.behind = Position::new(line_start + dropped + length, number);
                    return Ok(self.too_long(&prefix, dropped + length));
                }
                if to - from > self.max_line_bytes {
                    self.behind = Position::new(line_start + length, number);
                    let prefix = whole_characters(&self.block[from..to.min(from + PREFIX_BYTES)]);
                    return Ok(Next::TooLong(prefix, length, self.behind));
                }
                let content = self.block[from..to].trim_ascii_end().len();
                if content > 0 || !continues {
                    self.behind = Position::new(line_start + (from + content - raw_from) as u64, number);
                }
                if content > 0 {
                    return Ok(Next::Line(&self.block[from..to], self.behind));
                }
                continue;
            }
            self.searched = self.end;
            // Four bytes more may be byte order mark and carriage return.
            if self.end - self.start > self.max_line_bytes + 4 || self.dropped.is_some() {
                self.drop_block();
            }
            match self.refill() {
                Ok(true) => {}
                Ok(false) => return Ok(Next::Exhausted),
                Err(ContentError::Io(error)) => return Err(error),
                Err(ContentError::Damaged(reason)) => return Ok(Next::Damaged(reason)),
            }
        }
    }

    /// What stands behind the last whole line.
    pub fn tail(&self) -> Tail<'_> {
        let rest = (self.end - self.start) as u64;
        match &self.dropped {
            Some((prefix, dropped)) => {
                Tail { bytes: whole_characters(prefix), length: dropped + rest, over_limit: true }
            }
            None => {
                let (from, to) = self.without_marks(self.start, self.end);
                Tail { bytes: &self.block[from..to], length: rest, over_limit: to - from > self.max_line_bytes }
            }
        }
    }

    /// Takes the tail as a line; what follows it up to the next line feed belongs to it.
    pub fn take_tail(&mut self) {
        let dropped = self.dropped.take().map_or(0, |(_, dropped)| dropped);
        let content = self.block[self.start..self.end].trim_ascii_end().len() as u64;
        self.behind = Position::new(self.line_start + dropped + content, self.tail_number());
        self.line_start += dropped + (self.end - self.start) as u64;
        self.continues = true;
        (self.start, self.searched, self.end) = (0, 0, 0);
    }

    /// Gives back memory while there is nothing to read.
    pub fn shrink(&mut self) {
        self.make_room();
        self.block.truncate(self.end);
        self.block.shrink_to_fit();
    }

    /// Gives the beginning of a dropped line out of `block`, as other lines are, from behind what is still to be read.
    fn too_long(&mut self, prefix: &[u8], length: u64) -> Next<'_> {
        self.make_room();
        self.block.truncate(self.end);
        self.block.extend_from_slice(whole_characters(prefix));
        Next::TooLong(&self.block[self.end..], length, self.position())
    }

    /// Drops what was read of a line over the limit, but for its beginning.
    fn drop_block(&mut self) {
        let line = &self.block[self.start..self.end];
        let (prefix, dropped) = self.dropped.get_or_insert_default();
        let first = *dropped == 0 && self.line_start == 0 && !self.continues;
        *dropped += line.len() as u64;
        extend_prefix(prefix, line.strip_prefix(BYTE_ORDER_MARK).filter(|_| first).unwrap_or(line));
        (self.start, self.searched, self.end) = (0, 0, 0);
    }

    /// The line without carriage return and, at the very beginning, byte order mark.
    fn without_marks(&self, from: usize, to: usize) -> (usize, usize) {
        let first = self.line_start == 0 && !self.continues;
        let line = &self.block[from..to];
        let from = if first && line.starts_with(BYTE_ORDER_MARK) { from + BYTE_ORDER_MARK.len() } else { from };
        let to = if line.ends_with(b"\r") { to - 1 } else { to };
        (from, to)
    }

    fn make_room(&mut self) {
        self.block.copy_within(self.start..self.end, 0);
        let rest = self.end - self.start;
        (self.start, self.searched, self.end) = (0, self.searched - self.start, rest);
    }

    fn refill(&mut self) -> Result<bool, ContentError> {
        self.make_room();
        let to = self.end + self.block_bytes;
        if self.block.len() < to {
            self.block.resize(to, 0);
        }
        let read = self.content.read(&mut self.block[self.end..to])?;
        self.end += read;
        Ok(read > 0)
    }
}

pub(crate) fn is_blank(line: &[u8]) -> bool {
    line.trim_ascii_start().is_empty()
}

fn extend_prefix(prefix: &mut Vec<u8>, line: &[u8]) {
    // It never grows beyond what is kept.
    let room = PREFIX_BYTES - prefix.len();
    prefix.extend_from_slice(&line[..line.len().min(room)]);
}

/// Without the last character where only its beginning is there.
fn whole_characters(prefix: &[u8]) -> &[u8] {
    match std::str::from_utf8(prefix) {
        Err(error) if error.error_len().is_none() => &prefix[..error.valid_up_to()],
        _ => prefix,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::content::tests::{Pieces, gzip, zstd};
    use super::*;

    /// What a reader gave: (what, position behind it).
    type Given = Vec<(Result<Vec<u8>, (Vec<u8>, u64)>, Position)>;

    fn drain(lines: &mut Lines<Pieces>) -> Given {
        let (mut given, mut nothing) = (Vec::new(), 0);
        // Pieces may hold nothing for a while: only at the end of the bytes are they over.
        while nothing < 16 || !lines.content().raw().is_at_end() {
            let what = match lines.next().unwrap() {
                Next::Line(line, behind) => (Ok(line.to_vec()), behind),
                Next::TooLong(prefix, length, behind) => (Err((prefix.to_vec(), length)), behind),
                Next::Exhausted => {
                    nothing += 1;
                    continue;
                }
                Next::Damaged(reason) => panic!("{reason}"),
            };
            nothing = 0;
            assert_eq!(what.1, lines.position());
            given.push(what);
        }
        given
    }

    /// The same, by the obvious way: the whole content at once.
    fn expected(content: &[u8], max_line_bytes: usize) -> (Given, Vec<u8>) {
        let (mut given, mut at, mut lines) = (Vec::new(), 0, 0);
        while let Some(length) = content[at..].iter().position(|byte| *byte == b'\n') {
            let raw = &content[at..at + length];
            let line = if at == 0 { raw.strip_prefix(BYTE_ORDER_MARK).unwrap_or(raw) } else { raw };
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let marks = raw.len() - raw.strip_prefix(BYTE_ORDER_MARK).filter(|_| at == 0).unwrap_or(raw).len();
            let is_long = line.len() > max_line_bytes;
            let content = if is_long { raw.len() } else { marks + line.trim_ascii_end().len() };
            let position = Position::new((at + content) as u64, lines + 1);
            at += length + 1;
            lines += 1;
            if is_long {
                given.push((Err((line.to_vec(), raw.len() as u64)), position));
            } else if !line.iter().all(u8::is_ascii_whitespace) {
                given.push((Ok(line.to_vec()), position));
            }
        }
        (given, content[at..].to_vec())
    }

    fn content_strategy() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            4 => "[a-zé\\{\\}]{1,40}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..60),
            1 => Just(b"  ".to_vec()),
            1 => Just(Vec::new()),
        ];
        let end = prop_oneof![3 => Just("\n"), 1 => Just("\r\n")];
        (any::<bool>(), prop::collection::vec((line, end), 0..30), "[a-z]{0,50}").prop_map(|(mark, lines, tail)| {
            let mut content = if mark { BYTE_ORDER_MARK.to_vec() } else { b"{".to_vec() };
            for (line, end) in lines {
                content.extend_from_slice(&line);
                content.extend_from_slice(end.as_bytes());
            }
            content.extend_from_slice(tail.as_bytes());
            content
        })
    }

    fn over_limit_prefix_matches(given: &Given, expected: &Given) -> bool {
        given.len() == expected.len()
            && given.iter().zip(expected).all(|(given, expected)| match (given, expected) {
                ((Err((prefix, length)), position), (Err((line, expected_length)), expected_position)) => {
                    // Carriage return and half characters at the end are shown or not.
                    (line.starts_with(prefix) || prefix.strip_suffix(b"\r") == Some(line))
                        && line.len() - prefix.len().min(line.len()) < 4
                        && length == expected_length
                        && position == expected_position
                }
                (given, expected) => given == expected,
            })
    }

    proptest! {
        #[test]
        fn lines_and_places_are_the_same_however_the_content_is_cut_and_compressed(
            content in content_strategy(),
            block_bytes in 1usize..200,
            max_line_bytes in 5usize..45,
            mut pieces in prop::collection::vec(0usize..100, 1..6),
        ) {
            pieces.push(3);
            let (given, tail) = expected(&content, max_line_bytes);
            for raw in [content.clone(), gzip(&content), zstd(&content)] {
                let content = Content::new(Pieces::new(raw, pieces.clone()));
                let mut lines = Lines::new(content, block_bytes, max_line_bytes);
                let drained = drain(&mut lines);
                prop_assert!(over_limit_prefix_matches(&drained, &given), "{:?} is not {:?}", drained, given);
                prop_assert_eq!(lines.tail().length, tail.len() as u64);
            }
        }

        #[test]
        fn a_reader_that_is_stopped_behind_any_line_and_started_again_gives_the_rest(
            content in content_strategy(),
            block_bytes in 1usize..200,
            at in any::<prop::sample::Index>(),
            tail_taken in any::<bool>(),
            later in "[a-z]{0,3}\n{0,2}[a-z]{1,4}\n",
        ) {
            let limit = 1000;
            let read = |raw: Vec<u8>, from: Position| {
                let mut lines = Lines::new(Content::new(Pieces::new(raw, vec![70])), block_bytes, limit);
                assert!(lines.skip_to(from).unwrap());
                lines
            };
            let (given, _) = expected(&content, limit);
            for compress in [<[u8]>::to_vec, gzip, zstd] {
                // Between two lines.
                if !given.is_empty() {
                    let at = at.index(given.len());
                    let rest = drain(&mut read(compress(&content), given[at].1));
                    prop_assert_eq!(&rest, &given[at + 1..].to_vec());
                }
                // Behind a tail that was taken before it had its end, and then grew.
                let mut first = read(compress(&content), Position::default());
                drain(&mut first);
                let has_tail = first.tail().length > 0;
                if tail_taken && has_tail {
                    first.take_tail();
                }
                let position = first.position();
                let grown = [content.as_slice(), later.as_bytes()].concat();
                let rest = drain(&mut read(compress(&grown), position));
                let number_of_last = rest.last().map(|(_, position)| position.minor);
                prop_assert_eq!(number_of_last, Some(grown.iter().filter(|byte| **byte == b'\n').count() as u64));
                prop_assert!(rest.iter().all(|(_, behind)| *behind > position));
                // Taken without its end, it has the place that it has with it.
                let with_end = [content.as_slice(), b" \t\r\n"].concat();
                let given = drain(&mut read(compress(&with_end), Position::default()));
                if tail_taken && has_tail {
                    prop_assert_eq!(given.last().map(|(_, behind)| *behind), Some(position));
                    prop_assert_eq!(drain(&mut read(compress(&with_end), position)), vec![]);
                }
            }
        }
    }

    #[test]
    fn only_the_beginning_of_an_overlong_line_is_held() {
        let long = vec![b'x'; 3 * 1024 * 1024];
        let content = [b"{1}\n".as_slice(), &long, b"\n{2}\n"].concat();
        let mut lines = Lines::new(Content::new(Pieces::new(content, vec![1 << 20])), 10_000, 100_000);
        assert_eq!(lines.next().unwrap(), Next::Line(b"{1}", Position::new(3, 1)));
        match lines.next().unwrap() {
            Next::TooLong(prefix, length, _) => assert_eq!((prefix.len(), length), (PREFIX_BYTES, long.len() as u64)),
            other => panic!("{other:?}"),
        }
        assert!(lines.block.capacity() < 400_000, "{}", lines.block.capacity());
        let behind = 4 + long.len() as u64;
        assert_eq!(lines.position(), Position::new(behind, 2));
        assert_eq!(lines.next().unwrap(), Next::Line(b"{2}", Position::new(behind + 4, 3)));
    }
}
