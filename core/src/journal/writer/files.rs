//! The files of an open journal: allocated once, listed by a base while they are needed, recycled when they are not.
//!
//! Promises that a file is written over only after a base that no longer lists it is durable. Does not know blocks.

use std::collections::{BTreeMap, BTreeSet};

use super::Writer;
use crate::effect::DiskCommand;
use crate::id::{FileId, FileIds, FileKind, GroupId, ReplicaId};
use crate::journal::base::{Base, UsedFile};
use crate::journal::frame::{Body, Draft};
use crate::journal::table::Group;
use crate::mutants::Mutant;

/// A file nobody needs the content of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::journal) struct Slot {
    pub(in crate::journal) file: FileId,
    pub(in crate::journal) len: u64,
    /// Whether this incarnation knows that its length is durable.
    pub(in crate::journal) allocated: bool,
}

/// A file in use; the last one is written to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::journal) struct InUse {
    pub(in crate::journal) used: UsedFile,
    pub(in crate::journal) len: u64,
}

impl Writer {
    /// The frames that open a file: the state before anything that waits in the queue.
    pub(super) fn base(&self, listed: &BTreeSet<u64>) -> Vec<Draft> {
        let base = Base {
            high: self.table.high,
            all_suspended: self.table.all_suspended,
            cut: self.cut,
            files: listed.iter().map(|sequence| self.in_use[sequence].used.clone()).collect(),
        };
        let group_base = |group: &Group| {
            let mut base = group.base();
            if self.mutants.planted(Mutant::VoteRecycled) {
                base.hard.vote = ReplicaId(0);
            }
            base
        };
        let groups =
            self.table.groups().map(|(id, group)| Draft::new(id, group.append, &Body::Group(group_base(group))));
        std::iter::once(Draft::new(GroupId(0), 0, &Body::Base(base))).chain(groups).collect()
    }

    pub(super) fn allocate(&mut self, len: u64, ids: &mut FileIds, out: &mut Vec<(u64, DiskCommand)>) {
        if self.allocating.is_some() || (self.full && !self.full_retry) {
            return;
        }
        self.full_retry = false;
        let slot = self.free.pop_first().unwrap_or_else(|| Slot {
            file: ids.mint(FileKind::Journal),
            len: 0,
            allocated: false,
        });
        let slot = Slot { len: len.max(slot.len), ..slot };
        let tag = self.tag();
        self.allocating = Some((tag, slot));
        out.push((tag, DiskCommand::Allocate { file: slot.file, len: slot.len }));
    }

    /// Makes the next file ready while the current one is being filled.
    pub(super) fn allocate_ahead(&mut self, ids: &mut FileIds, out: &mut Vec<(u64, DiskCommand)>) {
        let Some(current) = self.current else { return };
        let file = &self.in_use[&current];
        let ready = self.free.iter().any(|slot| slot.allocated && slot.len >= self.settings.file_bytes);
        if !ready && file.used.end >= file.len / 2 {
            self.allocate(self.settings.file_bytes, ids, out);
        }
    }

    /// A new base is durable: files it does not list are free.
    pub(super) fn release(&mut self, listed: &BTreeSet<u64>) {
        let current = self.current.expect("a file was opened");
        let (keep, freed) = std::mem::take(&mut self.in_use)
            .into_iter()
            .partition(|(sequence, _)| *sequence == current || listed.contains(sequence));
        self.in_use = keep;
        let freed: BTreeMap<u64, InUse> = freed;
        // Files of earlier incarnations, or even missing ones, are allocated again before they are used.
        let allocated = |used: &UsedFile| used.boot == self.identity.boot;
        let slots =
            freed.into_values().map(|InUse { used, len }| Slot { file: used.file, len, allocated: allocated(&used) });
        self.free.extend(slots);
        self.free.append(&mut self.pinned);
        self.cut = None;
        self.open = true;
    }
}
