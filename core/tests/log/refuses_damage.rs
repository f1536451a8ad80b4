//! What a file does not hold as it was written is told, not served; what the disk refuses is said once and loses nothing.

use crate::support::{World, batch, joined, settings};
use tidelog_core::effect::DiskError;
use tidelog_core::id::{FileId, FileKind, Offset};
use tidelog_core::log::{Done, Log, Manifest, Read, ReadError};
use tidelog_core::time::Timestamp;

/// Three segments on the disk, nothing in the tail.
fn settled() -> World {
    let mut world = World::new(settings());
    for at in 0..20 {
        world.append(&batch(&[at], 500), 1);
    }
    world.settle();
    world
}

fn file(world: &World, kind: FileKind) -> FileId {
    world.disk.files().into_iter().find(|file| file.kind() == kind).expect("there is one")
}

fn damaged(world: &World) -> FileId {
    match world.dones.last() {
        Some(
            Done::Read(_, Err(ReadError::Damaged { file, .. })) | Done::Lookup(_, Err(ReadError::Damaged { file, .. })),
        ) => *file,
        other => panic!("expected damage, got {other:?}"),
    }
}

#[test]
fn a_rotten_batch_is_not_served() {
    let mut world = settled();
    let segment = file(&world, FileKind::Segment);
    world.disk.flip(segment, 100);
    world.read(Offset(0), 10_000, true);
    world.pump_all();
    assert_eq!(damaged(&world), segment);
    world.find(Offset(0), Timestamp(0));
    world.pump_all();
    assert_eq!(damaged(&world), segment);
    // What stands before the damage is served up to it.
    let mut world = settled();
    world.disk.flip(segment, 700);
    world.read(Offset(0), 10_000, true);
    world.pump_all();
    let Some(Done::Read(_, Ok(batches))) = world.dones.last() else { panic!("the first batch is whole") };
    assert_eq!(batches.concat(), joined(&batch(&[0], 500).assign(Offset(0), 1)));
}

#[test]
fn a_misdirected_write_is_not_served() {
    // Good batches, whole and with a good CRC, but not those that belong there.
    let mut world = settled();
    let segments: Vec<_> = world.disk.files().into_iter().filter(|file| file.kind() == FileKind::Segment).collect();
    let other = world.disk.content(segments[1]).to_vec();
    world.disk.put(segments[0], other);
    world.read(Offset(0), 10_000, true);
    world.pump_all();
    assert_eq!(damaged(&world), segments[0]);
    world.find(Offset(0), Timestamp(0));
    world.pump_all();
    assert_eq!(damaged(&world), segments[0]);
}

#[test]
fn a_file_that_was_cut_is_told() {
    let mut world = settled();
    let segment = file(&world, FileKind::Segment);
    // At the end of its first batch: what is left is good.
    let first = world.disk.content(segment)[..joined(&batch(&[0], 500).assign(Offset(0), 1)).len()].to_vec();
    world.disk.put(segment, first);
    world.find(Offset(0), Timestamp(1));
    world.pump_all();
    assert_eq!(damaged(&world), segment);
}

#[test]
fn a_rotten_index_is_not_believed() {
    let mut world = settled();
    let index = file(&world, FileKind::SegmentIndex);
    world.disk.flip(index, 20);
    world.read(Offset(1), 10_000, true);
    world.pump_all();
    assert_eq!(damaged(&world), index);
}

#[test]
fn a_missing_segment_is_told() {
    let mut world = settled();
    let segment = file(&world, FileKind::Segment);
    world.read(Offset(0), 10_000, true);
    world.disk.remove(segment);
    world.pump_all();
    assert!(matches!(world.dones.last(), Some(Done::Read(_, Err(ReadError::Disk(DiskError::Missing))))));
}

#[test]
fn a_damaged_state_blob_is_told() {
    for remove in [true, false] {
        let mut world = settled();
        let Some(manifest) = world.dones.iter().rev().find_map(|done| match done {
            Done::CheckpointReady(manifest) => Some(manifest.clone()),
            _ => None,
        }) else {
            panic!("there was a checkpoint");
        };
        if remove {
            world.disk.remove(manifest.state);
        } else {
            world.disk.flip(manifest.state, 3);
        }
        world.log = Log::restore(settings(), manifest);
        world.drain();
        world.pump_all();
        assert!(matches!(world.dones.last(), Some(Done::Corrupt(_))), "{:?}", world.dones.last());
        assert!(!world.log.is_usable());
    }
}

#[test]
fn manifests_are_judged() {
    let manifest = Manifest {
        state: FileId::from_raw((4 << 56) | 77).expect("a state blob"),
        state_len: 100,
        state_crc: 1,
        next_offset: Offset(10),
        log_start: Offset(3),
    };
    assert_eq!(Manifest::decode(manifest.encode()), Ok(manifest.clone()));
    for bad in [
        Manifest { log_start: Offset(11), ..manifest.clone() },
        Manifest { log_start: Offset(-1), ..manifest.clone() },
        Manifest { state: FileId::from_raw(1 << 56).expect("a journal file"), ..manifest.clone() },
    ] {
        assert!(Manifest::decode(bad.encode()).is_err(), "{bad:?}");
    }
    assert!(Manifest::decode(bytes::Bytes::from_static(b"\xff\xff")).is_err());
    assert!(Manifest::decode(bytes::Bytes::new()).is_err());
}

/// Golden: a manifest of version 1 stays readable.
#[test]
fn the_first_manifest_stays_readable() {
    let bytes: &[u8] = &[8, 1, 16, 205, 128, 128, 128, 128, 128, 128, 128, 4, 24, 100, 32, 1, 40, 10, 48, 3];
    let manifest = Manifest::decode(bytes::Bytes::from_static(bytes)).expect("it is good");
    assert_eq!((manifest.state_len, manifest.next_offset, manifest.log_start), (100, Offset(10), Offset(3)));
    assert_eq!(manifest.state.kind(), FileKind::State);
}

#[test]
fn a_full_disk_loses_nothing() {
    let mut world = World::new(settings());
    world.disk.full = true;
    for at in 0..20 {
        world.append(&batch(&[at], 500), 1);
    }
    world.pump_all();
    assert_eq!(world.dones, [Done::Full]);
    world.log.evict_tail(0);
    assert_eq!(world.log.tail_bytes(), world.log.unwritten_bytes(), "what is not written stays in memory");
    world.read_everything();
    // Tried again at a flush, not before.
    world.pump_all();
    assert_eq!(world.dones.len(), 1);
    world.log.flush();
    world.drain();
    world.pump_all();
    assert_eq!(world.dones, [Done::Full, Done::Full]);
    world.settle();
    world.read_everything();
}

#[test]
fn a_failed_write_ends_the_log() {
    let mut world = World::new(settings());
    world.append(&batch(&[1], 500), 1);
    world.disk.fail_writes = true;
    world.log.flush();
    world.drain();
    world.pump_all();
    assert!(matches!(world.dones[..], [Done::Failed(DiskError::Io(_))]));
    assert!(!world.log.is_usable());
}

#[test]
fn a_tailing_reader_never_touches_the_disk() {
    let mut world = World::new(settings());
    for at in 0..50 {
        world.append(&batch(&[at], 500), 1);
        world.log.evict_tail(3_000);
        world.log.flush();
        world.drain();
        world.pump_all();
        assert!(matches!(world.log.read(Offset(at), 1_000, true), Read::Ready(_)));
        assert_eq!(world.log.read(Offset(at + 1), 1_000, true), Read::AtEnd);
        assert_eq!(world.log.read(Offset(at + 2), 1_000, true), Read::OutOfRange);
        assert!(world.log.tail_bytes() <= 3_600);
    }
    assert_eq!(world.disk.reads, 0);
}

#[test]
fn retention_gives_the_disk_back() {
    let mut world = settled();
    let files = world.disk.files().len();
    let ends: Vec<_> = world.log.sealed_segments().map(|(end, ..)| end).collect();
    assert!(ends.len() >= 2);
    world.set_log_start(ends[1]);
    world.set_log_start(Offset(1));
    assert_eq!(world.log.log_start(), ends[1], "it never goes back");
    world.pump_all();
    assert_eq!(world.disk.files().len(), files, "nothing goes before a mark");
    world.settle();
    assert_eq!(world.disk.files().len(), files - 4, "two segments and their indexes");
    assert_eq!(world.log.read(Offset(0), 100, true), Read::OutOfRange);
    // Everything goes, once the active segment is sealed.
    world.roll();
    world.set_log_start(world.log.next_offset());
    world.settle();
    world.settle();
    assert_eq!(world.disk.files().len(), 1, "only the state blob is left");
    assert_eq!(world.log.total_bytes(), 0);
    world.append(&batch(&[5], 10), 1);
    world.settle();
    world.crash(1);
    world.read_everything();
}

#[test]
fn a_file_is_not_removed_under_a_reader() {
    let mut world = settled();
    let end = world.log.sealed_segments().next().expect("there is one").0;
    world.set_log_start(Offset(end.0 - 1));
    // Two steps: its index, then its batches. The first is left in the hands of the disk.
    world.read(Offset(end.0 - 1), 1_000, true);
    world.set_log_start(end);
    world.checkpoint();
    // Everything else is done, more than once; the oldest command is the read.
    while world.pump_all_but_the_oldest() {
        world.mark(true);
    }
    let files = world.disk.files();
    world.pump_all();
    assert!(matches!(world.dones.last(), Some(Done::Read(_, Err(ReadError::OutOfRange)))), "{:?}", world.dones.last());
    assert_eq!(world.disk.files().len(), files.len() - 1, "the index that was read went after the read");
    let known: std::collections::BTreeSet<_> = world.log.files().collect();
    assert_eq!(world.disk.files(), known);
}

#[test]
fn the_largest_timestamp_below_the_log_start_does_not_count() {
    // Whatever the layout, and wherever the log starts.
    for (interval, segment_bytes) in [(1, 1_000_000), (250, 1_000_000), (1_000_000, 1_000_000), (1, 300), (250, 1_000)]
    {
        let layout = tidelog_core::log::Settings { index_interval_bytes: interval, segment_bytes, ..settings() };
        let mut world = World::new(layout);
        for timestamp in [90, 10, 80, 20, 20, 70, 30, 5, 60, 40, 50, 45] {
            world.append(&batch(&[timestamp], 30), 1);
        }
        world.settle();
        for start in 0..12 {
            world.set_log_start(Offset(start));
            world.find_max();
            world.pump_all();
        }
    }
}

#[test]
fn an_unset_timestamp_is_never_the_largest() {
    let mut world = World::new(settings());
    world.find_max();
    world.append(&batch(&[-1], 10), 1);
    world.find_max();
    world.settle();
    world.find_max();
    world.find(Offset(0), Timestamp(0));
    world.pump_all();
}
