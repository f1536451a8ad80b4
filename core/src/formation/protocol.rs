//! Who says what to whom, and who believes what.

use super::{Applicant, Charter, Formation, Heard, Message, Pledge, Record, Report, Role, Seat, Task};
use crate::id::{ClusterId, DirectoryId, NodeId, ReplicaId};
use crate::limits::STRANGERS_MAX;
use crate::marks;
use crate::mutants::Mutant;
use crate::rng::{Rng, mix};
use crate::time::{Duration, Instant};

/// Names the stream that cluster ids come from.
const CLUSTER_STREAM: u64 = 0x666f_726d;

impl Formation {
    pub(super) fn founding_node(&self) -> NodeId {
        *self.setup.voters.first().expect("a list has at least this node")
    }

    pub(super) fn is_founder(&self) -> bool {
        self.founding_node() == self.setup.node
    }

    /// The other listed voters.
    pub(super) fn others(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.setup.voters.iter().copied().filter(|node| *node != self.setup.node)
    }

    pub(super) fn is_pledged(&self, node: NodeId) -> bool {
        self.heard.get(&node).is_some_and(|heard| heard.pledge == Some(self.setup.directory))
    }

    /// Time has passed. Nothing is done before the disk was read.
    pub fn tick(&mut self, now: Instant) {
        if self.asks() && now >= self.next_say {
            let first = self.next_say == Instant::default();
            self.next_say = now + self.setup.every;
            if first && self.setup.mutants.planted(Mutant::FormsLate) {
                self.next_say = now + Duration::from_secs(6);
                return;
            }
            self.found();
            self.tell_all();
        }
        // Not at once again where the disk had no room for it.
        if self.owes_word()
            && now >= self.next_word
            && let Some(record) = self.record.clone()
        {
            self.next_word = now + self.setup.every;
            self.task = Task::Writing { record, opened: self.opened_now, step: None };
        }
    }

    /// When it next wants to be woken, if it does.
    pub fn next_wake(&self) -> Option<Instant> {
        let waits = self.asks() && !matches!(self.task, Task::Stopped);
        if self.owes_word() { Some(self.next_word) } else { waits.then_some(self.next_say) }
    }

    /// Whether it says again and again what it waits for.
    fn asks(&self) -> bool {
        self.open && (self.membership_charter().is_none() || self.renews > 0)
    }

    /// Another broker said something.
    pub fn receive(&mut self, from: NodeId, message: Message) {
        if !self.open || matches!(self.task, Task::Stopped) || from == self.setup.node {
            return;
        }
        match message {
            Message::Hello { directory, voters, pledge, nonce, echo } => {
                let heard = Heard { directory, pledge };
                self.hello(from, voters, heard, (nonce, echo));
            }
            Message::Formed { directory, charter } => self.formed(from, directory, charter),
            Message::Join { directory, cluster, host, port, renews } => {
                self.join(from, cluster, Applicant { directory, host, port, renews });
            }
            Message::Admitted { directory: _, cluster, admitted, replica, renews } => {
                self.admitted((cluster, admitted, renews), replica);
            }
        }
    }

    fn hello(&mut self, from: NodeId, voters: Vec<NodeId>, heard: Heard, (nonce, echo): (u64, u64)) {
        if self.membership_charter().is_some() {
            return self.pass_on(from);
        }
        if matches!(self.record, Some(Record::Charter(..))) {
            return;
        }
        if !self.same_list(from, voters) {
            // Whom this broker would not tell otherwise should know as well.
            if !self.setup.voters.contains(&from) {
                self.say_hello(from);
            }
            return;
        }
        if !self.setup.voters.contains(&from) {
            return;
        }
        self.echoes.insert(from, nonce);
        let fresh = echo == self.nonce();
        let believed = fresh || self.setup.mutants.planted(Mutant::StalePledge);
        if self.is_founder() {
            if believed && heard.pledge == Some(self.setup.directory) {
                self.heard.insert(from, heard);
                self.found();
            } else {
                if fresh {
                    self.heard.remove(&from);
                }
                self.say_hello(from);
            }
        } else if from == self.founding_node() && self.setup.voters.contains(&self.setup.node) {
            self.pledge(from, heard.directory, fresh);
        }
    }

    /// The founder says that its disk is empty. It is answered once this disk says "pledged".
    fn pledge(&mut self, from: NodeId, founder: DirectoryId, fresh: bool) {
        let before = match &self.record {
            Some(Record::Pledge(pledge)) => Some(pledge.founder),
            Some(Record::Charter(..)) | None => None,
        };
        if before == Some(founder) || (before.is_some() && !fresh) {
            return self.say_hello(from);
        }
        if before.is_some() {
            self.reports.push(Report::Sometimes(marks::PLEDGED_AGAIN));
        }
        self.write(Record::Pledge(Pledge { founder }));
    }

    /// Another number for each life and each record.
    fn nonce(&self) -> u64 {
        mix(self.setup.seed ^ self.written.rotate_left(32)) | 1
    }

    /// Writes the charter, if everybody has said the word.
    pub(super) fn found(&mut self) {
        let unformed = !matches!(self.record, Some(Record::Charter(..)));
        let all = self.others().all(|node| self.is_pledged(node));
        if !(self.idle() && unformed && self.is_founder() && all) {
            return;
        }
        let setup = &self.setup;
        let directory = |node: NodeId| match self.heard.get(&node) {
            Some(heard) if node != setup.node => heard.directory,
            _ => setup.directory,
        };
        let seat = |(node, replica): (&NodeId, u64)| Seat {
            node: *node,
            directory: directory(*node),
            replica: ReplicaId(replica),
        };
        let members: Vec<Seat> = setup.voters.iter().zip(1..).map(seat).collect();
        let charter = Charter { cluster: self.mint(), founder: setup.directory, members };
        let own = charter.members.iter().find(|seat| seat.node == setup.node).expect("the founder is a voter").replica;
        self.write(Record::Charter(charter, Role::Member(own)));
    }

    /// As unique as the directory, and another one for each attempt.
    fn mint(&self) -> ClusterId {
        let mut rng = Rng::stream(self.setup.seed, &[CLUSTER_STREAM]);
        let mut id = self.setup.directory.0;
        id.iter_mut().for_each(|byte| *byte ^= rng.next_u64() as u8);
        if id == [0; 16] { ClusterId([1; 16]) } else { ClusterId(id) }
    }

    /// A member says of which cluster it is.
    fn formed(&mut self, from: NodeId, directory: DirectoryId, charter: Charter) {
        if let Some(own) = self.membership_charter() {
            let (own, other) = (own.cluster, charter.cluster);
            if own != other {
                self.complain(from, |from| format!("broker {from} is of cluster {other}, this one of {own}"));
            }
            return;
        }
        if !self.same_list(from, charter.voters().collect()) || !self.idle() {
            return;
        }
        let any_disk = self.setup.mutants.planted(Mutant::WipedKeepsIdentity);
        let own = |seat: &&Seat| seat.node == self.setup.node && (any_disk || seat.directory == self.setup.directory);
        let role = charter.members.iter().find(own).map_or(Role::Observer, |seat| Role::Member(seat.replica));
        match role {
            Role::Member(_) => {
                // The founder's own word counts only for the disk this one is pledged to: it may be a late word of a wiped
                // one, and nobody else may have taken that charter. Of who passes it on we know that somebody did: only
                // members do, those that founded the cluster and those that were admitted since.
                let passed_on = charter.founder != directory;
                let pledged = matches!(&self.record, Some(Record::Pledge(own)) if own.founder == charter.founder);
                if !passed_on && !pledged {
                    return;
                }
                if passed_on {
                    self.reports.push(Report::Sometimes(marks::CHARTER_PASSED_ON));
                }
            }
            Role::Observer => {
                if self.cluster() == charter.cluster {
                    return;
                }
                self.reports.push(Report::Sometimes(marks::BECAME_OBSERVER));
            }
        }
        self.write(Record::Charter(charter, role));
    }

    fn join(&mut self, from: NodeId, cluster: ClusterId, applicant: Applicant) {
        let Some(charter) = self.membership_charter() else { return };
        if charter.cluster != cluster {
            return self.pass_on(from);
        }
        self.asked.insert(from);
        let known = self.applicants.get(&from) == Some(&applicant);
        if known || (self.applicants.len() >= STRANGERS_MAX && !self.applicants.contains_key(&from)) {
            return;
        }
        let directory = applicant.directory;
        self.note(match applicant.renews {
            0 => format!("broker {from} asks to be admitted: the cluster was formed without its disk ({directory})"),
            _ => format!("broker {from} asks to be another replica of the controller: its journal was damaged"),
        });
        self.applicants.insert(from, applicant);
    }

    /// This broker's disk is admitted: from now on it is a member, under an id no other disk ever had. Or it was a member, and is
    /// one under an id that nobody had before this life of it asked.
    fn admitted(&mut self, answered: (ClusterId, DirectoryId, u64), replica: ReplicaId) {
        let Some(Record::Charter(charter, role)) = &self.record else { return };
        let founding = charter.members.iter().any(|seat| seat.replica == replica);
        let waits = *role == Role::Observer || self.renews > 0;
        if waits && answered == (charter.cluster, self.setup.directory, self.renews) && !founding && self.idle() {
            let charter = charter.clone();
            self.reports.push(Report::Sometimes(match self.renews {
                0 => marks::ADMITTED,
                _ => marks::CONTROLLER_RENEWED,
            }));
            self.write(Record::Charter(charter, Role::Member(replica)));
        }
    }

    /// Tells an applicant that it is admitted.
    pub fn welcome(&mut self, node: NodeId, admitted: DirectoryId, renews: u64, replica: ReplicaId) {
        if let Some(charter) = self.membership_charter() {
            let (directory, cluster) = (self.setup.directory, charter.cluster);
            self.sends.push((node, Message::Admitted { directory, cluster, admitted, replica, renews }));
        }
    }

    fn pass_on(&mut self, to: NodeId) {
        if let Some(charter) = self.membership_charter() {
            let message = Message::Formed { directory: self.setup.directory, charter: charter.clone() };
            self.sends.push((to, message));
        }
    }

    /// Something became durable: who waits for it is told at once.
    pub(super) fn tell(&mut self) {
        match &self.record {
            Some(Record::Pledge(_)) => self.say_hello(self.founding_node()),
            Some(Record::Charter(_, Role::Member(_))) if self.is_founder() => {
                let others: Vec<NodeId> = self.others().collect();
                others.into_iter().for_each(|node| self.pass_on(node));
            }
            Some(Record::Charter(_, Role::Observer)) => self.tell_all(),
            Some(Record::Charter(_, Role::Member(_))) | None => {}
        }
    }

    /// Says to everybody who may matter that this broker waits.
    fn tell_all(&mut self) {
        let others: Vec<NodeId> = self.others().collect();
        match &self.record {
            Some(Record::Charter(charter, role)) if *role == Role::Observer || self.renews > 0 => {
                let Self { setup, sends, renews, .. } = self;
                let join = Message::Join {
                    directory: setup.directory,
                    cluster: charter.cluster,
                    host: setup.host.clone(),
                    port: setup.port,
                    renews: *renews,
                };
                sends.extend(others.into_iter().map(|node| (node, join.clone())));
            }
            Some(Record::Charter(..)) => {}
            Some(Record::Pledge(_)) | None => others.into_iter().for_each(|node| self.say_hello(node)),
        }
    }

    fn say_hello(&mut self, to: NodeId) {
        let pledge = match &self.record {
            Some(Record::Pledge(pledge)) => Some(pledge.founder),
            Some(Record::Charter(..)) | None => None,
        };
        let hello = Message::Hello {
            directory: self.setup.directory,
            voters: self.setup.voters.clone(),
            pledge,
            nonce: self.nonce(),
            echo: self.echoes.get(&to).copied().unwrap_or(0),
        };
        self.sends.push((to, hello));
    }

    fn write(&mut self, record: Record) {
        assert!(self.asks(), "a member's record changes only when it asked");
        if self.idle() {
            self.task = Task::Writing { record, opened: self.opened_now, step: None };
        }
    }

    /// Whether a broker was told of the same list; each other list of it is noted once.
    fn same_list(&mut self, from: NodeId, voters: Vec<NodeId>) -> bool {
        if voters == self.setup.voters {
            self.differing.remove(&from);
            return true;
        }
        self.heard.remove(&from);
        let room = self.differing.len() < STRANGERS_MAX || self.differing.contains_key(&from);
        if room && self.differing.insert(from, voters.clone()).as_ref() != Some(&voters) {
            let what = self.other_lists();
            self.note(format!("waiting for {what}"));
        }
        false
    }

    /// Notes something about a broker, once.
    fn complain(&mut self, about: NodeId, what: impl FnOnce(NodeId) -> String) {
        if self.complained.len() < STRANGERS_MAX && self.complained.insert(about) {
            self.note(what(about));
        }
    }
}
