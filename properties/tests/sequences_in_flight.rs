//! What follows a batch that is to be sent again is not out of order.

use tidelog_core::id::{ConnId, GroupId, NodeId, ProducerId, RequestId};
use tidelog_core::kafka::ErrorCode;
use tidelog_properties::Sequences;
use tidelog_properties::sequences::Sent;
use tidelog_properties::violation::kinds;

const NODE: NodeId = NodeId(1);
const AWAY: ErrorCode = ErrorCode::NotLeaderOrFollower;
const FULL: ErrorCode = ErrorCode::KafkaStorageError;
const EARLY: ErrorCode = ErrorCode::OutOfOrderSequenceNumber;
const OK: ErrorCode = ErrorCode::None;

fn sent(epoch: i16, first: i32) -> Sent {
    Sent { group: GroupId(3), producer: ProducerId(7), epoch, first }
}

/// What one connection says of batches, one a request.
struct Talk(Sequences, ConnId, u64);

impl Talk {
    fn new() -> Self {
        Self(Sequences::new(), ConnId(4), 0)
    }

    fn told(&mut self, batch: Sent, error: ErrorCode) {
        let request = self.asked(batch);
        self.answered(request, error);
    }

    fn asked(&mut self, batch: Sent) -> RequestId {
        self.2 += 1;
        self.0.sent(NODE, self.1, RequestId(self.2), vec![None, Some(batch)]);
        RequestId(self.2)
    }

    fn answered(&mut self, request: RequestId, error: ErrorCode) {
        self.0.answered(NODE, self.1, request, [0, error.code()]);
    }

    #[track_caller]
    fn breaks(&self, expected: &[&str]) {
        assert_eq!(kinds(&self.0.violations()), expected, "{:#?}", self.0.violations());
        assert_eq!(self.0.is_clean(), expected.is_empty());
    }
}

#[test]
fn a_gap_is_a_gap() {
    let mut talk = Talk::new();
    talk.told(sent(0, 0), OK);
    talk.told(sent(0, 2), EARLY);
    talk.breaks(&[]);
}

#[test]
fn the_second_is_early_because_of_the_first() {
    for why in [AWAY, FULL, ErrorCode::NotEnoughReplicas, ErrorCode::RequestTimedOut] {
        let mut talk = Talk::new();
        talk.told(sent(0, 1), why);
        talk.told(sent(0, 2), why);
        talk.told(sent(0, 3), EARLY);
        talk.breaks(&["called-out-of-order"]);
    }
}

/// What is never taken leaves a gap, whatever is sent again before it.
#[test]
fn one_that_is_refused_for_good_leaves_a_gap() {
    let mut talk = Talk::new();
    talk.told(sent(0, 1), ErrorCode::RequestTimedOut);
    talk.told(sent(0, 2), ErrorCode::InvalidTimestamp);
    talk.told(sent(0, 3), EARLY);
    talk.breaks(&[]);
}

#[test]
fn sequences_go_round() {
    let mut talk = Talk::new();
    talk.told(sent(0, i32::MAX), AWAY);
    talk.told(sent(0, 0), EARLY);
    talk.breaks(&["called-out-of-order"]);
}

#[test]
fn one_before_it_that_was_on_its_way_does_not_make_up_for_it() {
    let mut talk = Talk::new();
    let (first, second, third) = (talk.asked(sent(0, 1)), talk.asked(sent(0, 2)), talk.asked(sent(0, 3)));
    talk.answered(first, OK);
    talk.answered(second, AWAY);
    talk.answered(third, EARLY);
    talk.breaks(&["called-out-of-order"]);
}

#[test]
fn another_epoch_or_connection_is_another_story() {
    let mut talk = Talk::new();
    talk.told(sent(0, 3), AWAY);
    talk.told(sent(1, 4), EARLY);
    talk.told(sent(0, 3), AWAY);
    talk.1 = ConnId(5);
    talk.told(sent(0, 4), EARLY);
    talk.breaks(&[]);
}

#[test]
fn who_has_heard_of_the_first_may_be_out_of_order() {
    let mut talk = Talk::new();
    talk.told(sent(0, 3), AWAY);
    talk.told(sent(0, 4), AWAY);
    talk.told(sent(0, 4), EARLY);
    talk.told(sent(0, 3), AWAY);
    talk.told(sent(0, 3), OK);
    talk.told(sent(0, 5), EARLY);
    talk.breaks(&[]);
}

#[test]
fn more_than_can_be_under_way_may_be_out_of_order() {
    for (last, expected) in [(5, &["called-out-of-order"][..]), (6, &[])] {
        let mut talk = Talk::new();
        (1..last).for_each(|first| talk.told(sent(0, first), AWAY));
        talk.told(sent(0, last), EARLY);
        talk.breaks(expected);
    }
}

#[test]
fn what_is_in_the_log_is_not_to_be_sent_again() {
    let mut talk = Talk::new();
    talk.told(sent(0, 1), AWAY);
    talk.told(sent(0, 1), ErrorCode::NotEnoughReplicasAfterAppend);
    talk.told(sent(0, 2), ErrorCode::MessageTooLarge);
    talk.told(sent(0, 3), EARLY);
    talk.breaks(&[]);
}

#[test]
fn a_connection_that_is_gone_is_forgotten() {
    let mut talk = Talk::new();
    talk.told(sent(0, 1), AWAY);
    talk.0.closed(NODE, talk.1);
    talk.told(sent(0, 2), EARLY);
    talk.told(sent(0, 1), AWAY);
    talk.0.crashed(NODE);
    talk.told(sent(0, 2), EARLY);
    talk.breaks(&[]);
}

#[test]
fn what_a_partition_found_out_of_order_excuses_nobody() {
    let mut talk = Talk::new();
    let (first, second) = (talk.asked(sent(0, 4)), talk.asked(sent(0, 5)));
    talk.answered(first, ErrorCode::RequestTimedOut);
    talk.0.out_of_order(sent(0, 4));
    talk.answered(second, EARLY);
    talk.breaks(&[]);
}
