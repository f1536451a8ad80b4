//! Judges what idempotent producers are told of batches that travel one behind the other on a connection.
//!
//! A batch that is not taken now will be sent again, and those behind it after it. One of those may find that the reason has
//! gone meanwhile: it comes too early then, through no fault of its producer, and must not be called out of order for that. What
//! can have been under way before its producer heard of the first are [`BEHIND_MAX`] batches; and one that comes again shows that
//! the producer has heard. One that its partition has found out of order itself excuses nobody behind it. Feed it what crosses the
//! door of each broker, and what partitions decide, in order.

use std::collections::BTreeMap;

use tidelog_core::id::{ConnId, GroupId, NodeId, ProducerId, RequestId};
use tidelog_core::kafka::ErrorCode;

use crate::violation::{Verdict, Violation};

/// A batch with a sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sent {
    /// The partition, as the broker knows it.
    pub group: GroupId,
    /// Whose batch it is.
    pub producer: ProducerId,
    /// Of the producer.
    pub epoch: i16,
    /// The sequence of its first record.
    pub first: i32,
}

impl Sent {
    /// Sequences go round after 2^31-1; two that are compared are near to one another.
    fn follows(self, other: Self) -> bool {
        self.epoch == other.epoch && (1..1 << 30).contains(&(self.first.wrapping_sub(other.first) & i32::MAX))
    }
}

/// An idempotent producer has at most five batches of a partition under way.
pub const BEHIND_MAX: usize = 4;

/// A run that goes on for so long is begun anew: nobody is accused for want of memory.
const RUN_MAX: usize = 100;

/// A batch that has come, and why it was not taken, if that is so.
#[derive(Debug)]
struct Came {
    request: RequestId,
    batch: Sent,
    refused: Option<ErrorCode>,
    /// It will never be taken: whatever comes behind it has a gap.
    lost: bool,
    /// Its partition looked at it, and what comes before it was not there.
    gap: bool,
}

/// One connection.
#[derive(Debug, Default)]
struct Line {
    open: BTreeMap<RequestId, Vec<Option<Sent>>>,
    /// Batches each of which came behind the one before it: at most those that matter.
    runs: BTreeMap<(GroupId, ProducerId), Vec<Came>>,
}

impl Line {
    fn comes(&mut self, request: RequestId, batch: Sent) {
        let run = self.runs.entry((batch.group, batch.producer)).or_default();
        if run.len() > RUN_MAX || run.last().is_some_and(|last| !batch.follows(last.batch)) {
            run.clear();
        }
        run.push(Came { request, batch, refused: None, lost: false, gap: false });
        let settled = |came: &&Came| came.refused.is_none() && !came.lost && !self.open.contains_key(&came.request);
        let settled = run.iter().take_while(settled).count();
        run.drain(..settled.min(run.len() - 1));
    }

    /// A batch was not taken. If it is called out of order: the one that it had to wait for, and why.
    fn refused(&mut self, request: RequestId, batch: Sent, error: ErrorCode) -> Option<(Sent, ErrorCode)> {
        let run = self.runs.get_mut(&(batch.group, batch.producer))?;
        let at = run.iter().position(|came| came.request == request && came.batch == batch)?;
        // What is in the log is not sent again.
        if error.is_retriable() && error != ErrorCode::NotEnoughReplicasAfterAppend {
            run[at].refused = Some(error);
        }
        if error != ErrorCode::OutOfOrderSequenceNumber {
            let taken = [ErrorCode::None, ErrorCode::DuplicateSequenceNumber].contains(&error);
            run[at].lost = !error.is_retriable() && !taken;
            return None;
        }
        if run[..at].iter().any(|came| came.lost) {
            return None;
        }
        let (first, why) = run
            .iter()
            .enumerate()
            .filter(|(_, came)| !came.gap)
            .find_map(|(first, came)| Some((first, came.refused?)))?;
        (first < at && at - first <= BEHIND_MAX).then(|| (run[first].batch, why))
    }
}

/// The checker. See the [module](self).
#[derive(Debug, Default)]
pub struct Sequences {
    lines: BTreeMap<(NodeId, ConnId), Line>,
    verdict: Verdict,
}

impl Sequences {
    /// A checker that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A produce request reached `node`, which owes an answer: its batches in order, nothing for those without a sequence.
    pub fn sent(&mut self, node: NodeId, conn: ConnId, id: RequestId, batches: Vec<Option<Sent>>) {
        let line = self.lines.entry((node, conn)).or_default();
        line.open.insert(id, batches.clone());
        batches.into_iter().flatten().for_each(|batch| line.comes(id, batch));
    }

    /// `node` answered it, with these error codes in the order of the batches.
    pub fn answered(&mut self, node: NodeId, conn: ConnId, id: RequestId, errors: impl IntoIterator<Item = i16>) {
        let Some(line) = self.lines.get_mut(&(node, conn)) else { return };
        let Some(batches) = line.open.remove(&id) else { return };
        let mut wrong = Vec::new();
        for (batch, code) in batches.into_iter().zip(errors) {
            let (Some(batch), Some(error)) = (batch, ErrorCode::from_code(code)) else { continue };
            let before = line.refused(id, batch, error);
            wrong.extend(before.map(|(before, why)| (batch, before, why)));
        }
        for (batch, before, why) in wrong {
            self.add(node, conn, batch, before, why);
        }
    }

    /// A partition has found a batch out of order, whatever its producer is told of it.
    pub fn out_of_order(&mut self, batch: Sent) {
        let runs = self.lines.values_mut().filter_map(|line| line.runs.get_mut(&(batch.group, batch.producer)));
        runs.flatten().filter(|came| came.batch == batch).for_each(|came| came.gap = true);
    }

    /// The connection is gone, whoever closed it.
    pub fn closed(&mut self, node: NodeId, conn: ConnId) {
        self.lines.remove(&(node, conn));
    }

    /// `node` is gone, and its connections with it.
    pub fn crashed(&mut self, node: NodeId) {
        self.lines.retain(|(of, _), _| *of != node);
    }

    /// Whether no promise was broken so far.
    pub fn is_clean(&self) -> bool {
        self.verdict.is_empty()
    }

    /// The promises broken so far.
    pub fn violations(&self) -> Vec<Violation> {
        self.verdict.clone().into_violations()
    }

    fn add(&mut self, node: NodeId, conn: ConnId, batch: Sent, before: Sent, why: ErrorCode) {
        let Sent { group, producer, epoch, first } = batch;
        let subject = format!("{node:?} {conn:?} {group:?} {producer:?}");
        self.verdict.add("called-out-of-order", subject, || {
            let sentence = format!(
                "Broker {node} called the batch from sequence {first} for Group {group} out of order, although the one from {} \
                 before it was to be sent again.",
                before.first
            );
            let told = format!("producer {producer}, epoch {epoch}: the one from {} was told {}", before.first, why.name());
            (sentence, vec![told])
        });
    }
}
