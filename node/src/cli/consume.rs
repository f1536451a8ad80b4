//! `tidelog consume`: the records of a topic, printed.

use std::collections::BTreeMap;
use std::io::{self, Write};

use clap::Args;
use serde_json::{Value, json};
use tidelog_core::client::{Assignment, Consumed, Failure, Operation, Outcome, Position, Topic};
use tidelog_core::id::Offset;
use tidelog_core::kafka::ErrorCode;
use tidelog_core::time::{Duration, Timestamp};

use super::client::{ClientArgs, find_topic, print_json, sentence};
use super::format::Format;
use super::stop::Stop;
use crate::client::Driver;
use crate::limits;

/// What is read, and how it is printed.
#[derive(Clone, Debug, Args)]
pub struct ConsumeArgs {
    /// The topic
    pub topic: String,
    /// Begin with the oldest record [default: with the next one to come]
    #[arg(long, conflicts_with_all = ["offset", "from_timestamp"])]
    pub from_beginning: bool,
    /// Begin with this offset
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..), conflicts_with = "from_timestamp")]
    pub offset: Option<i64>,
    /// Begin with the first record at or after this time, in milliseconds since 1970
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(i64).range(0..))]
    pub from_timestamp: Option<i64>,
    /// Only this partition
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,
    /// End after so many records
    #[arg(long, value_name = "N")]
    pub max_messages: Option<usize>,
    /// End at the end, as it is when the command starts
    #[arg(long)]
    pub exit_at_end: bool,
    /// How to print a record: %t topic, %p partition, %o offset, %k key, %s value, %T timestamp, %h headers, %% and \n \t \\
    #[arg(long, value_name = "FORMAT", default_value = "%s\\n", value_parser = Format::parse, conflicts_with = "json")]
    pub format: Format,
    /// The cluster.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Does it.
pub(super) fn run(args: ConsumeArgs) -> Result<(), Stop> {
    args.client.run(args.client.config(), async |mut driver| consume(&args, &mut driver).await)
}

async fn consume(args: &ConsumeArgs, driver: &mut Driver) -> Result<(), Stop> {
    let topic = find_topic(driver, &args.topic).await?;
    let partitions = chosen(args, &topic)?;
    let failed = |failure| sentence(&format!("read topic {}", args.topic), &failure);
    let from = match (args.offset, args.from_timestamp) {
        (Some(offset), _) => Position::Offset(Offset(offset)),
        (None, Some(at)) => Position::Timestamp(Timestamp(at)),
        (None, None) if args.from_beginning => Position::Earliest,
        (None, None) => Position::Latest,
    };
    let name = || args.topic.clone();
    let assignments = partitions.iter().map(|partition| Assignment { topic: name(), partition: *partition, from });
    let assigned = driver.run(Operation::Assign { partitions: assignments.collect() }).await.map_err(failed)?;
    let Outcome::Assigned { progress } = assigned else { unreachable!("that is what Assign gives") };
    let mut rest: BTreeMap<i32, i64> = BTreeMap::new();
    if args.exit_at_end {
        for at in &progress {
            let (partition, at_end) = (at.partition, Position::Latest);
            let operation = Operation::ListOffsets { topic: name(), partition, at: at_end };
            let outcome = driver.run(operation).await.map_err(failed)?;
            let Outcome::Offset { offset, .. } = outcome else { unreachable!("that is what ListOffsets gives") };
            let end = offset.ok_or_else(|| {
                let (error, message) = (ErrorCode::OffsetNotAvailable, "the leader tells no end".to_owned());
                failed(Failure::Definite { error, message })
            })?;
            if end < at.position {
                let (error, topic) = (ErrorCode::OffsetOutOfRange, &args.topic);
                let message = format!("{topic}/{partition} ends at offset {end}, before {}", at.position);
                return Err(failed(Failure::Definite { error, message }));
            }
            if end > at.position {
                rest.insert(partition, end.0);
            }
        }
    }
    let mut left = args.max_messages.unwrap_or(usize::MAX);
    let mut out = io::BufWriter::new(io::stdout().lock());
    while left > 0 && !(args.exit_at_end && rest.is_empty()) {
        let max_records = left.min(limits::CLIENT_POLL_RECORDS);
        let operation = Operation::Poll { max_records, max_wait: Duration::from_millis(limits::CLIENT_POLL_MS) };
        let outcome = driver.run(operation).await.map_err(failed)?;
        let Outcome::Polled { records, progress } = outcome else { unreachable!("that is what Poll gives") };
        left -= records.len();
        for record in &records {
            // What came after the end was there is for another time.
            if args.exit_at_end && rest.get(&record.partition).is_none_or(|end| record.offset.0 >= *end) {
                continue;
            }
            print(&mut out, args, record)?;
        }
        for at in progress {
            if rest.get(&at.partition).is_some_and(|end| at.position.0 >= *end) {
                rest.remove(&at.partition);
            }
        }
        out.flush()?;
    }
    Ok(out.flush()?)
}

fn chosen(args: &ConsumeArgs, topic: &Topic) -> Result<Vec<i32>, Stop> {
    let all: Vec<i32> = topic.partitions.iter().map(|partition| partition.partition).collect();
    match args.partition {
        None => Ok(all),
        Some(partition) if all.contains(&partition) => Ok(vec![partition]),
        Some(partition) => Err(Stop::Failed(format!(
            "topic {} has no partition {partition}: give one below {} with --partition",
            args.topic,
            all.len()
        ))),
    }
}

fn print(out: &mut impl Write, args: &ConsumeArgs, record: &Consumed) -> io::Result<()> {
    if !args.client.json {
        return args.format.print(out, record);
    }
    let headers = record.headers.iter().map(|(name, value)| json!([name, text_or_hex(value.as_deref())]));
    let value = json!({
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset.0,
        "timestamp": record.timestamp.0,
        "key": text_or_hex(record.key.as_deref()),
        "value": text_or_hex(record.value.as_deref()),
        "headers": headers.collect::<Vec<_>>(),
    });
    print_json(out, &value)
}

/// A string, or an object that holds the bytes if they are no text.
fn text_or_hex(bytes: Option<&[u8]>) -> Value {
    match bytes.map(|bytes| (std::str::from_utf8(bytes), bytes)) {
        None => Value::Null,
        Some((Ok(text), _)) => json!(text),
        Some((Err(_), bytes)) => json!({"hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()}),
    }
}
