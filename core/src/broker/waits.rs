//! Nobody waits in vain: whoever waits is registered with what will wake it, and its deadline is armed.
//!
//! Asserted by [`Broker::check`](super::Broker::check) after a step. A waiter that nothing wakes is seen by nobody else: its client
//! gives up, comes again, and finds everything well. Each room says of its own calls who waits there, as a [`Wait`]; here it is held
//! against what would end the wait. Does not know how any of it is answered.

use std::collections::BTreeSet;

use super::{Broker, Call, CallId, Phase, Waiting};
use crate::id::{GroupId, JobId, Offset};
use crate::log::ReadId;
use crate::raft::Token;
use crate::time::Instant;

/// What one slot of a call waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wait {
    /// A read of a segment, in its n-th slot.
    Disk(usize, GroupId, ReadId),
    /// A round of the group, for its n-th slot.
    Barrier(usize),
    /// An entry that was proposed, for its n-th slot.
    Entry(usize),
    /// More replicas of an entry.
    Replicas,
    /// A computation, for its n-th slot.
    Job(usize, JobId),
    /// A command of the controller, for its n-th slot.
    Command(usize),
    /// Records at this offset.
    Records(GroupId, Offset),
    /// Anything of the image or of who leads: looked at again with every tick.
    Image,
}

impl Broker {
    /// Asserts that whoever waits will be woken.
    pub(super) fn check_waits(&self) {
        if !matches!(self.phase, Phase::Running) {
            let unasked = self.parked.values().find(|parked| parked.restoring && !parked.machine.log.is_restoring());
            assert!(
                unasked.is_none() || matches!(self.phase, Phase::Halted),
                "a state that is waited for is being read"
            );
            return;
        }
        let tokens: BTreeSet<Token> = self.replicas.values().flat_map(|replica| replica.raft.open_tokens()).collect();
        let lost = self.waiting.keys().find(|token| !tokens.contains(token));
        assert_eq!(lost, None, "what was asked of a group is known to the group");
        let asked: BTreeSet<(CallId, usize)> = (self.waiting.values())
            .filter_map(|waiting| match waiting {
                Waiting::Produce(call, slot)
                | Waiting::FetchBarrier(call, slot)
                | Waiting::OffsetsBarrier(call, slot) => Some((*call, *slot)),
                Waiting::Command => None,
            })
            .collect();
        for (id, call) in &self.calls {
            let waits = call.waits();
            assert!(!waits.is_empty(), "{id:?} waits for something: {call:?}");
            for wait in waits {
                let registered = match wait {
                    Wait::Disk(slot, group, read) => {
                        self.log_reads.get(&(group, read)) == Some(&(*id, slot))
                            && self.replicas.get(&group).is_some_and(|here| here.machine.log.is_reading(read))
                    }
                    Wait::Barrier(slot) | Wait::Entry(slot) => asked.contains(&(*id, slot)),
                    Wait::Replicas => self.thin.contains(id),
                    Wait::Job(slot, job) => self.jobs.get(&job) == Some(&(*id, slot)),
                    Wait::Command(slot) => self.submissions.is_open(*id, slot),
                    Wait::Records(group, from) => {
                        let there = self.replicas.get(&group).filter(|replica| replica.raft.serving());
                        // Whoever could be answered now is not waiting.
                        let nothing = there.is_some_and(|replica| replica.machine.log.next_offset() == from);
                        nothing && self.waiters.get(&group).is_some_and(|waiters| waiters.contains(id))
                    }
                    Wait::Image => true,
                };
                assert!(registered, "{id:?} is woken when {wait:?} ends: {call:?}");
            }
            self.check_deadline(*id, call);
            if let Some(conn) = call.read_by() {
                let known = self.reads_of.get(&conn).is_some_and(|reads| reads.contains(id));
                assert!(known, "{id:?} ends with its connection");
            }
        }
        let gone = self.waiters.values().flatten().find(|id| !self.calls.contains_key(id));
        assert_eq!(gone, None, "who is answered waits for no group");
        self.check_registered();
        self.check_clocks();
    }

    /// The time of every call ends.
    fn check_deadline(&self, id: CallId, call: &Call) {
        let due = self.deadline_of.get(&id).copied();
        let armed = due.is_some_and(|due| self.deadlines.contains(&(due, id)));
        // Its time is over, and the disk has it: what it reads is all it waits for.
        let at_disk = call.waits().iter().all(|wait| matches!(wait, Wait::Disk(..)));
        let over = at_disk && due.is_some_and(|due| due <= self.now.mono);
        assert!(armed || over, "the time of {id:?} ends: {call:?}");
        if let (Call::Fetch(fetch), Some(due)) = (call, due)
            && let Some(promised) = fetch.waits_until()
        {
            assert_eq!(due, promised, "{id:?} waits as long as its client wants");
        }
    }

    /// Those who wait without being a call.
    fn check_registered(&self) {
        let (producer_ids, submissions) = (&self.producer_ids, &self.submissions);
        assert!(producer_ids.check(submissions.asks_for_ids()), "who waits for a producer id has asked for some");
        let unasked = self.auto_creating.iter().find(|name| !submissions.creates(name));
        assert_eq!(unasked, None, "a topic that is being created was asked for");
        for (group, replica) in &self.replicas {
            let waits = replica.raft.waits_for_disk() || replica.marking() || replica.copying.is_installing();
            assert!(!waits || self.writing.contains(group), "group {group} hears of what is durable");
        }
        let journal = self.journal.as_ref().expect("a running broker has a journal");
        assert!(!journal.is_stalled(), "what waits for the journal is on its way to the disk");
        assert!(!self.sessions.holds() || self.pressure.holding(), "who is held back waits for a disk that is behind");
        assert!(!self.copies.is_stalled(), "pieces that were asked for are being read");
        assert!(self.touched.is_empty(), "every group was settled");
    }

    /// Time is heard of before the first of those who wait for it is late.
    fn check_clocks(&self) {
        let (now, settings) = (self.now.mono, &self.config.settings);
        let next: Instant = self.deadlines.first().map_or(self.next_tick, |(due, _)| self.next_tick.min(*due));
        assert!(self.wake_at.is_some_and(|at| at <= next), "a wake is asked for before {next:?}: {:?}", self.wake_at);
        assert!(self.next_tick <= now + settings.tick, "a tick comes in time");
        assert!(self.next_gossip <= now + settings.gossip_every, "gossip comes in time");
        assert!(self.next_register <= now + super::REGISTER_EVERY, "a registration comes in time");
        assert!(self.submissions.is_due_by(now), "commands are sent again in time");
    }
}

impl Call {
    /// What it waits for.
    fn waits(&self) -> Vec<Wait> {
        match self {
            Self::Produce(call) => call.waits(),
            Self::Fetch(call) => call.waits(),
            Self::Offsets(call) => call.waits(),
            Self::CreateTopics(call) => call.waits(),
            Self::DeleteTopics(call) => call.waits(),
            Self::Admit(call) => call.waits(),
        }
    }
}
