//! A Delta table as a source, over real tables: the order, restarts, and commits that are no appends.

mod reader;

use std::fs;
use std::path::{Path, PathBuf};

use deltalake::DeltaTable;
use memoir_connect::delta::{DeltaOptions, DeltaSource};
use memoir_core::event::CONVERSATION_EVENTS;
use memoir_core::source::{Position, ReadUntil, SourceBatch, StartAt};
use memoir_core::table::RowBuffer;
use memoir_core::{ConversationEvent, Timestamp};
use memoir_lake::{TableWriter, Warehouse};
use proptest::prelude::*;
use reader::{EventSource, NOTHING, Reader, clock};

use ReadUntil::{Stopped, WhatIsThere};

/// A warehouse with the table of events.
struct Table {
    runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
    warehouse: Warehouse,
    folder: PathBuf,
}

impl Table {
    fn new() -> Self {
        let table = Self::none();
        table.runtime.block_on(table.warehouse.ensure_table(&CONVERSATION_EVENTS)).unwrap();
        table
    }

    fn none() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let uri = folder.path().to_str().unwrap();
        let warehouse = Warehouse::new(uri, "main", "memory_demo", runtime.handle().clone()).unwrap();
        let path = warehouse.table_folder(CONVERSATION_EVENTS.name).unwrap();
        Self { runtime, _folder: folder, warehouse, folder: path }
    }

    /// Appends events by number, each a second after the one before, and gives the version.
    fn append(&self, numbers: &[usize]) -> u64 {
        let mut rows = RowBuffer::default();
        for number in numbers {
            let ts = Timestamp::from_micros(1_700_000_000_000_000 + *number as i64 * 1_000_000);
            rows.row().text(number.to_string().as_str()).timestamp(ts).text("c").text("u").text("user").text("hi");
        }
        self.append_rows(rows)
    }

    fn append_rows(&self, rows: RowBuffer) -> u64 {
        self.runtime.block_on(async {
            let mut writer = TableWriter::open(&self.warehouse, &CONVERSATION_EVENTS).await.unwrap();
            writer.append(&[rows], &[]).await.unwrap().unwrap()
        })
    }

    fn delta(&self) -> DeltaTable {
        let url = deltalake::ensure_table_uri(self.folder.to_str().unwrap()).unwrap();
        self.runtime.block_on(deltalake::open_table(url)).unwrap()
    }

    fn commit_file(&self, version: u64) -> PathBuf {
        self.folder.join(format!("_delta_log/{version:020}.json"))
    }

    /// Takes the file of a version out of the table, as a deletion does.
    fn remove_rows_of(&self, version: u64) -> u64 {
        let commit = fs::read_to_string(self.commit_file(version)).unwrap();
        let adds = commit.lines().filter_map(|line| {
            let action: serde_json::Value = serde_json::from_str(line).unwrap();
            action.get("add").map(|add| add["path"].clone())
        });
        let removes: String = adds
            .map(|path| {
                let remove = serde_json::json!({"remove": {"path": path, "dataChange": true, "deletionTimestamp": 0}});
                format!("{remove}\n")
            })
            .collect();
        assert!(!removes.is_empty());
        let next = self.delta().version().unwrap() + 1;
        fs::write(self.commit_file(next), removes).unwrap();
        next
    }

    fn source(&self) -> EventSource {
        self.source_with(DeltaOptions::default())
    }

    fn source_with(&self, options: DeltaOptions) -> EventSource {
        Box::new(DeltaSource::new(self.warehouse.clone(), options, clock()))
    }

    fn begin(&self, start: &StartAt) -> Reader {
        let mut reader = Reader::default();
        reader.begin(&mut self.source(), start);
        reader
    }

    fn open(&self, reader: &Reader, until: ReadUntil) -> EventSource {
        reader.resume(self.source(), until).unwrap()
    }

    fn run(&self, reader: &mut Reader) -> Vec<usize> {
        let mut source = self.open(reader, WhatIsThere);
        reader.drain(&mut source)
    }

    fn run_error(&self, reader: &Reader) -> String {
        let mut source = match reader.resume(self.source(), WhatIsThere) {
            Ok(source) => source,
            Err(error) => return error.message,
        };
        let mut batch = SourceBatch::default();
        for _ in 0..100 {
            if let Err(error) = source.poll(&mut batch, 10) {
                return error.message;
            }
            (batch.records, batch.partitions) = (Vec::new(), Vec::new());
        }
        panic!("no error came");
    }
}

#[test]
fn the_snapshot_comes_in_the_order_of_time_and_id_and_then_each_version_for_itself() {
    let table = Table::new();
    table.append(&[5, 3, 9]);
    table.append(&[4, 1]);
    let mut reader = table.begin(&StartAt::Earliest);
    // What is appended now is no part of the snapshot, however old it is.
    table.append(&[2, 0]);
    table.append(&[8, 7]);
    assert_eq!(table.run(&mut reader), [1, 3, 4, 5, 9, 0, 2, 7, 8]);
    assert_eq!(table.run(&mut reader), NOTHING);
    assert_eq!(reader.offsets["table"].position, Position::new(5, 0));
}

#[test]
fn a_shard_that_has_nothing_yet_begins_where_the_state_began() {
    let table = Table::new();
    table.append(&[1, 2]);
    table.append(&[3]);
    let mut reader = table.begin(&StartAt::Earliest);
    let pinned = reader.offsets["table"].position;
    table.append(&[4]);
    // The least position of a shard without an offset, with the notes of one that is done.
    table.run(&mut reader);
    reader.offsets.values_mut().for_each(|offset| offset.position = Position::default());
    let mut again = Reader { offsets: reader.offsets, ..Reader::default() };
    let mut source = table.open(&again, WhatIsThere);
    let mut batch = SourceBatch::default();
    source.poll(&mut batch, 1).unwrap();
    assert_eq!(batch.records[0].position, Position::new(pinned.major, 1));
    assert_eq!(table.run(&mut again), [1, 2, 3, 4]);
}

#[test]
fn events_of_one_moment_come_in_the_order_of_their_ids() {
    let table = Table::new();
    let mut rows = RowBuffer::default();
    for id in ["2", "10", "1"] {
        rows.row().text(id).timestamp(Timestamp::from_micros(7)).text("c").text("u").text("user").text("hi");
    }
    table.append_rows(rows);
    assert_eq!(table.run(&mut table.begin(&StartAt::Earliest)), [1, 10, 2], "as text");
}

#[test]
fn a_daemon_takes_each_version_as_it_comes() {
    let table = Table::new();
    let mut reader = table.begin(&StartAt::Earliest);
    let mut source = table.open(&reader, Stopped);
    assert_eq!(reader.drain(&mut source), NOTHING);
    table.append(&[2, 1]);
    assert_eq!(reader.drain(&mut source), [1, 2]);
    assert_eq!(reader.drain(&mut source), NOTHING);
    table.append(&[0]);
    table.append(&[4, 3]);
    assert_eq!(reader.drain(&mut source), [0, 3, 4]);
}

#[test]
fn an_available_now_run_takes_the_versions_that_were_there_when_it_began() {
    let table = Table::new();
    table.append(&[1]);
    let mut reader = table.begin(&StartAt::Earliest);
    let mut source = table.open(&reader, WhatIsThere);
    table.append(&[2]);
    assert_eq!(reader.drain(&mut source), [1]);
    assert_eq!(table.run(&mut reader), [2]);
}

#[test]
fn a_start_is_the_present_a_version_or_the_time_of_a_commit() {
    let table = Table::new();
    table.append(&[1]);
    let second = table.append(&[2]);
    table.append(&[3]);
    let mut latest = table.begin(&StartAt::Latest);
    let mut version = table.begin(&StartAt::Version(second));
    // A commit is as old as its file.
    for (number, version) in (0..=3).enumerate() {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000 + number as u64 * 100);
        fs::File::options().write(true).open(table.commit_file(version)).unwrap().set_modified(time).unwrap();
    }
    let at_time = |seconds: i64| {
        let start = StartAt::Time(Timestamp::from_micros(seconds * 1_000_000));
        table.run(&mut table.begin(&start))
    };
    assert_eq!(at_time(0), [1, 2, 3]);
    assert_eq!(at_time(1_000_200), [2, 3]);
    assert_eq!(at_time(1_000_201), [3]);
    assert_eq!(at_time(2_000_000), NOTHING);
    table.append(&[4]);
    assert_eq!(table.run(&mut latest), [4]);
    assert_eq!(table.run(&mut version), [2, 3, 4]);
    let error = table.source().origin(&StartAt::Version(17)).unwrap_err().message;
    assert!(error.contains("17") && error.contains("0 to 4"), "{error}");
}

#[test]
fn a_compaction_repeats_nothing() {
    let table = Table::new();
    table.append(&[1, 2]);
    table.append(&[3]);
    let mut reader = table.begin(&StartAt::Earliest);
    assert_eq!(table.run(&mut reader), [1, 2, 3]);
    let delta = table.delta();
    let (compacted, metrics) = table.runtime.block_on(async { delta.optimize().await }).unwrap();
    assert!(metrics.num_files_removed >= 2, "it did compact");
    table.append(&[4]);
    assert_eq!(table.run(&mut reader), [4]);
    assert!(reader.offsets["table"].position.major > compacted.version().unwrap());
    // Nor does a state that reads the versions from the first.
    assert_eq!(table.run(&mut table.begin(&StartAt::Version(0))), [1, 2, 3, 4]);
}

#[test]
fn a_version_that_removes_rows_stops_the_run_with_the_remedy_or_is_passed_over() {
    let table = Table::new();
    let first = table.append(&[1, 2]);
    let mut reader = table.begin(&StartAt::Earliest);
    assert_eq!(table.run(&mut reader), [1, 2]);
    let removal = table.remove_rows_of(first);
    table.append(&[3]);
    let error = table.run_error(&reader);
    for part in [&format!("version {removal}"), "skip_change_commits", "conversation_events"] {
        assert!(error.contains(part), "{error}");
    }
    let options = DeltaOptions { skip_change_commits: true, ..DeltaOptions::default() };
    let mut source = reader.resume(table.source_with(options), WhatIsThere).unwrap();
    assert_eq!(reader.drain(&mut source), [3]);
}

#[test]
fn a_version_that_was_cleaned_away_is_an_error_that_says_so() {
    let table = Table::new();
    table.append(&[1]);
    let reader = table.begin(&StartAt::Latest);
    let gone = table.append(&[2]);
    table.append(&[3]);
    let delta = table.delta();
    table.runtime.block_on(deltalake::protocol::checkpoints::create_checkpoint(&delta, None)).unwrap();
    for version in 0..=gone {
        fs::remove_file(table.commit_file(version)).unwrap();
    }
    let error = table.run_error(&reader);
    assert!(error.contains(&format!("version {gone}")) && error.contains("cleaned"), "{error}");
    let start = StartAt::Time(Timestamp::from_micros(0));
    let error = table.source().origin(&start).unwrap_err().message;
    assert!(error.contains("earliest"), "{error}");
    // The snapshot is there all the same.
    assert_eq!(table.run(&mut table.begin(&StartAt::Earliest)), [1, 2, 3]);
}

#[test]
fn a_row_that_is_no_event_is_a_dead_letter_with_its_version_and_number() {
    let table = Table::new();
    let mut rows = RowBuffer::default();
    let ts = Timestamp::from_micros(1_000_000);
    let ahead = Timestamp::parse("2026-06-02T00:00:01Z").unwrap();
    rows.row().text("1").timestamp(ts).text("c").text("u").text("user").text("hi");
    rows.row().text("2").timestamp(ts).text("c").text("").text("user").text("hi");
    rows.row().text("3").timestamp(ts).text("c").text("u").text("user").text(None);
    rows.row().text("4").timestamp(None).text("c").text("u").text("user").text("hi");
    rows.row().text("5").timestamp(ahead).text("c").text("u").text("user").text("hi");
    let version = table.append_rows(rows);
    for (start, version) in [(StartAt::Version(version), version), (StartAt::Earliest, version)] {
        let mut reader = table.begin(&start);
        assert_eq!(table.run(&mut reader), [1]);
        let mut shown: Vec<_> = reader.bad.iter().map(|bad| (bad.reason.as_str(), bad.key.as_deref())).collect();
        shown.sort_unstable();
        assert_eq!(
            shown,
            [
                ("`ts` is more than 1d ahead of the clock", Some("u")),
                ("field `content` is missing", Some("u")),
                ("field `ts` is missing", Some("u")),
                ("field `user_id` is empty", None),
            ]
        );
        for bad in &reader.bad {
            assert_eq!((bad.source.as_str(), &bad.partition), (table.folder.to_str().unwrap(), &version.to_string()));
            let record: serde_json::Value = serde_json::from_str(&bad.record).unwrap();
            assert_eq!(record["conversation_id"], "c");
        }
        let mut places: Vec<_> = reader.bad.iter().map(|bad| bad.place).collect();
        places.sort_unstable();
        places.dedup();
        assert!(places.len() == 4 && places.iter().all(|place| (1..=5).contains(place)), "{places:?}");
    }
}

#[test]
fn a_table_that_is_not_there_names_the_command_that_makes_it() {
    let table = Table::none();
    for until in [WhatIsThere, Stopped] {
        let error = Reader::default().resume(table.source(), until).err().unwrap();
        // Whoever prints it with its causes tells nothing twice.
        assert!(std::error::Error::source(&error).is_none());
        assert!(error.message.contains("memoir setup") && error.message.contains("conversation_events"), "{error}");
    }
    let error = table.source().origin(&StartAt::Earliest).unwrap_err().message;
    assert!(error.contains("memoir setup"), "{error}");
}

#[test]
fn a_table_that_was_made_anew_is_refused() {
    let table = Table::new();
    for number in 0..3 {
        table.append(&[number]);
    }
    let mut reader = table.begin(&StartAt::Earliest);
    table.run(&mut reader);
    fs::remove_dir_all(&table.folder).unwrap();
    table.runtime.block_on(table.warehouse.ensure_table(&CONVERSATION_EVENTS)).unwrap();
    let error = table.run_error(&reader);
    assert!(error.contains("made anew") && error.contains("query.name"), "{error}");
}

#[test]
fn a_table_that_was_made_anew_is_refused_also_when_it_has_as_many_versions() {
    let table = Table::new();
    table.append(&[1, 2]);
    table.append(&[3]);
    let mut reader = table.begin(&StartAt::Earliest);
    let untouched = table.begin(&StartAt::Version(0));
    table.run(&mut reader);
    let mut daemon = table.open(&reader, Stopped);
    assert_eq!(reader.drain(&mut daemon), NOTHING);
    fs::remove_dir_all(&table.folder).unwrap();
    table.runtime.block_on(table.warehouse.ensure_table(&CONVERSATION_EVENTS)).unwrap();
    for number in 4..8 {
        table.append(&[number]);
    }
    for reader in [&reader, &untouched] {
        let error = table.run_error(reader);
        assert!(error.contains("made anew") && error.contains("query.name"), "{error}");
    }
    let error = daemon.poll(&mut SourceBatch::default(), 10).unwrap_err().message;
    assert!(error.contains("made anew") && error.contains("query.name"), "{error}");
}

#[test]
fn an_older_copy_of_a_table_is_refused_also_when_it_has_grown_since() {
    let table = Table::new();
    table.append(&[1]);
    let copy = tempfile::tempdir().unwrap();
    copy_folder(&table.folder, copy.path());
    table.append(&[2]);
    let mut reader = table.begin(&StartAt::Earliest);
    assert_eq!(table.run(&mut reader), [1, 2]);
    fs::remove_dir_all(&table.folder).unwrap();
    copy_folder(copy.path(), &table.folder);
    for number in [3, 4] {
        table.append(&[number]);
        let error = table.run_error(&reader);
        assert!(error.contains("old copy") && error.contains("query.name"), "{error}");
    }
}

#[test]
fn a_table_that_was_moved_goes_on() {
    let (from, to) = (Table::new(), Table::none());
    from.append(&[1, 2]);
    let mut reader = from.begin(&StartAt::Earliest);
    assert_eq!(from.run(&mut reader), [1, 2]);
    copy_folder(&from.folder, &to.folder);
    to.append(&[3]);
    assert_eq!(to.source().identity(), from.source().identity());
    assert_eq!(to.run(&mut reader), [3]);
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_source_is_described_by_the_place_of_its_table() {
    let table = Table::none();
    let source: EventSource = table.source();
    assert_eq!(source.describe(), format!("delta:{}", table.folder.display()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn the_records_are_the_same_wherever_the_run_is_stopped_and_started_again(
        before in prop::collection::vec(prop::collection::vec(0usize..50, 1..30), 1..3),
        after in prop::collection::vec(prop::collection::vec(0usize..50, 1..30), 0..3),
        max_records in 1usize..20,
        stops in prop::collection::vec(0usize..3, 0..20),
    ) {
        let table = Table::new();
        for numbers in &before {
            table.append(numbers);
        }
        let mut reader = table.begin(&StartAt::Earliest);
        for numbers in &after {
            table.append(numbers);
        }
        let mut expected: Vec<usize> = before.concat();
        expected.sort_unstable();
        for mut numbers in after {
            numbers.sort_unstable();
            expected.extend(numbers);
        }
        let mut stops = stops.into_iter();
        for _ in 0..100 {
            let mut source = table.open(&reader, WhatIsThere);
            for _ in 0..stops.next().unwrap_or(10_000) {
                if reader.poll(&mut source, max_records) != memoir_core::source::Polled::Some {
                    break;
                }
            }
        }
        prop_assert_eq!(reader.ids, expected);
    }

    #[test]
    fn a_position_in_the_middle_of_a_batch_is_a_place_to_go_on_from(
        at in any::<prop::sample::Index>(),
        counts in prop::collection::vec(1usize..20, 1..3),
    ) {
        let table = Table::new();
        table.append(&[30, 20, 10]);
        let reader = table.begin(&StartAt::Earliest);
        for count in counts {
            table.append(&(0..count).collect::<Vec<_>>());
        }
        let mut source = table.open(&reader, WhatIsThere);
        let mut batch: SourceBatch<ConversationEvent> = SourceBatch::default();
        source.poll(&mut batch, 1000).unwrap();
        let at = at.index(batch.records.len());
        let (partition, mut offset) = batch.partitions[0].clone();
        offset.position = batch.records[at].position;
        let mut rest = Reader { offsets: [(partition, offset)].into(), ..Reader::default() };
        table.run(&mut rest);
        let ids = batch.records[at + 1..].iter().map(|record| record.event.as_ref().unwrap().event_id.parse().unwrap());
        prop_assert_eq!(rest.ids, ids.collect::<Vec<usize>>());
    }
}
