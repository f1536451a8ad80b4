//! What a broker durably knows of its cluster: a pledge before there is one, a charter after. Tiny files, one record each.
//!
//! A file is a head (magic, version, length, CRC-32C) and a prost message, padded with zeros. Promises that what decodes is
//! a record that a broker may have written, and that a torn file is told from a newer version's. Knows no disk.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;

use crate::id::{ClusterId, DirectoryId, NodeId, ReplicaId};
use crate::limits::VOTERS_MAX;

/// The newest version of the format of formation files. Since 2 they are numbered, and written by turns over the older of two
/// files; those of 1 are as old as their files.
pub const RECORD_VERSION: u32 = 2;
/// The version of records without a number.
const UNNUMBERED_VERSION: u32 = 1;
/// The longest formation file that is looked at, in bytes.
pub const RECORD_BYTES_MAX: u64 = 64 * 1024;

const MAGIC: &[u8; 8] = b"tideform";
const HEAD_BYTES: usize = 20;
/// Files are padded to a multiple of this: the smallest sector.
const PADDING_BYTES: usize = 512;

/// The birth certificate of a cluster: written once, by its founder, never changed.
///
/// - the members' brokers are the listed voters, ascending, each with another directory and another replica id
/// - the founder's directory is a member's
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Charter {
    /// The cluster.
    pub cluster: ClusterId,
    /// The disk of the broker that wrote it.
    pub founder: DirectoryId,
    /// The first voters of the controller group, ascending.
    pub members: Vec<Seat>,
}

/// A first voter of the controller group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seat {
    /// The broker.
    pub node: NodeId,
    /// Its formatted disk: another disk of the same broker is not this member.
    pub directory: DirectoryId,
    /// Its replica id in the controller group.
    pub replica: ReplicaId,
}

impl Charter {
    /// The listed voters the cluster was formed of, ascending.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.iter().map(|seat| seat.node)
    }

    /// The broker that wrote it.
    pub fn founding_node(&self) -> NodeId {
        let seat = self.members.iter().find(|seat| seat.directory == self.founder);
        seat.expect("a charter's founder is a member").node
    }

    fn is_sound(&self) -> bool {
        let ascending = self.members.windows(2).all(|pair| pair[0].node < pair[1].node);
        let distinct = self.members.iter().enumerate().all(|(at, seat)| {
            let before = &self.members[..at];
            before.iter().all(|other| other.directory != seat.directory && other.replica != seat.replica)
        });
        let named = self.members.iter().all(|seat| seat.node.0 > 0 && seat.replica.0 > 0);
        let founded = self.members.iter().any(|seat| seat.directory == self.founder);
        self.cluster != ClusterId::ZERO && self.members.len() <= VOTERS_MAX && ascending && distinct && named && founded
    }
}

/// A listed voter's word to one founder: "if you write a charter with me in it, I am in".
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pledge {
    /// The disk of the founder.
    pub founder: DirectoryId,
}

/// What a broker's disk is in its cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// A voter of the controller group, with this replica id.
    Member(ReplicaId),
    /// Nothing: it asks to be admitted.
    Observer,
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// There is no cluster yet, as far as this broker knows.
    Pledge(Pledge),
    /// There is one.
    Charter(Charter, Role),
}

/// Why bytes are no record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoRecord {
    /// A write that never came to its end: as if the file were not there.
    Torn,
    /// A newer version wrote it.
    Version(u32),
}

pub(super) mod wire {
    use bytes::Bytes;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Charter {
        #[prost(bytes = "bytes", tag = "1")]
        pub(crate) cluster: Bytes,
        #[prost(bytes = "bytes", tag = "2")]
        pub(crate) founder: Bytes,
        #[prost(message, repeated, tag = "3")]
        pub(crate) members: Vec<Seat>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Seat {
        #[prost(uint32, tag = "1")]
        pub(crate) node: u32,
        #[prost(bytes = "bytes", tag = "2")]
        pub(crate) directory: Bytes,
        #[prost(uint64, tag = "3")]
        pub(crate) replica: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Pledge {
        #[prost(bytes = "bytes", tag = "1")]
        pub(super) founder: Bytes,
    }

    /// A pledge or a charter; `replica` zero is an observer's.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Record {
        #[prost(bytes = "bytes", tag = "1")]
        pub(super) directory: Bytes,
        #[prost(message, optional, tag = "2")]
        pub(super) pledge: Option<Pledge>,
        #[prost(message, optional, tag = "3")]
        pub(super) charter: Option<Charter>,
        #[prost(uint64, tag = "4")]
        pub(super) replica: u64,
        /// The sequence of a journal file that is durable; zero before there is one.
        #[prost(uint64, tag = "5")]
        pub(super) opened: u64,
        /// The highest of a directory counts; zero in records of older builds, of which the last file counts.
        #[prost(uint64, tag = "6")]
        pub(super) number: u64,
    }
}

pub(super) fn uuid(bytes: &[u8]) -> Option<[u8; 16]> {
    bytes.try_into().ok()
}

fn copied(id: &[u8; 16]) -> Bytes {
    Bytes::copy_from_slice(id)
}

impl From<&Charter> for wire::Charter {
    fn from(charter: &Charter) -> Self {
        let seat = |seat: &Seat| wire::Seat {
            node: seat.node.0,
            directory: copied(&seat.directory.0),
            replica: seat.replica.0,
        };
        Self {
            cluster: copied(&charter.cluster.0),
            founder: copied(&charter.founder.0),
            members: charter.members.iter().map(seat).collect(),
        }
    }
}

impl wire::Charter {
    /// The charter, if it is one.
    pub(super) fn parse(&self) -> Option<Charter> {
        let seat = |seat: &wire::Seat| {
            Some(Seat {
                node: NodeId(seat.node),
                directory: DirectoryId(uuid(&seat.directory)?),
                replica: ReplicaId(seat.replica),
            })
        };
        let charter = Charter {
            cluster: ClusterId(uuid(&self.cluster)?),
            founder: DirectoryId(uuid(&self.founder)?),
            members: self.members.iter().map(seat).collect::<Option<_>>()?,
        };
        charter.is_sound().then_some(charter)
    }
}

/// What a formation file holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// The disk it was written for.
    pub directory: DirectoryId,
    /// The record.
    pub record: Record,
    /// How far the journal beside it was opened: the sequence of a file of it that is durable, zero before there is one. A
    /// journal that ends earlier has lost something.
    pub opened: u64,
    /// Of the files of a directory the one with the highest number counts; zero in those of older builds.
    pub number: u64,
}

impl Record {
    /// The beginning of the file that keeps this record on this disk; what follows means nothing. See [`Written`].
    pub fn encode(&self, directory: DirectoryId, opened: u64, number: u64) -> Bytes {
        let mut record = wire::Record { directory: copied(&directory.0), opened, number, ..wire::Record::default() };
        match self {
            Self::Pledge(Pledge { founder }) => {
                record.pledge = Some(wire::Pledge { founder: copied(&founder.0) });
            }
            Self::Charter(charter, role) => {
                record.charter = Some(charter.into());
                record.replica = match role {
                    Role::Member(replica) => replica.0,
                    Role::Observer => 0,
                };
            }
        }
        let body = record.encode_to_vec();
        let mut covered = BytesMut::with_capacity(8 + body.len());
        covered.put_u32(if number > 0 { RECORD_VERSION } else { UNNUMBERED_VERSION });
        covered.put_u32(u32::try_from(body.len()).expect("a record is small"));
        covered.put_slice(&body);
        let mut file = BytesMut::with_capacity(HEAD_BYTES + body.len() + PADDING_BYTES);
        file.put_slice(MAGIC);
        file.put_u32(crc32c::crc32c(&covered));
        file.put_slice(&covered);
        file.resize(file.len().next_multiple_of(PADDING_BYTES), 0);
        assert!(file.len() as u64 <= RECORD_BYTES_MAX, "a record is small");
        file.freeze()
    }

    /// What a file holds.
    pub fn decode(file: &[u8]) -> Result<Written, NoRecord> {
        let word = |at: usize| -> Result<u32, NoRecord> {
            let bytes = file.get(at..at + 4).ok_or(NoRecord::Torn)?;
            Ok(u32::from_be_bytes(bytes.try_into().expect("four bytes")))
        };
        if file.get(..8) != Some(MAGIC) {
            return Err(NoRecord::Torn);
        }
        let (crc, version, length) = (word(8)?, word(12)?, word(16)? as usize);
        let end = HEAD_BYTES.checked_add(length).ok_or(NoRecord::Torn)?;
        let covered = file.get(12..end).ok_or(NoRecord::Torn)?;
        if crc32c::crc32c(covered) != crc {
            return Err(NoRecord::Torn);
        }
        if !(UNNUMBERED_VERSION..=RECORD_VERSION).contains(&version) {
            return Err(NoRecord::Version(version));
        }
        Self::parse(&file[HEAD_BYTES..end]).ok_or(NoRecord::Torn)
    }

    fn parse(body: &[u8]) -> Option<Written> {
        let record = wire::Record::decode(body).ok()?;
        let directory = DirectoryId(uuid(&record.directory)?);
        let parsed = match (record.pledge, record.charter) {
            (Some(pledge), None) => Self::Pledge(Pledge { founder: DirectoryId(uuid(&pledge.founder)?) }),
            (None, Some(charter)) => {
                let role = match record.replica {
                    0 => Role::Observer,
                    replica => Role::Member(ReplicaId(replica)),
                };
                Self::Charter(charter.parse()?, role)
            }
            (Some(_), Some(_)) | (None, None) => return None,
        };
        Some(Written { directory, record: parsed, opened: record.opened, number: record.number })
    }
}
