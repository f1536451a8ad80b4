//! How a broker comes back: list the disk, recover the journal, read the states, apply what is committed, take part.
//!
//! Recovery is ordinary disk effects and inputs, so it is simulated like everything else. A group the journal knows and the
//! image does not (yet) is parked, never dropped: only a tombstone of its topic ends it.

use std::collections::BTreeSet;

use super::machine::{Fold, Machine, producers};
use super::replica::{Parked, Replica};
use super::{Broker, Dying, Owner, Phase};
use crate::controller::configs::TopicConfig;
use crate::controller::image::Image;
use crate::effect::{DiskCommand, DiskOutput, DiskResult, Effects, Halt};
use crate::event::Event;
use crate::formation::Role;
use crate::id::{FileId, GroupId, Index, NodeId, Offset, ReplicaId, Term};
use crate::journal::{self, Identity, Journal, RecoveredGroup};
use crate::log::{self, Log, Manifest};
use crate::marks;
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
            files_max: self.config.settings.journal_files_max,
            files_target: self.config.settings.journal_files_target,
            sector_bytes: self.config.settings.sector_bytes,
            block_bytes_max: crate::limits::JOURNAL_BLOCK_BYTES_MAX,
        };
        let cluster = self.charter().cluster;
        let identity = Identity { cluster, directory: self.config.directory, boot: self.boot.counter };
        self.journal = Some(Journal::open(settings, identity, std::mem::take(&mut self.journals)));
    }

    pub(super) fn journal_done(&mut self, tag: u64, result: DiskResult, out: &mut Effects) {
        for done in self.journal().done(tag, result) {
            match done {
                journal::Done::Durable(ticket) => self.durable(ticket, out),
                journal::Done::Recovered(recovered) => self.recovered(*recovered, out),
                journal::Done::Corrupt(damage) => {
                    // Healing a group from its peers comes with re-admission; until then nobody votes on damaged memory.
                    let what = format!(
                        "journal file {} is damaged at byte {} (blocks {} to {}): what was acknowledged may be lost",
                        damage.sequence, damage.at, damage.first_block, damage.last_block
                    );
                    return self.halt(Halt::Corrupt(what), out);
                }
                journal::Done::Foreign(what) => return self.halt(Halt::Foreign(what), out),
                journal::Done::Failed(what) => return self.halt(Halt::DiskFailed(what), out),
                journal::Done::Full => {
                    self.journal_full = true;
                    out.event(Event::Note("the disk is full: the journal can not grow".into()));
                }
            }
        }
    }

    fn recovered(&mut self, recovered: journal::Recovered, out: &mut Effects) {
        if recovered.all_suspended || !recovered.suspended.is_empty() {
            return self.halt(Halt::Corrupt("an earlier life found the journal damaged".into()), out);
        }
        if recovered.cut.is_some() {
            out.event(Event::Sometimes(marks::JOURNAL_CUT));
        }
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
        self.start_if_restored(out);
    }

    fn fresh(&self, group: GroupId) -> Machine {
        let fold = if group == GroupId::CONTROLLER {
            Fold::Controller(Box::new(Image::new(self.charter().cluster)))
        } else {
            Fold::Partition(producers(Producers::default(), self.config.mutants))
        };
        Machine::new(Log::new(self.log_settings()), fold, self.config.mutants)
    }

    fn log_settings(&self) -> log::Settings {
        let settings = &self.config.settings;
        log::Settings {
            segment_bytes: u64::try_from(TopicConfig::default().segment_bytes).unwrap_or(u64::MAX),
            index_interval_bytes: settings.index_interval_bytes,
            allocate_step: settings.segment_allocate_bytes,
            write_threshold: settings.segment_write_bytes,
        }
    }

    fn park(&self, group: GroupId, recovered: RecoveredGroup) -> Result<Parked, String> {
        let RecoveredGroup { hard, mark, entries } = recovered;
        let mut machine = self.fresh(group);
        let Some(mark) = mark else {
            return Ok(Parked { hard, base: (Index(0), Term(0)), entries, machine, restoring: false, carrying: None });
        };
        let manifest = Manifest::decode(mark.body).map_err(|error| format!("the mark of group {group}: {error}"))?;
        machine.log = Log::restore(self.log_settings(), manifest);
        machine.applied = mark.applied;
        machine.applied_term = mark.applied_term;
        Ok(Parked {
            hard,
            base: (mark.retained, mark.retained_term),
            entries,
            machine,
            restoring: true,
            carrying: None,
        })
    }

    /// The state of a parked group is read.
    pub(super) fn restored(&mut self, group: GroupId, state: bytes::Bytes, out: &mut Effects) {
        let parked = self.parked.get_mut(&group).expect("a state is read for a parked group");
        let (applied, term) = (parked.machine.applied, parked.machine.applied_term);
        if let Err(what) = parked.machine.load(applied, term, state) {
            return self.halt(Halt::Corrupt(format!("the state of group {group}: {what}")), out);
        }
        parked.restoring = false;
        self.start_if_restored(out);
    }

    fn start_if_restored(&mut self, out: &mut Effects) {
        if self.parked.values().any(|parked| parked.restoring) {
            return;
        }
        self.sweep(out);
        let (charter, role) = self.charter.as_ref().expect("the journal is opened with a charter");
        let members: Vec<_> = charter.members.iter().map(|seat| (seat.node, seat.replica, true)).collect();
        let Role::Member(replica) = *role else { unreachable!("an observer opens no journal") };
        self.start_replica(GroupId::CONTROLLER, replica, members, TopicConfig::default(), out);
        self.phase = Phase::Running;
        self.next_tick = self.now.mono + self.config.settings.tick;
        self.reconcile(out);
        out.event(Event::Started);
    }

    /// Removes files that no mark names: left by a crash between their making and the mark that would have named them.
    fn sweep(&mut self, out: &mut Effects) {
        let named: BTreeSet<FileId> = self.parked.values().flat_map(|parked| parked.machine.log.files()).collect();
        for file in std::mem::take(&mut self.listed).difference(&named) {
            self.disk(Owner::Broom, DiskCommand::Remove { file: *file }, out);
        }
    }

    fn start_replica(
        &mut self,
        group: GroupId,
        replica: ReplicaId,
        members: Vec<(NodeId, ReplicaId, bool)>,
        config: TopicConfig,
        out: &mut Effects,
    ) {
        let parked = self.parked.remove(&group).unwrap_or_else(|| Parked {
            hard: journal::HardState::default(),
            base: (Index(0), Term(0)),
            entries: Vec::new(),
            machine: self.fresh(group),
            restoring: false,
            carrying: None,
        });
        let settings = &self.config.settings;
        let setup = Setup {
            group,
            replica,
            members,
            seed: self.boot.seed,
            election_ticks_min: settings.election_ticks_min,
            election_ticks_max: settings.election_ticks_max,
            heartbeat_ticks: settings.heartbeat_ticks,
            mutants: self.config.mutants,
        };
        let mut replica = Replica::start(setup, parked, config, out);
        // A sole voter need not wait for anybody to keep silent.
        replica.raft.tick_if_alone();
        self.replicas.insert(group, replica);
        self.touched.insert(group);
        self.thirsty.insert(group);
    }

    /// Makes this broker's replicas those that the image gives it.
    pub(super) fn reconcile(&mut self, out: &mut Effects) {
        let node = self.config.node;
        let Some(image) = self.image() else { return };
        // Replica ids are bound to a directory: another disk of the same node is not the replica it replaces.
        if image.brokers().get(&node).is_some_and(|broker| broker.directory != self.config.directory) {
            let what = format!("broker {node} is registered with another data directory: this one is not its disk");
            return self.halt(Halt::Foreign(what), out);
        }
        let mut wanted = Vec::new();
        for topic in image.topics().values() {
            for info in &topic.partitions {
                let own = info.replicas.iter().find(|replica| replica.0 == node);
                if let Some((_, replica)) = own
                    && !self.replicas.contains_key(&info.group)
                {
                    let members = info.replicas.iter().map(|(node, replica)| (*node, *replica, true)).collect();
                    wanted.push((info.group, *replica, members, topic.config()));
                }
            }
        }
        let gone: Vec<GroupId> = image
            .tombstones()
            .values()
            .flat_map(|tombstone| tombstone.groups.iter().copied())
            .filter(|group| self.replicas.contains_key(group) || self.parked.contains_key(group))
            .collect();
        for group in gone {
            self.drop_group(group, out);
        }
        for (group, replica, members, config) in wanted {
            self.start_replica(group, replica, members, config, out);
        }
    }

    /// A group's topic is deleted: everything of it goes, its files last.
    pub(super) fn drop_group(&mut self, group: GroupId, out: &mut Effects) {
        let (log, output) = if let Some(replica) = self.replicas.remove(&group) {
            (replica.machine.log, replica.raft.abandon())
        } else if let Some(parked) = self.parked.remove(&group) {
            (parked.machine.log, Output::default())
        } else {
            return;
        };
        self.touched.remove(&group);
        self.thirsty.remove(&group);
        self.writing.remove(&group);
        self.routes.remove(&group);
        let outstanding = self.ops.values().filter(|owner| matches!(owner, Owner::Log(of, _) if *of == group)).count();
        let forgotten = self.journal().forget(group);
        let dying = Dying { forgotten, files: log.files().collect(), outstanding: outstanding as u64 };
        self.dying.insert(group, dying);
        self.deliver(group, output, out);
        self.fail_reads(group, out);
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
