//! Files for followers that are far behind: what a leader lends and reads for them, what a follower asks for and installs.
//!
//! A leader's Raft group says that a member needs a snapshot; the leader then lends it the files of its last checkpoint under
//! a **lease**, which lives as long as the member asks for something now and then. The member pulls them piece by piece,
//! syncs them, and puts one mark into its journal that makes them the whole of its replica; only then does its Raft group
//! hear of the snapshot, and answers it. Bytes that do not fit are dropped and counted.
//!
//! Does not know what is in a file ([`crate::log::Incoming`] does), nor why a member needs it ([`crate::raft`] does).

mod arriving;
mod lending;

use std::collections::{BTreeMap, BTreeSet};

use super::Broker;
use super::replica::Replica;
use crate::effect::{DiskCommand, Effects};
use crate::event::Event;
use crate::id::{FileId, FileIds, GroupId, Index, NodeId, ReplicaId, Term};
use crate::journal::Ticket;
use crate::limits::LENT_WINDOW_BUDGETS;
use crate::log::Progress;
use crate::peer::{CopyBody, CopyMessage};
use crate::raft::Group;
use arriving::{Arrival, Installing};
pub(super) use lending::Copies;
use lending::{Lease, Pull};

/// What one replica copies, as leader or as follower.
#[derive(Debug, Default)]
pub(super) struct Copying {
    leases: BTreeMap<ReplicaId, Lease>,
    arrival: Option<Box<Arrival>>,
    installing: Option<Box<Installing>>,
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
