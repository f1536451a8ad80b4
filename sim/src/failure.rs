//! A run as text: versioned, one fact per line, so that two of them can be compared and edited by hand.
//!
//! ```text
//! tidelog-sim 1
//! scenario brokers 3
//! fault 12500000 {"kind":"kill","target":{"node":2},"down":400000}
//! ```
//! A line that begins with `#` is a comment. The core that ran it is not in it: replay with the build that failed.
//! What can not be understood or simulated is an error that names its line: nothing is taken silently.

mod check;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::plan::{Fault, Plan, Timed};
use crate::scenario::Scenario;
use check::Place;

const HEADER: &str = "tidelog-sim 1";

/// The fields of a scenario that are lists: one line for each item.
const LISTS: [&str; 5] = ["topics", "producers", "consumers", "ending", "raw"];

/// The text of a run.
pub fn write(scenario: &Scenario, plan: &Plan) -> String {
    let mut text = format!("{HEADER}\n");
    for (name, value) in fields_of(scenario) {
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

fn fields_of(scenario: &Scenario) -> Map<String, Value> {
    match serde_json::to_value(scenario) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => unreachable!("a scenario is an object"),
    }
}

/// The run in a text, or what is wrong with it and in which line.
pub fn parse(text: &str) -> Result<(Scenario, Plan), String> {
    let mut lines = text.lines().enumerate();
    match lines.next() {
        Some((_, HEADER)) => {}
        Some((_, other)) => return Err(format!("line 1: expected `{HEADER}`, found `{other}`")),
        None => return Err("the file is empty".to_owned()),
    }
    let mut reading = Reading::new();
    for (at, line) in lines {
        if !line.is_empty() && !line.starts_with('#') {
            reading.line(at + 1, line).map_err(|what| format!("line {}{what}", at + 1))?;
        }
    }
    reading.finish()
}

/// What was read so far, and in which lines.
struct Reading {
    /// A whole scenario, to hold one field at a time against.
    example: Map<String, Value>,
    fields: Map<String, Value>,
    /// The line of each field; of a list, those of its items.
    lines: BTreeMap<String, Vec<usize>>,
    faults: Vec<(usize, Timed)>,
}

impl Reading {
    fn new() -> Self {
        let empty = LISTS.map(|list| (list.to_owned(), Value::Array(Vec::new())));
        let mut example = fields_of(&Scenario::draw(0));
        example.extend(empty.clone());
        Self { example, fields: empty.into_iter().collect(), lines: BTreeMap::new(), faults: Vec::new() }
    }

    /// Takes one line. What is wrong with it begins with `: `, or with the column where that is known.
    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        let mut words = line.splitn(3, ' ');
        let (Some(kind), Some(name), Some(value)) = (words.next(), words.next(), words.next()) else {
            return Err(": expected three words".to_owned());
        };
        let before = line.len() - value.len();
        let parsed: Value = json(value, before, 0)?;
        match kind {
            "scenario" => self.scenario(number, name, value, parsed, before),
            "fault" => {
                let at = name.parse().map_err(|_| format!(": expected microseconds, found `{name}`"))?;
                let fault: Fault = json(value, before, 0)?;
                self.faults.push((number, Timed { at, fault }));
                Ok(())
            }
            other => Err(format!(": expected `scenario` or `fault`, found `{other}`")),
        }
    }

    fn scenario(&mut self, number: usize, name: &str, text: &str, parsed: Value, before: usize) -> Result<(), String> {
        let list = name.strip_suffix('+');
        let field = list.unwrap_or(name);
        if list.is_some() != LISTS.contains(&field) {
            return Err(match list {
                Some(_) => format!(": `{field}` is no list"),
                None if LISTS.contains(&field) => {
                    format!(": `{field}` is a list: `scenario {field}+ ...` for each item")
                }
                None => unreachable!("both are false"),
            });
        }
        // The same scenario but for this field, which stands last: whatever is wrong is wrong with it.
        let mut others = self.example.clone();
        others.remove(field);
        let mut whole = Value::Object(others).to_string();
        whole.pop();
        whole += &format!(",{}:{}", Value::from(field), if list.is_some() { "[" } else { "" });
        let skipped = whole.len();
        whole += text;
        whole += if list.is_some() { "]}" } else { "}" };
        json::<Scenario>(&whole, before, skipped)?;
        let lines = self.lines.entry(field.to_owned()).or_default();
        match self.fields.get_mut(field) {
            Some(Value::Array(items)) if list.is_some() => items.push(parsed),
            Some(_) => {
                return Err(format!(": `{field}` stands in line {} already", lines.first().copied().unwrap_or(0)));
            }
            None => drop(self.fields.insert(field.to_owned(), parsed)),
        }
        lines.push(number);
        Ok(())
    }

    fn finish(self) -> Result<(Scenario, Plan), String> {
        let scenario: Scenario = serde_json::from_value(Value::Object(self.fields))
            .map_err(|error| format!("something is left out: {error}"))?;
        let mut plan = Plan { faults: self.faults.iter().map(|(_, timed)| timed.clone()).collect() };
        if let Err((place, what)) = check::check(&scenario, &plan) {
            let line = match place {
                Place::Field(name) => self.lines.get(name).and_then(|lines| lines.last()).copied(),
                Place::Item(name, nth) => self.lines.get(name).and_then(|lines| lines.get(nth)).copied(),
                Place::Fault(nth) => self.faults.get(nth).map(|(line, _)| *line),
            };
            return Err(line.map_or(what.clone(), |line| format!("line {line}: {what}")));
        }
        plan.faults.sort_by_key(|timed| timed.at);
        Ok((scenario, plan))
    }
}

/// A value from JSON that stands so far behind the beginning of its line; `skipped` bytes before it are not of the line.
/// What is wrong begins with the column, where there is one.
fn json<T: DeserializeOwned>(text: &str, before: usize, skipped: usize) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| {
        let words = error.to_string();
        let what = words.rsplit_once(" at line ").map_or(words.as_str(), |(what, _)| what);
        match error.column().checked_sub(skipped) {
            Some(column) if column > 0 => format!(", column {}: {what}", before + column),
            Some(_) | None => format!(": {what}"),
        }
    })
}

#[cfg(test)]
mod tests;
