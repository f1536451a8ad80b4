//! What the commands that talk to a cluster share: where it is, how to print, what to say when it fails.

use std::future::Future;
use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};

use clap::Args;
use serde_json::Value;
use tidelog_core::client::{Config, Failure, Operation, Outcome, Topic};
use tidelog_core::kafka::ErrorCode;
use tidelog_core::time::Duration;

use super::stop::Stop;
use crate::client::Driver;
use crate::limits;
use crate::options::Advertise;

/// Where the cluster is, and how its answers are printed.
#[derive(Clone, Debug, Args)]
pub struct ClientArgs {
    /// Brokers to ask first; the others are learned from them
    #[arg(
        long,
        value_name = "HOST:PORT,...",
        default_value = "127.0.0.1:9092",
        value_delimiter = ',',
        value_parser = Advertise::parse
    )]
    pub bootstrap_server: Vec<Advertise>,
    /// Print one JSON object per line
    #[arg(long)]
    pub json: bool,
    /// How long to try, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub timeout: u32,
}

impl ClientArgs {
    /// A client's configuration for this cluster.
    pub(super) fn config(&self) -> Config {
        let bootstrap = self.bootstrap_server.iter().map(|server| (server.host.clone(), server.port));
        Config {
            client_id: "tidelog-cli".to_owned(),
            delivery_timeout: Duration::from_secs(u64::from(self.timeout)),
            request_timeout: Duration::from_secs(u64::from(self.timeout.clamp(2, 60) / 2)),
            seed: u64::from(std::process::id()),
            ..Config::new(bootstrap.collect())
        }
    }

    /// Runs a command that needs a client, once a broker answers the telephone.
    pub(super) fn run<C, F>(&self, config: Config, command: C) -> Result<(), Stop>
    where
        C: FnOnce(Driver) -> F,
        F: Future<Output = Result<(), Stop>>,
    {
        self.reach()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("the system gives no timers ({error}): free some memory"))?;
        runtime.block_on(async { command(Driver::new(config)).await })
    }

    /// Whether anybody listens where we were told, so that a wrong address is told soon: not at once, because a broker that starts
    /// lets nobody in before it can answer.
    fn reach(&self) -> Result<(), String> {
        let patience = limits::CLIENT_REACH_MAX.min(std::time::Duration::from_secs(self.timeout.into()));
        let begun = std::time::Instant::now();
        loop {
            match self.try_reach() {
                Err((io::ErrorKind::ConnectionRefused, _)) if begun.elapsed() < patience => {
                    std::thread::sleep(limits::CLIENT_REACH_PAUSE);
                }
                reached => return reached.map_err(|(_, sentence)| sentence),
            }
        }
    }

    /// Tries every address once. Gives how the last one failed.
    fn try_reach(&self) -> Result<(), (io::ErrorKind, String)> {
        let mut last = None;
        for server in &self.bootstrap_server {
            let resolved = (server.host.as_str(), server.port).to_socket_addrs();
            let tried = resolved.and_then(|addresses| {
                let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                for address in addresses {
                    match TcpStream::connect_timeout(&address, limits::CLIENT_REACH_MAX) {
                        Ok(_) => return Ok(()),
                        Err(error) => failure = error,
                    }
                }
                Err(failure)
            });
            match tried {
                Ok(()) => return Ok(()),
                Err(error) => last = Some((server, error)),
            }
        }
        let Some((server, error)) = last else {
            let sentence = "no broker was named: give one with --bootstrap-server HOST:PORT".to_owned();
            return Err((io::ErrorKind::InvalidInput, sentence));
        };
        let sentence = format!(
            "nothing answers at {server} ({error}): start a node there with `tidelog node`, wait until it says that it listens, or \
             give the address of one with --bootstrap-server HOST:PORT"
        );
        Err((error.kind(), sentence))
    }
}

/// What people are told about a failure, with its cure.
pub(super) fn sentence(doing: &str, failure: &Failure) -> Stop {
    let text = match failure {
        Failure::Definite { error, message } => {
            format!("could not {doing}: {}{}", message.trim_end_matches('.'), cure(*error))
        }
        Failure::Unknown { why } => {
            format!("it is not known whether this happened: {doing} ({why}); look before you run the command again")
        }
    };
    Stop::Failed(text)
}

fn cure(error: ErrorCode) -> &'static str {
    match error {
        ErrorCode::UnknownTopicOrPartition => {
            "; create the topic with `tidelog topic create`, or list them with `tidelog topic list`"
        }
        ErrorCode::TopicAlreadyExists => "; choose another name, or delete it with `tidelog topic delete`",
        ErrorCode::InvalidTopicException => "; use letters, digits, '.', '_' and '-', at most 249 of them",
        ErrorCode::InvalidReplicationFactor => "; there are fewer brokers: give a smaller --replication-factor",
        ErrorCode::InvalidPartitions => "; give another number with --partitions",
        ErrorCode::InvalidConfig => "; see the keys of a topic with `tidelog topic describe`",
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => {
            "; send smaller records, or raise max.message.bytes of the topic"
        }
        ErrorCode::OffsetOutOfRange => "; read --from-beginning, or from another --offset",
        ErrorCode::NetworkException | ErrorCode::RequestTimedOut => {
            "; see whether the nodes run and reach each other, or try longer with --timeout"
        }
        ErrorCode::NotEnoughReplicas | ErrorCode::LeaderNotAvailable | ErrorCode::NotLeaderOrFollower => {
            "; see whether enough nodes run"
        }
        _ => "",
    }
}

/// Prints one line of JSON.
pub(super) fn print_json(out: &mut impl Write, value: &Value) -> io::Result<()> {
    writeln!(out, "{value}")
}

/// Describes one topic that must be there with all its leaders; waits a moment for it to become so.
pub(super) async fn find_topic(driver: &mut Driver, name: &str) -> Result<Topic, Stop> {
    let doing = format!("find topic {name}");
    let start = tokio::time::Instant::now();
    loop {
        let operation = Operation::Describe { topics: Some(vec![name.to_owned()]) };
        let outcome = driver.run(operation).await.map_err(|failure| sentence(&doing, &failure))?;
        let Outcome::Cluster { topics, .. } = outcome else { unreachable!("that is what Describe gives") };
        let topic = topics.into_iter().find(|topic| topic.name == name);
        let error = topic.as_ref().map_or(ErrorCode::UnknownTopicOrPartition, |topic| topic.error);
        match topic {
            Some(topic) if error == ErrorCode::None && topic.partitions.iter().all(|it| it.leader.is_some()) => {
                return Ok(topic);
            }
            _ if (error != ErrorCode::None && !error.is_retriable()) || start.elapsed() > limits::CLIENT_TOPIC_MAX => {
                let message = match error {
                    ErrorCode::None => "it has partitions without a leader".to_owned(),
                    ErrorCode::UnknownTopicOrPartition => "there is no such topic".to_owned(),
                    error => format!("the broker answered {}", error.name()),
                };
                let error = if error == ErrorCode::None { ErrorCode::LeaderNotAvailable } else { error };
                return Err(sentence(&doing, &Failure::Definite { error, message }));
            }
            _ => tokio::time::sleep(limits::CLIENT_TOPIC_PAUSE).await,
        }
    }
}
