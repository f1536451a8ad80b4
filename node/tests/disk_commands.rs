//! What each disk command does to real files.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use common::Scratch;
use proptest::prelude::*;
use tidelog::disk::{Disk, Executor, Files, Report};
use tidelog::limits::FILES_OPEN_MAX;
use tidelog_core::effect::{DiskCommand, DiskError, DiskOutput, DiskResult};
use tidelog_core::id::{FileId, FileKind, OpId};

fn executor(scratch: &Scratch) -> Executor {
    Executor::new(Arc::new(Files::open(scratch.path(), FILES_OPEN_MAX).expect("a directory")))
}

fn file(kind: FileKind, sequence: u64) -> FileId {
    FileId::new(kind, 1, sequence)
}

fn read(disk: &mut Executor, file: FileId, at: u64, len: u64) -> Bytes {
    match disk.run(DiskCommand::Read { file, at, len }) {
        Ok(DiskOutput::Read(bytes)) => bytes,
        other => panic!("a read gave {other:?}"),
    }
}

fn list(disk: &mut Executor) -> Vec<(FileId, u64)> {
    match disk.run(DiskCommand::List) {
        Ok(DiskOutput::Listed(files)) => files,
        other => panic!("a listing gave {other:?}"),
    }
}

fn write(file: FileId, at: u64, bytes: Vec<Bytes>, durable: bool) -> DiskCommand {
    DiskCommand::Write { file, at, bytes, durable, cold: false }
}

const KINDS: [FileKind; 5] =
    [FileKind::Journal, FileKind::Segment, FileKind::SegmentIndex, FileKind::State, FileKind::Formation];

#[test]
fn allocated_files_read_as_zero_and_keep_what_they_hold() {
    let scratch = Scratch::new();
    let mut disk = executor(&scratch);
    for kind in KINDS {
        let file = file(kind, 1);
        assert_eq!(disk.run(DiskCommand::Allocate { file, len: 8192 }), Ok(DiskOutput::Done));
        assert_eq!(read(&mut disk, file, 0, 8192), vec![0; 8192]);
        let bytes = vec![Bytes::from_static(b"tide")];
        assert_eq!(disk.run(write(file, 100, bytes, false)), Ok(DiskOutput::Done));
        // Neither less nor as much nor more takes anything away.
        for len in [10, 8192, 12_345, 20_480] {
            assert_eq!(disk.run(DiskCommand::Allocate { file, len }), Ok(DiskOutput::Done));
            assert_eq!(read(&mut disk, file, 100, 4), "tide");
        }
        let end = read(&mut disk, file, 104, 1 << 40);
        assert_eq!(end, vec![0; 20_480 - 104]);
    }
    assert_eq!(list(&mut disk), KINDS.map(|kind| (file(kind, 1), 20_480)));
}

#[test]
fn reads_end_with_the_file() {
    let scratch = Scratch::new();
    let mut disk = executor(&scratch);
    let file = file(FileKind::Segment, 1);
    disk.run(DiskCommand::Allocate { file, len: 100 }).expect("space");
    assert_eq!(read(&mut disk, file, 90, 100).len(), 10);
    assert_eq!(read(&mut disk, file, 100, 100).len(), 0);
    assert_eq!(read(&mut disk, file, u64::MAX, u64::MAX).len(), 0);
}

#[test]
fn a_file_that_is_not_there_is_missing_but_may_be_removed() {
    let scratch = Scratch::new();
    let mut disk = executor(&scratch);
    for kind in KINDS {
        let file = file(kind, 9);
        let missing = [
            DiskCommand::Read { file, at: 0, len: 1 },
            write(file, 0, vec![Bytes::from(vec![1; 4096])], true),
            write(file, 0, vec![Bytes::from_static(b"x")], false),
            DiskCommand::Sync { files: vec![file] },
            DiskCommand::Truncate { file, len: 0 },
        ];
        for command in missing {
            assert_eq!(disk.run(command.clone()), Err(DiskError::Missing), "{command:?}");
        }
        assert_eq!(disk.run(DiskCommand::Remove { file }), Ok(DiskOutput::Done));
    }
    assert_eq!(list(&mut disk), []);
}

#[test]
fn a_removed_file_is_gone_for_good() {
    let scratch = Scratch::new();
    let mut disk = executor(&scratch);
    let file = file(FileKind::Journal, 1);
    disk.run(DiskCommand::Allocate { file, len: 4096 }).expect("space");
    disk.run(write(file, 0, vec![Bytes::from(vec![7; 4096])], true)).expect("a write");
    disk.run(DiskCommand::Remove { file }).expect("removed");
    let again = disk.run(DiskCommand::Read { file, at: 0, len: 1 });
    assert_eq!(again, Err(DiskError::Missing));
    disk.run(DiskCommand::Allocate { file, len: 4096 }).expect("space");
    assert_eq!(read(&mut disk, file, 0, 4096), vec![0; 4096]);
}

#[test]
fn commands_that_are_done_together_end_as_they_would_alone() {
    let scratch = Scratch::new();
    let mut disk = executor(&scratch);
    let (state, gone) = (file(FileKind::State, 1), file(FileKind::Segment, 9));
    // More than are synced one by one.
    let many: Vec<FileId> = (1..=200).map(|sequence| file(FileKind::Segment, sequence + 10)).collect();
    let allocated = disk.run_all(many.iter().map(|file| DiskCommand::Allocate { file: *file, len: 64 }).collect());
    assert!(allocated.iter().all(|result| *result == Ok(DiskOutput::Done)));
    assert_eq!(list(&mut disk).len(), many.len());
    let results = disk.run_all(vec![
        DiskCommand::Allocate { file: state, len: 8 },
        write(state, 0, vec![Bytes::from_static(b"together")], true),
        write(gone, 0, vec![Bytes::from_static(b"x")], true),
        DiskCommand::Sync { files: vec![many[0], gone] },
        DiskCommand::Sync { files: vec![many[0], many[1]] },
        DiskCommand::Read { file: state, at: 0, len: 100 },
        DiskCommand::Remove { file: many[2] },
        DiskCommand::Sync { files: many[3..].to_vec() },
    ]);
    let done = Ok(DiskOutput::Done);
    let missing = Err(DiskError::Missing);
    let read = Ok(DiskOutput::Read(Bytes::from_static(b"together")));
    assert_eq!(
        results,
        [done.clone(), done.clone(), missing.clone(), missing, done.clone(), read, done.clone(), done.clone()]
    );
    let results = disk.run_all(vec![
        DiskCommand::Sync { files: vec![many[0]] },
        DiskCommand::Sync { files: vec![gone] },
        DiskCommand::Truncate { file: many[1], len: 1 },
    ]);
    assert_eq!(results, [done.clone(), Err(DiskError::Missing), done]);
}

#[test]
fn truncating_only_shortens() {
    let scratch = Scratch::new();
    let mut disk = executor(&scratch);
    let file = file(FileKind::Segment, 1);
    disk.run(DiskCommand::Allocate { file, len: 100 }).expect("space");
    disk.run(write(file, 0, vec![Bytes::from(vec![7; 100])], false)).expect("a write");
    disk.run(DiskCommand::Truncate { file, len: 60 }).expect("shorter");
    disk.run(DiskCommand::Truncate { file, len: 80 }).expect("no shorter");
    assert_eq!(list(&mut disk), [(file, 60)]);
    disk.run(DiskCommand::Allocate { file, len: 70 }).expect("space");
    assert_eq!(read(&mut disk, file, 58, 12), [7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].as_slice());
}

#[test]
fn a_full_disk_is_told_apart_and_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let mut disk = executor(&scratch);
    // More than any file system here gives to one file.
    let len = 1 << 60;
    for kind in KINDS {
        let full = disk.run(DiskCommand::Allocate { file: file(kind, 1), len });
        assert_eq!(full, Err(DiskError::Full));
    }
    assert_eq!(list(&mut disk), []);
    let file = file(FileKind::Journal, 2);
    disk.run(DiskCommand::Allocate { file, len: 4096 }).expect("space");
    assert_eq!(disk.run(DiskCommand::Allocate { file, len }), Err(DiskError::Full));
    assert_eq!(list(&mut disk), [(file, 4096)]);
}

#[test]
fn files_of_others_are_not_listed() {
    let scratch = Scratch::new();
    let mut disk = executor(&scratch);
    for name in ["meta.json", "journal-1", "journal-0000000000000A", "segment-zzzzzzzzzzzzzz"] {
        fs::write(scratch.join(name), b"x").expect("a file");
    }
    let ours = file(FileKind::State, 3);
    fs::write(scratch.join(&ours.name()), b"xyz").expect("a file");
    assert_eq!(list(&mut disk), [(ours, 3)]);
}

#[test]
fn more_files_than_handles() {
    let scratch = Scratch::new();
    let files = Arc::new(Files::open(scratch.path(), FILES_OPEN_MAX).expect("a directory"));
    let mut disk = Executor::new(Arc::clone(&files));
    let count = FILES_OPEN_MAX as u64 + 20;
    for sequence in 0..count {
        let (file, path) = (file(FileKind::State, sequence), file(FileKind::State, sequence).name());
        fs::write(scratch.join(&path), sequence.to_be_bytes()).expect("a file");
        assert_eq!(read(&mut disk, file, 0, 8), sequence.to_be_bytes().as_slice());
    }
    assert_eq!(files.open_handles(), FILES_OPEN_MAX);
    assert_eq!(read(&mut disk, file(FileKind::State, 0), 0, 8), 0_u64.to_be_bytes().as_slice());
}

#[test]
fn a_journal_block_larger_than_the_buffer_arrives_whole() {
    let scratch = Scratch::new();
    let mut disk = executor(&scratch);
    let file = file(FileKind::Journal, 1);
    let len = 20 * 1024 * 1024;
    disk.run(DiskCommand::Allocate { file, len }).expect("space");
    let pattern: Vec<u8> = (0..len as u32 - 8192).map(|at| (at / 7) as u8).collect();
    let whole = Bytes::from(pattern);
    let pieces = vec![whole.slice(..5), Bytes::new(), whole.slice(5..9_000_001), whole.slice(9_000_001..)];
    disk.run(write(file, 4096, pieces, true)).expect("a write");
    assert!(read(&mut disk, file, 4096, whole.len() as u64) == whole);
    assert_eq!(read(&mut disk, file, 0, 4096), vec![0; 4096]);
    assert_eq!(read(&mut disk, file, len - 4096, 4096), vec![0; 4096]);
}

#[derive(Clone)]
struct Channel(mpsc::Sender<(OpId, DiskResult)>);

impl Report for Channel {
    fn done(&self, op: OpId, result: DiskResult) {
        self.0.send((op, result)).expect("the test listens");
    }

    fn panicked(&self, thread: &'static str) {
        panic!("{thread}");
    }
}

#[test]
fn every_operation_is_reported_once() {
    let scratch = Scratch::new();
    let (sender, reports) = mpsc::channel();
    let disk = Disk::start(scratch.path(), FILES_OPEN_MAX, Channel(sender)).expect("threads");
    let journal = file(FileKind::Journal, 1);
    disk.submit(OpId(0), DiskCommand::Allocate { file: journal, len: 4096 });
    assert_eq!(reports.recv(), Ok((OpId(0), Ok(DiskOutput::Done))));
    let block = vec![Bytes::from(vec![3; 4096])];
    let commands = [
        write(journal, 0, block.clone(), true),
        write(journal, 0, block, false),
        DiskCommand::Read { file: journal, at: 0, len: 1 },
        DiskCommand::Sync { files: vec![journal] },
        DiskCommand::List,
        DiskCommand::Truncate { file: journal, len: 4096 },
        DiskCommand::Remove { file: file(FileKind::Segment, 1) },
    ];
    let count = commands.len() as u64;
    for (op, command) in (1..).zip(commands) {
        disk.submit(OpId(op), command);
    }
    disk.finish();
    let mut reported: Vec<OpId> = reports.iter().map(|(op, result)| result.map(|_| op).expect("done")).collect();
    reported.sort_unstable();
    assert_eq!(reported, (1..=count).map(OpId).collect::<Vec<_>>());
}

#[test]
fn an_abandoned_disk_ends() {
    let scratch = Scratch::new();
    let (sender, reports) = mpsc::channel();
    let disk = Disk::start(scratch.path(), FILES_OPEN_MAX, Channel(sender)).expect("threads");
    disk.submit(OpId(0), DiskCommand::List);
    disk.abandon();
    assert!(reports.iter().count() <= 1);
}

/// Pieces of a write, so that every boundary (page, buffer, none) is met.
fn pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            any::<u8>().prop_map(|byte| vec![byte; 4096]),
            any::<u8>().prop_map(|byte| vec![byte; 2048]),
        ],
        0..6,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A file holds what was written to it, in whatever pieces, durably or not, past the page cache or through it.
    #[test]
    fn what_was_written_is_read(
        kind in prop::sample::select(KINDS.to_vec()),
        writes in prop::collection::vec((0_u64..20, any::<bool>(), any::<bool>(), pieces()), 1..8),
    ) {
        const LEN: u64 = 128 * 1024;
        let scratch = Scratch::new();
        let mut disk = executor(&scratch);
        let file = file(kind, 1);
        disk.run(DiskCommand::Allocate { file, len: LEN }).expect("space");
        let mut model = BTreeMap::new();
        for (page, shifted, durable, pieces) in writes {
            let at = page * 4096 + u64::from(shifted) * 17;
            for (position, byte) in (at..).zip(pieces.concat()) {
                model.insert(position, byte);
            }
            let pieces = pieces.into_iter().map(Bytes::from).collect();
            prop_assert_eq!(disk.run(write(file, at, pieces, durable)), Ok(DiskOutput::Done));
            let whole = read(&mut disk, file, 0, LEN);
            prop_assert_eq!(whole.len() as u64, LEN);
            for (position, byte) in (0..).zip(&whole) {
                prop_assert_eq!(*byte, model.get(&position).copied().unwrap_or(0), "at {}", position);
            }
        }
    }
}
