//! Produce: every batch is checked, proposed, and answered when its own leader has applied it in its own term.
//!
//! `acks=1` and `acks=all` are answered at the same moment, so `acks=1` is as safe; `acks=all` also waits until
//! `min.insync.replicas` voters hold the batch. `acks=0` is never answered; if it fails, the connection closes.

use super::entry::{EntryHead, EntryKind};
use super::machine::Placed;
use super::replica::Replica;
use super::session::Reply;
use super::timestamps::{self, Misdated};
use super::turned_away::{Behind, Sequence};
use super::waits::Wait;
use super::{Broker, Call, CallId, Caller, Waiting};
use crate::controller::configs::TimestampType;
use crate::controller::names;
use crate::effect::Effects;
use crate::id::{GroupId, Index, Offset};
use crate::kafka::batch::{Batch, Compression};
use crate::kafka::messages::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use crate::kafka::{ErrorCode, RequestHeader};
use crate::mutants::Mutant;
use crate::time::{Duration, Timestamp};

const ACKS_NONE: i16 = 0;
const ACKS_LEADER: i16 = 1;
const ACKS_ALL: i16 = -1;

/// What became of one batch.
#[derive(Clone, Debug)]
enum Slot {
    /// Proposed, not applied yet. If it is called out of order, it may only be `early`, and is told that.
    Proposed {
        sequence: Option<Sequence>,
        early: Option<ErrorCode>,
    },
    /// Applied; not enough replicas are known to hold it.
    Thin {
        group: GroupId,
        index: Index,
        needed: usize,
        placed: Placed,
    },
    Done(Result<Placed, ErrorCode>),
    /// Refused for what its records say of their time.
    Misdated(Misdated),
}

impl Slot {
    fn is_open(&self) -> bool {
        match self {
            Self::Proposed { .. } | Self::Thin { .. } => true,
            Self::Done(_) | Self::Misdated(_) => false,
        }
    }
}

/// A Produce request under way.
#[derive(Debug)]
pub(super) struct ProduceCall {
    caller: Caller,
    acks: i16,
    /// Topic, partition and fate of each batch, in the order of the request.
    slots: Vec<(String, i32, Slot)>,
}

impl ProduceCall {
    fn open(&self) -> bool {
        self.slots.iter().any(|(.., slot)| slot.is_open())
    }

    pub(super) fn waits(&self) -> Vec<Wait> {
        let wait = |(at, (.., slot)): (usize, &(String, i32, Slot))| match slot {
            Slot::Proposed { .. } => Some(Wait::Entry(at)),
            Slot::Thin { .. } => Some(Wait::Replicas),
            Slot::Done(_) | Slot::Misdated(_) => None,
        };
        self.slots.iter().enumerate().filter_map(wait).collect()
    }
}

impl Broker {
    pub(super) fn produce(
        &mut self,
        caller: Caller,
        request: ProduceRequest,
        batches: Vec<Result<Batch, ErrorCode>>,
        out: &mut Effects,
    ) {
        let acks = request.acks;
        let mut refused = match acks {
            ACKS_NONE | ACKS_LEADER | ACKS_ALL => None,
            _ => Some(ErrorCode::InvalidRequiredAcks),
        };
        if request.transactional_id.is_some() {
            refused = Some(ErrorCode::TransactionalIdAuthorizationFailed);
        }
        let (conn, header) = (caller.conn, caller.header.clone());
        let call = self.call(Call::Produce(ProduceCall { caller, acks, slots: Vec::new() }), None);
        let mut batches = batches.into_iter();
        let mut slots = Vec::new();
        for topic in request.topic_data {
            for partition in topic.partition_data {
                let batch = batches.next().unwrap_or(Err(ErrorCode::InvalidRequest));
                let sequence = batch.as_ref().ok().and_then(Sequence::of);
                let place = (topic.name.as_str(), partition.index);
                let early = sequence.and_then(|sequence| self.turned_away.arrives(conn, place, sequence));
                let checked = match refused {
                    Some(error) => Err(error),
                    None => batch.and_then(|batch| self.accept(&header, acks, &topic.name, partition.index, batch)),
                };
                let checked = checked.and_then(|(group, batch)| {
                    let behind = sequence.filter(|_| early.is_some() && self.begins_anywhere(group, &batch));
                    match behind.and_then(|sequence| self.turned_away.hold_back(conn, place, sequence)) {
                        Some(error) => Err(error),
                        None => Ok((group, batch)),
                    }
                });
                let early = early.and_then(Behind::instead);
                let slot = match checked {
                    Ok((group, batch)) => match self.judge_timestamps(group, &batch) {
                        Ok(()) => {
                            self.propose_batch(call, slots.len(), group, batch);
                            Slot::Proposed { sequence, early }
                        }
                        Err(misdated) => Slot::Misdated(misdated),
                    },
                    Err(error) => {
                        if let Some(sequence) = sequence.filter(|_| names::validate(&topic.name).is_ok()) {
                            self.turned_away.refused(conn, place, sequence, error);
                        }
                        Slot::Done(Err(error))
                    }
                };
                slots.push((topic.name.clone(), partition.index, slot));
            }
        }
        let timeout = u64::try_from(request.timeout_ms).unwrap_or(0);
        let deadline = self.now.mono + Duration::from_millis(timeout.clamp(1, 10 * 60 * 1_000));
        let Some(Call::Produce(produce)) = self.calls.get_mut(&call) else {
            return;
        };
        produce.slots = slots;
        if produce.open() {
            self.set_deadline(call, Some(deadline));
        }
        self.produce_progress(call, out);
    }

    /// What can be said against a batch before it is proposed.
    fn accept(
        &self,
        header: &RequestHeader,
        acks: i16,
        topic: &str,
        partition: i32,
        batch: Batch,
    ) -> Result<(GroupId, Batch), ErrorCode> {
        let group = self.group_of(topic, partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let replica = self.replicas.get(&group).ok_or_else(|| self.nobody(group))?;
        if !replica.raft.serving() {
            return Err(replica.refusal());
        }
        let config = replica.config;
        if batch.len() > usize::try_from(config.max_message_bytes).unwrap_or(0) {
            return Err(ErrorCode::MessageTooLarge);
        }
        if batch.is_transactional() {
            return Err(ErrorCode::InvalidTxnState);
        }
        if batch.compression() == Compression::Zstd && header.api_version < 7 {
            return Err(ErrorCode::UnsupportedCompressionType);
        }
        let voters = replica.raft.voters();
        let needed = usize::try_from(config.min_insync_replicas).unwrap_or(usize::MAX);
        if acks == ACKS_ALL && needed > voters {
            return Err(ErrorCode::NotEnoughReplicas);
        }
        let full = self.journal.as_ref().is_some_and(|journal| journal.pressure()) || self.journal_full;
        if full || replica.machine.log.is_full() {
            return Err(ErrorCode::KafkaStorageError);
        }
        Ok((group, batch))
    }

    /// What can be said against the times of records, once nothing else can.
    fn judge_timestamps(&self, group: GroupId, batch: &Batch) -> Result<(), Misdated> {
        match self.replicas.get(&group).filter(|_| !self.config.mutants.planted(Mutant::TimestampsUnjudged)) {
            Some(Replica { config, machine, .. }) => {
                timestamps::judge(batch, config, self.now.wall, machine.log.log_start())
            }
            None => Ok(()),
        }
    }

    /// Whether the partition would take the batch for the first of its producer, in mid-sequence.
    fn begins_anywhere(&self, group: GroupId, batch: &Batch) -> bool {
        let machine = self.replicas.get(&group).map(|replica| &replica.machine);
        machine.is_some_and(|machine| machine.begins_anywhere(batch))
    }

    fn propose_batch(&mut self, call: CallId, slot: usize, group: GroupId, batch: Batch) {
        let token = self.token(Waiting::Produce(call, slot));
        let head = EntryHead { kind: EntryKind::Produce, stamp: self.now.wall };
        if let Some(replica) = self.replicas.get_mut(&group) {
            let batch = match replica.config.timestamp_type {
                TimestampType::LogAppendTime => batch.with_log_append_time(self.now.wall),
                TimestampType::CreateTime => batch,
            };
            let data = replica.machine.proposed(&batch);
            replica.raft.propose(token, head.encode(), data);
            self.touched.insert(group);
        }
    }

    pub(super) fn group_of(&self, topic: &str, partition: i32) -> Option<GroupId> {
        let topic = self.image()?.topic_named(topic)?;
        topic.partitions.get(usize::try_from(partition).ok()?).map(|partition| partition.group)
    }

    /// A batch was applied, refused, or lost sight of.
    pub(super) fn produced(
        &mut self,
        call: CallId,
        slot: usize,
        group: GroupId,
        index: Index,
        result: Result<Placed, ErrorCode>,
        out: &mut Effects,
    ) {
        let needed = self.replicas.get(&group).map_or(0, |replica| replica.config.min_insync_replicas);
        let needed = usize::try_from(needed).unwrap_or(0);
        let Some(Call::Produce(produce)) = self.calls.get_mut(&call) else {
            return;
        };
        let Some((topic, partition, state)) = produce.slots.get_mut(slot) else {
            return;
        };
        let Slot::Proposed { sequence, early } = *state else {
            return;
        };
        let early = early.filter(|_| !self.config.mutants.planted(Mutant::RefusalsForgotten));
        let result = match result {
            Err(ErrorCode::OutOfOrderSequenceNumber) => Err(early.unwrap_or(ErrorCode::OutOfOrderSequenceNumber)),
            result => result,
        };
        let conn = produce.caller.conn;
        if let (Err(error), Some(sequence), true) = (&result, sequence, self.sessions.is_open(conn)) {
            self.turned_away.refused(conn, (topic.as_str(), *partition), sequence, *error);
        }
        *state = match result {
            Ok(placed) if placed.duplicate && self.config.mutants.planted(Mutant::DuplicateSkipsMinIsr) => {
                Slot::Done(Ok(placed))
            }
            Ok(placed) if produce.acks == ACKS_ALL => Slot::Thin { group, index, needed, placed },
            result => Slot::Done(result),
        };
        self.produce_progress(call, out);
    }

    /// Looks again at what waits for replicas; answers if nothing is open.
    pub(super) fn produce_progress(&mut self, call: CallId, out: &mut Effects) {
        let Some(Call::Produce(produce)) = self.calls.get_mut(&call) else {
            return;
        };
        for (.., slot) in &mut produce.slots {
            if let Slot::Thin { group, index, needed, placed } = *slot {
                match self.replicas.get(&group) {
                    // What is applied is held by a majority: only more than that has to be counted.
                    Some(replica) if replica.raft.leading() => {
                        let quorum = replica.raft.voters() / 2 + 1;
                        if needed <= quorum || replica.raft.holders(index) >= needed {
                            *slot = Slot::Done(Ok(placed));
                        } else if !self.config.mutants.planted(Mutant::ThinForgotten) {
                            self.thin.insert(call);
                        }
                    }
                    // Another leads, or the topic was deleted meanwhile: it was appended all the same.
                    Some(_) | None => *slot = Slot::Done(Err(ErrorCode::NotEnoughReplicasAfterAppend)),
                }
            }
        }
        if !produce.open() {
            self.finish_produce(call, out);
        }
    }

    /// The time the client gave is over: what is open may still come to be.
    pub(super) fn produce_expired(&mut self, call: CallId, out: &mut Effects) {
        let Some(Call::Produce(produce)) = self.calls.get_mut(&call) else {
            return;
        };
        let (conn, mut in_doubt) = (produce.caller.conn, Vec::new());
        for (topic, partition, slot) in &mut produce.slots {
            match slot {
                Slot::Proposed { sequence, .. } => {
                    in_doubt.extend(sequence.map(|sequence| (topic.clone(), *partition, sequence)));
                    *slot = Slot::Done(Err(ErrorCode::RequestTimedOut));
                }
                Slot::Thin { .. } => *slot = Slot::Done(Err(ErrorCode::NotEnoughReplicasAfterAppend)),
                Slot::Done(_) | Slot::Misdated(_) => {}
            }
        }
        for (topic, partition, sequence) in in_doubt.into_iter().filter(|_| self.sessions.is_open(conn)) {
            self.turned_away.refused(conn, (topic.as_str(), partition), sequence, ErrorCode::RequestTimedOut);
        }
        self.finish_produce(call, out);
    }

    fn finish_produce(&mut self, call: CallId, out: &mut Effects) {
        let Some(Call::Produce(produce)) = self.end_call(call) else {
            return;
        };
        let ProduceCall { caller, acks, slots } = produce;
        if acks == ACKS_NONE {
            let failed = slots.iter().find_map(|(topic, partition, slot)| match slot {
                Slot::Done(Err(error)) => Some(format!("a batch for {topic}-{partition} with acks=0 failed: {error}")),
                Slot::Misdated(_) => {
                    Some(format!("a batch for {topic}-{partition} with acks=0 failed: {}", Misdated::ERROR))
                }
                Slot::Done(Ok(_)) | Slot::Proposed { .. } | Slot::Thin { .. } => None,
            });
            let reply = failed.map_or(Reply::Silence, Reply::Close);
            self.sessions.reply(caller.conn, caller.id, reply, out);
            return;
        }
        let mut response = ProduceResponse::default();
        for (topic, partition, slot) in slots {
            let answer = match slot {
                Slot::Done(Ok(placed)) => PartitionProduceResponse {
                    index: partition,
                    base_offset: placed.base_offset.0,
                    log_append_time_ms: placed.log_append_time.0,
                    log_start_offset: placed.log_start.0
                        + if self.config.mutants.planted(Mutant::BeginsBehind) { placed.base_offset.0 + 1 } else { 0 },
                    ..PartitionProduceResponse::default()
                },
                Slot::Done(Err(error)) => {
                    let leader = self.leader_hint(error, &topic, partition, &mut response.node_endpoints);
                    PartitionProduceResponse {
                        index: partition,
                        error_code: error.code(),
                        base_offset: Offset(-1).0,
                        log_append_time_ms: Timestamp(-1).0,
                        log_start_offset: -1,
                        current_leader: leader,
                        ..PartitionProduceResponse::default()
                    }
                }
                Slot::Misdated(misdated) => misdated.answer(partition),
                Slot::Proposed { .. } | Slot::Thin { .. } => unreachable!("a finished call has no open slot"),
            };
            match response.responses.last_mut().filter(|last| last.name == topic) {
                Some(last) => last.partition_responses.push(answer),
                None => {
                    let partition_responses = vec![answer];
                    response.responses.push(TopicProduceResponse { name: topic, partition_responses });
                }
            }
        }
        self.answer(&caller, response, out);
    }

    /// Who leads, for a client that asked the wrong broker (KIP-951); nobody unless the error is about that.
    pub(super) fn leader_hint(
        &self,
        error: ErrorCode,
        topic: &str,
        partition: i32,
        endpoints: &mut Vec<NodeEndpoint>,
    ) -> LeaderIdAndEpoch {
        if !matches!(error, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch) {
            return LeaderIdAndEpoch::default();
        }
        let route = self.group_of(topic, partition).and_then(|group| self.route(group));
        let Some(route) = route.filter(|route| route.node != self.config.node) else {
            return LeaderIdAndEpoch::default();
        };
        let node_id = i32::try_from(route.node.0).unwrap_or(-1);
        if let Some(broker) = self.image().and_then(|image| image.brokers().get(&route.node))
            && !endpoints.iter().any(|endpoint| endpoint.node_id == node_id)
        {
            endpoints.push(NodeEndpoint {
                node_id,
                host: broker.host.clone(),
                port: i32::from(broker.port),
                rack: broker.rack.clone(),
            });
        }
        LeaderIdAndEpoch { leader_id: node_id, leader_epoch: i32::try_from(route.term.0).unwrap_or(-1) }
    }
}
