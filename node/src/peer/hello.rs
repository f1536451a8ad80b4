//! How two brokers greet before the first envelope. Version 1, all numbers big-endian:
//!
//! | who | sends |
//! |---|---|
//! | who accepted | magic (8 bytes), version (2), its node id (4), a challenge it made for this connection (8) |
//! | who connected | magic (8), version (2), its node id (4), the node id it wants (4), the challenge (8), its data directory (16) |
//! | who accepted | a verdict (1): 0 is welcome, the others say why not |
//!
//! After that only the one who connected speaks, in frames. The challenge makes a recorded connection worth nothing when it is
//! played again; the data directory tells a broker that came back from another process under its number. This is no
//! authentication: whoever reaches the port can name any of them.

use std::fmt;
use std::io;

use tidelog_core::id::{DirectoryId, NodeId};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The version of the format.
pub const VERSION: u16 = 1;
/// What both sides begin with.
pub const MAGIC: [u8; 8] = *b"tidepeer";

/// Why a connection is not welcome.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Refusal {
    /// Something else is spoken there.
    Magic,
    /// Another version of the format.
    Version(u16),
    /// It is meant for another broker.
    Receiver(NodeId),
    /// The sender is not in the list.
    Stranger(NodeId),
    /// The answer is to another connection's challenge.
    Replayed,
    /// A process with another data directory is connected under this number.
    Taken(NodeId),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => write!(f, "it does not speak as a broker of tidelog does"),
            Self::Version(version) => {
                write!(f, "it speaks version {version} between brokers, this one version {VERSION}")
            }
            Self::Receiver(node) => write!(f, "it takes this broker for broker {node}: the lists of --cluster differ"),
            Self::Stranger(node) => write!(f, "it says it is broker {node}, which is no other one of --cluster"),
            Self::Replayed => write!(f, "it repeats what was said on an older connection"),
            Self::Taken(node) => write!(
                f,
                "a broker {node} with another data directory is connected: two processes run under one --node-id"
            ),
        }
    }
}

/// Why no greeting came about.
#[derive(Debug)]
pub(super) enum Failed {
    /// The connection failed.
    Io(io::Error),
    /// We do not want it.
    Refused(Refusal),
    /// Another broker than expected accepted.
    Other(NodeId),
    /// The one who accepted does not want us.
    Unwelcome(u8),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                write!(f, "it hung up during the greeting")
            }
            Self::Io(error) => error.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Other(node) => write!(f, "broker {node} listens there: the lists of --cluster differ"),
            Self::Unwelcome(1) => write!(f, "it speaks another version between brokers than {VERSION}"),
            Self::Unwelcome(2) => write!(f, "it says it is not the broker listed there: the lists of --cluster differ"),
            Self::Unwelcome(3) => write!(f, "it does not know this broker: the lists of --cluster differ"),
            Self::Unwelcome(5) => write!(
                f,
                "a broker of this number with another data directory is connected to it: is --node-id used twice?"
            ),
            Self::Unwelcome(code) => write!(f, "it refuses this broker for reason {code}"),
        }
    }
}

fn verdict(refusal: Refusal) -> u8 {
    match refusal {
        Refusal::Version(_) => 1,
        Refusal::Receiver(_) => 2,
        Refusal::Stranger(_) => 3,
        Refusal::Magic | Refusal::Replayed => 4,
        Refusal::Taken(_) => 5,
    }
}

/// Reads what both sides begin with: who speaks.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Result<NodeId, Failed> {
    let mut magic = [0; MAGIC.len()];
    stream.read_exact(&mut magic).await?;
    if magic != MAGIC {
        return Err(Failed::Refused(Refusal::Magic));
    }
    let version = stream.read_u16().await?;
    if version != VERSION {
        return Err(Failed::Refused(Refusal::Version(version)));
    }
    Ok(NodeId(stream.read_u32().await?))
}

fn begin(own: NodeId) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend(own.0.to_be_bytes());
    bytes
}

/// Who connects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Caller {
    pub(super) node: NodeId,
    pub(super) directory: DirectoryId,
}

/// Greets as the one who connected.
pub(super) async fn connect(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    own: Caller,
    to: NodeId,
) -> Result<(), Failed> {
    let there = head(stream).await?;
    if there != to {
        return Err(Failed::Other(there));
    }
    let challenge = stream.read_u64().await?;
    let mut bytes = begin(own.node);
    bytes.extend(to.0.to_be_bytes());
    bytes.extend(challenge.to_be_bytes());
    bytes.extend(own.directory.0);
    stream.write_all(&bytes).await?;
    match stream.read_u8().await? {
        0 => Ok(()),
        code => Err(Failed::Unwelcome(code)),
    }
}

/// Greets as the one who accepted, and gives who is there, if `welcome` does not refuse it.
pub(super) async fn accept(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    own: NodeId,
    challenge: u64,
    welcome: impl Fn(Caller) -> Result<(), Refusal>,
) -> Result<Caller, Failed> {
    let mut bytes = begin(own);
    bytes.extend(challenge.to_be_bytes());
    stream.write_all(&bytes).await?;
    let judged = match head(stream).await {
        Ok(node) => {
            let to = NodeId(stream.read_u32().await?);
            let answer = stream.read_u64().await?;
            let mut directory = DirectoryId::ZERO;
            stream.read_exact(&mut directory.0).await?;
            let from = Caller { node, directory };
            if to != own {
                Err(Refusal::Receiver(to))
            } else if node == own {
                Err(Refusal::Stranger(node))
            } else if answer != challenge {
                Err(Refusal::Replayed)
            } else {
                welcome(from).map(|()| from)
            }
        }
        Err(Failed::Refused(refusal)) => Err(refusal),
        Err(failed) => return Err(failed),
    };
    match judged {
        Ok(from) => {
            stream.write_u8(0).await?;
            Ok(from)
        }
        Err(refusal) => {
            // Whoever is there may be gone.
            let _ = stream.write_u8(verdict(refusal)).await;
            Err(Failed::Refused(refusal))
        }
    }
}
