//! Judges what partitions make of the batches of idempotent producers, and what those are told of it (KIP-98, KIP-360).
//!
//! A second account of the rules that brokers go by, kept in another way: every batch of a committed entry is judged here again, in
//! the order of the log, with the time that its leader wrote into it. What a broker decides otherwise is wrong; so is an answer that
//! is not what was decided, and a record that consumers read where another was put. The rules:
//!
//! - What follows the last batch of its producer is taken; after 2^31-1 comes 0. The next epoch begins at 0, and ends the one before.
//! - A batch that is one of the last five is a duplicate, and is answered with the place of the first. An older one, all of which is in
//!   the unbroken run of its producer, is told so (`DUPLICATE_SEQUENCE_NUMBER`). Anything else is out of order.
//! - An unknown producer begins at 0; anywhere, if it may be one that was forgotten, or an heir of the former topic of the name.
//! - Forgotten is who is silent for too long, by the times of the log, and the longest silent where too many are known.
//!
//! Feed it the events of brokers, and what crosses their doors, in order. Does not know who leads.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidelog_core::event::{Fate, Judged};
use tidelog_core::id::{ConnId, GroupId, Index, NodeId, Offset, ProducerId, RequestId, TopicId};
use tidelog_core::kafka::ErrorCode;

use crate::gaps::Stands;
use crate::violation::{Verdict, Violation};

/// How many batches of a producer are remembered.
const REMEMBERED: usize = 5;
/// Sequences go round after so many.
const ROUND: i64 = 1 << 31;
/// Further back than this, nobody tells a duplicate from a batch of the future.
const BEHIND_MAX: i64 = 1 << 30;

/// A producer, its epoch, and the sequence of the first record of a batch.
type Sequence = (ProducerId, i16, i32);

/// A batch that a broker is asked to take.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Offer {
    /// The partition, as the broker knows it.
    pub group: GroupId,
    /// None without a producer id.
    pub sequence: Option<Sequence>,
    /// How many records it has.
    pub count: i32,
}

/// A producer in one partition. Sequences count on here, and do not go round.
#[derive(Debug)]
struct Known {
    epoch: i16,
    began: i64,
    next: i64,
    last_used: i64,
    /// Where the last batches stand: their sequence, count and offset.
    last: VecDeque<(i64, i32, Offset)>,
}

impl Known {
    /// What is to come of a batch of this epoch.
    fn judge(&self, first: i32, count: i32) -> Option<Fate> {
        let at = self.next - (self.next - i64::from(first)).rem_euclid(ROUND);
        let end = at + i64::from(count);
        if at == self.next {
            return None;
        }
        if let Some((.., offset)) = self.last.iter().find(|(first, many, _)| (*first, *many) == (at, count)) {
            return Some(Fate::Duplicate(*offset));
        }
        let known = at >= self.began && end <= self.next && self.next - at <= BEHIND_MAX;
        Some(Fate::Refused(match known {
            true => ErrorCode::DuplicateSequenceNumber,
            false => ErrorCode::OutOfOrderSequenceNumber,
        }))
    }
}

/// A batch where it was put, and whether it began anew because its producer may have been forgotten.
#[derive(Debug)]
struct Put {
    sequence: Option<Sequence>,
    count: i32,
    anew: bool,
}

/// One partition.
#[derive(Debug)]
struct Partition {
    place: (TopicId, i32),
    heirs_below: ProducerId,
    index: Index,
    time: i64,
    end: i64,
    known: BTreeMap<ProducerId, Known>,
    forgotten: Option<ProducerId>,
    put: BTreeMap<i64, Put>,
}

impl Partition {
    fn forget(&mut self, id: ProducerId) {
        self.known.remove(&id);
        self.forgotten = self.forgotten.max(Some(id));
    }

    fn forget_silent(&mut self, silence_ms: u64) {
        let silent = |known: &Known| u64::try_from(self.time - known.last_used).is_ok_and(|time| time >= silence_ms);
        let silent: Vec<_> = self.known.iter().filter(|(_, known)| silent(known)).map(|(id, _)| *id).collect();
        silent.into_iter().for_each(|id| self.forget(id));
    }

    fn may_be_forgotten(&self, id: ProducerId) -> bool {
        !self.known.contains_key(&id) && self.forgotten.is_some_and(|forgotten| id <= forgotten)
    }

    /// What is to come of a batch.
    fn judge(&self, sequence: Option<Sequence>, count: i32) -> Fate {
        let refused = match sequence {
            None => None,
            Some((id, epoch, first)) => match self.known.get(&id) {
                None if first == 0 || id < self.heirs_below || self.may_be_forgotten(id) => None,
                Some(known) if epoch < known.epoch => Some(Fate::Refused(ErrorCode::InvalidProducerEpoch)),
                Some(known) if epoch > known.epoch && first == 0 => None,
                Some(known) if epoch == known.epoch => known.judge(first, count),
                Some(_) | None => Some(Fate::Refused(ErrorCode::OutOfOrderSequenceNumber)),
            },
        };
        refused.unwrap_or(Fate::Appended(Offset(self.end)))
    }

    fn append(&mut self, sequence: Option<Sequence>, count: i32, capacity: usize) {
        let offset = Offset(self.end);
        let anew = sequence.is_some_and(|(id, ..)| self.may_be_forgotten(id));
        self.put.insert(self.end, Put { sequence, count, anew });
        self.end += i64::from(count);
        let Some((id, epoch, first)) = sequence else { return };
        if !self.known.contains_key(&id) && self.known.len() >= capacity {
            let silent = self.known.iter().map(|(id, known)| (known.last_used, *id)).min();
            silent.into_iter().for_each(|(_, id)| self.forget(id));
        }
        let fresh = || {
            let began = i64::from(first);
            Known { epoch, began, next: began, last_used: 0, last: VecDeque::new() }
        };
        let known = self.known.entry(id).or_insert_with(fresh);
        if known.epoch != epoch {
            *known = fresh();
        }
        known.last.push_back((known.next, count, offset));
        if known.last.len() > REMEMBERED {
            known.last.pop_front();
        }
        known.next += i64::from(count);
        known.last_used = self.time;
    }

    fn describe(&self, sequence: Option<Sequence>) -> String {
        let Some((id, ..)) = sequence else { return "it has no producer id".to_owned() };
        let heirs = format!("heirs have ids below {}, forgotten ones up to {:?}", self.heirs_below, self.forgotten);
        match self.known.get(&id) {
            None => format!("its producer is not known there; {heirs}"),
            Some(known) => {
                let next = known.next.rem_euclid(ROUND);
                format!("its producer is known there in epoch {}, and sequence {next} is next; {heirs}", known.epoch)
            }
        }
    }
}

/// A request under way, and the moment at which it came.
#[derive(Debug)]
struct Asked {
    moment: u64,
    batches: Vec<Option<Offer>>,
}

/// The checker. See the [module](self).
#[derive(Debug)]
pub struct Producers {
    capacity: usize,
    silence_ms: u64,
    partitions: BTreeMap<GroupId, Partition>,
    /// Partitions of which something is unknown: they are not judged.
    strange: BTreeSet<GroupId>,
    by_place: BTreeMap<(TopicId, i32), GroupId>,
    open: BTreeMap<(NodeId, ConnId, RequestId), Asked>,
    /// When a batch was last refused with an error.
    refused: BTreeMap<(Offer, i16), u64>,
    given: BTreeSet<ProducerId>,
    moment: u64,
    verdict: Verdict,
}

impl Producers {
    /// A checker that has seen nothing, of partitions that remember at most so many producers, silent ones for so long.
    pub fn new(capacity: usize, silence_ms: u64) -> Self {
        Self {
            capacity,
            silence_ms,
            partitions: BTreeMap::new(),
            strange: BTreeSet::new(),
            by_place: BTreeMap::new(),
            open: BTreeMap::new(),
            refused: BTreeMap::new(),
            given: BTreeSet::new(),
            moment: 0,
            verdict: Verdict::default(),
        }
    }

    /// A broker has applied an entry with a batch. `place` is the topic, its partition, and below which id producers are heirs there, as
    /// the broker knows it.
    pub fn judged(&mut self, group: GroupId, index: Index, judged: &Judged, place: Option<(TopicId, i32, ProducerId)>) {
        self.moment += 1;
        let Judged { stamp, sequence, count, fate } = *judged;
        if let Fate::Refused(error) = fate {
            self.refused.insert((Offer { group, sequence, count }, error.code()), self.moment);
        }
        if self.strange.contains(&group) {
            return;
        }
        if !self.partitions.contains_key(&group) {
            let Some((topic, partition, heirs_below)) = place else {
                self.strange.insert(group);
                return;
            };
            self.by_place.insert((topic, partition), group);
            let (known, put) = (BTreeMap::new(), BTreeMap::new());
            let (index, time, end) = (Index(0), 0, 0);
            let place = (topic, partition);
            let fresh = Partition { place, heirs_below, index, time, end, known, forgotten: None, put };
            self.partitions.insert(group, fresh);
        }
        let Some(partition) = self.partitions.get_mut(&group).filter(|partition| partition.index < index) else {
            return;
        };
        partition.index = index;
        partition.time = partition.time.max(stamp.0);
        partition.forget_silent(self.silence_ms);
        let due = partition.judge(sequence, count);
        if due != fate {
            let (topic, number) = partition.place;
            let why = partition.describe(sequence);
            self.verdict.add("producer-misjudged", format!("{topic}/{number}"), || {
                let sentence = format!(
                    "In {topic}/{number} {} was {}, and should have been {}.",
                    named(sequence, count),
                    told(fate),
                    told(due)
                );
                (sentence, vec![why, format!("entry {index} of Group {group}")])
            });
        }
        if matches!(fate, Fate::Appended(_)) {
            partition.append(sequence, count, self.capacity);
        }
    }

    /// A produce request reached `node`, which owes an answer: its batches in order, nothing for those that are none.
    pub fn sent(&mut self, node: NodeId, conn: ConnId, id: RequestId, batches: Vec<Option<Offer>>) {
        self.moment += 1;
        self.open.insert((node, conn, id), Asked { moment: self.moment, batches });
    }

    /// `node` answered it: error code and base offset, in the order of the batches.
    pub fn answered(
        &mut self,
        node: NodeId,
        conn: ConnId,
        id: RequestId,
        answers: impl IntoIterator<Item = (i16, i64)>,
    ) {
        let Some(Asked { moment, batches }) = self.open.remove(&(node, conn, id)) else { return };
        let mut answers = answers.into_iter();
        for batch in batches {
            let Some((error, base)) = answers.next() else {
                self.add(node, "batch-unanswered", format!("Broker {node} answered fewer batches than it was sent."));
                return;
            };
            if let Some(wrong) = batch.and_then(|batch| self.wrong(node, batch, moment, error, base)) {
                self.add(node, "answer-untrue", wrong);
            }
        }
        if answers.next().is_some() {
            self.add(node, "batch-unanswered", format!("Broker {node} answered more batches than it was sent."));
        }
    }

    /// What is wrong with an answer, if anything is.
    fn wrong(&self, node: NodeId, batch: Offer, moment: u64, code: i16, base: i64) -> Option<String> {
        let Offer { group, sequence, count } = batch;
        let what = named(sequence, count);
        match ErrorCode::from_code(code)? {
            ErrorCode::None => {
                let partition = self.partitions.get(&group)?;
                let put = partition.put.get(&base);
                let there = put.is_some_and(|put| (put.sequence, put.count) == (sequence, count));
                let stands = put.map_or("nothing".to_owned(), |put| named(put.sequence, put.count));
                let (topic, number) = partition.place;
                (!there).then(|| {
                    format!(
                        "Broker {node} said that {what} stands in {topic}/{number} at offset {base}, where {stands} begins."
                    )
                })
            }
            error @ (ErrorCode::OutOfOrderSequenceNumber
            | ErrorCode::DuplicateSequenceNumber
            | ErrorCode::InvalidProducerEpoch
            | ErrorCode::UnknownProducerId) => {
                let decided = self.refused.get(&(batch, code)).is_some_and(|at| *at > moment);
                (!decided && !self.strange.contains(&group)).then(|| {
                    format!(
                        "Broker {node} told the producer of {what} {}, which Group {group} did not decide.",
                        error.name()
                    )
                })
            }
            _ => None,
        }
    }

    /// A broker gave a producer an id and an epoch, for one it had if `had` is not negative.
    pub fn given(&mut self, node: NodeId, had: i64, id: i64, epoch: i16) {
        if !self.given.insert(ProducerId(id)) && (had != id || epoch == 0) {
            let sentence = format!("Broker {node} gave producer id {id} in epoch {epoch}, which was given before.");
            self.add(node, "producer-id-twice", sentence);
        }
    }

    /// A broker has shown a batch of a partition to a consumer.
    pub fn shown(&mut self, topic: TopicId, number: i32, batch: Stands) {
        let group = self.by_place.get(&(topic, number));
        let Some(partition) = group.and_then(|group| self.partitions.get(group)) else { return };
        let put = partition.put.get(&batch.base);
        if put.is_some_and(|put| (put.sequence, put.count) == (batch.sequence, batch.count)) {
            return;
        }
        let stands = put.map_or("nothing".to_owned(), |put| named(put.sequence, put.count));
        self.verdict.add("shown-otherwise", format!("{topic}/{number}"), || {
            let (what, base) = (named(batch.sequence, batch.count), batch.base);
            let sentence =
                format!("Consumers of {topic}/{number} read {what} at offset {base}, where {stands} was put.");
            (sentence, Vec::new())
        });
    }

    /// Whether the batch at this offset began anew, since its producer may have been forgotten.
    pub fn began_anew(&self, topic: TopicId, number: i32, base: i64) -> bool {
        let group = self.by_place.get(&(topic, number));
        let put = group.and_then(|group| self.partitions.get(group)?.put.get(&base));
        put.is_some_and(|put| put.anew)
    }

    /// The connection is gone, whoever closed it.
    pub fn closed(&mut self, node: NodeId, conn: ConnId) {
        self.open.retain(|(of, line, _), _| (*of, *line) != (node, conn));
    }

    /// `node` is gone, and its connections with it.
    pub fn crashed(&mut self, node: NodeId) {
        self.open.retain(|(of, ..), _| *of != node);
    }

    /// Whether no promise was broken so far.
    pub fn is_clean(&self) -> bool {
        self.verdict.is_empty()
    }

    /// The promises broken so far.
    pub fn violations(&self) -> Vec<Violation> {
        self.verdict.clone().into_violations()
    }

    fn add(&mut self, node: NodeId, kind: &'static str, sentence: String) {
        self.verdict.add(kind, node.to_string(), || (sentence, Vec::new()));
    }
}

fn named(sequence: Option<Sequence>, count: i32) -> String {
    match sequence {
        None => format!("a batch of {count} without a producer"),
        Some((id, epoch, first)) => {
            format!("the batch of {count} from sequence {first} of producer {id}, epoch {epoch},")
        }
    }
}

fn told(fate: Fate) -> String {
    match fate {
        Fate::Appended(offset) => format!("put at offset {offset}"),
        Fate::Duplicate(offset) => format!("known from offset {offset}"),
        Fate::Refused(error) => format!("refused with {}", error.name()),
    }
}
