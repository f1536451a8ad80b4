//! Starts on full disks: a broker that ran there before serves again, although there is no room.

use tidelog_core::id::GroupId;

use super::{Happening, Phase, World};

/// So many of the longest election times a broker has to serve again what needs no room.
const ELECTIONS: u64 = 12;
/// A broker that ran for so long with room has made what it needs to start without, in microseconds.
const PREPARED_AFTER: u64 = 1_500_000;

impl World {
    /// A disk has no space left for a while. Its broker is killed some times meanwhile, the first time now.
    pub(super) fn fill(&mut self, place: u32, down: u64, lasts: u64, times: u32) {
        let now = self.now;
        let host = &mut self.hosts[place as usize];
        let ran = host.started == host.life && host.is_well_since(now.saturating_sub(PREPARED_AFTER));
        host.prepared |= ran && host.full_until <= host.booted_at && now >= PREPARED_AFTER;
        host.full_until = host.full_until.max(now.saturating_add(lasts));
        for nth in 0..u64::from(times) {
            let at = now.saturating_add(lasts / u64::from(times.max(1)) * nth);
            self.queue.push(at, Happening::FullKill { place, down });
        }
    }

    pub(super) fn full_kill(&mut self, place: u32, down: u64) {
        let host = &self.hosts[place as usize];
        if self.phase != Phase::Chaos || host.process.is_none() || host.full_until <= self.now {
            return;
        }
        self.tally.fault("full_kill");
        self.tell(Some(place), format!("fault: broker {} is killed while its disk is full", place + 1));
        let life = self.end_process(place, false);
        self.queue.push(self.now.saturating_add(down), Happening::Restart { place, life });
    }

    fn patience(&self) -> u64 {
        ELECTIONS * u64::from(self.scenario.settings().election_ticks_max) * self.scenario.sizes.tick
    }

    /// A broker starts: if its disk is full, it is looked at in a while.
    pub(super) fn expect_full_start(&mut self, place: u32, life: u64) {
        let host = &self.hosts[place as usize];
        let at = self.now.saturating_add(self.patience());
        if host.prepared && host.full_until > at {
            self.queue.push(at, Happening::FullCheck { place, life });
        }
    }

    /// A broker was started on a full disk a while ago: does it do what needs no room?
    pub(super) fn full_check(&mut self, place: u32, life: u64) {
        let host = &self.hosts[place as usize];
        let since = host.booted_at;
        let spoilt = self.hosts.iter().any(|host| host.rotten || host.wiped > 0);
        if host.life != life || self.phase != Phase::Chaos || !host.is_well_since(since) || spoilt {
            return;
        }
        let Some(process) = &host.process else { return };
        self.tally.fault("full_start_judged");
        let millis = self.patience() / 1_000;
        let status = process.broker.status();
        if host.started != life {
            let what = format!("it still waits for {}", status.waiting_for);
            return self.oracle.waits_for_room(place + 1, &what, millis);
        }
        let well = self.hosts.iter().all(|host| host.is_well_since(since));
        if !well || self.rough_until > since {
            return;
        }
        let leaderless = status.groups.iter().find(|group| group.group == GroupId::CONTROLLER && group.leader.0 == 0);
        if leaderless.is_some() {
            return self.oracle.waits_for_room(place + 1, "it knows no leader of the controller", millis);
        }
        // Who is alone needs nobody else to serve what it has.
        let silent = status.groups.iter().find(|group| !group.serving && self.scenario.brokers == 1);
        if let Some(group) = silent {
            let what = format!("{} has no leader that serves", super::brokers::name(group.group));
            self.oracle.waits_for_room(place + 1, &what, millis);
        }
    }
}
