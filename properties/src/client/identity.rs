//! One offset holds one value, one value stands at one offset, and it is what was sent.

use std::collections::BTreeMap;

use super::view::{Partition, View};
use crate::history::name_of;
use crate::violation::Verdict;

pub(super) fn check(view: &View<'_>, partition: &Partition<'_>, verdict: &mut Verdict, looks: &mut u64) {
    seen(view, partition, verdict, looks);
    acknowledged(view, partition, verdict, looks);
    keys(view, partition, verdict, looks);
}

/// Every record any poll returned.
fn seen(view: &View<'_>, partition: &Partition<'_>, verdict: &mut Verdict, looks: &mut u64) {
    let name = partition.name();
    for polled in &partition.polls {
        for seen in polled.records {
            *looks += 1;
            let offset = seen.offset;
            let first = &partition.seen[&offset];
            if first.value != seen.value {
                verdict.add("inconsistent-offsets", name.clone(), || {
                    (
                        format!("Offset {offset} of {name} was read with two different records."),
                        vec![view.seen_line(first.poll, offset), view.seen_line(polled.id, offset)],
                    )
                });
            }
            let mut wrong = |sentence: String, sent: Option<crate::history::OpId>| {
                verdict.add("wrong-bytes", name.clone(), || {
                    let mut evidence: Vec<_> = sent.map(|id| view.line(id)).into_iter().collect();
                    evidence.push(view.seen_line(polled.id, offset));
                    (sentence, evidence)
                });
            };
            let Some(value) = seen.value else {
                wrong(format!("The record at offset {offset} of {name} is none that anybody sent."), None);
                continue;
            };
            let Some(sent) = view.sends.get(&value) else {
                wrong(format!("Value {value} was read at offset {offset} of {name}, and nobody sent it."), None);
                continue;
            };
            let elsewhere = name_of(&sent.send.topic) != name_of(partition.topic);
            if elsewhere || sent.send.partition != partition.partition {
                wrong(format!("Value {value} was read from {name}, and was sent to another partition."), Some(sent.id));
            } else if sent.send.digest != seen.digest {
                let sentence = format!(
                    "Value {value} at offset {offset} of {name} came back with another key, value, header or timestamp than it was sent with."
                );
                wrong(sentence, Some(sent.id));
            }
        }
    }
}

/// Every send: copies, and acknowledgements that name a place.
fn acknowledged(view: &View<'_>, partition: &Partition<'_>, verdict: &mut Verdict, looks: &mut u64) {
    let name = partition.name();
    let mut unread: BTreeMap<i64, crate::history::OpId> = BTreeMap::new();
    for sent in &partition.sends {
        *looks += 1;
        let value = sent.send.value;
        let copies_are_legal = !sent.send.idempotent && sent.record.retries > 0;
        let ack = sent.ack_offset();
        let Some(spots) = partition.spots.get(&value) else {
            // Where a value was read, the reading counts; here two acknowledgements are all there is.
            let Some(offset) = ack else { continue };
            if let Some(&other) = unread.get(&offset) {
                verdict.add("inconsistent-offsets", name.clone(), || {
                    (
                        format!("Two values were acknowledged at offset {offset} of {name}."),
                        vec![view.line(other), view.line(sent.id)],
                    )
                });
            }
            unread.insert(offset, sent.id);
            continue;
        };
        if let (Some(other), false, true) = (spots.other, copies_are_legal, sent.send.acks != 0) {
            let (offset, poll) = spots.lowest;
            verdict.add("duplicate", name.clone(), || {
                let why = if sent.send.idempotent { "by an idempotent producer" } else { "once, without a retry" };
                (
                    format!("Value {value} was sent {why}, and stands at offsets {offset} and {} of {name}.", other.0),
                    vec![view.line(sent.id), view.seen_line(poll, offset), view.seen_line(other.1, other.0)],
                )
            });
        }
        let Some(ack) = ack else { continue };
        let there = partition.seen.get(&ack);
        let found = spots.lowest.0 == ack || there.is_some_and(|sighting| sighting.value == Some(value));
        if !found && (!copies_are_legal || partition.covered.contains(ack)) {
            let (offset, poll) = spots.lowest;
            verdict.add("wrong-bytes", name.clone(), || {
                (
                    format!("Value {value} was acknowledged at offset {ack} of {name}, and stands at {offset}."),
                    vec![view.line(sent.id), view.seen_line(poll, offset)],
                )
            });
        }
    }
}

/// One key, one partition. Judged from the partition the later send of a key went to.
fn keys(view: &View<'_>, partition: &Partition<'_>, verdict: &mut Verdict, looks: &mut u64) {
    let name = partition.name();
    for sent in &partition.sends {
        *looks += 1;
        let Some(hash) = sent.send.key_hash else { continue };
        let Some(&home) = view.homes.get(&(partition.topic, hash)) else {
            continue;
        };
        if let Some(first) = view.sends.get(&home).filter(|first| first.send.partition != partition.partition) {
            verdict.add("wrong-bytes", name.clone(), || {
                (
                    format!(
                        "One key went to two partitions of {}, {} and {name}.",
                        partition.topic, first.send.partition
                    ),
                    vec![view.line(first.id), view.line(sent.id)],
                )
            });
        }
    }
}
