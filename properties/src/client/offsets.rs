//! ListOffsets: ends that do not go back, starts that move only by right, and lookups by time.
//!
//! Brokers here answer behind a read barrier: an answer is as new as anything that anybody was told before the question.

use std::collections::BTreeMap;

use super::view::{Asked, Partition, View};
use crate::history::{OpId, Outcome, Process, Record, Which};
use crate::violation::Verdict;

pub(super) fn check(view: &View<'_>, partition: &Partition<'_>, verdict: &mut Verdict, looks: &mut u64) {
    if partition.asked.is_empty() && partition.out_of_range.is_empty() {
        return;
    }
    never_back(view, partition, verdict, looks);
    never_stale(view, partition, verdict, looks);
    by_time(view, partition, verdict, looks);
}

/// Answers of one client in the order in which it got them, the next asked after the one before was answered.
fn never_back(view: &View<'_>, partition: &Partition<'_>, verdict: &mut Verdict, looks: &mut u64) {
    let name = partition.name();
    let mut highest: BTreeMap<(Process, bool), Asked<'_>> = BTreeMap::new();
    let finals = partition.polls.iter().filter(|polled| polled.poll.is_final);
    let final_end = finals.max_by_key(|polled| (polled.next, polled.id));
    // Who was told how far to read and did not come there cannot say where the log ends.
    let goal = |reader: Process| {
        let latest = partition.asked.iter().filter(|asked| asked.which == Which::Latest);
        latest.filter(|asked| asked.record.process == reader).filter_map(|asked| asked.offset).max()
    };
    let final_end = final_end
        .filter(|last| goal(last.record.process).is_none_or(|goal| goal <= last.next))
        .map(|last| (last.next, last.id));
    for asked in &partition.asked {
        *looks += 1;
        let earliest = match asked.which {
            Which::Earliest => true,
            Which::Latest => false,
            Which::Time(_) => continue,
        };
        let Some(offset) = asked.offset else {
            verdict.add("unexplained", name.clone(), || {
                (format!("An end of {name} was asked for and answered without an offset."), vec![view.line(asked.id)])
            });
            continue;
        };
        if earliest && offset > 0 && !partition.trimmed {
            verdict.add("retention", name.clone(), || {
                (
                    format!("{name} starts at offset {offset}, and nothing allowed its oldest records to go."),
                    vec![view.line(asked.id)],
                )
            });
        }
        if let Some((end, poll)) = final_end.filter(|&(end, _)| end < offset && !partition.deleted) {
            verdict.add("latest-goes-back", name.clone(), || {
                (
                    format!("A client was told of offset {offset} as an end of {name}, and at the very end the log ended at {end}."),
                    vec![view.line(asked.id), view.line(poll)],
                )
            });
        }
        let key = (asked.record.process, earliest);
        let before = highest.get(&key).copied();
        if before.is_none_or(|before| before.offset <= asked.offset) {
            highest.insert(key, *asked);
        }
        let ended = |before: &Asked<'_>| {
            before.record.completed.as_ref().is_some_and(|(moment, _)| moment.seq < asked.record.invoked.seq)
        };
        let Some(before) = before.filter(|before| before.offset > asked.offset && ended(before)) else {
            continue;
        };
        let (kind, end) = if earliest { ("retention", "start") } else { ("latest-goes-back", "end") };
        verdict.add(kind, name.clone(), || {
            (
                format!("A client was told that {name} has its {end} at {:?}, and later at {offset}.", before.offset),
                vec![view.line(before.id), view.line(asked.id)],
            )
        });
    }
}

/// Ends are told, and offsets called out of range, behind a barrier of the group: never below what anybody was told before.
fn never_stale(view: &View<'_>, partition: &Partition<'_>, verdict: &mut Verdict, looks: &mut u64) {
    let mut told: Vec<(u64, i64, OpId)> = Vec::new();
    let mut tell = |record: &Record, end: i64, id: OpId| {
        if let Some((moment, _)) = &record.completed {
            told.push((moment.seq, end, id));
        }
    };
    for sent in partition.sends.iter().filter(|sent| sent.acknowledged()) {
        sent.ack_offset().into_iter().for_each(|offset| tell(sent.record, offset.saturating_add(1), sent.id));
    }
    for polled in &partition.polls {
        polled
            .records
            .last()
            .into_iter()
            .for_each(|last| tell(polled.record, last.offset.saturating_add(1), polled.id));
    }
    for asked in partition.asked.iter().filter(|asked| asked.which == Which::Latest) {
        asked.offset.into_iter().for_each(|offset| tell(asked.record, offset, asked.id));
    }
    told.sort_unstable();
    let mut highest: Vec<(i64, OpId)> = Vec::with_capacity(told.len());
    for (_, end, id) in &told {
        *looks += 1;
        let before = highest.last().copied().filter(|(before, _)| before >= end);
        highest.push(before.unwrap_or((*end, *id)));
    }
    let name = partition.name();
    for (id, poll, record) in &partition.out_of_range {
        *looks += 1;
        let before = told.partition_point(|(seq, ..)| *seq < record.invoked.seq);
        let known = before.checked_sub(1).map(|at| highest[at]).filter(|(end, _)| poll.from_offset <= *end);
        let Some((end, why)) = known.filter(|_| poll.from_offset >= 0 && !partition.trimmed && !partition.deleted)
        else {
            continue;
        };
        verdict.add("false-out-of-range", name.clone(), || {
            (
                format!(
                    "A reader of {name} was told that offset {} is out of range; it starts at 0, and was known to reach to {end}.",
                    poll.from_offset
                ),
                vec![view.line(why), view.line(*id)],
            )
        });
    }
    for asked in partition.asked.iter().filter(|asked| asked.which == Which::Latest) {
        *looks += 1;
        let before = told.partition_point(|(seq, ..)| *seq < asked.record.invoked.seq);
        let Some((end, id)) = before.checked_sub(1).map(|at| highest[at]) else {
            continue;
        };
        let Some(offset) = asked.offset.filter(|offset| *offset < end && !partition.deleted) else {
            continue;
        };
        verdict.add("latest-goes-back", name.clone(), || {
            (
                format!("{name} was known to reach to {end}, and later somebody was told that it ends at {offset}."),
                vec![view.line(id), view.line(asked.id)],
            )
        });
    }
}

fn by_time(view: &View<'_>, partition: &Partition<'_>, verdict: &mut Verdict, looks: &mut u64) {
    let name = partition.name();
    let mut highest = i64::MIN;
    let mut latest_so_far = Vec::with_capacity(partition.known.len());
    for sighting in partition.seen.values() {
        *looks += 1;
        highest = highest.max(sighting.timestamp);
        latest_so_far.push(highest);
    }
    let told = Told::new(partition, looks);
    for asked in &partition.asked {
        *looks += 1;
        let Which::Time(wanted) = asked.which else { continue };
        let mut wrong = |sentence: String, at: Option<i64>| {
            verdict.add("time-lookup", name.clone(), || {
                let there = at.and_then(|at| Some(view.seen_line(partition.seen.get(&at)?.poll, at)));
                (sentence, std::iter::once(view.line(asked.id)).chain(there).collect())
            });
        };
        let found = asked.offset.and_then(|offset| Some((offset, partition.seen.get(&offset)?)));
        if let Some((offset, sighting)) = found {
            let stamp = sighting.timestamp;
            if stamp < wanted || asked.timestamp.is_some_and(|answered| answered != stamp) {
                let sentence = format!(
                    "{name} was asked for the first record at or after time {wanted} and named offset {offset}, whose time is {stamp}."
                );
                wrong(sentence, Some(offset));
                continue;
            }
        }
        if let Some(nowhere) = asked.offset.filter(|&o| found.is_none() && partition.covered.contains(o)) {
            wrong(
                format!(
                    "{name} was asked for time {wanted} and named offset {nowhere}, where no reader found a record."
                ),
                None,
            );
            continue;
        }
        if partition.trimmed {
            continue;
        }
        let first = latest_so_far.partition_point(|&stamp| stamp < wanted);
        let Some(&first) = partition.known.get(first) else {
            continue;
        };
        // An answer of "none" is judged by what this client had been told to exist when it asked.
        let below = asked.offset.unwrap_or_else(|| told.before(asked).saturating_add(1));
        if first < below {
            wrong(
                format!("{name} was asked for the first record at or after time {wanted} and missed offset {first}."),
                Some(first),
            );
        }
    }
}

/// The highest offset each client knew to exist, over time.
struct Told(BTreeMap<Process, Vec<(u64, i64)>>);

impl Told {
    fn new(partition: &Partition<'_>, looks: &mut u64) -> Self {
        let mut told: BTreeMap<Process, Vec<(u64, i64)>> = BTreeMap::new();
        for polled in &partition.polls {
            *looks += 1;
            if let Some(last) = polled.records.last() {
                put(&mut told, polled.record, last.offset);
            }
        }
        for sent in &partition.sends {
            *looks += 1;
            if let Some(offset) = sent.ack_offset() {
                put(&mut told, sent.record, offset);
            }
        }
        for list in told.values_mut() {
            list.sort_unstable();
            let mut highest = i64::MIN;
            for (_, offset) in list {
                highest = highest.max(*offset);
                *offset = highest;
            }
        }
        Self(told)
    }

    fn before(&self, asked: &Asked<'_>) -> i64 {
        let list = self.0.get(&asked.record.process).map_or(&[][..], Vec::as_slice);
        let after = list.partition_point(|&(seq, _)| seq < asked.record.invoked.seq);
        if after == 0 { -1 } else { list[after - 1].1 }
    }
}

fn put(told: &mut BTreeMap<Process, Vec<(u64, i64)>>, record: &Record, offset: i64) {
    if let Some((moment, Outcome::Sent { .. } | Outcome::Polled { .. })) = &record.completed {
        told.entry(record.process).or_default().push((moment.seq, offset));
    }
}
