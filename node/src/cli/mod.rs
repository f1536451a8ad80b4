//! The command line. Each command is a file beside this one: its arguments, and what it does with them.
//!
//! A command that fails says one sentence on stderr, cause and cure, and the process ends with 1; what clap refuses, with 2.

mod client;
mod cluster;
mod consume;
mod format;
mod node;
mod produce;
mod replay;
mod topic;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

pub use client::ClientArgs;
pub use cluster::{ClusterArgs, ClusterCommand};
pub use consume::ConsumeArgs;
pub use format::Format;
pub use node::NodeArgs;
pub use produce::{Acks, ProduceArgs};
pub use replay::ReplayArgs;
pub use topic::{TopicArgs, TopicCommand};

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
        Err(sentence) => {
            // Where nobody can read it, the exit code must do.
            let _ = writeln!(std::io::stderr(), "tidelog: {sentence}");
            ExitCode::FAILURE
        }
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
