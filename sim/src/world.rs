//! The world: brokers, clients, network, disks and clocks under one queue of virtual time.
//!
//! One thread, one seed: the same scenario and plan give the same steps, byte for byte, in every build. Everything that
//! happens goes through [`World::happen`], one thing at a time, and is chained into the trace hash.

mod brokers;
mod clients;
mod concern;
mod door;
mod epilogue;
mod finish;
mod full;
mod hoard;
mod strike;
mod trial;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tidelog_core::broker::Status;
use tidelog_core::client;
use tidelog_core::compute::Output;
use tidelog_core::id::{ClusterId, DirectoryId, GroupId, JobId, OpId};
use tidelog_core::mutants::Mutants;
use tidelog_core::rng::Rng;

use crate::board::Board;
use crate::clock::{Alarm, Clock};
use crate::digest::Digest;
use crate::host::Host;
use crate::net::{How, Net};
use crate::oracle::{Oracle, Owed};
use crate::plan::Plan;
use crate::program::Program;
use crate::record::Recorder;
use crate::scenario::Scenario;
use crate::skips::Skips;
use crate::story::Story;
use crate::streams;
use crate::tally::Tally;
use crate::trace::Sink;
use crate::wire::{Way, Wire};
use crate::workload;

/// How a run is watched. None of it changes what happens.
#[derive(Default)]
pub struct Options {
    /// Planted bugs in every broker.
    pub mutants: Mutants,
    /// Gets a line for everything that happens.
    pub trace: Option<Sink>,
    /// Stop after so many steps, and judge nothing.
    pub until: Option<u64>,
}

/// What comes to pass at a moment of the queue. Brokers are named by place and incarnation, so that the dead get nothing.
#[derive(Debug)]
enum Happening {
    Boot { place: u32, life: u64 },
    Turn { place: u32, life: u64, at: u64 },
    Wake { place: u32, life: u64, at: u64 },
    DiskDone { place: u32, life: u64, op: OpId },
    Computed { place: u32, life: u64, job: JobId, output: Output },
    Peer { from: u32, to: u32, frame: Bytes, how: How },
    Lost { from: u32, to: u32 },
    Accept { wire: u64 },
    Connected { wire: u64 },
    Refused { client: u32, life: u64, name: u64 },
    ProgramWake { client: u32, at: u64 },
    Stream { wire: u64, way: Way },
    BrokerHangsUp { wire: u64 },
    ClientHangsUp { wire: u64 },
    ClientWake { client: u32, at: u64 },
    Strike { fault: usize },
    Mend { id: u64 },
    Restart { place: u32, life: u64 },
    Stop { place: u32, down: u64 },
    Ambush { place: u32, life: u64 },
    Trial { place: u32, left: u64 },
    FullKill { place: u32, down: u64 },
    FullCheck { place: u32, life: u64 },
    ClientBack { client: u32, life: u64 },
    Heal,
    Check,
    Birth,
}

/// A client process and its clocks.
#[derive(Debug)]
struct Client {
    /// How often it was started again.
    life: u64,
    /// Killed, and not back yet.
    down: bool,
    program: Box<dyn Program>,
    /// It speaks to brokers itself.
    raw: bool,
    client: client::Client,
    clock: Clock,
    alarm: Alarm,
    thinks: Alarm,
    rng: Rng,
    wires: BTreeMap<u64, u64>,
    /// Gaps in the sequences of what it writes.
    skips: Option<Skips>,
}

/// Where the run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Faults strike.
    Chaos,
    /// Everything is healed; clients finish what they began.
    Settling { deadline: u64, quiet_from: u64 },
    /// Acts whose time is measured.
    Ending,
    /// Fresh consumers read everything.
    Reading { deadline: u64 },
    /// Everything is read; what brokers still owe they have a while to give.
    Closing { until: u64 },
    /// It is over.
    Done,
}

/// A simulated cluster and its clients.
pub struct World {
    scenario: Scenario,
    plan: Plan,
    now: u64,
    steps: u64,
    queue: crate::queue::Queue<Happening>,
    net: Net,
    hosts: Vec<Host>,
    clients: Vec<Client>,
    wires: BTreeMap<u64, Wire>,
    next_wire: u64,
    next_fault: u64,
    /// Until then links between brokers suffer from faults.
    rough_until: u64,
    nemesis: Rng,
    ambusher: Rng,
    word_rng: Rng,
    lost_rng: Rng,
    deletion_rng: Rng,
    ambushes_left: u64,
    phase: Phase,
    digest: Digest,
    story: Story,
    tally: Tally,
    oracle: Oracle,
    record: Recorder,
    trace: Option<Sink>,
    until: Option<u64>,
    board: Board,
    wishes: Vec<client::Effect>,
    since_check: u32,
    owed: Owed,
    hoard: hoard::Hoard,
    /// Replicas whose configuration is joint, as far as they know.
    unsettled: BTreeSet<(u32, GroupId)>,
    /// Disks that are no more, and since when.
    gone: Vec<(DirectoryId, u64)>,
    /// Clusters somebody has been founded into.
    founded: BTreeSet<ClusterId>,
    ending: epilogue::Ending,
    mutants: Mutants,
    /// Who takes a step, while it does.
    work: Option<concern::Work>,
}

/// Every so many steps of a broker all of its invariants are asserted, whatever it touched.
const CHECK_EVERY: u32 = 500;

impl World {
    /// A world before its first moment.
    pub fn new(scenario: Scenario, plan: Plan, options: Options) -> Self {
        let seed = scenario.seed;
        let mut world = Self {
            now: 0,
            steps: 0,
            queue: crate::queue::Queue::new(),
            net: Net::new(seed, scenario.brokers, scenario.weather),
            hosts: (0..scenario.brokers).map(|place| Host::new(place, &scenario, options.mutants)).collect(),
            clients: Vec::new(),
            wires: BTreeMap::new(),
            next_wire: 1,
            next_fault: 1,
            rough_until: 0,
            nemesis: Rng::stream(seed, &[streams::NEMESIS]),
            ambusher: Rng::stream(seed, &[streams::AMBUSH]),
            word_rng: Rng::stream(seed, &[streams::WORD]),
            deletion_rng: Rng::stream(seed, &[streams::SLOW_DELETION]),
            lost_rng: Rng::stream(seed, &[streams::LOST]),
            ambushes_left: scenario.rates.ambush,
            phase: Phase::Chaos,
            digest: Digest::default(),
            story: Story::default(),
            tally: Tally::default(),
            oracle: Oracle::new(scenario.sizes.producers, scenario.sizes.producer_silence / 1_000),
            record: Recorder::default(),
            trace: options.trace,
            until: options.until,
            board: Board::default(),
            wishes: Vec::new(),
            since_check: 0,
            owed: Owed::new(),
            hoard: hoard::Hoard::new(seed, scenario.held),
            unsettled: BTreeSet::new(),
            gone: Vec::new(),
            founded: BTreeSet::new(),
            ending: epilogue::Ending::default(),
            mutants: options.mutants,
            work: None,
            scenario,
            plan,
        };
        world.digest.word(seed);
        let last = world.nemesis.below(u64::from(world.scenario.brokers)) as u32;
        let mortal = world.scenario.topics.iter().filter(|topic| topic.deletions > 0);
        world.record.mortal(mortal.map(|topic| topic.name.clone()).collect());
        for place in 0..world.scenario.brokers {
            let late = if place == last { world.scenario.late } else { 0 };
            let at = world.nemesis.below(world.scenario.spread) + late;
            world.queue.push(at, Happening::Boot { place, life: 0 });
        }
        for program in workload::programs(&world.scenario) {
            world.add_client(program, 20_000);
        }
        // The first client makes the topics, then come the producers.
        for (client, spec) in (1..).zip(&world.scenario.producers) {
            let rng = Rng::stream(seed, &[streams::SKIPS, client]);
            world.clients[client as usize].skips = (spec.skips > 0).then(|| Skips::new(spec.skips, rng));
        }
        for (fault, timed) in world.plan.faults.iter().enumerate() {
            world.queue.push(timed.at, Happening::Strike { fault });
        }
        let heal = world.scenario.chaos;
        world.queue.push(heal, Happening::Heal);
        world.queue.push(world.born_by(), Happening::Birth);
        world
    }

    fn add_client(&mut self, program: Box<dyn Program>, within: u64) {
        let client = self.clients.len() as u32;
        let mut rng = Rng::stream(self.scenario.seed, &[streams::WIRE, u64::from(client)]);
        let clock = Clock::draw(self.now, 0, &mut rng);
        let mut thinks = Alarm::default();
        let first = self.now + rng.below(within);
        if let Some(at) = thinks.set(first) {
            self.queue.push(at, Happening::ProgramWake { client, at });
        }
        self.clients.push(Client {
            life: 0,
            down: false,
            client: client::Client::new(client::Config { mutants: self.mutants, ..program.config() }),
            raw: program.is_raw(),
            program,
            clock,
            alarm: Alarm::default(),
            thinks,
            rng,
            wires: BTreeMap::new(),
            skips: None,
        });
    }

    /// Runs to the end: until everything was judged, an invariant broke, or the step asked for was reached.
    pub fn run(&mut self) {
        while self.phase != Phase::Done {
            let Some((at, what)) = self.queue.pop() else {
                unreachable!("before the end there is always a check to come")
            };
            debug_assert!(at >= self.now, "time does not go back");
            self.now = at;
            self.happen(what);
            if self.oracle.broken() || self.was_cut_short() {
                self.phase = Phase::Done;
            }
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Boot { place, life } => self.boot(place, life),
            Happening::Turn { place, life, at } => self.turn(place, life, at),
            Happening::Wake { place, life, at } => self.wake(place, life, at),
            Happening::DiskDone { place, life, op } => self.disk_done(place, life, op),
            Happening::Computed { place, life, job, output } => {
                self.deliver(place, life, tidelog_core::effect::Input::Computed { job, output });
            }
            Happening::Peer { from, to, frame, how } => self.peer_arrives(from, to, frame, how),
            Happening::Lost { from, to } => self.peer_lost(from, to),
            Happening::Accept { wire } => self.accept(wire),
            Happening::Connected { wire } => self.connected(wire),
            Happening::Refused { client, life, name } => self.refused(client, life, name),
            Happening::Stream { wire, way } => self.stream(wire, way),
            Happening::BrokerHangsUp { wire } => self.gone_at_broker(wire),
            Happening::ClientHangsUp { wire } => self.gone_at_client(wire),
            Happening::ClientWake { client, at } => self.client_wake(client, at),
            Happening::ProgramWake { client, at } => self.program_wake(client, at),
            Happening::Strike { fault } => self.strike(fault),
            Happening::Mend { id } => self.mend(id),
            Happening::Restart { place, life } => self.restart(place, life),
            Happening::Stop { place, down } => self.ask_to_stop(place, down),
            Happening::Ambush { place, life } => self.ambush(place, life),
            Happening::Trial { place, left } => self.trial(place, left),
            Happening::FullKill { place, down } => self.full_kill(place, down),
            Happening::FullCheck { place, life } => self.full_check(place, life),
            Happening::ClientBack { client, life } => self.client_back(client, life),
            Happening::Heal => self.heal(),
            Happening::Check => self.check_progress(),
            Happening::Birth => self.judge_birth(),
        }
    }

    /// Virtual microseconds since the start.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Steps brokers took.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The chained hash of everything that happened so far.
    pub fn trace_hash(&self) -> u64 {
        self.digest.value()
    }

    /// Whether it was ended by [`Options::until`]: then nothing was judged that is judged at the end.
    pub fn was_cut_short(&self) -> bool {
        self.until.is_some_and(|until| self.steps >= until)
    }

    /// What has been counted so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The moments worth telling so far.
    pub fn story(&self) -> &Story {
        &self.story
    }

    /// What every broker says of itself now; nothing if it does not run.
    pub fn statuses(&self) -> Vec<(u32, Option<Status>)> {
        let status = |host: &Host| host.process.as_ref().map(|process| process.broker.status());
        self.hosts.iter().map(|host| (host.place + 1, status(host))).collect()
    }

    /// What the clients did and saw so far, as JSON lines.
    pub fn history(&self) -> String {
        self.record.history().to_json_lines()
    }

    /// The scenario and plan that run.
    pub fn inputs(&self) -> (&Scenario, &Plan) {
        (&self.scenario, &self.plan)
    }

    fn line(&mut self, place: Option<u32>, text: impl FnOnce() -> String) {
        if let Some(sink) = &mut self.trace {
            sink(crate::trace::Line {
                at: self.now,
                step: self.steps,
                node: place.map(|place| place + 1),
                text: text(),
            });
        }
    }

    /// A moment worth telling: into the story, the trace and the hash.
    fn tell(&mut self, place: Option<u32>, text: String) {
        self.digest.word(self.now);
        self.digest.bytes(text.as_bytes());
        self.line(place, || format!("*** {text}"));
        self.story.tell(self.now, self.steps, place.map(|place| place + 1), text);
    }
}
