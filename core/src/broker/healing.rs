//! Healing: a replica whose files are damaged takes them anew from its leader, and stays the replica it is.
//!
//! Its votes, its log and its configuration are in the journal, and whole: it goes on to vote and to acknowledge. What is
//! damaged is what was applied. If that is the **state** of its last checkpoint, nothing can be applied until it is here again,
//! and the replica does not campaign. If it is a **segment**, only what stood there can not be read; a leader hands over first.
//! Then the follower says what it wants ([`CopyBody::Want`]): the files of a checkpoint that covers at least what it has
//! applied. They are copied as for a follower far behind ([`super::copying`]); where the checkpoint turns out to be older than
//! what was applied meanwhile, applying waits, and the difference is copied. One mark puts the files in their place.
//!
//! Damage is found when a state is read at a start, by comparing lengths then, and by whoever reads: a client's fetch, or a
//! **patrol**, which reads every segment and index once after a start, and those a follower could not use.
//!
//! Where there is no other replica nothing heals: clients of that partition hear of a storage error, and others of nothing.
//! Does not know what is in a file, nor how damage is found ([`crate::log`] does).

use std::collections::BTreeMap;

use super::Broker;
use super::copying::message;
use super::replica::Replica;
use crate::effect::Effects;
use crate::event::Event;
use crate::id::{GroupId, Index, NodeId, ReplicaId};
use crate::kafka::ErrorCode;
use crate::limits::{COPY_RETRY_TICKS, HAND_OVER_AGAIN_TICKS, LEASE_ELECTIONS, LOST_WINDOWS_MAX};
use crate::marks;
use crate::mutants::Mutant;
use crate::peer::{CopyBody, MessageKind, RaftMessage};
use crate::raft::{Committed, Offered, Token};
use crate::time::{Duration, Instant};

/// What a replica lacks, and how far it is with it.
#[derive(Debug, Default)]
pub(super) struct Healing {
    /// Why its state can not be read: it applies nothing.
    lost: Option<String>,
    /// What its entries in memory took at the start.
    began_with: u64,
    /// Applying waits for files that cover all that was applied.
    held: bool,
    /// For so many ticks.
    held_for: u32,
    /// Committed entries that wait to be applied.
    waiting: Vec<Committed>,
    /// The operator knows.
    told: bool,
    /// As leader it asks another to take over after so many ticks.
    hands_over_in: u32,
    /// Ticks since it began to ask.
    ticks: u32,
    /// As leader: who said lately that files of its own are damaged, and when.
    ailing: BTreeMap<ReplicaId, Instant>,
}

impl Healing {
    pub(super) fn of(lost: Option<String>, began_with: u64) -> Self {
        Self { lost, began_with, ..Self::default() }
    }

    /// Whether committed entries wait to be applied.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether its state is lost.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }
}

impl Replica {
    /// Whether something of its files is known to be damaged.
    pub(super) fn ails(&self) -> bool {
        self.healing.is_lost() || self.machine.log.damage().is_some()
    }

    /// Whether its state is lost: it applies nothing, and does not lead.
    pub(super) fn is_lost(&self) -> bool {
        self.healing.is_lost()
    }

    /// Whether its state is lost, and there is no other replica.
    pub(super) fn is_helpless(&self) -> bool {
        self.healing.is_lost() && self.raft.conf().is_alone(self.raft.replica())
    }

    /// What clients hear of a replica that does not serve.
    pub(super) fn refusal(&self) -> ErrorCode {
        if self.is_helpless() { ErrorCode::KafkaStorageError } else { ErrorCode::NotLeaderOrFollower }
    }

    /// The members whose files are damaged, as far as they said so lately: they would not take over.
    pub(super) fn ailing(&self, now: Instant, memory: Duration) -> Vec<ReplicaId> {
        let said = self.healing.ailing.iter().filter(|(_, at)| now.since(**at) <= memory);
        said.map(|(replica, _)| *replica).chain(self.copying.healers()).collect()
    }

    /// A member has what it wanted.
    pub(super) fn has_healed(&mut self, member: ReplicaId) {
        self.healing.ailing.remove(&member);
    }

    /// Whether it does as if a message had been lost: it is not to lead now, if there is a choice; and entries that it can not
    /// apply would fill the memory of all. Who lacks too many of them is offered files.
    pub(super) fn declines(&self, message: &RaftMessage, window_bytes: u64) -> bool {
        if message.kind == MessageKind::TimeoutNow {
            return self.ails();
        }
        let most = self.healing.began_with.saturating_add(window_bytes.saturating_mul(LOST_WINDOWS_MAX));
        let laden = message.entries.iter().any(|entry| !entry.data.is_empty());
        self.healing.is_lost() && laden && self.raft.window_bytes() > most
    }

    /// Whether files it does not need as a follower would heal it.
    pub(super) fn heals(&self) -> bool {
        self.ails() && !self.raft.leading() && !self.copying.is_installing()
    }

    /// Whether what was copied heals the replica, and can take the place of what it has now.
    pub(super) fn is_cure(&self, offered: &Offered) -> bool {
        let Offered { index, index_term, .. } = offered;
        // What is committed but not durable here was not handed out: it would be applied once more.
        let handed_out = self.raft.commit().min(self.raft.persisted());
        let covers = *index >= self.machine.applied && *index <= handed_out;
        self.heals() && covers && self.raft.agrees(*index, *index_term)
    }

    /// What of the committed entries may be applied now; the rest waits.
    pub(super) fn let_through(&mut self, committed: Vec<Committed>) -> Vec<Committed> {
        // Who leads applies what it can: then it serves.
        self.healing.held &= !self.raft.leading() && self.ails();
        if self.healing.is_lost() || self.healing.held || self.copying.is_healing() {
            self.healing.waiting.extend(committed);
            return Vec::new();
        }
        if self.healing.waiting.is_empty() {
            return committed;
        }
        let mut all = std::mem::take(&mut self.healing.waiting);
        all.extend(committed);
        all
    }

    /// The files are here, and cover what is up to `index`. Gives who will not hear what came of a proposal.
    pub(super) fn healed(&mut self, index: Index) -> Vec<Token> {
        let healing = std::mem::take(&mut self.healing);
        let (covered, waiting): (Vec<_>, _) = healing.waiting.into_iter().partition(|entry| entry.index <= index);
        self.healing.waiting = waiting;
        self.raft.bar(false);
        covered.into_iter().filter_map(|entry| entry.token).collect()
    }

    /// What an operator reads, once.
    fn complaint(&mut self) -> Option<String> {
        if std::mem::replace(&mut self.healing.told, true) {
            return None;
        }
        let what = match (&self.healing.lost, self.machine.log.damage()) {
            (Some(what), _) => format!("the state is damaged ({what})"),
            (None, Some((file, what))) => format!("{file} is damaged ({what})"),
            (None, None) => return None,
        };
        let alone = self.raft.conf().is_alone(self.raft.replica());
        let then = if alone {
            "there is no other replica: what it held can not be served, until the topic is deleted or a backup is restored"
        } else {
            "its files are copied anew from the leader of the partition"
        };
        Some(format!("{what}: {then}"))
    }
}

impl Broker {
    /// A tick of every replica that ails.
    pub(super) fn heal_tick(&mut self, out: &mut Effects) {
        let ailing = self.replicas.values().filter(|replica| replica.ails() || replica.healing.told);
        let groups: Vec<GroupId> = ailing.map(|replica| replica.raft.id()).collect();
        for group in groups {
            self.heal(group, out);
        }
    }

    /// Has the segments of a group read, though nobody asks for them: that they are damaged is known before they are needed.
    pub(super) fn patrol(&mut self, group: GroupId) {
        if let Some(replica) = self.replicas.get_mut(&group) {
            replica.machine.log.patrol();
            self.patrols.insert(group);
        }
    }

    /// A little of one group in a tick: nobody is to feel it.
    pub(super) fn patrol_tick(&mut self) {
        if self.config.mutants.planted(Mutant::PatrolStalls) {
            return;
        }
        while let Some(group) = self.patrols.first().copied() {
            let idle = self.config.mutants.planted(Mutant::PatrolIdle);
            if !idle && self.replicas.get_mut(&group).is_some_and(|replica| replica.machine.log.patrol_on()) {
                if self.config.mutants.planted(Mutant::PatrolOnce) {
                    self.patrols.remove(&group);
                }
                self.thirsty.insert(group);
                return;
            }
            self.patrols.remove(&group);
        }
    }

    /// How long it is remembered that a member asked for files to heal: it asks again sooner.
    pub(super) fn ailing_memory(&self) -> Duration {
        Duration(self.config.settings.tick.0.saturating_mul(u64::from(COPY_RETRY_TICKS) * 3))
    }

    fn heal(&mut self, group: GroupId, out: &mut Effects) {
        let limit = self.config.settings.election_ticks_max.saturating_mul(LEASE_ELECTIONS);
        let (node_here, now, memory) = (self.config.node, self.now.mono, self.ailing_memory());
        let Some(replica) = self.replicas.get_mut(&group) else { return };
        if !replica.ails() {
            // Healed in another way, or of what is no part of it any more.
            replica.healing.told = false;
            self.touched.insert(group);
            return;
        }
        if let Some(complaint) = replica.complaint() {
            let text = format!("broker {node_here}, {}: {complaint}", self.name_of(group));
            out.event(Event::Note(text));
            out.event(Event::Sometimes(marks::DAMAGE_FOUND));
        }
        let Some(replica) = self.replicas.get_mut(&group) else { return };
        if replica.raft.leading() {
            if replica.healing.hands_over_in > 0 {
                replica.healing.hands_over_in -= 1;
            } else if (replica.raft.serving() || replica.is_lost()) && !replica.raft.hands_over() {
                let unfit = replica.ailing(now, memory);
                replica.raft.hand_over(&unfit);
                // There may be nobody now, or one that is damaged, too. Who can not serve asks until it is rid of it.
                replica.healing.hands_over_in = if replica.is_lost() { 0 } else { HAND_OVER_AGAIN_TICKS };
                self.touched.insert(group);
            }
            return;
        }
        replica.healing.hands_over_in = 0;
        let leader = replica.raft.leader().filter(|(node, _)| *node != node_here);
        if replica.healing.held {
            // The files may never come: nobody leads, or only one that is damaged, too.
            replica.healing.held_for += 1;
            if leader.is_none() || replica.healing.held_for >= limit {
                (replica.healing.held, replica.healing.held_for) = (false, 0);
                self.touched.insert(group);
                return;
            }
        }
        let Some((node, leader)) = leader else { return };
        let at = replica.healing.ticks;
        replica.healing.ticks = at.wrapping_add(1);
        if !replica.heals() || !at.is_multiple_of(COPY_RETRY_TICKS) {
            return;
        }
        let applied = replica.machine.applied;
        if replica.copying.is_behind(applied) {
            // Those that come next cover it.
            replica.healing.held = true;
        }
        if !replica.copying.arrives(applied, replica.raft.term(), limit) {
            let message = message(replica, leader, applied, CopyBody::Want);
            self.envelope(node).copies.push(message);
        }
    }

    /// A follower wants the files of a checkpoint that covers `index`, though it needs none to follow.
    pub(super) fn wanted(
        &mut self,
        group: GroupId,
        node: NodeId,
        to: ReplicaId,
        index: Index,
        out: &mut Effects,
    ) -> bool {
        let now = self.now.mono;
        let Some(replica) = self.replicas.get_mut(&group) else { return true };
        if !replica.raft.conf().contains(to) {
            return true;
        }
        replica.healing.ailing.insert(to, now);
        // What is damaged here is no cure. What is applied here is one, though nothing may be served yet: perhaps for want of just
        // this member's acknowledgement.
        if !replica.raft.leading() || replica.ails() {
            return true;
        }
        if index > replica.machine.applied {
            // It has applied what this leader has not yet: it asks again.
            return true;
        }
        match replica.copying.lease_of(to) {
            Some((true, lent)) if lent >= index => {}
            Some((false, _)) => {}
            Some((true, _)) | None if replica.marked >= index && replica.marked_conf.contains(to) => {
                self.lend(group, node, to, true, out);
            }
            Some((true, _)) | None => {
                replica.begin_checkpoint();
                self.thirsty.insert(group);
            }
        }
        true
    }
}
