//! What is judged while the world runs: the white-box checkers, and what a host alone can see.

mod due;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use tidelog_core::broker::Audit;
use tidelog_core::event::{Event, Fate, Judged};
use tidelog_core::id::{ConnId, FileId, GroupId, Index, NodeId, Offset, OpId, ProducerId, RequestId, Term, TopicId};
use tidelog_core::kafka::batch::{Check, views};
use tidelog_core::kafka::messages::FetchResponse;
use tidelog_core::kafka::{ErrorCode, Records, Request, Response};
use tidelog_properties::Violation;
use tidelog_properties::fields::{Fields, Groups};
use tidelog_properties::gaps::{Gaps, Stands};
use tidelog_properties::producers::{Offer, Producers};
use tidelog_properties::responses::Responses;
use tidelog_properties::sequences::{Sent, Sequences};
use tidelog_properties::timestamps::Timestamps;
use tidelog_properties::whitebox::Whitebox;

use crate::verdict::Verdict;
use crate::words;
use crate::writes::Writes;

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
    sequences: Sequences,
    producers: Producers,
    gaps: Gaps,
    timestamps: Timestamps,
    writes: Writes,
    /// Produces with acks=all that are not answered.
    acks_all: BTreeSet<(NodeId, ConnId, RequestId)>,
    /// Requests for producer ids that are not answered, and the id that each had.
    ids_wanted: BTreeMap<(NodeId, ConnId, RequestId), i64>,
    due: due::Due,
    fields: Fields,
}

/// Requests that are owed an answer.
pub(crate) type Owed = Vec<(NodeId, ConnId, RequestId)>;

impl Oracle {
    /// Oracles of brokers whose partitions remember so many producers, silent ones for so many milliseconds.
    pub(crate) fn new(producers_max: u32, silence_ms: u64) -> Self {
        Self {
            findings: Vec::new(),
            leaders: BTreeMap::new(),
            whitebox: Whitebox::new(),
            responses: Responses::new(),
            sequences: Sequences::new(),
            producers: Producers::new(producers_max as usize, silence_ms),
            gaps: Gaps::new(),
            timestamps: Timestamps::new(),
            acks_all: BTreeSet::new(),
            ids_wanted: BTreeMap::new(),
            writes: Writes::default(),
            due: due::Due::default(),
            fields: Fields::new(),
        }
    }

    /// Whether something is wrong already.
    pub(crate) fn broken(&self) -> bool {
        !self.findings.is_empty() || !self.is_clean_inside()
    }

    fn is_clean_inside(&self) -> bool {
        let doors = self.responses.is_clean() && self.sequences.is_clean() && self.producers.is_clean();
        self.whitebox.is_clean() && doors && self.fields.is_clean()
    }

    /// Whether more is wrong than that something does not come to its end.
    pub(crate) fn is_broken_inside(&self) -> bool {
        let graver = self.findings.iter().any(|(verdict, _)| *verdict != Verdict::Liveness);
        graver || !self.is_clean_inside()
    }

    /// What is wrong, the gravest first.
    pub(crate) fn take(&mut self) -> Vec<(Verdict, Finding)> {
        let crossed = self.responses.violations().into_iter().chain(self.sequences.violations());
        let crossed = crossed.chain(self.fields.violations());
        let crossed = crossed.chain(self.producers.violations());
        let inside = self
            .whitebox
            .violations()
            .into_iter()
            .chain(crossed)
            .map(|violation| (Verdict::Invariant, Finding::from(violation)));
        inside.chain(std::mem::take(&mut self.findings)).collect()
    }

    /// The process of a broker has ended.
    pub(crate) fn died(&mut self, node: NodeId) {
        self.whitebox.crashed(node);
        self.writes.died(node);
        self.responses.crashed(node);
        self.sequences.crashed(node);
        self.producers.crashed(node);
        self.acks_all.retain(|(of, ..)| *of != node);
        self.ids_wanted.retain(|(of, ..), _| *of != node);
        self.due.died(node);
        self.fields.crashed(node);
    }

    /// A broker hears a question, whose answer is held to its word.
    pub(crate) fn questioned(&mut self, node: NodeId, conn: ConnId, id: RequestId, request: &Request) {
        self.fields.asked(node, conn, id, request);
    }

    /// A broker answers it; of leaders that were elected before `known` it must have heard.
    pub(crate) fn told(
        &mut self,
        line: (NodeId, ConnId),
        id: RequestId,
        response: &Response,
        known: u64,
        groups: Groups<'_>,
    ) {
        self.fields.answered(line, id, response, known, groups);
    }

    /// The disk of a broker, which does not run, was replaced by an empty one.
    pub(crate) fn wiped(&mut self, node: NodeId) {
        self.whitebox.wiped(node);
    }

    /// A broker is asked.
    pub(crate) fn asked(&mut self, node: NodeId, conn: ConnId, id: RequestId, acks: Option<i16>) {
        // Nothing but a produce without acknowledgement is owed no answer.
        self.responses.request(node, conn, id, acks != Some(0));
        if acks == Some(-1) {
            self.acks_all.insert((node, conn, id));
        }
    }

    /// A broker is asked to take batches, and owes an answer.
    pub(crate) fn sent(&mut self, node: NodeId, conn: ConnId, id: RequestId, batches: Vec<Option<Offer>>) {
        let sent = |batch: &Option<Offer>| {
            let Offer { group, sequence, .. } = (*batch)?;
            let (producer, epoch, first) = sequence?;
            Some(Sent { group, producer, epoch, first })
        };
        self.sequences.sent(node, conn, id, batches.iter().map(sent).collect());
        self.producers.sent(node, conn, id, batches);
    }

    /// A broker says what became of them: error code and base offset.
    pub(crate) fn taken(&mut self, node: NodeId, conn: ConnId, id: RequestId, answers: &[(i16, i64)]) {
        self.sequences.answered(node, conn, id, answers.iter().map(|(error, _)| *error));
        self.producers.answered(node, conn, id, answers.iter().copied());
    }

    /// A partition has decided about a batch; `place` is its topic, its number, and below which id producers are heirs there.
    pub(crate) fn judged(
        &mut self,
        group: GroupId,
        index: Index,
        judged: &Judged,
        place: Option<(TopicId, i32, ProducerId)>,
    ) {
        if let (Fate::Refused(ErrorCode::OutOfOrderSequenceNumber), Some((producer, epoch, first))) =
            (judged.fate, judged.sequence)
        {
            self.sequences.out_of_order(Sent { group, producer, epoch, first });
        }
        self.producers.judged(group, index, judged, place);
    }

    /// A broker is asked for a producer id by one that has this, or none (-1).
    pub(crate) fn wants_id(&mut self, node: NodeId, conn: ConnId, id: RequestId, had: i64) {
        self.ids_wanted.insert((node, conn, id), had);
    }

    /// A broker gives a producer id.
    pub(crate) fn gave_id(&mut self, node: NodeId, conn: ConnId, id: RequestId, producer: i64, epoch: i16) {
        let had = self.ids_wanted.remove(&(node, conn, id)).unwrap_or(-1);
        self.producers.given(node, had, producer, epoch);
    }

    /// A broker is asked to take a batch of these values and timestamps, in a topic that lets it take those of this range now.
    pub(crate) fn offered(&mut self, node: NodeId, records: &[(u64, i64)], range: &RangeInclusive<i64>) {
        self.timestamps.offered(node, records, range);
    }

    /// A broker shows what stands in partitions.
    pub(crate) fn shown(&mut self, fetch: &FetchResponse) {
        for topic in fetch.responses.iter().filter(|topic| topic.topic_id != TopicId::ZERO) {
            for partition in &topic.partitions {
                let bytes = partition.records.as_ref().map(Records::to_bytes).unwrap_or_default();
                for view in views(bytes, Check::Header).flatten() {
                    let header = view.header();
                    let id = ProducerId(header.producer_id);
                    let sequence = (id.0 >= 0).then_some((id, header.producer_epoch, header.base_sequence));
                    let stands = Stands { base: header.base_offset, count: header.record_count, sequence };
                    self.gaps.seen(topic.topic_id, partition.partition_index, stands);
                    self.producers.shown(topic.topic_id, partition.partition_index, stands);
                }
            }
        }
    }

    /// Everything was read: what stands in partitions is judged, and what stands in topics that bound times.
    pub(crate) fn everything_read<'a>(
        &mut self,
        heirs_below: impl Fn(TopicId) -> Option<ProducerId>,
        bounded: impl Iterator<Item = (&'a str, u64)>,
    ) {
        bounded.for_each(|(topic, value)| self.timestamps.read(topic, value));
        let anew = |topic, partition, base| self.producers.began_anew(topic, partition, base);
        let broken = self.gaps.violations(heirs_below, anew).into_iter().chain(self.timestamps.violations());
        let findings = broken.map(|violation| (Verdict::Invariant, Finding::from(violation)));
        self.findings.extend(findings);
    }

    /// Whether this is the answer to a produce with acks=all. Asked once.
    pub(crate) fn acks_all(&mut self, node: NodeId, conn: ConnId, id: RequestId) -> bool {
        self.acks_all.remove(&(node, conn, id))
    }

    /// A broker acknowledges a record as held by so many replicas.
    pub(crate) fn promised(&mut self, now: u64, node: NodeId, group: GroupId, offset: Offset, needed: usize) {
        self.whitebox.promised(now, node, group, offset, needed);
    }

    /// A broker sends something to another.
    pub(crate) fn spoke(&mut self, now: u64, node: NodeId, group: GroupId, term: Term) {
        self.whitebox.spoke(now, node, group, term);
    }

    /// A broker was looked into.
    pub(crate) fn audited(&mut self, now: u64, node: NodeId, audit: &Audit) {
        self.whitebox.audited(now, node, audit);
    }

    /// A broker had nothing to do for seconds.
    pub(crate) fn rested(&mut self, now: u64, node: NodeId, audit: &Audit, target: u64) {
        self.whitebox.rested(now, node, audit, target);
    }

    /// A broker does not know a file of its disk.
    pub(crate) fn orphaned(&mut self, now: u64, node: NodeId, file: FileId) {
        self.whitebox.orphaned(now, node, file);
    }

    /// What brokers owe answers to now.
    pub(crate) fn owed(&self) -> Owed {
        self.responses.owed()
    }

    /// They had their time: what was owed then and is owed now is owed for ever.
    pub(crate) fn finish(&mut self, before: &Owed) {
        self.responses.finish_those(before);
    }

    /// A broker answers.
    pub(crate) fn answered(&mut self, node: NodeId, conn: ConnId, id: RequestId) {
        self.responses.response(node, conn, id);
    }

    /// A broker's connection is gone.
    pub(crate) fn closed(&mut self, node: NodeId, conn: ConnId) {
        self.responses.closed(node, conn);
        self.sequences.closed(node, conn);
        self.fields.closed(node, conn);
        self.producers.closed(node, conn);
        self.due.closed(node, conn);
    }

    /// A broker refuses to run although nothing broke its disk.
    pub(crate) fn refused(&mut self, node: u32, why: &str) {
        let finding = Finding {
            property: "restart".to_owned(),
            sentence: format!("broker {node} gave up although nothing but crashes happened to it: {why}"),
            evidence: Vec::new(),
            about: vec![format!("broker {node}")],
            around: None,
        };
        self.findings.push((Verdict::Invariant, finding));
    }

    /// A broker writes to its journal long after anybody asked it to.
    pub(crate) fn restless(&mut self, node: u32) {
        let finding = Finding {
            property: "journal-restless".to_owned(),
            sentence: format!(
                "broker {node} writes the same to its journal again and again, although nobody asks for anything"
            ),
            evidence: Vec::new(),
            about: vec![format!("broker {node}")],
            around: None,
        };
        self.findings.push((Verdict::Liveness, finding));
    }

    /// A broker finds files damaged although nobody harmed its disk.
    pub(crate) fn harmed(&mut self, node: u32) {
        let finding = Finding {
            property: "damage-made".to_owned(),
            sentence: format!(
                "broker {node} finds files damaged although nothing but crashes happened to it: it believed in something that was \
                 not safely on its disk, and heals only where another replica has it"
            ),
            evidence: Vec::new(),
            about: vec![format!("broker {node}")],
            around: None,
        };
        self.findings.push((Verdict::Invariant, finding));
    }

    /// A broker has not read its files though it had the time.
    pub(crate) fn unread(&mut self, node: u32) {
        let finding = Finding {
            property: "patrol-overdue".to_owned(),
            sentence: format!(
                "broker {node} has not read all its files once since it was started: damage goes unnoticed"
            ),
            evidence: Vec::new(),
            about: vec![format!("broker {node}")],
            around: None,
        };
        self.findings.push((Verdict::Liveness, finding));
    }

    /// A cluster was founded on a disk that was gone before its founder asked.
    pub(crate) fn founded_on_nothing(&mut self, founder: u32, member: u32) {
        let finding = Finding {
            property: "founded-on-nothing".to_owned(),
            sentence: format!(
                "broker {founder} founded a cluster on the word of a disk of broker {member} that was gone before it asked"
            ),
            evidence: Vec::new(),
            about: vec![format!("broker {founder}"), format!("broker {member}")],
            around: None,
        };
        self.findings.push((Verdict::Invariant, finding));
    }

    /// A broker was told that a file it needs could not be written, and lives.
    pub(crate) fn went_on(&mut self, node: u32, file: FileId) {
        let finding = Finding {
            property: "went-on".to_owned(),
            sentence: format!("broker {node} went on after a write of {file} failed: nobody knows what is on its disk"),
            evidence: Vec::new(),
            about: vec![format!("broker {node}")],
            around: None,
        };
        self.findings.push((Verdict::Invariant, finding));
    }

    /// A broker is asked; it promises to have asked others within `promise` microseconds.
    pub(crate) fn due(&mut self, now: u64, line: (NodeId, ConnId), id: RequestId, request: &Request, promise: u64) {
        let allowed = due::allowed(request, promise);
        if due::is_answered(request) {
            self.due.asked(now, line, id, allowed);
        } else {
            self.due.told(now, line, allowed);
        }
    }

    /// A broker answers; until `excused` it was in no state to.
    pub(crate) fn in_time(&mut self, now: u64, line: (NodeId, ConnId), id: RequestId, excused: u64) {
        if let Some(late) = self.due.answered(now, line, id, excused) {
            self.answered_late(&late);
        }
    }

    /// Looks for answers that are late already.
    pub(crate) fn judge_lateness(&mut self, now: u64, excused: impl Fn(NodeId) -> u64) {
        if let Some(late) = self.due.overdue(now, excused) {
            self.answered_late(&late);
        }
    }

    fn answered_late(&mut self, late: &due::Late) {
        let due::Late { node, conn, id, allowed, took } = *late;
        let what = format!("broker {node} did not answer request {id} on connection {conn} for {} ms", took / 1_000);
        self.late("answered-late", &what, allowed, &[node]);
    }

    /// Something took longer than `limit` microseconds, and nothing disturbed it.
    pub(crate) fn late(&mut self, property: &str, what: &str, limit: u64, nodes: &[NodeId]) {
        let finding = Finding {
            property: property.to_owned(),
            sentence: format!("after {} ms, {what}", limit / 1_000),
            evidence: Vec::new(),
            about: nodes.iter().map(|node| format!("broker {node}")).collect(),
            around: None,
        };
        self.findings.push((Verdict::Liveness, finding));
    }

    /// A broker takes more of its disk than what stands there needs.
    pub(crate) fn wasteful(&mut self, node: u32, what: &str) {
        let finding = Finding {
            property: "space-kept".to_owned(),
            sentence: format!("broker {node} takes more of its disk than it needs: {what}"),
            evidence: Vec::new(),
            about: vec![format!("broker {node}")],
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

    /// A broker was started on a full disk, and does not do what needs no room.
    pub(crate) fn waits_for_room(&mut self, node: u32, what: &str, millis: u64) {
        let finding = Finding {
            property: "full-start".to_owned(),
            sentence: format!(
                "broker {node} was started on a full disk, on which it had run before, and after {millis} ms {what}: nobody reads \
                 from it, and nobody can delete a topic to make room"
            ),
            evidence: Vec::new(),
            about: vec![format!("broker {node} ")],
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

    /// A broker writes to its journal.
    pub(crate) fn journal_write(&mut self, node: NodeId, op: OpId) {
        self.writes.issued(node, op);
    }

    /// An operation of a broker's disk has succeeded.
    pub(crate) fn disk_done(&mut self, node: NodeId, op: OpId) {
        self.writes.done(node, op);
    }

    /// A broker says what happened inside it.
    pub(crate) fn event(&mut self, now: u64, node: NodeId, event: &Event) {
        if let Event::Elected { group, term } = event {
            self.leaders.insert(*group, node);
            self.fields.elected(now, *group, node, i32::try_from(term.0).unwrap_or(i32::MAX));
        }
        if let Event::Applied { group, next_offset, log_start, .. } = event {
            self.fields.applied(*group, next_offset.0, log_start.0);
        }
        if let Some(sentence) = self.writes.event(node, event) {
            let about = words::brokers_in(&sentence);
            let finding =
                Finding { property: "durable-early".to_owned(), sentence, evidence: Vec::new(), about, around: None };
            self.findings.push((Verdict::Invariant, finding));
        }
        self.whitebox.observe(now, node, event);
    }
}
