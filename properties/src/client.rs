//! Judges a history: what a user of Kafka may rely on, whatever happened inside the cluster.
//!
//! | kind | file |
//! |---|---|
//! | `lost-write`, `unseen`, `failed-write-visible`, `sequence-broken` | `writes` |
//! | `inconsistent-offsets`, `duplicate`, `wrong-bytes` | `identity` |
//! | `nonmonotonic-send`, `order`, `real-time-order` | `order` |
//! | `nonmonotonic-poll`, `poll-skip` | `polls` |
//! | `latest-goes-back`, `false-out-of-range`, `retention`, `time-lookup` | `offsets` |
//! | `unexplained` | here and `view`: events that fit nothing |
//!
//! The kinds are cut so that one fault has one name where that is possible: a value that nobody ever read is `lost-write` or
//! `unseen`, one that somebody read is a matter of `poll-skip`. Cost: n log n in the history.

mod identity;
mod offsets;
mod order;
mod polls;
mod view;
mod writes;

use crate::history::History;
use crate::violation::{Verdict, Violation};
use view::View;

/// Every broken promise in `history`; none in a good one.
pub fn judge(history: &History) -> Vec<Violation> {
    judge_counting(history).0
}

/// As [`judge`], and how many things the checkers looked at: their cost, without a clock.
pub fn judge_counting(history: &History) -> (Vec<Violation>, u64) {
    let mut verdict = Verdict::default();
    let mut looks = 0;
    for oddity in history.oddities() {
        verdict.add("unexplained", "history".into(), || {
            ("The history holds an event that fits nothing.".into(), vec![oddity.clone()])
        });
    }
    let view = View::new(history, &mut verdict, &mut looks);
    for partition in view.partitions.values() {
        identity::check(&view, partition, &mut verdict, &mut looks);
        writes::check(&view, partition, &mut verdict, &mut looks);
        order::check(&view, partition, &mut verdict, &mut looks);
        polls::check(&view, partition, &mut verdict, &mut looks);
        offsets::check(&view, partition, &mut verdict, &mut looks);
    }
    (verdict.into_violations(), looks)
}
