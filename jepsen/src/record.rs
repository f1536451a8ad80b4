//! The history as it is made: many threads tell it what they ask and what they are told, on one clock.
//!
//! Promises: an operation is invoked here before its request leaves for the client process, and ends here after the client said
//! so, so that what the history calls earlier was earlier. Its clock is monotonic and starts with it.
//!
//! Of what one client does, the consumer is the exception: librdkafka fetches ahead, so that a record may have been read before
//! the poll that returns it began. No checker builds on the beginning of a poll.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidelog_properties::History;
use tidelog_properties::history::{Op, OpId, Outcome, Process};

/// A history that many threads write.
#[derive(Clone, Debug)]
pub struct Recorder {
    started: Instant,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    history: History,
    /// The last acknowledged write of each partition, by when it was told.
    acknowledged: BTreeMap<i32, Duration>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { started: Instant::now(), inner: Arc::default() }
    }
}

impl Recorder {
    /// Since the recorder was made.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// `process` asks for `op` now.
    pub fn invoke(&self, process: Process, op: Op) -> OpId {
        let mut inner = self.lock();
        inner.history.invoke(process, self.micros(), op)
    }

    /// The client of `id` may have sent it again.
    pub fn retry(&self, id: OpId) {
        let mut inner = self.lock();
        inner.history.retry(id, self.micros());
    }

    /// `id` ends now.
    pub fn complete(&self, id: OpId, outcome: Outcome) {
        let mut inner = self.lock();
        let now = self.now();
        if let (Outcome::Sent { .. }, Some(Op::Send(send))) = (&outcome, inner.history.record(id).map(|it| &it.op)) {
            let partition = send.partition;
            inner.acknowledged.insert(partition, now);
        }
        inner.history.complete(id, self.micros(), outcome);
    }

    /// An operation that takes no time.
    pub fn instant(&self, process: Process, op: Op) {
        let id = self.invoke(process, op);
        self.complete(id, Outcome::Done);
    }

    /// When each partition last acknowledged a write.
    pub fn acknowledged(&self) -> BTreeMap<i32, Duration> {
        self.lock().acknowledged.clone()
    }

    /// All of it so far.
    pub fn history(&self) -> History {
        self.lock().history.clone()
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A thread that panicked while it held the lock left a history that is whole up to its last event.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
