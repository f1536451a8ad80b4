//! Batches that were turned away for now, and what those behind them are told.
//!
//! Batches of an idempotent producer travel one behind the other on a connection. If one is turned away for a reason that passes
//! (there is no leader here, the disk is full, its time was over), and the next is not, that is too early for its sequence only
//! because of the first: it is told the same, so that both are sent again in order. `OUT_OF_ORDER_SEQUENCE_NUMBER` would make
//! librdkafka begin a new epoch, and send under it again whatever else it is in doubt of.
//!
//! A partition goes by its name here: a topic may be deleted and made again between the two, and what found no topic of the name is
//! turned away as well. Where a producer is unknown and may begin anywhere (an heir, see
//! [`producers`](crate::partition::producers)), the partition could not tell that the second comes too early, and would lose the
//! place of the first: so such a second is turned away without being asked, and what is behind that as well.
//!
//! It is told so only while its producer may not have heard of the first. Once that sends again what it has sent before, or more
//! than can have been under way, a gap is a gap: who has given the first up has to hear of it.

use std::collections::BTreeMap;

use crate::id::{ConnId, ProducerId};
use crate::kafka::ErrorCode;
use crate::kafka::batch::Batch;
use crate::limits::{BATCHES_BEHIND_MAX, BEGINNERS_HELD_MAX, TURNED_AWAY_MAX};

/// Where in the sequence of its producer a batch begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    producer: ProducerId,
    epoch: i16,
    first: i32,
}

impl Sequence {
    /// None for a batch of a producer without an id.
    pub(super) fn of(batch: &Batch) -> Option<Self> {
        let producer = batch.producer_id()?;
        Some(Self { producer, epoch: batch.producer_epoch(), first: batch.base_sequence() })
    }

    /// Whether it begins later in the same epoch: sequences go round, and are never so far from one another.
    fn follows(self, other: Self) -> bool {
        let ahead = self.first.wrapping_sub(other.first) & i32::MAX;
        self.epoch == other.epoch && ahead > 0 && ahead < 1 << 30
    }
}

/// A batch that was turned away, and has not come again.
#[derive(Debug)]
struct Refusal {
    /// What it was told.
    error: ErrorCode,
    /// The last batch that has come since, and how many have.
    last: Sequence,
    behind: usize,
    /// How many have come since the last that was turned away.
    since: usize,
    /// How many were held back, that could begin anywhere.
    held: usize,
}

/// A batch has come behind one that was turned away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behind {
    error: ErrorCode,
    /// Whether its producer may not have heard of the first.
    of_first: bool,
}

impl Behind {
    /// What it is to be told if it is called out of order, if anything else.
    pub(super) fn instead(self) -> Option<ErrorCode> {
        self.of_first.then_some(self.error)
    }
}

/// A partition by name.
pub(super) type Place<'a> = (&'a str, i32);

/// By connection, then by partition and producer. Every connection has some. See the module.
#[derive(Debug, Default)]
pub(super) struct TurnedAway {
    refusals: BTreeMap<ConnId, BTreeMap<(String, i32, ProducerId), Refusal>>,
    /// Over all connections.
    count: usize,
}

impl TurnedAway {
    /// A batch has come. Says whether it is behind one that was turned away.
    pub(super) fn arrives(&mut self, conn: ConnId, (topic, at): Place<'_>, sequence: Sequence) -> Option<Behind> {
        let of_conn = self.refusals.get_mut(&conn)?;
        let key = (topic.to_owned(), at, sequence.producer);
        let refusal = of_conn.get_mut(&key)?;
        let of_first = refusal.behind < BATCHES_BEHIND_MAX;
        if sequence.follows(refusal.last) && (of_first || refusal.since < BATCHES_BEHIND_MAX) {
            (refusal.last, refusal.behind, refusal.since) = (sequence, refusal.behind + 1, refusal.since + 1);
            return Some(Behind { error: refusal.error, of_first });
        }
        of_conn.remove(&key);
        self.count -= 1;
        if of_conn.is_empty() {
            self.refusals.remove(&conn);
        }
        None
    }

    /// The batch that has just come could begin anywhere. Gives what it is to be told, so that it does not take the place of those
    /// before it: nothing if it is behind none that is on its way again. A client with five batches under way sends again what it
    /// was refused before long; one that never does is let through at last.
    pub(super) fn hold_back(&mut self, conn: ConnId, (topic, at): Place<'_>, sequence: Sequence) -> Option<ErrorCode> {
        let refusal = self.refusals.get_mut(&conn)?.get_mut(&(topic.to_owned(), at, sequence.producer))?;
        if refusal.since > BATCHES_BEHIND_MAX || refusal.held >= BEGINNERS_HELD_MAX {
            return None;
        }
        (refusal.since, refusal.held) = (0, refusal.held + 1);
        Some(refusal.error)
    }

    /// A batch, of a connection that is open, was not taken.
    pub(super) fn refused(&mut self, conn: ConnId, (topic, at): Place<'_>, sequence: Sequence, error: ErrorCode) {
        let room = self.count < TURNED_AWAY_MAX;
        if !error.is_retriable() || (!room && !self.refusals.contains_key(&conn)) {
            return;
        }
        let of_conn = self.refusals.entry(conn).or_default();
        let key = (topic.to_owned(), at, sequence.producer);
        match of_conn.get_mut(&key) {
            // The client has heard of nothing yet: this one was on its way before, or is the last of those behind.
            Some(refusal) if refusal.last.epoch >= sequence.epoch && refusal.behind <= BATCHES_BEHIND_MAX => {
                if sequence.follows(refusal.last) {
                    (refusal.last, refusal.behind) = (sequence, refusal.behind + 1);
                }
                refusal.since = 0;
            }
            None if !room => {}
            known => {
                self.count += usize::from(known.is_none());
                let held = known.map_or(0, |refusal| refusal.held);
                of_conn.insert(key, Refusal { error, last: sequence, behind: 0, since: 0, held });
            }
        }
    }

    /// A connection is gone, and with it what was turned away on it.
    pub(super) fn forget(&mut self, conn: ConnId) {
        self.count -= self.refusals.remove(&conn).map_or(0, |of_conn| of_conn.len());
    }

    /// The connections on which something was turned away.
    pub(super) fn connections(&self) -> impl Iterator<Item = ConnId> {
        self.refusals.keys().copied()
    }
}
