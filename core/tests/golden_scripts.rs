//! Golden scripts: what goes into brokers and what comes out of them, line by line. Read `scripts/one_produce.txt` first:
//! it is the whole way of one record, from the bytes of the request to the answer.
//!
//! After a change that is meant, copy the file the failing test names over the script, and read the difference.

#[path = "support/house.rs"]
mod house;

use std::fmt::Write as _;

use house::House;
use house::requests::produce;
use tidelog_core::id::NodeId;
use tidelog_core::kafka::batch::Builder;
use tidelog_core::kafka::{RequestBody, ResponseBody};
use tidelog_core::time::{Duration, Timestamp};

fn compare(name: &str, script: &str, actual: &str) {
    if script != actual {
        let path = format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(&path, actual).expect("the target folder can be written");
        panic!("the script differs; what happens now is in {path}");
    }
}

fn create(house: &mut House, replicas: i16) {
    let conn = house.open(NodeId(1), 1);
    assert_eq!(house.create(NodeId(1), conn, ("tides", 1, replicas), &[]), 0);
}

fn one_produce() -> RequestBody {
    let mut builder = Builder::new();
    builder.push(Timestamp(1_700_000_000_000), Some(b"moon"), Some(b"high water"), &[]);
    produce("tides", builder.build())
}

/// Three brokers, one record, `acks=all`.
#[test]
fn one_produce_from_request_to_answer() {
    let mut house = House::new(3);
    house.ready();
    create(&mut house, 3);
    // Let everything come to rest, so that the script shows this record and nothing else.
    house.pass(Duration::from_secs(3));
    let leader = house.leader();
    let conn = house.open(leader, 7);
    house.answers.clear();
    let request = one_produce();
    house.log = "Three brokers at rest; a client sends one record to the leader with acks=all.\n\
                 `<-` is an input of Broker::step, `->` an effect that a host carries out.\n\n"
        .into();
    house.printing = true;
    house.send(leader, conn, 11, &request);
    house.printing = false;
    let (_, _, response) = house.answers.pop().expect("it is answered without any time passing");
    let ResponseBody::Produce(produced) = response.body else { panic!("another answer") };
    let answer = &produced.responses[0].partition_responses[0];
    let _ = writeln!(house.log, "\nanswered: error {}, base offset {}", answer.error_code, answer.base_offset);
    compare("one_produce.txt", include_str!("scripts/one_produce.txt"), &house.log);
}

/// One broker comes back from its disk with one record.
#[test]
fn one_recovery_from_listing_to_serving() {
    let mut house = House::new(1);
    house.ready();
    create(&mut house, 1);
    let conn = house.open(NodeId(1), 7);
    house.send(NodeId(1), conn, 11, &one_produce());
    house.pass(Duration::from_secs(1));
    house.log = "A broker that holds one topic with one record starts again on its disk.\n\n".into();
    house.printing = true;
    house.restart(NodeId(1));
    house.printing = false;
    let status = house.homes[&NodeId(1)].broker.status();
    let _ = writeln!(house.log, "\nready: {}", status.ready);
    compare("one_recovery.txt", include_str!("scripts/one_recovery.txt"), &house.log);
}
