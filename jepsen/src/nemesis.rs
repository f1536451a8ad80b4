//! Brings about what the plan says, and ends it.
//!
//! Promises: what began has ended when [`Nemesis::heal`] returns. A fault counts as struck if there was something to strike: a
//! process that ran, bytes or a connection on a link. Who is hit by a fault aimed at a leader is found out as it begins.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::plan::{Fault, Kind, Leads, NodeId, Step};
use crate::power::Disks;

/// A beginning or an end of a step.
#[derive(Clone, Debug)]
struct Turn {
    at: Duration,
    begins: bool,
    fault: Fault,
}

/// The plan as it is carried out.
#[derive(Debug)]
pub struct Nemesis {
    turns: Vec<Turn>,
    /// For each kind: how often it began, and how often it struck.
    counts: BTreeMap<Kind, (u64, u64)>,
    strikes_before: BTreeMap<Kind, u64>,
    /// Who was killed as a leader and is not started again yet.
    fallen: BTreeSet<NodeId>,
}

/// Says who leads something, if that is known.
pub type Aim<'a> = dyn FnMut(Leads) -> Option<NodeId> + 'a;

impl Nemesis {
    /// About to carry out `plan`.
    pub fn new(plan: &[Step]) -> Self {
        let mut turns: Vec<Turn> = plan
            .iter()
            .flat_map(|step| {
                [(step.from, true), (step.to, false)].map(|(at, begins)| Turn { at, begins, fault: step.fault.clone() })
            })
            .collect();
        // Of two at one time the end comes first: a lane has one fault at a time.
        turns.sort_by_key(|turn| (turn.at, turn.begins));
        turns.reverse();
        Self { turns, counts: BTreeMap::new(), strikes_before: BTreeMap::new(), fallen: BTreeSet::new() }
    }

    /// When something is to happen next; `None` if nothing is.
    pub fn next(&self) -> Option<Duration> {
        self.turns.last().map(|turn| turn.at)
    }

    /// Does what is to happen next, and says what.
    pub fn step(&mut self, cluster: &mut Cluster, disks: &mut Disks, aim: &mut Aim<'_>) -> io::Result<Option<String>> {
        let Some(turn) = self.turns.pop() else { return Ok(None) };
        if turn.begins {
            self.begin(&turn.fault, cluster, disks, aim);
            let whom = match turn.fault.kind() {
                Kind::Leader if self.fallen.is_empty() => ", whom nobody knows,",
                Kind::Leader => &format!(", {}", self.fallen.iter().map(NodeId::to_string).collect::<String>()),
                Kind::Kill | Kind::Pause | Kind::Partition | Kind::OneWay | Kind::Slow | Kind::Power => "",
            };
            Ok(Some(format!("{}{whom} begins", turn.fault)))
        } else {
            self.end(&turn.fault, cluster)?;
            Ok(Some(format!("{} ends", turn.fault)))
        }
    }

    /// Ends everything; nothing begins any more.
    pub fn heal(&mut self, cluster: &mut Cluster) -> io::Result<()> {
        while let Some(turn) = self.turns.pop() {
            if !turn.begins {
                self.end(&turn.fault, cluster)?;
            }
        }
        cluster.ids().into_iter().try_for_each(|id| cluster.start(id))
    }

    /// For each kind: how often it began, and how often it struck.
    pub fn counts(&self) -> &BTreeMap<Kind, (u64, u64)> {
        &self.counts
    }

    fn begin(&mut self, fault: &Fault, cluster: &mut Cluster, disks: &mut Disks, aim: &mut Aim<'_>) {
        let struck = match fault {
            Fault::Kill(nodes) => nodes.iter().filter(|&&id| cluster.kill(id)).count() > 0,
            Fault::Leader(leads) => {
                let hit = aim(*leads).filter(|&id| cluster.kill(id));
                self.fallen.extend(hit);
                hit.is_some()
            }
            Fault::Pause(nodes) => nodes.iter().filter(|&&id| cluster.pause(id)).count() > 0,
            Fault::Cut { links, how, .. } => {
                self.strikes_before.insert(fault.kind(), cluster.links().strikes());
                cluster.links().cut(links, *how);
                false
            }
            Fault::Slow { links, by } => {
                self.strikes_before.insert(fault.kind(), cluster.links().strikes());
                cluster.links().slow(links, *by);
                false
            }
            Fault::Power => {
                // The disks first, so that all of them stop at one moment and before their nodes: no node can then have
                // answered for what its disk did not take. Requests that wait must fail before a process can end.
                disks.hold();
                let killed = cluster.shoot();
                disks.off();
                cluster.bury();
                disks.lose_power();
                killed > 0
            }
        };
        let (begun, struck_so_far) = self.counts.entry(fault.kind()).or_default();
        *begun += 1;
        *struck_so_far += u64::from(struck);
    }

    fn end(&mut self, fault: &Fault, cluster: &mut Cluster) -> io::Result<()> {
        match fault {
            Fault::Kill(nodes) => nodes.iter().try_for_each(|&id| cluster.start(id)),
            Fault::Leader(_) => std::mem::take(&mut self.fallen).into_iter().try_for_each(|id| cluster.start(id)),
            Fault::Pause(nodes) => {
                for &id in nodes {
                    // Fails only on a node that ended by itself, which is told of elsewhere.
                    cluster.resume(id);
                }
                Ok(())
            }
            Fault::Cut { links, .. } | Fault::Slow { links, .. } => {
                cluster.links().restore(links);
                let before = self.strikes_before.remove(&fault.kind()).unwrap_or(u64::MAX);
                if before < cluster.links().strikes() {
                    self.counts.entry(fault.kind()).or_default().1 += 1;
                }
                Ok(())
            }
            Fault::Power => cluster.ids().into_iter().try_for_each(|id| cluster.start(id)),
        }
    }
}
