//! What all threads of a run share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::java::Java;
use crate::python::Python;
use crate::record::Recorder;

/// What all threads of a run share.
#[derive(Debug)]
pub struct Context {
    /// The history.
    pub recorder: Recorder,
    /// How clients are started.
    pub python: Python,
    /// How producers are started, if they are of Java's client.
    pub java: Option<Java>,
    /// Where they connect to.
    pub bootstrap: String,
    /// The topic they write and read.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// Records each producer sends in a second.
    pub rate: u64,
    /// How long anything may take in a healthy cluster.
    pub patience: Duration,
    /// What is drawn is drawn from it.
    pub seed: u64,
    /// The next value to be sent.
    pub values: AtomicU64,
    /// Producers send no more.
    pub stop: AtomicBool,
    /// Consumers and probes end.
    pub quiet: AtomicBool,
    /// What was noticed beside the history.
    pub notes: Mutex<Notes>,
}

/// What was noticed beside the history.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// Idempotent producers that were told of a broken sequence: a promise broken.
    pub broken_sequences: Vec<String>,
    /// Other errors after which a producer could not go on.
    pub fatal: Vec<String>,
    /// How often a consumer was told that its position is not there.
    pub positions_lost: u64,
    /// How often a partition's leader was another than the last time somebody looked.
    pub leader_changes: u64,
}

impl Context {
    /// A value that nobody had before.
    pub fn next_value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether producers are to stop.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether everybody is to stop.
    pub fn quieting(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    /// Notes something.
    pub fn note(&self, how: impl FnOnce(&mut Notes)) {
        how(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A producer can not go on.
    pub fn fatal(&self, producer: u64, error: &str, sequence: bool) {
        let sentence = format!("Producer {producer} was told by librdkafka that it can not go on: {error}");
        self.note(|notes| if sequence { &mut notes.broken_sequences } else { &mut notes.fatal }.push(sentence));
    }
}
