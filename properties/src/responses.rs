//! Judges that every request is answered once, and the requests of a connection in line.
//!
//! Feed it what crosses the door of each broker, in order. A closed connection owes nothing and must stay silent; a crash
//! closes all connections of a broker. Each call costs O(log n).

use std::collections::{BTreeMap, VecDeque};

use tidelog_core::id::{ConnId, NodeId, RequestId};

use crate::violation::{Verdict, Violation};

/// One connection.
#[derive(Debug, Default)]
struct Line {
    /// Requests that are owed an answer, oldest first.
    owed: VecDeque<RequestId>,
    last: Option<RequestId>,
    closed: bool,
}

/// The checker. See the [module](self).
#[derive(Debug, Default)]
pub struct Responses {
    lines: BTreeMap<(NodeId, ConnId), Line>,
    verdict: Verdict,
}

impl Responses {
    /// A checker that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A request reached `node`; `expects_answer` is false for `acks=0`.
    pub fn request(&mut self, node: NodeId, conn: ConnId, id: RequestId, expects_answer: bool) {
        let line = self.lines.entry((node, conn)).or_default();
        if line.closed || line.last.is_some_and(|last| last >= id) {
            let sentence =
                format!("Request {id} reached connection {conn} of broker {node} after its end or out of line.");
            return self.add("unexplained", node, conn, sentence);
        }
        line.last = Some(id);
        if expects_answer {
            line.owed.push_back(id);
        }
    }

    /// `node` answered a request.
    pub fn response(&mut self, node: NodeId, conn: ConnId, id: RequestId) {
        let line = self.lines.entry((node, conn)).or_default();
        if line.closed {
            let sentence = format!("Broker {node} answered request {id} on connection {conn}, which is closed.");
            return self.add("answered-after-close", node, conn, sentence);
        }
        match line.owed.front() {
            Some(&next) if next == id => drop(line.owed.pop_front()),
            _ => match line.owed.binary_search(&id) {
                Ok(at) => {
                    let next = line.owed[0];
                    line.owed.remove(at);
                    let sentence =
                        format!("Broker {node} answered request {id} on connection {conn} before request {next}.");
                    self.add("answered-out-of-order", node, conn, sentence);
                }
                Err(_) => {
                    let sentence = format!(
                        "Broker {node} answered request {id} on connection {conn}, to which no answer was owed."
                    );
                    self.add("answered-twice", node, conn, sentence);
                }
            },
        }
    }

    /// The connection is gone, whoever closed it.
    pub fn closed(&mut self, node: NodeId, conn: ConnId) {
        let line = self.lines.entry((node, conn)).or_default();
        line.closed = true;
        line.owed = VecDeque::new();
    }

    /// `node` is gone, and its connections with it. Their numbers may be given again in its next life.
    pub fn crashed(&mut self, node: NodeId) {
        let ends = (node, ConnId(0))..=(node, ConnId(u64::MAX));
        let gone: Vec<_> = self.lines.range(ends).map(|(&key, _)| key).collect();
        for key in gone {
            self.lines.remove(&key);
        }
    }

    /// The oldest request of each open connection that is owed an answer now.
    pub fn owed(&self) -> Vec<(NodeId, ConnId, RequestId)> {
        let oldest = |(&(node, conn), line): (&(NodeId, ConnId), &Line)| Some((node, conn, *line.owed.front()?));
        self.lines.iter().filter_map(oldest).collect()
    }

    /// The run is over, and brokers had their time: what is owed now is owed for ever.
    pub fn finish(&mut self) {
        self.finish_those(&self.owed());
    }

    /// As [`Responses::finish`], for what was owed some time ago already.
    pub fn finish_those(&mut self, before: &[(NodeId, ConnId, RequestId)]) {
        let owed =
            self.owed().into_iter().filter(|owed| before.contains(owed)).map(|(node, conn, id)| ((node, conn), id));
        for ((node, conn), id) in owed.collect::<Vec<_>>() {
            let sentence = format!("Broker {node} never answered request {id} on connection {conn}, which is open.");
            self.add("never-answered", node, conn, sentence);
        }
    }

    /// Whether no promise was broken so far.
    pub fn is_clean(&self) -> bool {
        self.verdict.is_empty()
    }

    /// The promises broken so far.
    pub fn violations(&self) -> Vec<Violation> {
        self.verdict.clone().into_violations()
    }

    fn add(&mut self, kind: &'static str, node: NodeId, conn: ConnId, sentence: String) {
        let line = self.lines.get(&(node, conn));
        let owed: Vec<_> = line.into_iter().flat_map(|line| line.owed.iter().take(5)).collect();
        let evidence = vec![format!(
            "broker {node}, connection {conn}: owed {owed:?}, last request {:?}",
            line.and_then(|l| l.last)
        )];
        self.verdict.add(kind, format!("{node:?} {conn:?}"), || (sentence, evidence));
    }
}
