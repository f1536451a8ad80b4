//! Real gaps: a producer that leaves out sequences, as if batches before one of its were never sent.
//!
//! Its client knows nothing of it: the numbers of a producer's batches are moved on where they reach a broker, from one batch on for
//! the rest of that epoch and partition, however often and on whatever connection each comes. A broker that knows the producer must
//! refuse what follows the gap, and so must one that knows nothing of it, unless it is an heir. The client then begins a new epoch.

use std::collections::BTreeMap;

use tidelog_core::kafka::batch::Batch;
use tidelog_core::kafka::{Request, RequestBody};
use tidelog_core::rng::Rng;

/// How many sequences are left out: more than a run has, so that nothing that was moved falls on what was not.
const GAP: i32 = 1 << 20;
/// How much likelier a gap is at the beginning of a producer.
const AT_BEGINNING: u64 = 60;

/// One sequence of batches: topic, partition, producer and epoch.
type Run = (String, i32, i64, i16);

/// Of one producer. See the module.
#[derive(Debug)]
pub(crate) struct Skips {
    per_mille: u64,
    rng: Rng,
    /// The last batch that was seen, and the first that was moved.
    runs: BTreeMap<Run, (i32, Option<i32>)>,
}

impl Skips {
    /// Leaves out what comes before so many in a thousand batches.
    pub(crate) fn new(per_mille: u64, rng: Rng) -> Self {
        Self { per_mille, rng, runs: BTreeMap::new() }
    }

    /// A request has come. Gives whether a gap begins with it.
    pub(crate) fn comes(&mut self, request: &mut Request) -> bool {
        let RequestBody::Produce(produce) = &request.body else { return false };
        let partitions = produce
            .topic_data
            .iter()
            .flat_map(|topic| topic.partition_data.iter().map(move |partition| (topic.name.clone(), partition.index)));
        let mut begins = false;
        for ((topic, partition), batch) in partitions.zip(&mut request.batches) {
            if let Ok(batch) = batch {
                begins |= self.batch((topic, partition), batch);
            }
        }
        begins
    }

    fn batch(&mut self, (topic, partition): (String, i32), batch: &mut Batch) -> bool {
        let Some(id) = batch.producer_id() else { return false };
        let (first, epoch) = (batch.base_sequence(), batch.producer_epoch());
        let run = self.runs.get(&(topic.clone(), partition, id.0, epoch)).copied();
        let (last, mut moved) = run.unwrap_or((-1, None));
        let mut begins = false;
        if first > last {
            let likelier = if first == 0 && epoch == 0 { AT_BEGINNING } else { 1 };
            begins = self.rng.per_mille(self.per_mille * likelier) && moved.is_none();
            moved = moved.or(begins.then_some(first));
            self.runs.insert((topic, partition, id.0, epoch), (first, moved));
        }
        if moved.is_some_and(|from| from <= first) {
            *batch = batch.with_base_sequence(first.wrapping_add(GAP) & i32::MAX);
        }
        begins
    }
}
