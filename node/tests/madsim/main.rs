//! Whole nodes on simulated machines: listeners, framing, connections, links between brokers, timeouts, shutdown, and the real
//! broker behind them, while machines are killed, stopped and paused, links are clogged and connections are reset.
//!
//! One seed is one run. `MADSIM_TEST_SEED` names the first seed, `MADSIM_TEST_NUM` how many; without them a fixed set is run.
//! Each run is judged by `properties` (what clients saw; what brokers did; that requests are answered in line) and by
//! what a driver may rely on (see `witness`); and every client must get on once the faults are over.

#![cfg(madsim)]

mod clients;
mod machines;
mod prober;
mod story;
mod witness;

use madsim::Config;
use madsim::runtime::Runtime;
use std::time::Duration;

/// The seeds of a run without a wish.
const SEEDS: std::ops::Range<u64> = 1..9;
/// No run takes as long, in simulated time.
const TIME_MAX: Duration = Duration::from_secs(900);

/// What a run came to.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Report {
    /// Of everything that every broker was told, and when.
    digest: u64,
    acked: u64,
    read: u64,
    resets: u64,
    mutes: u64,
    losses: u64,
    wrong: Vec<String>,
}

/// Runs a seed on a thread of its own: what chance there is in a thread begins with it.
fn run(seed: u64) -> Report {
    let running = std::thread::spawn(move || {
        if std::env::var_os("RUST_LOG").is_some() {
            madsim::runtime::init_logger();
        }
        let mut config = Config::default();
        config.net.send_latency = Duration::from_micros(100)..Duration::from_millis(4);
        let mut runtime = Runtime::with_seed_and_config(seed, config);
        runtime.set_time_limit(TIME_MAX);
        runtime.block_on(story::tell(seed))
    });
    running.join().unwrap_or_else(|_| panic!("seed {seed} panicked; run it alone with MADSIM_TEST_SEED={seed}"))
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match (number("MADSIM_TEST_SEED"), number("MADSIM_TEST_NUM")) {
        (None, None) => SEEDS,
        (None, Some(count)) => SEEDS.start..SEEDS.start + count,
        (Some(first), count) => first..first + count.unwrap_or(1),
    }
}

#[test]
fn nothing_acknowledged_is_lost_doubled_or_out_of_order_and_everybody_gets_on() {
    let (mut acked, mut resets, mut mutes, mut losses) = (0, 0, 0, 0);
    for seed in seeds() {
        let report = run(seed);
        println!(
            "seed {seed}: {:016x}, {} acknowledged, {} read, {} connections reset, {} muted, {} losses heard",
            report.digest, report.acked, report.read, report.resets, report.mutes, report.losses
        );
        assert!(
            report.wrong.is_empty(),
            "seed {seed} (run it alone with MADSIM_TEST_SEED={seed}):\n{}",
            report.wrong.join("\n")
        );
        assert!(report.acked > 100 && report.read >= report.acked, "seed {seed} proves nothing: {report:?}");
        acked += report.acked;
        resets += report.resets;
        mutes += report.mutes;
        losses += report.losses;
    }
    assert!(acked > 0 && losses > 0, "no broker was missed");
    if seeds() == SEEDS {
        assert!(resets > 0 && mutes > 0, "these seeds reset {resets} connections and muted {mutes}");
    }
}

#[test]
fn one_seed_is_one_run() {
    let seed = seeds().start;
    let (first, second) = (run(seed), run(seed));
    assert_eq!(first, second);
    assert_ne!(first.digest, run(seed + 1).digest);
}
