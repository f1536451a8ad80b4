//! How fast messages become requests, answers become bytes, and batches are checked.
//!
//! *decode* is [`decode_request`] on a frame, the check of every batch in it included (its CRC, and a walk over its records);
//! *encode* is [`Response::encode`], which shares records and does not copy them, so its bytes per second say how little it
//! depends on them; *validate* is [`batch::validate`] alone. Each works on the same bytes again and
//! again, which the caches hold as far as they can: what comes from a socket was touched as recently.
//!
//! ```text
//! cargo bench -p tidelog-benches --bench codec
//! ```

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use tidelog_benches::requests;
use tidelog_core::kafka::messages::{FetchResponse, FetchableTopicResponse, PartitionData};
use tidelog_core::kafka::{RequestBody, Response, batch, decode_request};

const MIB: usize = 1024 * 1024;
const TOPIC: &str = "tides";

/// A batch of as many records of 1 KiB as fit into 1 MiB.
fn large() -> Bytes {
    requests::batch(1, requests::records_within(MIB, 1024), 1024)
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode_request, Produce");
    let cases = [
        ("1 batch of 1 MiB, records of 1 KiB", vec![large()]),
        ("100 batches of 1 record of 1 KiB", vec![requests::batch(1, 1, 1024); 100]),
        ("100 batches of 1 record of 100 bytes", vec![requests::batch(1, 1, 100); 100]),
    ];
    for (name, batches) in cases {
        let frame = Bytes::from(requests::frame(&requests::produce_each(TOPIC, batches), 1)).slice(4..);
        group.throughput(Throughput::Bytes(frame.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| decode_request(black_box(frame.clone())).expect("a request"));
        });
    }
    group.finish();
}

fn answer(records: Vec<Bytes>) -> Response {
    let partitions = (0..).zip(records).map(|(partition_index, records)| PartitionData {
        partition_index,
        high_watermark: 1_000_000,
        last_stable_offset: 1_000_000,
        log_start_offset: 0,
        records: Some(records.into()),
        ..PartitionData::default()
    });
    let body = FetchResponse {
        responses: vec![FetchableTopicResponse {
            topic: TOPIC.to_owned(),
            partitions: partitions.collect(),
            ..FetchableTopicResponse::default()
        }],
        ..FetchResponse::default()
    };
    let asked = RequestBody::from(tidelog_core::kafka::messages::FetchRequest::default());
    Response::to(&requests::header(&asked, 1), body)
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("Response::encode, Fetch");
    let cases = [
        ("1 partition with 1 MiB", answer(vec![large()])),
        ("100 partitions with 1 KiB", answer(vec![requests::batch(1, 1, 1024); 100])),
    ];
    for (name, response) in cases {
        let len: usize = response.encode().iter().map(Bytes::len).sum();
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(name, |bencher| bencher.iter(|| black_box(&response).encode()));
    }
    group.finish();
}

fn validate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch::validate");
    let cases = [
        ("1 MiB, records of 1 KiB", large()),
        ("1 MiB, records of 100 bytes", requests::batch(1, requests::records_within(MIB, 100), 100)),
        ("1 record of 100 bytes", requests::batch(1, 1, 100)),
    ];
    for (name, bytes) in cases {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| batch::validate(Some(black_box(bytes.clone()))).expect("a batch"));
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    decode(&mut criterion);
    encode(&mut criterion);
    validate(&mut criterion);
    criterion.final_summary();
}
