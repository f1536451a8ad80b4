//! Finds out who leads, as any client does: by Metadata.
//!
//! Not known here: what becomes of who does. An answer may be old; whoever aims by it may miss.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::context::Context;
use crate::plan::{Leads, NodeId};
use crate::python::Asked;

/// Longer than this no fault is held up.
const WAIT: Duration = Duration::from_secs(2);

/// A client that asks who leads.
#[derive(Debug)]
pub struct Scout {
    context: Arc<Context>,
    client: Asked,
}

impl Scout {
    /// Starts it.
    pub fn start(context: &Arc<Context>) -> Result<Self, String> {
        Ok(Self { context: Arc::clone(context), client: crate::read::asker(context, "scout")? })
    }

    /// Who leads that now; `None` if nobody does, or nobody says so in time.
    pub fn leader(&mut self, leads: Leads) -> Option<NodeId> {
        // A client that ended is noticed by who asks it for more than this.
        led(&self.client.ask(&json!({"leaders": self.context.topic}), WAIT).ok()?.ok()?, leads)
    }
}

/// What an answer says of it.
fn led(answer: &Value, leads: Leads) -> Option<NodeId> {
    let node = match leads {
        Leads::Controller => answer["controller"].as_u64(),
        Leads::Partition(partition) => {
            let mut pairs = answer["leaders"].as_array()?.iter();
            pairs.find(|pair| pair[0].as_u64() == Some(partition.into()))?[1].as_u64()
        }
    };
    NodeId::try_from(node?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_is_the_one_of_what_was_asked_for() {
        let answer = json!({"leaders": [[0, 3], [1, -1], [2, 1]], "controller": 2});
        assert_eq!(led(&answer, Leads::Partition(0)), Some(3));
        assert_eq!(led(&answer, Leads::Partition(2)), Some(1));
        assert_eq!(led(&answer, Leads::Controller), Some(2));
    }

    #[test]
    fn nobody_is_nobody() {
        let answer = json!({"leaders": [[1, -1]], "controller": -1});
        for leads in [Leads::Partition(0), Leads::Partition(1), Leads::Controller] {
            assert_eq!(led(&answer, leads), None);
        }
        assert_eq!(led(&json!({"error": "timed out"}), Leads::Controller), None);
    }
}
