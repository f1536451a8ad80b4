//! What the clients of a run do: one that makes topics, some that write, some that read, and those that come after the heal.

mod admin;
mod consumer;
mod operator;
mod prober;
mod producer;
mod reader;

use tidelog_core::rng::Rng;

use crate::program::{Program, client_config};
use crate::scenario::Scenario;
use crate::streams;

/// Streams of those who come after the heal begin here.
const AFTER_HEAL: u64 = 1_000;
/// The stream of the operator.
const OPERATOR: u64 = 900;

/// The clients of a scenario.
pub(crate) fn programs(scenario: &Scenario) -> Vec<Box<dyn Program>> {
    let mut programs: Vec<Box<dyn Program>> = Vec::new();
    let mut next = 0;
    let mut stream = || {
        next += 1;
        Rng::stream(scenario.seed, &[streams::WORKLOAD, next])
    };
    let mut rng = stream();
    programs.push(Box::new(admin::Admin::new(scenario, client_config(scenario, "admin", &mut rng), rng)));
    for (nth, spec) in (0..).zip(&scenario.producers) {
        let mut rng = stream();
        let config = client_config(scenario, "producer", &mut rng);
        let odd = producer::OddTimes::new(scenario, nth);
        programs.push(Box::new(producer::Producer::new(spec.clone(), config, rng, odd)));
    }
    for spec in &scenario.consumers {
        let mut rng = stream();
        let config = client_config(scenario, "consumer", &mut rng);
        programs.push(Box::new(consumer::Consumer::new(spec.clone(), config, rng)));
    }
    let mut rng = Rng::stream(scenario.seed, &[streams::WORKLOAD, OPERATOR]);
    programs.push(Box::new(operator::Operator::new(client_config(scenario, "operator", &mut rng), rng)));
    programs
}

/// The client that writes to every partition after the heal, until each has acknowledged.
pub(crate) fn prober(scenario: &Scenario) -> Box<dyn Program> {
    let mut rng = Rng::stream(scenario.seed, &[streams::WORKLOAD, AFTER_HEAL]);
    Box::new(prober::Prober::new(client_config(scenario, "prober", &mut rng)))
}

/// A fresh consumer that reads every partition from start to end.
pub(crate) fn final_reader(scenario: &Scenario) -> Box<dyn Program> {
    let mut rng = Rng::stream(scenario.seed, &[streams::WORKLOAD, AFTER_HEAL + 1]);
    let mut config = client_config(scenario, "final-reader", &mut rng);
    // A record per fetch is a fine thing to test, but not with everything that was ever written.
    config.fetch_partition_max_bytes = config.fetch_partition_max_bytes.max(64 * 1024);
    Box::new(reader::Reader::new(config))
}
