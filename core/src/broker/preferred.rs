//! Preferred leaders: leadership goes back to the first replica of a partition, as Kafka has it
//! (`auto.leader.rebalance.enable`), for after a rolling restart one broker leads nearly everything.
//!
//! Promises that a leader asks only a successor that was alive and had what is committed for a while, one group at a time, and
//! nobody while its own broker ends. Whoever is asked too early, or not heard of any more, waits for the same while again. The
//! controller has no preferred leader: nobody but brokers asks it. Does not know how leadership is handed over.

use std::collections::BTreeMap;

use super::Broker;
use super::replica::Replica;
use crate::effect::Effects;
use crate::event::Event;
use crate::id::{GroupId, ReplicaId};
use crate::limits::PREFER_ELECTIONS;
use crate::marks;
use crate::mutants::Mutant;
use crate::time::{Duration, Instant};

/// Another replica that should lead instead of the one here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Heir {
    replica: ReplicaId,
    /// From when on it could have led, without a break.
    since: Option<Instant>,
    /// When it last could.
    seen: Instant,
}

/// The groups led here that others should lead.
#[derive(Default, Debug)]
pub(super) struct Preferred {
    heirs: BTreeMap<GroupId, Heir>,
    /// The group whose heir was asked.
    asked: Option<GroupId>,
}

impl Broker {
    fn longest_election(&self) -> Duration {
        let settings = &self.config.settings;
        Duration(settings.tick.0.saturating_mul(settings.election_ticks_max.into()))
    }

    /// Looks which groups led here should be led by others.
    pub(super) fn find_heirs(&mut self) {
        let mut before = std::mem::take(&mut self.preferred.heirs);
        let Some(image) = self.image() else { return };
        let mut heirs = BTreeMap::new();
        for (group, replica) in self.replicas.iter().filter(|(_, replica)| replica.raft.serving()) {
            let Some((.., partition)) = image.partition_of(*group) else { continue };
            let Some((_, first)) = partition.replicas.first().filter(|first| first.1 != replica.raft.replica()) else {
                continue;
            };
            let known = before.remove(group).filter(|heir| heir.replica == *first);
            heirs.insert(*group, known.unwrap_or(Heir { replica: *first, since: None, seen: self.now.mono }));
        }
        self.preferred.heirs = heirs;
    }

    /// A tick: who could lead, and for how long; and one of them is asked to, if it is time.
    pub(super) fn prefer(&mut self, out: &mut Effects) {
        let (now, silence, memory) = (self.now.mono, self.longest_election(), self.ailing_memory());
        let patience = Duration(silence.0.saturating_mul(PREFER_ELECTIONS.into()));
        let planted = self.config.mutants.planted(Mutant::NeverHome);
        for (group, heir) in &mut self.preferred.heirs {
            let fit = |replica: &Replica| !replica.ailing(now, memory).contains(&heir.replica);
            let replica = self.replicas.get(group).filter(|replica| fit(replica));
            let able = replica.is_some_and(|replica| replica.raft.could_lead(heir.replica));
            if able && !planted {
                heir.since = heir.since.or(Some(now));
                heir.seen = now;
            } else if now.since(heir.seen) > silence {
                heir.since = None;
            }
        }
        if let Some(group) = self.preferred.asked {
            if self.replicas.get(&group).is_some_and(|replica| replica.raft.hands_over()) {
                return;
            }
            self.preferred.asked = None;
            // If it still leads here, the heir did not take over in time.
            if let Some(heir) = self.preferred.heirs.get_mut(&group) {
                heir.since = None;
            }
        }
        if self.stopping.is_some() {
            return;
        }
        let ripe = |heir: &Heir| heir.seen == now && heir.since.is_some_and(|since| now.since(since) >= patience);
        let next = self.preferred.heirs.iter().filter(|(_, heir)| ripe(heir)).min_by_key(|(_, heir)| heir.since);
        let Some((group, heir)) = next.map(|(group, heir)| (*group, heir.replica)) else { return };
        if self.replicas.get_mut(&group).is_some_and(|replica| replica.raft.hand_over_to(heir)) {
            self.preferred.asked = Some(group);
            self.touched.insert(group);
            out.event(Event::Sometimes(marks::PREFERRED_ASKED));
        }
    }
}
