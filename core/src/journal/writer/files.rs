//! The files of an open journal: allocated once, listed by a base while they are needed, recycled when they are not, and given
//! back while little is written.
//!
//! A life begins with a small file, and each one that is filled makes the next twice as long. While little is written, the files
//! take no more than their rest: what no group needs any more is let go of without waiting for a base, the spares are kept, and
//! the other free files are removed.
//!
//! Promises that a file is written over only after a base that no longer lists it is durable, and after its old header was
//! wiped: a valid header in front says that nothing in the file is newer, so recovery need not read a free file. Does not
//! know blocks.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::Writer;
use super::turn::SPARES;
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

impl Slot {
    /// A file that is not there yet. New files read as zeros.
    pub(super) fn new(file: FileId) -> Self {
        Self { file, len: 0, allocated: false, blank: true }
    }
}

/// A file that is being made ready to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Preparing {
    slot: Slot,
    /// How long it was.
    before: u64,
    /// It is to be a spare.
    spare: bool,
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

    /// How long the next file is made: the more are filled in a row, the longer; while little is written, as long as the first.
    pub(super) fn next_len(&self) -> u64 {
        let doubled = if self.quiet { 1 } else { 1_u64.checked_shl(self.opened_files).unwrap_or(u64::MAX) };
        let len = self.settings.file_bytes_first.saturating_mul(doubled).min(self.settings.file_bytes);
        len.max(self.len_min)
    }

    /// Begins to make a file of at least this length ready, unless one is being made ready or the disk is full.
    pub(super) fn prepare(&mut self, len: u64, ids: &mut FileIds) {
        if self.preparing.is_some() {
            return;
        }
        // The one that lacks least, and of those the one that is ready soonest.
        let slot = self.beyond().max_by_key(|slot| (slot.len.min(len), slot.allocated, slot.blank));
        if slot.is_none_or(|slot| slot.len < len) {
            if self.full && !self.full_retry {
                return;
            }
            self.full_retry = false;
        }
        let slot = slot.unwrap_or_else(|| Slot::new(ids.mint(FileKind::Journal)));
        self.free.remove(&slot);
        self.make_ready(slot, len, false);
    }

    /// Begins to make this file, which is not among the free ones now, ready.
    pub(super) fn make_ready(&mut self, slot: Slot, len: u64, spare: bool) {
        let grown = Slot { len: len.max(slot.len), allocated: slot.allocated && slot.len >= len, ..slot };
        self.preparing = Some(Preparing { slot: grown, before: slot.len, spare, tag: None });
    }

    /// Asks for the next step of what is being made ready; it is free when none is left.
    pub(super) fn prepare_on(&mut self, out: &mut Vec<(u64, DiskCommand)>) {
        let Some(Preparing { slot, tag: None, .. }) = self.preparing else { return };
        let file = slot.file;
        let command = if !slot.allocated {
            DiskCommand::Allocate { file, len: slot.len }
        } else {
            let sector = Bytes::from(vec![0; self.settings.sector_bytes as usize]);
            DiskCommand::Write { file, at: 0, bytes: vec![sector], durable: true, cold: false }
        };
        let tag = self.tag();
        self.preparing = self.preparing.map(|preparing| Preparing { tag: Some(tag), ..preparing });
        out.push((tag, command));
    }

    /// A step of making a file ready came to its end. `None` if it was another command; false if the journal can not go on.
    pub(super) fn prepared(&mut self, tag: u64, result: &DiskResult, out: &mut Vec<Done>) -> Option<bool> {
        if self.removing.remove(&tag) {
            // One that could not be removed is found at the next start.
            return Some(true);
        }
        let preparing = self.preparing.take_if(|preparing| preparing.tag == Some(tag))?;
        let Preparing { slot, before, spare, .. } = preparing;
        match result {
            Ok(_) => {
                // There is room, so there may be more.
                self.full_retry |= !slot.allocated && slot.len > before;
                let ready = Slot { allocated: true, blank: slot.allocated || slot.blank, ..slot };
                // A spare is wiped when it is turned to.
                if ready.blank || (spare && self.current.is_some() && !slot.allocated && slot.len > before) {
                    self.free.insert(ready);
                } else {
                    self.preparing = Some(Preparing { slot: ready, before: slot.len, spare, tag: None });
                }
                Some(true)
            }
            Err(DiskError::Full) if !slot.allocated => {
                (self.full, self.refused) = (true, slot.len - before);
                self.free.insert(Slot { len: before, ..slot });
                if self.current.is_none() && !spare {
                    // A start can do with less.
                    self.full_retry = true;
                } else {
                    out.push(Done::Full { needed: self.refused });
                }
                Some(true)
            }
            Err(error) => {
                out.push(Done::Failed(format!("making {} ready failed: {error:?}", slot.file)));
                Some(false)
            }
        }
    }

    /// So many bytes are on their way to the disk.
    pub(super) fn wrote(&mut self, bytes: u64) {
        self.put_bytes += bytes;
        self.quiet &= self.put_bytes < self.settings.file_bytes_first;
    }

    pub(in crate::journal) fn look(&mut self) {
        self.quiet = std::mem::take(&mut self.put_bytes) < self.settings.file_bytes_first;
    }

    pub(in crate::journal) fn is_quiet(&self) -> bool {
        self.quiet && !self.mutants.planted(Mutant::JournalNeverRests)
    }

    /// How many of the oldest files that are needed, the current one not counted, ought not to be.
    pub(super) fn too_many(&self) -> usize {
        let target = self.settings.files_target as usize;
        let beyond_target = self.needed().saturating_sub(target);
        if !self.is_quiet() {
            return beyond_target;
        }
        let old = self.table.sequences().filter(|sequence| Some(*sequence) != self.current);
        let lens: Vec<u64> = old.map(|sequence| self.in_use[&sequence].len).collect();
        let current = self.current.map_or(0, |sequence| self.in_use[&sequence].len);
        let mut bytes = current + self.spares_bytes() + lens.iter().sum::<u64>();
        let fits = |len: &&u64| {
            let beyond = bytes > self.settings.rest_bytes;
            bytes -= **len;
            beyond
        };
        lens.iter().take_while(fits).count().max(beyond_target)
    }

    /// While little is written, and nothing is on its way: lets go of what no group needs any more, keeps the spares, and one file to
    /// turn to if that is due, and removes the others.
    pub(super) fn give_back(&mut self, out: &mut Vec<(u64, DiskCommand)>) {
        let Some(current) = self.current.filter(|_| self.is_quiet()) else { return };
        // What the table says is durable only then; and a base is proven by the block after it.
        let used = &self.in_use[&current].used;
        let proven = used.last_block > used.first_block;
        if self.in_flight.is_some() || self.eager > 0 || self.preparing.is_some() || !proven {
            return;
        }
        let needed: BTreeSet<u64> = self.in_use.keys().copied().filter(|it| self.table.needs(*it)).collect();
        if self.in_use.len() > needed.len() + usize::from(!needed.contains(&current)) {
            self.release(&needed);
        }
        let mut kept = self.spares();
        if kept.len() < SPARES && !self.mutants.planted(Mutant::SparesNotKept) {
            // They are made of what is free.
            return;
        }
        if self.is_turn_due() {
            let in_use: u64 = self.in_use.values().map(|file| file.len).sum();
            let spares: u64 = kept.iter().map(|slot| slot.len).sum();
            let rest = self.settings.rest_bytes.saturating_sub(in_use + spares).max(self.next_len());
            let fitting = self.beyond().filter(|slot| slot.len <= rest);
            kept.extend(fitting.max_by_key(|slot| (slot.len, slot.allocated, slot.blank)));
        }
        let kept: BTreeSet<Slot> = kept.into_iter().collect();
        for slot in std::mem::replace(&mut self.free, kept.clone()).difference(&kept) {
            let tag = self.tag();
            self.removing.insert(tag);
            out.push((tag, DiskCommand::Remove { file: slot.file }));
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
        // What was missing at the start and is needed no more is nothing.
        self.free.extend(slots.filter(|slot| slot.len > 0));
        self.free.append(&mut self.pinned);
        self.cut = None;
        self.opened = Some(current);
    }
}
