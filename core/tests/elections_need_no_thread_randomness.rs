//! raft-rs redraws its election timeout from a thread's random numbers. They must not matter: the same house holds the same
//! elections at the same moments, on one thread whose generator goes on, and in another process, which seeds its own.
#![allow(clippy::disallowed_macros, reason = "one process tells the other by its output")]

#[path = "support/house.rs"]
mod house;

use std::process::{Command, Stdio};

use house::House;
use tidelog_core::id::{NodeId, Term};
use tidelog_core::time::{Duration, Instant};

const ELECTIONS: usize = 1_000;
/// Set for the other process: it says what it saw, on lines that begin with this.
const OTHER: &str = "TIDELOG_OTHER_PROCESS";

/// Who led the controller from when, as its leader is ended again and again.
fn elections(count: usize) -> Vec<(Instant, NodeId, Term)> {
    let mut house = House::new(3);
    let mut held = Vec::new();
    while held.len() < count {
        house.pass(Duration::from_millis(20));
        let serving = house.homes.iter().find_map(|(node, home)| {
            let groups = home.broker.status().groups;
            groups.iter().find(|group| group.group.0 == 0 && group.serving).map(|group| (*node, group.term))
        });
        if let Some((node, term)) = serving {
            held.push((house.now.mono, node, term));
            // The house forgets what is under way to it; its disk stays.
            house.restart(node);
        }
    }
    held
}

fn lines(held: &[(Instant, NodeId, Term)]) -> Vec<String> {
    held.iter().map(|(at, node, term)| format!("{OTHER} {at:?} {node:?} {term:?}")).collect()
}

#[test]
fn the_same_elections_in_two_processes() {
    if std::env::var_os(OTHER).is_some() {
        lines(&elections(ELECTIONS)).iter().for_each(|line| println!("{line}"));
        return;
    }
    let this = std::env::current_exe().expect("this is a program");
    let mut other = Command::new(this);
    other.args(["--exact", "the_same_elections_in_two_processes", "--nocapture"]).env(OTHER, "1");
    let other = other.stdout(Stdio::piped()).spawn().expect("it can be started");
    let here = elections(ELECTIONS);
    let other = other.wait_with_output().expect("it ends");
    assert!(other.status.success());
    let said = String::from_utf8(other.stdout).expect("text");
    // The harness writes its own words before the first.
    let there: Vec<_> = said.lines().filter_map(|line| line.find(OTHER).map(|at| line[at..].to_owned())).collect();
    assert_eq!(lines(&here), there);
    // They were elections of their own: terms ascend, and every broker won some.
    assert!(here.is_sorted_by(|earlier, later| earlier.2 < later.2));
    for node in 1..=3 {
        assert!(here.iter().filter(|held| held.1 == NodeId(node)).count() > ELECTIONS / 10, "broker {node} wins too");
    }
}

#[test]
fn the_same_elections_twice_on_one_thread() {
    assert_eq!(elections(100), elections(100));
}
