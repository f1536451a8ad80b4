//! Which disk is who: identities that are used by two disks, and clusters that count on the same one, are found.

use tidelog_core::event::Event;
use tidelog_core::id::{ClusterId, DirectoryId, GroupId, Index, NodeId, ReplicaId, Term};
use tidelog_properties::violation::kinds;
use tidelog_properties::whitebox::Whitebox;

struct Script {
    judge: Whitebox,
    time: u64,
}

impl Script {
    fn new() -> Self {
        Self { judge: Whitebox::new(), time: 0 }
    }

    fn say(&mut self, node: u32, event: Event) -> &mut Self {
        self.time += 1;
        self.judge.observe(self.time, NodeId(node), &event);
        self
    }

    /// The disk `disks[node - 1]` of a broker is a member of a cluster of these disks.
    fn member(&mut self, node: u32, cluster: u8, disks: [u8; 3]) -> &mut Self {
        let directory = directory(disks[node as usize - 1]);
        self.chartered(node, cluster, directory, u64::from(node), disks)
    }

    fn chartered(&mut self, node: u32, cluster: u8, directory: DirectoryId, replica: u64, disks: [u8; 3]) -> &mut Self {
        let seat = |(node, disk): (u32, u8)| (NodeId(node), self::directory(disk), ReplicaId(u64::from(node)));
        let members = (1..).zip(disks).map(seat).collect();
        let cluster = ClusterId([cluster; 16]);
        self.say(node, Event::Chartered { cluster, directory, replica: ReplicaId(replica), members })
    }

    fn recovers(&mut self, node: u32, group: u64, replica: u64, term: u64) -> &mut Self {
        let event = Event::Recovered {
            group: GroupId(group),
            replica: ReplicaId(replica),
            term: Term(term),
            vote: ReplicaId(0),
            commit: Index(0),
            applied: Index(0),
            last: Index(0),
        };
        self.say(node, event)
    }

    fn wiped(&mut self, node: u32) -> &mut Self {
        self.judge.crashed(NodeId(node));
        self.judge.wiped(NodeId(node));
        self
    }

    fn breaks(&self, expected: &[&str]) {
        let violations = self.judge.violations();
        assert_eq!(kinds(&violations), expected, "{violations:#?}");
    }
}

fn directory(disk: u8) -> DirectoryId {
    DirectoryId([disk; 16])
}

const DISKS: [u8; 3] = [11, 12, 13];

#[test]
fn members_that_come_back_and_observers_break_nothing() {
    let mut script = Script::new();
    for _ in 0..2 {
        for node in 1..=3 {
            script.member(node, 1, DISKS).recovers(node, 0, u64::from(node), 0);
            script.judge.crashed(NodeId(node));
        }
    }
    script.wiped(2).chartered(2, 1, directory(22), 0, DISKS);
    script.breaks(&[]);
}

#[test]
fn a_member_on_another_disk_reuses_an_identity() {
    let mut script = Script::new();
    script.member(1, 1, DISKS).member(2, 1, DISKS).wiped(2);
    script.chartered(2, 1, directory(22), 2, DISKS);
    script.breaks(&["identity-reused"]);
}

#[test]
fn a_member_that_never_spoke_has_its_identity_all_the_same() {
    let mut script = Script::new();
    script.member(1, 1, DISKS).chartered(2, 1, directory(22), 2, DISKS);
    script.breaks(&["identity-reused"]);
}

#[test]
fn a_partition_replica_on_another_disk_reuses_an_identity() {
    let mut script = Script::new();
    script.member(1, 1, DISKS).recovers(1, 7, 30, 0).wiped(1);
    script.chartered(1, 1, directory(21), 4, DISKS).recovers(1, 7, 30, 0);
    script.breaks(&["identity-reused"]);
}

#[test]
fn two_clusters_of_the_same_disks_overlap() {
    let mut script = Script::new();
    script.member(1, 1, DISKS).member(2, 2, [21, 12, 13]);
    script.breaks(&["charters-overlap"]);
}

/// A founder that was wiped before anybody took its charter founds another cluster of the others' disks; what it alone had
/// done in its own is forgotten.
#[test]
fn a_charter_is_gone_with_its_disk() {
    let mut script = Script::new();
    script.member(1, 1, DISKS).recovers(1, 0, 1, 0);
    script.say(1, Event::HardStatePersisted { group: GroupId(0), term: Term(3), vote: ReplicaId(1) });
    script.wiped(1);
    for node in 1..=3 {
        script.member(node, 2, [21, 12, 13]).recovers(node, 0, u64::from(node), 0);
    }
    script.breaks(&[]);
}
