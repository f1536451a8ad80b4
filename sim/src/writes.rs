//! Whether what brokers call durable can be: an entry cannot stand on a disk before a write of the journal that was issued
//! after the entry was there has come to its end. Knows the moments of writes, not what is in them.

use std::collections::BTreeMap;

use tidelog_core::event::Event;
use tidelog_core::id::{GroupId, Index, NodeId, OpId, Term};

/// The writes of one life of a broker, and what waits for them. Time is the order in which things were told.
#[derive(Debug, Default)]
struct Life {
    clock: u64,
    issued: BTreeMap<OpId, u64>,
    /// When the latest write that is done was issued.
    done: u64,
    appended: BTreeMap<(GroupId, Index), (Term, u64)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    lives: BTreeMap<NodeId, Life>,
}

impl Writes {
    /// A write of the journal is on its way.
    pub(crate) fn issued(&mut self, node: NodeId, op: OpId) {
        let life = self.lives.entry(node).or_default();
        life.clock += 1;
        life.issued.insert(op, life.clock);
    }

    /// An operation has succeeded; whether it was a write of the journal is known here.
    pub(crate) fn done(&mut self, node: NodeId, op: OpId) {
        let life = self.lives.entry(node).or_default();
        let issued = life.issued.remove(&op).unwrap_or_default();
        life.done = life.done.max(issued);
    }

    /// The life of a broker is over.
    pub(crate) fn died(&mut self, node: NodeId) {
        self.lives.remove(&node);
    }

    /// A broker says something. Gives what is wrong with it.
    pub(crate) fn event(&mut self, node: NodeId, event: &Event) -> Option<String> {
        match event {
            Event::Appended { group, index, term, .. } => {
                let life = self.lives.entry(node).or_default();
                life.clock += 1;
                life.appended.insert((*group, *index), (*term, life.clock));
                None
            }
            Event::Persisted { group, index, term } => {
                let life = self.lives.entry(node).or_default();
                let known = life.appended.get(&(*group, *index)).copied();
                let early = known.is_some_and(|(of, at)| of == *term && at > life.done);
                let passed: Vec<_> =
                    life.appended.range((*group, Index(0))..=(*group, *index)).map(|(key, _)| *key).collect();
                passed.into_iter().for_each(|key| {
                    life.appended.remove(&key);
                });
                early.then(|| {
                    format!(
                        "broker {node} calls entry {index} of group {group} durable, and no write issued since the entry came is done"
                    )
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);

    fn appended(index: u64, term: u64) -> Event {
        Event::Appended { group: GroupId(1), index: Index(index), term: Term(term), digest: 0 }
    }

    fn persisted(index: u64, term: u64) -> Event {
        Event::Persisted { group: GroupId(1), index: Index(index), term: Term(term) }
    }

    #[test]
    fn the_end_of_an_older_write_makes_nothing_newer_durable() {
        let mut writes = Writes::default();
        assert_eq!(writes.event(NODE, &appended(5, 1)), None);
        writes.issued(NODE, OpId(1));
        assert_eq!(writes.event(NODE, &appended(5, 2)), None);
        writes.done(NODE, OpId(1));
        assert!(writes.event(NODE, &persisted(5, 2)).is_some());
    }

    #[test]
    fn a_write_issued_later_does() {
        let mut writes = Writes::default();
        assert_eq!(writes.event(NODE, &appended(5, 1)), None);
        writes.issued(NODE, OpId(1));
        writes.done(NODE, OpId(1));
        assert_eq!(writes.event(NODE, &persisted(5, 1)), None);
    }
}
