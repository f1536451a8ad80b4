//! A scripted cluster for the client to talk to: small, honest, and as strict about sequences as a broker must be.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use tidelog_core::id::{Offset, TopicId};
use tidelog_core::kafka::batch::{Batch, Stored};
use tidelog_core::kafka::messages::*;
use tidelog_core::kafka::{ErrorCode, RequestBody, ResponseBody, api_versions_response};

/// What the cluster does about one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Deed {
    /// What a broker does.
    Answer,
    /// Carries it out, then closes the connection instead of answering.
    CarryOutAndClose,
    /// Closes the connection without carrying it out.
    Close,
    /// Never answers, and does nothing.
    Ignore,
    /// Answers this to every partition of a produce or fetch, or to the order, and does nothing.
    Refuse(ErrorCode),
    /// Answers with these bytes.
    Garbage(Bytes),
}

/// An epoch, and the sequences and offsets of its last five batches.
type Remembered = (i16, VecDeque<(i32, i32, i64)>);

#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) leader: i32,
    pub(crate) epoch: i32,
    pub(crate) log: Vec<Stored>,
    pub(crate) next_offset: i64,
    /// Whether producers that it does not know go on here wherever they are in their sequences.
    pub(crate) heirs: bool,
    /// By producer id.
    producers: BTreeMap<i64, Remembered>,
}

impl Partition {
    fn append(&mut self, batch: &Batch) -> (ErrorCode, i64) {
        if let Some(id) = batch.producer_id() {
            let (epoch, remembered) = self.producers.entry(id.0).or_default();
            if batch.producer_epoch() < *epoch {
                return (ErrorCode::InvalidProducerEpoch, -1);
            }
            if batch.producer_epoch() > *epoch {
                *epoch = batch.producer_epoch();
                remembered.clear();
            }
            let (first, last) = (batch.base_sequence(), batch.last_sequence());
            if let Some((.., offset)) = remembered.iter().find(|(a, b, _)| (*a, *b) == (first, last)) {
                return (ErrorCode::None, *offset);
            }
            let beginning = if self.heirs { first } else { 0 };
            let expected = remembered.back().map_or(beginning, |(_, last, _)| last.wrapping_add(1) & i32::MAX);
            if first != expected {
                return (ErrorCode::OutOfOrderSequenceNumber, -1);
            }
            remembered.push_back((first, last, self.next_offset));
            if remembered.len() > 5 {
                remembered.pop_front();
            }
        }
        let base = self.next_offset;
        self.log.push(batch.assign(Offset(base), self.epoch));
        self.next_offset += i64::from(batch.record_count());
        (ErrorCode::None, base)
    }

    /// Forgets what it knows of producers.
    pub(crate) fn forget_producers(&mut self) {
        self.producers.clear();
    }

    /// The epochs of the producers known.
    pub(crate) fn epochs(&self) -> Vec<i16> {
        self.producers.values().map(|(epoch, _)| *epoch).collect()
    }

    /// The values of all records, in order.
    pub(crate) fn values(&self) -> Vec<String> {
        let bytes: Vec<u8> = self.log.iter().flat_map(|stored| [&stored.head[..], &stored.body[..]].concat()).collect();
        tidelog_core::kafka::batch::views(bytes.into(), tidelog_core::kafka::batch::Check::Crc)
            .flat_map(|view| view.unwrap().records().unwrap())
            .map(|record| String::from_utf8(record.value.unwrap().to_vec()).unwrap())
            .collect()
    }
}

#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) id: TopicId,
    pub(crate) partitions: Vec<Partition>,
}

#[derive(Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) brokers: BTreeSet<i32>,
    pub(crate) topics: BTreeMap<String, Topic>,
    pub(crate) next_producer: i64,
    pub(crate) minted_topics: u8,
    /// The batches of every produce request that arrived, by (partition, base sequence), in order.
    pub(crate) produced: Vec<(i32, i32)>,
}

impl Cluster {
    pub(crate) fn new(brokers: i32) -> Self {
        Self { brokers: (1..=brokers).collect(), ..Self::default() }
    }

    pub(crate) fn topic(&mut self, name: &str, partitions: i32) {
        self.minted_topics += 1;
        let brokers: Vec<i32> = self.brokers.iter().copied().collect();
        let partition = |index: i32| Partition {
            leader: brokers[index as usize % brokers.len()],
            epoch: 1,
            log: Vec::new(),
            next_offset: 0,
            heirs: false,
            producers: BTreeMap::new(),
        };
        let topic =
            Topic { id: TopicId([self.minted_topics; 16]), partitions: (0..partitions).map(partition).collect() };
        self.topics.insert(name.to_owned(), topic);
    }

    pub(crate) fn partition(&mut self, topic: &str, partition: i32) -> &mut Partition {
        &mut self.topics.get_mut(topic).unwrap().partitions[partition as usize]
    }

    /// Carries a request out as the broker `node`. `None`: no answer.
    pub(crate) fn carry_out(
        &mut self,
        node: i32,
        version: i16,
        body: &RequestBody,
        batches: &[Result<Batch, ErrorCode>],
        refuse: Option<ErrorCode>,
    ) -> Option<ResponseBody> {
        Some(match body {
            RequestBody::ApiVersions(_) => api_versions_response(version, ErrorCode::None).into(),
            RequestBody::ApiVersionsUnsupported => api_versions_response(0, ErrorCode::UnsupportedVersion).into(),
            RequestBody::Metadata(request) => self.metadata(request).into(),
            RequestBody::InitProducerId(_) => {
                self.next_producer += 1;
                let error_code = refuse.unwrap_or(ErrorCode::None).code();
                InitProducerIdResponse { error_code, producer_id: self.next_producer, ..Default::default() }.into()
            }
            RequestBody::Produce(request) => {
                let answer = self.produce(node, request, batches, refuse);
                if request.acks == 0 {
                    return None;
                }
                answer.into()
            }
            RequestBody::Fetch(request) => self.fetch(node, request, refuse).into(),
            RequestBody::ListOffsets(request) => self.list_offsets(node, request).into(),
            RequestBody::CreateTopics(request) => {
                let topics = request.topics.iter().map(|topic| {
                    let exists = self.topics.contains_key(&topic.name);
                    let error = refuse.unwrap_or(if exists { ErrorCode::TopicAlreadyExists } else { ErrorCode::None });
                    if error == ErrorCode::None {
                        self.topic(&topic.name, topic.num_partitions);
                    }
                    let topic_id = self.topics.get(&topic.name).map_or(TopicId::ZERO, |topic| topic.id);
                    let (name, error_code) = (topic.name.clone(), error.code());
                    CreatableTopicResult { name, error_code, topic_id, ..Default::default() }
                });
                CreateTopicsResponse { throttle_time_ms: 0, topics: topics.collect() }.into()
            }
            RequestBody::DeleteTopics(request) => {
                let names = request.topics.iter().filter_map(|topic| topic.name.clone());
                let responses = names.map(|name| {
                    let gone = self.topics.remove(&name).is_none();
                    let error = if gone { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::None };
                    DeletableTopicResult { name: Some(name), error_code: error.code(), ..Default::default() }
                });
                DeleteTopicsResponse { throttle_time_ms: 0, responses: responses.collect() }.into()
            }
            RequestBody::DescribeConfigs(request) => {
                let results = request.resources.iter().map(|resource| DescribeConfigsResult {
                    resource_type: resource.resource_type,
                    resource_name: resource.resource_name.clone(),
                    configs: vec![DescribeConfigsResourceResult {
                        name: "retention.ms".to_owned(),
                        value: Some("1000".to_owned()),
                        config_source: 1,
                        ..Default::default()
                    }],
                    ..Default::default()
                });
                DescribeConfigsResponse { throttle_time_ms: 0, results: results.collect() }.into()
            }
            RequestBody::OffsetForLeaderEpoch(_)
            | RequestBody::DescribeCluster(_)
            | RequestBody::DescribeQuorum(_)
            | RequestBody::AddRaftVoter(_) => {
                panic!("the client asks no such thing")
            }
        })
    }

    fn metadata(&self, request: &MetadataRequest) -> MetadataResponse {
        let brokers = self.brokers.iter().map(|id| MetadataResponseBroker {
            node_id: *id,
            host: format!("broker-{id}"),
            port: 9092,
            rack: None,
        });
        let asked: Vec<String> = match &request.topics {
            None => self.topics.keys().cloned().collect(),
            Some(topics) => topics.iter().filter_map(|topic| topic.name.clone()).collect(),
        };
        let topics = asked.into_iter().map(|name| match self.topics.get(&name) {
            None => MetadataResponseTopic {
                error_code: ErrorCode::UnknownTopicOrPartition.code(),
                name: Some(name),
                ..Default::default()
            },
            Some(topic) => MetadataResponseTopic {
                name: Some(name),
                topic_id: topic.id,
                partitions: (topic.partitions.iter().zip(0..))
                    .map(|(partition, index)| MetadataResponsePartition {
                        partition_index: index,
                        leader_id: partition.leader,
                        leader_epoch: partition.epoch,
                        replica_nodes: self.brokers.iter().copied().collect(),
                        isr_nodes: self.brokers.iter().copied().collect(),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            },
        });
        MetadataResponse {
            brokers: brokers.collect(),
            cluster_id: Some("fake".to_owned()),
            controller_id: self.brokers.first().copied().unwrap_or(-1),
            topics: topics.collect(),
            ..Default::default()
        }
    }

    fn produce(
        &mut self,
        node: i32,
        request: &ProduceRequest,
        batches: &[Result<Batch, ErrorCode>],
        refuse: Option<ErrorCode>,
    ) -> ProduceResponse {
        let mut batches = batches.iter();
        let responses = request.topic_data.iter().map(|data| {
            let partition_responses = data.partition_data.iter().map(|part| {
                let batch = batches.next().expect("one for each partition").as_ref().expect("a valid batch");
                self.produced.push((part.index, batch.base_sequence()));
                let topic = self.topics.get_mut(&data.name);
                let (error, base_offset) = match topic.and_then(|topic| topic.partitions.get_mut(part.index as usize)) {
                    _ if refuse.is_some() => (refuse.unwrap(), -1),
                    None => (ErrorCode::UnknownTopicOrPartition, -1),
                    Some(partition) if partition.leader != node => (ErrorCode::NotLeaderOrFollower, -1),
                    Some(partition) => partition.append(batch),
                };
                PartitionProduceResponse {
                    index: part.index,
                    error_code: error.code(),
                    base_offset,
                    ..Default::default()
                }
            });
            TopicProduceResponse { name: data.name.clone(), partition_responses: partition_responses.collect() }
        });
        ProduceResponse { responses: responses.collect(), ..Default::default() }
    }

    fn fetch(&self, node: i32, request: &FetchRequest, refuse: Option<ErrorCode>) -> FetchResponse {
        let responses = request.topics.iter().map(|asked| {
            let topic = self.topics.values().find(|topic| topic.id == asked.topic_id);
            let partitions = asked.partitions.iter().map(|part| {
                let partition = topic.and_then(|topic| topic.partitions.get(part.partition as usize));
                let (error, records, end) = match partition {
                    _ if refuse.is_some() => (refuse.unwrap(), Vec::new(), -1),
                    None => (ErrorCode::UnknownTopicId, Vec::new(), -1),
                    Some(it) if it.leader != node => (ErrorCode::NotLeaderOrFollower, Vec::new(), -1),
                    Some(it) if part.current_leader_epoch > it.epoch => (ErrorCode::UnknownLeaderEpoch, Vec::new(), -1),
                    Some(it) if part.fetch_offset > it.next_offset || part.fetch_offset < 0 => {
                        (ErrorCode::OffsetOutOfRange, Vec::new(), it.next_offset)
                    }
                    Some(it) => {
                        let log = it.log.iter().filter(|stored| stored.last_offset.0 >= part.fetch_offset);
                        (ErrorCode::None, log.take(2).cloned().collect(), it.next_offset)
                    }
                };
                let bytes: Vec<u8> = records.iter().flat_map(|it| [&it.head[..], &it.body[..]].concat()).collect();
                PartitionData {
                    partition_index: part.partition,
                    error_code: error.code(),
                    high_watermark: end,
                    records: Some(Bytes::from(bytes).into()),
                    ..Default::default()
                }
            });
            FetchableTopicResponse { topic: String::new(), topic_id: asked.topic_id, partitions: partitions.collect() }
        });
        FetchResponse { responses: responses.collect(), ..Default::default() }
    }

    fn list_offsets(&self, node: i32, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let topics = request.topics.iter().map(|asked| {
            let partitions = asked.partitions.iter().map(|part| {
                let topic = self.topics.get(&asked.name);
                let partition = topic.and_then(|topic| topic.partitions.get(part.partition_index as usize));
                let (error, offset) = match partition {
                    None => (ErrorCode::UnknownTopicOrPartition, -1),
                    Some(partition) if partition.leader != node => (ErrorCode::NotLeaderOrFollower, -1),
                    Some(partition) => match part.timestamp {
                        -1 => (ErrorCode::None, partition.next_offset),
                        -2 => (ErrorCode::None, 0),
                        at => {
                            let mut later = partition.log.iter().filter(|stored| stored.max_timestamp.0 >= at);
                            (ErrorCode::None, later.next().map_or(-1, |stored| stored.base_offset.0))
                        }
                    },
                };
                ListOffsetsPartitionResponse {
                    partition_index: part.partition_index,
                    error_code: error.code(),
                    offset,
                    ..Default::default()
                }
            });
            ListOffsetsTopicResponse { name: asked.name.clone(), partitions: partitions.collect() }
        });
        ListOffsetsResponse { throttle_time_ms: 0, topics: topics.collect() }
    }
}
