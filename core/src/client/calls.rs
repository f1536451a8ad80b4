//! Questions and orders that are one request each: offsets, topics, configurations.
//!
//! Promises that each is tried until it is answered or its time is over, and that an order that may have been carried out is
//! never called failed. Does not know the consumer, which asks for offsets here too.

use std::collections::BTreeMap;

use super::admin;
use super::api::{CallId, Config, Effect, Failure, Outcome, Position, Resource, Trouble};
use super::connections::{Ask, Connections, Lane, Lost, Node, Outgoing};
use super::metadata::{Metadata, Turn};
use crate::id::{DirectoryId, NodeId, TopicId};
use crate::kafka::{ErrorCode, ResponseBody};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// Who asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    /// The caller.
    Caller(CallId),
    /// The consumer, under a number of its own.
    Consumer(u64),
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum What {
    Offset { topic: String, partition: i32, at: Position },
    Create { name: String, partitions: i32, replication_factor: i16, configs: Vec<(String, String)> },
    Delete { name: String },
    DeleteById { id: TopicId },
    Describe { topics: Option<Vec<String>>, may_create: bool },
    Configs { resource: Resource },
    Quorum,
    Admit { node: NodeId, directory: DirectoryId },
}

impl What {
    /// Whether carrying it out changes something.
    fn is_order(&self) -> bool {
        match self {
            Self::Create { .. } | Self::Delete { .. } | Self::DeleteById { .. } | Self::Admit { .. } => true,
            Self::Offset { .. } | Self::Describe { .. } | Self::Configs { .. } | Self::Quorum => false,
        }
    }

    /// Whether the controller knows best.
    fn is_for_controller(&self) -> bool {
        self.is_order() || *self == Self::Quorum
    }
}

#[derive(Debug)]
struct Call {
    owner: Owner,
    what: What,
    deadline: Instant,
    not_before: Instant,
    in_flight: bool,
    /// An order that may have been carried out.
    doubtful: bool,
    last_error: Option<(ErrorCode, String)>,
    /// Who was asked last.
    node: Option<Node>,
}

/// What an answer means for a call.
#[derive(Debug)]
pub(super) enum Said {
    Done(Outcome),
    /// The broker refuses for good.
    Refused(ErrorCode, String),
    /// To be asked again; the order may have been carried out if `doubtful`.
    Again {
        error: ErrorCode,
        message: String,
        doubtful: bool,
    },
}

#[derive(Debug)]
pub(super) struct Calls {
    timeout: Duration,
    request_timeout: Duration,
    retry_backoff: Duration,
    calls: BTreeMap<u64, Call>,
    last: u64,
    turn: Turn,
}

impl Calls {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            timeout: config.delivery_timeout,
            request_timeout: config.request_timeout,
            retry_backoff: config.retry_backoff,
            calls: BTreeMap::new(),
            last: 0,
            turn: Turn::new(&mut Rng::stream(config.seed, &[super::STREAM_CALLS])),
        }
    }

    pub(super) fn begin(&mut self, now: Instant, owner: Owner, what: What) {
        self.last += 1;
        let call = Call {
            owner,
            what,
            deadline: now + self.timeout,
            not_before: now,
            in_flight: false,
            doubtful: false,
            last_error: None,
            node: None,
        };
        self.calls.insert(self.last, call);
    }

    pub(super) fn drive(
        &mut self,
        now: Instant,
        metadata: &mut Metadata,
        net: &mut Connections,
        done: &mut Vec<(Owner, Result<Outcome, Failure>)>,
        out: &mut Vec<Effect>,
    ) {
        let late: Vec<u64> =
            self.calls.iter().filter(|(_, call)| now >= call.deadline).map(|(number, _)| *number).collect();
        for number in late {
            if let Some(call) = self.calls.remove(&number) {
                done.push(call.give_up());
            }
        }
        for (number, call) in &mut self.calls {
            if call.in_flight || now < call.not_before {
                continue;
            }
            let leader = match &call.what {
                What::Offset { topic, partition, .. } => match metadata.leader(now, topic, *partition) {
                    Some(leader) => Some(leader),
                    None => continue,
                },
                What::Create { .. }
                | What::Delete { .. }
                | What::DeleteById { .. }
                | What::Describe { .. }
                | What::Quorum
                | What::Admit { .. }
                | What::Configs { .. } => None,
            };
            let node = match (&call.what, leader) {
                (_, Some((node, _))) => Some(node).filter(|node| metadata.reach(now, net, *node, Lane::Main, out)),
                (What::Configs { resource: Resource::Broker(id) }, None) if metadata.knows_broker(id.0 as Node) => {
                    Some(id.0 as Node).filter(|node| net.ready(now, *node, Lane::Main, out))
                }
                (what, None) if what.is_for_controller() => {
                    let controller = metadata.controller();
                    if controller.is_none() {
                        // Anybody may do for now; next time it shall be known.
                        metadata.is_stale();
                    }
                    // One that can not be reached may be it no more.
                    controller
                        .filter(|controller| metadata.reach(now, net, *controller, Lane::Main, out))
                        .or_else(|| self.turn.pick(now, net, out))
                }
                (_, None) => self.turn.pick(now, net, out),
            };
            let Some(node) = node else { continue };
            let epoch = leader.map_or(-1, |(_, epoch)| epoch);
            let body = admin::request(&call.what, epoch, self.request_timeout);
            call.in_flight = true;
            call.node = Some(node);
            net.send(now, (node, Lane::Main), Ask::Call(*number), Outgoing::new(body), out);
        }
    }

    pub(super) fn answered(
        &mut self,
        now: Instant,
        number: u64,
        result: Result<ResponseBody, Lost>,
        (metadata, net): (&mut Metadata, &mut Connections),
        done: &mut Vec<(Owner, Result<Outcome, Failure>)>,
        out: &mut Vec<Effect>,
    ) {
        let Some(call) = self.calls.get_mut(&number) else {
            return;
        };
        call.in_flight = false;
        let said = match result {
            Ok(body) => {
                if let ResponseBody::Metadata(response) = &body {
                    metadata.learn(now, response, net, out);
                }
                admin::said(&call.what, &body)
            }
            Err(lost @ Lost::Connection(_)) => {
                Said::Again { error: ErrorCode::NetworkException, message: lost.to_string(), doubtful: true }
            }
            Err(lost @ Lost::Unsupported(_)) => Said::Refused(ErrorCode::UnsupportedVersion, lost.to_string()),
        };
        let outcome = match said {
            Said::Done(outcome) => Ok(outcome),
            // It may be our own earlier attempt that stands in the way.
            Said::Refused(_, message) if call.doubtful => Err(Failure::unknown(message)),
            Said::Refused(error, message) => Err(Failure::Definite { error, message }),
            Said::Again { error, message, doubtful } => {
                call.doubtful |= doubtful && call.what.is_order();
                call.last_error = Some((error, message));
                call.not_before = now + self.retry_backoff;
                metadata.is_stale();
                return;
            }
        };
        if let Some(call) = self.calls.remove(&number) {
            done.push((call.owner, outcome));
        }
    }

    /// Calls that were not answered to the purpose, and why.
    pub(super) fn troubles(&self) -> impl Iterator<Item = Trouble> {
        self.calls.values().filter_map(|call| {
            let (error, _) = call.last_error.as_ref()?;
            let place = match &call.what {
                What::Offset { topic, partition, .. } => Some((topic.clone(), *partition)),
                What::Create { .. }
                | What::Delete { .. }
                | What::DeleteById { .. }
                | What::Describe { .. }
                | What::Configs { .. }
                | What::Quorum
                | What::Admit { .. } => None,
            };
            Some(Trouble { place, broker: call.node, error: *error })
        })
    }

    /// The next moment at which something here changes by itself, after `now`.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let calls = self.calls.values();
        calls.flat_map(|call| [call.deadline, call.not_before]).filter(|at| *at > now).min()
    }
}

impl Call {
    fn give_up(self) -> (Owner, Result<Outcome, Failure>) {
        let (error, why) = match self.last_error {
            Some((error, why)) => (error, format!("no broker answered in time; the last reason was: {why}")),
            None => (ErrorCode::RequestTimedOut, "no broker answered in time".to_owned()),
        };
        let failure = if self.doubtful || (self.in_flight && self.what.is_order()) {
            Failure::unknown(why)
        } else {
            Failure::definite(error, why)
        };
        (self.owner, Err(failure))
    }
}
