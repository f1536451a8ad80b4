//! The follower's side: files are asked for, synced, and made the whole of a replica by one mark.

use bytes::Bytes;

use super::super::machine::Loaded;
use super::super::mark::MarkBody;
use super::super::replica::Replica;
use super::super::{Broker, Owner};
use super::message;
use crate::effect::{DiskCommand, DiskResult, Effects, Halt};
use crate::event::Event;
use crate::id::{GroupId, Index, NodeId, ReplicaId};
use crate::journal::{Mark, Ticket};
use crate::limits::{COPIES_IN_MAX, COPY_PIECE_BYTES_MAX, COPY_RETRY_TICKS, LEASE_ELECTIONS};
use crate::log::{Incoming, Manifest, Progress, Received};
use crate::marks;
use crate::mutants::Mutant;
use crate::peer::{CopyBody, Offer};
use crate::raft::{Admission, Offered, Output};

/// Files on their way from a leader.
#[derive(Debug)]
pub(super) struct Arrival {
    node: NodeId,
    from: ReplicaId,
    pub(super) offered: Offered,
    manifest: Manifest,
    pub(super) files: Incoming,
    /// Ticks since anything moved.
    pub(super) quiet: u32,
    /// How many tenths were told.
    told: u64,
}

/// Copied files whose mark is on its way to the disk.
#[derive(Debug)]
pub(super) struct Installing {
    pub(super) ticket: Ticket,
    node: NodeId,
    from: ReplicaId,
    /// They take the place of damaged ones; the log stays what it is.
    pub(super) heals: bool,
    offered: Offered,
    pub(super) received: Received,
    loaded: Loaded,
    copied: u64,
}

impl Broker {
    pub(super) fn offered(
        &mut self,
        group: GroupId,
        (node, from, to): (NodeId, ReplicaId, ReplicaId),
        index: Index,
        offer: &Offer,
        out: &mut Effects,
    ) -> bool {
        // Those whose leader is silent for long hold up nobody else: it may be gone for good.
        let limit = self.config.settings.election_ticks_max.saturating_mul(LEASE_ELECTIONS);
        let moves = |replica: &&Replica| replica.copying.arrival.as_ref().is_some_and(|arrival| arrival.quiet < limit);
        let arriving = self.replicas.values().filter(moves).count();
        let name = self.name_of(group);
        let piece_bytes = self.config.settings.copy_piece_bytes.min(COPY_PIECE_BYTES_MAX);
        let Some(replica) = self.replicas.get_mut(&group) else { return true };
        let (Ok(offered), Ok(manifest)) = (Offered::judge(index, offer), Manifest::decode(offer.manifest.clone()))
        else {
            return false;
        };
        self.touched.insert(group);
        match replica.raft.offered(node, from, to, &offered) {
            Ok(Admission::Wanted) => replica.raft.told_of(index),
            // What stands in its log it may lack as files.
            Ok(Admission::Held) if replica.heals() => {}
            Ok(Admission::Held | Admission::Late) => return true,
            Err(_) => return false,
        }
        let local = &mut replica.machine.log;
        match &mut replica.copying.arrival {
            Some(arrival) if (arrival.from, &arrival.offered, &arrival.manifest) == (from, &offered, &manifest) => {
                // Said again. If it could not be used once, then perhaps now.
                if !matches!(arrival.files.progress(), Progress::Failed(_)) {
                    arrival.quiet = arrival.quiet.min(COPY_RETRY_TICKS);
                    return true;
                }
                arrival.files.renew(manifest, local);
                (arrival.quiet, arrival.told) = (0, 0);
            }
            Some(arrival) if offered.term < arrival.offered.term => return true,
            Some(arrival) if offered.term == arrival.offered.term && index < arrival.offered.index => return true,
            Some(arrival) => {
                arrival.files.renew(manifest.clone(), local);
                (arrival.node, arrival.from, arrival.offered, arrival.manifest) = (node, from, offered, manifest);
                (arrival.quiet, arrival.told) = (0, 0);
            }
            None if arriving >= COPIES_IN_MAX => return true,
            None => {
                let mut files = Incoming::new(manifest.clone(), piece_bytes);
                files.plant(self.config.mutants);
                let arrival = Arrival { node, from, offered, manifest, files, quiet: 0, told: 0 };
                replica.copying.arrival = Some(Box::new(arrival));
            }
        }
        let text = format!("broker {} copies {name} from broker {node}, up to entry {index}", self.config.node);
        out.event(Event::Progress(text));
        self.arrival_moved(group, out);
        true
    }

    pub(super) fn piece(
        &mut self,
        group: GroupId,
        from: ReplicaId,
        index: Index,
        (file, at, bytes): (u64, u64, Bytes),
        out: &mut Effects,
    ) -> bool {
        let Some(replica) = self.replicas.get_mut(&group) else { return true };
        let arrival = replica.copying.arrival.as_mut();
        let Some(arrival) = arrival.filter(|arrival| (arrival.from, arrival.offered.index) == (from, index)) else {
            return true;
        };
        // What was asked for twice comes twice.
        if arrival.files.piece(file, at, bytes, &mut replica.machine.log, &mut self.files).is_ok() {
            arrival.quiet = 0;
            self.arrival_moved(group, out);
        }
        true
    }

    pub(in crate::broker) fn arrival_done(&mut self, group: GroupId, tag: u64, result: DiskResult, out: &mut Effects) {
        if let Some(dying) = self.dying.get_mut(&group) {
            dying.outstanding -= 1;
            return;
        }
        let Some(replica) = self.replicas.get_mut(&group) else { return };
        let arrival = replica.copying.arrival.as_mut().expect("what has a command out is there");
        arrival.quiet = 0;
        if let Err(error) = arrival.files.done(tag, result, &mut replica.machine.log, &mut self.files) {
            return self.halt(Halt::DiskFailed(format!("{error:?}")), out);
        }
        self.arrival_moved(group, out);
    }

    /// Something of an arrival moved: what is to be asked for, told, installed?
    fn arrival_moved(&mut self, group: GroupId, out: &mut Effects) {
        self.thirsty.insert(group);
        let (node_here, name) = (self.config.node, self.name_of(group));
        let Some(replica) = self.replicas.get_mut(&group) else { return };
        let ails = replica.heals();
        let Some(arrival) = &mut replica.copying.arrival else { return };
        let (from, node, index) = (arrival.from, arrival.node, arrival.offered.index);
        match arrival.files.progress() {
            Progress::Going => {
                let asks = arrival.files.asks();
                let (copied, total) = arrival.files.bytes();
                let tenths = (copied.saturating_mul(10)).checked_div(total).unwrap_or(0);
                // What is copied in no time is told once, at its end.
                if tenths > arrival.told && total > 16 * u64::from(COPY_PIECE_BYTES_MAX) {
                    arrival.told = tenths;
                    let text = format!("broker {node_here} copies {name}: {} of {}", bytes(copied), bytes(total));
                    out.event(Event::Progress(text));
                }
                for ask in asks {
                    let body = CopyBody::Pull { file: ask.file, at: ask.at, len: ask.len };
                    let message = message(&self.replicas[&group], from, index, body);
                    self.envelope(node).copies.push(message);
                }
            }
            Progress::Ready => self.install_begins(group, out),
            Progress::Failed(why) => {
                let told = std::mem::replace(&mut arrival.told, u64::MAX) == u64::MAX;
                // That the disk gave other bytes than it holds is remembered for the next offer.
                let needs = ails || replica.raft.needs(index, arrival.offered.index_term);
                if arrival.files.is_over() && !(arrival.files.distrusts() && needs) {
                    replica.copying.arrival = None;
                }
                if !told {
                    let message = message(&self.replicas[&group], from, index, CopyBody::Failed);
                    self.envelope(node).copies.push(message);
                    out.event(Event::Note(format!("broker {node_here} gives up copying {name}: {why}")));
                }
            }
        }
    }

    pub(super) fn tick_arrival(&mut self, group: GroupId, out: &mut Effects) {
        let limit = self.config.settings.election_ticks_max.saturating_mul(LEASE_ELECTIONS);
        let regress = self.config.mutants.planted(Mutant::SnapshotRegress);
        let Some(replica) = self.replicas.get_mut(&group) else { return };
        let heals = replica.heals();
        let Some(arrival) = &mut replica.copying.arrival else { return };
        if !regress && !heals && !replica.raft.needs(arrival.offered.index, arrival.offered.index_term) {
            arrival.told = u64::MAX;
            arrival.files.give_up("it is here already", &mut replica.machine.log);
            return self.arrival_moved(group, out);
        }
        arrival.quiet = arrival.quiet.saturating_add(1);
        // A leader that says nothing for so long has forgotten its offer: if it still leads, it makes another.
        if arrival.quiet % COPY_RETRY_TICKS == 0 && arrival.quiet < limit {
            arrival.files.retry();
            let (from, node, index) = (arrival.from, arrival.node, arrival.offered.index);
            let message = message(&self.replicas[&group], from, index, CopyBody::Busy);
            self.envelope(node).copies.push(message);
            self.arrival_moved(group, out);
        } else if arrival.quiet % COPY_RETRY_TICKS == 0 && arrival.files.progress() == Progress::Ready {
            // Nothing is missing but that this replica hears how far all is committed.
            self.install_begins(group, out);
        }
    }

    /// Everything that was copied is durable: one mark makes it the replica.
    fn install_begins(&mut self, group: GroupId, out: &mut Effects) {
        let Some(replica) = self.replicas.get_mut(&group) else { return };
        let Some(arrival) = &replica.copying.arrival else { return };
        let Offered { term, index, index_term, .. } = arrival.offered;
        let heals = replica.is_cure(&arrival.offered);
        if !heals && !replica.raft.installable(term, index, index_term) {
            // Another leader has other files, or none are needed: the tick sees to that.
            return;
        }
        let Some(arrival) = replica.copying.arrival.take() else { return };
        let Arrival { from, node, offered, files, .. } = *arrival;
        let ((copied, _), (segments, suffix)) = (files.bytes(), files.suffix());
        let received = files.take();
        let loaded = match replica.machine.read(received.extra()) {
            Ok(loaded) => loaded,
            Err(what) => {
                // Written by a newer broker: there is nothing to be done with it here.
                replica.machine.log.give_back(&received);
                out.event(Event::Note(format!("what broker {node} gave of group {group} can not be read: {what}")));
                for file in received.own_files() {
                    self.disk(Owner::Broom, DiskCommand::Remove { file }, out);
                }
                return;
            }
        };
        let body = MarkBody { manifest: received.manifest.clone(), conf: offered.conf.clone() };
        let mark = Mark { applied: index, applied_term: index_term, body: body.encode() };
        let journal = self.journal.as_mut().expect("a running broker has a journal");
        let ticket = if heals {
            journal.mark(group, mark)
        } else {
            replica.raft.freeze();
            out.event(Event::Installing { group, index, term: index_term });
            journal.install(group, mark)
        };
        let installing = Installing { ticket, node, from, heals, offered, received, loaded, copied };
        replica.copying.installing = Some(Box::new(installing));
        self.writing.insert(group);
        if segments {
            out.event(Event::Sometimes(marks::SEGMENTS_COPIED));
        }
        if suffix {
            out.event(Event::Sometimes(marks::SUFFIX_COPIED));
        }
    }

    /// The mark is durable: the replica is what was copied.
    pub(in crate::broker) fn install(&mut self, group: GroupId, out: &mut Effects) {
        self.fail_reads(group, out);
        let Some(replica) = self.replicas.get_mut(&group) else { return };
        let Some(installing) = replica.copying.installing.take() else { return };
        let Installing { node, from, heals, offered, received, loaded, copied, .. } = *installing;
        let Offered { index, index_term, .. } = offered;
        let window_bytes = replica.raft.window_bytes();
        replica.machine.log.install(received);
        replica.machine.load(index, index_term, loaded);
        replica.begin_anew(offered.conf.clone());
        let mut output = Output { lost: replica.healed(index), ..Output::default() };
        let journal = self.journal.as_mut().expect("a running broker has a journal");
        if heals {
            replica.raft.checkpointed(index, index_term, &offered.conf);
            replica.applied(out, &mut output);
        } else {
            replica.raft.install(from, &offered, journal, &mut output);
        }
        self.window_bytes = self.window_bytes - window_bytes + replica.raft.window_bytes();
        let (digest, log) = (replica.machine.digest, &replica.machine.log);
        let (next_offset, log_start) = (log.next_offset(), log.log_start());
        out.event(if heals {
            Event::Healed { group, index, term: index_term, digest, next_offset, log_start }
        } else {
            Event::Installed { group, index, term: index_term, digest, next_offset, log_start }
        });
        replica.raft.tell(out);
        if heals {
            let message = message(replica, from, index, CopyBody::Had);
            self.envelope(node).copies.push(message);
        }
        out.event(Event::Sometimes(if heals { marks::HEALED } else { marks::SNAPSHOT_INSTALLED }));
        self.touched.insert(group);
        self.thirsty.insert(group);
        self.deliver(group, output, out);
        if group == GroupId::CONTROLLER {
            self.admin_changed = true;
            if heals {
                // What was committed since the files were made is here, and comes first: a replica of a topic that was deleted
                // by it, which the journal has forgotten, must not begin anew.
                self.settle_group(group, out);
            }
            self.reconcile(out);
            // Admissions among what was copied are not applied one by one: groups led here may have other members to be.
            self.introduce_all();
        }
        let did = if heals { "has healed" } else { "caught up with" };
        let text = format!("broker {} {did} {}: {} copied", self.config.node, self.name_of(group), bytes(copied));
        out.event(Event::Progress(text));
        self.wake_fetches(group, out);
    }
}

/// A number of bytes for people.
fn bytes(count: u64) -> String {
    match count {
        0..1_024 => format!("{count} bytes"),
        1_024..1_048_576 => format!("{} KiB", count >> 10),
        _ => format!("{} MiB", count >> 20),
    }
}
