//! What all programs of a run know: which topics stand.

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
}

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
