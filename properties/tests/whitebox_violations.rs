//! Each promise of consensus, broken by a sequence of events that breaks no other.

use tidelog_core::event::Event;
use tidelog_core::id::{GroupId, Index, NodeId, Offset, ReplicaId, Term};
use tidelog_properties::Whitebox;
use tidelog_properties::violation::kinds;

const GROUP: GroupId = GroupId(7);

/// Three brokers 1, 2 and 3, each the replica of ten times its number.
struct Script {
    judge: Whitebox,
    time: u64,
}

/// What a replica comes back with.
#[derive(Clone, Copy, Default)]
struct Disk {
    term: u64,
    vote: u64,
    commit: u64,
    applied: u64,
    last: u64,
}

impl Script {
    /// All brokers are up and empty.
    fn new() -> Self {
        let mut script = Self { judge: Whitebox::new(), time: 0 };
        for node in 1..=3 {
            script.up(node, Disk::default());
        }
        script
    }

    /// Broker 1 leads term 1 with the votes of all, and its first entry is durable everywhere and applied by it.
    fn led() -> Self {
        let mut script = Self::new();
        script.vote(1, 1, 10).vote(2, 1, 10).vote(3, 1, 10).say(1, elected(1));
        for node in 1..=3 {
            script.append(node, 1, 1).say(node, persisted(1, 1));
        }
        script.say(1, applied(1, 1)).say(1, Event::Serving { group: GROUP, term: Term(1) });
        script
    }

    fn say(&mut self, node: u32, event: Event) -> &mut Self {
        self.time += 1;
        self.judge.observe(self.time, NodeId(node), &event);
        self
    }

    fn up(&mut self, node: u32, disk: Disk) -> &mut Self {
        self.recover(node, disk).say(node, configured(0, &[1, 2, 3])).say(node, Event::Started)
    }

    fn recover(&mut self, node: u32, disk: Disk) -> &mut Self {
        self.say(
            node,
            Event::Recovered {
                group: GROUP,
                replica: ReplicaId(u64::from(node) * 10),
                term: Term(disk.term),
                vote: ReplicaId(disk.vote),
                commit: Index(disk.commit),
                applied: Index(disk.applied),
                last: Index(disk.last),
            },
        )
    }

    fn crash(&mut self, node: u32) -> &mut Self {
        self.judge.crashed(NodeId(node));
        self
    }

    fn vote(&mut self, node: u32, term: u64, vote: u64) -> &mut Self {
        self.say(node, Event::HardStatePersisted { group: GROUP, term: Term(term), vote: ReplicaId(vote) })
    }

    fn append(&mut self, node: u32, index: u64, term: u64) -> &mut Self {
        self.append_as(node, index, term, index * 100 + term)
    }

    fn append_as(&mut self, node: u32, index: u64, term: u64, digest: u64) -> &mut Self {
        self.say(node, Event::Appended { group: GROUP, index: Index(index), term: Term(term), digest })
    }

    #[track_caller]
    fn breaks(&self, expected: &[&str]) {
        let violations = self.judge.violations();
        assert_eq!(kinds(&violations), expected, "{violations:#?}");
        assert_eq!(self.judge.is_clean(), expected.is_empty());
        for violation in &violations {
            assert!((1..=6).contains(&violation.evidence.len()), "{violation}");
        }
    }
}

fn elected(term: u64) -> Event {
    Event::Elected { group: GROUP, term: Term(term) }
}

fn persisted(index: u64, term: u64) -> Event {
    Event::Persisted { group: GROUP, index: Index(index), term: Term(term) }
}

fn applied(index: u64, term: u64) -> Event {
    applied_with(index, term, index * 1_000, index as i64, 0)
}

fn applied_with(index: u64, term: u64, digest: u64, next: i64, start: i64) -> Event {
    let (index, term) = (Index(index), Term(term));
    Event::Applied { group: GROUP, index, term, digest, next_offset: Offset(next), log_start: Offset(start) }
}

fn installing(index: u64, term: u64) -> Event {
    Event::Installing { group: GROUP, index: Index(index), term: Term(term) }
}

fn installed_with(index: u64, term: u64, digest: u64) -> Event {
    let (index, term, next_offset) = (Index(index), Term(term), Offset(index as i64));
    Event::Installed { group: GROUP, index, term, digest, next_offset, log_start: Offset(0) }
}

fn installed(index: u64, term: u64) -> Event {
    installed_with(index, term, index * 1_000)
}

fn configured(index: u64, nodes: &[u32]) -> Event {
    let voters = nodes.iter().map(|&node| (NodeId(node), ReplicaId(u64::from(node) * 10))).collect();
    Event::Configured { group: GROUP, index: Index(index), voters, outgoing: Vec::new() }
}

fn checkpointed(applied: u64) -> Event {
    Event::Checkpointed { group: GROUP, applied: Index(applied) }
}

/// What broker 2 or 3 has on its disk in a group that was led.
const FOLLOWER: Disk = Disk { term: 1, vote: 10, commit: 0, applied: 0, last: 1 };

#[test]
fn a_good_life_breaks_nothing() {
    let mut script = Script::led();
    script.say(2, applied(1, 1)).say(2, checkpointed(1));
    script.crash(2).up(2, Disk { commit: 1, applied: 1, ..FOLLOWER });
    script.crash(3).up(3, FOLLOWER).say(3, applied(1, 1));
    // A stale leader's entries give way, and the new ones are applied everywhere.
    script.append(1, 2, 1).say(1, persisted(2, 1));
    script.vote(2, 2, 20).vote(3, 2, 20).say(2, elected(2)).append(2, 2, 2).append(3, 2, 2);
    script.say(2, persisted(2, 2)).say(3, persisted(2, 2)).say(2, applied(2, 2)).say(3, applied(2, 2));
    script.say(1, Event::Deposed { group: GROUP, term: Term(2) }).vote(1, 2, 0);
    script.append(1, 2, 2).say(1, persisted(2, 2)).say(1, applied(2, 2));
    script.say(1, Event::Note("x".into())).say(1, Event::Sometimes("y"));
    script.breaks(&[]);
}

#[test]
fn two_leaders_in_a_term() {
    let mut script = Script::led();
    script.say(2, Event::Elected { group: GROUP, term: Term(1) });
    // Broker 2 has no votes either: that is the second promise it breaks, and it can not do one without the other here.
    script.breaks(&["elected-without-votes", "two-leaders"]);

    // With one's own vote taken as given, a leader elected twice in one term breaks the first alone.
    let mut script = Script::led();
    script.say(1, elected(1));
    script.breaks(&["two-leaders"]);
}

#[test]
fn vote_twice_in_one_life_and_forgotten() {
    for second in [20, 0] {
        let mut script = Script::new();
        script.vote(2, 1, 10).vote(2, 1, second);
        script.breaks(&["vote-twice"]);
    }
    let mut script = Script::new();
    script.vote(2, 1, 0).vote(2, 1, 10).vote(2, 1, 10).vote(2, 2, 20);
    script.breaks(&[]);
}

#[test]
fn vote_twice_across_a_restart() {
    for vote in [20, 0] {
        let mut script = Script::led();
        script.crash(2).up(2, Disk { vote, ..FOLLOWER });
        script.breaks(&["vote-twice"]);
    }
    let mut script = Script::led();
    script.crash(2).up(2, FOLLOWER).vote(2, 1, 20);
    script.breaks(&["vote-twice"]);
}

#[test]
fn a_vote_read_before_the_start_may_be_lost_again_and_one_after_may_not() {
    let mut script = Script::new();
    script.crash(2).recover(2, Disk { term: 1, vote: 10, ..Disk::default() });
    script.crash(2).up(2, Disk::default()).vote(2, 1, 30);
    script.breaks(&[]);

    let mut script = Script::new();
    script.crash(2).up(2, Disk { term: 1, vote: 10, ..Disk::default() });
    script.crash(2).up(2, Disk { term: 1, vote: 0, ..Disk::default() });
    script.breaks(&["vote-twice"]);
}

#[test]
fn elected_without_votes() {
    let mut script = Script::new();
    script.vote(1, 1, 10).say(1, elected(1));
    script.breaks(&["elected-without-votes"]);

    // A voter that is durably in the next term already can not vote for another in this one.
    let mut script = Script::new();
    script.vote(1, 1, 10).vote(2, 2, 20).say(1, elected(1));
    script.breaks(&[]);
}

#[test]
fn leader_incomplete() {
    let mut script = Script::led();
    script.append(1, 2, 1).append(2, 2, 1).say(1, persisted(2, 1)).say(2, persisted(2, 1)).say(1, applied(2, 1));
    script.vote(2, 2, 30).vote(3, 2, 30).say(3, elected(2));
    script.breaks(&["leader-incomplete"]);
}

#[test]
fn leader_incomplete_after_counting_copies_of_an_old_term() {
    // Raft, figure 8: a leader of term 4 takes entry (2, 2) for committed because a quorum holds it; broker 3 has (2, 3).
    let mut script = Script::led();
    script.vote(1, 2, 10).vote(2, 2, 10).say(1, elected(2)).append(1, 2, 2).say(1, persisted(2, 2));
    script.vote(2, 3, 30).vote(3, 3, 30).say(3, elected(3)).append(3, 2, 3).say(3, persisted(2, 3));
    script.vote(1, 4, 10).vote(2, 4, 10).say(1, elected(4)).append(1, 3, 4).append(2, 2, 2);
    script.say(2, persisted(2, 2)).say(1, applied(2, 2));
    script.breaks(&[]);
    script.vote(2, 5, 30).vote(3, 5, 30).say(3, elected(5));
    script.breaks(&["leader-incomplete"]);
}

#[test]
fn served_early() {
    let mut script = Script::led();
    script.vote(2, 2, 20).vote(3, 2, 20).say(2, elected(2)).append(2, 2, 2);
    script.say(2, Event::Serving { group: GROUP, term: Term(2) });
    script.breaks(&["served-early"]);
}

#[test]
fn term_went_back() {
    let mut script = Script::led();
    script.vote(2, 3, 0).vote(2, 2, 0);
    script.breaks(&["term-went-back"]);

    let mut script = Script::led();
    script.vote(2, 3, 0).crash(2).up(2, Disk { term: 2, vote: 0, ..FOLLOWER });
    script.breaks(&["term-went-back"]);

    let mut script = Script::led();
    script.say(1, Event::Deposed { group: GROUP, term: Term(0) });
    script.breaks(&["term-went-back"]);
}

#[test]
fn log_mismatch_in_an_entry_and_in_what_it_follows() {
    let mut script = Script::led();
    script.append_as(1, 2, 1, 5).append_as(2, 2, 1, 6);
    script.breaks(&["log-mismatch"]);

    let mut script = Script::led();
    script.append(2, 2, 1).append(2, 3, 3).append(3, 2, 2).append(3, 3, 3);
    script.breaks(&["log-mismatch"]);
}

#[test]
fn log_gap() {
    let mut script = Script::led();
    script.append(2, 3, 1);
    script.breaks(&["log-gap"]);
}

#[test]
fn needless_truncation() {
    let mut script = Script::led();
    script.append(2, 2, 1).append(2, 3, 1).append(2, 2, 1);
    script.breaks(&["needless-truncation"]);
}

#[test]
fn entries_may_be_told_again_between_recovery_and_start() {
    let mut script = Script::led();
    script.crash(2).recover(2, FOLLOWER).append(2, 1, 1).say(2, configured(0, &[1, 2, 3])).say(2, Event::Started);
    script.breaks(&[]);
}

#[test]
fn committed_dropped() {
    let mut script = Script::led();
    script.append(3, 1, 2);
    script.breaks(&["committed-dropped"]);
}

#[test]
fn persisted_unknown() {
    let mut script = Script::led();
    script.append(2, 2, 1).say(2, persisted(2, 2));
    script.breaks(&["persisted-unknown"]);
}

#[test]
fn a_late_completion_counts_for_the_old_entry_only() {
    // (2, 1) is replaced by (2, 2) while on its way: its completion is true, and says nothing of the new entry.
    let mut script = Script::led();
    script.say(2, applied(1, 1)).append(3, 2, 1);
    script.vote(2, 2, 20).vote(3, 2, 20).say(2, elected(2)).append(2, 2, 2).say(2, persisted(2, 2)).append(3, 2, 2);
    script.say(3, persisted(2, 1));
    script.breaks(&[]);
    script.say(2, applied(2, 2));
    script.breaks(&["commit-without-quorum"]);
}

#[test]
fn durable_lost() {
    let mut script = Script::led();
    script.crash(3).up(3, Disk { last: 0, ..FOLLOWER });
    script.breaks(&["durable-lost"]);
}

#[test]
fn what_was_not_durable_may_be_lost_or_kept() {
    for last in [1, 2, 3] {
        let mut script = Script::led();
        script.append(3, 2, 1).append(3, 3, 1).crash(3).up(3, Disk { last, ..FOLLOWER });
        script.breaks(&[]);
        script.crash(3).up(3, Disk { last: last - 1, ..FOLLOWER });
        script.breaks(&["durable-lost"]);
    }
    let mut script = Script::led();
    script.append(3, 2, 1).crash(3).up(3, Disk { last: 3, ..FOLLOWER });
    script.breaks(&["durable-lost"]);
}

#[test]
fn a_crash_in_recovery_may_lose_what_was_only_read() {
    let mut script = Script::led();
    script.append(3, 2, 1).crash(3).recover(3, Disk { last: 2, ..FOLLOWER });
    script.crash(3).up(3, FOLLOWER);
    script.breaks(&[]);
}

#[test]
fn a_slot_open_after_a_crash_fits_both_entries() {
    // (2, 1) is durable, (2, 3) replaces it in flight: both logs end at 2, and either entry may be the one that is applied.
    for term in [1, 3] {
        let mut script = Script::led();
        for node in 1..=3 {
            script.append(node, 2, 1).say(node, persisted(2, 1));
        }
        script.append(3, 2, 3).crash(3).up(3, Disk { last: 2, term: 3, vote: 0, ..FOLLOWER });
        script.say(3, applied(1, 1)).say(3, persisted(2, term));
        script.breaks(&[]);
        script.say(3, persisted(2, 4 - term));
        script.breaks(&["persisted-unknown"]);
    }
}

#[test]
fn commit_without_quorum() {
    let mut script = Script::led();
    script.append(1, 2, 1).append(2, 2, 1).say(1, persisted(2, 1)).say(1, applied(2, 1));
    script.breaks(&["commit-without-quorum"]);
}

#[test]
fn a_learner_does_not_count() {
    let mut script = Script::led();
    script.recover(4, Disk::default()).append(4, 1, 1).append(4, 2, 1).say(4, persisted(2, 1));
    script.append(1, 2, 1).say(1, persisted(2, 1)).say(1, applied(2, 1));
    script.breaks(&["commit-without-quorum"]);
}

#[test]
fn the_old_quorum_decides_until_the_leader_takes_up_the_new_one() {
    // Entry 2 adds broker 4. Three of four are needed once broker 1 has applied it; entry 3 was decided before, entry 4 after.
    let mut script = Script::led();
    for index in [2, 3] {
        script.append(1, index, 1).append(2, index, 1).say(1, persisted(index, 1)).say(2, persisted(index, 1));
    }
    script.say(1, applied(2, 1)).say(1, configured(2, &[1, 2, 3, 4])).say(1, applied(3, 1));
    script.breaks(&[]);
    script.append(1, 4, 1).append(2, 4, 1).say(1, persisted(4, 1)).say(2, persisted(4, 1)).say(1, applied(4, 1));
    script.breaks(&["commit-without-quorum"]);
}

#[test]
fn applied_out_of_order() {
    let mut script = Script::led();
    script.say(1, applied(1, 1));
    script.breaks(&["applied-out-of-order"]);
}

#[test]
fn applied_other_entry() {
    let mut script = Script::new();
    script.vote(1, 1, 10).vote(2, 1, 10).say(1, elected(1));
    for node in 1..=2 {
        script.append(node, 1, 1).say(node, persisted(1, 1));
    }
    script.say(1, applied(1, 1)).say(3, applied(1, 1));
    script.breaks(&["applied-other-entry"]);
}

#[test]
fn divergence_of_state_and_of_offsets() {
    for event in [applied_with(1, 1, 5, 1, 0), applied_with(1, 1, 1_000, 2, 0), applied_with(1, 1, 1_000, 1, 1)] {
        let mut script = Script::led();
        script.say(2, event);
        script.breaks(&["divergence"]);
    }
}

#[test]
fn divergence_across_a_restart() {
    let mut script = Script::led();
    script.crash(1).up(1, Disk { commit: 1, ..FOLLOWER }).say(1, applied_with(1, 1, 9, 1, 0));
    script.breaks(&["divergence"]);
}

#[test]
fn offset_went_back() {
    for event in [applied_with(2, 1, 5, 0, 0), applied_with(2, 1, 5, 2, 3)] {
        let mut script = Script::led();
        script.append(1, 2, 1).append(2, 2, 1).say(1, persisted(2, 1)).say(2, persisted(2, 1)).say(1, event);
        script.breaks(&["offset-went-back"]);
    }
}

#[test]
fn checkpoint_ahead() {
    let mut script = Script::led();
    script.say(1, checkpointed(2));
    script.breaks(&["checkpoint-ahead"]);
}

#[test]
fn checkpoint_lost() {
    let mut script = Script::led();
    script.say(1, checkpointed(1)).crash(1).up(1, Disk { commit: 1, applied: 0, ..FOLLOWER });
    script.breaks(&["checkpoint-lost"]);

    let mut script = Script::led();
    script.crash(2).up(2, Disk { commit: 1, applied: 1, ..FOLLOWER });
    script.breaks(&["checkpoint-lost"]);
}

#[test]
fn a_snapshot_brings_a_replica_up_to_date() {
    let mut script = Script::led();
    script.append(1, 2, 1).append(2, 2, 1).say(1, persisted(2, 1)).say(2, persisted(2, 1)).say(1, applied(2, 1));
    script.say(3, installing(2, 1)).say(3, installed(2, 1));
    script.append(3, 3, 1).crash(3).up(3, Disk { commit: 2, applied: 2, last: 2, ..FOLLOWER });
    script.breaks(&[]);
    script.say(3, installing(1, 1)).say(3, installed(1, 1));
    script.breaks(&["snapshot-regress"]);
}

#[test]
fn a_snapshot_may_be_durable_before_anybody_is_told() {
    for (covered, last) in [(0, 1), (2, 2)] {
        let mut script = Script::led();
        script.append(1, 2, 1).append(2, 2, 1).say(1, persisted(2, 1)).say(2, persisted(2, 1)).say(1, applied(2, 1));
        script.say(3, installing(2, 1)).crash(3).up(3, Disk { commit: covered, applied: covered, last, ..FOLLOWER });
        script.breaks(&[]);
    }
}

#[test]
fn a_snapshot_in_another_state_is_divergence() {
    let mut script = Script::led();
    script.say(3, installing(1, 1)).say(3, installed_with(1, 1, 77));
    script.breaks(&["divergence"]);
}

#[test]
fn a_snapshot_out_of_the_blue_is_unexplained() {
    let mut script = Script::led();
    script.say(3, installed(1, 1));
    script.breaks(&["unexplained"]);
}

#[test]
fn a_snapshot_of_what_is_not_committed_is_divergence() {
    for (index, term) in [(1, 2), (2, 1)] {
        let mut script = Script::led();
        script.say(3, installing(index, term)).say(3, installed(index, term));
        script.breaks(&["divergence"]);
    }
}

#[test]
fn configuration_split() {
    let mut script = Script::led();
    script.say(1, configured(0, &[1, 2, 4]));
    script.breaks(&["configuration-split"]);
}

#[test]
fn configuration_jump() {
    let mut script = Script::led();
    script.say(1, configured(1, &[1, 2, 3, 4, 5]));
    script.breaks(&["configuration-jump"]);
}

#[test]
fn what_fits_no_life_is_unexplained() {
    let mut script = Script::led();
    script.say(9, persisted(1, 1));
    script.breaks(&["unexplained"]);

    let mut script = Script::led();
    script.say(1, Event::Started);
    script.breaks(&["unexplained"]);

    let mut script = Script::led();
    script.recover(2, FOLLOWER);
    script.breaks(&["unexplained"]);

    let mut script = Script::led();
    script.say(2, Event::Deposed { group: GROUP, term: Term(5) });
    script.breaks(&["unexplained"]);

    let mut script = Script::led();
    script.crash(2).append(2, 2, 1);
    script.breaks(&["unexplained"]);

    let mut script = Script::led();
    script.crash(2).up(2, Disk { commit: 2, ..FOLLOWER });
    script.breaks(&["unexplained"]);
}

#[test]
fn the_work_grows_with_the_events_and_no_faster() {
    let work = |entries: u64| {
        let mut script = Script::led();
        for index in 2..entries {
            for node in 1..=3 {
                script.append(node, index, 1).say(node, persisted(index, 1)).say(node, persisted(index, 1));
            }
            script.say(1, applied(index, 1));
            if index % 16 == 0 {
                let disk = Disk { last: index, ..FOLLOWER };
                script.crash(3).up(3, disk);
            }
        }
        script.breaks(&[]);
        script.judge.work()
    };
    let (small, large) = (work(200), work(2_000));
    assert!(large < small * 12, "{small} for 200 entries, {large} for 2,000");
}

#[test]
fn what_is_said_in_a_term_that_is_not_durable() {
    let mut script = Script::led();
    script.judge.spoke(9, NodeId(1), GROUP, Term(1));
    script.breaks(&[]);
    script.judge.spoke(9, NodeId(1), GROUP, Term(2));
    script.breaks(&["spoke-early"]);
}

#[test]
fn an_office_whose_term_was_not_durable_may_be_taken_again() {
    let mut script = Script::led();
    script.vote(2, 2, 10).vote(3, 2, 10).say(1, elected(2)).append(1, 2, 2);
    script.crash(1).up(1, Disk { term: 1, vote: 10, commit: 1, applied: 0, last: 1 });
    script.say(1, elected(2)).append_as(1, 2, 2, 77);
    script.breaks(&[]);
}

#[test]
fn a_promise_of_more_copies_than_there_are() {
    let mut script = Script::led();
    script.append(1, 2, 1).append(2, 2, 1).say(1, persisted(2, 1)).say(2, persisted(2, 1)).say(1, applied(2, 1));
    script.judge.promised(9, NodeId(1), GROUP, Offset(1), 2);
    script.breaks(&[]);
    script.judge.promised(9, NodeId(1), GROUP, Offset(1), 3);
    script.breaks(&["too-few-copies"]);
}
