//! What a checkpoint mark carries beside its index: which files it names, and who was in the group.

use bytes::Bytes;
use prost::Message as _;

use crate::log::Manifest;
use crate::raft::Conf;

/// The body of a mark.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct MarkBody {
    pub(super) manifest: Manifest,
    pub(super) conf: Conf,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(bytes = "bytes", tag = "2")]
    manifest: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    conf: Bytes,
}

const VERSION: u32 = 1;

impl MarkBody {
    pub(super) fn encode(&self) -> Bytes {
        let wire = Wire { version: VERSION, manifest: self.manifest.encode(), conf: self.conf.encode() };
        wire.encode_to_vec().into()
    }

    /// The inverse of [`MarkBody::encode`]; says what is wrong otherwise.
    pub(super) fn decode(bytes: Bytes) -> Result<Self, String> {
        let wire = Wire::decode(bytes).map_err(|error| error.to_string())?;
        if wire.version != VERSION {
            return Err(format!("mark of version {}, this broker reads {VERSION}", wire.version));
        }
        Ok(Self {
            manifest: Manifest::decode(wire.manifest).map_err(|error| error.to_string())?,
            conf: Conf::decode(wire.conf)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{FileId, FileKind, NodeId, Offset, ReplicaId};

    #[test]
    fn version_1_is_written_and_read() {
        let body = MarkBody {
            manifest: Manifest {
                state: FileId::new(FileKind::State, 3, 7),
                state_len: 100,
                state_crc: 0xDEAD_BEEF,
                next_offset: Offset(300),
                log_start: Offset(2),
            },
            conf: Conf::of(&[(NodeId(1), ReplicaId(11), true), (NodeId(2), ReplicaId(12), false)]),
        };
        let hex: String = body.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        let golden = "08011219080110878080808380808004186420effdb6f50d28ac0230021a100801120201021a020b0c22010b2a010c";
        assert_eq!(hex, golden);
        assert_eq!(MarkBody::decode(body.encode()), Ok(body));
    }
}
