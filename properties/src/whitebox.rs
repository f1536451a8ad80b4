//! Judges the events of all brokers of a cluster as they happen: what consensus and the disks beneath it promise.
//!
//! Feed [`Whitebox::observe`] every event of every broker in the order in which they happened, from the first formatting on,
//! [`Whitebox::crashed`] whenever a broker's life ends, however it ends, and [`Whitebox::wiped`] when its disk is replaced. Each event costs O(log n).
//!
//! | kind | promise |
//! |---|---|
//! | `spoke-early` | a message leaves only when the term it is of is durable |
//! | `too-few-copies` | what is acknowledged under min.insync.replicas is durable on so many replicas |
//! | `two-leaders` | at most one leader in a term of a group |
//! | `vote-twice` | a vote once durable is neither given again nor forgotten in its term, across restarts |
//! | `elected-without-votes` | a leader has durable votes of a quorum (its own is taken as given) |
//! | `leader-incomplete` | a leader holds everything committed in earlier terms |
//! | `served-early` | a leader serves only when it has applied an entry of its own term |
//! | `term-went-back` | terms never go back, across restarts |
//! | `log-mismatch` | entries of one index and term are equal on all replicas, and so is all that stands before them |
//! | `log-gap` | a log has no holes |
//! | `needless-truncation` | a log is only cut where it conflicts |
//! | `committed-dropped` | no replica drops what is committed |
//! | `persisted-unknown` | what is called durable was appended before |
//! | `durable-lost` | what was called durable is there after a restart |
//! | `commit-without-quorum` | what is applied is durable on a quorum |
//! | `applied-out-of-order` | entries are applied one after the other |
//! | `applied-other-entry` | what is applied is what stands in the log |
//! | `divergence` | all replicas have the same state, next offset and log start at the same index |
//! | `offset-went-back` | next offset and log start never go back, nor pass each other |
//! | `checkpoint-ahead` | a checkpoint covers only what is applied |
//! | `checkpoint-lost` | after a restart a replica knows at least its last checkpoint, and nothing it never had |
//! | `snapshot-regress` | a snapshot never replaces newer state |
//! | `configuration-split` | one index has one configuration |
//! | `configuration-jump` | quorums of successive configurations overlap |
//! | `configuration-forgotten` | a replica that comes back goes by the last configuration it had applied |
//! | `state-differs` | replicas that applied as much remember the same, down to the last producer |
//! | `epochs-wrong` | each leader epoch began where its first entry stands |
//! | `files-damaged` | files hold what the replica says of them |
//! | `file-orphaned` | no file stays that nothing knows of |
//! | `journal-kept` | a journal lets go of what checkpoints cover |
//! | `lease-overdue` | files are kept for a follower only as long as it copies them |
//! | `journal-unsealed` | a journal that is idle can tell damage from a torn write |
//! | `identity-reused` | a replica id of a group is only ever used by one disk |
//! | `charters-overlap` | no two brokers are members of different clusters that count on the same disk |
//! | `unexplained` | every event fits into a life |
//!
//! Does not know clients, records, or what entries mean.

mod config;
mod group;
mod identity;
mod replica;

use std::collections::{BTreeMap, BTreeSet};

use tidelog_core::broker::Audit;
use tidelog_core::event::Event;
use tidelog_core::id::{ClusterId, FileId, GroupId, NodeId, Offset, Term};

use crate::violation::{Verdict, Violation};
use group::{At, Group};
use identity::Identities;

/// The checker. See the [module](self).
#[derive(Debug, Default)]
pub struct Whitebox {
    /// Groups of different clusters have nothing to do with each other. The cluster is zero where nobody named it.
    groups: BTreeMap<(ClusterId, GroupId), Group>,
    identities: Identities,
    /// The groups a broker has told of in this life.
    living: BTreeMap<NodeId, BTreeSet<GroupId>>,
    started: BTreeSet<NodeId>,
    verdict: Verdict,
    work: u64,
}

impl Whitebox {
    /// A checker of a cluster that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// `node` says `event` at `now` (microseconds, for people only).
    pub fn observe(&mut self, now: u64, node: NodeId, event: &Event) {
        self.work += 1;
        let group = match event {
            Event::Recovered { group, .. }
            | Event::Appended { group, .. }
            | Event::Persisted { group, .. }
            | Event::HardStatePersisted { group, .. }
            | Event::Applied { group, .. }
            | Event::Elected { group, .. }
            | Event::Serving { group, .. }
            | Event::Deposed { group, .. }
            | Event::Configured { group, .. }
            | Event::Checkpointed { group, .. }
            | Event::Installing { group, .. }
            | Event::Installed { group, .. }
            | Event::Healed { group, .. } => *group,
            Event::Started => return self.start(now, node),
            Event::Chartered { cluster, directory, replica, members } => {
                let disk = (*cluster, *directory);
                return self.identities.chartered(At { now, node }, disk, *replica, members, &mut self.verdict);
            }
            Event::Judged { .. } | Event::Sometimes(_) | Event::Note(_) | Event::NoRoom { .. } | Event::Progress(_) => {
                return;
            }
        };
        if let Event::Recovered { replica, .. } = event {
            self.identities.uses(At { now, node }, group, *replica, &mut self.verdict);
        }
        self.living.entry(node).or_default().insert(group);
        let started = self.started.contains(&node);
        let cluster = self.identities.cluster(node);
        let state = self.groups.entry((cluster, group)).or_insert_with(|| Group::new(group));
        state.observe(At { now, node }, event, started, &mut self.verdict, &mut self.work);
    }

    /// `node` sends something of `group` in `term` to another broker, a pre-vote excepted, which binds nobody.
    pub fn spoke(&mut self, now: u64, node: NodeId, group: GroupId, term: Term) {
        self.work += 1;
        if let Some(state) = self.groups.get(&(self.identities.cluster(node), group)) {
            state.spoke(At { now, node }, term, &mut self.verdict);
        }
    }

    /// `node` tells a client that the record at `offset` is held by at least `needed` replicas.
    pub fn promised(&mut self, now: u64, node: NodeId, group: GroupId, offset: Offset, needed: usize) {
        self.work += 1;
        let holders = self.groups.get(&(self.identities.cluster(node), group)).and_then(|group| group.holders(offset));
        if let Some(holders) = holders.filter(|holders| *holders < needed) {
            self.verdict.add("too-few-copies", format!("{group:?}"), || {
                let sentence = format!(
                    "Group {group}, broker {node}: offset {offset} is acknowledged as held by {needed} replicas, and {holders} hold it durably."
                );
                (sentence, vec![At { now, node }.says(format_args!("acknowledges offset {offset}"))])
            });
        }
    }

    /// `node` was looked into: it holds this. Meaningful at any moment of its life, and costs as much as reading its files.
    pub fn audited(&mut self, now: u64, node: NodeId, audit: &Audit) {
        let cluster = self.identities.cluster(node);
        for held in &audit.groups {
            self.work += 1;
            if let Some(state) = self.groups.get_mut(&(cluster, held.group)) {
                state.audited(At { now, node }, held, &mut self.verdict);
            }
        }
    }

    /// `node`, which had nothing to do for seconds and was to use at most `target` journal files, holds this.
    pub fn rested(&mut self, now: u64, node: NodeId, audit: &Audit, target: u64) {
        if audit.journal_files > target {
            self.verdict.add("journal-kept", format!("{node:?}"), || {
                let sentence = format!(
                    "Broker {node} can not let go of {} journal files, and {target} ought to be enough.",
                    audit.journal_files
                );
                (sentence, vec![At { now, node }.says("has nothing to do")])
            });
        }
        if audit.overdue_leases > 0 {
            self.verdict.add("lease-overdue", format!("{node:?}"), || {
                let sentence = format!("Broker {node} keeps files for a follower that needs them no more, or is gone.");
                (sentence, vec![At { now, node }.says("has nothing to do")])
            });
        }
        if audit.unsealed {
            self.verdict.add("journal-unsealed", format!("{node:?}"), || {
                let sentence = format!("Broker {node} is idle and leaves the last block of its journal unsealed.");
                (sentence, vec![At { now, node }.says("has nothing to do")])
            });
        }
    }

    /// A file is on the disk of `node` that it does not know, although it has nothing to do with its disk any more.
    pub fn orphaned(&mut self, now: u64, node: NodeId, file: FileId) {
        self.verdict.add("file-orphaned", format!("{node:?}"), || {
            let sentence = format!("Nothing on broker {node} knows of {file}, which takes space on its disk.");
            (sentence, vec![At { now, node }.says(format_args!("does not know {file}"))])
        });
    }

    /// `node`'s life has ended: killed, halted or stopped.
    pub fn crashed(&mut self, node: NodeId) {
        self.started.remove(&node);
        let cluster = self.identities.cluster(node);
        for group in self.living.remove(&node).unwrap_or_default() {
            self.work += 1;
            if let Some(group) = self.groups.get_mut(&(cluster, group)) {
                group.crashed(node);
            }
        }
    }

    /// The disk of `node`, whose life has ended, was replaced by an empty one: nobody expects of it what was durable there.
    pub fn wiped(&mut self, node: NodeId) {
        self.identities.wiped(node);
    }

    /// Whether no promise was broken so far.
    pub fn is_clean(&self) -> bool {
        self.verdict.is_empty()
    }

    /// The promises broken so far, the first of each kind and group.
    pub fn violations(&self) -> Vec<Violation> {
        self.verdict.clone().into_violations()
    }

    /// How many things were looked at: the cost, without a clock.
    pub fn work(&self) -> u64 {
        self.work
    }

    fn start(&mut self, now: u64, node: NodeId) {
        if !self.started.insert(node) {
            self.verdict.add("unexplained", format!("{node:?}"), || {
                (format!("Broker {node} started twice in one life."), vec![At { now, node }.says("Started")])
            });
        }
        let cluster = self.identities.cluster(node);
        for group in self.living.get(&node).into_iter().flatten() {
            if let Some(group) = self.groups.get_mut(&(cluster, *group)) {
                group.started(node, &mut self.work);
            }
        }
    }
}
