//! What happens after the heal, once every client is done: a few acts, one after the other, each with an oracle of time.
//!
//! While faults strike nobody can say how long anything may take; afterwards everything that is promised in seconds can be measured.

use serde::{Deserialize, Serialize};
use tidelog_core::rng::Rng;

use super::SECOND;
use crate::plan::Target;
use crate::streams;

/// One act. Durations are microseconds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs, reason = "the fields are said by the variant's sentence")]
pub enum Act {
    /// A consumer waits for records in a long poll of `wait`; then a producer writes one to every partition. If `moves`, that leader is
    /// asked to stop in between, and started again soon.
    Listen { wait: u64, moves: Option<Target> },
    /// `target` is asked to stop, and started again `down` after it did.
    Stop { target: Target, down: u64 },
    /// `target` is killed, and started again after `down`; a fresh producer writes meanwhile.
    Kill { target: Target, down: u64 },
    /// A topic is made, written to, and deleted.
    Manage,
    /// For so long there are no clients.
    Silence { lasts: u64 },
}

/// The acts of a run: none in more than half of them.
pub(super) fn draw(seed: u64, brokers: u32) -> Vec<Act> {
    let mut rng = Rng::stream(seed, &[streams::ENDING]);
    // Who is alone is looked at closely: nobody else would see it.
    if brokers > 1 && !rng.per_mille(450) {
        return Vec::new();
    }
    let leader = |rng: &mut Rng| Target::Leader(rng.below(8) as u32);
    let mut acts = Vec::new();
    if rng.per_mille(400) {
        let moves = rng.per_mille(400).then(|| leader(&mut rng));
        // A partition that comes to another leader waits for the fetch that is under way there, as with Kafka's own clients.
        let wait = if moves.is_some() { SECOND / 2 } else { 20 * SECOND };
        acts.push(Act::Listen { wait, moves });
    }
    if rng.per_mille(400) {
        acts.push(Act::Stop { target: leader(&mut rng), down: rng.between(SECOND / 10, SECOND) });
    }
    if rng.per_mille(350) {
        acts.push(Act::Kill { target: leader(&mut rng), down: rng.between(SECOND, 3 * SECOND) });
    }
    if rng.per_mille(350) {
        acts.push(Act::Manage);
    }
    if rng.per_mille(400) || acts.is_empty() {
        acts.push(Act::Silence { lasts: 20 * SECOND });
    }
    let first = rng.below(acts.len() as u64) as usize;
    acts.rotate_left(first);
    acts
}
