//! Suspended groups: damage in the journal took what this broker had promised there.
//!
//! A group that the journal does not give back whole may have lost a vote or an acknowledgement: under the replica id it had, this
//! broker says nothing any more. It asks for new ids instead: in the controller's group whoever hears of it asks for it
//! ([`crate::formation`]), in the others it asks itself ([`RenewReplicas`]) once it takes part in the controller. Under a new id it
//! begins empty, and copies what it shall hold from whoever leads. Only an id that was minted for a wish of *this* life is believed:
//! any other may have been used, and forgotten.
//!
//! Where the others are no majority (of one or two replicas) nobody could make it again: such a partition stays suspended, and
//! clients hear of a storage error, until it is deleted. Its files are named by nothing any more, so meanwhile no file is removed
//! that may be one of them, nor the former files of what was copied anew. Does not know how damage is found ([`crate::journal`] does).

use std::collections::BTreeSet;

use super::admin::Purpose;
use super::{Broker, Phase};
use crate::controller::command::{Command, Lost, RenewReplicas};
use crate::controller::image::{Applied, Image, Rejection};
use crate::effect::Effects;
use crate::event::Event;
use crate::id::{GroupId, Index};
use crate::journal::Recovered;
use crate::kafka::ErrorCode;
use crate::marks;
use crate::mutants::Mutant;
use crate::time::Instant;

/// In which groups this broker is nobody.
#[derive(Debug, Default)]
pub(super) struct Suspended {
    groups: BTreeSet<GroupId>,
    /// Damage hit who knows what: all groups but these.
    all_but: Option<BTreeSet<GroupId>>,
    /// Those that nobody can make again.
    helpless: BTreeSet<GroupId>,
    /// The controller was asked for new ids.
    asked: bool,
}

impl Suspended {
    fn of(recovered: &Recovered) -> Self {
        let all_but = recovered.all_suspended.then(|| recovered.groups.keys().copied().collect());
        Self { groups: recovered.suspended.clone(), all_but, ..Self::default() }
    }

    /// Whether this broker is nobody in the group.
    pub(super) fn holds(&self, group: GroupId) -> bool {
        self.waits_for(group) || self.helpless.contains(&group)
    }

    /// Whether nobody can make again what this broker, alone, had of the group.
    pub(super) fn is_helpless(&self, group: GroupId) -> bool {
        self.helpless.contains(&group)
    }

    /// Whether it is known by name that this broker is nobody in the group.
    pub(super) fn names(&self, group: GroupId) -> bool {
        self.groups.contains(&group) || self.helpless.contains(&group)
    }

    fn waits_for(&self, group: GroupId) -> bool {
        let unnamed = |whole: &BTreeSet<GroupId>| !whole.contains(&group);
        self.groups.contains(&group) || self.all_but.as_ref().is_some_and(unnamed)
    }

    /// Whether new ids are waited for.
    pub(super) fn waits(&self) -> bool {
        !self.groups.is_empty() || self.all_but.is_some()
    }

    /// Whether some files on the disk may be of such groups.
    pub(super) fn may_own_files(&self) -> bool {
        self.waits() || !self.helpless.is_empty()
    }

    /// What the controller is asked for.
    fn lost(&self) -> Lost {
        match &self.all_but {
            Some(whole) => Lost::AllBut(whole.clone()),
            None => Lost::Only(self.groups.clone()),
        }
    }
}

impl Broker {
    /// What recovery of the journal could not give back.
    pub(super) fn suspend(&mut self, recovered: &Recovered, out: &mut Effects) {
        if recovered.suspended.is_empty() && !recovered.all_suspended {
            return;
        }
        out.event(Event::Sometimes(marks::SUSPENDED));
        self.suspended = Suspended::of(recovered);
        if self.config.mutants.planted(Mutant::SuspendedKeepsIdentity) {
            for group in std::mem::take(&mut self.suspended).groups {
                self.journal().forget(group);
            }
            self.journal().absolve(Vec::new());
        }
        if self.suspended.holds(GroupId::CONTROLLER) {
            let boot = self.boot.counter;
            self.formation().renew(boot);
        }
    }

    /// It is durable that this broker is another replica of the controller: what it was there is given up.
    pub(super) fn controller_renewed(&mut self, out: &mut Effects) {
        self.journal().forget(GroupId::CONTROLLER);
        self.suspended.groups.remove(&GroupId::CONTROLLER);
        if let Some(whole) = &mut self.suspended.all_but {
            whole.insert(GroupId::CONTROLLER);
        }
        self.start_if_restored(out);
    }

    /// Asks for new replica ids, once the controller listens to this life.
    pub(super) fn renew_replicas(&mut self) {
        if !self.suspended.waits() || self.suspended.asked || !self.registered() {
            return;
        }
        self.suspended.asked = true;
        let (origin, directory, lost) = (self.origin(), self.config.directory, self.suspended.lost());
        let known = self.image().map_or(Index(0), Image::applied);
        // There is never another wish under way: what came of this one is seen, or it was applied unseen and can not be again.
        let command = Command::RenewReplicas(RenewReplicas { origin, directory, lost, known });
        self.submit(&command, Purpose::Renew, Instant(u64::MAX));
    }

    /// What came of that.
    pub(super) fn replicas_renewed(&mut self, result: Result<Applied, Rejection>, out: &mut Effects) {
        self.suspended.asked = false;
        let Ok(Applied::ReplicasRenewed { groups, helpless, .. }) = result else { return };
        let suspended = std::mem::take(&mut self.suspended);
        // What is named and neither renewed nor helpless is no group any more.
        for group in suspended.groups.iter().filter(|group| !helpless.contains(group)) {
            self.journal().forget(*group);
        }
        if suspended.all_but.is_some() {
            self.journal().absolve(helpless.clone());
        }
        out.event(Event::Sometimes(marks::REPLICAS_RENEWED));
        let node = self.config.node;
        if let Some((first, more)) = groups.split_first() {
            let others = if more.is_empty() { String::new() } else { format!(" and of {} more", more.len()) };
            let name = self.name_of(*first);
            let why = "its journal had lost what it promised there";
            out.event(Event::Note(format!(
                "broker {node} is another replica of {name}{others} now, and copies what it holds anew: {why}"
            )));
        }
        for group in &helpless {
            let name = self.name_of(*group);
            let what = "a part of its journal is damaged, and without it there is no majority of the replicas";
            let then = "what it held can not be served, and no file is cleared away, until the topic is deleted";
            out.event(Event::Note(format!("broker {node}, {name}: {what}: {then}")));
        }
        self.suspended.helpless = helpless.into_iter().collect();
        self.reconcile(out);
    }

    /// The topic of such a group is deleted.
    pub(super) fn suspended_dropped(&mut self, group: GroupId) {
        let helpless = self.suspended.helpless.remove(&group);
        if self.suspended.groups.remove(&group) || helpless {
            self.journal().forget(group);
        }
    }

    /// What clients hear of a partition that this broker has no replica of.
    pub(super) fn nobody(&self, group: GroupId) -> ErrorCode {
        if self.suspended.is_helpless(group) { ErrorCode::KafkaStorageError } else { ErrorCode::NotLeaderOrFollower }
    }

    /// What of it keeps the broker from being ready.
    pub(super) fn waits_for_replicas(&self) -> Option<&'static str> {
        let waits = matches!(self.phase, Phase::Running) && self.suspended.waits();
        waits.then_some("new replica ids: its journal was damaged")
    }
}
