//! What a file source makes of the bytes of files: records, places, dead letters, and the same after any restart.

mod reader;

use std::fs;

use memoir_connect::files::FileOptions;
use memoir_core::source::{Polled, Position, ReadUntil, SourceBatch};
use proptest::prelude::*;
use reader::{Compress, FORMATS, NOTHING, Reader, append, clock, files, files_with, gzip, line, lines, zstd};

use ReadUntil::WhatIsThere;

fn small_blocks() -> FileOptions {
    FileOptions { block_bytes: 97, max_line_bytes: 400, ..FileOptions::default() }
}

/// Each file's content: events by number, and between them what is none.
fn contents() -> impl Strategy<Value = Vec<String>> {
    let piece = prop_oneof![
        6 => Just("event"),
        1 => Just("blank"),
        1 => Just("no json"),
        1 => Just("long"),
        1 => Just("carriage return"),
    ];
    prop::collection::vec((any::<bool>(), prop::collection::vec(piece, 1..25), any::<bool>()), 1..5).prop_map(|files| {
        let mut number = 0;
        let mut next = || {
            number += 1;
            line(number)
        };
        let content = |(mark, pieces, ends): (bool, Vec<&str>, bool)| {
            let mut content = if mark { "\u{feff}".to_owned() } else { String::new() };
            for piece in pieces {
                match piece {
                    "event" => content += &(next() + "\n"),
                    "blank" => content += " \t\r\n",
                    "no json" => content += "{\"a\":\n",
                    "long" => content += &("x".repeat(1000) + "\n"),
                    _ => content += &(next() + "\r\n"),
                }
            }
            content + &if ends { next() + "\n" } else { next() }
        };
        files.into_iter().map(content).collect()
    })
}

/// What a run gives: ids, and where the dead letters are.
type Given = (Vec<usize>, Vec<(String, i64, String)>);

/// Reads a folder, stopped and started again wherever `stops` says.
fn read_with_stops(folder: &std::path::Path, max_records: usize, stops: &[usize]) -> Given {
    let mut reader = Reader::default();
    let mut stops = stops.iter();
    for _ in 0..1000 {
        let mut source = reader.resume(files_with(folder, small_blocks()), WhatIsThere).unwrap();
        for _ in 0..stops.next().copied().unwrap_or(usize::MAX) {
            if reader.poll(&mut source, max_records) == Polled::End {
                let name = |path: &str| std::path::Path::new(path).file_name().unwrap().to_str().unwrap().to_owned();
                let bad = reader.bad.iter().map(|bad| (name(&bad.source), bad.place, bad.record.clone())).collect();
                return (reader.ids, bad);
            }
        }
    }
    panic!("the source does not come to its end");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_records_are_the_same_plain_gzip_and_zstd_and_wherever_the_run_is_stopped_and_started_again(
        contents in contents(),
        max_records in 1usize..12,
        stops in prop::collection::vec(0usize..4, 0..30),
    ) {
        let mut given = Vec::new();
        for compress in FORMATS {
            let folder = tempfile::tempdir().unwrap();
            for (number, content) in contents.iter().enumerate() {
                // Two members or frames.
                let (one, other) = content.as_bytes().split_at(content.len() / 2);
                fs::write(folder.path().join(number.to_string()), [compress(one), compress(other)].concat()).unwrap();
            }
            given.push(read_with_stops(folder.path(), 100, &[]));
            given.push(read_with_stops(folder.path(), max_records, &stops));
        }
        let events: usize = contents.iter().map(|content| content.matches("event_id").count()).sum();
        prop_assert_eq!(&given[0].0, &(1..=events).collect::<Vec<_>>());
        for other in &given[1..] {
            prop_assert_eq!(other, &given[0]);
        }
    }

    #[test]
    fn a_position_in_the_middle_of_a_batch_is_a_place_to_go_on_from(
        contents in contents(),
        at in any::<prop::sample::Index>(),
        compress in prop::sample::select(FORMATS.to_vec()),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one");
        fs::write(&path, compress(contents[0].as_bytes())).unwrap();
        let mut source = Reader::default().resume(files_with(&path, small_blocks()), WhatIsThere).unwrap();
        let mut batch = SourceBatch::default();
        source.poll(&mut batch, 1000).unwrap();
        let at = at.index(batch.records.len());
        let (partition, mut offset) = batch.partitions[0].clone();
        // A shard that stopped here has the notes of the whole batch.
        offset.position = batch.records[at].position;
        let mut rest = Reader { offsets: [(partition, offset)].into(), ..Reader::default() };
        rest.run(&path);
        let expected: Vec<usize> = batch.records[at + 1..]
            .iter()
            .filter_map(|record| record.event.as_ref().ok())
            .map(|event| event.event_id.parse().unwrap())
            .collect();
        prop_assert_eq!(rest.ids, expected);
    }
}

#[test]
fn each_bad_line_is_a_dead_letter_with_its_place_and_blank_lines_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.ndjson");
    let mut content = b"\xef\xbb\xbf".to_vec();
    content.extend(format!("{}\r\n\n  \n{{\"a\":1}}\n", line(1)).bytes());
    content.extend(b"\xff\xfe\n");
    content.extend(format!("{}\n{}\n[1]\n{}\n", "y".repeat(500), line(2), line(3).replace("\"u\"", "\"\"")).bytes());
    content.extend(line(4).replace("2026-01-01", "2026-06-03").bytes());
    content.push(b'\n');
    fs::write(&path, content).unwrap();
    let mut reader = Reader::default();
    let mut source = reader.resume(files_with(&path, small_blocks()), WhatIsThere).unwrap();
    assert_eq!(reader.drain(&mut source), [1, 2]);
    let shown: Vec<_> = reader.bad.iter().map(|bad| (bad.place, bad.reason.as_str(), bad.record.as_str())).collect();
    assert_eq!(shown[0], (4, "field `event_id` is missing", "{\"a\":1}"));
    assert_eq!(shown[1], (5, "not UTF-8 from byte 0 on (the record is in base64)", "//4="));
    assert_eq!(shown[2], (6, "the line has 500 bytes, over the limit of 400", "y".repeat(500).as_str()));
    assert_eq!((shown[3].0, shown[3].2), (8, "[1]"));
    assert_eq!((shown[4].0, shown[4].1), (9, "field `user_id` is empty"));
    assert_eq!((shown[5].0, shown[5].1), (10, "`ts` is more than 1d ahead of the clock"));
    assert_eq!(shown.len(), 6);
    assert_eq!(reader.bad[5].key.as_deref(), Some("u"));
    for bad in &reader.bad {
        assert_eq!(bad.source, path.to_str().unwrap());
        assert!(reader.offsets.contains_key(&bad.partition));
    }
}

#[test]
fn of_a_line_over_the_limit_the_first_64_kib_are_kept_and_end_between_two_characters() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.ndjson");
    fs::write(&path, format!("{}x{}\n{}", lines([1]), "é".repeat(2_000_000), lines([2]))).unwrap();
    let mut reader = Reader::default();
    assert_eq!(reader.run(&path), [1, 2]);
    let record = &reader.bad[0].record;
    assert_eq!(record.len(), 64 * 1024 - 1);
    assert!(record.ends_with('é'));
    assert_eq!(reader.bad[0].place, 2);
}

#[test]
fn the_position_is_the_decompressed_byte_and_the_line_behind_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat");
    let content = format!("{}\n{}", lines([1]), lines([2]));
    fs::write(&path, gzip(content.as_bytes())).unwrap();
    let mut source = Reader::default().open(&path, WhatIsThere);
    let mut batch = SourceBatch::default();
    assert_eq!(source.poll(&mut batch, 10).unwrap(), Polled::Some);
    let positions: Vec<_> = batch.records.iter().map(|record| record.position).collect();
    assert_eq!(positions, [Position::new(line(1).len() as u64, 1), Position::new(content.len() as u64 - 1, 3)]);
}

#[test]
fn an_unterminated_last_line_is_taken_at_the_end_of_a_run_only_where_it_is_a_whole_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.ndjson");
    let mut reader = Reader::default();

    let second = line(2);
    let (half, rest) = second.split_at(40);
    fs::write(&path, lines([1]) + half).unwrap();
    let mut source = reader.open(&path, WhatIsThere);
    assert_eq!(reader.drain(&mut source), [1]);
    let left = source.leftovers();
    assert!(left.len() == 1 && left[0].contains("line 2") && left[0].contains(path.to_str().unwrap()), "{left:?}");

    // It has its end now, and the next line is whole but without an end.
    append(&path, &(rest.to_owned() + "\n" + &line(3)));
    let mut source = reader.open(&path, WhatIsThere);
    assert_eq!(reader.drain(&mut source), [2, 3]);
    assert_eq!(source.leftovers(), Vec::<String>::new());

    // What ends a line that was taken is no line of its own; a whole object that is no event is a dead letter.
    append(&path, "\r\n{\"a\":1}");
    assert_eq!(reader.run(&path), NOTHING);
    assert_eq!((reader.bad.len(), reader.bad[0].place), (1, 4));
    append(&path, "\n");
    assert_eq!(reader.run(&path), NOTHING);
    append(&path, "nonsense\n");
    assert_eq!(reader.run(&path), NOTHING);
    assert_eq!((reader.bad.len(), reader.bad[1].place), (2, 5));
}

#[test]
fn a_line_that_was_taken_without_its_end_is_not_taken_again_when_it_is_read_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.ndjson");
    fs::write(&path, lines([1, 2]) + &line(3)).unwrap();
    let mut reader = Reader::default();
    let mut source = reader.open(&path, WhatIsThere);
    reader.poll(&mut source, 1);
    let behind_first = reader.offsets.clone();
    assert_eq!(reader.drain(&mut source), [2, 3]);
    let taken = reader.offsets.values().next().unwrap().position;
    append(&path, "\r\n");
    append(&path, &lines([4]));
    // Another shard may have stopped before: it has the lesser position, with the notes of the furthest.
    let (partition, mut offset) = reader.offsets.into_iter().next().unwrap();
    offset.position = behind_first[&partition].position;
    let mut source = files(&path);
    source.resume(vec![(partition, offset)], WhatIsThere).unwrap();
    let mut batch = SourceBatch::default();
    source.poll(&mut batch, 10).unwrap();
    let ids: Vec<_> = batch.records.iter().map(|record| record.event.as_ref().unwrap().event_id.as_str()).collect();
    assert_eq!(ids, ["2", "3", "4"]);
    assert_eq!(batch.records[1].position, taken);
}

#[test]
fn damaged_compressed_data_is_one_dead_letter_and_the_file_goes_on_when_it_is_repaired() {
    for (compress, word) in [(gzip as Compress, "gzip"), (zstd, "zstd")] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(folder.path().join("b"), lines([9000])).unwrap();
        let half = line(3001).len() / 2;
        let (good, rest) =
            (lines(1..=3000) + &line(3001)[..half], line(3001)[half..].to_owned() + "\n" + &lines([3002]));
        let (good, rest) = (compress(good.as_bytes()), compress(rest.as_bytes()));
        assert!(good.len() > 4096, "the damage lies behind the head");
        let mut broken = [good.as_slice(), &rest].concat();
        broken[good.len()] = b'?';
        fs::write(&path, &broken).unwrap();
        let mut reader = Reader::default();
        reader.run(folder.path());
        assert_eq!((reader.ids.len(), reader.ids.last()), (3001, Some(&9000)), "the run goes on with the next file");
        assert_eq!((reader.bad.len(), reader.bad[0].place), (1, 3001));
        assert_eq!(reader.bad[0].record, line(3001)[..half]);
        let (reason, behind) = (&reader.bad[0].reason, format!("behind byte {}", lines(1..=3000).len() - 1));
        assert!(reason.contains("damaged") && reason.contains(word) && reason.contains(&behind), "{reason}");

        // The next run says nothing again; one that finds the file changed and still damaged does.
        assert_eq!(reader.run(folder.path()), NOTHING);
        assert_eq!(reader.bad.len(), 1);
        append(&path, "more");
        assert_eq!(reader.run(folder.path()), NOTHING);
        assert_eq!((reader.bad.len(), reader.bad[1].place), (2, 3001));
        fs::write(&path, [good, rest, compress(lines([3003]).as_bytes())].concat()).unwrap();
        let damaged = reader.offsets.clone();
        assert_eq!(reader.run(folder.path()), [3001, 3002, 3003]);
        assert_eq!(reader.bad.len(), 2);

        // A shard that stopped at the damage comes to the same place, also with the notes of one that is done.
        let mut behind = Reader { offsets: reader.offsets.clone(), ..Reader::default() };
        for (partition, offset) in &mut behind.offsets {
            offset.position = damaged[partition].position;
        }
        assert_eq!(behind.run(folder.path()), [3001, 3002, 3003]);
        assert_eq!(behind.offsets, reader.offsets);
    }
}

#[test]
fn compressed_data_that_was_cut_off_is_one_dead_letter_and_goes_on_when_the_rest_is_there() {
    let content = lines(1..=2000);
    for whole in [gzip(content.as_bytes()), zstd(content.as_bytes())] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut reader = Reader::default();
        fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        let mut taken = reader.run(&path).len();
        assert_eq!((reader.bad.len(), reader.bad[0].place), (1, taken as i64 + 1));
        assert!(reader.bad[0].reason.contains("ends in the middle"), "{}", reader.bad[0].reason);
        taken += reader.run(&path).len();
        assert_eq!(reader.bad.len(), 1);
        fs::write(&path, &whole).unwrap();
        taken += reader.run(&path).len();
        assert_eq!((taken, reader.bad.len()), (2000, 1));
        assert_eq!(reader.ids, (1..=2000).collect::<Vec<_>>());
    }
}

#[test]
fn a_compressed_file_that_was_read_to_its_end_is_not_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    fs::write(&path, gzip(lines(1..=3000).as_bytes())).unwrap();
    let mut reader = Reader::default();
    assert_eq!(reader.run(&path).len(), 3000);
    // Damage behind the head would be seen if it were read.
    let mut bytes = fs::read(&path).unwrap();
    assert!(bytes.len() > 4096 + 8);
    let at = bytes.len() - 8;
    bytes[at] ^= 0xff;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(reader.run(&path), NOTHING);
    assert_eq!(reader.bad, []);
    // And it is, when the file has grown.
    bytes.extend(gzip(b"more"));
    fs::write(&path, bytes).unwrap();
    assert_eq!(reader.run(&path), NOTHING);
    assert_eq!(reader.bad.len(), 1);
}

#[test]
fn what_can_t_be_read_stops_an_available_now_run_with_the_path_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let error = |path: &std::path::Path, until| Reader::default().resume(files(path), until).err().unwrap().message;
    for until in [WhatIsThere, ReadUntil::Stopped] {
        let missing = error(&folder.path().join("none"), until);
        assert!(missing.contains("none") && missing.contains("source.path"), "{missing}");
    }
    let no_match = error(&folder.path().join("*.ndjson"), WhatIsThere);
    assert!(no_match.contains("*.ndjson") && no_match.contains("source.path"), "{no_match}");
    // A link to itself can be opened by nobody, not even by root.
    std::os::unix::fs::symlink(folder.path().join("self"), folder.path().join("self")).unwrap();
    let unreadable = error(folder.path(), WhatIsThere);
    assert!(unreadable.contains("self") && unreadable.contains("leave it out"), "{unreadable}");

    // A daemon goes on with what it can read.
    fs::write(folder.path().join("good"), lines([1])).unwrap();
    let mut reader = Reader::default();
    let mut source = reader.open(folder.path(), ReadUntil::Stopped);
    assert_eq!(reader.drain(&mut source), [1]);
    fs::remove_file(folder.path().join("self")).unwrap();
    fs::write(folder.path().join("self"), lines([2])).unwrap();
    assert_eq!(reader.drain(&mut source), [2]);
}

#[test]
fn the_same_files_go_on_whatever_path_they_are_found_by() {
    let folder = tempfile::tempdir().unwrap();
    let (there, moved) = (folder.path().join("in"), folder.path().join("moved"));
    fs::create_dir(&there).unwrap();
    append(&there.join("a.ndjson"), &lines(0..3));
    let mut reader = Reader::default();
    assert_eq!(reader.run(there.join("a.ndjson")), [0, 1, 2]);
    assert_eq!(reader.run(&there), NOTHING);
    fs::rename(&there, &moved).unwrap();
    append(&moved.join("b.ndjson"), &lines([3]));
    assert_eq!(reader.run(&moved), [3]);
    // So a state keeps their offsets under one name.
    for path in [there.join("a.ndjson"), there, moved] {
        assert_eq!(files(path).identity(), "files");
    }
}

#[test]
fn a_file_that_begins_like_one_that_is_still_elsewhere_is_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first.ndjson"), folder.path().join("second.ndjson"));
    append(&first, &lines(0..60));
    append(&second, &lines((0..55).chain(100..120)));
    let mut reader = Reader::default();
    assert_eq!(reader.run(&first).len(), 60);
    assert_eq!(reader.run(&second), (0..55).chain(100..120).collect::<Vec<_>>());
    assert_eq!(reader.run(folder.path()), NOTHING);
}

#[test]
fn what_a_source_fails_with_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let error = Reader::default().resume(files(folder.path().join("none")), WhatIsThere).err().unwrap();
    assert!(std::error::Error::source(&error).is_none(), "{error}");
    let error = memoir_core::source::SourceError::from(memoir_connect::ConnectError::NoPath);
    assert!(error.message.contains("source.path") && std::error::Error::source(&error).is_none(), "{error}");
}

#[test]
fn a_source_says_what_it_reads_by_its_absolute_path() {
    let source = FileOptions::default();
    let described = files_with("/data/./chat/*.gz", source).describe();
    assert_eq!(described, "files:/data/chat/*.gz");
    assert!(
        memoir_connect::files::open::<memoir_core::ConversationEvent>("", FileOptions::default(), clock()).is_err()
    );
}
