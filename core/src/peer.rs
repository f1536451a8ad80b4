//! What brokers say to each other: one envelope per peer and step, a prost header and then the payloads as raw slices.
//!
//! The wire format is ours and versioned; what the Raft crate calls a message is translated in [`crate::raft`]. Decoding
//! never panics and never allocates more than the frame holds; what an envelope says is still to be judged by its reader.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;

use crate::formation::Message;
use crate::id::{ClusterId, GroupId, Index, NodeId, ReplicaId, Term};
use crate::limits::ENVELOPE_BYTES_MAX;

/// The version of the format of envelopes.
pub const VERSION: u16 = 2;

/// One message between two brokers.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Envelope {
    /// The sender's cluster; zero in an envelope that carries a formation message, and nothing else.
    pub cluster: ClusterId,
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// Messages between replicas.
    pub messages: Vec<GroupMessage>,
    /// Groups the sender leads (gossip: a hint for routing, never a proof).
    pub leading: Vec<(GroupId, Term)>,
    /// Encoded controller commands for the receiver to propose, if it leads the controller.
    pub commands: Vec<Bytes>,
    /// What is said about who is in which cluster.
    pub formation: Option<Message>,
    /// Of files that a follower copies from its leader.
    pub copies: Vec<CopyMessage>,
}

/// What two replicas of a group say to each other about the files of a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopyMessage {
    /// The group.
    pub group: GroupId,
    /// The sending replica.
    pub from: ReplicaId,
    /// The replica it is for.
    pub to: ReplicaId,
    /// What the checkpoint covers: its name between the two.
    pub index: Index,
    /// What is said.
    pub body: CopyBody,
}

/// What is said about the files of a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CopyBody {
    /// The leader offers them, and keeps them for a while.
    Offer(Offer),
    /// The follower wants a piece of a file.
    Pull {
        /// The file, as the leader calls it.
        file: u64,
        /// The first byte.
        at: u64,
        /// How many.
        len: u32,
    },
    /// The piece.
    Piece {
        /// The file.
        file: u64,
        /// The first byte.
        at: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// The follower has work with what it got, and wants the rest later.
    Busy,
    /// The follower can not use them.
    Failed,
    /// Files of the follower are damaged: it wants those of a checkpoint that covers `index` or more.
    Want,
    /// The follower has what it wanted.
    Had,
}

/// The offer of a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// The leader's term.
    pub term: Term,
    /// The term of the last entry the checkpoint covers.
    pub index_term: Term,
    /// The group's configuration there, as [`crate::raft::Conf`] encodes it.
    pub conf: Bytes,
    /// Its manifest, as [`crate::log::Manifest`] encodes it.
    pub manifest: Bytes,
}

/// A message from one replica of a group to another.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct GroupMessage {
    /// The group.
    pub group: GroupId,
    /// The sending replica.
    pub from: ReplicaId,
    /// The replica it is for.
    pub to: ReplicaId,
    /// The Raft message.
    pub raft: RaftMessage,
}

/// A Raft message in our own terms.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RaftMessage {
    /// What it is.
    pub kind: MessageKind,
    /// The sender's term (in a pre-vote: the term it would campaign in).
    pub term: Term,
    /// The term of the entry at `index`.
    pub log_term: Term,
    /// The index the message is about.
    pub index: Index,
    /// What is committed, as far as the sender knows.
    pub commit: Index,
    /// The term of the committed entry (votes).
    pub commit_term: Term,
    /// Whether it says no.
    pub reject: bool,
    /// Where the logs may agree (rejected appends).
    pub reject_hint: Index,
    /// Names a read barrier (heartbeats).
    pub context: Bytes,
    /// Entries, the first at `index + 1`, contiguous.
    pub entries: Vec<RaftEntry>,
}

/// An entry of a group's log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RaftEntry {
    /// The term it was proposed in.
    pub term: Term,
    /// Normal (0) or a configuration change (2).
    pub kind: u8,
    /// What the proposer says beside the data.
    pub context: Bytes,
    /// The data, shared and never copied.
    pub data: Bytes,
}

/// The Raft messages that brokers exchange (Ongaro's dissertation, chapters 3, 6 and 9).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MessageKind {
    /// AppendEntries.
    #[default]
    Append = 1,
    /// Its answer.
    AppendResponse = 2,
    /// RequestVote.
    Vote = 3,
    /// Its answer.
    VoteResponse = 4,
    /// A heartbeat, which may carry a read barrier.
    Heartbeat = 5,
    /// Its answer.
    HeartbeatResponse = 6,
    /// Would you vote for me?
    PreVote = 7,
    /// Its answer.
    PreVoteResponse = 8,
    /// Campaign now: the leader hands over (section 3.10).
    TimeoutNow = 9,
}

impl MessageKind {
    fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            1 => Self::Append,
            2 => Self::AppendResponse,
            3 => Self::Vote,
            4 => Self::VoteResponse,
            5 => Self::Heartbeat,
            6 => Self::HeartbeatResponse,
            7 => Self::PreVote,
            8 => Self::PreVoteResponse,
            9 => Self::TimeoutNow,
            _ => return None,
        })
    }
}

/// Why bytes are not an envelope.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BadEnvelope {
    /// It ends before it should.
    Truncated,
    /// Another version of the format.
    Version(u16),
    /// The header is not what it should be.
    Header(String),
    /// The payloads are not as long as the header says.
    Payloads,
}

impl std::fmt::Display for BadEnvelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Truncated => write!(f, "the envelope ends before its header does"),
            Self::Version(version) => write!(f, "envelope format {version}, this broker speaks {VERSION}"),
            Self::Header(what) => write!(f, "envelope header: {what}"),
            Self::Payloads => write!(f, "envelope payloads do not have the lengths its header says"),
        }
    }
}

mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Header {
        #[prost(bytes = "bytes", tag = "1")]
        pub(super) cluster: bytes::Bytes,
        #[prost(uint32, tag = "2")]
        pub(super) from: u32,
        #[prost(uint32, tag = "3")]
        pub(super) to: u32,
        #[prost(message, repeated, tag = "4")]
        pub(super) messages: Vec<GroupMessage>,
        #[prost(uint64, repeated, tag = "5")]
        pub(super) leading: Vec<u64>,
        #[prost(uint32, repeated, tag = "6")]
        pub(super) command_lengths: Vec<u32>,
        #[prost(message, optional, tag = "8")]
        pub(super) formation: Option<crate::formation::Wire>,
        #[prost(message, repeated, tag = "7")]
        pub(super) copies: Vec<Copy>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Copy {
        #[prost(uint64, tag = "1")]
        pub(super) group: u64,
        #[prost(uint64, tag = "2")]
        pub(super) from: u64,
        #[prost(uint64, tag = "3")]
        pub(super) to: u64,
        #[prost(uint64, tag = "4")]
        pub(super) index: u64,
        /// 1 offer, 2 pull, 3 piece, 4 busy, 5 failed.
        #[prost(uint32, tag = "5")]
        pub(super) kind: u32,
        #[prost(uint64, tag = "6")]
        pub(super) term: u64,
        #[prost(uint64, tag = "7")]
        pub(super) index_term: u64,
        #[prost(bytes = "bytes", tag = "8")]
        pub(super) conf: bytes::Bytes,
        #[prost(bytes = "bytes", tag = "9")]
        pub(super) manifest: bytes::Bytes,
        #[prost(uint64, tag = "10")]
        pub(super) file: u64,
        #[prost(uint64, tag = "11")]
        pub(super) at: u64,
        /// Of a pull, or of the piece among the payloads.
        #[prost(uint32, tag = "12")]
        pub(super) length: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct GroupMessage {
        #[prost(uint64, tag = "1")]
        pub(super) group: u64,
        #[prost(uint64, tag = "2")]
        pub(super) from: u64,
        #[prost(uint64, tag = "3")]
        pub(super) to: u64,
        #[prost(uint32, tag = "5")]
        pub(super) kind: u32,
        #[prost(uint64, tag = "6")]
        pub(super) term: u64,
        #[prost(uint64, tag = "7")]
        pub(super) log_term: u64,
        #[prost(uint64, tag = "8")]
        pub(super) index: u64,
        #[prost(uint64, tag = "9")]
        pub(super) commit: u64,
        #[prost(uint64, tag = "10")]
        pub(super) commit_term: u64,
        #[prost(bool, tag = "11")]
        pub(super) reject: bool,
        #[prost(uint64, tag = "12")]
        pub(super) reject_hint: u64,
        #[prost(bytes = "bytes", tag = "13")]
        pub(super) context: bytes::Bytes,
        #[prost(message, repeated, tag = "14")]
        pub(super) entries: Vec<Entry>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Entry {
        #[prost(uint64, tag = "1")]
        pub(super) term: u64,
        #[prost(uint32, tag = "2")]
        pub(super) kind: u32,
        #[prost(bytes = "bytes", tag = "3")]
        pub(super) context: bytes::Bytes,
        #[prost(uint32, tag = "4")]
        pub(super) length: u32,
    }
}

impl Envelope {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        let quiet = self.messages.is_empty() && self.leading.is_empty() && self.commands.is_empty();
        quiet && self.copies.is_empty() && self.formation.is_none()
    }

    /// The envelope as several, in order, none with more than `bytes_max` of payload unless a single message has more.
    pub fn split(self, bytes_max: usize) -> Vec<Self> {
        let (cluster, from, to) = (self.cluster, self.from, self.to);
        let empty = || Self { cluster, from, to, ..Self::default() };
        let mut parts = vec![Self { leading: self.leading, formation: self.formation, ..empty() }];
        let mut bytes = 0;
        let mut room = |parts: &mut Vec<Self>, more: usize| {
            if bytes > 0 && bytes + more > bytes_max {
                parts.push(empty());
                bytes = 0;
            }
            bytes += more;
        };
        for message in self.messages {
            let more = message.raft.entries.iter().map(|entry| entry.data.len() + entry.context.len() + 16).sum();
            room(&mut parts, more);
            parts.last_mut().expect("there is one").messages.push(message);
        }
        for command in self.commands {
            room(&mut parts, command.len());
            parts.last_mut().expect("there is one").commands.push(command);
        }
        for copy in self.copies {
            room(&mut parts, piece(&copy).map_or(0, Bytes::len));
            parts.last_mut().expect("there is one").copies.push(copy);
        }
        parts
    }

    /// The bytes of the envelope behind a four-byte big-endian length; payloads are shared, not copied.
    pub fn encode(&self) -> Vec<Bytes> {
        let header = wire::Header {
            cluster: Bytes::copy_from_slice(&self.cluster.0),
            from: self.from.0,
            to: self.to.0,
            messages: self.messages.iter().map(encode_message).collect(),
            leading: self.leading.iter().flat_map(|(group, term)| [group.0, term.0]).collect(),
            command_lengths: self.commands.iter().map(length).collect(),
            formation: self.formation.as_ref().map(Message::to_wire),
            copies: self.copies.iter().map(encode_copy).collect(),
        };
        let payloads: Vec<Bytes> = self
            .messages
            .iter()
            .flat_map(|message| message.raft.entries.iter().map(|entry| entry.data.clone()))
            .chain(self.commands.iter().cloned())
            .chain(self.copies.iter().filter_map(piece).cloned())
            .filter(|payload| !payload.is_empty())
            .collect();
        let header_length = header.encoded_len();
        let total = 6 + header_length + payloads.iter().map(Bytes::len).sum::<usize>();
        let mut head = BytesMut::with_capacity(10 + header_length);
        head.put_u32(u32::try_from(total).expect("an envelope is bounded"));
        head.put_u16(VERSION);
        head.put_u32(u32::try_from(header_length).expect("an envelope is bounded"));
        header.encode(&mut head).expect("a BytesMut grows");
        let mut slices = Vec::with_capacity(1 + payloads.len());
        slices.push(head.freeze());
        slices.extend(payloads);
        slices
    }

    /// The envelope in a frame (without its length). Payloads share the frame's memory.
    pub fn decode(frame: Bytes) -> Result<Self, BadEnvelope> {
        if frame.len() < 6 || frame.len() > ENVELOPE_BYTES_MAX as usize {
            return Err(BadEnvelope::Truncated);
        }
        let version = u16::from_be_bytes([frame[0], frame[1]]);
        if version != VERSION {
            return Err(BadEnvelope::Version(version));
        }
        let header_length = u32::from_be_bytes([frame[2], frame[3], frame[4], frame[5]]) as usize;
        if header_length > frame.len() - 6 {
            return Err(BadEnvelope::Truncated);
        }
        let header = wire::Header::decode(frame.slice(6..6 + header_length))
            .map_err(|error| BadEnvelope::Header(error.to_string()))?;
        let mut payloads = Payloads { rest: frame.slice(6 + header_length..) };
        let cluster: [u8; 16] =
            header.cluster.as_ref().try_into().map_err(|_| BadEnvelope::Header("cluster id".into()))?;
        if header.leading.len() % 2 != 0 {
            return Err(BadEnvelope::Header("gossip".into()));
        }
        let mut messages = Vec::with_capacity(header.messages.len());
        for message in header.messages {
            messages.push(decode_message(message, &mut payloads)?);
        }
        let mut commands = Vec::with_capacity(header.command_lengths.len());
        for length in header.command_lengths {
            commands.push(payloads.take(length)?);
        }
        let mut copies = Vec::with_capacity(header.copies.len());
        for copy in header.copies {
            copies.push(decode_copy(copy, &mut payloads)?);
        }
        if !payloads.rest.is_empty() {
            return Err(BadEnvelope::Payloads);
        }
        let formation = match header.formation {
            None => None,
            Some(wire) => Some(Message::parse(wire).ok_or_else(|| BadEnvelope::Header("formation message".into()))?),
        };
        Ok(Self {
            cluster: ClusterId(cluster),
            from: NodeId(header.from),
            to: NodeId(header.to),
            messages,
            leading: header.leading.chunks_exact(2).map(|pair| (GroupId(pair[0]), Term(pair[1]))).collect(),
            commands,
            formation,
            copies,
        })
    }
}

struct Payloads {
    rest: Bytes,
}

impl Payloads {
    fn take(&mut self, length: u32) -> Result<Bytes, BadEnvelope> {
        let length = length as usize;
        if length > self.rest.len() {
            return Err(BadEnvelope::Payloads);
        }
        Ok(self.rest.split_to(length))
    }
}

fn length(payload: &Bytes) -> u32 {
    u32::try_from(payload.len()).expect("a payload is bounded")
}

fn piece(copy: &CopyMessage) -> Option<&Bytes> {
    match &copy.body {
        CopyBody::Piece { bytes, .. } => Some(bytes),
        CopyBody::Offer(_)
        | CopyBody::Pull { .. }
        | CopyBody::Busy
        | CopyBody::Failed
        | CopyBody::Want
        | CopyBody::Had => None,
    }
}

fn encode_copy(copy: &CopyMessage) -> wire::Copy {
    let (group, from, to, index) = (copy.group.0, copy.from.0, copy.to.0, copy.index.0);
    let plain = |kind| wire::Copy { group, from, to, index, kind, ..wire::Copy::default() };
    match &copy.body {
        CopyBody::Offer(Offer { term, index_term, conf, manifest }) => wire::Copy {
            term: term.0,
            index_term: index_term.0,
            conf: conf.clone(),
            manifest: manifest.clone(),
            ..plain(1)
        },
        CopyBody::Pull { file, at, len } => wire::Copy { file: *file, at: *at, length: *len, ..plain(2) },
        CopyBody::Piece { file, at, bytes } => wire::Copy { file: *file, at: *at, length: length(bytes), ..plain(3) },
        CopyBody::Busy => plain(4),
        CopyBody::Failed => plain(5),
        CopyBody::Want => plain(6),
        CopyBody::Had => plain(7),
    }
}

fn decode_copy(copy: wire::Copy, payloads: &mut Payloads) -> Result<CopyMessage, BadEnvelope> {
    let body = match copy.kind {
        1 => CopyBody::Offer(Offer {
            term: Term(copy.term),
            index_term: Term(copy.index_term),
            conf: copy.conf,
            manifest: copy.manifest,
        }),
        2 => CopyBody::Pull { file: copy.file, at: copy.at, len: copy.length },
        3 => CopyBody::Piece { file: copy.file, at: copy.at, bytes: payloads.take(copy.length)? },
        4 => CopyBody::Busy,
        5 => CopyBody::Failed,
        6 => CopyBody::Want,
        7 => CopyBody::Had,
        kind => return Err(BadEnvelope::Header(format!("copy message kind {kind}"))),
    };
    Ok(CopyMessage {
        group: GroupId(copy.group),
        from: ReplicaId(copy.from),
        to: ReplicaId(copy.to),
        index: Index(copy.index),
        body,
    })
}

fn encode_message(message: &GroupMessage) -> wire::GroupMessage {
    let raft = &message.raft;
    wire::GroupMessage {
        group: message.group.0,
        from: message.from.0,
        to: message.to.0,
        kind: raft.kind as u32,
        term: raft.term.0,
        log_term: raft.log_term.0,
        index: raft.index.0,
        commit: raft.commit.0,
        commit_term: raft.commit_term.0,
        reject: raft.reject,
        reject_hint: raft.reject_hint.0,
        context: raft.context.clone(),
        entries: raft
            .entries
            .iter()
            .map(|entry| wire::Entry {
                term: entry.term.0,
                kind: u32::from(entry.kind),
                context: entry.context.clone(),
                length: length(&entry.data),
            })
            .collect(),
    }
}

fn decode_message(message: wire::GroupMessage, payloads: &mut Payloads) -> Result<GroupMessage, BadEnvelope> {
    let kind = MessageKind::from_code(message.kind)
        .ok_or_else(|| BadEnvelope::Header(format!("message kind {}", message.kind)))?;
    let mut entries = Vec::with_capacity(message.entries.len());
    for entry in message.entries {
        entries.push(RaftEntry {
            term: Term(entry.term),
            kind: u8::try_from(entry.kind).map_err(|_| BadEnvelope::Header("entry kind".into()))?,
            context: entry.context,
            data: payloads.take(entry.length)?,
        });
    }
    Ok(GroupMessage {
        group: GroupId(message.group),
        from: ReplicaId(message.from),
        to: ReplicaId(message.to),
        raft: RaftMessage {
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
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> GroupMessage {
        let entry = RaftEntry { data: Bytes::from(vec![7; bytes]), ..RaftEntry::default() };
        GroupMessage { raft: RaftMessage { entries: vec![entry], ..RaftMessage::default() }, ..GroupMessage::default() }
    }

    #[test]
    fn an_envelope_splits_in_order_below_the_limit() {
        let envelope = Envelope {
            messages: vec![message(600), message(300), message(2_000), message(10)],
            leading: vec![(GroupId(3), Term(1))],
            commands: vec![Bytes::from(vec![1; 500])],
            ..Envelope::default()
        };
        let parts = envelope.clone().split(1_000);
        let sizes: Vec<usize> = parts.iter().map(|part| part.encode().iter().skip(1).map(Bytes::len).sum()).collect();
        assert_eq!(sizes, [900, 2_000, 510]);
        let whole = parts.into_iter().reduce(|mut all, part| {
            all.messages.extend(part.messages);
            all.leading.extend(part.leading);
            all.commands.extend(part.commands);
            all.copies.extend(part.copies);
            all
        });
        assert_eq!(whole, Some(envelope));
    }

    #[test]
    fn what_is_encoded_is_decoded_and_cuts_are_refused() {
        let envelope = Envelope {
            messages: vec![message(40), message(0)],
            commands: vec![Bytes::from_static(b"do")],
            copies: [
                CopyBody::Offer(Offer {
                    term: Term(7),
                    index_term: Term(5),
                    conf: Bytes::from_static(b"who"),
                    manifest: Bytes::from_static(b"what"),
                }),
                CopyBody::Pull { file: 1 << 57, at: 9, len: 4 },
                CopyBody::Piece { file: 1 << 57, at: 9, bytes: Bytes::from_static(b"data") },
                CopyBody::Busy,
                CopyBody::Failed,
                CopyBody::Want,
                CopyBody::Had,
            ]
            .map(|body| CopyMessage { group: GroupId(1), from: ReplicaId(2), to: ReplicaId(3), index: Index(4), body })
            .into(),
            ..Envelope::default()
        };
        let frame: Vec<u8> = envelope.encode().concat().split_off(4);
        assert_eq!(Envelope::decode(frame.clone().into()), Ok(envelope));
        for cut in 0..frame.len() {
            assert!(Envelope::decode(Bytes::copy_from_slice(&frame[..cut])).is_err(), "cut at {cut}");
        }
    }
}
