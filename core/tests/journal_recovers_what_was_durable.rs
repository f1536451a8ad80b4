//! What was acknowledged is there after a restart, and nothing that was not appended.

mod journal_support;

use journal_support::*;
use tidelog_core::id::GroupId;

const A: GroupId = GroupId(1);
const B: GroupId = GroupId(2);

#[test]
fn a_new_journal_is_empty() {
    let host = Host::fresh();
    let recovered = host.killed().recover();
    assert!(recovered.groups.is_empty() && recovered.suspended.is_empty() && recovered.cut.is_none());
}

#[test]
fn entries_hard_states_and_marks_come_back() {
    let mut host = Host::fresh();
    host.journal.append(A, entries(1..=5, 1, 100), None, Some(hard(1, 1, 0)));
    host.journal.append(B, entries(1..=2, 3, 3000), None, Some(hard(3, 2, 0)));
    host.settle();
    host.journal.append(A, entries(4..=6, 2, 10), Some(tidelog_core::id::Index(4)), Some(hard(2, 7, 3)));
    host.journal.mark(A, mark(2, 1));
    let ticket = host.journal.hard_state(B, hard(4, 1, 1), false);
    host.settle();
    assert_eq!(host.journal.durable(), ticket);
    let recovered = host.killed().recover();
    let a = &recovered.groups[&A];
    assert_eq!((a.hard, a.mark.clone()), (hard(2, 7, 3), Some(mark(2, 1))));
    let expected = [entries(3..=3, 1, 100), entries(4..=6, 2, 10)].concat();
    assert_eq!(a.entries, expected);
    let b = &recovered.groups[&B];
    assert_eq!((b.hard, b.entries.clone()), (hard(4, 1, 1), entries(1..=2, 3, 3000)));
}
