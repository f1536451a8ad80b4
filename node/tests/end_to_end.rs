//! The whole node with the real broker, over TCP: what was acknowledged is there, before and after a restart or a kill.

mod common;

use std::collections::BTreeMap;

use bytes::Bytes;
use common::{Client, Scratch, api_versions, options};
use tidelog::options::Options;
use tidelog::server::{Ended, Server, start};
use tidelog_core::effect::Halt;
use tidelog_core::kafka::batch::{Builder, Check, views};
use tidelog_core::kafka::messages::{
    CreatableTopic, CreateTopicsRequest, FetchPartition, FetchRequest, FetchTopic, MetadataRequest,
    MetadataRequestTopic, PartitionProduceData, ProduceRequest, TopicProduceData,
};
use tidelog_core::kafka::{ErrorCode, RequestBody, RequestHeader, ResponseBody};
use tidelog_core::time::Timestamp;

const PRODUCE: i16 = 9;
const FETCH: i16 = 12;
const CREATE_TOPICS: i16 = 5;
const METADATA: i16 = 9;

fn error_code(code: i16) -> ErrorCode {
    ErrorCode::from_code(code).expect("one of Kafka's")
}

fn client(server: &Server) -> Client {
    Client::connect(server.address())
}

fn run(scratch: &Scratch) -> Server {
    run_with(&options(scratch.path()))
}

fn run_with(options: &Options) -> Server {
    let server = start(options).expect("a node starts");
    assert!(server.wait_ready(), "it ended before it was ready");
    server
}

fn stop(server: Server) {
    server.stop();
    assert_eq!(server.wait(), Ended::Halted(Halt::Stopped));
}

/// Creates a topic, asking until the controller is there.
fn create(client: &mut Client, name: &str, partitions: i32) {
    let request = RequestBody::CreateTopics(CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: name.to_owned(),
            num_partitions: partitions,
            replication_factor: 1,
            ..CreatableTopic::default()
        }],
        ..CreateTopicsRequest::default()
    });
    loop {
        let ResponseBody::CreateTopics(answer) = client.ask(CREATE_TOPICS, &request) else {
            panic!("another answer");
        };
        match error_code(answer.topics[0].error_code) {
            ErrorCode::None => return,
            error @ (ErrorCode::NotController | ErrorCode::CoordinatorNotAvailable | ErrorCode::RequestTimedOut) => {
                eprintln!("again after {error:?}");
            }
            error => panic!("{error:?}: {:?}", answer.topics[0].error_message),
        }
    }
}

/// Asks until every partition has a leader.
fn await_leaders(client: &mut Client, name: &str, partitions: usize) {
    let request = RequestBody::Metadata(MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: Some(name.to_owned()), ..MetadataRequestTopic::default() }]),
        ..MetadataRequest::default()
    });
    loop {
        let ResponseBody::Metadata(answer) = client.ask(METADATA, &request) else {
            panic!("another answer");
        };
        let led = answer.topics[0].partitions.iter().filter(|partition| partition.leader_id == 1);
        if led.count() == partitions {
            return;
        }
    }
}

fn produce(name: &str, partition: i32, acks: i16, values: &[String]) -> RequestBody {
    let mut batch = Builder::new();
    for value in values {
        batch.push(Timestamp(1_700_000_000_000), Some(b"key"), Some(value.as_bytes()), &[]);
    }
    RequestBody::Produce(ProduceRequest {
        acks,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: name.to_owned(),
            partition_data: vec![PartitionProduceData { index: partition, records: Some(batch.build().into()) }],
        }],
        ..ProduceRequest::default()
    })
}

/// The base offset given to what was produced.
fn acknowledged(client: &mut Client, header: &RequestHeader) -> i64 {
    let ResponseBody::Produce(answer) = client.receive(header) else {
        panic!("another answer");
    };
    let partition = &answer.responses[0].partition_responses[0];
    assert_eq!(error_code(partition.error_code), ErrorCode::None, "{partition:?}");
    partition.base_offset
}

/// Every value of a partition, by offset, once there are so many.
fn consume(client: &mut Client, name: &str, partition: i32, count: usize) -> BTreeMap<i64, Bytes> {
    let mut values = BTreeMap::new();
    while values.len() < count {
        let next = values.last_key_value().map_or(0, |(offset, _)| offset + 1);
        let request = RequestBody::Fetch(FetchRequest {
            max_wait_ms: 1_000,
            min_bytes: 1,
            max_bytes: 1 << 20,
            topics: vec![FetchTopic {
                topic: name.to_owned(),
                partitions: vec![FetchPartition {
                    partition,
                    fetch_offset: next,
                    partition_max_bytes: 1 << 20,
                    ..FetchPartition::default()
                }],
                ..FetchTopic::default()
            }],
            ..FetchRequest::default()
        });
        let ResponseBody::Fetch(answer) = client.ask(FETCH, &request) else {
            panic!("another answer");
        };
        let data = &answer.responses[0].partitions[0];
        assert_eq!(error_code(data.error_code), ErrorCode::None);
        let records = data.records.as_ref().map(|records| records.to_bytes()).unwrap_or_default();
        for batch in views(records, Check::Crc) {
            for record in batch.expect("whole batches").records().expect("whole records") {
                if record.offset.0 >= next {
                    values.insert(record.offset.0, record.value.expect("a value"));
                }
            }
        }
    }
    values
}

fn value(partition: i32, offset: usize) -> String {
    format!("{partition}:{offset}:{}", "x".repeat(offset % 700))
}

fn expected(partition: i32, count: usize) -> BTreeMap<i64, Bytes> {
    let values = (0..count).map(|offset| (offset as i64, Bytes::from(value(partition, offset))));
    values.collect()
}

#[test]
fn what_is_produced_is_fetched_and_outlives_a_restart() {
    let scratch = Scratch::new();
    let server = run(&scratch);
    let mut producer = client(&server);
    producer.ask(3, &api_versions());
    create(&mut producer, "tides", 2);
    await_leaders(&mut producer, "tides", 2);
    for partition in 0..2 {
        for round in 0..10 {
            let values: Vec<_> = (round * 5..round * 5 + 5).map(|offset| value(partition, offset)).collect();
            let header = producer.send(PRODUCE, &produce("tides", partition, -1, &values));
            assert_eq!(acknowledged(&mut producer, &header), round as i64 * 5);
        }
    }
    for partition in 0..2 {
        assert_eq!(consume(&mut producer, "tides", partition, 50), expected(partition, 50));
    }
    stop(server);

    let server = run(&scratch);
    let mut consumer = client(&server);
    await_leaders(&mut consumer, "tides", 2);
    for partition in 0..2 {
        assert_eq!(consume(&mut consumer, "tides", partition, 50), expected(partition, 50));
        let header = consumer.send(PRODUCE, &produce("tides", partition, 1, &[value(partition, 50)]));
        assert_eq!(acknowledged(&mut consumer, &header), 50);
        assert_eq!(consume(&mut consumer, "tides", partition, 51), expected(partition, 51));
    }
    stop(server);
}

#[test]
fn what_was_acknowledged_outlives_kills() {
    let scratch = Scratch::new();
    let mut count = 0;
    for life in 0..4 {
        let server = run(&scratch);
        let mut client = client(&server);
        if life == 0 {
            create(&mut client, "tides", 1);
        }
        await_leaders(&mut client, "tides", 1);
        assert_eq!(consume(&mut client, "tides", 0, count), expected(0, count), "life {life}");
        // Many under way at once, and the kill right behind the last answer.
        let headers: Vec<_> = (count..count + 100)
            .map(|offset| client.send(PRODUCE, &produce("tides", 0, -1, &[value(0, offset)])))
            .collect();
        for header in &headers {
            assert_eq!(acknowledged(&mut client, header), count as i64);
            count += 1;
        }
        server.kill();
        client.expect_end();
    }
}

#[test]
fn large_batches_make_the_round() {
    let scratch = Scratch::new();
    let server = run(&scratch);
    let mut client = client(&server);
    create(&mut client, "tides", 1);
    await_leaders(&mut client, "tides", 1);
    let large: Vec<String> = (0..4).map(|digit| digit.to_string().repeat(900_000)).collect();
    let headers: Vec<_> =
        large.iter().map(|value| client.send(PRODUCE, &produce("tides", 0, -1, std::slice::from_ref(value)))).collect();
    for header in &headers {
        acknowledged(&mut client, header);
    }
    let values = consume(&mut client, "tides", 0, large.len());
    assert!(values.values().eq(large.iter().map(String::as_bytes)));
    stop(server);
}

#[test]
fn a_topic_that_is_asked_for_is_made_unless_that_is_off() {
    for auto_create in [true, false] {
        let scratch = Scratch::new();
        let options = Options { auto_create, ..options(scratch.path()) };
        let server = run_with(&options);
        let mut client = client(&server);
        create(&mut client, "other", 1);
        if auto_create {
            await_leaders(&mut client, "asked-for", 1);
        } else {
            let request = RequestBody::Metadata(MetadataRequest {
                topics: Some(vec![MetadataRequestTopic {
                    name: Some("asked-for".to_owned()),
                    ..MetadataRequestTopic::default()
                }]),
                ..MetadataRequest::default()
            });
            let ResponseBody::Metadata(answer) = client.ask(METADATA, &request) else {
                panic!("another answer");
            };
            let error = error_code(answer.topics[0].error_code);
            assert_eq!(error, ErrorCode::UnknownTopicOrPartition);
        }
        stop(server);
    }
}

#[test]
fn a_node_becomes_ready() {
    let scratch = Scratch::new();
    let server = run(&scratch);
    let mut client = client(&server);
    create(&mut client, "tides", 1);
    await_leaders(&mut client, "tides", 1);
    let status = server.status().expect("it runs");
    assert!(status.ready, "waiting for {}", status.waiting_for);
    stop(server);
}
