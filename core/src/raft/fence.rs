//! The fence: messages of the world into messages of the crate and back, and what never gets through.
//!
//! raft-rs trusts its peers and panics where they lie. Whatever could make it panic is refused here, with a reason.

use raft::CAMPAIGN_TRANSFER;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use super::change::Change;
use super::conf::Conf;
use crate::id::{Index, ReplicaId, Term};
use crate::peer::{MessageKind, Offer, RaftEntry, RaftMessage};

/// Why a message was not let through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It is for another replica, or from one that is no member.
    Stranger,
    /// Its term does not fit a Kafka leader epoch.
    Term,
    /// Its entries or indexes do not hang together.
    Malformed,
    /// It speaks of entries this replica can not have.
    BeyondLog,
}

/// The largest term listened to: terms are leader epochs, which are 31 bits wide.
const TERM_MAX: u64 = (i32::MAX / 2) as u64;
/// The kind of an entry that carries a command or nothing.
const NORMAL: u8 = 0;
/// The kind of an entry that changes the configuration.
const CHANGE: u8 = 2;

/// A checkpoint that a leader offers, in terms the crate can take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offered {
    /// The leader's term.
    pub term: Term,
    /// What the checkpoint covers.
    pub index: Index,
    /// The term of the entry there.
    pub index_term: Term,
    /// The configuration there.
    pub conf: Conf,
}

impl Offered {
    /// Judges what a leader offers.
    ///
    /// # Errors
    /// If the crate could not take it.
    pub fn judge(index: Index, offer: &Offer) -> Result<Self, Refused> {
        let Offer { term, index_term, conf, manifest: _ } = offer;
        if term.0 == 0 || term.0 > TERM_MAX {
            return Err(Refused::Term);
        }
        if index.0 == 0 || index.0 > u64::MAX / 2 || index_term.0 == 0 || index_term > term {
            return Err(Refused::Malformed);
        }
        let conf = Conf::decode(conf.clone()).map_err(|_| Refused::Malformed)?;
        Ok(Self { term: *term, index, index_term: *index_term, conf })
    }
}

/// Translates a message from a member of the group, if the crate can take it.
pub(super) fn inward(
    message: RaftMessage,
    from: ReplicaId,
    to: ReplicaId,
    last: Index,
    leading: Option<Term>,
) -> Result<Message, Refused> {
    let RaftMessage { kind, term, log_term, index, commit, commit_term, reject, reject_hint, context, entries } =
        message;
    // Far below the end, so that campaigns that follow still fit.
    if term.0 == 0 || term.0 > TERM_MAX {
        return Err(Refused::Term);
    }
    if index.0 > u64::MAX / 2 || commit.0 > u64::MAX / 2 || reject_hint.0 > u64::MAX / 2 {
        return Err(Refused::Malformed);
    }
    if kind != MessageKind::Append && !entries.is_empty() {
        return Err(Refused::Malformed);
    }
    let context_fits = match kind {
        MessageKind::Heartbeat | MessageKind::HeartbeatResponse => true,
        // A vote asked for by the leader itself is not held up by its lease.
        MessageKind::Vote => context.is_empty() || context == CAMPAIGN_TRANSFER,
        MessageKind::Append
        | MessageKind::AppendResponse
        | MessageKind::VoteResponse
        | MessageKind::PreVote
        | MessageKind::PreVoteResponse
        | MessageKind::TimeoutNow => context.is_empty(),
    };
    if !context_fits {
        return Err(Refused::Malformed);
    }
    match kind {
        MessageKind::Append => {
            // A leader is the only one of its term, and never hears its own entries.
            if leading == Some(term) {
                return Err(Refused::Malformed);
            }
            // Only the place before the first entry has no term; the crate takes one beyond its log for such a place.
            if (index.0 == 0) != (log_term.0 == 0) {
                return Err(Refused::Malformed);
            }
            let mut previous = log_term;
            for entry in &entries {
                if entry.term < previous || entry.term > term || entry.term.0 == 0 {
                    return Err(Refused::Malformed);
                }
                let readable = match entry.kind {
                    NORMAL => true,
                    CHANGE => Change::decode(entry.data.clone()).is_ok(),
                    _ => false,
                };
                if !readable {
                    return Err(Refused::Malformed);
                }
                previous = entry.term;
            }
        }
        // A heartbeat commits only what this replica told the leader it holds.
        MessageKind::Heartbeat if commit > last || leading == Some(term) => return Err(Refused::BeyondLog),
        MessageKind::AppendResponse if !reject && leading == Some(term) && index > last => {
            return Err(Refused::BeyondLog);
        }
        MessageKind::TimeoutNow if leading == Some(term) => return Err(Refused::Malformed),
        MessageKind::AppendResponse
        | MessageKind::TimeoutNow
        | MessageKind::Vote
        | MessageKind::VoteResponse
        | MessageKind::Heartbeat
        | MessageKind::HeartbeatResponse
        | MessageKind::PreVote
        | MessageKind::PreVoteResponse => {}
    }
    let mut raft = Message::default();
    raft.set_msg_type(match kind {
        MessageKind::Append => MessageType::MsgAppend,
        MessageKind::AppendResponse => MessageType::MsgAppendResponse,
        MessageKind::Vote => MessageType::MsgRequestVote,
        MessageKind::VoteResponse => MessageType::MsgRequestVoteResponse,
        MessageKind::Heartbeat => MessageType::MsgHeartbeat,
        MessageKind::HeartbeatResponse => MessageType::MsgHeartbeatResponse,
        MessageKind::PreVote => MessageType::MsgRequestPreVote,
        MessageKind::PreVoteResponse => MessageType::MsgRequestPreVoteResponse,
        MessageKind::TimeoutNow => MessageType::MsgTimeoutNow,
    });
    raft.from = from.0;
    raft.to = to.0;
    raft.term = term.0;
    raft.log_term = log_term.0;
    raft.index = index.0;
    raft.commit = commit.0;
    raft.commit_term = commit_term.0;
    raft.reject = reject;
    raft.reject_hint = reject_hint.0;
    raft.context = context;
    let entries: Vec<Entry> =
        entries.into_iter().zip(index.0 + 1..).map(|(entry, at)| entry_inward(entry, Index(at))).collect();
    raft.entries = entries.into();
    Ok(raft)
}

fn entry_inward(entry: RaftEntry, index: Index) -> Entry {
    let mut raft = Entry::default();
    raft.index = index.0;
    raft.term = entry.term.0;
    raft.context = entry.context;
    raft.data = entry.data;
    raft.set_entry_type(entry_type(entry.kind));
    raft
}

/// The type of an entry of a kind that was judged.
pub(super) fn entry_type(kind: u8) -> EntryType {
    if kind == CHANGE { EntryType::EntryConfChangeV2 } else { EntryType::EntryNormal }
}

/// Whether an entry of this kind changes the configuration.
pub(crate) fn is_change(kind: u8) -> bool {
    kind == CHANGE
}

/// The inverse of [`entry_type`].
pub(super) fn entry_kind(kind: EntryType) -> u8 {
    match kind {
        EntryType::EntryNormal => NORMAL,
        EntryType::EntryConfChangeV2 => CHANGE,
        EntryType::EntryConfChange => panic!("nobody proposes changes of the first kind"),
    }
}

/// Translates what the crate wants sent; `None` for what brokers do not say to each other (yet).
pub(super) fn outward(mut message: Message) -> Option<(ReplicaId, RaftMessage)> {
    let kind = match message.get_msg_type() {
        MessageType::MsgAppend => MessageKind::Append,
        MessageType::MsgAppendResponse => MessageKind::AppendResponse,
        MessageType::MsgRequestVote => MessageKind::Vote,
        MessageType::MsgRequestVoteResponse => MessageKind::VoteResponse,
        MessageType::MsgHeartbeat => MessageKind::Heartbeat,
        MessageType::MsgHeartbeatResponse => MessageKind::HeartbeatResponse,
        MessageType::MsgRequestPreVote => MessageKind::PreVote,
        MessageType::MsgRequestPreVoteResponse => MessageKind::PreVoteResponse,
        MessageType::MsgTimeoutNow => MessageKind::TimeoutNow,
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgPropose
        | MessageType::MsgSnapshot
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum
        | MessageType::MsgTransferLeader
        | MessageType::MsgReadIndex
        | MessageType::MsgReadIndexResp => return None,
    };
    let entries = message
        .take_entries()
        .into_iter()
        .map(|entry| {
            let kind = entry_kind(entry.get_entry_type());
            RaftEntry { term: Term(entry.term), kind, context: entry.context, data: entry.data }
        })
        .collect();
    Some((
        ReplicaId(message.to),
        RaftMessage {
            kind,
            term: Term(message.term),
            log_term: Term(message.log_term),
            index: Index(message.index),
            commit: Index(message.commit),
            commit_term: Term(message.commit_term),
            reject: message.reject,
            reject_hint: Index(message.reject_hint),
            context: message.context,
            entries,
        },
    ))
}
