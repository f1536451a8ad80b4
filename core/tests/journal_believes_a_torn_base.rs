//! A file whose first write is torn never existed; yet what survives of it proves that the block before it was synced.

mod journal_support;

use std::collections::BTreeSet;

use journal_support::*;
use tidelog_core::effect::DiskCommand;
use tidelog_core::id::{FileId, GroupId};

const A: GroupId = GroupId(1);

/// Writes until the first write of a file (one that was used before, if `recycled`) is in flight. Gives the last block
/// that was done.
fn turning(recycled: bool) -> (Host, (FileId, u64, u64), u64) {
    let mut host = Host::fresh();
    let mut used = BTreeSet::new();
    for index in 1.. {
        let done = *host.disk.writes.last().expect("something was written");
        used.insert(done.0);
        host.journal.append(A, entries(index..=index, 1, 700), None, None);
        if index % 5 == 0 {
            host.journal.mark(A, mark(index - 2, 1));
        }
        // Allocations first, so that the write in flight is the only thing pending.
        host.collect();
        let opens = host.pending.iter().find_map(|(_, command)| match command {
            DiskCommand::Write { file, at: 0, .. } if !is_wipe(command) => Some(*file),
            _ => None,
        });
        if opens.is_some_and(|file| used.contains(&file) == recycled && index > 5) {
            return (host, (done.0, done.1, done.2), index);
        }
        host.settle();
    }
    unreachable!("indexes do not end")
}

/// Power is lost; of the unsynced sectors the first ones, or all but the first, survive.
fn torn(host: Host, header_survives: bool) -> Host {
    let mut sector = 0;
    host.power_lost(&mut || {
        sector += 1;
        (sector == 1) == header_survives
    })
}

#[test]
fn a_torn_base_is_no_corruption() {
    for (recycled, header_survives) in [(false, false), (false, true), (true, false), (true, true)] {
        let (host, _, index) = turning(recycled);
        let mut host = torn(host, header_survives);
        let recovered = host.recover();
        assert!(recovered.suspended.is_empty() && !recovered.all_suspended);
        let last = recovered.groups[&A].entries.last().map(|entry| entry.index.0);
        assert_eq!(last, Some(index - 1), "recycled {recycled}, header {header_survives}");
    }
}

#[test]
fn what_survives_of_a_torn_base_proves_the_block_before_it() {
    for (recycled, header_survives) in [(false, false), (false, true), (true, false), (true, true)] {
        // Recovery is crashed after any number of steps: the proof stands until the suspension does.
        for steps in 0..40 {
            let (host, (file, start, len), _) = turning(recycled);
            let mut host = torn(host, header_survives);
            assert!(len > 700);
            host.damage(file, start + 300, |byte| *byte ^= 1);
            for _ in 0..steps {
                host.collect();
                host.finish_one();
            }
            host.collect();
            let mut odd = false;
            let mut host = host.power_lost(&mut || {
                odd = !odd;
                odd
            });
            let recovered = host.recover();
            assert_eq!(recovered.suspended, BTreeSet::from([A]), "{recycled} {header_survives} {steps}");
        }
    }
}
