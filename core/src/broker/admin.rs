//! What is answered from the metadata image, and what has to go through the controller's log first.

use std::collections::VecDeque;

use super::session::Reply;
use super::waits::Wait;
use super::{Broker, Call, CallId, Caller};
use crate::controller::answers::{self, Leader};
use crate::controller::command::{AllocateProducerIds, Command, CreateTopic, Defaults, TopicRef};
use crate::controller::describe::{self, BrokerSettings};
use crate::controller::image::{Applied, Rejection};
use crate::controller::topics::{self, CreateStep, DeleteStep};
use crate::effect::Effects;
use crate::id::{GroupId, NodeId, TopicId};
use crate::kafka::messages::{
    CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse, DeletableTopicResult, DeleteTopicsRequest,
    DeleteTopicsResponse, DescribeClusterRequest, DescribeConfigsRequest, InitProducerIdRequest,
    InitProducerIdResponse, MetadataRequest,
};
use crate::kafka::{ErrorCode, api_versions_response};
use crate::mutants::Mutant;
use crate::time::{Duration, Instant};

/// What a command was sent for.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    CreateTopic(CallId, usize),
    DeleteTopic(CallId, usize),
    /// A client asked Metadata for a topic that is to be created on the way; it asks again.
    AutoCreate(String),
    ProducerIds,
    Admit(CallId),
    /// New replica ids, as the journal was damaged.
    Renew,
}

/// A CreateTopics request under way.
#[derive(Debug)]
pub(super) struct CreateCall {
    caller: Caller,
    /// Name, result if there is one, and the id of a topic whose leaders are waited for.
    slots: Vec<(String, Option<CreatableTopicResult>, Option<TopicId>)>,
}

/// A DeleteTopics request under way.
#[derive(Debug)]
pub(super) struct DeleteCall {
    caller: Caller,
    slots: Vec<(TopicRef, Option<DeletableTopicResult>)>,
}

impl CreateCall {
    pub(super) fn waits(&self) -> Vec<Wait> {
        let wait = |(at, (_, result, _)): (usize, &(String, Option<CreatableTopicResult>, Option<TopicId>))| {
            if result.is_some() { Wait::Image } else { Wait::Command(at) }
        };
        self.slots.iter().enumerate().map(wait).collect()
    }
}

impl DeleteCall {
    pub(super) fn waits(&self) -> Vec<Wait> {
        let wait = |(at, (_, result)): (usize, &(TopicRef, Option<DeletableTopicResult>))| {
            result.is_none().then_some(Wait::Command(at))
        };
        self.slots.iter().enumerate().filter_map(wait).collect()
    }
}

/// Producer ids of this broker's block, and who waits for the next block.
#[derive(Debug, Default)]
pub(super) struct ProducerIds {
    next: i64,
    left: u32,
    asked: bool,
    waiting: VecDeque<(Instant, Caller)>,
}

impl ProducerIds {
    /// Whether those who wait are served in line, and will be: another block is `asked` for, or was.
    pub(super) fn check(&self, asked: bool) -> bool {
        let in_line = self.waiting.iter().is_sorted_by_key(|(deadline, _)| *deadline);
        in_line && (self.waiting.is_empty() || (self.left == 0 && self.asked)) && self.asked == asked
    }
}

/// The most a client's admin request may wait.
const ADMIN_WAIT_MS_MAX: u64 = 10 * 60 * 1_000;

impl Broker {
    fn defaults(&self) -> Defaults {
        Defaults::default()
    }

    fn controller_node(&self) -> Option<NodeId> {
        self.route(GroupId::CONTROLLER).map(|route| route.node)
    }

    pub(super) fn leader(&self, group: GroupId) -> Option<Leader> {
        let route = self.route(group)?;
        Some(Leader { node: route.node, epoch: i32::try_from(route.term.0).unwrap_or(-1) })
    }

    pub(super) fn api_versions(&mut self, caller: Caller, out: &mut Effects) {
        let response = api_versions_response(caller.header.api_version, ErrorCode::None);
        self.answer(&caller, response, out);
    }

    pub(super) fn api_versions_unsupported(&mut self, caller: Caller, out: &mut Effects) {
        self.answer(&caller, api_versions_response(0, ErrorCode::UnsupportedVersion), out);
    }

    pub(super) fn metadata(&mut self, caller: Caller, request: &MetadataRequest, out: &mut Effects) {
        let version = caller.header.api_version;
        let controller = self.controller_node();
        let Some(image) = self.image() else {
            return self.starting(&caller, out);
        };
        let answer = answers::metadata(image, &|group| self.leader(group), controller, version, request);
        let mut response = answer.response;
        if self.config.auto_create {
            for name in &answer.missing {
                if let Some(topic) = response.topics.iter_mut().find(|topic| topic.name.as_ref() == Some(name)) {
                    topic.error_code = ErrorCode::LeaderNotAvailable.code();
                }
                self.auto_create(name);
            }
        }
        self.answer(&caller, response, out);
    }

    pub(super) fn starting(&mut self, caller: &Caller, out: &mut Effects) {
        self.sessions.reply(caller.conn, caller.id, Reply::Close("the broker is starting".into()), out);
    }

    fn auto_create(&mut self, name: &str) {
        if !self.auto_creating.insert(name.to_owned()) {
            return;
        }
        let command = Command::CreateTopic(CreateTopic {
            origin: self.origin(),
            name: name.to_owned(),
            partitions: -1,
            replication_factor: -1,
            assignment: Vec::new(),
            configs: std::collections::BTreeMap::new(),
            defaults: self.defaults(),
            heirs: true,
        });
        let deadline = self.now.mono + self.config.settings.request_timeout;
        self.submit(&command, Purpose::AutoCreate(name.to_owned()), deadline);
    }

    pub(super) fn describe_cluster(&mut self, caller: Caller, request: &DescribeClusterRequest, out: &mut Effects) {
        let controller = self.controller_node();
        let Some(image) = self.image() else {
            return self.starting(&caller, out);
        };
        let response = answers::describe_cluster(image, controller, request);
        self.answer(&caller, response, out);
    }

    pub(super) fn describe_configs(&mut self, caller: Caller, request: &DescribeConfigsRequest, out: &mut Effects) {
        let settings = BrokerSettings {
            node: self.config.node,
            auto_create_topics: self.config.auto_create,
            defaults: self.defaults(),
        };
        let Some(image) = self.image() else {
            return self.starting(&caller, out);
        };
        let response = describe::describe_configs(image, &settings, request);
        self.answer(&caller, response, out);
    }

    pub(super) fn admin_deadline(&self, timeout_ms: i32) -> Instant {
        let timeout = u64::try_from(timeout_ms).unwrap_or(0).clamp(1, ADMIN_WAIT_MS_MAX);
        self.now.mono + Duration::from_millis(timeout)
    }

    pub(super) fn create_topics(&mut self, caller: Caller, request: CreateTopicsRequest, out: &mut Effects) {
        let defaults = self.defaults();
        let origins: Vec<_> = request.topics.iter().map(|_| self.origin()).collect();
        let mut origins = origins.into_iter();
        let Some(image) = self.image() else {
            return self.starting(&caller, out);
        };
        let steps = topics::create_steps(image, defaults, &request, || origins.next().expect("one for each topic"));
        let deadline = self.admin_deadline(request.timeout_ms);
        let call = CreateCall { caller, slots: Vec::new() };
        let id = self.call(Call::CreateTopics(call), Some(deadline));
        let mut slots = Vec::new();
        let mut commands = Vec::new();
        for step in steps {
            match step {
                CreateStep::Answer(result) => slots.push((result.name.clone(), Some(result), None)),
                CreateStep::Propose(create) => {
                    commands.push((slots.len(), Command::CreateTopic(create.clone())));
                    slots.push((create.name, None, None));
                }
            }
        }
        if let Some(Call::CreateTopics(call)) = self.calls.get_mut(&id) {
            call.slots = slots;
        }
        for (slot, command) in commands {
            self.submit(&command, Purpose::CreateTopic(id, slot), deadline);
        }
        self.admin_changed = true;
    }

    pub(super) fn delete_topics(&mut self, caller: Caller, request: &DeleteTopicsRequest) {
        let most = request.topics.len() + request.topic_names.len();
        let origins: Vec<_> = (0..most).map(|_| self.origin()).collect();
        let mut origins = origins.into_iter();
        let steps = topics::delete_steps(request, || origins.next().expect("one for each topic"));
        let deadline = self.admin_deadline(request.timeout_ms);
        let id = self.call(Call::DeleteTopics(DeleteCall { caller, slots: Vec::new() }), Some(deadline));
        let mut slots = Vec::new();
        let mut commands = Vec::new();
        for step in steps {
            match step {
                DeleteStep::Answer(result) => {
                    slots.push((TopicRef::Name(result.name.clone().unwrap_or_default()), Some(result)));
                }
                DeleteStep::Propose(delete) => {
                    slots.push((delete.topic.clone(), None));
                    commands.push((slots.len() - 1, Command::DeleteTopic(delete)));
                }
            }
        }
        if let Some(Call::DeleteTopics(call)) = self.calls.get_mut(&id) {
            call.slots = slots;
        }
        for (slot, command) in commands {
            self.submit(&command, Purpose::DeleteTopic(id, slot), deadline);
        }
        self.admin_changed = true;
    }

    /// A command of this broker was applied.
    pub(super) fn submission_applied(
        &mut self,
        purpose: Purpose,
        result: Result<Applied, Rejection>,
        out: &mut Effects,
    ) {
        match purpose {
            Purpose::CreateTopic(call, slot) => self.topic_created(call, slot, &result),
            Purpose::DeleteTopic(call, slot) => {
                if let Some(Call::DeleteTopics(call)) = self.calls.get_mut(&call)
                    && let Some((topic, answer)) = call.slots.get_mut(slot)
                {
                    *answer = Some(topics::delete_result(topic, &result));
                }
            }
            Purpose::AutoCreate(name) => {
                self.auto_creating.remove(&name);
            }
            Purpose::ProducerIds => {
                self.producer_ids.asked = false;
                if let Ok(Applied::ProducerIds { first, count }) = result {
                    self.producer_ids.next = first;
                    self.producer_ids.left = count;
                }
                self.give_producer_ids(out);
            }
            Purpose::Admit(call) => self.admitted(call, result),
            Purpose::Renew => self.replicas_renewed(result, out),
        }
        self.admin_changed = true;
    }

    fn topic_created(&mut self, call: CallId, slot: usize, result: &Result<Applied, Rejection>) {
        let Some(Call::CreateTopics(waiting)) = self.calls.get(&call) else {
            return;
        };
        let Some((name, ..)) = waiting.slots.get(slot) else {
            return;
        };
        let Some(image) = self.image() else { return };
        let answer = topics::create_result(image, name, result);
        let id = match result {
            Ok(Applied::TopicCreated { id, .. }) => Some(*id),
            Ok(_) | Err(_) => None,
        };
        if let Some(Call::CreateTopics(waiting)) = self.calls.get_mut(&call)
            && let Some(slot) = waiting.slots.get_mut(slot)
        {
            (slot.1, slot.2) = (Some(answer), id);
        }
    }

    /// A command of this broker was not seen applied in time; it may still be.
    pub(super) fn submission_late(&mut self, purpose: Purpose, out: &mut Effects) {
        match purpose {
            // The call has the same deadline and answers for itself.
            Purpose::CreateTopic(..) | Purpose::DeleteTopic(..) | Purpose::Admit(_) | Purpose::Renew => {}
            Purpose::AutoCreate(name) => {
                self.auto_creating.remove(&name);
            }
            Purpose::ProducerIds => {
                self.producer_ids.asked = self.config.mutants.planted(Mutant::IdsAskedOnce);
                self.give_producer_ids(out);
            }
        }
    }

    /// The image or the routes moved: requests that wait for that may be complete.
    pub(super) fn admin_progress(&mut self, out: &mut Effects) {
        let mut complete = Vec::new();
        let mut admitted = Vec::new();
        for (id, call) in &self.calls {
            let done = match call {
                Call::Admit(call) => {
                    if self.is_settled(call) {
                        admitted.push(*id);
                    }
                    false
                }
                Call::CreateTopics(call) => call
                    .slots
                    .iter()
                    .all(|(_, result, id)| result.is_some() && id.is_none_or(|id| self.has_leaders(id))),
                Call::DeleteTopics(call) => call.slots.iter().all(|(_, result)| result.is_some()),
                Call::Produce(_) | Call::Fetch(_) | Call::Offsets(_) => false,
            };
            if done {
                complete.push(*id);
            }
        }
        let waits_out = self.config.mutants.planted(Mutant::CreateWaitsOut);
        for id in complete.into_iter().filter(|_| !waits_out) {
            self.finish_admin(id, out);
        }
        for id in admitted {
            self.finish_admit(id, out);
        }
        self.give_producer_ids(out);
    }

    fn has_leaders(&self, topic: TopicId) -> bool {
        let Some(topic) = self.image().and_then(|image| image.topic(topic)) else {
            return true;
        };
        topic.partitions.iter().all(|partition| self.route(partition.group).is_some())
    }

    /// Answers with what there is; what is not known to be applied has timed out.
    pub(super) fn finish_admin(&mut self, id: CallId, out: &mut Effects) {
        let late = |what: &str| Rejection::new(ErrorCode::RequestTimedOut, what);
        match self.end_call(id) {
            Some(Call::CreateTopics(call)) => {
                let topics = call
                    .slots
                    .into_iter()
                    .map(|(name, result, _)| {
                        result.unwrap_or_else(|| CreatableTopicResult {
                            error_code: ErrorCode::RequestTimedOut.code(),
                            error_message: Some(late("The controller did not answer in time.").message),
                            num_partitions: -1,
                            replication_factor: -1,
                            name,
                            ..CreatableTopicResult::default()
                        })
                    })
                    .collect();
                self.answer(&call.caller, CreateTopicsResponse { topics, ..CreateTopicsResponse::default() }, out);
            }
            Some(Call::DeleteTopics(call)) => {
                let responses = call
                    .slots
                    .into_iter()
                    .map(|(topic, result)| {
                        result.unwrap_or_else(|| {
                            topics::delete_result(&topic, &Err(late("The controller did not answer in time.")))
                        })
                    })
                    .collect();
                let response = DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() };
                self.answer(&call.caller, response, out);
            }
            Some(Call::Produce(_) | Call::Fetch(_) | Call::Offsets(_) | Call::Admit(_)) | None => {}
        }
    }

    pub(super) fn init_producer_id(&mut self, caller: Caller, request: &InitProducerIdRequest, out: &mut Effects) {
        if request.transactional_id.is_some() {
            // Transactions are not here yet: a code that every client takes for final.
            let response = InitProducerIdResponse {
                error_code: ErrorCode::TransactionalIdAuthorizationFailed.code(),
                producer_id: -1,
                producer_epoch: -1,
                ..InitProducerIdResponse::default()
            };
            return self.answer(&caller, response, out);
        }
        if request.producer_id >= 0 && self.config.mutants.planted(Mutant::IdGivenAgain) {
            let producer_id = request.producer_id;
            let response =
                InitProducerIdResponse { producer_id, producer_epoch: 0, ..InitProducerIdResponse::default() };
            return self.answer(&caller, response, out);
        }
        let deadline = self.now.mono + self.config.settings.request_timeout;
        self.producer_ids.waiting.push_back((deadline, caller));
        self.give_producer_ids(out);
    }

    fn give_producer_ids(&mut self, out: &mut Effects) {
        while let Some((deadline, _)) = self.producer_ids.waiting.front() {
            let late = *deadline <= self.now.mono;
            if self.producer_ids.left == 0 && !late {
                break;
            }
            let Some((_, caller)) = self.producer_ids.waiting.pop_front() else {
                break;
            };
            let response = if self.producer_ids.left > 0 {
                let producer_id = self.producer_ids.next;
                self.producer_ids.next += 1;
                self.producer_ids.left -= 1;
                InitProducerIdResponse { producer_id, producer_epoch: 0, ..InitProducerIdResponse::default() }
            } else {
                InitProducerIdResponse {
                    error_code: ErrorCode::RequestTimedOut.code(),
                    producer_id: -1,
                    producer_epoch: -1,
                    ..InitProducerIdResponse::default()
                }
            };
            self.answer(&caller, response, out);
        }
        if !self.producer_ids.waiting.is_empty() && !self.producer_ids.asked {
            self.producer_ids.asked = true;
            let command = Command::AllocateProducerIds(AllocateProducerIds { origin: self.origin() });
            let deadline = self.now.mono + self.config.settings.request_timeout;
            self.submit(&command, Purpose::ProducerIds, deadline);
        }
    }
}
