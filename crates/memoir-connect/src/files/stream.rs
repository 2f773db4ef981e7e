//! Standard input, or a named pipe, as a source. It has no position: what was read can't be read again, so exactly once
//! ends here. A run that is killed loses what it had read and not yet committed.
//!
//! A position is the moment at which the run began to read, then the line. Each run's lines so lie behind those of all
//! earlier runs, and none is taken for one that was read before.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use memoir_core::processor::StreamEvent;
use memoir_core::source::{
    Offset, Polled, Position, ReadUntil, Source, SourceBatch, SourceError, SourceRecord, StartAt,
};
use memoir_core::time::Clock;

use super::FileOptions;
use super::content::{Content, RawBytes, read_some};
use super::lines::{Lines, Next, is_blank};
use super::source::BATCH_BYTES;
use crate::decode::{Decoder, RecordPlace, refused};
use crate::error::ConnectError;

/// The one partition of standard input.
const PARTITION: &str = "stdin";

/// So many blocks may wait to be decoded.
const BLOCKS: usize = 8;

/// An available-now run waits so long for more, and then lets its caller look at other things.
const PATIENCE: Duration = Duration::from_millis(200);

/// Standard input, a named pipe or a device.
pub struct StreamSource {
    name: String,
    partition: String,
    options: FileOptions,
    decoder: Decoder,
    clock: Arc<dyn Clock>,
    lines: Lines<StreamBytes>,
    until: ReadUntil,
    /// When this run began to read, in microseconds.
    run: u64,
    ended: bool,
}

impl StreamSource {
    #[must_use]
    pub fn standard_input(options: FileOptions, clock: Arc<dyn Clock>) -> Self {
        Self::new("-".to_owned(), PARTITION.to_owned(), options, clock, || Ok(io::stdin()))
    }

    /// # Errors
    /// When the path can't be made absolute.
    pub fn at(path: &Path, options: FileOptions, clock: Arc<dyn Clock>) -> Result<Self, ConnectError> {
        let absolute = std::path::absolute(path)
            .map_err(|cause| ConnectError::CurrentFolder { path: path.display().to_string(), cause })?;
        let name = absolute.display().to_string();
        let open = move || -> io::Result<File> { File::open::<PathBuf>(absolute) };
        Ok(Self::new(name.clone(), name, options, clock, open))
    }

    /// Reads what `open` opens, in a thread of its own. Also opening may wait: for the other end of a pipe.
    pub fn new<R: io::Read>(
        name: String,
        partition: String,
        options: FileOptions,
        clock: Arc<dyn Clock>,
        open: impl FnOnce() -> io::Result<R> + Send + 'static,
    ) -> Self {
        let (sender, blocks) = bounded(BLOCKS);
        let block_bytes = options.block_bytes.max(1);
        // The thread ends with its input, or when nobody takes blocks any more. One that waits for input ends with
        // the process: a read can't be called off.
        std::thread::spawn(move || match open() {
            Ok(input) => send_blocks(input, block_bytes, &sender),
            Err(error) => {
                let _ = sender.send(Err(error));
            }
        });
        let bytes = StreamBytes { blocks, block: Vec::new(), at: 0, wait: None, ended: false };
        Self {
            name,
            partition,
            decoder: Decoder::new(clock.clone(), options.max_ahead),
            clock,
            lines: Lines::new(Content::new(bytes), options.block_bytes, options.max_line_bytes),
            options,
            until: ReadUntil::WhatIsThere,
            run: 0,
            ended: false,
        }
    }

    fn place(&self, line: u64) -> RecordPlace {
        RecordPlace {
            source: self.name.clone(),
            partition: self.partition.clone(),
            place: i64::try_from(line).unwrap_or(i64::MAX),
        }
    }

    fn position(&self) -> Position {
        Position::new(self.run, self.lines.position().minor)
    }

    /// Takes what stands behind the last line feed. No later run can read it, so it is a record as it is.
    fn end<E: StreamEvent>(&mut self, batch: &mut SourceBatch<E>, damage: Option<String>) {
        self.ended = true;
        let line = self.lines.tail_number();
        let tail = self.lines.tail();
        let unfinished = "the compressed data ends in the middle";
        let damage = damage.or_else(|| self.lines.content().is_unfinished().then(|| unfinished.to_owned()));
        let event = if let Some(reason) = damage {
            Err(refused(self.place(line), tail.bytes, reason, None))
        } else if tail.over_limit {
            Err(refused(self.place(line), tail.bytes, self.over_limit(tail.length), None))
        } else if is_blank(tail.bytes) {
            return;
        } else {
            self.decoder.json(tail.bytes, || self.place(line))
        };
        self.lines.take_tail();
        batch.records.push(SourceRecord { partition: 0, position: Position::new(self.run, line), event });
    }

    fn over_limit(&self, length: u64) -> String {
        format!("the line has {length} bytes, over the limit of {}", self.options.max_line_bytes)
    }

    fn fill<E: StreamEvent>(&mut self, batch: &mut SourceBatch<E>, max_records: usize) -> Result<(), SourceError> {
        let full_at = self.lines.position().major + BATCH_BYTES;
        while batch.records.len() < max_records && self.lines.position().major < full_at && !self.ended {
            let next = self
                .lines
                .next()
                .map_err(|error| SourceError::new(format!("{}: can't be read any further ({error})", self.name)))?;
            let (event, line) = match next {
                Next::Line(line, behind) => {
                    let place = || RecordPlace {
                        source: self.name.clone(),
                        partition: self.partition.clone(),
                        place: i64::try_from(behind.minor).unwrap_or(i64::MAX),
                    };
                    (self.decoder.json(line, place), behind.minor)
                }
                Next::TooLong(prefix, length, behind) => {
                    let prefix = prefix.to_vec();
                    (Err(refused(self.place(behind.minor), &prefix, self.over_limit(length), None)), behind.minor)
                }
                Next::Exhausted => {
                    if self.lines.content().raw().ended {
                        self.end(batch, None);
                    }
                    return Ok(());
                }
                Next::Damaged(reason) => {
                    self.end(batch, Some(reason));
                    return Ok(());
                }
            };
            batch.records.push(SourceRecord { partition: 0, position: Position::new(self.run, line), event });
            // Only the first block of a batch is waited for.
            self.lines.content_mut().raw_mut().wait = None;
        }
        Ok(())
    }
}

impl<E: StreamEvent> Source<E> for StreamSource {
    fn describe(&self) -> String {
        format!("files:{}", self.name)
    }

    fn origin(&mut self, start: &StartAt) -> Result<Vec<(String, Offset)>, SourceError> {
        match start {
            StartAt::Earliest | StartAt::Latest => Ok(Vec::new()),
            StartAt::Time(_) | StartAt::Version(_) => Err(SourceError::new(format!(
                "{}: a stream can't begin at a time or version; leave source.start out",
                self.name
            ))),
        }
    }

    fn resume(&mut self, offsets: Vec<(String, Offset)>, until: ReadUntil) -> Result<(), SourceError> {
        self.until = until;
        let now = u64::try_from(self.clock.now().as_micros()).unwrap_or(0);
        let earlier = offsets.iter().map(|(_, offset)| offset.position.major + 1).max().unwrap_or(0);
        self.run = now.max(earlier);
        Ok(())
    }

    fn poll(&mut self, batch: &mut SourceBatch<E>, max_records: usize) -> Result<Polled, SourceError> {
        self.decoder.look_at_clock();
        let wait = (self.until == ReadUntil::WhatIsThere).then_some(PATIENCE);
        self.lines.content_mut().raw_mut().wait = wait;
        self.fill(batch, max_records.max(1))?;
        if !batch.records.is_empty() {
            let offset = Offset { position: self.position(), notes: Vec::new() };
            batch.partitions.push((self.partition.clone(), offset));
            return Ok(Polled::Some);
        }
        let is_over = self.ended && self.until == ReadUntil::WhatIsThere;
        Ok(if is_over { Polled::End } else { Polled::Idle })
    }
}

fn send_blocks(mut input: impl io::Read, block_bytes: usize, sender: &Sender<io::Result<Vec<u8>>>) {
    let mut block = vec![0; block_bytes];
    loop {
        let read = read_some(&mut input, &mut block).map(|read| block.get(..read).unwrap_or_default().to_vec());
        let is_last = !matches!(&read, Ok(bytes) if !bytes.is_empty());
        if matches!(&read, Ok(bytes) if bytes.is_empty()) || sender.send(read).is_err() || is_last {
            return;
        }
    }
}

/// Blocks that another thread reads.
struct StreamBytes {
    blocks: Receiver<io::Result<Vec<u8>>>,
    block: Vec<u8>,
    at: usize,
    /// How long to wait for a block.
    wait: Option<Duration>,
    ended: bool,
}

impl StreamBytes {
    fn next_block(&mut self) -> Option<io::Result<Vec<u8>>> {
        let (block, ended) = match self.wait {
            Some(patience) => match self.blocks.recv_timeout(patience) {
                Ok(block) => (Some(block), false),
                Err(error) => (None, error == RecvTimeoutError::Disconnected),
            },
            None => match self.blocks.try_recv() {
                Ok(block) => (Some(block), false),
                Err(error) => (None, error == TryRecvError::Disconnected),
            },
        };
        self.ended |= ended;
        block
    }
}

impl RawBytes for StreamBytes {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            match self.next_block() {
                Some(block) => (self.block, self.at) = (block?, 0),
                None => return Ok(0),
            }
        }
        let rest = self.block.get(self.at..).unwrap_or_default();
        // No more than either has.
        let read = rest.len().min(out.len());
        out[..read].copy_from_slice(&rest[..read]);
        self.at += read;
        Ok(read)
    }
}
