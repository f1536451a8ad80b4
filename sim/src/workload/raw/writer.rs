//! One sequence of batches by hand: one producer id in one partition, and what it does next.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidelog_core::id::ProducerId;
use tidelog_core::kafka::ErrorCode;
use tidelog_core::kafka::batch::Builder;
use tidelog_core::rng::Rng;
use tidelog_properties::history::OpId;

use crate::program::Desk;
use crate::record::Sending;
use crate::workload::producer;

/// A partition.
pub(super) type Place = (String, i32);

/// What tells a batch from all others. One that is made again has the same records.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Key {
    pub(super) place: Place,
    pub(super) id: i64,
    pub(super) epoch: i16,
    pub(super) first: i32,
    pub(super) count: i32,
}

/// A batch, and its records in the history.
#[derive(Debug)]
struct Made {
    bytes: Bytes,
    records: Vec<OpId>,
    acknowledged: bool,
}

/// Every batch that was made.
#[derive(Debug, Default)]
pub(super) struct Books {
    made: BTreeMap<Key, Made>,
}

impl Books {
    fn make(&mut self, key: &Key, desk: &mut Desk<'_>) {
        if self.made.contains_key(key) {
            return;
        }
        let mut builder = Builder::new().producer(ProducerId(key.id), key.epoch, key.first);
        let mut records = Vec::new();
        for _ in 0..key.count {
            let value = desk.log.value();
            let record = producer::record(value, value % 40, desk.clocks.wall, &mut Rng::stream(value, &[]));
            let (topic, partition) = (key.place.0.as_str(), key.place.1);
            // It may come again after its producer was forgotten, and then stands twice.
            let how = Sending { idempotent: false, acks: -1, topic, partition, may_repeat: true, by_key: false };
            records.push(desk.log.send(&how, &record, value));
            let timestamp = record.timestamp.unwrap_or(desk.clocks.wall);
            builder.push(timestamp, record.key.as_deref(), record.value.as_deref(), &record.headers);
        }
        self.made.insert(key.clone(), Made { bytes: builder.build(), records, acknowledged: false });
    }

    /// A batch that was made.
    pub(super) fn bytes(&self, key: &Key) -> Option<Bytes> {
        self.made.get(key).map(|made| made.bytes.clone())
    }

    /// A batch stands at this offset.
    pub(super) fn taken(&mut self, key: &Key, base: i64, desk: &mut Desk<'_>) {
        let Some(made) = self.made.get_mut(key).filter(|made| !made.acknowledged) else { return };
        made.acknowledged = true;
        for (offset, record) in (base..).zip(&made.records) {
            desk.log.sent(*record, Some(offset), -1);
        }
    }
}

/// What a writer does: the batches it sends, each in a request, and whether on another connection than before.
#[derive(Debug, Default)]
pub(super) struct Act {
    pub(super) batches: Vec<Key>,
    pub(super) elsewhere: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) place: Place,
    pub(super) id: i64,
    pub(super) epoch: i16,
    next: i32,
    /// The batches of this epoch that followed one another, and whether each was taken.
    line: Vec<(Key, bool)>,
    /// Batches of epochs before.
    former: Vec<Key>,
    /// It was told that its sequence is broken, or its epoch over.
    broken: bool,
    /// It was silent, and comes back.
    back: bool,
}

/// 2^31-1 is followed by 0.
fn after(first: i32, count: i32) -> i32 {
    first.wrapping_add(count) & i32::MAX
}

impl Writer {
    pub(super) fn new(place: Place, id: i64) -> Self {
        let (line, former) = (Vec::new(), Vec::new());
        Self { place, id, epoch: 0, next: 0, line, former, broken: false, back: false }
    }

    /// It was silent for a while: it may have been forgotten.
    pub(super) fn comes_back(&mut self) {
        self.back = true;
    }

    /// Whether it is the writer of this batch.
    pub(super) fn wrote(&self, key: &Key) -> bool {
        self.id == key.id && self.place == key.place
    }

    /// It hears what became of a batch.
    pub(super) fn told(&mut self, key: &Key, error: ErrorCode) {
        let in_line = self.line.iter_mut().find(|(known, _)| known == key);
        match (error, in_line) {
            (ErrorCode::None | ErrorCode::DuplicateSequenceNumber, Some((_, taken))) => *taken = true,
            (ErrorCode::OutOfOrderSequenceNumber, Some((_, false))) | (ErrorCode::InvalidProducerEpoch, _) => {
                self.broken |= key.epoch == self.epoch;
            }
            _ => {}
        }
    }

    fn key(&self, epoch: i16, first: i32, count: i32) -> Key {
        Key { place: self.place.clone(), id: self.id, epoch, first, count }
    }

    /// The next batches in line.
    fn go_on(&mut self, many: u64, rng: &mut Rng) -> Vec<Key> {
        let mut keys = Vec::new();
        for _ in 0..many {
            let key = self.key(self.epoch, self.next, rng.between(1, 4) as i32);
            self.next = after(self.next, key.count);
            self.line.push((key.clone(), false));
            keys.push(key);
        }
        keys
    }

    /// Another epoch, which begins at this sequence.
    fn begin(&mut self, epoch: i16, first: i32) {
        self.former.extend(self.line.drain(..).map(|(key, _)| key));
        (self.epoch, self.next, self.broken) = (epoch, first, false);
    }

    /// Its sequence goes on just before it goes round: right only where nobody knows better.
    fn leap(&mut self, rng: &mut Rng) -> Vec<Key> {
        self.begin(self.epoch, i32::MAX - rng.below(12) as i32);
        let many = rng.between(4, 9);
        self.go_on(many, rng)
    }

    /// What it does now.
    pub(super) fn act(&mut self, books: &mut Books, rng: &mut Rng, desk: &mut Desk<'_>) -> Act {
        let act = match () {
            () if std::mem::take(&mut self.back) && !self.line.is_empty() => self.act_back(rng),
            () if self.line.is_empty() => self.act_first(rng),
            () if self.broken => self.act_broken(rng),
            () if self.line.iter().any(|(_, taken)| !taken) && rng.per_mille(500) => self.act_again(rng),
            () => self.act_odd(rng),
        };
        act.batches.iter().for_each(|key| books.make(key, desk));
        act
    }

    /// The first batches of all.
    fn act_first(&mut self, rng: &mut Rng) -> Act {
        let batches = match rng.below(10) {
            0 => {
                let far = rng.below(2) * (1 << 20);
                vec![self.key(self.epoch, (1 + far + rng.below(9)) as i32, 1)]
            }
            1 | 2 => self.leap(rng),
            _ => {
                let many = rng.between(1, 6);
                self.go_on(many, rng)
            }
        };
        Act { batches, elsewhere: rng.per_mille(200) }
    }

    /// After a while of silence.
    fn act_back(&mut self, rng: &mut Rng) -> Act {
        let batches = match rng.below(10) {
            0 | 1 => self.go_on(2, rng),
            2..=4 => self.one_of_line(5, rng),
            5 => self.one_of_line(usize::MAX, rng),
            6 => rng.pick(&self.former).cloned().into_iter().collect(),
            7 => {
                self.next = after(self.next, rng.between(1, 5) as i32);
                self.go_on(2, rng)
            }
            _ => self.leap(rng),
        };
        Act { batches, elsewhere: false }
    }

    /// A batch of the last so many in line.
    fn one_of_line(&self, last: usize, rng: &mut Rng) -> Vec<Key> {
        let from = self.line.len().saturating_sub(last);
        rng.pick(&self.line[from..]).map(|(key, _)| key.clone()).into_iter().collect()
    }

    /// Its sequence is broken.
    fn act_broken(&mut self, rng: &mut Rng) -> Act {
        self.broken = false;
        let batches = match rng.below(10) {
            // It goes on after what was taken, as if it had not sent the rest.
            0..=2 => {
                let taken = self.line.iter().rposition(|(_, taken)| *taken);
                self.line.truncate(taken.map_or(0, |at| at + 1));
                self.next = self.line.last().map_or(0, |(key, _)| after(key.first, key.count));
                self.go_on(1, rng)
            }
            3 => self.go_on(1, rng),
            _ => {
                self.begin(self.epoch + 1, 0);
                self.go_on(5, rng)
            }
        };
        Act { batches, elsewhere: rng.per_mille(200) }
    }

    /// What was not taken is sent again, in order, here or on another connection.
    fn act_again(&mut self, rng: &mut Rng) -> Act {
        let open = self.line.iter().filter(|(_, taken)| !taken).map(|(key, _)| key.clone());
        Act { batches: open.take(5).collect(), elsewhere: rng.per_mille(300) }
    }

    fn act_odd(&mut self, rng: &mut Rng) -> Act {
        let mut elsewhere = false;
        let batches = match rng.below(100) {
            0..=34 => {
                let many = rng.between(1, 7);
                self.go_on(many, rng)
            }
            35..=39 => self.one_of_line(1, rng),
            40..=48 => self.one_of_line(5, rng),
            49..=56 => {
                let old = self.line.len().saturating_sub(5);
                rng.pick(&self.line[..old]).map(|(key, _)| key.clone()).into_iter().collect()
            }
            57..=58 => self.line.first().map(|(key, _)| key.clone()).into_iter().collect(),
            // What comes just before the beginning was never there.
            59..=60 => {
                let first = self.line.first().map_or(1, |(key, _)| key.first);
                vec![self.key(self.epoch, first.wrapping_sub(1) & i32::MAX, 1)]
            }
            61..=67 => {
                let first = after(self.next, rng.between(1, 6) as i32);
                let mut keys = vec![self.key(self.epoch, first, 1)];
                if rng.per_mille(500) {
                    keys.extend(self.go_on(1, rng));
                }
                keys
            }
            68..=72 => {
                self.begin(self.epoch + rng.between(1, 2) as i16, 0);
                let many = rng.between(1, 6);
                self.go_on(many, rng)
            }
            73..=77 => {
                let first = if rng.per_mille(600) { self.next } else { rng.between(1, 9) as i32 };
                vec![self.key(self.epoch + 1, first, rng.between(1, 3) as i32)]
            }
            78..=81 => rng.pick(&self.former).cloned().into_iter().collect(),
            82..=84 if self.epoch > 0 => vec![self.key(self.epoch - 1, [0, self.next][rng.below(2) as usize], 1)],
            // The bounds of a batch are no others, however it is cut.
            85..=89 => {
                let mut keys = self.one_of_line(8, rng);
                if let Some(key) = keys.first_mut() {
                    (key.first, key.count) = match rng.below(3) {
                        0 => (key.first, key.count + 1),
                        1 => (after(key.first, 1), key.count),
                        _ => (key.first, 1),
                    };
                }
                keys
            }
            90..=95 => {
                elsewhere = true;
                let from = self.line.len().saturating_sub(5);
                self.line[from..].iter().map(|(key, _)| key.clone()).collect()
            }
            _ => {
                let mut keys = self.one_of_line(3, rng);
                keys.extend(self.go_on(2, rng));
                keys.extend(self.one_of_line(1, rng));
                keys
            }
        };
        Act { batches, elsewhere }
    }
}
