//! Whatever order words and crashes come in, and whichever one disk is wiped: no two clusters are formed of the same disks,
//! no identity is used by two disks, and once everybody can talk everybody is in the one cluster, or observes it.
//!
//! Words are never used up here: any word ever said may be heard again at any later moment.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidelog_core::effect::{DiskCommand, DiskError, DiskOutput, DiskResult};
use tidelog_core::formation::{Charter, Formation, Membership, Message, Report, Role, Setup};
use tidelog_core::id::{ClusterId, DirectoryId, FileId, FileIds, NodeId, ReplicaId};
use tidelog_core::mutants::Mutants;
use tidelog_core::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(100);

/// One machine.
struct Machine {
    formation: Formation,
    ids: FileIds,
    boots: u64,
    directory: DirectoryId,
    files: BTreeMap<FileId, Vec<u8>>,
    flight: Vec<(u64, DiskCommand)>,
    charter: Option<(Charter, Role)>,
}

fn run(files: &mut BTreeMap<FileId, Vec<u8>>, command: &DiskCommand) -> DiskResult {
    match command {
        DiskCommand::Read { file, .. } => {
            let bytes = files.get(file).ok_or(DiskError::Missing)?;
            Ok(DiskOutput::Read(bytes.clone().into()))
        }
        DiskCommand::Allocate { file, len } => {
            let there = files.entry(*file).or_default();
            let len = (*len as usize).max(there.len());
            there.resize(len, 0);
            Ok(DiskOutput::Done)
        }
        DiskCommand::Write { file, bytes, durable, .. } => {
            assert!(*durable);
            let there = files.get_mut(file).expect("it was allocated");
            let bytes = bytes.concat();
            there[..bytes.len()].copy_from_slice(&bytes);
            Ok(DiskOutput::Done)
        }
        DiskCommand::Sync { .. } => Ok(DiskOutput::Done),
        DiskCommand::Remove { file } => {
            files.remove(file);
            Ok(DiskOutput::Done)
        }
        DiskCommand::List | DiskCommand::Truncate { .. } => unreachable!("a formation does not ask for it"),
    }
}

fn start(node: u32, listed: u32, directory: DirectoryId, boots: u64, files: &BTreeMap<FileId, Vec<u8>>) -> Formation {
    let setup = Setup {
        node: NodeId(node),
        directory,
        voters: (1..=listed).map(NodeId).collect(),
        host: format!("host{node}"),
        port: 9092,
        seed: u64::from(node) * 1_000 + boots + u64::from(directory.0[1]) * 100,
        every: EVERY,
        mutants: Mutants::default(),
    };
    Formation::open(setup, files.iter().map(|(file, bytes)| (*file, bytes.len() as u64)).collect(), false)
}

impl Machine {
    fn new(node: u32, listed: u32, disk: u8) -> Self {
        let directory = DirectoryId([&[node as u8, disk][..], &[7; 14]].concat().try_into().expect("sixteen"));
        Self {
            formation: start(node, listed, directory, 1, &BTreeMap::new()),
            ids: FileIds::new(1),
            boots: 1,
            directory,
            files: BTreeMap::new(),
            flight: Vec::new(),
            charter: None,
        }
    }
}

struct World {
    listed: u32,
    machines: BTreeMap<u32, Machine>,
    words: Vec<(u32, NodeId, Message)>,
    users: BTreeMap<(ClusterId, ReplicaId), DirectoryId>,
    wiped: Option<u32>,
    now: Instant,
}

impl World {
    fn new(listed: u32, all: u32) -> Self {
        Self {
            listed,
            machines: (1..=all).map(|node| (node, Machine::new(node, listed, 0))).collect(),
            words: Vec::new(),
            users: BTreeMap::new(),
            wiped: None,
            now: Instant(1),
        }
    }

    /// Takes in what a machine wants, and holds it against the others.
    fn turn(&mut self, node: u32) {
        let machine = self.machines.get_mut(&node).expect("it is there");
        machine.formation.commands(&mut machine.ids, &mut machine.flight);
        self.words.extend(machine.formation.sends().into_iter().map(|(to, message)| (node, to, message)));
        for report in machine.formation.reports() {
            match report {
                Report::Chartered(charter, role) => {
                    if let Role::Member(replica) = role {
                        let user = *self.users.entry((charter.cluster, replica)).or_insert(machine.directory);
                        assert_eq!(user, machine.directory, "an identity is used by one disk");
                        if let Some((before, Role::Member(_))) = &machine.charter {
                            assert_eq!(before, &charter, "a member stays");
                        }
                    }
                    machine.charter = Some((charter, role));
                }
                Report::Stop(why) => panic!("{node} stops: {why:?}"),
                Report::Note(_) | Report::NoRoom { .. } | Report::Sometimes(_) | Report::Opened => {}
            }
        }
        self.check();
    }

    fn check(&self) {
        let members: Vec<&Charter> = self
            .machines
            .values()
            .filter_map(|machine| match &machine.charter {
                Some((charter, Role::Member(_))) => Some(charter),
                Some((_, Role::Observer)) | None => None,
            })
            .collect();
        for one in &members {
            for two in &members {
                let shared = one.members.iter().any(|seat| two.members.iter().any(|s| s.directory == seat.directory));
                assert!(one.cluster == two.cluster || !shared, "two clusters of the same disks: {one:?} {two:?}");
            }
        }
    }

    /// The first disk operation under way is done.
    fn disk(&mut self, node: u32) {
        let machine = self.machines.get_mut(&node).expect("it is there");
        if machine.flight.is_empty() {
            return;
        }
        let (tag, command) = machine.flight.remove(0);
        let result = run(&mut machine.files, &command);
        machine.formation.done(tag, result);
        self.turn(node);
    }

    fn hear(&mut self, at: usize) {
        let Some((from, to, message)) = self.words.get(at).cloned() else { return };
        let Some(machine) = self.machines.get_mut(&to.0) else { return };
        machine.formation.receive(NodeId(from), message);
        self.turn(to.0);
    }

    fn tick(&mut self, node: u32) {
        self.now = self.now + EVERY;
        self.machines.get_mut(&node).expect("it is there").formation.tick(self.now);
        self.turn(node);
    }

    /// What was under way may have happened.
    fn crash(&mut self, node: u32, happened: bool) {
        let listed = self.listed;
        let machine = self.machines.get_mut(&node).expect("it is there");
        for (_, command) in std::mem::take(&mut machine.flight).into_iter().filter(|_| happened) {
            let _ = run(&mut machine.files, &command);
        }
        machine.boots += 1;
        machine.ids = FileIds::new(machine.boots);
        machine.formation = start(node, listed, machine.directory, machine.boots, &machine.files);
        self.turn(node);
    }

    fn wipe(&mut self, node: u32) {
        if self.wiped.is_none() {
            self.wiped = Some(node);
            self.machines.insert(node, Machine::new(node, self.listed, 1));
            self.turn(node);
        }
    }

    /// Everybody talks; nothing else happens.
    fn come_to_rest(&mut self) {
        let nodes: Vec<u32> = self.machines.keys().copied().collect();
        for _ in 0..10 {
            // Some of what was said lately is heard again.
            let mut heard = self.words.len().saturating_sub(20);
            nodes.iter().for_each(|node| self.tick(*node));
            while heard < self.words.len() {
                self.hear(heard);
                heard += 1;
                for node in &nodes {
                    while !self.machines[node].flight.is_empty() {
                        self.disk(*node);
                    }
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Deed {
    Tick(u32),
    Disk(u32),
    /// The word so many from the last.
    Hear(usize),
    /// Any word.
    HearAny(prop::sample::Index),
    Crash(u32, bool),
    Wipe(u32),
}

fn deed() -> impl Strategy<Value = Deed> {
    let node = 1..=4_u32;
    prop_oneof![
        6 => node.clone().prop_map(Deed::Tick),
        16 => node.clone().prop_map(Deed::Disk),
        16 => (0..8_usize).prop_map(Deed::Hear),
        6 => any::<prop::sample::Index>().prop_map(Deed::HearAny),
        2 => (node.clone(), any::<bool>()).prop_map(|(node, happened)| Deed::Crash(node, happened)),
        1 => prop_oneof![Just(1), node].prop_map(Deed::Wipe),
    ]
}

/// A founder writes its charter and is wiped before anybody hears of it. Its next disk founds another cluster, and then the
/// late word of the first is heard.
#[test]
fn the_late_charter_of_a_wiped_founder_is_not_believed() {
    let is_charter = |word: &(u32, NodeId, Message)| matches!(word.2, Message::Formed { .. });
    let mut world = World::new(3, 3);
    let quiet = |world: &mut World, heard: &mut usize, believed: &dyn Fn(&(u32, NodeId, Message)) -> bool| {
        for node in 1..=3 {
            world.tick(node);
        }
        while *heard < world.words.len() {
            if believed(&world.words[*heard]) {
                world.hear(*heard);
            }
            *heard += 1;
            for node in 1..=3 {
                while !world.machines[&node].flight.is_empty() {
                    world.disk(node);
                }
            }
        }
    };
    let mut heard = 0;
    (0..4).for_each(|_| quiet(&mut world, &mut heard, &|word| !is_charter(word)));
    assert_eq!(world.machines[&1].formation.membership(), Membership::Member);
    let late = world.words.iter().position(|word| is_charter(word) && word.1 == NodeId(3)).expect("it was said");
    world.wipe(1);
    (0..4).for_each(|_| quiet(&mut world, &mut heard, &|word| !is_charter(word)));
    world.hear(late);
    (0..4).for_each(|_| quiet(&mut world, &mut heard, &|_| true));
    let clusters: Vec<_> = world.machines.values().map(|machine| machine.formation.cluster()).collect();
    assert_eq!(clusters, [clusters[0]; 3]);
    assert!(world.machines.values().all(|machine| machine.formation.membership() == Membership::Member));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn one_cluster_whatever_happens(deeds in prop::collection::vec(deed(), 0..160), listed in prop_oneof![4 => Just(3), 1 => 1..=4_u32], all in 2..=4_u32) {
        let all = all.max(listed);
        let mut world = World::new(listed, all);
        for deed in deeds {
            match deed {
                Deed::Tick(node) if node <= all => world.tick(node),
                Deed::Disk(node) if node <= all => world.disk(node),
                Deed::Hear(back) => world.hear(world.words.len().wrapping_sub(1 + back)),
                Deed::HearAny(index) if !world.words.is_empty() => world.hear(index.index(world.words.len())),
                Deed::Crash(node, happened) if node <= all => world.crash(node, happened),
                Deed::Wipe(node) if node <= all => world.wipe(node),
                Deed::Tick(_) | Deed::Disk(_) | Deed::HearAny(_) | Deed::Crash(..) | Deed::Wipe(_) => {}
            }
        }
        world.come_to_rest();
        // One listed voter is a cluster by itself: wiped, it is the founder of another.
        let alone = listed == 1 && world.wiped == Some(1);
        let mut clusters = Vec::new();
        for (node, machine) in &world.machines {
            let may_observe = *node > listed || world.wiped == Some(*node);
            match machine.formation.membership() {
                Membership::Member => prop_assert!(*node <= listed),
                Membership::Observer => prop_assert!(may_observe, "{} observes", node),
                Membership::Starting | Membership::Forming => {
                    prop_assert!(false, "{node} waits for {}", machine.formation.waits_for());
                }
            }
            clusters.push(machine.formation.cluster());
        }
        clusters.dedup();
        prop_assert!(clusters.len() == 1 || alone, "{clusters:?}");
    }
}
