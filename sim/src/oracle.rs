//! What is judged while the world runs: the white-box checkers, and what a host alone can see.

use std::collections::BTreeMap;

use tidelog_core::event::Event;
use tidelog_core::id::{ConnId, GroupId, NodeId, RequestId};
use tidelog_properties::Violation;
use tidelog_properties::responses::Responses;
use tidelog_properties::whitebox::Whitebox;

use crate::verdict::Verdict;
use crate::words;

/// What is wrong, so that a person can understand it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Finding {
    /// The property that does not hold, by name.
    pub property: String,
    /// One sentence in a Kafka user's words.
    pub sentence: String,
    /// The facts that prove it.
    pub evidence: Vec<String>,
    /// Words by which the moments are found that led to it.
    #[serde(skip)]
    pub about: Vec<String>,
    /// When it began, if that is known: virtual microseconds.
    #[serde(skip)]
    pub around: Option<u64>,
}

impl From<Violation> for Finding {
    fn from(violation: Violation) -> Self {
        let Violation { kind, sentence, mut evidence } = violation;
        let mut about = words::groups_in(&sentence);
        about.extend(words::brokers_in(&sentence));
        let around = evidence.iter().filter_map(|line| words::moment_of(line)).min();
        let sentence = match words::for_users(kind) {
            Some(words) => {
                evidence.insert(0, sentence);
                words.to_owned()
            }
            None => sentence,
        };
        Self { property: kind.to_owned(), sentence, evidence, about, around }
    }
}

/// The oracles of a run.
#[derive(Debug)]
pub(crate) struct Oracle {
    findings: Vec<(Verdict, Finding)>,
    leaders: BTreeMap<GroupId, NodeId>,
    whitebox: Whitebox,
    responses: Responses,
}

impl Oracle {
    pub(crate) fn new() -> Self {
        Self { findings: Vec::new(), leaders: BTreeMap::new(), whitebox: Whitebox::new(), responses: Responses::new() }
    }

    /// Whether something is wrong already.
    pub(crate) fn broken(&self) -> bool {
        !self.findings.is_empty() || !self.whitebox.is_clean() || !self.responses.is_clean()
    }

    /// What is wrong, the gravest first.
    pub(crate) fn take(&mut self) -> Vec<(Verdict, Finding)> {
        let inside = self.whitebox.violations().into_iter().chain(self.responses.violations());
        let inside = inside.map(|violation| (Verdict::Invariant, Finding::from(violation)));
        inside.chain(std::mem::take(&mut self.findings)).collect()
    }

    /// The process of a broker has ended.
    pub(crate) fn died(&mut self, node: NodeId) {
        self.whitebox.crashed(node);
        self.responses.crashed(node);
    }

    /// The disk of a broker, which does not run, was replaced by an empty one.
    pub(crate) fn wiped(&mut self, node: NodeId) {
        self.whitebox.wiped(node);
    }

    /// A broker is asked.
    pub(crate) fn asked(&mut self, node: NodeId, conn: ConnId, id: RequestId, expects_answer: bool) {
        self.responses.request(node, conn, id, expects_answer);
    }

    /// A broker answers.
    pub(crate) fn answered(&mut self, node: NodeId, conn: ConnId, id: RequestId) {
        self.responses.response(node, conn, id);
    }

    /// A broker's connection is gone.
    pub(crate) fn closed(&mut self, node: NodeId, conn: ConnId) {
        self.responses.closed(node, conn);
    }

    /// A broker refuses to run although nothing broke its disk.
    pub(crate) fn refused(&mut self, node: u32, why: &str) {
        let finding = Finding {
            property: "restart".to_owned(),
            sentence: format!("broker {node} gave up although nothing but crashes happened to it: {why}"),
            evidence: Vec::new(),
            about: vec![format!("broker {node} ")],
            around: None,
        };
        self.findings.push((Verdict::Invariant, finding));
    }

    /// After everything was healed, something does not come to its end.
    pub(crate) fn stuck(&mut self, what: &str, seconds: u64) {
        let finding = Finding {
            property: "stuck".to_owned(),
            sentence: format!("{seconds} s after every fault was healed, {what}"),
            evidence: Vec::new(),
            about: Vec::new(),
            around: None,
        };
        self.findings.push((Verdict::Liveness, finding));
    }

    /// Whether a group ever had a leader.
    pub(crate) fn led_before(&self, group: GroupId) -> bool {
        self.leaders.contains_key(&group)
    }

    /// Every group that ever had a leader, ascending.
    pub(crate) fn groups(&self) -> Vec<GroupId> {
        self.leaders.keys().copied().collect()
    }

    /// Who was last elected.
    pub(crate) fn leader(&self, group: GroupId) -> Option<NodeId> {
        self.leaders.get(&group).copied()
    }

    /// A broker says what happened inside it.
    pub(crate) fn event(&mut self, now: u64, node: NodeId, event: &Event) {
        if let Event::Elected { group, .. } = event {
            self.leaders.insert(*group, node);
        }
        self.whitebox.observe(now, node, event);
    }
}
