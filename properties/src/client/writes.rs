//! What was acknowledged stays, and what was refused never appears.
//!
//! A value nobody ever read is `lost-write` where a poll passed its offset, else `unseen` once there were final reads. A value
//! that somebody read is `unseen` only if the final reads ended before it; a final read that jumps over it is a `poll-skip`.

use super::view::{Partition, View};
use crate::violation::Verdict;

pub(super) fn check(view: &View<'_>, partition: &Partition<'_>, verdict: &mut Verdict, looks: &mut u64) {
    let name = partition.name();
    for sent in &partition.sends {
        *looks += 1;
        let value = sent.send.value;
        let spots = partition.spots.get(&value);
        if let (true, Some(spots)) = (sent.failed(), spots) {
            verdict.add("failed-write-visible", name.clone(), || {
                (
                    format!("Value {value} was refused for good, and yet a consumer of {name} read it."),
                    vec![view.line(sent.id), view.seen_line(spots.lowest.1, spots.lowest.0)],
                )
            });
        }
        if let (false, Some(error)) = (partition.deleted || partition.shares_name, sent.broken_sequence()) {
            verdict.add("sequence-broken", name.clone(), || {
                (
                    format!(
                        "Value {value} was next in line of its idempotent producer, and a broker of {name} refused its sequence."
                    ),
                    vec![view.line(sent.id), error.to_owned()],
                )
            });
        }
        if spots.is_some() || !sent.acknowledged() {
            continue;
        }
        let offset = sent.ack_offset();
        if let Some(offset) = offset.filter(|&offset| partition.covered.contains(offset)) {
            verdict.add("lost-write", name.clone(), || {
                let passes = |poll: &&super::view::Polled<'_>| poll.poll.from_offset <= offset && offset < poll.next;
                let passed = partition.polls.iter().find(passes);
                let mut evidence = vec![view.line(sent.id)];
                evidence.extend(passed.map(|poll| view.line(poll.id)));
                evidence.extend(partition.seen.get(&offset).map(|there| view.seen_line(there.poll, offset)));
                (
                    format!(
                        "Value {value} was acknowledged at offset {offset} of {name}; consumers read past it and nobody ever saw it."
                    ),
                    evidence,
                )
            });
            continue;
        }
        let gone_by_right = partition.deleted || partition.trimmed && offset.is_none_or(|o| below_start(partition, o));
        if view.final_reads && !gone_by_right {
            verdict.add("unseen", name.clone(), || {
                (
                    format!(
                        "Value {value} was acknowledged for {name}, and reading all of it at the end did not find it."
                    ),
                    evidence(view, partition, view.line(sent.id)),
                )
            });
        }
    }
    if !view.final_reads || partition.deleted {
        return;
    }
    for (&value, spots) in &partition.spots {
        *looks += 1;
        let offset = spots.lowest.0;
        if spots.in_final
            || partition.covered_final.contains(offset)
            || below_start(partition, offset) && partition.trimmed
        {
            continue;
        }
        verdict.add("unseen", name.clone(), || {
            (
                format!("Value {value} was read at offset {offset} of {name}, and reading all of it at the end did not find it."),
                evidence(view, partition, view.seen_line(spots.lowest.1, offset)),
            )
        });
    }
}

/// Whether `offset` lies below where the final reads began.
fn below_start(partition: &Partition<'_>, offset: i64) -> bool {
    match partition.covered_final.start() {
        Some(start) => offset < start,
        None => {
            partition.polls.iter().rev().find(|polled| polled.poll.is_final).is_some_and(|polled| offset < polled.next)
        }
    }
}

fn evidence(view: &View<'_>, partition: &Partition<'_>, first: String) -> Vec<String> {
    let mut finals = partition.polls.iter().filter(|polled| polled.poll.is_final);
    let mut lines = vec![first];
    lines.extend(finals.next().map(|polled| view.line(polled.id)));
    lines.extend(finals.next_back().map(|polled| view.line(polled.id)));
    if lines.len() == 1 {
        lines.push(format!("no final read of {}", partition.name()));
    }
    lines
}
