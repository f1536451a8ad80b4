//! What the clients of a run do: one that makes topics, some that write, some that read, and those that come after the heal.

mod admin;
mod consumer;
mod listener;
mod manager;
mod operator;
mod prober;
mod producer;
mod raw;
mod reader;

use tidelog_core::client::Config;
use tidelog_core::rng::Rng;
use tidelog_core::time::Duration;

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
    let patience = &scenario.patience;
    let lend = |nth: usize, config: &mut Config| {
        if patience.has(nth) {
            patience.lend(config);
        }
    };
    let mut next = 0;
    let mut stream = || {
        next += 1;
        Rng::stream(scenario.seed, &[streams::WORKLOAD, next])
    };
    let mut rng = stream();
    let config = client_config(scenario, "admin", &mut rng);
    let mut admin = admin::Admin::new(scenario, config, rng);
    admin.configure(|config| lend(0, config));
    programs.push(Box::new(admin));
    for (nth, spec) in (0..).zip(&scenario.producers) {
        let mut rng = stream();
        let mut config = client_config(scenario, "producer", &mut rng);
        lend(programs.len(), &mut config);
        let odd = producer::OddTimes::new(scenario, nth);
        programs.push(Box::new(producer::Producer::new(spec.clone(), config, rng, odd, scenario.forgets())));
    }
    for spec in &scenario.consumers {
        let mut rng = stream();
        let mut config = client_config(scenario, "consumer", &mut rng);
        let poll = patience.has(programs.len()).then_some(patience.poll);
        lend(programs.len(), &mut config);
        programs.push(Box::new(consumer::Consumer::new(spec.clone(), poll, config, rng)));
    }
    let mut rng = Rng::stream(scenario.seed, &[streams::WORKLOAD, OPERATOR]);
    programs.push(Box::new(operator::Operator::new(client_config(scenario, "operator", &mut rng), rng)));
    for (nth, spec) in (1..).zip(&scenario.raw) {
        let mut rng = Rng::stream(scenario.seed, &[streams::RAW, nth]);
        let config = client_config(scenario, "raw", &mut rng);
        programs.push(Box::new(raw::Raw::new(spec.clone(), scenario.brokers, config, rng)));
    }
    programs
}

/// The client that writes to every partition after the heal, until each has acknowledged.
pub(crate) fn prober(scenario: &Scenario) -> Box<dyn Program> {
    let mut rng = Rng::stream(scenario.seed, &[streams::WORKLOAD, AFTER_HEAL]);
    let mut config = client_config(scenario, "prober", &mut rng);
    if scenario.patience.after_heal {
        scenario.patience.lend(&mut config);
    }
    Box::new(prober::Prober::new(config, scenario.forgets()))
}

/// Another prober, for an act after the heal: it waits for its answers.
pub(crate) fn act_prober(scenario: &Scenario, act: usize) -> Box<dyn Program> {
    let mut rng = Rng::stream(scenario.seed, &[streams::ACTORS, act as u64, 1]);
    let mut config = client_config(scenario, "prober", &mut rng);
    scenario.patience.lend(&mut config);
    Box::new(prober::Prober::new(config, scenario.forgets()))
}

/// The operator of an act after the heal.
pub(crate) fn manager(scenario: &Scenario, act: usize) -> Box<dyn Program> {
    let mut rng = Rng::stream(scenario.seed, &[streams::ACTORS, act as u64, 3]);
    let mut config = client_config(scenario, "manager", &mut rng);
    scenario.patience.lend(&mut config);
    let replication = scenario.brokers.min(3) as i16;
    Box::new(manager::Manager::new(config, format!("act-{act}"), replication))
}

/// The consumer of an act after the heal: it waits for what comes, in fetches as long as `wait`.
pub(crate) fn listener(scenario: &Scenario, act: usize, wait: u64) -> Box<dyn Program> {
    let mut rng = Rng::stream(scenario.seed, &[streams::ACTORS, act as u64, 2]);
    let mut config = client_config(scenario, "listener", &mut rng);
    scenario.patience.lend(&mut config);
    config.fetch_max_wait = Duration::from_micros(wait);
    Box::new(listener::Listener::new(config, wait))
}

/// A fresh consumer that reads every partition from start to end.
pub(crate) fn final_reader(scenario: &Scenario) -> Box<dyn Program> {
    let mut rng = Rng::stream(scenario.seed, &[streams::WORKLOAD, AFTER_HEAL + 1]);
    let mut config = client_config(scenario, "final-reader", &mut rng);
    // A record per fetch is a fine thing to test, but not with everything that was ever written.
    config.fetch_partition_max_bytes = config.fetch_partition_max_bytes.max(64 * 1024);
    if scenario.patience.after_heal {
        scenario.patience.lend(&mut config);
    }
    Box::new(reader::Reader::new(config))
}
