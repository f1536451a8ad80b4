//! The acts after the heal: what is promised in seconds is measured where nothing disturbs it.
//!
//! Every time here is in multiples of the run's longest election timeout, give or take what disks and wires take. Each act begins when
//! the cluster is at rest: every broker is ready, every group has a leader, and partitions are led where they belong.

use std::collections::BTreeMap;

use tidelog_core::broker::Status;
use tidelog_core::effect::Input;
use tidelog_core::id::{GroupId, NodeId, ReplicaId, Term};

use super::{Happening, Phase, World, brokers};
use crate::plan::Target;
use crate::scenario::{Act, SECOND};
use crate::workload;

/// So many longest election times a leader may stay where it does not belong: one partition after the other is handed back, each after
/// ten, and whoever is asked too early waits for ten again.
const HOME_ELECTIONS: u64 = 60;
/// So many until another leads what a killed broker led: a vote may be split, and split again.
const FAIL_OVER_ELECTIONS: u64 = 4;
/// So many until a broker that was started again is ready, and one that was killed has its partitions served.
const READY_ELECTIONS: u64 = 16;
/// What disks, wires and steps add to anything, in microseconds.
const SLACK: u64 = SECOND / 2;
/// What is acknowledged reaches who waits for it within so many microseconds.
const HEARD_WITHIN: u64 = SECOND;
/// So many until a fresh consumer knows the ends of all partitions.
const LISTEN_ELECTIONS: u64 = 4;
/// So many until a topic is made or deleted, or its first record acknowledged.
const MANAGE_ELECTIONS: u64 = 3;
/// A broker that stops while somebody listens is started again after so many microseconds.
const MOVED_DOWN: u64 = SECOND / 2;
/// Where nothing disturbs it, a cluster of empty disks is formed within so many, once all its brokers are there.
const BORN_ELECTIONS: u64 = 8;
/// How long somebody listens before there is anything to hear.
const LISTENS_BEFORE: u64 = SECOND / 2;
/// A broker that is asked to stop may take so long to hand over (ARCHITECTURE: "or after a second").
const STOP_WITHIN: u64 = SECOND;
/// What is done by itself after the last client is gone, is done within so many microseconds of the silence.
const HUSH: u64 = 4 * SECOND;
/// A broker at rest may write so often to its journal in a silence.
const SILENT_WRITES_MAX: u64 = 4;
/// So many steps a tick, for each group and each other broker, are restless.
const STEPS_PER_TICK_MAX: u64 = 8;
/// How long an act may take in all.
const ACT: u64 = 60 * SECOND;

/// The next act.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// How many are over.
    done: usize,
    step: Step,
    /// When the step began.
    since: u64,
}

#[derive(Debug, Default)]
enum Step {
    /// The cluster comes to rest.
    #[default]
    Calm,
    /// Somebody listens, and nothing is written yet.
    Listening { listener: u32, moves: Option<Target> },
    /// Somebody writes.
    Writing { listener: u32, prober: usize, moved: Option<u32> },
    /// A topic is made and deleted.
    Managing { manager: u32 },
    /// A broker is asked to stop.
    Stopping { place: u32, handed: BTreeMap<GroupId, Handed> },
    /// A broker was killed.
    Killed { place: u32, handed: BTreeMap<GroupId, Handed>, prober: usize, majority: bool },
    /// A broker was started again at this moment, if it was.
    Back { place: u32, booted: Option<u64> },
    /// There are no clients. What was true of each broker when all should have been done.
    Silent { lasts: u64, heard: Option<Vec<Rest>> },
}

/// How a group fares that another broker has to take over.
#[derive(Clone, Copy, Default, Debug)]
struct Handed {
    /// Since when nobody leads.
    without: Option<u64>,
    /// When another served.
    served: Option<u64>,
}

/// A broker in the middle of a silence.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Rest {
    steps: u64,
    writes: u64,
    leaders: Vec<(GroupId, Term, ReplicaId)>,
}

impl World {
    fn longest_election(&self) -> u64 {
        let settings = self.scenario.settings();
        settings.tick.0 * u64::from(settings.election_ticks_max)
    }

    fn shortest_election(&self) -> u64 {
        let settings = self.scenario.settings();
        settings.tick.0 * u64::from(settings.election_ticks_min)
    }

    fn elections(&self, count: u64) -> u64 {
        count * self.longest_election() + SLACK
    }

    /// When a cluster that nothing disturbs is formed at the latest.
    pub(super) fn born_by(&self) -> u64 {
        self.scenario.spread + self.scenario.late + self.elections(BORN_ELECTIONS)
    }

    /// Every listed broker has been there for a while: if nothing disturbed them, they are a cluster.
    pub(super) fn judge_birth(&mut self) {
        let disturbed = !self.tally.faults.is_empty();
        let voters = self.hosts.iter().take(self.scenario.voters.max(1) as usize);
        let outside = voters.filter(|host| !host.member).map(|host| host.place).next();
        if let Some(place) = outside.filter(|_| !disturbed) {
            let limit = self.elections(BORN_ELECTIONS);
            let what = format!("broker {} has no cluster, although all listed brokers are there", place + 1);
            self.late("born-late", &what, limit, &[place]);
        }
    }

    fn turn_to(&mut self, step: Step) {
        (self.ending.step, self.ending.since) = (step, self.now);
    }

    fn end_act(&mut self) {
        self.ending.done += 1;
        self.turn_to(Step::Calm);
    }

    /// Whether every act is over.
    pub(super) fn ending_is_over(&self) -> bool {
        self.ending.done >= self.scenario.ending.len()
    }

    /// The acts begin, or the next one does.
    pub(super) fn begin_ending(&mut self) {
        self.turn_to(Step::Calm);
        self.phase = Phase::Ending;
    }

    /// Looks how far the act is. Called every now and then.
    pub(super) fn play(&mut self) {
        let (since, now) = (self.ending.since, self.now);
        let Some(act) = self.scenario.ending.get(self.ending.done).cloned() else { return };
        match std::mem::take(&mut self.ending.step) {
            Step::Calm => match self.restless_now() {
                Some(what) if now > since + self.elections(HOME_ELECTIONS) => {
                    let limit = self.elections(HOME_ELECTIONS);
                    self.late("not-at-rest", &format!("the cluster is not at rest: {what}"), limit, &[]);
                }
                Some(_) => {}
                None => self.begin_act(&act),
            },
            Step::Listening { listener, moves } => {
                let listens = self.clients[listener as usize].program.ready();
                if !listens && now > since + self.elections(LISTEN_ELECTIONS) {
                    let limit = self.elections(LISTEN_ELECTIONS);
                    return self.late(
                        "listens-late",
                        "a consumer was not given the ends of all partitions",
                        limit,
                        &[],
                    );
                }
                if listens && now >= since + LISTENS_BEFORE {
                    let waiting =
                        |(_, status): &(u32, Option<Status>)| status.as_ref().map_or(0, |it| it.waiting_requests);
                    if self.statuses().iter().map(waiting).sum::<u64>() == 0 {
                        let what = "no broker lets a consumer wait for records that are not there";
                        return self.late("does-not-wait", what, now - since, &[]);
                    }
                    let prober = self.clients.len();
                    let moved = moves.map(|target| self.resolve(target));
                    if let Some(place) = moved {
                        let life = self.hosts[place as usize].life;
                        self.hosts[place as usize].stop_asked = Some(MOVED_DOWN);
                        self.deliver(place, life, Input::Stop);
                    }
                    self.add_client(workload::act_prober(&self.scenario, self.ending.done), 1_000);
                    self.turn_to(Step::Writing { listener, prober, moved });
                } else {
                    self.ending.step = Step::Listening { listener, moves };
                }
            }
            Step::Writing { listener, prober, moved } => {
                // Who followed a leader that is gone has to find the next, and to wait for the fetch that is under way there.
                let limit = match (&act, moved) {
                    (Act::Listen { wait, .. }, Some(_)) => HEARD_WITHIN + wait + self.elections(FAIL_OVER_ELECTIONS),
                    (
                        Act::Listen { .. } | Act::Stop { .. } | Act::Kill { .. } | Act::Manage | Act::Silence { .. },
                        _,
                    ) => HEARD_WITHIN,
                };
                let (first, all) = self.board.overdue(limit, now);
                if let Some(((topic, partition, offset), at)) = first {
                    let what = format!(
                        "a consumer that waits for records of {topic}-{partition} was not given offset {offset}, which was \
                         acknowledged at {}.{:06} s",
                        at / SECOND,
                        at % SECOND
                    );
                    return self.late("heard-late", &what, limit, &[]);
                }
                if all && self.clients[prober].program.idle() {
                    self.kill_client(listener, u64::MAX);
                    return match moved {
                        Some(place) => self.turn_to(Step::Back { place, booted: None }),
                        None => self.end_act(),
                    };
                }
                self.ending.step = Step::Writing { listener, prober, moved };
            }
            Step::Managing { manager } => {
                let limit = 3 * self.elections(MANAGE_ELECTIONS);
                let program = &self.clients[manager as usize].program;
                if program.idle() {
                    return self.end_act();
                }
                if now > since + limit {
                    let what = format!("an operator still waits for {}", program.waiting_for());
                    return self.late("managed-late", &what, limit, &[]);
                }
                self.ending.step = Step::Managing { manager };
            }
            Step::Stopping { place, handed } => {
                let stops = self.hosts[place as usize].stop_asked.is_some();
                if stops && now > since + STOP_WITHIN + SLACK {
                    let what = format!("broker {} was asked to stop and did not", place + 1);
                    return self.late("stopped-late", &what, STOP_WITHIN, &[]);
                }
                if self.hosts[place as usize].process.is_none() || stops {
                    self.ending.step = Step::Stopping { place, handed };
                } else if !self.judge_handed(&handed, self.shortest_election(), "was asked to stop", place) {
                    self.turn_to(Step::Back { place, booted: None });
                }
            }
            Step::Killed { place, handed, prober, majority } => {
                let limit = self.elections(FAIL_OVER_ELECTIONS);
                if self.judge_handed(&handed, limit, "was killed", place) {
                    return;
                }
                let idle = self.clients[prober].program.idle();
                // A fresh client waits before it tries again, too.
                if majority && !idle && now > since + limit + SECOND {
                    let what = format!("a producer waits for {}", self.clients[prober].program.waiting_for());
                    return self.late("producers-stand", &what, limit + SECOND, &[place]);
                }
                let moved = handed.values().all(|handed| handed.served.is_some());
                match moved && idle && self.hosts[place as usize].process.is_some() {
                    true => self.turn_to(Step::Back { place, booted: None }),
                    false => self.ending.step = Step::Killed { place, handed, prober, majority },
                }
            }
            Step::Back { place, booted } => {
                let booted = booted.or(self.hosts[place as usize].process.is_some().then_some(now));
                let limit = self.elections(READY_ELECTIONS);
                match self.stuck_brokers() {
                    None if booted.is_some() => self.end_act(),
                    Some(what) if booted.is_some_and(|booted| now > booted + limit) => {
                        let what = format!("broker {} was started again, and {what}", place + 1);
                        self.late("ready-late", &what, limit, &[place]);
                    }
                    Some(_) | None => self.ending.step = Step::Back { place, booted },
                }
            }
            Step::Silent { lasts, heard } => self.silent(lasts, heard),
        }
        if self.phase == Phase::Ending && now > since + ACT {
            self.oracle.stuck("an act does not come to its end", (now - self.scenario.chaos) / SECOND);
        }
    }

    fn begin_act(&mut self, act: &Act) {
        let nth = self.ending.done;
        self.tell(None, format!("act: {act:?}"));
        match act {
            Act::Listen { wait, moves } => {
                let listener = self.clients.len() as u32;
                self.board.listen();
                self.add_client(workload::listener(&self.scenario, nth, *wait), 1_000);
                self.turn_to(Step::Listening { listener, moves: *moves });
            }
            Act::Manage => {
                let manager = self.clients.len() as u32;
                self.add_client(workload::manager(&self.scenario, nth), 1_000);
                self.turn_to(Step::Managing { manager });
            }
            Act::Stop { target, down } => {
                let place = self.resolve(*target);
                let (life, handed) = (self.hosts[place as usize].life, self.led_with_others(place));
                if self.hosts[place as usize].process.is_none() {
                    return self.end_act();
                }
                self.hosts[place as usize].stop_asked = Some(*down);
                self.deliver(place, life, Input::Stop);
                self.turn_to(Step::Stopping { place, handed });
            }
            Act::Kill { target, down } => {
                let place = self.resolve(*target);
                if self.hosts[place as usize].process.is_none() {
                    return self.end_act();
                }
                let mut handed = self.led_with_others(place);
                let majority = self.goes_on_without(place);
                let life = self.end_process(place, false);
                handed.values_mut().for_each(|handed| handed.without = Some(self.now));
                self.queue.push(self.now.saturating_add(*down), Happening::Restart { place, life });
                let prober = self.clients.len();
                self.add_client(workload::act_prober(&self.scenario, nth), 1_000);
                self.turn_to(Step::Killed { place, handed, prober, majority });
            }
            Act::Silence { lasts } => {
                for client in 0..self.clients.len() as u32 {
                    self.kill_client(client, *lasts);
                }
                self.turn_to(Step::Silent { lasts: *lasts, heard: None });
            }
        }
    }

    /// The groups a broker leads.
    fn led(&self, place: u32) -> impl Iterator<Item = GroupId> {
        let process = self.hosts[place as usize].process.as_ref();
        let groups = process.map(|process| process.broker.status().groups).unwrap_or_default();
        groups.into_iter().filter(|group| group.leading).map(|group| group.group)
    }

    /// The groups a broker leads that others can lead, and decide, without it.
    fn led_with_others(&self, place: u32) -> BTreeMap<GroupId, Handed> {
        // Where a broker is gone for good, two may be all that are left of three.
        if self.hosts.iter().any(|host| host.lost) {
            return BTreeMap::new();
        }
        let others = self.voters_without(place);
        let enough = |group: &GroupId| others.get(group).is_some_and(|others| *others >= 2);
        self.led(place).filter(enough).map(|group| (group, Handed::default())).collect()
    }

    /// How many vote in each group, one broker not counted.
    fn voters_without(&self, place: u32) -> BTreeMap<GroupId, u32> {
        let mut voters = BTreeMap::new();
        for host in &self.hosts {
            let groups = host.process.as_ref().map(|process| process.broker.status().groups).unwrap_or_default();
            for group in groups {
                *voters.entry(group.group).or_insert(0) += u32::from(group.votes && host.place != place);
            }
        }
        voters
    }

    /// Whether every record can be acknowledged without a broker.
    fn goes_on_without(&self, place: u32) -> bool {
        let whole = self.hosts.iter().all(|host| !host.lost);
        let demanding = self.scenario.topics.iter().any(|topic| topic.min_insync > 2);
        whole && !demanding && self.voters_without(place).values().all(|others| *others >= 2)
    }

    /// Nothing is lost by a broker that is gone for longer than that. True if something was.
    fn judge_handed(&mut self, handed: &BTreeMap<GroupId, Handed>, limit: u64, why: &str, place: u32) -> bool {
        let gap = |handed: &Handed| handed.without.map(|from| handed.served.unwrap_or(self.now).saturating_sub(from));
        let slow = handed.iter().find(|(_, handed)| gap(handed).is_some_and(|gap| gap > limit));
        let Some((group, _)) = slow else { return false };
        let what = format!("{} has no leader that serves after broker {} {why}", brokers::name(*group), place + 1);
        self.late("leaderless", &what, limit, &[place]);
        true
    }

    /// Why the cluster is not at rest.
    fn restless_now(&self) -> Option<String> {
        self.stuck_brokers().or_else(|| self.away())
    }

    /// A partition that is led by another broker than it should be.
    fn away(&self) -> Option<String> {
        if self.board.is_thin() {
            return None;
        }
        let running = self.hosts.iter().filter_map(|host| Some((host.place + 1, &host.process.as_ref()?.broker)));
        for (node, broker) in running {
            for group in broker.status().groups.into_iter().filter(|group| group.leading) {
                let home = broker.home(group.group).filter(|home| home.0 != node);
                let able = home.filter(|home| self.hosts.get(home.0 as usize - 1).is_some_and(|host| !host.lost));
                if let Some(home) = able {
                    let name = brokers::name(group.group);
                    return Some(format!("{name} is led by broker {node}, and its first replica is on broker {home}"));
                }
            }
        }
        None
    }

    /// Nobody says anything. At the end all is done that should be done without being asked for.
    fn silent(&mut self, lasts: u64, heard: Option<Vec<Rest>>) {
        let since = self.ending.since;
        let Some(before) = heard else {
            let heard = (self.now >= since + HUSH).then(|| self.rests());
            self.ending.step = Step::Silent { lasts, heard };
            return;
        };
        // Clients come back a little later than this is looked at.
        if self.now + super::finish::LOOK_EVERY < since + lasts {
            self.ending.step = Step::Silent { lasts, heard: Some(before) };
            return;
        }
        let (after, settings) = (self.rests(), self.scenario.settings());
        let ticks = (lasts - HUSH) / settings.tick.0;
        for (place, (before, after)) in before.iter().zip(&after).enumerate() {
            let node = place as u32 + 1;
            if before.leaders.is_empty() && after.leaders.is_empty() {
                continue;
            }
            let (steps, writes) = (after.steps - before.steps, after.writes - before.writes);
            let around = (after.leaders.len() + self.hosts.len()) as u64;
            let finding = if before.leaders != after.leaders {
                Some(("elected-idle", format!("leaders changed on broker {node}")))
            } else if steps < ticks / 2 {
                Some((
                    "slept",
                    format!("broker {node} took {steps} steps in {ticks} ticks: it does not wake by itself"),
                ))
            } else if steps > ticks * around * STEPS_PER_TICK_MAX {
                Some(("busy-idle", format!("broker {node} took {steps} steps in {ticks} ticks")))
            } else if writes > SILENT_WRITES_MAX {
                Some(("busy-idle", format!("broker {node} wrote {writes} times to its journal")))
            } else {
                None
            };
            if let Some((property, what)) = finding {
                return self.late(property, &what, lasts, &[place as u32]);
            }
        }
        if let Some(what) = self.restless_now() {
            return self.late("not-at-rest", &what, lasts, &[]);
        }
        let waiting = |(node, status): (u32, Option<Status>)| {
            status.filter(|status| status.waiting_requests + status.connections > 0).map(|_| node)
        };
        if let Some(node) = self.statuses().into_iter().find_map(waiting) {
            let what = format!("broker {node} has connections, or requests that wait, although there are no clients");
            return self.late("nobody-there", &what, lasts, &[node - 1]);
        }
        self.audit_rested();
        self.end_act();
    }

    fn rests(&self) -> Vec<Rest> {
        let rest = |host: &crate::host::Host| {
            let groups = host.process.as_ref().map(|process| process.broker.status().groups).unwrap_or_default();
            let leaders = groups.iter().map(|group| (group.group, group.term, group.leader)).collect();
            Rest { steps: host.steps, writes: host.journal_writes, leaders }
        };
        self.hosts.iter().map(rest).collect()
    }

    fn late(&mut self, property: &str, what: &str, limit: u64, places: &[u32]) {
        let about = places.iter().map(|place| NodeId(place + 1)).collect::<Vec<_>>();
        self.oracle.late(property, what, limit, &about);
    }

    /// A replica serves: it may be the one that was waited for.
    pub(super) fn ending_serves(&mut self, place: u32, group: GroupId) {
        let now = self.now;
        if let Step::Stopping { place: from, handed } | Step::Killed { place: from, handed, .. } = &mut self.ending.step
            && *from != place
            && let Some(handed) = handed.get_mut(&group)
        {
            handed.served = handed.served.or(Some(now));
        }
    }

    /// A replica does not lead any more.
    pub(super) fn ending_deposed(&mut self, place: u32, group: GroupId) {
        let now = self.now;
        if let Step::Stopping { place: from, handed } = &mut self.ending.step
            && *from == place
            && let Some(handed) = handed.get_mut(&group)
        {
            handed.without = handed.without.or(Some(now));
        }
    }

    /// A broker ends because it was asked to: it leads nothing that others could lead.
    pub(super) fn ending_halts(&mut self, at: u32) {
        let Step::Stopping { place, handed } = &self.ending.step else { return };
        if self.phase != Phase::Ending || *place != at {
            return;
        }
        let kept = self.led(at).find(|group| handed.contains_key(group));
        if let Some(group) = kept {
            let what = format!(
                "broker {} ended while it led {}, although others could have taken over",
                at + 1,
                brokers::name(group)
            );
            return self.late("not-handed-over", &what, self.now - self.ending.since, &[at]);
        }
        // Who leads nothing ends at once.
        let led = handed.values().filter_map(|handed| handed.without).max().unwrap_or(self.ending.since);
        if self.led(at).next().is_none() && self.now > led + SLACK {
            let what = format!("broker {} was asked to stop, and went on although it led nothing any more", at + 1);
            self.late("stopped-late", &what, self.now - led, &[at]);
        }
    }
}
