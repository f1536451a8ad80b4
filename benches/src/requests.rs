//! The requests the benchmarks send, and the batches in them.
//!
//! Topics are named by their caller; every request fits the versions named here.

use bytes::Bytes;
use tidelog_core::kafka::batch::Builder;
use tidelog_core::kafka::messages::{
    CreatableTopic, CreateTopicsRequest, FetchPartition, FetchRequest, FetchTopic, MetadataRequest,
    MetadataRequestTopic, PartitionProduceData, ProduceRequest, TopicProduceData,
};
use tidelog_core::kafka::{RequestBody, RequestHeader, encode_request};
use tidelog_core::time::Timestamp;

/// The version every request of this kind is sent in.
pub const fn version(body: &RequestBody) -> i16 {
    match body {
        RequestBody::Produce(_) => 9,
        RequestBody::Fetch(_) => 12,
        RequestBody::ListOffsets(_) => 7,
        RequestBody::Metadata(_) => 9,
        RequestBody::ApiVersions(_) | RequestBody::ApiVersionsUnsupported => 3,
        RequestBody::CreateTopics(_) => 5,
        RequestBody::DeleteTopics(_) => 4,
        RequestBody::InitProducerId(_) => 2,
        RequestBody::OffsetForLeaderEpoch(_) => 4,
        RequestBody::DescribeConfigs(_) => 4,
        RequestBody::DescribeCluster(_) | RequestBody::DescribeQuorum(_) | RequestBody::AddRaftVoter(_) => 0,
    }
}

/// What the request begins with.
pub fn header(body: &RequestBody, correlation_id: i32) -> RequestHeader {
    RequestHeader {
        api_key: body.api_key(),
        api_version: version(body),
        correlation_id,
        client_id: Some("bench".to_owned()),
    }
}

/// The request as it travels, length included.
pub fn frame(body: &RequestBody, correlation_id: i32) -> Vec<u8> {
    encode_request(&header(body, correlation_id), body).concat()
}

/// Record number `number` of batches marked `mark`: `len` bytes (at least 16), which name both.
pub fn value(mark: u64, number: u64, len: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(len);
    value.extend_from_slice(&mark.to_be_bytes());
    value.extend_from_slice(&number.to_be_bytes());
    let mut noise = mark.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number;
    while value.len() < len {
        // xorshift: nothing on the way may find the bytes easy to compress.
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        value.extend_from_slice(&noise.to_be_bytes());
    }
    value.truncate(len);
    value
}

/// An uncompressed batch of `count` records of `len` bytes, each as [`value`] makes it.
pub fn batch(mark: u64, count: u64, len: usize) -> Bytes {
    let mut batch = Builder::new();
    for number in 0..count {
        batch.push(Timestamp(1_700_000_000_000), None, Some(&value(mark, number, len)), &[]);
    }
    batch.build()
}

/// How many records of `len` bytes a batch of at most `bytes` takes; at least one.
pub fn records_within(bytes: usize, len: usize) -> u64 {
    let with = |count| batch(0, count, len).len();
    let each = with(2) - with(1);
    let mut count = ((bytes - with(1)) / each) as u64 + 1;
    while count > 1 && with(count) > bytes {
        count -= 1;
    }
    count
}

/// Asks to create a topic.
pub fn create(topic: &str, partitions: i32, replication_factor: i16) -> RequestBody {
    RequestBody::CreateTopics(CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: topic.to_owned(),
            num_partitions: partitions,
            replication_factor,
            ..CreatableTopic::default()
        }],
        timeout_ms: 10_000,
        ..CreateTopicsRequest::default()
    })
}

/// Asks who leads the partitions of a topic.
pub fn metadata(topic: &str) -> RequestBody {
    RequestBody::Metadata(MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: Some(topic.to_owned()), ..MetadataRequestTopic::default() }]),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    })
}

/// Asks to append one batch to each partition, in order from 0 on, acknowledged by all in-sync replicas.
pub fn produce_each(topic: &str, batches: impl IntoIterator<Item = Bytes>) -> RequestBody {
    let partition_data =
        (0..).zip(batches).map(|(index, batch)| PartitionProduceData { index, records: Some(batch.into()) });
    produce_data(topic, partition_data.collect())
}

/// Asks to append a batch to a partition, acknowledged by all in-sync replicas.
pub fn produce(topic: &str, partition: i32, batch: Bytes) -> RequestBody {
    let data = PartitionProduceData { index: partition, records: Some(batch.into()) };
    produce_data(topic, vec![data])
}

fn produce_data(topic: &str, partition_data: Vec<PartitionProduceData>) -> RequestBody {
    RequestBody::Produce(ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData { name: topic.to_owned(), partition_data }],
        ..ProduceRequest::default()
    })
}

/// Asks for the batch with the record at `offset`.
pub fn fetch(topic: &str, partition: i32, offset: i64) -> RequestBody {
    RequestBody::Fetch(FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 1,
        topics: vec![FetchTopic {
            topic: topic.to_owned(),
            partitions: vec![FetchPartition {
                partition,
                fetch_offset: offset,
                partition_max_bytes: 1,
                ..FetchPartition::default()
            }],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    })
}
