//! Files that were copied take a log's place while commands of the old one are still out: what comes after is written as ever.

use std::collections::BTreeMap;

use crate::support::{batch, settings};
use bytes::Bytes;
use tidelog_core::effect::{DiskCommand, DiskOutput, DiskResult};
use tidelog_core::id::{FileId, FileIds};
use tidelog_core::log::{Done, Incoming, Log, Manifest, Progress};

/// A disk that does at once what it is told, and never breaks.
#[derive(Default)]
struct Disk(BTreeMap<FileId, Vec<u8>>);

impl Disk {
    fn run(&mut self, command: DiskCommand) -> DiskResult {
        match command {
            DiskCommand::Allocate { file, len } => {
                let there = self.0.entry(file).or_default();
                there.resize(there.len().max(len as usize), 0);
            }
            DiskCommand::Write { file, at, bytes, .. } => {
                let bytes = bytes.concat();
                self.0.get_mut(&file).expect("it is allocated")[at as usize..][..bytes.len()].copy_from_slice(&bytes);
            }
            DiskCommand::Read { file, at, len } => {
                let bytes = &self.0[&file][at as usize..][..len as usize];
                return Ok(DiskOutput::Read(Bytes::copy_from_slice(bytes)));
            }
            DiskCommand::Remove { file } => drop(self.0.remove(&file)),
            DiskCommand::Sync { .. } | DiskCommand::Truncate { .. } | DiskCommand::List => {}
        }
        Ok(DiskOutput::Done)
    }

    fn content(&self, file: FileId) -> Option<Bytes> {
        self.0.get(&file).map(|bytes| Bytes::copy_from_slice(bytes))
    }
}

fn append(log: &mut Log, count: usize) {
    for _ in 0..count {
        let stored = batch(&[7, 8], 500).assign(log.next_offset(), 1);
        log.append(stored);
    }
}

/// Runs a log until it wants nothing more.
fn settle(log: &mut Log, disk: &mut Disk, ids: &mut FileIds) -> Vec<Done> {
    let mut dones = Vec::new();
    loop {
        let mut commands = Vec::new();
        log.commands(ids, &mut commands);
        if commands.is_empty() {
            return dones;
        }
        for (tag, command) in commands {
            dones.extend(log.done(tag, disk.run(command)));
        }
    }
}

fn checkpoint(log: &mut Log, disk: &mut Disk, ids: &mut FileIds) -> Manifest {
    log.checkpoint(Bytes::from_static(b"extra"));
    let ready = settle(log, disk, ids).into_iter().find_map(|done| match done {
        Done::CheckpointReady(manifest) => Some(manifest),
        _ => None,
    });
    log.checkpoint_marked();
    ready.expect("a checkpoint comes to its end")
}

#[test]
fn an_allocation_that_was_out_holds_nothing_up() {
    let (mut theirs, mut their_disk, mut their_ids) = (Log::new(settings()), Disk::default(), FileIds::new(1));
    append(&mut theirs, 9);
    let manifest = checkpoint(&mut theirs, &mut their_disk, &mut their_ids);

    let (mut log, mut disk, mut ids) = (Log::new(settings()), Disk::default(), FileIds::new(2));
    append(&mut log, 3);
    log.flush();
    let mut out = Vec::new();
    log.commands(&mut ids, &mut out);
    assert!(matches!(out[..], [(_, DiskCommand::Allocate { .. })]), "it grows: {out:?}");

    let mut files = Incoming::new(manifest, 1 << 20);
    while files.progress() != Progress::Ready {
        assert!(matches!(files.progress(), Progress::Going), "{files:?}");
        for ask in files.asks() {
            let file = FileId::from_raw(ask.file).expect("a file of theirs");
            let content = their_disk.content(file).expect("they have it");
            let piece = content.slice(ask.at as usize..ask.at as usize + ask.len as usize);
            files.piece(ask.file, ask.at, piece, &mut log, &mut ids).expect("it was asked for");
        }
        let mut commands = Vec::new();
        files.commands(&mut ids, &mut commands);
        for (tag, command) in commands {
            files.done(tag, disk.run(command), &mut log, &mut ids).expect("nothing breaks");
        }
    }
    log.install(files.take());
    for (tag, command) in out {
        log.done(tag, disk.run(command));
    }

    append(&mut log, 9);
    append(&mut theirs, 9);
    checkpoint(&mut log, &mut disk, &mut ids);
    assert_eq!((log.unwritten_bytes(), log.next_offset()), (0, theirs.next_offset()));
    assert_eq!(log.scrub(|file| disk.content(file)), Ok(()));
}

/// What a look into a broker stumbles over: each thing that can be wrong with a log's files.
#[test]
fn scrubbing_finds_what_is_not_as_it_was_written() {
    let (mut log, mut disk, mut ids) = (Log::new(settings()), Disk::default(), FileIds::new(1));
    append(&mut log, 20);
    checkpoint(&mut log, &mut disk, &mut ids);
    append(&mut log, 2);
    assert_eq!(log.scrub(|file| disk.content(file)), Ok(()));
    let files: Vec<FileId> = log.files().collect();
    assert!(files.len() > 4, "segments, indexes and a state: {files:?}");
    for file in files {
        let missing = log.scrub(|asked| disk.content(asked).filter(|_| asked != file));
        assert!(missing.is_err(), "{file} is missing");
        let damaged = log.scrub(|asked| {
            let mut bytes = disk.content(asked)?.to_vec();
            if asked == file {
                bytes[70] ^= 1;
            }
            Some(bytes.into())
        });
        assert!(damaged.is_err(), "{file} is damaged");
    }
}
