//! The core's door: what comes in, what goes out. Plain printable data, no closure, channel or future.
//!
//! **Order.** A host may run effects in any order and overlap them, except that the responses of one connection stay in
//! line. Where order matters anywhere else, the core has not asked for the second thing until the first came back.

use bytes::Bytes;

use crate::event::Event;
use crate::id::{ConnId, FileId, JobId, NodeId, OpId, RequestId};
use crate::kafka::{Request, Response};
use crate::peer::Envelope;
use crate::time::Instant;

/// What happened outside.
#[derive(Clone, Debug)]
pub enum Input {
    /// The moment asked for by [`Effect::WakeAt`] has come. Early, late and extra wakes are harmless. The first input of a life.
    Wake,
    /// A client connected.
    Opened {
        /// The new connection.
        conn: ConnId,
        /// Who is there, for logs.
        peer: String,
    },
    /// A client asked. Decoded and validated by [`crate::kafka::decode_request`], which hosts call before the step.
    Request {
        /// On which connection.
        conn: ConnId,
        /// The host's number for it; ascending within the connection.
        id: RequestId,
        /// What is asked.
        request: Request,
    },
    /// A connection is gone, whoever closed it.
    Closed {
        /// The connection.
        conn: ConnId,
    },
    /// Another broker sent something.
    Peer {
        /// The broker at the other end.
        from: NodeId,
        /// Decoded by [`Envelope::decode`].
        envelope: Envelope,
    },
    /// The connection over which another broker sent has ended, and it has no newer one: most likely it is down. A hint that may
    /// come late, or never, or of a broker that is well.
    Lost {
        /// The broker.
        node: NodeId,
    },
    /// A disk operation came to its end. Exactly once for each [`Effect::Disk`].
    DiskDone {
        /// Which one.
        op: OpId,
        /// How it ended.
        result: DiskResult,
    },
    /// A computation came to its end. Exactly once for each [`Effect::Compute`].
    Computed {
        /// Which one.
        job: JobId,
        /// What it gave.
        output: crate::compute::Output,
    },
    /// The operator wants the broker to end. What that means is the core's to say: it answers with [`Effect::Halt`] in time.
    Stop,
}

/// What the broker wants done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Answer a request. Once for each that is answered (`acks=0` is not), in the order of the requests of the connection.
    Respond {
        /// On which connection.
        conn: ConnId,
        /// Which request.
        id: RequestId,
        /// Encoded by [`Response::encode`].
        response: Response,
    },
    /// Close the connection once what was answered has been sent. `Closed` follows.
    Close {
        /// The connection.
        conn: ConnId,
        /// Why, for the log.
        reason: String,
    },
    /// Stop reading from the connection: a memory bound was reached.
    Mute {
        /// The connection.
        conn: ConnId,
    },
    /// Read from the connection again.
    Unmute {
        /// The connection.
        conn: ConnId,
    },
    /// Send to another broker. May be lost, delayed, doubled, reordered.
    Send {
        /// The broker.
        to: NodeId,
        /// Encoded by [`Envelope::encode`].
        envelope: Envelope,
    },
    /// Do something with the disk, and say `DiskDone` exactly once unless the process dies.
    Disk {
        /// The name of the operation.
        op: OpId,
        /// What to do.
        command: DiskCommand,
    },
    /// Run a pure function elsewhere, and say `Computed` exactly once unless the process dies.
    Compute {
        /// The name of the computation.
        job: JobId,
        /// Run by [`crate::compute::Job::run`].
        job_input: crate::compute::Job,
    },
    /// Say `Wake` at this moment. Replaces the moment asked for before.
    WakeAt(Instant),
    /// End the process. No step follows.
    Halt(Halt),
}

/// Why a broker ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Halt {
    /// It was asked to, and is done.
    Stopped,
    /// A write or fsync failed: nobody knows what is on the disk.
    DiskFailed(String),
    /// Something is damaged without which the broker can not keep its word, and the others can not make it again: its journal
    /// where they are no majority, or the only copy of the metadata.
    Corrupt(String),
    /// The data directory belongs to another node or cluster, or to a newer version.
    Foreign(String),
}

/// What can be done with a disk. Files have opaque ids that are never reused.
///
/// A `Write` that is done is visible to reads; it is durable if it said so, else after a `Sync`. `Allocate` and `Remove` are
/// durable, directory entry included, when done. Only `Allocate` may meet a full disk: everything is written into allocated
/// space, and one that is refused leaves the file as long as it was. The core never removes or reuses a file with a read
/// outstanding, and never shortens one into what is being read or written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskCommand {
    /// Which files are there, and how long are they?
    List,
    /// Read up to `len` bytes from `at`; fewer at the end of the file.
    Read {
        /// The file.
        file: FileId,
        /// The first byte.
        at: u64,
        /// How many.
        len: u64,
    },
    /// Write the slices, one after the other, from `at`, within what was allocated.
    Write {
        /// The file.
        file: FileId,
        /// The first byte.
        at: u64,
        /// The slices.
        bytes: Vec<Bytes>,
        /// Whether done means durable.
        durable: bool,
        /// Whether nobody is expected to read it soon: a hint to keep no memory for it longer than it takes to store it.
        cold: bool,
    },
    /// Make everything written to these files so far durable.
    Sync {
        /// The files.
        files: Vec<FileId>,
    },
    /// Create the file if it is not there, and give it at least `len` bytes; new ones read as zero.
    Allocate {
        /// The file.
        file: FileId,
        /// The length it has at least when done.
        len: u64,
    },
    /// Shorten the file to `len` bytes. Not durable: a power loss may bring back what was behind.
    Truncate {
        /// The file.
        file: FileId,
        /// The new length.
        len: u64,
    },
    /// Remove the file. Not an error if it is not there.
    Remove {
        /// The file.
        file: FileId,
    },
}

/// How a disk operation ended.
pub type DiskResult = Result<DiskOutput, DiskError>;

/// What a disk operation gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskOutput {
    /// The files and their lengths, ascending by id.
    Listed(Vec<(FileId, u64)>),
    /// What was read; shorter than asked at the end of the file.
    Read(Bytes),
    /// It is done.
    Done,
}

/// Why a disk operation failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskError {
    /// No space is left (only `Allocate`).
    Full,
    /// There is no such file.
    Missing,
    /// Anything else, in the system's words.
    Io(String),
}

/// What a step gave: effects for the host to carry out, and events for those who watch (checkers, traces, logs).
#[derive(Default, Debug)]
pub struct Effects {
    /// In no order but that of one connection's responses.
    pub effects: Vec<Effect>,
    /// In the order they happened.
    pub events: Vec<Event>,
}

impl Effects {
    /// Adds an effect.
    pub fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Adds an event.
    pub fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Empties both lists, keeping their memory.
    pub fn clear(&mut self) {
        self.effects.clear();
        self.events.clear();
    }
}
