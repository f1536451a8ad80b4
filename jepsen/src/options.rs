//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::plan::Kind;

/// Runs real tidelog processes and real Kafka clients, breaks what can break, and judges what the clients saw.
///
/// `power` needs root and /dev/fuse: each node's data is then on a disk in memory that drops or tears what was not synced.
/// Elsewhere it is no more than a kill of all nodes at once, and says so: the page cache survives.
///
/// Exit codes: 0 every promise was kept; 1 something here is missing; 3 a promise was broken; 4 the cluster did not come back,
/// or a node ended by itself; 7 too little happened to prove anything.
#[derive(Clone, Debug, Parser)]
#[command(name = "tidelog-jepsen", version)]
pub struct Options {
    /// How long faults are made, like 60s or 5m; starting, healing and reading it all back come on top
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    pub time: Duration,
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=9))]
    pub nodes: u32,
    /// Which faults [default: all that these nodes can have]
    #[arg(long, value_name = "KINDS", value_delimiter = ',', value_enum)]
    pub nemesis: Option<Vec<Kind>>,
    /// What is drawn is drawn from it: faults, loads [default: any]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Where logs and history go, and stay [default: a temporary directory, kept if the run fails]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The tidelog program [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,
    /// A Python 3 with the package confluent_kafka
    #[arg(long, value_name = "FILE", default_value = "python3")]
    pub python: PathBuf,
    /// Producers are of Java's client, whose jars (kafka-clients and what it needs) are in this directory
    #[arg(long, value_name = "DIR")]
    pub java: Option<PathBuf>,
    /// Partitions of the topic
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub partitions: u32,
    /// Records that each of the three producers sends in a second
    #[arg(long, value_name = "N", default_value_t = 150, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub rate: u64,
    /// How long a healed cluster may take to answer everything
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    pub patience: Duration,
    /// Run nothing: judge the history in this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["nodes", "nemesis", "seed", "out", "binary"])]
    pub judge: Option<PathBuf>,
    /// Disks answer durable writes before they are: with --nemesis power any tidelog must lose records, and the run must fail
    #[arg(long)]
    pub lying_disks: bool,
    /// Say nothing of single faults
    #[arg(long)]
    pub quiet: bool,
}

fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: give seconds or minutes, like 60s or 5m");
    let (digits, seconds) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).filter(|&it| it > 0 && it <= 24 * 3600).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(time("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(time("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(time("7"), Ok(Duration::from_secs(7)));
        for wrong in ["", "s", "0", "-1s", "1h", "99999999999999999999s", "1.5s"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nemeses_are_a_list() {
        let options = Options::try_parse_from(["x", "--nemesis", "kill,one-way"]).expect("a list");
        assert_eq!(options.nemesis, Some(vec![Kind::Kill, Kind::OneWay]));
        assert!(Options::try_parse_from(["x", "--nemesis", "rain"]).is_err());
    }
}
