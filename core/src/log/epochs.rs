//! Which leader epoch began at which offset (KIP-101).

use crate::id::Offset;

/// The leader-epoch table: epochs and starts both strictly ascend.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Epochs(Vec<(i32, Offset)>);

impl Epochs {
    pub(super) fn restored(entries: Vec<(i32, Offset)>) -> Option<Self> {
        entries.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1).then_some(Self(entries))
    }

    pub(super) fn entries(&self) -> &[(i32, Offset)] {
        &self.0
    }

    pub(super) fn last(&self) -> Option<i32> {
        self.0.last().map(|(epoch, _)| *epoch)
    }

    pub(super) fn start(&mut self, epoch: i32, at: Offset) {
        match self.last() {
            Some(last) if last == epoch => return,
            Some(last) => assert!(last < epoch, "leader epochs went back"),
            None => {}
        }
        // An epoch that ended where it began left no record.
        self.0.retain(|(_, start)| *start < at);
        self.0.push((epoch, at));
    }

    /// Forgets epochs that ended at or below the log start.
    pub(super) fn cut_below(&mut self, log_start: Offset) {
        let live = self.0.partition_point(|(_, start)| *start <= log_start);
        self.0.drain(..live.saturating_sub(1));
    }

    /// As Kafka answers: below the first known epoch it is the asked one, which ended where the first known began.
    pub(super) fn end_of(&self, epoch: i32, next_offset: Offset) -> Option<(i32, Offset)> {
        if self.last()? == epoch {
            return Some((epoch, next_offset));
        }
        let above = self.0.partition_point(|(known, _)| *known <= epoch);
        let (_, end) = self.0.get(above)?;
        let found = above.checked_sub(1).map_or(epoch, |at| self.0[at].0);
        Some((found, *end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_where_the_next_epoch_began() {
        let mut epochs = Epochs::default();
        assert_eq!(epochs.end_of(0, Offset(0)), None);
        for (epoch, at) in [(2, 0), (4, 10), (5, 20), (7, 20), (7, 25)] {
            epochs.start(epoch, Offset(at));
        }
        assert_eq!(epochs.entries(), [(2, Offset(0)), (4, Offset(10)), (7, Offset(20))]);
        let end = |epoch| epochs.end_of(epoch, Offset(30));
        assert_eq!(end(1), Some((1, Offset(0))));
        assert_eq!(end(2), Some((2, Offset(10))));
        assert_eq!(end(3), Some((2, Offset(10))));
        assert_eq!(end(6), Some((4, Offset(20))));
        assert_eq!(end(7), Some((7, Offset(30))));
        assert_eq!(end(8), None);
    }

    #[test]
    fn only_the_epoch_of_the_log_start_is_kept_below_it() {
        let mut epochs = Epochs(vec![(1, Offset(0)), (2, Offset(10)), (3, Offset(20))]);
        epochs.cut_below(Offset(9));
        assert_eq!(epochs.entries().len(), 3);
        epochs.cut_below(Offset(15));
        assert_eq!(epochs.entries(), [(2, Offset(10)), (3, Offset(20))]);
        epochs.cut_below(Offset(20));
        assert_eq!(epochs.entries(), [(3, Offset(20))]);
    }
}
