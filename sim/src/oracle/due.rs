//! Every request is answered in its time: a broker promises a time for each, or its client gives one.
//!
//! Fed with what crosses the door of a broker. A connection that closes owes nothing; a broker that stood still, or had a slow disk,
//! since it was asked is excused.

use std::collections::{BTreeMap, VecDeque};

use tidelog_core::id::{ConnId, NodeId, RequestId};
use tidelog_core::kafka::{Request, RequestBody};

/// Microseconds that any answer may take: disks and other brokers take part in it.
const GRACE: u64 = 1_500_000;
/// Clocks run slower than others, by less than a part in so many.
const DRIFT: u64 = 16;

/// An answer that is owed.
#[derive(Clone, Copy, Debug)]
struct Owed {
    id: RequestId,
    asked: u64,
    due: u64,
}

/// What is owed on a connection.
#[derive(Debug, Default)]
struct Line {
    owed: VecDeque<Owed>,
    /// By when everything that was asked is done, what is never answered (`acks=0`) included.
    done: u64,
}

/// What every broker owes, and by when.
#[derive(Debug, Default)]
pub(crate) struct Due {
    lines: BTreeMap<(NodeId, ConnId), Line>,
}

/// An answer that came too late, or has not come: who owes it, and how long it took so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Late {
    pub(crate) node: NodeId,
    pub(crate) conn: ConnId,
    pub(crate) id: RequestId,
    pub(crate) allowed: u64,
    pub(crate) took: u64,
}

/// How long the answer to a request may take by itself, in microseconds. `promise` is what brokers promise of what they have to ask
/// others for.
pub(crate) fn allowed(request: &Request, promise: u64) -> u64 {
    let millis = |ms: i32| u64::try_from(ms).unwrap_or(0) * 1_000;
    match &request.body {
        RequestBody::Produce(produce) => millis(produce.timeout_ms),
        // That an offset is out of range is confirmed first.
        RequestBody::Fetch(fetch) => millis(fetch.max_wait_ms).max(promise),
        RequestBody::CreateTopics(create) => millis(create.timeout_ms),
        RequestBody::DeleteTopics(delete) => millis(delete.timeout_ms),
        RequestBody::AddRaftVoter(add) => millis(add.timeout_ms),
        RequestBody::ListOffsets(_) | RequestBody::OffsetForLeaderEpoch(_) | RequestBody::InitProducerId(_) => promise,
        RequestBody::Metadata(_)
        | RequestBody::ApiVersions(_)
        | RequestBody::ApiVersionsUnsupported
        | RequestBody::DescribeConfigs(_)
        | RequestBody::DescribeCluster(_)
        | RequestBody::DescribeQuorum(_) => 0,
    }
}

/// Whether it is answered at all.
pub(crate) fn is_answered(request: &Request) -> bool {
    !matches!(&request.body, RequestBody::Produce(produce) if produce.acks == 0)
}

impl Due {
    /// A broker is asked for an answer that may take `allowed` microseconds by itself. Answers stand in line: what is asked after it on
    /// the connection may have to wait for it.
    pub(crate) fn asked(&mut self, now: u64, key: (NodeId, ConnId), id: RequestId, allowed: u64) {
        let due = self.told(now, key, allowed);
        self.lines.entry(key).or_default().owed.push_back(Owed { id, asked: now, due });
    }

    /// A broker is asked for something that it does not answer, but does before what is asked after it; gives by when.
    pub(crate) fn told(&mut self, now: u64, key: (NodeId, ConnId), allowed: u64) -> u64 {
        let line = self.lines.entry(key).or_default();
        line.done = line.done.max(now + allowed + allowed / DRIFT + GRACE);
        line.done
    }

    /// A broker answers; it was in no state to until `excused`.
    pub(crate) fn answered(&mut self, now: u64, key: (NodeId, ConnId), id: RequestId, excused: u64) -> Option<Late> {
        let line = self.lines.get_mut(&key)?;
        let at = line.owed.iter().position(|owed| owed.id == id)?;
        let owed = line.owed.remove(at)?;
        late(now, key, owed, excused)
    }

    pub(crate) fn closed(&mut self, node: NodeId, conn: ConnId) {
        self.lines.remove(&(node, conn));
    }

    pub(crate) fn died(&mut self, node: NodeId) {
        self.lines.retain(|(of, _), _| *of != node);
    }

    /// The first answer that is late already, and that nothing excuses.
    pub(crate) fn overdue(&self, now: u64, excused: impl Fn(NodeId) -> u64) -> Option<Late> {
        let first = |(key, line): (&(NodeId, ConnId), &Line)| {
            line.owed.front().and_then(|owed| late(now, *key, *owed, excused(key.0)))
        };
        self.lines.iter().find_map(first)
    }
}

fn late(now: u64, (node, conn): (NodeId, ConnId), owed: Owed, excused: u64) -> Option<Late> {
    let Owed { id, asked, due } = owed;
    let late = Late { node, conn, id, allowed: due - asked, took: now - asked };
    (now > due && excused < asked).then_some(late)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: (NodeId, ConnId) = (NodeId(1), ConnId(7));

    #[test]
    fn what_is_late_is_told_unless_it_is_excused() {
        let mut due = Due::default();
        due.asked(1_000, LINE, RequestId(1), 0);
        due.asked(1_000, LINE, RequestId(2), 2_000_000);
        assert!(due.overdue(GRACE, |_| 0).is_none());
        let late = due.overdue(GRACE + 2_000, |_| 0).expect("the first is late");
        assert_eq!((late.id, late.took), (RequestId(1), GRACE + 1_000));
        assert!(due.overdue(GRACE + 2_000, |_| 1_000).is_none(), "it stood still when it was asked");
        assert!(due.answered(GRACE + 2_000, LINE, RequestId(1), 0).is_some());
        assert!(due.answered(GRACE + 2_000, LINE, RequestId(2), 0).is_none(), "it has more time");
        assert!(due.overdue(u64::MAX, |_| 0).is_none(), "nothing is owed any more");
    }

    #[test]
    fn answers_stand_in_line_and_end_with_their_connection() {
        let mut due = Due::default();
        due.asked(0, LINE, RequestId(1), 20_000_000);
        due.asked(0, LINE, RequestId(2), 0);
        assert!(due.answered(20_000_000, LINE, RequestId(1), 0).is_none());
        assert!(due.answered(20_000_000, LINE, RequestId(2), 0).is_none(), "the one before it had so much time");
        due.told(20_000_000, LINE, 9_000_000);
        due.asked(20_000_000, LINE, RequestId(3), 0);
        assert!(due.overdue(29_000_000, |_| 0).is_none(), "what is not answered is done before it");
        assert!(due.overdue(40_000_000, |_| 0).is_some());
        due.closed(LINE.0, LINE.1);
        assert!(due.overdue(u64::MAX, |_| 0).is_none());
    }
}
