//! What brokers say to each other about who is in which cluster. Travels in an envelope of no cluster.

use bytes::Bytes;

use super::record::{Charter, uuid, wire::Charter as WireCharter};
use crate::id::{ClusterId, DirectoryId, NodeId, ReplicaId};
use crate::limits::VOTERS_MAX;

/// A message about membership. Who sends it and to whom is said by its envelope.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// "My disk is empty, and this is the list I was started with."
    Hello {
        /// The sender's disk.
        directory: DirectoryId,
        /// The voters it was told of, ascending.
        voters: Vec<NodeId>,
        /// The founder's disk it is pledged to.
        pledge: Option<DirectoryId>,
        /// Another number whenever the sender starts or pledges.
        nonce: u64,
        /// The receiver's number, as the sender heard it last; zero before. Who gets their own number back knows that the
        /// sender's disk still exists.
        echo: u64,
    },
    /// "I am a member of this cluster."
    Formed {
        /// The sender's disk.
        directory: DirectoryId,
        /// Its charter.
        charter: Charter,
    },
    /// "My disk was empty when this cluster was formed already: give me something to do." Or, of a member: "My journal was
    /// damaged: give me another replica of the controller."
    Join {
        /// The sender's disk.
        directory: DirectoryId,
        /// The cluster it wants to join.
        cluster: ClusterId,
        /// Where its clients are told to connect to.
        host: String,
        /// The port there.
        port: u16,
        /// Of a member, its boot counter; zero of an observer.
        renews: u64,
    },
    /// "You are admitted."
    Admitted {
        /// The sender's disk.
        directory: DirectoryId,
        /// The cluster.
        cluster: ClusterId,
        /// The disk that is admitted.
        admitted: DirectoryId,
        /// Its replica id in the controller group.
        replica: ReplicaId,
        /// The life in which a member asked for that; zero for an observer.
        renews: u64,
    },
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Wire {
    #[prost(bytes = "bytes", tag = "1")]
    directory: Bytes,
    #[prost(message, optional, tag = "2")]
    hello: Option<Hello>,
    #[prost(message, optional, tag = "3")]
    formed: Option<WireCharter>,
    #[prost(message, optional, tag = "4")]
    join: Option<Join>,
    #[prost(message, optional, tag = "5")]
    admitted: Option<Admitted>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Admitted {
    #[prost(bytes = "bytes", tag = "1")]
    cluster: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    admitted: Bytes,
    #[prost(uint64, tag = "3")]
    replica: u64,
    #[prost(uint64, tag = "4")]
    renews: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Hello {
    #[prost(uint32, repeated, tag = "1")]
    voters: Vec<u32>,
    #[prost(bytes = "bytes", tag = "2")]
    pledge: Bytes,
    #[prost(fixed64, tag = "3")]
    nonce: u64,
    #[prost(fixed64, tag = "4")]
    echo: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Join {
    #[prost(bytes = "bytes", tag = "1")]
    cluster: Bytes,
    #[prost(string, tag = "2")]
    host: String,
    #[prost(uint32, tag = "3")]
    port: u32,
    #[prost(uint64, tag = "4")]
    renews: u64,
}

/// The longest host name that is listened to (RFC 1035).
const HOST_BYTES_MAX: usize = 255;

impl Message {
    pub(crate) fn to_wire(&self) -> Wire {
        match self {
            Self::Hello { directory, voters, pledge, nonce, echo } => Wire {
                directory: Bytes::copy_from_slice(&directory.0),
                hello: Some(Hello {
                    voters: voters.iter().map(|node| node.0).collect(),
                    pledge: pledge.map_or_else(Bytes::new, |id| Bytes::copy_from_slice(&id.0)),
                    nonce: *nonce,
                    echo: *echo,
                }),
                ..Wire::default()
            },
            Self::Formed { directory, charter } => Wire {
                directory: Bytes::copy_from_slice(&directory.0),
                formed: Some(charter.into()),
                ..Wire::default()
            },
            Self::Join { directory, cluster, host, port, renews } => Wire {
                directory: Bytes::copy_from_slice(&directory.0),
                join: Some(Join {
                    cluster: Bytes::copy_from_slice(&cluster.0),
                    host: host.clone(),
                    port: u32::from(*port),
                    renews: *renews,
                }),
                ..Wire::default()
            },
            Self::Admitted { directory, cluster, admitted, replica, renews } => Wire {
                directory: Bytes::copy_from_slice(&directory.0),
                admitted: Some(Admitted {
                    cluster: Bytes::copy_from_slice(&cluster.0),
                    admitted: Bytes::copy_from_slice(&admitted.0),
                    replica: replica.0,
                    renews: *renews,
                }),
                ..Wire::default()
            },
        }
    }

    /// The message, if it is one.
    pub(crate) fn parse(wire: Wire) -> Option<Self> {
        let directory = DirectoryId(uuid(&wire.directory)?);
        match (wire.hello, wire.formed, wire.join, wire.admitted) {
            (Some(hello), None, None, None) => {
                let voters: Vec<NodeId> = hello.voters.into_iter().map(NodeId).collect();
                let ascending = voters.windows(2).all(|pair| pair[0] < pair[1]);
                if !ascending || voters.is_empty() || voters.len() > VOTERS_MAX {
                    return None;
                }
                let pledge = match hello.pledge.is_empty() {
                    true => None,
                    false => Some(DirectoryId(uuid(&hello.pledge)?)),
                };
                Some(Self::Hello { directory, voters, pledge, nonce: hello.nonce, echo: hello.echo })
            }
            (None, Some(charter), None, None) => Some(Self::Formed { directory, charter: charter.parse()? }),
            (None, None, Some(join), None) => {
                if join.host.len() > HOST_BYTES_MAX {
                    return None;
                }
                let (cluster, port) = (ClusterId(uuid(&join.cluster)?), u16::try_from(join.port).ok()?);
                Some(Self::Join { directory, cluster, host: join.host, port, renews: join.renews })
            }
            (None, None, None, Some(word)) if word.replica > 0 => Some(Self::Admitted {
                directory,
                cluster: ClusterId(uuid(&word.cluster)?),
                admitted: DirectoryId(uuid(&word.admitted)?),
                replica: ReplicaId(word.replica),
                renews: word.renews,
            }),
            _ => None,
        }
    }
}
