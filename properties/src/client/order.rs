//! Order of writes: of one producer as it sent them, and of all by real time.
//!
//! - `nonmonotonic-send`: two acknowledged values of one producer stand the wrong way round.
//! - `order`: the same where one of them was not acknowledged (acks=0, or an unknown outcome) and yet is read.
//! - `real-time-order`: a value sent after another producer's was acknowledged stands before it.
//!
//! Sends of one producer are ordered if one ended before the other began; idempotent ones, and those with acks=0, also if they
//! share a session. An unknown send without idempotence may land at any time after it began.

use std::collections::BTreeMap;

use super::view::{Partition, Sent, View};
use crate::violation::Verdict;

/// A value that stands somewhere, which later ones must not undercut.
#[derive(Clone, Copy)]
struct Mark<'a> {
    place: i64,
    sent: Sent<'a>,
}

fn raise<'a>(mark: Option<Mark<'a>>, new: Mark<'a>) -> Option<Mark<'a>> {
    mark.filter(|mark| mark.place >= new.place).or(Some(new))
}

/// The highest acknowledged place, and the highest of any other producer.
#[derive(Default)]
struct Top<'a> {
    first: Option<Mark<'a>>,
    second: Option<Mark<'a>>,
}

impl<'a> Top<'a> {
    fn add(&mut self, new: Mark<'a>) {
        let producer = new.sent.send.producer;
        match self.first {
            Some(first) if first.sent.send.producer == producer => self.first = raise(self.first, new),
            Some(first) if first.place < new.place => {
                self.second = Some(first);
                self.first = Some(new);
            }
            Some(_) => {
                // The second is of any producer but the first's.
                self.second = raise(self.second, new);
            }
            None => self.first = Some(new),
        }
    }

    fn of_others(&self, producer: u64) -> Option<Mark<'a>> {
        self.first.filter(|mark| mark.sent.send.producer != producer).or(self.second)
    }
}

pub(super) fn check(view: &View<'_>, partition: &Partition<'_>, verdict: &mut Verdict, looks: &mut u64) {
    let mut moments = Vec::with_capacity(partition.sends.len() * 2);
    for (at, sent) in partition.sends.iter().enumerate() {
        moments.push((sent.record.invoked.seq, false, at));
        if let (Some((moment, _)), Some(_)) = (&sent.record.completed, sent.ended_well()) {
            moments.push((moment.seq, true, at));
        }
    }
    moments.sort_unstable();
    let mut top = Top::default();
    let mut ended: BTreeMap<u64, Mark<'_>> = BTreeMap::new();
    let mut sessions: BTreeMap<(u64, u64, bool), Mark<'_>> = BTreeMap::new();
    for (_, is_end, at) in moments {
        *looks += 1;
        let sent = partition.sends[at];
        let Some(place) = partition.place(&sent) else { continue };
        let mark = Mark { place, sent };
        let producer = sent.send.producer;
        if is_end {
            if sent.acknowledged() {
                top.add(mark);
                ended.entry(producer).and_modify(|old| *old = raise(Some(*old), mark).unwrap_or(mark)).or_insert(mark);
            }
            continue;
        }
        let mut before = ended.get(&producer).copied();
        if sent.send.idempotent || sent.send.acks == 0 {
            let session = (producer, sent.send.session, sent.send.idempotent);
            before = sessions.get(&session).copied().map_or(before, |mark| raise(before, mark));
            sessions.entry(session).and_modify(|old| *old = raise(Some(*old), mark).unwrap_or(mark)).or_insert(mark);
        }
        report(view, partition, verdict, mark, before, top.of_others(producer));
    }
}

fn report(
    view: &View<'_>,
    partition: &Partition<'_>,
    verdict: &mut Verdict,
    mark: Mark<'_>,
    before: Option<Mark<'_>>,
    others: Option<Mark<'_>>,
) {
    let name = partition.name();
    let (value, place) = (mark.sent.send.value, mark.place);
    if let Some(before) = before.filter(|before| before.place > place) {
        let both = before.sent.acknowledged() && mark.sent.acknowledged();
        verdict.add(if both { "nonmonotonic-send" } else { "order" }, name.clone(), || {
            (
                format!(
                    "Producer {} sent value {} before value {value}, and in {name} they stand the other way round, at {} and {place}.",
                    mark.sent.send.producer, before.sent.send.value, before.place
                ),
                vec![view.line(before.sent.id), view.line(mark.sent.id)],
            )
        });
    }
    if let Some(earlier) = others.filter(|earlier| earlier.place > place) {
        verdict.add("real-time-order", name.clone(), || {
            (
                format!(
                    "Value {value} was sent to {name} after value {} had been acknowledged, and stands before it, at {place} and not after {}.",
                    earlier.sent.send.value, earlier.place
                ),
                vec![view.line(earlier.sent.id), view.line(mark.sent.id)],
            )
        });
    }
}
