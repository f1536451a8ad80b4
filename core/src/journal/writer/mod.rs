//! Writing: gathers what is appended, seals it into blocks, opens and recycles files.
//!
//! Promises that exactly one block is in flight, and that a file opens with a base. Does not know how a journal is read.

mod files;
mod turn;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::base::UsedFile;
use super::block::{BlockDraft, FileHeader, block_bytes_bound};
use super::frame::{Body, Draft, ENTRY_HEADER_BYTES, FRAME_ALIGN, FRAME_HEADER_BYTES, Salt, Stamp};
use super::gather::{Gather, round_up};
use super::table::Table;
use super::{Cut, Done, Entry, HardState, Identity, Mark, Settings, Ticket};
use crate::effect::{DiskCommand, DiskResult};
use crate::id::{FileIds, GroupId, Index};
use crate::mutants::{Mutant, Mutants};

use files::Preparing;
pub(super) use files::{InUse, Slot};
pub(super) use turn::{Movable, carried_bytes, little};

#[derive(Debug)]
struct Item {
    ticket: Ticket,
    group: GroupId,
    body: Body,
    lazy: bool,
    /// The most bytes its frames can take.
    bytes: u64,
}

#[derive(Debug)]
struct InFlight {
    tag: u64,
    durable: Ticket,
    /// It opens a file: the base lists these older ones.
    listed: Option<BTreeSet<u64>>,
}

/// The open journal.
///
/// - At most one block is in flight.
/// - Every live entry stands in a file in use, or waits in the queue.
/// - Free files are not in use.
#[derive(Debug)]
pub(super) struct Writer {
    settings: Settings,
    identity: Identity,
    salt: Salt,
    table: Table,
    in_use: BTreeMap<u64, InUse>,
    /// The sequence of the file written to; before the first base is durable there is none.
    current: Option<u64>,
    cut: Option<Cut>,
    free: BTreeSet<Slot>,
    /// Free once the next base is durable.
    pinned: BTreeSet<Slot>,
    /// The newest file whose base is durable, of this incarnation; none before the first.
    opened: Option<u64>,
    next_sequence: u64,
    next_block: u64,
    next_tag: u64,
    queue: VecDeque<Item>,
    /// The number of the first item in the queue, counted from the beginning of time.
    queue_start: u64,
    /// Where in the queue a group's last item is a lazy hard state.
    lazy_at: BTreeMap<GroupId, u64>,
    /// Items in the queue that are not lazy.
    eager: usize,
    last_ticket: Ticket,
    durable: Ticket,
    sealed: bool,
    seal_wanted: bool,
    in_flight: Option<InFlight>,
    preparing: Option<Preparing>,
    /// Files opened in this life, and bytes written since the last look.
    opened_files: u32,
    put_bytes: u64,
    /// How long a file had to be for its base alone when one was opened last.
    len_min: u64,
    /// Little was written when that was looked at last.
    quiet: bool,
    /// Removals that are out.
    removing: BTreeSet<u64>,
    /// An allocation failed, and nothing has changed since.
    full: bool,
    full_retry: bool,
    /// How many bytes were refused last.
    refused: u64,
    /// The file written to is a spare.
    on_spare: bool,
    /// What moves to a spare that is turned to; whether that is all that is live in the one written to.
    movable: Vec<Movable>,
    movable_whole: bool,
    /// What the last base took for a group, runs left out, and a bit more.
    group_bytes: u64,
    /// Something waits for another file.
    turning: bool,
    pub(super) mutants: Mutants,
}

/// What recovery hands over.
pub(super) struct Start {
    pub(super) settings: Settings,
    pub(super) identity: Identity,
    pub(super) table: Table,
    pub(super) in_use: BTreeMap<u64, InUse>,
    pub(super) cut: Option<Cut>,
    pub(super) free: BTreeSet<Slot>,
    pub(super) pinned: BTreeSet<Slot>,
    pub(super) next_sequence: u64,
    pub(super) next_block: u64,
    pub(super) next_tag: u64,
    /// What little is live in old files.
    pub(super) movable: Vec<Movable>,
}

/// Bytes of a mark before its body.
const MARK_HEADER_BYTES: u64 = 20;

fn entries_bytes(entries: &[Entry], each: u64) -> u64 {
    let payload: u64 = entries.iter().map(|entry| (entry.context.len() + entry.data.len()) as u64).sum();
    payload + each * entries.len() as u64
}

impl Writer {
    pub(super) fn new(start: Start) -> Self {
        let Start { settings, identity, table, in_use, cut, free, pinned, movable, .. } = start;
        let salt = Salt::of(&identity);
        Self {
            settings,
            identity,
            salt,
            table,
            in_use,
            current: None,
            cut,
            free,
            pinned,
            opened: None,
            next_sequence: start.next_sequence,
            next_block: start.next_block,
            next_tag: start.next_tag,
            queue: VecDeque::new(),
            queue_start: 0,
            lazy_at: BTreeMap::new(),
            eager: 0,
            last_ticket: Ticket(0),
            durable: Ticket(0),
            sealed: false,
            seal_wanted: false,
            in_flight: None,
            preparing: None,
            opened_files: 0,
            put_bytes: 0,
            len_min: 0,
            quiet: false,
            removing: BTreeSet::new(),
            full: false,
            full_retry: false,
            refused: 0,
            on_spare: false,
            movable,
            movable_whole: false,
            group_bytes: 0,
            turning: false,
            mutants: Mutants::default(),
        }
    }

    fn gather(&mut self, group: GroupId, body: Body, lazy: bool, payload: u64) -> Ticket {
        self.last_ticket.0 += 1;
        self.full_retry = true;
        if lazy {
            if let Some(at) = self.lazy_at.get(&group) {
                // The group's last word so far is a lazy one: this one takes its place, and its write is no later.
                self.queue[(at - self.queue_start) as usize].body = body;
                return self.last_ticket;
            }
            self.lazy_at.insert(group, self.queue_start + self.queue.len() as u64);
        } else {
            self.lazy_at.remove(&group);
            self.eager += 1;
        }
        let bytes = round_up(FRAME_HEADER_BYTES + payload, FRAME_ALIGN);
        self.queue.push_back(Item { ticket: self.last_ticket, group, body, lazy, bytes });
        self.last_ticket
    }

    pub(super) fn append(
        &mut self,
        group: GroupId,
        entries: Vec<Entry>,
        truncate_from: Option<Index>,
        hard: Option<HardState>,
    ) -> Ticket {
        let contiguous = entries.windows(2).all(|pair| pair[0].index.next() == pair[1].index);
        assert!(contiguous, "group {group}: appended entries are contiguous");
        let payload = 8 + 24 + 4 + entries_bytes(&entries, ENTRY_HEADER_BYTES);
        self.gather(group, Body::Append { truncate_from, hard, entries }, false, payload)
    }

    pub(super) fn hard_state(&mut self, group: GroupId, hard: HardState, lazily: bool) -> Ticket {
        self.gather(group, Body::Hard(hard), lazily, 24)
    }

    pub(super) fn mark(&mut self, group: GroupId, mark: Mark) -> Ticket {
        let payload = MARK_HEADER_BYTES + mark.body.len() as u64;
        self.gather(group, Body::Mark(mark), false, payload)
    }

    pub(super) fn install(&mut self, group: GroupId, mark: Mark) -> Ticket {
        let payload = MARK_HEADER_BYTES + mark.body.len() as u64;
        self.gather(group, Body::Install(mark), false, payload)
    }

    pub(super) fn carry(&mut self, group: GroupId, entries: Vec<Entry>) -> Ticket {
        // Each may need a frame of its own.
        let payload = entries_bytes(&entries, FRAME_HEADER_BYTES + FRAME_ALIGN + 4 + ENTRY_HEADER_BYTES);
        self.gather(group, Body::Carry(entries), false, payload)
    }

    pub(super) fn forget(&mut self, group: GroupId) -> Ticket {
        self.gather(group, Body::Forget, false, 0)
    }

    pub(super) fn absolve(&mut self, suspended: Vec<GroupId>) -> Ticket {
        let bytes = 8 * suspended.len() as u64;
        self.gather(GroupId(0), Body::Absolve(suspended), false, bytes)
    }

    pub(super) fn seal(&mut self) {
        self.seal_wanted = !self.sealed || self.mutants.planted(Mutant::SealsAgain);
    }

    pub(super) fn durable(&self) -> Ticket {
        self.durable
    }

    /// Whether the first base is durable.
    pub(super) fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    /// The newest file whose base is durable.
    pub(super) fn opened(&self) -> Option<u64> {
        self.opened
    }

    pub(super) fn is_idle_unsealed(&self) -> bool {
        let sealed = self.sealed && !self.mutants.planted(Mutant::SealsAgain);
        self.is_open() && self.in_flight.is_none() && self.eager == 0 && !sealed && !self.seal_wanted
    }

    pub(super) fn is_stalled(&self) -> bool {
        let wanted = self.eager > 0 || self.seal_wanted || self.current.is_none();
        wanted && self.in_flight.is_none() && self.preparing.is_none() && !self.full
    }

    pub(super) fn needed(&self) -> usize {
        self.table.sequences().filter(|sequence| Some(*sequence) != self.current).count() + 1
    }

    /// How many bytes were refused last.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    pub(super) fn relief(&self) -> Vec<GroupId> {
        let old = self.table.sequences().filter(|sequence| Some(*sequence) != self.current);
        let old: BTreeSet<u64> = old.take(self.too_many()).collect();
        if old.is_empty() {
            return Vec::new();
        }
        let keeps = |group: &super::table::Group| group.runs().any(|run| old.contains(&run.sequence));
        let groups = self.table.groups().filter(|(_, group)| !group.suspended && keeps(group));
        groups.map(|(id, _)| id).collect()
    }

    pub(super) fn pressure(&self) -> bool {
        let files_max = self.settings.files_max as usize;
        // One file is being written, and one more must be free to turn to.
        self.is_full() || self.needed() + 1 >= files_max.max(3)
    }

    fn tag(&mut self) -> u64 {
        self.next_tag += 1;
        self.next_tag
    }

    pub(super) fn commands(&mut self, ids: &mut FileIds, out: &mut Vec<(u64, DiskCommand)>) {
        let due = self.eager > 0 || self.seal_wanted || self.current.is_none() || self.leaves_spare();
        if self.in_flight.is_none() && due {
            self.write(ids, out);
        }
        self.give_back(out);
        self.prepare_ahead(ids);
        self.prepare_on(out);
    }

    /// How many items of the queue go into the next block of so many bytes, and a bound of their bytes. The first always does.
    fn choose(&self, bytes_max: u64) -> (usize, u64) {
        let mut bytes = 0;
        let mut items = 0;
        for item in &self.queue {
            if items > 0 && bytes + item.bytes > bytes_max {
                break;
            }
            bytes += item.bytes;
            items += 1;
        }
        (items, bytes)
    }

    fn write(&mut self, ids: &mut FileIds, out: &mut Vec<(u64, DiskCommand)>) {
        let sector = self.settings.sector_bytes;
        let (items, bytes) = self.choose(self.settings.block_bytes_max);
        let bound = block_bytes_bound(bytes, items as u64, sector);
        let leaves = self.leaves_spare();
        let fits = self.current.filter(|sequence| {
            let file = &self.in_use[sequence];
            !leaves && file.used.end + bound <= file.len
        });
        if let Some(current) = fits {
            let drafts = self.take(items, current);
            return self.put(drafts, None, out);
        }
        self.turn(items, bytes, ids, out);
        self.turning = self.in_flight.is_none();
    }

    /// Takes items off the queue and seals them as frames that will stand in file `sequence`.
    fn take(&mut self, items: usize, sequence: u64) -> Vec<Draft> {
        let mut drafts = Vec::with_capacity(items);
        for _ in 0..items {
            let Item { group, body, lazy, .. } = self.queue.pop_front().expect("chosen from the queue");
            if self.lazy_at.get(&group) == Some(&self.queue_start) {
                self.lazy_at.remove(&group);
            }
            self.queue_start += 1;
            self.eager -= usize::from(!lazy);
            self.seal_item(group, body, sequence, &mut drafts);
        }
        drafts
    }

    fn seal_item(&mut self, group: GroupId, body: Body, sequence: u64, drafts: &mut Vec<Draft>) {
        let suspended = self.table.get(group).is_some_and(|group| group.suspended);
        let append = self.table.next_append(group);
        let fits = match &body {
            Body::Carry(entries) => return self.seal_carry(group, entries, sequence, drafts),
            Body::Absolve(suspended) => {
                self.table.all_suspended = self.mutants.planted(Mutant::SuspendedForEver);
                suspended.iter().for_each(|group| self.table.suspend(*group));
                drafts.push(Draft::new(group, 0, &body));
                return;
            }
            Body::Forget => {
                self.table.forget(group, append);
                Ok(())
            }
            Body::Append { .. } | Body::Hard(_) | Body::Mark(_) | Body::Install(_) if suspended => {
                Err("suspended: forget it first")
            }
            Body::Append { truncate_from, hard, entries } => {
                let range = entries.first().zip(entries.last()).map(|(first, last)| (first.index, last.index));
                self.keep_movable(group, append, entries);
                self.table.append(group, append, *truncate_from, *hard, range, sequence)
            }
            Body::Hard(hard) => self.table.hard(group, append, *hard),
            Body::Mark(mark) => self.table.mark(group, append, mark.clone()),
            Body::Install(mark) => self.table.install(group, append, mark.clone()),
            Body::Directory(_) | Body::Base(_) | Body::Group(_) => unreachable!("never gathered"),
        };
        if let Err(misfit) = fits {
            panic!("group {group}: {misfit}");
        }
        drafts.push(Draft::new(group, append, &body));
    }

    /// Carried entries keep the number they came with: neighbours of one append make one frame.
    fn seal_carry(&mut self, group: GroupId, entries: &[Entry], sequence: u64, drafts: &mut Vec<Draft>) {
        let live = |entry: &Entry| Some(self.table.get(group)?.run_of(entry.index)?.append);
        let mut frames: Vec<(u64, Vec<Entry>)> = Vec::new();
        for entry in entries {
            let Some(append) = live(entry) else { continue };
            match frames.last_mut() {
                Some((last, run)) if *last == append && run.last().is_some_and(|e| e.index.next() == entry.index) => {
                    run.push(entry.clone());
                }
                Some(_) | None => frames.push((append, vec![entry.clone()])),
            }
        }
        for (append, run) in frames {
            self.table.carry(group, append, run[0].index, run[run.len() - 1].index, sequence);
            self.keep_movable(group, append, &run);
            drafts.push(Draft::new(group, append, &Body::Carry(run)));
        }
    }

    /// Issues the block: at the end of the current file, or with its header at the start of a new one.
    fn put(&mut self, drafts: Vec<Draft>, opens: Option<(Slot, BTreeSet<u64>)>, out: &mut Vec<(u64, DiskCommand)>) {
        let sector = self.settings.sector_bytes;
        self.sealed = drafts.is_empty();
        self.seal_wanted = false;
        let draft = BlockDraft::new(drafts, sector);
        let block = self.next_block;
        self.next_block += 1;
        let mut gather = Gather::default();
        if let Some((slot, _)) = &opens {
            let sequence = self.next_sequence;
            self.next_sequence += 1;
            self.opened_files = self.opened_files.saturating_add(1);
            let stamp = Stamp { sequence, boot: self.identity.boot, block };
            FileHeader::new(&self.identity, (slot.file, slot.len), stamp, sector).put(&mut gather);
            let start = u64::from(sector);
            let used = UsedFile {
                sequence,
                file: slot.file,
                boot: self.identity.boot,
                start,
                end: start,
                first_block: block,
                last_block: block,
                damaged: Vec::new(),
            };
            self.in_use.insert(sequence, InUse { used, len: slot.len });
            self.current = Some(sequence);
        }
        self.turning = false;
        let sequence = self.current.expect("a file is open");
        draft.put(&mut gather, self.salt, Stamp { sequence, boot: self.identity.boot, block });
        let file = self.in_use.get_mut(&sequence).expect("the current file is in use");
        let at = if opens.is_some() { 0 } else { file.used.end };
        file.used.end += draft.bytes();
        file.used.last_block = block;
        assert!(file.used.end == at + gather.len() && file.used.end <= file.len, "a block stays within its file");
        self.wrote(gather.len());
        let file = self.in_use[&sequence].used.file;
        let tag = self.tag();
        let behind = u64::from(!self.mutants.planted(Mutant::NextBlockCounts));
        let durable = self.queue.front().map_or(self.last_ticket, |item| Ticket(item.ticket.0 - behind));
        self.in_flight = Some(InFlight { tag, durable, listed: opens.map(|(_, listed)| listed) });
        out.push((tag, DiskCommand::Write { file, at, bytes: gather.finish(), durable: true, cold: false }));
    }

    /// Lets an allocation that met a full disk be tried again.
    pub(super) fn retry(&mut self) {
        self.full_retry = !self.mutants.planted(Mutant::FullNeverRetried);
    }

    /// A command came to its end. False if the journal can not go on.
    pub(super) fn done(&mut self, tag: u64, result: DiskResult, out: &mut Vec<Done>) -> bool {
        if let Some(open) = self.prepared(tag, &result, out) {
            return open;
        }
        let Some(block) = self.in_flight.take_if(|block| block.tag == tag) else {
            return true;
        };
        if let Err(error) = result {
            out.push(Done::Failed(format!("writing the journal failed: {error:?}")));
            return false;
        }
        if let Some(listed) = block.listed {
            self.release(&listed);
        }
        if block.durable > self.durable {
            self.durable = block.durable;
            out.push(Done::Durable(self.durable));
        }
        true
    }

    /// Asserts the invariants of the type.
    pub(super) fn check(&self) {
        self.table.check();
        for sequence in self.table.sequences() {
            assert!(self.in_use.contains_key(&sequence), "live entries stand in files in use");
        }
        for slot in self.free.iter().chain(&self.pinned) {
            assert!(self.in_use.values().all(|file| file.used.file != slot.file), "free files are not in use");
        }
        assert_eq!(self.eager, self.queue.iter().filter(|item| !item.lazy).count(), "eager items are counted");
        assert!(self.durable <= self.last_ticket);
    }
}
