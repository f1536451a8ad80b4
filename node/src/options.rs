//! What a node is told when it starts, and what follows from it.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use tidelog_core::broker::{Boot, Config, Settings};
use tidelog_core::id::{DirectoryId, NodeId};
use tidelog_core::mutants::Mutants;
use tracing::warn;

use crate::cluster::Cluster;
use crate::error::StartError;
use crate::record::Recorder;

/// What a node is told when it starts. [`Options::default`] is what the command line defaults to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The number of the broker, from 1.
    pub node: NodeId,
    /// Where to listen for clients, `HOST:PORT`; port 0 is any free one.
    pub listen: String,
    /// Where clients are told to connect to, if not where we listen.
    pub advertise: Option<Advertise>,
    /// Where the data is.
    pub data_dir: PathBuf,
    /// Whether asking for a topic creates it.
    pub auto_create: bool,
    /// Where to listen for health checks, `HOST:PORT`; nowhere if `None`.
    pub admin_listen: Option<String>,
    /// The voters of the cluster, this broker among them; alone if `None`.
    pub cluster: Option<Cluster>,
    /// Where to listen for other brokers, `HOST:PORT`, if not where the list says.
    pub peer_listen: Option<String>,
    /// Where the broker stands, for placement (Kafka: `broker.rack`).
    pub rack: Option<String>,
    /// The file that everything the broker is told is recorded to; see [`record`](crate::record).
    pub record: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            node: NodeId(1),
            listen: "127.0.0.1:9092".to_owned(),
            advertise: None,
            data_dir: PathBuf::from("./tidelog-data"),
            auto_create: true,
            admin_listen: None,
            cluster: None,
            peer_listen: None,
            rack: None,
            record: None,
        }
    }
}

/// A host and port that clients connect to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advertise {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Advertise {
    /// Reads `HOST:PORT`; an IPv6 host stands in brackets.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = "give HOST:PORT, for example broker1.example.com:9092";
        let (host, port) = text.rsplit_once(':').ok_or(wrong)?;
        let bare = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or(wrong)?,
            None if host.contains(':') => return Err(format!("an IPv6 address stands in brackets: [{host}]:{port}")),
            None => host,
        };
        let port: u16 = port.parse().map_err(|_| format!("`{port}` is no port: {wrong}"))?;
        if bare.is_empty() || bare.chars().any(char::is_whitespace) || port == 0 {
            return Err(wrong.to_owned());
        }
        if bare.parse().is_ok_and(|address: std::net::IpAddr| address.is_unspecified()) {
            return Err(format!("nobody can connect to {bare}: {wrong}"));
        }
        Ok(Self { host: bare.to_owned(), port })
    }
}

impl std::fmt::Display for Advertise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Options {
    /// What clients will be told, once it is known where we listen.
    ///
    /// Refused when that is every address of the machine and nothing better was said.
    pub fn advertised(&self, bound: SocketAddr) -> Result<Advertise, StartError> {
        if let Some(advertise) = &self.advertise {
            return Ok(advertise.clone());
        }
        if bound.ip().is_unspecified() {
            return Err(StartError::NeedsAdvertise { listen: self.listen.clone() });
        }
        // The name as it was typed, so that a client sees `localhost` if the operator said so.
        let typed = Advertise::parse(&self.listen).map(|typed| typed.host);
        Ok(Advertise { host: typed.unwrap_or_else(|_| bound.ip().to_string()), port: bound.port() })
    }
}

impl Options {
    /// What the broker is told, on this directory and under this address.
    pub(crate) fn config(&self, directory: DirectoryId, advertised: &Advertise) -> Config {
        Config {
            node: self.node,
            directory,
            voters: self.cluster.iter().flat_map(|list| list.voters()).collect(),
            host: advertised.host.clone(),
            port: advertised.port,
            rack: self.rack.clone(),
            auto_create: self.auto_create,
            settings: Settings::node(),
            mutants: Mutants::default(),
        }
    }

    /// Begins the recording, if there is to be one. A disk without room for it keeps no node from starting.
    pub(crate) fn recorder(&self, config: &Config, boot: &Boot) -> Result<Option<Recorder>, StartError> {
        let Some(file) = self.record.as_deref() else { return Ok(None) };
        match Recorder::create(file, config, boot) {
            Ok(recorder) => Ok(Some(recorder)),
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                warn!(file = %file.display(), "nothing is recorded: its disk is full");
                Ok(None)
            }
            Err(error) => Err(StartError::NoRecording { file: file.to_owned(), error }),
        }
    }

    /// Where to listen for other brokers; nowhere if there are none.
    ///
    /// Refused when the list of voters and the other flags do not go together.
    pub fn listen_for_peers(&self) -> Result<Option<String>, StartError> {
        let Some(cluster) = &self.cluster else {
            return match &self.peer_listen {
                None => Ok(None),
                Some(listen) => Err(StartError::NeedsCluster { listen: listen.clone() }),
            };
        };
        let listed = cluster.address(self.node);
        let listed = listed.ok_or_else(|| StartError::NotListed { node: self.node, cluster: cluster.to_string() })?;
        Ok(Some(self.peer_listen.clone().unwrap_or_else(|| listed.to_string())))
    }
}

/// The first address that `HOST:PORT`, given with `flag`, stands for.
pub(crate) fn resolve(flag: &'static str, address: &str) -> Result<SocketAddr, StartError> {
    let unresolved = |error| StartError::Unresolved { flag, address: address.to_owned(), error };
    let mut found = address.to_socket_addrs().map_err(unresolved)?;
    found.next().ok_or_else(|| unresolved(std::io::Error::other("it has no address")))
}
