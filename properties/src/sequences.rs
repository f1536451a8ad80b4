//! Judges what idempotent producers are told of batches that travel one behind the other on a connection.
//!
//! A batch that is not taken now will be sent again, and those behind it after it. One of those may find that the reason has
//! gone meanwhile: it comes too early then, through no fault of its producer, and must not be called out of order for that.
//! Feed it what crosses the door of each broker, in order.

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

/// One connection.
#[derive(Debug, Default)]
struct Line {
    open: BTreeMap<RequestId, Vec<Option<Sent>>>,
    /// The first batch that is to be sent again, and why.
    refused: BTreeMap<(GroupId, ProducerId), (Sent, ErrorCode)>,
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
        self.lines.entry((node, conn)).or_default().open.insert(id, batches);
    }

    /// `node` answered it, with these error codes in the order of the batches.
    pub fn answered(&mut self, node: NodeId, conn: ConnId, id: RequestId, errors: impl IntoIterator<Item = i16>) {
        let Some(line) = self.lines.get_mut(&(node, conn)) else { return };
        let Some(batches) = line.open.remove(&id) else { return };
        let mut wrong = Vec::new();
        for (batch, code) in batches.into_iter().zip(errors) {
            let (Some(batch), Some(error)) = (batch, ErrorCode::from_code(code)) else { continue };
            let refused = &mut line.refused;
            let key = (batch.group, batch.producer);
            match error {
                ErrorCode::None => drop(refused.remove(&key)),
                ErrorCode::OutOfOrderSequenceNumber => {
                    let before = refused.get(&key).filter(|(before, _)| batch.follows(*before));
                    wrong.extend(before.map(|(before, why)| (batch, *before, *why)));
                }
                // It is in the log.
                ErrorCode::NotEnoughReplicasAfterAppend => {}
                error if error.is_retriable() => {
                    let first = refused.entry(key).or_insert((batch, error));
                    if first.0.epoch != batch.epoch || first.0.follows(batch) {
                        *first = (batch, error);
                    }
                }
                _ => {}
            }
        }
        for (batch, before, why) in wrong {
            self.add(node, conn, batch, before, why);
        }
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
