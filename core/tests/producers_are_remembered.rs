//! The producer table against a model that forgets nothing: what was appended is recognised, what comes too early is refused.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use tidelog_core::id::{Offset, ProducerId};
use tidelog_core::kafka::ErrorCode;
use tidelog_core::kafka::batch::{Batch, Builder, validate};
use tidelog_core::limits::PRODUCER_BATCHES_REMEMBERED;
use tidelog_core::partition::producers::{Producers, Verdict};
use tidelog_core::time::Timestamp;

fn batch(id: i64, epoch: i16, sequence: i32, count: usize) -> Batch {
    let mut builder = Builder::new().producer(ProducerId(id), epoch, sequence);
    for at in 0..count {
        builder.push(Timestamp(at as i64 + 1_000), None, None, &[]);
    }
    validate(Some(builder.build())).expect("the builder makes good batches")
}

/// Judges a batch and records it if it is to be appended.
fn offer(producers: &mut Producers, batch: &Batch, offset: i64, time: i64) -> Verdict {
    let verdict = producers.check(batch);
    if verdict == Verdict::Append {
        producers.record(batch, Offset(offset), Timestamp(time));
    }
    verdict
}

fn duplicate(offset: i64, count: i64) -> Verdict {
    Verdict::Duplicate { base_offset: Offset(offset), timestamp: Timestamp(999 + count) }
}

const OUT_OF_ORDER: Verdict = Verdict::Reject(ErrorCode::OutOfOrderSequenceNumber);

#[derive(Clone, Copy, Debug)]
enum Act {
    /// What the producer should send next.
    Next { id: i64, count: usize },
    /// One of the batches it sent before in this epoch.
    Again { id: i64, which: usize },
    /// Something after a gap.
    Gap { id: i64, gap: i32 },
    /// A new life.
    Bump { id: i64 },
    /// A batch of an earlier life.
    Zombie { id: i64 },
    /// Through a checkpoint.
    Reload,
}

fn act() -> impl Strategy<Value = Act> {
    let id = || 1..4_i64;
    prop_oneof![
        6 => (id(), 1..6_usize).prop_map(|(id, count)| Act::Next { id, count }),
        4 => (id(), 0..12_usize).prop_map(|(id, which)| Act::Again { id, which }),
        2 => (id(), 1..1_000_i32).prop_map(|(id, gap)| Act::Gap { id, gap }),
        1 => id().prop_map(|id| Act::Bump { id }),
        1 => id().prop_map(|id| Act::Zombie { id }),
        1 => Just(Act::Reload),
    ]
}

#[derive(Default)]
struct Model {
    epoch: i16,
    next: i64,
    sent: Vec<(i64, usize, i64)>,
}

fn sequence(number: i64) -> i32 {
    (number % (1 << 31)) as i32
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn verdicts_agree_with_the_whole_history(
        acts in proptest::collection::vec(act(), 1..80),
        near_the_end in any::<bool>(),
    ) {
        let mut producers = Producers::new();
        let mut models: BTreeMap<i64, Model> = BTreeMap::new();
        let mut offset = 0;
        // To see sequences wrap, all producers were forgotten once just before the end.
        let start = if near_the_end { (1_i64 << 31) - 7 } else { 0 };
        if near_the_end {
            offer(&mut producers, &batch(9, 0, 0, 1), 0, 0);
            producers.expire(Timestamp(1), 1);
            prop_assert!(producers.is_empty());
        }
        for act in acts {
            match act {
                Act::Next { id, count } => {
                    let model = models.entry(id).or_insert_with(|| Model { next: start, ..Model::default() });
                    let verdict = offer(&mut producers, &batch(id, model.epoch, sequence(model.next), count), offset, 5);
                    prop_assert_eq!(verdict, Verdict::Append);
                    model.sent.push((model.next, count, offset));
                    model.next += count as i64;
                    offset += count as i64;
                }
                Act::Again { id, which } => {
                    let Some(model) = models.get(&id).filter(|model| !model.sent.is_empty()) else { continue };
                    let which = which % model.sent.len();
                    let (first, count, at) = model.sent[which];
                    let verdict = offer(&mut producers, &batch(id, model.epoch, sequence(first), count), offset, 5);
                    if which + PRODUCER_BATCHES_REMEMBERED >= model.sent.len() {
                        prop_assert_eq!(verdict, duplicate(at, count as i64));
                    } else {
                        prop_assert_eq!(verdict, Verdict::Reject(ErrorCode::DuplicateSequenceNumber));
                    }
                }
                Act::Gap { id, gap } => {
                    let Some(model) = models.get(&id).filter(|model| !model.sent.is_empty()) else { continue };
                    let ahead = sequence(model.next + i64::from(gap));
                    prop_assert_eq!(offer(&mut producers, &batch(id, model.epoch, ahead, 1), offset, 5), OUT_OF_ORDER);
                    // Over the end: some of it is new, some is not.
                    let (first, count, _) = model.sent[model.sent.len() - 1];
                    let over = batch(id, model.epoch, sequence(first), count + 1);
                    prop_assert_eq!(offer(&mut producers, &over, offset, 5), OUT_OF_ORDER);
                }
                Act::Bump { id } => {
                    let Some(model) = models.get_mut(&id).filter(|model| !model.sent.is_empty()) else { continue };
                    *model = Model { epoch: model.epoch + 1, ..Model::default() };
                    let early = batch(id, model.epoch, 3, 1);
                    prop_assert_eq!(offer(&mut producers, &early, offset, 5), OUT_OF_ORDER);
                    let first = batch(id, model.epoch, 0, 1);
                    prop_assert_eq!(offer(&mut producers, &first, offset, 5), Verdict::Append);
                    model.sent.push((0, 1, offset));
                    model.next = 1;
                    offset += 1;
                }
                Act::Zombie { id } => {
                    let Some(model) = models.get(&id).filter(|model| model.epoch > 0) else { continue };
                    for sequence in [0, sequence(model.next)] {
                        prop_assert_eq!(
                            offer(&mut producers, &batch(id, model.epoch - 1, sequence, 1), offset, 5),
                            Verdict::Reject(ErrorCode::InvalidProducerEpoch)
                        );
                    }
                }
                Act::Reload => {
                    let bytes = producers.encode();
                    let again = Producers::decode(bytes.clone()).unwrap();
                    prop_assert_eq!(&again, &producers);
                    prop_assert_eq!(again.encode(), bytes);
                    producers = again;
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_table_or_a_sound_one(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut with_version = vec![8, 1];
        with_version.extend_from_slice(&bytes);
        if let Ok(mut producers) = Producers::decode(Bytes::from(with_version)) {
            let _ = offer(&mut producers, &batch(1, 0, 0, 1), 0, 0);
            producers.expire(Timestamp(i64::MAX), 0);
            prop_assert!(producers.is_empty());
        }
    }
}

#[test]
fn a_new_producer_begins_at_zero() {
    let mut producers = Producers::new();
    assert_eq!(offer(&mut producers, &batch(4, 0, 5, 1), 0, 0), OUT_OF_ORDER);
    assert!(producers.is_empty());
    assert_eq!(offer(&mut producers, &batch(4, 0, 0, 5), 0, 0), Verdict::Append);
    assert_eq!(offer(&mut producers, &batch(4, 0, 5, 1), 5, 0), Verdict::Append);
}

#[test]
fn a_forgotten_producer_goes_on_where_it_was() {
    let mut producers = Producers::new();
    offer(&mut producers, &batch(4, 0, 0, 5), 0, 100);
    producers.expire(Timestamp(199), 100);
    assert_eq!(producers.last(ProducerId(4)), Some((0, 4)));
    producers.expire(Timestamp(200), 100);
    assert!(producers.is_empty());
    assert_eq!(offer(&mut producers, &batch(5, 0, 7, 1), 5, 200), OUT_OF_ORDER, "this one was never here");
    assert_eq!(offer(&mut producers, &batch(4, 0, 5, 2), 5, 200), Verdict::Append);
    // What was before it is not known to be a duplicate.
    assert_eq!(offer(&mut producers, &batch(4, 0, 0, 5), 7, 200), OUT_OF_ORDER);
    let again = Producers::decode(producers.encode()).expect("our own table");
    assert_eq!(again.check(&batch(3, 0, 9, 1)), Verdict::Append, "that something was forgotten is remembered");
}

#[test]
fn an_heir_goes_on_where_it_was_in_the_former_topic() {
    let mut producers = Producers::new();
    producers.inherit(ProducerId(2_000));
    assert_eq!(
        offer(&mut producers, &batch(2_000, 0, 5, 1), 0, 0),
        OUT_OF_ORDER,
        "this one never wrote to the former topic"
    );
    assert_eq!(offer(&mut producers, &batch(1_999, 3, 5, 2), 0, 0), Verdict::Append);
    // From then on it is known, and judged as everybody.
    assert_eq!(offer(&mut producers, &batch(1_999, 3, 9, 1), 2, 0), OUT_OF_ORDER, "a gap is a gap");
    assert_eq!(offer(&mut producers, &batch(1_999, 3, 0, 5), 2, 0), OUT_OF_ORDER, "what was before is not here");
    assert_eq!(offer(&mut producers, &batch(1_999, 3, 5, 2), 2, 0), duplicate(0, 2));
    assert_eq!(offer(&mut producers, &batch(1_999, 4, 7, 1), 2, 0), OUT_OF_ORDER, "a new epoch begins at zero");
    assert_eq!(offer(&mut producers, &batch(1_999, 3, 7, 1), 2, 0), Verdict::Append);
    // Whoever takes up a checkpoint says it again: it is a fact of the topic.
    let mut again = Producers::decode(producers.encode()).expect("our own table");
    assert_eq!(again.check(&batch(7, 0, 9, 1)), OUT_OF_ORDER);
    again.inherit(ProducerId(2_000));
    assert_eq!(again.check(&batch(7, 0, 9, 1)), Verdict::Append);
    assert_eq!(again, producers);
}

#[test]
fn use_keeps_a_producer() {
    let mut producers = Producers::new();
    offer(&mut producers, &batch(1, 0, 0, 1), 0, 100);
    offer(&mut producers, &batch(2, 0, 0, 1), 1, 100);
    offer(&mut producers, &batch(1, 0, 1, 1), 2, 150);
    producers.expire(Timestamp(210), 100);
    assert_eq!((producers.last(ProducerId(1)), producers.last(ProducerId(2))), (Some((0, 1)), None));
}

#[test]
fn the_longest_silent_makes_room() {
    let mut producers = Producers::with_capacity(3);
    for (id, time) in [(7, 20), (3, 10), (5, 10)] {
        offer(&mut producers, &batch(id, 0, 0, 1), 0, time);
    }
    offer(&mut producers, &batch(9, 0, 0, 1), 0, 30);
    assert_eq!(producers.last(ProducerId(3)), None, "of two equally silent the smaller id");
    offer(&mut producers, &batch(10, 0, 0, 1), 0, 30);
    assert_eq!(producers.last(ProducerId(5)), None);
    assert_eq!(producers.len(), 3);
    // One that is known needs no room.
    offer(&mut producers, &batch(7, 0, 1, 1), 0, 30);
    assert_eq!(producers.len(), 3);
}

#[test]
fn anonymous_batches_leave_nothing() {
    let mut producers = Producers::new();
    let mut builder = Builder::new();
    builder.push(Timestamp(1), None, None, &[]);
    let batch = validate(Some(builder.build())).expect("the builder makes good batches");
    assert_eq!(offer(&mut producers, &batch, 0, 0), Verdict::Append);
    assert_eq!(offer(&mut producers, &batch, 1, 0), Verdict::Append);
    assert!(producers.is_empty());
}

#[test]
fn fewer_batches_can_be_remembered() {
    let mut producers = Producers::new();
    producers.remember(1);
    for sequence in 0..2 {
        offer(&mut producers, &batch(1, 0, sequence, 1), sequence.into(), 0);
    }
    assert_eq!(producers.check(&batch(1, 0, 1, 1)), duplicate(1, 1));
    assert_eq!(producers.check(&batch(1, 0, 0, 1)), Verdict::Reject(ErrorCode::OutOfOrderSequenceNumber));
}

/// Golden: a table of version 1 stays readable.
#[test]
fn the_first_table_stays_readable() {
    let bytes: &[u8] = &[8, 1, 16, 3, 26, 18, 8, 7, 16, 2, 24, 5, 32, 200, 1, 42, 7, 16, 4, 24, 9, 32, 210, 15];
    let producers = Producers::decode(Bytes::from_static(bytes)).expect("it is good");
    assert_eq!(producers.last(ProducerId(7)), Some((2, 4)));
    assert_eq!(
        producers.check(&batch(7, 2, 0, 5)),
        Verdict::Duplicate { base_offset: Offset(9), timestamp: Timestamp(1_001) }
    );
    assert_eq!(producers.check(&batch(3, 0, 8, 1)), Verdict::Append);
    assert_eq!(producers.encode(), Bytes::from_static(bytes));
}
