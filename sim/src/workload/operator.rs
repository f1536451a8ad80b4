//! The operator: looks every now and then who asks to be admitted, and admits them.

use tidelog_core::client::{CallId, Config, Failure, Operation, Outcome, QuorumMember};
use tidelog_core::id::{DirectoryId, NodeId};
use tidelog_core::rng::Rng;
use tidelog_core::time::Duration;

use crate::program::{Calls, Desk, Program, another_life};
use crate::scenario::SECOND;

/// See the module.
#[derive(Debug)]
pub(super) struct Operator {
    config: Config,
    rng: Rng,
    calls: Calls,
    busy: bool,
}

impl Operator {
    pub(super) fn new(mut config: Config, rng: Rng) -> Self {
        config.request_timeout = Duration::from_millis(2_000);
        config.delivery_timeout = Duration::from_millis(4_000);
        Self { config, rng, calls: Calls::default(), busy: false }
    }

    fn ask(&mut self, operation: Operation, desk: &mut Desk<'_>) {
        self.busy = true;
        desk.calls.push((self.calls.mint(), operation));
    }

    fn rest(&mut self, desk: &mut Desk<'_>) {
        self.busy = false;
        desk.wake = Some(desk.now + self.rng.between(SECOND / 2, 3 * SECOND));
    }
}

impl Program for Operator {
    fn config(&self) -> Config {
        self.config.clone()
    }

    fn wake(&mut self, desk: &mut Desk<'_>) {
        if !self.busy {
            self.ask(Operation::DescribeQuorum, desk);
        }
    }

    fn completed(&mut self, _call: CallId, result: Result<Outcome, Failure>, desk: &mut Desk<'_>) {
        let Ok(Outcome::Quorum { members, .. }) = result else {
            return self.rest(desk);
        };
        // Now this one, now that: one who can not be admitted is in nobody's way.
        let asks = |member: &&QuorumMember| !member.voter && member.end.is_none();
        let asking = members.iter().filter(asks).filter(|member| member.directory != DirectoryId::ZERO);
        let asking = self.rng.pick(&asking.collect::<Vec<_>>()).copied();
        match asking.and_then(|member| Some((u32::try_from(member.node).ok()?, member.directory))) {
            Some((node, directory)) => self.ask(Operation::Admit { node: NodeId(node), directory }, desk),
            None => self.rest(desk),
        }
    }

    fn restarted(&mut self, life: u64) -> Config {
        self.busy = false;
        another_life(&self.config, life)
    }

    fn drain(&mut self) {}

    fn idle(&self) -> bool {
        // It goes on for as long as the run does; whom it forgot is seen at the brokers.
        true
    }

    fn waiting_for(&self) -> String {
        "somebody who asks to be admitted".to_owned()
    }
}
