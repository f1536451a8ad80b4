//! Asks what else a client may ask, again and again: where a log ends and begins, which record is of what time, who leads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::json;
use tidelog_properties::history::{Op, Outcome, Process, Which};

use crate::context::Context;
use crate::rng::Rng;

const PAUSE: Duration = Duration::from_millis(50);
const WAIT: Duration = Duration::from_secs(3);

/// Asks until it is told to end.
pub fn probe(context: &Arc<Context>, process: u64) -> Result<(), String> {
    let mut client = crate::read::asker(context, "probe")?;
    let mut rng = Rng::new(context.seed, "probe");
    let began = now();
    let mut leaders: BTreeMap<i64, i64> = BTreeMap::new();
    let ask = |partition: i32, which: Which| {
        context.recorder.invoke(Process(process), Op::Offsets { topic: context.topic.clone(), partition, which })
    };
    while !context.quieting() {
        std::thread::sleep(PAUSE);
        let partition = i32::try_from(rng.below(u64::from(context.partitions))).unwrap_or(0);
        match rng.below(8) {
            0..4 => {
                let ids = [ask(partition, Which::Earliest), ask(partition, Which::Latest)];
                let answer = client.ask(&json!({"watermarks": partition, "topic": context.topic}), WAIT)?;
                for (id, end) in ids.into_iter().zip(["low", "high"]) {
                    let outcome = match &answer {
                        Ok(answer) => Outcome::Offsets { offset: answer[end].as_i64(), timestamp: None },
                        Err(error) => Outcome::Unknown { error: error.clone() },
                    };
                    context.recorder.complete(id, outcome);
                }
            }
            4..7 => {
                let lasted = u64::try_from(now().saturating_sub(began)).unwrap_or(0);
                let wanted = began + i64::try_from(rng.below(lasted + 1)).unwrap_or(0);
                let id = ask(partition, Which::Time(wanted));
                let question = json!({"time": wanted, "partition": partition, "topic": context.topic});
                let outcome = match client.ask(&question, WAIT)? {
                    Ok(answer) => Outcome::Offsets { offset: answer["offset"].as_i64(), timestamp: None },
                    Err(error) => Outcome::Unknown { error },
                };
                context.recorder.complete(id, outcome);
            }
            _ => {
                let Ok(answer) = client.ask(&json!({"leaders": context.topic}), WAIT)? else { continue };
                for pair in answer["leaders"].as_array().into_iter().flatten() {
                    let (Some(partition), Some(leader)) = (pair[0].as_i64(), pair[1].as_i64()) else { continue };
                    if leader >= 0 && leaders.insert(partition, leader).is_some_and(|before| before != leader) {
                        context.note(|notes| notes.leader_changes += 1);
                    }
                }
            }
        }
    }
    Ok(())
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(0)
}
