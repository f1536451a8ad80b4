//! Of which cluster the broker is: carries what [`crate::formation`] wants between it, the disk and the peers.

use super::{Broker, Owner, Phase};
use crate::controller::command::{Command, RenewController};
use crate::effect::{Effect, Effects};
use crate::event::Event;
use crate::formation::{Charter, Formation, Report, Role, Setup};
use crate::id::{ClusterId, DirectoryId, FileId, FileKind, NodeId, ReplicaId};
use crate::limits::STRANGERS_MAX;
use crate::peer::Envelope;

impl Broker {
    /// The disk is listed: what kind of file says what.
    pub(super) fn begin_forming(&mut self, files: Vec<(FileId, u64)>) {
        let mut formation = Vec::new();
        for (file, len) in files {
            match file.kind() {
                FileKind::Formation => formation.push((file, len)),
                FileKind::Journal => self.journals.push((file, len)),
                FileKind::Segment | FileKind::SegmentIndex | FileKind::State => {
                    self.listed.insert(file, len);
                }
            }
        }
        let others = !self.journals.is_empty() || !self.listed.is_empty();
        let config = &self.config;
        let setup = Setup {
            node: config.node,
            directory: config.directory,
            voters: config.voters.clone(),
            host: config.host.clone(),
            port: config.port,
            seed: self.boot.seed,
            every: config.settings.gossip_every,
            mutants: config.mutants,
        };
        self.formation = Some(Formation::open(setup, formation, others));
    }

    /// Hears what the formation has to say, and lets it say the rest to others.
    pub(super) fn form(&mut self, out: &mut Effects) {
        let asked = self.formation.as_mut().map(Formation::asked).unwrap_or_default();
        for (node, directory, renews) in asked {
            let member = self.image().and_then(|image| image.controllers().get(&node)).copied();
            let Some(member) = member.filter(|member| member.directory == directory) else { continue };
            if renews > member.renewed {
                let command = RenewController { node, directory, boot: renews };
                self.send_command(Command::RenewController(command).encode());
            } else if renews == member.renewed || renews == 0 {
                self.formation().welcome(node, directory, renews, member.replica);
            }
        }
        let Some(formation) = &mut self.formation else { return };
        if let Some(journal) = &self.journal {
            formation.journal_opened(journal.opened());
        }
        formation.tick(self.now.mono);
        let (reports, sends) = (formation.reports(), formation.sends());
        let from = self.config.node;
        for (to, message) in sends {
            let envelope = Envelope { from, to, formation: Some(message), ..Envelope::default() };
            out.push(Effect::Send { to, envelope });
        }
        for report in reports {
            match report {
                Report::Chartered(charter, role) => self.chartered(charter, role, out),
                Report::Note(what) => out.event(Event::Note(what)),
                Report::NoRoom { needed } => self.no_room(needed, out),
                Report::Sometimes(mark) => out.event(Event::Sometimes(mark)),
                Report::Opened if matches!(self.phase, Phase::Recovering) => self.start_if_restored(out),
                Report::Opened => {}
                Report::Stop(why) => return self.halt(why, out),
            }
        }
    }

    fn chartered(&mut self, charter: Charter, role: Role, out: &mut Effects) {
        let replica = match role {
            Role::Member(replica) => replica,
            Role::Observer => ReplicaId(0),
        };
        out.event(Event::Chartered {
            cluster: charter.cluster,
            directory: self.config.directory,
            replica,
            members: charter.members.iter().map(|seat| (seat.node, seat.directory, seat.replica)).collect(),
        });
        self.charter = Some((charter, role));
        match role {
            Role::Member(_) if self.journal.is_some() => self.controller_renewed(out),
            Role::Member(_) => self.open_journal(),
            Role::Observer => {}
        }
    }

    /// Whether an envelope is for this broker and of its cluster. What is said about the cluster itself is heard here.
    pub(super) fn is_ours(&mut self, from: NodeId, envelope: &mut Envelope, out: &mut Effects) -> bool {
        let node = self.config.node;
        let mut ours = from != node && envelope.from == from && envelope.to == node;
        if ours && envelope.cluster == ClusterId::ZERO {
            if let (Some(formation), Some(message)) = (&mut self.formation, envelope.formation.take()) {
                formation.receive(from, message);
            }
            return false;
        }
        match &self.charter {
            Some((charter, _)) => {
                let admitted = self.image().is_some_and(|image| image.controllers().contains_key(&from));
                let member = admitted || charter.voters().any(|voter| voter == from);
                ours &= envelope.cluster == charter.cluster && member;
            }
            // The others may know of the charter before this broker does.
            None if ours => return false,
            None => {}
        }
        if !ours {
            self.strays = self.strays.saturating_add(1);
            if self.strangers.len() < STRANGERS_MAX && self.strangers.insert(from) {
                out.event(Event::Note(self.why_strange(from, envelope)));
            }
        }
        ours
    }

    fn why_strange(&self, from: NodeId, envelope: &Envelope) -> String {
        let node = self.config.node;
        let why = match &self.charter {
            _ if (envelope.from, envelope.to) != (from, node) || from == node => {
                format!("an envelope says it is from {} to {}", envelope.from, envelope.to)
            }
            Some((charter, _)) if envelope.cluster != charter.cluster => {
                let (ours, theirs) = (charter.cluster, envelope.cluster);
                format!(
                    "it is of cluster {theirs} and this broker of {ours}: one of them has another cluster's data directory"
                )
            }
            Some(_) | None => "it is none of the brokers of this cluster".to_owned(),
        };
        format!("broker {node} drops what broker {from} says: {why}")
    }

    pub(super) fn applicants(&self) -> Vec<(NodeId, DirectoryId)> {
        let applicants = self.formation.iter().flat_map(Formation::applicants);
        let observers = applicants.filter(|(_, applicant)| applicant.renews == 0);
        observers.map(|(node, applicant)| (*node, applicant.directory)).collect()
    }

    pub(super) fn formation_commands(&mut self, commands: &mut Vec<(Owner, crate::effect::DiskCommand)>) {
        let mut wanted = Vec::new();
        if let Some(formation) = &mut self.formation {
            formation.commands(&mut self.files, &mut wanted);
        }
        commands.extend(wanted.into_iter().map(|(tag, command)| (Owner::Formation(tag), command)));
    }
}
