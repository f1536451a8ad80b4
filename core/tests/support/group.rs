//! One replica of a group on its own: a journal whose disk does everything at once, and members who say what a test says.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use bytes::Bytes;
use tidelog_core::effect::{DiskOutput, Effects};
use tidelog_core::id::{ClusterId, DirectoryId, FileIds, GroupId, Index, NodeId, ReplicaId, Term};
use tidelog_core::journal::{Done, HardState, Identity, Journal, Mark, Settings};
use tidelog_core::mutants::Mutants;
use tidelog_core::peer::{GroupMessage, MessageKind, RaftMessage};
use tidelog_core::raft::{Conf, Group, Output, Recovered, Refused, Setup};

pub const GROUP: GroupId = GroupId(7);

/// A replica, and the journal below it.
pub struct Lone {
    pub group: Group,
    pub journal: Journal,
    ids: FileIds,
    /// What it told those who watch.
    pub events: Effects,
}

impl Lone {
    /// The replica `own` as it comes back with a checkpoint of its first five entries, all of term 1.
    pub fn new(own: ReplicaId, conf: Conf) -> Self {
        let settings = Settings {
            file_bytes: 64 * 1024,
            file_bytes_first: 16 * 1024,
            rest_bytes: 128 * 1024,
            files_max: 16,
            files_target: 4,
            sector_bytes: 512,
            block_bytes_max: 4096,
        };
        let identity = Identity { cluster: ClusterId([7; 16]), directory: DirectoryId([9; 16]), boot: 1 };
        let setup = Setup {
            group: GROUP,
            replica: own,
            members: conf.nodes.iter().map(|(node, replica)| (*node, *replica, true)).collect(),
            seed: 1,
            election_ticks_min: 10,
            election_ticks_max: 20,
            heartbeat_ticks: 2,
            append_bytes: 1024 * 1024,
            mutants: Mutants::default(),
        };
        let base = (Index(5), Term(1));
        let hard = HardState { term: Term(1), vote: ReplicaId(0), commit: Index(5) };
        let recovered = Recovered { hard, applied: Index(5), base, entries: Vec::new(), conf: Some(conf) };
        let mut lone = Self {
            group: Group::new(setup, recovered),
            journal: Journal::open(settings, identity, Vec::new()),
            ids: FileIds::new(1),
            events: Effects::default(),
        };
        assert!(lone.disk().iter().any(|done| matches!(done, Done::Recovered(_))));
        lone.journal.mark(GROUP, Mark { applied: Index(5), applied_term: Term(1), body: Bytes::new() });
        lone.disk();
        lone
    }

    /// Carries the group through the crate, and applies what is committed.
    pub fn pump(&mut self) {
        let mut output = Output::default();
        self.group.pump(&mut self.journal, &mut self.events, &mut output);
        if let Some(last) = output.committed.last() {
            self.group.applied(last.index, &mut self.events, &mut output);
            self.group.pump(&mut self.journal, &mut self.events, &mut output);
        }
        self.group.check();
    }

    /// Lets the disk do everything it is asked for.
    pub fn disk(&mut self) -> Vec<Done> {
        let mut done = Vec::new();
        loop {
            let mut commands = Vec::new();
            self.journal.commands(&mut self.ids, &mut commands);
            if commands.is_empty() {
                return done;
            }
            for (tag, _) in commands {
                done.extend(self.journal.done(tag, Ok(DiskOutput::Done)));
            }
        }
    }

    /// Writes what was given to the journal, and tells the group.
    pub fn write(&mut self) {
        self.disk();
        let durable = self.journal.durable();
        self.group.durable(durable, &mut self.events, &mut Output::default());
    }

    /// Pumps and writes until nothing is left to do.
    pub fn settle(&mut self) {
        for _ in 0..20 {
            self.pump();
            self.write();
        }
    }

    /// Lets time pass until it asks for votes in `term`, those of `friends` being promised.
    pub fn campaign(&mut self, term: Term, friends: &[u64]) {
        let mut ticks = 0;
        while self.group.term() < term {
            self.group.tick();
            self.pump();
            ticks += 1;
            assert!(ticks < 100, "it campaigns");
            if ticks >= 20 {
                for from in friends {
                    let _ = self.say(*from, MessageKind::PreVoteResponse, term, Index(0));
                }
                self.pump();
            }
        }
        self.write();
    }

    /// A member, at the node of its number, says something short.
    pub fn say(&mut self, from: u64, kind: MessageKind, term: Term, index: Index) -> Result<(), Refused> {
        let raft = RaftMessage { kind, term, index, ..RaftMessage::default() };
        let message = GroupMessage { group: GROUP, from: ReplicaId(from), to: self.group.replica(), raft };
        self.group.receive(NodeId(u32::try_from(from).expect("a small number")), message)
    }
}
