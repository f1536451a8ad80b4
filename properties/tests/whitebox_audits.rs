//! What only a look into a broker shows: state that was forgotten, files that are not what they are taken for, and the
//! configuration a replica came back with.

use tidelog_core::broker::{Audit, GroupAudit};
use tidelog_core::event::Event;
use tidelog_core::id::{FileId, FileKind, GroupId, Index, NodeId, Offset, ReplicaId, Term};
use tidelog_properties::Whitebox;
use tidelog_properties::violation::kinds;

const GROUP: GroupId = GroupId(7);

fn recovered(node: u32, applied: u64) -> Event {
    Event::Recovered {
        group: GROUP,
        replica: ReplicaId(u64::from(node) * 10),
        term: Term(applied.min(2)),
        vote: ReplicaId(0),
        commit: Index(applied),
        applied: Index(applied),
        last: Index(applied),
    }
}

fn configured(index: u64, nodes: &[u32]) -> Event {
    let voters = nodes.iter().map(|node| (NodeId(*node), ReplicaId(u64::from(*node) * 10))).collect();
    Event::Configured { group: GROUP, index: Index(index), voters, outgoing: Vec::new() }
}

/// Three brokers that have applied three entries: two of term 1, the second with 5 records, and one of term 2. What else
/// they should have said is not said. The third makes broker 4 a voter, if `changes`.
fn three_entries(changes: bool) -> Whitebox {
    let mut judge = Whitebox::new();
    for node in 1..=3 {
        judge.observe(0, NodeId(node), &recovered(node, 0));
        judge.observe(0, NodeId(node), &configured(0, &[1, 2, 3]));
        judge.observe(0, NodeId(node), &Event::Started);
    }
    for (index, term) in [(1, 1), (2, 1), (3, 2)] {
        let (index, term) = (Index(index), Term(term));
        for node in 1..=3 {
            judge.observe(1, NodeId(node), &Event::HardStatePersisted { group: GROUP, term, vote: ReplicaId(0) });
            judge.observe(1, NodeId(node), &Event::Appended { group: GROUP, index, term, digest: index.0 });
            judge.observe(1, NodeId(node), &Event::Persisted { group: GROUP, index, term });
        }
        for node in 1..=3 {
            if changes && index.0 == 3 {
                judge.observe(2, NodeId(node), &configured(3, &[1, 2, 3, 4]));
            }
            let (next_offset, log_start) = (Offset(if index.0 == 1 { 0 } else { 5 }), Offset(0));
            let digest = index.0;
            judge.observe(
                2,
                NodeId(node),
                &Event::Applied { group: GROUP, index, term, digest, next_offset, log_start },
            );
        }
    }
    assert_eq!(kinds(&judge.violations()), [""; 0], "{:#?}", judge.violations());
    judge
}

fn held(state: u64) -> GroupAudit {
    GroupAudit { group: GROUP, applied: Index(3), state, epochs: vec![(1, Offset(0)), (2, Offset(5))], damage: None }
}

fn audits(of: impl IntoIterator<Item = GroupAudit>) -> Whitebox {
    let mut judge = three_entries(false);
    for (node, held) in (1..).zip(of) {
        judge.audited(9, NodeId(node), &Audit { groups: vec![held], ..Audit::default() });
    }
    judge
}

#[track_caller]
fn breaks(judge: &Whitebox, expected: &[&str]) {
    let violations = judge.violations();
    assert_eq!(kinds(&violations), expected, "{violations:#?}");
    assert!(violations.iter().all(|violation| !violation.evidence.is_empty()));
}

#[test]
fn replicas_that_agree_are_fine() {
    breaks(&audits([held(1), held(1), held(1)]), &[]);
}

#[test]
fn state_differs() {
    breaks(&audits([held(1), held(1), held(2)]), &["state-differs"]);
    let elsewhere = GroupAudit { applied: Index(2), epochs: vec![(1, Offset(0))], ..held(2) };
    breaks(&audits([held(1), elsewhere]), &[]);
}

#[test]
fn epochs_wrong() {
    breaks(&audits([GroupAudit { epochs: vec![(2, Offset(5))], ..held(1) }]), &["epochs-wrong"]);
    breaks(&audits([GroupAudit { epochs: vec![(1, Offset(0)), (2, Offset(4))], ..held(1) }]), &["epochs-wrong"]);
}

#[test]
fn files_damaged() {
    let damage = Some("a file is short".to_owned());
    breaks(&audits([GroupAudit { damage, ..held(1) }]), &["files-damaged"]);
}

#[test]
fn a_journal_that_rests() {
    let rests = |journal_files: u64, unsealed: bool| {
        let mut judge = three_entries(false);
        judge.rested(9, NodeId(2), &Audit { journal_files, unsealed, ..Audit::default() }, 3);
        judge
    };
    breaks(&rests(3, false), &[]);
    breaks(&rests(4, false), &["journal-kept"]);
    breaks(&rests(1, true), &["journal-unsealed"]);
}

#[test]
fn lease_overdue() {
    let mut judge = three_entries(false);
    judge.rested(9, NodeId(2), &Audit { overdue_leases: 1, ..Audit::default() }, 3);
    breaks(&judge, &["lease-overdue"]);
}

#[test]
fn file_orphaned() {
    let mut judge = three_entries(false);
    judge.orphaned(9, NodeId(2), FileId::new(FileKind::Segment, 1, 1));
    breaks(&judge, &["file-orphaned"]);
}

#[test]
fn configuration_forgotten() {
    let back_with = |at: u64, nodes: &[u32]| {
        let mut judge = three_entries(true);
        judge.observe(3, NodeId(1), &Event::Checkpointed { group: GROUP, applied: Index(3) });
        judge.crashed(NodeId(1));
        judge.observe(4, NodeId(1), &recovered(1, 3));
        judge.observe(4, NodeId(1), &configured(at, nodes));
        judge
    };
    breaks(&back_with(3, &[1, 2, 3, 4]), &[]);
    breaks(&back_with(2, &[1, 2, 3]), &["configuration-forgotten"]);
    breaks(&back_with(0, &[1, 2, 3]), &["configuration-forgotten"]);
}
