//! raft-rs redraws its election timeout from a thread's random numbers. They must not matter: the same house, run twice on
//! one thread whose generator goes on, holds the same elections at the same moments.

#[path = "support/house.rs"]
mod house;

use house::House;
use tidelog_core::id::{NodeId, Term};
use tidelog_core::time::{Duration, Instant};

const ELECTIONS: usize = 200;

/// Who led the controller from when, as its leader is ended again and again.
fn elections() -> Vec<(Instant, NodeId, Term)> {
    let mut house = House::new(3);
    let mut held = Vec::new();
    while held.len() < ELECTIONS {
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

#[test]
fn the_same_elections_twice() {
    let first = elections();
    assert_eq!(first, elections());
    // They were elections of their own: terms ascend, and every broker won some.
    assert!(first.is_sorted_by(|earlier, later| earlier.2 < later.2));
    for node in 1..=3 {
        assert!(first.iter().filter(|held| held.1 == NodeId(node)).count() > ELECTIONS / 10, "broker {node} wins too");
    }
}
