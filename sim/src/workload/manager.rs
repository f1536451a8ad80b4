//! After the heal: makes a topic, writes a record to it, and deletes it. Each of the three takes a moment.
//!
//! The topic is nobody else's, so its history is not written down.

use bytes::Bytes;
use tidelog_core::client::{CallId, Config, Failure, Operation, Outcome, Record};

use crate::program::{Calls, Desk, Program};

/// Microseconds between a failure and the next attempt.
const AGAIN: u64 = 100_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Create,
    Write,
    Delete,
    Done,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Manager {
    config: Config,
    name: String,
    replication_factor: i16,
    calls: Calls,
    stage: Stage,
    waits: bool,
    last_failure: String,
}

impl Manager {
    pub(super) fn new(config: Config, name: String, replication_factor: i16) -> Self {
        let last_failure = "no answer yet".to_owned();
        Self {
            config,
            name,
            replication_factor,
            calls: Calls::default(),
            stage: Stage::Create,
            waits: false,
            last_failure,
        }
    }
}

impl Program for Manager {
    fn config(&self) -> Config {
        self.config.clone()
    }

    fn wake(&mut self, desk: &mut Desk<'_>) {
        if self.waits {
            return;
        }
        let name = self.name.clone();
        let operation = match self.stage {
            Stage::Create => {
                let replication_factor = self.replication_factor;
                // Clocks are hours apart: what its records say of their time is no matter here.
                let configs = vec![("message.timestamp.after.max.ms".to_owned(), i64::MAX.to_string())];
                Operation::CreateTopic { name, partitions: 2, replication_factor, configs }
            }
            Stage::Write => {
                let record = Record { value: Some(Bytes::from_static(b"x")), ..Record::default() };
                Operation::Produce { topic: name, partition: Some(1), record }
            }
            Stage::Delete => Operation::DeleteTopic { name },
            Stage::Done => return,
        };
        self.waits = true;
        desk.calls.push((self.calls.mint(), operation));
    }

    fn completed(&mut self, _call: CallId, result: Result<Outcome, Failure>, desk: &mut Desk<'_>) {
        self.waits = false;
        desk.wake = Some(desk.now + 1);
        match result {
            Ok(_) => {
                self.stage = match self.stage {
                    Stage::Create => Stage::Write,
                    Stage::Write => Stage::Delete,
                    Stage::Delete | Stage::Done => Stage::Done,
                };
            }
            Err(failure) => {
                self.last_failure = failure.to_string();
                desk.wake = Some(desk.now + AGAIN);
            }
        }
    }

    fn drain(&mut self) {}

    fn idle(&self) -> bool {
        self.stage == Stage::Done
    }

    fn waiting_for(&self) -> String {
        let what = match self.stage {
            Stage::Create => "the creation of a topic",
            Stage::Write => "the first record of a topic",
            Stage::Delete => "the deletion of a topic",
            Stage::Done => "nothing",
        };
        format!("{what} (manager; {})", self.last_failure)
    }
}
