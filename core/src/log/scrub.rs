//! Scrubbing: whether the files of a log hold what the log says of them, batch by batch and index entry by index entry.
//!
//! Promises to find whatever a later read, a restart or a copy would stumble over. Reads nothing itself: it is given the
//! content of files. Does not mend anything.

use bytes::Bytes;

use super::Log;
use super::segment::{Entry, Index, Segment, decode_index};
use crate::id::{FileId, Offset};
use crate::kafka::batch::{Check, views};
use crate::time::Timestamp;

/// A batch that was found: its first offset, where it lies, its largest timestamp.
type Found = (Offset, u64, Timestamp);

impl Log {
    /// The epochs it knows, and where each began.
    pub fn epochs(&self) -> &[(i32, Offset)] {
        self.epochs.entries()
    }

    /// Compares everything that is written with what `content` gives of its files; none if the file is not there.
    ///
    /// # Errors
    /// Says what is wrong with the first that differs.
    pub fn scrub(&self, content: impl Fn(FileId) -> Option<Bytes>) -> Result<(), String> {
        if !self.is_usable() {
            return Ok(());
        }
        if let Some(manifest) = &self.marked {
            let state = content(manifest.state).and_then(|bytes| part(&bytes, manifest.state_len));
            let state = state.ok_or_else(|| format!("the state {} is missing or short", manifest.state))?;
            if crc32c::crc32c(&state) != manifest.state_crc {
                return Err(format!("the state {} is not what was written", manifest.state));
            }
        }
        self.segments.iter().try_for_each(|segment| segment.scrub(&content))
    }
}

fn part(bytes: &Bytes, len: u64) -> Option<Bytes> {
    let len = usize::try_from(len).ok()?;
    (bytes.len() >= len).then(|| bytes.slice(..len))
}

impl Segment {
    fn scrub(&self, content: impl Fn(FileId) -> Option<Bytes>) -> Result<(), String> {
        let Some(file) = self.file.filter(|_| self.written > 0) else {
            return Ok(());
        };
        let bytes = content(file).and_then(|bytes| part(&bytes, self.written));
        let bytes = bytes.ok_or_else(|| format!("{file} is missing or short of {} bytes", self.written))?;
        let mut found: Vec<Found> = Vec::new();
        let (mut next, mut at) = (self.base, 0);
        for view in views(bytes.clone(), Check::Crc) {
            let view = view.map_err(|damage| format!("{file} at byte {at}, offset {next}: {damage}"))?;
            if view.base_offset() != next {
                return Err(format!("{file} at byte {at}: offset {} where {next} belongs", view.base_offset()));
            }
            found.push((next, at, view.max_timestamp()));
            next = Offset(view.last_offset().0.saturating_add(1));
            at += view.bytes().len() as u64;
        }
        if self.written == self.len {
            if next != self.next {
                return Err(format!("{file} ends at offset {next}, and {} belongs there", self.next));
            }
            if crc32c::crc32c(&bytes) != self.crc {
                return Err(format!("{file} is not what its checksum says"));
            }
            let largest = found.iter().map(|batch| batch.2).max();
            if largest.is_some_and(|largest| largest != self.max_timestamp) {
                return Err(format!("{file} has another largest timestamp than {:?}", self.max_timestamp));
            }
        }
        match &self.index {
            Index::Memory(entries) => self.scrub_index(file, entries, &found),
            Index::File(index) => {
                let bytes = content(index.file).and_then(|bytes| part(&bytes, index.len));
                let bytes = bytes.ok_or_else(|| format!("the index {} is missing or short", index.file))?;
                let entries = decode_index(bytes, index).map_err(|what| format!("{}: {what}", index.file))?;
                self.scrub_index(index.file, &entries, &found)
            }
        }
    }

    /// Each entry names a batch, and the largest timestamp up to the next entry.
    fn scrub_index(&self, file: FileId, entries: &[Entry], found: &[Found]) -> Result<(), String> {
        // What is not written yet is not looked at, nor is an interval that ends there.
        let whole = self.written == self.len;
        for (nth, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.position < self.written) {
            let Ok(first) = found.binary_search_by_key(&entry.offset, |batch| batch.0) else {
                return Err(format!("{file}: entry {nth} names offset {}, where no batch begins", entry.offset));
            };
            if found[first].1 != entry.position {
                return Err(format!("{file}: offset {} is not at byte {}", entry.offset, entry.position));
            }
            let behind = entries.get(nth + 1);
            if behind.is_none_or(|next| next.position > self.written) && !whole {
                continue;
            }
            let until = behind.map_or(found.len(), |next| found.partition_point(|batch| batch.0 < next.offset));
            let largest = found[first..until.max(first)].iter().map(|batch| batch.2).max();
            if largest != Some(entry.max_timestamp) {
                return Err(format!("{file}: entry {nth} has another largest timestamp than its batches"));
            }
        }
        match entries.first() {
            Some(entry) if entry.offset == self.base => Ok(()),
            Some(_) | None => Err(format!("{file}: the index does not begin where its segment does")),
        }
    }
}
