//! Fetch: whole batches from memory or disk, a long poll when there are too few, and no verdict that may be stale.
//!
//! Plain reads need no round of the group: what is applied is committed. That an offset is out of range is said only after a
//! read barrier: a leader that was deposed without knowing may have less than the client has seen (KAFKA-9835).

use bytes::Bytes;

use super::waits::Wait;
use super::{Broker, Call, CallId, Caller, Waiting};
use crate::effect::Effects;
use crate::event::Event;
use crate::id::{ConnId, GroupId, Offset, TopicId};
use crate::kafka::batch::{Check, views};
use crate::kafka::messages::{
    EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use crate::kafka::{ErrorCode, Records};
use crate::limits::{FETCH_RESPONSE_BYTES_MAX, FETCH_WAIT_MS_MAX};
use crate::log::{Read, ReadError, ReadId};
use crate::marks;
use crate::mutants::Mutant;
use crate::time::{Duration, Instant};

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    /// Not looked at in this round.
    Idle,
    /// The disk is asked.
    Reading(ReadId),
    /// It seems out of range: the group is asked whether this leader still leads.
    Barrier,
    Done,
}

#[derive(Debug)]
struct Slot {
    topic: String,
    topic_id: TopicId,
    by_id: bool,
    wanted: FetchPartition,
    group: Option<GroupId>,
    state: State,
    error: ErrorCode,
    confirmed: bool,
    records: Vec<Bytes>,
    diverging: Option<EpochEndOffset>,
}

impl Slot {
    /// The planted bug: a batch that begins before the offset asked for is left out.
    fn skip_begun_batch(&mut self) {
        let all = Bytes::from(self.records.concat());
        if let Some(Ok(first)) = views(all.clone(), Check::Header).next()
            && first.base_offset().0 < self.wanted.fetch_offset
        {
            self.records = vec![all.slice(first.bytes().len()..)];
        }
    }

    fn bytes(&self) -> u64 {
        self.records.iter().map(|slice| slice.len() as u64).sum()
    }
}

/// A Fetch under way.
#[derive(Debug)]
pub(super) struct FetchCall {
    caller: Caller,
    min_bytes: u64,
    max_bytes: u64,
    deadline: Instant,
    slots: Vec<Slot>,
    /// Where the round began: partitions take turns at being first.
    first: usize,
    /// Parked until a group moves or the deadline comes.
    waiting: bool,
    /// A group moved since the round began.
    moved: bool,
}

impl FetchCall {
    pub(super) fn conn(&self) -> ConnId {
        self.caller.conn
    }

    /// The groups it reads.
    pub(super) fn groups(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.slots.iter().filter_map(|slot| slot.group)
    }

    /// Until when it waits for records, if it does.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        self.waiting.then_some(self.deadline)
    }

    pub(super) fn waits(&self) -> Vec<Wait> {
        let wait = |(at, slot): (usize, &Slot)| {
            let group = slot.group?;
            match slot.state {
                State::Reading(read) => Some(Wait::Disk(at, group, read)),
                State::Barrier => Some(Wait::Barrier(at)),
                // Who wants many bytes waits although there are some.
                State::Done if self.waiting && self.min_bytes <= 1 => {
                    Some(Wait::Records(group, Offset(slot.wanted.fetch_offset)))
                }
                State::Done if self.waiting => Some(Wait::Image),
                State::Idle | State::Done => None,
            }
        };
        self.slots.iter().enumerate().filter_map(wait).collect()
    }
}

impl Broker {
    pub(super) fn fetch(&mut self, caller: Caller, request: FetchRequest, out: &mut Effects) {
        // Sessions are never given out: every request is a full one (KIP-227).
        if request.session_id != 0 {
            let error_code = ErrorCode::FetchSessionIdNotFound.code();
            return self.answer(&caller, FetchResponse { error_code, ..FetchResponse::default() }, out);
        }
        let by_id = caller.header.api_version >= 13;
        let mut slots = Vec::new();
        for topic in request.topics {
            let info = self
                .image()
                .and_then(|image| if by_id { image.topic(topic.topic_id) } else { image.topic_named(&topic.topic) });
            let known = info.map(|info| (info.id, info.name.clone(), info.partitions.len()));
            let groups: Vec<GroupId> =
                info.map_or_else(Vec::new, |info| info.partitions.iter().map(|partition| partition.group).collect());
            let (topic_id, name) = match &known {
                Some((id, name, _)) => (*id, name.clone()),
                None => (topic.topic_id, topic.topic.clone()),
            };
            for wanted in topic.partitions {
                let group = usize::try_from(wanted.partition).ok().and_then(|at| groups.get(at)).copied();
                let error = match (&known, group) {
                    (None, _) if by_id => ErrorCode::UnknownTopicId,
                    (None, _) | (Some(_), None) => ErrorCode::UnknownTopicOrPartition,
                    (Some(_), Some(_)) => ErrorCode::None,
                };
                slots.push(Slot {
                    topic: name.clone(),
                    topic_id,
                    by_id,
                    wanted,
                    group,
                    state: State::Idle,
                    error,
                    confirmed: false,
                    records: Vec::new(),
                    diverging: None,
                });
            }
        }
        let wait = u64::try_from(request.max_wait_ms.clamp(0, FETCH_WAIT_MS_MAX)).unwrap_or(0);
        let deadline = self.now.mono + Duration::from_millis(wait);
        self.fetch_rotation = self.fetch_rotation.wrapping_add(1);
        let call = FetchCall {
            caller,
            min_bytes: u64::try_from(request.min_bytes).unwrap_or(0),
            max_bytes: u64::try_from(request.max_bytes).unwrap_or(0).min(u64::from(FETCH_RESPONSE_BYTES_MAX)),
            deadline,
            first: if slots.is_empty() { 0 } else { self.fetch_rotation % slots.len() },
            slots,
            waiting: false,
            moved: false,
        };
        let call = self.call(Call::Fetch(Box::new(call)), Some(deadline));
        self.fetch_round(call, out);
    }

    /// Reads every partition anew.
    fn fetch_round(&mut self, id: CallId, out: &mut Effects) {
        let Some(Call::Fetch(call)) = self.calls.remove(&id) else {
            return;
        };
        let mut call = call;
        call.waiting = false;
        call.moved = false;
        for group in call.slots.iter().filter_map(|slot| slot.group) {
            self.waiters.entry(group).or_default().insert(id);
        }
        let mut budget = call.max_bytes;
        let mut empty = true;
        let count = call.slots.len();
        for at in 0..count {
            let at = (call.first + at) % count;
            let slot = &mut call.slots[at];
            slot.records.clear();
            slot.state = State::Done;
            if slot.error != ErrorCode::None {
                continue;
            }
            if budget == 0 && !empty {
                continue;
            }
            let taken = self.read_slot(id, at, slot, budget, empty);
            budget = budget.saturating_sub(taken);
            empty = empty && taken == 0;
        }
        self.calls.insert(id, Call::Fetch(call));
        self.fetch_progress(id, out);
    }

    /// Reads one partition; says how many bytes it took or may take.
    fn read_slot(&mut self, id: CallId, at: usize, slot: &mut Slot, budget: u64, at_least_one: bool) -> u64 {
        let Some(group) = slot.group else { return 0 };
        let Some(replica) = self.replicas.get_mut(&group) else {
            // Deleted meanwhile, or led elsewhere.
            slot.error = if self.image().is_some_and(|image| image.partition_of(group).is_some()) {
                self.nobody(group)
            } else if slot.by_id {
                ErrorCode::UnknownTopicId
            } else {
                ErrorCode::UnknownTopicOrPartition
            };
            return 0;
        };
        let early = self.config.mutants.planted(Mutant::RangeErrorBeforeBarrier) && replica.raft.leading();
        if !replica.raft.serving() && !early {
            slot.error = replica.refusal();
            return 0;
        }
        let epoch = i32::try_from(replica.raft.term().0).unwrap_or(i32::MAX);
        let claimed = slot.wanted.current_leader_epoch;
        if claimed >= 0 && claimed != epoch {
            slot.error = if claimed < epoch { ErrorCode::FencedLeaderEpoch } else { ErrorCode::UnknownLeaderEpoch };
            return 0;
        }
        let log = &mut replica.machine.log;
        let fetched = slot.wanted.last_fetched_epoch;
        if fetched >= 0 {
            let (epoch, end) = log.epoch_end(fetched).unwrap_or((-1, Offset(-1)));
            if end.0 < slot.wanted.fetch_offset || epoch < fetched {
                slot.diverging = Some(EpochEndOffset { epoch, end_offset: end.0 });
                return 0;
            }
        }
        let most = u64::try_from(slot.wanted.partition_max_bytes).unwrap_or(0).min(budget);
        match log.read(Offset(slot.wanted.fetch_offset), most, at_least_one) {
            Read::Ready(slices) => {
                slot.records = slices;
                if self.config.mutants.planted(Mutant::FetchSkipsMidBatch) {
                    slot.skip_begun_batch();
                }
                if self.config.mutants.planted(Mutant::FetchPastWatermark) {
                    slot.records.extend(replica.uncommitted());
                }
                slot.bytes()
            }
            Read::Pending(read) => {
                slot.state = State::Reading(read);
                self.log_reads.insert((group, read), (id, at));
                self.thirsty.insert(group);
                most.max(1)
            }
            Read::AtEnd => {
                if self.config.mutants.planted(Mutant::FetchPastWatermark) {
                    slot.records.extend(replica.uncommitted());
                }
                slot.bytes()
            }
            Read::OutOfRange if slot.confirmed || self.config.mutants.planted(Mutant::RangeErrorBeforeBarrier) => {
                slot.error = ErrorCode::OffsetOutOfRange;
                0
            }
            Read::OutOfRange => {
                slot.state = State::Barrier;
                // The verdict may take longer than the client wants to wait for records.
                let patience = self.now.mono + self.config.settings.request_timeout;
                self.set_deadline(id, Some(patience));
                let token = self.token(Waiting::FetchBarrier(id, at));
                if let Some(replica) = self.replicas.get_mut(&group) {
                    replica.raft.read(token);
                    self.touched.insert(group);
                }
                0
            }
        }
    }

    /// The disk answered a read.
    pub(super) fn fetch_read(
        &mut self,
        id: CallId,
        at: usize,
        read: ReadId,
        result: Result<Vec<Bytes>, ReadError>,
        out: &mut Effects,
    ) {
        let Some(Call::Fetch(call)) = self.calls.get_mut(&id) else {
            return;
        };
        let Some(slot) = call.slots.get_mut(at).filter(|slot| slot.state == State::Reading(read)) else {
            return;
        };
        slot.state = State::Done;
        match result {
            Ok(slices) => {
                slot.records = slices;
                if self.config.mutants.planted(Mutant::FetchSkipsMidBatch) {
                    slot.skip_begun_batch();
                }
                out.event(Event::Sometimes(marks::FETCHED_FROM_DISK));
            }
            Err(error) => slot.error = read_error(&error),
        }
        self.fetch_progress(id, out);
    }

    /// The partition is gone while its disk was asked.
    pub(super) fn fetch_lost(&mut self, id: CallId, at: usize, out: &mut Effects) {
        let Some(Call::Fetch(call)) = self.calls.get_mut(&id) else {
            return;
        };
        let Some(slot) = call.slots.get_mut(at) else { return };
        slot.state = State::Done;
        slot.error = ErrorCode::UnknownTopicOrPartition;
        self.fetch_progress(id, out);
    }

    pub(super) fn fetch_barrier(&mut self, id: CallId, at: usize, confirmed: bool, out: &mut Effects) {
        let Some(Call::Fetch(call)) = self.calls.get_mut(&id) else {
            return;
        };
        let Some(slot) = call.slots.get_mut(at).filter(|slot| slot.state == State::Barrier) else {
            return;
        };
        slot.state = State::Done;
        if confirmed {
            // It is looked at again: the verdict may be given now.
            slot.confirmed = true;
            self.fetch_round(id, out);
        } else {
            slot.error = ErrorCode::NotLeaderOrFollower;
            self.fetch_progress(id, out);
        }
    }

    /// Answers if there is enough, or an error, or no time left; waits otherwise.
    fn fetch_progress(&mut self, id: CallId, out: &mut Effects) {
        let now = self.now.mono;
        let Some(Call::Fetch(call)) = self.calls.get_mut(&id) else {
            return;
        };
        if call.slots.iter().any(|slot| slot.state != State::Done) {
            return;
        }
        let bytes: u64 = call.slots.iter().map(Slot::bytes).sum();
        let verdict = call.slots.iter().any(|slot| slot.error != ErrorCode::None || slot.diverging.is_some());
        let hasty = self.config.mutants.planted(Mutant::FetchDoesNotWait);
        if hasty || bytes >= call.min_bytes || verdict || now >= call.deadline || call.slots.is_empty() {
            return self.finish_fetch(id, out);
        }
        if call.moved {
            return self.fetch_round(id, out);
        }
        call.waiting = true;
        // A verdict may have been waited for with more patience, or less.
        let deadline = call.deadline;
        self.set_deadline(id, Some(deadline));
    }

    /// A group moved: whoever waits for it looks again.
    pub(super) fn wake_fetches(&mut self, group: GroupId, out: &mut Effects) {
        for id in self.waiters.remove(&group).unwrap_or_default() {
            match self.calls.get_mut(&id) {
                Some(Call::Fetch(call)) if call.waiting => self.fetch_round(id, out),
                Some(Call::Fetch(call)) => call.moved = true,
                Some(_) | None => {}
            }
        }
    }

    /// The time the client gave is over: it gets what there is.
    pub(super) fn fetch_expired(&mut self, id: CallId, out: &mut Effects) {
        let Some(Call::Fetch(call)) = self.calls.get_mut(&id) else {
            return;
        };
        if call.waiting {
            return self.finish_fetch(id, out);
        }
        for slot in &mut call.slots {
            // The group does not answer: somebody else may lead it.
            if slot.state == State::Barrier {
                slot.state = State::Done;
                slot.error = ErrorCode::NotLeaderOrFollower;
            }
        }
        self.fetch_progress(id, out);
    }

    fn finish_fetch(&mut self, id: CallId, out: &mut Effects) {
        let Some(Call::Fetch(call)) = self.end_call(id) else {
            return;
        };
        let mut response = FetchResponse::default();
        for slot in call.slots {
            let range = slot.group.and_then(|group| self.range(group));
            let gone = range.is_none() && slot.error == ErrorCode::None;
            let (error, records) = match gone {
                // It was deleted while its answer waited for others.
                true if slot.topic_id != TopicId::ZERO => (ErrorCode::UnknownTopicId, Vec::new()),
                true => (ErrorCode::UnknownTopicOrPartition, Vec::new()),
                false => (slot.error, slot.records),
            };
            let (mut log_start, mut high) = range.unwrap_or((Offset(-1), Offset(-1)));
            if self.config.mutants.planted(Mutant::WatermarkSwapped) {
                (log_start, high) = (high, log_start);
            }
            let stale = self.config.mutants.planted(Mutant::StableOffsetStale);
            let partition = slot.wanted.partition;
            let current_leader = self.leader_hint(error, &slot.topic, partition, &mut response.node_endpoints);
            let data = PartitionData {
                partition_index: partition,
                error_code: error.code(),
                high_watermark: high.0,
                last_stable_offset: if stale { log_start.0 } else { high.0 },
                log_start_offset: log_start.0,
                aborted_transactions: None,
                records: Some(Records(records)),
                diverging_epoch: slot.diverging.unwrap_or_default(),
                current_leader,
                ..PartitionData::default()
            };
            match response
                .responses
                .last_mut()
                .filter(|last| (&last.topic, last.topic_id) == (&slot.topic, slot.topic_id))
            {
                Some(last) => last.partitions.push(data),
                None => response.responses.push(FetchableTopicResponse {
                    topic: slot.topic,
                    topic_id: slot.topic_id,
                    partitions: vec![data],
                }),
            }
        }
        self.answer(&call.caller, response, out);
    }
}

/// What a client hears when a segment can not be read: another replica may have it.
pub(super) fn read_error(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange => ErrorCode::OffsetOutOfRange,
        ReadError::Disk(_) | ReadError::Damaged { .. } => ErrorCode::KafkaStorageError,
    }
}
