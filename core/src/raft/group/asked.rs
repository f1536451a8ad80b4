//! What a replica is asked: proposals and reads, and when they are answered.
//!
//! Promises: every token comes back exactly once, as committed or lost, readable or unreadable. What is asked in one step goes
//! to the log as one message, and shares one round of the quorum. Does not know who asks, or what an entry says.

use bytes::Bytes;
use raft::eraftpb::{Entry, Message, MessageType};

use super::Group;
use crate::id::Index;
use crate::raft::terms::{Output, Token};

impl Group {
    /// Offers an entry for the log. Answered by [`Output`]: committed with this token, or lost. Only while serving.
    pub fn propose(&mut self, token: Token, context: Bytes, data: Bytes) {
        assert!(self.serving(), "only a serving leader proposes");
        let mut entry = Entry::default();
        entry.context = context;
        entry.data = data;
        self.proposals.push((token, entry));
    }

    /// Asks whether what is applied now (or soon) is what a reader may see: one round for all reads of a step.
    pub fn read(&mut self, token: Token) {
        self.reads.push(token);
    }

    /// What was asked and is not answered yet.
    pub fn open_tokens(&self) -> impl Iterator<Item = Token> + '_ {
        let proposed = self.proposals.iter().map(|(token, _)| *token);
        let pending = self.pending.values().map(|(_, token)| *token);
        let rounds = self.rounds.values().flatten().copied();
        let confirmed = self.confirmed.iter().flat_map(|(_, tokens)| tokens.iter().copied());
        proposed.chain(pending).chain(self.reads.iter().copied()).chain(rounds).chain(confirmed)
    }

    pub(super) fn flush_proposals(&mut self, output: &mut Output) {
        if self.proposals.is_empty() {
            return;
        }
        let (tokens, entries): (Vec<Token>, Vec<Entry>) = std::mem::take(&mut self.proposals).into_iter().unzip();
        let first = self.last().0 + 1;
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.setup.replica.0;
        message.entries = entries.into();
        let taken = self.leading() && self.raw.raft.step(message).is_ok();
        self.set_timeout();
        if !taken {
            output.lost.extend(tokens);
            return;
        }
        let term = self.term();
        for (token, index) in tokens.into_iter().zip(first..) {
            self.pending.insert(Index(index), (term, token));
        }
    }

    pub(super) fn flush_reads(&mut self, output: &mut Output) {
        if self.reads.is_empty() {
            return;
        }
        if !self.serving() {
            output.unreadable.append(&mut self.reads);
            return;
        }
        let round = self.next_round;
        self.next_round += 1;
        self.rounds.insert(round, std::mem::take(&mut self.reads));
        self.raw.read_index(round.to_be_bytes().to_vec());
        self.set_timeout();
    }

    pub(super) fn release_reads(&mut self, output: &mut Output) {
        let applied = self.applied;
        let (readable, waiting) = std::mem::take(&mut self.confirmed).into_iter().partition(|(at, _)| *at <= applied);
        self.confirmed = waiting;
        output.readable.extend(Vec::into_iter(readable).flat_map(|(_, tokens)| tokens));
    }
}
