//! One block in flight, everything that arrives meanwhile gathers for the next; commits ride along.

mod journal_support;

use journal_support::*;
use tidelog_core::effect::{DiskCommand, DiskError};
use tidelog_core::id::{GroupId, Index};
use tidelog_core::journal::{Done, Settings};

const A: GroupId = GroupId(1);
const B: GroupId = GroupId(2);

#[test]
fn what_arrives_while_a_block_is_in_flight_shares_the_next() {
    let mut host = Host::fresh();
    host.settle();
    let writes = host.disk.writes.len();
    let first = host.journal.append(A, entries(1..=1, 1, 10), None, None);
    host.collect();
    let mut last = first;
    for index in 1..=5 {
        last = host.journal.append(B, entries(index..=index, 1, 10), None, None);
        host.collect();
    }
    assert_eq!(host.disk.writes.len(), writes + 1);
    host.finish_one();
    assert_eq!(host.journal.durable(), first);
    host.settle();
    assert_eq!(host.disk.writes.len(), writes + 2);
    assert_eq!(host.journal.durable(), last);
    assert!(host.disk.writes.iter().all(|(_, _, _, durable)| *durable));
}

#[test]
fn a_commit_alone_starts_no_write_and_rides_along() {
    let mut host = Host::fresh();
    let writes = host.disk.writes.len();
    for commit in 1..=100 {
        host.journal.hard_state(A, hard(1, 1, commit), true);
    }
    let lazy = host.journal.hard_state(A, hard(1, 1, 101), true);
    host.settle();
    assert_eq!(host.disk.writes.len(), writes);
    assert!(host.journal.durable() < lazy);
    host.journal.append(B, entries(1..=1, 1, 10), None, None);
    host.settle();
    assert!(host.journal.durable() > lazy);
    // A hundred commits took the room of one.
    assert_eq!(host.disk.writes.last().map(|(_, _, len, _)| *len), Some(512));
    assert_eq!(host.killed().recover().groups[&A].hard, hard(1, 1, 101));
}

#[test]
fn a_block_is_bounded_and_a_larger_frame_makes_its_own() {
    let mut host = Host::fresh();
    let writes = host.disk.writes.len();
    for index in 1..=8 {
        host.journal.append(A, entries(index..=index, 1, 1000), None, None);
    }
    // Larger than a block, and than a file.
    let huge = host.journal.append(B, entries(1..=3, 1, 20_000), None, None);
    let last = host.journal.append(A, entries(9..=9, 1, 10), None, None);
    host.settle();
    let lengths: Vec<u64> = host.disk.writes[writes..].iter().map(|(_, _, len, _)| *len).collect();
    assert!(lengths.len() >= 5 && lengths.iter().filter(|len| **len > 5000).count() == 1, "{lengths:?}");
    assert_eq!(host.journal.durable(), last);
    assert!(huge < last);
    let recovered = host.killed().recover();
    assert_eq!(recovered.groups[&A].entries, [entries(1..=8, 1, 1000), entries(9..=9, 1, 10)].concat());
    assert_eq!(recovered.groups[&B].entries, entries(1..=3, 1, 20_000));
}

#[test]
fn an_idle_journal_is_sealed_once() {
    let mut host = Host::fresh();
    assert!(host.journal.is_idle_unsealed());
    host.journal.append(A, entries(1..=1, 1, 10), None, None);
    assert!(!host.journal.is_idle_unsealed());
    host.settle();
    let writes = host.disk.writes.len();
    host.seal();
    assert!(!host.journal.is_idle_unsealed());
    host.journal.seal();
    host.settle();
    assert_eq!(host.disk.writes.len(), writes + 1);
}

#[test]
fn recovery_syncs_before_it_reads_and_reports_after_its_base_is_durable() {
    let mut host = Host::fresh();
    host.journal.append(A, entries(1..=1, 1, 10), None, None);
    host.settle();
    let mut host = host.killed();
    let mut kinds = Vec::new();
    loop {
        host.collect();
        kinds.extend(host.pending.iter().map(|(_, command)| match command {
            DiskCommand::Sync { .. } => "sync",
            DiskCommand::Read { .. } => "read",
            DiskCommand::Write { durable: true, at: 0, .. } => "base",
            DiskCommand::Allocate { .. } => "allocate",
            other => panic!("unexpected: {other:?}"),
        }));
        let before = kinds.last().copied();
        if !host.finish_one() {
            break;
        }
        let recovered = host.events.iter().any(|event| matches!(event, Done::Recovered(_)));
        assert_eq!(recovered, kinds.contains(&"base") && before == Some("base"));
        if recovered {
            break;
        }
    }
    assert_eq!(kinds.first(), Some(&"sync"));
    assert_eq!(kinds.iter().filter(|kind| **kind == "base").count(), 1);
}

#[test]
fn a_failed_write_or_sync_ends_the_journal() {
    let mut host = Host::fresh();
    host.journal.append(A, entries(1..=1, 1, 10), None, None);
    host.collect();
    let (tag, _) = host.pending.remove(0);
    let done = host.journal.done(tag, Err(DiskError::Io("gone".into())));
    assert!(matches!(done.as_slice(), [Done::Failed(_)]), "{done:?}");
    // The rest of the step may still append: it is never durable, and nothing is written.
    let ticket = host.journal.append(A, entries(2..=2, 1, 10), None, None);
    host.settle();
    assert!(host.pending.is_empty() && host.journal.durable() < ticket);
    let mut host = host.killed();
    host.collect();
    let (tag, _) = host.pending.remove(0);
    let done = host.journal.done(tag, Err(DiskError::Io("gone".into())));
    assert!(matches!(done.as_slice(), [Done::Failed(_)]), "{done:?}");
}

#[test]
fn a_full_disk_is_said_and_tried_again() {
    let mut host = Host::start(Disk::default(), 1, Settings { file_bytes: 8192, ..settings() });
    host.recover();
    host.disk.bytes_max = Some(16_384);
    let mut index = 0;
    while !host.events.iter().any(|done| matches!(done, Done::Full { .. })) {
        index += 1;
        host.journal.append(A, entries(index..=index, 1, 600), None, None);
        host.settle();
        assert!(index < 100);
    }
    assert!(host.journal.pressure());
    // A mark still fits, and room elsewhere lets life go on.
    host.journal.mark(A, mark(index, 1));
    host.disk.bytes_max = None;
    host.journal.retry();
    host.settle();
    assert!(!host.journal.pressure());
    let ticket = host.journal.append(A, entries(index + 1..=index + 1, 1, 600), None, None);
    host.settle();
    assert_eq!(host.journal.durable(), ticket);
    assert_eq!(host.killed().recover().groups[&A].mark.as_ref().map(|mark| mark.applied), Some(Index(index)));
}
