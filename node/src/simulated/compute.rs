//! Computations, done at once: they are pure, so nobody can tell.

use tidelog_core::compute::Job;
use tidelog_core::effect::Input;
use tidelog_core::id::JobId;

use crate::driver::{Inbox, Message};

/// Does what the core wants computed.
#[derive(Debug)]
pub(crate) struct Compute {
    inbox: Inbox,
}

impl Compute {
    /// Answers to `inbox`.
    pub(crate) fn start(inbox: &Inbox) -> Self {
        Self { inbox: inbox.clone() }
    }

    /// Does a computation.
    pub(crate) fn submit(&self, job: JobId, input: Job) {
        let output = input.run();
        self.inbox.send(Message::Input(Input::Computed { job, output }));
    }
}
