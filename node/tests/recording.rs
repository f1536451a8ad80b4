//! What a real node was told, told again to a bare broker: every effect is the same, byte for byte.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Client, Scratch, api_versions, options};
use tidelog::cluster::Cluster;
use tidelog::options::Options;
use tidelog::record::{ReplayError, Replayed, replay};
use tidelog::server::{Ended, Server, start};
use tidelog_core::effect::Halt;
use tidelog_core::id::NodeId;
use tidelog_core::kafka::batch::Builder;
use tidelog_core::kafka::messages::{
    CreatableTopic, CreateTopicsRequest, FetchPartition, FetchRequest, FetchTopic, ListOffsetsPartition,
    ListOffsetsRequest, ListOffsetsTopic, MetadataRequest, PartitionProduceData, ProduceRequest, TopicProduceData,
};
use tidelog_core::kafka::{RequestBody, ResponseBody};
use tidelog_core::time::Timestamp;

/// How long anything may take before the test says that it does not happen.
const PATIENCE: Duration = Duration::from_secs(60);

fn recorded(directory: &Path, file: &Path) -> Options {
    Options { record: Some(file.to_owned()), ..options(directory) }
}

fn again(file: &Path) -> Replayed {
    replay(fs::File::open(file).expect("a recording")).unwrap_or_else(|error| panic!("{error}"))
}

fn create(client: &mut Client, replicas: i16) {
    let topic = CreatableTopic {
        name: "tides".to_owned(),
        num_partitions: 2,
        replication_factor: replicas,
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1_000, ..CreateTopicsRequest::default() };
    let request = RequestBody::CreateTopics(request);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ResponseBody::CreateTopics(answer) = client.ask(5, &request) else { panic!("another answer") };
        if matches!(answer.topics[0].error_code, 0 | 36) {
            return;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
    }
}

/// Has a record acknowledged by one of the nodes.
fn produce(clients: &mut [Client], partition: i32, value: &str) {
    let mut batch = Builder::new();
    batch.push(Timestamp(1_000), Some(b"key"), Some(value.as_bytes()), &[]);
    let data = PartitionProduceData { index: partition, records: Some(batch.build().into()) };
    let request = RequestBody::Produce(ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData { name: "tides".to_owned(), partition_data: vec![data] }],
        ..ProduceRequest::default()
    });
    let deadline = Instant::now() + PATIENCE;
    loop {
        for client in &mut *clients {
            let ResponseBody::Produce(answer) = client.ask(9, &request) else { panic!("another answer") };
            if answer.responses[0].partition_responses[0].error_code == 0 {
                return;
            }
        }
        assert!(Instant::now() < deadline, "nobody leads");
    }
}

/// Fetches, from memory and from segments, and looks up a time, which takes a computation.
fn look(client: &mut Client) {
    let wanted = FetchPartition { partition: 0, partition_max_bytes: 1 << 20, ..FetchPartition::default() };
    let topic = FetchTopic { topic: "tides".to_owned(), partitions: vec![wanted], ..FetchTopic::default() };
    let fetch = FetchRequest { max_wait_ms: 10, max_bytes: 1 << 20, topics: vec![topic], ..FetchRequest::default() };
    client.ask(12, &RequestBody::Fetch(fetch));
    let wanted = ListOffsetsPartition { timestamp: 1, ..ListOffsetsPartition::default() };
    let topic = ListOffsetsTopic { name: "tides".to_owned(), partitions: vec![wanted] };
    let offsets = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..ListOffsetsRequest::default() };
    client.ask(4, &RequestBody::ListOffsets(offsets));
    client.ask(9, &RequestBody::Metadata(MetadataRequest::default()));
    client.ask(3, &api_versions());
}

fn run(options: &Options) -> Server {
    let server = start(options).expect("a node starts");
    assert!(server.wait_ready(), "it ended before it was ready");
    server
}

fn stop(server: Server) {
    server.stop();
    assert_eq!(server.wait(), Ended::Halted(Halt::Stopped));
}

#[test]
fn a_bare_broker_does_what_the_node_did() {
    let scratch = Scratch::new();
    let (data, first, second) = (scratch.join("data"), scratch.join("first"), scratch.join("second"));
    let server = run(&recorded(&data, &first));
    let mut client = Client::connect(server.address());
    create(&mut client, 1);
    for round in 0..50 {
        produce(std::slice::from_mut(&mut client), round % 2, &format!("wave {round}"));
    }
    look(&mut client);
    drop(client);
    server.kill();
    let replayed = again(&first);
    assert!(replayed.steps > 100, "{}", replayed.steps);

    // A life that begins with what the first one left.
    let server = run(&recorded(&data, &second));
    let mut client = Client::connect(server.address());
    produce(std::slice::from_mut(&mut client), 0, "the last");
    look(&mut client);
    let status = server.status().expect("it runs");
    drop(client);
    stop(server);
    let replayed = again(&second);
    assert!(!replayed.cut);
    let digests = |status: &tidelog_core::broker::Status| -> Vec<_> {
        status.groups.iter().map(|group| (group.group, group.applied, group.next_offset, group.digest)).collect()
    };
    assert_eq!(digests(&replayed.status), digests(&status));
    assert_eq!(status.groups.iter().map(|group| group.next_offset.0).sum::<i64>(), 51);
}

#[test]
fn bare_brokers_do_what_a_cluster_did() {
    let scratch = Scratch::new();
    let free: Vec<_> = (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    let list: Vec<String> =
        free.iter().zip(1..).map(|(socket, node)| format!("{node}@{}", socket.local_addr().expect("a port"))).collect();
    drop(free);
    let cluster = Cluster::parse(&list.join(",")).expect("a good list");
    let nodes: Vec<_> = (1..=3)
        .map(|node| {
            let file = scratch.join(&format!("recording{node}"));
            let options = Options {
                node: NodeId(node),
                cluster: Some(cluster.clone()),
                ..recorded(&scratch.join(&format!("node{node}")), &file)
            };
            (start(&options).expect("a node starts"), file)
        })
        .collect();
    assert!(nodes.iter().all(|(server, _)| server.wait_ready()));
    let mut clients: Vec<Client> = nodes.iter().map(|(server, _)| Client::connect(server.address())).collect();
    create(&mut clients[0], 3);
    for round in 0..20 {
        produce(&mut clients, round % 2, &format!("wave {round}"));
    }
    clients.iter_mut().for_each(look);
    drop(clients);
    for (server, file) in nodes {
        stop(server);
        let replayed = again(&file);
        assert!(!replayed.cut && replayed.steps > 50, "{replayed:?}");
    }
}

#[test]
fn a_recording_that_is_changed_or_cut_is_told() {
    let scratch = Scratch::new();
    let file = scratch.join("recording");
    let server = run(&recorded(&scratch.join("data"), &file));
    let mut client = Client::connect(server.address());
    client.ask(3, &api_versions());
    drop(client);
    stop(server);
    let whole = fs::read(&file).expect("a recording");
    let replayed = |file: &Path| {
        let run = Command::new(env!("CARGO_BIN_EXE_tidelog")).arg("replay").arg(file).output();
        run.expect("the program runs")
    };
    let said = replayed(&file);
    assert!(said.status.success() && said.stdout.ends_with(b"steps, every effect the same\n"), "{said:?}");
    let said = replayed(&scratch.join("data").join("meta.json"));
    assert!(said.status.code() == Some(1) && said.stderr.ends_with(b"of this version wrote\n"), "{said:?}");
    let steps = again(&file).steps;

    for cut in [0, 1, 16] {
        assert!(matches!(replay(&whole[..cut]), Err(ReplayError::Format)), "cut at {cut}");
    }
    let cut = replay(&whole[..whole.len() - 1]).expect("all but the last outcome");
    assert_eq!((cut.steps, cut.cut), (steps - 1, true));
    let mut other = whole.clone();
    *other.last_mut().expect("bytes") ^= 1;
    match replay(&other[..]) {
        Err(ReplayError::Differs { step, .. }) => assert_eq!(step, steps),
        other => panic!("{other:?}"),
    }
    let mut other = whole;
    other[15] ^= 1;
    assert!(matches!(replay(&other[..]), Err(ReplayError::Format)));
}

#[test]
fn a_recording_is_not_written_over() {
    let scratch = Scratch::new();
    let file = scratch.join("recording");
    fs::write(&file, "another life").expect("our directory");
    let error = start(&recorded(&scratch.join("data"), &file)).expect_err("it is there");
    assert!(error.to_string().contains("name a new file"), "{error}");
    assert_eq!(fs::read(&file).expect("it is there"), b"another life");
}
