//! Commands for the controller: sent to whoever leads it until this broker sees its own command applied.
//!
//! No answer travels back: every broker applies the controller's log, so the broker that asked reads its answer there. A
//! command carries its origin, so one that arrives twice is applied once.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::admin::Purpose;
use super::entry::{EntryHead, EntryKind};
use super::{Broker, CallId, Waiting};
use crate::controller::command::{Command, Origin, RegisterBroker};
use crate::controller::image::{Applied, Rejection};
use crate::effect::Effects;
use crate::id::{DirectoryId, GroupId};
use crate::rng::mix;
use crate::time::{Duration, Instant};

/// The most commands of one envelope that are listened to.
pub(super) const COMMANDS_PER_ENVELOPE_MAX: usize = 1_000;
/// How long after it was sent a command is sent again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

#[derive(Debug)]
struct Submission {
    command: Bytes,
    purpose: Purpose,
    next_send: Instant,
    deadline: Instant,
}

/// Commands of this broker that are not known to be applied.
#[derive(Debug)]
pub(super) struct Submissions {
    last: u64,
    /// Something was submitted in this step and not sent yet.
    pub(super) fresh: bool,
    open: BTreeMap<u64, Submission>,
}

impl Submissions {
    /// Numbers begin elsewhere on each disk: whoever replaces a broker on an empty one counts its boots from one again, hears the
    /// whole history, and shall not take what its predecessor was given for the answer to its own wish.
    pub(super) fn of(directory: DirectoryId) -> Self {
        let half = |from: usize| u64::from_le_bytes(std::array::from_fn(|at| directory.0[from + at]));
        Self { last: mix(half(0) ^ mix(half(8))) >> 16, fresh: false, open: BTreeMap::new() }
    }

    fn purposes(&self) -> impl Iterator<Item = &Purpose> {
        self.open.values().map(|open| &open.purpose)
    }

    /// Whether a command is under way for this slot of a call.
    pub(super) fn is_open(&self, call: CallId, slot: usize) -> bool {
        self.purposes().any(|purpose| match purpose {
            Purpose::CreateTopic(of, at) | Purpose::DeleteTopic(of, at) => (*of, *at) == (call, slot),
            Purpose::Admit(of) => *of == call,
            Purpose::AutoCreate(_) | Purpose::ProducerIds | Purpose::Renew => false,
        })
    }

    /// Whether producer ids are asked for.
    pub(super) fn asks_for_ids(&self) -> bool {
        self.purposes().any(|purpose| matches!(purpose, Purpose::ProducerIds))
    }

    /// Whether this topic is asked for, because a client asked for it.
    pub(super) fn creates(&self, name: &str) -> bool {
        self.purposes().any(|purpose| matches!(purpose, Purpose::AutoCreate(of) if of == name))
    }

    /// Whether each command is sent again in time.
    pub(super) fn is_due_by(&self, now: Instant) -> bool {
        self.open.values().all(|open| open.next_send <= now + RETRY_AFTER)
    }
}

impl Broker {
    pub(super) fn origin(&mut self) -> Origin {
        self.submissions.last += 1;
        Origin { node: self.config.node, boot: self.boot.counter, sequence: self.submissions.last }
    }

    /// Sends a command to the controller; `purpose` hears of its outcome, or of the end of its time.
    pub(super) fn submit(&mut self, command: &Command, purpose: Purpose, deadline: Instant) {
        let origin = command.origin().expect("what is submitted has an origin");
        let submission = Submission { command: command.encode(), purpose, next_send: self.now.mono, deadline };
        self.submissions.open.insert(origin.sequence, submission);
        self.submissions.fresh = true;
    }

    /// Sends what is due, and gives up what is too late.
    pub(super) fn submit_due(&mut self, out: &mut Effects) {
        let now = self.now.mono;
        let late: Vec<u64> =
            self.submissions.open.iter().filter(|(_, open)| open.deadline <= now).map(|(at, _)| *at).collect();
        for sequence in late {
            if let Some(submission) = self.submissions.open.remove(&sequence) {
                self.submission_late(submission.purpose, out);
            }
        }
        if !self.registered() {
            return;
        }
        let mut due = Vec::new();
        for submission in self.submissions.open.values_mut().filter(|open| open.next_send <= now) {
            submission.next_send = now + RETRY_AFTER;
            due.push(submission.command.clone());
        }
        for command in due {
            self.send_command(command);
        }
    }

    pub(super) fn send_command(&mut self, command: Bytes) {
        if self.replicas.get(&GroupId::CONTROLLER).is_some_and(|replica| replica.raft.serving()) {
            self.propose_command(command);
        } else if let Some(route) = self.route(GroupId::CONTROLLER) {
            self.envelope(route.node).commands.push(command);
        }
    }

    fn propose_command(&mut self, command: Bytes) {
        let token = self.token(Waiting::Command);
        let head = EntryHead { kind: EntryKind::Command, stamp: self.now.wall };
        if let Some(replica) = self.replicas.get_mut(&GroupId::CONTROLLER) {
            replica.raft.propose(token, head.encode(), command);
            self.touched.insert(GroupId::CONTROLLER);
        }
    }

    /// A command another broker wants proposed. Not for us if we do not lead: it will be sent again.
    pub(super) fn command_from_peer(&mut self, command: Bytes) {
        let serving = self.replicas.get(&GroupId::CONTROLLER).is_some_and(|replica| replica.raft.serving());
        if serving && Command::decode(command.clone()).is_ok() {
            self.propose_command(command);
        }
    }

    /// Says who this broker is, until the image says so too.
    pub(super) fn register(&mut self) {
        let command = RegisterBroker {
            node: self.config.node,
            host: self.config.host.clone(),
            port: self.config.port,
            rack: self.config.rack.clone(),
            directory: self.config.directory,
            boot: self.boot.counter,
        };
        if !self.registered() {
            self.send_command(Command::RegisterBroker(command).encode());
        }
    }

    /// Whether the image says of this broker what it says of itself. Before, the controller takes no command from it.
    pub(super) fn registered(&self) -> bool {
        let config = &self.config;
        self.image().and_then(|image| image.brokers().get(&config.node)).is_some_and(|broker| {
            (&broker.host, broker.port, &broker.rack, broker.directory, broker.boot)
                == (&config.host, config.port, &config.rack, config.directory, self.boot.counter)
        })
    }

    /// A command was applied, whoever asked for it.
    pub(super) fn commanded(&mut self, origin: Option<Origin>, result: Result<Applied, Rejection>, out: &mut Effects) {
        self.admin_changed = true;
        match &result {
            Ok(Applied::TopicCreated { .. } | Applied::TopicDeleted { .. }) => self.reconcile(out),
            Ok(
                Applied::BrokerAdmitted { .. } | Applied::ReplicasRenewed { .. } | Applied::ControllerRenewed { .. },
            ) => {
                self.reconcile(out);
                self.introduce_all();
            }
            Ok(Applied::BrokerRegistered { .. }) => self.submit_due(out),
            Ok(Applied::ProducerIds { .. }) | Err(_) => {}
        }
        let Some(origin) = origin else { return };
        if (origin.node, origin.boot) != (self.config.node, self.boot.counter) {
            return;
        }
        if let Some(submission) = self.submissions.open.remove(&origin.sequence) {
            self.submission_applied(submission.purpose, result, out);
        }
    }
}
