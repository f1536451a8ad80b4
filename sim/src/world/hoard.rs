//! Messages at the worst moments: copies of a few are kept, and one is delivered when the next of its kind has counted.
//!
//! The network may deliver a copy whenever it likes (`How::Late` is drawn blindly); the moments that hurt are rare. A command that
//! comes again once another was applied, a vote once somebody was elected, an entry that changes the members once they have changed,
//! a word about who is in the cluster once the disk of whoever said it is gone, or whoever hears it was started again.
//! The same budget serves power losses at marks of groups whose configuration is not settled.

use bytes::Bytes;
use tidelog_core::id::{GroupId, NodeId};
use tidelog_core::peer::{Envelope, MessageKind};
use tidelog_core::rng::Rng;

use super::{Happening, Phase, World};
use crate::net::How;
use crate::scenario::SECOND;
use crate::streams;
use crate::table;

/// What a kept message is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Who is in which cluster.
    Formation,
    /// A command for the controller.
    Command,
    /// An entry that changes the members of a group.
    Members(GroupId),
    /// A vote, or its answer.
    Vote(GroupId),
    /// What a follower says that it holds.
    Ack(GroupId),
    /// A leader asks for its succession.
    HandOver(GroupId),
    /// Files of a checkpoint.
    Copy(GroupId),
}

#[derive(Debug)]
struct Kept {
    kind: Kind,
    from: u32,
    to: u32,
    frame: Bytes,
    /// The disk of its sender is gone: no later word takes its place.
    last: bool,
}

/// The copies that are kept, and how many more may be delivered.
#[derive(Debug)]
pub(super) struct Hoard {
    rng: Rng,
    left: u64,
    kept: Vec<Kept>,
}

/// The most copies that are kept at a time.
const KEPT_MAX: usize = 48;
/// So many marks in a thousand of groups whose configuration is not settled meet a power loss.
const UNSETTLED: u64 = 400;
/// So many damages in a thousand meet an administrator who deletes a topic at once.
const HURRIES: u64 = 700;

impl Hoard {
    pub(super) fn new(seed: u64, left: u64) -> Self {
        Self { rng: Rng::stream(seed, &[streams::HOARD]), left, kept: Vec::new() }
    }

    /// Keeps a copy, perhaps, of what a broker says.
    fn note(&mut self, from: u32, to: u32, envelope: &Envelope, frame: &Bytes) {
        if self.left == 0 {
            return;
        }
        let Some((kind, odds)) = kind(envelope) else { return };
        if !self.rng.per_mille(odds) {
            return;
        }
        let kept = Kept { kind, from, to, frame: frame.clone(), last: false };
        let same = |old: &Kept| (old.kind, old.from, old.to, old.last) == (kind, from, to, false);
        match self.kept.iter().position(same) {
            Some(at) => self.kept[at] = kept,
            None if self.kept.len() < KEPT_MAX => self.kept.push(kept),
            None => {}
        }
    }

    /// Takes one copy of those that fit, in so many cases of a thousand.
    fn take(&mut self, odds: u64, fits: impl Fn(&Kept) -> bool) -> Option<Kept> {
        let at = self.kept.iter().position(fits)?;
        if self.left == 0 || !self.rng.per_mille(odds) {
            return None;
        }
        self.left -= 1;
        Some(self.kept.remove(at))
    }
}

/// What an envelope is about, if a copy of it may hurt, and how many in a thousand are kept.
fn kind(envelope: &Envelope) -> Option<(Kind, u64)> {
    if envelope.formation.is_some() {
        return Some((Kind::Formation, 700));
    }
    if !envelope.commands.is_empty() {
        return Some((Kind::Command, 500));
    }
    let of_raft = envelope.messages.iter().find_map(|message| match message.raft.kind {
        MessageKind::Append => {
            let changes = message.raft.entries.iter().any(|entry| entry.kind != 0);
            changes.then_some((Kind::Members(message.group), 700))
        }
        MessageKind::Vote | MessageKind::VoteResponse => Some((Kind::Vote(message.group), 200)),
        MessageKind::TimeoutNow => Some((Kind::HandOver(message.group), 700)),
        MessageKind::AppendResponse if !message.raft.reject => Some((Kind::Ack(message.group), 30)),
        MessageKind::AppendResponse
        | MessageKind::Heartbeat
        | MessageKind::HeartbeatResponse
        | MessageKind::PreVote
        | MessageKind::PreVoteResponse => None,
    });
    of_raft.or_else(|| envelope.copies.first().map(|copy| (Kind::Copy(copy.group), 30)))
}

impl World {
    /// A broker speaks to another.
    pub(super) fn hoard(&mut self, from: u32, to: u32, envelope: &Envelope, frame: &Bytes) {
        if self.phase == Phase::Chaos {
            self.hoard.note(from, to, envelope, frame);
        }
    }

    fn deliver_kept(&mut self, odds: u64, fits: impl Fn(&Kept) -> bool, delay: impl FnOnce(&mut Rng) -> u64) {
        if self.phase != Phase::Chaos {
            return;
        }
        if let Some(Kept { from, to, frame, .. }) = self.hoard.take(odds, fits) {
            let at = self.now + delay(&mut self.hoard.rng);
            self.tally.fault("kept_message");
            self.queue.push(at, Happening::Peer { from, to, frame, how: How::Late });
        }
    }

    /// Something of this kind has counted: an earlier one comes again.
    pub(super) fn counted(&mut self, kind: Kind, to: Option<u32>) {
        let odds = match kind {
            Kind::Formation => 700,
            Kind::Command => 300,
            Kind::Members(_) => 500,
            Kind::Vote(_) | Kind::Ack(_) => 500,
            Kind::HandOver(_) => 500,
            Kind::Copy(_) => 600,
        };
        let fits = |kept: &Kept| kept.kind == kind && to.is_none_or(|to| kept.to == to);
        self.deliver_kept(odds, fits, |rng| table::AMBUSH.draw(rng));
    }

    /// The disk of a broker is gone: what it said is nobody's word any more, and comes in time.
    pub(super) fn keep_last_words(&mut self, place: u32) {
        for kept in &mut self.hoard.kept {
            kept.last |= kept.kind == Kind::Formation && kept.from == place;
        }
        let fits = |kept: &Kept| kept.last && kept.from == place;
        self.deliver_kept(300, fits, |rng| rng.between(10_000, 3 * SECOND));
    }

    /// A broker starts: it hears what was said to an earlier life of it.
    pub(super) fn told_before(&mut self, place: u32) {
        for _ in 0..2 {
            let fits = |kept: &Kept| kept.kind == Kind::Formation && kept.to == place && kept.last;
            self.deliver_kept(800, fits, |rng| rng.between(5_000, 200_000));
        }
        let fits = |kept: &Kept| kept.kind == Kind::Formation && kept.to == place;
        self.deliver_kept(300, fits, |rng| rng.between(5_000, SECOND));
    }

    /// A group goes by a configuration, joint or not.
    pub(super) fn configured(&mut self, place: u32, group: GroupId, joint: bool) {
        match joint {
            true => self.unsettled.insert((place, group)),
            false => self.unsettled.remove(&(place, group)),
        };
        self.counted(Kind::Members(group), None);
    }

    /// A mark is durable: now and then the power goes, if the members of the group are just changing.
    pub(super) fn plot_mark(&mut self, place: u32, group: GroupId) {
        let unsettled = self.unsettled.contains(&(place, group));
        if self.phase != Phase::Chaos || self.hoard.left == 0 || !unsettled || !self.hoard.rng.per_mille(UNSETTLED) {
            return;
        }
        self.hoard.left -= 1;
        self.tally.fault("unsettled_mark");
        let at = self.now + table::AMBUSH.draw(&mut self.hoard.rng);
        let life = self.hosts[place as usize].life;
        self.queue.push(at, Happening::Ambush { place, life });
    }

    /// A broker is to get new ids: now and then a topic is deleted, and made again, meanwhile.
    pub(super) fn hurry_admin(&mut self) {
        let early = self.now + 20 * SECOND < self.scenario.chaos;
        if self.scenario.held == 0 || self.phase != Phase::Chaos || !early || !self.hoard.rng.per_mille(HURRIES) {
            return;
        }
        self.board.hurry();
        let at = self.now + self.hoard.rng.between(1, SECOND);
        if let Some(at) = self.clients[0].thinks.set(at) {
            self.queue.push(at, Happening::ProgramWake { client: 0, at });
        }
    }

    /// The founder has written who is in the cluster: each disk it names was asked in this life of it, so none was gone before.
    pub(super) fn founded(&mut self, place: u32, members: &[(NodeId, tidelog_core::id::DirectoryId)]) {
        let host = &self.hosts[place as usize];
        let Some(process) = host.process.as_ref().filter(|process| process.wrote_word) else { return };
        let gone = members.iter().find_map(|(node, directory)| {
            let (_, when) = self.gone.iter().find(|(gone, _)| gone == directory)?;
            (*when < process.born).then_some(*node)
        });
        if let Some(member) = gone {
            self.oracle.founded_on_nothing(place + 1, member.0);
        }
    }
}
