//! The broker: routes inputs to the rooms of the house, and their wishes out.
//!
//! One step is: take the input in (it touches groups, calls, the journal), settle every touched group (Raft, journal, state
//! machine, answers), then ask for what is left to do (disk, peers, the next wake). Rooms: [`forming`] finds out of which
//! cluster it is, [`startup`] brings the broker back from its disk, [`turn`] settles, [`session`] keeps connections,
//! [`produce`] (with [`turned_away`] and [`timestamps`]), [`fetch`], [`offsets`] and [`admin`] answer, [`copying`] brings followers that are far
//! behind files, [`healing`] those whose files are damaged, [`suspended`] gives up what a damaged journal lost, [`preferred`]
//! gives leadership back, [`stopping`] gives it up, [`submit`] talks to the controller, [`waits`] asserts that nobody waits in
//! vain, [`replica`] and [`machine`] are one group and what it folds into.

mod admin;
mod audit;
mod config;
mod copying;
mod entry;
mod fetch;
mod forming;
mod healing;
mod machine;
mod mark;
mod offsets;
mod preferred;
mod pressure;
mod produce;
mod quorum;
mod replica;
mod session;
mod startup;
mod status;
mod stopping;
mod submit;
mod suspended;
mod timestamps;
mod turn;
mod turned_away;
mod waits;

use std::collections::{BTreeMap, BTreeSet};

pub use audit::{Audit, GroupAudit, Space};
pub use config::{Boot, Config, Settings};
pub use status::{GroupStatus, Status};

use crate::controller::image::Image;
use crate::effect::{DiskCommand, DiskError, DiskOutput, DiskResult, Effect, Effects, Halt, Input};
use crate::event::Event;
use crate::formation::{Charter, Formation, Membership, Role};
use crate::id::{
    ClusterId, ConnId, FileId, FileIds, FileKind, GroupId, JobId, NodeId, OpId, ProducerId, RequestId, Term, TopicId,
};
use crate::journal::{Journal, Ticket};
use crate::kafka::{Request, RequestBody, RequestHeader, Response, ResponseBody};
use crate::log::ReadId;
use crate::mutants::Mutant;
use crate::partition::producers::Producers;
use crate::peer::Envelope;
use crate::raft::Token;
use crate::time::{Duration, Instant, Now};
use machine::Fold;
use replica::{Parked, Replica};
use session::{Reply, Sessions};

/// Names something that waits inside the broker for more than one thing to happen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct CallId(u64);

/// Who asked, and how to answer.
#[derive(Clone, Debug)]
struct Caller {
    conn: ConnId,
    id: RequestId,
    header: RequestHeader,
}

/// What a token stands for.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    Produce(CallId, usize),
    FetchBarrier(CallId, usize),
    OffsetsBarrier(CallId, usize),
    /// A command this broker proposed for itself or for another; its outcome is seen when it is applied.
    Command,
}

/// A request that could not be answered at once.
#[derive(Debug)]
enum Call {
    Produce(produce::ProduceCall),
    Fetch(Box<fetch::FetchCall>),
    Offsets(offsets::OffsetsCall),
    CreateTopics(admin::CreateCall),
    DeleteTopics(admin::DeleteCall),
    Admit(quorum::AdmitCall),
}

impl Call {
    /// The connection whose end ends the call: of what only reads.
    fn read_by(&self) -> Option<ConnId> {
        match self {
            Self::Fetch(call) => Some(call.conn()),
            Self::Offsets(call) => Some(call.conn()),
            Self::Produce(_) | Self::CreateTopics(_) | Self::DeleteTopics(_) | Self::Admit(_) => None,
        }
    }
}

/// Whose disk operation it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    Listing,
    Formation(u64),
    Journal(u64),
    Log(GroupId, u64),
    /// Files that are copied from a leader.
    Arrival(GroupId, u64),
    /// Removing a file that nobody knows any more.
    Broom,
}

/// How far the broker is in its life.
#[derive(Debug)]
enum Phase {
    /// Nothing has happened yet.
    New,
    /// The disk is being listed, the cluster formed, the journal recovered, or states restored.
    Recovering,
    Running,
    /// It asked to be ended.
    Halted,
}

/// Files of a group that is gone: removed once the journal has forgotten the group and nothing reads them.
#[derive(Debug)]
struct Dying {
    forgotten: Ticket,
    files: BTreeSet<FileId>,
    outstanding: u64,
}

/// Where a group's leader was last heard of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Route {
    node: NodeId,
    term: Term,
    /// That broker is gone since: it leads again only if it says so, and whoever led before it does not.
    lost: bool,
}

/// One broker: a pure state machine.
///
/// - every disk operation has one owner and is answered once
/// - a request is in at most one call; a call answers its request once
/// - whoever waits is registered with what will wake it, and its deadline is armed
#[derive(Debug)]
pub struct Broker {
    config: Config,
    boot: Boot,
    now: Now,
    phase: Phase,
    formation: Option<Formation>,
    /// The cluster, and what this broker is in it; from the moment on that it is durable.
    charter: Option<(Charter, Role)>,
    /// Journal files of the listing, until the charter says of which cluster they must be.
    journals: Vec<(FileId, u64)>,
    journal: Option<Journal>,
    files: FileIds,
    next_op: u64,
    ops: BTreeMap<OpId, Owner>,
    next_job: u64,
    jobs: BTreeMap<JobId, (CallId, usize)>,
    replicas: BTreeMap<GroupId, Replica>,
    parked: BTreeMap<GroupId, Parked>,
    suspended: suspended::Suspended,
    dying: BTreeMap<GroupId, Dying>,
    /// What the listing of the disk said, until it was compared with what is named.
    listed: BTreeMap<FileId, u64>,
    routes: BTreeMap<GroupId, Route>,
    /// Groups to be pumped in this step.
    touched: BTreeSet<GroupId>,
    /// Groups that may want something of the disk.
    thirsty: BTreeSet<GroupId>,
    /// Groups led here whose members may not be those that the image gives them.
    forming: BTreeSet<GroupId>,
    /// Groups that wait for the journal.
    writing: BTreeSet<GroupId>,
    sessions: Sessions,
    pressure: pressure::Pressure,
    preferred: preferred::Preferred,
    next_call: u64,
    calls: BTreeMap<CallId, Call>,
    next_token: u64,
    waiting: BTreeMap<Token, Waiting>,
    deadlines: BTreeSet<(Instant, CallId)>,
    deadline_of: BTreeMap<CallId, Instant>,
    /// Long polls and lookups of each connection: they end with it.
    reads_of: BTreeMap<ConnId, BTreeSet<CallId>>,
    turned_away: turned_away::TurnedAway,
    /// Produces that wait for more replicas than a majority.
    thin: BTreeSet<CallId>,
    /// Reads of segments, and which slot of which call waits for each.
    log_reads: BTreeMap<(GroupId, ReadId), (CallId, usize)>,
    /// Topics that are being created because somebody asked for them.
    auto_creating: BTreeSet<String>,
    /// Fetches that wait for a group to move.
    waiters: BTreeMap<GroupId, BTreeSet<CallId>>,
    /// Pieces of files that followers asked for.
    copies: copying::Copies,
    /// Groups whose segments are to be read from end to end, one after the other.
    patrols: BTreeSet<GroupId>,
    /// What the entries of all groups in memory take.
    window_bytes: u64,
    /// What they may take before some are let go of.
    window_full_at: u64,
    /// At so many journal files in use too much stood still to be carried.
    not_carried_at: Option<u64>,
    submissions: submit::Submissions,
    producer_ids: admin::ProducerIds,
    outbox: BTreeMap<NodeId, Envelope>,
    next_tick: Instant,
    next_gossip: Instant,
    /// When to look whether the journal can give anything back.
    next_look: Instant,
    next_register: Instant,
    idle_since: Option<Instant>,
    admin_changed: bool,
    journal_full: bool,
    /// When the disk was last seen to be full, if operators were told so and not yet that it is no longer.
    disk_full: Option<Instant>,
    /// How many bytes it was asked for last.
    room_needed: u64,
    /// It was ready once in this life.
    caught_up: bool,
    /// The operator wants the broker to end: by then at the latest.
    stopping: Option<Instant>,
    wake_at: Option<Instant>,
    fetch_rotation: usize,
    /// Envelopes that were not for this broker, and the senders that were told of.
    strays: u64,
    strangers: BTreeSet<NodeId>,
    steps: u64,
    /// The planted bug: producer tables of deleted topics, by name and partition. Empty without it.
    by_name: BTreeMap<(String, usize), Producers>,
}

/// The planted bug: what should be durable before a mark names it is not, as far as `which` says so.
fn unsynced(command: DiskCommand, which: impl Fn(FileId) -> bool) -> DiskCommand {
    match command {
        DiskCommand::Write { file, at, bytes, durable, cold } => {
            DiskCommand::Write { file, at, bytes, durable: durable && !which(file), cold }
        }
        DiskCommand::Sync { files } => {
            DiskCommand::Sync { files: files.into_iter().filter(|file| !which(*file)).collect() }
        }
        other => other,
    }
}

/// How often a broker whose registration is not in the image says again who it is.
const REGISTER_EVERY: Duration = Duration::from_millis(300);

impl Broker {
    /// A broker at the start of a life. The first input it expects is [`Input::Wake`].
    pub fn new(config: Config, boot: Boot) -> Self {
        assert!(boot.counter > 0, "boots are counted from 1");
        let planted = config.mutants.planted(Mutant::BootSeedReused);
        let files = FileIds::new(if planted { 1 } else { boot.counter });
        let zero = Instant::default();
        Self {
            submissions: submit::Submissions::of(config.directory),
            config,
            boot,
            now: Now::default(),
            phase: Phase::New,
            formation: None,
            charter: None,
            journals: Vec::new(),
            journal: None,
            files,
            next_op: 1,
            ops: BTreeMap::new(),
            next_job: 1,
            jobs: BTreeMap::new(),
            replicas: BTreeMap::new(),
            parked: BTreeMap::new(),
            suspended: suspended::Suspended::default(),
            dying: BTreeMap::new(),
            listed: BTreeMap::new(),
            routes: BTreeMap::new(),
            touched: BTreeSet::new(),
            thirsty: BTreeSet::new(),
            forming: BTreeSet::new(),
            writing: BTreeSet::new(),
            sessions: Sessions::default(),
            pressure: pressure::Pressure::default(),
            preferred: preferred::Preferred::default(),
            next_call: 1,
            calls: BTreeMap::new(),
            next_token: 1,
            waiting: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            deadline_of: BTreeMap::new(),
            reads_of: BTreeMap::new(),
            turned_away: turned_away::TurnedAway::default(),
            thin: BTreeSet::new(),
            log_reads: BTreeMap::new(),
            auto_creating: BTreeSet::new(),
            waiters: BTreeMap::new(),
            copies: copying::Copies::default(),
            patrols: BTreeSet::new(),
            window_bytes: 0,
            window_full_at: 0,
            not_carried_at: None,
            producer_ids: admin::ProducerIds::default(),
            outbox: BTreeMap::new(),
            next_tick: zero,
            next_gossip: zero,
            next_look: zero,
            next_register: zero,
            idle_since: None,
            admin_changed: false,
            journal_full: false,
            disk_full: None,
            room_needed: 0,
            caught_up: false,
            stopping: None,
            wake_at: None,
            fetch_rotation: 0,
            strays: 0,
            strangers: BTreeSet::new(),
            steps: 0,
            by_name: BTreeMap::new(),
        }
    }

    /// Takes one input at one moment, and says what is to be done. Total: it never fails, never blocks, never suspends.
    pub fn step(&mut self, now: Now, input: Input, out: &mut Effects) {
        if matches!(self.phase, Phase::Halted) {
            return;
        }
        assert!(now.mono >= self.now.mono, "the monotonic clock never goes back");
        self.now = now;
        self.steps += 1;
        match input {
            Input::Wake => {
                self.wake_at = None;
                if matches!(self.phase, Phase::New) {
                    self.phase = Phase::Recovering;
                    self.disk(Owner::Listing, DiskCommand::List, out);
                }
            }
            Input::Opened { conn, peer: _ } => self.sessions.opened(conn),
            Input::Closed { conn } => {
                self.sessions.closed(conn);
                self.turned_away.forget(conn);
                for id in self.reads_of.remove(&conn).unwrap_or_default() {
                    self.end_call(id);
                }
            }
            Input::Request { conn, id, request } => self.request(conn, id, request, out),
            Input::Peer { from, envelope } => self.peer(from, envelope, out),
            Input::Lost { node } => self.broker_lost(node),
            Input::DiskDone { op, result } => self.disk_done(op, result, out),
            Input::Computed { job, output } => self.computed(job, output, out),
            Input::Stop => self.stopping = self.stopping.or(Some(now.mono + stopping::HAND_OVER_MAX)),
        }
        if matches!(self.phase, Phase::Halted) {
            return;
        }
        self.form(out);
        if matches!(self.phase, Phase::Halted) {
            return;
        }
        if matches!(self.phase, Phase::Running) {
            self.tick(out);
            self.settle(out);
        } else if self.journal_full && self.now.mono >= self.next_tick {
            // Its first file found no room: a broker that starts on a full disk waits for space as any other does.
            self.journal_full = false;
            self.journal().retry();
        }
        if let Some(deadline) = self.stopping
            && (now.mono >= deadline || self.may_end(out))
        {
            return self.halt(Halt::Stopped, out);
        }
        self.ask(out);
    }

    fn request(&mut self, conn: ConnId, id: RequestId, request: Request, out: &mut Effects) {
        let Request { header, body, bytes, batches } = request;
        if !self.sessions.asked(conn, id, u64::from(bytes), out) {
            return;
        }
        let caller = Caller { conn, id, header };
        if !matches!(self.phase, Phase::Running) {
            self.sessions.reply(conn, id, Reply::Close("the broker is starting".into()), out);
            return;
        }
        match body {
            RequestBody::Produce(request) => {
                self.hold_back(conn, out);
                self.produce(caller, request, batches, out);
            }
            RequestBody::Fetch(request) => self.fetch(caller, request, out),
            RequestBody::ListOffsets(request) => self.list_offsets(caller, request, out),
            RequestBody::OffsetForLeaderEpoch(request) => self.offset_for_leader_epoch(caller, request, out),
            RequestBody::Metadata(request) => self.metadata(caller, &request, out),
            RequestBody::ApiVersions(_) => self.api_versions(caller, out),
            RequestBody::ApiVersionsUnsupported => self.api_versions_unsupported(caller, out),
            RequestBody::CreateTopics(request) => self.create_topics(caller, request, out),
            RequestBody::DeleteTopics(request) => self.delete_topics(caller, &request),
            RequestBody::InitProducerId(request) => self.init_producer_id(caller, &request, out),
            RequestBody::DescribeConfigs(request) => self.describe_configs(caller, &request, out),
            RequestBody::DescribeCluster(request) => self.describe_cluster(caller, &request, out),
            RequestBody::DescribeQuorum(request) => self.describe_quorum(caller, &request, out),
            RequestBody::AddRaftVoter(request) => self.add_raft_voter(caller, &request, out),
        }
    }

    fn answer(&mut self, caller: &Caller, body: impl Into<ResponseBody>, out: &mut Effects) {
        let response = Response::to(&caller.header, body);
        self.sessions.reply(caller.conn, caller.id, Reply::Answer(response), out);
    }

    fn call(&mut self, call: Call, deadline: Option<Instant>) -> CallId {
        let id = CallId(self.next_call);
        self.next_call += 1;
        if let Some(conn) = call.read_by() {
            self.reads_of.entry(conn).or_default().insert(id);
        }
        self.calls.insert(id, call);
        self.set_deadline(id, deadline);
        id
    }

    /// Gives a call another deadline, or none.
    fn set_deadline(&mut self, id: CallId, deadline: Option<Instant>) {
        if let Some(before) = self.deadline_of.remove(&id) {
            self.deadlines.remove(&(before, id));
        }
        if let Some(deadline) = deadline {
            self.deadline_of.insert(id, deadline);
            self.deadlines.insert((deadline, id));
        }
    }

    fn end_call(&mut self, id: CallId) -> Option<Call> {
        self.set_deadline(id, None);
        let call = self.calls.remove(&id)?;
        if let Call::Fetch(fetch) = &call {
            for group in fetch.groups() {
                if let Some(waiters) = self.waiters.get_mut(&group) {
                    waiters.remove(&id);
                }
            }
        }
        if let Some(conn) = call.read_by()
            && let Some(reads) = self.reads_of.get_mut(&conn)
        {
            reads.remove(&id);
            if reads.is_empty() {
                self.reads_of.remove(&conn);
            }
        }
        Some(call)
    }

    /// The time of a call is over.
    fn expired(&mut self, id: CallId, out: &mut Effects) {
        match self.calls.get(&id) {
            Some(Call::Produce(_)) => self.produce_expired(id, out),
            Some(Call::Fetch(_)) => self.fetch_expired(id, out),
            Some(Call::Offsets(_)) => self.offsets_expired(id, out),
            Some(Call::CreateTopics(_) | Call::DeleteTopics(_)) => self.finish_admin(id, out),
            Some(Call::Admit(_)) => self.finish_admit(id, out),
            None => {}
        }
    }

    fn token(&mut self, waiting: Waiting) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.waiting.insert(token, waiting);
        token
    }

    fn disk(&mut self, owner: Owner, command: DiskCommand, out: &mut Effects) {
        let command = match owner {
            Owner::Log(..) | Owner::Arrival(..) if self.config.mutants.planted(Mutant::CheckpointAhead) => {
                unsynced(command, |_| true)
            }
            Owner::Log(..) if self.config.mutants.planted(Mutant::IndexUnsynced) => {
                unsynced(command, |file| file.kind() == FileKind::SegmentIndex)
            }
            _ => command,
        };
        let op = OpId(self.next_op);
        self.next_op += 1;
        self.ops.insert(op, owner);
        if let Owner::Log(group, _) | Owner::Arrival(group, _) = owner
            && let Some(dying) = self.dying.get_mut(&group)
        {
            dying.outstanding += 1;
        }
        out.push(Effect::Disk { op, command });
    }

    fn disk_done(&mut self, op: OpId, result: DiskResult, out: &mut Effects) {
        let owner = self.ops.remove(&op).expect("a disk operation ends once");
        let result = match result {
            Err(DiskError::Io(_)) if self.config.mutants.planted(Mutant::SyncErrorIgnored) => Ok(DiskOutput::Done),
            Err(DiskError::Io(_))
                if matches!(owner, Owner::Log(..)) && self.config.mutants.planted(Mutant::LogErrorIgnored) =>
            {
                Ok(DiskOutput::Done)
            }
            result => result,
        };
        match owner {
            Owner::Listing => self.listed(result, out),
            Owner::Formation(tag) => self.formation().done(tag, result),
            Owner::Journal(tag) => self.journal_done(tag, result, out),
            Owner::Log(group, tag) => self.log_done(group, tag, result, out),
            Owner::Arrival(group, tag) => self.arrival_done(group, tag, result, out),
            Owner::Broom => {
                if let Err(error) = result
                    && error != DiskError::Missing
                {
                    out.event(Event::Note(format!("a file that nobody needs could not be removed: {error:?}")));
                }
            }
        }
    }

    fn halt(&mut self, why: Halt, out: &mut Effects) {
        self.phase = Phase::Halted;
        out.push(Effect::Halt(why));
    }

    fn formation(&mut self) -> &mut Formation {
        self.formation.as_mut().expect("a disk that was listed is read")
    }

    fn charter(&self) -> &Charter {
        &self.charter.as_ref().expect("who takes part has a charter").0
    }

    fn journal(&mut self) -> &mut Journal {
        self.journal.as_mut().expect("a running broker has a journal")
    }

    fn image(&self) -> Option<&Image> {
        let replica = self.replicas.get(&GroupId::CONTROLLER)?;
        match &replica.machine.fold {
            // Nothing is known of what was lost.
            Fold::Controller(_) if replica.healing.is_lost() => None,
            Fold::Controller(image) => Some(image),
            Fold::Partition(_) => None,
        }
    }

    /// Where the leader of a group is, as far as this broker knows: its own replica, or what brokers say of themselves.
    fn route(&self, group: GroupId) -> Option<Route> {
        // What is older than what this broker knows itself would take clients back.
        let term = self.replicas.get(&group).map_or(Term(0), |replica| replica.raft.term());
        let heard = self.routes.get(&group).copied().filter(|route| route.term >= term && !route.lost);
        let own = self.replicas.get(&group).and_then(|replica| {
            let (node, term) = if replica.is_helpless() {
                // Nobody else can say what is wrong.
                (self.config.node, term)
            } else if replica.raft.leading() {
                (self.config.node, replica.raft.serves_in()?)
            } else {
                (replica.raft.leader().map(|(node, _)| node).filter(|node| *node != self.config.node)?, term)
            };
            Some(Route { node, term, lost: false })
        });
        // Nobody else can say what is wrong.
        let helpless =
            self.suspended.is_helpless(group).then_some(Route { node: self.config.node, term: Term(0), lost: false });
        match (heard, own.or(helpless)) {
            (Some(heard), Some(own)) => Some(if heard.term > own.term { heard } else { own }),
            (heard, own) => own.or(heard),
        }
    }

    /// The topic of this name as this broker knows it now: its id and the groups of its partitions. For those who watch.
    pub fn topic(&self, name: &str) -> Option<(TopicId, Vec<GroupId>)> {
        let topic = self.image()?.topic_named(name)?;
        Some((topic.id, topic.partitions.iter().map(|partition| partition.group).collect()))
    }

    /// The group of a partition, as far as this broker knows. For those who watch.
    pub fn partition_group(&self, topic: TopicId, partition: i32) -> Option<GroupId> {
        let partitions = &self.image()?.topic(topic)?.partitions;
        partitions.get(usize::try_from(partition).ok()?).map(|partition| partition.group)
    }

    /// The topic and number of a partition, and below which id producers are heirs there, as far as this broker knows. For those who
    /// watch.
    pub fn partition(&self, group: GroupId) -> Option<(TopicId, i32, ProducerId)> {
        let (topic, partition, _) = self.image()?.partition_of(group)?;
        Some((topic.id, partition, topic.heirs_below()))
    }

    /// The broker that should lead a partition: the one of its first replica, as far as this broker knows. For those who watch.
    pub fn home(&self, group: GroupId) -> Option<NodeId> {
        let (.., partition) = self.image()?.partition_of(group)?;
        partition.replicas.first().map(|(node, _)| *node)
    }

    /// The state of the broker at this moment.
    pub fn status(&self) -> Status {
        let groups = self.replicas.values().map(|replica| {
            let raft = &replica.raft;
            GroupStatus {
                group: raft.id(),
                replica: raft.replica(),
                serving: raft.serving(),
                leading: raft.leading(),
                votes: raft.votes(),
                leader: raft.leader().map_or_else(Default::default, |(_, replica)| replica),
                term: raft.term(),
                commit: raft.commit(),
                applied: raft.applied_index(),
                persisted: raft.persisted(),
                first: raft.base().0.next(),
                last: raft.last(),
                checkpoint: replica.marked,
                log_start: replica.machine.log.log_start(),
                next_offset: replica.machine.log.next_offset(),
                digest: replica.machine.digest,
            }
        });
        let groups: Vec<GroupStatus> = groups.collect();
        let waiting_for = self.waits_for();
        Status {
            node: self.config.node,
            cluster: self.charter.as_ref().map_or(ClusterId::ZERO, |(charter, _)| charter.cluster),
            membership: self.formation.as_ref().map_or(Membership::Starting, Formation::membership),
            applicants: self.applicants(),
            strays: self.strays,
            ready: waiting_for.is_empty(),
            waiting_for,
            groups,
            connections: self.sessions.len(),
            waiting_requests: self.sessions.waiting(),
            topics: self.image().map_or(0, |image| image.topics().len() as u64),
            copies_refused: self.copies.refused,
        }
    }

    /// Whether clients can be answered: there is an image that names this broker, however old it is, and whoever leads or does
    /// not. Nobody is to be let in before; who is, is hung up on.
    pub fn answers(&self) -> bool {
        let named = |image: &Image| image.brokers().contains_key(&self.config.node);
        matches!(self.phase, Phase::Running) && self.image().is_some_and(named)
    }

    fn waits_for(&self) -> String {
        if !matches!(self.phase, Phase::Running) {
            if self.disk_full.is_some() {
                return format!("room on the disk: {} bytes are needed to start", self.room_needed);
            }
            let forming = self.formation.as_ref().map(Formation::waits_for).filter(|what| !what.is_empty());
            return forming.unwrap_or_else(|| "recovery from the disk".into());
        }
        if self.image().is_none() {
            return "the controller".into();
        }
        if !self.registered() {
            return "this broker's registration".into();
        }
        if let Some(what) = self.waits_for_replicas() {
            return what.into();
        }
        // Until then its vote does not count there, and the disk it replaces is still counted on.
        let outside = self.replicas.iter().find(|(group, replica)| self.shall_vote(**group) && !replica.raft.votes());
        if let Some((group, _)) = outside {
            return format!("a vote in {}", self.name_of(*group));
        }
        // Of what this broker has no replica of, others are to be asked.
        let here = |group: &&GroupId| self.shall_vote(**group);
        if let Some(group) = self.replicas.keys().filter(here).find(|group| self.route(**group).is_none()) {
            return format!("a leader of {}", self.name_of(*group));
        }
        // Replicas that begin later are behind nobody, or no more than others while they were away.
        let level = |replica: &Replica| (replica.raft.level() && !replica.is_lost()) || replica.is_helpless();
        let behind = |group: &&GroupId| !self.caught_up && !level(&self.replicas[*group]);
        let mut behind = self.replicas.keys().filter(here).filter(behind);
        match (behind.next(), behind.count()) {
            (None, _) => String::new(),
            (Some(group), 0) => format!("{} to catch up with its leader", self.name_of(*group)),
            (Some(group), more) => format!("{} and {more} more to catch up with their leaders", self.name_of(*group)),
        }
    }

    /// Asserts every invariant of the broker. Panics with the one that does not hold.
    pub fn check(&self) {
        self.sessions.check();
        self.pressure.check();
        assert!(self.turned_away.connections().all(|conn| self.sessions.is_open(conn)), "who is gone is forgotten");
        if let Some(journal) = &self.journal {
            journal.check();
        }
        for replica in self.replicas.values() {
            replica.check();
        }
        let window_bytes: u64 = self.replicas.values().map(|replica| replica.raft.window_bytes()).sum();
        assert_eq!(window_bytes, self.window_bytes, "bytes in memory are counted");
        for (deadline, call) in &self.deadlines {
            assert!(self.calls.contains_key(call), "a deadline at {deadline:?} belongs to a call");
        }
        self.check_waits();
        if let Some(image) = self.image() {
            image.check();
            if matches!(self.phase, Phase::Halted) {
                return;
            }
            for (group, replica) in image.replicas_on(self.config.node) {
                let here = self.replicas.get(&group).is_none_or(|here| here.raft.replica() == replica);
                assert!(here, "a replica has the id the image gives it");
            }
        }
    }
}
