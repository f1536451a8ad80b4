//! A leader elected by the outgoing half of a joint configuration leads no longer than that half counts.

use bytes::Bytes;
use tidelog_core::effect::{DiskOutput, Effects};
use tidelog_core::event::Event;
use tidelog_core::id::{ClusterId, DirectoryId, FileIds, GroupId, Index, NodeId, ReplicaId, Term};
use tidelog_core::journal::{Done, Entry, HardState, Identity, Journal, Mark, Settings};
use tidelog_core::mutants::Mutants;
use tidelog_core::peer::{GroupMessage, MessageKind, RaftMessage};
use tidelog_core::raft::{Conf, Group, Output, Recovered, Setup, Token};

const GROUP: GroupId = GroupId(7);
const OWN: ReplicaId = ReplicaId(3);

/// Lets the disk do everything it is asked for.
fn write(journal: &mut Journal, ids: &mut FileIds) -> Vec<Done> {
    let mut done = Vec::new();
    loop {
        let mut commands = Vec::new();
        journal.commands(ids, &mut commands);
        if commands.is_empty() {
            return done;
        }
        for (tag, _) in commands {
            done.extend(journal.done(tag, Ok(DiskOutput::Done)));
        }
    }
}

fn said(from: u64, kind: MessageKind, term: Term, index: Index) -> GroupMessage {
    let nothing = (Index(0), Term(0), Bytes::new());
    let raft = RaftMessage {
        kind,
        term,
        log_term: nothing.1,
        index,
        commit: nothing.0,
        commit_term: nothing.1,
        reject: false,
        reject_hint: nothing.0,
        context: nothing.2,
        entries: Vec::new(),
    };
    GroupMessage { group: GROUP, from: ReplicaId(from), to: OWN, raft }
}

#[test]
fn a_leader_of_the_outgoing_half_steps_down_when_it_is_left() {
    let settings =
        Settings { file_bytes: 64 * 1024, files_max: 16, files_target: 4, sector_bytes: 512, block_bytes_max: 4096 };
    let identity = Identity { cluster: ClusterId([7; 16]), directory: DirectoryId([9; 16]), boot: 1 };
    let (mut journal, mut ids) = (Journal::open(settings, identity, Vec::new()), FileIds::new(1));
    assert!(write(&mut journal, &mut ids).iter().any(|done| matches!(done, Done::Recovered(_))));
    journal.mark(GROUP, Mark { applied: Index(5), applied_term: Term(1), body: Bytes::new() });
    write(&mut journal, &mut ids);
    let setup = Setup {
        group: GROUP,
        replica: OWN,
        members: (1..=3).map(|id| (NodeId(id), ReplicaId(id.into()), true)).collect(),
        seed: 1,
        election_ticks_min: 10,
        election_ticks_max: 20,
        heartbeat_ticks: 2,
        mutants: Mutants::default(),
    };
    // Replica 3 is replaced by 4, at the same node.
    let members = [(1, 1), (2, 2), (3, 3), (3, 4)].map(|(node, id)| (NodeId(node), ReplicaId(id), true));
    let mut conf = Conf::of(&members);
    conf.voters = [1, 2, 4].map(ReplicaId).to_vec();
    conf.outgoing = [1, 2, 3].map(ReplicaId).to_vec();
    conf.auto_leave = true;
    let entries: Vec<Entry> = Vec::new();
    let base = (Index(5), Term(1));
    let hard = HardState { term: Term(1), vote: ReplicaId(0), commit: Index(5) };
    let mut group = Group::new(setup, Recovered { hard, applied: Index(5), base, entries, conf: Some(conf) });
    let mut out = Effects::default();
    let mut pump = |group: &mut Group, journal: &mut Journal| {
        let mut output = Output::default();
        group.pump(journal, &mut out, &mut output);
        if let Some(last) = output.committed.last() {
            group.applied(last.index, &mut out, &mut output);
            group.pump(journal, &mut out, &mut output);
        }
        group.check();
    };
    let mut ticks = 0;
    while group.term() < Term(2) {
        group.tick();
        pump(&mut group, &mut journal);
        ticks += 1;
        assert!(ticks < 100, "it campaigns");
        if ticks >= 20 {
            for from in [1, 2] {
                let vote = said(from, MessageKind::PreVoteResponse, Term(2), Index(0));
                let _ = group.receive(NodeId(from as u32), vote);
            }
            pump(&mut group, &mut journal);
        }
    }
    write(&mut journal, &mut ids);
    let durable = journal.durable();
    group.durable(durable, &mut Effects::default(), &mut Output::default());
    for from in [1, 2] {
        let vote = said(from, MessageKind::VoteResponse, Term(2), Index(0));
        group.receive(NodeId(from as u32), vote).expect("a member's vote");
    }
    pump(&mut group, &mut journal);
    assert!(group.leading());
    let held = |group: &mut Group, index: u64| {
        for from in [1, 2] {
            let answer = said(from, MessageKind::AppendResponse, Term(2), Index(index));
            group.receive(NodeId(from as u32), answer).expect("a member's answer");
        }
    };
    write(&mut journal, &mut ids);
    group.durable(journal.durable(), &mut Effects::default(), &mut Output::default());
    held(&mut group, 6);
    pump(&mut group, &mut journal);
    assert!(group.serving() && group.last() == Index(7), "the end of the joint configuration is proposed");
    write(&mut journal, &mut ids);
    let durable = journal.durable();
    // One more is on its way to the disk when that end is committed.
    group.propose(Token(1), Bytes::from_static(b"head"), Bytes::from_static(b"data"));
    pump(&mut group, &mut journal);
    group.durable(durable, &mut Effects::default(), &mut Output::default());
    held(&mut group, 7);
    pump(&mut group, &mut journal);
    assert_eq!((group.commit(), group.conf().contains(OWN)), (Index(7), false));
    assert!(!group.leading(), "who is no member does not lead");
    write(&mut journal, &mut ids);
    let mut events = Effects::default();
    group.durable(journal.durable(), &mut events, &mut Output::default());
    pump(&mut group, &mut journal);
    assert!(events.events.iter().any(|event| matches!(event, Event::Persisted { index: Index(8), .. })));
}
