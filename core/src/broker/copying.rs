//! Files for followers that are far behind: what a leader lends and reads for them, what a follower asks for and installs.
//!
//! A leader's Raft group says that a member needs a snapshot; the leader then lends it the files of its last checkpoint under
//! a **lease**, which lives as long as the member asks for something now and then. The member pulls them piece by piece,
//! syncs them, and puts one mark into its journal that makes them the whole of its replica; only then does its Raft group
//! hear of the snapshot, and answers it. Bytes that do not fit are dropped and counted.
//!
//! Does not know what is in a file ([`crate::log::Incoming`] does), nor why a member needs it ([`crate::raft`] does).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::machine::Loaded;
use super::mark::MarkBody;
use super::replica::Replica;
use super::{Broker, Owner};
use crate::effect::{DiskCommand, DiskResult, Effects, Halt};
use crate::event::Event;
use crate::id::{FileId, FileIds, GroupId, Index, NodeId, ReplicaId, Term};
use crate::journal::{Mark, Ticket};
use crate::limits::{
    COPIES_IN_MAX, COPY_PIECE_BYTES_MAX, COPY_PULLS_MAX, COPY_READS_MAX, COPY_RETRY_TICKS, LEASE_ELECTIONS,
    LENT_WINDOW_BUDGETS,
};
use crate::log::{CopyId, Incoming, Lent, Manifest, Progress, Received};
use crate::marks;
use crate::mutants::Mutant;
use crate::peer::{CopyBody, CopyMessage, Offer};
use crate::raft::{Admission, Conf, Group, Offered, Output};

/// Files lent to a member.
#[derive(Debug)]
struct Lease {
    node: NodeId,
    index: Index,
    index_term: Term,
    /// The configuration there.
    conf: Conf,
    lent: Lent,
    /// It needs them to heal, and not to follow.
    heals: bool,
    /// Ticks since the member said something.
    silent: u32,
}

/// Files on their way from a leader.
#[derive(Debug)]
struct Arrival {
    node: NodeId,
    from: ReplicaId,
    offered: Offered,
    manifest: Manifest,
    files: Incoming,
    /// Ticks since anything moved.
    quiet: u32,
    /// How many tenths were told.
    told: u64,
}

/// Copied files whose mark is on its way to the disk.
#[derive(Debug)]
struct Installing {
    ticket: Ticket,
    node: NodeId,
    from: ReplicaId,
    /// They take the place of damaged ones; the log stays what it is.
    heals: bool,
    offered: Offered,
    received: Received,
    loaded: Loaded,
    copied: u64,
}

/// What one replica copies, as leader or as follower.
#[derive(Debug, Default)]
pub(super) struct Copying {
    leases: BTreeMap<ReplicaId, Lease>,
    arrival: Option<Box<Arrival>>,
    installing: Option<Box<Installing>>,
}

/// A piece that a member asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pull {
    group: GroupId,
    to: ReplicaId,
    index: Index,
    file: FileId,
    at: u64,
    len: u32,
}

/// Pieces that members of all groups asked for: some are being read, the others wait in line.
#[derive(Debug, Default)]
pub(super) struct Copies {
    waiting: VecDeque<Pull>,
    reading: BTreeMap<CopyId, Pull>,
    next: u64,
    /// Messages that did not fit.
    pub(super) refused: u64,
}

impl Copies {
    /// The group is gone: nothing of it is read any more.
    pub(super) fn forget(&mut self, group: GroupId) {
        self.waiting.retain(|pull| pull.group != group);
        self.reading.retain(|_, pull| pull.group != group);
    }
}

impl Copying {
    /// Whether a mark of copied files is on its way to the disk.
    pub(super) fn is_installing(&self) -> bool {
        self.installing.is_some()
    }

    /// Whether it is a mark of files that take the place of damaged ones.
    pub(super) fn is_healing(&self) -> bool {
        self.installing.as_ref().is_some_and(|installing| installing.heals)
    }

    /// Whether everything is here, but of a time before this entry.
    pub(super) fn is_behind(&self, applied: Index) -> bool {
        let arrival = self.arrival.as_ref();
        arrival.is_some_and(|arrival| arrival.files.progress() == Progress::Ready && arrival.offered.index < applied)
    }

    /// Whether files are on their way that may become useful.
    pub(super) fn arrives(&self, applied: Index, term: Term, limit: u32) -> bool {
        self.arrival.as_ref().is_some_and(|arrival| {
            let forgotten = arrival.quiet >= limit;
            match arrival.files.progress() {
                Progress::Going => arrival.offered.term >= term && !forgotten,
                Progress::Ready => arrival.offered.index >= applied && !forgotten,
                Progress::Failed(_) => false,
            }
        })
    }

    /// The lease of a member: whether it heals by it, and what it covers.
    pub(super) fn lease_of(&self, to: ReplicaId) -> Option<(bool, Index)> {
        self.leases.get(&to).map(|lease| (lease.heals, lease.index))
    }

    /// The members that heal by what is lent to them.
    pub(super) fn healers(&self) -> impl Iterator<Item = ReplicaId> {
        self.leases.iter().filter(|(_, lease)| lease.heals).map(|(to, _)| *to)
    }

    /// Whether that mark is durable.
    pub(super) fn is_installed(&self, durable: Ticket) -> bool {
        self.installing.as_ref().is_some_and(|installing| installing.ticket <= durable)
    }

    /// Every file that is being made, or was made and is not installed yet.
    pub(super) fn files(&self) -> BTreeSet<FileId> {
        let arriving = self.arrival.iter().flat_map(|arrival| arrival.files.files());
        arriving.chain(self.installing.iter().flat_map(|installing| installing.received.files())).collect()
    }

    /// What is wanted of the disk.
    pub(super) fn commands(&mut self, ids: &mut FileIds, out: &mut Vec<(u64, DiskCommand)>) {
        if let Some(arrival) = &mut self.arrival {
            arrival.files.commands(ids, out);
        }
    }

    fn lends(&self) -> bool {
        !self.leases.is_empty()
    }

    /// How many leases ought to have ended: nobody leads here, the member has what it was lent, or it says nothing for twice
    /// as many ticks as it may. Only for a moment.
    pub(super) fn overdue(&self, raft: &Group, limit: u32) -> u64 {
        let over = |(to, lease): &(&ReplicaId, &Lease)| {
            let has_all = !lease.heals && raft.has_matched(**to, lease.index);
            !raft.leading() || has_all || lease.silent > limit.saturating_mul(2)
        };
        self.leases.iter().filter(over).count() as u64
    }

    /// What the checkpoints that are lent cover.
    fn lent(&self) -> Vec<Index> {
        self.leases.values().map(|lease| lease.index).collect()
    }
}

pub(super) fn message(replica: &Replica, to: ReplicaId, index: Index, body: CopyBody) -> CopyMessage {
    CopyMessage { group: replica.raft.id(), from: replica.raft.replica(), to, index, body }
}

/// The leader's side.
impl Broker {
    /// A member needs more than is in memory: it is offered the files of the last checkpoint.
    pub(super) fn lend(&mut self, group: GroupId, node: NodeId, to: ReplicaId, heals: bool, out: &mut Effects) {
        self.end_lease(group, to);
        let Some(replica) = self.replicas.get_mut(&group) else { return };
        let Some(lent) = replica.machine.log.lend() else {
            if !heals {
                replica.raft.report_snapshot(to, false);
            }
            return;
        };
        let (index, index_term, conf) = (replica.marked, replica.marked_term, replica.marked_conf.clone());
        let lease = Lease { node, index, index_term, conf, lent, heals, silent: 0 };
        replica.copying.leases.insert(to, lease);
        let text = format!(
            "broker {node} needs files of {} up to entry {}",
            self.name_of(group),
            self.replicas[&group].marked
        );
        out.event(Event::Progress(text));
        self.offer(group, to);
    }

    fn offer(&mut self, group: GroupId, to: ReplicaId) {
        let Some(replica) = self.replicas.get(&group) else { return };
        let Some(lease) = replica.copying.leases.get(&to) else { return };
        let offer = Offer {
            term: replica.raft.term(),
            index_term: lease.index_term,
            conf: lease.conf.encode(),
            manifest: lease.lent.manifest.encode(),
        };
        let (node, message) = (lease.node, message(replica, to, lease.index, CopyBody::Offer(offer)));
        self.envelope(node).copies.push(message);
    }

    /// The files lent to a member are needed no more.
    fn end_lease(&mut self, group: GroupId, to: ReplicaId) {
        self.copies.waiting.retain(|pull| (pull.group, pull.to) != (group, to));
        let Some(replica) = self.replicas.get_mut(&group) else { return };
        if let Some(lease) = replica.copying.leases.remove(&to) {
            replica.machine.log.take_back(&lease.lent);
            self.thirsty.insert(group);
        }
    }

    fn report(&mut self, group: GroupId, to: ReplicaId, installed: bool) {
        let heals =
            self.replicas.get(&group).and_then(|replica| replica.copying.lease_of(to)).is_some_and(|lease| lease.0);
        self.end_lease(group, to);
        if let Some(replica) = self.replicas.get_mut(&group).filter(|_| !heals) {
            replica.raft.report_snapshot(to, installed);
            self.touched.insert(group);
        }
    }

    /// A tick of every lease: members that have what they need, or are silent, need the files no more.
    fn tick_leases(&mut self, group: GroupId, out: &mut Effects) {
        let limit = self.config.settings.election_ticks_max.saturating_mul(LEASE_ELECTIONS);
        let Some(replica) = self.replicas.get_mut(&group) else { return };
        let leading = replica.raft.leading();
        let for_ever = self.config.mutants.planted(Mutant::LeaseNeverEnds);
        let (mut over, mut again) = (Vec::new(), Vec::new());
        for (to, lease) in &mut replica.copying.leases {
            lease.silent += 1;
            if for_ever {
                continue;
            }
            if !leading || (!lease.heals && replica.raft.has_matched(*to, lease.index)) {
                over.push((*to, lease.node, true));
            } else if lease.silent >= limit {
                over.push((*to, lease.node, false));
            } else if lease.silent % COPY_RETRY_TICKS == 0 {
                again.push(*to);
            }
        }
        for (to, node, fine) in over {
            if !fine {
                out.event(Event::Sometimes(marks::LEASE_EXPIRED));
                let text = format!("broker {node} asks for files of {} no more", self.name_of(group));
                out.event(Event::Note(text));
            }
            self.report(group, to, fine);
        }
        for to in again {
            self.offer(group, to);
        }
    }

    fn pulled(&mut self, pull: Pull) -> bool {
        let Some(replica) = self.replicas.get_mut(&pull.group) else { return true };
        let Some(lease) = replica.copying.leases.get_mut(&pull.to).filter(|lease| lease.index == pull.index) else {
            // Late, or the lease is over: another offer comes.
            return true;
        };
        if !lease.lent.has(pull.file) || pull.len == 0 || pull.len > COPY_PIECE_BYTES_MAX || pull.at > u64::MAX / 2 {
            return false;
        }
        lease.silent = 0;
        let same = |other: &&Pull| (other.group, other.to) == (pull.group, pull.to);
        let mut of_lease = self.copies.waiting.iter().chain(self.copies.reading.values()).filter(same);
        let known = of_lease.clone().any(|other| *other == pull);
        if !known && of_lease.nth(2 * COPY_PULLS_MAX).is_none() {
            self.copies.waiting.push_back(pull);
        }
        true
    }

    /// Reads what members asked for, a few pieces at a time.
    pub(super) fn serve_pulls(&mut self) {
        while self.copies.reading.len() < COPY_READS_MAX {
            let Some(pull) = self.copies.waiting.pop_front() else { return };
            let Some(replica) = self.replicas.get_mut(&pull.group) else { continue };
            let lent = replica.copying.leases.get(&pull.to).is_some_and(|lease| lease.lent.has(pull.file));
            if lent {
                let copy = CopyId(self.copies.next);
                self.copies.next += 1;
                replica.machine.log.copy(copy, pull.file, pull.at, u64::from(pull.len));
                self.copies.reading.insert(copy, pull);
                self.thirsty.insert(pull.group);
            }
        }
    }

    /// A piece was read. What can not be read is not answered: the member asks again, or its lease ends.
    pub(super) fn piece_read(&mut self, copy: CopyId, bytes: Option<Bytes>) {
        let Some(pull) = self.copies.reading.remove(&copy) else { return };
        let Some(replica) = self.replicas.get(&pull.group) else { return };
        let Some(lease) = replica.copying.leases.get(&pull.to) else { return };
        let Some(bytes) = bytes.filter(|bytes| bytes.len() == pull.len as usize) else { return };
        let body = CopyBody::Piece { file: pull.file.raw(), at: pull.at, bytes };
        let (node, message) = (lease.node, message(replica, pull.to, pull.index, body));
        self.envelope(node).copies.push(message);
    }
}

/// What both sides hear.
impl Broker {
    /// Another replica said something about files.
    pub(super) fn copy_message(&mut self, node: NodeId, message: CopyMessage, out: &mut Effects) {
        let CopyMessage { group, from, to, index, body } = message;
        let Some(replica) = self.replicas.get_mut(&group) else { return };
        if replica.raft.acquainted(node, group, from, to).is_err() {
            return self.misfit(group, node, out);
        }
        let fits = match body {
            CopyBody::Offer(offer) => self.offered(group, (node, from, to), index, &offer, out),
            CopyBody::Pull { file, at, len } => match FileId::from_raw(file) {
                Some(file) => self.pulled(Pull { group, to: from, index, file, at, len }),
                None => false,
            },
            CopyBody::Piece { file, at, bytes } => self.piece(group, from, index, (file, at, bytes), out),
            CopyBody::Busy => {
                if let Some(lease) = replica.copying.leases.get_mut(&from).filter(|lease| lease.index == index) {
                    lease.silent = 0;
                }
                true
            }
            CopyBody::Failed => {
                if replica.copying.leases.get(&from).is_some_and(|lease| lease.index == index) {
                    self.report(group, from, false);
                    // Perhaps what it was given is not what was written.
                    self.patrol(group);
                }
                true
            }
            CopyBody::Want => self.wanted(group, node, from, index, out),
            CopyBody::Had => {
                replica.has_healed(from);
                if replica.copying.lease_of(from).is_some_and(|(heals, _)| heals) {
                    self.end_lease(group, from);
                }
                true
            }
        };
        if !fits {
            self.misfit(group, node, out);
        }
    }

    fn misfit(&mut self, group: GroupId, node: NodeId, out: &mut Effects) {
        self.copies.refused += 1;
        out.event(Event::Note(format!("a message about files of group {group} from {node} does not fit")));
    }

    /// A tick of everything that is being copied.
    pub(super) fn copy_tick(&mut self, out: &mut Effects) {
        let busy = |replica: &&Replica| replica.copying.lends() || replica.copying.arrival.is_some();
        let groups: Vec<GroupId> = self.replicas.values().filter(busy).map(|replica| replica.raft.id()).collect();
        for group in groups {
            self.tick_leases(group, out);
            self.tick_arrival(group, out);
        }
    }

    /// Lets go of entries in memory while all groups together hold more than the budget. The largest give first.
    pub(super) fn trim_windows(&mut self) {
        let budget = self.config.settings.window_bytes;
        if self.window_bytes <= self.window_full_at.max(budget) {
            return;
        }
        let mut sizes: Vec<u64> = self.replicas.values().map(|replica| replica.raft.window_bytes()).collect();
        sizes.sort_unstable();
        // To a little less, so that it is not done for every entry.
        let (mut left, mut cap) = (budget / 4 * 3, 0);
        for (at, size) in sizes.iter().enumerate() {
            cap = left / (sizes.len() - at) as u64;
            if *size > cap {
                break;
            }
            left -= size;
        }
        let feeds = |replica: &&Replica| replica.copying.lends() || replica.raft.feeds_copiers();
        let feeding = self.replicas.values().filter(feeds).count() as u64;
        let lent_bytes = (budget.saturating_mul(LENT_WINDOW_BUDGETS) / feeding.max(1)).max(cap);
        self.window_bytes = 0;
        for (group, replica) in &mut self.replicas {
            // Where followers copy files, it may be that only another checkpoint lets go of more.
            if !replica.raft.trim(cap, &replica.copying.lent(), lent_bytes) {
                replica.begin_checkpoint();
                self.thirsty.insert(*group);
            }
            self.window_bytes += replica.raft.window_bytes();
        }
        // What can not be let go of yet is not looked at again for every entry.
        self.window_full_at = self.window_bytes + budget / 4;
    }

    /// A group in an operator's words.
    pub(super) fn name_of(&self, group: GroupId) -> String {
        let named = self.image().and_then(|image| image.partition_of(group));
        match named {
            Some((topic, partition, _)) => format!("{}-{partition}", topic.name),
            None if group == GroupId::CONTROLLER => "the controller".into(),
            None => format!("group {group}"),
        }
    }
}

/// The follower's side.
impl Broker {
    fn offered(
        &mut self,
        group: GroupId,
        (node, from, to): (NodeId, ReplicaId, ReplicaId),
        index: Index,
        offer: &Offer,
        out: &mut Effects,
    ) -> bool {
        // Those whose leader is silent for long hold up nobody else: it may be gone for good.
        let limit = self.config.settings.election_ticks_max.saturating_mul(LEASE_ELECTIONS);
        let moves = |replica: &&Replica| replica.copying.arrival.as_ref().is_some_and(|arrival| arrival.quiet < limit);
        let arriving = self.replicas.values().filter(moves).count();
        let name = self.name_of(group);
        let piece_bytes = self.config.settings.copy_piece_bytes.min(COPY_PIECE_BYTES_MAX);
        let Some(replica) = self.replicas.get_mut(&group) else { return true };
        let (Ok(offered), Ok(manifest)) = (Offered::judge(index, offer), Manifest::decode(offer.manifest.clone()))
        else {
            return false;
        };
        self.touched.insert(group);
        match replica.raft.offered(node, from, to, &offered) {
            Ok(Admission::Wanted) => replica.raft.told_of(index),
            // What stands in its log it may lack as files.
            Ok(Admission::Held) if replica.heals() => {}
            Ok(Admission::Held | Admission::Late) => return true,
            Err(_) => return false,
        }
        let local = &mut replica.machine.log;
        match &mut replica.copying.arrival {
            Some(arrival) if (arrival.from, &arrival.offered, &arrival.manifest) == (from, &offered, &manifest) => {
                // Said again. If it could not be used once, then perhaps now.
                if !matches!(arrival.files.progress(), Progress::Failed(_)) {
                    arrival.quiet = arrival.quiet.min(COPY_RETRY_TICKS);
                    return true;
                }
                arrival.files.renew(manifest, local);
                (arrival.quiet, arrival.told) = (0, 0);
            }
            Some(arrival) if offered.term < arrival.offered.term => return true,
            Some(arrival) if offered.term == arrival.offered.term && index < arrival.offered.index => return true,
            Some(arrival) => {
                arrival.files.renew(manifest.clone(), local);
                (arrival.node, arrival.from, arrival.offered, arrival.manifest) = (node, from, offered, manifest);
                (arrival.quiet, arrival.told) = (0, 0);
            }
            None if arriving >= COPIES_IN_MAX => return true,
            None => {
                let mut files = Incoming::new(manifest.clone(), piece_bytes);
                files.plant(self.config.mutants);
                let arrival = Arrival { node, from, offered, manifest, files, quiet: 0, told: 0 };
                replica.copying.arrival = Some(Box::new(arrival));
            }
        }
        let text = format!("broker {} copies {name} from broker {node}, up to entry {index}", self.config.node);
        out.event(Event::Progress(text));
        self.arrival_moved(group, out);
        true
    }

    fn piece(
        &mut self,
        group: GroupId,
        from: ReplicaId,
        index: Index,
        (file, at, bytes): (u64, u64, Bytes),
        out: &mut Effects,
    ) -> bool {
        let Some(replica) = self.replicas.get_mut(&group) else { return true };
        let arrival = replica.copying.arrival.as_mut();
        let Some(arrival) = arrival.filter(|arrival| (arrival.from, arrival.offered.index) == (from, index)) else {
            return true;
        };
        // What was asked for twice comes twice.
        if arrival.files.piece(file, at, bytes, &mut replica.machine.log, &mut self.files).is_ok() {
            arrival.quiet = 0;
            self.arrival_moved(group, out);
        }
        true
    }

    pub(super) fn arrival_done(&mut self, group: GroupId, tag: u64, result: DiskResult, out: &mut Effects) {
        if let Some(dying) = self.dying.get_mut(&group) {
            dying.outstanding -= 1;
            return;
        }
        let Some(replica) = self.replicas.get_mut(&group) else { return };
        let arrival = replica.copying.arrival.as_mut().expect("what has a command out is there");
        arrival.quiet = 0;
        if let Err(error) = arrival.files.done(tag, result, &mut replica.machine.log, &mut self.files) {
            return self.halt(Halt::DiskFailed(format!("{error:?}")), out);
        }
        self.arrival_moved(group, out);
    }

    /// Something of an arrival moved: what is to be asked for, told, installed?
    fn arrival_moved(&mut self, group: GroupId, out: &mut Effects) {
        self.thirsty.insert(group);
        let (node_here, name) = (self.config.node, self.name_of(group));
        let Some(replica) = self.replicas.get_mut(&group) else { return };
        let ails = replica.heals();
        let Some(arrival) = &mut replica.copying.arrival else { return };
        let (from, node, index) = (arrival.from, arrival.node, arrival.offered.index);
        match arrival.files.progress() {
            Progress::Going => {
                let asks = arrival.files.asks();
                let (copied, total) = arrival.files.bytes();
                let tenths = (copied.saturating_mul(10)).checked_div(total).unwrap_or(0);
                // What is copied in no time is told once, at its end.
                if tenths > arrival.told && total > 16 * u64::from(COPY_PIECE_BYTES_MAX) {
                    arrival.told = tenths;
                    let text = format!("broker {node_here} copies {name}: {} of {}", bytes(copied), bytes(total));
                    out.event(Event::Progress(text));
                }
                for ask in asks {
                    let body = CopyBody::Pull { file: ask.file, at: ask.at, len: ask.len };
                    let message = message(&self.replicas[&group], from, index, body);
                    self.envelope(node).copies.push(message);
                }
            }
            Progress::Ready => self.install_begins(group, out),
            Progress::Failed(why) => {
                let told = std::mem::replace(&mut arrival.told, u64::MAX) == u64::MAX;
                // That the disk gave other bytes than it holds is remembered for the next offer.
                let needs = ails || replica.raft.needs(index, arrival.offered.index_term);
                if arrival.files.is_over() && !(arrival.files.distrusts() && needs) {
                    replica.copying.arrival = None;
                }
                if !told {
                    let message = message(&self.replicas[&group], from, index, CopyBody::Failed);
                    self.envelope(node).copies.push(message);
                    out.event(Event::Note(format!("broker {node_here} gives up copying {name}: {why}")));
                }
            }
        }
    }

    fn tick_arrival(&mut self, group: GroupId, out: &mut Effects) {
        let limit = self.config.settings.election_ticks_max.saturating_mul(LEASE_ELECTIONS);
        let regress = self.config.mutants.planted(Mutant::SnapshotRegress);
        let Some(replica) = self.replicas.get_mut(&group) else { return };
        let heals = replica.heals();
        let Some(arrival) = &mut replica.copying.arrival else { return };
        if !regress && !heals && !replica.raft.needs(arrival.offered.index, arrival.offered.index_term) {
            arrival.told = u64::MAX;
            arrival.files.give_up("it is here already", &mut replica.machine.log);
            return self.arrival_moved(group, out);
        }
        arrival.quiet = arrival.quiet.saturating_add(1);
        // A leader that says nothing for so long has forgotten its offer: if it still leads, it makes another.
        if arrival.quiet % COPY_RETRY_TICKS == 0 && arrival.quiet < limit {
            arrival.files.retry();
            let (from, node, index) = (arrival.from, arrival.node, arrival.offered.index);
            let message = message(&self.replicas[&group], from, index, CopyBody::Busy);
            self.envelope(node).copies.push(message);
            self.arrival_moved(group, out);
        } else if arrival.quiet % COPY_RETRY_TICKS == 0 && arrival.files.progress() == Progress::Ready {
            // Nothing is missing but that this replica hears how far all is committed.
            self.install_begins(group, out);
        }
    }

    /// Everything that was copied is durable: one mark makes it the replica.
    fn install_begins(&mut self, group: GroupId, out: &mut Effects) {
        let Some(replica) = self.replicas.get_mut(&group) else { return };
        let Some(arrival) = &replica.copying.arrival else { return };
        let Offered { term, index, index_term, .. } = arrival.offered;
        let heals = replica.is_cure(&arrival.offered);
        if !heals && !replica.raft.installable(term, index, index_term) {
            // Another leader has other files, or none are needed: the tick sees to that.
            return;
        }
        let Some(arrival) = replica.copying.arrival.take() else { return };
        let Arrival { from, node, offered, files, .. } = *arrival;
        let ((copied, _), (segments, suffix)) = (files.bytes(), files.suffix());
        let received = files.take();
        let loaded = match replica.machine.read(received.extra()) {
            Ok(loaded) => loaded,
            Err(what) => {
                // Written by a newer broker: there is nothing to be done with it here.
                replica.machine.log.give_back(&received);
                out.event(Event::Note(format!("what broker {node} gave of group {group} can not be read: {what}")));
                for file in received.own_files() {
                    self.disk(Owner::Broom, DiskCommand::Remove { file }, out);
                }
                return;
            }
        };
        let body = MarkBody { manifest: received.manifest.clone(), conf: offered.conf.clone() };
        let mark = Mark { applied: index, applied_term: index_term, body: body.encode() };
        let journal = self.journal.as_mut().expect("a running broker has a journal");
        let ticket = if heals {
            journal.mark(group, mark)
        } else {
            replica.raft.freeze();
            out.event(Event::Installing { group, index, term: index_term });
            journal.install(group, mark)
        };
        let installing = Installing { ticket, node, from, heals, offered, received, loaded, copied };
        replica.copying.installing = Some(Box::new(installing));
        self.writing.insert(group);
        if segments {
            out.event(Event::Sometimes(marks::SEGMENTS_COPIED));
        }
        if suffix {
            out.event(Event::Sometimes(marks::SUFFIX_COPIED));
        }
    }

    /// The mark is durable: the replica is what was copied.
    pub(super) fn install(&mut self, group: GroupId, out: &mut Effects) {
        self.fail_reads(group, out);
        let Some(replica) = self.replicas.get_mut(&group) else { return };
        let Some(installing) = replica.copying.installing.take() else { return };
        let Installing { node, from, heals, offered, received, loaded, copied, .. } = *installing;
        let Offered { index, index_term, .. } = offered;
        let window_bytes = replica.raft.window_bytes();
        replica.machine.log.install(received);
        replica.machine.load(index, index_term, loaded);
        replica.begin_anew(offered.conf.clone());
        let mut output = Output { lost: replica.healed(index), ..Output::default() };
        let journal = self.journal.as_mut().expect("a running broker has a journal");
        if heals {
            replica.raft.checkpointed(index, index_term, &offered.conf);
            replica.applied(out, &mut output);
        } else {
            replica.raft.install(from, &offered, journal, &mut output);
        }
        self.window_bytes = self.window_bytes - window_bytes + replica.raft.window_bytes();
        let (digest, log) = (replica.machine.digest, &replica.machine.log);
        let (next_offset, log_start) = (log.next_offset(), log.log_start());
        out.event(if heals {
            Event::Healed { group, index, term: index_term, digest, next_offset, log_start }
        } else {
            Event::Installed { group, index, term: index_term, digest, next_offset, log_start }
        });
        replica.raft.tell(out);
        if heals {
            let message = message(replica, from, index, CopyBody::Had);
            self.envelope(node).copies.push(message);
        }
        out.event(Event::Sometimes(if heals { marks::HEALED } else { marks::SNAPSHOT_INSTALLED }));
        self.touched.insert(group);
        self.thirsty.insert(group);
        self.deliver(group, output, out);
        if group == GroupId::CONTROLLER {
            self.admin_changed = true;
            if heals {
                // What was committed since the files were made is here, and comes first: a replica of a topic that was deleted
                // by it, which the journal has forgotten, must not begin anew.
                self.settle_group(group, out);
            }
            self.reconcile(out);
            // Admissions among what was copied are not applied one by one: groups led here may have other members to be.
            self.introduce_all();
        }
        let did = if heals { "has healed" } else { "caught up with" };
        let text = format!("broker {} {did} {}: {} copied", self.config.node, self.name_of(group), bytes(copied));
        out.event(Event::Progress(text));
        self.wake_fetches(group, out);
    }
}

/// A number of bytes for people.
fn bytes(count: u64) -> String {
    match count {
        0..1_024 => format!("{count} bytes"),
        1_024..1_048_576 => format!("{} KiB", count >> 10),
        _ => format!("{} MiB", count >> 20),
    }
}
