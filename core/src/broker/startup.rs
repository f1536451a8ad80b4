//! How a broker comes back: list the disk, recover the journal, read the states, apply what is committed, take part.
//!
//! Recovery is ordinary disk effects and inputs, so it is simulated like everything else. A group the journal knows and the
//! image does not (yet) is parked, never dropped: only a tombstone of its topic ends it.

use std::collections::BTreeSet;

use super::machine::{Fold, Machine, producers};
use super::mark::MarkBody;
use super::replica::{Parked, Replica};
use super::{Broker, Dying, Owner, Phase};
use crate::controller::configs::TopicConfig;
use crate::controller::image::{Controller, Image, Tombstone};
use crate::effect::{DiskCommand, DiskOutput, DiskResult, Effects, Halt};
use crate::event::Event;
use crate::formation::Role;
use crate::id::{FileId, GroupId, Index, NodeId, Offset, ProducerId, ReplicaId, Term};
use crate::journal::{self, Identity, Journal, RecoveredGroup};
use crate::log::{self, Log};
use crate::marks;
use crate::mutants::Mutant;
use crate::partition::producers::Producers;
use crate::raft::{Output, Setup};

impl Broker {
    pub(super) fn listed(&mut self, result: DiskResult, out: &mut Effects) {
        let files = match result {
            Ok(DiskOutput::Listed(files)) => files,
            Ok(_) => unreachable!("a listing gives a listing"),
            Err(error) => return self.halt(Halt::DiskFailed(format!("the disk can not be listed: {error:?}")), out),
        };
        self.begin_forming(files);
    }

    /// The charter says of which cluster the journal must be, or will be.
    pub(super) fn open_journal(&mut self) {
        let settings = journal::Settings {
            file_bytes: self.config.settings.journal_file_bytes,
            file_bytes_first: self.config.settings.journal_file_bytes_first,
            rest_bytes: self.config.settings.journal_rest_bytes,
            files_max: self.config.settings.journal_files_max,
            files_target: self.config.settings.journal_files_target,
            sector_bytes: self.config.settings.sector_bytes,
            block_bytes_max: self.config.settings.journal_block_bytes,
        };
        let cluster = self.charter().cluster;
        let identity = Identity { cluster, directory: self.config.directory, boot: self.boot.counter };
        let mut journal = Journal::open(settings, identity, std::mem::take(&mut self.journals));
        journal.expect(self.formation().journal_was_opened());
        journal.plant(self.config.mutants);
        self.journal = Some(journal);
    }

    pub(super) fn journal_done(&mut self, tag: u64, result: DiskResult, out: &mut Effects) {
        for done in self.journal().done(tag, result) {
            match done {
                journal::Done::Durable(ticket) => self.durable(ticket, out),
                journal::Done::Recovered(recovered) => self.recovered(*recovered, out),
                journal::Done::Corrupt(damage) => {
                    if self.is_indispensable() {
                        return self.halt(Halt::Corrupt(format!("{damage}: what was acknowledged may be lost")), out);
                    }
                    let node = self.config.node;
                    out.event(Event::Note(format!(
                        "broker {node}: {damage}: its part in what stood there is given up"
                    )));
                }
                journal::Done::Foreign(what) => return self.halt(Halt::Foreign(what), out),
                journal::Done::Failed(what) => return self.halt(Halt::DiskFailed(what), out),
                journal::Done::Full { needed } => {
                    self.journal_full = true;
                    if !matches!(self.phase, Phase::Running) {
                        self.next_tick = self.now.mono + self.config.settings.tick;
                    }
                    self.no_room(needed, out);
                }
            }
        }
    }

    fn recovered(&mut self, recovered: journal::Recovered, out: &mut Effects) {
        let damaged = recovered.all_suspended || !recovered.suspended.is_empty();
        if damaged && self.is_indispensable() {
            return self.halt(Halt::Corrupt("an earlier life found the journal damaged".into()), out);
        }
        if recovered.cut.is_some() {
            out.event(Event::Sometimes(marks::JOURNAL_CUT));
        }
        self.suspend(&recovered, out);
        for (group, recovered) in recovered.groups {
            match self.park(group, recovered) {
                Ok(parked) => {
                    if parked.restoring {
                        self.thirsty.insert(group);
                    }
                    self.parked.insert(group, parked);
                }
                Err(what) => return self.halt(Halt::Corrupt(what), out),
            }
        }
    }

    /// Which replica of the controller it is, if it is one.
    fn own_controller(&self) -> Option<ReplicaId> {
        match self.charter {
            Some((_, Role::Member(replica))) => Some(replica),
            Some((_, Role::Observer)) | None => None,
        }
    }

    /// Whether the others are no majority of the cluster: none of them could take this broker in again.
    fn is_indispensable(&self) -> bool {
        self.charter().members.len() < 3
    }

    fn fresh(&self, group: GroupId) -> Machine {
        let bounds = self.config.settings.producers();
        let fold = if group == GroupId::CONTROLLER {
            let charter = self.charter();
            let founding = charter.members.iter().map(|seat| {
                (seat.node, Controller { replica: seat.replica, directory: seat.directory, voter: true, renewed: 0 })
            });
            Fold::Controller(Box::new(Image::new(charter.cluster).founded_by(founding)))
        } else {
            Fold::Partition(producers(Producers::default(), bounds, self.config.mutants))
        };
        Machine::new(Log::new(self.log_settings()), fold, bounds, self.config.mutants)
    }

    fn log_settings(&self) -> log::Settings {
        let settings = &self.config.settings;
        log::Settings {
            segment_bytes: settings.segment_bytes(&TopicConfig::default()),
            index_interval_bytes: settings.index_interval_bytes,
            allocate_first: settings.segment_allocate_bytes_first,
            allocate_step: settings.segment_allocate_bytes,
            write_threshold: settings.segment_write_bytes,
        }
    }

    fn park(&self, group: GroupId, recovered: RecoveredGroup) -> Result<Parked, String> {
        let RecoveredGroup { hard, mark, entries } = recovered;
        let mut machine = self.fresh(group);
        let Some(mark) = mark else {
            let base = (Index(0), Term(0));
            return Ok(Parked {
                hard,
                base,
                entries,
                machine,
                conf: None,
                restoring: false,
                lost: None,
                carrying: None,
            });
        };
        let body = MarkBody::decode(mark.body).map_err(|error| format!("the mark of group {group}: {error}"))?;
        machine.log = Log::restore(self.log_settings(), body.manifest);
        machine.log.plant(self.config.mutants);
        machine.applied = mark.applied;
        machine.applied_term = mark.applied_term;
        Ok(Parked {
            hard,
            base: (mark.applied, mark.applied_term),
            entries,
            machine,
            conf: Some(body.conf),
            restoring: true,
            lost: None,
            carrying: None,
        })
    }

    /// The state of a parked group is read.
    pub(super) fn restored(&mut self, group: GroupId, state: bytes::Bytes, out: &mut Effects) {
        let parked = self.parked.get_mut(&group).expect("a state is read for a parked group");
        let (applied, term) = (parked.machine.applied, parked.machine.applied_term);
        match parked.machine.read(state) {
            Ok(loaded) => {
                parked.machine.load(applied, term, loaded);
                parked.machine.log.compare(&self.listed);
            }
            Err(what) => return self.halt(Halt::Corrupt(format!("the state of group {group}: {what}")), out),
        }
        parked.restoring = false;
        self.start_if_restored(out);
    }

    /// The state of a parked group can not be read: it is another replica's to give.
    pub(super) fn state_lost(&mut self, group: GroupId, what: String, out: &mut Effects) {
        let mut machine = self.fresh(group);
        let own = self.own_controller().expect("whoever has a journal is a member");
        let parked = self.parked.get_mut(&group).expect("a state is read for a parked group");
        if group == GroupId::CONTROLLER && parked.conf.as_ref().is_none_or(|conf| conf.is_alone(own)) {
            return self.halt(Halt::Corrupt(format!("the state of the controller: {what}")), out);
        }
        (machine.applied, machine.applied_term) = (parked.machine.applied, parked.machine.applied_term);
        parked.machine = machine;
        (parked.restoring, parked.lost) = (false, Some(what));
        self.start_if_restored(out);
    }

    /// Takes part once every state is read, and it is written down that there was a journal: before the first vote.
    pub(super) fn start_if_restored(&mut self, out: &mut Effects) {
        let opened = self.journal().opened();
        let lost = self.suspended.holds(GroupId::CONTROLLER);
        if opened == 0 || lost || self.parked.values().any(|parked| parked.restoring) {
            return;
        }
        // First: the word beside the charter may lack just the room that this makes.
        self.sweep(out);
        if self.formation().journal_was_opened() < opened {
            return;
        }
        let (charter, role) = self.charter.as_ref().expect("the journal is opened with a charter");
        let members: Vec<_> = charter.members.iter().map(|seat| (seat.node, seat.replica, true)).collect();
        let Role::Member(replica) = *role else { unreachable!("an observer opens no journal") };
        self.start_replica(GroupId::CONTROLLER, replica, members, TopicConfig::default(), ProducerId(0), out);
        self.phase = Phase::Running;
        // Whoever runs on a full disk is told of that anew.
        self.disk_full = None;
        self.next_tick = self.now.mono + self.config.settings.tick;
        self.next_look = self.now.mono + self.config.settings.journal_look_every;
        self.reconcile(out);
        out.event(Event::Started);
    }

    /// Whether files that no mark names may be all that is left of something: of a group whose marks, or whose state, are lost.
    pub(super) fn keeps_unnamed(&self) -> bool {
        self.parked.values().any(|parked| parked.lost.is_some())
            || self.replicas.values().any(Replica::is_lost)
            || self.suspended.may_own_files()
    }

    /// Removes files that were there at the start and that nothing names: left by a crash between their making and the mark that
    /// would have named them, or by what was lost and is whole again, or gone.
    pub(super) fn sweep(&mut self, out: &mut Effects) {
        if self.listed.is_empty() || self.keeps_unnamed() {
            return;
        }
        let mut named: BTreeSet<FileId> = self.parked.values().flat_map(|parked| parked.machine.log.files()).collect();
        for replica in self.replicas.values() {
            named.extend(replica.machine.log.files().chain(replica.copying.files()));
        }
        named.extend(self.dying.values().flat_map(|dying| dying.files.iter().copied()));
        for file in std::mem::take(&mut self.listed).into_keys().filter(|file| !named.contains(file)) {
            self.disk(Owner::Broom, DiskCommand::Remove { file }, out);
        }
    }

    fn start_replica(
        &mut self,
        group: GroupId,
        replica: ReplicaId,
        members: Vec<(NodeId, ReplicaId, bool)>,
        config: TopicConfig,
        heirs_below: ProducerId,
        out: &mut Effects,
    ) {
        let mut parked = self.parked.remove(&group).unwrap_or_else(|| Parked {
            hard: journal::HardState::default(),
            base: (Index(0), Term(0)),
            entries: Vec::new(),
            machine: self.fresh(group),
            conf: None,
            restoring: false,
            lost: None,
            carrying: None,
        });
        parked.machine.inherit(heirs_below);
        let settings = &self.config.settings;
        let setup = Setup {
            group,
            replica,
            members,
            seed: self.boot.seed,
            election_ticks_min: settings.election_ticks_min,
            election_ticks_max: settings.election_ticks_max,
            heartbeat_ticks: settings.heartbeat_ticks,
            append_bytes: settings.append_bytes,
            mutants: self.config.mutants,
        };
        let segment_bytes = settings.segment_bytes(&config);
        let mut replica = Replica::start(setup, parked, config, out);
        replica.machine.log.set_segment_bytes(segment_bytes);
        // A sole voter need not wait for anybody to keep silent.
        replica.raft.tick_if_alone();
        self.window_bytes += replica.raft.window_bytes();
        self.replicas.insert(group, replica);
        self.touched.insert(group);
        self.thirsty.insert(group);
        self.introduce(group);
        self.patrol(group);
    }

    /// Makes this broker's replicas those that the image gives it.
    pub(super) fn reconcile(&mut self, out: &mut Effects) {
        let node = self.config.node;
        let Some(image) = self.image() else { return };
        // Replica ids are bound to a directory: another disk of the same node is not the replica it replaces.
        if let Some(broker) = image.brokers().get(&node)
            && broker.directory != self.config.directory
        {
            if broker.has_retired(self.config.directory) {
                let what =
                    format!("broker {node} was admitted on another data directory: wipe this one, or leave it out");
                return self.halt(Halt::Foreign(what), out);
            }
            // The image is on its way to where this directory was admitted.
            return;
        }
        // Or to where this broker became another replica: what it has been given or has given up since is not said before.
        if image.controllers().get(&node).map(|member| member.replica) != self.own_controller() {
            return;
        }
        let mut wanted = Vec::new();
        for topic in image.topics().values() {
            for (at, info) in topic.partitions.iter().enumerate() {
                let own = info.replicas.iter().find(|replica| replica.0 == node);
                if let Some((_, replica)) = own
                    && !self.replicas.contains_key(&info.group)
                    && !self.suspended.holds(info.group)
                {
                    let members = info.founding.iter().map(|(node, replica)| (*node, *replica, true)).collect();
                    let heirs_below = match self.config.mutants.planted(Mutant::BeginsByAge) {
                        true => topic.older_below(),
                        false => topic.heirs_below(),
                    };
                    let name = (topic.name.clone(), at);
                    wanted.push((info.group, *replica, members, topic.config(), heirs_below, name));
                }
            }
        }
        let of_tombstone = |tombstone: &Tombstone| {
            let named = |(at, group): (usize, &GroupId)| (*group, (tombstone.name.clone(), at));
            tombstone.groups.iter().enumerate().map(named).collect::<Vec<_>>()
        };
        let gone: Vec<_> = image
            .tombstones()
            .values()
            .flat_map(of_tombstone)
            .filter(|(group, _)| {
                let known = self.replicas.contains_key(group) || self.parked.contains_key(group);
                known || self.suspended.names(*group)
            })
            .collect();
        let by_name = self.config.mutants.planted(Mutant::NameNotId);
        for (group, name) in gone {
            let machine = self.replicas.get(&group).map(|replica| &replica.machine);
            if let (true, Some(Fold::Partition(producers))) = (by_name, machine.map(|machine| &machine.fold)) {
                self.by_name.insert(name, producers.clone());
            }
            self.drop_group(group, out);
            self.suspended_dropped(group);
        }
        let lost_at_restart = self.config.mutants.planted(Mutant::FloorLostAtRestart);
        for (group, replica, members, config, mut heirs_below, name) in wanted {
            let known = self.parked.contains_key(&group);
            if known && lost_at_restart {
                heirs_below = ProducerId(0);
            }
            self.start_replica(group, replica, members, config, heirs_below, out);
            if let (false, Some(found)) = (known, self.by_name.remove(&name))
                && let Some(replica) = self.replicas.get_mut(&group)
            {
                replica.machine.fold = Fold::Partition(found);
            }
        }
    }

    /// A group's topic is deleted: everything of it goes, its files last.
    pub(super) fn drop_group(&mut self, group: GroupId, out: &mut Effects) {
        let (files, output): (BTreeSet<FileId>, _) = if let Some(replica) = self.replicas.remove(&group) {
            self.window_bytes -= replica.raft.window_bytes();
            let files = replica.machine.log.files().chain(replica.copying.files()).collect();
            (files, replica.raft.abandon())
        } else if let Some(parked) = self.parked.remove(&group) {
            (parked.machine.log.files().collect(), Output::default())
        } else {
            return;
        };
        self.touched.remove(&group);
        self.thirsty.remove(&group);
        self.pressure.note(group, None);
        self.writing.remove(&group);
        self.routes.remove(&group);
        self.copies.forget(group);
        let of_group = |owner: &&Owner| matches!(owner, Owner::Log(of, _) | Owner::Arrival(of, _) if *of == group);
        let outstanding = self.ops.values().filter(of_group).count();
        let forgotten = self.journal().forget(group);
        out.event(Event::Sometimes(marks::REPLICA_DROPPED));
        let dying = Dying { forgotten, files, outstanding: outstanding as u64 };
        self.dying.insert(group, dying);
        self.deliver(group, output, out);
        if !self.config.mutants.planted(Mutant::DroppedReadsForgotten) {
            self.fail_reads(group, out);
        }
        self.wake_fetches(group, out);
    }

    /// Removes the files of groups that the journal has forgotten and nobody reads.
    pub(super) fn bury(&mut self, out: &mut Effects) {
        let durable = self.journal.as_ref().map_or(journal::Ticket(0), Journal::durable);
        let ready: Vec<GroupId> = self
            .dying
            .iter()
            .filter(|(_, dying)| dying.outstanding == 0 && dying.forgotten <= durable)
            .map(|(group, _)| *group)
            .collect();
        for group in ready {
            if let Some(dying) = self.dying.remove(&group) {
                for file in dying.files {
                    self.disk(Owner::Broom, DiskCommand::Remove { file }, out);
                }
            }
        }
    }

    /// The offsets a partition serves: log start and high watermark.
    pub(super) fn range(&self, group: GroupId) -> Option<(Offset, Offset)> {
        let log = &self.replicas.get(&group)?.machine.log;
        Some((log.log_start(), log.next_offset()))
    }
}
