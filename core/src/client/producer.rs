//! Batches on their way to the leaders of their partitions.
//!
//! Promises that the batches of a partition are appended in the order of their records, each once, as long as the producer is
//! idempotent: a batch is sent again byte for byte, and no later one overtakes it. When that can not be kept up (a batch was
//! given up that may be in the log, or the log lost track of the sequence) the partition goes on under the next epoch of its
//! producer id (KIP-360), and what may have been appended under the old one is reported as unknown: it is in the log before
//! everything of the new epoch, or never. Does not know connections, nor how leaders are found.
//!
//! Sequences and epochs are kept per partition, by brokers too, so every partition changes its epoch on its own.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::api::{CallId, Config, Failure, Outcome, Record, Trouble};
use super::limits;
use super::partitioner::Partitioner;
use super::settle::{Verdict, judge};
use crate::id::{Offset, ProducerId};
use crate::kafka::ErrorCode;
use crate::kafka::batch::Builder;
use crate::time::{Instant, Timestamp};

/// A partition by name.
pub(super) type Place = (String, i32);
/// What was found out about a call.
pub(super) type Completion = (CallId, Result<Outcome, Failure>);

/// A producer id and the life of it that a broker gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    pub(super) id: ProducerId,
    pub(super) epoch: i16,
    /// Ascending with every id this client was given.
    pub(super) generation: u64,
}

#[derive(Debug)]
struct Entry {
    call: CallId,
    record: Record,
    timestamp: Timestamp,
}

impl Entry {
    fn bytes(&self) -> usize {
        const OVERHEAD: usize = 32;
        let part = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        let headers = self.record.headers.iter().map(|(name, value)| name.len() + part(value) + 10).sum::<usize>();
        OVERHEAD + part(&self.record.key) + part(&self.record.value) + headers
    }
}

/// - `sealed` holds the bytes of the last attempt; they change only if no attempt can have been appended.
/// - `doubtful` says that an attempt may have been appended without our having been told.
#[derive(Debug)]
struct Batch {
    id: u64,
    entries: Vec<Entry>,
    bytes: usize,
    created: Instant,
    closed: bool,
    sealed: Option<Sealed>,
    in_flight: bool,
    attempts: u32,
    doubtful: bool,
    last_error: Option<(ErrorCode, String)>,
}

#[derive(Debug)]
struct Sealed {
    bytes: Bytes,
    sequenced: bool,
}

/// One partition's batches, oldest first.
///
/// - Batches in flight are a prefix of the queue, and all on one connection, except while a failed one waits for the later
///   ones to come back.
/// - `draining`: nothing is sent until nothing is in flight; then the epoch is changed.
/// - `proven`: a batch was acknowledged under this epoch, so that the broker knows it and refuses gaps.
#[derive(Debug, Default)]
struct Queue {
    batches: VecDeque<Batch>,
    node: Option<i32>,
    identity: Option<Identity>,
    generation_min: u64,
    next_sequence: i32,
    proven: bool,
    draining: bool,
    retry_at: Instant,
}

/// Something to send: a batch of a partition, as the wire has it.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub(super) place: Place,
    pub(super) batch: u64,
    pub(super) bytes: Bytes,
}

/// Why a batch can not be sent yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hold {
    /// Nothing to do until time passes or an answer comes.
    Wait,
    /// It needs a producer id of at least this generation.
    Identity(u64),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Producer {
    config: Config,
    in_flight_max: usize,
    queues: BTreeMap<Place, Queue>,
    /// Records of topics whose partitions are not known, with the moment of their calls.
    homeless: BTreeMap<String, VecDeque<(Instant, Entry)>>,
    partitioner: Partitioner,
    last_batch: u64,
    buffered: usize,
}

impl Producer {
    pub(super) fn new(config: &Config) -> Self {
        let window = if config.idempotent { limits::BATCHES_IN_FLIGHT_MAX } else { usize::MAX };
        Self {
            in_flight_max: config.max_in_flight.clamp(1, window),
            config: config.clone(),
            queues: BTreeMap::new(),
            homeless: BTreeMap::new(),
            partitioner: Partitioner::new(config),
            last_batch: 0,
            buffered: 0,
        }
    }

    /// How many produce requests one connection may carry unanswered.
    pub(super) fn in_flight_max(&self) -> usize {
        self.in_flight_max
    }

    /// Takes a record. Its partition is chosen once the topic's partitions are known.
    pub(super) fn take(
        &mut self,
        now: Instant,
        call: CallId,
        (topic, partition): (String, Option<i32>),
        record: Record,
        timestamp: Timestamp,
    ) -> Result<(), Failure> {
        let entry = Entry { call, record, timestamp };
        let bytes = entry.bytes();
        if bytes > limits::RECORD_BYTES_MAX || entry.record.headers.len() > limits::STRING_BYTES_MAX {
            let message = format!("a record of {bytes} bytes is larger than any request: send it in parts");
            return Err(Failure::definite(ErrorCode::MessageTooLarge, message));
        }
        if partition.is_some_and(|partition| partition < 0) {
            return Err(Failure::definite(ErrorCode::UnknownTopicOrPartition, "partitions are numbered from 0"));
        }
        if self.buffered + bytes > self.config.buffer_bytes && self.buffered > 0 {
            let message = "too many records wait to be acknowledged: wait for some of them";
            return Err(Failure::definite(ErrorCode::ThrottlingQuotaExceeded, message));
        }
        self.buffered += bytes;
        match partition {
            Some(partition) => {
                self.append(now, (topic, partition), entry);
            }
            None => self.homeless.entry(topic).or_default().push_back((now, entry)),
        }
        Ok(())
    }

    /// The topics whose partitions must be known before their records can go anywhere.
    pub(super) fn homeless(&self) -> Vec<String> {
        self.homeless.keys().cloned().collect()
    }

    /// Tells how many partitions a topic has.
    pub(super) fn house(&mut self, topic: &str, count: i32) {
        for (created, entry) in self.homeless.remove(topic).into_iter().flatten() {
            let partition = self.partitioner.choose(topic, entry.record.key.as_deref(), count);
            if self.append(created, (topic.to_owned(), partition), entry) {
                self.partitioner.batch_closed(topic, partition, count);
            }
        }
    }

    /// Fails the records of a topic that can not be.
    pub(super) fn refuse_topic(&mut self, topic: &str, error: ErrorCode, done: &mut Vec<Completion>) {
        for (_, entry) in self.homeless.remove(topic).into_iter().flatten() {
            self.buffered -= entry.bytes();
            let message = format!("the cluster refuses topic {topic}: {}", error.name());
            done.push((entry.call, Err(Failure::definite(error, message))));
        }
    }

    /// Puts a record into the youngest batch of its partition, or a new one. Says whether an older one was closed for it.
    fn append(&mut self, now: Instant, place: Place, entry: Entry) -> bool {
        let queue = self.queues.entry(place).or_default();
        let bytes = entry.bytes();
        let open = queue.batches.back_mut().filter(|batch| !batch.closed && batch.sealed.is_none());
        let had_open = open.is_some();
        if let Some(batch) = open {
            if batch.bytes + bytes <= self.config.batch_bytes && batch.entries.len() < limits::BATCH_RECORDS_MAX {
                batch.bytes += bytes;
                batch.entries.push(entry);
                return false;
            }
            batch.closed = true;
        }
        self.last_batch += 1;
        queue.batches.push_back(Batch {
            id: self.last_batch,
            entries: vec![entry],
            bytes,
            created: now,
            closed: bytes >= self.config.batch_bytes,
            sealed: None,
            in_flight: false,
            attempts: 0,
            doubtful: false,
            last_error: None,
        });
        had_open
    }

    /// Gives up what is too old, and settles partitions that have drained.
    pub(super) fn expire(&mut self, now: Instant, topic_error: impl Fn(&str) -> ErrorCode, done: &mut Vec<Completion>) {
        let timeout = self.config.delivery_timeout;
        let mut freed = 0;
        for (topic, entries) in &mut self.homeless {
            while entries.front().is_some_and(|(created, _)| now >= *created + timeout) {
                let Some((_, entry)) = entries.pop_front() else { break };
                freed += entry.bytes();
                let error = Some(topic_error(topic)).filter(|error| *error != ErrorCode::None);
                let message = format!("the partitions of topic {topic} could not be found in time");
                done.push((entry.call, Err(Failure::definite(error.unwrap_or(ErrorCode::RequestTimedOut), message))));
            }
        }
        self.homeless.retain(|_, entries| !entries.is_empty());
        for (place, queue) in &mut self.queues {
            for batch in &mut queue.batches {
                if now < batch.created + timeout {
                    break;
                }
                freed += batch.bytes;
                batch.bytes = 0;
                let failure = batch.failure(place, "it was not acknowledged in time");
                done.extend(batch.entries.drain(..).map(|entry| (entry.call, Err(failure.clone()))));
                // What was sent in sequence leaves a gap, or something in the log that nobody waits for.
                queue.draining |= batch.sealed.as_ref().is_some_and(|sealed| sealed.sequenced);
            }
            queue.batches.retain(|batch| batch.in_flight || !batch.entries.is_empty());
            freed += queue.settle(place, done);
        }
        // A queue that had a producer id is kept for ever: it must not begin the same sequence twice.
        self.queues
            .retain(|_, queue| !queue.batches.is_empty() || queue.identity.is_some() || queue.generation_min > 0);
        self.buffered -= freed;
    }

    /// Partitions whose oldest batch was not taken, and why.
    pub(super) fn troubles(&self) -> impl Iterator<Item = Trouble> {
        self.queues.iter().filter_map(|(place, queue)| {
            let (error, _) = queue.batches.front()?.last_error.as_ref()?;
            Some(Trouble { place: Some(place.clone()), broker: queue.node, error: *error })
        })
    }

    /// The partitions with something to send, or to wait for.
    pub(super) fn places(&self) -> Vec<Place> {
        self.queues.iter().filter(|(_, queue)| !queue.batches.is_empty()).map(|(place, _)| place.clone()).collect()
    }

    /// Whether the partition waits for nothing but its leader and, maybe, a producer id.
    pub(super) fn is_due(&self, now: Instant, place: &Place) -> bool {
        self.queues.get(place).is_some_and(|queue| queue.due(now, &self.config, self.in_flight_max).is_some())
    }

    /// The next batch of the partition for its leader, which from here on is in flight.
    pub(super) fn next(
        &mut self,
        now: Instant,
        place: &Place,
        leader: i32,
        identity: Option<Identity>,
        room: usize,
    ) -> Result<Ready, Hold> {
        let queue = self.queues.get_mut(place).ok_or(Hold::Wait)?;
        let at = queue.due(now, &self.config, self.in_flight_max).ok_or(Hold::Wait)?;
        if at > 0 && queue.node != Some(leader) {
            return Err(Hold::Wait);
        }
        if self.config.idempotent && queue.identity.is_none() {
            let usable = identity.filter(|identity| identity.generation >= queue.generation_min);
            queue.identity = Some(usable.ok_or(Hold::Identity(queue.generation_min))?);
            queue.next_sequence = 0;
            queue.proven = false;
        }
        let batch = queue.batches.get_mut(at).ok_or(Hold::Wait)?;
        let sealed = match &batch.sealed {
            Some(sealed) => sealed,
            None => {
                let sequence = queue.identity.map(|identity| (identity, queue.next_sequence));
                if sequence.is_some() {
                    queue.next_sequence = sequence_after(queue.next_sequence, batch.entries.len());
                }
                batch.sealed.insert(batch_sealed(&batch.entries, sequence))
            }
        };
        if sealed.bytes.len() > room {
            return Err(Hold::Wait);
        }
        let bytes = sealed.bytes.clone();
        batch.closed = true;
        batch.in_flight = true;
        batch.attempts = batch.attempts.saturating_add(1);
        queue.node = Some(leader);
        Ok(Ready { place: place.clone(), batch: batch.id, bytes })
    }

    /// Settles one attempt of a batch. Says whether metadata proved stale.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        place: &Place,
        id: u64,
        reply: Reply,
        done: &mut Vec<Completion>,
    ) -> bool {
        let Some(queue) = self.queues.get_mut(place) else {
            return false;
        };
        let Some(at) = queue.batches.iter().position(|batch| batch.id == id) else {
            return false;
        };
        let mut stale = false;
        let batch = &mut queue.batches[at];
        batch.in_flight = false;
        let sequenced = batch.sealed.as_ref().is_some_and(|sealed| sealed.sequenced);
        // Behind a batch that was given up a gap is expected, and the sequence ends anyway.
        let verdict = judge(&reply, sequenced, at > 0 || queue.draining);
        let finished = match verdict {
            Verdict::Appended { base, stamp } => {
                let partition = place.1;
                done.extend(batch.entries.drain(..).zip(0..).map(|(entry, delta)| {
                    let offset = base.and_then(|base| base.0.checked_add(delta)).map(Offset);
                    let timestamp = stamp.unwrap_or(entry.timestamp);
                    (entry.call, Ok(Outcome::Produced { partition, offset, timestamp }))
                }));
                queue.proven = true;
                true
            }
            Verdict::Again { doubtful, broken, error, message } => {
                stale = true;
                batch.doubtful |= doubtful;
                let said = if broken { format!("{SEQUENCE_BROKEN} ({message})") } else { message };
                batch.last_error = Some((error, said));
                queue.draining |= broken;
                queue.retry_at = now + self.config.retry_backoff;
                batch.entries.is_empty() || batch.attempts > self.config.retries
            }
            Verdict::Refused { error, message, doubtful } => {
                batch.doubtful |= doubtful;
                batch.last_error = Some((error, message));
                true
            }
        };
        let mut freed = 0;
        if finished && let Some(mut batch) = queue.batches.remove(at) {
            freed += batch.bytes;
            let failure = batch.failure(place, "the broker refused it");
            // If records are left, they failed; later batches follow a gap, or a batch nobody knows the fate of.
            queue.draining |= sequenced && !batch.entries.is_empty();
            done.extend(batch.entries.drain(..).map(|entry| (entry.call, Err(failure.clone()))));
        }
        freed += queue.settle(place, done);
        self.buffered -= freed;
        stale
    }

    /// Fails everything that was never sent and needs a producer id, which nobody will give.
    pub(super) fn refuse_identity(&mut self, error: ErrorCode, done: &mut Vec<Completion>) {
        for (place, queue) in self.queues.iter_mut().filter(|(_, queue)| queue.identity.is_none()) {
            for mut batch in queue.batches.drain(..) {
                self.buffered -= batch.bytes;
                batch.last_error = Some((error, "the cluster gives this client no producer id".to_owned()));
                let failure = batch.failure(place, "the cluster gives this client no producer id");
                done.extend(batch.entries.drain(..).map(|entry| (entry.call, Err(failure.clone()))));
            }
        }
    }

    /// The next moment at which something here changes by itself, after `now`.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let homeless = self.homeless.values().filter_map(|entries| entries.front());
        let homeless = homeless.map(|(created, _)| *created + self.config.delivery_timeout);
        let queues = self.queues.values().flat_map(|queue| {
            let oldest = queue.batches.iter().find(|batch| !batch.entries.is_empty());
            let oldest = oldest.map(|batch| batch.created + self.config.delivery_timeout);
            let linger = queue.batches.iter().find(|batch| !batch.in_flight);
            let linger = linger.map(|batch| batch.created + self.config.linger);
            [oldest, linger, linger.map(|_| queue.retry_at)]
        });
        homeless.chain(queues.flatten()).filter(|at| *at > now).min()
    }
}

impl Queue {
    /// Which batch is next, if one may be sent now.
    fn due(&self, now: Instant, config: &Config, in_flight_max: usize) -> Option<usize> {
        let at = self.batches.iter().position(|batch| !batch.in_flight)?;
        let batch = self.batches.get(at)?;
        // A batch that failed is sent again when the later ones are back, and then they follow one by one.
        let all_in_flight_before = !self.batches.iter().skip(at).any(|batch| batch.in_flight);
        let window = match at.checked_sub(1).and_then(|before| self.batches.get(before)) {
            None => true,
            Some(before) => {
                let settled = !config.idempotent || self.proven;
                at < in_flight_max && settled && batch.attempts == 0 && before.attempts == 1
            }
        };
        let gathered =
            batch.closed || batch.attempts > 0 || at + 1 < self.batches.len() || now >= batch.created + config.linger;
        (!self.draining && now >= self.retry_at && all_in_flight_before && window && gathered).then_some(at)
    }

    /// Once nothing is in flight, ends the sequence that broke: what may be in the log is unknown, the rest starts anew.
    fn settle(&mut self, place: &Place, done: &mut Vec<Completion>) -> usize {
        if !self.draining || self.batches.iter().any(|batch| batch.in_flight) {
            return 0;
        }
        self.draining = false;
        self.start_over();
        let mut freed = 0;
        for batch in &mut self.batches {
            if batch.doubtful {
                freed += batch.bytes;
                let failure = batch.failure(place, "its producer had to start over");
                done.extend(batch.entries.drain(..).map(|entry| (entry.call, Err(failure.clone()))));
            }
            batch.sealed = None;
        }
        self.batches.retain(|batch| !batch.entries.is_empty());
        freed
    }

    /// Begins a new sequence under the next epoch of the producer id, or another id after the last epoch. The epoch is what keeps
    /// order: once a batch of it is in the log, one of the old epoch that is still under way is refused.
    fn start_over(&mut self) {
        self.next_sequence = 0;
        self.proven = false;
        self.identity = match self.identity.take() {
            Some(Identity { epoch: i16::MAX, generation, .. }) => {
                self.generation_min = generation + 1;
                None
            }
            Some(identity) => Some(Identity { epoch: identity.epoch + 1, ..identity }),
            None => None,
        };
    }
}

impl Batch {
    /// What its records' calls are told if it is given up now.
    fn failure(&self, (topic, partition): &Place, why: &str) -> Failure {
        let (error, last) = match &self.last_error {
            Some((error, last)) => (*error, format!(": {last}")),
            None => (ErrorCode::RequestTimedOut, String::new()),
        };
        if self.doubtful || self.in_flight {
            Failure::unknown(format!("a record was sent to {topic}/{partition}, but {why}{last}"))
        } else {
            Failure::definite(error, format!("a record was not appended to {topic}/{partition}: {why}{last}"))
        }
    }
}

/// Stands in the reason of a failed send whose batch a broker refused for its sequence, although it was next in line: nothing
/// a correct broker does to a correct producer, unless the topic was deleted.
pub const SEQUENCE_BROKEN: &str = "the broker does not go on with the sequence of its producer";

/// What a broker said about one batch.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// No answer was asked for.
    Sent,
    /// The connection was lost, or the answer does not mention the batch.
    Lost(String),
    /// Nothing was sent: the broker is too old.
    Unsupported(String),
    /// An answer.
    Said {
        /// As on the wire.
        error: i16,
        /// The broker's sentence, if it gave one.
        message: Option<String>,
        /// The offset of the first record.
        base: i64,
        /// The broker's timestamp, or -1.
        stamp: i64,
    },
}

/// The sequence number after `count` records: it follows 2^31-1 with 0.
fn sequence_after(sequence: i32, count: usize) -> i32 {
    ((i64::from(sequence) + count as i64) & i64::from(i32::MAX)) as i32
}

fn batch_sealed(entries: &[Entry], sequence: Option<(Identity, i32)>) -> Sealed {
    let mut builder = Builder::new();
    if let Some((identity, base)) = sequence {
        builder = builder.producer(identity.id, identity.epoch, base);
    }
    for Entry { record, timestamp, .. } in entries {
        builder.push(*timestamp, record.key.as_deref(), record.value.as_deref(), &record.headers);
    }
    Sealed { bytes: builder.build(), sequenced: sequence.is_some() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(sequence_after(0, 5), 5);
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 4), 2);
    }
}
