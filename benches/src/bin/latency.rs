//! How long a produce takes, beside how long the disk takes for the same: one run, in turns.
//!
//! - *raw, cached*: 4 KiB written to the next place of a file that was filled with zeros before, then `fdatasync`.
//! - *raw, direct*: the same in one write with `O_DIRECT` and `O_DSYNC`, which is how the node writes its journal.
//! - *produce*: a request with one batch of one 1 KiB record, `acks=all`, no linger, one connection, until its answer was read.
//!
//! A produce is begun by a schedule (`--rate` a second) that does not wait for what was begun before, and its span counts from
//! the moment it was due: a stall counts for everything that was due in it. *sending late* is how much of that had passed when
//! it was sent: the clock, the scheduler and a full socket. A raw write is begun at the same rate if the disk keeps up, else as
//! soon as the one before is done, and its span counts from its beginning: that flatters the disk. They take turns in
//! `--slices` slices, because the disk changes from one minute to the next.
//!
//! Also: from starting the process to its greeting (which it gives once it is ready), on an empty directory and again after
//! the run; resident memory; and with `--idle` what the node takes while nothing is asked of its `--partitions`.
//!
//! ```text
//! cargo build --release --bin tidelog
//! cargo run --release -p tidelog-benches --bin latency -- target/release/tidelog
//! cargo run --release -p tidelog-benches --bin latency -- target/release/tidelog --partitions 100 --idle 60 --seconds 0
//! ```

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::fs::OFlags;
use tidelog_benches::client::{Client, base_offset};
use tidelog_benches::figures::{SUMMARY_HEAD, Spans, load, millis, ratio};
use tidelog_benches::node::{Node, Scratch, free_port};
use tidelog_benches::requests;

const TOPIC: &str = "latency";
const RECORD_BYTES: usize = 1024;
const RAW_WRITE_BYTES: usize = 4096;
const RAW_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Measures the latency of produces beside that of the disk.
#[derive(Debug, Parser)]
struct Args {
    /// The node's program.
    binary: PathBuf,
    /// Where to make the data directory; on the disk to be measured.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// For how many seconds each of the two is measured.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many are begun a second.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// In how many slices they take turns.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    slices: u32,
    /// Partitions of the topic, produced to in turn.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,
    /// Seconds without any request before the run, after which memory is read.
    #[arg(long, default_value_t = 0)]
    idle: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    println!("{} at the start", load());
    let scratch = Scratch::new(&args.dir, "latency")?;
    let data = scratch.path().join("data");
    let mut node = Node::start(&args.binary, &data, free_port()?)?;
    println!("start to ready, empty directory: {} ms", millis(node.ready()?));
    let mut client = Client::connect(node.address())?;
    client.create_topic(TOPIC, args.partitions)?;

    if args.idle > 0 {
        idle(&node, &args)?;
    }
    if args.seconds > 0 {
        measure(&mut client, scratch.path(), &args)?;
        let (now, most) = node.memory_mib()?;
        println!("memory after the run: {now} MiB resident, {most} at most");
    }
    drop(client);
    let address = node.address();
    println!("stopped in {} ms", millis(node.stop()?));
    let mut node = Node::start(&args.binary, &data, address)?;
    println!("start to ready, after a clean stop: {} ms", millis(node.ready()?));
    node.stop()?;
    println!("{} at the end", load());
    Ok(())
}

fn idle(node: &Node, args: &Args) -> io::Result<()> {
    let before = node.cpu()?;
    thread::sleep(Duration::from_secs(args.idle));
    let busy = node.cpu()?.saturating_sub(before);
    let (now, most) = node.memory_mib()?;
    println!(
        "{} partitions, {} s idle: {now} MiB resident, {most} at most; {:.2} % of a core",
        args.partitions,
        args.idle,
        100.0 * ratio(busy, Duration::from_secs(args.idle))
    );
    Ok(())
}

/// When what is due.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    begin: Instant,
    rate: u32,
    count: u32,
}

impl Schedule {
    fn due(&self, nth: u32) -> Instant {
        self.begin + Duration::from_secs(1) * nth / self.rate
    }

    fn wait_for(&self, nth: u32) -> Instant {
        let due = self.due(nth);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due
    }
}

fn measure(client: &mut Client, dir: &Path, args: &Args) -> io::Result<()> {
    let slice = Duration::from_secs(args.seconds) / args.slices;
    let count = (slice.as_secs_f64() * f64::from(args.rate)) as u32;
    let path = dir.join("raw");
    fill(&path)?;
    let cached = OpenOptions::new().write(true).open(&path)?;
    let direct = OpenOptions::new().write(true).custom_flags(DIRECT).open(&path)?;
    let frames: Vec<Vec<u8>> = (0..args.partitions)
        .map(|partition| {
            let batch = requests::batch(1, 1, RECORD_BYTES);
            requests::frame(&requests::produce(TOPIC, partition, batch), 0)
        })
        .collect();
    let (mut raw_cached, mut raw_direct) = (Spans::default(), Spans::default());
    let (mut produced, mut late) = (Spans::default(), Spans::default());
    for nth in 0..args.slices {
        let schedule = || Schedule { begin: Instant::now() + Duration::from_millis(10), rate: args.rate, count };
        raw_cached.extend(raw_slice(slice, schedule(), |at, block| {
            cached.write_all_at(block, at)?;
            cached.sync_data()
        })?);
        raw_direct.extend(raw_slice(slice, schedule(), |at, block| direct.write_all_at(block, at))?);
        let (spans, lateness) = produce_slice(client, &frames, nth * count, schedule())?;
        produced.extend(spans);
        late.extend(lateness);
    }
    let (cached, direct) = (raw_cached.summary(), raw_direct.summary());
    let (produced, late) = (produced.summary(), late.summary());
    println!("{} s each at up to {} a second in {} slices, in ms; {}", args.seconds, args.rate, args.slices, load());
    println!("                       {SUMMARY_HEAD}");
    println!("raw, cached            {cached}");
    println!("raw, direct            {direct}");
    println!("produce, acks=all      {produced}");
    println!("  sending late         {late}");
    for (name, raw) in [("produce over cached", cached), ("produce over direct", direct)] {
        println!(
            "{name}             {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2}",
            ratio(produced.mean, raw.mean),
            ratio(produced.p50, raw.p50),
            ratio(produced.p99, raw.p99),
            ratio(produced.p999, raw.p999),
            ratio(produced.max, raw.max)
        );
    }
    Ok(())
}

/// Every write past the page cache, and durable when it is done.
const DIRECT: i32 = OFlags::DIRECT.union(OFlags::DSYNC).bits().cast_signed();

fn fill(path: &Path) -> io::Result<()> {
    let file = File::create_new(path)?;
    let zeros = vec![0; 1024 * 1024];
    for at in (0..RAW_FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, at)?;
    }
    file.sync_all()
}

fn raw_slice(slice: Duration, schedule: Schedule, write: impl Fn(u64, &[u8]) -> io::Result<()>) -> io::Result<Spans> {
    // Twice as much as is written, for a part of it that begins where O_DIRECT wants it to.
    let memory = vec![0x5a; 2 * RAW_WRITE_BYTES];
    let skip = memory.as_ptr().align_offset(RAW_WRITE_BYTES);
    let block = &memory[skip..skip + RAW_WRITE_BYTES];
    let mut spans = Spans::default();
    for nth in 0..schedule.count {
        schedule.wait_for(nth);
        if schedule.begin.elapsed() > slice {
            break;
        }
        let begun = Instant::now();
        write(u64::from(nth) * RAW_WRITE_BYTES as u64 % RAW_FILE_BYTES, block)?;
        spans.add(begun.elapsed());
    }
    Ok(spans)
}

/// Where a request's correlation id is in its frame: behind length, API and version.
const CORRELATION_ID: std::ops::Range<usize> = 8..12;

/// Spans from due to answered, and from due to sent.
fn produce_slice(
    client: &mut Client,
    frames: &[Vec<u8>],
    first: u32,
    schedule: Schedule,
) -> io::Result<(Spans, Spans)> {
    let mut reader = client.split()?;
    let header = requests::header(&requests::produce(TOPIC, 0, requests::batch(0, 1, 16)), 0);
    let answers = thread::spawn(move || -> io::Result<Spans> {
        let (mut spans, mut header) = (Spans::default(), header);
        for nth in 0..schedule.count {
            header.correlation_id = (first + nth).cast_signed();
            let answer = reader.receive(&header)?;
            spans.add(schedule.due(nth).elapsed());
            base_offset(&answer)?;
        }
        Ok(spans)
    });
    let mut late = Spans::default();
    for nth in 0..schedule.count {
        let mut frame = frames[(first + nth) as usize % frames.len()].clone();
        frame[CORRELATION_ID].copy_from_slice(&(first + nth).to_be_bytes());
        let due = schedule.wait_for(nth);
        client.send(&frame)?;
        late.add(due.elapsed());
    }
    let spans = answers.join().map_err(|_| io::Error::other("the reader panicked"))??;
    Ok((spans, late))
}
