//! Brokers: boots, steps, and what comes of their effects.

use bytes::{Bytes, BytesMut};
use tidelog_core::effect::{DiskCommand, Effect, Effects, Halt, Input};
use tidelog_core::event::Event;
use tidelog_core::id::{FileId, FileKind, GroupId, NodeId, OpId};
use tidelog_core::limits;
use tidelog_core::marks;
use tidelog_core::peer::{Envelope, MessageKind};
use tidelog_core::rng::Rng;

use super::concern::{Cause, Work};
use super::door::Asked;
use super::hoard::Kind;
use super::{CHECK_EVERY, Happening, World};
use crate::net::How;
use crate::scenario::SECOND;
use crate::space;
use crate::table;
use crate::trace;

/// How long a computation takes elsewhere, in microseconds.
const COMPUTE_MICROS: u64 = 80;

pub(super) fn joined(slices: Vec<Bytes>) -> Bytes {
    let mut slices = slices;
    if slices.len() == 1 {
        return slices.remove(0);
    }
    let mut all = BytesMut::with_capacity(slices.iter().map(Bytes::len).sum());
    slices.iter().for_each(|slice| all.extend_from_slice(slice));
    all.freeze()
}

/// Entries are carried when a group stands still and its journal file is wanted back, once: in a run it happens to few.
const CARRIED_MAX: u64 = 100;

impl World {
    pub(super) fn boot(&mut self, place: u32, life: u64) {
        let host = &mut self.hosts[place as usize];
        if host.life != life || host.process.is_some() || host.lost {
            return;
        }
        host.boot(self.now);
        let life = host.life;
        self.expect_full_start(place, life);
        self.tell(Some(place), format!("broker {} starts (incarnation {life})", place + 1));
        self.told_before(place);
        self.deliver(place, life, Input::Wake);
    }

    /// Puts an input into the inbox of an incarnation, if it lives.
    pub(super) fn deliver(&mut self, place: u32, life: u64, input: Input) {
        let now = self.now;
        let host = &mut self.hosts[place as usize];
        let paused = host.paused_until;
        let Some(process) = host.alive(life) else {
            return;
        };
        process.inbox.push_back(input);
        if process.turn.is_none() {
            let at = now.max(process.busy_until).max(paused);
            process.turn = Some(at);
            self.queue.push(at, Happening::Turn { place, life, at });
        }
    }

    pub(super) fn wake(&mut self, place: u32, life: u64, at: u64) {
        let Some(process) = self.hosts[place as usize].alive(life) else {
            return;
        };
        let (ring, again) = process.alarm.due(at);
        if let Some(at) = again {
            self.queue.push(at, Happening::Wake { place, life, at });
        }
        if ring {
            self.deliver(place, life, Input::Wake);
        }
    }

    /// The broker takes its next input.
    pub(super) fn turn(&mut self, place: u32, life: u64, at: u64) {
        let now = self.now;
        let host = &mut self.hosts[place as usize];
        let paused = host.paused_until;
        let Some(process) = host.alive(life).filter(|process| process.turn == Some(at)) else {
            return;
        };
        if paused > now {
            process.turn = Some(paused);
            self.queue.push(paused, Happening::Turn { place, life, at: paused });
            return;
        }
        let Some(input) = process.inbox.pop_front() else { unreachable!("a turn is planned only for an input") };
        let fatal = match &input {
            Input::DiskDone { op, .. } => process.fatal.take_if(|(failed, _)| failed == op).map(|(_, files)| files),
            _ => None,
        };
        let clocks = process.clock.read(now);
        let node = NodeId(place + 1);
        let mut unheard = false;
        match &input {
            Input::Request { conn, id, request } => match process.closing.contains(conn) {
                true => unheard = true,
                false => {
                    let asked = Asked { now, wall: clocks.wall, place, line: (node, *conn), id: *id, request };
                    asked.shown(&process.broker, &self.scenario, &mut self.oracle, &mut self.record);
                }
            },
            Input::Closed { conn } => {
                process.closing.remove(conn);
                self.oracle.closed(node, *conn);
            }
            Input::Wake
            | Input::Opened { .. }
            | Input::Peer { .. }
            | Input::Lost { .. }
            | Input::DiskDone { .. }
            | Input::Computed { .. }
            | Input::Stop => {}
        }
        self.digest.word(now);
        self.digest.word(u64::from(place));
        trace::input(&mut self.digest, &input);
        if self.trace.is_some() {
            self.line(Some(place), || trace::show_input(&input));
        }
        let host = &mut self.hosts[place as usize];
        let cost = table::STEP_COST.draw(&mut host.step_rng);
        host.steps += 1;
        host.excused_until = host.excused_until.max(host.paused_until).max(host.stalled_until);
        let Some(process) = host.alive(life) else {
            return;
        };
        self.work = Some(Work::Broker(place, Cause::from(&input)));
        let mut effects = std::mem::take(&mut process.effects);
        // What a client sent on a connection that the broker has closed meanwhile, nobody reads.
        if !unheard {
            process.broker.step(clocks, input, &mut effects);
        }
        process.busy_until = now + cost;
        self.steps += 1;
        self.since_check += 1;
        if self.since_check >= CHECK_EVERY {
            self.since_check = 0;
            process.broker.check();
        }
        let next = now + cost;
        process.turn = (!process.inbox.is_empty()).then_some(next);
        if process.turn.is_some() {
            self.queue.push(next, Happening::Turn { place, life, at: next });
        }
        self.events(place, &mut effects);
        self.effects(place, life, now + cost, &mut effects);
        effects.clear();
        if let Some(process) = self.hosts[place as usize].alive(life) {
            process.effects = effects;
            let needed = fatal.into_iter().flatten().find(|file| process.broker.needs(*file));
            if let Some(file) = needed {
                self.oracle.went_on(place + 1, file);
            }
        }
        self.work = None;
    }

    fn events(&mut self, place: u32, effects: &mut Effects) {
        for event in effects.events.drain(..) {
            trace::event(&mut self.digest, &event);
            if self.trace.is_some() {
                self.line(Some(place), || format!("  event {event:?}"));
            }
            let node = place + 1;
            match &event {
                Event::Elected { group, term } => {
                    if self.oracle.led_before(*group) {
                        self.tally.leader_changes += 1;
                    }
                    self.plot(place, 10);
                    self.counted(Kind::Ack(*group), Some(place));
                    self.counted(Kind::HandOver(*group), None);
                    self.slow_start();
                    self.tell(
                        Some(place),
                        format!("broker {node} is elected leader of {} in term {}", name(*group), term.0),
                    );
                }
                Event::Deposed { group, term } => {
                    self.ending_deposed(place, *group);
                    self.tell(Some(place), format!("broker {node} no longer leads {} (term {})", name(*group), term.0));
                }
                Event::Chartered { cluster, replica, members, .. } => {
                    if self.founded.insert(*cluster) {
                        let disks: Vec<_> = members.iter().map(|(node, directory, _)| (*node, *directory)).collect();
                        self.founded(place, &disks);
                    }
                    self.counted(Kind::Formation, Some(place));
                    self.hosts[place as usize].member = replica.0 > 0;
                    self.plot(place, 50);
                    let role = if replica.0 > 0 { "is a member of" } else { "observes" };
                    self.tell(Some(place), format!("broker {node} {role} cluster {cluster}"));
                }
                Event::Started => {
                    self.hosts[place as usize].started_at = Some(self.now);
                    self.hosts[place as usize].started = self.hosts[place as usize].life;
                    self.tell(Some(place), format!("broker {node} has recovered"));
                }
                Event::Sometimes(mark) => {
                    self.tally.mark(mark);
                    let damaged = *mark == marks::DAMAGE_FOUND || *mark == marks::SUSPENDED;
                    if damaged && (!self.hosts[place as usize].rotten || self.hosts[place as usize].healed) {
                        self.oracle.harmed(node);
                    }
                    if *mark == marks::SUSPENDED {
                        self.hurry_admin();
                    }
                    if *mark == marks::ENTRIES_CARRIED {
                        self.hosts[place as usize].carried += 1;
                        if self.hosts[place as usize].carried == CARRIED_MAX {
                            self.oracle.restless(node);
                        }
                    }
                    if *mark == marks::ADMITTED {
                        self.slow_change();
                    }
                    let odds = match *mark {
                        marks::CONFLICT_TRUNCATED => 300,
                        marks::ENTRIES_CARRIED => 60,
                        marks::REPLICA_DROPPED => 100,
                        marks::SUSPENDED | marks::CONTROLLER_RENEWED | marks::REPLICAS_RENEWED => 300,
                        // What a recovery believed of a torn block is believed of an older file next time.
                        marks::JOURNAL_CUT => 500,
                        _ => 0,
                    };
                    self.plot(place, odds);
                }
                Event::Note(text) | Event::Progress(text) => {
                    self.story.tell(self.now, self.steps, Some(node), format!("broker {node}: {text}"))
                }
                Event::Recovered { .. } | Event::Appended { .. } | Event::Persisted { .. } => {}
                Event::Judged { group, index, judged } => {
                    let process = self.hosts[place as usize].process.as_ref();
                    let partition = process.and_then(|process| process.broker.partition(*group));
                    self.oracle.judged(*group, *index, judged, partition);
                }
                Event::Serving { group, .. } => self.ending_serves(place, *group),
                // Whoever votes may campaign: what was said to an earlier campaign of it comes now.
                Event::HardStatePersisted { group, .. } => self.counted(Kind::Vote(*group), Some(place)),
                Event::Applied { group, .. } => {
                    if *group == GroupId::CONTROLLER {
                        self.counted(Kind::Command, Some(place));
                    }
                }
                Event::Configured { group, outgoing, .. } => self.configured(place, *group, !outgoing.is_empty()),
                Event::NoRoom { needed, starting } => {
                    let text = if *starting { "to start" } else { "to write on" };
                    self.tell(
                        Some(place),
                        format!("broker {node} finds its disk full: it needs {needed} bytes {text}"),
                    );
                }
                // What counts is on its way to the disk, or has just begun to count.
                Event::Installing { .. } => self.plot(place, 50),
                Event::Installed { group, .. } | Event::Healed { group, .. } => {
                    self.plot(place, 50);
                    self.plot_mark(place, *group);
                    self.counted(Kind::Copy(*group), Some(place));
                }
                Event::Checkpointed { group, .. } => {
                    self.plot(place, 2);
                    self.plot_mark(place, *group);
                }
            }
            self.oracle.event(self.now, NodeId(node), &event);
        }
    }

    fn effects(&mut self, place: u32, life: u64, at: u64, effects: &mut Effects) {
        for effect in effects.effects.drain(..) {
            match effect {
                Effect::Respond { conn, id, response } => {
                    let bytes = joined(response.encode());
                    self.digest.word(conn.0);
                    self.digest.word(id.0);
                    self.digest.bytes(&bytes);
                    if self.trace.is_some() {
                        self.line(Some(place), || {
                            trace::clipped(format!("  respond {conn:?} {id:?}: {:?}", response.body), 400)
                        });
                    }
                    self.oracle.answered(NodeId(place + 1), conn, id);
                    let excused = self.hosts[place as usize].excused_until;
                    self.oracle.in_time(self.now, (NodeId(place + 1), conn), id, excused);
                    self.answered(place, conn, id, &response);
                    self.respond(place, life, at, conn, bytes);
                }
                Effect::Close { conn, reason } => {
                    self.digest.word(conn.0);
                    self.line(Some(place), || format!("  close {conn:?}: {reason}"));
                    self.oracle.closed(NodeId(place + 1), conn);
                    self.broker_closes(place, life, at, conn);
                }
                Effect::Mute { conn } => self.set_muted(place, life, conn, true),
                Effect::Unmute { conn } => self.set_muted(place, life, conn, false),
                Effect::Send { to, envelope } => self.peer_sends(place, at, to, &envelope),
                Effect::Disk { op, command } => self.disk(place, life, at, op, command),
                Effect::Compute { job, job_input } => {
                    self.digest.word(job.0);
                    let output = job_input.run();
                    self.queue.push(at + COMPUTE_MICROS, Happening::Computed { place, life, job, output });
                }
                Effect::WakeAt(moment) => {
                    let now = self.now;
                    let Some(process) = self.hosts[place as usize].alive(life) else {
                        continue;
                    };
                    let when = process.clock.when(moment).max(now + 1);
                    self.digest.word(when);
                    if let Some(at) = process.alarm.set(when) {
                        self.queue.push(at, Happening::Wake { place, life, at });
                    }
                }
                Effect::Halt(halt) => {
                    self.halted(place, &halt);
                    return;
                }
            }
        }
    }

    fn peer_sends(&mut self, place: u32, at: u64, to: NodeId, envelope: &Envelope) {
        let bytes = joined(envelope.encode());
        self.digest.word(u64::from(to.0));
        self.digest.bytes(&bytes);
        assert!(
            to.0 >= 1 && to.0 <= self.scenario.brokers && to.0 != place + 1,
            "broker {} sends to broker {}, which is not another broker",
            place + 1,
            to.0
        );
        for message in &envelope.messages {
            if !matches!(message.raft.kind, MessageKind::PreVote | MessageKind::PreVoteResponse) {
                self.oracle.spoke(self.now, NodeId(place + 1), message.group, message.raft.term);
            }
        }
        let target = to.0 - 1;
        let Some((length, body)) = bytes.split_at_checked(4) else { panic!("an envelope without a length") };
        assert_eq!(length, (body.len() as u32).to_be_bytes(), "the length before an envelope is right");
        assert!(body.len() as u64 <= u64::from(limits::ENVELOPE_BYTES_MAX), "an envelope is bounded");
        let frame = bytes.slice(4..);
        let fate = self.net.fate(place, target);
        if self.trace.is_some() {
            self.line(Some(place), || format!("  send to {to:?}: {fate:?} {envelope:?}"));
        }
        self.hoard(place, target, envelope, &frame);
        for (delay, how) in fate.into_iter().flatten() {
            let frame = frame.clone();
            self.queue.push(at + delay, Happening::Peer { from: place, to: target, frame, how });
        }
    }

    /// The end of a broker's process is noticed by another, wherever that is not too late: it may be back.
    pub(super) fn peer_lost(&mut self, from: u32, to: u32) {
        let host = &self.hosts[to as usize];
        if !self.net.is_cut(from, to) && host.process.is_some() {
            self.deliver(to, host.life, Input::Lost { node: NodeId(from + 1) });
        }
    }

    pub(super) fn peer_arrives(&mut self, from: u32, to: u32, frame: Bytes, how: How) {
        if self.net.is_cut(from, to) {
            return;
        }
        let host = &self.hosts[to as usize];
        let life = host.life;
        if host.process.is_none() {
            return;
        }
        if how != How::Plain {
            self.tally.stray_messages += 1;
            self.tally.fault(if how == How::Late { "late_message" } else { "duplicate_message" });
        }
        match Envelope::decode(frame) {
            Ok(envelope) => self.deliver(to, life, Input::Peer { from: NodeId(from + 1), envelope }),
            Err(error) => panic!("broker {} cannot read what broker {} wrote: {error}", to + 1, from + 1),
        }
    }

    fn disk(&mut self, place: u32, life: u64, at: u64, op: OpId, command: DiskCommand) {
        self.digest.word(op.0);
        trace::disk_command(&mut self.digest, &command);
        self.line(Some(place), || format!("  disk {op:?}: {}", trace::show_disk(&command)));
        let host = &mut self.hosts[place as usize];
        let syncs = match &command {
            DiskCommand::List | DiskCommand::Read { .. } => false,
            DiskCommand::Write { durable, .. } => *durable,
            DiskCommand::Sync { .. }
            | DiskCommand::Allocate { .. }
            | DiskCommand::Truncate { .. }
            | DiskCommand::Remove { .. } => true,
        };
        let rng = &mut host.disk_rng;
        let mut takes = if syncs { table::DISK_SYNC } else { table::DISK_QUICK }.draw(rng);
        if at < host.stalled_until {
            takes += table::DISK_STALL.draw(rng);
        }
        let of_journal =
            matches!(&command, DiskCommand::Write { file, durable: true, .. } if file.kind() == FileKind::Journal);
        let of_formation = matches!(&command, DiskCommand::Write { file, .. } if file.kind() == FileKind::Formation);
        host.disk.issue(op, command);
        if of_formation {
            if let Some(process) = self.hosts[place as usize].alive(life) {
                process.wrote_word = true;
            }
            self.plot_word(place);
        }
        if of_journal {
            self.hosts[place as usize].journal_at = at;
            let host = &mut self.hosts[place as usize];
            host.journal_writes += 1;
            let needed = host.process.as_ref().map_or(0, |process| process.broker.journal_files());
            host.journal_needed = host.journal_needed.max(needed);
            self.oracle.journal_write(NodeId(place + 1), op);
        }
        self.queue.push(at + takes, Happening::DiskDone { place, life, op });
    }

    pub(super) fn disk_done(&mut self, place: u32, life: u64, op: OpId) {
        let host = &mut self.hosts[place as usize];
        if host.life != life || host.process.is_none() {
            return;
        }
        let written: Vec<FileId> = match host.disk.in_flight(op) {
            Some(DiskCommand::Write { file, .. }) => vec![*file],
            Some(DiskCommand::Sync { files }) => files.clone(),
            Some(
                DiskCommand::List
                | DiskCommand::Read { .. }
                | DiskCommand::Allocate { .. }
                | DiskCommand::Truncate { .. }
                | DiskCommand::Remove { .. },
            )
            | None => Vec::new(),
        };
        let beside = written.iter().all(|file| file.kind() != FileKind::Journal);
        let can_fail = !written.is_empty() && (beside || !host.fail_beside);
        let full = if self.now < host.full_until { host.disk.refuse(op) } else { None };
        let result = match host.fail_next.is_some() && can_fail {
            true => {
                self.tally.fault("disk_error");
                // It fails once: whoever asks again is told that all is well.
                host.failed = host.fail_next.take();
                if let Some(process) = &mut host.process {
                    process.fatal = Some((op, written));
                }
                host.disk.fail(op, &mut host.crash_rng)
            }
            false => full.or_else(|| host.disk.finish(op)),
        };
        let Some(result) = result else {
            unreachable!("an operation of a living process is in flight until it is done")
        };
        if result.is_ok() {
            self.oracle.disk_done(NodeId(place + 1), op);
        }
        self.deliver(place, life, Input::DiskDone { op, result });
    }

    fn halted(&mut self, place: u32, halt: &Halt) {
        let node = place + 1;
        self.tell(Some(place), format!("broker {node} {}", trace::show_halt(halt)));
        let host = &mut self.hosts[place as usize];
        let asked = host.failed.take();
        let stop_asked = host.stop_asked.take();
        match (halt, asked) {
            (Halt::DiskFailed(_), Some(down)) => {
                let life = self.end_process(place, true);
                self.queue.push(self.now + down, Happening::Boot { place, life });
            }
            (Halt::Corrupt(_), _) if self.hosts[place as usize].rotten => {
                let life = self.end_process(place, false);
                self.lose_or_replace(place, life);
            }
            (Halt::Stopped, _) if stop_asked.is_some() => {
                self.ending_halts(place);
                let life = self.end_process(place, false);
                self.queue.push(self.now + stop_asked.unwrap_or_default(), Happening::Restart { place, life });
            }
            (Halt::DiskFailed(why) | Halt::Corrupt(why) | Halt::Foreign(why), _) => {
                self.end_process(place, false);
                self.oracle.refused(node, why);
            }
            (Halt::Stopped, _) => {
                self.end_process(place, false);
                self.oracle.refused(node, "it stopped, and nobody asked it to");
            }
        }
    }

    /// The operator gives up a broker, or its disk: then it is started with an empty one, and admitted again.
    pub(super) fn lose_or_replace(&mut self, place: u32, life: u64) {
        let node = place + 1;
        let host = &mut self.hosts[place as usize];
        if host.crash_rng.per_mille(500) {
            host.lost = true;
            self.tally.fault("broker_lost");
            return self.tell(Some(place), format!("broker {node} is lost for good: its disk is damaged"));
        }
        let after = host.crash_rng.between(SECOND / 2, 8 * SECOND);
        self.empty_disk(place);
        self.tally.fault("disk_replaced");
        self.tell(Some(place), format!("the damaged disk of broker {node} is replaced by an empty one"));
        self.queue.push(self.now + after, Happening::Restart { place, life });
    }

    /// Ends the process of a host, with its machine if `power`. Gives the incarnation that ended.
    pub(super) fn end_process(&mut self, place: u32, power: bool) -> u64 {
        self.hang_up_all(place);
        self.weigh(place);
        let host = &mut self.hosts[place as usize];
        if let Some(process) = &host.process {
            let before = self.work.replace(Work::Broker(place, Cause::Other));
            process.broker.check();
            self.work = before;
        }
        host.process = None;
        host.started_at = None;
        host.paused_until = 0;
        host.stop_asked = None;
        host.failed = None;
        let mut rng: Rng = host.crash_rng.clone();
        let damage = match power {
            true => host.disk.power_loss(&mut rng),
            false => host.disk.kill(&mut rng),
        };
        host.crash_rng = rng;
        let life = host.life;
        for word in [damage.unsynced, damage.lost, damage.in_flight] {
            self.digest.word(word);
        }
        if power && damage.unsynced + damage.in_flight > 0 {
            self.tally.dirty_crashes += 1;
        }
        // A system that outlives its process closes its connections; a machine without power says nothing.
        if !power {
            for other in (0..self.scenario.brokers).filter(|other| *other != place) {
                let delay = table::PEER_LATENCY.draw(&mut self.lost_rng);
                self.queue.push(self.now + delay, Happening::Lost { from: place, to: other });
            }
        }
        self.oracle.died(NodeId(place + 1));
        self.record.lives().died(place);
        if power {
            let text = format!(
                "the disk of broker {} loses {} of {} unsynced sectors ({} writes were under way)",
                place + 1,
                damage.lost,
                damage.unsynced,
                damage.in_flight
            );
            self.tell(Some(place), text);
        }
        life
    }
}

impl World {
    /// A process is about to end: does it take more of its disk than it may while it works?
    fn weigh(&mut self, place: u32) {
        let host = &self.hosts[place as usize];
        let Some(process) = host.process.as_ref().filter(|_| !host.rotten) else {
            return;
        };
        let lengths = host.disk.lengths();
        let settled = host.started_at.is_some_and(|at| self.now.saturating_sub(at) > space::SETTLED);
        let calm = self.now.saturating_sub(host.stalled_until.max(host.full_until)) > space::SETTLED;
        let journal = space::of_busy_journal(&lengths, host.journal_needed);
        let logs = || space::of_busy_logs(&lengths, &process.broker.space(), &host.config.settings);
        if let Some(what) = journal.or_else(|| if settled && calm { logs() } else { None }) {
            self.oracle.wasteful(place + 1, &what);
        }
    }
}

/// A group for people.
pub(super) fn name(group: GroupId) -> String {
    match group {
        GroupId::CONTROLLER => "the controller".to_owned(),
        other => format!("group {other}"),
    }
}
