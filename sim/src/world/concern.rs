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

    /// The words by which the moments are found that led to a failure: the brokers, groups and clients it names, the groups of the
    /// partitions it names, and who leads them. A client that waits, and names none of that, waits for the controller.
    pub(super) fn concerned(&self, finding: &Finding) -> Vec<String> {
        let mut about = finding.about.clone();
        let told = finding.evidence.first().into_iter().chain([&finding.sentence]);
        for text in told {
            about.extend(words::brokers_in(text));
            about.extend(words::groups_in(text));
            about.extend(words::clients_in(text));
            for spec in &self.scenario.topics {
                for partition in words::partitions_in(text, &spec.name) {
                    about.extend(self.group_of(&spec.name, partition).map(brokers::name));
                }
            }
        }
        if finding.property == "stuck" && about.iter().all(|word| word.starts_with("client ")) {
            about.push(brokers::name(GroupId::CONTROLLER));
        }
        let named = self.oracle.groups().into_iter().filter(|group| about.contains(&brokers::name(*group)));
        let leaders: Vec<String> =
            named.filter_map(|group| self.oracle.leader(group)).map(|node| format!("broker {node}")).collect();
        about.extend(leaders);
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

#[cfg(test)]
mod tests {
    use tidelog_properties::history::{Op, Poll};

    use super::super::{Options, Phase};
    use super::*;
    use crate::plan::Plan;
    use crate::scenario::{SECOND, Scenario};
    use crate::verdict::Verdict;

    /// A run without faults, up to the first read of the final reader.
    fn reading() -> World {
        let mut scenario = Scenario::draw(11);
        (scenario.chaos, scenario.late, scenario.ending) = (6 * SECOND, 0, Vec::new());
        let mut world = World::new(scenario, Plan::default(), Options::default());
        let is_final = |op: &Op| matches!(op, Op::Poll(Poll { is_final: true, .. }));
        while !world.record.history().records().iter().rev().take(20).any(|record| is_final(&record.op)) {
            let (at, what) = world.queue.pop().expect("it goes on");
            world.now = at;
            world.happen(what);
        }
        assert!(matches!(world.phase, Phase::Reading { .. }), "{:?}", world.phase);
        world
    }

    fn finding(property: &str, sentence: &str) -> Finding {
        let (property, sentence) = (property.to_owned(), sentence.to_owned());
        Finding { property, sentence, evidence: Vec::new(), about: Vec::new(), around: None }
    }

    #[test]
    fn a_reader_that_hangs_is_stuck_and_says_what_it_was_told() {
        let mut world = reading();
        // The first fetch has come to a leader: that of a connection of its own, after it asked for versions.
        let reader = world.clients.len() as u32 - 1;
        let fetches = |world: &World| {
            let of_reader = world.wires.values().filter(|wire| wire.client == reader);
            let asked = of_reader.filter(|wire| wire.next_request == 3).count();
            asked > 0
                && world.oracle.owed().iter().any(|(_, conn, id)| {
                    id.0 == 2 && world.wires.values().any(|wire| wire.client == reader && wire.conn == Some(*conn))
                })
        };
        while !fetches(&world) {
            let (at, what) = world.queue.pop().expect("it goes on");
            world.now = at;
            world.happen(what);
        }
        for place in 0..world.scenario.brokers {
            world.end_process(place, true);
        }
        world.run();
        let outcome = world.outcome();
        let first = outcome.findings.first().expect("it hangs");
        assert_eq!((outcome.verdict, first.property.as_str()), (Verdict::Liveness, "stuck"), "{:?}", outcome.findings);
        let sentence = &first.sentence;
        assert!(sentence.contains("final reader; no call has failed"), "{sentence}");
        assert!(sentence.contains("last it was told: NETWORK_EXCEPTION for topic-"), "{sentence}");
    }

    #[test]
    fn a_failure_is_about_the_groups_of_its_partitions_and_who_leads_them() {
        let world = reading();
        let group = world.group_of("topic-0", 0).expect("it stands");
        let leader = world.oracle.leader(group).expect("it is led");
        let about = world.concerned(&finding("stuck", "client 4 waits for the records of topic-0-0 (final reader)"));
        let mut expected = vec![
            "client 4".to_owned(),
            format!("group {group}").replace("group g", "group "),
            format!("broker {leader}"),
        ];
        expected.sort();
        assert_eq!(about, expected);
        let controller = world.oracle.leader(GroupId::CONTROLLER).expect("it is led");
        let about = world.concerned(&finding("stuck", "client 0 waits for the creation of a topic"));
        assert_eq!(about, [format!("broker {controller}"), "client 0".to_owned(), "the controller".to_owned()]);
    }

    #[test]
    fn who_panics_is_named_with_what_it_was_at() {
        let mut world = reading();
        let (place, conn, client) = world
            .wires
            .values()
            .find_map(|wire| Some((wire.place, wire.conn?, wire.client)))
            .expect("somebody is connected");
        world.work = Some(Work::Broker(place, Cause::Request(conn, RequestId(5))));
        let outcome = world.panicked("a word");
        let sentence = &outcome.findings[0].sentence;
        let who = format!("broker {} broke one of its own assertions over request 5 on connection ", place + 1);
        assert!(
            sentence.starts_with(&who) && sentence.ends_with(&format!(" of client {client}: a word")),
            "{sentence}"
        );
        let named = format!("broker {}", place + 1);
        assert!(world.concerned(&outcome.findings[0]).contains(&named));
        assert!(outcome.chain.iter().any(|moment| words::speaks_of(&moment.text, &named)), "{:?}", outcome.chain);
    }
}
