//! The files of an open journal: allocated once, listed by a base while they are needed, recycled when they are not, and given
//! back while little is written.
//!
//! A life begins with a small file, and each one that is filled makes the next twice as long. While little is written, the files
//! take no more than their rest: what no group needs any more is let go of without waiting for a base, one free file is kept ready
//! to turn to, and the others are removed.
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
    /// How long its file is for sure.
    there: u64,
    /// Nobody needs it yet: without room on the disk there is none.
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

    /// The longest free file that can be opened, if it is at least so long.
    pub(super) fn ready(&self, len: u64) -> Option<Slot> {
        let ready = self.free.iter().filter(|slot| slot.allocated && slot.blank && slot.len >= len);
        ready.max_by_key(|slot| slot.len).copied()
    }

    /// How long the next file is made: the more are filled, the longer.
    pub(super) fn next_len(&self) -> u64 {
        let doubled = 1_u64.checked_shl(self.opened_files).unwrap_or(u64::MAX);
        self.settings.file_bytes_first.saturating_mul(doubled).min(self.settings.file_bytes)
    }

    /// Begins to make a file of at least this length ready, unless one is being made ready or the disk is full.
    pub(super) fn prepare(&mut self, len: u64, spare: bool, ids: &mut FileIds) {
        if self.preparing.is_some() {
            return;
        }
        let long = self.free.iter().find(|slot| slot.allocated && slot.len >= len).copied();
        if let Some(slot) = long {
            self.free.remove(&slot);
            self.preparing = Some(Preparing { slot, there: slot.len, spare, tag: None });
            return;
        }
        if self.full && !self.full_retry {
            return;
        }
        self.full_retry = false;
        let longest = self.free.iter().max_by_key(|slot| slot.len).copied();
        let slot = longest.unwrap_or_else(|| Slot {
            file: ids.mint(FileKind::Journal),
            len: 0,
            allocated: false,
            // New files read as zeros.
            blank: true,
        });
        self.free.remove(&slot);
        let there = slot.len;
        let slot = Slot { len: len.max(slot.len), allocated: false, ..slot };
        self.preparing = Some(Preparing { slot, there, spare, tag: None });
    }

    /// Asks for the next step of what is being made ready; it is free when none is left.
    pub(super) fn prepare_on(&mut self, out: &mut Vec<(u64, DiskCommand)>) {
        let Some(Preparing { slot, there, spare, tag: None }) = self.preparing else { return };
        let file = slot.file;
        let command = if !slot.allocated {
            DiskCommand::Allocate { file, len: slot.len }
        } else {
            let sector = Bytes::from(vec![0; self.settings.sector_bytes as usize]);
            DiskCommand::Write { file, at: 0, bytes: vec![sector], durable: true, cold: false }
        };
        let tag = self.tag();
        self.preparing = Some(Preparing { slot, there, spare, tag: Some(tag) });
        out.push((tag, command));
    }

    /// A step of making a file ready came to its end. `None` if it was another command; false if the journal can not go on.
    pub(super) fn prepared(&mut self, tag: u64, result: &DiskResult, out: &mut Vec<Done>) -> Option<bool> {
        if self.removing.remove(&tag) {
            // One that could not be removed is found at the next start.
            return Some(true);
        }
        let Preparing { slot, there, spare, .. } = self.preparing.take_if(|preparing| preparing.tag == Some(tag))?;
        match result {
            Ok(_) => {
                self.full &= slot.allocated;
                let slot = Slot { allocated: true, blank: slot.allocated || slot.blank, ..slot };
                if slot.blank {
                    self.free.insert(slot);
                } else {
                    self.preparing = Some(Preparing { slot, there: slot.len, spare, tag: None });
                }
                Some(true)
            }
            Err(DiskError::Full) if !slot.allocated => {
                // It is as long as it was, if it was there.
                self.free.insert(Slot { len: there, ..slot });
                if spare {
                    self.spare_refused = true;
                } else {
                    self.full = true;
                    out.push(Done::Full);
                }
                Some(true)
            }
            Err(error) => {
                out.push(Done::Failed(format!("making {} ready failed: {error:?}", slot.file)));
                Some(false)
            }
        }
    }

    /// Makes the next file ready while the current one is being filled, or nothing else is to be done.
    pub(super) fn prepare_ahead(&mut self, ids: &mut FileIds) {
        let Some(current) = self.current else { return };
        let file = &self.in_use[&current];
        let half = file.used.end >= file.len / 2;
        if half && !self.quiet {
            let len = self.next_len();
            if self.ready(len).is_none() {
                self.prepare(len, false, ids);
            }
        } else if (self.quiet || self.opened_files == 1) && !self.spare_refused {
            // It is not wiped before it is needed: that takes no room, and a recovery does not read a free file with a header.
            let len = self.spare_len();
            let there = if half { self.ready(len).is_some() } else { self.free.iter().any(|slot| slot.len >= len) };
            if !there {
                self.prepare(len, true, ids);
            }
        }
    }

    /// How long a file to turn to is made that nobody needs yet.
    fn spare_len(&self) -> u64 {
        self.settings.file_bytes_first.max(self.len_min)
    }

    /// So many bytes are on their way to the disk.
    pub(super) fn wrote(&mut self, bytes: u64) {
        self.put_bytes += bytes;
        self.quiet &= self.put_bytes < self.settings.file_bytes_first;
    }

    pub(in crate::journal) fn look(&mut self) {
        self.quiet = std::mem::take(&mut self.put_bytes) < self.settings.file_bytes_first;
        self.spare_refused = false;
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
        let mut bytes = current + self.spare_len() + lens.iter().sum::<u64>();
        let fits = |len: &&u64| {
            let beyond = bytes > self.settings.rest_bytes;
            bytes -= **len;
            beyond
        };
        lens.iter().take_while(fits).count().max(beyond_target)
    }

    /// While little is written, and nothing is on its way: lets go of what no group needs any more, keeps one file to turn to,
    /// and removes the others.
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
        let in_use: u64 = self.in_use.values().map(|file| file.len).sum();
        let room = self.settings.rest_bytes.saturating_sub(in_use).max(self.spare_len());
        let kept = self.free.iter().filter(|slot| slot.len <= room).max_by_key(|slot| (slot.len, slot.blank)).copied();
        for slot in std::mem::take(&mut self.free) {
            if Some(slot) == kept {
                self.free.insert(slot);
            } else {
                let tag = self.tag();
                self.removing.insert(tag);
                out.push((tag, DiskCommand::Remove { file: slot.file }));
            }
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
