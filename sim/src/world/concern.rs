//! Whom a failure is about: from what it says, and from what is known of whoever it names. And who was at work when a program panicked.

use tidelog_core::broker::Broker;
use tidelog_core::effect::Input;
use tidelog_core::id::{ConnId, GroupId, NodeId, OpId, RequestId};

use super::{World, brokers};
use crate::oracle::Finding;
use crate::words;

/// Who takes a step now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Work {
    /// A broker, because of this.
    Broker(u32, Cause),
    /// The Kafka client of a client, or its program.
    Client(u32),
}

/// Why a broker takes a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    Request(ConnId, RequestId),
    Connection(ConnId),
    Peer(NodeId),
    Disk(OpId),
    Other,
}

impl From<&Input> for Cause {
    fn from(input: &Input) -> Self {
        match input {
            Input::Request { conn, id, .. } => Self::Request(*conn, *id),
            Input::Opened { conn, .. } | Input::Closed { conn } => Self::Connection(*conn),
            Input::Peer { from, .. } => Self::Peer(*from),
            Input::DiskDone { op, .. } => Self::Disk(*op),
            Input::Lost { .. } | Input::Wake | Input::Computed { .. } | Input::Stop => Self::Other,
        }
    }
}

impl World {
    /// Who breaks an assertion that is broken now, and over what.
    pub(super) fn at_work(&self) -> String {
        let (place, cause) = match self.work {
            None => return "the program broke one of its own assertions".to_owned(),
            Some(Work::Client(client)) => return format!("client {client} broke one of its own assertions"),
            Some(Work::Broker(place, cause)) => (place, cause),
        };
        let of = |conn: ConnId| {
            let wire = self.hosts[place as usize].process.as_ref().and_then(|process| process.wires.get(&conn));
            let client = wire.and_then(|wire| self.wires.get(wire)).map(|wire| wire.client);
            client.map_or_else(String::new, |client| format!(" of client {client}"))
        };
        let over = match cause {
            Cause::Request(conn, id) => format!(" over request {id} on connection {conn}{}", of(conn)),
            Cause::Connection(conn) => format!(" over connection {conn}{}", of(conn)),
            Cause::Peer(from) => format!(" over a message of broker {from}"),
            Cause::Disk(op) => format!(" over operation {} of its disk", op.0),
            Cause::Other => String::new(),
        };
        format!("broker {} broke one of its own assertions{over}", place + 1)
    }

    /// The words by which the moments are found that led to a failure: the brokers, groups and clients it names, and of the
    /// partitions it names, the groups and who leads them.
    pub(super) fn concerned(&self, finding: &Finding) -> Vec<String> {
        let mut about = finding.about.clone();
        let told = finding.evidence.first().into_iter().chain([&finding.sentence]);
        for text in told {
            about.extend(words::brokers_in(text));
            about.extend(words::groups_in(text));
            about.extend(words::clients_in(text));
            for spec in &self.scenario.topics {
                for partition in words::partitions_in(text, &spec.name) {
                    let Some(group) = self.group_of(&spec.name, partition) else { continue };
                    about.push(brokers::name(group));
                    about.extend(self.oracle.leader(group).map(|node| format!("broker {node}")));
                }
            }
        }
        about.sort();
        about.dedup();
        about
    }

    /// The group of a partition, as far as anybody knows who is not in the middle of a step.
    fn group_of(&self, topic: &str, partition: i32) -> Option<GroupId> {
        let at_work = |place: u32| matches!(self.work, Some(Work::Broker(other, _)) if other == place);
        let idle = self.hosts.iter().filter(|host| !at_work(host.place));
        let brokers = idle.filter_map(|host| host.process.as_ref()).map(|process| &process.broker);
        let group = |broker: &Broker| broker.topic(topic)?.1.get(usize::try_from(partition).ok()?).copied();
        brokers.filter_map(group).next()
    }
}
