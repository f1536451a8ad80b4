//! How empty disks become a cluster, and how a disk that is not empty knows which one it is of.
//!
//! Nothing is assumed from an empty disk. The lowest listed voter is the founder. It writes the charter once every listed
//! voter has said that its disk is empty, that it was told of the same list, and that it has durably pledged itself to the
//! founder's *disk*; it sends the charter only when that is durable. A voter takes it if it lists this voter's disk, and
//! either the pledge is to the disk that wrote it, or another member passes it on. Who has taken a charter never pledges
//! again, and who is pledged turns to another disk of the founder only when that one answers: late words of a wiped disk turn
//! nobody back. So no two clusters are formed of the same disks, as long as not more than one is wiped meanwhile. Whoever finds a
//! cluster that was formed without its disk is an observer, which has no replica and no vote until it is admitted.
//!
//! - [`record`]: what is kept on the disk. [`message`]: what is said. `protocol`: who believes what.
//!
//! Sans everything else: it knows files by id and brokers by number. Does not know how an observer is
//! admitted (the controller does). A charter that the medium lost before the journal was opened counts as an empty disk.
//!
//! Its words take room once, when the disk is young: two files are written by turns, so that whoever starts on a full disk can say
//! what it has to.
//!
//! Beside a member's charter stands how far its journal was opened, so that one that vanishes is missed. A member whose
//! journal lost what it promised in the controller group asks like an observer, and becomes another replica of it.

mod message;
mod protocol;
mod record;

use std::collections::{BTreeMap, BTreeSet};

pub use message::Message;
pub(crate) use message::Wire;
pub use record::{Charter, NoRecord, Pledge, RECORD_BYTES_MAX, RECORD_VERSION, Record, Role, Seat, Written};

use crate::effect::{DiskCommand, DiskError, DiskOutput, DiskResult, Halt};
use crate::id::{ClusterId, DirectoryId, FileId, FileIds, FileKind, NodeId};
use crate::mutants::{Mutant, Mutants};
use crate::time::{Duration, Instant};

/// What a formation is told.
#[derive(Clone, Debug)]
pub struct Setup {
    /// This broker.
    pub node: NodeId,
    /// Its formatted disk.
    pub directory: DirectoryId,
    /// The listed voters, in any order; none is a single node.
    pub voters: Vec<NodeId>,
    /// Where clients of this broker connect to, for whoever admits it.
    pub host: String,
    /// The port there.
    pub port: u16,
    /// A seed no other incarnation of any broker has.
    pub seed: u64,
    /// How often it says that it waits.
    pub every: Duration,
    /// Planted bugs.
    pub mutants: Mutants,
}

/// What the broker has to hear.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// The disk is of this cluster, durably.
    Chartered(Charter, Role),
    /// Something an operator should read.
    Note(String),
    /// The disk has no room for what is to be written. It is tried again.
    NoRoom {
        /// How many bytes are needed.
        needed: u64,
    },
    /// A rare situation, named in [`crate::marks`].
    Sometimes(&'static str),
    /// It is durable that the journal was opened so far as was said last.
    Opened,
    /// The broker can not go on.
    Stop(Halt),
}

/// How far a broker is in becoming part of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Membership {
    /// It reads its disk.
    #[default]
    Starting,
    /// Its disk is empty, and so is everything it knows of.
    Forming,
    /// The cluster was formed without its disk.
    Observer,
    /// It is a voter of the controller group.
    Member,
}

/// An observer that asks to be admitted, or a member that asks for another replica id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applicant {
    /// Its disk.
    pub directory: DirectoryId,
    /// Where its clients are told to connect to.
    pub host: String,
    /// The port there.
    pub port: u16,
    /// Of a member that asks for another replica id, its boot counter; zero of an observer.
    pub renews: u64,
}

/// Tags of disk operations.
const TAG_TASK: u64 = 0;
const TAG_REMOVE: u64 = 1;

/// How long a file for records is made, if no record is longer.
const SLOT_BYTES: u64 = 4096;

/// A file for records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Slot {
    file: FileId,
    len: u64,
    /// Whether this life knows that so much is durably its.
    sure: bool,
}

/// What the disk is asked for, one thing after the other.
#[derive(Debug)]
enum Task {
    Idle,
    /// Reads the files, the last one in the list first.
    Reading {
        left: Vec<(FileId, u64)>,
        found: Option<(Slot, Written)>,
    },
    /// Makes durable what was read: an earlier life may have been killed before its write was.
    Keeping {
        record: Record,
        slot: Slot,
        synced: bool,
    },
    /// Writes a record, once there is a file for it, and one for the next.
    Writing {
        record: Record,
        opened: u64,
        /// What is asked for, if anything is.
        step: Option<Step>,
    },
    Stopped,
}

/// A step on the way to a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// The file gets this length.
    Allocate(FileId, u64),
    /// The record is written into the file.
    Write(FileId),
}

/// What a founder was told by a listed voter.
#[derive(Clone, Copy, Debug)]
struct Heard {
    directory: DirectoryId,
    pledge: Option<DirectoryId>,
}

/// One broker's way into a cluster.
///
/// - what is said to others about this disk is durable before
/// - a member's record never changes, but for its replica id if it asked for another one, and for the word how far its journal
///   was opened, which only grows
#[derive(Debug)]
pub struct Formation {
    setup: Setup,
    /// What is durable and counts.
    record: Option<Record>,
    /// Where that stands, and its number.
    slot: Option<Slot>,
    number: u64,
    /// Where the next one may be written.
    slots: Vec<Slot>,
    /// How far the journal was opened: what is durable of that, and what is to be.
    opened: u64,
    opened_now: u64,
    /// The life in which this member asks for another replica id; zero if it does not.
    renews: u64,
    /// Whether the disk was read.
    open: bool,
    /// Whether the disk holds anything else of a broker.
    others: bool,
    task: Task,
    /// The next thing to ask the disk for.
    wanted: Option<DiskCommand>,
    /// Files that no longer count.
    stale: Vec<FileId>,
    heard: BTreeMap<NodeId, Heard>,
    /// The numbers of listed voters, as heard last.
    echoes: BTreeMap<NodeId, u64>,
    /// How often something was written in this life.
    written: u64,
    /// Brokers that were told of another list, and that list.
    differing: BTreeMap<NodeId, Vec<NodeId>>,
    complained: BTreeSet<NodeId>,
    applicants: BTreeMap<NodeId, Applicant>,
    /// Those who asked since they were looked at.
    asked: BTreeSet<NodeId>,
    sends: Vec<(NodeId, Message)>,
    reports: Vec<Report>,
    next_say: Instant,
    /// When the word about the journal may be tried again.
    next_word: Instant,
}

impl Formation {
    /// Begins with the formation files of a listing (ids and lengths), and whether anything else is on the disk.
    pub fn open(mut setup: Setup, mut files: Vec<(FileId, u64)>, others: bool) -> Self {
        if setup.voters.is_empty() {
            setup.voters.push(setup.node);
        }
        setup.voters.sort_unstable();
        setup.voters.dedup();
        files.sort_unstable();
        let mut formation = Self {
            setup,
            record: None,
            slot: None,
            number: 0,
            slots: Vec::new(),
            opened: 0,
            opened_now: 0,
            renews: 0,
            open: false,
            others,
            task: Task::Idle,
            wanted: None,
            stale: Vec::new(),
            heard: BTreeMap::new(),
            echoes: BTreeMap::new(),
            written: 0,
            differing: BTreeMap::new(),
            complained: BTreeSet::new(),
            applicants: BTreeMap::new(),
            asked: BTreeSet::new(),
            sends: Vec::new(),
            reports: Vec::new(),
            next_say: Instant::default(),
            next_word: Instant::default(),
        };
        formation.read_next(files, None);
        formation
    }

    /// What it wants of the disk.
    pub fn commands(&mut self, ids: &mut FileIds, commands: &mut Vec<(u64, DiskCommand)>) {
        self.write_on(ids);
        commands.extend(self.wanted.take().map(|command| (TAG_TASK, command)));
        if matches!(self.task, Task::Idle) {
            commands.extend(self.stale.drain(..).map(|file| (TAG_REMOVE, DiskCommand::Remove { file })));
        }
    }

    /// The next step of writing a record: two files are there before the first is written.
    fn write_on(&mut self, ids: &mut FileIds) {
        let Task::Writing { record, opened, step: step @ None } = &mut self.task else { return };
        let bytes = record.encode(self.setup.directory, *opened, self.number + 1);
        let len = SLOT_BYTES.max(bytes.len() as u64);
        let wanted = if self.slot.is_none() { 2 } else { 1 };
        let unfit = self.slots.iter().find(|slot| !slot.sure || slot.len < len).copied();
        if unfit.is_none() && self.slots.len() >= wanted {
            let file = self.slots.first().expect("one is wanted at least").file;
            *step = Some(Step::Write(file));
            self.wanted = Some(DiskCommand::Write { file, at: 0, bytes: vec![bytes], durable: true, cold: false });
            return;
        }
        let slot = unfit.unwrap_or_else(|| {
            let slot = Slot { file: ids.mint(FileKind::Formation), len: 0, sure: false };
            self.slots.push(slot);
            slot
        });
        let len = len.max(slot.len);
        *step = Some(Step::Allocate(slot.file, len));
        self.wanted = Some(DiskCommand::Allocate { file: slot.file, len });
    }

    /// What it wants said to other brokers.
    pub fn sends(&mut self) -> Vec<(NodeId, Message)> {
        std::mem::take(&mut self.sends)
    }

    /// What the broker has to hear.
    pub fn reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    /// A disk operation came to its end.
    pub fn done(&mut self, tag: u64, result: DiskResult) {
        if tag == TAG_REMOVE {
            if let Err(error) = result {
                self.note(format!("an old formation file could not be removed: {error:?}"));
            }
            return;
        }
        match (std::mem::replace(&mut self.task, Task::Idle), result) {
            (Task::Reading { mut left, found }, Ok(DiskOutput::Read(bytes))) => {
                let (file, len) = left.pop().expect("what is read is in the list");
                self.judge(Slot { file, len, sure: false }, &bytes, left, found);
            }
            (Task::Keeping { record, slot, synced: false }, Ok(_)) => {
                self.wanted = Some(DiskCommand::Sync { files: vec![slot.file] });
                self.task = Task::Keeping { record, slot, synced: true };
            }
            (Task::Keeping { record, slot, synced: true }, Ok(_)) => {
                self.slot = Some(Slot { sure: true, ..slot });
                self.opened(Some(record));
            }
            (Task::Writing { record, opened, step: Some(Step::Allocate(file, len)) }, Ok(_)) => {
                if let Some(slot) = self.slots.iter_mut().find(|slot| slot.file == file) {
                    *slot = Slot { file, len, sure: true };
                }
                self.task = Task::Writing { record, opened, step: None };
            }
            (Task::Writing { record, opened, step: Some(Step::Write(file)) }, Ok(_)) => {
                self.wrote(record, opened, file);
            }
            // The same words will be said again, and then the disk may have room.
            (Task::Writing { step: Some(Step::Allocate(file, len)), .. }, Err(DiskError::Full)) => {
                let there = self.slots.iter().find(|slot| slot.file == file).map_or(0, |slot| slot.len);
                self.reports.push(Report::NoRoom { needed: len - there });
            }
            (Task::Writing { step: None, .. } | Task::Idle | Task::Stopped | Task::Reading { .. }, Ok(_)) => {
                unreachable!("the disk does what it was asked")
            }
            (_, Err(error)) => self.stop(Halt::DiskFailed(format!("a formation file: {error:?}"))),
        }
    }

    fn read_next(&mut self, left: Vec<(FileId, u64)>, found: Option<(Slot, Written)>) {
        if let Some((file, len)) = left.last() {
            self.wanted = Some(DiskCommand::Read { file: *file, at: 0, len: (*len).min(RECORD_BYTES_MAX) });
            self.task = Task::Reading { left, found };
            return;
        }
        // One more is enough: the longest, which lacks least of what a record may need.
        self.slots.sort_by_key(|slot| (slot.len, slot.file));
        while self.slots.len() > 1 {
            self.stale.push(self.slots.remove(0).file);
        }
        let Some((slot, written)) = found else { return self.opened(None) };
        (self.opened, self.opened_now) = (written.opened, written.opened);
        self.number = written.number;
        self.wanted = Some(DiskCommand::Allocate { file: slot.file, len: slot.len });
        self.task = Task::Keeping { record: written.record, slot, synced: false };
    }

    fn judge(&mut self, slot: Slot, bytes: &[u8], left: Vec<(FileId, u64)>, mut found: Option<(Slot, Written)>) {
        match Record::decode(bytes) {
            Ok(Written { directory, .. }) if directory != self.setup.directory => {
                let what =
                    format!("its charter was written for the directory {directory}: it was copied from elsewhere");
                self.stop(Halt::Foreign(what));
            }
            Ok(written) => {
                // Files without numbers come in the order of their age.
                if found.as_ref().is_none_or(|(_, newest)| newest.number < written.number) {
                    self.slots.extend(found.replace((slot, written)).map(|(slot, _)| slot));
                } else {
                    self.slots.push(slot);
                }
                self.read_next(left, found);
            }
            Err(NoRecord::Torn) => {
                if bytes.iter().any(|byte| *byte != 0) {
                    self.reports.push(Report::Sometimes(crate::marks::FORMATION_TORN));
                }
                self.slots.push(slot);
                self.read_next(left, found);
            }
            Err(NoRecord::Version(version)) => {
                let what = format!("its charter has format {version}, this version reads up to {RECORD_VERSION}");
                self.stop(Halt::Foreign(what));
            }
        }
    }

    /// The disk is read.
    fn opened(&mut self, record: Option<Record>) {
        self.open = true;
        match &record {
            Some(Record::Charter(charter, role)) => {
                if !charter.voters().eq(self.setup.voters.iter().copied()) {
                    let what = self.other_list(charter);
                    return self.stop(Halt::Foreign(what));
                }
                if *role == Role::Observer && self.others {
                    return self.stop(Halt::Corrupt("the data of a broker that has no part in its cluster".to_owned()));
                }
                self.reports.push(Report::Chartered(charter.clone(), *role));
            }
            Some(Record::Pledge(_)) | None if self.others => {
                return self.stop(Halt::Corrupt("there is data, but no charter says of which cluster".to_owned()));
            }
            Some(Record::Pledge(_)) | None => {}
        }
        self.record = record;
        self.found();
    }

    fn other_list(&self, charter: &Charter) -> String {
        let then: Vec<NodeId> = charter.voters().collect();
        let (then, now) = (self.show(&then), self.show(&self.setup.voters));
        format!("its cluster was formed of {then}, and it was started for {now}; told of the first, it starts")
    }

    /// A list for people.
    fn show(&self, voters: &[NodeId]) -> String {
        if voters == [self.setup.node] {
            return "a single node (no --cluster)".to_owned();
        }
        let names: Vec<String> = voters.iter().map(ToString::to_string).collect();
        format!("brokers {}", names.join(", "))
    }

    /// The first of those who were told of another list.
    fn other_lists(&self) -> String {
        let Some((node, theirs)) = self.differing.first_key_value() else { return String::new() };
        let (theirs, ours) = (self.show(theirs), self.show(&self.setup.voters));
        format!("the same list everywhere: broker {node} was started for {theirs}, this one for {ours}")
    }

    fn wrote(&mut self, record: Record, opened: u64, file: FileId) {
        let at =
            self.slots.iter().position(|slot| slot.file == file).expect("what is written to is a file for records");
        let slot = self.slots.remove(at);
        self.slots.extend(self.slot.replace(slot));
        if self.setup.mutants.planted(Mutant::WordWantsRoom) {
            self.stale.extend(self.slots.drain(..).map(|slot| slot.file));
        }
        if self.setup.mutants.planted(Mutant::OldWordsKept) {
            self.slots.clear();
        }
        self.number += 1;
        self.written += 1;
        if opened > self.opened {
            self.opened = opened;
            self.reports.push(Report::Opened);
        }
        if self.record.as_ref() == Some(&record) {
            return;
        }
        self.renews = 0;
        if let Record::Charter(charter, role) = &record {
            self.reports.push(Report::Chartered(charter.clone(), *role));
        }
        self.record = Some(record);
        self.tell();
    }

    fn note(&mut self, what: String) {
        self.reports.push(Report::Note(what));
    }

    fn stop(&mut self, why: Halt) {
        self.task = Task::Stopped;
        self.wanted = None;
        self.reports.push(Report::Stop(why));
    }

    fn idle(&self) -> bool {
        self.open && matches!(self.task, Task::Idle)
    }

    /// The charter, if this broker is a member of its cluster.
    fn membership_charter(&self) -> Option<&Charter> {
        match &self.record {
            Some(Record::Charter(charter, Role::Member(_))) => Some(charter),
            Some(Record::Charter(_, Role::Observer) | Record::Pledge(_)) | None => None,
        }
    }

    /// How far the journal of this member is known to have been opened: the sequence of a file of it that was durable.
    pub fn journal_was_opened(&self) -> u64 {
        self.opened
    }

    /// A file of the journal is durable: that is written down beside the charter, so that nobody takes a journal that has
    /// vanished, or lost its end, for one that never was. [`Report::Opened`] follows.
    pub fn journal_opened(&mut self, sequence: u64) {
        self.opened_now = self.opened_now.max(sequence);
    }

    fn owes_word(&self) -> bool {
        self.opened_now > self.opened && self.idle() && self.membership_charter().is_some()
    }

    /// How far it is.
    pub fn membership(&self) -> Membership {
        match &self.record {
            _ if !self.open => Membership::Starting,
            Some(Record::Pledge(_)) | None => Membership::Forming,
            Some(Record::Charter(_, Role::Observer)) => Membership::Observer,
            Some(Record::Charter(_, Role::Member(_))) => Membership::Member,
        }
    }

    /// The cluster it knows of; zero is none.
    pub fn cluster(&self) -> ClusterId {
        match &self.record {
            Some(Record::Charter(charter, _)) => charter.cluster,
            Some(Record::Pledge(_)) | None => ClusterId::ZERO,
        }
    }

    /// Those who asked this member.
    pub fn applicants(&self) -> &BTreeMap<NodeId, Applicant> {
        &self.applicants
    }

    /// The applicants that asked since this was called last: if one is admitted, it is to be told. With each, the disk it asks
    /// for, and the life in which a member asks for another replica id.
    pub fn asked(&mut self) -> Vec<(NodeId, DirectoryId, u64)> {
        let asked = std::mem::take(&mut self.asked);
        let applicant = |node| self.applicants.get(&node).map(|one| (node, one.directory, one.renews));
        asked.into_iter().filter_map(applicant).collect()
    }

    /// This member can not be the replica of the controller that it was: it asks for another id. `boot` counts its lives.
    /// [`Report::Chartered`] says which it is.
    pub fn renew(&mut self, boot: u64) {
        assert!(self.membership_charter().is_some() && boot > 0, "who is no replica yet asks to be admitted");
        self.renews = boot;
    }

    /// What it waits for, to be read behind "waiting for".
    pub fn waits_for(&self) -> String {
        let setup = &self.setup;
        match self.membership() {
            Membership::Starting => "recovery from the disk".to_owned(),
            Membership::Member if self.renews > 0 => {
                "another replica of the controller: its journal was damaged".to_owned()
            }
            Membership::Member => String::new(),
            Membership::Observer => {
                "admission: this broker's disk is empty, and the cluster was formed without it (`tidelog cluster admit`)"
                    .to_owned()
            }
            Membership::Forming if !self.differing.is_empty() => self.other_lists(),
            Membership::Forming if self.is_founder() => {
                let missing = self.others().find(|node| !self.is_pledged(*node));
                missing.map_or("the disk".to_owned(), |node| format!("broker {node} to form the cluster"))
            }
            Membership::Forming if setup.voters.contains(&setup.node) => {
                format!("broker {} to form the cluster", self.founding_node())
            }
            Membership::Forming => format!("{} to form the cluster", self.show(&setup.voters)),
        }
    }
}
