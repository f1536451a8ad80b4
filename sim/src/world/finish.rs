//! The end of a run: settle, read everything, judge.

use std::collections::{BTreeMap, BTreeSet};

use tidelog_core::broker::Broker;
use tidelog_core::controller::PRODUCER_IDS_PER_BLOCK;
use tidelog_core::formation::Membership;
use tidelog_core::id::{FileId, FileKind, GroupId, Index, NodeId, ProducerId, TopicId};
use tidelog_properties::history::{self, Op, name_of};

use super::concern::{Cause, Work};
use super::{Happening, Phase, World};
use crate::host::{Host, Process};
use crate::oracle::Finding;
use crate::scenario::SECOND;
use crate::space;
use crate::verdict::{Outcome, Verdict};
use crate::workload;

/// How often progress is looked at, in microseconds.
pub(super) const LOOK_EVERY: u64 = 250_000;
/// How long fresh consumers may take to read everything.
const READING: u64 = 20 * SECOND;
/// How long brokers may take to answer what was asked before everything was read.
const CLOSING: u64 = 4 * SECOND;
/// The most writes to a journal in that time, in which leaders may still change, and nobody writes a record.
const CLOSING_WRITES_MAX: u64 = 200;
/// A broker that wrote nothing to its journal for so long has nothing to do.
const RESTED: u64 = SECOND;
/// Within that time after its start a broker has read all its files once: a run does not make more of them.
const PATROLLED: u64 = 5 * SECOND;
/// A run with fewer acknowledged records tested nothing.
const ACKED_MIN: u64 = 100;

impl World {
    pub(super) fn check_progress(&mut self) {
        let waiting = match self.phase {
            Phase::Chaos | Phase::Done => return,
            Phase::Settling { quiet_from, .. } => {
                if self.now >= quiet_from {
                    self.clients.iter_mut().for_each(|client| client.program.drain());
                }
                self.stuck_brokers().or_else(|| self.stuck_clients(quiet_from))
            }
            Phase::Ending => None,
            Phase::Reading { .. } => self.stuck_clients(0),
            Phase::Closing { until } => {
                if self.now >= until {
                    let owed = std::mem::take(&mut self.owed);
                    self.oracle.finish(&owed);
                    self.judge_muted();
                    self.phase = Phase::Done;
                    return;
                }
                None
            }
        };
        self.judge_lateness();
        match (self.phase, waiting) {
            (Phase::Settling { .. }, None) => {
                self.tell(None, "every partition has a leader and every client has finished".to_owned());
                self.begin_ending();
            }
            (Phase::Reading { .. }, None) => {
                self.tell(None, "everything has been read".to_owned());
                self.owed = self.oracle.owed();
                self.hosts.iter_mut().for_each(|host| host.writes_before = host.journal_writes);
                self.phase = Phase::Closing { until: self.now + CLOSING };
            }
            (Phase::Settling { deadline, .. } | Phase::Reading { deadline }, Some(stuck)) if self.now >= deadline => {
                self.oracle.stuck(&stuck, (self.now - self.scenario.chaos) / SECOND);
                self.phase = Phase::Done;
                return;
            }
            (
                Phase::Settling { .. }
                | Phase::Ending
                | Phase::Reading { .. }
                | Phase::Closing { .. }
                | Phase::Chaos
                | Phase::Done,
                _,
            ) => {}
        }
        if self.phase == Phase::Ending {
            self.play();
            if self.ending_is_over() {
                self.add_client(workload::final_reader(&self.scenario), 1_000);
                self.phase = Phase::Reading { deadline: self.now + READING };
            }
        }
        self.queue.push(self.now + LOOK_EVERY, Happening::Check);
    }

    /// What was asked and should have been answered by now.
    pub(super) fn judge_lateness(&mut self) {
        let hosts = &self.hosts;
        let excused = |node: NodeId| hosts.get(node.0 as usize - 1).map_or(0, |host| host.excused_until);
        self.oracle.judge_lateness(self.now, excused);
    }

    /// Nobody is held back any more when there is nothing left to be written.
    fn judge_muted(&mut self) {
        let muted = self.wires.values().find(|wire| wire.muted && wire.broker_open && wire.client_open);
        if let Some((place, client)) = muted.map(|wire| (wire.place, wire.client)) {
            let what = format!("broker {} still does not read what client {client} sends", place + 1);
            self.oracle.late("muted", &what, CLOSING, &[NodeId(place + 1)]);
        }
    }

    /// What a broker still waits for.
    pub(super) fn stuck_brokers(&self) -> Option<String> {
        let mut led = std::collections::BTreeMap::new();
        for host in &self.hosts {
            let node = host.place + 1;
            if host.lost {
                continue;
            }
            let Some(process) = &host.process else {
                return Some(format!("broker {node} does not run"));
            };
            let status = process.broker.status();
            if !status.ready {
                return Some(format!("broker {node} is not ready: it waits for {}", status.waiting_for));
            }
            for group in status.groups {
                *led.entry(group.group).or_insert(false) |= group.serving;
            }
        }
        let images = self.hosts.iter().filter_map(|host| host.process.as_ref()).map(|process| process.broker.status());
        let members = images.filter(|status| status.membership == Membership::Member);
        let known = members.map(|status| {
            let controller = status.groups.iter().find(|group| group.group == GroupId::CONTROLLER);
            (controller.map(|group| group.applied), status.node)
        });
        let known: Vec<_> = known.collect();
        if let (Some(least), Some(most)) = (known.iter().min(), known.iter().max())
            && least.0 != most.0
        {
            return Some(format!("broker {} knows less of the topics than broker {}", least.1, most.1));
        }
        let leaderless = led.into_iter().find(|(_, served)| !served)?;
        Some(format!("{} has no leader that serves", super::brokers::name(leaderless.0)))
    }

    fn stuck_clients(&self, quiet_from: u64) -> Option<String> {
        if self.now < quiet_from {
            return Some("clients still begin new work".to_owned());
        }
        let (at, client) = self.clients.iter().enumerate().find(|(_, client)| !client.program.idle())?;
        let troubles: Vec<String> = client.client.troubles().iter().take(3).map(ToString::to_string).collect();
        let told =
            if troubles.is_empty() { String::new() } else { format!("; last it was told: {}", troubles.join(", ")) };
        Some(format!("client {at} waits for {}{told}", client.program.waiting_for()))
    }

    /// What the run says, after [`World::run`].
    pub fn outcome(&mut self) -> Outcome {
        self.tally.acked = self.record.acked();
        self.tally.polled = self.record.records_polled();
        let cut_short = self.was_cut_short();
        if !cut_short && !self.oracle.is_broken_inside() {
            self.audit(self.oracle.broken());
            self.judge_what_stands();
        }
        let mut findings: Vec<(Verdict, Finding)> = self.oracle.take();
        if findings.iter().all(|(verdict, _)| *verdict == Verdict::Liveness) && !cut_short {
            for host in &self.hosts {
                if let Some(process) = &host.process {
                    self.work = Some(Work::Broker(host.place, Cause::Other));
                    process.broker.check();
                    self.work = None;
                }
            }
            // Who did not come to the end of reading cannot say what is not there.
            let stuck = !findings.is_empty();
            let seen = self.record.judge().into_iter().filter(|finding| !(stuck && finding.property == "unseen"));
            findings.splice(0..0, seen.map(|finding| (Verdict::History, finding)));
        }
        let verdict = match findings.first() {
            Some((verdict, _)) => *verdict,
            None if cut_short => Verdict::Pass,
            None if self.tally.acked < ACKED_MIN || !self.tally.touched_state() => Verdict::Vacuous,
            None => Verdict::Pass,
        };
        self.result(verdict, findings.into_iter().map(|(_, finding)| finding).collect())
    }

    /// Holds what brokers showed of their partitions against what producers may leave out, and what times their topics allow.
    fn judge_what_stands(&mut self) {
        let brokers: Vec<&Broker> =
            self.hosts.iter().filter_map(|host| host.process.as_ref()).map(|process| &process.broker).collect();
        let mut deleted: BTreeMap<&str, BTreeSet<Index>> = BTreeMap::new();
        let mut names: BTreeMap<TopicId, &str> = BTreeMap::new();
        for (index, tombstone) in brokers.iter().flat_map(|broker| broker.tombstones()) {
            deleted.entry(&tombstone.name).or_default().insert(index);
            names.insert(tombstone.id, &tombstone.name);
        }
        for spec in &self.scenario.topics {
            let ids = brokers.iter().filter_map(|broker| broker.topic(&spec.name)).map(|(id, _)| id);
            names.extend(ids.map(|id| (id, spec.name.as_str())));
        }
        let heirs_below = |topic: TopicId| {
            let before = deleted.get(names.get(&topic)?).and_then(|all| all.range(..created(topic)).next_back());
            let first = before.map_or(0, |index| index.0 * u64::from(PRODUCER_IDS_PER_BLOCK));
            Some(ProducerId(i64::try_from(first).ok()?))
        };
        let bounds =
            |topic: &str| self.scenario.topics.iter().any(|spec| spec.name == name_of(topic) && spec.bounds_times());
        let read = self.record.history().records().iter().filter_map(|record| match (&record.op, &record.completed) {
            (Op::Poll(poll), Some((_, history::Outcome::Polled { records, .. }))) => Some((poll, records)),
            _ => None,
        });
        let read = read.filter(|(poll, _)| bounds(&poll.topic));
        let values = read.flat_map(|(poll, records)| {
            records.iter().filter_map(move |seen| Some((poll.topic.as_str(), seen.value?)))
        });
        self.oracle.everything_read(heirs_below, values);
    }

    /// What a broker takes more of its disk than it needs, as far as it has nothing to do there.
    fn wasted(&self, host: &Host, process: &Process) -> Option<String> {
        let (lengths, held) = (host.disk.lengths(), process.broker.space());
        let settings = &host.config.settings;
        let logs = || match process.broker.moves_files() || host.rotten {
            true => None,
            false => space::of_logs(&lengths, &held, settings),
        };
        if self.now.saturating_sub(host.journal_at) <= space::RESTED {
            return logs();
        }
        space::of_resting_journal(&lengths, &held, settings).or_else(|| space::of_words(&lengths)).or_else(logs)
    }

    /// Looks into every broker: what only the next leader or the next restart would show.
    fn audit(&mut self, stuck: bool) {
        for host in &self.hosts {
            let Some(process) = &host.process else { continue };
            let node = NodeId(host.place + 1);
            let mut audit = process.broker.audit(|file| host.disk.content(file));
            // Where too few others hold it, nobody can make it again.
            if host.rotten && (self.scenario.trials == 0 || self.board.is_thin() || audit.patrols) {
                audit.groups.iter_mut().for_each(|group| group.damage = None);
            }
            if audit.patrols && self.now > process.born + PATROLLED {
                self.oracle.unread(host.place + 1);
            }
            self.oracle.audited(self.now, node, &audit);
            if stuck {
                continue;
            }
            if host.journal_writes - host.writes_before > CLOSING_WRITES_MAX {
                self.oracle.restless(host.place + 1);
            }
        }
        if !stuck {
            self.audit_rested();
        }
    }

    /// Looks at what brokers should have done by themselves, some time after the last message.
    pub(super) fn audit_rested(&mut self) {
        for host in &self.hosts {
            let Some(process) = &host.process else { continue };
            let node = NodeId(host.place + 1);
            let mut audit = process.broker.audit(|file| host.disk.content(file));
            if host.rotten {
                audit.groups.iter_mut().for_each(|group| group.damage = None);
            }
            if self.now.saturating_sub(host.journal_at) > RESTED {
                self.oracle.rested(self.now, node, &audit, self.scenario.sizes.journal_files.into());
            }
            if let Some(what) = self.wasted(host, process) {
                self.oracle.wasteful(host.place + 1, &what);
            }
            let known = |file: &FileId| match file.kind() {
                FileKind::Segment | FileKind::SegmentIndex | FileKind::State => audit.files.contains(file),
                FileKind::Journal | FileKind::Formation => true,
            };
            if !process.broker.moves_files()
                && let Some(file) = host.disk.files().find(|file| !known(file))
            {
                self.oracle.orphaned(self.now, node, file);
            }
        }
    }

    /// The outcome of a run that ended in a panic with these words.
    pub fn panicked(&mut self, words: &str) -> Outcome {
        self.tally.acked = self.record.acked();
        self.tally.polled = self.record.records_polled();
        let who = self.at_work();
        let finding = Finding {
            property: "no-panic".to_owned(),
            sentence: format!("{who}: {words}"),
            evidence: Vec::new(),
            about: Vec::new(),
            around: None,
        };
        self.result(Verdict::Panic, vec![finding])
    }

    fn result(&self, verdict: Verdict, findings: Vec<Finding>) -> Outcome {
        let (about, around) = match findings.first() {
            Some(finding) => (self.concerned(finding), finding.around),
            None => (Vec::new(), None),
        };
        // What led to it struck before it or soon after: what clients saw was often judged long after it happened.
        let until = match verdict {
            Verdict::History => around.map_or(self.now, |at| at + SECOND),
            Verdict::Pass
            | Verdict::Invariant
            | Verdict::Liveness
            | Verdict::Panic
            | Verdict::Nondeterminism
            | Verdict::Vacuous => self.now,
        };
        let chain = self.story.chain(&about, until, 5);
        Outcome {
            seed: self.scenario.seed,
            verdict,
            trace_hash: self.digest.value(),
            sim_micros: self.now,
            steps: self.steps,
            tally: self.tally.clone(),
            findings,
            chain,
        }
    }
}

/// The index at which a topic came to be, which its id ends with.
fn created(topic: TopicId) -> Index {
    let low = u64::from_be_bytes(std::array::from_fn(|at| topic.0[8 + at]));
    Index(low & (u64::MAX >> 2))
}
