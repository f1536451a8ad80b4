//! A history as text: a header line with the version, then one JSON object per event.
//!
//! Promises: what was written is read back equal; a file of an unknown version, or with a line that is not an event, is an
//! error and not half a history.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{History, Line, OpId, Step};

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    tidelog_history: u32,
}

/// Why a text is not a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// The first line is not the header of a history.
    NoHeader,
    /// Written by a version this one does not know.
    Version(u32),
    /// A line is not an event.
    Line {
        /// Which, from 1.
        number: u64,
        /// What is wrong with it.
        reason: String,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader => f.write_str("the first line is not the header of a history"),
            Self::Version(version) => write!(f, "histories of version {version} are unknown here"),
            Self::Line { number, reason } => write!(f, "line {number} is not an event: {reason}"),
        }
    }
}

impl std::error::Error for ReadError {}

impl History {
    /// The history as JSON lines. Oddities of the builder are not events and are not written.
    pub fn to_json_lines(&self) -> String {
        let mut text = String::new();
        put(&mut text, &Header { tidelog_history: VERSION });
        for &step in &self.order {
            put(&mut text, &self.line(step));
        }
        text
    }

    /// The history written in `text`.
    pub fn from_json_lines(text: &str) -> Result<Self, ReadError> {
        let mut lines = (1u64..).zip(text.lines());
        let (_, header) = lines.next().ok_or(ReadError::NoHeader)?;
        let header: Header = serde_json::from_str(header).map_err(|_| ReadError::NoHeader)?;
        if header.tidelog_history != VERSION {
            return Err(ReadError::Version(header.tidelog_history));
        }
        let mut history = Self::new();
        for (number, line) in lines {
            let wrong = |reason: String| ReadError::Line { number, reason };
            let line: Line = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
            match line {
                Line::Invoke { id, process, time, op } => {
                    let given = history.invoke(process, time, op);
                    if given != id {
                        return Err(wrong(format!("operation {} stands where {} must", id.0, given.0)));
                    }
                }
                Line::Retry { id, time } => history.retry(id, time),
                Line::Complete { id, time, outcome } => history.complete(id, time, outcome),
            }
        }
        Ok(history)
    }

    fn line(&self, step: Step) -> Line {
        let record = |id: OpId| self.record(id).expect("a step names an operation of its history");
        match step {
            Step::Invoked(id) => {
                let record = record(id);
                Line::Invoke { id, process: record.process, time: record.invoked.time, op: record.op.clone() }
            }
            Step::Retried(id, time) => Line::Retry { id, time },
            Step::Completed(id) => {
                let (moment, outcome) = record(id).completed.as_ref().expect("a completed step has an outcome");
                Line::Complete { id, time: moment.time, outcome: outcome.clone() }
            }
        }
    }
}

fn put(text: &mut String, value: &impl Serialize) {
    text.push_str(&serde_json::to_string(value).expect("histories hold no maps with odd keys and no failing types"));
    text.push('\n');
}
