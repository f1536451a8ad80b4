//! Whatever a correct Raft group does under crashes, elections and lost writes, the white-box checker has nothing to say.

use std::collections::VecDeque;

use proptest::prelude::*;
use tidelog_core::event::Event;
use tidelog_core::id::{GroupId, Index, NodeId, Offset, ReplicaId, Term};
use tidelog_properties::Whitebox;

const GROUP: GroupId = GroupId(3);
const NODES: usize = 3;

/// One replica; its log is the terms of its entries, the first at index 1.
#[derive(Default)]
struct Node {
    log: Vec<u64>,
    durable: Vec<u64>,
    pending: VecDeque<(usize, u64)>,
    term: u64,
    vote: u64,
    leads: bool,
    served: bool,
    commit: usize,
    applied: usize,
    checkpoint: usize,
}

/// A mistake that a cluster makes whenever it can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    /// What is written counts, synced or not.
    AckBeforeSync,
    /// What is appended is applied.
    ApplyPastCommit,
    /// An append cuts entries that are there already.
    DuplicateAppendTruncates,
    /// A restart forgets the vote.
    VoteForgotten,
    /// Votes go to candidates with shorter logs.
    VoteForAnyLog,
    /// A crash loses one entry that was synced.
    SyncLies,
    /// A replica's state depends on who it is.
    ApplyReadsName,
}

/// A group of three that does everything right but for its bug, with a checker beside it.
struct Cluster {
    bug: Option<Bug>,
    nodes: Vec<Node>,
    judge: Whitebox,
    time: u64,
}

impl Cluster {
    fn new(bug: Option<Bug>) -> Self {
        let mut cluster =
            Self { bug, nodes: (0..NODES).map(|_| Node::default()).collect(), judge: Whitebox::new(), time: 0 };
        (0..NODES).for_each(|node| cluster.come_back(node, true));
        cluster
    }

    fn say(&mut self, node: usize, event: Event) {
        self.time += 1;
        self.judge.observe(self.time, NodeId(node as u32 + 1), &event);
    }

    fn come_back(&mut self, at: usize, starts: bool) {
        let node = &self.nodes[at];
        let event = Event::Recovered {
            group: GROUP,
            replica: replica(at),
            term: Term(node.term),
            vote: ReplicaId(node.vote),
            commit: Index(node.commit.min(node.log.len()) as u64),
            applied: Index(node.checkpoint as u64),
            last: Index(node.log.len() as u64),
        };
        self.say(at, event);
        let voters = (0..NODES).map(|node| (NodeId(node as u32 + 1), replica(node))).collect();
        self.say(at, Event::Configured { group: GROUP, index: Index(0), voters, outgoing: Vec::new() });
        if starts {
            self.say(at, Event::Started);
            let node = &mut self.nodes[at];
            node.durable = node.log.clone();
            node.pending.clear();
        }
    }

    fn append(&mut self, at: usize, index: usize, term: u64) {
        let node = &mut self.nodes[at];
        node.log.truncate(index - 1);
        node.log.push(term);
        node.pending.push_back((index, term));
        let digest = index as u64 * 1_000 + term;
        self.say(at, Event::Appended { group: GROUP, index: Index(index as u64), term: Term(term), digest });
    }

    /// Takes part in `term`, for `vote`.
    fn adopt(&mut self, at: usize, term: u64, vote: u64) {
        let node = &mut self.nodes[at];
        let led = std::mem::take(&mut node.leads) && node.term < term;
        (node.term, node.vote) = (term, vote);
        if led {
            self.say(at, Event::Deposed { group: GROUP, term: Term(term) });
        }
        self.say(at, Event::HardStatePersisted { group: GROUP, term: Term(term), vote: ReplicaId(vote) });
    }

    fn elect(&mut self, at: usize, other: usize) {
        if at == other {
            return;
        }
        let end = |node: &Node| (node.log.last().copied(), node.log.len());
        let term = self.nodes.iter().map(|node| node.term).max().unwrap_or(0) + 1;
        if end(&self.nodes[at]) < end(&self.nodes[other]) && self.bug != Some(Bug::VoteForAnyLog) {
            return;
        }
        self.adopt(at, term, replica(at).0);
        self.adopt(other, term, replica(at).0);
        (self.nodes[at].leads, self.nodes[at].served) = (true, false);
        self.say(at, Event::Elected { group: GROUP, term: Term(term) });
        self.append(at, self.nodes[at].log.len() + 1, term);
    }

    fn replicate(&mut self, from: usize, to: usize, most: usize) {
        let term = self.nodes[from].term;
        if from == to || !self.nodes[from].leads || self.nodes[to].term > term {
            return;
        }
        if self.nodes[to].term < term {
            self.adopt(to, term, 0);
        }
        let log = self.nodes[from].log.clone();
        let mut same = log.iter().zip(&self.nodes[to].log).take_while(|(a, b)| a == b).count();
        if self.bug == Some(Bug::DuplicateAppendTruncates) {
            same = same.saturating_sub(1);
        }
        for (at, &term) in log.iter().enumerate().skip(same).take(most) {
            self.append(to, at + 1, term);
        }
        let matched = (same + most).min(log.len());
        let commit = self.nodes[from].commit.min(matched);
        let node = &mut self.nodes[to];
        node.commit = node.commit.max(commit);
    }

    fn sync(&mut self, at: usize, most: usize) {
        let node = &mut self.nodes[at];
        let mut last = None;
        for _ in 0..most {
            let Some((index, term)) = node.pending.pop_front() else {
                break;
            };
            node.durable.truncate(index - 1);
            node.durable.push(term);
            last = Some((index, term));
        }
        if let Some((index, term)) = last {
            self.say(at, Event::Persisted { group: GROUP, index: Index(index as u64), term: Term(term) });
        }
    }

    fn commit(&mut self, at: usize) {
        let node = &self.nodes[at];
        if !node.leads {
            return;
        }
        let (term, log) = (node.term, &node.log);
        let bug = self.bug;
        let holds = |other: &&Node, index: usize| {
            let theirs = if bug == Some(Bug::AckBeforeSync) { &other.log } else { &other.durable };
            other.term == term && theirs.get(..index) == log.get(..index)
        };
        let decided = (node.commit + 1..=log.len())
            .rev()
            .filter(|&index| log[index - 1] == term)
            .find(|&index| self.nodes.iter().filter(|other| holds(other, index)).count() * 2 > NODES);
        if let Some(index) = decided {
            self.nodes[at].commit = index;
        }
    }

    fn apply(&mut self, at: usize, most: usize) {
        for _ in 0..most {
            let (bug, node) = (self.bug, &mut self.nodes[at]);
            if bug == Some(Bug::ApplyPastCommit) {
                node.commit = node.log.len();
            }
            if node.applied >= node.commit.min(node.log.len()) {
                return;
            }
            node.applied += 1;
            let (index, term) = (node.applied, node.log[node.applied - 1]);
            let serves = node.leads && !node.served && term == node.term;
            node.served |= serves;
            let chain = |sum: u64, term: &u64| sum.wrapping_mul(31).wrapping_add(*term);
            let digest =
                node.log[..index].iter().fold(if bug == Some(Bug::ApplyReadsName) { at as u64 } else { 7 }, chain);
            self.say(
                at,
                Event::Applied {
                    group: GROUP,
                    index: Index(index as u64),
                    term: Term(term),
                    digest,
                    next_offset: Offset(index as i64),
                    log_start: Offset(index as i64 / 4),
                },
            );
            if serves {
                self.say(at, Event::Serving { group: GROUP, term: Term(term) });
            }
        }
    }

    fn checkpoint(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.checkpoint = node.applied;
        let applied = Index(node.applied as u64);
        // A checkpoint names only what the journal before it made durable.
        self.sync(at, usize::MAX);
        self.say(at, Event::Checkpointed { group: GROUP, applied });
    }

    /// A power loss that leaves `kept` of the writes in flight, and another one before the start if asked for.
    fn crash(&mut self, at: usize, kept: usize, twice: bool) {
        self.fall(at, kept);
        if twice {
            self.come_back(at, false);
            self.fall(at, kept / 2);
        }
        self.come_back(at, true);
    }

    fn fall(&mut self, at: usize, kept: usize) {
        self.judge.crashed(NodeId(at as u32 + 1));
        let (bug, node) = (self.bug, &mut self.nodes[at]);
        node.pending.truncate(kept);
        if bug == Some(Bug::VoteForgotten) {
            node.vote = 0;
        }
        if bug == Some(Bug::SyncLies) && node.checkpoint < node.durable.len() {
            node.durable.pop();
            node.pending.clear();
        }
        node.log = node.durable.clone();
        for &(index, term) in &node.pending {
            node.log.truncate(index - 1);
            node.log.push(term);
        }
        node.leads = false;
        node.applied = node.checkpoint;
        node.commit = node.checkpoint;
    }

    fn act(&mut self, (what, a, b): (u8, u8, u8)) {
        let (at, other, some) = (usize::from(a) % NODES, usize::from(b) % NODES, usize::from(b) % 5 + 1);
        match what % 16 {
            0 if b < 40 || self.nodes.iter().all(|node| !node.leads) => self.elect(at, other),
            1..=3 if self.nodes[at].leads => {
                let term = self.nodes[at].term;
                self.append(at, self.nodes[at].log.len() + 1, term);
            }
            4..=7 => self.replicate(at, other, some),
            8..=9 => self.sync(at, some),
            10..=11 => self.commit(at),
            12..=13 => self.apply(at, some),
            14 => self.checkpoint(at),
            15 if b < 60 => self.crash(at, some - 1, a > 128),
            _ => {}
        }
    }
}

fn replica(node: usize) -> ReplicaId {
    ReplicaId(node as u64 * 10 + 10)
}

proptest! {
    #[test]
    fn a_correct_group_breaks_nothing(actions in prop::collection::vec(any::<(u8, u8, u8)>(), 0..400)) {
        let mut cluster = Cluster::new(None);
        for action in actions {
            cluster.act(action);
        }
        prop_assert!(cluster.judge.is_clean(), "{:#?}", cluster.judge.violations());
    }
}

/// A fixed pseudorandom run, until something is found or it ends.
fn run(bug: Option<Bug>, actions: usize) -> Cluster {
    let mut cluster = Cluster::new(bug);
    let mut state = 1_u64;
    for _ in 0..actions {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        cluster.act(((state >> 40) as u8, (state >> 48) as u8, (state >> 56) as u8));
        if !cluster.judge.is_clean() {
            break;
        }
    }
    cluster
}

#[test]
fn a_long_run_gets_somewhere_and_breaks_nothing() {
    let cluster = run(None, 20_000);
    let node = cluster.nodes.iter().max_by_key(|node| node.commit).expect("there are nodes");
    assert!(cluster.judge.is_clean(), "{:#?}", cluster.judge.violations());
    assert!(node.commit > 100 && node.term > 20, "commit {}, term {}", node.commit, node.term);
}

#[test]
fn each_planted_bug_is_found_by_the_promise_it_breaks_first() {
    for (bug, expected) in [
        (Bug::AckBeforeSync, "commit-without-quorum"),
        (Bug::ApplyPastCommit, "commit-without-quorum"),
        (Bug::DuplicateAppendTruncates, "committed-dropped"),
        (Bug::VoteForgotten, "vote-twice"),
        (Bug::VoteForAnyLog, "committed-dropped"),
        (Bug::SyncLies, "durable-lost"),
        (Bug::ApplyReadsName, "divergence"),
    ] {
        let found = run(Some(bug), 20_000).judge.violations();
        assert_eq!(found.first().map(|violation| violation.kind), Some(expected), "{bug:?}: {found:#?}");
    }
}
