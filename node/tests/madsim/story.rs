//! The plan of a run: everybody begins, faults for a while, then everything is whole and must get on; then all is read.

use std::time::Duration;

use tidelog_core::broker::Settings;
use tidelog_core::id::NodeId;
use tidelog_core::rng::Rng;
use tokio::time::{sleep, timeout};

use crate::Report;
use crate::clients::{Desk, Stage, consume, create_topic, produce, read_everything};
use crate::machines::{Machines, brokers, client};
use crate::prober::probe;
use crate::witness::Witness;

const PRODUCERS: u8 = 3;
const CONSUMERS: u8 = 1;
const PROBERS: u8 = 2;
/// How many faults follow one another.
const FAULTS: u64 = 8;
/// How long a cluster of which nothing is broken may take to be ready.
const READY_MAX: Duration = Duration::from_secs(30);
/// How long those that were slowed down by faults may take to catch up: madsim tries a clogged way again after 10 s at most.
const SETTLE: Duration = Duration::from_secs(15);
/// How long it must go well then.
const CALM: Duration = Duration::from_secs(12);
/// How long a broker may be dead before those that heard it know.
const MISSED_AFTER: Duration = Duration::from_secs(1);

// The streams of a seed.
const STREAM_SETTINGS: u64 = 1;
const STREAM_FAULTS: u64 = 2;
const STREAM_CLIENTS: u64 = 3;

/// Runs one seed to its end.
pub(crate) async fn tell(seed: u64) -> Report {
    let witness = Witness::default();
    let mut rng = Rng::stream(seed, &[STREAM_SETTINGS]);
    let (settings, bytes_max) = settings(&mut rng);
    let machines = Machines::start(&witness, &settings);
    let desk = Desk::new(&witness);
    all_ready(&machines, &witness, "at first").await;

    let of_client = |number: u8| Rng::stream(seed, &[STREAM_CLIENTS, number.into()]);
    let operator = client(200);
    operator.spawn(create_topic(of_client(200))).await.expect("nobody kills a client");
    let mut numbers = 1_u8..;
    let mut machine = || {
        let number = numbers.next().expect("a few clients");
        (number, client(number), of_client(number))
    };
    let mut running = Vec::new();
    for _ in 0..PRODUCERS {
        let (number, machine, rng) = machine();
        running.push((number, machine.spawn(produce(desk.clone(), number.into(), rng, bytes_max))));
    }
    for _ in 0..CONSUMERS {
        let (number, machine, rng) = machine();
        running.push((number, machine.spawn(consume(desk.clone(), number.into(), rng))));
    }
    for _ in 0..PROBERS {
        let (number, machine, rng) = machine();
        running.push((number, machine.spawn(probe(desk.clone(), rng))));
    }

    let mut rng = Rng::stream(seed, &[STREAM_FAULTS]);
    let mut resets = 0;
    for _ in 0..FAULTS {
        sleep(Duration::from_millis(rng.between(100, 3_000))).await;
        resets += fault(&machines, &mut rng).await;
    }
    all_ready(&machines, &witness, "after the faults").await;
    sleep(SETTLE).await;

    desk.enter(Stage::Calm);
    let owed = witness.seen().owed();
    sleep(CALM).await;
    witness.seen().overdue(&owed);
    desk.enter(Stage::Faults);
    one_is_missed(&machines, &witness, &mut rng).await;
    all_ready(&machines, &witness, "after the last kill").await;

    desk.enter(Stage::Drain);
    for (number, client) in running {
        match timeout(Duration::from_secs(90), client).await {
            Ok(ended) => ended.expect("nobody kills a client"),
            Err(_) => desk.wrong(format!("client {number} does not come to its end")),
        }
    }
    let reading = operator.spawn(read_everything(desk.clone(), 200, of_client(201)));
    if timeout(Duration::from_secs(60), reading).await.is_err() {
        desk.wrong("what was written can not be read to its end".to_owned());
    }
    look_at(&machines, &witness, &desk).await;
    for node in brokers() {
        machines.stop(node).await;
    }

    let (acked, read) = desk.counts();
    let mut wrong = desk.judge();
    let seen = witness.seen();
    wrong.extend(seen.verdict());
    Report { digest: seen.digest(), acked, read, resets, mutes: seen.mutes, losses: seen.losses, wrong }
}

/// How large everything is in this run: brokers' sizes, and the largest record.
fn settings(rng: &mut Rng) -> (Settings, u64) {
    // Who is behind copies faster than clients write.
    let small = Settings { copy_piece_bytes: 32 * 1024, ..Settings::simulation() };
    if rng.per_mille(500) {
        return (small, 20_000);
    }
    let large = Settings {
        journal_file_bytes: 2 * 1024 * 1024,
        journal_rest_bytes: 4 * 1024 * 1024,
        unwritten_bytes_max: 256 * 1024,
        segment_allocate_bytes: 1024 * 1024,
        checkpoint_bytes: 1024 * 1024,
        window_bytes: 512 * 1024,
        ..small
    };
    (large, 300_000)
}

async fn all_ready(machines: &Machines, witness: &Witness, when: &str) {
    let ready = || brokers().all(|node| witness.seen().ready.contains(&node));
    if !machines.until(READY_MAX, ready).await {
        let waiting: Vec<NodeId> = brokers().filter(|node| !witness.seen().ready.contains(node)).collect();
        witness.seen().wrong.push(format!("{when}: {waiting:?} are not ready after {READY_MAX:?}"));
    }
}

/// One fault, from its beginning to its end. Gives how many connections were reset.
async fn fault(machines: &Machines, rng: &mut Rng) -> u64 {
    let all: Vec<NodeId> = brokers().collect();
    let node = *rng.pick(&all).expect("there are brokers");
    let others: Vec<NodeId> = brokers().filter(|other| *other != node).collect();
    let other = *rng.pick(&others).expect("there are brokers");
    let long = Duration::from_millis(rng.between(50, 8_000));
    match rng.below(7) {
        0 => {
            machines.examine(node, &["/metrics"]).await;
            machines.kill(node);
            sleep(long).await;
            machines.restart(node);
            0
        }
        1 => {
            machines.examine(node, &["/metrics"]).await;
            machines.stop(node).await;
            sleep(long / 4).await;
            machines.restart(node);
            0
        }
        2 => {
            machines.isolate(node, true);
            sleep(long).await;
            machines.isolate(node, false);
            others.iter().map(|other| machines.cut(node, *other)).sum()
        }
        3 => {
            machines.clog(node, other, true);
            sleep(long).await;
            machines.clog(node, other, false);
            // Nobody waits for longer than a few seconds for what was sent to be acknowledged.
            if rng.per_mille(700) { machines.cut(node, other) } else { 0 }
        }
        4 => {
            machines.pause(node, true);
            sleep(long / 2).await;
            machines.pause(node, false);
            0
        }
        5 => {
            let mut resets = 0;
            for _ in 0..rng.between(1, 10) {
                resets += machines.cut(node, other);
                sleep(Duration::from_millis(rng.between(1, 300))).await;
            }
            resets
        }
        _ => {
            let mut resets = 0;
            for _ in 0..rng.between(1, 10) {
                resets += machines.cut_client(node, rng.between(1, 6) as u8);
                sleep(Duration::from_millis(rng.between(1, 300))).await;
            }
            resets
        }
    }
}

/// Kills a broker while nothing else is broken: whoever heard it has to be told that it is lost.
async fn one_is_missed(machines: &Machines, witness: &Witness, rng: &mut Rng) {
    let all: Vec<NodeId> = brokers().collect();
    let dead = *rng.pick(&all).expect("there are brokers");
    let others: Vec<NodeId> = brokers().filter(|node| *node != dead).collect();
    for node in &others {
        if !witness.seen().hears(*node, dead) {
            witness.seen().wrong.push(format!("broker {node} does not hear broker {dead}, and nothing is broken"));
        }
    }
    machines.examine(dead, &["/metrics"]).await;
    machines.kill(dead);
    let deaf = || others.iter().filter(|node| witness.seen().hears(**node, dead)).copied().collect::<Vec<_>>();
    if !machines.until(MISSED_AFTER, || deaf().is_empty()).await {
        let deaf = deaf();
        let wrong = format!("broker {dead} is dead for {MISSED_AFTER:?}, and nobody told {deaf:?}");
        witness.seen().wrong.push(wrong);
    }
    sleep(Duration::from_millis(rng.between(100, 3_000))).await;
    machines.restart(dead);
}

/// At the end, when all clients have gone: nobody is connected, nobody was sent away, and everybody says that all is well.
async fn look_at(machines: &Machines, witness: &Witness, desk: &Desk) {
    for node in brokers() {
        if !machines.until(Duration::from_secs(5), || witness.seen().clients(node) == 0).await {
            let clients = witness.seen().clients(node);
            desk.wrong(format!("broker {node} has {clients} clients, and all have gone"));
        }
    }
    for node in brokers() {
        machines.examine(node, &["/livez", "/readyz", "/metrics"]).await;
    }
}
