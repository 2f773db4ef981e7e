//! Files that grow, come late, are renamed, rotated, replaced or cut, and where a new state begins in them.

mod reader;

use std::fs;

use memoir_core::Timestamp;
use memoir_core::source::{Polled, ReadUntil, StartAt};
use proptest::prelude::*;
use reader::{NOTHING, Reader, append, files, gzip, line, lines, zstd};

use ReadUntil::{Stopped, WhatIsThere};

fn range(from: usize, to: usize) -> Vec<usize> {
    (from..=to).collect()
}

#[test]
fn a_growing_file_is_followed_and_half_a_line_is_never_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.ndjson");
    fs::write(&path, "").unwrap();
    let mut reader = Reader::default();
    let mut source = reader.open(&path, Stopped);
    assert_eq!(reader.drain(&mut source), NOTHING);
    let content = lines(1..=20);
    // Cut anywhere, also inside of a character.
    for piece in content.as_bytes().chunks(37) {
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut file, piece).unwrap();
        reader.drain(&mut source);
        let written = fs::metadata(&path).unwrap().len();
        let whole = content[..].bytes().take(usize::try_from(written).unwrap()).filter(|byte| *byte == b'\n').count();
        assert_eq!(reader.ids.len(), whole);
    }
    assert_eq!(reader.ids, range(1, 20));
    assert_eq!(reader.bad, []);
}

#[test]
fn a_growing_compressed_file_is_followed_also_in_the_middle_of_a_member() {
    let folder = tempfile::tempdir().unwrap();
    for compress in [gzip, zstd] {
        let path = folder.path().join("chat");
        fs::write(&path, "").unwrap();
        let mut reader = Reader::default();
        let mut source = reader.open(&path, Stopped);
        let content = [compress(lines(1..=300).as_bytes()), compress(lines(301..=600).as_bytes())].concat();
        for (number, piece) in content.chunks(content.len() / 13).enumerate() {
            let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
            std::io::Write::write_all(&mut file, piece).unwrap();
            reader.drain(&mut source);
            if number % 4 == 3 {
                source = reader.open(&path, Stopped);
            }
        }
        reader.drain(&mut source);
        assert_eq!(reader.ids, range(1, 600));
        assert_eq!(reader.bad, []);
    }
}

#[test]
fn a_poll_looks_once_and_does_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let mut reader = Reader::default();
    let mut source = reader.open(folder.path(), Stopped);
    assert_eq!(reader.poll(&mut source, 10), Polled::Idle);
    fs::write(folder.path().join("a"), lines([1])).unwrap();
    assert_eq!(reader.poll(&mut source, 10), Polled::Some);
    assert_eq!(reader.poll(&mut source, 10), Polled::Idle);
}

#[test]
fn an_available_now_run_takes_what_was_there_when_it_began() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b");
    fs::write(&path, lines([1, 2])).unwrap();
    let mut reader = Reader::default();
    let mut source = reader.open(folder.path(), WhatIsThere);
    append(&path, &lines([3]));
    fs::write(folder.path().join("a"), lines([4])).unwrap();
    assert_eq!(reader.drain(&mut source), [1, 2]);
    assert_eq!(reader.run(folder.path()), [3, 4]);
    assert_eq!(reader.run(folder.path()), NOTHING);
}

#[test]
fn files_are_read_by_the_bytes_of_their_paths_and_late_ones_after_those_begun() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, numbers: Vec<usize>| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        append(&path, &lines(numbers));
    };
    write("b/x", vec![3, 4]);
    write("b.ndjson", vec![1, 2]);
    write("é", vec![7]);
    write("b~", vec![5, 6]);
    let mut reader = Reader::default();
    let mut source = reader.open(folder.path(), Stopped);
    assert_eq!(reader.drain(&mut source), range(1, 7));
    write("a", vec![9]);
    write("b/x", vec![8]);
    assert_eq!(reader.drain(&mut source), [8, 9]);
    write("a", vec![12]);
    write("b/x", vec![11]);
    write("b.ndjson", vec![10]);
    // A restart keeps the order in which they were begun.
    let mut source = reader.open(folder.path(), Stopped);
    assert_eq!(reader.drain(&mut source), [10, 11, 12]);
}

#[test]
fn a_file_that_was_begun_goes_before_one_that_came_while_the_run_stood_still() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("m"), lines([1, 2])).unwrap();
    fs::write(folder.path().join("n"), lines([3])).unwrap();
    let mut reader = Reader::default();
    let mut source = reader.open(folder.path(), WhatIsThere);
    reader.poll(&mut source, 1);
    fs::write(folder.path().join("a"), lines([4])).unwrap();
    let mut source = reader.open(folder.path(), WhatIsThere);
    reader.drain(&mut source);
    assert_eq!(reader.ids, [1, 2, 4, 3]);
}

#[test]
fn a_renamed_file_goes_on_while_it_is_followed_and_after_a_restart() {
    for restart in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        fs::write(&one, lines(1..=3)).unwrap();
        let mut reader = Reader::default();
        let mut source = reader.open(folder.path(), Stopped);
        reader.drain(&mut source);
        fs::rename(&one, &other).unwrap();
        append(&other, &lines([4]));
        if restart {
            source = reader.open(folder.path(), Stopped);
        }
        assert_eq!(reader.drain(&mut source), [4]);
        assert_eq!(reader.offsets.len(), 1, "the partition stays the same");
        // Also where it is a copy by another inode.
        fs::copy(&other, &one).unwrap();
        fs::remove_file(&other).unwrap();
        append(&one, &lines([5]));
        if restart {
            source = reader.open(folder.path(), Stopped);
        }
        assert_eq!(reader.drain(&mut source), [5]);
        assert_eq!(reader.offsets.len(), 1);
    }
}

#[test]
fn of_two_files_with_the_same_content_each_is_read_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), lines(1..=3)).unwrap();
    fs::write(folder.path().join("b"), lines(1..=3)).unwrap();
    let mut reader = Reader::default();
    assert_eq!(reader.run(folder.path()), [1, 2, 3, 1, 2, 3]);
    append(&folder.path().join("a"), &lines([4]));
    append(&folder.path().join("b"), &lines([5]));
    assert_eq!(reader.run(folder.path()), [4, 5]);
    assert_eq!(reader.offsets.len(), 2);
}

#[test]
fn both_files_are_followed_through_a_rotation_in_a_folder() {
    for restart in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (current, rotated) = (folder.path().join("chat"), folder.path().join("chat.1"));
        fs::write(&current, lines(1..=3)).unwrap();
        let mut reader = Reader::default();
        let mut source = reader.open(folder.path(), Stopped);
        reader.drain(&mut source);
        append(&current, &lines([4]));
        fs::rename(&current, &rotated).unwrap();
        append(&rotated, &lines([5]));
        fs::write(&current, lines(6..=20)).unwrap();
        if restart {
            source = reader.open(folder.path(), Stopped);
        }
        reader.drain(&mut source);
        assert_eq!(reader.ids, range(1, 20));
        assert_eq!(reader.offsets.len(), 2);
    }
}

#[test]
fn what_is_rotated_out_of_sight_is_read_to_its_end() {
    for restart in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (current, rotated) = (folder.path().join("chat.ndjson"), folder.path().join("chat.ndjson.1"));
        fs::write(&current, lines(1..=3)).unwrap();
        let mut reader = Reader::default();
        let mut source = reader.open(&current, Stopped);
        reader.drain(&mut source);
        append(&current, &lines([4]));
        fs::rename(&current, &rotated).unwrap();
        fs::write(&current, lines([6])).unwrap();
        append(&rotated, &lines([5]));
        if restart {
            source = reader.open(&current, Stopped);
        }
        assert_eq!(reader.drain(&mut source), [4, 5, 6]);
        // The writer may hold the old file open for a while.
        append(&rotated, &lines([7]));
        append(&current, &lines([8]));
        assert_eq!(reader.drain(&mut source), [7, 8]);
        assert_eq!(reader.offsets.len(), 2);
    }
}

#[test]
fn a_chain_of_rotations_keeps_each_file_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = |number: usize| folder.path().join(format!("chat.{number}"));
    let mut reader = Reader::default();
    let mut source = reader.open(folder.path(), Stopped);
    let mut next = 1;
    for round in 0..5 {
        for number in (0..round).rev() {
            fs::rename(path(number), path(number + 1)).unwrap();
        }
        append(&path(0), &lines([next, next + 1]));
        next += 2;
        reader.drain(&mut source);
        if round == 2 {
            source = reader.open(folder.path(), Stopped);
        }
    }
    assert_eq!(reader.ids, range(1, 10));
    assert_eq!(reader.offsets.len(), 5);
}

#[test]
fn a_file_with_another_head_under_an_old_path_is_read_from_its_beginning() {
    for restart in [false, true] {
        for by_rename in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("chat");
            fs::write(&path, lines(1..=3)).unwrap();
            let mut reader = Reader::default();
            let mut source = reader.open(&path, Stopped);
            reader.drain(&mut source);
            if by_rename {
                let new = folder.path().join("new");
                fs::write(&new, lines(4..=9)).unwrap();
                fs::rename(new, &path).unwrap();
            } else {
                fs::write(&path, lines(4..=9)).unwrap();
            }
            if restart {
                source = reader.open(&path, Stopped);
            }
            assert_eq!(reader.drain(&mut source), range(4, 9));
            assert_eq!(reader.offsets.len(), 2);
        }
    }
}

#[test]
fn a_file_truncated_below_what_was_read_is_new_content() {
    for restart in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chat");
        // Longer than a head, so that the head stays equal.
        fs::write(&path, lines(1..=60)).unwrap();
        let mut reader = Reader::default();
        let mut source = reader.open(&path, Stopped);
        reader.drain(&mut source);
        fs::write(&path, lines(1..=50)).unwrap();
        if restart {
            source = reader.open(&path, Stopped);
        }
        assert_eq!(reader.drain(&mut source), range(1, 50));
        append(&path, &lines([51]));
        assert_eq!(reader.drain(&mut source), [51]);
        assert_eq!(reader.offsets.len(), 2, "the same path and head twice have two ids");
    }
}

#[test]
fn a_file_that_was_emptied_and_filled_again_is_new_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat");
    fs::write(&path, lines(1..=3)).unwrap();
    let mut reader = Reader::default();
    let mut source = reader.open(&path, Stopped);
    reader.drain(&mut source);
    fs::write(&path, "").unwrap();
    assert_eq!(reader.drain(&mut source), NOTHING);
    append(&path, &lines([4]));
    assert_eq!(reader.drain(&mut source), [4]);
}

#[test]
fn a_file_first_seen_with_a_few_bytes_is_told_from_another_by_all_that_was_read_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat");
    fs::write(&path, "{\"event_id\":").unwrap();
    let mut reader = Reader::default();
    let mut source = reader.open(&path, Stopped);
    assert_eq!(reader.drain(&mut source), NOTHING);
    fs::write(&path, lines(1..=3)).unwrap();
    assert_eq!(reader.drain(&mut source), range(1, 3));
    assert_eq!(reader.offsets.len(), 1);
    // It begins as the first one did, but not as what was read of it.
    fs::write(&path, lines(11..=14)).unwrap();
    assert_eq!(reader.drain(&mut source), range(11, 14));
    assert_eq!(reader.offsets.len(), 2);
}

#[test]
fn more_files_than_may_be_held_open_are_all_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |number: usize| folder.path().join(format!("{number:03}"));
    let mut reader = Reader::default();
    let mut source = reader.open(folder.path(), Stopped);
    for round in 0..3 {
        for number in 0..100 {
            append(&path(number), &lines([round * 100 + number]));
        }
        assert_eq!(reader.drain(&mut source), range(round * 100, round * 100 + 99));
    }
    assert_eq!(reader.offsets.len(), 100);
}

#[test]
fn an_empty_folder_or_glob_is_fine_for_a_daemon_and_an_empty_folder_for_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut reader = Reader::default();
    assert_eq!(reader.run(folder.path()), NOTHING);
    let mut source = reader.open(folder.path().join("later/*.ndjson"), Stopped);
    assert_eq!(reader.drain(&mut source), NOTHING);
    fs::create_dir(folder.path().join("later")).unwrap();
    fs::write(folder.path().join("later/a.ndjson"), lines([1])).unwrap();
    fs::write(folder.path().join("later/a.txt"), lines([2])).unwrap();
    assert_eq!(reader.drain(&mut source), [1]);
}

#[test]
fn latest_begins_at_the_last_line_end_of_the_files_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let (half, rest) = {
        let third = line(3);
        (third[..30].to_owned(), third[30..].to_owned())
    };
    fs::write(folder.path().join("plain"), lines([1, 2]) + &half).unwrap();
    fs::write(folder.path().join("gzip"), gzip(lines([4, 5]).as_bytes())).unwrap();
    let mut reader = Reader::default();
    reader.begin(&mut files(folder.path()), &StartAt::Latest);
    let mut source = reader.open(folder.path(), Stopped);
    assert_eq!(reader.drain(&mut source), NOTHING);
    append(&folder.path().join("plain"), &(rest + "\nnonsense\n"));
    let mut bytes = fs::read(folder.path().join("gzip")).unwrap();
    bytes.extend(gzip(lines([6]).as_bytes()));
    fs::write(folder.path().join("gzip"), bytes).unwrap();
    fs::write(folder.path().join("a-new-one"), lines([7])).unwrap();
    assert_eq!(reader.drain(&mut source), [6, 3, 7]);
    assert_eq!(reader.bad[0].place, 4, "lines are counted from the beginning of the file");
}

#[test]
fn a_time_begins_each_file_at_its_first_event_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "nonsense\n".to_owned() + &lines([1, 5, 2, 6])).unwrap();
    fs::write(folder.path().join("b"), lines([1, 2, 3])).unwrap();
    fs::write(folder.path().join("c"), lines([7, 8])).unwrap();
    let mut reader = Reader::default();
    let start = StartAt::Time(Timestamp::parse("2026-01-01T00:05:00Z").unwrap());
    reader.begin(&mut files(folder.path()), &start);
    assert_eq!(reader.run(folder.path()), [5, 2, 6, 7, 8]);
    assert_eq!(reader.bad, []);
}

#[test]
fn earliest_names_no_place_and_a_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(files(folder.path()).origin(&StartAt::Earliest).unwrap(), []);
    let error = files(folder.path()).origin(&StartAt::Version(3)).unwrap_err();
    assert!(error.message.contains("Delta"), "{error}");
}

#[test]
fn offsets_of_another_version_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), lines([1])).unwrap();
    let mut reader = Reader::default();
    reader.run(folder.path());
    for offset in reader.offsets.values_mut() {
        let notes = String::from_utf8(offset.notes.clone()).unwrap();
        offset.notes = notes.replace("\"version\":1", "\"version\":2").into_bytes();
    }
    let error = reader.resume(files(folder.path()), WhatIsThere).err().unwrap();
    assert!(error.message.contains("version 2"), "{error}");
}

/// What may happen to a folder while it is followed. Files are chosen by number, round about.
#[derive(Clone, Debug)]
enum Deed {
    Create,
    /// Writes the next events, and of the last only so many bytes.
    Append {
        file: usize,
        events: usize,
        bytes: usize,
    },
    Rename {
        file: usize,
    },
    /// Renames it and writes a new file under the old name.
    Rotate {
        file: usize,
    },
    Poll {
        max_records: usize,
    },
    Restart,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        1 => Just(Deed::Create),
        6 => (any::<usize>(), 0usize..40, 1usize..200)
            .prop_map(|(file, events, bytes)| Deed::Append { file, events, bytes }),
        1 => any::<usize>().prop_map(|file| Deed::Rename { file }),
        1 => any::<usize>().prop_map(|file| Deed::Rotate { file }),
        3 => (1usize..30).prop_map(|max_records| Deed::Poll { max_records }),
        1 => Just(Deed::Restart),
    ]
}

/// A file as it should be, and what of its last line is not written yet.
struct Written {
    path: std::path::PathBuf,
    ids: Vec<usize>,
    owed: String,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_a_folder_each_event_comes_once_and_in_the_order_of_its_file(
        deeds in prop::collection::vec(deed(), 1..40),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut reader = Reader::default();
        let mut source = reader.open(folder.path(), Stopped);
        let (mut files, mut names, mut events) = (Vec::<Written>::new(), 0, 0);
        let create = |files: &mut Vec<Written>, path: std::path::PathBuf| {
            files.push(Written { path, ids: Vec::new(), owed: String::new() });
        };
        let mut name = || {
            names += 1;
            folder.path().join(format!("{:02}", names * 37 % 100))
        };
        for deed in deeds {
            match deed {
                Deed::Create => create(&mut files, name()),
                Deed::Poll { max_records } => {
                    reader.poll(&mut source, max_records);
                }
                Deed::Restart => source = reader.open(folder.path(), Stopped),
                Deed::Append { .. } | Deed::Rename { .. } | Deed::Rotate { .. } if files.is_empty() => {}
                Deed::Append { file, events: count, bytes } => {
                    let at = file % files.len();
                    let file = &mut files[at];
                    let mut text = std::mem::take(&mut file.owed);
                    for _ in 0..count {
                        events += 1;
                        file.ids.push(events);
                        text += &lines([events]);
                    }
                    let whole = text.trim_end_matches('\n').rfind('\n').map_or(0, |end| end + 1);
                    let cut = text.ceil_char_boundary((whole + bytes).min(text.len()));
                    append(&file.path, &text[..cut]);
                    file.owed = text[cut..].to_owned();
                }
                Deed::Rename { file } => {
                    let (at, new) = (file % files.len(), name());
                    if files[at].path.exists() {
                        fs::rename(&files[at].path, &new).unwrap();
                    }
                    files[at].path = new;
                }
                Deed::Rotate { file } => {
                    let (at, new) = (file % files.len(), name());
                    let old = std::mem::replace(&mut files[at].path, new);
                    if old.exists() {
                        fs::rename(&old, &files[at].path).unwrap();
                    }
                    create(&mut files, old);
                }
            }
        }
        for file in &files {
            append(&file.path, &file.owed);
        }
        reader.drain(&mut source);
        for file in &files {
            let read: Vec<_> = reader.ids.iter().filter(|id| file.ids.contains(id)).copied().collect();
            prop_assert_eq!(&read, &file.ids);
        }
        prop_assert_eq!(reader.ids.len(), events);
        prop_assert_eq!(&reader.bad, &[]);
    }
}
