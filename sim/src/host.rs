//! One machine and the broker process on it: what lasts (disk, identity, boot counter) and what dies with the process.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidelog_core::broker::{Boot, Broker, Config};
use tidelog_core::effect::{Effects, Input};
use tidelog_core::id::{ConnId, DirectoryId, FileId, NodeId, OpId};
use tidelog_core::mutants::Mutants;
use tidelog_core::rng::Rng;

use crate::clock::{Alarm, Clock};
use crate::disk::Disk;
use crate::scenario::Scenario;
use crate::streams;

/// One machine.
#[derive(Debug)]
pub(crate) struct Host {
    /// From 0; the broker's `node.id` is one more.
    pub(crate) place: u32,
    pub(crate) config: Config,
    pub(crate) disk: Disk,
    /// How often the process was started; names the incarnation.
    pub(crate) life: u64,
    /// How often it was started on this disk.
    boots: u64,
    /// How many disks it has had before.
    pub(crate) wiped: u64,
    /// Whether this disk is a member's.
    pub(crate) member: bool,
    pub(crate) process: Option<Process>,
    /// Faults that strike operations of the disk.
    pub(crate) stalled_until: u64,
    pub(crate) fail_next: Option<u64>,
    /// When its journal was last written to.
    pub(crate) journal_at: u64,
    /// How often it wrote to its journal, and how often before everything was read.
    pub(crate) journal_writes: u64,
    pub(crate) writes_before: u64,
    /// How often its brokers took a step.
    pub(crate) steps: u64,
    /// The last moment until which it was in no state to answer in time: it stood still, or its disk was slow.
    pub(crate) excused_until: u64,
    /// The most files its journal needed at a time since its disk was empty.
    pub(crate) journal_needed: u64,
    /// When it last began to take part.
    pub(crate) started_at: Option<u64>,
    /// How often it carried entries.
    pub(crate) carried: u64,
    /// That one is not of the journal.
    pub(crate) fail_beside: bool,
    /// An operation has failed: how long the machine is down once the process has ended for it.
    pub(crate) failed: Option<u64>,
    /// Until then the disk has no space left.
    pub(crate) full_until: u64,
    /// When the process was started last, and the last life that has recovered.
    pub(crate) booted_at: u64,
    pub(crate) started: u64,
    /// Its broker ran on this disk for a while when it had room: from then on it can be started on a full one.
    pub(crate) prepared: bool,
    /// The process was asked to stop, and is started again so long after it did.
    pub(crate) stop_asked: Option<u64>,
    /// A bit of its disk has flipped.
    pub(crate) rotten: bool,
    /// It has healed since: nothing that is damaged now was damaged by us.
    pub(crate) healed: bool,
    /// It gave up for good, and by right.
    pub(crate) lost: bool,
    /// The moment until which the process stands still.
    pub(crate) paused_until: u64,
    pub(crate) wall_offset_ms: i64,
    pub(crate) step_rng: Rng,
    pub(crate) disk_rng: Rng,
    pub(crate) crash_rng: Rng,
    seed: u64,
}

/// One incarnation of a broker.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) broker: Broker,
    /// When it was started.
    pub(crate) born: u64,
    /// It has written to a formation file.
    pub(crate) wrote_word: bool,
    pub(crate) clock: Clock,
    pub(crate) inbox: VecDeque<Input>,
    /// The moment of the next step, if one is planned.
    pub(crate) turn: Option<u64>,
    pub(crate) busy_until: u64,
    pub(crate) alarm: Alarm,
    pub(crate) next_conn: u64,
    pub(crate) wires: BTreeMap<ConnId, u64>,
    /// Connections the broker has closed, and not yet been told that they are gone.
    pub(crate) closing: BTreeSet<ConnId>,
    /// An operation that failed, and the files it was for: when it is told, the process ends, if it still needs them.
    pub(crate) fatal: Option<(OpId, Vec<FileId>)>,
    pub(crate) effects: Effects,
}

/// The id that a broker's `disk`-th disk gets when it is formatted.
fn directory(seed: u64, node: u32, disk: u64) -> DirectoryId {
    let mut rng = Rng::stream(seed, &[streams::IDENTITY, u64::from(node), disk]);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&rng.next_u64().to_be_bytes());
    bytes[8..].copy_from_slice(&rng.next_u64().to_be_bytes());
    DirectoryId(bytes)
}

impl Host {
    /// The machine at this place, its process not started.
    pub(crate) fn new(place: u32, scenario: &Scenario, mutants: Mutants) -> Self {
        let node = place + 1;
        let seed = scenario.seed;
        let at = u64::from(place);
        let mut clock_rng = Rng::stream(seed, &[streams::CLOCK, at]);
        Self {
            place,
            config: Config {
                node: NodeId(node),
                directory: directory(seed, node, 0),
                voters: (1..=scenario.voters).map(NodeId).collect(),
                host: format!("broker-{node}"),
                port: 9092,
                rack: None,
                auto_create: false,
                settings: scenario.settings(),
                mutants,
            },
            disk: Disk::default(),
            life: 0,
            boots: 0,
            wiped: 0,
            member: false,
            process: None,
            stalled_until: 0,
            fail_next: None,
            journal_at: 0,
            journal_writes: 0,
            writes_before: 0,
            journal_needed: 0,
            started_at: None,
            carried: 0,
            steps: 0,
            excused_until: 0,
            fail_beside: false,
            failed: None,
            full_until: 0,
            booted_at: 0,
            started: 0,
            prepared: false,
            stop_asked: None,
            rotten: false,
            healed: false,
            lost: false,
            paused_until: 0,
            wall_offset_ms: clock_rng.below(401) as i64 - 200,
            step_rng: Rng::stream(seed, &[streams::PROCESS, at]),
            disk_rng: Rng::stream(seed, &[streams::DISK, at]),
            crash_rng: Rng::stream(seed, &[streams::CRASH, at]),
            seed,
        }
    }

    /// Starts the process: a new incarnation with a boot seed of its own.
    pub(crate) fn boot(&mut self, now: u64) -> &mut Process {
        self.life += 1;
        self.boots += 1;
        self.booted_at = now;
        let at = u64::from(self.place);
        let boot =
            Boot { counter: self.boots, seed: Rng::stream(self.seed, &[streams::BOOT, at, self.life]).next_u64() };
        let mut clock_rng = Rng::stream(self.seed, &[streams::CLOCK, at, self.life]);
        self.process.insert(Process {
            broker: Broker::new(self.config.clone(), boot),
            born: now,
            wrote_word: false,
            clock: Clock::draw(now, self.wall_offset_ms, &mut clock_rng),
            inbox: VecDeque::new(),
            turn: None,
            busy_until: now,
            alarm: Alarm::default(),
            next_conn: 1,
            wires: BTreeMap::new(),
            closing: BTreeSet::new(),
            fatal: None,
            effects: Effects::default(),
        })
    }

    /// Puts an empty disk, formatted anew, into the machine, whose process does not run.
    pub(crate) fn wipe(&mut self) {
        assert!(self.process.is_none(), "a disk is replaced while the machine is off");
        self.disk = Disk::default();
        self.journal_needed = 0;
        self.wiped += 1;
        self.boots = 0;
        self.member = false;
        self.prepared = false;
        self.config.directory = directory(self.seed, self.place + 1, self.wiped);
    }

    /// Whether it has been running since a moment, with nothing wrong with its disk or its process but want of space.
    pub(crate) fn is_well_since(&self, at: u64) -> bool {
        let sound = !self.rotten && !self.lost && self.fail_next.is_none() && self.failed.is_none();
        let steady = self.stalled_until <= at && self.paused_until <= at;
        self.process.is_some() && self.booted_at <= at && sound && steady
    }

    /// The process of this incarnation, if it still lives.
    pub(crate) fn alive(&mut self, life: u64) -> Option<&mut Process> {
        if self.life == life { self.process.as_mut() } else { None }
    }
}
