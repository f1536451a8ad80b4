//! Which partition a record goes to: the choice of Kafka's Java client.
//!
//! Promises that a key always goes to the same partition while their number stands, and to the one the Java client would
//! choose. Does not know which partitions have leaders.

use std::collections::BTreeMap;

use super::api::Config;
use crate::rng::Rng;

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;
const R: u32 = 24;

/// Murmur2 (Austin Appleby), 32 bits, under Kafka's seed. As signed as Java's.
pub(super) fn murmur2(data: &[u8]) -> i32 {
    let mut h = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in words.by_ref() {
        let mut k = word.iter().rev().fold(0, |k, byte| (k << 8) | u32::from(*byte));
        k = k.wrapping_mul(M);
        k ^= k >> R;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        h ^= rest.iter().rev().fold(0, |k, byte| (k << 8) | u32::from(*byte));
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    (h ^ (h >> 15)) as i32
}

/// Chooses partitions; remembers where the records without a key go for now (KIP-480).
#[derive(Debug)]
pub(super) struct Partitioner {
    rng: Rng,
    sticky: BTreeMap<String, i32>,
}

impl Partitioner {
    pub(super) fn new(config: &Config) -> Self {
        Self { rng: Rng::stream(config.seed, &[super::STREAM_PARTITIONS]), sticky: BTreeMap::new() }
    }

    /// The partition of a record among `count`, which is above zero.
    pub(super) fn choose(&mut self, topic: &str, key: Option<&[u8]>, count: i32) -> i32 {
        match key {
            Some(key) => (murmur2(key) & i32::MAX) % count,
            None => match self.sticky.get(topic) {
                Some(partition) if *partition < count => *partition,
                Some(_) | None => {
                    let partition = self.rng.below(count as u64) as i32;
                    self.sticky.insert(topic.to_owned(), partition);
                    partition
                }
            },
        }
    }

    /// A batch of this partition is full: the next record without a key goes elsewhere.
    pub(super) fn batch_closed(&mut self, topic: &str, partition: i32, count: i32) {
        if let Some(sticky) = self.sticky.get_mut(topic)
            && *sticky == partition
            && count > 1
        {
            let step = 1 + self.rng.below(count as u64 - 1) as i32;
            *sticky = (partition + step) % count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_agrees_with_kafka() {
        let vectors: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, hash) in vectors {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn records_without_a_key_stick_until_their_batch_is_closed() {
        let mut partitioner = Partitioner::new(&Config::new(Vec::new()));
        let first = partitioner.choose("t", None, 7);
        assert_eq!(partitioner.choose("t", None, 7), first);
        partitioner.batch_closed("t", first, 7);
        assert_ne!(partitioner.choose("t", None, 7), first);
    }
}
