//! `tidelog node`: runs a node until it is stopped.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use tidelog_core::id::NodeId;
use tracing::info;

use super::stop::Stop;
use crate::cluster::Cluster;
use crate::options::{Advertise, Options};
use crate::server::{self, Server};

/// After so long a node that does not serve yet says what it waits for.
const READY_TOLD_AFTER: Duration = Duration::from_secs(1);
/// How often it says so again.
const READY_TOLD_EVERY: Duration = Duration::from_secs(10);

/// What a node is told.
#[derive(Clone, Debug, Args)]
pub struct NodeArgs {
    /// The number of this broker (Kafka: node.id)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub node_id: u32,
    /// Where to listen for clients; port 0 is any free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    pub listen: String,
    /// Where clients are told to connect to [default: where it listens; needed with `0.0.0.0` and `[::]`]
    #[arg(long, value_name = "HOST:PORT", value_parser = Advertise::parse)]
    pub advertise: Option<Advertise>,
    /// Where the data is; formatted if it is missing or empty
    #[arg(long, value_name = "DIR", default_value = "./tidelog-data")]
    pub data_dir: PathBuf,
    /// Whether a producer that asks for a topic creates it (Kafka: auto.create.topics.enable)
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub auto_create: bool,
    /// Where to answer GET /livez, /readyz and /metrics [default: nowhere]
    #[arg(long, value_name = "HOST:PORT")]
    pub admin_listen: Option<String>,
    /// The voters of the cluster and where each listens for the others, this broker among them [default: this broker alone]
    #[arg(long, value_name = "1@HOST:PORT,2@HOST:PORT,...", value_parser = Cluster::parse)]
    pub cluster: Option<Cluster>,
    /// Where to listen for other brokers [default: this broker's address in --cluster]
    #[arg(long, value_name = "HOST:PORT")]
    pub peer_listen: Option<String>,
    /// Where the broker stands, for the placement of replicas (Kafka: broker.rack) [default: nowhere]
    #[arg(long, value_name = "RACK", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub rack: Option<String>,
    /// Write everything this broker is told to a new file, with which the run can be repeated; it grows fast [default: no file]
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

impl From<NodeArgs> for Options {
    fn from(args: NodeArgs) -> Self {
        Self {
            node: NodeId(args.node_id),
            listen: args.listen,
            advertise: args.advertise,
            data_dir: args.data_dir,
            auto_create: args.auto_create,
            admin_listen: args.admin_listen,
            cluster: args.cluster,
            peer_listen: args.peer_listen,
            rack: args.rack,
            record: args.record,
        }
    }
}

/// Runs a node until it is stopped, by a signal or by itself.
pub(super) fn run(args: NodeArgs) -> Result<(), Stop> {
    let server = server::start(&Options::from(args)).map_err(|error| error.to_string())?;
    server.stop_on_signals().map_err(|error| format!("the system takes no signal handler ({error}): start again"))?;
    if wait_ready(&server) {
        let mut out = std::io::stdout().lock();
        // A node without a terminal is a node all the same.
        if let Err(error) = out.write_all(banner(&server).as_bytes()).and_then(|()| out.flush()) {
            info!(%error, "could not greet on stdout");
        }
    }
    let ended = server.wait();
    if let Some(sentence) = ended.failure() {
        return Err(sentence.into());
    }
    info!("stopped");
    Ok(())
}

/// Waits until the node serves, and says what it waits for if that takes long. False if it ends before.
fn wait_ready(server: &Server) -> bool {
    let mut patience = READY_TOLD_AFTER;
    loop {
        if let Some(ready) = server.wait_ready_for(patience) {
            return ready;
        }
        patience = READY_TOLD_EVERY;
        let Some(status) = server.status() else { continue };
        if server.is_open() {
            info!("waiting for {}", status.waiting_for);
        } else {
            info!("no client is let in yet: waiting for {}", status.waiting_for);
        }
    }
}

/// A few words, and three commands that work as they stand.
fn banner(server: &Server) -> String {
    let program = quoted(&std::env::args().next().unwrap_or_else(|| "tidelog".to_owned()));
    let address = server.advertised();
    let server_flag =
        if address.to_string() == "127.0.0.1:9092" { String::new() } else { format!(" --bootstrap-server {address}") };
    let mut text = format!(
        "tidelog {} listens on {}, data in {}. Try:\n\n",
        env!("CARGO_PKG_VERSION"),
        server.address(),
        server.directory().path().display(),
    );
    let lines = [
        format!("{program} topic create greetings{server_flag}"),
        format!("echo hello | {program} produce greetings{server_flag}"),
        format!("{program} consume greetings --from-beginning{server_flag}"),
    ];
    for line in lines {
        writeln!(text, "  {line}").expect("strings take everything");
    }
    text.push_str("\nCtrl-C stops it.\n");
    text
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
