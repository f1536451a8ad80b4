//! How fast the core steps, and how fast the simulator runs seeds, on one core.
//!
//! *core steps/s*: three brokers of one cluster in this thread, with instant disks in memory, an instant network that
//! carries bytes, and time that moves by a millisecond after every round. A round is one Produce of one small batch to each of
//! `--partitions` partitions, replicated to all three, carried out until nothing is left to do. A step counts if it gave an
//! effect or an event. Printed over all time (decoding, encoding and copying included, as a host has them), and over the
//! time inside `Broker::step` alone, which includes reading the clock twice for each step.
//!
//! *seeds/min*: whole runs of the simulator's default profile in this thread, seeds `--first-seed` and the following:
//! drawing, running and judging, with all its faults, clients and checkers. Seeds that did not pass are listed.
//!
//! ```text
//! cargo run --release -p tidelog-benches --bin sim_rate -- --seeds 20
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use tidelog_benches::client::base_offset;
use tidelog_benches::figures::load;
use tidelog_benches::house::House;
use tidelog_benches::requests;
use tidelog_core::broker::Settings;
use tidelog_core::time;
use tidelog_sim::{Options, Plan, Scenario, Verdict, World};

const TOPIC: &str = "steps";
const BROKERS: u32 = 3;

/// Measures how fast the core steps and the simulator runs.
#[derive(Debug, Parser)]
struct Args {
    /// How many rounds of produces.
    #[arg(long, default_value_t = 20_000)]
    rounds: u64,
    /// How many partitions, one produce to each in a round.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(i32).range(1..=200))]
    partitions: i32,
    /// How many records a batch has.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// How many bytes a record has.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(16..))]
    record_bytes: u64,
    /// How many seeds of the simulator.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
}

fn main() {
    let args = Args::parse();
    println!("{} at the start", load());
    if args.rounds > 0 {
        // A server's sizes, and the simulator's, where every boundary is met often.
        steps("a server's settings", &Settings::node(), &args);
        steps("a simulation's settings", &Settings::simulation(), &args);
    }
    if args.seeds > 0 {
        seeds(&args);
    }
    println!("{} at the end", load());
}

fn steps(name: &str, settings: &Settings, args: &Args) {
    let mut house = House::new(BROKERS, settings);
    let leaders = house.create_topic(TOPIC, args.partitions);
    let frames: Vec<Bytes> = (0..args.partitions)
        .map(|partition| {
            let batch = requests::batch(1, args.records, args.record_bytes as usize);
            Bytes::from(requests::frame(&requests::produce(TOPIC, partition, batch), 0)).slice(4..)
        })
        .collect();
    let mut spent = Duration::ZERO;
    // The first tenth warms up.
    for round in 0..args.rounds + args.rounds / 10 {
        if round == args.rounds / 10 {
            house.take_counts();
            spent = Duration::ZERO;
        }
        let begun = Instant::now();
        for (leader, frame) in leaders.iter().zip(&frames) {
            house.send(*leader, frame.clone());
        }
        house.settle();
        house.pass(time::Duration::from_millis(1));
        spent += begun.elapsed();
        let answer = house.last_answer().expect("produces are answered");
        base_offset(answer).expect("leaders stay");
    }
    let total = house.take_counts();
    let produces = args.rounds * args.partitions as u64;
    println!(
        "{name}: {BROKERS} brokers, {} partitions, batches of {} x {} bytes",
        args.partitions, args.records, args.record_bytes
    );
    println!(
        "  {:>9.0} core steps/s that changed something, over all time",
        total.changes as f64 / spent.as_secs_f64()
    );
    println!(
        "  {:>9.0} core steps/s that changed something, over the time inside Broker::step ({:.0} % of it)",
        total.changes as f64 / total.inside.as_secs_f64(),
        100.0 * total.inside.as_secs_f64() / spent.as_secs_f64()
    );
    println!(
        "  {:>9.0} produces/s; {:.1} steps each, {:.1} of them changed something; {} answered of {produces}",
        total.answers as f64 / spent.as_secs_f64(),
        total.steps as f64 / total.answers as f64,
        total.changes as f64 / total.answers as f64,
        total.answers,
    );
}

fn seeds(args: &Args) {
    let begun = Instant::now();
    let (mut steps, mut virtual_micros, mut failed) = (0, 0, Vec::new());
    for seed in (0..args.seeds).map(|nth| args.first_seed.wrapping_add(nth)) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let scenario = Scenario::draw(seed);
            let plan = Plan::draw(&scenario);
            let mut world = World::new(scenario, plan, Options::default());
            world.run();
            world.outcome()
        }));
        match outcome {
            Ok(outcome) => {
                steps += outcome.steps;
                virtual_micros += outcome.sim_micros;
                if outcome.verdict != Verdict::Pass {
                    failed.push(format!("{seed} {}", outcome.verdict.name()));
                }
            }
            Err(_) => failed.push(format!("{seed} {}", Verdict::Panic.name())),
        }
    }
    let spent = begun.elapsed().as_secs_f64();
    println!("the simulator's default profile, {} seeds in one thread", args.seeds);
    println!(
        "  {:>9.1} seeds/min; {:.0} core steps/s with faults, clients and checkers; {:.1} virtual seconds a second",
        args.seeds as f64 * 60.0 / spent,
        steps as f64 / spent,
        virtual_micros as f64 / 1e6 / spent
    );
    if !failed.is_empty() {
        println!("  not passed: {}", failed.join(", "));
    }
}
