//! A run as text: versioned, one fact per line, so that two of them can be compared and edited by hand.
//!
//! ```text
//! tidelog-sim 1
//! scenario brokers 3
//! fault 12500000 {"kind":"kill","target":{"node":2},"down":400000}
//! ```
//! A line that begins with `#` is a comment. The core that ran it is not in it: replay with the build that failed.

use serde_json::{Map, Value};

use crate::plan::{Plan, Timed};
use crate::scenario::{SECOND, Scenario};

const HEADER: &str = "tidelog-sim 1";

/// The text of a run.
pub fn write(scenario: &Scenario, plan: &Plan) -> String {
    let mut text = format!("{HEADER}\n");
    let Ok(Value::Object(fields)) = serde_json::to_value(scenario) else { unreachable!("a scenario is an object") };
    for (name, value) in fields {
        match value {
            Value::Array(items) => items.iter().for_each(|item| text += &format!("scenario {name}+ {item}\n")),
            value => text += &format!("scenario {name} {value}\n"),
        }
    }
    for timed in &plan.faults {
        let fault = serde_json::to_string(&timed.fault).expect("a fault is plain data");
        text += &format!("# {}.{:03} s: {}\n", timed.at / 1_000_000, timed.at / 1_000 % 1_000, timed.fault);
        text += &format!("fault {} {fault}\n", timed.at);
    }
    text
}

/// The run in a text, or what is wrong with it and in which line.
pub fn parse(text: &str) -> Result<(Scenario, Plan), String> {
    let mut lines = text.lines().enumerate();
    match lines.next() {
        Some((_, HEADER)) => {}
        Some((_, other)) => return Err(format!("line 1: expected `{HEADER}`, found `{other}`")),
        None => return Err("the file is empty".to_owned()),
    }
    let mut fields = Map::new();
    for list in ["topics", "producers", "consumers", "ending"] {
        fields.insert(list.to_owned(), Value::Array(Vec::new()));
    }
    let mut plan = Plan::default();
    for (number, line) in lines {
        let wrong = |what: &str| format!("line {}: {what}", number + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.splitn(3, ' ');
        let (Some(kind), Some(name), Some(value)) = (words.next(), words.next(), words.next()) else {
            return Err(wrong("expected three words"));
        };
        match kind {
            "scenario" => {
                let value: Value = serde_json::from_str(value).map_err(|error| wrong(&error.to_string()))?;
                match name.strip_suffix('+') {
                    None => {
                        fields.insert(name.to_owned(), value);
                    }
                    Some(list) => match fields.get_mut(list) {
                        Some(Value::Array(items)) => items.push(value),
                        _ => return Err(wrong("no such list")),
                    },
                }
            }
            "fault" => plan.faults.push(Timed {
                at: name.parse().map_err(|_| wrong("expected microseconds"))?,
                fault: serde_json::from_str(value).map_err(|error| wrong(&error.to_string()))?,
            }),
            _ => return Err(wrong("expected `scenario` or `fault`")),
        }
    }
    let scenario = serde_json::from_value(Value::Object(fields)).map_err(|error| error.to_string())?;
    plan.faults.sort_by_key(|timed| timed.at);
    check(&scenario)?;
    Ok((scenario, plan))
}

/// Whether a scenario, perhaps edited by hand, can be simulated.
fn check(scenario: &Scenario) -> Result<(), String> {
    let bounds = [
        ("brokers", u64::from(scenario.brokers), 1, 9),
        ("voters", u64::from(scenario.voters), u64::from(scenario.brokers > 1), u64::from(scenario.brokers)),
        ("spread (microseconds)", scenario.spread, 1, 60 * SECOND),
        ("late (microseconds)", scenario.late, 0, 60 * SECOND),
        ("chaos (microseconds)", scenario.chaos, 1, 3_600 * SECOND),
        ("settle (microseconds)", scenario.settle, SECOND, 3_600 * SECOND),
        ("producers and consumers", u64::from(scenario.clients()), 0, 40),
        ("partitions", u64::from(scenario.partitions()), 0, 1_000),
        ("tick (microseconds)", scenario.sizes.tick, 1_000, SECOND),
    ];
    match bounds.into_iter().find(|(_, value, low, high)| value < low || value > high) {
        Some((what, value, low, high)) => Err(format!("{what} is {value}; from {low} to {high} can be simulated")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_comes_back_from_its_text() {
        for seed in 0..50 {
            let scenario = Scenario::draw(seed);
            let plan = Plan::draw(&scenario);
            assert_eq!(parse(&write(&scenario, &plan)), Ok((scenario, plan)));
        }
    }

    #[test]
    fn errors_name_the_line() {
        assert_eq!(parse(""), Err("the file is empty".to_owned()));
        let text = write(&Scenario::draw(1), &Plan::default());
        assert!(parse(&text.replace("tidelog-sim 1", "tidelog-sim 9")).unwrap_err().contains("line 1"));
        let many = parse(&text.replace("scenario brokers ", "scenario brokers 1")).unwrap_err();
        assert!(many.contains("brokers is 1"), "{many}");
        let error = parse(&(text.clone() + "fault soon {}\n")).unwrap_err();
        assert!(error.contains("expected microseconds") && error.contains("line"), "{error}");
    }
}
