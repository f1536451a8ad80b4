//! Numbers that mean something, each its own type, so that one can not stand for another.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A broker, as Kafka clients know it (`node.id`). From 1; fits an `i32`.
    NodeId(u32), "n"
);
number!(
    /// One replica of one Raft group: bound to (group, broker, directory), never given twice within a group. Zero is nobody.
    ReplicaId(u64), "r"
);
number!(
    /// A Raft group. Zero is the controller; the others are minted from an index of the controller's log.
    GroupId(u64), "g"
);
number!(
    /// A position in a Raft log, from 1. Never a Kafka offset.
    Index(u64), "i"
);
number!(
    /// A Raft term; the leader epoch of the batches its leader proposed.
    Term(u64), "t"
);
number!(
    /// A position in a partition as Kafka clients see it, from 0. Never a Raft index.
    Offset(i64), "o"
);
number!(
    /// A client connection, never reused within an incarnation.
    ConnId(u64), "c"
);
number!(
    /// A request of a connection; ascending within it.
    RequestId(u64), "q"
);
number!(
    /// A disk operation, never reused within an incarnation.
    OpId(u64), "d"
);
number!(
    /// A computation handed to the host, never reused within an incarnation.
    JobId(u64), "j"
);
number!(
    /// An idempotent producer's id (KIP-98). Minted from an index of the controller's log.
    ProducerId(i64), "p"
);

impl GroupId {
    /// The group that holds the cluster's metadata.
    pub const CONTROLLER: Self = Self(0);
}

impl Index {
    /// The index after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

macro_rules! uuid {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl $name {
            /// The id that names nothing.
            pub const ZERO: Self = Self([0; 16]);
        }
    };
}

uuid!(
    /// A topic, for ever: a topic deleted and created again under the same name has another id (KIP-516).
    TopicId
);
uuid!(
    /// A cluster, minted when it is formed.
    ClusterId
);
uuid!(
    /// One formatted data directory, minted when it is formatted; a wiped disk gets another.
    DirectoryId
);

/// What a file is for. Part of its id, so that a listing can be read by people.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FileKind {
    /// A journal file, recycled.
    Journal = 1,
    /// A log segment: v2 record batches, as clients read them.
    Segment = 2,
    /// The sparse index of a sealed segment.
    SegmentIndex = 3,
    /// A state blob named by a checkpoint mark.
    State = 4,
    /// What the broker knows of its cluster: a pledge or a charter.
    Formation = 5,
}

/// A file of a broker's disk: a kind and a number that is never given twice on one disk, because it carries the boot counter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(u64);

const FILE_BOOT_BITS: u32 = 28;
const FILE_SEQUENCE_BITS: u32 = 28;

impl FileId {
    /// The `sequence`-th file of this incarnation. Panics if a broker has booted 2^28 times or makes 2^28 files in one life.
    pub fn new(kind: FileKind, boot: u64, sequence: u64) -> Self {
        assert!(boot < 1 << FILE_BOOT_BITS, "boot counter exhausted");
        assert!(sequence < 1 << FILE_SEQUENCE_BITS, "file numbers exhausted");
        Self(((kind as u64) << 56) | (boot << FILE_SEQUENCE_BITS) | sequence)
    }

    /// The number behind the id, for formats. [`FileId::from_raw`] is its inverse.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The id with this number, if its kind is known.
    pub fn from_raw(raw: u64) -> Option<Self> {
        matches!(raw >> 56, 1..=5).then_some(Self(raw))
    }

    /// What the file is for.
    pub fn kind(self) -> FileKind {
        match self.0 >> 56 {
            1 => FileKind::Journal,
            2 => FileKind::Segment,
            3 => FileKind::SegmentIndex,
            4 => FileKind::State,
            _ => FileKind::Formation,
        }
    }

    /// The name under which a host keeps the file. [`FileId::parse`] is its inverse.
    pub fn name(self) -> String {
        let kind = match self.kind() {
            FileKind::Journal => "journal",
            FileKind::Segment => "segment",
            FileKind::SegmentIndex => "index",
            FileKind::State => "state",
            FileKind::Formation => "formation",
        };
        format!("{kind}-{:014x}", self.0 & ((1 << 56) - 1))
    }

    /// The id of the file kept under `name`, if it is one of ours.
    pub fn parse(name: &str) -> Option<Self> {
        let (kind, number) = name.split_once('-')?;
        let kind: u64 = match kind {
            "journal" => 1,
            "segment" => 2,
            "index" => 3,
            "state" => 4,
            "formation" => 5,
            _ => return None,
        };
        if number.len() != 14 {
            return None;
        }
        let number = u64::from_str_radix(number, 16).ok()?;
        Some(Self((kind << 56) | number))
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// Mints file ids: the boot counter makes them unique for ever, the sequence within this life.
#[derive(Clone, Debug)]
pub struct FileIds {
    boot: u64,
    next: u64,
}

impl FileIds {
    /// The mint of this incarnation.
    pub const fn new(boot: u64) -> Self {
        Self { boot, next: 1 }
    }

    /// An id that no file of this disk has or had.
    pub fn mint(&mut self, kind: FileKind) -> FileId {
        let id = FileId::new(kind, self.boot, self.next);
        self.next += 1;
        id
    }
}
