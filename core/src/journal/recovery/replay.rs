//! Replay: what the frames that were found make of the groups, and what damage costs them.
//!
//! Promises that a group is given back whole or suspended: an entry that is live and nowhere to be found suspends it,
//! whatever took it. Does not know the order in which files are read.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{Head, Recovery};
use crate::id::{FileId, GroupId, Index};
use crate::journal::base::UsedFile;
use crate::journal::frame::{Body, Frame, Stamp};
use crate::journal::judge::{Close, Piece, Verdict, judge};
use crate::journal::table::{Group, Run};
use crate::journal::writer::{InUse, Movable, Slot, Start, Writer, carried_bytes, little};
use crate::journal::{Cut, Damage, Entry, Recovered, RecoveredGroup};
use crate::mutants::Mutant;

impl Recovery {
    /// Replays the head.
    pub(super) fn replay(&mut self) {
        let newest = self.head.as_ref().map_or(0, |head| head.header.sequence);
        let mut unknown_suspended = false;
        if let Some(head) = self.head.take() {
            let Head { header, file, bytes, unreadable, older } = head;
            let stamp = Stamp { sequence: header.sequence, boot: header.boot, block: header.first_block };
            let close = Close::Open { proven: self.evidence.proven(header.boot) };
            let Verdict { pieces, end, last_block, torn, highest_block, highest_append } =
                judge(&bytes, &unreadable, header.sector_bytes as usize, stamp, self.salt, close, self.mutants);
            self.evidence.add(Stamp { block: highest_block, ..stamp }, highest_append);
            let mut damaged = Vec::new();
            for piece in pieces {
                match piece {
                    Piece::Block(frames) => {
                        frames.into_iter().for_each(|frame| self.replay_frame(frame, unknown_suspended));
                    }
                    Piece::Damage(damage) => {
                        // Its number was given, even if nothing of it can be seen.
                        let block = damage.last_block;
                        self.evidence.add(Stamp { block, ..stamp }, 0);
                        damaged.push((damage.first_block, damage.last_block));
                        unknown_suspended |= damage.groups.is_none();
                        match &damage.groups {
                            Some(groups) => groups.iter().for_each(|group| self.table.suspend(*group)),
                            None => self.table.suspend_all(),
                        }
                        self.damages.push(damage);
                    }
                }
            }
            if self.files.get(&file).copied().unwrap_or(0) < header.len {
                // It was never shorter than that: nobody knows what stood behind.
                let (first_block, last_block) = (last_block + 1, last_block + 1);
                self.table.suspend_all();
                self.damages.push(Damage {
                    sequence: header.sequence,
                    at: end as u64,
                    first_block,
                    last_block,
                    groups: None,
                });
            }
            self.cut = torn.map(|block| Cut { sequence: header.sequence, block, at: end as u64 });
            let used = UsedFile {
                sequence: header.sequence,
                file,
                boot: header.boot,
                start: u64::from(header.sector_bytes),
                end: end as u64,
                first_block: header.first_block,
                last_block,
                damaged,
            };
            for used in older.iter().chain([&used]) {
                let len = self.files.get(&used.file).copied();
                if len.is_none() && !self.table.needs(used.sequence) && used.sequence != header.sequence {
                    // It was given back.
                    continue;
                }
                let len = len.unwrap_or(0);
                self.in_use.insert(used.sequence, InUse { used: used.clone(), len });
            }
            self.head = Some(Head { header, file, bytes: Bytes::new(), unreadable, older });
        }
        let table = &self.table;
        self.entries.retain(|key, entry| {
            let live = table.get(key.0).and_then(|group| group.run_of(key.2)).is_some_and(|run| run.append == key.1);
            if live {
                own(entry);
            }
            live
        });
        for sequence in std::mem::take(&mut self.lost_heads).into_iter().filter(|sequence| *sequence > newest) {
            self.table.suspend_all();
            self.damages.push(Damage { sequence, at: 0, first_block: 0, last_block: 0, groups: None });
        }
        if self.evidence.sequence < self.expected {
            self.evidence.sequence = self.expected;
            self.table.suspend_all();
            let sequence = self.expected;
            self.damages.push(Damage { sequence, at: 0, first_block: 0, last_block: 0, groups: None });
        }
    }

    fn replay_frame(&mut self, frame: Frame, unknown_suspended: bool) {
        let Frame { stamp, group, append, body } = frame;
        self.evidence.add(stamp, append);
        let sequence = stamp.sequence;
        let suspended = match self.table.get(group) {
            Some(known) => known.suspended,
            None => unknown_suspended,
        };
        let fits = match body {
            Body::Base(_) | Body::Directory(_) => Ok(()),
            Body::Group(base) => self.table.restore(group, append, base),
            Body::Absolve(suspended) => {
                self.table.all_suspended = unknown_suspended;
                suspended.into_iter().for_each(|group| self.table.suspend(group));
                Ok(())
            }
            Body::Forget => {
                self.table.forget(group, append);
                Ok(())
            }
            Body::Append { .. } | Body::Hard(_) | Body::Mark(_) | Body::Install(_) | Body::Carry(_) if suspended => {
                Err("suspended")
            }
            Body::Append { truncate_from, hard, entries } => {
                let range = entries.first().zip(entries.last()).map(|(first, last)| (first.index, last.index));
                self.keep(group, append, entries);
                self.table.append(group, append, truncate_from, hard, range, sequence)
            }
            Body::Hard(hard) => self.table.hard(group, append, hard),
            Body::Mark(mark) => self.table.mark(group, append, mark),
            Body::Install(mark) => self.table.install(group, append, mark),
            Body::Carry(entries) => {
                if let Some((first, last)) = entries.first().zip(entries.last()) {
                    if self.mutants.planted(Mutant::CarryTruncates) {
                        self.table.truncate(group, last.index.next());
                    }
                    self.table.carry(group, append, first.index, last.index, sequence);
                }
                self.keep(group, append, entries);
                Ok(())
            }
        };
        if fits.is_err() {
            self.table.suspend(group);
        }
    }

    fn keep(&mut self, group: GroupId, append: u64, entries: Vec<Entry>) {
        self.entries.extend(entries.into_iter().map(|entry| ((group, append, entry.index), entry)));
    }

    /// Takes from an older file the entries that are live there.
    pub(super) fn read_older(&mut self, file: FileId, bytes: &Bytes) {
        let Some(used) = self.older(file).cloned() else { return };
        let stamp = Stamp { sequence: used.sequence, boot: used.boot, block: used.first_block };
        let close = Close::Closed { end: used.end as usize, last_block: used.last_block };
        for piece in judge(bytes, &[], used.start as usize, stamp, self.salt, close, self.mutants).pieces {
            match piece {
                Piece::Block(frames) => frames.into_iter().for_each(|frame| self.keep_live(frame)),
                Piece::Damage(damage) => self.damage_older(damage, &used),
            }
        }
    }

    fn keep_live(&mut self, Frame { stamp, group, append, body }: Frame) {
        let (Body::Append { entries, .. } | Body::Carry(entries)) = body else {
            return;
        };
        let Some(known) = self.table.get(group).filter(|known| !known.suspended) else {
            return;
        };
        for mut entry in entries {
            let live = known.run_of(entry.index);
            if live.is_some_and(|run| run.append == append && run.sequence == stamp.sequence) {
                own(&mut entry);
                self.entries.insert((group, append, entry.index), entry);
            }
        }
    }

    fn damage_older(&mut self, damage: Damage, used: &UsedFile) {
        let range = (damage.first_block, damage.last_block);
        if used.damaged.iter().any(|(first, last)| *first <= range.0 && range.1 <= *last) {
            return;
        }
        match &damage.groups {
            // Groups that were forgotten since have nothing to lose here.
            Some(groups) => {
                let known: Vec<_> = groups.iter().copied().filter(|group| self.table.get(*group).is_some()).collect();
                known.into_iter().for_each(|group| self.table.suspend(group));
            }
            None => self.table.suspend_all(),
        }
        if let Some(file) = self.in_use.get_mut(&used.sequence) {
            file.used.damaged.push(range);
        }
        self.damages.push(damage);
    }

    pub(super) fn finish(&mut self) -> (Writer, Recovered) {
        let mut groups = BTreeMap::new();
        let mut short = BTreeSet::new();
        for (id, group) in self.table.groups().filter(|(_, group)| !group.suspended) {
            let mut recovered = RecoveredGroup { hard: group.hard, mark: group.mark.clone(), entries: Vec::new() };
            let live =
                group.runs().flat_map(|run| (run.first.0..=run.last.0).map(|index| (id, run.append, Index(index))));
            let whole = live.map(|key| self.entries.remove(&key)).try_for_each(|entry| {
                recovered.entries.push(entry?);
                Some(())
            });
            match whole {
                Some(()) => drop(groups.insert(id, recovered)),
                None => drop(short.insert(id)),
            }
        }
        // Entries that were acknowledged are gone, whatever took them: never silently shortened.
        short.iter().for_each(|id| self.table.suspend(*id));
        if !short.is_empty() {
            let groups = Some(short);
            self.damages.push(Damage { sequence: 0, at: 0, first_block: 0, last_block: 0, groups });
        }
        let suspended = self.table.groups().filter(|(_, group)| group.suspended).map(|(id, _)| id).collect();
        let recovered = Recovered { groups, suspended, all_suspended: self.table.all_suspended, cut: self.cut };
        self.table.high = self.table.high.max(self.evidence.append);
        if self.damages.is_empty()
            && let Some(Head { header, .. }) = &self.head
            && self.evidence.proven(header.boot) >= header.first_block
        {
            // Nothing is looked for any more in files that the head lists and no group needs: one is written to next.
            self.in_use.retain(|sequence, _| *sequence == header.sequence || self.table.needs(*sequence));
        }
        let movable = self.movable(&recovered.groups);
        let slots = self.files.iter().filter(|(file, _)| !self.is_used(**file));
        let slots: BTreeSet<Slot> =
            slots.map(|(file, len)| Slot { file: *file, len: *len, allocated: false, blank: false }).collect();
        let slots = if self.mutants.planted(Mutant::FreeFilesUnused) { BTreeSet::new() } else { slots };
        // What proves that damage is no torn write must stand until the suspension is durable.
        let (free, pinned) = if self.damages.is_empty() { (slots, BTreeSet::new()) } else { (BTreeSet::new(), slots) };
        let writer = Writer::new(Start {
            settings: self.settings,
            identity: self.identity,
            table: std::mem::take(&mut self.table),
            in_use: std::mem::take(&mut self.in_use),
            cut: self.cut,
            free,
            pinned,
            next_sequence: self.evidence.sequence.saturating_add(1),
            next_block: self.evidence.blocks.values().max().map_or(1, |block| block.saturating_add(1)),
            next_tag: self.next_tag,
            movable,
        });
        (writer, recovered)
    }

    fn is_used(&self, file: FileId) -> bool {
        self.in_use.values().any(|in_use| in_use.used.file == file)
    }

    /// What stands in files that hold little of these groups.
    fn movable(&self, groups: &BTreeMap<GroupId, RecoveredGroup>) -> Vec<Movable> {
        let mut bytes_in: BTreeMap<u64, u64> = BTreeMap::new();
        for (run, _, entries) in self.runs_of(groups) {
            *bytes_in.entry(run.sequence).or_default() += carried_bytes(entries);
        }
        let free = self.files.iter().filter(|(file, _)| !self.is_used(**file)).map(|(_, len)| *len);
        let little = little(bytes_in, free.max().unwrap_or(0));
        let moves = self.runs_of(groups).filter(|(run, ..)| little.contains(&run.sequence));
        moves.map(|(run, group, entries)| Movable { group, append: run.append, entries: entries.to_vec() }).collect()
    }

    /// Every run of these groups with its entries.
    fn runs_of<'a>(
        &'a self,
        groups: &'a BTreeMap<GroupId, RecoveredGroup>,
    ) -> impl Iterator<Item = (Run, GroupId, &'a [Entry])> {
        groups.iter().flat_map(|(id, recovered)| {
            let mut left = &recovered.entries[..];
            self.table.get(*id).into_iter().flat_map(Group::runs).map(move |run| {
                let (entries, rest) = left.split_at((run.last.0 - run.first.0 + 1) as usize);
                left = rest;
                (*run, *id, entries)
            })
        })
    }
}

/// Gives the entry bytes of its own, so that it does not keep a whole file in memory.
fn own(entry: &mut Entry) {
    entry.context = Bytes::copy_from_slice(&entry.context);
    entry.data = Bytes::copy_from_slice(&entry.data);
}
