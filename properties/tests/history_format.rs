//! Histories written by older versions stay readable, and what is no history is refused.

use tidelog_properties::history::{Op, Outcome, ReadError};
use tidelog_properties::violation::kinds;
use tidelog_properties::{History, judge};

const GOLDEN: &str = include_str!("golden/history-v1.jsonl");

#[test]
fn the_golden_history_reads_and_writes_the_same() {
    let history = History::from_json_lines(GOLDEN).expect("the golden history is readable");
    assert_eq!(history.to_json_lines(), GOLDEN);
    assert_eq!(history.records().len(), 11);
    assert!(matches!(&history.records()[1].op, Op::Send(send) if send.value == 1 && send.idempotent));
    assert_eq!(history.records()[1].retries, 1);
    assert!(matches!(history.records()[2].completed, Some((_, Outcome::Unknown { .. }))));
    assert!(history.records()[10].completed.is_none());
    assert_eq!(kinds(&judge(&history)), ["lost-write"]);
}

#[test]
fn what_is_no_history_is_refused() {
    assert_eq!(History::from_json_lines(""), Err(ReadError::NoHeader));
    assert_eq!(History::from_json_lines("{\"x\":1}\n"), Err(ReadError::NoHeader));
    assert_eq!(History::from_json_lines("{\"tidelog_history\":2}\n"), Err(ReadError::Version(2)));
    let line = |text: &str| match History::from_json_lines(text) {
        Err(ReadError::Line { number, .. }) => number,
        other => panic!("{other:?}"),
    };
    assert_eq!(line("{\"tidelog_history\":1}\n\n"), 2);
    let invoke = r#"{"invoke":{"id":1,"process":1,"time":0,"op":{"delete_topic":{"topic":"t"}}}}"#;
    assert_eq!(line(&format!("{{\"tidelog_history\":1}}\n{invoke}\n")), 2);
    assert_eq!(line("{\"tidelog_history\":1}\n{\"retry\":{\"id\":0,\"time\":0}}\n{\"reboot\":{}}\n"), 3);
}
