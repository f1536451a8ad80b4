//! The controller's bytes: what was written can be read, by this version and the next, and nonsense is refused calmly.

mod controller_support;

use std::collections::BTreeMap;

use bytes::Bytes;
use controller_support::*;
use proptest::prelude::*;
use tidelog_core::controller::command::{
    AdmitBroker, AllocateProducerIds, Assigned, Command, CommandError, CreateTopic, Defaults, DeleteTopic, Lost,
    Origin, RegisterBroker, RenewController, RenewReplicas, TopicRef,
};
use tidelog_core::controller::image::Image;
use tidelog_core::controller::snapshot::SnapshotError;
use tidelog_core::id::{DirectoryId, GroupId, Index, NodeId, TopicId};

fn any_origin() -> impl Strategy<Value = Origin> {
    // Few enough that commands repeat one another, and some come from nobody.
    let boot = prop_oneof![12 => Just(1), 1 => 0u64..3];
    (1u32..4, boot, 0u64..60).prop_map(|(node, boot, sequence)| Origin { node: NodeId(node), boot, sequence })
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[ab][._]?[ab]?", 1 => "\\PC{0,3}"]
}

fn any_configs() -> impl Strategy<Value = BTreeMap<String, String>> {
    let pair = prop_oneof![
        Just(("segment.bytes", "1048576")),
        Just(("min.insync.replicas", "2")),
        Just(("retention.ms", "-1")),
        Just(("retention.ms", "7")),
        Just(("nonsense", "")),
    ];
    prop_oneof![
        3 => Just(BTreeMap::new()),
        1 => prop::collection::vec(pair, 0..3)
            .prop_map(|pairs| pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()),
    ]
}

fn any_create() -> impl Strategy<Value = CreateTopic> {
    let assignment = prop_oneof![
        4 => Just(Vec::new()),
        1 => prop::collection::vec((0i32..3, prop::collection::vec(-1i32..6, 0..3)), 1..3)
            .prop_map(|all| all.into_iter().map(|(partition, brokers)| Assigned { partition, brokers }).collect()),
    ];
    let counts = prop_oneof![4 => Just((-1, -1)), 4 => (1i32..6, 1i16..3), 1 => (-2i32..6, -2i16..5)];
    (any_origin(), any_name(), counts, assignment, any_configs(), any::<(i32, i16, bool)>()).prop_map(
        |(origin, name, (partitions, replication_factor), assignment, configs, (default, factor, heirs))| CreateTopic {
            origin,
            name,
            partitions,
            replication_factor,
            assignment,
            configs,
            defaults: Defaults { partitions: default, replication_factor: factor },
            heirs,
        },
    )
}

fn any_topic() -> impl Strategy<Value = TopicRef> {
    prop_oneof![4 => any_name().prop_map(TopicRef::Name), 1 => any::<[u8; 16]>().prop_map(|id| TopicRef::Id(TopicId(id)))]
}

fn any_register() -> impl Strategy<Value = RegisterBroker> {
    let host = prop_oneof![9 => Just("h".to_owned()), 1 => Just(String::new())];
    let rack = prop::option::of(Just("r".to_owned()));
    (1u32..5, host, any::<u16>(), rack, 0u8..8, 0u64..3).prop_map(|(node, host, port, rack, directory, boot)| {
        RegisterBroker { node: NodeId(node), host, port, rack, directory: DirectoryId([directory; 16]), boot }
    })
}

fn any_lost() -> impl Strategy<Value = Lost> {
    let groups = prop::collection::btree_set((0u64..30, 0u64..3), 0..4);
    let groups = groups.prop_map(|some| some.into_iter().map(|(index, at)| GroupId((index << 20) | at)).collect());
    (groups, any::<bool>()).prop_map(|(groups, only)| if only { Lost::Only(groups) } else { Lost::AllBut(groups) })
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        1 => any_register().prop_map(Command::RegisterBroker),
        6 => any_create().prop_map(Command::CreateTopic),
        3 => (any_origin(), any_topic())
            .prop_map(|(origin, topic)| Command::DeleteTopic(DeleteTopic { origin, topic })),
        1 => any_origin().prop_map(|origin| Command::AllocateProducerIds(AllocateProducerIds { origin })),
        2 => (any_origin(), 1u32..5, 0u8..8).prop_map(|(origin, node, directory)| {
            Command::AdmitBroker(AdmitBroker { origin, node: NodeId(node), directory: DirectoryId([directory; 16]) })
        }),
        2 => (any_origin(), 0u8..8, any_lost(), 0u64..40).prop_map(|(origin, directory, lost, known)| {
            let directory = DirectoryId([directory; 16]);
            Command::RenewReplicas(RenewReplicas { origin, directory, lost, known: Index(known) })
        }),
        2 => (1u32..5, 0u8..8, 0u64..9).prop_map(|(node, directory, boot)| {
            let directory = DirectoryId([directory; 16]);
            Command::RenewController(RenewController { node: NodeId(node), directory, boot })
        }),
    ]
}

/// A log: commands, and entries that hold none.
fn any_log() -> impl Strategy<Value = Vec<Option<Command>>> {
    let starting =
        (1u32..5).prop_map(|brokers| (1..=brokers).map(|node| Some(Command::RegisterBroker(register(node)))));
    let rest = prop::collection::vec(prop_oneof![1 => Just(None), 12 => any_command().prop_map(Some)], 0..40);
    (starting, rest).prop_map(|(starting, rest)| starting.chain(rest).collect())
}

fn step(image: &mut Image, index: Index, entry: Option<Command>) -> String {
    match entry {
        Some(command) => format!("{:?}", image.apply(index, command)),
        None => {
            image.pass(index);
            String::new()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// The same log gives the same answers, image and digest, also when the image went through a snapshot on the way, and
    /// commands through their bytes.
    #[test]
    fn the_same_log_gives_the_same_image(log in any_log(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(log.len() + 1);
        let mut straight = Image::new(CLUSTER);
        let mut detour = Image::new(CLUSTER);
        for (at, entry) in log.into_iter().enumerate() {
            if at == cut {
                detour = Image::decode(detour.encode()).expect("its own snapshot");
                prop_assert_eq!(&detour, &straight);
            }
            let index = Index(at as u64 + 1);
            let again = entry.as_ref().map(|command| Command::decode(command.encode()).expect("its own bytes"));
            prop_assert_eq!(&again, &entry);
            prop_assert_eq!(step(&mut straight, index, entry), step(&mut detour, index, again));
            prop_assert_eq!(straight.digest(), detour.digest());
            straight.check();
        }
        prop_assert_eq!(&straight, &detour);
        prop_assert_eq!(Image::decode(straight.encode()), Ok(detour));
    }

    /// Whatever happens, an id of a topic or group is never seen with another meaning.
    #[test]
    fn ids_are_never_given_twice(log in any_log()) {
        let mut image = Image::new(CLUSTER);
        let mut meaning = BTreeMap::new();
        for (at, entry) in log.into_iter().enumerate() {
            step(&mut image, Index(at as u64 + 1), entry);
            for topic in image.topics().values() {
                let named = meaning.entry(topic.id.to_string()).or_insert((topic.name.clone(), topic.created_index));
                prop_assert_eq!(&*named, &(topic.name.clone(), topic.created_index));
                for (number, partition) in topic.partitions.iter().enumerate() {
                    let holder = (topic.id.to_string(), Index(number as u64));
                    let held = meaning.entry(partition.group.to_string()).or_insert(holder.clone());
                    prop_assert_eq!(&*held, &holder);
                }
            }
        }
    }

    #[test]
    fn damaged_bytes_never_panic(log in any_log(), at in any::<prop::sample::Index>(), to: u8, keep in any::<prop::sample::Index>()) {
        let mut image = Image::new(CLUSTER);
        let mut inputs = Vec::new();
        for (at, entry) in log.into_iter().enumerate() {
            inputs.extend(entry.iter().map(Command::encode));
            step(&mut image, Index(at as u64 + 1), entry);
        }
        inputs.push(image.encode());
        for input in inputs {
            let mut changed = input.to_vec();
            changed[at.index(input.len())] = to;
            for bytes in [Bytes::from(changed), input.slice(..keep.index(input.len()))] {
                let _ = Command::decode(bytes.clone());
                if let Ok(image) = Image::decode(bytes) {
                    image.check();
                }
            }
        }
    }
}

#[test]
fn the_digest_tells_logs_apart() {
    let digest = |order: [&str; 2], partitions| {
        let mut cluster = Cluster::new(2);
        for name in order {
            cluster.create(name, partitions, 1).unwrap();
        }
        cluster.image.digest()
    };
    assert_eq!(digest(["a", "b"], 1), digest(["a", "b"], 1));
    assert_ne!(digest(["a", "b"], 1), digest(["b", "a"], 1));
    assert_ne!(digest(["a", "b"], 1), digest(["a", "b"], 2));
    let mut passed = Cluster::new(1).image;
    let before = passed.digest();
    passed.pass(Index(2));
    assert_ne!(passed.digest(), before);
}

#[test]
#[should_panic(expected = "comes after")]
fn an_index_is_applied_once() {
    let mut image = Cluster::new(1).image;
    image.pass(Index(1));
}

#[test]
fn newer_versions_and_impossible_commands_are_refused() {
    let newer = Bytes::from_static(&[8, 3]);
    assert_eq!(Command::decode(newer.clone()), Err(CommandError::Version(3)));
    assert_eq!(Image::decode(newer), Err(SnapshotError::Version(3)));
    assert_eq!(Command::decode(Bytes::new()), Err(CommandError::Version(0)));
    assert_eq!(Command::decode(Bytes::from_static(&[8, 1])), Err(CommandError::Field("kind")));
    let nobody = Command::RegisterBroker(RegisterBroker { node: NodeId(0), ..register(1) });
    assert_eq!(Command::decode(nobody.encode()), Err(CommandError::Field("node id")));
}

/// One of everything that version 1 had.
fn first_example() -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.heirs = false;
    let moved = RegisterBroker { directory: DirectoryId([99; 16]), ..register(3) };
    cluster.apply(Command::RegisterBroker(moved)).unwrap();
    let mut create = cluster.topic("orders", 2, 2);
    create.configs.insert("segment.bytes".to_owned(), "1048576".to_owned());
    cluster.apply_create(create).unwrap();
    cluster.create("gone", 2, 1).unwrap();
    cluster.delete(name("gone")).unwrap();
    cluster.allocate().unwrap();
    cluster
}

/// The same, and a topic that was made again.
fn example() -> Image {
    let mut cluster = first_example();
    cluster.heirs = true;
    cluster.create("gone", 1, 1).unwrap();
    cluster.image
}

fn hex(bytes: &[u8]) -> String {
    let lines: Vec<String> =
        bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
    lines.join("\n") + "\n"
}

fn unhex(golden: &str) -> Bytes {
    let digits: String = golden.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// If one of these fails, snapshots on disks can not be read any more, or brokers of two versions disagree: raise the version and
/// keep reading the old one, rather than change the file.
#[test]
fn the_snapshot_of_version_1_is_read() {
    let golden = include_str!("golden/controller_snapshot_v1.hex");
    assert_eq!(Image::decode(unhex(golden)), Ok(first_example().image));
}

#[test]
fn the_snapshot_of_version_2_is_as_it_was() {
    let golden = include_str!("golden/controller_snapshot_v2.hex");
    assert_eq!(hex(&example().encode()), golden);
    assert_eq!(Image::decode(unhex(golden)), Ok(example()));
}

#[test]
fn a_command_has_the_first_version_that_says_it_all() {
    let mut cluster = Cluster::new(1);
    let heirs = Command::CreateTopic(cluster.topic("a", 1, 1));
    assert_eq!(heirs.encode()[..2], [8, 2]);
    let without = Command::CreateTopic(CreateTopic { heirs: false, ..cluster.topic("a", 1, 1) });
    assert_eq!(without.encode()[..2], [8, 1]);
    assert_eq!(Command::AllocateProducerIds(AllocateProducerIds { origin: origin(1) }).encode()[..2], [8, 1]);
    for (command, version) in [(heirs, 1), (without, 2)] {
        let mut other = command.encode().to_vec();
        other[1] = version;
        assert_eq!(Command::decode(other.into()), Err(CommandError::Field("version")), "there is one way to say it");
    }
}

#[test]
fn the_commands_of_version_1_are_as_they_were() {
    let create = CreateTopic {
        origin: origin(7),
        name: "orders".to_owned(),
        partitions: -1,
        replication_factor: -1,
        assignment: assigned(&[(0, &[1, 2])]),
        configs: BTreeMap::from([("segment.bytes".to_owned(), "1048576".to_owned())]),
        defaults: Defaults::default(),
        heirs: false,
    };
    let commands = [
        Command::RegisterBroker(register(2)),
        Command::CreateTopic(create),
        Command::DeleteTopic(DeleteTopic { origin: origin(8), topic: name("orders") }),
        Command::DeleteTopic(DeleteTopic { origin: origin(9), topic: TopicRef::Id(TopicId([5; 16])) }),
        Command::AllocateProducerIds(AllocateProducerIds { origin: origin(10) }),
    ];
    let written: Vec<String> = commands.iter().map(|command| hex(&command.encode())).collect();
    assert_eq!(written.join("\n"), include_str!("golden/controller_commands_v1.hex"));
}
