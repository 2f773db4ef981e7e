//! The bytes of a file or stream as they were before somebody compressed them.
//!
//! Plain, gzip and zstd are told apart by their first bytes, never by a name. Members of gzip and frames of zstd may
//! follow each other, as `cat a.gz b.gz` or a writer that appends makes them. Input may end anywhere and go on later:
//! 0 bytes mean that there is nothing more now, and the next call goes on from there.

use std::fs::File;
use std::io::{self, Read};

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

/// Compressed bytes are taken in blocks of this size.
const INPUT_BYTES: usize = 128 * 1024;

/// Where raw bytes come from.
pub(crate) trait RawBytes: Send {
    /// Reads into `out`, which is not empty, at most its length. 0 means that there is nothing more now.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize>;
}

/// A file up to a limit, which rises as the file grows.
pub(crate) struct FileBytes {
    file: File,
    at: u64,
    limit: u64,
}

impl FileBytes {
    /// Reads on from where the file's cursor is, at `at`.
    pub fn new(file: File, at: u64, limit: u64) -> Self {
        Self { file, at, limit }
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// How many bytes were taken, from the file's beginning.
    pub fn at(&self) -> u64 {
        self.at
    }

    pub fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }
}

impl RawBytes for FileBytes {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.limit.saturating_sub(self.at)).unwrap_or(usize::MAX);
        // No more than its length.
        let room = out.len().min(left);
        let read = read_some(&mut self.file, &mut out[..room])?;
        self.at += read as u64;
        Ok(read)
    }
}

/// One read that is tried again where a signal came between.
pub(crate) fn read_some(from: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(out) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Plain,
    Gzip,
    Zstd,
}

impl Format {
    /// Tells the format from the first bytes; `None` where they are too few to tell.
    pub fn of(head: &[u8]) -> Option<Self> {
        const GZIP: &[u8] = &[0x1f, 0x8b];
        const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
        // A skippable frame begins with any of sixteen first bytes.
        const SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];
        let (first, rest) = head.split_first()?;
        let skippable = (0x50..=0x5f).contains(first);
        if head.starts_with(GZIP) {
            Some(Self::Gzip)
        } else if head.starts_with(ZSTD) || (skippable && rest.starts_with(SKIPPABLE)) {
            Some(Self::Zstd)
        } else if GZIP.starts_with(head) || ZSTD.starts_with(head) || (skippable && SKIPPABLE.starts_with(rest)) {
            None
        } else {
            Some(Self::Plain)
        }
    }
}

#[derive(Debug)]
pub(crate) enum ContentError {
    Io(io::Error),
    /// The compressed bytes are damaged: nothing behind this place can be had.
    Damaged(String),
}

impl From<io::Error> for ContentError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

enum Decoding {
    Undecided,
    Plain,
    Gzip(Box<Decompress>),
    Zstd(ZstdDecoder<'static>),
}

/// Decompressed content. Every slice of `input` below rests on `from <= to <= input.len()`, which all methods keep.
pub(crate) struct Content<R> {
    raw: R,
    decoding: Decoding,
    input: Vec<u8>,
    from: usize,
    to: usize,
    /// Inside of a gzip member or zstd frame.
    inside: bool,
    /// The decoder may have more to give without more input.
    pending: bool,
}

impl<R: RawBytes> Content<R> {
    /// Content whose format is still to be seen.
    pub fn new(raw: R) -> Self {
        Self { raw, decoding: Decoding::Undecided, input: Vec::new(), from: 0, to: 0, inside: false, pending: false }
    }

    /// Content whose format is known, read from the beginning, or where it is plain from anywhere.
    pub fn of_format(raw: R, format: Format) -> io::Result<Self> {
        let mut content = Self::new(raw);
        content.decoding = Self::decoding(format)?;
        Ok(content)
    }

    fn decoding(format: Format) -> io::Result<Decoding> {
        Ok(match format {
            Format::Plain => Decoding::Plain,
            // 15 bits are the largest window that deflate knows.
            Format::Gzip => Decoding::Gzip(Box::new(Decompress::new_gzip(15))),
            Format::Zstd => Decoding::Zstd(ZstdDecoder::new()?),
        })
    }

    pub fn raw(&self) -> &R {
        &self.raw
    }

    pub fn raw_mut(&mut self) -> &mut R {
        &mut self.raw
    }

    /// Whether what was read so far ends inside of compressed data, or before its format could be told.
    pub fn is_unfinished(&self) -> bool {
        self.inside || (matches!(self.decoding, Decoding::Undecided) && self.to > 0)
    }

    /// Reads into `out`, which is not empty. 0 means that there is nothing more now.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, ContentError> {
        while matches!(self.decoding, Decoding::Undecided) {
            if let Some(format) = Format::of(&self.input[..self.to]) {
                self.decoding = Self::decoding(format)?;
            } else if !self.refill()? {
                return Ok(0);
            }
        }
        match self.decoding {
            Decoding::Undecided => Ok(0),
            Decoding::Plain => self.read_plain(out),
            Decoding::Gzip(_) | Decoding::Zstd(_) => self.read_compressed(out),
        }
    }

    fn read_plain(&mut self, out: &mut [u8]) -> Result<usize, ContentError> {
        if self.from == self.to {
            return Ok(self.raw.read(out)?);
        }
        let taken = out.len().min(self.to - self.from);
        out[..taken].copy_from_slice(&self.input[self.from..self.from + taken]);
        self.from += taken;
        Ok(taken)
    }

    fn read_compressed(&mut self, out: &mut [u8]) -> Result<usize, ContentError> {
        loop {
            if self.from == self.to && !self.pending && !self.refill()? {
                return Ok(0);
            }
            let given = match self.step(out) {
                Ok(given) => given,
                Err(reason) => return Err(ContentError::Damaged(reason)),
            };
            if given > 0 {
                return Ok(given);
            }
        }
    }

    /// Decodes once; gives how many bytes were written to `out`, or why the data is damaged.
    fn step(&mut self, out: &mut [u8]) -> Result<usize, String> {
        let input = &self.input[self.from..self.to];
        let (taken, given, ended) = match &mut self.decoding {
            Decoding::Gzip(_) if !self.inside && !self.pending && input.first() == Some(&0) => {
                // Zeros that fill a block of tape, or a file that was made larger: gzip(1) passes over them too.
                let zeros = input.iter().take_while(|byte| **byte == 0).count();
                self.from += zeros;
                return Ok(0);
            }
            Decoding::Gzip(inflate) => {
                let (taken, given) = (inflate.total_in(), inflate.total_out());
                let status = inflate.decompress(input, out, FlushDecompress::None).map_err(|error| {
                    format!("damaged gzip data: {}", error.message().unwrap_or("it does not decode"))
                })?;
                // What one call takes and gives fits the two slices.
                let taken = usize::try_from(inflate.total_in() - taken).unwrap_or(usize::MAX);
                let given = usize::try_from(inflate.total_out() - given).unwrap_or(usize::MAX);
                let ended = status == Status::StreamEnd;
                if ended {
                    inflate.reset(true);
                }
                (taken, given, ended)
            }
            Decoding::Zstd(decoder) => {
                let (mut input, mut output) = (InBuffer::around(input), OutBuffer::around(out));
                let hint =
                    decoder.run(&mut input, &mut output).map_err(|error| format!("damaged zstd data: {error}"))?;
                (input.pos(), output.pos(), hint == 0)
            }
            Decoding::Undecided | Decoding::Plain => (0, 0, true),
        };
        self.from += taken;
        self.inside = !ended;
        self.pending = !ended && given == out.len();
        if taken == 0 && given == 0 && !ended && self.from < self.to {
            return Err("damaged compressed data: it can't be decoded any further".to_owned());
        }
        Ok(given)
    }

    /// Takes more raw bytes behind those that are still needed. False where there are none now.
    fn refill(&mut self) -> io::Result<bool> {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        }
        if self.input.len() < self.to + INPUT_BYTES {
            self.input.resize(self.to + INPUT_BYTES, 0);
        }
        let read = self.raw.read(&mut self.input[self.to..])?;
        self.to += read;
        Ok(read > 0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    /// Raw bytes that come in pieces, with nothing in between now and then.
    pub(crate) struct Pieces {
        pub bytes: Vec<u8>,
        pub at: usize,
        pub pieces: Vec<usize>,
        pub next: usize,
    }

    impl Pieces {
        pub fn new(bytes: Vec<u8>, pieces: Vec<usize>) -> Self {
            Self { bytes, at: 0, pieces, next: 0 }
        }

        pub fn is_at_end(&self) -> bool {
            self.at == self.bytes.len()
        }
    }

    impl RawBytes for Pieces {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let piece = self.pieces[self.next % self.pieces.len()];
            self.next += 1;
            let read = piece.min(out.len()).min(self.bytes.len() - self.at);
            out[..read].copy_from_slice(&self.bytes[self.at..self.at + read]);
            self.at += read;
            Ok(read)
        }
    }

    pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(bytes, 1).unwrap()
    }

    fn read_all(content: &mut Content<Pieces>, out_bytes: usize) -> Result<Vec<u8>, ContentError> {
        let (mut all, mut out, mut nothing) = (Vec::new(), vec![0; out_bytes], 0);
        while nothing < 64 {
            match content.read(&mut out)? {
                0 => nothing += 1,
                read => {
                    nothing = 0;
                    all.extend_from_slice(&out[..read]);
                }
            }
        }
        assert!(content.raw().is_at_end());
        Ok(all)
    }

    proptest! {
        #[test]
        fn content_is_the_same_plain_and_compressed_in_any_number_of_parts_and_pieces(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 1..4),
            mut pieces in prop::collection::vec(0usize..400, 1..8),
            out_bytes in 1usize..600,
        ) {
            pieces.push(7);
            let mut plain = b"{".to_vec();
            plain.extend(parts.concat());
            let parts: Vec<_> = std::iter::once(b"{".to_vec()).chain(parts).collect();
            for raw in [
                plain.clone(),
                parts.iter().flat_map(|part| gzip(part)).collect(),
                parts.iter().flat_map(|part| zstd(part)).collect(),
            ] {
                let mut content = Content::new(Pieces::new(raw, pieces.clone()));
                prop_assert_eq!(&read_all(&mut content, out_bytes).unwrap(), &plain);
                prop_assert!(!content.is_unfinished());
            }
        }

        #[test]
        fn damaged_or_cut_content_is_an_error_or_unfinished_and_never_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 20..600),
            zstd_format in any::<bool>(),
            cut in any::<prop::sample::Index>(),
            flip in prop::option::of((any::<prop::sample::Index>(), 0u32..8)),
        ) {
            let mut raw = if zstd_format { zstd(&bytes) } else { gzip(&bytes) };
            raw.truncate(cut.index(raw.len() - 1) + 1);
            if let Some((at, bit)) = flip {
                let at = at.index(raw.len());
                raw[at] ^= 1 << bit;
            }
            let mut content = Content::new(Pieces::new(raw, vec![50]));
            if let (Ok(_), None) = (read_all(&mut content, 100), flip) {
                prop_assert!(content.is_unfinished());
            }
        }
    }

    #[test]
    fn a_format_is_told_by_its_first_bytes_and_only_when_they_are_enough() {
        assert_eq!(Format::of(b""), None);
        assert_eq!(Format::of(b"{"), Some(Format::Plain));
        assert_eq!(Format::of(b"\xef\xbb\xbf{"), Some(Format::Plain));
        assert_eq!(Format::of(b"\x1f"), None);
        assert_eq!(Format::of(b"\x1f\x8b"), Some(Format::Gzip));
        assert_eq!(Format::of(b"(\xb5\x2f"), None);
        assert_eq!(Format::of(b"(\xb5\x2f\xfd"), Some(Format::Zstd));
        assert_eq!(Format::of(b"(a"), Some(Format::Plain));
        assert_eq!(Format::of(b"\x54\x2a\x4d\x18"), Some(Format::Zstd));
        assert_eq!(Format::of(b"T"), None);
        assert_eq!(Format::of(b"Te"), Some(Format::Plain));
    }

    #[test]
    fn zeros_behind_a_gzip_member_are_passed_over_and_other_bytes_are_damage() {
        let mut raw = gzip(b"hello");
        raw.extend([0; 300]);
        raw.extend(gzip(b" you"));
        assert_eq!(read_all(&mut Content::new(Pieces::new(raw, vec![100])), 64).unwrap(), b"hello you");
        let mut raw = gzip(b"hello");
        raw.extend(b"garbage");
        let error = read_all(&mut Content::new(Pieces::new(raw, vec![100])), 64).unwrap_err();
        assert!(matches!(error, ContentError::Damaged(reason) if reason.starts_with("damaged gzip data")));
    }
}
