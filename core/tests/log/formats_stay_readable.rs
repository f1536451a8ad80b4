//! Golden: the files of version 1, byte for byte. A log written by the first version can be restored for ever.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use tidelog_core::id::{FileId, Offset};
use tidelog_core::log::{Done, Log, Manifest, Settings};
use tidelog_core::time::Timestamp;

use crate::support::{World, batch};

/// A line for the manifest, then one for each file: its name and its bytes. Segments are as long as what was
/// allocated.
const GOLDEN: &str = include_str!("golden_v1.txt");
/// The same, with files that are cut to what they hold when they are sealed.
const FITTED: &str = include_str!("golden_v1_fitted.txt");

const LAYOUT: Settings = Settings {
    segment_bytes: 250,
    index_interval_bytes: 100,
    allocate_first: 64,
    allocate_step: 256,
    write_threshold: 1_000_000,
};

/// Three batches in two epochs: a sealed segment of two with its index, and an active one. The log starts at 1.
fn written() -> World {
    let mut world = World::new(LAYOUT);
    world.append(&batch(&[5, 7], 20), 3);
    world.append(&batch(&[6], 30), 3);
    world.append(&batch(&[-1, 9], 40), 4);
    world.set_log_start(Offset(1));
    world.settle();
    world
}

fn manifest(world: &World) -> Bytes {
    let ready = world.dones.iter().rev().find_map(|done| match done {
        Done::CheckpointReady(manifest) => Some(manifest.encode()),
        Done::Read(..)
        | Done::Lookup(..)
        | Done::Copied(..)
        | Done::Restored { .. }
        | Done::Corrupt(_)
        | Done::Full
        | Done::Failed(_) => None,
    });
    ready.expect("there was a checkpoint")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("a string takes everything");
        out
    })
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits")).collect()
}

fn golden(lines: &'static str) -> BTreeMap<&'static str, Vec<u8>> {
    lines
        .lines()
        .map(|line| line.split_once(' ').expect("a name and bytes"))
        .map(|(name, hex)| (name, unhex(hex)))
        .collect()
}

#[test]
fn version_1_is_written() {
    let world = written();
    let mut lines = format!("manifest {}\n", hex(&manifest(&world)));
    for file in world.disk.files() {
        writeln!(lines, "{file} {}", hex(world.disk.content(file))).expect("a string takes everything");
    }
    assert_eq!(lines, FITTED);
}

#[test]
fn version_1_is_read() {
    is_read(GOLDEN);
    is_read(FITTED);
}

fn is_read(lines: &'static str) {
    let mut world = written();
    let mut files = golden(lines);
    let manifest = Manifest::decode(files.remove("manifest").expect("it begins with one").into()).expect("it is good");
    assert_eq!(files.len(), 4, "two segments, an index, a state blob");
    for (name, bytes) in files {
        world.disk.put(FileId::parse(name).expect("a file's name"), bytes);
    }
    world.log = Log::restore(LAYOUT, manifest);
    world.drain();
    world.pump_all();
    assert_eq!(world.dones.last(), Some(&Done::Restored { extra: "after 4 entries".into() }));
    assert_eq!((world.log.log_start(), world.log.next_offset()), (Offset(1), Offset(5)));
    assert_eq!(world.log.epoch_end(3), Some((3, Offset(3))));
    world.read_everything();
    world.find(Offset(0), Timestamp(7));
    world.find_max();
    world.pump_all();
}
