//! Stands at the door of every broker: sees what it is told and what it wants, and judges both.
//!
//! What a driver may rely on: a connection is opened once, first, asks in ascending order without gaps, and is closed once,
//! last; what another broker sent is from it and to this one; an envelope comes once. Whoever dies is missed by those who
//! heard it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};

use tidelog::driver::{Ended, Machine};
use tidelog_core::broker::{Broker, Status};
use tidelog_core::effect::{Effect, Effects, Input};
use tidelog_core::id::{ConnId, NodeId, RequestId};
use tidelog_core::kafka::RequestBody;
use tidelog_core::time::Now;
use tidelog_properties::{Responses, Whitebox};

/// See the module. Copies are the same witness.
#[derive(Clone, Default)]
pub(crate) struct Witness(Arc<Mutex<Seen>>);

/// What was seen.
#[derive(Default)]
pub(crate) struct Seen {
    digest: DefaultHasher,
    whitebox: Whitebox,
    responses: Responses,
    /// Open connections of each broker, and the last request of each.
    open: BTreeMap<(NodeId, ConnId), RequestId>,
    /// Connections of each broker that were, in this life.
    gone: BTreeSet<(NodeId, ConnId)>,
    /// Who was heard last: by whom, of whom. Present from the first envelope to the loss.
    heard: BTreeSet<(NodeId, NodeId)>,
    pub(crate) ready: BTreeSet<NodeId>,
    pub(crate) ended: BTreeMap<NodeId, Ended>,
    pub(crate) losses: u64,
    pub(crate) mutes: u64,
    pub(crate) wrong: Vec<String>,
}

impl Witness {
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().expect("a panic ends the run")
    }

    /// A broker that is watched.
    pub(crate) fn watch(&self, node: NodeId, broker: Broker) -> Watched {
        Watched { node, broker, witness: self.clone() }
    }
}

struct Text<'a>(&'a mut DefaultHasher);

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

impl Seen {
    /// The process of a broker is gone.
    pub(crate) fn died(&mut self, node: NodeId) {
        self.whitebox.crashed(node);
        self.responses.crashed(node);
        self.open.retain(|(of, _), _| *of != node);
        self.gone.retain(|(of, _)| *of != node);
        self.heard.retain(|(by, _)| *by != node);
        self.ready.remove(&node);
    }

    /// Whether a broker hears another, as far as it was told.
    pub(crate) fn hears(&self, by: NodeId, of: NodeId) -> bool {
        self.heard.contains(&(by, of))
    }

    /// How many clients a broker has.
    pub(crate) fn clients(&self, node: NodeId) -> usize {
        self.open.keys().filter(|(of, _)| *of == node).count()
    }

    /// What brokers owe answers to.
    pub(crate) fn owed(&self) -> Vec<(NodeId, ConnId, RequestId)> {
        self.responses.owed()
    }

    /// What was owed then, and still is, is owed for ever.
    pub(crate) fn overdue(&mut self, then: &[(NodeId, ConnId, RequestId)]) {
        self.responses.finish_those(then);
    }

    /// Everything that is wrong.
    pub(crate) fn verdict(&self) -> Vec<String> {
        let inside = self.whitebox.violations().into_iter().chain(self.responses.violations());
        inside.map(|violation| violation.to_string()).chain(self.wrong.iter().cloned()).collect()
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest.finish()
    }

    fn told(&mut self, node: NodeId, now: Now, input: &Input) {
        write!(Text(&mut self.digest), "{node} {now:?} {input:?}").expect("a hash takes everything");
        match input {
            Input::Opened { conn, .. } => {
                if self.gone.contains(&(node, *conn)) || self.open.insert((node, *conn), RequestId(0)).is_some() {
                    self.wrong.push(format!("broker {node}: connection {conn} is opened twice"));
                }
            }
            Input::Request { conn, id, request } => {
                match self.open.get_mut(&(node, *conn)) {
                    Some(last) if id.0 == last.0 + 1 => *last = *id,
                    last => {
                        self.wrong.push(format!("broker {node}: request {id} of connection {conn} after {last:?}"));
                    }
                }
                let silent = matches!(&request.body, RequestBody::Produce(produce) if produce.acks == 0);
                self.responses.request(node, *conn, *id, !silent);
            }
            Input::Closed { conn } => {
                if self.open.remove(&(node, *conn)).is_none() || !self.gone.insert((node, *conn)) {
                    self.wrong.push(format!("broker {node}: connection {conn} is closed, and was not open"));
                }
                self.responses.closed(node, *conn);
            }
            Input::Peer { from, envelope } => {
                if envelope.from != *from || envelope.to != node {
                    self.wrong.push(format!("broker {node} hears from {from} what is not from it to this broker"));
                }
                self.heard.insert((node, *from));
            }
            Input::Lost { node: lost } => {
                self.losses += 1;
                self.heard.remove(&(node, *lost));
            }
            Input::Wake | Input::DiskDone { .. } | Input::Computed { .. } | Input::Stop => {}
        }
    }

    fn wants(&mut self, node: NodeId, now: Now, out: &Effects) {
        for event in &out.events {
            self.whitebox.observe(now.mono.0, node, event);
        }
        for effect in &out.effects {
            match effect {
                Effect::Respond { conn, id, .. } => self.responses.response(node, *conn, *id),
                Effect::Mute { .. } => self.mutes += 1,
                Effect::Close { .. }
                | Effect::Unmute { .. }
                | Effect::Send { .. }
                | Effect::Disk { .. }
                | Effect::Compute { .. }
                | Effect::WakeAt(_)
                | Effect::Halt(_) => {}
            }
        }
    }
}

/// A broker, and who watches it.
pub(crate) struct Watched {
    node: NodeId,
    broker: Broker,
    witness: Witness,
}

impl Machine for Watched {
    fn step(&mut self, now: Now, input: Input, out: &mut Effects) {
        self.witness.seen().told(self.node, now, &input);
        self.broker.step(now, input, out);
        self.witness.seen().wants(self.node, now, out);
    }

    fn status(&self) -> Status {
        self.broker.status()
    }

    fn answers(&self) -> bool {
        self.broker.answers()
    }
}
