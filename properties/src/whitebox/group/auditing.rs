//! What a replica remembers beside its records, and what its files are worth, held against what everybody applied.

use tidelog_core::broker::GroupAudit;
use tidelog_core::id::{Offset, Term};

use super::{At, Broken, Group, place};
use crate::violation::Verdict;

impl Group {
    pub(in crate::whitebox) fn audited(&mut self, at: At, held: &GroupAudit, verdict: &mut Verdict) {
        let mut broken: Vec<Broken> = Vec::new();
        if let Some(damage) = &held.damage {
            broken.push(("files-damaged", format!("its files are not what it says of them: {damage}."), Vec::new()));
        }
        let (first, when) = *self.audits.entry(held.applied).or_insert((held.state, at));
        if first != held.state {
            let sentence = format!("at entry {} it remembers another state than broker {}.", held.applied, when.node);
            broken.push(("state-differs", sentence, vec![when.says(format_args!("remembers {first:016x}"))]));
        }
        if let Some(epochs) = self.epochs_to(held).filter(|epochs| *epochs != held.epochs) {
            let sentence = format!(
                "it says that leader epochs began at {:?}, and they began at {epochs:?}.",
                held.epochs.iter().map(|(epoch, at)| (*epoch, at.0)).collect::<Vec<_>>()
            );
            broken.push(("epochs-wrong", sentence, Vec::new()));
        }
        for (kind, sentence, mut proof) in broken {
            verdict.add(kind, format!("{:?}", self.id), || {
                proof.push(at.says(format_args!("has applied {}", held.applied)));
                (format!("Group {}, broker {}: {sentence}", self.id, at.node), proof)
            });
        }
    }

    /// The leader epochs of what a replica has applied; an epoch that left no record is none. Nothing if not all is known.
    fn epochs_to(&self, held: &GroupAudit) -> Option<Vec<(i32, Offset)>> {
        let applied = self.applied.get(..place(held.applied.next()))?;
        if applied.last().is_some_and(|last| last.log_start > Offset(0)) {
            return None;
        }
        let (mut epochs, mut term, mut end): (Vec<(i32, Offset)>, _, _) = (Vec::new(), Term(0), Offset(0));
        for entry in applied {
            if entry.term != term {
                term = entry.term;
                epochs.retain(|(_, start)| *start < end);
                epochs.push((i32::try_from(term.0).ok()?, end));
            }
            end = entry.next_offset;
        }
        Some(epochs)
    }
}
