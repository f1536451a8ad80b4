//! The timed faults of a run, as data: drawn from the scenario's rates, printable, savable, editable.

use std::fmt;

use serde::{Deserialize, Serialize};
use tidelog_core::rng::Rng;

use crate::net::Weather;
use crate::scenario::{LATE, SECOND, Scenario};
use crate::streams;

/// Faults and their moments, ascending, in microseconds of virtual time.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// The faults.
    pub faults: Vec<Timed>,
}

/// One fault and its moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Timed {
    /// When it strikes.
    pub at: u64,
    /// What happens.
    pub fault: Fault,
}

/// Whom a fault strikes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// This broker (`node.id`, from 1).
    Node(u32),
    /// Whoever leads the n-th group (modulo their number) at that moment; the broker `n % brokers + 1` if nobody does.
    Leader(u32),
}

/// Which way a partition stops messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Both.
    Both,
    /// It hears, but is not heard.
    Mute,
    /// It is heard, but does not hear.
    Deaf,
}

/// A fault. Durations are microseconds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs, reason = "the fields are said by the variant's sentence")]
pub enum Fault {
    /// `target` is killed and starts again `down` later; its page cache survives.
    Kill { target: Target, down: u64 },
    /// The machine of `target` loses power for `down`.
    Power { target: Target, down: u64 },
    /// All machines lose power; each is back after `down` or up to `spread` later.
    Blackout { down: u64, spread: u64 },
    /// `target` and the other brokers do not hear each other for `lasts`; clients are on the other side if `clients`. Its disk
    /// is slow all the while, and a bit longer, if `stalls`.
    Isolate { target: Target, way: Way, clients: bool, stalls: bool, lasts: u64 },
    /// The brokers of the bit set `side` and the others do not hear each other for `lasts`.
    Split { side: u64, lasts: u64 },
    /// Peer messages suffer `weather` for `lasts`.
    Storm { weather: Weather, lasts: u64 },
    /// The disk of `target` is slow for `lasts`.
    Stall { target: Target, lasts: u64 },
    /// `target` stands still for `lasts`.
    Pause { target: Target, lasts: u64 },
    /// All connections of clients to `target` break; what is under way is still delivered if `delivered`.
    Reset { target: Target, delivered: bool },
    /// Messages from and to `target` take `extra` longer for `lasts`.
    Clog { target: Target, extra: u64, lasts: u64 },
    /// The next write or sync of `target` fails; the machine is started again `down` after the broker stopped.
    DiskError { target: Target, down: u64 },
    /// The wall clock of `target` jumps by `millis`.
    Clock { target: Target, millis: i64 },
    /// `target` loses power, and comes back `down` later with an empty disk; if that can not lose what was acknowledged.
    Wipe { target: Target, down: u64 },
    /// The broker of `target` is asked to stop, and started again `down` after it did.
    Stop { target: Target, down: u64 },
    /// Every broker in turn is asked to stop and started again after `down`; `gap` later comes the next.
    Rolling { down: u64, gap: u64 },
    /// The disk of `target` has no space left for `lasts`.
    Full { target: Target, lasts: u64 },
    /// The disk of `target` has no space left for `lasts`, and meanwhile its broker is killed `times` times, at even intervals
    /// from now on, and started again `down` later.
    FullStart { target: Target, down: u64, lasts: u64, times: u32 },
    /// The monotonic clock of `target` leaps ahead by `millis`.
    Leap { target: Target, millis: u64 },
    /// The broker of `target` is killed, and something on its disk is damaged before it starts again after `down`.
    Rot { target: Target, what: Rotten, down: u64 },
    /// The `nth` client (modulo their number, the first excepted) is killed and started again after `down`.
    ClientKill { nth: u32, down: u64 },
}

/// Which files are damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotten {
    /// A block of the journal that a later one follows.
    Journal,
    /// All of the journal is removed.
    Vanished,
    /// The state of a checkpoint.
    State,
    /// Records.
    Segment,
    /// The index of a segment.
    Index,
}

impl Fault {
    /// The name under which it is counted.
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::Kill { .. } => "kill",
            Fault::Power { .. } => "power_loss",
            Fault::Blackout { .. } => "blackout",
            Fault::Isolate { .. } | Fault::Split { .. } => "partition",
            Fault::Storm { .. } => "storm",
            Fault::Stall { .. } => "disk_stall",
            Fault::Pause { .. } => "pause",
            Fault::Reset { .. } => "reset",
            Fault::Clog { .. } => "clog",
            Fault::DiskError { .. } => "disk_error",
            Fault::Clock { .. } => "clock_jump",
            Fault::Wipe { .. } => "wipe",
            Fault::Stop { .. } => "stop",
            Fault::Rolling { .. } => "rolling_restart",
            Fault::Full { .. } => "disk_full",
            Fault::FullStart { .. } => "full_start",
            Fault::Leap { .. } => "clock_leap",
            Fault::Rot { .. } => "bit_rot",
            Fault::ClientKill { .. } => "client_kill",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Node(node) => write!(f, "broker {node}"),
            Target::Leader(nth) => write!(f, "the leader of group #{nth}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |micros: &u64| micros / 1_000;
        match self {
            Fault::Kill { target, down } => write!(f, "{target} is killed, back after {} ms", ms(down)),
            Fault::Power { target, down } => write!(f, "{target} loses power for {} ms", ms(down)),
            Fault::Blackout { down, .. } => write!(f, "all brokers lose power for {} ms", ms(down)),
            Fault::Isolate { target, way, clients, stalls, lasts } => {
                let how = match way {
                    Way::Both => "is cut off from",
                    Way::Mute => "is not heard by",
                    Way::Deaf => "does not hear",
                };
                let whom = if *clients { "brokers and clients" } else { "the other brokers" };
                let slowly = if *stalls { ", with a slow disk" } else { "" };
                write!(f, "{target} {how} {whom} for {} ms{slowly}", ms(lasts))
            }
            Fault::Split { side, lasts } => {
                let names: Vec<String> =
                    (0..16).filter(|n| side & (1 << n) != 0).map(|n| (n + 1).to_string()).collect();
                write!(f, "brokers {} are cut off from the others for {} ms", names.join(","), ms(lasts))
            }
            Fault::Storm { weather, lasts } => write!(
                f,
                "peer messages are lost ({}/1000), doubled ({}/1000), late ({}/1000) for {} ms",
                weather.loss / 1_000,
                weather.duplicate / 1_000,
                weather.late / 1_000,
                ms(lasts)
            ),
            Fault::Stall { target, lasts } => write!(f, "the disk of {target} stalls for {} ms", ms(lasts)),
            Fault::Pause { target, lasts } => write!(f, "{target} stands still for {} ms", ms(lasts)),
            Fault::Reset { target, delivered } => {
                let fate = if *delivered { "delivered" } else { "lost" };
                write!(f, "connections to {target} break, what was under way is {fate}")
            }
            Fault::Clog { target, extra, lasts } => {
                write!(f, "links of {target} are {} ms slower for {} ms", ms(extra), ms(lasts))
            }
            Fault::DiskError { target, .. } => write!(f, "the disk of {target} fails its next write or sync"),
            Fault::Clock { target, millis } => write!(f, "the wall clock of {target} jumps by {millis} ms"),
            Fault::Wipe { target, down } => write!(f, "{target} gets an empty disk, back after {} ms", ms(down)),
            Fault::Stop { target, down } => write!(f, "{target} is asked to stop, back after {} ms", ms(down)),
            Fault::Rolling { down, .. } => {
                write!(f, "all brokers are restarted in turn, each back after {} ms", ms(down))
            }
            Fault::Full { target, lasts } => write!(f, "the disk of {target} is full for {} ms", ms(lasts)),
            Fault::FullStart { target, down, lasts, times } => {
                let (lasts, down) = (ms(lasts), ms(down));
                write!(
                    f,
                    "the disk of {target} is full for {lasts} ms, in which it is killed {times}x, back after {down} ms"
                )
            }
            Fault::Leap { target, millis } => write!(f, "the monotonic clock of {target} leaps ahead by {millis} ms"),
            Fault::Rot { target, what, down } => {
                write!(f, "{target} is killed, and its {what:?} is damaged before it is back after {} ms", ms(down))
            }
            Fault::ClientKill { nth, down } => write!(f, "client #{nth} is killed, back after {} ms", ms(down)),
        }
    }
}

/// Kinds by their place among the rates, where something depends on it.
const KILL: usize = 0;
const POWER: usize = 1;
const BLACKOUT: usize = 2;
const ISOLATE: usize = 3;
const STORM: usize = 4;
const STALL: usize = 5;
const PAUSE: usize = 6;
const CLIENT_KILL: usize = 16;
const WIPE: usize = 17;
/// The stream of the faults that strike early.
const EARLY: u64 = 1_000;
/// The stream of those that strike a cluster that waits for its last voter.
const FOUNDING: u64 = 1_001;
/// The stream of damage beyond what the rates give.
const MORE_ROT: u64 = 1_002;

impl Plan {
    /// The plan of a scenario in the default profile.
    pub fn draw(scenario: &Scenario) -> Self {
        let mut faults = Vec::new();
        let r = &scenario.rates;
        let rates = [
            r.kill,
            r.power,
            r.blackout,
            r.partition,
            r.storm,
            r.stall,
            r.pause,
            r.reset,
            r.clog,
            r.disk_error,
            r.clock,
            r.stop,
            r.rolling,
            r.full,
            r.leap,
            r.rot,
            r.client_kill,
            r.wipe,
        ];
        for (kind, rate) in rates.into_iter().enumerate() {
            let mut rng = Rng::stream(scenario.seed, &[streams::PLAN, kind as u64]);
            let hundredths = rate * (scenario.chaos / SECOND);
            let count = hundredths / 100 + u64::from(rng.below(100) < hundredths % 100);
            for _ in 0..count.max(u64::from(rate > 0)) {
                // An empty disk is most interesting while the cluster is formed of such.
                if kind == WIPE && rng.per_mille(500) {
                    let at = rng.below(SECOND / 2 + scenario.spread + scenario.late);
                    let target = if rng.per_mille(500) { Target::Node(1) } else { target(scenario, &mut rng) };
                    faults.push(Timed { at, fault: Fault::Wipe { target, down: rng.between(5_000, SECOND) } });
                    continue;
                }
                let at = rng.between(4 * SECOND, scenario.chaos - 2 * SECOND);
                faults.push(Timed { at, fault: draw(kind, scenario, &mut rng) });
            }
        }
        draw_early(scenario, &mut faults);
        draw_founding(scenario, &mut faults);
        draw_more_rot(scenario, &mut faults);
        draw_full_starts(scenario, &mut faults);
        faults.sort_by_key(|timed| timed.at);
        Self { faults }
    }
}

/// Faults that strike while the cluster is formed.
fn draw_early(scenario: &Scenario, faults: &mut Vec<Timed>) {
    let mut rng = Rng::stream(scenario.seed, &[streams::PLAN, EARLY]);
    if !rng.per_mille(500) {
        return;
    }
    for _ in 0..rng.between(1, 4) {
        let at = rng.below(SECOND + scenario.spread + scenario.late);
        let kind = [KILL, POWER, POWER, BLACKOUT, ISOLATE, STORM, STALL, PAUSE][rng.below(8) as usize];
        faults.push(Timed { at, fault: draw(kind, scenario, &mut rng) });
    }
}

/// While the cluster waits for a late broker, one that has said its word loses its disk, and the founder is started again.
fn draw_founding(scenario: &Scenario, faults: &mut Vec<Timed>) {
    let mut rng = Rng::stream(scenario.seed, &[streams::PLAN, FOUNDING]);
    if scenario.held == 0 || scenario.late < LATE || scenario.voters < 3 || !rng.per_mille(800) {
        return;
    }
    if rng.per_mille(300) {
        // Or the founder loses its disk just when it has founded.
        let at = scenario.spread + scenario.late + rng.below(SECOND / 4);
        faults.push(Timed { at, fault: Fault::Wipe { target: Target::Node(1), down: rng.between(5_000, SECOND / 2) } });
        return;
    }
    let at = scenario.spread + rng.between(SECOND / 5, SECOND);
    let target = Target::Node(rng.between(2, u64::from(scenario.voters)) as u32);
    // It is not back when the last voter comes: who believed its word founds a cluster on a disk that is gone.
    let down = scenario.late + rng.between(SECOND, 3 * SECOND);
    faults.push(Timed { at, fault: Fault::Wipe { target, down } });
    let at = at + rng.between(20_000, SECOND / 2);
    let down = rng.between(5_000, SECOND / 5);
    faults.push(Timed { at, fault: Fault::Power { target: Target::Node(1), down } });
}

/// Disks that have healed are damaged again, and others are.
fn draw_more_rot(scenario: &Scenario, faults: &mut Vec<Timed>) {
    let mut rng = Rng::stream(scenario.seed, &[streams::PLAN, MORE_ROT]);
    if scenario.trials == 0 || scenario.rates.rot == 0 || scenario.chaos < 20 * SECOND {
        return;
    }
    for _ in 0..rng.between(1, 3) {
        let at = rng.between(6 * SECOND, scenario.chaos - 4 * SECOND);
        let what = match rng.below(100) {
            0..=24 => Rotten::Journal,
            25..=39 => Rotten::Vanished,
            40..=49 => Rotten::State,
            50..=79 => Rotten::Segment,
            _ => Rotten::Index,
        };
        let down = rng.between(20_000, SECOND);
        faults.push(Timed { at, fault: Fault::Rot { target: target(scenario, &mut rng), what, down } });
    }
}

/// Starts on full disks: the first of a broker's life among them.
fn draw_full_starts(scenario: &Scenario, faults: &mut Vec<Timed>) {
    if scenario.full_starts == 0 {
        return;
    }
    let mut rng = Rng::stream(scenario.seed, &[streams::FULL_START_PLAN]);
    if rng.per_mille(300) {
        let target = Target::Node(rng.between(1, u64::from(scenario.brokers)) as u32);
        let lasts = rng.between(300_000, 6 * SECOND);
        let times = rng.between(1, 3) as u32;
        faults
            .push(Timed { at: 0, fault: Fault::FullStart { target, down: rng.between(5_000, 500_000), lasts, times } });
    }
    for _ in 0..(scenario.full_starts * (scenario.chaos / SECOND) / 100).max(1) {
        let at = rng.between(4 * SECOND, scenario.chaos - 2 * SECOND);
        let fault = Fault::FullStart {
            target: target(scenario, &mut rng),
            down: rng.between(5_000, 1_500_000),
            lasts: rng.between(2 * SECOND, 16 * SECOND),
            times: rng.between(1, 3) as u32,
        };
        faults.push(Timed { at, fault });
    }
}

fn target(scenario: &Scenario, rng: &mut Rng) -> Target {
    match rng.per_mille(600) {
        true => Target::Leader(rng.below(8) as u32),
        false => Target::Node(rng.between(1, u64::from(scenario.brokers)) as u32),
    }
}

fn draw(kind: usize, scenario: &Scenario, rng: &mut Rng) -> Fault {
    let target = target(scenario, rng);
    let mut ms = |low: u64, high: u64| rng.between(low * 1_000, high * 1_000);
    match kind {
        KILL => Fault::Kill { target, down: ms(5, 3_000) },
        POWER => Fault::Power { target, down: ms(50, 5_000) },
        BLACKOUT => Fault::Blackout { down: ms(100, 1_500), spread: ms(0, 2_000) },
        ISOLATE => {
            let lasts = ms(300, 8_000);
            match rng.below(10) {
                0 | 1 if scenario.brokers > 1 => {
                    Fault::Split { side: rng.between(1, (1 << scenario.brokers) - 2), lasts }
                }
                kind => Fault::Isolate {
                    target,
                    way: match kind {
                        2 | 3 => Way::Mute,
                        4 | 5 => Way::Deaf,
                        _ => Way::Both,
                    },
                    clients: rng.per_mille(400),
                    stalls: rng.per_mille(350),
                    lasts,
                },
            }
        }
        STORM => {
            let lasts = ms(1_000, 10_000);
            let mut part = |high: u64| if rng.per_mille(750) { rng.below(high) } else { 0 };
            Fault::Storm {
                weather: Weather {
                    loss: part(250_000),
                    duplicate: part(300_000),
                    late: part(100_000),
                    slow: part(600_000),
                },
                lasts,
            }
        }
        STALL => Fault::Stall { target, lasts: ms(200, 4_000) },
        PAUSE => Fault::Pause { target, lasts: ms(50, 4_000) },
        7 => Fault::Reset { target, delivered: rng.per_mille(500) },
        8 => Fault::Clog { target, extra: ms(5, 400), lasts: ms(500, 6_000) },
        9 => Fault::DiskError { target, down: ms(100, 2_000) },
        10 => Fault::Clock { target, millis: [-3_600_000, -5_000, -200, 200, 5_000, 3_600_000][rng.below(6) as usize] },
        11 => Fault::Stop { target, down: ms(5, 2_000) },
        12 => Fault::Rolling { down: ms(100, 1_500), gap: ms(100, 2_500) },
        13 => Fault::Full { target, lasts: ms(500, 8_000) },
        14 => Fault::Leap { target, millis: [1, 200, 1_000, 10_000, 3_600_000][rng.below(5) as usize] },
        15 => Fault::Rot {
            target,
            what: match rng.below(100) {
                0..=44 => Rotten::Journal,
                45..=59 => Rotten::Vanished,
                60..=71 => Rotten::State,
                72..=89 => Rotten::Segment,
                _ => Rotten::Index,
            },
            down: rng.between(100_000, 2_000_000),
        },
        CLIENT_KILL => Fault::ClientKill { nth: rng.below(16) as u32, down: rng.between(1_000, 2_000_000) },
        _ => Fault::Wipe { target, down: ms(50, 3_000) },
    }
}
