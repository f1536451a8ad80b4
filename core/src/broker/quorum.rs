//! Who is a member of the controller, and the admission of brokers whose disks were empty.
//!
//! Admission is a command like others: it binds a broker to its directory under new replica ids, and every leader then brings
//! the configuration of its group to what the image says. Kafka's names: DescribeQuorum (KIP-595) and AddRaftVoter (KIP-853).

use super::admin::Purpose;
use super::waits::Wait;
use super::{Broker, Call, CallId, Caller};
use crate::controller::command::{AdmitBroker, Command};
use crate::controller::image::{Applied, Controller, Rejection};
use crate::effect::Effects;
use crate::id::{DirectoryId, GroupId, Index, NodeId, TopicId};
use crate::kafka::ErrorCode;
use crate::kafka::messages::{
    AddRaftVoterRequest, AddRaftVoterResponse, DescribeQuorumListener, DescribeQuorumNode,
    DescribeQuorumPartitionState, DescribeQuorumReplica, DescribeQuorumRequest, DescribeQuorumResponse,
    DescribeQuorumTopicState,
};
use crate::raft::Member;

/// What Kafka calls the controller's log.
const TOPIC: &str = "__cluster_metadata";

/// An AddRaftVoter request under way.
#[derive(Debug)]
pub(super) struct AdmitCall {
    caller: Caller,
    node: NodeId,
    result: Option<Result<Applied, Rejection>>,
}

impl AdmitCall {
    pub(super) fn waits(&self) -> Vec<Wait> {
        vec![if self.result.is_some() { Wait::Image } else { Wait::Command(0) }]
    }
}

impl Broker {
    /// The members a group shall have; none if the image does not say.
    fn target(&self, group: GroupId) -> Option<Vec<Member>> {
        let image = self.image()?;
        if group == GroupId::CONTROLLER {
            let members = image.controllers().iter().map(|(node, member)| (*node, member.replica, member.voter));
            return Some(members.collect());
        }
        let (.., partition) = image.partition_of(group)?;
        Some(partition.replicas.iter().map(|(node, replica)| (*node, *replica, true)).collect())
    }

    /// Whether the image makes this broker a voter of the group.
    pub(super) fn shall_vote(&self, group: GroupId) -> bool {
        let own = self.config.node;
        self.target(group).is_some_and(|target| target.iter().any(|member| member.0 == own && member.2))
    }

    /// Takes every group led here one step further towards the members it shall have.
    pub(super) fn form_groups(&mut self) {
        let asked = self.replicas.get(&GroupId::CONTROLLER).map_or(Index(0), |controller| controller.machine.applied);
        for group in std::mem::take(&mut self.forming) {
            let Some(target) = self.target(group) else { continue };
            let Some(replica) = self.replicas.get_mut(&group).filter(|replica| replica.raft.leading()) else {
                continue;
            };
            if !replica.raft.is_formed(&target) {
                replica.raft.form(&target, asked);
                self.touched.insert(group);
                self.forming.insert(group);
            }
        }
    }

    /// Tells every replica where its members-to-be are.
    pub(super) fn introduce_all(&mut self) {
        let groups: Vec<GroupId> = self.replicas.keys().copied().collect();
        for group in groups {
            self.introduce(group);
        }
    }

    /// Tells a replica where its members-to-be are; what this broker leads is brought there.
    pub(super) fn introduce(&mut self, group: GroupId) {
        let Some(target) = self.target(group) else { return };
        if let Some(replica) = self.replicas.get_mut(&group) {
            replica.raft.introduce(target.iter().map(|member| (member.0, member.1)));
            self.forming.insert(group);
        }
    }

    pub(super) fn describe_quorum(&mut self, caller: Caller, request: &DescribeQuorumRequest, out: &mut Effects) {
        let known = request.topics.iter().all(|topic| {
            topic.topic_name == TOPIC && topic.partitions.iter().all(|partition| partition.partition_index == 0)
        });
        let Some(image) = self.image() else {
            return self.starting(&caller, out);
        };
        if request.topics.len() != 1 || request.topics[0].partitions.len() != 1 || !known {
            let error = ErrorCode::UnknownTopicOrPartition;
            let message = format!("Ask about partition 0 of {TOPIC}.");
            let response = DescribeQuorumResponse {
                error_code: error.code(),
                error_message: Some(message),
                ..DescribeQuorumResponse::default()
            };
            return self.answer(&caller, response, out);
        }
        let Some(replica) = self.replicas.get(&GroupId::CONTROLLER) else {
            return self.starting(&caller, out);
        };
        // Only who leads knows how far a member is. One that listens has some log, which tells it from those who ask to be
        // admitted whoever is asked.
        let unknown = |member: &Controller| if member.voter { -1 } else { 0 };
        let state = |(node, member): (&NodeId, &Controller)| DescribeQuorumReplica {
            replica_id: i32::try_from(node.0).unwrap_or(-1),
            replica_directory_id: TopicId(member.directory.0),
            log_end_offset: replica.raft.matched(member.replica).map_or(unknown(member), |index| index.0 as i64),
            last_fetch_timestamp: -1,
            last_caught_up_timestamp: -1,
        };
        let members = |voter: bool| {
            image.controllers().iter().filter(move |(_, member)| member.voter == voter).map(state).collect::<Vec<_>>()
        };
        // Those who ask to be admitted are heard of by every broker they know.
        let applicants = self.applicants().into_iter().filter(|(node, directory)| {
            image.controllers().get(node).is_none_or(|member| member.directory != *directory)
        });
        let applicants = applicants.map(|(node, directory)| DescribeQuorumReplica {
            replica_id: i32::try_from(node.0).unwrap_or(-1),
            replica_directory_id: TopicId(directory.0),
            log_end_offset: -1,
            last_fetch_timestamp: -1,
            last_caught_up_timestamp: -1,
        });
        let observers = members(false).into_iter().chain(applicants).collect();
        let leader = self.leader(GroupId::CONTROLLER);
        let nodes = image.brokers().iter().map(|(node, info)| DescribeQuorumNode {
            node_id: i32::try_from(node.0).unwrap_or(-1),
            listeners: vec![DescribeQuorumListener {
                name: "PLAINTEXT".into(),
                host: info.host.clone(),
                port: i16::from_be_bytes(info.port.to_be_bytes()),
            }],
        });
        let partition = DescribeQuorumPartitionState {
            leader_id: leader.map_or(-1, |leader| i32::try_from(leader.node.0).unwrap_or(-1)),
            leader_epoch: leader.map_or(-1, |leader| leader.epoch),
            high_watermark: replica.raft.commit().0 as i64,
            current_voters: members(true),
            observers,
            ..DescribeQuorumPartitionState::default()
        };
        let topic = DescribeQuorumTopicState { topic_name: TOPIC.into(), partitions: vec![partition] };
        let response =
            DescribeQuorumResponse { topics: vec![topic], nodes: nodes.collect(), ..DescribeQuorumResponse::default() };
        self.answer(&caller, response, out);
    }

    pub(super) fn add_raft_voter(&mut self, caller: Caller, request: &AddRaftVoterRequest, out: &mut Effects) {
        let refuse = |error: ErrorCode, message: String| AddRaftVoterResponse {
            error_code: error.code(),
            error_message: Some(message),
            ..AddRaftVoterResponse::default()
        };
        let Some(image) = self.image() else {
            return self.starting(&caller, out);
        };
        let cluster = image.cluster().to_string();
        if request.cluster_id.as_ref().is_some_and(|asked| *asked != cluster) {
            let response = refuse(ErrorCode::InconsistentClusterId, format!("This is cluster {cluster}."));
            return self.answer(&caller, response, out);
        }
        let Some(node) = u32::try_from(request.voter_id).ok().filter(|node| *node > 0).map(NodeId) else {
            let response = refuse(ErrorCode::InvalidRequest, "Brokers are numbered from 1.".into());
            return self.answer(&caller, response, out);
        };
        let directory = DirectoryId(request.voter_directory_id.0);
        // Admission lets go of the disk a broker had: never for one that nobody has heard of.
        let bound = image.controllers().get(&node).is_some_and(|member| member.directory == directory);
        if !bound && !self.applicants().contains(&(node, directory)) {
            // Observers ask the listed voters; who leads the controller is one of them.
            let leads = self.replicas.get(&GroupId::CONTROLLER).is_some_and(|replica| replica.raft.serving());
            let error = if leads { ErrorCode::InvalidRequest } else { ErrorCode::NotController };
            let message = format!("Broker {node} with directory {directory} has not asked this broker to be admitted.");
            return self.answer(&caller, refuse(error, message), out);
        }
        let deadline = self.admin_deadline(request.timeout_ms);
        let call = AdmitCall { caller, node, result: None };
        let id = self.call(Call::Admit(call), Some(deadline));
        let origin = self.origin();
        self.submit(&Command::AdmitBroker(AdmitBroker { origin, node, directory }), Purpose::Admit(id), deadline);
    }

    pub(super) fn admitted(&mut self, id: CallId, result: Result<Applied, Rejection>) {
        if let Some(Call::Admit(call)) = self.calls.get_mut(&id) {
            call.result = Some(result);
        }
    }

    /// Whether the call has come to its end: refused, or the broker takes part, as far as can be seen from here.
    pub(super) fn is_settled(&self, call: &AdmitCall) -> bool {
        match &call.result {
            None => false,
            Some(Err(_)) => true,
            // It registers itself once it follows the controller's log.
            Some(Ok(_)) => {
                self.image().and_then(|image| image.brokers().get(&call.node)).is_some_and(|broker| broker.boot > 0)
            }
        }
    }

    pub(super) fn finish_admit(&mut self, id: CallId, out: &mut Effects) {
        let Some(Call::Admit(call)) = self.end_call(id) else { return };
        let late = |what: &str| (ErrorCode::RequestTimedOut, Some(what.to_owned()));
        let (error, error_message) = match &call.result {
            Some(Ok(_)) if self.is_settled(&call) => (ErrorCode::None, None),
            Some(Ok(_)) => late("It is admitted, but has not been heard of yet."),
            Some(Err(rejection)) => (rejection.error, Some(rejection.message.clone())),
            None => late("The controller did not answer in time."),
        };
        let response =
            AddRaftVoterResponse { error_code: error.code(), error_message, ..AddRaftVoterResponse::default() };
        self.answer(&call.caller, response, out);
    }
}
