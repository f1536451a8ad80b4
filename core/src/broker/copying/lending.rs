//! The leader's side: files are lent, and read piece by piece for those who ask.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::super::Broker;
use super::message;
use crate::effect::Effects;
use crate::event::Event;
use crate::id::{FileId, GroupId, Index, NodeId, ReplicaId, Term};
use crate::limits::{COPY_PIECE_BYTES_MAX, COPY_PULLS_MAX, COPY_READS_MAX, COPY_RETRY_TICKS, LEASE_ELECTIONS};
use crate::log::{CopyId, Lent};
use crate::marks;
use crate::mutants::Mutant;
use crate::peer::{CopyBody, Offer};
use crate::raft::Conf;

/// Files lent to a member.
#[derive(Debug)]
pub(super) struct Lease {
    node: NodeId,
    pub(super) index: Index,
    index_term: Term,
    /// The configuration there.
    conf: Conf,
    lent: Lent,
    /// It needs them to heal, and not to follow.
    pub(super) heals: bool,
    /// Ticks since the member said something.
    pub(super) silent: u32,
}

/// A piece that a member asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pull {
    pub(super) group: GroupId,
    pub(super) to: ReplicaId,
    pub(super) index: Index,
    pub(super) file: FileId,
    pub(super) at: u64,
    pub(super) len: u32,
}

/// Pieces that members of all groups asked for: some are being read, the others wait in line.
#[derive(Debug, Default)]
pub(in crate::broker) struct Copies {
    waiting: VecDeque<Pull>,
    reading: BTreeMap<CopyId, Pull>,
    next: u64,
    /// Messages that did not fit.
    pub(in crate::broker) refused: u64,
}

impl Copies {
    /// Whether somebody waits for a piece, and none is read although there is room.
    pub(in crate::broker) fn is_stalled(&self) -> bool {
        !self.waiting.is_empty() && self.reading.len() < COPY_READS_MAX
    }

    /// The group is gone: nothing of it is read any more.
    pub(in crate::broker) fn forget(&mut self, group: GroupId) {
        self.waiting.retain(|pull| pull.group != group);
        self.reading.retain(|_, pull| pull.group != group);
    }
}

impl Broker {
    /// A member needs more than is in memory: it is offered the files of the last checkpoint.
    pub(in crate::broker) fn lend(
        &mut self,
        group: GroupId,
        node: NodeId,
        to: ReplicaId,
        heals: bool,
        out: &mut Effects,
    ) {
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

    pub(super) fn offer(&mut self, group: GroupId, to: ReplicaId) {
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
    pub(super) fn end_lease(&mut self, group: GroupId, to: ReplicaId) {
        self.copies.waiting.retain(|pull| (pull.group, pull.to) != (group, to));
        let Some(replica) = self.replicas.get_mut(&group) else { return };
        if let Some(lease) = replica.copying.leases.remove(&to) {
            replica.machine.log.take_back(&lease.lent);
            self.thirsty.insert(group);
        }
    }

    pub(super) fn report(&mut self, group: GroupId, to: ReplicaId, installed: bool) {
        let heals =
            self.replicas.get(&group).and_then(|replica| replica.copying.lease_of(to)).is_some_and(|lease| lease.0);
        self.end_lease(group, to);
        if let Some(replica) = self.replicas.get_mut(&group).filter(|_| !heals) {
            replica.raft.report_snapshot(to, installed);
            self.touched.insert(group);
        }
    }

    /// A tick of every lease: members that have what they need, or are silent, need the files no more.
    pub(super) fn tick_leases(&mut self, group: GroupId, out: &mut Effects) {
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

    pub(super) fn pulled(&mut self, pull: Pull) -> bool {
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
    pub(in crate::broker) fn serve_pulls(&mut self) {
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
    pub(in crate::broker) fn piece_read(&mut self, copy: CopyId, bytes: Option<Bytes>) {
        let Some(pull) = self.copies.reading.remove(&copy) else { return };
        let Some(replica) = self.replicas.get(&pull.group) else { return };
        let Some(lease) = replica.copying.leases.get(&pull.to) else { return };
        let Some(bytes) = bytes.filter(|bytes| bytes.len() == pull.len as usize) else { return };
        let body = CopyBody::Piece { file: pull.file.raw(), at: pull.at, bytes };
        let (node, message) = (lease.node, message(replica, pull.to, pull.index, body));
        self.envelope(node).copies.push(message);
    }
}
