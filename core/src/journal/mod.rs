//! The journal: the one append-only write-ahead log of a broker, shared by all of its Raft groups.
//!
//! A **block** is what one durable write makes safe. Exactly one is in flight; what arrives meanwhile gathers for the next:
//! group commit without a timer. Since one block is in flight, anything valid of block n+1 proves that n was synced: damage
//! in the last block is a torn write and is cut, damage before it is corruption and suspends the groups it hit.
//!
//! Promises:
//! - What was appended with ticket `t` survives any crash once [`Journal::durable`] is at least `t`.
//! - What recovery gives of a group is a state the group passed through: never invented, never silently shortened.
//! - A file is reused only when a later base is synced and no group needs its entries.
//! - It reads and acknowledges nothing that is not durable, and writes only into allocated space.
//!
//! Does not know Kafka, the rules of Raft, or when to checkpoint: it knows groups, append numbers, entries, hard states and
//! marks. It asks for disk commands and is told when they are done.
//!
//! Not here yet: surplus recycled files are never removed.

mod base;
mod block;
mod cursor;
mod frame;
mod gather;
mod judge;
mod recovery;
mod table;
mod writer;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::effect::{DiskCommand, DiskResult};
use crate::id::{ClusterId, DirectoryId, FileId, FileIds, GroupId, Index, ReplicaId, Term};
use crate::mutants::Mutants;
use recovery::{Recovery, Step};
use writer::Writer;

/// The version of the format this build writes, and the newest it reads.
pub const FORMAT_VERSION: u32 = 2;

/// One entry of a group's Raft log. All but index and term is opaque here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its place in the log.
    pub index: Index,
    /// The term that proposed it.
    pub term: Term,
    /// What it is; the journal does not care.
    pub kind: u8,
    /// What the proposer said about it.
    pub context: Bytes,
    /// The payload, shared and never copied.
    pub data: Bytes,
}

/// What a Raft group must not forget about its term. Zeros before the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HardState {
    /// The latest term seen.
    pub term: Term,
    /// Who got the vote in it; zero is nobody.
    pub vote: ReplicaId,
    /// What is known to be committed.
    pub commit: Index,
}

/// A checkpoint mark: replaces the group's previous mark as a whole, or not at all. It lets go of the entries it covers: the
/// journal is for recovery, and recovery needs only what no checkpoint has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// What the checkpoint covers. Never goes back.
    pub applied: Index,
    /// The term of the entry there.
    pub applied_term: Term,
    /// Manifest, conf state and the like; opaque.
    pub body: Bytes,
}

/// Sizes. Sectors may change between boots; a file keeps those it was written with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The length of a file once many are filled; a larger block makes a larger file.
    pub file_bytes: u64,
    /// The length of the first file of a life; each that is filled doubles it, up to `file_bytes`.
    pub file_bytes_first: u64,
    /// What all files may take while little is written ([`Journal::look`]).
    pub rest_bytes: u64,
    /// Near this many files [`Journal::pressure`] holds. More are made rather than wedging marks that would release some:
    /// the disk has the last word.
    pub files_max: u32,
    /// Above this many files in use [`Journal::relief`] names groups.
    pub files_target: u32,
    /// What the disk writes as one: at least 512, a power of two.
    pub sector_bytes: u32,
    /// What is gathered into one block; one larger frame makes a block of its own.
    pub block_bytes_max: u64,
}

/// Whose journal it is. The boot counter must be higher than in any earlier life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The formatted directory.
    pub directory: DirectoryId,
    /// This incarnation.
    pub boot: u64,
}

/// Ordered: what was appended with a ticket is durable once [`Journal::durable`] is at least that ticket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Ticket(pub u64);

/// Where recovery cut the remains of a torn block off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// The sequence of the file.
    pub sequence: u64,
    /// The number of the torn block.
    pub block: u64,
    /// The first byte that is not believed.
    pub at: u64,
}

/// Synced bytes that are not what was written, or not there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The sequence of the file.
    pub sequence: u64,
    /// Where the first damaged block begins.
    pub at: u64,
    /// The first damaged block; zero where a whole file is missing, or its beginning.
    pub first_block: u64,
    /// The last damaged block.
    pub last_block: u64,
    /// The groups that the surviving directories name; `None` if some block lost both of its directories.
    pub groups: Option<BTreeSet<GroupId>>,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sequence, at, first_block, last_block, groups: _ } = self;
        match (sequence, first_block) {
            (0, _) => write!(f, "entries of the journal are missing"),
            (_, 0) => write!(f, "journal file {sequence} is missing, or its beginning is damaged"),
            _ => write!(f, "journal file {sequence} is damaged at byte {at} (blocks {first_block} to {last_block})"),
        }
    }
}

/// What recovery found of one group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecoveredGroup {
    /// The last hard state.
    pub hard: HardState,
    /// The last mark.
    pub mark: Option<Mark>,
    /// Contiguous, from behind what the mark covers, as the last truncations and appends left them.
    pub entries: Vec<Entry>,
}

/// What recovery found. Durable when reported, and so is what it says of cuts and suspensions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    /// The groups that are whole.
    pub groups: BTreeMap<GroupId, RecoveredGroup>,
    /// Groups that damage hit, now or in an earlier life, and that were not forgotten since: no vote, no acknowledgement.
    pub suspended: BTreeSet<GroupId>,
    /// Damage whose groups are unknown: every group that is not in `groups` is suspended, until [`Journal::absolve`].
    pub all_suspended: bool,
    /// The remains of a torn block that this recovery cut off.
    pub cut: Option<Cut>,
}

/// What a finished disk command led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Done {
    /// Everything up to this ticket is durable.
    Durable(Ticket),
    /// The journal is open.
    Recovered(Box<Recovered>),
    /// Recovery found damage; for the operator. What it means for the groups is said by [`Done::Recovered`].
    Corrupt(Damage),
    /// The files belong to someone else or to a newer version. The journal does nothing more.
    Foreign(String),
    /// A write, sync or read failed: nobody knows what is on the disk. The journal does nothing more; the host halts.
    Failed(String),
    /// The disk has no room for another file. Tried again when something more is appended, or after
    /// [`Journal::retry`].
    Full {
        /// How many bytes it was asked for.
        needed: u64,
    },
}

/// The journal of one broker.
#[derive(Debug)]
pub struct Journal {
    state: State,
    mutants: Mutants,
}

#[derive(Debug)]
enum State {
    Recovering(Box<Recovery>),
    /// The first base, which makes the recovery itself durable, may be on its way: then `recovered` waits for it.
    Open {
        writer: Box<Writer>,
        recovered: Option<Box<Recovered>>,
    },
    Stopped,
}

impl Journal {
    /// Begins recovery from the journal files of a listing (ids and lengths), or a new journal if there are none.
    ///
    /// [`Done::Recovered`] ends it. Until then nothing may be appended.
    pub fn open(settings: Settings, identity: Identity, files: Vec<(FileId, u64)>) -> Self {
        let sector = settings.sector_bytes;
        assert!(sector >= 512 && sector.is_power_of_two(), "sectors are 512 bytes or more");
        let state = State::Recovering(Box::new(Recovery::new(settings, identity, files)));
        Self { state, mutants: Mutants::default() }
    }

    /// Says, before anything else happens, that the file of this sequence was durable once ([`Journal::opened`]): if nothing as
    /// new is there, the end of the journal has vanished.
    pub fn expect(&mut self, sequence: u64) {
        if let State::Recovering(recovery) = &mut self.state {
            recovery.expected = sequence;
        }
    }

    /// Plants a bug, before anything else happens.
    pub(crate) fn plant(&mut self, mutants: Mutants) {
        self.mutants = mutants;
        if let State::Recovering(recovery) = &mut self.state {
            recovery.mutants = mutants;
        }
    }

    fn gather(&mut self, gather: impl FnOnce(&mut Writer) -> Ticket) -> Ticket {
        match &mut self.state {
            State::Open { writer, recovered: None } => gather(writer),
            State::Open { recovered: Some(_), .. } | State::Recovering(_) => {
                panic!("the journal has not recovered yet")
            }
            // The host halts after this step; nothing of it will ever be durable.
            State::Stopped => Ticket(u64::MAX),
        }
    }

    /// A fresh append, one frame: all of it survives a crash, or nothing. Truncation happens by the explicit field alone,
    /// before the entries are added; these follow the last index that is left.
    pub fn append(
        &mut self,
        group: GroupId,
        entries: Vec<Entry>,
        truncate_from: Option<Index>,
        hard: Option<HardState>,
    ) -> Ticket {
        self.gather(|writer| writer.append(group, entries, truncate_from, hard))
    }

    /// A new hard state. `lazily` (only the commit changed): it rides along with the next block and never starts a write.
    pub fn hard_state(&mut self, group: GroupId, hard: HardState, lazily: bool) -> Ticket {
        self.gather(|writer| writer.hard_state(group, hard, lazily))
    }

    /// A new checkpoint mark.
    pub fn mark(&mut self, group: GroupId, mark: Mark) -> Ticket {
        self.gather(|writer| writer.mark(group, mark))
    }

    /// A mark of what was copied from elsewhere: it lets go of every entry of the group, also of those behind what it covers,
    /// for they follow something else. One frame: the group is what it was, or what the mark says.
    pub fn install(&mut self, group: GroupId, mark: Mark) -> Ticket {
        self.gather(|writer| writer.install(group, mark))
    }

    /// Writes entries again that are still needed, so that old files can be released. They keep their append number and
    /// never truncate; those no longer live are left out.
    pub fn carry(&mut self, group: GroupId, entries: Vec<Entry>) -> Ticket {
        self.gather(|writer| writer.carry(group, entries))
    }

    /// The group is gone for good, or its suspended remains are given up. It may be made again, as a new replica.
    pub fn forget(&mut self, group: GroupId) -> Ticket {
        self.gather(|writer| writer.forget(group))
    }

    /// Ends [`Recovered::all_suspended`]: the owner knows which groups it had. These stay suspended, the others have been dealt
    /// with.
    pub fn absolve(&mut self, suspended: Vec<GroupId>) -> Ticket {
        self.gather(|writer| writer.absolve(suspended))
    }

    /// What to ask of the disk. Called at the end of each step: if no block is in flight and something must be written,
    /// everything gathered is sealed into one block. Each command is answered once by [`Journal::done`] with its tag.
    pub fn commands(&mut self, ids: &mut FileIds, out: &mut Vec<(u64, DiskCommand)>) {
        match &mut self.state {
            State::Recovering(recovery) => recovery.commands(out),
            State::Open { writer, .. } => writer.commands(ids, out),
            State::Stopped => {}
        }
    }

    /// A command came to its end.
    pub fn done(&mut self, tag: u64, result: DiskResult) -> Vec<Done> {
        let mut out = Vec::new();
        match &mut self.state {
            State::Recovering(recovery) => match recovery.done(tag, result, &mut out) {
                Step::Reading => {}
                Step::Stopped => self.state = State::Stopped,
                Step::Found(mut writer, recovered) => {
                    writer.mutants = self.mutants;
                    self.state = State::Open { writer, recovered: Some(recovered) };
                }
            },
            State::Open { writer, recovered } => {
                let open = writer.done(tag, result, &mut out);
                if writer.is_open() {
                    out.extend(recovered.take().map(Done::Recovered));
                }
                if !open {
                    self.state = State::Stopped;
                }
            }
            State::Stopped => {}
        }
        out
    }

    fn open_writer(&self) -> Option<&Writer> {
        match &self.state {
            State::Open { writer, .. } => Some(writer),
            State::Recovering(_) | State::Stopped => None,
        }
    }

    /// The sequence of the newest file of this life that is durable; zero before there is one.
    pub fn opened(&self) -> u64 {
        self.open_writer().and_then(Writer::opened).unwrap_or(0)
    }

    /// Everything up to this ticket is durable.
    pub fn durable(&self) -> Ticket {
        self.open_writer().map_or(Ticket(0), Writer::durable)
    }

    /// Nothing is in flight or waiting, and damage in the last block would pass for a torn write: time to [`Journal::seal`].
    pub fn is_idle_unsealed(&self) -> bool {
        self.open_writer().is_some_and(Writer::is_idle_unsealed)
    }

    /// Lets an allocation that met a full disk ([`Done::Full`]) be tried again: called now and then.
    pub fn retry(&mut self) {
        if let State::Open { writer, .. } = &mut self.state {
            writer.retry();
        }
    }

    /// Looks how much was written since it was called last: while that is little, the journal gives back what is above its
    /// rest, and keeps one file ready to turn to. To be called now and then.
    pub fn look(&mut self) {
        if let State::Open { writer, .. } = &mut self.state {
            writer.look();
        }
    }

    /// Whether little was written when that was looked at last.
    pub fn is_quiet(&self) -> bool {
        self.open_writer().is_some_and(Writer::is_quiet)
    }

    /// Asks for an empty block, which proves that the one before it was synced.
    pub fn seal(&mut self) {
        if let State::Open { writer, .. } = &mut self.state {
            writer.seal();
        }
    }

    /// Groups whose entries keep the oldest files in use while more are in use than the target, or take more than they may while
    /// little is written: to be checkpointed or carried. Suspended groups are not among them: they are to be forgotten.
    pub fn relief(&self) -> Vec<GroupId> {
        self.open_writer().map_or_else(Vec::new, Writer::relief)
    }

    /// How many files hold what some group needs, the one being written included.
    pub fn files_needed(&self) -> u64 {
        self.open_writer().map_or(0, |writer| writer.needed() as u64)
    }

    /// The disk had no room for another file, and still has none as far as is known: only what has to be is to be appended.
    pub fn is_full(&self) -> bool {
        self.open_writer().is_some_and(Writer::is_full)
    }

    /// How many bytes the disk refused last.
    pub fn refused(&self) -> u64 {
        self.open_writer().map_or(0, Writer::refused)
    }

    /// Whether entries of so many bytes that can be had again may be appended: always, unless the disk is full.
    pub fn takes(&self, bytes: u64) -> bool {
        self.open_writer().is_none_or(|writer| writer.takes(bytes))
    }

    /// Capacity is nearly exhausted: new produces are refused until marks have released some.
    pub fn pressure(&self) -> bool {
        self.open_writer().is_some_and(Writer::pressure)
    }

    /// Whether something is to be written, and nothing is under way that would lead to it, not even the wait for a disk that is full.
    /// Never after [`Journal::commands`].
    pub fn is_stalled(&self) -> bool {
        self.open_writer().is_some_and(Writer::is_stalled)
    }

    /// Asserts the invariants.
    pub fn check(&self) {
        if let Some(writer) = self.open_writer() {
            writer.check();
        }
    }
}
