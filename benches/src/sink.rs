//! A broker that keeps nothing: it frames requests, decodes them with our codec, acknowledges, and forgets.
//!
//! What a client does against it is what the client, the loopback and our codec (which checks batches) allow. It has every topic
//! that is asked for. One thread for each connection, in this process, so that the CPU time of this process is the sink's.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use tidelog_core::kafka::messages::{
    InitProducerIdResponse, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use tidelog_core::kafka::{
    ErrorCode, FrameReader, Request, RequestBody, Response, ResponseBody, api_versions_response, decode_request,
};

const NODE: i32 = 1;
const READ_BYTES: usize = 256 * 1024;

/// Starts a sink on a free port of the loopback; it runs until this process ends.
///
/// # Errors
///
/// The system's.
pub fn start(partitions: i32) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                // A connection ends with an error when its client has gone, as clients do.
                if let Err(error) = serve(stream, address, partitions)
                    && error.kind() == io::ErrorKind::InvalidData
                {
                    eprintln!("the null sink: {error}");
                }
            });
        }
    });
    Ok(address)
}

fn serve(mut stream: TcpStream, address: SocketAddr, partitions: i32) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let broken = |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let mut frames = FrameReader::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut ends = BTreeMap::new();
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        frames.feed(&buffer[..read]);
        while let Some(frame) = frames.next_frame().map_err(|error| broken(&error))? {
            let request = decode_request(frame).map_err(|error| broken(&error))?;
            let body = answer(&request, address, partitions, &mut ends).map_err(|error| broken(&error))?;
            stream.write_all(&Response::to(&request.header, body).encode().concat())?;
        }
    }
}

/// Next offsets by topic and partition, of one connection: a producer has but one.
type Ends = BTreeMap<(String, i32), i64>;

fn answer(request: &Request, address: SocketAddr, partitions: i32, ends: &mut Ends) -> Result<ResponseBody, String> {
    Ok(match &request.body {
        RequestBody::ApiVersions(_) => api_versions_response(request.header.api_version, ErrorCode::None).into(),
        RequestBody::ApiVersionsUnsupported => api_versions_response(0, ErrorCode::UnsupportedVersion).into(),
        RequestBody::Metadata(asked) => {
            let names = asked.topics.iter().flatten().filter_map(|topic| topic.name.clone());
            metadata(names, address, partitions).into()
        }
        RequestBody::InitProducerId(_) => {
            InitProducerIdResponse { producer_id: 1, ..InitProducerIdResponse::default() }.into()
        }
        RequestBody::Produce(produce) => acknowledge(produce, request, ends)?.into(),
        other => return Err(format!("does not answer {:?}", other.api_key())),
    })
}

fn metadata(names: impl Iterator<Item = String>, address: SocketAddr, partitions: i32) -> MetadataResponse {
    let broker = MetadataResponseBroker {
        node_id: NODE,
        host: address.ip().to_string(),
        port: i32::from(address.port()),
        ..MetadataResponseBroker::default()
    };
    let partition = |partition_index| MetadataResponsePartition {
        partition_index,
        leader_id: NODE,
        leader_epoch: 0,
        replica_nodes: vec![NODE],
        isr_nodes: vec![NODE],
        ..MetadataResponsePartition::default()
    };
    let topic = |name| MetadataResponseTopic {
        name: Some(name),
        partitions: (0..partitions).map(partition).collect(),
        ..MetadataResponseTopic::default()
    };
    MetadataResponse {
        brokers: vec![broker],
        controller_id: NODE,
        topics: names.map(topic).collect(),
        ..MetadataResponse::default()
    }
}

fn acknowledge(produce: &ProduceRequest, request: &Request, ends: &mut Ends) -> Result<ProduceResponse, String> {
    let mut batches = request.batches.iter();
    let mut responses = Vec::new();
    for topic in &produce.topic_data {
        let mut partition_responses = Vec::new();
        for partition in &topic.partition_data {
            let batch = batches.next().and_then(|batch| batch.as_ref().ok()).ok_or("was sent a broken batch")?;
            let end = ends.entry((topic.name.clone(), partition.index)).or_default();
            let base_offset = *end;
            *end += i64::from(batch.record_count());
            let response = PartitionProduceResponse {
                index: partition.index,
                base_offset,
                log_append_time_ms: -1,
                ..PartitionProduceResponse::default()
            };
            partition_responses.push(response);
        }
        responses.push(TopicProduceResponse { name: topic.name.clone(), partition_responses });
    }
    Ok(ProduceResponse { responses, ..ProduceResponse::default() })
}
