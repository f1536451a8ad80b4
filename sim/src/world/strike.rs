//! The nemesis: carries out the plan's faults, and undoes them.

use tidelog_core::effect::Input;
use tidelog_core::id::{FileKind, GroupId, NodeId};

use super::{Happening, Phase, World};
use crate::net::{CLIENTS, Places, only};
use crate::plan::{Fault, Rotten, Target, Way};
use crate::scenario::{SECOND, TopicSpec};
use crate::table;
use crate::workload;

/// The most a wall clock is off, in milliseconds, drift not counted.
const WALL_OFFSET_MAX_MS: i64 = 8 * 3_600_000;

/// So many elections in a thousand meet slow disks.
const SLOW_STARTS: u64 = 250;

/// So many admissions in a thousand meet slow disks.
const SLOW_CHANGES: u64 = 400;

/// So many writes of formation files in a thousand meet a power loss.
const CUT_WORDS: u64 = 8;

impl World {
    pub(super) fn strike(&mut self, fault: usize) {
        if self.phase != Phase::Chaos {
            return;
        }
        let fault = self.plan.faults[fault].fault.clone();
        let id = self.next_fault;
        self.next_fault += 1;
        match &fault {
            Fault::Kill { target, down } => self.fell(&fault, *target, *down, false),
            Fault::Power { target, down } => self.fell(&fault, *target, *down, true),
            Fault::Blackout { down, spread } => self.blackout(&fault, *down, *spread),
            Fault::Isolate { target, way, clients, stalls, lasts } => {
                let place = self.resolve(*target);
                if *stalls {
                    self.hosts[place as usize].stalled_until =
                        self.now.saturating_add(*lasts).saturating_add(1_000_000);
                }
                let all = self.all_brokers() & !only(place);
                let others = if *clients { all | self.all_clients() } else { all };
                if matches!(way, Way::Both | Way::Mute) {
                    self.net.cut(id, only(place), others);
                }
                if matches!(way, Way::Both | Way::Deaf) {
                    self.net.cut(id, others, only(place));
                }
                self.tally.partitions += 1;
                self.struck(&fault, Some(place));
                self.mend_later(id, *lasts);
            }
            Fault::Split { side, lasts } => {
                let side = side & self.all_brokers();
                let others = self.all_brokers() & !side;
                self.net.cut(id, side, others);
                self.net.cut(id, others, side);
                self.tally.partitions += 1;
                self.struck(&fault, None);
                self.mend_later(id, *lasts);
            }
            Fault::Storm { weather, lasts } => {
                self.net.storm(id, *weather);
                self.struck(&fault, None);
                self.mend_later(id, *lasts);
            }
            Fault::Stall { target, lasts } => {
                let place = self.resolve(*target);
                self.hosts[place as usize].stalled_until = self.now.saturating_add(*lasts);
                self.struck(&fault, Some(place));
            }
            Fault::Pause { target, lasts } => {
                let place = self.resolve(*target);
                if self.hosts[place as usize].process.is_some() {
                    self.hosts[place as usize].paused_until = self.now.saturating_add(*lasts);
                    self.struck(&fault, Some(place));
                }
            }
            Fault::Reset { target, delivered } => {
                let place = self.resolve(*target);
                if self.reset_all(place, *delivered) > 0 {
                    self.struck(&fault, Some(place));
                }
            }
            Fault::Clog { target, extra, lasts } => {
                let place = self.resolve(*target);
                self.net.clog(id, place, *extra);
                self.struck(&fault, Some(place));
                self.mend_later(id, *lasts);
            }
            Fault::DiskError { target, down } => {
                let place = self.resolve(*target);
                if self.hosts[place as usize].process.is_some() {
                    self.hosts[place as usize].fail_next = Some(*down);
                    // Most is written to the journal: it would hardly ever be anything else.
                    self.hosts[place as usize].fail_beside = self.nemesis.per_mille(500);
                    self.tell(Some(place), format!("fault: {fault} (broker {})", place + 1));
                }
            }
            Fault::Clock { target, millis } => {
                let place = self.resolve(*target);
                let host = &mut self.hosts[place as usize];
                // Producers are forgotten after a day of silence by the clocks of leaders: those stay less than a day apart.
                let to = host.wall_offset_ms.saturating_add(*millis).clamp(-WALL_OFFSET_MAX_MS, WALL_OFFSET_MAX_MS);
                let jump = to - host.wall_offset_ms;
                host.wall_offset_ms = to;
                if let Some(process) = &mut host.process {
                    process.clock.jump(jump);
                }
                self.struck(&fault, Some(place));
            }
            Fault::Wipe { target, down } => {
                let place = self.resolve(*target);
                self.wipe(&fault, place, *down);
            }
            Fault::Stop { target, down } => {
                let place = self.resolve(*target);
                if self.hosts[place as usize].process.is_some() {
                    self.struck(&fault, Some(place));
                    self.ask_to_stop(place, *down);
                }
            }
            Fault::Rolling { down, gap } => {
                self.struck(&fault, None);
                for place in 0..self.scenario.brokers {
                    let after = u64::from(place).saturating_mul(down.saturating_add(*gap));
                    let at = self.now.saturating_add(after);
                    self.queue.push(at, Happening::Stop { place, down: *down });
                }
            }
            Fault::Full { target, lasts } => {
                let place = self.resolve(*target);
                self.hosts[place as usize].full_until = self.now.saturating_add(*lasts);
                self.struck(&fault, Some(place));
            }
            Fault::FullStart { target, down, lasts, times } => {
                let place = self.resolve(*target);
                self.struck(&fault, Some(place));
                self.fill(place, *down, *lasts, *times);
            }
            Fault::Leap { target, millis } => {
                let place = self.resolve(*target);
                let life = self.hosts[place as usize].life;
                if let Some(process) = &mut self.hosts[place as usize].process {
                    process.clock.leap(*millis);
                    self.struck(&fault, Some(place));
                    // Alarms were set by the clock as it was.
                    self.deliver(place, life, Input::Wake);
                }
            }
            Fault::Rot { target, what, down } => self.rot(&fault, *target, *what, *down),
            Fault::ClientKill { nth, down } => {
                let others = (self.clients.len() as u32).saturating_sub(1);
                if others > 0 {
                    let client = 1 + nth % others;
                    self.tally.fault(fault.kind());
                    self.tell(None, format!("fault: {fault} (client {client})"));
                    self.kill_client(client, *down);
                }
            }
        }
    }

    /// Replaces a disk by an empty one, once in a run, and only if a majority of everything that was on it is elsewhere.
    fn wipe(&mut self, fault: &Fault, place: u32, down: u64) {
        if self.hosts.iter().any(|host| host.wiped > 0 || host.rotten) {
            return;
        }
        // Who is no member yet is not registered, so nothing was put on it.
        let thin = |topic: &TopicSpec| topic.replication < 3 || topic.min_insync > 2;
        let thin = self.scenario.topics.iter().any(thin) || self.board.is_thin();
        if self.hosts[place as usize].member && (thin || self.scenario.voters < 3) {
            return;
        }
        self.struck(fault, Some(place));
        let life = self.end_process(place, true);
        self.empty_disk(place);
        self.queue.push(self.now.saturating_add(down), Happening::Restart { place, life });
    }

    /// An empty disk takes the place of what a broker, which does not run, had.
    pub(super) fn empty_disk(&mut self, place: u32) {
        self.gone.push((self.hosts[place as usize].config.directory, self.now));
        self.hosts[place as usize].wipe();
        self.oracle.wiped(NodeId(place + 1));
        self.keep_last_words(place);
    }

    fn struck(&mut self, fault: &Fault, place: Option<u32>) {
        self.tally.fault(fault.kind());
        let whom = place.map_or(String::new(), |place| format!(" (broker {})", place + 1));
        self.tell(place, format!("fault: {fault}{whom}"));
        if matches!(fault, Fault::Wipe { .. }) {
            self.story.that_lasts();
        }
    }

    fn mend_later(&mut self, id: u64, lasts: u64) {
        self.rough_until = self.rough_until.max(self.now.saturating_add(lasts));
        self.queue.push(self.now.saturating_add(lasts), Happening::Mend { id });
    }

    pub(super) fn mend(&mut self, id: u64) {
        self.net.mend(id);
    }

    fn all_brokers(&self) -> Places {
        (1 << self.scenario.brokers) - 1
    }

    fn all_clients(&self) -> Places {
        !(only(CLIENTS) - 1)
    }

    /// Whom a fault strikes now.
    pub(super) fn resolve(&self, target: Target) -> u32 {
        let brokers = self.scenario.brokers;
        match target {
            Target::Node(node) => node.saturating_sub(1) % brokers,
            Target::Leader(nth) => {
                let groups: Vec<GroupId> = self.oracle.groups();
                let group = match groups.len() {
                    0 => GroupId::CONTROLLER,
                    count => groups[nth as usize % count],
                };
                let leader = self.oracle.leader(group).filter(|node| (1..=brokers).contains(&node.0));
                leader.map_or(nth % brokers, |node| node.0 - 1)
            }
        }
    }

    fn fell(&mut self, fault: &Fault, target: Target, down: u64, power: bool) {
        let place = self.resolve(target);
        if self.hosts[place as usize].process.is_none() {
            return;
        }
        self.struck(fault, Some(place));
        let life = self.end_process(place, power);
        self.queue.push(self.now.saturating_add(down), Happening::Restart { place, life });
    }

    fn blackout(&mut self, fault: &Fault, down: u64, spread: u64) {
        self.struck(fault, None);
        self.tally.blackouts += 1;
        for place in 0..self.scenario.brokers {
            // A machine whose process was killed loses its page cache too.
            let life = self.end_process(place, true);
            let back = self.now.saturating_add(down).saturating_add(self.nemesis.below(spread.saturating_add(1)));
            self.queue.push(back, Happening::Restart { place, life });
        }
    }

    /// The operator asks a broker to stop; it is started again `down` after it did.
    pub(super) fn ask_to_stop(&mut self, place: u32, down: u64) {
        let host = &mut self.hosts[place as usize];
        let life = host.life;
        if self.phase == Phase::Chaos && host.process.is_some() && host.stop_asked.is_none() {
            host.stop_asked = Some(down);
            self.deliver(place, life, Input::Stop);
        }
    }

    /// Kills a broker and damages its disk, unless a disk was damaged before: no more than one copy is lost.
    fn rot(&mut self, fault: &Fault, target: Target, what: Rotten, down: u64) {
        let place = self.resolve(target);
        let spoilt = self.hosts.iter().any(|host| host.rotten && !host.healed || host.wiped > 0);
        if spoilt || self.board.is_thin() {
            return;
        }
        if self.hosts[place as usize].process.is_none() {
            return self.rot_later(fault);
        }
        let life = self.end_process(place, false);
        let host = &mut self.hosts[place as usize];
        let (disk, rng) = (&mut host.disk, &mut host.crash_rng);
        let mut harm = |kind: FileKind| {
            if rng.per_mille(500) {
                disk.rot(kind, rng).map(|(file, at)| format!("a bit flips in byte {at} of {file}"))
            } else {
                disk.harm(kind, rng).map(|(file, len)| format!("{file} is cut to {len} bytes"))
            }
        };
        let harmed = match what {
            Rotten::Journal => {
                let flipped = disk.rot(FileKind::Journal, rng);
                flipped.map(|(file, at)| format!("a bit flips in byte {at} of {file}"))
            }
            Rotten::Vanished => {
                let files = disk.vanish(FileKind::Journal);
                (files > 0).then(|| format!("{files} files of the journal are removed"))
            }
            Rotten::State => harm(FileKind::State),
            Rotten::Segment => harm(FileKind::Segment),
            Rotten::Index => harm(FileKind::SegmentIndex),
        };
        let harmless = harmed.is_none();
        if let Some(text) = harmed {
            (host.rotten, host.healed) = (true, false);
            self.plan_trials(place);
            self.struck(fault, Some(place));
            self.tell(Some(place), format!("fault: on broker {}, {text}", place + 1));
            self.story.that_lasts();
            // Whoever sees that much missing may not want this disk any more.
            let odds = if self.scenario.trials > 0 { 250 } else { 500 };
            if what == Rotten::Vanished && self.hosts[place as usize].crash_rng.per_mille(odds) {
                return self.lose_or_replace(place, life);
            }
        }
        if harmless {
            // There was no such file yet.
            self.rot_later(fault);
        }
        self.queue.push(self.now.saturating_add(down), Happening::Restart { place, life });
    }

    /// A damage that found nothing to damage is tried again.
    fn rot_later(&mut self, fault: &Fault) {
        let place = self.plan.faults.iter().position(|timed| timed.fault == *fault);
        if let (true, Some(fault)) = (self.scenario.trials > 0, place) {
            self.queue.push(self.now + 2 * SECOND, Happening::Strike { fault });
        }
    }

    /// Something rare just happened on a broker: with these odds in a thousand its machine loses power right after it.
    pub(super) fn plot(&mut self, place: u32, odds: u64) {
        if odds == 0 || self.ambushes_left == 0 || self.phase != Phase::Chaos {
            return;
        }
        if self.ambusher.per_mille(odds) {
            self.ambushes_left -= 1;
            let at = self.now + table::AMBUSH.draw(&mut self.ambusher);
            let life = self.hosts[place as usize].life;
            self.queue.push(at, Happening::Ambush { place, life });
        }
    }

    /// A broker writes down what it is in its cluster, or how far its journal was opened: now and then it loses power over it.
    pub(super) fn plot_word(&mut self, place: u32) {
        if self.ambushes_left == 0 || self.phase != Phase::Chaos || !self.word_rng.per_mille(CUT_WORDS) {
            return;
        }
        self.ambushes_left -= 1;
        let at = self.now + table::AMBUSH.draw(&mut self.word_rng);
        let life = self.hosts[place as usize].life;
        self.queue.push(at, Happening::Ambush { place, life });
    }

    /// A leader was elected. Now and then all disks become slow, so that it leads for a while before it may serve.
    pub(super) fn slow_start(&mut self) {
        if self.phase != Phase::Chaos || self.scenario.rates.ambush == 0 || !self.ambusher.per_mille(SLOW_STARTS) {
            return;
        }
        let until = self.now + self.ambusher.between(100_000, 900_000);
        self.hosts.iter_mut().for_each(|host| host.stalled_until = host.stalled_until.max(until));
        self.tally.fault("slow_start");
        self.tell(None, "fault: all disks are slow for a moment".to_owned());
    }

    /// A broker was admitted: groups will change. Now and then all disks become slow, so that other things are under way then.
    pub(super) fn slow_change(&mut self) {
        if self.phase != Phase::Chaos || self.scenario.rates.ambush == 0 || !self.word_rng.per_mille(SLOW_CHANGES) {
            return;
        }
        let until = self.now + self.word_rng.between(300_000, 3_000_000);
        self.hosts.iter_mut().for_each(|host| host.stalled_until = host.stalled_until.max(until));
        self.tally.fault("slow_change");
        self.tell(None, "fault: all disks are slow for a while".to_owned());
    }

    /// A topic is to be deleted. Now and then all disks become slow, so that something of it is being read when it is.
    pub(super) fn slow_deletion(&mut self) {
        let odds = self.scenario.patience.slow_deletions;
        if self.phase != Phase::Chaos || odds == 0 || !self.deletion_rng.per_mille(odds) {
            return;
        }
        let until = self.now + self.deletion_rng.between(300_000, 1_500_000);
        self.hosts.iter_mut().for_each(|host| host.stalled_until = host.stalled_until.max(until));
        self.tally.fault("slow_deletion");
        self.tell(None, "fault: all disks are slow while a topic is deleted".to_owned());
    }

    pub(super) fn ambush(&mut self, place: u32, life: u64) {
        let host = &self.hosts[place as usize];
        if self.phase != Phase::Chaos || host.life != life || host.process.is_none() {
            return;
        }
        self.tally.fault("ambush");
        self.tell(Some(place), format!("fault: broker {} loses power in a bad moment", place + 1));
        let life = self.end_process(place, true);
        let back = self.now + self.ambusher.between(20_000, 1_500_000);
        self.queue.push(back, Happening::Restart { place, life });
    }

    pub(super) fn restart(&mut self, place: u32, life: u64) {
        self.boot(place, life);
    }

    /// The end of all faults: links are whole, every process runs, disks are quick.
    pub(super) fn heal(&mut self) {
        self.tell(None, "everything is healed".to_owned());
        self.net.heal();
        for place in 0..self.scenario.brokers {
            let now = self.now;
            let host = &mut self.hosts[place as usize];
            host.stalled_until = 0;
            host.paused_until = host.paused_until.min(now);
            host.fail_next = None;
            host.full_until = 0;
            let (life, down) = (host.life, host.process.is_none());
            if down {
                self.boot(place, life);
            } else if let Some(process) = host.alive(life)
                && process.turn.is_some()
            {
                let at = now.max(process.busy_until);
                process.turn = Some(at);
                self.queue.push(at, Happening::Turn { place, life, at });
            }
        }
        self.add_client(workload::prober(&self.scenario), crate::scenario::SECOND);
        self.phase = Phase::Settling {
            deadline: self.now + self.scenario.settle,
            quiet_from: self.now + crate::scenario::SECOND,
        };
        self.queue.push(self.now, Happening::Check);
    }
}
