//! A consumer reads forward, and leaves nothing out.
//!
//! Its position begins where an assignment's first poll or a seek puts it, and moves past what it reads. A record below the
//! position is `nonmonotonic-poll`; a jump over an offset that any consumer ever read is `poll-skip`.

use super::view::{Partition, Polled, Turn, View};
use crate::violation::Verdict;

pub(super) fn check(view: &View<'_>, partition: &Partition<'_>, verdict: &mut Verdict, looks: &mut u64) {
    for (&consumer, turns) in &partition.turns {
        let mut reader = Reader { view, partition, consumer, position: None, last: None };
        for turn in turns {
            *looks += 1;
            match turn {
                Turn::Assign => (reader.position, reader.last) = (None, None),
                Turn::Seek(offset) => (reader.position, reader.last) = (Some(*offset).filter(|&o| o >= 0), None),
                Turn::Polled(polled) => reader.poll(polled, verdict, looks),
            }
        }
    }
}

struct Reader<'a> {
    view: &'a View<'a>,
    partition: &'a Partition<'a>,
    consumer: u64,
    position: Option<i64>,
    last: Option<Polled<'a>>,
}

impl<'a> Reader<'a> {
    fn poll(&mut self, polled: &Polled<'a>, verdict: &mut Verdict, looks: &mut u64) {
        let mut position = self.position.unwrap_or(polled.poll.from_offset);
        let mut inside = false;
        for seen in polled.records {
            *looks += 1;
            if seen.offset < position {
                self.went_back(
                    polled,
                    verdict,
                    format!("read offset {} after everything below {position}", seen.offset),
                );
            } else {
                self.skipped(polled, verdict, position, seen.offset, inside);
                position = seen.offset.saturating_add(1);
            }
            inside = true;
        }
        if polled.next < position {
            self.went_back(
                polled,
                verdict,
                format!("had read everything below {position} and went on from {}", polled.next),
            );
        } else {
            self.skipped(polled, verdict, position, polled.next, true);
        }
        self.position = Some(polled.next.max(position));
        self.last = Some(*polled);
    }

    fn went_back(&self, polled: &Polled<'_>, verdict: &mut Verdict, what: String) {
        let name = self.partition.name();
        verdict.add("nonmonotonic-poll", name.clone(), || {
            (format!("Consumer {} of {name} went back: it {what}.", self.consumer), self.evidence(polled))
        });
    }

    fn skipped(&self, polled: &Polled<'_>, verdict: &mut Verdict, from: i64, to: i64, inside: bool) {
        let Some(missed) = self.partition.known_between(from, to) else {
            return;
        };
        let name = self.partition.name();
        verdict.add("poll-skip", name.clone(), || {
            let mut evidence = self.evidence(polled);
            evidence.extend(self.partition.seen.get(&missed).map(|there| self.view.seen_line(there.poll, missed)));
            let how = if inside { "within one poll" } else { "between two polls" };
            (
                format!("Consumer {} of {name} went from offset {from} to {to} {how}, over offset {missed}, which holds a record.", self.consumer),
                evidence,
            )
        });
    }

    fn evidence(&self, polled: &Polled<'_>) -> Vec<String> {
        let mut lines: Vec<_> = self.last.iter().map(|last| self.view.line(last.id)).collect();
        lines.push(self.view.line(polled.id));
        lines
    }
}
