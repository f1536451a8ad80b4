//! The program as a process: killed for real, started again.

mod common;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{Client, Scratch};
use tidelog_core::kafka::batch::{Builder, Check, views};
use tidelog_core::kafka::messages::{
    CreatableTopic, CreateTopicsRequest, FetchPartition, FetchRequest, FetchTopic, PartitionProduceData,
    ProduceRequest, TopicProduceData,
};
use tidelog_core::kafka::{RequestBody, ResponseBody};
use tidelog_core::time::Timestamp;

struct Node {
    process: Child,
    address: SocketAddr,
}

/// A node that has greeted, which it does once it is ready.
fn run(data_dir: &Path) -> Node {
    run_with_log(data_dir, Stdio::inherit())
}

/// As [`run`], with a log of its own.
fn run_with_log(data_dir: &Path, log: impl Into<Stdio>) -> Node {
    let mut process = Command::new(env!("CARGO_BIN_EXE_tidelog"))
        .args(["node", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data_dir)
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("the program runs");
    let mut greeting = String::new();
    let mut stdout = BufReader::new(process.stdout.take().expect("piped"));
    stdout.read_line(&mut greeting).expect("text");
    let address = greeting.split(" listens on ").nth(1).and_then(|rest| rest.split(',').next());
    let address = address.expect("a greeting").parse().expect("an address");
    Node { process, address }
}

impl Node {
    fn kill(mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
    }
}

fn create() -> RequestBody {
    RequestBody::CreateTopics(CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: "tides".to_owned(),
            num_partitions: 1,
            replication_factor: 1,
            ..CreatableTopic::default()
        }],
        ..CreateTopicsRequest::default()
    })
}

fn produce(value: &str) -> RequestBody {
    let mut batch = Builder::new();
    batch.push(Timestamp(1), None, Some(value.as_bytes()), &[]);
    RequestBody::Produce(ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: "tides".to_owned(),
            partition_data: vec![PartitionProduceData { index: 0, records: Some(batch.build().into()) }],
        }],
        ..ProduceRequest::default()
    })
}

fn fetch(offset: i64) -> RequestBody {
    RequestBody::Fetch(FetchRequest {
        max_wait_ms: 1_000,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![FetchTopic {
            topic: "tides".to_owned(),
            partitions: vec![FetchPartition {
                partition: 0,
                fetch_offset: offset,
                partition_max_bytes: 1 << 20,
                ..FetchPartition::default()
            }],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    })
}

#[test]
fn what_was_acknowledged_outlives_a_kill_of_the_process() {
    let scratch = Scratch::new();
    let node = run(scratch.path());
    let mut client = Client::connect(node.address);
    let ResponseBody::CreateTopics(created) = client.ask(5, &create()) else {
        panic!("another answer");
    };
    assert_eq!(created.topics[0].error_code, 0, "{created:?}");
    let mut acknowledged = Vec::new();
    while acknowledged.len() < 50 {
        let value = format!("wave {}", acknowledged.len());
        let ResponseBody::Produce(answer) = client.ask(9, &produce(&value)) else {
            panic!("another answer");
        };
        let partition = &answer.responses[0].partition_responses[0];
        // The partition may not have its leader yet; what was refused is tried again.
        if partition.error_code == 0 {
            assert_eq!(partition.base_offset, acknowledged.len() as i64);
            acknowledged.push(value);
        }
    }
    node.kill();

    let node = run(scratch.path());
    let mut client = Client::connect(node.address);
    let mut read = Vec::new();
    while read.len() < acknowledged.len() {
        let ResponseBody::Fetch(answer) = client.ask(12, &fetch(read.len() as i64)) else {
            panic!("another answer");
        };
        let records = answer.responses[0].partitions[0].records.clone();
        let records = records.map(|records| records.to_bytes()).unwrap_or_default();
        for batch in views(records, Check::Crc) {
            for record in batch.expect("whole batches").records().expect("whole records") {
                assert_eq!(record.offset.0, read.len() as i64);
                read.push(String::from_utf8(record.value.expect("a value").to_vec()).expect("text"));
            }
        }
    }
    assert_eq!(read, acknowledged);
    node.kill();
}

#[test]
#[cfg(target_os = "linux")]
fn a_log_on_a_full_disk_ends_no_node() {
    let scratch = Scratch::new();
    let full = std::fs::File::options().write(true).open("/dev/full").expect("it is there");
    let node = run_with_log(scratch.path(), full);
    let mut client = Client::connect(node.address);
    assert!(matches!(client.ask(5, &create()), ResponseBody::CreateTopics(_)));
    assert!(matches!(client.ask(9, &produce("logged nowhere")), ResponseBody::Produce(_)));
    node.kill();
}
