//! What a broker holds besides what everybody sees, for whoever checks it from outside: the whole state of each replica as
//! one number, what its files are worth, and which files it knows.
//!
//! Costs as much as reading every file: not for running brokers.

use std::collections::BTreeSet;
use std::fmt::Write;

use bytes::Bytes;

use super::replica::Replica;
use super::{Broker, Owner};
use crate::controller::image::Tombstone;
use crate::id::{FileId, FileKind, GroupId, Index, Offset};
use crate::journal::Journal;
use crate::limits::LEASE_ELECTIONS;
use crate::rng::mix;

/// What a broker holds at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Audit {
    /// Its replicas, ascending by group.
    pub groups: Vec<GroupAudit>,
    /// Every file it may still need or is about to remove, those of the journal and of the formation excepted.
    pub files: BTreeSet<FileId>,
    /// How many journal files it can not let go of, the one being written included.
    pub journal_files: u64,
    /// How often files are kept for a member that needs them no more. Only for a moment.
    pub overdue_leases: u64,
    /// Some of its files it has not read since it was started, and is about to: what is damaged there it can not know.
    pub patrols: bool,
    /// Nothing is on its way to the journal, and yet damage in its last block would pass for a torn write. Only for a moment.
    pub unsealed: bool,
}

/// What one replica holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GroupAudit {
    /// The group.
    pub group: GroupId,
    /// What is applied.
    pub applied: Index,
    /// A digest of all it remembers beside the records, whether a checkpoint would keep it or not: the same on every replica
    /// that has applied as much.
    pub state: u64,
    /// Each leader epoch it knows, and the offset at which it began.
    pub epochs: Vec<(i32, Offset)>,
    /// What is wrong with its files.
    pub damage: Option<String>,
}

/// What stands in the files of a broker at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Space {
    /// Files of segments that are written to their ends, of their indexes, and of states: how many bytes are in each, and whether
    /// more will be.
    pub written: Vec<(FileId, u64, bool)>,
    /// How many journal files it can not let go of, the one being written included.
    pub journal_files: u64,
}

/// A digest of what is written to it.
struct Digest(u64);

impl Write for Digest {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for chunk in text.as_bytes().chunks(8) {
            let word = chunk.iter().fold(chunk.len() as u64, |word, byte| (word << 8) ^ u64::from(*byte));
            self.0 = mix(self.0.rotate_left(29) ^ word);
        }
        Ok(())
    }
}

impl Broker {
    /// What it holds; `content` gives a file of its disk, none if it is not there.
    pub fn audit(&self, content: impl Fn(FileId) -> Option<Bytes>) -> Audit {
        let mut files = BTreeSet::new();
        if self.keeps_unnamed() {
            files.extend(self.listed.keys().copied());
        }
        let mut groups = Vec::with_capacity(self.replicas.len());
        for (group, replica) in &self.replicas {
            let log = &replica.machine.log;
            files.extend(log.files().chain(replica.copying.files()));
            let mut state = Digest(0);
            write!(state, "{:?} {} {}", replica.machine.fold, replica.machine.digest, replica.machine.group_time.0)
                .expect("a digest takes everything");
            groups.push(GroupAudit {
                group: *group,
                applied: replica.machine.applied,
                state: state.0,
                epochs: log.epochs().to_vec(),
                damage: log.scrub(&content).err(),
            });
        }
        files.extend(self.parked.values().flat_map(|parked| parked.machine.log.files()));
        files.extend(self.dying.values().flat_map(|dying| dying.files.iter().copied()));
        let limit = self.config.settings.election_ticks_max.saturating_mul(LEASE_ELECTIONS);
        let overdue = self.replicas.values().map(|replica| replica.copying.overdue(&replica.raft, limit));
        let overdue_leases = overdue.sum();
        let journal = self.journal.as_ref();
        let journal_files = self.journal_files();
        let unsealed = journal.is_some_and(Journal::is_idle_unsealed);
        Audit { groups, files, journal_files, overdue_leases, patrols: !self.patrols.is_empty(), unsealed }
    }

    /// What is left of deleted topics, as far as it is known here: the index of each deletion and the tombstone.
    pub fn tombstones(&self) -> impl Iterator<Item = (Index, &Tombstone)> {
        self.image().into_iter().flat_map(|image| image.tombstones().iter().map(|(index, stone)| (*index, stone)))
    }

    /// What stands in its files.
    pub fn space(&self) -> Space {
        let logs = self.replicas.values().map(|replica| &replica.machine.log);
        Space { written: logs.flat_map(|log| log.written_files()).collect(), journal_files: self.journal_files() }
    }

    /// How many journal files it can not let go of, the one being written included.
    pub fn journal_files(&self) -> u64 {
        self.journal.as_ref().map_or(0, Journal::files_needed)
    }

    /// Whether it counts on what it writes to this file.
    pub fn needs(&self, file: FileId) -> bool {
        let holds = |replica: &Replica| {
            replica.machine.log.files().any(|known| known == file) || replica.copying.files().contains(&file)
        };
        match file.kind() {
            FileKind::Journal | FileKind::Formation => true,
            FileKind::Segment | FileKind::SegmentIndex | FileKind::State => self.replicas.values().any(holds),
        }
    }

    /// Whether anything of a replica is known to be damaged and not mended yet.
    pub fn ails(&self) -> bool {
        self.keeps_unnamed() || self.replicas.values().any(|replica| replica.ails() || replica.copying.is_installing())
    }

    /// Whether a disk operation of it is under way, those of the journal and of the formation excepted: then files come and go.
    pub fn moves_files(&self) -> bool {
        self.ops.values().any(|owner| matches!(owner, Owner::Log(..) | Owner::Arrival(..) | Owner::Broom))
    }
}
