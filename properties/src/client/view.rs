//! A history sorted by partition, and what its polls say about each, gathered once for all checkers.

use std::collections::{BTreeMap, BTreeSet};

use tidelog_core::client::SEQUENCE_BROKEN;

use crate::history::{History, Op, OpId, Outcome, Poll, Record, Seen, Send, Which, name_of};
use crate::violation::Verdict;

/// How Kafka names the error of an offset that a partition does not hold.
const OUT_OF_RANGE: &str = "OFFSET_OUT_OF_RANGE";

/// A send and what became of it.
#[derive(Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) id: OpId,
    pub(super) send: &'a Send,
    pub(super) record: &'a Record,
    /// Whether what it was told was said by this life of the topic: a name may have led it elsewhere.
    pub(super) here: bool,
}

impl Sent<'_> {
    /// Why it failed, if a broker refused the sequence of a batch that was next in line.
    pub(super) fn broken_sequence(&self) -> Option<&str> {
        match &self.record.completed {
            Some((_, Outcome::Unknown { error } | Outcome::Failed { error })) => {
                error.contains(SEQUENCE_BROKEN).then_some(error.as_str())
            }
            _ => None,
        }
    }

    /// Completed with `Sent`: with acks=0 this is no promise that anything was kept.
    pub(super) fn ended_well(&self) -> Option<Option<i64>> {
        match self.record.completed {
            Some((_, Outcome::Sent { offset })) if self.here => Some(offset),
            _ => None,
        }
    }

    /// Whether the cluster promised to keep the value.
    pub(super) fn acknowledged(&self) -> bool {
        self.send.acks != 0 && self.ended_well().is_some()
    }

    /// The offset in the acknowledgement.
    pub(super) fn ack_offset(&self) -> Option<i64> {
        if self.send.acks == 0 { None } else { self.ended_well().flatten() }
    }

    pub(super) fn failed(&self) -> bool {
        matches!(self.record.completed, Some((_, Outcome::Failed { .. })))
    }
}

/// A poll that returned.
#[derive(Clone, Copy)]
pub(super) struct Polled<'a> {
    pub(super) id: OpId,
    pub(super) poll: &'a Poll,
    pub(super) record: &'a Record,
    pub(super) records: &'a [Seen],
    pub(super) next: i64,
}

/// A step of one consumer in one partition.
#[derive(Clone, Copy)]
pub(super) enum Turn<'a> {
    Assign,
    Seek(i64),
    Polled(Polled<'a>),
}

/// A ListOffsets that was answered.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) id: OpId,
    pub(super) record: &'a Record,
    pub(super) which: Which,
    pub(super) offset: Option<i64>,
    pub(super) timestamp: Option<i64>,
}

/// The first time an offset was seen.
#[derive(Clone, Copy)]
pub(super) struct Sighting {
    pub(super) value: Option<u64>,
    pub(super) timestamp: i64,
    pub(super) poll: OpId,
}

/// Where a value was seen: its lowest offset, another if there is one, and whether a final read saw it.
#[derive(Clone, Copy)]
pub(super) struct Spots {
    pub(super) lowest: (i64, OpId),
    pub(super) other: Option<(i64, OpId)>,
    pub(super) in_final: bool,
}

/// Ranges of offsets, merged.
#[derive(Default)]
pub(super) struct Ranges(Vec<(i64, i64)>);

impl Ranges {
    fn of(mut ranges: Vec<(i64, i64)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(i64, i64)> = Vec::new();
        for (from, to) in ranges {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        Self(merged)
    }

    pub(super) fn contains(&self, offset: i64) -> bool {
        let after = self.0.partition_point(|&(from, _)| from <= offset);
        after > 0 && offset < self.0[after - 1].1
    }

    /// The lowest offset in any of them.
    pub(super) fn start(&self) -> Option<i64> {
        self.0.first().map(|&(from, _)| from)
    }
}

/// One partition of one life of a topic.
#[derive(Default)]
pub(super) struct Partition<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) sends: Vec<Sent<'a>>,
    pub(super) polls: Vec<Polled<'a>>,
    pub(super) turns: BTreeMap<u64, Vec<Turn<'a>>>,
    pub(super) asked: Vec<Asked<'a>>,
    /// Polls that were told that their offset is out of range.
    pub(super) out_of_range: Vec<(OpId, &'a Poll, &'a Record)>,
    /// Every offset that any poll returned, ascending.
    pub(super) seen: BTreeMap<i64, Sighting>,
    /// The keys of `seen`, for counting.
    pub(super) known: Vec<i64>,
    pub(super) spots: BTreeMap<u64, Spots>,
    /// Offsets that some poll passed, returned or not.
    pub(super) covered: Ranges,
    /// Offsets that some final read passed.
    pub(super) covered_final: Ranges,
    /// Old records may go: by retention or DeleteRecords.
    pub(super) trimmed: bool,
    /// Somebody asked for the topic's end.
    pub(super) deleted: bool,
    /// Other lives of the topic have its name: what bears the name alone says nothing for sure of this one.
    pub(super) shares_name: bool,
}

impl Partition<'_> {
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.topic, self.partition)
    }

    /// Where a send's value stands, as far as anybody was told: what was read counts more than what was acknowledged.
    pub(super) fn place(&self, sent: &Sent<'_>) -> Option<i64> {
        self.spots.get(&sent.send.value).map(|spots| spots.lowest.0).or(sent.ack_offset())
    }

    /// The lowest offset in `from..to` that somebody has read.
    pub(super) fn known_between(&self, from: i64, to: i64) -> Option<i64> {
        let at = self.known.partition_point(|&offset| offset < from);
        self.known.get(at).copied().filter(|&offset| offset < to)
    }
}

/// The whole history, sorted.
pub(super) struct View<'a> {
    history: &'a History,
    pub(super) partitions: BTreeMap<(&'a str, i32), Partition<'a>>,
    pub(super) sends: BTreeMap<u64, Sent<'a>>,
    /// The first value sent with each key of a topic.
    pub(super) homes: BTreeMap<(&'a str, u64), u64>,
    /// Whether there was a phase of final reads: then everything must have been read.
    pub(super) final_reads: bool,
}

impl<'a> View<'a> {
    pub(super) fn new(history: &'a History, verdict: &mut Verdict, looks: &mut u64) -> Self {
        let mut view = Self {
            history,
            partitions: BTreeMap::new(),
            sends: BTreeMap::new(),
            homes: BTreeMap::new(),
            final_reads: false,
        };
        let mut retained = BTreeMap::new();
        let mut deleted = BTreeMap::new();
        let lives = lives(history);
        let mut astray: Vec<(Sent<'a>, &BTreeSet<&'a str>)> = Vec::new();
        for (at, record) in (0u64..).zip(history.records()) {
            *looks += 1;
            let id = OpId(at);
            let failed = matches!(record.completed, Some((_, Outcome::Failed { .. })));
            let odd = |verdict: &mut Verdict, sentence: &str| {
                verdict.add("unexplained", "history".into(), || (sentence.into(), vec![view_line(history, id)]));
            };
            match (&record.op, record.completed.as_ref().map(|(_, outcome)| outcome)) {
                (
                    Op::Send(send),
                    None | Some(Outcome::Sent { .. } | Outcome::Failed { .. } | Outcome::Unknown { .. }),
                ) => {
                    let lives = lives.get(name_of(&send.topic));
                    let sent = Sent { id, send, record, here: true };
                    if !matches!(send.acks, -1..=1) {
                        odd(verdict, "A send asked for acknowledgements that Kafka does not know.");
                    }
                    if view.sends.insert(send.value, sent).is_some() {
                        odd(verdict, "Two sends carry one value, so that nothing can be said of either.");
                    }
                    if let Some(lives) = lives {
                        astray.push((sent, lives));
                        continue;
                    }
                    if let Some(hash) = send.key_hash {
                        view.homes.entry((&send.topic, hash)).or_insert(send.value);
                    }
                    view.partition(&send.topic, send.partition).sends.push(sent);
                }
                // Nobody knows which life it was about.
                (
                    Op::Poll(Poll { topic, .. })
                    | Op::Assign { topic, .. }
                    | Op::Seek { topic, .. }
                    | Op::Offsets { topic, .. },
                    _,
                ) if lives.contains_key(topic.as_str()) => {}
                (Op::Poll(poll), Some(Outcome::Polled { records, next })) => {
                    let polled = Polled { id, poll, record, records, next: *next };
                    view.final_reads |= poll.is_final;
                    let partition = view.partition(&poll.topic, poll.partition);
                    partition.polls.push(polled);
                    partition.turns.entry(poll.consumer).or_default().push(Turn::Polled(polled));
                }
                (Op::Poll(poll), Some(Outcome::Failed { error })) if error.contains(OUT_OF_RANGE) => {
                    view.partition(&poll.topic, poll.partition).out_of_range.push((id, poll, record));
                }
                (Op::Poll(_), None | Some(Outcome::Failed { .. } | Outcome::Unknown { .. })) => {}
                (Op::Assign { consumer, topic, partition }, None | Some(Outcome::Done)) => {
                    view.partition(topic, *partition).turns.entry(*consumer).or_default().push(Turn::Assign);
                }
                (Op::Seek { consumer, topic, partition, offset }, None | Some(Outcome::Done)) => {
                    let turn = Turn::Seek(*offset);
                    view.partition(topic, *partition).turns.entry(*consumer).or_default().push(turn);
                }
                (Op::Offsets { topic, partition, which }, Some(Outcome::Offsets { offset, timestamp })) => {
                    let asked = Asked { id, record, which: *which, offset: *offset, timestamp: *timestamp };
                    view.partition(topic, *partition).asked.push(asked);
                }
                (Op::Offsets { .. }, None | Some(Outcome::Failed { .. } | Outcome::Unknown { .. })) => {}
                (
                    Op::CreateTopic { .. } | Op::DeleteTopic { .. } | Op::DeleteRecords { .. },
                    None | Some(Outcome::Done | Outcome::Failed { .. } | Outcome::Unknown { .. }),
                ) => match &record.op {
                    Op::CreateTopic { topic, retention: true, .. } => drop(retained.insert(topic.as_str(), ())),
                    Op::DeleteTopic { topic } if !failed => {
                        deleted.insert(topic.as_str(), ());
                        deleted.extend(lives.get(topic.as_str()).into_iter().flatten().map(|life| (*life, ())));
                    }
                    Op::DeleteRecords { topic, partition, .. } if !failed => {
                        view.partition(topic, *partition).trimmed = true;
                    }
                    _ => {}
                },
                (_, Some(_)) => odd(verdict, "An operation ended in a way that is not its own."),
            }
        }
        for partition in view.partitions.values_mut() {
            partition.trimmed |= retained.contains_key(partition.topic);
            partition.deleted = deleted.contains_key(partition.topic);
            partition.shares_name = lives.contains_key(name_of(partition.topic));
            partition.digest_polls(looks);
        }
        for (sent, lives) in astray {
            *looks += 1;
            for life in lives {
                let here = *life == sent.send.topic;
                if here {
                    view.partition(life, sent.send.partition);
                }
                let Some(partition) = view.partitions.get_mut(&(*life, sent.send.partition)) else {
                    continue;
                };
                if here || partition.spots.contains_key(&sent.send.value) {
                    partition.sends.push(Sent { here, ..sent });
                    partition.shares_name = true;
                    partition.deleted = deleted.contains_key(life);
                }
            }
        }
        view
    }

    fn partition(&mut self, topic: &'a str, partition: i32) -> &mut Partition<'a> {
        let make = || Partition { topic, partition, ..Partition::default() };
        self.partitions.entry((topic, partition)).or_insert_with(make)
    }

    /// One operation as a line of evidence.
    pub(super) fn line(&self, id: OpId) -> String {
        view_line(self.history, id)
    }

    /// One record of a poll as a line of evidence.
    pub(super) fn seen_line(&self, poll: OpId, offset: i64) -> String {
        let value = self.history.record(poll).and_then(|record| match &record.completed {
            Some((_, Outcome::Polled { records, .. })) => records.iter().find(|seen| seen.offset == offset),
            _ => None,
        });
        let what = match value.map(|seen| seen.value) {
            Some(Some(value)) => format!("value {value} at offset {offset}"),
            Some(None) => format!("something unreadable at offset {offset}"),
            None => format!("nothing at offset {offset}"),
        };
        format!("{}; in it {what}", self.line(poll))
    }
}

impl Partition<'_> {
    fn digest_polls(&mut self, looks: &mut u64) {
        let mut covered = Vec::new();
        let mut covered_final = Vec::new();
        for polled in &self.polls {
            *looks += 1;
            if polled.poll.from_offset < polled.next {
                covered.push((polled.poll.from_offset, polled.next));
                if polled.poll.is_final {
                    covered_final.push((polled.poll.from_offset, polled.next));
                }
            }
            for seen in polled.records {
                *looks += 1;
                let sighting = Sighting { value: seen.value, timestamp: seen.timestamp, poll: polled.id };
                self.seen.entry(seen.offset).or_insert(sighting);
                let Some(value) = seen.value else { continue };
                let here = (seen.offset, polled.id);
                let fresh = Spots { lowest: here, other: None, in_final: false };
                let spots = self.spots.entry(value).or_insert(fresh);
                spots.in_final |= polled.poll.is_final;
                if here.0 < spots.lowest.0 {
                    spots.other = Some(spots.lowest);
                    spots.lowest = here;
                } else if here.0 > spots.lowest.0 && spots.other.is_none() {
                    spots.other = Some(here);
                }
            }
        }
        self.known = self.seen.keys().copied().collect();
        self.covered = Ranges::of(covered);
        self.covered_final = Ranges::of(covered_final);
    }
}

/// The labels of all lives of every topic that has several under one name.
fn lives(history: &History) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut lives: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for record in history.records() {
        let label = match &record.op {
            Op::Send(Send { topic, .. })
            | Op::Poll(Poll { topic, .. })
            | Op::Assign { topic, .. }
            | Op::Seek { topic, .. }
            | Op::Offsets { topic, .. }
            | Op::CreateTopic { topic, .. }
            | Op::DeleteTopic { topic }
            | Op::DeleteRecords { topic, .. } => topic,
        };
        let name = name_of(label);
        if name != label {
            lives.entry(name).or_default().insert(label);
        }
    }
    lives
}

/// A time in microseconds as seconds.
fn seconds(time: u64) -> String {
    format!("{}.{:06}s", time / 1_000_000, time % 1_000_000)
}

fn view_line(history: &History, id: OpId) -> String {
    let Some(record) = history.record(id) else {
        return format!("operation {}", id.0);
    };
    let what = match &record.op {
        Op::Send(send) => format!(
            "producer {} sends value {} to {}/{} (acks={}{})",
            send.producer,
            send.value,
            send.topic,
            send.partition,
            send.acks,
            if send.idempotent { ", idempotent" } else { "" }
        ),
        Op::Poll(poll) => {
            let last = if poll.is_final { " (final)" } else { "" };
            format!(
                "consumer {} polls {}/{} from {}{last}",
                poll.consumer, poll.topic, poll.partition, poll.from_offset
            )
        }
        Op::Assign { consumer, topic, partition } => format!("consumer {consumer} takes up {topic}/{partition}"),
        Op::Seek { consumer, topic, partition, offset } => {
            format!("consumer {consumer} seeks to {offset} in {topic}/{partition}")
        }
        Op::Offsets { topic, partition, which } => format!("asks for offset {which:?} of {topic}/{partition}"),
        Op::CreateTopic { topic, partitions, .. } => format!("creates topic {topic} with {partitions} partitions"),
        Op::DeleteTopic { topic } => format!("deletes topic {topic}"),
        Op::DeleteRecords { topic, partition, before } => format!("deletes below {before} in {topic}/{partition}"),
    };
    let end = match &record.completed {
        None => "never ended".into(),
        Some((moment, outcome)) => {
            let how = match outcome {
                Outcome::Sent { offset: Some(offset) } => format!("acknowledged at offset {offset}"),
                Outcome::Sent { offset: None } => "acknowledged".into(),
                Outcome::Polled { records, next } => match (records.first(), records.last()) {
                    (Some(first), Some(last)) => {
                        format!("{} records {}..={}, next {next}", records.len(), first.offset, last.offset)
                    }
                    _ => format!("no records, next {next}"),
                },
                Outcome::Offsets { offset, timestamp } => format!("offset {offset:?}, timestamp {timestamp:?}"),
                Outcome::Done => "done".into(),
                Outcome::Failed { error } => format!("failed: {error}"),
                Outcome::Unknown { error } => format!("unknown: {error}"),
            };
            format!("at {} {how}", seconds(moment.time))
        }
    };
    let retries = if record.retries > 0 { format!(", retried {} times", record.retries) } else { String::new() };
    format!("{} process {}: {what}{retries}; {end}", seconds(record.invoked.time), record.process.0)
}
