//! What all programs of a run know: which topics stand.

use std::collections::BTreeMap;

/// A topic that stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) partitions: i32,
    /// Whether it is deleted now and then, and made again.
    pub(crate) mortal: bool,
}

/// The topics that stand, in the order in which they were first made. One that is deleted stays until it is made again:
/// clients learn of a deletion from brokers.
#[derive(Debug, Default)]
pub(crate) struct Board {
    topics: Vec<Topic>,
    thin: bool,
    hurry: bool,
    /// Records that were acknowledged to who probes, and given to who listens, and when: microseconds.
    acked: BTreeMap<Place, u64>,
    heard: BTreeMap<Place, u64>,
    /// Whether somebody listens.
    listens: bool,
}

/// Topic, partition and offset of a record.
pub(crate) type Place = (String, i32, i64);

impl Board {
    /// Somebody asks for a topic with fewer replicas than planned: no disk may be lost from now on.
    pub(crate) fn thin(&mut self) {
        self.thin = true;
    }

    pub(crate) fn is_thin(&self) -> bool {
        self.thin
    }

    /// Whoever makes topics is to delete one at once, if any may be deleted.
    pub(crate) fn hurry(&mut self) {
        self.hurry = true;
    }

    /// Whether that is so. Asked once.
    pub(crate) fn take_hurry(&mut self) -> bool {
        std::mem::take(&mut self.hurry)
    }

    pub(crate) fn post(&mut self, name: &str, partitions: i32, mortal: bool) {
        if self.topic(name).is_none() {
            self.topics.push(Topic { name: name.to_owned(), partitions, mortal });
        }
    }

    /// Somebody begins to listen: what was heard before does not count.
    pub(crate) fn listen(&mut self) {
        (self.listens, self.acked, self.heard) = (true, BTreeMap::new(), BTreeMap::new());
    }

    /// A record was acknowledged to who probes.
    pub(crate) fn acked(&mut self, place: Place, now: u64) {
        if self.listens {
            self.acked.insert(place, now);
        }
    }

    /// A record was given to who listens.
    pub(crate) fn heard(&mut self, place: Place, now: u64) {
        self.heard.insert(place, now);
    }

    /// The first record that was acknowledged and not heard within `limit` microseconds, as far as can be said at `now`; and whether
    /// all that was acknowledged was heard.
    pub(crate) fn overdue(&self, limit: u64, now: u64) -> (Option<(&Place, u64)>, bool) {
        let late = |(place, at): &(&Place, &u64)| self.heard.get(*place).copied().unwrap_or(now) > **at + limit;
        let first = self.acked.iter().find(late).map(|(place, at)| (place, *at));
        (first, self.acked.keys().all(|place| self.heard.contains_key(place)))
    }

    /// Every partition of every topic.
    pub(crate) fn partitions(&self) -> Vec<(String, i32)> {
        let each = |topic: &Topic| {
            let name = topic.name.clone();
            (0..topic.partitions).map(move |partition| (name.clone(), partition))
        };
        self.topics.iter().flat_map(each).collect()
    }

    /// The topic of this name.
    pub(crate) fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.iter().find(|topic| topic.name == name)
    }
}
