//! What a disk keeps and what it loses.

use super::*;
use tidelog_core::id::FileKind;

fn file(sequence: u64) -> FileId {
    FileId::new(FileKind::Segment, 1, sequence)
}

struct Rig {
    disk: Disk,
    next: u64,
    rng: Rng,
}

impl Rig {
    fn new(seed: u64) -> Self {
        let mut rig = Self { disk: Disk::default(), next: 0, rng: Rng::stream(seed, &[1]) };
        let made = rig.now(DiskCommand::Allocate { file: file(1), len: 8192 });
        assert_eq!(made, Ok(DiskOutput::Done));
        rig
    }

    fn issue(&mut self, command: DiskCommand) -> OpId {
        self.next += 1;
        self.disk.issue(OpId(self.next), command);
        OpId(self.next)
    }

    fn now(&mut self, command: DiskCommand) -> DiskResult {
        let op = self.issue(command);
        self.disk.finish(op).expect("in flight")
    }

    fn write(&mut self, at: u64, byte: u8, len: usize, durable: bool) -> OpId {
        self.issue(DiskCommand::Write {
            file: file(1),
            at,
            bytes: vec![Bytes::from(vec![byte; len])],
            durable,
            cold: false,
        })
    }

    fn written(&mut self, at: u64, byte: u8, len: usize, durable: bool) {
        let op = self.write(at, byte, len, durable);
        self.disk.finish(op).expect("in flight").expect("written");
    }

    fn read(&mut self, at: u64, len: u64) -> Bytes {
        match self.now(DiskCommand::Read { file: file(1), at, len }) {
            Ok(DiskOutput::Read(bytes)) => bytes,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_durable_write_survives_power_loss() {
    for seed in 0..50 {
        let mut rig = Rig::new(seed);
        rig.written(100, 7, 2000, true);
        rig.disk.power_loss(&mut rig.rng);
        assert!(rig.read(100, 2000).iter().all(|byte| *byte == 7), "seed {seed}");
    }
}

#[test]
fn a_synced_write_survives_and_an_unsynced_one_sometimes_does_not() {
    let (mut kept, mut lost, mut mixed) = (0, 0, 0);
    for seed in 0..200 {
        let mut rig = Rig::new(seed);
        rig.written(0, 1, 1024, false);
        rig.now(DiskCommand::Sync { files: vec![file(1)] }).expect("synced");
        rig.written(1024, 2, 4096, false);
        rig.disk.power_loss(&mut rig.rng);
        assert!(rig.read(0, 1024).iter().all(|byte| *byte == 1));
        let rest = rig.read(1024, 4096);
        for sector in rest.chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is atomic");
        }
        match rest.iter().filter(|byte| **byte == 2).count() {
            0 => lost += 1,
            4096 => kept += 1,
            _ => mixed += 1,
        }
    }
    assert!(kept > 10 && lost > 10 && mixed > 10, "{kept} {lost} {mixed}");
}

#[test]
fn a_kill_keeps_the_page_cache_and_it_is_still_unsynced() {
    let mut lost = 0;
    for seed in 0..100 {
        let mut rig = Rig::new(seed);
        rig.written(0, 3, 512, false);
        let damage = rig.disk.kill(&mut rig.rng);
        assert_eq!(damage.unsynced, 1);
        rig.next = 0;
        assert_eq!(rig.read(0, 1)[0], 3);
        rig.disk.power_loss(&mut rig.rng);
        rig.next = 0;
        lost += u32::from(rig.read(0, 1)[0] == 0);
    }
    assert!(lost > 10 && lost < 90, "{lost}");
}

#[test]
fn a_write_in_flight_at_a_crash_happens_in_any_subset() {
    let (mut none, mut all, mut some) = (0, 0, 0);
    for seed in 0..200 {
        let mut rig = Rig::new(seed);
        rig.write(0, 9, 2048, true);
        rig.disk.power_loss(&mut rig.rng);
        rig.next = 0;
        match rig.read(0, 2048).iter().filter(|byte| **byte == 9).count() {
            0 => none += 1,
            2048 => all += 1,
            _ => some += 1,
        }
    }
    assert!(none > 5 && all > 5 && some > 5, "{none} {all} {some}");
}

#[test]
fn a_sync_covers_what_was_done_when_it_was_issued() {
    let mut newer_lost = 0;
    for seed in 0..100 {
        let mut rig = Rig::new(seed);
        rig.written(0, 1, 100, false);
        let sync = rig.issue(DiskCommand::Sync { files: vec![file(1)] });
        rig.written(100, 2, 100, false);
        rig.disk.finish(sync).expect("in flight").expect("synced");
        rig.disk.power_loss(&mut rig.rng);
        assert!(rig.read(0, 100).iter().all(|byte| *byte == 1), "the sync promised it");
        newer_lost += u32::from(rig.read(100, 1)[0] == 0);
    }
    assert!(newer_lost > 10, "{newer_lost}");
}

#[test]
fn an_unsynced_truncation_may_come_back() {
    let mut back = 0;
    for seed in 0..100 {
        let mut rig = Rig::new(seed);
        rig.written(0, 1, 2048, true);
        rig.now(DiskCommand::Truncate { file: file(1), len: 1000 }).expect("cut");
        assert_eq!(rig.read(0, 9000).len(), 1000);
        rig.disk.power_loss(&mut rig.rng);
        rig.next = 0;
        let bytes = rig.read(0, 9000);
        if bytes.len() > 1000 {
            assert_eq!(bytes.len(), 8192);
            assert!(bytes[..2048].iter().all(|byte| *byte == 1));
            back += 1;
        }
    }
    assert!(back > 10 && back < 90, "{back}");
}

#[test]
fn allocation_and_removal_are_durable_when_done() {
    let mut rig = Rig::new(1);
    rig.now(DiskCommand::Allocate { file: file(2), len: 10 }).expect("made");
    rig.now(DiskCommand::Remove { file: file(1) }).expect("removed");
    rig.disk.power_loss(&mut rig.rng);
    rig.next = 0;
    assert_eq!(rig.now(DiskCommand::List), Ok(DiskOutput::Listed(vec![(file(2), 10)])));
    assert_eq!(rig.now(DiskCommand::Read { file: file(1), at: 0, len: 1 }), Err(DiskError::Missing));
}

#[test]
#[should_panic(expected = "disk misuse: write of 600 bytes")]
fn writing_beyond_the_allocation_is_misuse() {
    Rig::new(1).write(7800, 1, 600, false);
}

#[test]
#[should_panic(expected = "was removed and is used again")]
fn using_a_removed_file_again_is_misuse() {
    let mut rig = Rig::new(1);
    rig.now(DiskCommand::Remove { file: file(1) }).expect("removed");
    rig.issue(DiskCommand::Allocate { file: file(1), len: 1 });
}

#[test]
#[should_panic(expected = "is read or written")]
fn removing_a_file_that_is_read_is_misuse() {
    let mut rig = Rig::new(1);
    rig.issue(DiskCommand::Read { file: file(1), at: 0, len: 1 });
    rig.issue(DiskCommand::Remove { file: file(1) });
}

#[test]
#[should_panic(expected = "overlaps a write in flight")]
fn two_writes_of_one_byte_in_flight_are_misuse() {
    let mut rig = Rig::new(1);
    rig.write(0, 1, 10, false);
    rig.write(9, 1, 10, false);
}

#[test]
#[should_panic(expected = "was used before")]
fn an_operation_id_is_used_once() {
    let mut rig = Rig::new(1);
    rig.disk.issue(OpId(1), DiskCommand::List);
}

#[test]
fn what_a_failed_sync_lost_no_later_sync_brings_back() {
    let (mut kept, mut lost) = (0, 0);
    for seed in 0..60 {
        let mut rig = Rig::new(seed);
        rig.written(0, 5, 512, false);
        let sync = rig.issue(DiskCommand::Sync { files: vec![file(1)] });
        assert!(matches!(rig.disk.fail(sync, &mut rig.rng), Some(Err(DiskError::Io(_)))));
        rig.now(DiskCommand::Sync { files: vec![file(1)] }).expect("it says that all is well");
        assert!(rig.read(0, 512).iter().all(|byte| *byte == 5), "the page cache shows it");
        rig.disk.power_loss(&mut rig.rng);
        match rig.read(0, 512)[0] {
            5 => kept += 1,
            0 => lost += 1,
            other => panic!("{other}"),
        }
    }
    assert!(kept > 0 && lost > 0, "{kept} kept, {lost} lost");

    let mut rig = Rig::new(3);
    rig.written(0, 5, 512, false);
    let sync = rig.issue(DiskCommand::Sync { files: vec![file(1)] });
    rig.disk.fail(sync, &mut rig.rng);
    rig.written(0, 6, 512, true);
    rig.disk.power_loss(&mut rig.rng);
    assert!(rig.read(0, 512).iter().all(|byte| *byte == 6), "written again, it is safe");
}

#[test]
fn a_full_disk_refuses_growth_and_nothing_else() {
    let mut rig = Rig::new(1);
    let more = rig.issue(DiskCommand::Allocate { file: file(1), len: 16_384 });
    assert_eq!(rig.disk.refuse(more), Some(Err(DiskError::Full)));
    assert!(rig.disk.finish(more).is_none(), "it is answered");
    let same = rig.issue(DiskCommand::Allocate { file: file(1), len: 8_192 });
    assert_eq!(rig.disk.refuse(same), None);
    assert_eq!(rig.disk.finish(same), Some(Ok(DiskOutput::Done)));
    let write = rig.write(0, 1, 10, true);
    assert_eq!(rig.disk.refuse(write), None);
}

#[test]
fn rot_hits_journal_blocks_that_a_later_one_follows() {
    let journal = FileId::new(FileKind::Journal, 1, 7);
    for seed in 0..50 {
        let mut rig = Rig::new(seed);
        rig.now(DiskCommand::Allocate { file: journal, len: 4096 }).expect("made");
        assert_eq!(rig.disk.rot(FileKind::Journal, &mut rig.rng), None);
        for at in [0, 512, 1024] {
            let bytes = vec![Bytes::from(vec![9; 512])];
            rig.now(DiskCommand::Write { file: journal, at, bytes, durable: true, cold: false }).expect("written");
        }
        let (file, at) = rig.disk.rot(FileKind::Journal, &mut rig.rng).expect("there are two");
        assert!(file == journal && at < 1024, "{at}");
        rig.disk.power_loss(&mut rig.rng);
        let Ok(DiskOutput::Read(bytes)) = rig.now(DiskCommand::Read { file: journal, at: 0, len: 1536 }) else {
            panic!("it can be read")
        };
        assert_eq!(bytes.iter().filter(|byte| **byte != 9).count(), 1);
    }
}
