//! How long a node killed while writing takes until it serves what it acknowledged last.
//!
//! For each of `--gib`, on an empty directory: one partition is filled at full rate with 1 MiB batches of 1 KiB records,
//! `--window` requests in flight; once so much is acknowledged, the process is killed (SIGKILL) with all of them in flight,
//! and started again at once. The time runs from the start of the second process to the answer of a Fetch at the offset of the
//! last record that was acknowledged, asked again until it is there. Then the last acknowledged batch is read and compared
//! byte by byte, and the first one too. The page cache survives a kill: this is a crash of the process, not of the machine.
//! The disk behind it is as busy as the fill left it.
//!
//! ```text
//! cargo build --release --bin tidelog
//! cargo run --release -p tidelog-benches --bin restart -- target/release/tidelog
//! ```

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use tidelog_benches::client::{Client, produced};
use tidelog_benches::figures::{load, millis, ratio};
use tidelog_benches::node::{Node, Scratch, free_port};
use tidelog_benches::requests;
use tidelog_core::kafka::batch::{Check, views};
use tidelog_core::kafka::{ErrorCode, ResponseBody};

const TOPIC: &str = "restart";
const RECORD_BYTES: usize = 1024;
const BATCH_BYTES: usize = 1024 * 1024;
/// How many different batches are sent in turn.
const MARKS: u64 = 31;
const GIB: u64 = 1024 * 1024 * 1024;
/// Only with so much space free are sizes above 1 GiB tried.
const FREE_BYTES_MIN: u64 = 30 * GIB;
/// How long a producer waits after a refusal (Kafka: `retry.backoff.ms`).
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// The longest that is waited for the record to be served again.
const SERVED_MAX: Duration = Duration::from_secs(300);

/// Measures how long a killed node takes to come back.
#[derive(Debug, Parser)]
struct Args {
    /// The node's program.
    binary: PathBuf,
    /// Where to make the data directories.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// How much to write before the kill, in GiB; more than one size to compare.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8])]
    gib: Vec<u64>,
    /// How many requests are in flight.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=56))]
    window: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    println!("{} at the start", load());
    let mut times: Vec<(u64, Duration)> = Vec::new();
    for &gib in &args.gib {
        let space = rustix::fs::statvfs(&args.dir)?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        if gib > 1 && free < FREE_BYTES_MIN {
            println!("{gib} GiB: left out, only {} GiB are free", free / GIB);
            continue;
        }
        times.push((gib, one(&args, gib)?));
    }
    if let (Some(first), Some(last)) = (times.first(), times.last())
        && times.len() > 1
    {
        println!("back after {} GiB over back after {} GiB: {:.2}", last.0, first.0, ratio(last.1, first.1));
    }
    println!("{} at the end", load());
    Ok(())
}

/// What was acknowledged last.
#[derive(Clone, Copy, Debug)]
struct Last {
    mark: u64,
    base_offset: i64,
}

/// Batches to send in turn.
struct Batches {
    frames: Vec<Vec<u8>>,
    records: u64,
}

impl Batches {
    fn new() -> Self {
        let records = requests::records_within(BATCH_BYTES, RECORD_BYTES);
        let frame = |mark| {
            let batch = requests::batch(mark, records, RECORD_BYTES);
            requests::frame(&requests::produce(TOPIC, 0, batch), 0)
        };
        Self { frames: (0..MARKS).map(frame).collect(), records }
    }
}

fn one(args: &Args, gib: u64) -> io::Result<Duration> {
    let scratch = Scratch::new(&args.dir, "restart")?;
    let data = scratch.path().join("data");
    let batches = Batches::new();
    let mut node = Node::start(&args.binary, &data, free_port()?)?;
    node.ready()?;
    let mut client = Client::connect(node.address())?;
    client.create_topic(TOPIC, 1)?;

    let begun = Instant::now();
    let busy = node.cpu()?;
    let filled = fill(&mut client, &batches, args.window, gib * GIB)?;
    let took = begun.elapsed();
    let busy = node.cpu()?.saturating_sub(busy);
    let (now, most) = node.memory_mib()?;
    let address = node.address();
    node.kill()?;
    println!(
        "{gib} GiB: filled at {:.0} MB/s, node {:.2} CPU-s per GB, {now} MiB resident ({most} at most), {} \
         requests refused for lack of room; killed with {} in flight",
        filled.acknowledged as f64 / 1e6 / took.as_secs_f64(),
        busy.as_secs_f64() / (filled.acknowledged as f64 / 1e9),
        filled.refused,
        args.window,
    );
    come_back(&args.binary, &data, address, filled.last, &batches)
}

/// What came of filling.
#[derive(Clone, Copy, Debug)]
struct Filled {
    last: Last,
    acknowledged: u64,
    refused: u64,
}

/// Fills partition 0 until so many bytes are acknowledged. What a broker refuses for lack of room is sent again after a
/// while.
fn fill(client: &mut Client, batches: &Batches, window: u64, bytes: u64) -> io::Result<Filled> {
    let header = requests::header(&requests::produce(TOPIC, 0, requests::batch(0, 1, 16)), 0);
    let mut in_flight: VecDeque<u64> = VecDeque::new();
    let (mut acknowledged, mut refused, mut next) = (0, 0, 0);
    let mut send = |client: &mut Client, in_flight: &mut VecDeque<u64>| -> io::Result<()> {
        let mark = next % MARKS;
        client.send(&batches.frames[mark as usize])?;
        in_flight.push_back(mark);
        next += 1;
        Ok(())
    };
    for _ in 0..window {
        send(client, &mut in_flight)?;
    }
    loop {
        let answer = produced(&client.receive(&header)?)?;
        let mark = in_flight.pop_front().expect("a window is open");
        match answer {
            Ok(base_offset) => {
                acknowledged += batches.records * RECORD_BYTES as u64;
                if acknowledged >= bytes {
                    // One more for the one that came: as many as ever are in flight when the node is killed.
                    send(client, &mut in_flight)?;
                    return Ok(Filled { last: Last { mark, base_offset }, acknowledged, refused });
                }
            }
            Err(code) if code == ErrorCode::KafkaStorageError.code() => {
                refused += 1;
                thread::sleep(REFUSED_PAUSE);
            }
            Err(code) => return Err(io::Error::other(format!("not produced: error {code}"))),
        }
        send(client, &mut in_flight)?;
    }
}

fn come_back(
    binary: &Path,
    data: &Path,
    address: std::net::SocketAddr,
    last: Last,
    batches: &Batches,
) -> io::Result<Duration> {
    let mut node = Node::start(binary, data, address)?;
    let offset = last.base_offset + batches.records.cast_signed() - 1;
    let mut open = None;
    let (mut client, found, served) = loop {
        // Until it is ready a broker may refuse a connection, end it, or answer with an error: all of it is asked again.
        let asked = Client::connect(address).and_then(|mut client| {
            open.get_or_insert_with(|| node.started().elapsed());
            read(&mut client, offset).map(|found| (client, found))
        });
        let passed = node.started().elapsed();
        let refused = match asked {
            Ok((client, Ok(records))) => break (client, records, passed),
            Ok((_, Err(code))) => io::Error::other(format!("offset {offset} is not served: error {code}")),
            Err(error) => error,
        };
        if passed > SERVED_MAX {
            return Err(refused);
        }
        thread::sleep(Duration::from_millis(1));
    };
    let open = open.expect("what is served came over a connection");
    check(&found, last, batches.records)?;
    let first = Last { mark: 0, base_offset: 0 };
    let records = read(&mut client, 0)?.map_err(|code| io::Error::other(format!("offset 0: error {code}")))?;
    check(&records, first, batches.records)?;
    let greeted = node.ready()?;
    let (now, most) = node.memory_mib()?;
    println!(
        "  connects after {} ms, serves offset {offset} after {} ms; {now} MiB resident ({most} at most); first and last \
         acknowledged batch are there (greeting read by {} ms)",
        millis(open),
        millis(served),
        millis(greeted),
    );
    drop(client);
    node.stop()?;
    Ok(served)
}

/// The batch with the record at this offset, or the error's code; 0 for an answer without records.
fn read(client: &mut Client, offset: i64) -> io::Result<Result<Bytes, i16>> {
    let ResponseBody::Fetch(answer) = client.ask(&requests::fetch(TOPIC, 0, offset))? else {
        return Err(io::Error::other("an answer to another question"));
    };
    let Some(partition) = answer.responses.first().and_then(|topic| topic.partitions.first()) else {
        return Ok(Err(answer.error_code));
    };
    let records = partition.records.as_ref().map(|records| records.to_bytes());
    match records.filter(|records| !records.is_empty()) {
        Some(records) if partition.error_code == 0 => Ok(Ok(records)),
        Some(_) | None => Ok(Err(partition.error_code)),
    }
}

/// Compares the first batch of what was read with what was sent.
fn check(found: &Bytes, wanted: Last, records: u64) -> io::Result<()> {
    let wrong = |what: String| Err(io::Error::other(format!("LOST: batch at {}: {what}", wanted.base_offset)));
    let batch = match views(found.clone(), Check::Crc).next() {
        Some(Ok(batch)) => batch,
        other => return wrong(format!("{other:?}")),
    };
    let found = match batch.records() {
        Ok(found) => found,
        Err(damage) => return wrong(format!("{damage:?}")),
    };
    if found.len() as u64 != records {
        return wrong(format!("{} records, not {records}", found.len()));
    }
    for (number, record) in (0..).zip(found) {
        let expected = requests::value(wanted.mark, number, RECORD_BYTES);
        if record.offset.0 != wanted.base_offset + number.cast_signed()
            || record.value.as_deref() != Some(&expected[..])
        {
            return wrong(format!("record {number} is another one"));
        }
    }
    Ok(())
}
