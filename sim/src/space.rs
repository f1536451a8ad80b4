//! What a broker's files take of its disk, held against what stands in them: as the host sees it, by number and length.
//!
//! Rules are written down here a second time, not asked of the broker: only what it has written, and how many journal files
//! it can not let go of, is its own word. Does not know when a broker is at rest.

use std::collections::BTreeMap;

use tidelog_core::broker::{Settings, Space};
use tidelog_core::id::{FileId, FileKind};

use crate::scenario::SECOND;

/// Formation files have one record of a few hundred bytes.
const WORD_BYTES_MAX: u64 = 4096;
/// Which are written by turns.
const WORDS: usize = 2;
/// Files that a journal may have beside those it needs, while it works: one being opened, one let go of by that, one to turn to, the
/// spares, and those that have become too short for that.
const JOURNAL_FILES_BESIDE: u64 = 3 + 2 * SPARES;
/// Short ones that are kept for starts.
const SPARES: u64 = 2;

/// After so long, in microseconds, a broker whose disk is quick has shortened what its start found too long.
pub(crate) const SETTLED: u64 = 3 * SECOND;
/// A broker that wrote nothing to its journal for so long has given back what it had above its rest.
pub(crate) const RESTED: u64 = 2 * SECOND;

/// Files and their lengths.
pub(crate) type Lengths = BTreeMap<FileId, u64>;

fn of_kind(lengths: &Lengths, kind: FileKind) -> impl Iterator<Item = (FileId, u64)> + '_ {
    lengths.iter().filter(move |(file, _)| file.kind() == kind).map(|(file, len)| (*file, *len))
}

/// The longest file that may hold so many bytes and more to come: one growth ahead of a file that doubles, then grows in steps.
fn grown(written: u64, settings: &Settings) -> u64 {
    let step = settings.segment_allocate_bytes;
    (written.saturating_mul(4)).min(written + 2 * step).max(2 * settings.segment_allocate_bytes_first)
}

/// What is wrong with the files of a log, whose broker has nothing to do with them: a file that is whole is as long as what is
/// in it, one that grows a little longer.
pub(crate) fn of_logs(lengths: &Lengths, held: &Space, settings: &Settings) -> Option<String> {
    held.written.iter().find_map(|(file, written, grows)| {
        let len = lengths.get(file)?;
        let most = if *grows { grown(*written, settings) } else { *written };
        (*len > most).then(|| format!("{file} holds {written} bytes, and takes {len}"))
    })
}

/// The same of a broker that is busy: what was sealed may not be cut yet.
pub(crate) fn of_busy_logs(lengths: &Lengths, held: &Space, settings: &Settings) -> Option<String> {
    held.written.iter().find_map(|(file, written, _)| {
        let len = lengths.get(file).filter(|len| **len > grown(*written, settings))?;
        Some(format!("{file} holds {written} bytes, and takes {len}"))
    })
}

/// What is wrong with the journal of a broker that has written hardly anything for seconds.
pub(crate) fn of_resting_journal(lengths: &Lengths, held: &Space, settings: &Settings) -> Option<String> {
    let files = of_kind(lengths, FileKind::Journal);
    let (count, bytes, longest) = files.fold((0, 0, 0), |(count, bytes, longest): (u64, u64, u64), (_, len)| {
        (count + 1, bytes + len, longest.max(len))
    });
    if count > held.journal_files + SPARES + 1 {
        return Some(format!(
            "its journal needs {} files, {SPARES} spares and one to turn to, and has {count}",
            held.journal_files
        ));
    }
    // A large block makes a large file, and many groups make long spares.
    let most = settings.journal_rest_bytes.max(2 * longest) + SPARES * settings.journal_file_bytes / 4;
    (bytes > most).then(|| format!("its journal rests, and takes {bytes} bytes of at most {most}"))
}

/// The same of one that works, and needed so many files at most since its disk was empty.
pub(crate) fn of_busy_journal(lengths: &Lengths, needed: u64) -> Option<String> {
    let count = of_kind(lengths, FileKind::Journal).count() as u64;
    let most = needed + JOURNAL_FILES_BESIDE;
    (count > most).then(|| format!("its journal never needed more than {needed} files, and has {count}"))
}

/// What is wrong with the files of a formation that has nothing to write.
pub(crate) fn of_words(lengths: &Lengths) -> Option<String> {
    let files: Vec<(FileId, u64)> = of_kind(lengths, FileKind::Formation).collect();
    if files.len() > WORDS {
        return Some(format!("what it is in its cluster stands in {} files", files.len()));
    }
    let (file, len) = files.into_iter().find(|(_, len)| *len > WORD_BYTES_MAX)?;
    Some(format!("{file} takes {len} bytes"))
}
