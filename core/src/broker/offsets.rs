//! ListOffsets and OffsetForLeaderEpoch: answers that must not be stale, each behind a read barrier of its group.

use bytes::Bytes;

use super::fetch::read_error;
use super::waits::Wait;
use super::{Broker, Call, CallId, Caller, Waiting};
use crate::compute::{Job, Output};
use crate::effect::{Effect, Effects};
use crate::id::{ConnId, GroupId, JobId, Offset};
use crate::kafka::ErrorCode;
use crate::kafka::messages::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartitionResult,
    OffsetForLeaderTopicResult,
};
use crate::log::{Candidate, Lookup, ReadError, ReadId};
use crate::mutants::Mutant;
use crate::time::Timestamp;

/// Special timestamps of ListOffsets (KIP-734, KIP-405, KIP-1005).
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

/// What is asked of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Question {
    /// The offset at a timestamp, or at one of the special ones.
    At(i64),
    /// Where a leader epoch ends.
    EpochEnd(i32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Found {
    offset: i64,
    timestamp: i64,
    epoch: i32,
}

const NOTHING: Found = Found { offset: -1, timestamp: -1, epoch: -1 };

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    Barrier,
    Reading(ReadId),
    /// A batch is looked into; if the record is not in it, the next one that may have it begins at the offset.
    Computing(JobId, Offset),
    Done(Result<Found, ErrorCode>),
}

#[derive(Debug)]
struct Slot {
    topic: String,
    partition: i32,
    question: Question,
    group: Option<GroupId>,
    state: State,
}

/// A request under way.
#[derive(Debug)]
pub(super) struct OffsetsCall {
    caller: Caller,
    epochs: bool,
    slots: Vec<Slot>,
}

impl OffsetsCall {
    pub(super) fn conn(&self) -> ConnId {
        self.caller.conn
    }

    pub(super) fn waits(&self) -> Vec<Wait> {
        let wait = |(at, slot): (usize, &Slot)| match slot.state {
            State::Barrier => Some(Wait::Barrier(at)),
            State::Reading(read) => Some(Wait::Disk(at, slot.group?, read)),
            State::Computing(job, _) => Some(Wait::Job(at, job)),
            State::Done(_) => None,
        };
        self.slots.iter().enumerate().filter_map(wait).collect()
    }
}

impl Broker {
    pub(super) fn list_offsets(&mut self, caller: Caller, request: ListOffsetsRequest, out: &mut Effects) {
        let asked = request.topics.into_iter().flat_map(|topic| {
            let name = topic.name;
            topic.partitions.into_iter().map(move |partition| {
                let question = Question::At(partition.timestamp);
                (name.clone(), partition.partition_index, partition.current_leader_epoch, question)
            })
        });
        self.ask_offsets(caller, false, asked.collect(), out);
    }

    pub(super) fn offset_for_leader_epoch(
        &mut self,
        caller: Caller,
        request: OffsetForLeaderEpochRequest,
        out: &mut Effects,
    ) {
        let asked = request.topics.into_iter().flat_map(|topic| {
            let name = topic.topic;
            topic.partitions.into_iter().map(move |partition| {
                let question = Question::EpochEnd(partition.leader_epoch);
                (name.clone(), partition.partition, partition.current_leader_epoch, question)
            })
        });
        self.ask_offsets(caller, true, asked.collect(), out);
    }

    fn ask_offsets(
        &mut self,
        caller: Caller,
        epochs: bool,
        asked: Vec<(String, i32, i32, Question)>,
        out: &mut Effects,
    ) {
        let deadline = self.now.mono + self.config.settings.request_timeout;
        let id = self.call(Call::Offsets(OffsetsCall { caller, epochs, slots: Vec::new() }), Some(deadline));
        let mut slots = Vec::new();
        for (topic, partition, claimed, question) in asked {
            let group = self.group_of(&topic, partition);
            let state = match self.may_answer(group, claimed) {
                Ok(group)
                    if question == Question::At(LATEST) && self.config.mutants.planted(Mutant::LatestGoesBack) =>
                {
                    self.look_up(id, slots.len(), group, question, out)
                }
                Ok(group) => {
                    let token = self.token(Waiting::OffsetsBarrier(id, slots.len()));
                    if let Some(replica) = self.replicas.get_mut(&group) {
                        replica.raft.read(token);
                        self.touched.insert(group);
                    }
                    State::Barrier
                }
                Err(error) => State::Done(Err(error)),
            };
            slots.push(Slot { topic, partition, question, group, state });
        }
        if let Some(Call::Offsets(call)) = self.calls.get_mut(&id) {
            call.slots = slots;
        }
        self.offsets_progress(id, out);
    }

    fn may_answer(&self, group: Option<GroupId>, claimed: i32) -> Result<GroupId, ErrorCode> {
        let group = group.ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let replica = self.replicas.get(&group).ok_or_else(|| self.nobody(group))?;
        let early = self.config.mutants.planted(Mutant::LatestGoesBack) && replica.raft.leading();
        if !replica.raft.serving() && !early {
            return Err(replica.refusal());
        }
        let epoch = i32::try_from(replica.raft.term().0).unwrap_or(i32::MAX);
        match claimed {
            ..0 => Ok(group),
            _ if claimed < epoch => Err(ErrorCode::FencedLeaderEpoch),
            _ if claimed > epoch => Err(ErrorCode::UnknownLeaderEpoch),
            _ => Ok(group),
        }
    }

    pub(super) fn offsets_barrier(&mut self, id: CallId, at: usize, confirmed: bool, out: &mut Effects) {
        let Some(Call::Offsets(call)) = self.calls.get(&id) else {
            return;
        };
        let Some(slot) = call.slots.get(at).filter(|slot| slot.state == State::Barrier) else {
            return;
        };
        let (group, question) = (slot.group, slot.question);
        let state = match group {
            Some(group) if confirmed => self.look_up(id, at, group, question, out),
            Some(_) | None => State::Done(Err(ErrorCode::NotLeaderOrFollower)),
        };
        self.set_offsets_state(id, at, state, out);
    }

    fn set_offsets_state(&mut self, id: CallId, at: usize, state: State, out: &mut Effects) {
        if let Some(Call::Offsets(call)) = self.calls.get_mut(&id)
            && let Some(slot) = call.slots.get_mut(at)
        {
            slot.state = state;
        }
        self.offsets_progress(id, out);
    }

    fn look_up(&mut self, id: CallId, at: usize, group: GroupId, question: Question, out: &mut Effects) -> State {
        let Some(replica) = self.replicas.get_mut(&group) else {
            return State::Done(Err(ErrorCode::UnknownTopicOrPartition));
        };
        let mut epoch = i32::try_from(replica.raft.term().0).unwrap_or(-1);
        if self.config.mutants.planted(Mutant::EndsInEpochZero) {
            epoch = 0;
        }
        let log = &mut replica.machine.log;
        let found = |offset: Offset| State::Done(Ok(Found { offset: offset.0, timestamp: -1, epoch }));
        let lookup = match question {
            Question::EpochEnd(..0) => return State::Done(Ok(NOTHING)),
            Question::EpochEnd(asked) => {
                return State::Done(Ok(log.epoch_end(asked).map_or(NOTHING, |(epoch, end)| Found {
                    offset: end.0,
                    timestamp: -1,
                    epoch,
                })));
            }
            Question::At(LATEST) => return found(log.next_offset()),
            Question::At(EARLIEST | EARLIEST_LOCAL) => return found(log.log_start()),
            Question::At(LATEST_TIERED) => return State::Done(Ok(NOTHING)),
            Question::At(MAX_TIMESTAMP) => log.find_max_timestamp(),
            Question::At(timestamp) if timestamp < 0 => return State::Done(Err(ErrorCode::InvalidRequest)),
            Question::At(timestamp) => log.find_timestamp(log.log_start(), Timestamp(timestamp)),
        };
        self.looked_up(id, at, group, question, lookup, out)
    }

    fn looked_up(
        &mut self,
        id: CallId,
        at: usize,
        group: GroupId,
        question: Question,
        lookup: Lookup,
        out: &mut Effects,
    ) -> State {
        match lookup {
            Lookup::Found(candidate) => self.look_into(id, at, group, question, candidate, out),
            Lookup::None => State::Done(Ok(NOTHING)),
            Lookup::Pending(read) => {
                self.log_reads.insert((group, read), (id, at));
                self.thirsty.insert(group);
                State::Reading(read)
            }
        }
    }

    /// The batch that may hold the record is known: finding the record may mean unfolding it, which the driver does not do.
    fn look_into(
        &mut self,
        id: CallId,
        at: usize,
        group: GroupId,
        question: Question,
        candidate: Candidate,
        out: &mut Effects,
    ) -> State {
        let job = JobId(self.next_job);
        self.next_job += 1;
        self.jobs.insert(job, (id, at));
        let batches = candidate.batch;
        let job_input = match question {
            Question::At(timestamp) if timestamp >= 0 => {
                let from = self.range(group).map_or(Offset(0), |(start, _)| start);
                Job::FindTimestamp { batches, from, at_least: Timestamp(timestamp) }
            }
            Question::At(_) | Question::EpochEnd(_) => Job::FindMaxTimestamp { batches },
        };
        out.push(Effect::Compute { job, job_input });
        State::Computing(job, candidate.next)
    }

    pub(super) fn computed(&mut self, job: JobId, output: Output, out: &mut Effects) {
        let (id, at) = self.jobs.remove(&job).expect("a computation ends once");
        let Output::FoundTimestamp(found) = output;
        let Some(Call::Offsets(call)) = self.calls.get(&id) else {
            return;
        };
        let Some(slot) = call.slots.get(at) else { return };
        let State::Computing(of, next) = slot.state else { return };
        let (question, group) = (slot.question, slot.group);
        if of != job {
            return;
        }
        let Some((group, replica)) = group.and_then(|group| Some((group, self.replicas.get_mut(&group)?))) else {
            return self.offsets_lost(id, at, out);
        };
        let epoch = i32::try_from(replica.raft.term().0).unwrap_or(-1);
        let state = match (found, question) {
            (Some((offset, timestamp)), _) => {
                State::Done(Ok(Found { offset: offset.0, timestamp: timestamp.0, epoch }))
            }
            // The header promised a record that is not there: a later batch may have it.
            (None, Question::At(timestamp)) if timestamp >= 0 => {
                let lookup = replica.machine.log.find_timestamp(next, Timestamp(timestamp));
                self.looked_up(id, at, group, question, lookup, out)
            }
            (None, Question::At(_) | Question::EpochEnd(_)) => State::Done(Ok(NOTHING)),
        };
        self.set_offsets_state(id, at, state, out);
    }

    /// A lookup that needed the disk came to its end.
    pub(super) fn log_looked_up(
        &mut self,
        group: GroupId,
        read: ReadId,
        result: Result<Option<Candidate>, ReadError>,
        out: &mut Effects,
    ) {
        let Some((id, at)) = self.log_reads.remove(&(group, read)) else {
            return;
        };
        let Some(Call::Offsets(call)) = self.calls.get(&id) else {
            return;
        };
        let Some(slot) = call.slots.get(at).filter(|slot| slot.state == State::Reading(read)) else {
            return;
        };
        let question = slot.question;
        let state = match result {
            Ok(Some(candidate)) => self.look_into(id, at, group, question, candidate, out),
            Ok(None) => State::Done(Ok(NOTHING)),
            Err(error) => State::Done(Err(read_error(&error))),
        };
        self.set_offsets_state(id, at, state, out);
    }

    /// The partition is gone while its disk was asked.
    pub(super) fn offsets_lost(&mut self, id: CallId, at: usize, out: &mut Effects) {
        if matches!(self.calls.get(&id), Some(Call::Offsets(_))) {
            self.set_offsets_state(id, at, State::Done(Err(ErrorCode::UnknownTopicOrPartition)), out);
        }
    }

    /// A read of records came to its end.
    pub(super) fn log_read(
        &mut self,
        group: GroupId,
        read: ReadId,
        result: Result<Vec<Bytes>, ReadError>,
        out: &mut Effects,
    ) {
        if let Some((id, at)) = self.log_reads.remove(&(group, read)) {
            self.fetch_read(id, at, read, result, out);
        }
    }

    /// The group did not answer in time: somebody else may lead it.
    pub(super) fn offsets_expired(&mut self, id: CallId, out: &mut Effects) {
        if let Some(Call::Offsets(call)) = self.calls.get_mut(&id) {
            for slot in &mut call.slots {
                if !matches!(slot.state, State::Done(_)) {
                    slot.state = State::Done(Err(ErrorCode::NotLeaderOrFollower));
                }
            }
        }
        self.offsets_progress(id, out);
    }

    fn offsets_progress(&mut self, id: CallId, out: &mut Effects) {
        let Some(Call::Offsets(call)) = self.calls.get(&id) else {
            return;
        };
        if call.slots.iter().any(|slot| !matches!(slot.state, State::Done(_))) {
            return;
        }
        let Some(Call::Offsets(call)) = self.end_call(id) else {
            return;
        };
        let answers = call.slots.into_iter().map(|slot| match slot.state {
            State::Done(result) => (slot.topic, slot.partition, result),
            State::Barrier | State::Reading(_) | State::Computing(..) => unreachable!("every slot is done"),
        });
        if call.epochs {
            self.answer(&call.caller, epochs_response(answers), out);
        } else {
            self.answer(&call.caller, offsets_response(answers), out);
        }
    }
}

type Answer = (String, i32, Result<Found, ErrorCode>);

fn offsets_response(answers: impl Iterator<Item = Answer>) -> ListOffsetsResponse {
    let mut topics: Vec<ListOffsetsTopicResponse> = Vec::new();
    for (name, partition_index, result) in answers {
        let (error, found) = split(result);
        let answer = ListOffsetsPartitionResponse {
            partition_index,
            error_code: error.code(),
            timestamp: found.timestamp,
            offset: found.offset,
            leader_epoch: found.epoch,
        };
        match topics.last_mut().filter(|last| last.name == name) {
            Some(last) => last.partitions.push(answer),
            None => topics.push(ListOffsetsTopicResponse { name, partitions: vec![answer] }),
        }
    }
    ListOffsetsResponse { topics, ..ListOffsetsResponse::default() }
}

fn epochs_response(answers: impl Iterator<Item = Answer>) -> OffsetForLeaderEpochResponse {
    let mut topics: Vec<OffsetForLeaderTopicResult> = Vec::new();
    for (topic, partition, result) in answers {
        let (error, found) = split(result);
        let answer = OffsetForLeaderPartitionResult {
            error_code: error.code(),
            partition,
            leader_epoch: found.epoch,
            end_offset: found.offset,
        };
        match topics.last_mut().filter(|last| last.topic == topic) {
            Some(last) => last.partitions.push(answer),
            None => topics.push(OffsetForLeaderTopicResult { topic, partitions: vec![answer] }),
        }
    }
    OffsetForLeaderEpochResponse { topics, ..OffsetForLeaderEpochResponse::default() }
}

fn split(result: Result<Found, ErrorCode>) -> (ErrorCode, Found) {
    match result {
        Ok(found) => (ErrorCode::None, found),
        Err(error) => (error, NOTHING),
    }
}
