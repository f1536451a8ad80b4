//! Whatever clients see of a correct log, through lost answers, retries and interleavings, the judge has nothing to say; and
//! when the log cheats, it does.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidelog_properties::client::judge_counting;
use tidelog_properties::history::{History, Op, OpId, Outcome, Poll, Process, Seen, Send, Which};
use tidelog_properties::judge;

const PARTITIONS: usize = 2;
const PRODUCERS: usize = 4;
const CONSUMERS: usize = 2;

/// A send on its way. The first two producers are idempotent, the third is not, the last wants no acknowledgement.
#[derive(Clone)]
struct Flight {
    id: OpId,
    send: Send,
}

/// A mistake that a cluster makes whenever it can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    /// Retries of idempotent producers are appended again.
    DuplicatesAppended,
    /// Gaps in the sequence of an idempotent producer are accepted.
    SequenceUnchecked,
    /// A duplicate is answered with offset zero.
    DuplicateAnsweredZero,
    /// A new record goes before the last one.
    AppendBeforeLast,
    /// What was refused is appended all the same.
    RefusedAppended,
    /// A fetch at an even offset begins at the next one.
    FetchSkips,
    /// A fetch at the end returns what is still on its way.
    FetchPastEnd,
    /// Every seventh record is damaged.
    Damage,
    /// Every second answer to "latest" is one too low.
    LatestFlaps,
    /// The lookup by time finds the record after the right one.
    LookupLate,
}

/// A cluster of one log per partition, correct but for its bug, and its clients.
struct World {
    bug: Option<Bug>,
    history: History,
    time: u64,
    values: u64,
    logs: [Vec<Seen>; PARTITIONS],
    /// Requests that may arrive, in order, per producer.
    network: [Vec<Flight>; PRODUCERS],
    /// Sends whose client still waits.
    waiting: BTreeMap<OpId, (usize, Send)>,
    /// The values of each idempotent session and partition, in order: the broker takes none before those ahead of it.
    sessions: [u64; PRODUCERS],
    sequence: BTreeMap<(u64, u64, i32), Vec<u64>>,
    positions: [[Option<i64>; PARTITIONS]; CONSUMERS],
}

impl World {
    fn new(bug: Option<Bug>) -> Self {
        Self {
            bug,
            history: History::new(),
            time: 0,
            values: 0,
            logs: Default::default(),
            network: Default::default(),
            waiting: BTreeMap::new(),
            sessions: [0; PRODUCERS],
            sequence: BTreeMap::new(),
            positions: [[Some(0); PARTITIONS]; CONSUMERS],
        }
    }

    fn invoke(&mut self, process: usize, op: Op) -> OpId {
        self.time += 1;
        self.history.invoke(Process(process as u64), self.time, op)
    }

    fn end(&mut self, id: OpId, outcome: Outcome) {
        self.time += 1;
        self.history.complete(id, self.time, outcome);
    }

    fn send(&mut self, producer: usize, partition: usize, refused: bool) {
        let busy = self.waiting.values().filter(|(owner, _)| *owner == producer).count();
        let idempotent = producer < 2;
        if busy >= if idempotent { 4 } else { 1 } {
            return;
        }
        self.values += 1;
        let send = Send {
            producer: producer as u64,
            session: self.sessions[producer],
            idempotent,
            acks: if producer == 3 { 0 } else { -1 },
            topic: "t".into(),
            partition: partition as i32,
            value: self.values,
            key_hash: None,
            digest: self.values ^ 0xabcd,
        };
        let id = self.invoke(producer, Op::Send(send.clone()));
        if refused {
            if self.bug == Some(Bug::RefusedAppended) {
                self.append(&send);
            }
            return self.end(id, Outcome::Failed { error: "MESSAGE_TOO_LARGE".into() });
        }
        if idempotent {
            self.sequence.entry((send.producer, send.session, send.partition)).or_default().push(send.value);
        }
        self.network[producer].push(Flight { id, send: send.clone() });
        if send.acks == 0 {
            self.end(id, Outcome::Sent { offset: None });
        } else {
            self.waiting.insert(id, (producer, send));
        }
    }

    fn append(&mut self, send: &Send) -> i64 {
        let log = &mut self.logs[send.partition as usize];
        let offset = log.len() as i64;
        let timestamp = (send.value / 3 * 10) as i64;
        let damaged = self.bug == Some(Bug::Damage) && send.value.is_multiple_of(7);
        let digest = if damaged { 0 } else { send.digest };
        log.push(Seen { offset, value: Some(send.value), digest, timestamp });
        if let (Some(Bug::AppendBeforeLast), [.., last, new]) = (self.bug, &mut log[..]) {
            std::mem::swap(last, new);
            std::mem::swap(&mut last.offset, &mut new.offset);
            return offset - 1;
        }
        offset
    }

    /// A request arrives, or is lost, or its answer is.
    fn deliver(&mut self, producer: usize, arrived: bool, answered: bool) {
        if self.network[producer].is_empty() {
            return;
        }
        let Flight { id, send } = self.network[producer].remove(0);
        if !arrived {
            return;
        }
        let log = &self.logs[send.partition as usize];
        let is_there = |value: u64| log.iter().position(|seen| seen.value == Some(value));
        let there = is_there(send.value).filter(|_| send.idempotent && self.bug != Some(Bug::DuplicatesAppended));
        if send.idempotent && there.is_none() && self.bug != Some(Bug::SequenceUnchecked) {
            let line = &self.sequence[&(send.producer, send.session, send.partition)];
            let next = line.iter().find(|&&value| is_there(value).is_none());
            if next.is_some_and(|&next| next < send.value) {
                return; // OUT_OF_ORDER_SEQUENCE_NUMBER: the client has to send again.
            }
        }
        let offset = match there {
            Some(_) if self.bug == Some(Bug::DuplicateAnsweredZero) => 0,
            Some(offset) => offset as i64,
            None => self.append(&send),
        };
        if answered && self.waiting.remove(&id).is_some() {
            self.end(id, Outcome::Sent { offset: Some(offset) });
        }
    }

    /// The oldest waiting send of a producer is sent again, or given up.
    fn time_out(&mut self, producer: usize, again: bool) {
        let Some((&id, (_, send))) = self.waiting.iter().find(|(_, (owner, _))| *owner == producer) else {
            return;
        };
        let send = send.clone();
        if again {
            self.time += 1;
            self.history.retry(id, self.time);
            self.network[producer].push(Flight { id, send });
            return;
        }
        // An idempotent producer that gives one up begins a new session, for all that it still waits for is unknown too.
        let given_up: Vec<_> =
            self.waiting.iter().filter(|(_, (owner, _))| *owner == producer).map(|(&id, _)| id).collect();
        for id in given_up {
            self.waiting.remove(&id);
            self.end(id, Outcome::Unknown { error: "REQUEST_TIMED_OUT".into() });
        }
        self.sessions[producer] += 1;
    }

    fn poll(&mut self, consumer: usize, partition: usize, most: usize, lost: bool) {
        let from = self.positions[consumer][partition].unwrap_or(0);
        let op = Op::Poll(Poll {
            consumer: consumer as u64,
            topic: "t".into(),
            partition: partition as i32,
            from_offset: from,
            is_final: false,
        });
        let id = self.invoke(10 + consumer, op);
        if lost {
            return self.end(id, Outcome::Unknown { error: "disconnected".into() });
        }
        let begin = if self.bug == Some(Bug::FetchSkips) { from as usize | 1 } else { from as usize };
        let mut records: Vec<_> = self.logs[partition].iter().skip(begin).take(most).cloned().collect();
        let coming = self.network.iter().flatten().find(|flight| flight.send.partition as usize == partition);
        if let (Some(Bug::FetchPastEnd), true, Some(Flight { send, .. })) = (self.bug, records.is_empty(), coming) {
            let offset = self.logs[partition].len() as i64;
            records.push(Seen { offset, value: Some(send.value), digest: send.digest, timestamp: 0 });
        }
        let next = records.last().map_or(from, |last| last.offset + 1);
        self.positions[consumer][partition] = Some(next);
        self.end(id, Outcome::Polled { records, next });
    }

    fn seek(&mut self, consumer: usize, partition: usize, to: usize) {
        let (topic, owner) = ("t".to_string(), consumer as u64);
        let offset = (to % (self.logs[partition].len() + 1)) as i64;
        let partition_id = partition as i32;
        let op = if to.is_multiple_of(3) {
            Op::Assign { consumer: owner, topic, partition: partition_id }
        } else {
            Op::Seek { consumer: owner, topic, partition: partition_id, offset }
        };
        self.positions[consumer][partition] = Some(offset);
        let id = self.invoke(10 + consumer, op);
        self.end(id, Outcome::Done);
    }

    fn ask(&mut self, process: usize, partition: usize, what: u8) {
        let log = &self.logs[partition];
        let time = i64::from(what) * 5;
        let late = usize::from(self.bug == Some(Bug::LookupLate));
        let low = i64::from(self.bug == Some(Bug::LatestFlaps) && self.time.is_multiple_of(2));
        let found = log.iter().filter(|seen| seen.timestamp >= time).nth(late);
        let (which, offset, timestamp) = match what % 3 {
            0 => (Which::Earliest, Some(0), None),
            1 => (Which::Latest, Some((log.len() as i64 - low).max(0)), None),
            _ => (Which::Time(time), found.map(|seen| seen.offset), found.map(|seen| seen.timestamp)),
        };
        let id = self.invoke(process, Op::Offsets { topic: "t".into(), partition: partition as i32, which });
        self.end(id, Outcome::Offsets { offset, timestamp });
    }

    fn act(&mut self, (what, a, b): (u8, u8, u8)) {
        let (producer, partition) = (usize::from(a) % PRODUCERS, usize::from(b) % PARTITIONS);
        let (consumer, some) = (usize::from(a) % CONSUMERS, usize::from(b));
        match what % 16 {
            0..=4 => self.send(producer, partition, b > 250),
            5..=8 => self.deliver(producer, b > 20, b > 60),
            9 => self.time_out(producer, b > 50),
            10..=12 => self.poll(consumer, partition, some % 7, a > 240),
            13 => self.seek(consumer, partition, some),
            _ => self.ask(10 + consumer, partition, b),
        }
    }

    fn finish(&mut self) {
        for partition in 0..PARTITIONS {
            let log = self.logs[partition].clone();
            let mut from = 0;
            for records in log.chunks(50).chain([&[][..]]) {
                let topic = "t".into();
                let poll = Poll { consumer: 77, topic, partition: partition as i32, from_offset: from, is_final: true };
                let id = self.invoke(77, Op::Poll(poll));
                from += records.len() as i64;
                self.end(id, Outcome::Polled { records: records.to_vec(), next: from });
            }
        }
    }
}

proptest! {
    #[test]
    fn a_correct_log_breaks_nothing(actions in prop::collection::vec(any::<(u8, u8, u8)>(), 0..300)) {
        let mut world = World::new(None);
        actions.into_iter().for_each(|action| world.act(action));
        world.finish();
        let violations = judge(&world.history);
        prop_assert!(violations.is_empty(), "{violations:#?}");
    }

    #[test]
    fn a_history_reads_back_as_it_was_written(actions in prop::collection::vec(any::<(u8, u8, u8)>(), 0..100)) {
        let mut world = World::new(None);
        actions.into_iter().for_each(|action| world.act(action));
        let text = world.history.to_json_lines();
        prop_assert_eq!(History::from_json_lines(&text), Ok(world.history));
    }

    #[test]
    fn a_log_that_loses_an_acknowledged_record_is_caught(
        actions in prop::collection::vec(any::<(u8, u8, u8)>(), 50..300),
        victim in any::<prop::sample::Index>(),
    ) {
        let mut world = World::new(None);
        actions.into_iter().for_each(|action| world.act(action));
        let acknowledged = |record: &&tidelog_properties::history::Record| match (&record.op, &record.completed) {
            (Op::Send(send), Some((_, Outcome::Sent { .. }))) => send.acks != 0,
            _ => false,
        };
        let kept: Vec<_> = world.history.records().iter().filter(acknowledged).collect();
        prop_assume!(!kept.is_empty());
        let Op::Send(send) = &victim.get(&kept).op else { unreachable!("only sends were kept") };
        let (partition, value) = (send.partition as usize, send.value);
        world.logs[partition].retain(|seen| seen.value != Some(value));
        world.finish();
        prop_assert!(!judge(&world.history).is_empty());
    }
}

/// A long history of a fixed pseudorandom run.
fn long(bug: Option<Bug>, actions: usize) -> World {
    let mut world = World::new(bug);
    let mut state = 1_u64;
    for _ in 0..actions {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        world.act(((state >> 40) as u8, (state >> 48) as u8, (state >> 56) as u8));
    }
    world.finish();
    world
}

#[test]
fn the_looks_grow_with_the_history_and_no_faster() {
    let counted = |actions| {
        let world = long(None, actions);
        let events: usize = world.history.records().iter().map(weight).sum();
        let (violations, looks) = judge_counting(&world.history);
        assert!(violations.is_empty(), "{violations:#?}");
        assert!(world.logs.iter().all(|log| log.len() > actions / 20), "the run got somewhere");
        (events as u64, looks)
    };
    for (events, looks) in [counted(500), counted(5_000)] {
        assert!(looks < events * 12, "{looks} looks at {events} events and records");
    }
}

/// An operation counts one, and each record it returned one.
fn weight(record: &tidelog_properties::history::Record) -> usize {
    match &record.completed {
        Some((_, Outcome::Polled { records, .. })) => 1 + records.len(),
        _ => 1,
    }
}

#[test]
fn each_planted_bug_is_found_by_the_promise_it_breaks() {
    for (bug, expected) in [
        (Bug::DuplicatesAppended, "duplicate"),
        (Bug::SequenceUnchecked, "nonmonotonic-send"),
        (Bug::DuplicateAnsweredZero, "wrong-bytes"),
        (Bug::AppendBeforeLast, "inconsistent-offsets"),
        (Bug::RefusedAppended, "failed-write-visible"),
        (Bug::FetchSkips, "poll-skip"),
        (Bug::FetchPastEnd, "inconsistent-offsets"),
        (Bug::Damage, "wrong-bytes"),
        (Bug::LatestFlaps, "latest-goes-back"),
        (Bug::LookupLate, "time-lookup"),
    ] {
        let violations = judge(&long(Some(bug), 1_500).history);
        assert!(violations.iter().any(|violation| violation.kind == expected), "{bug:?}: {violations:#?}");
    }
}
