//! A second account of what becomes of the batches of idempotent producers: right ones pass, each wrong one is told.

use tidelog_core::event::{Fate, Judged};
use tidelog_core::id::{ConnId, GroupId, Index, NodeId, Offset, ProducerId, RequestId, TopicId};
use tidelog_core::kafka::ErrorCode;
use tidelog_core::time::Timestamp;
use tidelog_properties::Producers;
use tidelog_properties::gaps::Stands;
use tidelog_properties::producers::Offer;
use tidelog_properties::violation::kinds;

const GROUP: GroupId = GroupId(7);
const NODE: NodeId = NodeId(1);
const CONN: ConnId = ConnId(2);
const TOPIC: TopicId = TopicId([3; 16]);
const GAP: Fate = Fate::Refused(ErrorCode::OutOfOrderSequenceNumber);
const OLD: Fate = Fate::Refused(ErrorCode::DuplicateSequenceNumber);
const FENCED: Fate = Fate::Refused(ErrorCode::InvalidProducerEpoch);
const MAX: i32 = i32::MAX;

/// A partition that remembers two producers for a second, and heirs below 3.
struct Log(Producers, Index, i64);

impl Log {
    fn new() -> Self {
        Self(Producers::new(2, 1_000), Index(0), 0)
    }

    /// A batch of a producer, its epoch, first sequence and count, and its fate.
    fn batch(&mut self, (id, epoch, first, count): (i64, i16, i32, i32), fate: Fate) -> &mut Self {
        self.1 = self.1.next();
        let sequence = Some((ProducerId(id), epoch, first));
        let judged = Judged { stamp: Timestamp(self.2), sequence, count, fate };
        self.0.judged(GROUP, self.1, &judged, Some((TOPIC, 0, ProducerId(3))));
        self
    }

    fn pass(&mut self, millis: i64) -> &mut Self {
        self.2 += millis;
        self
    }

    #[track_caller]
    fn breaks(&self, expected: &[&str]) {
        assert_eq!(kinds(&self.0.violations()), expected, "{:#?}", self.0.violations());
        assert_eq!(self.0.is_clean(), expected.is_empty());
    }

    /// A request with one batch is answered.
    fn told(&mut self, id: u64, offer: Offer, answer: (ErrorCode, i64)) -> &mut Self {
        self.0.sent(NODE, CONN, RequestId(id), vec![Some(offer)]);
        self.0.answered(NODE, CONN, RequestId(id), [(answer.0.code(), answer.1)]);
        self
    }
}

fn at(offset: i64) -> Fate {
    Fate::Appended(Offset(offset))
}

fn known(offset: i64) -> Fate {
    Fate::Duplicate(Offset(offset))
}

#[test]
fn what_brokers_promise_is_right() {
    let mut log = Log::new();
    log.batch((9, 0, 0, 2), at(0)).batch((9, 0, 2, 1), at(2)).batch((9, 0, 0, 2), known(0)).batch((9, 0, 5, 1), GAP);
    for first in 3..8 {
        log.batch((9, 0, first, 1), at(i64::from(first)));
    }
    log.batch((9, 0, 0, 2), OLD).batch((9, 0, 1, 3), OLD).batch((9, 0, 7, 2), GAP);
    log.batch((9, 1, 8, 1), GAP).batch((9, 1, 0, 1), at(8)).batch((9, 0, 8, 1), FENCED).batch((9, 1, 7, 1), GAP);
    log.batch((8, 0, 1, 1), GAP)
        .batch((2, 0, MAX, 3), at(9))
        .batch((2, 0, 2, 1), at(12))
        .batch((2, 0, MAX, 3), known(9));
    log.breaks(&[]);
}

#[test]
fn who_is_forgotten_begins_anywhere() {
    let mut log = Log::new();
    log.batch((9, 3, 0, 1), at(0)).pass(1).batch((8, 0, 0, 1), at(1)).pass(1).batch((7, 0, 0, 1), at(2));
    log.batch((8, 0, 0, 1), known(1)).batch((9, 2, MAX, 1), at(3)).batch((8, 0, 5, 1), at(4));
    assert!(log.0.began_anew(TOPIC, 0, 3) && !log.0.began_anew(TOPIC, 0, 2));
    log.pass(999).batch((8, 0, 6, 1), at(5)).pass(999).batch((8, 0, 6, 1), known(5)).pass(1).batch((8, 0, 6, 1), at(6));
    log.batch((10, 0, 6, 1), GAP);
    log.breaks(&[]);
}

#[test]
fn each_wrong_judgement_is_told() {
    let wrong = |wrong: &dyn Fn(&mut Log)| {
        let mut log = Log::new();
        log.batch((9, 0, 0, 2), at(0)).batch((9, 0, 2, 1), at(2));
        wrong(&mut log);
        log.breaks(&["producer-misjudged"]);
    };
    wrong(&|log| {
        log.batch((9, 0, 0, 2), at(3));
    });
    wrong(&|log| {
        log.batch((9, 0, 0, 2), known(2));
    });
    wrong(&|log| {
        log.batch((9, 0, 0, 2), OLD);
    });
    wrong(&|log| {
        log.batch((9, 0, 4, 1), at(3));
    });
    wrong(&|log| {
        log.batch((9, 0, 3, 1), at(2));
    });
    wrong(&|log| {
        log.batch((9, 0, 3, 1), GAP);
    });
    wrong(&|log| {
        log.batch((9, 1, 3, 1), at(3));
    });
    wrong(&|log| {
        log.batch((9, 1, 0, 1), at(3)).batch((9, 0, 3, 1), at(4));
    });
    wrong(&|log| {
        log.batch((5, 0, 1, 1), at(3));
    });
    wrong(&|log| {
        log.batch((2, 0, MAX, 1), at(3)).batch((2, 0, 0, 1), GAP);
    });
    wrong(&|log| {
        log.pass(1_000).batch((9, 0, 2, 1), known(2));
    });
    wrong(&|log| {
        log.pass(999).batch((9, 0, 2, 1), at(3));
    });
    wrong(&|log| {
        log.batch((8, 0, 0, 1), at(3)).batch((7, 0, 0, 1), at(4)).batch((8, 0, 1, 1), GAP);
    });
}

#[test]
fn answers_are_what_was_decided() {
    let offer = |first, count| Offer { group: GROUP, sequence: Some((ProducerId(9), 0, first)), count };
    let mut log = Log::new();
    log.0.sent(NODE, CONN, RequestId(1), vec![Some(offer(4, 1))]);
    log.batch((9, 0, 0, 2), at(0)).batch((9, 0, 4, 1), GAP);
    log.0.answered(NODE, CONN, RequestId(1), [(ErrorCode::OutOfOrderSequenceNumber.code(), -1)]);
    log.told(2, offer(0, 2), (ErrorCode::None, 0)).told(3, offer(2, 1), (ErrorCode::NotLeaderOrFollower, -1));
    log.breaks(&[]);
    log.told(4, offer(0, 2), (ErrorCode::None, 1)).breaks(&["answer-untrue"]);
    for (error, base) in [(ErrorCode::None, 0), (ErrorCode::OutOfOrderSequenceNumber, -1)] {
        let mut log = Log::new();
        log.batch((9, 0, 0, 2), at(0)).batch((9, 0, 4, 1), GAP);
        log.told(1, offer(4, 1), (error, base)).breaks(&["answer-untrue"]);
    }
    let mut log = Log::new();
    log.0.sent(NODE, CONN, RequestId(1), vec![None, None]);
    log.0.answered(NODE, CONN, RequestId(1), [(0, 0)]);
    log.breaks(&["batch-unanswered"]);
}

#[test]
fn what_is_read_was_put_there() {
    let stands = |base, first| Stands { base, count: 2, sequence: Some((ProducerId(9), 0, first)) };
    let mut log = Log::new();
    log.batch((9, 0, 0, 2), at(0));
    log.0.shown(TOPIC, 0, stands(0, 0));
    log.breaks(&[]);
    log.0.shown(TOPIC, 0, stands(2, 2));
    log.breaks(&["shown-otherwise"]);
}

#[test]
fn no_id_is_given_twice() {
    let mut log = Log::new();
    log.0.given(NODE, -1, 5, 0);
    log.0.given(NODE, 5, 6, 0);
    log.0.given(NODE, 6, 6, 1);
    log.breaks(&[]);
    log.0.given(NODE, 6, 6, 0);
    log.breaks(&["producer-id-twice"]);
}
