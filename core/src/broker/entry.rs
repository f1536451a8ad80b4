//! What a leader says beside the data of an entry: what it is, and when the leader proposed it.

use bytes::Bytes;
use prost::Message as _;

use crate::time::Timestamp;

/// What an entry of a group's log holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EntryKind {
    /// A record batch, as the producer sent it.
    Produce,
    /// A command for the controller.
    Command,
}

/// The head of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct EntryHead {
    pub(super) kind: EntryKind,
    /// The leader's wall clock when it proposed the entry: the only time `apply` knows.
    pub(super) stamp: Timestamp,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(sint64, tag = "2")]
    stamp: i64,
}

impl EntryHead {
    pub(super) fn encode(self) -> Bytes {
        let kind = match self.kind {
            EntryKind::Produce => 1,
            EntryKind::Command => 2,
        };
        Wire { kind, stamp: self.stamp.0 }.encode_to_vec().into()
    }

    /// The head in these bytes; `None` if they are not one of ours.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let Wire { kind, stamp } = Wire::decode(bytes).ok()?;
        let kind = match kind {
            1 => EntryKind::Produce,
            2 => EntryKind::Command,
            _ => return None,
        };
        Some(Self { kind, stamp: Timestamp(stamp) })
    }
}
