//! One seed, one course of events: whatever else happened in the process, and however it is watched.

#![allow(clippy::disallowed_types, reason = "a test may count what passes by")]

use std::cell::Cell;
use std::rc::Rc;

use tidelog_sim::{Options, Outcome, Plan, SECOND, Scenario, World, failure};

/// A run of the seed that ends early, so that an unoptimised build can afford a few.
fn short(seed: u64) -> (Scenario, Plan) {
    let mut scenario = Scenario::draw(seed);
    scenario.chaos = 8 * SECOND;
    let plan = Plan::draw(&scenario);
    (scenario, plan)
}

fn run((scenario, plan): (Scenario, Plan), options: Options) -> Outcome {
    let mut world = World::new(scenario, plan, options);
    world.run();
    world.outcome()
}

#[test]
fn the_same_seed_takes_the_same_course() {
    for seed in [1, 2, 3] {
        let first = run(short(seed), Options::default());
        assert!(first.tally.acked > 100, "seed {seed} did something: {first:?}");
        assert_eq!(first, run(short(seed), Options::default()), "seed {seed}");
    }
}

#[test]
fn being_watched_changes_nothing() {
    let lines = Rc::new(Cell::new(0_u64));
    let counter = Rc::clone(&lines);
    let watched = Options { trace: Some(Box::new(move |_| counter.set(counter.get() + 1))), ..Options::default() };
    let outcome = run(short(4), watched);
    assert_eq!(outcome, run(short(4), Options::default()));
    assert!(lines.get() >= outcome.steps, "each step has a line");
}

#[test]
fn a_run_cut_short_has_taken_the_same_steps() {
    let stopped = || Options { until: Some(5_000), ..Options::default() };
    let outcome = run(short(5), stopped());
    assert_eq!(outcome.steps, 5_000);
    assert_eq!(outcome, run(short(5), stopped()));
}

#[test]
fn different_seeds_take_different_courses() {
    assert_ne!(run(short(5), Options::default()).trace_hash, run(short(6), Options::default()).trace_hash);
}

#[test]
fn a_saved_run_takes_the_course_of_its_seed() {
    let (scenario, plan) = short(7);
    let text = failure::write(&scenario, &plan);
    let parsed = failure::parse(&text).expect("its own text");
    assert_eq!(run(parsed, Options::default()), run(short(7), Options::default()));
}
