//! A broker that is asked to stop: it hands over what it leads, and ends when it leads nothing, or when its time is up.
//!
//! Does not know to whom leadership goes: each group chooses.

use super::{Broker, Phase};
use crate::effect::Effects;
use crate::id::GroupId;
use crate::mutants::Mutant;
use crate::time::Duration;

/// How long a broker that is to end may take to hand over what it leads.
pub(super) const HAND_OVER_MAX: Duration = Duration::from_secs(1);

impl Broker {
    /// Whether a broker that is to end may do so before its time is up.
    pub(super) fn may_end(&mut self, out: &mut Effects) -> bool {
        let mutants = self.config.mutants;
        mutants.planted(Mutant::StopKeepsLeading) || (!self.hand_over(out) && !mutants.planted(Mutant::StopLingers))
    }

    /// Hands over what this broker leads, wherever somebody can take it. False once there is nothing left to hand over.
    fn hand_over(&mut self, out: &mut Effects) -> bool {
        if !matches!(self.phase, Phase::Running) {
            return false;
        }
        let (now, memory) = (self.now.mono, self.ailing_memory());
        let leading = self.replicas.iter_mut().filter_map(|(group, replica)| {
            let unfit = replica.ailing(now, memory);
            replica.raft.hand_over(&unfit).then_some(*group)
        });
        let leading: Vec<GroupId> = leading.collect();
        self.touched.extend(&leading);
        self.settle(out);
        !leading.is_empty()
    }
}
