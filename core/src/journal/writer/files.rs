//! The files of an open journal: allocated once, listed by a base while they are needed, recycled when they are not.
//!
//! Promises that a file is written over only after a base that no longer lists it is durable, and after its old header was
//! wiped: a valid header in front says that nothing in the file is newer, so recovery need not read a free file. Does not
//! know blocks.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::Writer;
use crate::effect::{DiskCommand, DiskError, DiskResult};
use crate::id::{FileId, FileIds, FileKind, GroupId, ReplicaId};
use crate::journal::Done;
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
    /// Whether this incarnation knows that no header stands in front, durably.
    pub(in crate::journal) blank: bool,
}

/// A file that is being made ready to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Preparing {
    slot: Slot,
    /// The command that is out for it.
    tag: Option<u64>,
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
        let mut base = Base {
            high: self.table.high,
            all_suspended: self.table.all_suspended,
            cut: self.cut,
            files: listed.iter().map(|sequence| self.in_use[sequence].used.clone()).collect(),
        };
        if self.mutants.planted(Mutant::DamageForgotten) {
            base.files.iter_mut().for_each(|file: &mut UsedFile| file.damaged.clear());
        }
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

    /// A free file that can be opened and is at least so long.
    pub(super) fn ready(&self, len: u64) -> Option<Slot> {
        self.free.iter().find(|slot| slot.allocated && slot.blank && slot.len >= len).copied()
    }

    /// Begins to make a file of at least this length ready, unless one is being made ready or the disk is full.
    pub(super) fn prepare(&mut self, len: u64, ids: &mut FileIds) {
        if self.preparing.is_some() {
            return;
        }
        let long = self.free.iter().find(|slot| slot.allocated && slot.len >= len).copied();
        if let Some(slot) = long {
            self.free.remove(&slot);
            self.preparing = Some(Preparing { slot, tag: None });
            return;
        }
        if self.full && !self.full_retry {
            return;
        }
        self.full_retry = false;
        let slot = self.free.pop_first().unwrap_or_else(|| Slot {
            file: ids.mint(FileKind::Journal),
            len: 0,
            allocated: false,
            // New files read as zeros.
            blank: true,
        });
        let slot = Slot { len: len.max(slot.len), allocated: false, ..slot };
        self.preparing = Some(Preparing { slot, tag: None });
    }

    /// Asks for the next step of what is being made ready; it is free when none is left.
    pub(super) fn prepare_on(&mut self, out: &mut Vec<(u64, DiskCommand)>) {
        let Some(Preparing { slot, tag: None }) = self.preparing else { return };
        let file = slot.file;
        let command = if !slot.allocated {
            DiskCommand::Allocate { file, len: slot.len }
        } else {
            let sector = Bytes::from(vec![0; self.settings.sector_bytes as usize]);
            DiskCommand::Write { file, at: 0, bytes: vec![sector], durable: true, cold: false }
        };
        let tag = self.tag();
        self.preparing = Some(Preparing { slot, tag: Some(tag) });
        out.push((tag, command));
    }

    /// A step of making a file ready came to its end. `None` if it was another command; false if the journal can not go on.
    pub(super) fn prepared(&mut self, tag: u64, result: &DiskResult, out: &mut Vec<Done>) -> Option<bool> {
        let Preparing { slot, .. } = self.preparing.take_if(|preparing| preparing.tag == Some(tag))?;
        match result {
            Ok(_) => {
                self.full &= slot.allocated;
                let slot = Slot { allocated: true, blank: slot.allocated || slot.blank, ..slot };
                if slot.blank {
                    self.free.insert(slot);
                } else {
                    self.preparing = Some(Preparing { slot, tag: None });
                }
                Some(true)
            }
            Err(DiskError::Full) if !slot.allocated => {
                self.full = true;
                // Its length is unknown now: it is asked for again.
                self.free.insert(Slot { len: 0, ..slot });
                out.push(Done::Full);
                Some(true)
            }
            Err(error) => {
                out.push(Done::Failed(format!("making {} ready failed: {error:?}", slot.file)));
                Some(false)
            }
        }
    }

    /// Makes the next file ready while the current one is being filled.
    pub(super) fn prepare_ahead(&mut self, ids: &mut FileIds) {
        let Some(current) = self.current else { return };
        let file = &self.in_use[&current];
        if file.used.end >= file.len / 2 && self.ready(self.settings.file_bytes).is_none() {
            self.prepare(self.settings.file_bytes, ids);
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
        let slots = freed.into_values().map(|InUse { used, len }| Slot {
            file: used.file,
            len,
            allocated: allocated(&used),
            blank: false,
        });
        self.free.extend(slots);
        self.free.append(&mut self.pinned);
        self.cut = None;
        self.opened = Some(current);
    }
}
