//! Runs seeds on as many threads as there are cores. Seeds know nothing of each other, so the results are the same on any.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use tidelog_core::mutants::Mutants;
use tidelog_sim::{Options, Outcome, Plan, Scenario, World};

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on a panic is kept for the report instead of being printed.
pub(crate) fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let words = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
            (Some(words), _) => (*words).to_owned(),
            (None, Some(words)) => words.clone(),
            (None, None) => "a panic without words".to_owned(),
        };
        let place = info.location().map_or(String::new(), |at| format!(" ({}:{})", at.file(), at.line()));
        PANIC.with(|panic| *panic.borrow_mut() = Some(words + &place));
    }));
}

/// Runs a world to its end; a panic becomes a verdict.
pub(crate) fn finish(world: &mut World) -> Outcome {
    let run = AssertUnwindSafe(|| {
        world.run();
        world.outcome()
    });
    match catch_unwind(run) {
        Ok(outcome) => outcome,
        Err(_) => {
            let words = PANIC.with(|panic| panic.borrow_mut().take());
            world.panicked(&words.unwrap_or_else(|| "a panic without words".to_owned()))
        }
    }
}

/// Runs a seed of the default profile.
pub(crate) fn one(seed: u64, mutants: Mutants) -> Outcome {
    let scenario = Scenario::draw(seed);
    let plan = Plan::draw(&scenario);
    let options = Options { mutants, ..Options::default() };
    finish(&mut World::new(scenario, plan, options))
}

/// Runs `count` seeds from `first`, until `stop` is set, and shows each outcome as it comes.
pub(crate) fn range(first: u64, count: u64, mutants: Mutants, stop: &AtomicBool, see: impl FnMut(Outcome)) {
    each(count, stop, |nth| one(first.wrapping_add(nth), mutants), see);
}

/// Does `count` pieces of work, until `stop` is set, and shows what comes of each as it comes.
pub(crate) fn each<T: Send>(count: u64, stop: &AtomicBool, work: impl Fn(u64) -> T + Sync, mut see: impl FnMut(T)) {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(usize::try_from(count).unwrap_or(1));
    let next = AtomicU64::new(0);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    if nth >= count || sender.send(work(nth)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        receiver.into_iter().for_each(&mut see);
    });
}
