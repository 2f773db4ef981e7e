//! Standard input and other streams, which can be read once.

mod reader;

use std::io::{self, Write as _};

use memoir_connect::files::{FileOptions, StreamSource};
use memoir_core::source::{Polled, ReadUntil, StartAt};
use reader::{EventSource, NOTHING, Reader, clock, gzip, line, lines, zstd};

use ReadUntil::{Stopped, WhatIsThere};

fn stream(input: impl io::Read + Send + 'static) -> EventSource {
    let options = FileOptions { block_bytes: 100, max_line_bytes: 300, ..FileOptions::default() };
    Box::new(StreamSource::new("-".to_owned(), "stdin".to_owned(), options, clock(), move || Ok(input)))
}

/// Polls until `count` events are there; an idle poll is one that waited for nothing.
fn read_until(reader: &mut Reader, source: &mut EventSource, count: usize) {
    for _ in 0..1_000_000 {
        if reader.ids.len() >= count {
            return;
        }
        if reader.poll(source, 10) == Polled::Idle {
            std::thread::yield_now();
        }
    }
    panic!("{} of {count} events came", reader.ids.len());
}

#[test]
fn a_stream_is_read_to_its_end_plain_or_compressed_and_its_last_line_needs_no_end() {
    let content = "\u{feff}".to_owned() + &lines(1..=50) + "\n" + &"x".repeat(1000) + "\n" + &line(51);
    for bytes in [content.clone().into_bytes(), gzip(content.as_bytes()), zstd(content.as_bytes())] {
        let mut reader = Reader::default();
        let mut source = reader.resume(stream(io::Cursor::new(bytes)), WhatIsThere).unwrap();
        reader.drain(&mut source);
        assert_eq!(reader.ids, (1..=51).collect::<Vec<_>>());
        assert_eq!((reader.bad.len(), reader.bad[0].place), (1, 52));
        assert_eq!((reader.bad[0].source.as_str(), reader.bad[0].partition.as_str()), ("-", "stdin"));
    }
}

#[test]
fn a_stream_that_ends_in_half_a_record_or_damage_leaves_a_dead_letter() {
    let half = lines([1]) + &line(2)[..50];
    let compressed = gzip(lines([1, 2]).as_bytes());
    for bytes in [half.into_bytes(), compressed[..compressed.len() - 1].to_vec()] {
        let mut reader = Reader::default();
        let mut source = reader.resume(stream(io::Cursor::new(bytes)), WhatIsThere).unwrap();
        reader.drain(&mut source);
        assert_eq!(reader.bad.len(), 1);
        assert_eq!(reader.bad[0].place, reader.ids.len() as i64 + 1);
    }
}

#[test]
fn a_poll_does_not_wait_for_a_stream_that_is_followed() {
    let (input, mut output) = io::pipe().unwrap();
    let mut reader = Reader::default();
    let mut source = reader.resume(stream(input), Stopped).unwrap();
    assert_eq!(reader.poll(&mut source, 10), Polled::Idle);
    output.write_all(lines(1..=30).as_bytes()).unwrap();
    read_until(&mut reader, &mut source, 30);
    output.write_all(lines([31]).as_bytes()).unwrap();
    read_until(&mut reader, &mut source, 31);
    drop(output);
    assert_eq!(reader.poll(&mut source, 10), Polled::Idle);
}

#[test]
fn an_available_now_run_gives_its_caller_a_turn_while_a_stream_is_silent_and_ends_with_it() {
    let (input, mut output) = io::pipe().unwrap();
    let mut reader = Reader::default();
    let mut source = reader.resume(stream(input), WhatIsThere).unwrap();
    assert_eq!(reader.poll(&mut source, 10), Polled::Idle);
    output.write_all(lines(1..=3).as_bytes()).unwrap();
    read_until(&mut reader, &mut source, 3);
    drop(output);
    assert_eq!(reader.drain(&mut source), NOTHING);
    assert_eq!(reader.poll(&mut source, 10), Polled::End);
}

#[test]
fn a_later_stream_lies_behind_all_earlier_ones_even_where_the_clock_stands_still() {
    let mut reader = Reader::default();
    for round in 0..3 {
        let mut source = reader.resume(stream(io::Cursor::new(lines([round]))), WhatIsThere).unwrap();
        // The reader checks that each record's position is behind the offset that it has.
        assert_eq!(reader.drain(&mut source), [round]);
    }
}

#[test]
fn a_stream_has_no_times_or_versions_to_begin_at() {
    let mut source = stream(io::empty());
    assert_eq!(source.origin(&StartAt::Earliest).unwrap(), []);
    assert!(source.origin(&StartAt::Version(1)).is_err());
}

#[test]
fn input_that_can_t_be_opened_is_an_error() {
    let open = || Err::<io::Empty, _>(io::Error::other("gone"));
    let source: EventSource =
        Box::new(StreamSource::new("pipe".to_owned(), "pipe".to_owned(), FileOptions::default(), clock(), open));
    let mut source = Reader::default().resume(source, WhatIsThere).unwrap();
    let error = source.poll(&mut Default::default(), 10).unwrap_err();
    assert!(error.message.contains("pipe") && error.message.contains("gone"), "{error}");
}
