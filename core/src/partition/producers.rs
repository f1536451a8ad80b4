//! What a partition remembers of idempotent producers (KIP-98): enough to recognise a batch that was sent twice, and one that
//! was sent too early.
//!
//! Part of the replicated state: [`Producers::check`] and [`Producers::record`] are called at apply, with the entry's group time,
//! and give the same on every replica. Nothing here knows a clock, an offset's meaning, or who leads.
//!
//! Answers that need a reason:
//!
//! - **An unknown producer with a sequence above 0.** A producer's sequence begins at 0 in each partition, so its beginning is
//!   missing here: forgotten by us, or not arrived yet. Kafka accepts either way, and then takes batch n+1 of a new producer
//!   before batch n, for ever. Here producer ids ascend in the order they were minted, and the largest id ever forgotten is
//!   remembered: only a producer at or below it may begin anywhere; the others are told `OUT_OF_ORDER_SEQUENCE_NUMBER`, which
//!   clients retry in order.
//! - **A topic that was deleted and made again** under a living producer. Its clients go on with their next sequence, and librdkafka
//!   takes a refusal for the end of everything. So an heir, a producer whose id was given out before the *former* topic of this name
//!   was deleted, may begin anywhere too: it may have written there. Nobody else: nearly every producer is older than the topics it
//!   writes to, and gaps of the younger and of topics without a predecessor must be seen.
//! - **A duplicate older than the batches remembered.** All of it was appended, its offset is not known any more:
//!   `DUPLICATE_SEQUENCE_NUMBER`, which the Java client and librdkafka take for success without an offset. Said only if every
//!   record of it lies in the unbroken run of sequences seen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use bytes::Bytes;
use prost::Message;

use crate::id::{Offset, ProducerId};
use crate::kafka::ErrorCode;
use crate::kafka::batch::Batch;
use crate::limits::{PRODUCER_BATCHES_REMEMBERED, PRODUCER_EXPIRES_AFTER_MS, PRODUCERS_MAX};
use crate::mutants::{Mutant, Mutants};
use crate::time::Timestamp;

/// How many producers a partition remembers, and for how long. They decide what is appended: the same on every replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// The most producers, above zero.
    pub producers: usize,
    /// How long one may be silent, in milliseconds.
    pub silence_ms: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { producers: PRODUCERS_MAX as usize, silence_ms: PRODUCER_EXPIRES_AFTER_MS }
    }
}

/// What to do with a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Append it, then [`Producers::record`] it.
    Append,
    /// It is in the log already: answer as the first time.
    Duplicate {
        /// Where it was put.
        base_offset: Offset,
        /// Its largest timestamp, which is the broker's if the topic has it so.
        timestamp: Timestamp,
    },
    /// Answer this error; the batch consumes no offset.
    Reject(ErrorCode),
}

/// A batch that was appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seen {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: Offset,
    timestamp: Timestamp,
}

/// One producer in this partition. `batches` is never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Seen>,
    /// How many records without a gap end at the last sequence, in this epoch.
    run: u64,
    last_used: Timestamp,
}

/// The producers of one partition.
///
/// - At most `capacity` are remembered; the longest silent one makes room, the smaller id first.
/// - `by_use` holds exactly the producers of `producers`, each under the time of its last use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Producers {
    producers: BTreeMap<ProducerId, Producer>,
    by_use: BTreeSet<(Timestamp, ProducerId)>,
    /// The largest id that was ever forgotten.
    forgotten: Option<ProducerId>,
    /// Ids below this are of heirs.
    heirs_below: ProducerId,
    capacity: usize,
    /// How many batches of each are remembered.
    remembered: usize,
    mutants: Mutants,
}

impl Default for Producers {
    fn default() -> Self {
        Self::with_capacity(Bounds::default().producers)
    }
}

impl Producers {
    /// Nobody yet; at most [`PRODUCERS_MAX`] will be remembered.
    pub fn new() -> Self {
        Self::default()
    }

    /// Nobody yet, and another bound. It must be the same on every replica.
    pub fn with_capacity(capacity: usize) -> Self {
        assert!(capacity > 0, "at least one producer is remembered");
        Self {
            producers: BTreeMap::new(),
            by_use: BTreeSet::new(),
            forgotten: None,
            heirs_below: ProducerId(0),
            capacity,
            remembered: PRODUCER_BATCHES_REMEMBERED,
            mutants: Mutants::default(),
        }
    }

    /// Remembers another number of batches from now on, above zero; [`PRODUCER_BATCHES_REMEMBERED`] unless this is said. Not part
    /// of [`Producers::encode`]. For the planted bug `small-dedup-window`: with fewer, what lies before them is not known either.
    pub fn remember(&mut self, batches: usize) {
        assert!(batches > 0, "the last batch is always remembered");
        self.remembered = batches;
    }

    /// Remembers at most so many producers from now on, above zero. Not part of [`Producers::encode`].
    pub fn bound(&mut self, capacity: usize) {
        assert!(capacity > 0, "at least one producer is remembered");
        self.capacity = capacity;
    }

    /// Plants a bug.
    pub(crate) fn plant(&mut self, mutants: Mutants) {
        self.mutants = mutants;
    }

    /// Producers with an id below this are heirs; nobody is unless this is said. A fact of the topic, the same on
    /// every replica before anything is applied, and not part of [`Producers::encode`].
    pub fn inherit(&mut self, heirs_below: ProducerId) {
        self.heirs_below = heirs_below;
    }

    /// How many producers are remembered.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// The epoch and last sequence of a producer, if it is remembered.
    pub fn last(&self, id: ProducerId) -> Option<(i16, i32)> {
        let producer = self.producers.get(&id)?;
        Some((producer.epoch, producer.last_sequence()))
    }

    /// Judges a batch against what its producer sent before. A batch without producer id is always to be appended.
    pub fn check(&self, batch: &Batch) -> Verdict {
        let Some(id) = batch.producer_id() else {
            return Verdict::Append;
        };
        let Some(producer) = self.producers.get(&id) else {
            let may_be_forgotten = self.forgotten.is_some_and(|forgotten| id <= forgotten);
            return if batch.base_sequence() == 0 || may_be_forgotten || id < self.heirs_below {
                Verdict::Append
            } else {
                Verdict::Reject(ErrorCode::OutOfOrderSequenceNumber)
            };
        };
        if batch.producer_epoch() < producer.epoch {
            return Verdict::Reject(ErrorCode::InvalidProducerEpoch);
        }
        if batch.producer_epoch() > producer.epoch {
            return if batch.base_sequence() == 0 || self.mutants.planted(Mutant::EpochBeginsAnywhere) {
                Verdict::Append
            } else {
                Verdict::Reject(ErrorCode::OutOfOrderSequenceNumber)
            };
        }
        let same =
            |seen: &&Seen| (seen.first_sequence, seen.last_sequence) == (batch.base_sequence(), batch.last_sequence());
        let newest_only = self.mutants.planted(Mutant::NewestOnly);
        if let Some(seen) = producer.batches.iter().rev().take(if newest_only { 1 } else { usize::MAX }).find(same) {
            return Verdict::Duplicate { base_offset: seen.base_offset, timestamp: seen.timestamp };
        }
        let next = match self.mutants.planted(Mutant::WrapAsGap) {
            true => producer.last_sequence().wrapping_add(1),
            false => next(producer.last_sequence()),
        };
        if batch.base_sequence() == next {
            return Verdict::Append;
        }
        if self.mutants.planted(Mutant::OldDuplicateTaken) && producer.has_all_of(batch) {
            return Verdict::Append;
        }
        Verdict::Reject(if self.remembered >= PRODUCER_BATCHES_REMEMBERED && producer.has_all_of(batch) {
            ErrorCode::DuplicateSequenceNumber
        } else {
            ErrorCode::OutOfOrderSequenceNumber
        })
    }

    /// Remembers a batch that was appended at `base_offset`, as [`Producers::check`] said. One without producer id leaves nothing.
    pub fn record(&mut self, batch: &Batch, base_offset: Offset, group_time: Timestamp) {
        let Some(id) = batch.producer_id() else { return };
        let seen = Seen {
            first_sequence: batch.base_sequence(),
            last_sequence: batch.last_sequence(),
            base_offset,
            timestamp: batch.max_timestamp(),
        };
        let count = u64::from(batch.record_count().unsigned_abs());
        let known = self.producers.remove(&id);
        if let Some(known) = &known {
            self.by_use.remove(&(known.last_used, id));
        } else if self.producers.len() >= self.capacity {
            self.forget_longest_silent();
        }
        let mut producer = match known {
            Some(known) if known.epoch == batch.producer_epoch() => known,
            Some(_) | None => {
                Producer { epoch: batch.producer_epoch(), batches: VecDeque::new(), run: 0, last_used: group_time }
            }
        };
        producer.batches.push_back(seen);
        while producer.batches.len() > self.remembered {
            producer.batches.pop_front();
        }
        producer.run = producer.run.saturating_add(count);
        producer.last_used = group_time;
        self.by_use.insert((group_time, id));
        self.producers.insert(id, producer);
    }

    /// Forgets producers that were silent for `after_ms` or longer (Kafka: `producer.id.expiration.ms`).
    pub fn expire(&mut self, group_time: Timestamp, after_ms: u64) {
        while let Some((last_used, _)) = self.by_use.first() {
            let silent = u64::try_from(group_time.0.saturating_sub(last_used.0)).unwrap_or(0);
            if silent < after_ms {
                return;
            }
            self.forget_longest_silent();
        }
    }

    fn forget_longest_silent(&mut self) {
        let newest = self.mutants.planted(Mutant::ForgetsNewest);
        if let Some((_, id)) = if newest { self.by_use.pop_last() } else { self.by_use.pop_first() } {
            self.producers.remove(&id);
            self.forgotten = self.forgotten.max(Some(id));
        }
    }
}

/// 2^31-1 is followed by 0.
fn next(sequence: i32) -> i32 {
    sequence.wrapping_add(1) & i32::MAX
}

/// How many sequences `to` is ahead of `from`, from 0 to 2^31-1.
fn ahead(from: i32, to: i32) -> i64 {
    i64::from(to.wrapping_sub(from) & i32::MAX)
}

/// Further back than this, an old sequence can not be told from one of the future.
const BEHIND_MAX: i64 = 1 << 30;

impl Producer {
    fn last_sequence(&self) -> i32 {
        self.batches.back().expect("a remembered producer sent something").last_sequence
    }

    /// Whether each record of the batch is in the run that ends with the last sequence.
    fn has_all_of(&self, batch: &Batch) -> bool {
        let behind = ahead(batch.base_sequence(), self.last_sequence());
        let run = i64::try_from(self.run).unwrap_or(i64::MAX);
        behind < run && behind < BEHIND_MAX && behind >= i64::from(batch.last_offset_delta())
    }
}

const VERSION: u32 = 1;

#[derive(Clone, PartialEq, Message)]
struct TableRecord {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(int64, optional, tag = "2")]
    forgotten: Option<i64>,
    #[prost(message, repeated, tag = "3")]
    producers: Vec<ProducerRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct ProducerRecord {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(int32, tag = "2")]
    epoch: i32,
    #[prost(uint64, tag = "3")]
    run: u64,
    #[prost(sint64, tag = "4")]
    last_used: i64,
    #[prost(message, repeated, tag = "5")]
    batches: Vec<SeenRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct SeenRecord {
    #[prost(int32, tag = "1")]
    first_sequence: i32,
    #[prost(int32, tag = "2")]
    last_sequence: i32,
    #[prost(int64, tag = "3")]
    base_offset: i64,
    #[prost(sint64, tag = "4")]
    timestamp: i64,
}

/// A table that can not be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecodeError(pub &'static str);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "producer table: {}", self.0)
    }
}

impl std::error::Error for DecodeError {}

impl Producers {
    /// The whole table as bytes, for a checkpoint. Equal tables give equal bytes.
    pub fn encode(&self) -> Bytes {
        let record = TableRecord {
            version: VERSION,
            forgotten: self.forgotten.map(|id| id.0).filter(|_| !self.mutants.planted(Mutant::ForgottenUnsaved)),
            producers: self.producers.iter().map(|(id, producer)| producer.encode(*id)).collect(),
        };
        record.encode_to_vec().into()
    }

    /// The inverse of [`Producers::encode`], with the bound of [`Producers::new`].
    ///
    /// # Errors
    /// If the bytes are of another version, or no table.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let record = TableRecord::decode(bytes).map_err(|_| DecodeError("it can not be decoded"))?;
        if record.version != VERSION {
            return Err(DecodeError("its version is unknown"));
        }
        let mut table = Self { forgotten: record.forgotten.map(ProducerId), ..Self::new() };
        for record in &record.producers {
            let producer = Producer::decode(record).ok_or(DecodeError("it holds a producer that can not be"))?;
            let id = ProducerId(record.id);
            table.by_use.insert((producer.last_used, id));
            if id.0 < 0 || table.producers.insert(id, producer).is_some() {
                return Err(DecodeError("its producer ids are not distinct"));
            }
        }
        Ok(table)
    }
}

impl Producer {
    fn encode(&self, id: ProducerId) -> ProducerRecord {
        let batches = self.batches.iter().map(|seen| SeenRecord {
            first_sequence: seen.first_sequence,
            last_sequence: seen.last_sequence,
            base_offset: seen.base_offset.0,
            timestamp: seen.timestamp.0,
        });
        ProducerRecord {
            id: id.0,
            epoch: self.epoch.into(),
            run: self.run,
            last_used: self.last_used.0,
            batches: batches.collect(),
        }
    }

    fn decode(record: &ProducerRecord) -> Option<Self> {
        let batches: VecDeque<_> = record.batches.iter().map(SeenRecord::seen).collect();
        let possible = |seen: &Seen| seen.first_sequence >= 0 && seen.last_sequence >= 0;
        if batches.is_empty() || batches.len() > PRODUCER_BATCHES_REMEMBERED || !batches.iter().all(possible) {
            return None;
        }
        let epoch = i16::try_from(record.epoch).ok()?;
        Some(Self { epoch, batches, run: record.run, last_used: Timestamp(record.last_used) })
    }
}

impl SeenRecord {
    fn seen(&self) -> Seen {
        Seen {
            first_sequence: self.first_sequence,
            last_sequence: self.last_sequence,
            base_offset: Offset(self.base_offset),
            timestamp: Timestamp(self.timestamp),
        }
    }
}
