//! What a real client gets from brokers, beside what the disk gives and what the client can: one run, in turns.
//!
//! - *raw*: 1 MiB of noise appended to a new file, then `fdatasync`, again and again.
//! - *null*: librdkafka against a broker that frames, decodes, acknowledges and forgets (see `sink`).
//! - *one node*: librdkafka against `tidelog node`, alone.
//! - *three nodes*: against three of them on this machine and this disk, each partition on all three.
//! - *peer*: against any broker, if `--peer` says where.
//!
//! The client is confluent-kafka for Python: 1 KiB values of noise, `acks=all`, idempotent, no compression, everything else as
//! librdkafka has it. Each repeat is on empty directories, until `--seconds` have passed or `--gib` are produced, whichever is
//! first, and ends when all is acknowledged. Then the page cache lets go of the data (what the nodes themselves keep in memory
//! stays), and the same client library reads all of it back. Then as much again is produced while another client reads what
//! comes (*tailing*: until it has read all), and at `--rate` records a second it is measured how long after one client handed a
//! record over another has it (*delay*; a record that was handed over late counts from when it was due). MB are 10^6 bytes of
//! values.
//!
//! Of several nodes CPU, writes and syncs are added up. *Written* is what the system counts for the processes (`write_bytes`)
//! until the last acknowledgement: what a node writes to its segments later is not in it, zeros written in advance are.
//! *Syncs* are counted by the nodes (`GET /metrics`); a write with `O_DSYNC` is one.
//!
//! ```text
//! cargo build --release --bin tidelog
//! cargo run --release -p tidelog-benches --bin end_to_end -- target/release/tidelog
//! ```

use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::fs::{Advice, fadvise, syncfs};
use tidelog_benches::figures::load;
use tidelog_benches::librdkafka::{Done, Python};
use tidelog_benches::node::{Node, Scratch, cpu, free_ports};
use tidelog_benches::{requests, sink};

const TOPIC: &str = "end-to-end";
const RAW_WRITE_BYTES: usize = 1024 * 1024;
const GIB: u64 = 1024 * 1024 * 1024;
/// How many times what is produced must fit on the disk: three replicas, and the journals.
const COPIES: u64 = 8;
/// For how many seconds the delay is measured at most.
const DELAY_SECONDS: f64 = 10.0;

/// Measures throughput from end to end.
#[derive(Debug, Parser)]
struct Args {
    /// The node's program.
    binary: PathBuf,
    /// Where to make the data directories; on the disk to be measured.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// For how many seconds each is measured at most.
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
    /// How much is produced at most, in GiB.
    #[arg(long, default_value_t = 2.0)]
    gib: f64,
    /// At how many records a second the delay from one client to another is measured.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// How often all of it is done.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
    /// Partitions of the topic.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    partitions: u32,
    /// A Python that has the package confluent_kafka.
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Another broker to measure; a topic named end-to-end is created there, and deleted.
    #[arg(long, value_name = "HOST:PORT")]
    peer: Option<String>,
    /// On how many of its brokers each partition is.
    #[arg(long, default_value_t = 1)]
    peer_replicas: u32,
}

/// What is measured of each; what one lacks is nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    produced: Option<f64>,
    over_raw: Option<f64>,
    over_null: Option<f64>,
    client_cpu: Option<f64>,
    broker_cpu: Option<f64>,
    syncs: Option<f64>,
    journal_block: Option<f64>,
    written: Option<f64>,
    consumed: Option<f64>,
    consumer_cpu: Option<f64>,
    serving_cpu: Option<f64>,
    tailed: Option<f64>,
    delay_median: Option<f64>,
    delay_p99: Option<f64>,
}

/// A line of the table: its name, and where it stands in a [`Sample`].
type Row = (&'static str, fn(&Sample) -> Option<f64>);

const ROWS: [Row; 14] = [
    ("produce MB/s", |sample| sample.produced),
    ("  over raw", |sample| sample.over_raw),
    ("  over null", |sample| sample.over_null),
    ("  client CPU-s/GB", |sample| sample.client_cpu),
    ("  broker CPU-s/GB", |sample| sample.broker_cpu),
    ("  syncs/s", |sample| sample.syncs),
    ("  KiB/journal block", |sample| sample.journal_block),
    ("  bytes written/byte", |sample| sample.written),
    ("catch-up MB/s", |sample| sample.consumed),
    ("  client CPU-s/GB", |sample| sample.consumer_cpu),
    ("  broker CPU-s/GB", |sample| sample.serving_cpu),
    ("tailing MB/s", |sample| sample.tailed),
    ("delay ms, median", |sample| sample.delay_median),
    ("  99th percentile", |sample| sample.delay_p99),
];

const SIDES: [&str; 5] = ["raw", "null", "one node", "three nodes", "peer"];

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let python = Python::find(args.python.clone())?;
    let space = rustix::fs::statvfs(&args.dir)?;
    let (free, needed) = (space.f_bavail.saturating_mul(space.f_frsize), COPIES * args.bytes() + GIB);
    if free < needed {
        let gib = |bytes| bytes as f64 / GIB as f64;
        return Err(format!("{:.1} GiB are free, {:.1} are needed: a smaller --gib", gib(free), gib(needed)).into());
    }
    let sink = sink::start(i32::try_from(args.partitions)?)?;
    println!("{} at the start", load());
    let mut samples: [Vec<Sample>; SIDES.len()] = Default::default();
    for nth in 1..=args.repeats {
        let mut sides = vec![raw(&args)?, null(&args, &python, sink)?];
        sides.push(nodes(&args, &python, 1)?);
        sides.push(nodes(&args, &python, 3)?);
        sides.extend(args.peer.as_deref().map(|peer| another(&args, &python, peer)).transpose()?);
        let (raw, null) = (sides[0].produced, sides[1].produced);
        for (samples, mut side) in samples.iter_mut().zip(sides) {
            let over = |other: Option<f64>| side.produced.zip(other).map(|(this, other)| this / other);
            (side.over_raw, side.over_null) = (over(raw), over(null));
            samples.push(side);
        }
        println!("repeat {nth} of {} done; {}", args.repeats, load());
    }
    print(&args, &samples);
    Ok(())
}

impl Args {
    fn bytes(&self) -> u64 {
        (self.gib * GIB as f64) as u64
    }
}

fn print(args: &Args, samples: &[Vec<Sample>]) {
    println!(
        "at most {} s or {} GiB each, {} partitions; median of {}, least to most",
        args.seconds, args.gib, args.partitions, args.repeats
    );
    let sides = || SIDES.iter().zip(samples).filter(|(_, samples)| !samples.is_empty());
    print!("{:<22}", "");
    sides().for_each(|(name, _)| print!("{name:>22}"));
    println!();
    for (name, of) in ROWS {
        print!("{name:<22}");
        for (_, samples) in sides() {
            print!("{:>22}", spread(samples.iter().filter_map(of).collect()));
        }
        println!();
    }
}

/// The median, and of several the least and the most.
fn spread(mut values: Vec<f64>) -> String {
    values.sort_unstable_by(f64::total_cmp);
    let short = |value: f64| if value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") };
    match values[..] {
        [] => "-".to_owned(),
        [only] => short(only),
        [first, .., last] => {
            let upper = values.len() / 2;
            let median = (values[(values.len() - 1) / 2] + values[upper]) / 2.0;
            format!("{} ({}-{})", short(median), short(first), short(last))
        }
    }
}

fn megabytes(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64()
}

/// Seconds of CPU for each GB.
fn per_gb(busy: Duration, bytes: u64) -> f64 {
    busy.as_secs_f64() / (bytes as f64 / 1e9)
}

/// What others left to be written is written before the next is measured.
fn settle(dir: &Path) -> io::Result<()> {
    Ok(syncfs(File::open(dir)?)?)
}

fn raw(args: &Args) -> io::Result<Sample> {
    let scratch = Scratch::new(&args.dir, "end-to-end-raw")?;
    let mut file = File::create_new(scratch.path().join("raw"))?;
    let block = requests::value(1, 1, RAW_WRITE_BYTES);
    settle(&args.dir)?;
    let (begun, mut written) = (Instant::now(), 0);
    while written < args.bytes() && begun.elapsed().as_secs_f64() < args.seconds {
        file.write_all(&block)?;
        file.sync_data()?;
        written += block.len() as u64;
    }
    Ok(Sample { produced: Some(megabytes(written, begun.elapsed())), ..Sample::default() })
}

fn null(args: &Args, python: &Python, sink: SocketAddr) -> io::Result<Sample> {
    let own = std::process::id();
    let client = python.producer(&sink.to_string(), TOPIC, args.partitions, args.seconds, args.bytes())?;
    settle(&args.dir)?;
    let before = cpu(own)?;
    let done = client.go()?;
    let busy = cpu(own)?.saturating_sub(before);
    Ok(Sample { broker_cpu: Some(per_gb(busy, done.bytes)), ..produced(done) })
}

fn produced(done: Done) -> Sample {
    Sample {
        produced: Some(megabytes(done.bytes, done.took)),
        client_cpu: Some(per_gb(done.cpu, done.bytes)),
        ..Sample::default()
    }
}

fn another(args: &Args, python: &Python, peer: &str) -> io::Result<Sample> {
    python.create(peer, TOPIC, args.partitions, args.peer_replicas)?;
    let sample = exchange(args, python, peer, || Ok(Counted::default()), || Ok(()));
    python.delete(peer, TOPIC)?;
    let unknown = |sample| Sample { broker_cpu: None, written: None, serving_cpu: None, ..sample };
    // Nobody counts its syncs either.
    sample.map(|sample| Sample { syncs: None, journal_block: None, ..unknown(sample) })
}

fn nodes(args: &Args, python: &Python, count: u32) -> io::Result<Sample> {
    let scratch = Scratch::new(&args.dir, "end-to-end-nodes")?;
    let nodes = Nodes::start(&args.binary, scratch.path(), count)?;
    let bootstrap: Vec<String> = nodes.0.iter().map(|(node, _)| node.address().to_string()).collect();
    let bootstrap = bootstrap.join(",");
    python.create(&bootstrap, TOPIC, args.partitions, count)?;
    exchange(args, python, &bootstrap, || nodes.counted(), || forget(scratch.path()))
}

/// Produces, lets the page cache go, and reads back.
fn exchange(
    args: &Args,
    python: &Python,
    bootstrap: &str,
    counted: impl Fn() -> io::Result<Counted>,
    forget: impl FnOnce() -> io::Result<()>,
) -> io::Result<Sample> {
    let producer = python.producer(bootstrap, TOPIC, args.partitions, args.seconds, args.bytes())?;
    settle(&args.dir)?;
    let before = counted()?;
    let done = producer.go()?;
    let brokers = counted()?.since(before);

    let consumer = python.consumer(bootstrap, TOPIC, args.partitions)?;
    forget()?;
    let before = counted()?;
    let read = consumer.go()?;
    let serving = counted()?.since(before);
    if read.bytes < done.bytes {
        return Err(io::Error::other(format!("LOST: {} bytes were produced, {} are there", done.bytes, read.bytes)));
    }
    let tailed = tail(args, python, bootstrap)?;
    let (half, most) = python.delay(bootstrap, TOPIC, args.partitions, args.seconds.min(DELAY_SECONDS), args.rate)?;
    Ok(Sample {
        tailed: Some(tailed),
        delay_median: Some(half),
        delay_p99: Some(most),
        broker_cpu: Some(per_gb(brokers.cpu, done.bytes)),
        syncs: Some(brokers.syncs as f64 / done.took.as_secs_f64()),
        journal_block: Some(brokers.journal_bytes as f64 / 1024.0 / brokers.journal_blocks as f64),
        written: Some(brokers.written as f64 / done.bytes as f64),
        consumed: Some(megabytes(read.bytes, read.took)),
        consumer_cpu: Some(per_gb(read.cpu, read.bytes)),
        serving_cpu: Some(per_gb(serving.cpu, read.bytes)),
        ..produced(done)
    })
}

/// Produces while another client reads; MB/s until it has read all.
fn tail(args: &Args, python: &Python, bootstrap: &str) -> io::Result<f64> {
    // It has written a record to each partition before it says that it is ready.
    let producer = python.producer(bootstrap, TOPIC, args.partitions, args.seconds, args.bytes())?;
    let mut follower = python.follower(bootstrap, TOPIC, args.partitions)?;
    settle(&args.dir)?;
    let begun = Instant::now();
    follower.begin()?;
    let done = producer.go()?;
    follower.tell(done.bytes)?;
    let read = follower.done()?;
    let took = begun.elapsed();
    if read.bytes != done.bytes {
        let (read, done) = (read.bytes, done.bytes);
        return Err(io::Error::other(format!("{done} bytes were produced, {read} came")));
    }
    Ok(megabytes(done.bytes, took))
}

/// Writes what is dirty, and tells the page cache that none of the files is wanted.
fn forget(dir: &Path) -> io::Result<()> {
    settle(dir)?;
    for data in std::fs::read_dir(dir)? {
        for file in std::fs::read_dir(data?.path())? {
            match File::open(file?.path()) {
                Ok(file) => fadvise(&file, 0, None, Advice::DontNeed)?,
                // Removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// What nodes did since they were started, added up.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    cpu: Duration,
    written: u64,
    syncs: u64,
    journal_blocks: u64,
    journal_bytes: u64,
}

impl Counted {
    fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            written: self.written - before.written,
            syncs: self.syncs - before.syncs,
            journal_blocks: self.journal_blocks - before.journal_blocks,
            journal_bytes: self.journal_bytes - before.journal_bytes,
        }
    }
}

/// The nodes of one cluster, and where each tells of itself.
struct Nodes(Vec<(Node, SocketAddr)>);

impl Nodes {
    fn start(binary: &Path, dir: &Path, count: u32) -> io::Result<Self> {
        let ports = free_ports(3 * count as usize)?;
        let ports: Vec<&[SocketAddr]> = ports.chunks_exact(3).collect();
        let list: Vec<String> = (1..).zip(&ports).map(|(id, ports)| format!("{id}@{}", ports[2])).collect();
        let list = list.join(",");
        let mut nodes = Vec::new();
        for (id, ports) in (1..).zip(&ports) {
            let mut flags: Vec<String> = vec!["--node-id".into(), u32::to_string(&id)];
            flags.extend(["--admin-listen".into(), ports[1].to_string()]);
            if count > 1 {
                flags.extend(["--peer-listen".into(), ports[2].to_string(), "--cluster".into(), list.clone()]);
            }
            let node = Node::start_with(binary, &dir.join(format!("data{id}")), ports[0], &flags)?;
            nodes.push((node, ports[1]));
        }
        for (node, _) in &mut nodes {
            node.ready()?;
        }
        Ok(Self(nodes))
    }

    fn counted(&self) -> io::Result<Counted> {
        let mut sum = Counted::default();
        for (node, admin) in &self.0 {
            sum.cpu += node.cpu()?;
            sum.written += node.written()?;
            let metrics = metrics(*admin)?;
            sum.syncs += counter(&metrics, "tidelog_disk_syncs_total")?;
            sum.journal_blocks += counter(&metrics, "tidelog_disk_journal_blocks_total")?;
            sum.journal_bytes += counter(&metrics, "tidelog_disk_journal_bytes_total")?;
        }
        Ok(sum)
    }
}

fn metrics(admin: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(admin)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn counter(metrics: &str, name: &str) -> io::Result<u64> {
    let found = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    found.ok_or_else(|| io::Error::other(format!("no {name} in what a node tells")))
}
