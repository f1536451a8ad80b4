//! Three real nodes over loopback: they form, lose any one of them, go on, and take it back.

mod common;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Client, Scratch, options};
use tidelog::cluster::Cluster;
use tidelog::error::StartError;
use tidelog::options::Options;
use tidelog::server::{Ended, Server, start};
use tidelog_core::broker::GroupStatus;
use tidelog_core::effect::Halt;
use tidelog_core::id::NodeId;
use tidelog_core::kafka::batch::{Builder, Check, views};
use tidelog_core::kafka::messages::{
    CreatableTopic, CreateTopicsRequest, FetchPartition, FetchRequest, FetchTopic, MetadataRequest,
    MetadataRequestTopic, PartitionProduceData, ProduceRequest, TopicProduceData,
};
use tidelog_core::kafka::{ErrorCode, RequestBody, ResponseBody};
use tidelog_core::time::Timestamp;

/// How long anything may take before the test says that it does not happen.
const PATIENCE: Duration = Duration::from_secs(60);
const TOPIC: &str = "tides";
const PARTITIONS: i32 = 3;

/// Asks until there is an answer.
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what} does not happen");
        // Gives the nodes, which run on the same cores, their turn.
        std::thread::yield_now();
    }
}

struct Nodes {
    scratch: Scratch,
    options: Vec<Options>,
    running: BTreeMap<u32, Server>,
    clients: BTreeMap<u32, Client>,
    /// What was acknowledged: partition and offset to value.
    acknowledged: BTreeMap<(i32, i64), String>,
    sent: u64,
}

impl Nodes {
    /// Three nodes that do not run yet.
    fn new() -> Self {
        let scratch = Scratch::new();
        // All of them at the same time, so that none is given twice.
        let free: Vec<TcpListener> = (0..6).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
        let free: Vec<SocketAddr> = free.iter().map(|socket| socket.local_addr().expect("a port")).collect();
        let list = format!("1@{},2@{},3@{}", free[0], free[1], free[2]);
        let cluster = Cluster::parse(&list).expect("a good list");
        let node = |at: u32| Options {
            node: NodeId(at),
            listen: free[2 + at as usize].to_string(),
            cluster: Some(cluster.clone()),
            ..options(&scratch.join(&format!("node{at}")))
        };
        let options = (1..=3).map(node).collect();
        let (running, clients) = (BTreeMap::new(), BTreeMap::new());
        Self { scratch, options, running, clients, acknowledged: BTreeMap::new(), sent: 0 }
    }

    fn start(&mut self, node: u32) {
        let options = &self.options[node as usize - 1];
        let server = until("a port that is free again", || match start(options) {
            Ok(server) => Some(server),
            // While it was down, a connection of somebody else may have had it for a moment.
            Err(StartError::PortInUse { .. }) => None,
            Err(error) => panic!("{error}"),
        });
        self.running.insert(node, server);
    }

    fn kill(&mut self, node: u32) {
        self.running.remove(&node).expect("it runs").kill();
        self.clients.remove(&node);
    }

    /// Asks a node; `None` if it does not run, lets nobody in yet, or hangs up.
    fn ask(&mut self, node: u32, version: i16, body: &RequestBody) -> Option<ResponseBody> {
        let address = self.running.get(&node)?.address();
        let client = match self.clients.entry(node) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Client::try_connect(address).ok()?),
        };
        let answer: io::Result<ResponseBody> = client.try_ask(version, body);
        if answer.is_err() {
            self.clients.remove(&node);
        }
        answer.ok()
    }

    /// Asks any node that runs for what only the right one gives.
    fn ask_any<T>(
        &mut self,
        what: &str,
        version: i16,
        body: &RequestBody,
        take: impl Fn(ResponseBody) -> Option<T>,
    ) -> T {
        until(what, || {
            let nodes: Vec<u32> = self.running.keys().copied().collect();
            nodes.into_iter().find_map(|node| self.ask(node, version, body).and_then(&take))
        })
    }

    fn create(&mut self) {
        let topic = CreatableTopic {
            name: TOPIC.to_owned(),
            num_partitions: PARTITIONS,
            replication_factor: 3,
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1_000, ..CreateTopicsRequest::default() };
        self.ask_any("the creation of a topic", 5, &RequestBody::CreateTopics(request), |answer| {
            let ResponseBody::CreateTopics(answer) = answer else { panic!("another answer") };
            let error = ErrorCode::from_code(answer.topics[0].error_code).expect("one of Kafka's");
            matches!(error, ErrorCode::None | ErrorCode::TopicAlreadyExists).then_some(())
        });
    }

    /// The leader of a partition that is not one of these.
    fn leader(&mut self, partition: i32) -> u32 {
        let name = Some(TOPIC.to_owned());
        let topics = Some(vec![MetadataRequestTopic { name, ..MetadataRequestTopic::default() }]);
        let request = RequestBody::Metadata(MetadataRequest { topics, ..MetadataRequest::default() });
        let running: Vec<u32> = self.running.keys().copied().collect();
        self.ask_any("a leader", 9, &request, move |answer| {
            let ResponseBody::Metadata(answer) = answer else { panic!("another answer") };
            let found = answer.topics[0].partitions.iter().find(|found| found.partition_index == partition)?;
            u32::try_from(found.leader_id).ok().filter(|leader| running.contains(leader))
        })
    }

    /// Has one more record acknowledged by all replicas.
    fn produce(&mut self, partition: i32) {
        self.sent += 1;
        let value = format!("wave {} of {partition}", self.sent);
        let mut batch = Builder::new();
        batch.push(Timestamp(1), None, Some(value.as_bytes()), &[]);
        let data = PartitionProduceData { index: partition, records: Some(batch.build().into()) };
        let request = RequestBody::Produce(ProduceRequest {
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![TopicProduceData { name: TOPIC.to_owned(), partition_data: vec![data] }],
            ..ProduceRequest::default()
        });
        let offset = self.ask_any("an acknowledgement", 9, &request, |answer| {
            let ResponseBody::Produce(answer) = answer else { panic!("another answer") };
            let partition = &answer.responses[0].partition_responses[0];
            (partition.error_code == 0).then_some(partition.base_offset)
        });
        let before = self.acknowledged.insert((partition, offset), value);
        assert_eq!(before, None, "two records have offset {offset} of partition {partition}");
    }

    fn produce_everywhere(&mut self, rounds: usize) {
        for _ in 0..rounds {
            for partition in 0..PARTITIONS {
                self.produce(partition);
            }
        }
    }

    /// Everything in a partition, up to what was acknowledged last.
    fn consume(&mut self, partition: i32) -> BTreeMap<i64, Bytes> {
        let end = self.acknowledged.keys().filter(|at| at.0 == partition).map(|at| at.1 + 1).max().unwrap_or(0);
        let mut values: BTreeMap<i64, Bytes> = BTreeMap::new();
        loop {
            let next = values.last_key_value().map_or(0, |(offset, _)| offset + 1);
            if next >= end {
                return values;
            }
            let wanted = FetchPartition {
                partition,
                fetch_offset: next,
                partition_max_bytes: 1 << 20,
                ..FetchPartition::default()
            };
            let topic = FetchTopic { topic: TOPIC.to_owned(), partitions: vec![wanted], ..FetchTopic::default() };
            let request = FetchRequest {
                max_wait_ms: 100,
                min_bytes: 1,
                max_bytes: 1 << 20,
                topics: vec![topic],
                ..FetchRequest::default()
            };
            let records = self.ask_any("a fetch", 12, &RequestBody::Fetch(request), |answer| {
                let ResponseBody::Fetch(answer) = answer else { panic!("another answer") };
                let data = &answer.responses[0].partitions[0];
                (data.error_code == 0).then(|| data.records.as_ref().map(|records| records.to_bytes()))
            });
            for batch in views(records.unwrap_or_default(), Check::Crc) {
                for record in batch.expect("whole batches").records().expect("whole records") {
                    if record.offset.0 >= next {
                        values.insert(record.offset.0, record.value.expect("a value"));
                    }
                }
            }
        }
    }

    /// What was acknowledged is there, where it was said to be. What else is there was sent: a record that was refused while its
    /// leader lost its place may have been written all the same.
    fn check(&mut self) {
        for partition in 0..PARTITIONS {
            let values = self.consume(partition);
            for (at, value) in self.acknowledged.iter().filter(|(at, _)| at.0 == partition) {
                let found = values.get(&at.1).map(|found| &found[..]);
                assert_eq!(found, Some(value.as_bytes()), "{at:?}");
            }
            let of_here = format!(" of {partition}");
            for value in values.values() {
                let value = std::str::from_utf8(value).expect("text");
                let number = value.strip_prefix("wave ").and_then(|rest| rest.strip_suffix(&of_here));
                let number: u64 = number.and_then(|number| number.parse().ok()).expect("one of ours");
                assert!((1..=self.sent).contains(&number), "{value}");
            }
        }
    }

    /// Waits until every node has applied the same, all of what was acknowledged included.
    fn await_equal(&self) {
        let state = |server: &Server| -> Option<Vec<(u64, u64, i64, u64)>> {
            let of = |group: &GroupStatus| (group.group.0, group.applied.0, group.next_offset.0, group.digest);
            Some(server.status()?.groups.iter().map(of).collect())
        };
        until("the same state everywhere", || {
            let states: Vec<_> = self.running.values().map(state).collect();
            let first = states.first().cloned().flatten()?;
            (states.iter().all(|state| state.as_ref() == Some(&first)) && first.len() == 1 + PARTITIONS as usize)
                .then_some(())
        });
        let records: i64 = self
            .running
            .values()
            .next()
            .and_then(Server::status)
            .map_or(0, |status| status.groups.iter().map(|group| group.next_offset.0).sum());
        assert!(records >= self.acknowledged.len() as i64, "only {records} records in all partitions");
    }

    fn stop(mut self) {
        for server in self.running.values() {
            server.stop();
        }
        while let Some((_, server)) = self.running.pop_first() {
            assert_eq!(server.wait(), Ended::Halted(Halt::Stopped));
        }
        drop(self.scratch);
    }
}

#[test]
fn any_broker_may_be_killed_and_come_back() {
    let mut nodes = Nodes::new();
    for node in 1..=3 {
        nodes.start(node);
    }
    nodes.create();
    nodes.produce_everywhere(5);
    for partition in 0..PARTITIONS {
        let leader = nodes.leader(partition);
        nodes.kill(leader);
        let killed = Instant::now();
        nodes.produce(partition);
        eprintln!("acknowledged {:?} after broker {leader} was killed", killed.elapsed());
        nodes.produce_everywhere(5);
        nodes.start(leader);
        nodes.produce_everywhere(1);
        nodes.await_equal();
    }
    nodes.check();
    nodes.stop();
}

#[test]
fn what_was_acknowledged_outlives_a_kill_of_all() {
    let mut nodes = Nodes::new();
    for node in 1..=3 {
        nodes.start(node);
    }
    nodes.create();
    for _ in 0..2 {
        nodes.produce_everywhere(3);
        for node in 1..=3 {
            nodes.kill(node);
        }
        // The last one comes to a cluster that serves already.
        nodes.start(3);
        nodes.start(1);
        nodes.produce_everywhere(1);
        nodes.start(2);
        nodes.await_equal();
    }
    nodes.check();
    nodes.stop();
}

#[test]
fn a_name_that_is_not_resolved_keeps_nobody_from_serving() {
    let mut nodes = Nodes::new();
    for node in 1..=3 {
        nodes.start(node);
    }
    nodes.create();
    nodes.produce_everywhere(1);
    for node in 1..=3 {
        nodes.kill(node);
    }
    let list = nodes.options[0].cluster.as_ref().expect("a list").to_string();
    let (two, _) = list.split_once(",3@").expect("three brokers");
    let cluster = Cluster::parse(&format!("{two},3@nowhere.invalid:1")).expect("a good list");
    for options in &mut nodes.options {
        options.cluster = Some(cluster.clone());
    }
    nodes.start(1);
    nodes.start(2);
    nodes.produce_everywhere(1);
    nodes.check();
    nodes.stop();
}
