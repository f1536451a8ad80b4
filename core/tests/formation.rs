//! How brokers with empty disks become a cluster, and what a disk that is not empty insists on.

#[path = "support/house.rs"]
mod house;

use house::{Disk, House};
use tidelog_core::effect::{DiskCommand, DiskOutput, Halt};
use tidelog_core::formation::{Charter, Formation, Membership, NoRecord, Pledge, Record, Role, Seat, Setup, Written};
use tidelog_core::id::{ClusterId, DirectoryId, FileId, FileIds, FileKind, NodeId, ReplicaId};
use tidelog_core::mutants::Mutants;
use tidelog_core::time::Duration;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);
const NODES: [NodeId; 3] = [ONE, TWO, THREE];

fn membership(house: &House, node: NodeId) -> Membership {
    house.homes[&node].broker.status().membership
}

fn waiting_for(house: &House, node: NodeId) -> String {
    house.homes[&node].broker.status().waiting_for
}

/// Starts a broker with an empty disk.
fn start(house: &mut House, node: NodeId) {
    house.start(node, Disk::default(), 1);
    house.settle();
}

/// Ends a broker and gives its disk.
fn stop(house: &mut House, node: NodeId) -> (Disk, u64) {
    let home = house.homes.remove(&node).expect("it lives");
    (home.disk, home.boots)
}

/// Starts a broker on another disk, which is empty.
fn wipe(house: &mut House, node: NodeId) {
    house.homes.remove(&node);
    house.directories.insert(node, DirectoryId([100 + node.0 as u8; 16]));
    start(house, node);
}

fn formation_files(disk: &Disk) -> Vec<FileId> {
    disk.files.keys().copied().filter(|file| file.kind() == FileKind::Formation).collect()
}

fn halted(house: &House, node: NodeId) -> Option<&Halt> {
    house.homes[&node].halted.as_ref()
}

#[test]
fn three_empty_disks_form_a_cluster_in_any_order() {
    for order in [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]] {
        let mut house = House::empty(3);
        for (at, node) in order.into_iter().enumerate() {
            for before in &order[..at] {
                assert_eq!(membership(&house, NodeId(*before)), Membership::Forming, "{order:?}");
                assert!(!house.homes[&NodeId(*before)].broker.status().ready);
            }
            start(&mut house, NodeId(node));
            house.pass(Duration::from_secs(2));
        }
        house.ready();
        let clusters = NODES.map(|node| house.cluster(node));
        assert_ne!(clusters[0], ClusterId::ZERO);
        assert_eq!(clusters, [clusters[0]; 3], "{order:?}");
        for node in NODES {
            let status = house.homes[&node].broker.status();
            assert_eq!((status.membership, status.groups[0].replica.0), (Membership::Member, u64::from(node.0)));
        }
    }
}

#[test]
fn who_waits_says_for_whom() {
    let mut house = House::empty(3);
    start(&mut house, ONE);
    start(&mut house, TWO);
    house.pass(Duration::from_secs(1));
    assert_eq!(waiting_for(&house, ONE), "broker 3 to form the cluster");
    assert_eq!(waiting_for(&house, TWO), "broker 1 to form the cluster");
}

#[test]
fn a_single_node_is_unanimous_with_itself() {
    let mut house = House::empty(1);
    start(&mut house, ONE);
    assert!(house.homes[&ONE].broker.status().ready, "no time has to pass");
    let cluster = house.cluster(ONE);
    house.restart(ONE);
    assert_eq!(house.cluster(ONE), cluster);
}

#[test]
fn a_cluster_stays_what_it_is_over_restarts() {
    let mut house = House::new(3);
    house.ready();
    let cluster = house.cluster(ONE);
    for node in NODES {
        house.restart(node);
        assert_eq!((house.cluster(node), membership(&house, node)), (cluster, Membership::Member));
        assert_eq!(formation_files(&house.homes[&node].disk).len(), 2, "they are written by turns");
    }
    house.ready();
}

/// A charter whose write never came to its end was never said: the founder begins again.
#[test]
fn a_torn_charter_is_no_charter() {
    let mut house = House::empty(3);
    for node in NODES {
        start(&mut house, node);
    }
    let formed = house.cluster(ONE);
    let (founder, boots) = stop(&mut house, ONE);
    let charter = formation_files(&founder)[0];
    for keep in [0, 1, 8, 12, 40, 511] {
        let mut house = House::empty(3);
        let mut disk = Disk::default();
        let mut bytes = founder.files[&charter].clone();
        let whole = bytes.iter().rposition(|byte| *byte != 0).expect("something") + 1;
        bytes[keep.min(whole - 1)..].fill(0);
        disk.files.insert(charter, bytes);
        house.start(ONE, disk, boots + 1);
        house.settle();
        assert_eq!(membership(&house, ONE), Membership::Forming, "{keep} bytes of it");
        start(&mut house, TWO);
        start(&mut house, THREE);
        house.ready();
        assert_ne!(house.cluster(ONE), formed);
        assert_eq!(formation_files(&house.homes[&ONE].disk).len(), 2, "what is torn is written over");
    }
}

/// What is torn does not hide the record before it.
#[test]
fn a_torn_charter_leaves_the_pledge() {
    let mut house = House::empty(3);
    start(&mut house, ONE);
    start(&mut house, TWO);
    let (mut disk, boots) = stop(&mut house, TWO);
    let pledge = formation_files(&disk);
    assert_eq!(pledge.len(), 2, "one, and room for the next");
    let torn = FileId::new(FileKind::Formation, boots, 900);
    disk.files.insert(torn, vec![0; 512]);
    house.start(TWO, disk, boots + 1);
    house.settle();
    assert_eq!(formation_files(&house.homes[&TWO].disk), pledge);
    start(&mut house, THREE);
    house.ready();
}

#[test]
fn a_founder_wiped_before_the_charter_founds_another_cluster() {
    let mut house = House::empty(3);
    start(&mut house, ONE);
    start(&mut house, TWO);
    wipe(&mut house, ONE);
    start(&mut house, THREE);
    house.pass(Duration::from_secs(1));
    house.ready();
    assert_eq!(house.cluster(ONE), house.cluster(THREE));
    assert_eq!(NODES.map(|node| membership(&house, node)), [Membership::Member; 3]);
}

#[test]
fn a_founder_wiped_after_the_charter_observes() {
    let mut house = House::new(3);
    house.ready();
    let cluster = house.cluster(TWO);
    wipe(&mut house, ONE);
    house.pass(Duration::from_secs(5));
    let status = house.homes[&ONE].broker.status();
    assert_eq!((status.membership, status.cluster, status.ready), (Membership::Observer, cluster, false));
    assert!(status.groups.is_empty(), "it has no replica of anything");
    assert!(status.waiting_for.contains("formed without it"), "{}", status.waiting_for);
    for node in [TWO, THREE] {
        let status = house.homes[&node].broker.status();
        assert_eq!((status.membership, status.cluster), (Membership::Member, cluster));
        assert_eq!(status.applicants, [(ONE, DirectoryId([101; 16]))]);
    }
    house.restart(ONE);
    assert_eq!(membership(&house, ONE), Membership::Observer);
}

/// The founder is wiped when one other voter has taken its charter: the third hears of it from that one.
#[test]
fn a_charter_outlives_its_founder() {
    let mut house = House::empty(3);
    start(&mut house, ONE);
    start(&mut house, THREE);
    let (third, boots) = stop(&mut house, THREE);
    // The third has pledged, is away when the second says its word, and misses the charter.
    start(&mut house, TWO);
    house.pass(Duration::from_secs(1));
    assert_eq!(membership(&house, TWO), Membership::Member, "the third's word was heard before it went");
    let cluster = house.cluster(TWO);
    wipe(&mut house, ONE);
    house.start(THREE, third, boots + 1);
    house.settle();
    house.pass(Duration::from_secs(5));
    assert_eq!((house.cluster(THREE), membership(&house, THREE)), (cluster, Membership::Member));
    assert_eq!((house.cluster(ONE), membership(&house, ONE)), (cluster, Membership::Observer));
}

#[test]
fn differing_lists_are_named_once_and_waited_over() {
    let mut house = House::empty(3);
    house.lists.insert(TWO, vec![ONE, TWO, NodeId(4)]);
    for node in NODES {
        start(&mut house, node);
    }
    house.pass(Duration::from_secs(10));
    assert_eq!(NODES.map(|node| membership(&house, node)), [Membership::Forming; 3]);
    for (node, other) in [(ONE, TWO), (TWO, ONE)] {
        let of_node = house.notes.iter().filter(|(whose, _)| *whose == node).map(|(_, note)| note);
        let about: Vec<_> = of_node.filter(|note| note.contains(&format!("broker {other} was"))).collect();
        assert_eq!(about.len(), 1, "{:?}", house.notes);
        assert!(about[0].contains("brokers 1, 2, 3") && about[0].contains("brokers 1, 2, 4"), "{about:?}");
        assert!(waiting_for(&house, node).contains("the same list"), "{}", waiting_for(&house, node));
    }
    // Told right, the second joins in.
    house.lists.remove(&TWO);
    house.restart(TWO);
    house.pass(Duration::from_secs(1));
    house.ready();
}

#[test]
fn a_disk_is_not_started_for_another_list() {
    let lists = [vec![], vec![ONE], vec![ONE, TWO], vec![ONE, TWO, THREE]];
    for (at, formed) in lists.iter().enumerate() {
        for (other, list) in lists.iter().enumerate() {
            let mut house = House::empty(3);
            for node in formed.iter().copied().chain([ONE]) {
                house.lists.insert(node, formed.clone());
                house.start(node, Disk::default(), 1);
            }
            house.settle();
            house.ready();
            house.lists.insert(ONE, list.clone());
            house.restart(ONE);
            // A list of itself is a single node.
            let same = at == other || (at < 2 && other < 2);
            match halted(&house, ONE) {
                None => assert!(same, "{formed:?} then {list:?}"),
                Some(Halt::Foreign(why)) => assert!(!same && why.contains("formed of"), "{why}"),
                Some(other) => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_broker_that_is_not_listed_observes() {
    let mut house = House::empty(3);
    start(&mut house, NodeId(4));
    house.pass(Duration::from_secs(1));
    assert_eq!(waiting_for(&house, NodeId(4)), "brokers 1, 2, 3 to form the cluster");
    for node in NODES {
        start(&mut house, node);
    }
    house.pass(Duration::from_secs(2));
    assert_eq!(membership(&house, NodeId(4)), Membership::Observer);
    assert_eq!(house.cluster(NodeId(4)), house.cluster(ONE));
    assert_eq!(NODES.map(|node| membership(&house, node)), [Membership::Member; 3]);
}

#[test]
fn data_without_a_charter_is_refused() {
    let mut house = House::new(1);
    house.ready();
    let (mut disk, boots) = stop(&mut house, ONE);
    for file in formation_files(&disk) {
        disk.files.remove(&file);
    }
    house.start(ONE, disk, boots + 1);
    house.settle();
    assert!(matches!(halted(&house, ONE), Some(Halt::Corrupt(why)) if why.contains("no charter")));
}

#[test]
fn a_charter_copied_to_another_directory_is_refused() {
    let mut house = House::new(1);
    house.ready();
    let (disk, boots) = stop(&mut house, ONE);
    house.directories.insert(ONE, DirectoryId([55; 16]));
    house.start(ONE, disk, boots + 1);
    house.settle();
    assert!(matches!(halted(&house, ONE), Some(Halt::Foreign(why)) if why.contains("copied")));
}

fn charter() -> Charter {
    let seat = |node: u32| Seat {
        node: NodeId(node),
        directory: DirectoryId([0x10 + node as u8; 16]),
        replica: ReplicaId(u64::from(node)),
    };
    Charter { cluster: ClusterId([7; 16]), founder: DirectoryId([0x11; 16]), members: (1..=3).map(seat).collect() }
}

/// What is on disks today stays readable.
#[test]
fn formats_stay_readable() {
    let pledge = Pledge { founder: DirectoryId([0x11; 16]) };
    let records = [
        ("pledge", include_str!("golden/formation_pledge_v1.hex"), Record::Pledge(pledge)),
        (
            "member",
            include_str!("golden/formation_member_v1.hex"),
            Record::Charter(charter(), Role::Member(ReplicaId(2))),
        ),
        ("observer", include_str!("golden/formation_observer_v1.hex"), Record::Charter(charter(), Role::Observer)),
    ];
    let directory = DirectoryId([0x12; 16]);
    for (name, golden, record) in records {
        let bytes = record.encode(directory, 0, 0);
        let hex: Vec<String> =
            bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
        let hex = hex.join("\n") + "\n";
        if hex != golden {
            let path = format!("{}/formation_{name}_v1.hex", env!("CARGO_TARGET_TMPDIR"));
            std::fs::write(&path, &hex).expect("the target folder can be written");
            panic!("the format differs; what is written now is in {path}");
        }
        assert_eq!(Record::decode(&bytes), Ok(Written { directory, record, opened: 0, number: 0 }));
    }
}

/// No byte of a record is believed unless all are; a newer version is told from damage.
#[test]
fn damaged_records_are_torn_and_newer_ones_are_not() {
    let directory = DirectoryId([0x12; 16]);
    let bytes = Record::Charter(charter(), Role::Observer).encode(directory, 0, 0);
    let length = u32::from_be_bytes(bytes[16..20].try_into().expect("four bytes")) as usize;
    for at in 0..20 + length {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 0x40;
        assert_eq!(Record::decode(&damaged), Err(NoRecord::Torn), "byte {at}");
        assert_eq!(Record::decode(&bytes[..at]), Err(NoRecord::Torn), "cut at {at}");
    }
    let mut newer = bytes.to_vec();
    newer[15] = 3;
    let crc = crc32c::crc32c(&newer[12..20 + length]);
    newer[8..12].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(Record::decode(&newer), Err(NoRecord::Version(3)));
}

/// A life that was killed leaves a record in the page cache, which a power loss would take: it counts once it is synced, and
/// what it replaced stays until then.
#[test]
fn a_record_of_an_earlier_life_is_synced_before_it_counts() {
    let (charter, directory) = (charter(), charter().founder);
    let setup = Setup {
        node: charter.members[0].node,
        directory,
        voters: charter.voters().collect(),
        host: "host".into(),
        port: 9092,
        seed: 1,
        every: Duration::from_millis(100),
        mutants: Mutants::default(),
    };
    let role = Role::Member(charter.members[0].replica);
    let record = Record::Charter(charter, role).encode(directory, 0, 0);
    let (older, newer) = (FileId::new(FileKind::Formation, 1, 1), FileId::new(FileKind::Formation, 1, 2));
    let len = record.len() as u64;
    let mut formation = Formation::open(setup, vec![(older, len), (newer, len)], false);
    let (mut ids, mut synced) = (FileIds::new(2), false);
    while formation.reports().is_empty() {
        let mut commands = Vec::new();
        formation.commands(&mut ids, &mut commands);
        assert_eq!(commands.len(), 1, "one thing after the other: {commands:?}");
        for (tag, command) in commands {
            let output = match command {
                DiskCommand::Read { .. } => DiskOutput::Read(record.clone()),
                DiskCommand::Allocate { file, len: asked } => {
                    assert_eq!((file, asked), (newer, len));
                    DiskOutput::Done
                }
                DiskCommand::Sync { files } => {
                    synced |= files.contains(&newer);
                    DiskOutput::Done
                }
                other => panic!("{other:?} before the record counts"),
            };
            formation.done(tag, Ok(output));
        }
    }
    assert!(synced, "it counts, and a power loss may take it");
    assert_eq!(formation.membership(), Membership::Member);
    let mut commands = Vec::new();
    formation.commands(&mut ids, &mut commands);
    assert_eq!(commands, [], "the older one is room for the next word");
}
