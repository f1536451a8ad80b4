//! What a client process does with its Kafka client: calls out, results in. The client decides how.

use tidelog_core::client::{CallId, Config, Effect, Failure, Input, Operation, Outcome};
use tidelog_core::rng::Rng;
use tidelog_core::time::{Duration, Now};

use crate::board::Board;
use crate::record::Recorder;
use crate::scenario::Scenario;

/// What lies before a program while it thinks.
pub(crate) struct Desk<'a> {
    /// Virtual microseconds.
    pub(crate) now: u64,
    /// The clocks of its host.
    pub(crate) clocks: Now,
    /// Where it writes down what it does.
    pub(crate) log: &'a mut Recorder,
    /// What all programs know.
    pub(crate) board: &'a mut Board,
    /// Calls for its Kafka client.
    pub(crate) calls: Vec<(CallId, Operation)>,
    /// Of a program that speaks to brokers itself: what it does on its connections.
    pub(crate) wires: Vec<Effect>,
    /// When it wants to think again, if nothing happens before, in virtual microseconds.
    pub(crate) wake: Option<u64>,
}

/// A program that uses a Kafka client.
pub(crate) trait Program: std::fmt::Debug {
    /// How its Kafka client behaves.
    fn config(&self) -> Config;
    /// It is started, or the moment has come that it asked for.
    fn wake(&mut self, desk: &mut Desk<'_>);
    /// A call has ended.
    fn completed(&mut self, call: CallId, result: Result<Outcome, Failure>, desk: &mut Desk<'_>);
    /// Whether it has no use for a Kafka client, and speaks to brokers itself.
    fn is_raw(&self) -> bool {
        false
    }
    /// Of one that speaks itself: something has happened on its connections.
    fn heard(&mut self, input: Input, desk: &mut Desk<'_>) {
        let _ = desk;
        panic!("nobody listens to {input:?}");
    }
    /// Its process was killed, and will wake again as a new one. Gives how the new one's Kafka client behaves.
    fn restarted(&mut self, life: u64) -> Config {
        let _ = life;
        self.config()
    }
    /// From now on it begins nothing new, and only finishes what it began.
    fn drain(&mut self);
    /// Whether it has nothing left to do.
    fn idle(&self) -> bool;
    /// Whether what it is for has begun.
    fn ready(&self) -> bool {
        true
    }
    /// Who it is and what it waits for, in a few words.
    fn waiting_for(&self) -> String;
}

/// The Kafka client of a program, with timeouts that suit a cluster full of faults.
pub(crate) fn client_config(scenario: &Scenario, name: &str, rng: &mut Rng) -> Config {
    let mut bootstrap: Vec<(String, u16)> =
        (1..=scenario.brokers).map(|node| (format!("broker-{node}"), 9092)).collect();
    let first = rng.below(bootstrap.len() as u64) as usize;
    bootstrap.rotate_left(first);
    let mut config = Config::new(bootstrap);
    config.client_id = name.to_owned();
    config.request_timeout = Duration::from_millis(rng.between(800, 4_000));
    config.retry_backoff = Duration::from_millis(rng.between(20, 200));
    config.metadata_max_age = Duration::from_millis(rng.between(2_000, 30_000));
    config.delivery_timeout = Duration::from_millis(rng.between(6_000, 20_000));
    config.batch_bytes = [500, 2_000, 16_384][rng.below(3) as usize];
    config.fetch_max_wait = Duration::from_millis(rng.between(20, 300));
    config.fetch_partition_max_bytes = [700, 8_192, 1_048_576][rng.below(3) as usize];
    config.seed = rng.next_u64();
    config
}

/// The configuration of a client in another life: as before, but for what it draws.
pub(crate) fn another_life(config: &Config, life: u64) -> Config {
    Config { seed: Rng::stream(config.seed, &[life]).next_u64(), ..config.clone() }
}

/// Numbers the calls of a program.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    next: u64,
}

impl Calls {
    pub(crate) fn mint(&mut self) -> CallId {
        self.next += 1;
        CallId(self.next)
    }
}
