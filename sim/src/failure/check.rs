//! Whether a run, perhaps edited by hand, can be simulated: every number that no run could be made of is refused, by name.
//!
//! What is only unusual is let through: whoever edits a run wants to see something unusual.

use std::ops::RangeInclusive;

use crate::net::Weather;
use crate::plan::{Fault, Plan, Target};
use crate::scenario::{Act, ConsumerSpec, ProducerSpec, RawSpec, SECOND, Scenario, TopicSpec};

/// What is wrong stands here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// A field of the scenario.
    Field(&'static str),
    /// The nth item of a list of the scenario.
    Item(&'static str, usize),
    /// The nth fault of the plan.
    Fault(usize),
}

/// What is wrong, and where.
type Wrong = (Place, String);

/// No run is longer than an hour, and nothing of it.
const LONG: u64 = 3_600 * SECOND;
/// A wall clock is off by no more, in milliseconds.
const JUMP_MAX_MS: i64 = 8 * 3_600_000;
/// A monotonic clock leaps by no more, in milliseconds.
const LEAP_MAX_MS: u64 = 24 * 3_600_000;
/// What is given in parts per million.
const PPM: RangeInclusive<u64> = 0..=1_000_000;
/// What is given in parts per thousand.
const PER_MILLE: RangeInclusive<u64> = 0..=1_000;

const KIB: u64 = 1024;

pub(super) fn check(scenario: &Scenario, plan: &Plan) -> Result<(), Wrong> {
    fields(scenario)?;
    sizes(scenario)?;
    for (nth, topic) in scenario.topics.iter().enumerate() {
        let place = Place::Item("topics", nth);
        of_topic(scenario, topic).map_err(|what| (place, what))?;
        if scenario.topics[..nth].iter().any(|other| other.name == topic.name) {
            return Err((place, format!("there are two topics `{}`", topic.name)));
        }
    }
    let each = |list, nth, checked: Result<(), String>| checked.map_err(|what| (Place::Item(list, nth), what));
    for (nth, producer) in scenario.producers.iter().enumerate() {
        each("producers", nth, of_producer(producer))?;
    }
    for (nth, consumer) in scenario.consumers.iter().enumerate() {
        each("consumers", nth, of_consumer(consumer))?;
    }
    for (nth, raw) in scenario.raw.iter().enumerate() {
        each("raw", nth, of_raw(raw))?;
    }
    for (nth, act) in scenario.ending.iter().enumerate() {
        each("ending", nth, of_act(scenario, act))?;
    }
    for (nth, timed) in plan.faults.iter().enumerate() {
        let place = Place::Fault(nth);
        if timed.at >= scenario.chaos {
            let what = format!("it would strike at {}, and faults end at {} (`chaos`)", timed.at, scenario.chaos);
            return Err((place, what));
        }
        of_fault(scenario, &timed.fault).map_err(|what| (place, what))?;
    }
    Ok(())
}

fn within(what: &str, value: u64, range: RangeInclusive<u64>) -> Result<(), String> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(format!("{what} is {value}; from {} to {} can be simulated", range.start(), range.end()))
}

fn fields(scenario: &Scenario) -> Result<(), Wrong> {
    let brokers = u64::from(scenario.brokers);
    let all = [
        ("brokers", "brokers", brokers, 1..=9),
        ("voters", "voters", u64::from(scenario.voters), u64::from(brokers > 1)..=brokers),
        ("chaos", "chaos (microseconds)", scenario.chaos, 1..=LONG),
        ("spread", "spread (microseconds)", scenario.spread, 1..=scenario.chaos.min(60 * SECOND)),
        ("late", "late (microseconds)", scenario.late, 0..=scenario.chaos.min(60 * SECOND)),
        ("settle", "settle (microseconds)", scenario.settle, SECOND..=LONG),
        ("topics", "the number of partitions", partitions(scenario), 0..=1_000),
        ("producers", "the number of producers and consumers", u64::from(scenario.clients()), 0..=40),
        ("ending", "the number of acts", scenario.ending.len() as u64, 0..=40),
        ("trials", "trials", scenario.trials, 0..=100),
        ("held", "held", scenario.held, 0..=10_000),
        ("patience", "poll (microseconds)", scenario.patience.poll, 0..=60 * SECOND),
        ("patience", "slow_deletions (in a thousand)", scenario.patience.slow_deletions, PER_MILLE),
    ];
    for (field, what, value, range) in all {
        within(what, value, range).map_err(|what| (Place::Field(field), what))?;
    }
    weather(&scenario.weather).map_err(|what| (Place::Field("weather"), what))
}

/// Their sum, which no text can make overflow.
fn partitions(scenario: &Scenario) -> u64 {
    scenario.topics.iter().map(|topic| u64::from(topic.partitions)).sum()
}

fn sizes(scenario: &Scenario) -> Result<(), Wrong> {
    let sizes = &scenario.sizes;
    let all = [
        ("tick (microseconds)", sizes.tick, 1_000..=SECOND),
        ("journal_file (bytes)", sizes.journal_file, 16 * KIB..=KIB * KIB * KIB),
        ("journal_files", u64::from(sizes.journal_files), 2..=64),
        ("segment_write (bytes)", sizes.segment_write, 1..=u64::MAX),
        ("window (bytes)", sizes.window, KIB..=u64::MAX),
        ("piece (bytes)", u64::from(sizes.piece), 64..=KIB * KIB),
        ("checkpoint (bytes)", sizes.checkpoint, KIB..=u64::MAX),
        ("segment (bytes)", sizes.segment, KIB..=u64::MAX),
        ("journal_block (bytes)", sizes.journal_block, 512..=u64::MAX),
        ("append (bytes)", sizes.append, 64..=u64::MAX),
        ("producers", u64::from(sizes.producers), 1..=u64::from(u32::MAX)),
        ("producer_silence (microseconds)", sizes.producer_silence, 1_000..=u64::MAX),
    ];
    let place = Place::Field("sizes");
    all.into_iter().try_for_each(|(what, value, range)| within(what, value, range).map_err(|what| (place, what)))
}

fn of_topic(scenario: &Scenario, topic: &TopicSpec) -> Result<(), String> {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name = topic.name.as_str();
    if !(1..=200).contains(&name.len()) || !name.chars().all(letter) || matches!(name, "." | "..") {
        return Err(format!("`{name}` is no name for a topic: 1 to 200 letters, digits, `.`, `_` and `-`"));
    }
    if name.starts_with("act-") && scenario.ending.contains(&Act::Manage) {
        return Err(format!("`{name}`: topics `act-...` are made by the act `manage`"));
    }
    within("partitions", topic.partitions.into(), 1..=1_000)?;
    if topic.replication < 1 || topic.replication > scenario.brokers {
        let (replication, brokers) = (topic.replication, scenario.brokers);
        return Err(format!("replication is {replication}; with {brokers} brokers, 1 to {brokers} can be simulated"));
    }
    within("min_insync (with that replication)", topic.min_insync.into(), 1..=topic.replication.into())?;
    within("deletions", topic.deletions.into(), 0..=100)?;
    within("late (microseconds)", topic.late, 0..=scenario.chaos)?;
    match topic.ahead_max_ms < 0 || topic.behind_max_ms < 0 {
        true => Err("a bound of times is negative".to_owned()),
        false => Ok(()),
    }
}

fn of_raw(raw: &RawSpec) -> Result<(), String> {
    within("pause (microseconds)", raw.pause, 1_000..=LONG)?;
    within("writers", raw.writers.into(), 1..=100)?;
    within("leader_acks (in a thousand)", raw.leader_acks, PER_MILLE)
}

fn of_producer(producer: &ProducerSpec) -> Result<(), String> {
    if !matches!(producer.acks, -1..=1) {
        return Err(format!("acks is {}; there are 0, 1 and -1 (all)", producer.acks));
    }
    if producer.idempotent && producer.acks != -1 {
        return Err(format!("acks is {}; who is idempotent has -1 (all)", producer.acks));
    }
    if producer.skips > 0 && !producer.idempotent {
        return Err("skips leave out sequences, and only who is idempotent has some".to_owned());
    }
    within("skips (in a thousand)", producer.skips, PER_MILLE)?;
    within("pause (microseconds)", producer.pause, 1..=LONG)?;
    within("linger (microseconds)", producer.linger, 0..=5 * SECOND)?;
    within("padding (bytes)", producer.padding.into(), 0..=64 * KIB)
}

fn of_consumer(consumer: &ConsumerSpec) -> Result<(), String> {
    within("pause (microseconds)", consumer.pause, 1..=LONG)?;
    within("seeks (in a thousand)", consumer.seeks, PER_MILLE)?;
    within("asks (in a thousand)", consumer.asks, PER_MILLE)
}

fn of_act(scenario: &Scenario, act: &Act) -> Result<(), String> {
    match act {
        Act::Listen { wait, moves } => {
            within("wait (microseconds)", *wait, 10_000..=60 * SECOND)?;
            moves.map_or(Ok(()), |target| of_target(scenario, target))
        }
        Act::Stop { target, down } | Act::Kill { target, down } => {
            within("down (microseconds)", *down, 1..=60 * SECOND)?;
            of_target(scenario, *target)
        }
        Act::Manage => Ok(()),
        Act::Silence { lasts } => within("lasts (microseconds)", *lasts, 0..=LONG),
    }
}

fn of_target(scenario: &Scenario, target: Target) -> Result<(), String> {
    match target {
        Target::Node(node) if node < 1 || node > scenario.brokers => {
            Err(format!("there is no broker {node}: {}", scenario.broker_names()))
        }
        Target::Node(_) | Target::Leader(_) => Ok(()),
    }
}

fn weather(weather: &Weather) -> Result<(), String> {
    let Weather { loss, duplicate, late, slow } = *weather;
    let all = [("loss", loss), ("duplicate", duplicate), ("late", late), ("slow", slow)];
    all.into_iter().try_for_each(|(what, value)| within(&format!("{what} (in a million)"), value, PPM))
}

fn of_fault(scenario: &Scenario, fault: &Fault) -> Result<(), String> {
    let lasts = |value: u64| within("lasts (microseconds)", value, 0..=LONG);
    let down = |value: u64| within("down (microseconds)", value, 0..=LONG);
    let target = |target: Target| of_target(scenario, target);
    match *fault {
        Fault::Kill { target: whom, down: time }
        | Fault::Power { target: whom, down: time }
        | Fault::DiskError { target: whom, down: time }
        | Fault::Wipe { target: whom, down: time }
        | Fault::Stop { target: whom, down: time }
        | Fault::Rot { target: whom, down: time, .. } => target(whom).and_then(|()| down(time)),
        Fault::Isolate { target: whom, lasts: time, .. }
        | Fault::Stall { target: whom, lasts: time }
        | Fault::Pause { target: whom, lasts: time }
        | Fault::Full { target: whom, lasts: time } => target(whom).and_then(|()| lasts(time)),
        Fault::FullStart { target: whom, down: time, lasts: full, times } => {
            target(whom)?;
            down(time)?;
            lasts(full)?;
            within("times", times.into(), 0..=1_000)
        }
        Fault::Blackout { down: time, spread } => {
            down(time).and_then(|()| within("spread (microseconds)", spread, 0..=LONG))
        }
        Fault::Split { side, lasts: time } => {
            let all = (1 << scenario.brokers) - 1;
            if side == 0 || side >= all {
                let most = all.saturating_sub(1);
                return Err(format!(
                    "side is {side}; the bits of some of {} brokers are 1 to {most}",
                    scenario.brokers
                ));
            }
            lasts(time)
        }
        Fault::Storm { weather: how, lasts: time } => weather(&how).and_then(|()| lasts(time)),
        Fault::Reset { target: whom, .. } => target(whom),
        Fault::Clog { target: whom, extra, lasts: time } => {
            target(whom)?;
            within("extra (microseconds)", extra, 0..=LONG)?;
            lasts(time)
        }
        Fault::Clock { target: whom, millis } => {
            target(whom)?;
            match (-JUMP_MAX_MS..=JUMP_MAX_MS).contains(&millis) {
                true => Ok(()),
                false => Err(format!("millis is {millis}; clocks jump by no more than {JUMP_MAX_MS}")),
            }
        }
        Fault::Rolling { down: time, gap } => down(time).and_then(|()| within("gap (microseconds)", gap, 0..=LONG)),
        Fault::Leap { target: whom, millis } => {
            target(whom)?;
            within("millis", millis, 0..=LEAP_MAX_MS)
        }
        Fault::ClientKill { down: time, .. } => down(time),
    }
}
