//! Judges what stands in partitions by the sequences of its producers: each batch follows the one before it of its producer, and
//! only an heir begins anywhere but at zero.
//!
//! Feed it every batch that a broker lets a consumer read. A partition is judged from its beginning up to the first batch that
//! nobody has read. Who is an heir is said by who asks: a producer whose id was given out before the former topic of the name was
//! deleted. Which producers were forgotten, and began anew, is said by who asks, too.

use std::collections::BTreeMap;

use tidelog_core::id::{ProducerId, TopicId};

use crate::violation::{Verdict, Violation};

/// A batch where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stands {
    /// The offset of its first record.
    pub base: i64,
    /// How many records it has, above zero.
    pub count: i32,
    /// Its producer, the epoch of that, and the sequence of its first record; none if it has no producer id.
    pub sequence: Option<(ProducerId, i16, i32)>,
}

/// The checker. See the [module](self).
#[derive(Debug, Default)]
pub struct Gaps {
    partitions: BTreeMap<(TopicId, i32), BTreeMap<i64, Stands>>,
}

/// 2^31-1 is followed by 0.
fn after(first: i32, count: i32) -> i32 {
    first.wrapping_add(count) & i32::MAX
}

impl Gaps {
    /// A checker that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A broker has shown this batch of a partition.
    pub fn seen(&mut self, topic: TopicId, partition: i32, batch: Stands) {
        self.partitions.entry((topic, partition)).or_default().insert(batch.base, batch);
    }

    /// The promises broken by what was seen. `heirs_below` gives the id below which producers may be heirs in a topic; a topic of
    /// which it knows nothing is left out. `began_anew` says whether the producer of the batch at this offset may have been forgotten
    /// before.
    pub fn violations(
        &self,
        heirs_below: impl Fn(TopicId) -> Option<ProducerId>,
        began_anew: impl Fn(TopicId, i32, i64) -> bool,
    ) -> Vec<Violation> {
        let mut verdict = Verdict::default();
        for ((topic, partition), batches) in &self.partitions {
            if let Some(heirs_below) = heirs_below(*topic) {
                let began_anew = |base| began_anew(*topic, *partition, base);
                judge(&format!("{topic}/{partition}"), batches, heirs_below, began_anew, &mut verdict);
            }
        }
        verdict.into_violations()
    }
}

fn judge(
    place: &str,
    batches: &BTreeMap<i64, Stands>,
    heirs_below: ProducerId,
    began_anew: impl Fn(i64) -> bool,
    verdict: &mut Verdict,
) {
    let mut known: BTreeMap<ProducerId, (Stands, i16, i32)> = BTreeMap::new();
    let mut end = 0;
    for batch in batches.values() {
        if batch.base != end {
            return;
        }
        end += i64::from(batch.count);
        let Some((producer, epoch, first)) = batch.sequence else { continue };
        let before = known.insert(producer, (*batch, epoch, after(first, batch.count)));
        let good = match before {
            None => first == 0 || producer < heirs_below,
            Some((_, last_epoch, next)) if last_epoch == epoch => first == next,
            Some((_, last_epoch, _)) => last_epoch < epoch && first == 0,
        };
        if good || began_anew(batch.base) {
            continue;
        }
        verdict.add("sequence-gap", place.to_owned(), || {
            let sentence = match before {
                None => format!(
                    "In {place} the batch at offset {} is the first of its producer and begins at sequence {first}: what was to come \
                     before it is missing, or comes after it.",
                    batch.base
                ),
                Some((last, last_epoch, next)) => format!(
                    "In {place} the batch at offset {} has epoch {epoch} and sequence {first}, and the one of its producer before it, \
                     at offset {}, is followed by sequence {next} of epoch {last_epoch}.",
                    batch.base, last.base
                ),
            };
            let heirs = format!("producer {producer}; heirs of the former topic of the name have ids below {heirs_below}");
            (sentence, vec![heirs])
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: TopicId = TopicId([1; 16]);

    fn broken(batches: &[(i64, i16, i32, i32)], heirs_below: i64) -> usize {
        let mut gaps = Gaps::new();
        let mut base = 0;
        for &(producer, epoch, first, count) in batches {
            let sequence = (producer >= 0).then_some((ProducerId(producer), epoch, first));
            gaps.seen(TOPIC, 0, Stands { base, count, sequence });
            base += i64::from(count);
        }
        gaps.violations(|_| Some(ProducerId(heirs_below)), |_, _, _| false).len()
    }

    #[test]
    fn a_log_without_gaps_is_good() {
        assert_eq!(
            broken(&[(5, 0, 0, 3), (-1, -1, -1, 2), (7, 2, 0, 1), (5, 0, 3, 1), (5, 1, 0, 2), (5, 1, 2, 1)], 0),
            0
        );
        assert_eq!(broken(&[(5, 0, 0, 1), (5, 0, 1, i32::MAX), (5, 0, 0, 1)], 0), 0, "sequences go round");
    }

    #[test]
    fn a_gap_is_found() {
        assert_eq!(broken(&[(5, 0, 0, 3), (5, 0, 4, 1)], 0), 1);
        assert_eq!(broken(&[(5, 0, 0, 3), (5, 0, 0, 3)], 0), 1, "so is what stands twice");
        assert_eq!(broken(&[(5, 0, 0, 3), (5, 1, 3, 1)], 0), 1, "a new epoch begins at zero");
        assert_eq!(broken(&[(5, 1, 0, 3), (5, 0, 3, 1)], 0), 1, "an epoch that ended does not come back");
    }

    #[test]
    fn only_heirs_begin_anywhere() {
        assert_eq!(broken(&[(5, 0, 4, 1)], 5), 1);
        assert_eq!(broken(&[(4, 0, 4, 1), (4, 0, 5, 1)], 5), 0);
        assert_eq!(broken(&[(4, 0, 4, 1), (4, 0, 6, 1)], 5), 1);
    }

    #[test]
    fn what_nobody_read_is_not_judged() {
        let mut gaps = Gaps::new();
        let stands = |base, first| Stands { base, count: 1, sequence: Some((ProducerId(1), 0, first)) };
        gaps.seen(TOPIC, 0, stands(0, 0));
        gaps.seen(TOPIC, 0, stands(2, 2));
        assert_eq!(gaps.violations(|_| Some(ProducerId(0)), |_, _, _| false), []);
        gaps.seen(TOPIC, 0, stands(1, 5));
        assert_eq!(gaps.violations(|_| Some(ProducerId(0)), |_, _, _| false).len(), 1);
        assert_eq!(gaps.violations(|_| Some(ProducerId(0)), |_, _, base| base >= 1), [], "it was forgotten");
        assert_eq!(gaps.violations(|_| None, |_, _, _| false), [], "nothing is known of the topic");
    }
}
