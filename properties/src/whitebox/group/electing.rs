//! Who leads, by whose votes, and who may vote.

use tidelog_core::id::{Index, ReplicaId, Term};

use super::{At, Broken, Group};
use crate::whitebox::config::Config;
use crate::whitebox::replica::Replica;

impl Group {
    pub(super) fn hard_state(&mut self, id: ReplicaId, term: Term, vote: ReplicaId, broken: &mut Vec<Broken>) {
        let replica = self.replica(id);
        let (old_term, old_vote) = replica.hard_now();
        if term < old_term {
            broken.push(("term-went-back", format!("it had term {old_term} and wrote term {term}."), Vec::new()));
        } else if replica
            .votes
            .get(&term)
            .copied()
            .or((term == old_term).then_some(old_vote))
            .is_some_and(|old| old != ReplicaId(0) && old != vote)
        {
            let sentence = format!("in term {term} it voted for replica {old_vote}, and then wrote a vote for {vote}.");
            broken.push(("vote-twice", sentence, Vec::new()));
        }
        replica.persist_hard(term, vote);
    }

    pub(super) fn elected(&mut self, at: At, id: ReplicaId, term: Term, broken: &mut Vec<Broken>) {
        if let Some(first) = self.leaders.get(&term) {
            let proof = vec![first.says(format_args!("elected in term {term}"))];
            broken.push(("two-leaders", format!("it leads term {term}, and so did broker {}.", first.node), proof));
        }
        self.leaders.entry(term).or_insert(at);
        let replica = self.replica(id);
        replica.leads = Some(term);
        let config = replica.config;
        match config.and_then(|index| self.configs.get(&index)) {
            None => broken.push(("unexplained", "it was elected by voters that nobody knows.".into(), Vec::new())),
            Some(config) => {
                // Who is durably in a later term can give no other vote in this one, whether or not this vote was written by
                // itself: both may have come in one step and left one hard state.
                let voted = |voter| {
                    self.replicas
                        .get(&voter)
                        .is_some_and(|replica| replica.votes.get(&term) == Some(&id) || replica.hard.0 > term)
                };
                if !config.quorum(|voter| voter == id || voted(voter)) {
                    let sentence = format!("it leads term {term} without durable votes of a quorum.");
                    broken.push(("elected-without-votes", sentence, self.votes_in(term)));
                }
            }
        }
        if let Some(applied) = self.applied.last().filter(|applied| applied.term < term) {
            let index = Index(self.applied.len() as u64);
            let slot = self.replicas.get(&id).and_then(|replica| replica.slot(index));
            if slot.is_none_or(|slot| slot.is_some_and(|there| there != applied.term)) {
                let proof = vec![applied.at.says(format_args!("first to apply ({index}, {})", applied.term))];
                let sentence = format!(
                    "it leads term {term} and lacks entry {index} of term {}, which is committed.",
                    applied.term
                );
                broken.push(("leader-incomplete", sentence, proof));
            }
        }
        if let Some(index) = config {
            self.take_up(index);
        }
    }

    fn votes_in(&self, term: Term) -> Vec<String> {
        let vote = |(id, replica): (&ReplicaId, &Replica)| format!("replica {id}: {:?}", replica.votes.get(&term));
        vec![format!("durable votes in term {term}: {}", self.replicas.iter().map(vote).collect::<Vec<_>>().join(", "))]
    }

    pub(super) fn configured(&mut self, id: ReplicaId, index: Index, config: Config, broken: &mut Vec<Broken>) {
        if config.is_empty() {
            return; // A replica that was just made, and will learn its voters.
        }
        // The first that is told in a life, or of files that were copied, was read from a disk.
        let replica = self.replica(id);
        let (applied, read) = (replica.applied, replica.config.is_none());
        let latest = self.configs.range(..=applied).next_back().filter(|_| read);
        let forgotten = latest.filter(|(_, latest)| !latest.same_voters(&config)).map(|(known, latest)| {
            format!(
                "it has applied {applied} and goes by the voters {config}, and entry {known} had made them {latest}."
            )
        });
        match (self.configs.get(&index), forgotten) {
            (Some(known), None) if known.same_voters(&config) => {}
            (None, Some(sentence)) => {
                broken.push(("configuration-forgotten", sentence, Vec::new()));
                return;
            }
            (Some(known), Some(sentence)) if known.same_voters(&config) => {
                broken.push(("configuration-forgotten", sentence, Vec::new()));
            }
            (Some(_), _) => {
                let sentence = format!("the configuration of entry {index} has other voters than elsewhere.");
                broken.push(("configuration-split", sentence, Vec::new()));
            }
            (None, None) => {
                let before = self.configs.range(..index).next_back();
                let after = self.configs.range(index..).next();
                for (other, neighbour) in before.into_iter().chain(after) {
                    if !config.overlaps(neighbour) {
                        let sentence = format!(
                            "the configurations of entries {other} and {index} can both decide without each other."
                        );
                        broken.push(("configuration-jump", sentence, Vec::new()));
                    }
                }
                self.configs.insert(index, config);
            }
        }
        let replica = self.replica(id);
        replica.config = Some(index);
        if replica.leads.is_some() {
            self.take_up(index);
        }
    }

    /// A leader decides by the configuration of `index` from now on: what the one before can have decided ends here.
    fn take_up(&mut self, index: Index) {
        let Some((_, before)) = self.configs.range(..index).next_back() else {
            return;
        };
        let reach = before.reach(|id| self.replicas.get(&id).map_or(Index(0), Replica::durable_last));
        if let Some(config) = self.configs.get_mut(&index) {
            config.old_reach = config.old_reach.max(Some(reach));
        }
    }
}
