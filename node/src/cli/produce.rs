//! `tidelog produce`: the lines of stdin become the records of a topic.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, Read, Write};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use serde_json::json;
use tidelog_core::client::{CallId, Operation, Outcome, Record};
use tidelog_core::id::Offset;
use tidelog_core::time::{Duration, Timestamp};
use tokio::sync::mpsc;

use super::client::{ClientArgs, find_topic, print_json, sentence};
use super::stop::Stop;
use crate::client::{Driver, Ending};
use crate::limits;

/// What is produced, and how.
#[derive(Clone, Debug, Args)]
pub struct ProduceArgs {
    /// The topic
    pub topic: String,
    /// What stands between key and value in a line; a line without it has no key
    #[arg(long, value_name = "TEXT")]
    pub key_separator: Option<String>,
    /// The partition; if not given, the key decides, or chance
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,
    /// Who must have a record before it counts
    #[arg(long, value_name = "WHO", default_value = "all", allow_negative_numbers = true)]
    pub acks: Acks,
    /// Print topic/partition@offset of every record
    #[arg(long, short)]
    pub verbose: bool,
    /// The cluster.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Who must have a record before it counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Acks {
    /// Nobody: what is sent counts
    #[value(name = "0")]
    None,
    /// The leader
    #[value(name = "1")]
    Leader,
    /// All replicas that are in sync
    #[value(name = "all", alias = "-1")]
    All,
}

/// Does it.
pub(super) fn run(args: ProduceArgs) -> Result<(), Stop> {
    let mut config = args.client.config();
    config.acks = match args.acks {
        Acks::None => 0,
        Acks::Leader => 1,
        Acks::All => -1,
    };
    config.allow_auto_topic_creation = true;
    config.linger = Duration::from_millis(limits::CLIENT_LINGER_MS);
    config.batch_bytes = limits::CLIENT_BATCH_BYTES;
    args.client.run(config, async |driver| Producing::new(&args, driver).run().await)
}

/// The lines on their way.
struct Producing<'a> {
    args: &'a ProduceArgs,
    driver: Driver,
    /// In the order of the lines, with their length.
    open: VecDeque<(CallId, usize)>,
    ended: BTreeMap<CallId, Ending>,
    open_bytes: usize,
    out: io::BufWriter<io::StdoutLock<'static>>,
    /// Why nothing is printed any more: the lines are written all the same.
    unprinted: Option<io::Error>,
}

impl<'a> Producing<'a> {
    fn new(args: &'a ProduceArgs, driver: Driver) -> Self {
        Self {
            args,
            driver,
            open: VecDeque::new(),
            ended: BTreeMap::new(),
            open_bytes: 0,
            out: io::BufWriter::new(io::stdout().lock()),
            unprinted: None,
        }
    }

    async fn run(mut self) -> Result<(), Stop> {
        let topic = find_topic(&mut self.driver, &self.args.topic).await?;
        if let Some(partition) = self.args.partition
            && usize::try_from(partition).is_ok_and(|it| it >= topic.partitions.len())
        {
            let (name, count) = (&self.args.topic, topic.partitions.len());
            return Err(Stop::Failed(format!(
                "topic {name} has no partition {partition}: give one below {count} with --partition"
            )));
        }
        let mut lines = read_lines();
        let mut more = true;
        while more || !self.open.is_empty() {
            let room = more
                && self.open.len() < limits::CLIENT_RECORDS_OPEN_MAX
                && self.open_bytes < limits::CLIENT_BYTES_OPEN_MAX;
            tokio::select! {
                biased;
                (call, ending) = self.driver.next(), if !self.open.is_empty() => {
                    self.ended.insert(call, ending);
                    if !self.driver.has_ended() {
                        self.report()?;
                    }
                }
                line = lines.recv(), if room => match line {
                    Some(line) => {
                        let line = line.map_err(|error| {
                            Stop::Failed(format!("could not read stdin ({error}): run the command again with what is left"))
                        })?;
                        self.send(line);
                    }
                    None => more = false,
                },
            }
        }
        if self.args.acks == Acks::None {
            self.driver.finish().await;
        }
        match self.unprinted {
            None => Ok(()),
            // Whoever reads had seen enough, and has what was asked for: the lines are written.
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Some(error) => Err(Stop::Failed(format!(
                "every line was written to topic {}, but where to could not be printed to stdout ({error}): do not run the command \
                 again for that",
                self.args.topic
            ))),
        }
    }

    fn send(&mut self, line: Vec<u8>) {
        let size = line.len();
        let record = to_record(line.into(), self.args.key_separator.as_deref());
        let (topic, partition) = (self.args.topic.clone(), self.args.partition);
        let call = self.driver.call(Operation::Produce { topic, partition, record });
        self.open.push_back((call, size));
        self.open_bytes += size;
    }

    /// Tells of the records that are done, in the order of their lines.
    fn report(&mut self) -> Result<(), Stop> {
        while let Some((call, size)) = self.open.front().copied() {
            let Some(ending) = self.ended.remove(&call) else { break };
            self.open.pop_front();
            self.open_bytes -= size;
            let topic = &self.args.topic;
            let outcome = ending.map_err(|failure| sentence(&format!("write a record to topic {topic}"), &failure))?;
            let Outcome::Produced { partition, offset, timestamp } = outcome else {
                unreachable!("that is what Produce gives")
            };
            if self.unprinted.is_none() {
                self.unprinted = self.print(partition, offset, timestamp).err();
            }
        }
        if self.unprinted.is_none() {
            self.unprinted = self.out.flush().err();
        }
        Ok(())
    }

    fn print(&mut self, partition: i32, offset: Option<Offset>, timestamp: Timestamp) -> io::Result<()> {
        let topic = &self.args.topic;
        if self.args.client.json {
            let offset = offset.map(|offset| offset.0);
            let value = json!({"topic": topic, "partition": partition, "offset": offset, "timestamp": timestamp.0});
            print_json(&mut self.out, &value)
        } else if self.args.verbose {
            match offset {
                Some(offset) => writeln!(self.out, "{topic}/{partition}@{offset}"),
                None => writeln!(self.out, "{topic}/{partition}@?"),
            }
        } else {
            Ok(())
        }
    }
}

fn to_record(line: Bytes, separator: Option<&str>) -> Record {
    let separator = separator.map(str::as_bytes).filter(|separator| !separator.is_empty());
    let at = separator.and_then(|separator| {
        let found = line.windows(separator.len()).position(|window| window == separator)?;
        Some((found, found + separator.len()))
    });
    match at {
        Some((end, start)) => {
            Record { key: Some(line.slice(..end)), value: Some(line.slice(start..)), ..Record::default() }
        }
        None => Record { value: Some(line), ..Record::default() },
    }
}

/// The lines of stdin, without their ends, read on a thread of their own: stdin can not be waited for otherwise.
fn read_lines() -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(limits::CLIENT_INPUTS_MAX);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = (&mut stdin).take(limits::CLIENT_LINE_BYTES_MAX).read_until(b'\n', &mut line);
            let item = match read {
                Ok(0) => return,
                Ok(_) if line.last() == Some(&b'\n') => {
                    line.pop();
                    Ok(line)
                }
                Ok(read) if read as u64 == limits::CLIENT_LINE_BYTES_MAX => {
                    Err(io::Error::other("a line is longer than any record can be"))
                }
                Ok(_) => Ok(line),
                Err(error) => Err(error),
            };
            let last = item.is_err();
            if sender.blocking_send(item).is_err() || last {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_separator_parts_key_and_value() {
        let record = to_record("a::b::c".into(), Some("::"));
        assert_eq!((record.key, record.value), (Some("a".into()), Some("b::c".into())));
        let record = to_record("abc".into(), Some(":"));
        assert_eq!((record.key, record.value), (None, Some("abc".into())));
        let record = to_record(":".into(), Some(":"));
        assert_eq!((record.key, record.value), (Some("".into()), Some("".into())));
        let record = to_record("a:b".into(), None);
        assert_eq!((record.key, record.value), (None, Some("a:b".into())));
    }
}
