//! The files of one disk, in memory: what was written, and what of it would be there after the power is lost.
//!
//! A write goes to a cache. Syncing a file makes its bytes and its length durable; syncing the directory makes durable which names
//! there are. When the power is lost, every cached sector may or may not have reached the disk, a new length may or may not, and of
//! the changes of names a first part, as of a journal.
//!
//! Promises: what was synced is there. One directory, no links; offsets and lengths in bytes. Not known here: FUSE.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::rng::Rng;

/// A page of a file.
const PAGE: usize = 4096;
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// No file is longer: a length beyond it is a mistake.
const LENGTH_MAX: u64 = 1 << 40;

/// How many pages a disk that lies has only promised.
const PROMISED_MAX: usize = 512;

/// Names a file for as long as it is somewhere; never used again.
pub(super) type Ino = u64;

type Page = Box<[u8; PAGE]>;

/// A file: what is durable, and what hides it until it is, too. A page that is missing is zero.
#[derive(Debug, Default)]
struct File {
    durable: BTreeMap<u64, Page>,
    durable_length: u64,
    /// `None`: zero.
    cached: BTreeMap<u64, Option<Page>>,
    length: u64,
}

/// A change of names that is not durable yet.
#[derive(Clone, Debug)]
enum Change {
    Made(Vec<u8>, Ino),
    Removed(Vec<u8>),
    Renamed(Vec<u8>, Vec<u8>),
}

/// Why something can not be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// There is no such file.
    Missing,
    /// There is one already.
    Exists,
    /// It would be too long.
    TooLong,
}

/// The files of one disk.
#[derive(Debug)]
pub(super) struct Files {
    files: BTreeMap<Ino, File>,
    names: BTreeMap<Vec<u8>, Ino>,
    durable_names: BTreeMap<Vec<u8>, Ino>,
    changes: Vec<Change>,
    open: BTreeMap<u64, Ino>,
    next: u64,
    /// The last durable writes, if the disk lies: they are not.
    promised: Option<VecDeque<(Ino, u64)>>,
}

impl Files {
    /// An empty disk. One that `lies` answers a durable write before it is one, as a disk does that takes no notice of FUA: the
    /// last of them are lost with the power. It syncs in truth if it is asked to.
    pub(super) fn new(lies: bool) -> Self {
        // 1 is the directory's, as FUSE has it.
        Self {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            open: BTreeMap::new(),
            next: 2,
            promised: lies.then(VecDeque::new),
        }
    }

    /// The file of that name.
    pub(super) fn find(&self, name: &[u8]) -> Option<Ino> {
        self.names.get(name).copied()
    }

    /// All names, and their files.
    pub(super) fn names(&self) -> impl Iterator<Item = (&[u8], Ino)> {
        self.names.iter().map(|(name, &ino)| (name.as_slice(), ino))
    }

    /// How long a file is.
    pub(super) fn length(&self, ino: Ino) -> Option<u64> {
        self.files.get(&ino).map(|file| file.length)
    }

    /// Makes an empty file.
    pub(super) fn create(&mut self, name: &[u8]) -> Result<Ino, Refused> {
        if self.names.contains_key(name) {
            return Err(Refused::Exists);
        }
        let ino = self.number();
        self.files.insert(ino, File::default());
        self.change(Change::Made(name.to_owned(), ino));
        Ok(ino)
    }

    /// Opens a file: it stays until it is closed, whatever becomes of its name.
    pub(super) fn open(&mut self, ino: Ino) -> Result<u64, Refused> {
        self.length(ino).ok_or(Refused::Missing)?;
        let handle = self.number();
        self.open.insert(handle, ino);
        Ok(handle)
    }

    /// Closes a file; nothing if it is not open.
    pub(super) fn close(&mut self, handle: u64) {
        self.open.remove(&handle);
        self.forget();
    }

    /// Removes a name.
    pub(super) fn remove(&mut self, name: &[u8]) -> Result<(), Refused> {
        self.find(name).ok_or(Refused::Missing)?;
        self.change(Change::Removed(name.to_owned()));
        self.forget();
        Ok(())
    }

    /// Gives a file another name, and takes it from whoever had it.
    pub(super) fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), Refused> {
        self.find(from).ok_or(Refused::Missing)?;
        self.change(Change::Renamed(from.to_owned(), to.to_owned()));
        self.forget();
        Ok(())
    }

    /// Makes all names durable.
    pub(super) fn sync_names(&mut self) {
        self.changes.clear();
        self.durable_names.clone_from(&self.names);
        self.forget();
    }

    /// Reads at most so many bytes from `at`.
    pub(super) fn read(&self, ino: Ino, at: u64, count: u64) -> Result<Vec<u8>, Refused> {
        let file = self.files.get(&ino).ok_or(Refused::Missing)?;
        let end = at.saturating_add(count).min(file.length);
        let mut bytes = Vec::new();
        let mut at = at;
        while at < end {
            let (page, from, to) = part(at, end);
            match file.page(page) {
                Some(there) => bytes.extend_from_slice(&there[from..to]),
                None => bytes.resize(bytes.len() + (to - from), 0),
            }
            at += (to - from) as u64;
        }
        Ok(bytes)
    }

    /// Writes; `durable`: these bytes, and the length if it grew, are durable at once.
    pub(super) fn write(&mut self, ino: Ino, at: u64, bytes: &[u8], durable: bool) -> Result<(), Refused> {
        let end = at.checked_add(bytes.len() as u64).filter(|&end| end <= LENGTH_MAX).ok_or(Refused::TooLong)?;
        let file = self.files.get_mut(&ino).ok_or(Refused::Missing)?;
        let (mut at, mut rest) = (at, bytes);
        while !rest.is_empty() {
            let (page, from, to) = part(at, end);
            let (now, later) = rest.split_at(to - from);
            let mut copy = match file.page(page) {
                Some(there) => there.clone(),
                None => Box::new([0; PAGE]),
            };
            copy[from..to].copy_from_slice(now);
            file.cached.insert(page, copy.iter().any(|&byte| byte != 0).then_some(copy));
            match &mut self.promised {
                Some(promised) if durable => promised.push_back((ino, page)),
                None if durable => file.sync_page(page),
                Some(_) | None => {}
            }
            (at, rest) = (at + now.len() as u64, later);
        }
        file.length = file.length.max(end);
        if durable {
            file.durable_length = file.durable_length.max(end);
        }
        while let Some((ino, page)) =
            self.promised.as_mut().filter(|it| it.len() > PROMISED_MAX).and_then(VecDeque::pop_front)
        {
            if let Some(file) = self.files.get_mut(&ino) {
                file.sync_page(page);
            }
        }
        Ok(())
    }

    /// Makes a file so long; what is new is zero.
    pub(super) fn resize(&mut self, ino: Ino, length: u64) -> Result<(), Refused> {
        if length > LENGTH_MAX {
            return Err(Refused::TooLong);
        }
        let file = self.files.get_mut(&ino).ok_or(Refused::Missing)?;
        if length < file.length {
            let (page, from, _) = part(length, length + 1);
            if let Some(there) = file.page(page) {
                let mut copy = there.clone();
                copy[from..].fill(0);
                file.cached.insert(page, Some(copy));
            }
            let beyond: BTreeSet<u64> = file
                .durable
                .range(page + 1..)
                .map(|(&at, _)| at)
                .chain(file.cached.range(page + 1..).map(|(&at, _)| at))
                .collect();
            file.cached.extend(beyond.into_iter().map(|at| (at, None)));
        }
        file.length = length;
        Ok(())
    }

    /// Makes a file durable, but not its name.
    pub(super) fn sync(&mut self, ino: Ino) -> Result<(), Refused> {
        let file = self.files.get_mut(&ino).ok_or(Refused::Missing)?;
        let pages: Vec<u64> = file.cached.keys().copied().collect();
        pages.into_iter().for_each(|page| file.sync_page(page));
        file.durable_length = file.length;
        Ok(())
    }

    /// The power is lost and comes back. Gives how much had been written and not been synced: sectors and names.
    pub(super) fn lose_power(&mut self, rng: &mut Rng) -> u64 {
        let mut at_stake = self.changes.len() as u64;
        let kept = usize::try_from(rng.below(self.changes.len() as u64 + 1)).unwrap_or(0);
        self.names.clone_from(&self.durable_names);
        for change in std::mem::take(&mut self.changes).into_iter().take(kept) {
            change.apply(&mut self.names);
        }
        self.durable_names.clone_from(&self.names);
        self.open.clear();
        self.forget();
        for file in self.files.values_mut() {
            // All of it gone, all of it there, or every sector for itself.
            let odds = if self.promised.is_some() { 0 } else { rng.below(3) };
            at_stake += file.lose_power(odds, rng);
        }
        self.promised.iter_mut().for_each(VecDeque::clear);
        at_stake
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn change(&mut self, change: Change) {
        change.clone().apply(&mut self.names);
        self.changes.push(change);
    }

    /// Drops files that nobody can reach any more, not even after the power is lost.
    fn forget(&mut self) {
        let made = self.changes.iter().filter_map(|change| match change {
            Change::Made(_, ino) => Some(*ino),
            Change::Removed(_) | Change::Renamed(..) => None,
        });
        let known: BTreeSet<Ino> = self
            .names
            .values()
            .chain(self.durable_names.values())
            .chain(self.open.values())
            .copied()
            .chain(made)
            .collect();
        self.files.retain(|ino, _| known.contains(ino));
    }
}

impl Change {
    fn apply(self, names: &mut BTreeMap<Vec<u8>, Ino>) {
        match self {
            Self::Made(name, ino) => drop(names.insert(name, ino)),
            Self::Removed(name) => drop(names.remove(&name)),
            Self::Renamed(from, to) => {
                if let Some(ino) = names.remove(&from) {
                    names.insert(to, ino);
                }
            }
        }
    }
}

impl File {
    /// A page as it reads; `None` is zero.
    fn page(&self, at: u64) -> Option<&Page> {
        match self.cached.get(&at) {
            Some(cached) => cached.as_ref(),
            None => self.durable.get(&at),
        }
    }

    fn sync_page(&mut self, at: u64) {
        match self.cached.remove(&at) {
            Some(Some(page)) => drop(self.durable.insert(at, page)),
            Some(None) => drop(self.durable.remove(&at)),
            None => {}
        }
    }

    fn lose_power(&mut self, odds: u64, rng: &mut Rng) -> u64 {
        let mut at_stake = 0;
        for (at, cached) in std::mem::take(&mut self.cached) {
            let old = self.durable.remove(&at).unwrap_or_else(|| Box::new([0; PAGE]));
            let new = cached.unwrap_or_else(|| Box::new([0; PAGE]));
            let mut page = old;
            for from in (0..PAGE).step_by(SECTOR) {
                at_stake += 1;
                if odds == 1 || odds == 2 && rng.one_in(2) {
                    page[from..from + SECTOR].copy_from_slice(&new[from..from + SECTOR]);
                }
            }
            if page.iter().any(|&byte| byte != 0) {
                self.durable.insert(at, page);
            }
        }
        if self.length != self.durable_length {
            at_stake += 1;
            if odds == 1 || odds == 2 && rng.one_in(2) {
                self.durable_length = self.length;
            }
        }
        self.length = self.durable_length;
        // Beyond its end a file is zero.
        let (last, from, _) = part(self.length, self.length + 1);
        drop(self.durable.split_off(&(last + 1)));
        if let Some(page) = self.durable.get_mut(&last) {
            page[from..].fill(0);
        }
        at_stake
    }
}

/// The page of `at`, and which of its bytes lie in `at..end`.
fn part(at: u64, end: u64) -> (u64, usize, usize) {
    let size = PAGE as u64;
    let (page, from) = (at / size, at % size);
    let to = (from + (end - at)).min(size);
    (page, usize::try_from(from).unwrap_or(0), usize::try_from(to).unwrap_or(PAGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &[u8]) -> (Files, Ino) {
        let mut files = Files::new(false);
        let ino = files.create(name).expect("it is new");
        files.sync_names();
        (files, ino)
    }

    fn all(files: &Files, ino: Ino) -> Vec<u8> {
        files.read(ino, 0, LENGTH_MAX).expect("it is there")
    }

    #[test]
    fn what_was_synced_survives_and_what_was_not_may() {
        let mut outcomes = BTreeSet::new();
        for seed in 0..60 {
            let (mut files, ino) = disk(b"f");
            files.write(ino, 0, &[1; 6000], false).expect("it fits");
            files.sync(ino).expect("it is there");
            files.write(ino, 1000, &[2; 2000], false).expect("it fits");
            assert_eq!(all(&files, ino)[999..1001], [1, 2]);
            assert!(files.lose_power(&mut Rng::new(seed, "")) > 0);
            let now = all(&files, ino);
            assert_eq!(now.len(), 6000);
            assert!(now[..1000].iter().chain(&now[3000..]).all(|&byte| byte == 1));
            outcomes.insert(now);
        }
        assert!(outcomes.contains(&vec![1; 6000]), "never lost");
        assert!(outcomes.len() > 3, "never torn");
    }

    #[test]
    fn a_durable_write_makes_only_itself_durable() {
        let mut lost = false;
        for seed in 0..30 {
            let (mut files, ino) = disk(b"f");
            files.write(ino, 0, &[7; 4096], false).expect("it fits");
            files.write(ino, 4096, &[8; 4096], true).expect("it fits");
            files.lose_power(&mut Rng::new(seed, ""));
            let now = all(&files, ino);
            assert_eq!(now[4096..], [8; 4096]);
            lost |= now[0] == 0;
        }
        assert!(lost);
    }

    #[test]
    fn lengths_are_durable_when_synced_and_what_comes_back_is_zero() {
        let (mut files, ino) = disk(b"f");
        files.write(ino, 0, &[1; 10_000], true).expect("it fits");
        files.resize(ino, 5000).expect("it is there");
        files.resize(ino, 10_000).expect("it is there");
        assert_eq!(all(&files, ino), [vec![1; 5000], vec![0; 5000]].concat());
        files.sync(ino).expect("it is there");
        files.lose_power(&mut Rng::new(1, ""));
        assert_eq!(all(&files, ino), [vec![1; 5000], vec![0; 5000]].concat());
    }

    #[test]
    fn of_unsynced_names_a_first_part_survives() {
        let mut outcomes = BTreeSet::new();
        for seed in 0..60 {
            let (mut files, old) = disk(b"meta");
            files.write(old, 0, b"old", true).expect("it fits");
            let new = files.create(b"meta.new").expect("it is new");
            files.write(new, 0, b"new", false).expect("it fits");
            files.sync(new).expect("it is there");
            files.rename(b"meta.new", b"meta").expect("it is there");
            assert_eq!(all(&files, files.find(b"meta").expect("it is there")), b"new");
            files.lose_power(&mut Rng::new(seed, ""));
            let meta = all(&files, files.find(b"meta").expect("old or new, never neither"));
            outcomes.insert((meta, files.find(b"meta.new").is_some()));
        }
        let both: BTreeSet<(Vec<u8>, bool)> =
            [(b"old".to_vec(), false), (b"old".to_vec(), true), (b"new".to_vec(), false)].into();
        assert_eq!(outcomes, both);
    }

    #[test]
    fn a_removed_file_is_read_by_those_who_have_it_open() {
        let (mut files, ino) = disk(b"f");
        files.write(ino, 0, b"x", true).expect("it fits");
        let handle = files.open(ino).expect("it is there");
        files.remove(b"f").expect("it is there");
        files.sync_names();
        assert_eq!(all(&files, ino), b"x");
        files.close(handle);
        assert_eq!(files.read(ino, 0, 1), Err(Refused::Missing));
        assert_eq!(files.remove(b"f"), Err(Refused::Missing));
    }

    #[test]
    fn a_lying_disk_loses_the_last_of_what_was_durable() {
        let mut files = Files::new(true);
        let ino = files.create(b"f").expect("it is new");
        files.sync_names();
        for page in 0..1000 {
            files.write(ino, page * 4096, &[1; 4096], true).expect("it fits");
        }
        files.lose_power(&mut Rng::new(1, ""));
        let now = all(&files, ino);
        assert_eq!(now.iter().filter(|&&byte| byte == 1).count(), (1000 - PROMISED_MAX) * 4096);
        files.write(ino, 0, &[2; 4096], true).expect("it fits");
        files.sync(ino).expect("it is there");
        files.lose_power(&mut Rng::new(1, ""));
        assert_eq!(all(&files, ino)[..4096], [2; 4096]);
    }
}
