//! Recordings: everything a broker was told in one life, from which the same broker can be run again anywhere.
//!
//! The core is a function of its inputs. A recording holds them with the times at which they were stepped, and after each a
//! digest of what came of it, so that [`replay`] proves that a bare [`Broker`](tidelog_core::broker::Broker) without files,
//! sockets or clocks does the same, or names the first step that differs.
//!
//! Format 2, all numbers little-endian: the magic `tidelog record\n` and the format (2 bytes), then entries, each a length
//! (8 bytes) and as many bytes.
//!
//! | entry | holds |
//! |---|---|
//! | first | the boot and the configuration |
//! | then by turns: input | both clocks, and the input: requests as the frames that clients sent, envelopes as brokers sent them, disk operations with what was read |
//! | and outcome | how many effects and events there were, and a digest of each list |
//!
//! A recording may end anywhere, as the process may: what is behind the last whole entry does not count.

mod bytes;
mod config;
mod input;
mod outcome;
mod replay;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use ::bytes::Bytes;
use tidelog_core::broker::{Boot, Config};
use tidelog_core::effect::{Effects, Input};
use tidelog_core::time::Now;
use tracing::warn;

pub use bytes::Malformed;
pub use outcome::Outcome;
pub use replay::{ReplayError, Replayed, replay};

/// The format that this version writes and reads.
pub const FORMAT: u16 = 3;

const MAGIC: &[u8] = b"tidelog record\n";
/// How much is gathered for one write.
const BUFFER_BYTES: usize = 1024 * 1024;

/// Writes a recording. When that fails it says so once and records no more: the broker goes on.
#[derive(Debug)]
pub(crate) struct Recorder {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    entry: Vec<u8>,
}

impl Recorder {
    /// Begins a recording in a new file: one that is there holds another life, and is not written over.
    pub(crate) fn create(path: &Path, config: &Config, boot: &Boot) -> io::Result<Self> {
        let file = BufWriter::with_capacity(BUFFER_BYTES, File::create_new(path)?);
        let mut recorder = Self { path: path.to_owned(), file: Some(file), entry: Vec::new() };
        config::put(&mut recorder.entry, config, boot);
        let file = recorder.file.as_mut().expect("it was just made");
        file.write_all(MAGIC)?;
        file.write_all(&FORMAT.to_le_bytes())?;
        write(file, &recorder.entry)?;
        Ok(recorder)
    }

    /// What is about to be stepped. `frame` is what a request was decoded from.
    pub(crate) fn input(&mut self, now: Now, input: &Input, frame: Option<&Bytes>) {
        self.entry.clear();
        input::put(&mut self.entry, now, input, frame);
        self.write();
    }

    /// What came of it.
    pub(crate) fn outcome(&mut self, out: &Effects) {
        self.entry.clear();
        Outcome::of(out).put(&mut self.entry);
        self.write();
    }

    fn write(&mut self) {
        let Some(file) = &mut self.file else { return };
        if let Err(error) = write(file, &self.entry) {
            warn!(file = %self.path.display(), %error, "the recording ends here: it could not be written");
            self.file = None;
        }
    }
}

fn write(file: &mut impl Write, entry: &[u8]) -> io::Result<()> {
    file.write_all(&(entry.len() as u64).to_le_bytes())?;
    file.write_all(entry)
}
