//! Writes past the page cache: one aligned buffer, used again and again.
//!
//! A journal block written with `O_DIRECT | O_DSYNC` over extents that were written before is one command to the device: no
//! second copy in the page cache, no write-back that stalls the next block, no commit of the file system's own journal.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use tidelog_core::limits::JOURNAL_BLOCK_BYTES_MAX;

/// What `O_DIRECT` wants memory, offsets and lengths to be a multiple of: the page size satisfies every device.
pub(super) const ALIGNMENT: u64 = 4096;

const ALIGNMENT_BYTES: usize = ALIGNMENT as usize;
/// How many zeros are written at once: a block of the journal does not wait long behind them.
const ZEROS_BYTES: u64 = 1024 * 1024;
const BUFFER_BYTES: usize = JOURNAL_BLOCK_BYTES_MAX as usize;

/// A buffer whose first byte is aligned. It takes memory from the first use on.
#[derive(Debug, Default)]
pub(super) struct DirectBuffer {
    memory: Vec<u8>,
}

impl DirectBuffer {
    fn aligned(&mut self) -> &mut [u8] {
        if self.memory.is_empty() {
            self.memory = vec![0; BUFFER_BYTES + ALIGNMENT_BYTES];
        }
        let skip = self.memory.as_ptr().align_offset(ALIGNMENT_BYTES);
        &mut self.memory[skip..skip + BUFFER_BYTES]
    }

    /// Writes the slices one after the other from `at`. Their lengths together, and `at`, must be aligned.
    pub(super) fn write(&mut self, file: &File, mut at: u64, slices: &[Bytes]) -> io::Result<()> {
        let buffer = self.aligned();
        let mut filled = 0;
        for slice in slices {
            let mut rest: &[u8] = slice;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(BUFFER_BYTES - filled));
                buffer[filled..filled + now.len()].copy_from_slice(now);
                filled += now.len();
                rest = later;
                if filled == BUFFER_BYTES {
                    file.write_all_at(buffer, at)?;
                    at += BUFFER_BYTES as u64;
                    filled = 0;
                }
            }
        }
        file.write_all_at(&buffer[..filled], at)
    }

    /// Writes zeros over `[from, to)`. Both must be aligned.
    pub(super) fn write_zeros(&mut self, file: &File, from: u64, to: u64) -> io::Result<()> {
        let buffer = self.aligned();
        buffer[..ZEROS_BYTES as usize].fill(0);
        let mut at = from;
        while at < to {
            let length = (to - at).min(ZEROS_BYTES);
            file.write_all_at(&buffer[..length as usize], at)?;
            at += length;
        }
        Ok(())
    }
}

/// Whether a range can be written past the page cache.
pub(super) fn is_aligned(at: u64, length: u64) -> bool {
    at.is_multiple_of(ALIGNMENT) && length.is_multiple_of(ALIGNMENT)
}
