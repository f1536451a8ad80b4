//! What will go wrong and when: drawn from a seed before anything starts.
//!
//! Two lanes, each with at most one fault at a time: what happens to processes (kill, pause, power), and what happens to the
//! links between them (partition, one-way, slow). The lanes know nothing of each other, so that a node is killed while it is
//! cut off, and restarted before or after it is not. Every fault ends before the plan does.
//!
//! Promises: one seed, one plan. Not known here: how a fault is brought about ([`crate::nemesis`]).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::rng::Rng;

/// A node's number, from 1.
pub type NodeId = u32;

/// A kind of fault, as `--nemesis` names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub enum Kind {
    /// SIGKILL, and a start after a while; one node, or all at once
    Kill,
    /// SIGKILL to who leads, every 3 to 8 s, and a start 0.5 to 2 s later; to all at the end
    Leader,
    /// SIGSTOP, and SIGCONT after a while; one node, or more
    Pause,
    /// Two sides that can not reach each other
    Partition,
    /// Some nodes can not send to some others, which can send to them
    OneWay,
    /// Bytes between some nodes take longer
    Slow,
    /// All nodes lose power at once: what was not synced may be lost or torn
    Power,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Kill, Self::Leader, Self::Pause, Self::Partition, Self::OneWay, Self::Slow, Self::Power];

    /// As the command line names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Leader => "leader",
            Self::Pause => "pause",
            Self::Partition => "partition",
            Self::OneWay => "one-way",
            Self::Slow => "slow",
            Self::Power => "power",
        }
    }

    /// Whether it strikes what is between nodes, so that it takes two.
    pub fn needs_links(self) -> bool {
        match self {
            Self::Kill | Self::Leader | Self::Pause | Self::Power => false,
            Self::Partition | Self::OneWay | Self::Slow => true,
        }
    }
}

/// What becomes of the connections over a link that is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// They hang, and what was sent arrives when the cut ends.
    Hang,
    /// They hang, and are reset when the cut ends; what was sent is lost.
    HangThenReset,
    /// They are reset as it begins, and new ones are as soon as they send.
    Reset,
}

/// One direction between two nodes.
pub type Link = (NodeId, NodeId);

/// What the node that is to be hit leads at that moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Leads {
    /// This partition.
    Partition(u32),
    /// The metadata of the cluster.
    Controller,
}

/// A fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// SIGKILL now, start at the end.
    Kill(BTreeSet<NodeId>),
    /// SIGKILL now to whoever leads that, start at the end.
    Leader(Leads),
    /// SIGSTOP now, SIGCONT at the end.
    Pause(BTreeSet<NodeId>),
    /// Nothing passes over these links; `kind` is [`Kind::Partition`] or [`Kind::OneWay`].
    Cut {
        /// Which of the two it was drawn as.
        kind: Kind,
        /// The links.
        links: BTreeSet<Link>,
        /// How.
        how: Cut,
    },
    /// Everything over these links takes so much longer.
    Slow {
        /// The links.
        links: BTreeSet<Link>,
        /// How much longer.
        by: Duration,
    },
    /// Power lost by all now, start at the end.
    Power,
}

impl Fault {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Kill(_) => Kind::Kill,
            Self::Leader(_) => Kind::Leader,
            Self::Pause(_) => Kind::Pause,
            Self::Cut { kind, .. } => *kind,
            Self::Slow { .. } => Kind::Slow,
            Self::Power => Kind::Power,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |nodes: &BTreeSet<NodeId>| nodes.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let arrows =
            |links: &BTreeSet<Link>| links.iter().map(|(a, b)| format!("{a}>{b}")).collect::<Vec<_>>().join(" ");
        match self {
            Self::Kill(nodes) => write!(f, "kill {}", list(nodes)),
            Self::Leader(Leads::Partition(partition)) => write!(f, "kill the leader of partition {partition}"),
            Self::Leader(Leads::Controller) => f.write_str("kill the leader of the controller"),
            Self::Pause(nodes) => write!(f, "pause {}", list(nodes)),
            Self::Cut { kind, links, how } => write!(f, "{} {} ({how:?})", kind.name(), arrows(links)),
            Self::Slow { links, by } => write!(f, "slow {} by {} ms", arrows(links), by.as_millis()),
            Self::Power => f.write_str("power lost by all"),
        }
    }
}

/// A fault and its time, since the plan began.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// When it begins.
    pub from: Duration,
    /// When it ends.
    pub to: Duration,
    /// What it is.
    pub fault: Fault,
}

/// No fault for so long at the start, so that the cluster does something before it is hurt.
const CALM: u64 = 2000;

/// The time for the kill of all that ends a plan with [`Kind::Leader`], in which they are down for half of it.
const FINALE: u64 = 2000;

/// What there is to break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Nodes.
    pub nodes: u32,
    /// Partitions of the topic.
    pub partitions: u32,
}

/// Draws what goes wrong in `time` on a cluster of this extent, of these kinds, in order of beginning.
pub fn draw(seed: u64, time: Duration, extent: Extent, kinds: &BTreeSet<Kind>) -> Vec<Step> {
    let nodes = extent.nodes;
    let mut steps = Vec::new();
    for links in [false, true] {
        let lane: Vec<Kind> =
            kinds.iter().copied().filter(|kind| kind.needs_links() == links && !(links && nodes < 2)).collect();
        let mut rng = Rng::new(seed, if links { "links" } else { "processes" });
        let mut end = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        if lane.contains(&Kind::Leader) && end > 2 * FINALE {
            end -= FINALE;
            let [from, to] = [end + FINALE / 4, end + 3 * FINALE / 4].map(Duration::from_millis);
            steps.push(Step { from, to, fault: Fault::Kill((1..=nodes).collect()) });
        }
        let mut at = CALM.min(end / 4).saturating_add(rng.below(1500));
        // Every kind once before any comes twice: a short run has some of each.
        let mut deck: Vec<Kind> = Vec::new();
        let mut controller = false;
        while !lane.is_empty() {
            if deck.is_empty() {
                deck = lane.clone();
                for left in (1..deck.len()).rev() {
                    deck.swap(left, usize::try_from(rng.below(left as u64 + 1)).unwrap_or(left));
                }
            }
            let Some(kind) = deck.pop() else { break };
            let (lasts, rest) = match kind {
                Kind::Leader => {
                    let lasts = rng.range(500, 2000);
                    (lasts, rng.range(3000, 8000) - lasts)
                }
                Kind::Kill | Kind::Pause | Kind::Partition | Kind::OneWay | Kind::Slow | Kind::Power => (
                    if rng.one_in(4) { rng.range(3000, 9000) } else { rng.range(100, 3000) },
                    if rng.one_in(4) { rng.range(100, 500) } else { rng.range(500, 4000) },
                ),
            };
            let to = at.saturating_add(lasts);
            if to > end {
                break;
            }
            let mut fault = fault(kind, extent, &mut rng);
            if kind == Kind::Leader {
                if controller {
                    fault = Fault::Leader(Leads::Controller);
                }
                // By turns, so that a short run hits both sorts of leaders.
                controller = !controller;
            }
            steps.push(Step { from: Duration::from_millis(at), to: Duration::from_millis(to), fault });
            at = to.saturating_add(rest);
        }
    }
    steps.sort_by_key(|step| (step.from, step.to));
    steps
}

fn fault(kind: Kind, extent: Extent, rng: &mut Rng) -> Fault {
    let Extent { nodes, partitions } = extent;
    match kind {
        Kind::Kill => Fault::Kill(some(nodes, rng)),
        Kind::Leader => {
            let partition = u32::try_from(rng.below(u64::from(partitions))).unwrap_or(0);
            Fault::Leader(Leads::Partition(partition))
        }
        Kind::Pause => Fault::Pause(some(nodes, rng)),
        Kind::Power => Fault::Power,
        Kind::Partition => {
            let side = side(nodes, rng);
            let apart = |&(a, b): &Link| side.contains(&a) != side.contains(&b);
            Fault::Cut { kind, links: links(nodes).filter(apart).collect(), how: how(rng) }
        }
        Kind::OneWay => {
            let side = side(nodes, rng);
            let apart = |&(a, b): &Link| side.contains(&a) && !side.contains(&b);
            Fault::Cut { kind, links: links(nodes).filter(apart).collect(), how: how(rng) }
        }
        Kind::Slow => {
            let mut slow: BTreeSet<Link> = links(nodes).filter(|_| rng.one_in(2)).collect();
            if slow.is_empty() {
                slow.extend(links(nodes).next());
            }
            // From what a distant place costs to what is longer than an election.
            let by = if rng.one_in(3) { rng.range(500, 3000) } else { rng.range(20, 300) };
            Fault::Slow { links: slow, by: Duration::from_millis(by) }
        }
    }
}

fn how(rng: &mut Rng) -> Cut {
    match rng.below(3) {
        0 => Cut::Hang,
        1 => Cut::HangThenReset,
        _ => Cut::Reset,
    }
}

/// One, mostly; sometimes all, sometimes any.
fn some(nodes: u32, rng: &mut Rng) -> BTreeSet<NodeId> {
    match rng.below(6) {
        0 => (1..=nodes).collect(),
        1 => side(nodes, rng),
        _ => BTreeSet::from([one(nodes, rng)]),
    }
}

fn one(nodes: u32, rng: &mut Rng) -> NodeId {
    u32::try_from(rng.range(1, u64::from(nodes) + 1)).unwrap_or(1)
}

/// Some nodes and not all, if that is possible.
fn side(nodes: u32, rng: &mut Rng) -> BTreeSet<NodeId> {
    let mut side: BTreeSet<NodeId> = (1..=nodes).filter(|_| rng.one_in(2)).collect();
    if side.is_empty() || side.len() == nodes as usize {
        side = BTreeSet::from([one(nodes, rng)]);
    }
    side
}

fn links(nodes: u32) -> impl Iterator<Item = Link> {
    (1..=nodes).flat_map(move |a| (1..=nodes).map(move |b| (a, b))).filter(|(a, b)| a != b)
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: Extent = Extent { nodes: 3, partitions: 4 };

    fn all() -> BTreeSet<Kind> {
        Kind::ALL.into()
    }

    #[test]
    fn one_seed_one_plan() {
        let time = Duration::from_secs(60);
        assert_eq!(draw(7, time, THREE, &all()), draw(7, time, THREE, &all()));
        assert_ne!(draw(7, time, THREE, &all()), draw(8, time, THREE, &all()));
    }

    #[test]
    fn faults_end_in_time_and_never_overlap_in_their_lane() {
        for seed in 0..200 {
            let steps = draw(seed, Duration::from_secs(60), THREE, &all());
            for lane in [false, true] {
                let mut free = Duration::ZERO;
                for step in steps.iter().filter(|step| step.fault.kind().needs_links() == lane) {
                    assert!(free <= step.from && step.from < step.to && step.to <= Duration::from_secs(60), "{step:?}");
                    free = step.to;
                }
            }
            for step in &steps {
                match &step.fault {
                    Fault::Kill(nodes) | Fault::Pause(nodes) => assert!(!nodes.is_empty()),
                    Fault::Cut { links, .. } | Fault::Slow { links, .. } => assert!(!links.is_empty()),
                    Fault::Leader(Leads::Partition(partition)) => assert!(*partition < THREE.partitions),
                    Fault::Leader(Leads::Controller) | Fault::Power => {}
                }
            }
        }
    }

    #[test]
    fn leaders_of_both_sorts_fall_every_3_to_8_seconds_and_all_nodes_at_the_end() {
        for seed in 0..100 {
            let mut steps = draw(seed, Duration::from_secs(600), THREE, &[Kind::Leader].into());
            let last = steps.pop().expect("a plan");
            assert_eq!(last.fault, Fault::Kill([1, 2, 3].into()));
            for pair in steps.windows(2) {
                let apart = (pair[1].from - pair[0].from).as_millis();
                assert!((3000..8000).contains(&apart), "seed {seed}: {pair:?}");
                assert!((500..2000).contains(&(pair[0].to - pair[0].from).as_millis()), "seed {seed}: {pair:?}");
                let controller = |step: &Step| step.fault == Fault::Leader(Leads::Controller);
                assert_ne!(controller(&pair[0]), controller(&pair[1]), "seed {seed}: {pair:?}");
            }
            let partitions: BTreeSet<String> = steps.iter().map(|step| step.fault.to_string()).collect();
            assert_eq!(partitions.len(), 1 + THREE.partitions as usize, "seed {seed}: all of them, and the controller");
        }
    }

    #[test]
    fn a_partition_cuts_both_ways_and_one_way_does_not() {
        for seed in 0..100 {
            for step in draw(seed, Duration::from_secs(60), THREE, &[Kind::Partition, Kind::OneWay].into()) {
                let Fault::Cut { kind, links, .. } = step.fault else { panic!("not asked for: {step:?}") };
                let both = links.iter().all(|&(a, b)| links.contains(&(b, a)));
                assert_eq!(both, kind == Kind::Partition, "{links:?}");
            }
        }
    }

    #[test]
    fn one_node_has_no_links_to_cut() {
        let steps = draw(1, Duration::from_secs(60), Extent { nodes: 1, ..THREE }, &all());
        assert!(!steps.is_empty() && steps.iter().all(|step| !step.fault.kind().needs_links()));
    }

    #[test]
    fn a_minute_has_some_of_each_kind() {
        for seed in 0..50 {
            let steps = draw(seed, Duration::from_secs(60), THREE, &all());
            let kinds: BTreeSet<Kind> = steps.iter().map(|step| step.fault.kind()).collect();
            assert_eq!(kinds, all(), "seed {seed}");
        }
    }
}
