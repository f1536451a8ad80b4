//! One turn of the wheel: ticks, every touched group through Raft and its state machine, then what is left to ask for.

use std::collections::BTreeSet;

use super::machine::Outcome;
use super::replica::Replica;
use super::submit::COMMANDS_PER_ENVELOPE_MAX;
use super::{Broker, Owner, Phase, Route, Waiting};
use crate::controller::image::Image;
use crate::effect::{DiskCommand, DiskResult, Effect, Effects, Halt};
use crate::event::Event;
use crate::formation::Formation;
use crate::id::{GroupId, Index, NodeId, Term};
use crate::journal::Ticket;
use crate::kafka::ErrorCode;
use crate::limits::{ENVELOPE_PAYLOAD_BYTES_MAX, STRANGE_ROUTES_MAX};
use crate::log;
use crate::mutants::Mutant;
use crate::peer::{Envelope, GroupMessage};
use crate::raft::{Output, Refused, Token};

impl Broker {
    /// What time alone brings: ticks, deadlines, gossip, registration, the seal of an idle journal.
    pub(super) fn tick(&mut self, out: &mut Effects) {
        let now = self.now.mono;
        if now >= self.next_tick {
            self.next_tick = now + self.config.settings.tick;
            let checkpoint_bytes = self.config.settings.checkpoint_bytes;
            for (group, replica) in &mut self.replicas {
                replica.raft.tick();
                if replica.raft.campaigning() && self.routes.get(group).is_some_and(|it| it.term <= replica.raft.term())
                {
                    // Whoever said that it leads was not heard for too long. If it still does, it says so again soon.
                    self.routes.remove(group);
                    self.admin_changed = true;
                }
                replica.machine.log.flush();
                if replica.wants_checkpoint(checkpoint_bytes) || replica.raft.lacks_checkpoint() {
                    replica.begin_checkpoint();
                }
                self.touched.insert(*group);
                self.thirsty.insert(*group);
            }
            if std::mem::take(&mut self.journal_full) || self.journal().is_full() {
                self.journal().retry();
            }
            self.copy_tick(out);
            self.heal_tick(out);
            self.sweep(out);
            self.patrol_tick();
            self.form_groups();
            self.prefer(out);
            self.seal_idle_journal();
            self.renew_replicas();
            self.submit_due(out);
            self.admin_changed = true;
            if !self.caught_up && self.waits_for().is_empty() {
                self.caught_up = true;
                if !self.others().is_empty() {
                    let partitions = self.replicas.keys().filter(|group| **group != GroupId::CONTROLLER).count();
                    let what = format!("caught up with the leaders of the controller and of {partitions} partitions");
                    out.event(Event::Progress(what));
                }
            }
        }
        if now >= self.next_look {
            self.next_look = now + self.config.settings.journal_look_every;
            self.journal().look();
        }
        if now >= self.next_gossip {
            self.next_gossip = now + self.config.settings.gossip_every;
            self.gossip();
            self.find_heirs();
        }
        if now >= self.next_register {
            self.next_register = now + super::REGISTER_EVERY;
            self.register();
        }
        while let Some(&(deadline, call)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            self.deadlines.pop_first();
            self.expired(call, out);
        }
    }

    fn seal_idle_journal(&mut self) {
        let (now, after) = (self.now.mono, self.config.settings.seal_after);
        if !self.journal().is_idle_unsealed() || self.config.mutants.planted(Mutant::NeverSealed) {
            self.idle_since = None;
        } else if let Some(since) = self.idle_since {
            if now.since(since) >= after {
                self.idle_since = None;
                self.journal().seal();
            }
        } else {
            self.idle_since = Some(now);
        }
    }

    /// Settles every group that something happened to, until none is left.
    pub(super) fn settle(&mut self, out: &mut Effects) {
        loop {
            if std::mem::take(&mut self.submissions.fresh) {
                self.submit_due(out);
            }
            // A group is touched again only when it applied something, so this comes to an end.
            while let Some(group) = self.touched.pop_first() {
                self.settle_group(group, out);
            }
            for call in std::mem::take(&mut self.thin) {
                self.produce_progress(call, out);
            }
            if std::mem::take(&mut self.admin_changed) {
                self.admin_progress(out);
            }
            if self.touched.is_empty() && !self.submissions.fresh {
                return;
            }
        }
    }

    pub(super) fn settle_group(&mut self, group: GroupId, out: &mut Effects) {
        let journal = self.journal.as_mut().expect("a running broker has a journal");
        let Some(replica) = self.replicas.get_mut(&group) else {
            return;
        };
        let was_serving = replica.raft.serving();
        let window_bytes = replica.raft.window_bytes();
        let mut output = Output::default();
        replica.raft.pump(journal, out, &mut output);
        let mut outcomes = Vec::new();
        let past = replica.appended();
        if !output.committed.is_empty() || !past.is_empty() || replica.healing.waits() {
            let mut committed = std::mem::take(&mut output.committed);
            committed.extend(past);
            let committed = replica.let_through(committed);
            if !committed.is_empty() {
                outcomes = replica.apply(committed, out);
                replica.applied(out, &mut output);
                // Applying may have made the group ready for more.
                self.touched.insert(group);
            }
        }
        if replica.raft.waits_for_disk() {
            self.writing.insert(group);
        }
        self.thirsty.insert(group);
        self.window_bytes = self.window_bytes - window_bytes + replica.raft.window_bytes();
        let serving = replica.raft.serving();
        let moved = !outcomes.is_empty() || serving != was_serving;
        self.deliver(group, output, out);
        for (token, index, outcome) in outcomes {
            self.came_of(group, token, index, outcome, out);
        }
        if serving && !was_serving {
            self.forming.insert(group);
            self.announce(group);
            self.admin_changed = true;
            if group == GroupId::CONTROLLER {
                self.register();
            }
        }
        if moved && !self.config.mutants.planted(Mutant::FetchesNotWoken) {
            self.wake_fetches(group, out);
        }
    }

    pub(super) fn deliver(&mut self, group: GroupId, output: Output, out: &mut Effects) {
        let Output { messages, snapshots, committed, lost, readable, unreadable } = output;
        assert!(committed.is_empty(), "what is committed was applied");
        let twice = self.config.mutants.planted(Mutant::SaidTwice);
        for (node, message) in messages {
            if twice {
                self.envelope(node).messages.push(message.clone());
            }
            self.envelope(node).messages.push(message);
        }
        for (node, to) in snapshots {
            self.lend(group, node, to, false, out);
        }
        for token in lost {
            self.lost(group, token, out);
        }
        for token in readable {
            self.readable(token, true, out);
        }
        for token in unreadable {
            self.readable(token, false, out);
        }
    }

    fn came_of(&mut self, group: GroupId, token: Option<Token>, index: Index, outcome: Outcome, out: &mut Effects) {
        let waiting = token.and_then(|token| self.waiting.remove(&token));
        match outcome {
            Outcome::Nothing => {}
            Outcome::Produced(result) => {
                if let Some(Waiting::Produce(call, slot)) = waiting {
                    self.produced(call, slot, group, index, result, out);
                }
            }
            Outcome::Commanded(origin, result) => self.commanded(origin, *result, out),
        }
    }

    /// A proposal of this broker whose outcome it will not learn: somebody else leads.
    fn lost(&mut self, group: GroupId, token: Token, out: &mut Effects) {
        match self.waiting.remove(&token) {
            Some(Waiting::Produce(call, slot)) => {
                self.produced(call, slot, group, Index(0), Err(ErrorCode::NotLeaderOrFollower), out);
            }
            Some(Waiting::Command | Waiting::FetchBarrier(..) | Waiting::OffsetsBarrier(..)) | None => {}
        }
    }

    /// Reads of the segments of a group that is gone.
    pub(super) fn fail_reads(&mut self, group: GroupId, out: &mut Effects) {
        let reads: Vec<_> = self.log_reads.keys().filter(|(of, _)| *of == group).copied().collect();
        for (group, read) in reads {
            if let Some((id, at)) = self.log_reads.remove(&(group, read)) {
                self.fetch_lost(id, at, out);
                self.offsets_lost(id, at, out);
            }
        }
    }

    fn readable(&mut self, token: Token, confirmed: bool, out: &mut Effects) {
        match self.waiting.remove(&token) {
            Some(Waiting::FetchBarrier(call, slot)) => self.fetch_barrier(call, slot, confirmed, out),
            Some(Waiting::OffsetsBarrier(call, slot)) => self.offsets_barrier(call, slot, confirmed, out),
            Some(Waiting::Produce(..) | Waiting::Command) | None => {}
        }
    }

    /// The journal is durable up to here.
    pub(super) fn durable(&mut self, durable: Ticket, out: &mut Effects) {
        for group in std::mem::take(&mut self.writing) {
            let Some(replica) = self.replicas.get_mut(&group) else {
                continue;
            };
            let mut output = Output::default();
            replica.raft.durable(durable, out, &mut output);
            replica.mark_durable(durable, out);
            if replica.raft.waits_for_disk() || replica.marking() || replica.copying.is_installing() {
                self.writing.insert(group);
            }
            let installed = replica.copying.is_installed(durable);
            self.touched.insert(group);
            self.deliver(group, output, out);
            if installed {
                self.install(group, out);
            }
        }
    }

    pub(super) fn log_done(&mut self, group: GroupId, tag: u64, result: DiskResult, out: &mut Effects) {
        if let Some(dying) = self.dying.get_mut(&group) {
            dying.outstanding -= 1;
            return;
        }
        let log = if let Some(replica) = self.replicas.get_mut(&group) {
            &mut replica.machine.log
        } else if let Some(parked) = self.parked.get_mut(&group) {
            &mut parked.machine.log
        } else {
            return;
        };
        self.thirsty.insert(group);
        let (done, refused) = (log.done(tag, result), log.refused());
        for done in done {
            match done {
                log::Done::Read(read, result) => self.log_read(group, read, result, out),
                log::Done::Lookup(read, result) => self.log_looked_up(group, read, result, out),
                log::Done::CheckpointReady(manifest) => {
                    let journal = self.journal.as_mut().expect("a running broker has a journal");
                    if let Some(replica) = self.replicas.get_mut(&group) {
                        replica.checkpoint_ready(&manifest, journal);
                        self.writing.insert(group);
                    }
                }
                log::Done::Copied(copy, bytes) => self.piece_read(copy, bytes),
                log::Done::Restored { extra } => self.restored(group, extra, out),
                log::Done::Failed(error) => return self.halt(Halt::DiskFailed(format!("{error:?}")), out),
                log::Done::Corrupt(what) => self.state_lost(group, what, out),
                log::Done::Full => self.no_room(refused, out),
            }
        }
    }

    /// Asks for everything the rooms want of the disk and the peers, and for the next wake.
    pub(super) fn ask(&mut self, out: &mut Effects) {
        let running = matches!(self.phase, Phase::Running);
        if running {
            self.relieve_journal(out);
        }
        self.serve_pulls();
        self.trim_windows();
        let mut commands: Vec<(Owner, DiskCommand)> = Vec::new();
        self.formation_commands(&mut commands);
        let mut wanted = Vec::new();
        let tail_bytes = self.config.settings.tail_bytes / (self.replicas.len() as u64).max(1);
        for group in std::mem::take(&mut self.thirsty) {
            let log = if let Some(replica) = self.replicas.get_mut(&group) {
                replica.copying.commands(&mut self.files, &mut wanted);
                commands.extend(wanted.drain(..).map(|(tag, command)| (Owner::Arrival(group, tag), command)));
                // Clients read from leaders only.
                replica.machine.log.expect_readers(replica.raft.leading());
                &mut replica.machine.log
            } else if let Some(parked) = self.parked.get_mut(&group) {
                &mut parked.machine.log
            } else {
                continue;
            };
            log.evict_tail(tail_bytes);
            log.commands(&mut self.files, &mut wanted);
            self.pressure.note(group, self.replicas.get(&group));
            commands.extend(wanted.drain(..).map(|(tag, command)| (Owner::Log(group, tag), command)));
        }
        if let Some(journal) = &mut self.journal {
            journal.commands(&mut self.files, &mut wanted);
            commands.extend(wanted.drain(..).map(|(tag, command)| (Owner::Journal(tag), command)));
        }
        for (owner, command) in commands {
            self.disk(owner, command, out);
        }
        if running {
            self.weigh(out);
        }
        self.bury(out);
        for (to, envelope) in std::mem::take(&mut self.outbox) {
            // A replica that a former disk of this broker was may still be a member: there is nobody to hear it.
            if !envelope.is_empty() && to != self.config.node {
                let parts = envelope.split(ENVELOPE_PAYLOAD_BYTES_MAX).into_iter();
                out.effects.extend(parts.map(|envelope| Effect::Send { to, envelope }));
            }
        }
        let forming = if running { None } else { self.formation.as_ref().and_then(Formation::next_wake) };
        if let Some(wake) = forming.filter(|wake| self.wake_at != Some(*wake)) {
            self.wake_at = Some(wake);
            out.push(Effect::WakeAt(wake));
        }
        if running || self.journal_full {
            let deadline = self.deadlines.first().map_or(self.next_tick, |(deadline, _)| *deadline);
            let wake = deadline.min(self.next_tick);
            let idle = out.effects.is_empty() && self.config.mutants.planted(Mutant::NoWakeWhenIdle);
            if self.wake_at != Some(wake) && !idle {
                self.wake_at = Some(wake);
                out.push(Effect::WakeAt(wake));
            }
        }
    }

    /// Asks the groups that keep old journal files in use to let go of them.
    fn relieve_journal(&mut self, out: &mut Effects) {
        let journal = self.journal.as_mut().expect("a running broker has a journal");
        let mut standing = Vec::new();
        for group in journal.relief() {
            if let Some(replica) = self.replicas.get_mut(&group) {
                if replica.relieve(journal) {
                    standing.push(group);
                }
                self.thirsty.insert(group);
            } else if let Some(parked) = self.parked.get_mut(&group)
                && parked.carrying.is_none_or(|ticket| ticket <= journal.durable())
                && !journal.is_full()
            {
                // Nobody claims it, so nothing of it moves: what the journal still needs is in memory.
                parked.carrying = Some(journal.carry(group, parked.entries.clone()));
            }
        }
        let needed = journal.files_needed();
        if standing.is_empty() || self.not_carried_at == Some(needed) {
            return;
        }
        // Where so much stands that moving it fills the files that it shall free, it would be moved for ever: the journal grows
        // until it is committed.
        let settings = &self.config.settings;
        let room = match journal.is_quiet() {
            true => settings.journal_rest_bytes / 2,
            false => {
                settings.journal_file_bytes.saturating_mul(u64::from(settings.journal_files_target.saturating_sub(1)))
            }
        };
        let bytes: u64 = standing.iter().map(|group| self.replicas[group].carried_bytes()).sum();
        self.not_carried_at = (bytes > room / 2).then_some(needed);
        // What is carried takes room before it gives any back.
        if self.not_carried_at.is_none() && journal.takes(bytes) {
            for group in standing {
                self.replicas.get_mut(&group).expect("it stands").carry(journal, out);
            }
        }
    }

    pub(super) fn envelope(&mut self, to: NodeId) -> &mut Envelope {
        let (cluster, from) = (self.charter().cluster, self.config.node);
        self.outbox.entry(to).or_insert_with(|| Envelope { cluster, from, to, ..Envelope::default() })
    }

    fn others(&self) -> Vec<NodeId> {
        let admitted = self.image().into_iter().flat_map(|image| image.controllers().keys().copied());
        let members: BTreeSet<NodeId> = self.charter().voters().chain(admitted).collect();
        members.into_iter().filter(|node| *node != self.config.node).collect()
    }

    /// Tells the other brokers at once that this one leads a group now.
    fn announce(&mut self, group: GroupId) {
        let Some(term) = self.replicas.get(&group).and_then(|replica| self.term_told(replica)) else {
            return;
        };
        for node in self.others() {
            self.envelope(node).leading.push((group, term));
        }
    }

    /// The term in which others are told that this broker leads.
    fn term_told(&self, replica: &Replica) -> Option<Term> {
        let serves = replica.raft.serves_in()?;
        Some(if self.config.mutants.planted(Mutant::TellsNewestTerm) { replica.raft.term() } else { serves })
    }

    fn gossip(&mut self) {
        let leading: Vec<_> =
            self.replicas.iter().filter_map(|(group, replica)| Some((*group, self.term_told(replica)?))).collect();
        if leading.is_empty() {
            return;
        }
        for node in self.others() {
            self.envelope(node).leading.extend(&leading);
        }
    }

    /// Leaders of partitions that are gone, or never were, make room: those that are led will be told of again.
    fn forget_strange_routes(&mut self) {
        if self.routes.len() < self.image().map_or(0, Image::partitions) + STRANGE_ROUTES_MAX {
            return;
        }
        let mut routes = std::mem::take(&mut self.routes);
        let image = self.image();
        let led = |group: GroupId| image.is_some_and(|image| image.partition_of(group).is_some());
        routes.retain(|group, _| *group == GroupId::CONTROLLER || led(*group));
        self.routes = routes;
    }

    /// Another broker is most likely down: what it led is led by nobody until somebody says otherwise.
    pub(super) fn broker_lost(&mut self, node: NodeId) {
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        self.routes.values_mut().filter(|route| route.node == node).for_each(|route| route.lost = true);
        for (group, replica) in &mut self.replicas {
            if replica.raft.lost(node) {
                self.touched.insert(*group);
            }
        }
        self.admin_changed = true;
    }

    /// Whether entries of a partition do as if they had been lost: on a full disk there is room for elections and commands only.
    fn has_no_room_for(&self, message: &GroupMessage) -> bool {
        let bytes = message.raft.entries.iter().map(|entry| entry.data.len() as u64).sum();
        let takes = self.journal.as_ref().is_none_or(|journal| journal.takes(bytes));
        message.group != GroupId::CONTROLLER && bytes > 0 && !takes
    }

    /// Something another broker said.
    pub(super) fn peer(&mut self, from: NodeId, mut envelope: Envelope, out: &mut Effects) {
        if !self.is_ours(from, &mut envelope, out) {
            return;
        }
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        for (group, term) in envelope.leading {
            if i32::try_from(term.0).is_err() {
                continue;
            }
            let first = self.config.mutants.planted(Mutant::FirstLeaderForEver);
            let newest = |route: &Route| route.term > term || (route.term == term && !route.lost);
            let known = self.routes.get(&group).is_some_and(|route| newest(route) || first);
            if !known {
                self.forget_strange_routes();
                self.routes.insert(group, Route { node: from, term, lost: false });
                self.admin_changed = true;
                if group == GroupId::CONTROLLER {
                    self.register();
                }
            }
        }
        for message in envelope.messages {
            let group = message.group;
            if self.has_no_room_for(&message) {
                continue;
            }
            if let Some(replica) = self.replicas.get_mut(&group) {
                if replica.declines(&message.raft, self.config.settings.window_bytes) {
                    continue;
                }
                match replica.raft.receive(from, message) {
                    // While members change some do not know yet who comes and who goes.
                    Ok(()) | Err(Refused::Stranger) => {}
                    Err(refused @ (Refused::Term | Refused::Malformed | Refused::BeyondLog)) => {
                        let what = format!("a message of group {group} from {from} refused: {refused:?}");
                        out.event(Event::Note(what));
                    }
                }
                self.touched.insert(group);
            }
        }
        for message in envelope.copies {
            self.copy_message(from, message, out);
        }
        for command in envelope.commands.into_iter().take(COMMANDS_PER_ENVELOPE_MAX) {
            self.command_from_peer(command);
        }
    }
}
