//! The state machines that groups fold their logs into: the metadata image, and the records of a partition.
//!
//! `apply` is a pure function of the entries: the same on every replica, at every time, after every restart. It sees no
//! clock but the one the leader wrote into the entry.

use bytes::Bytes;
use prost::Message as _;

use super::entry::{EntryHead, EntryKind};
use crate::controller::command::{Command, Origin};
use crate::controller::configs::{TimestampType, TopicConfig};
use crate::controller::image::{Applied as ImageApplied, Image, Rejection};
use crate::event::{Fate, Judged};
use crate::id::{Index, Offset, ProducerId, Term};
use crate::kafka::ErrorCode;
use crate::kafka::batch::{Batch, NO_TIMESTAMP};
use crate::log::Log;
use crate::marks;
use crate::mutants::{Mutant, Mutants};
use crate::partition::producers::{Bounds, Producers, Verdict};
use crate::raft::Committed;
use crate::rng::mix;
use crate::time::Timestamp;

/// What a group folds its log into, beside the records.
#[derive(Debug)]
pub(super) enum Fold {
    /// The controller: the metadata image.
    Controller(Box<Image>),
    /// A partition: who wrote what last.
    Partition(Producers),
}

/// Where a batch went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Placed {
    /// Whether it was there already.
    pub(super) duplicate: bool,
    pub(super) base_offset: Offset,
    /// -1 unless the topic stamps at append.
    pub(super) log_append_time: Timestamp,
    pub(super) log_start: Offset,
}

/// What came of an entry.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// A leader's first entry, or one nobody asked about.
    Nothing,
    /// A batch was placed, was there already, or was refused.
    Produced(Result<Placed, ErrorCode>),
    /// A command was carried out or refused.
    Commanded(Option<Origin>, Box<Result<ImageApplied, Rejection>>),
}

impl Outcome {
    /// The rare situation it is, if it is one.
    pub(super) fn mark(&self) -> Option<&'static str> {
        match self {
            Self::Produced(Ok(placed)) if placed.duplicate => Some(marks::DUPLICATE_ANSWERED),
            Self::Produced(Err(ErrorCode::OutOfOrderSequenceNumber)) => Some(marks::SEQUENCE_GAP),
            Self::Produced(Ok(_) | Err(_)) | Self::Nothing | Self::Commanded(..) => None,
        }
    }
}

/// A state machine: records, what is folded beside them, and a digest of it all.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) log: Log,
    pub(super) fold: Fold,
    pub(super) applied: Index,
    pub(super) applied_term: Term,
    /// The largest stamp applied: the group's time.
    pub(super) group_time: Timestamp,
    pub(super) digest: u64,
    /// Of a partition: producers with an id below this may begin anywhere. Comes from the image, and never changes.
    heirs_below: ProducerId,
    /// Of a partition: what it remembers of producers.
    bounds: Bounds,
    /// Of a partition: what came of the batch of the entry that was applied last, for those who watch.
    pub(super) judged: Option<Judged>,
    mutants: Mutants,
}

/// What a checkpoint keeps of a machine, beside the records.
#[derive(Clone, PartialEq, prost::Message)]
struct WireState {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(uint64, tag = "2")]
    digest: u64,
    #[prost(sint64, tag = "3")]
    group_time: i64,
    #[prost(bytes = "bytes", tag = "4")]
    fold: Bytes,
    #[prost(bool, tag = "5")]
    controller: bool,
}

/// What a checkpoint kept of a machine.
#[derive(Debug)]
pub(super) struct Loaded {
    fold: Fold,
    digest: u64,
    group_time: Timestamp,
}

const STATE_VERSION: u32 = 1;

impl Machine {
    pub(super) fn new(mut log: Log, fold: Fold, bounds: Bounds, mutants: Mutants) -> Self {
        log.plant(mutants);
        Self {
            log,
            fold,
            applied: Index(0),
            applied_term: Term(0),
            group_time: Timestamp(0),
            digest: 0,
            heirs_below: ProducerId(0),
            bounds,
            judged: None,
            mutants,
        }
    }

    /// Says which producers may go on here as they did in the former topic of this name. Before anything is applied.
    pub(super) fn inherit(&mut self, heirs_below: ProducerId) {
        self.heirs_below = heirs_below;
        if let Fold::Partition(producers) = &mut self.fold {
            producers.inherit(heirs_below);
        }
    }

    /// What a checkpoint keeps beside the records; [`Machine::load`] is its inverse.
    pub(super) fn state(&self) -> Bytes {
        let (fold, controller) = match &self.fold {
            Fold::Controller(image) if self.mutants.planted(Mutant::TombstonesUnsaved) => {
                (image.encode_without_tombstones(), true)
            }
            Fold::Controller(image) => (image.encode(), true),
            Fold::Partition(producers) => (producers.encode(), false),
        };
        let group_time = if self.mutants.planted(Mutant::GroupTimeUnsaved) { 0 } else { self.group_time.0 };
        let state = WireState { version: STATE_VERSION, digest: self.digest, group_time, fold, controller };
        state.encode_to_vec().into()
    }

    /// Reads what a checkpoint kept; [`Machine::load`] takes it up.
    pub(super) fn read(&self, state: Bytes) -> Result<Loaded, String> {
        let state = WireState::decode(state).map_err(|error| error.to_string())?;
        if state.version != STATE_VERSION {
            return Err(format!("state of version {}, this broker reads {STATE_VERSION}", state.version));
        }
        if state.controller != matches!(self.fold, Fold::Controller(_)) {
            return Err("the state is of another kind of group".into());
        }
        let fold = if state.controller {
            Fold::Controller(Box::new(Image::decode(state.fold).map_err(|error| error.to_string())?))
        } else {
            let table = Producers::decode(state.fold).map_err(|error| error.to_string())?;
            let mut table = producers(table, self.bounds, self.mutants);
            table.inherit(self.heirs_below);
            Fold::Partition(table)
        };
        Ok(Loaded { fold, digest: state.digest, group_time: Timestamp(state.group_time) })
    }

    /// Becomes what a checkpoint kept.
    pub(super) fn load(&mut self, applied: Index, applied_term: Term, loaded: Loaded) {
        let Loaded { fold, digest, group_time } = loaded;
        self.fold = fold;
        self.applied = applied;
        self.applied_term = applied_term;
        self.digest = digest;
        self.group_time = group_time;
        if self.mutants.planted(Mutant::EpochsForgotten) {
            self.log.forget_epochs();
        }
    }

    /// Folds one committed entry in.
    pub(super) fn apply(&mut self, entry: &Committed, config: &TopicConfig) -> Outcome {
        assert_eq!(entry.index, self.applied.next(), "entries are applied in order");
        self.applied = entry.index;
        self.applied_term = entry.term;
        self.judged = None;
        let outcome = match EntryHead::decode(&entry.context) {
            // A leader's first entry has no head.
            _ if entry.change => self.pass(entry.index),
            _ if entry.context.is_empty() => self.begin_term(entry),
            Some(head) => {
                self.group_time = self.group_time.max(head.stamp);
                match head.kind {
                    EntryKind::Produce => self.produce(entry, head.stamp, config),
                    EntryKind::Command => self.command(entry),
                }
            }
            // Only a newer broker can have written it; nothing of it is understood, the same everywhere.
            None => self.pass(entry.index),
        };
        let what = match &outcome {
            Outcome::Nothing => 0,
            Outcome::Produced(Ok(placed)) => placed.base_offset.0 as u64,
            Outcome::Produced(Err(error)) => (1 << 62) | error.code() as u16 as u64,
            Outcome::Commanded(..) => 2 << 62,
        };
        self.digest = [entry.index.0, entry.term.0, crate::raft::digest(entry), what, self.log.next_offset().0 as u64]
            .iter()
            .fold(self.digest, |digest, word| mix(digest.rotate_left(29) ^ mix(*word)));
        outcome
    }

    fn produce(&mut self, entry: &Committed, stamp: Timestamp, config: &TopicConfig) -> Outcome {
        match &self.fold {
            Fold::Partition(_) => Outcome::Produced(self.place(entry, stamp, config)),
            Fold::Controller(_) => self.pass(entry.index),
        }
    }

    fn place(&mut self, entry: &Committed, stamp: Timestamp, config: &TopicConfig) -> Result<Placed, ErrorCode> {
        let Fold::Partition(producers) = &mut self.fold else {
            return Err(ErrorCode::InvalidRequest);
        };
        // The leader checked it before it proposed.
        let batch = Batch::parse(entry.data.clone()).map_err(|_| ErrorCode::CorruptMessage)?;
        let silence_ms = match self.mutants.planted(Mutant::ExpiresSoon) {
            true => self.bounds.silence_ms / 2,
            false => self.bounds.silence_ms,
        };
        if !self.mutants.planted(Mutant::NeverExpires) {
            producers.expire(self.group_time, silence_ms);
        }
        let verdict = match producers.check(&batch) {
            Verdict::Reject(ErrorCode::OutOfOrderSequenceNumber)
                if self.mutants.planted(Mutant::SequenceGapAccepted) =>
            {
                Verdict::Append
            }
            verdict => verdict,
        };
        let sequence = batch.producer_id().map(|id| (id, batch.producer_epoch(), batch.base_sequence()));
        let judged = |fate| Some(Judged { stamp, sequence, count: batch.record_count(), fate });
        let (base_offset, appended, duplicate) = match verdict {
            Verdict::Append => {
                let base = self.log.next_offset();
                let epoch = i32::try_from(entry.term.0).expect("a term fits a leader epoch");
                self.log.append(batch.assign(base, epoch));
                producers.record(&batch, base, self.group_time);
                let stamped = self.mutants.planted(Mutant::StampFromApplied);
                let base = if stamped { Offset(batch.header().base_offset) } else { base };
                (base, batch.max_timestamp(), false)
            }
            Verdict::Duplicate { timestamp, .. } if self.mutants.planted(Mutant::WrongZeroOffset) => {
                (Offset(0), timestamp, true)
            }
            Verdict::Duplicate { base_offset, timestamp } => (base_offset, timestamp, true),
            Verdict::Reject(error) => {
                self.judged = judged(Fate::Refused(error));
                return Err(error);
            }
        };
        self.judged = judged(if duplicate { Fate::Duplicate(base_offset) } else { Fate::Appended(base_offset) });
        let log_append_time = match config.timestamp_type {
            TimestampType::LogAppendTime => appended,
            TimestampType::CreateTime => Timestamp(NO_TIMESTAMP),
        };
        Ok(Placed { duplicate, base_offset, log_append_time, log_start: self.log.log_start() })
    }

    /// Whether the partition would take the batch for the first of its producer, in mid-sequence, as far as is applied.
    pub(super) fn begins_anywhere(&self, batch: &Batch) -> bool {
        let Fold::Partition(producers) = &self.fold else { return false };
        let unknown = batch.producer_id().is_some_and(|id| producers.last(id).is_none());
        unknown && batch.base_sequence() > 0 && producers.check(batch) == Verdict::Append
    }

    fn command(&mut self, entry: &Committed) -> Outcome {
        let Fold::Controller(image) = &mut self.fold else {
            return Outcome::Nothing;
        };
        match Command::decode(entry.data.clone()) {
            Ok(command) => {
                let origin = command.origin();
                Outcome::Commanded(origin, Box::new(image.apply(entry.index, command)))
            }
            // Written by a newer broker: refused the same way everywhere.
            Err(_) => self.pass(entry.index),
        }
    }

    /// A leader's term begins, with records or without.
    fn begin_term(&mut self, entry: &Committed) -> Outcome {
        self.log.start_epoch(i32::try_from(entry.term.0).expect("a term fits a leader epoch"));
        self.pass(entry.index)
    }

    fn pass(&mut self, index: Index) -> Outcome {
        if let Fold::Controller(image) = &mut self.fold {
            image.pass(index);
        }
        Outcome::Nothing
    }

    /// A batch is proposed: gives its bytes for the log, and lets planted bugs do what comes too early.
    pub(super) fn proposed(&mut self, batch: &Batch) -> Bytes {
        if let (true, Fold::Partition(producers)) = (self.mutants.planted(Mutant::ProducersEarly), &mut self.fold)
            && producers.check(batch) == Verdict::Append
        {
            producers.record(batch, self.log.next_offset(), self.group_time);
        }
        if self.mutants.planted(Mutant::StampFromApplied) {
            let stamped = batch.assign(self.log.next_offset(), 0);
            return [stamped.head, stamped.body].concat().into();
        }
        batch.bytes()
    }

    /// A replica begins to lead.
    pub(super) fn lead(&mut self) {
        if self.mutants.planted(Mutant::ProducersForgotten)
            && let Fold::Partition(producers) = &mut self.fold
        {
            *producers = Producers::default();
        }
    }
}

/// The table with its bounds, and the number of batches it remembers, which a planted bug makes too small.
pub(super) fn producers(mut producers: Producers, bounds: Bounds, mutants: Mutants) -> Producers {
    producers.bound(bounds.producers);
    producers.plant(mutants);
    if mutants.planted(Mutant::SmallDedupWindow) {
        producers.remember(1);
    }
    producers
}
