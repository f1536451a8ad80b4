//! Requests are answered once and in line, or the connection is closed.

use tidelog_core::id::{ConnId, NodeId, RequestId};
use tidelog_properties::Responses;
use tidelog_properties::violation::kinds;

const NODE: NodeId = NodeId(1);
const CONN: ConnId = ConnId(4);

/// Two requests that want an answer, and between them one that does not.
fn asked() -> Responses {
    let mut judge = Responses::new();
    for (id, expects_answer) in [(1, true), (2, false), (3, true)] {
        judge.request(NODE, CONN, RequestId(id), expects_answer);
    }
    judge
}

#[track_caller]
fn breaks(mut judge: Responses, expected: &[&str]) {
    judge.finish();
    assert_eq!(kinds(&judge.violations()), expected, "{:#?}", judge.violations());
    assert_eq!(judge.is_clean(), expected.is_empty());
}

#[test]
fn answers_in_line_are_right() {
    let mut judge = asked();
    judge.response(NODE, CONN, RequestId(1));
    judge.response(NODE, CONN, RequestId(3));
    breaks(judge, &[]);
}

#[test]
fn a_closed_or_crashed_connection_owes_nothing() {
    let mut judge = asked();
    judge.closed(NODE, CONN);
    breaks(judge, &[]);

    let mut judge = asked();
    judge.crashed(NODE);
    judge.request(NODE, CONN, RequestId(1), true);
    judge.response(NODE, CONN, RequestId(1));
    breaks(judge, &[]);
}

#[test]
fn a_request_that_is_never_answered() {
    let mut judge = asked();
    judge.response(NODE, CONN, RequestId(1));
    breaks(judge, &["never-answered"]);
}

#[test]
fn answers_that_overtake() {
    let mut judge = asked();
    judge.response(NODE, CONN, RequestId(3));
    judge.response(NODE, CONN, RequestId(1));
    breaks(judge, &["answered-out-of-order"]);
}

#[test]
fn answers_twice_or_to_nobody() {
    for again in [1, 2, 9] {
        let mut judge = asked();
        judge.response(NODE, CONN, RequestId(1));
        judge.response(NODE, CONN, RequestId(again));
        judge.response(NODE, CONN, RequestId(3));
        breaks(judge, &["answered-twice"]);
    }
}

#[test]
fn answers_after_the_close() {
    let mut judge = asked();
    judge.closed(NODE, CONN);
    judge.response(NODE, CONN, RequestId(1));
    breaks(judge, &["answered-after-close"]);
}

#[test]
fn requests_out_of_line_are_unexplained() {
    let mut judge = Responses::new();
    judge.request(NODE, CONN, RequestId(2), false);
    judge.request(NODE, CONN, RequestId(1), false);
    breaks(judge, &["unexplained"]);
}
