//! The thread of a driver: waits for messages and the alarm.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use super::Receiver;
use crate::driver::{Driver, Ended, Machine, Message};

/// Drives a broker until it ends, on this thread.
pub(crate) fn drive<M: Machine>(mut driver: Driver<M>, inbox: &Receiver<Message>) -> Ended {
    let mut ended = driver.begin();
    let ended = loop {
        match ended {
            Some(ended) => break ended,
            None => ended = driver.hear(next(inbox, driver.wait())),
        }
    };
    let (disk, compute) = driver.end();
    if ended.is_orderly() {
        disk.finish();
    } else {
        disk.abandon();
    }
    compute.finish();
    ended
}

/// The next message, or `None` when the alarm goes first. A full inbox does not hold the alarm up.
fn next(inbox: &Receiver<Message>, wait: Option<Duration>) -> Option<Message> {
    let gone = "the node holds an inbox as long as it has a driver";
    match wait {
        None => Some(inbox.recv().expect(gone)),
        Some(Duration::ZERO) => None,
        Some(wait) => match inbox.recv_timeout(wait) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("{gone}"),
        },
    }
}
