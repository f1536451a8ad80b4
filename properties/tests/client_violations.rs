//! Each client-visible promise, broken by a history that breaks no other.

use tidelog_properties::history::{History, Op, OpId, Outcome, Poll, Process, Seen, Send, Which};
use tidelog_properties::judge;
use tidelog_properties::violation::kinds;

/// Writes small histories: time moves one microsecond per event.
struct Script {
    history: History,
    time: u64,
}

/// Producers and consumers are processes of the same number.
impl Script {
    fn new() -> Self {
        Self { history: History::new(), time: 0 }
    }

    fn tick(&mut self) -> u64 {
        self.time += 1;
        self.time
    }

    fn invoke(&mut self, process: u64, op: Op) -> OpId {
        let time = self.tick();
        self.history.invoke(Process(process), time, op)
    }

    fn end(&mut self, id: OpId, outcome: Outcome) {
        let time = self.tick();
        self.history.complete(id, time, outcome);
    }

    fn ack(&mut self, id: OpId, offset: i64) {
        self.end(id, Outcome::Sent { offset: Some(offset) });
    }

    fn retry(&mut self, id: OpId) {
        let time = self.tick();
        self.history.retry(id, time);
    }

    /// A send and its acknowledgement.
    fn sent(&mut self, producer: u64, value: u64, offset: i64) {
        let id = self.invoke(producer, Op::Send(send(producer, value)));
        self.ack(id, offset);
    }

    fn unknown(&mut self, producer: u64, value: u64) {
        let id = self.invoke(producer, Op::Send(send(producer, value)));
        self.end(id, Outcome::Unknown { error: "timeout".into() });
    }

    fn polled_with(&mut self, consumer: u64, from: i64, records: Vec<Seen>, next: i64, is_final: bool) {
        let poll = Poll { consumer, topic: "t".into(), partition: 0, from_offset: from, is_final };
        let id = self.invoke(consumer, Op::Poll(poll));
        self.end(id, Outcome::Polled { records, next });
    }

    /// A poll that returns these (offset, value), and ends after the last.
    fn polled(&mut self, consumer: u64, from: i64, records: &[(i64, u64)]) {
        let next = records.last().map_or(from, |&(offset, _)| offset + 1);
        self.polled_with(consumer, from, records.iter().map(|&(o, v)| seen(o, v)).collect(), next, false);
    }

    fn final_read(&mut self, records: &[(i64, u64)]) {
        let next = records.last().map_or(0, |&(offset, _)| offset + 1);
        self.polled_with(99, 0, records.iter().map(|&(o, v)| seen(o, v)).collect(), next, true);
    }

    fn asked(&mut self, process: u64, which: Which, offset: Option<i64>, timestamp: Option<i64>) {
        let id = self.invoke(process, Op::Offsets { topic: "t".into(), partition: 0, which });
        self.end(id, Outcome::Offsets { offset, timestamp });
    }

    #[track_caller]
    fn breaks(&self, expected: &[&str]) {
        let violations = judge(&self.history);
        assert_eq!(kinds(&violations), expected, "{violations:#?}");
        for violation in &violations {
            assert!(!violation.sentence.is_empty() && !violation.evidence.is_empty(), "{violation}");
            assert!(violation.evidence.len() <= 6, "{violation}");
        }
        let again = History::from_json_lines(&self.history.to_json_lines()).expect("what was written can be read");
        if expected != ["unexplained"] {
            assert_eq!(judge(&again), violations);
        }
    }
}

fn send(producer: u64, value: u64) -> Send {
    Send {
        producer,
        session: 0,
        idempotent: false,
        acks: -1,
        topic: "t".into(),
        partition: 0,
        value,
        key_hash: None,
        digest: digest(value),
    }
}

fn digest(value: u64) -> u64 {
    value * 1_000
}

/// Timestamps grow with offsets: 10 per record.
fn seen(offset: i64, value: u64) -> Seen {
    Seen { offset, value: Some(value), digest: digest(value), timestamp: offset * 10 }
}

/// Three values of producer 1, acknowledged at 0, 1 and 2.
fn three() -> Script {
    let mut script = Script::new();
    for (offset, value) in [(0, 100), (1, 101), (2, 102)] {
        script.sent(1, value, offset);
    }
    script
}

#[test]
fn a_good_history_breaks_nothing() {
    let mut script = three();
    script.polled(9, 0, &[(0, 100), (1, 101)]);
    script.polled(9, 2, &[(2, 102)]);
    script.asked(9, Which::Earliest, Some(0), None);
    script.asked(9, Which::Latest, Some(3), None);
    script.asked(9, Which::Time(15), Some(2), Some(20));
    script.asked(9, Which::Time(21), None, None);
    script.final_read(&[(0, 100), (1, 101), (2, 102)]);
    script.breaks(&[]);
}

#[test]
fn lost_write_is_an_acknowledged_value_that_readers_passed() {
    let mut script = three();
    script.final_read(&[(0, 100), (2, 102)]);
    script.breaks(&["lost-write"]);
}

#[test]
fn lost_write_where_another_value_took_the_place() {
    let mut script = three();
    script.unknown(2, 200);
    script.final_read(&[(0, 100), (1, 101), (2, 200)]);
    script.breaks(&["lost-write"]);
}

#[test]
fn unseen_is_an_acknowledged_value_beyond_the_final_end() {
    let mut script = three();
    script.final_read(&[(0, 100), (1, 101)]);
    script.breaks(&["unseen"]);
}

#[test]
fn unseen_where_no_offset_was_told() {
    let mut script = three();
    let id = script.invoke(2, Op::Send(send(2, 200)));
    script.end(id, Outcome::Sent { offset: None });
    script.final_read(&[(0, 100), (1, 101), (2, 102)]);
    script.breaks(&["unseen"]);
}

#[test]
fn unseen_is_also_what_was_read_once_and_is_gone() {
    let mut script = three();
    script.unknown(2, 200);
    script.polled(9, 0, &[(0, 100), (1, 101), (2, 102), (3, 200)]);
    script.final_read(&[(0, 100), (1, 101), (2, 102)]);
    script.breaks(&["unseen"]);
}

#[test]
fn a_partition_nobody_read_at_the_end_is_unseen() {
    let mut script = three();
    let other = Send { partition: 1, ..send(1, 300) };
    let id = script.invoke(1, Op::Send(other));
    script.ack(id, 0);
    script.final_read(&[(0, 100), (1, 101), (2, 102)]);
    script.breaks(&["unseen"]);
}

#[test]
fn fire_and_forget_may_be_lost_and_deleted_topics_are_not_read() {
    let mut script = three();
    let id = script.invoke(1, Op::Send(Send { acks: 0, ..send(1, 200) }));
    script.end(id, Outcome::Sent { offset: None });
    let id = script.invoke(1, Op::Send(Send { topic: "gone".into(), ..send(1, 201) }));
    script.ack(id, 0);
    let id = script.invoke(5, Op::DeleteTopic { topic: "gone".into() });
    script.end(id, Outcome::Unknown { error: "timeout".into() });
    script.final_read(&[(0, 100), (1, 101), (2, 102)]);
    script.breaks(&[]);
}

#[test]
fn deleted_records_are_excused_and_what_is_above_is_not() {
    let mut script = three();
    let id = script.invoke(5, Op::DeleteRecords { topic: "t".into(), partition: 0, before: 2 });
    script.end(id, Outcome::Done);
    script.asked(5, Which::Earliest, Some(2), None);
    script.polled_with(99, 2, vec![seen(2, 102)], 3, true);
    script.breaks(&[]);
    let id = script.invoke(1, Op::Send(send(1, 103)));
    script.ack(id, 3);
    script.breaks(&["unseen"]);
}

#[test]
fn records_that_go_without_leave_break_retention() {
    let mut script = three();
    script.asked(5, Which::Earliest, Some(1), None);
    script.breaks(&["retention"]);
}

#[test]
fn a_log_start_that_goes_back_breaks_retention() {
    let mut script = three();
    let id = script.invoke(5, Op::DeleteRecords { topic: "t".into(), partition: 0, before: 2 });
    script.end(id, Outcome::Done);
    script.asked(5, Which::Earliest, Some(2), None);
    script.asked(5, Which::Earliest, Some(1), None);
    script.breaks(&["retention"]);
}

#[test]
fn failed_write_visible() {
    let mut script = three();
    let id = script.invoke(2, Op::Send(send(2, 200)));
    script.end(id, Outcome::Failed { error: "MESSAGE_TOO_LARGE".into() });
    script.final_read(&[(0, 100), (1, 101), (2, 102), (3, 200)]);
    script.breaks(&["failed-write-visible"]);
}

#[test]
fn a_sequence_that_is_next_in_line_is_never_refused() {
    let mut script = three();
    let id = script.invoke(1, Op::Send(send(1, 200)));
    let error = format!("a record was sent, but {}", tidelog_core::client::SEQUENCE_BROKEN);
    script.end(id, Outcome::Unknown { error });
    script.final_read(&[(0, 100), (1, 101), (2, 102), (3, 200)]);
    script.breaks(&["sequence-broken"]);
}

#[test]
fn inconsistent_offsets_are_two_values_at_one_place() {
    let mut script = Script::new();
    script.unknown(1, 100);
    script.unknown(2, 200);
    script.polled(8, 0, &[(0, 100)]);
    script.polled(9, 0, &[(0, 200)]);
    script.breaks(&["inconsistent-offsets"]);
}

#[test]
fn inconsistent_offsets_in_acknowledgements_alone() {
    let mut script = Script::new();
    script.sent(1, 100, 0);
    script.sent(2, 200, 0);
    script.breaks(&["inconsistent-offsets"]);
}

#[test]
fn duplicate_of_an_idempotent_producer_even_after_a_retry() {
    let mut script = Script::new();
    let id = script.invoke(1, Op::Send(Send { idempotent: true, ..send(1, 100) }));
    script.retry(id);
    script.ack(id, 1);
    script.final_read(&[(0, 100), (1, 100)]);
    script.breaks(&["duplicate"]);
}

#[test]
fn duplicate_without_idempotence_only_without_a_retry() {
    let mut script = Script::new();
    let id = script.invoke(1, Op::Send(send(1, 100)));
    script.retry(id);
    script.ack(id, 1);
    script.final_read(&[(0, 100), (1, 100)]);
    script.breaks(&[]);

    let mut script = Script::new();
    script.sent(1, 100, 1);
    script.final_read(&[(0, 100), (1, 100)]);
    script.breaks(&["duplicate"]);
}

#[test]
fn nonmonotonic_poll_between_polls_and_within_one() {
    let mut script = three();
    script.polled(9, 0, &[(0, 100), (1, 101), (2, 102)]);
    script.polled(9, 3, &[(1, 101), (2, 102)]);
    script.breaks(&["nonmonotonic-poll"]);

    let mut script = three();
    script.polled_with(9, 0, vec![seen(1, 101), seen(0, 100), seen(2, 102)], 3, false);
    script.polled(8, 1, &[(1, 101), (2, 102)]);
    let kinds = kinds(&judge(&script.history));
    assert!(kinds.contains(&"nonmonotonic-poll"), "{kinds:?}");

    let mut script = three();
    script.polled(9, 0, &[(0, 100), (1, 101), (2, 102)]);
    script.polled_with(9, 3, vec![], 1, false);
    script.breaks(&["nonmonotonic-poll"]);
}

#[test]
fn a_seek_or_a_new_assignment_may_go_back() {
    let mut script = three();
    script.polled(9, 0, &[(0, 100), (1, 101), (2, 102)]);
    let id = script.invoke(9, Op::Seek { consumer: 9, topic: "t".into(), partition: 0, offset: 1 });
    script.end(id, Outcome::Done);
    script.polled(9, 1, &[(1, 101), (2, 102)]);
    script.invoke(9, Op::Assign { consumer: 9, topic: "t".into(), partition: 0 });
    script.polled(9, 0, &[(0, 100)]);
    script.breaks(&[]);
}

#[test]
fn poll_skip_within_a_poll() {
    let mut script = three();
    script.polled(8, 0, &[(0, 100), (1, 101), (2, 102)]);
    script.polled(9, 0, &[(0, 100), (2, 102)]);
    script.breaks(&["poll-skip"]);
}

#[test]
fn poll_skip_between_polls() {
    let mut script = three();
    script.polled(8, 0, &[(0, 100), (1, 101), (2, 102)]);
    script.polled(9, 0, &[(0, 100)]);
    script.polled(9, 1, &[(2, 102)]);
    script.breaks(&["poll-skip"]);
}

#[test]
fn poll_skip_by_an_empty_poll_that_moves_on_and_after_a_seek() {
    let mut script = three();
    script.polled(8, 0, &[(0, 100), (1, 101), (2, 102)]);
    script.polled_with(9, 0, vec![], 2, false);
    script.breaks(&["poll-skip"]);

    let mut script = three();
    script.polled(8, 0, &[(0, 100), (1, 101), (2, 102)]);
    script.invoke(9, Op::Seek { consumer: 9, topic: "t".into(), partition: 0, offset: 0 });
    script.polled(9, 1, &[(1, 101)]);
    script.breaks(&["poll-skip"]);
}

#[test]
fn nonmonotonic_send_of_one_producer_one_at_a_time() {
    let mut script = Script::new();
    script.sent(1, 100, 5);
    script.sent(1, 101, 4);
    script.breaks(&["nonmonotonic-send"]);
}

#[test]
fn nonmonotonic_send_of_an_idempotent_pipeline() {
    let mut script = Script::new();
    let first = script.invoke(1, Op::Send(Send { idempotent: true, ..send(1, 100) }));
    let second = script.invoke(1, Op::Send(Send { idempotent: true, ..send(1, 101) }));
    script.ack(first, 1);
    script.ack(second, 0);
    script.breaks(&["nonmonotonic-send"]);
}

#[test]
fn a_pipeline_without_idempotence_may_be_reordered() {
    let mut script = Script::new();
    let first = script.invoke(1, Op::Send(send(1, 100)));
    let second = script.invoke(1, Op::Send(send(1, 101)));
    script.ack(first, 1);
    script.ack(second, 0);
    script.breaks(&[]);
}

#[test]
fn order_of_one_session_where_outcomes_are_unknown() {
    let mut script = Script::new();
    for value in [100, 101] {
        let id = script.invoke(1, Op::Send(Send { idempotent: true, ..send(1, value) }));
        script.end(id, Outcome::Unknown { error: "timeout".into() });
    }
    script.final_read(&[(0, 101), (1, 100)]);
    script.breaks(&["order"]);
}

#[test]
fn order_of_fire_and_forget_on_one_connection() {
    for (session, expected) in [(0, &["order"][..]), (1, &[])] {
        let mut script = Script::new();
        for (value, session) in [(100, 0), (101, session)] {
            let id = script.invoke(1, Op::Send(Send { acks: 0, session, ..send(1, value) }));
            script.end(id, Outcome::Sent { offset: None });
        }
        script.final_read(&[(0, 101), (1, 100)]);
        script.breaks(expected);
    }
}

#[test]
fn real_time_order_between_producers() {
    let mut script = Script::new();
    script.sent(1, 100, 5);
    script.sent(2, 200, 4);
    script.breaks(&["real-time-order"]);
}

#[test]
fn concurrent_producers_have_no_order() {
    let mut script = Script::new();
    let first = script.invoke(1, Op::Send(send(1, 100)));
    let second = script.invoke(2, Op::Send(send(2, 200)));
    script.ack(first, 5);
    script.ack(second, 4);
    script.breaks(&[]);
}

#[test]
fn wrong_bytes_are_a_digest_that_nobody_sent() {
    let mut script = three();
    let records = vec![seen(0, 100), Seen { digest: 7, ..seen(1, 101) }, seen(2, 102)];
    script.polled_with(9, 0, records, 3, false);
    script.breaks(&["wrong-bytes"]);
}

#[test]
fn wrong_bytes_are_values_that_nobody_sent_or_nobody_can_read() {
    for value in [None, Some(777)] {
        let mut script = three();
        let alien = Seen { value, ..seen(3, 0) };
        script.polled_with(9, 0, vec![seen(0, 100), seen(1, 101), seen(2, 102), alien], 4, false);
        script.breaks(&["wrong-bytes"]);
    }
}

#[test]
fn wrong_bytes_are_values_in_the_wrong_partition_or_topic() {
    for (topic, partition) in [("t", 1), ("u", 0)] {
        let mut script = three();
        let id = script.invoke(1, Op::Send(Send { topic: topic.into(), partition, ..send(1, 200) }));
        script.end(id, Outcome::Unknown { error: "timeout".into() });
        script.polled(9, 0, &[(0, 100), (1, 101), (2, 102), (3, 200)]);
        script.breaks(&["wrong-bytes"]);
    }
}

#[test]
fn wrong_bytes_are_an_acknowledged_offset_that_is_not_the_real_one() {
    let mut script = three();
    script.sent(2, 200, 7);
    script.final_read(&[(0, 100), (1, 101), (2, 102), (3, 200)]);
    script.breaks(&["wrong-bytes"]);
}

#[test]
fn wrong_bytes_are_a_key_in_two_partitions() {
    let mut script = Script::new();
    for (value, partition) in [(100, 0), (101, 1)] {
        let id = script.invoke(1, Op::Send(Send { partition, key_hash: Some(5), ..send(1, value) }));
        script.ack(id, 0);
    }
    script.breaks(&["wrong-bytes"]);
}

#[test]
fn latest_goes_back_for_whoever_asks() {
    for process in [8, 9] {
        let mut script = three();
        script.asked(8, Which::Latest, Some(3), None);
        script.asked(process, Which::Latest, Some(2), None);
        script.breaks(&["latest-goes-back"]);
    }
}

#[test]
fn latest_goes_back_if_the_final_end_is_below_it() {
    let mut script = three();
    script.asked(8, Which::Latest, Some(4), None);
    script.final_read(&[(0, 100), (1, 101), (2, 102)]);
    script.breaks(&["latest-goes-back"]);
}

#[test]
fn time_lookup_that_names_a_place_without_a_record() {
    let mut script = three();
    script.polled_with(9, 0, vec![seen(0, 100), seen(1, 101), seen(2, 102)], 4, false);
    script.asked(9, Which::Time(25), Some(3), Some(30));
    script.breaks(&["time-lookup"]);
}

#[test]
fn time_lookup_too_late_too_early_and_with_the_wrong_stamp() {
    for (offset, stamp) in [(Some(2), Some(20)), (Some(0), Some(0)), (Some(1), Some(11)), (None, None)] {
        let mut script = three();
        script.polled(9, 0, &[(0, 100), (1, 101), (2, 102)]);
        script.asked(9, Which::Time(5), offset, stamp);
        script.breaks(&["time-lookup"]);
    }
    let mut script = three();
    script.polled(9, 0, &[(0, 100), (1, 101), (2, 102)]);
    script.asked(7, Which::Time(5), None, None);
    script.asked(9, Which::Time(5), Some(1), Some(10));
    script.breaks(&[]);
}

#[test]
fn what_fits_nothing_is_unexplained() {
    let mut script = three();
    script.end(OpId(55), Outcome::Done);
    script.breaks(&["unexplained"]);

    let mut script = three();
    script.ack(OpId(0), 0);
    script.breaks(&["unexplained"]);

    let mut script = three();
    script.invoke(1, Op::Send(send(1, 100)));
    script.breaks(&["unexplained"]);

    let mut script = three();
    let id = script.invoke(1, Op::Send(send(1, 200)));
    script.end(id, Outcome::Done);
    script.breaks(&["unexplained"]);

    let mut script = three();
    script.history.invoke(Process(1), 0, Op::DeleteTopic { topic: "x".into() });
    script.breaks(&["unexplained"]);
}

#[test]
fn a_flood_of_one_kind_is_one_violation_with_a_count() {
    let mut script = three();
    script.final_read(&[]);
    let violations = judge(&script.history);
    assert_eq!(kinds(&violations), ["unseen"]);
    assert_eq!(violations.len(), 1);
    assert_eq!(violations[0].evidence.last().map(String::as_str), Some("and 2 more like this in the same place"));
}

#[test]
fn an_end_is_stale_if_anybody_knew_of_a_later_one() {
    let mut script = three();
    script.asked(8, Which::Latest, Some(2), None);
    script.breaks(&["latest-goes-back"]);

    let mut script = three();
    script.asked(7, Which::Latest, Some(3), None);
    script.asked(8, Which::Latest, Some(3), None);
    script.breaks(&[]);

    // Asked before the last acknowledgement, answered after it.
    let mut script = three();
    let asked = script.invoke(8, Op::Offsets { topic: "t".into(), partition: 0, which: Which::Latest });
    script.sent(1, 103, 3);
    script.end(asked, Outcome::Offsets { offset: Some(3), timestamp: None });
    script.breaks(&[]);
}

#[test]
fn an_offset_that_was_read_is_not_out_of_range() {
    for (from, kinds) in [(3, &["false-out-of-range"][..]), (4, &[])] {
        let mut script = three();
        let poll = Poll { consumer: 9, topic: "t".into(), partition: 0, from_offset: from, is_final: false };
        let id = script.invoke(9, Op::Poll(poll));
        script.end(id, Outcome::Failed { error: "OFFSET_OUT_OF_RANGE".into() });
        script.breaks(kinds);
    }
}

/// A topic that is deleted and made again: sends bear its name, and what took them may be either life.
struct Reborn(Script);

impl Reborn {
    fn sent(&mut self, value: u64, offset: i64, life: Option<&str>) {
        let id = self.0.invoke(1, Op::Send(send(1, value)));
        if let Some(life) = life {
            self.0.history.relabel(id, life);
        }
        self.0.ack(id, offset);
    }

    fn read(&mut self, life: &str, records: &[(i64, u64)]) {
        let next = records.last().map_or(0, |&(offset, _)| offset + 1);
        let poll = Poll { consumer: 99, topic: life.into(), partition: 0, from_offset: 0, is_final: true };
        let id = self.0.invoke(99, Op::Poll(poll));
        let records = records.iter().map(|&(offset, value)| seen(offset, value)).collect();
        self.0.end(id, Outcome::Polled { records, next });
    }
}

#[test]
fn an_acknowledgement_counts_in_the_life_that_gave_it() {
    // Into the old life, which is gone; into the new one; and nobody knows where.
    let mut script = Reborn(Script::new());
    script.sent(100, 0, Some("t#1"));
    let id = script.0.invoke(7, Op::DeleteTopic { topic: "t#1".into() });
    script.0.end(id, Outcome::Done);
    script.sent(101, 0, Some("t#2"));
    script.sent(102, 7, None);
    script.read("t#2", &[(0, 101)]);
    script.0.breaks(&[]);

    let mut script = Reborn(Script::new());
    script.sent(100, 0, Some("t#1"));
    script.sent(101, 1, Some("t#2"));
    script.read("t#1", &[(0, 100)]);
    script.read("t#2", &[]);
    script.0.breaks(&["unseen"]);

    let mut script = Reborn(Script::new());
    script.sent(100, 3, Some("t#2"));
    script.sent(101, 4, Some("t#2"));
    script.read("t#1", &[]);
    script.read("t#2", &[(3, 100), (5, 101)]);
    script.0.breaks(&["wrong-bytes"]);
}

#[test]
fn a_value_may_stand_in_two_lives_but_once_in_each() {
    let mut script = Reborn(Script::new());
    script.sent(100, 0, Some("t#2"));
    script.read("t#1", &[(5, 100)]);
    script.read("t#2", &[(0, 100)]);
    script.0.breaks(&[]);

    let mut script = Reborn(Script::new());
    script.sent(100, 0, Some("t#2"));
    script.read("t#2", &[(0, 100), (1, 100)]);
    script.0.breaks(&["duplicate"]);
}

#[test]
fn a_label_of_another_topic_fits_nothing() {
    let mut script = three();
    script.history.relabel(OpId(0), "x#1");
    script.breaks(&["unexplained"]);
}

#[test]
fn a_reader_that_hangs_tells_nothing_of_the_end() {
    // It was told to read up to 3, and came to 2: that it hangs is another oracle's to say.
    let mut script = three();
    script.asked(8, Which::Latest, Some(3), None);
    script.asked(99, Which::Latest, Some(3), None);
    script.final_read(&[(0, 100), (1, 101)]);
    script.breaks(&["unseen"]);

    // One that came as far as it was told to says that others were told too much.
    let mut script = three();
    script.asked(8, Which::Latest, Some(4), None);
    script.asked(8, Which::Latest, Some(4), None);
    script.final_read(&[(0, 100), (1, 101), (2, 102)]);
    script.breaks(&["latest-goes-back"]);
}
