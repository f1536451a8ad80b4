//! The bounds of a client, beside those that its configuration sets.

use crate::limits::{DECOMPRESSED_BYTES_MAX, REQUEST_BYTES_MAX};
use crate::time::Duration;

/// The longest pause before a failing broker is tried again, unless the configured backoff is longer.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// The most batches of one partition that an idempotent producer has in flight (KIP-98: brokers remember as many).
pub(super) const BATCHES_IN_FLIGHT_MAX: usize = crate::limits::PRODUCER_BATCHES_REMEMBERED;
/// The most bytes of batches in one Produce request; one larger batch travels alone.
pub(super) const PRODUCE_BYTES_MAX: usize = 1024 * 1024;
/// The most records in one batch.
pub(super) const BATCH_RECORDS_MAX: usize = 100_000;
/// The largest record: a little less than the largest request.
pub(super) const RECORD_BYTES_MAX: usize = REQUEST_BYTES_MAX as usize - 1024 * 1024;
/// The most bytes one answer to a fetch may unfold to before the rest is fetched again.
pub(super) const FETCHED_BYTES_MAX: usize = DECOMPRESSED_BYTES_MAX;
/// How many brokers are connected to at once when none answers.
pub(super) const CANDIDATES_MAX: usize = 3;
/// The longest string in a request: what the old protocol versions can carry.
pub(super) const STRING_BYTES_MAX: usize = i16::MAX as usize;
