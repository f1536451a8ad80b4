//! The command line. Each command is a file beside this one: its arguments, and what it does with them.
//!
//! A command that fails says one sentence on stderr, cause and cure, and the process ends with 1; what clap refuses, with 2. One
//! whose output nobody reads any more ends quietly, with 141.

mod client;
mod cluster;
mod consume;
mod format;
mod node;
mod produce;
mod replay;
mod stop;
mod topic;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stop::Stop;
use tracing_subscriber::EnvFilter;

pub use client::ClientArgs;
pub use cluster::{ClusterArgs, ClusterCommand};
pub use consume::ConsumeArgs;
pub use format::Format;
pub use node::NodeArgs;
pub use produce::{Acks, ProduceArgs};
pub use replay::ReplayArgs;
pub use topic::{TopicArgs, TopicCommand};

/// The exit code of a command line that says nothing we know.
const REFUSED: u8 = 2;

/// A partitioned, durable log that speaks the Kafka wire protocol.
#[derive(Clone, Debug, Parser)]
#[command(name = "tidelog", version, propagate_version = true)]
pub struct Cli {
    /// What is logged on stderr: error, warn, info, debug or trace, also per module (tidelog::net=debug)
    #[arg(long, global = true, value_name = "FILTER", default_value = "info", value_parser = filter)]
    pub log: String,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run a node: a durable log in one directory, served to Kafka clients
    Node(NodeArgs),
    /// Create, list, describe and delete topics
    Topic(TopicArgs),
    /// Show who is in the cluster, and admit brokers whose disks were empty
    Cluster(ClusterArgs),
    /// Write the lines of stdin to a topic
    Produce(ProduceArgs),
    /// Print the records of a topic
    Consume(ConsumeArgs),
    /// Run a recording of a node again, and compare every effect
    Replay(ReplayArgs),
}

/// Reads the command line of this process, does what it says, and tells how the process ends.
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => run(cli),
        Err(text) => {
            let printed = text.print().and_then(|()| io::stdout().flush());
            match printed {
                // Said or not: where nobody can read it, the exit code must do.
                _ if text.use_stderr() => ExitCode::from(REFUSED),
                // Help, or the version, as was asked for.
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => Stop::from(error).exit_code(),
            }
        }
    }
}

/// Does what the command line says, and tells how the process ends.
pub fn run(cli: Cli) -> ExitCode {
    start_log(&cli.log);
    let result = match cli.command {
        Command::Node(args) => node::run(args),
        Command::Topic(args) => topic::run(args),
        Command::Cluster(args) => cluster::run(args),
        Command::Produce(args) => produce::run(args),
        Command::Consume(args) => consume::run(args),
        Command::Replay(args) => replay::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => stop.exit_code(),
    }
}

fn filter(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}: give a level, or a list like warn,tidelog::net=debug")),
    }
}

fn start_log(filter: &str) {
    let filter = EnvFilter::try_new(filter).expect("checked as it was parsed");
    // Fails if somebody in this process set up a log before; theirs stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Told on stderr, which is where the line could not be written: that would be a panic. A log on a full disk ends no broker.
        .log_internal_errors(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .try_init();
}
