//! How fast the journal builds blocks, and how fast it is read again.
//!
//! *append*: so many groups append one entry each, and everything gathered is sealed into blocks of at most 8 MiB, written to
//! a disk that is done at once and keeps nothing; until all of it is durable. Sizes are a server's; the marks that release old
//! files are written as the journal asks for relief. Bytes are those of the entries' data, which come
//! out of 64 MiB of memory in turn. What is left is what the journal
//! itself costs: tables, checksums, gathering.
//!
//! *recovery*: a 64 MiB file full of blocks of 16 entries, in memory, is opened until the journal says what it found. Bytes are
//! those of the file.
//!
//! ```text
//! cargo bench -p tidelog-benches --bench journal
//! ```

use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use tidelog_core::broker;
use tidelog_core::effect::{DiskCommand, DiskOutput, DiskResult};
use tidelog_core::id::{ClusterId, DirectoryId, FileId, FileIds, GroupId, Index, Term};
use tidelog_core::journal::{Done, Entry, Identity, Journal, Mark, Recovered, Settings};
use tidelog_core::limits;

const KIB: usize = 1024;
/// A multiple of every entry's length.
const PAYLOADS_BYTES: usize = 64 * 1024 * KIB;

fn settings() -> Settings {
    let server = broker::Settings::node();
    Settings {
        file_bytes: server.journal_file_bytes,
        file_bytes_first: server.journal_file_bytes,
        rest_bytes: server.journal_rest_bytes,
        files_max: server.journal_files_max,
        files_target: server.journal_files_target,
        sector_bytes: server.sector_bytes,
        block_bytes_max: limits::JOURNAL_BLOCK_BYTES_MAX,
    }
}

/// A disk that is done at once. It keeps what is written only if it is told to.
#[derive(Clone, Default)]
struct Disk {
    keeps: bool,
    files: BTreeMap<FileId, BytesMut>,
    /// Where the last write began and ended.
    last: Range<u64>,
    /// What was there before, shared; only read.
    image: BTreeMap<FileId, Bytes>,
}

impl Disk {
    fn run(&mut self, command: DiskCommand) -> DiskResult {
        match command {
            DiskCommand::Read { file, at, len } => {
                let bytes = &self.image[&file];
                let to = (at + len).min(bytes.len() as u64);
                return Ok(DiskOutput::Read(bytes.slice(at as usize..to as usize)));
            }
            DiskCommand::Write { file, at, bytes, .. } if self.keeps => {
                let len: usize = bytes.iter().map(Bytes::len).sum();
                self.last = at..at + len as u64;
                let content = self.files.get_mut(&file).expect("allocated before");
                let mut at = at as usize;
                for slice in bytes {
                    content[at..at + slice.len()].copy_from_slice(&slice);
                    at += slice.len();
                }
            }
            DiskCommand::Allocate { file, len } if self.keeps => {
                self.files.entry(file).or_default().resize(len as usize, 0);
            }
            DiskCommand::Write { bytes, .. } => drop(black_box(bytes)),
            DiskCommand::Sync { .. } | DiskCommand::Allocate { .. } => {}
            DiskCommand::List | DiskCommand::Truncate { .. } | DiskCommand::Remove { .. } => {
                panic!("the journal does not ask for this")
            }
        }
        Ok(DiskOutput::Done)
    }
}

/// Payloads out of more memory than a cache of the core holds, as they come from sockets.
struct Payloads {
    memory: Bytes,
    len: usize,
    at: usize,
}

impl Payloads {
    fn new(len: usize) -> Self {
        let memory = Bytes::from(vec![0x5a; PAYLOADS_BYTES]);
        Self { memory, len, at: 0 }
    }

    /// For who appends nothing.
    fn none() -> Self {
        Self { memory: Bytes::new(), len: 0, at: 0 }
    }

    fn next(&mut self) -> Bytes {
        let payload = self.memory.slice(self.at..self.at + self.len);
        self.at = (self.at + self.len) % PAYLOADS_BYTES;
        payload
    }
}

/// A journal on a disk, and groups that append to it.
struct Host {
    journal: Journal,
    disk: Disk,
    ids: FileIds,
    commands: Vec<(u64, DiskCommand)>,
    last: Index,
    payloads: Payloads,
}

impl Host {
    fn open(disk: Disk, boot: u64, payloads: Payloads) -> (Self, Recovered) {
        let files = disk.image.iter().map(|(file, bytes)| (*file, bytes.len() as u64));
        let identity = Identity { cluster: ClusterId([7; 16]), directory: DirectoryId([9; 16]), boot };
        let mut host = Self {
            journal: Journal::open(settings(), identity, files.collect()),
            disk,
            ids: FileIds::new(boot),
            commands: Vec::new(),
            last: Index(0),
            payloads,
        };
        loop {
            for done in host.turn() {
                match done {
                    Done::Recovered(recovered) => return (host, *recovered),
                    Done::Durable(_) => {}
                    other => panic!("not recovered: {other:?}"),
                }
            }
        }
    }

    /// Everything the journal asks for now is done.
    fn turn(&mut self) -> Vec<Done> {
        self.journal.commands(&mut self.ids, &mut self.commands);
        let mut done = Vec::new();
        for (tag, command) in self.commands.drain(..) {
            let result = self.disk.run(command);
            done.extend(self.journal.done(tag, result));
        }
        done
    }

    /// One entry for each of groups 1 to `groups`, until all are durable.
    fn append(&mut self, groups: u64) {
        self.last = self.last.next();
        let mut ticket = self.journal.durable();
        for group in 1..=groups {
            let entry =
                Entry { index: self.last, term: Term(1), kind: 1, context: Bytes::new(), data: self.payloads.next() };
            ticket = self.journal.append(GroupId(group), vec![entry], None, None);
        }
        while self.journal.durable() < ticket {
            self.turn();
        }
        for group in self.journal.relief() {
            let mark = Mark { applied: self.last, applied_term: Term(1), body: Bytes::from_static(&[0; 64]) };
            self.journal.mark(group, mark);
        }
    }
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    for entry_bytes in [KIB, 64 * KIB] {
        for groups in [1, 16, 256] {
            let (mut host, _) = Host::open(Disk::default(), 1, Payloads::new(entry_bytes));
            group.throughput(Throughput::Bytes(groups * entry_bytes as u64));
            let name = BenchmarkId::new(format!("{} KiB entries", entry_bytes / KIB), format!("{groups} groups"));
            group.bench_function(name, |bencher| bencher.iter(|| host.append(groups)));
        }
    }
    group.finish();
}

const RECOVERED_GROUPS: u64 = 16;

/// What a journal leaves on the disk that filled one file.
fn image(entry_bytes: usize) -> BTreeMap<FileId, Bytes> {
    let disk = Disk { keeps: true, ..Disk::default() };
    let (mut host, _) = Host::open(disk, 1, Payloads::new(entry_bytes));
    loop {
        host.append(RECOVERED_GROUPS);
        let Range { start, end } = host.disk.last;
        // As much again, and a little more, must fit.
        if end + (end - start) * 3 / 2 > settings().file_bytes {
            break;
        }
    }
    // The file allocated ahead holds nothing: what is measured is the one that is full.
    let files = host.disk.files.into_iter();
    let full = files.filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0));
    full.map(|(file, bytes)| (file, bytes.freeze())).collect()
}

fn recovery(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recovery of 64 MiB");
    group.sample_size(10);
    for entry_bytes in [KIB, 64 * KIB] {
        let image = image(entry_bytes);
        assert_eq!(image.len(), 1, "one file is full");
        let disk = Disk { image, ..Disk::default() };
        let bytes: usize = disk.image.values().map(Bytes::len).sum();
        let found = Host::open(disk.clone(), 2, Payloads::none()).1;
        let held: usize = found.groups.values().map(|group| group.entries.len()).sum();
        assert!(held * entry_bytes > bytes / 2, "most of the file is entries");
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("{} KiB entries, {held} of them", entry_bytes / KIB), |bencher| {
            bencher.iter_batched(
                || disk.clone(),
                |disk| Host::open(disk, 2, Payloads::none()),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    append(&mut criterion);
    recovery(&mut criterion);
    criterion.final_summary();
}
