//! Pure functions that are too long for the driver thread: decompression for a time lookup, deep validation.

use bytes::Bytes;

use crate::id::Offset;
use crate::kafka::batch;
use crate::time::Timestamp;

/// A computation for the host to run on another thread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Job {
    /// Find the first record at or after a timestamp in stored batches.
    FindTimestamp {
        /// Whole v2 batches, ascending.
        batches: Bytes,
        /// Records before this offset do not count.
        from: Offset,
        /// The timestamp asked for.
        at_least: Timestamp,
    },
    /// Find the first record with the largest timestamp in stored batches.
    FindMaxTimestamp {
        /// Whole v2 batches, ascending.
        batches: Bytes,
    },
}

/// What a computation gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// The offset and timestamp of the record found.
    FoundTimestamp(Option<(Offset, Timestamp)>),
}

impl Job {
    /// Runs the computation. Pure: hosts may run it anywhere, any time.
    pub fn run(self) -> Output {
        match self {
            Job::FindTimestamp { batches, from, at_least } => {
                Output::FoundTimestamp(batch::find_timestamp_from(batches, from, at_least))
            }
            Job::FindMaxTimestamp { batches } => Output::FoundTimestamp(batch::find_max_timestamp(batches)),
        }
    }
}
