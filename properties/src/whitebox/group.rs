//! One Raft group: what its replicas say, held against each other. Here the logs and lives; its children judge elections and commits.

mod applying;
mod auditing;
mod electing;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use tidelog_core::event::Event;
use tidelog_core::id::{GroupId, Index, NodeId, Offset, ReplicaId, Term};

use super::config::Config;
use super::replica::Replica;
use crate::violation::Verdict;

/// How many of the latest events of a group are kept for telling its story.
const STORY_KEPT: usize = 64;
/// How many of them a violation tells.
const STORY_TOLD: usize = 4;

/// When and where something was said.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) now: u64,
    pub(super) node: NodeId,
}

impl At {
    pub(super) fn says(self, what: impl fmt::Display) -> String {
        format!("{}.{:06}s broker {}: {what}", self.now / 1_000_000, self.now % 1_000_000, self.node)
    }
}

/// An entry as first appended anywhere.
#[derive(Clone, Copy, Debug)]
struct Entry {
    digest: u64,
    /// The term of the entry before it, if that was known.
    before: Option<Term>,
    at: At,
}

/// An entry as first applied anywhere, and the state after it.
#[derive(Clone, Copy, Debug)]
struct Applied {
    term: Term,
    digest: u64,
    next_offset: Offset,
    log_start: Offset,
    at: At,
}

/// One group. See the [module](self).
#[derive(Debug)]
pub(super) struct Group {
    id: GroupId,
    entries: BTreeMap<(Index, Term), Entry>,
    /// What is committed, as far as anybody has applied it; the first has index 1.
    applied: Vec<Applied>,
    leaders: BTreeMap<Term, At>,
    configs: BTreeMap<Index, Config>,
    replicas: BTreeMap<ReplicaId, Replica>,
    /// Which replica each broker is in this life.
    here: BTreeMap<NodeId, ReplicaId>,
    recent: VecDeque<(At, Event)>,
    /// The state of the first replica that was looked into at an entry.
    audits: BTreeMap<Index, (u64, At)>,
}

/// A broken promise: its kind, a sentence, and what was said earlier that proves it.
type Broken = (&'static str, String, Vec<String>);

impl Group {
    pub(super) fn new(id: GroupId) -> Self {
        Self {
            id,
            entries: BTreeMap::new(),
            applied: Vec::new(),
            leaders: BTreeMap::new(),
            configs: BTreeMap::new(),
            replicas: BTreeMap::new(),
            here: BTreeMap::new(),
            recent: VecDeque::new(),
            audits: BTreeMap::new(),
        }
    }

    pub(super) fn observe(&mut self, at: At, event: &Event, started: bool, verdict: &mut Verdict, work: &mut u64) {
        let mut broken: Vec<Broken> = Vec::new();
        self.judge(at, event, started, &mut broken, work);
        for (kind, sentence, proof) in broken {
            verdict.add(kind, format!("{:?}", self.id), || {
                let mut evidence = proof;
                let told = self
                    .recent
                    .iter()
                    .rev()
                    .filter(|(said, _)| said.node == at.node)
                    .take(STORY_TOLD - evidence.len().min(2));
                let mut story: Vec<_> = told.map(|(said, event)| said.says(format_args!("{event:?}"))).collect();
                story.reverse();
                evidence.extend(story);
                evidence.push(at.says(format_args!("{event:?}")));
                (format!("Group {}, broker {}: {sentence}", self.id, at.node), evidence)
            });
        }
        if self.recent.len() == STORY_KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back((at, event.clone()));
    }

    pub(super) fn crashed(&mut self, node: NodeId) {
        if let Some(replica) = self.here.remove(&node).and_then(|id| self.replicas.get_mut(&id)) {
            // An office whose term was not durable leaves no trace: nothing was said in it (`spoke-early`).
            if let Some(term) = replica.leads.filter(|term| *term > replica.hard.0) {
                self.leaders.remove(&term);
                self.entries.retain(|(_, of), _| *of != term);
            }
            replica.crash();
        }
    }

    pub(super) fn started(&mut self, node: NodeId, work: &mut u64) {
        if let Some(replica) = self.here.get(&node).and_then(|id| self.replicas.get_mut(id)) {
            replica.start(work);
        }
    }

    /// A replica on `node` says something in `term`.
    pub(super) fn spoke(&self, at: At, term: Term, verdict: &mut Verdict) {
        let replica = self.here.get(&at.node).and_then(|id| self.replicas.get(id));
        let Some(replica) = replica.filter(|replica| replica.started && replica.hard.0 < term) else {
            return;
        };
        verdict.add("spoke-early", format!("{:?}", self.id), || {
            let durable = replica.hard.0;
            let sentence = format!(
                "Group {}, broker {}: it speaks in term {term}, and the last it holds durably is {durable}.",
                self.id, at.node
            );
            (sentence, vec![at.says(format_args!("sends in term {term}"))])
        });
    }

    /// How many replicas hold the record at this offset durably; nothing if it was not applied anywhere.
    pub(super) fn holders(&self, offset: Offset) -> Option<usize> {
        let at = self.applied.partition_point(|applied| applied.next_offset <= offset);
        let entry = self.applied.get(at)?;
        let index = Index(at as u64 + 1);
        Some(self.replicas.values().filter(|replica| replica.holds(index, entry.term)).count())
    }

    fn judge(&mut self, at: At, event: &Event, started: bool, broken: &mut Vec<Broken>, work: &mut u64) {
        if let Event::Recovered { .. } = event {
            return self.recovered(at, event, started, broken, work);
        }
        let Some(&id) = self.here.get(&at.node) else {
            broken.push(("unexplained", "it speaks for a replica it never recovered.".into(), Vec::new()));
            return;
        };
        match event {
            Event::Recovered { .. }
            | Event::Chartered { .. }
            | Event::Started
            | Event::Judged { .. }
            | Event::Sometimes(_)
            | Event::Note(_)
            | Event::NoRoom { .. }
            | Event::Progress(_) => {}
            Event::Appended { index, term, digest, .. } => self.appended(at, id, (*index, *term), *digest, broken),
            Event::Persisted { index, term, .. } => {
                if !self.replica(id).persist(*index, *term, work) {
                    let sentence =
                        format!("entry {index} of term {term} is called durable and was not on its way to the disk.");
                    broken.push(("persisted-unknown", sentence, Vec::new()));
                }
            }
            Event::HardStatePersisted { term, vote, .. } => self.hard_state(id, *term, *vote, broken),
            Event::Applied { index, term, digest, next_offset, log_start, .. } => {
                let applied =
                    Applied { term: *term, digest: *digest, next_offset: *next_offset, log_start: *log_start, at };
                self.applied(id, *index, applied, broken);
            }
            Event::Installing { index, term, .. } => self.replica(id).installing = Some((*index, *term)),
            Event::Installed { index, term, digest, next_offset, log_start, .. } => {
                let state =
                    Applied { term: *term, digest: *digest, next_offset: *next_offset, log_start: *log_start, at };
                self.installed(id, *index, state, broken, work);
            }
            Event::Healed { index, term, digest, next_offset, log_start, .. } => {
                let state =
                    Applied { term: *term, digest: *digest, next_offset: *next_offset, log_start: *log_start, at };
                self.healed(id, *index, &state, broken);
            }
            Event::Elected { term, .. } => self.elected(at, id, *term, broken),
            Event::Serving { term, .. } => {
                let replica = self.replica(id);
                let own = replica.slot(replica.applied).flatten() == Some(*term);
                if replica.leads != Some(*term) || !own {
                    let sentence =
                        format!("it serves as leader of term {term} before it has applied an entry of that term.");
                    broken.push(("served-early", sentence, Vec::new()));
                }
            }
            Event::Deposed { term, .. } => match self.replica(id).leads.take() {
                None => broken.push(("unexplained", "it stopped leading and did not lead.".into(), Vec::new())),
                Some(led) if *term < led => {
                    broken.push((
                        "term-went-back",
                        format!("it led term {led} and then knew only term {term}."),
                        Vec::new(),
                    ));
                }
                Some(_) => {}
            },
            Event::Configured { index, voters, outgoing, .. } => {
                self.configured(id, *index, Config::new(voters, outgoing), broken);
            }
            Event::Checkpointed { applied, .. } => {
                let replica = self.replica(id);
                if *applied > replica.applied {
                    let sentence = format!("its checkpoint covers {applied} and only {} is applied.", replica.applied);
                    broken.push(("checkpoint-ahead", sentence, Vec::new()));
                } else if *applied < replica.checkpointed {
                    let sentence = format!("its checkpoint went back from {} to {applied}.", replica.checkpointed);
                    broken.push(("checkpoint-lost", sentence, Vec::new()));
                }
                replica.checkpointed = *applied;
            }
        }
    }

    fn replica(&mut self, id: ReplicaId) -> &mut Replica {
        self.replicas.get_mut(&id).expect("`here` names replicas that are known")
    }

    fn recovered(&mut self, at: At, event: &Event, started: bool, broken: &mut Vec<Broken>, work: &mut u64) {
        let &Event::Recovered { replica: id, term, vote, commit, applied, last, .. } = event else {
            return;
        };
        if let Some(old) = self.here.insert(at.node, id).filter(|&old| old != id) {
            self.replica(old).crash();
        }
        let replica = self.replicas.entry(id).or_insert_with(|| Replica::new(at.node));
        if replica.alive || replica.node != at.node {
            let sentence = format!("replica {id} of broker {} lives already, or lives elsewhere.", replica.node);
            broken.push(("unexplained", sentence, Vec::new()));
            replica.crash();
            replica.node = at.node;
        }
        // The mark of a snapshot may have become durable without anybody being told.
        if let Some((index, _)) = replica.installing.take().filter(|(index, _)| *index == applied) {
            let terms = self.committed_to(index);
            *work += terms.len() as u64;
            self.replica(id).install(&terms);
        }
        let replica = self.replica(id);
        let (old_term, old_vote) = replica.hard;
        if term < old_term {
            broken.push((
                "term-went-back",
                format!("it had term {old_term} on its disk and came back with {term}."),
                Vec::new(),
            ));
        } else if term == old_term && old_vote != ReplicaId(0) && vote != old_vote {
            let sentence =
                format!("it had voted for replica {old_vote} in term {term} and came back with a vote for {vote}.");
            broken.push(("vote-twice", sentence, Vec::new()));
        }
        replica.recover_hard(term, vote);
        let durable = replica.durable_last();
        if !replica.recover(last, work) {
            let sentence = format!("its log was durable to {durable} and came back ending at {last}.");
            broken.push(("durable-lost", sentence, Vec::new()));
        }
        if replica.slot(last).flatten().is_some_and(|there| there > term) {
            let sentence = format!("its log ends in a later term than {term}, the one it came back with.");
            broken.push(("term-went-back", sentence, Vec::new()));
        }
        if applied < replica.checkpointed || applied > replica.applied_ever {
            let sentence = format!(
                "its checkpoint covered {}, at most {} was ever applied, and it came back with {applied}.",
                replica.checkpointed, replica.applied_ever
            );
            broken.push(("checkpoint-lost", sentence, Vec::new()));
        }
        if applied > commit || commit > last {
            let sentence =
                format!("it came back with {applied} applied, {commit} committed, and a log that ends at {last}.");
            broken.push(("unexplained", sentence, Vec::new()));
        }
        replica.applied = applied;
        if started {
            replica.start(work);
        }
    }

    fn appended(&mut self, at: At, id: ReplicaId, (index, term): (Index, Term), digest: u64, broken: &mut Vec<Broken>) {
        let committed = self.applied.get(place(index)).map(|applied| applied.term);
        let replica = self.replicas.get_mut(&id).expect("`here` names replicas that are known");
        if index == Index(0) || index > replica.last().next() {
            let sentence = format!("entry {index} was appended to a log that ends at {}.", replica.last());
            broken.push(("log-gap", sentence, Vec::new()));
            return;
        }
        let there = replica.slot(index);
        let told_again = !replica.started && there.is_some_and(|slot| slot.is_none_or(|t| t == term));
        let before = replica.slot(Index(index.0 - 1)).flatten();
        if told_again {
            replica.settle_slot(index, term);
        } else {
            if let Some(Some(old)) = there {
                if committed == Some(old) {
                    let sentence = format!(
                        "entry {index} of term {old} is committed, and the replica dropped it for one of term {term}."
                    );
                    broken.push(("committed-dropped", sentence, Vec::new()));
                } else if old == term {
                    let sentence =
                        format!("entry {index} of term {term} was appended again, and what stood after it is gone.");
                    broken.push(("needless-truncation", sentence, Vec::new()));
                }
            }
            replica.append(index, term);
        }
        let entry = Entry { digest, before, at };
        let first = self.entries.entry((index, term)).or_insert(entry);
        let differs = first.before.zip(before).is_some_and(|(a, b)| a != b);
        if first.digest != digest || differs {
            let what = if differs { "follows another entry" } else { "is another entry" };
            let proof =
                vec![first.at.says(format_args!("first to append ({index}, {term}), after {:?}", first.before))];
            let sentence = format!("entry {index} of term {term} {what} than on broker {}.", first.at.node);
            broken.push(("log-mismatch", sentence, proof));
        }
        first.before = first.before.or(before);
    }
}

/// Where an entry stands among those from index 1; nowhere for index zero.
fn place(index: Index) -> usize {
    usize::try_from(index.0).ok().and_then(|index| index.checked_sub(1)).unwrap_or(usize::MAX)
}
