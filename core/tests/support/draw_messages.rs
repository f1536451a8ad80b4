//! Random messages that their version can carry, for tests.
//!
//! Generated from `schema.txt` by `cargo run -p tidelog-core --example generate_codec`: change that, not this.

use tidelog_core::id::TopicId;
use tidelog_core::kafka::messages::*;
use tidelog_core::kafka::{ApiKey, RequestBody, ResponseBody};

use super::draw::{Draw, Drawer};

/// A request of the API, as the drawer's version has it.
pub(crate) fn draw_request(api_key: ApiKey, d: &mut Drawer) -> RequestBody {
    match api_key {
        ApiKey::Produce => RequestBody::Produce(d.draw()),
        ApiKey::Fetch => RequestBody::Fetch(d.draw()),
        ApiKey::ListOffsets => RequestBody::ListOffsets(d.draw()),
        ApiKey::Metadata => RequestBody::Metadata(d.draw()),
        ApiKey::ApiVersions => RequestBody::ApiVersions(d.draw()),
        ApiKey::CreateTopics => RequestBody::CreateTopics(d.draw()),
        ApiKey::DeleteTopics => RequestBody::DeleteTopics(d.draw()),
        ApiKey::InitProducerId => RequestBody::InitProducerId(d.draw()),
        ApiKey::OffsetForLeaderEpoch => RequestBody::OffsetForLeaderEpoch(d.draw()),
        ApiKey::DescribeConfigs => RequestBody::DescribeConfigs(d.draw()),
        ApiKey::DescribeQuorum => RequestBody::DescribeQuorum(d.draw()),
        ApiKey::DescribeCluster => RequestBody::DescribeCluster(d.draw()),
        ApiKey::AddRaftVoter => RequestBody::AddRaftVoter(d.draw()),
    }
}

/// A response of the API, as the drawer's version has it.
pub(crate) fn draw_response(api_key: ApiKey, d: &mut Drawer) -> ResponseBody {
    match api_key {
        ApiKey::Produce => ResponseBody::Produce(d.draw()),
        ApiKey::Fetch => ResponseBody::Fetch(d.draw()),
        ApiKey::ListOffsets => ResponseBody::ListOffsets(d.draw()),
        ApiKey::Metadata => ResponseBody::Metadata(d.draw()),
        ApiKey::ApiVersions => ResponseBody::ApiVersions(d.draw()),
        ApiKey::CreateTopics => ResponseBody::CreateTopics(d.draw()),
        ApiKey::DeleteTopics => ResponseBody::DeleteTopics(d.draw()),
        ApiKey::InitProducerId => ResponseBody::InitProducerId(d.draw()),
        ApiKey::OffsetForLeaderEpoch => ResponseBody::OffsetForLeaderEpoch(d.draw()),
        ApiKey::DescribeConfigs => ResponseBody::DescribeConfigs(d.draw()),
        ApiKey::DescribeQuorum => ResponseBody::DescribeQuorum(d.draw()),
        ApiKey::DescribeCluster => ResponseBody::DescribeCluster(d.draw()),
        ApiKey::AddRaftVoter => ResponseBody::AddRaftVoter(d.draw()),
    }
}

impl Draw for ProduceRequest {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            transactional_id: d.draw(),
            acks: d.draw(),
            timeout_ms: d.draw(),
            topic_data: d.draw(),
        }
    }
}

impl Draw for TopicProduceData {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            name: d.draw(),
            partition_data: d.draw(),
        }
    }
}

impl Draw for PartitionProduceData {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            index: d.draw(),
            records: d.draw(),
        }
    }
}

impl Draw for ProduceResponse {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            responses: d.draw(),
            throttle_time_ms: d.draw(),
            node_endpoints: d.draw_if(v >= 10, Vec::new()),
        }
    }
}

impl Draw for TopicProduceResponse {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            name: d.draw(),
            partition_responses: d.draw(),
        }
    }
}

impl Draw for PartitionProduceResponse {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            index: d.draw(),
            error_code: d.draw(),
            base_offset: d.draw(),
            log_append_time_ms: d.draw(),
            log_start_offset: d.draw_if(v >= 5, -1),
            record_errors: d.draw_if(v >= 8, Vec::new()),
            error_message: d.draw_if(v >= 8, None),
            current_leader: d.draw_if(v >= 10, LeaderIdAndEpoch::default()),
        }
    }
}

impl Draw for BatchIndexAndErrorMessage {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            batch_index: d.draw(),
            batch_index_error_message: d.draw(),
        }
    }
}

impl Draw for LeaderIdAndEpoch {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            leader_id: d.draw(),
            leader_epoch: d.draw(),
        }
    }
}

impl Draw for NodeEndpoint {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            node_id: d.draw(),
            host: d.draw(),
            port: d.draw(),
            rack: d.draw(),
        }
    }
}

impl Draw for FetchRequest {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            replica_id: d.draw_if(v <= 14, -1),
            max_wait_ms: d.draw(),
            min_bytes: d.draw(),
            max_bytes: d.draw(),
            isolation_level: d.draw(),
            session_id: d.draw_if(v >= 7, 0),
            session_epoch: d.draw_if(v >= 7, -1),
            topics: d.draw(),
            forgotten_topics_data: d.draw_if(v >= 7, Vec::new()),
            rack_id: d.draw_if(v >= 11, String::new()),
            cluster_id: d.draw_if(v >= 12, None),
            replica_state: d.draw_if(v >= 15, ReplicaState::default()),
        }
    }
}

impl Draw for ReplicaState {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            replica_id: d.draw(),
            replica_epoch: d.draw(),
        }
    }
}

impl Draw for FetchTopic {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            topic: d.draw_if(v <= 12, String::new()),
            topic_id: d.draw_if(v >= 13, TopicId::ZERO),
            partitions: d.draw(),
        }
    }
}

impl Draw for FetchPartition {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            partition: d.draw(),
            current_leader_epoch: d.draw_if(v >= 9, -1),
            fetch_offset: d.draw(),
            last_fetched_epoch: d.draw_if(v >= 12, -1),
            log_start_offset: d.draw_if(v >= 5, -1),
            partition_max_bytes: d.draw(),
        }
    }
}

impl Draw for ForgottenTopic {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            topic: d.draw_if((7..=12).contains(&v), String::new()),
            topic_id: d.draw_if(v >= 13, TopicId::ZERO),
            partitions: d.draw(),
        }
    }
}

impl Draw for FetchResponse {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            throttle_time_ms: d.draw(),
            error_code: d.draw_if(v >= 7, 0),
            session_id: d.draw_if(v >= 7, 0),
            responses: d.draw(),
            node_endpoints: d.draw_if(v >= 16, Vec::new()),
        }
    }
}

impl Draw for FetchableTopicResponse {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            topic: d.draw_if(v <= 12, String::new()),
            topic_id: d.draw_if(v >= 13, TopicId::ZERO),
            partitions: d.draw(),
        }
    }
}

impl Draw for PartitionData {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            partition_index: d.draw(),
            error_code: d.draw(),
            high_watermark: d.draw(),
            last_stable_offset: d.draw(),
            log_start_offset: d.draw_if(v >= 5, -1),
            aborted_transactions: d.draw(),
            preferred_read_replica: d.draw_if(v >= 11, -1),
            records: d.draw(),
            diverging_epoch: d.draw_if(v >= 12, EpochEndOffset::default()),
            current_leader: d.draw_if(v >= 12, LeaderIdAndEpoch::default()),
            snapshot_id: d.draw_if(v >= 12, SnapshotId::default()),
        }
    }
}

impl Draw for AbortedTransaction {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            producer_id: d.draw(),
            first_offset: d.draw(),
        }
    }
}

impl Draw for EpochEndOffset {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            epoch: d.draw(),
            end_offset: d.draw(),
        }
    }
}

impl Draw for SnapshotId {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            end_offset: d.draw(),
            epoch: d.draw(),
        }
    }
}

impl Draw for ListOffsetsRequest {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            replica_id: d.draw(),
            isolation_level: d.draw_if(v >= 2, 0),
            topics: d.draw(),
        }
    }
}

impl Draw for ListOffsetsTopic {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            name: d.draw(),
            partitions: d.draw(),
        }
    }
}

impl Draw for ListOffsetsPartition {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            partition_index: d.draw(),
            current_leader_epoch: d.draw_if(v >= 4, -1),
            timestamp: d.draw(),
        }
    }
}

impl Draw for ListOffsetsResponse {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            throttle_time_ms: d.draw_if(v >= 2, 0),
            topics: d.draw(),
        }
    }
}

impl Draw for ListOffsetsTopicResponse {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            name: d.draw(),
            partitions: d.draw(),
        }
    }
}

impl Draw for ListOffsetsPartitionResponse {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            partition_index: d.draw(),
            error_code: d.draw(),
            timestamp: d.draw(),
            offset: d.draw(),
            leader_epoch: d.draw_if(v >= 4, -1),
        }
    }
}

impl Draw for MetadataRequest {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            topics: d.draw_nullable(v >= 1),
            allow_auto_topic_creation: d.draw_if(v >= 4, true),
            include_cluster_authorized_operations: d.draw_if((8..=10).contains(&v), false),
            include_topic_authorized_operations: d.draw_if(v >= 8, false),
        }
    }
}

impl Draw for MetadataRequestTopic {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            topic_id: d.draw_if(v >= 10, TopicId::ZERO),
            name: d.draw_nullable(v >= 10),
        }
    }
}

impl Draw for MetadataResponse {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            throttle_time_ms: d.draw_if(v >= 3, 0),
            brokers: d.draw(),
            cluster_id: d.draw_if(v >= 2, None),
            controller_id: d.draw_if(v >= 1, -1),
            topics: d.draw(),
            cluster_authorized_operations: d.draw_if((8..=10).contains(&v), i32::MIN),
            error_code: d.draw_if(v >= 13, 0),
        }
    }
}

impl Draw for MetadataResponseBroker {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            node_id: d.draw(),
            host: d.draw(),
            port: d.draw(),
            rack: d.draw_if(v >= 1, None),
        }
    }
}

impl Draw for MetadataResponseTopic {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            error_code: d.draw(),
            name: d.draw_nullable(v >= 12),
            topic_id: d.draw_if(v >= 10, TopicId::ZERO),
            is_internal: d.draw_if(v >= 1, false),
            partitions: d.draw(),
            topic_authorized_operations: d.draw_if(v >= 8, i32::MIN),
        }
    }
}

impl Draw for MetadataResponsePartition {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            error_code: d.draw(),
            partition_index: d.draw(),
            leader_id: d.draw(),
            leader_epoch: d.draw_if(v >= 7, -1),
            replica_nodes: d.draw(),
            isr_nodes: d.draw(),
            offline_replicas: d.draw_if(v >= 5, Vec::new()),
        }
    }
}

impl Draw for ApiVersionsRequest {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            client_software_name: d.draw_if(v >= 3, String::new()),
            client_software_version: d.draw_if(v >= 3, String::new()),
        }
    }
}

impl Draw for ApiVersionsResponse {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            error_code: d.draw(),
            api_keys: d.draw(),
            throttle_time_ms: d.draw_if(v >= 1, 0),
            supported_features: d.draw_if(v >= 3, Vec::new()),
            finalized_features_epoch: d.draw_if(v >= 3, -1),
            finalized_features: d.draw_if(v >= 3, Vec::new()),
            zk_migration_ready: d.draw_if(v >= 3, false),
        }
    }
}

impl Draw for ApiVersion {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            api_key: d.draw(),
            min_version: d.draw(),
            max_version: d.draw(),
        }
    }
}

impl Draw for SupportedFeatureKey {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            name: d.draw(),
            min_version: d.draw(),
            max_version: d.draw(),
        }
    }
}

impl Draw for FinalizedFeatureKey {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            name: d.draw(),
            max_version_level: d.draw(),
            min_version_level: d.draw(),
        }
    }
}

impl Draw for CreateTopicsRequest {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            topics: d.draw(),
            timeout_ms: d.draw(),
            validate_only: d.draw(),
        }
    }
}

impl Draw for CreatableTopic {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            name: d.draw(),
            num_partitions: d.draw(),
            replication_factor: d.draw(),
            assignments: d.draw(),
            configs: d.draw(),
        }
    }
}

impl Draw for CreatableReplicaAssignment {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            partition_index: d.draw(),
            broker_ids: d.draw(),
        }
    }
}

impl Draw for CreatableTopicConfig {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            name: d.draw(),
            value: d.draw(),
        }
    }
}

impl Draw for CreateTopicsResponse {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            throttle_time_ms: d.draw(),
            topics: d.draw(),
        }
    }
}

impl Draw for CreatableTopicResult {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            name: d.draw(),
            topic_id: d.draw_if(v >= 7, TopicId::ZERO),
            error_code: d.draw(),
            error_message: d.draw(),
            num_partitions: d.draw_if(v >= 5, -1),
            replication_factor: d.draw_if(v >= 5, -1),
            configs: d.draw_if(v >= 5, None),
            topic_config_error_code: d.draw_if(v >= 5, 0),
        }
    }
}

impl Draw for CreatableTopicConfigs {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            name: d.draw(),
            value: d.draw(),
            read_only: d.draw(),
            config_source: d.draw(),
            is_sensitive: d.draw(),
        }
    }
}

impl Draw for DeleteTopicsRequest {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            topics: d.draw_if(v >= 6, Vec::new()),
            topic_names: d.draw_if(v <= 5, Vec::new()),
            timeout_ms: d.draw(),
        }
    }
}

impl Draw for DeleteTopicState {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            name: d.draw(),
            topic_id: d.draw(),
        }
    }
}

impl Draw for DeleteTopicsResponse {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            throttle_time_ms: d.draw(),
            responses: d.draw(),
        }
    }
}

impl Draw for DeletableTopicResult {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            name: d.draw_nullable(v >= 6),
            topic_id: d.draw_if(v >= 6, TopicId::ZERO),
            error_code: d.draw(),
            error_message: d.draw_if(v >= 5, None),
        }
    }
}

impl Draw for InitProducerIdRequest {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            transactional_id: d.draw(),
            transaction_timeout_ms: d.draw(),
            producer_id: d.draw_if(v >= 3, -1),
            producer_epoch: d.draw_if(v >= 3, -1),
        }
    }
}

impl Draw for InitProducerIdResponse {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            throttle_time_ms: d.draw(),
            error_code: d.draw(),
            producer_id: d.draw(),
            producer_epoch: d.draw(),
        }
    }
}

impl Draw for OffsetForLeaderEpochRequest {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            replica_id: d.draw_if(v >= 3, -2),
            topics: d.draw(),
        }
    }
}

impl Draw for OffsetForLeaderTopic {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            topic: d.draw(),
            partitions: d.draw(),
        }
    }
}

impl Draw for OffsetForLeaderPartition {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            partition: d.draw(),
            current_leader_epoch: d.draw(),
            leader_epoch: d.draw(),
        }
    }
}

impl Draw for OffsetForLeaderEpochResponse {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            throttle_time_ms: d.draw(),
            topics: d.draw(),
        }
    }
}

impl Draw for OffsetForLeaderTopicResult {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            topic: d.draw(),
            partitions: d.draw(),
        }
    }
}

impl Draw for OffsetForLeaderPartitionResult {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            error_code: d.draw(),
            partition: d.draw(),
            leader_epoch: d.draw(),
            end_offset: d.draw(),
        }
    }
}

impl Draw for DescribeConfigsRequest {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            resources: d.draw(),
            include_synonyms: d.draw(),
            include_documentation: d.draw_if(v >= 3, false),
        }
    }
}

impl Draw for DescribeConfigsResource {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            resource_type: d.draw(),
            resource_name: d.draw(),
            configuration_keys: d.draw(),
        }
    }
}

impl Draw for DescribeConfigsResponse {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            throttle_time_ms: d.draw(),
            results: d.draw(),
        }
    }
}

impl Draw for DescribeConfigsResult {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            error_code: d.draw(),
            error_message: d.draw(),
            resource_type: d.draw(),
            resource_name: d.draw(),
            configs: d.draw(),
        }
    }
}

impl Draw for DescribeConfigsResourceResult {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            name: d.draw(),
            value: d.draw(),
            read_only: d.draw(),
            config_source: d.draw(),
            is_sensitive: d.draw(),
            synonyms: d.draw(),
            config_type: d.draw_if(v >= 3, 0),
            documentation: d.draw_if(v >= 3, None),
        }
    }
}

impl Draw for DescribeConfigsSynonym {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            name: d.draw(),
            value: d.draw(),
            source: d.draw(),
        }
    }
}

impl Draw for DescribeQuorumRequest {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            topics: d.draw(),
        }
    }
}

impl Draw for DescribeQuorumTopic {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            topic_name: d.draw(),
            partitions: d.draw(),
        }
    }
}

impl Draw for DescribeQuorumPartition {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            partition_index: d.draw(),
        }
    }
}

impl Draw for DescribeQuorumResponse {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            error_code: d.draw(),
            error_message: d.draw_if(v >= 2, None),
            topics: d.draw(),
            nodes: d.draw_if(v >= 2, Vec::new()),
        }
    }
}

impl Draw for DescribeQuorumTopicState {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            topic_name: d.draw(),
            partitions: d.draw(),
        }
    }
}

impl Draw for DescribeQuorumPartitionState {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            partition_index: d.draw(),
            error_code: d.draw(),
            error_message: d.draw_if(v >= 2, None),
            leader_id: d.draw(),
            leader_epoch: d.draw(),
            high_watermark: d.draw(),
            current_voters: d.draw(),
            observers: d.draw(),
        }
    }
}

impl Draw for DescribeQuorumReplica {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            replica_id: d.draw(),
            replica_directory_id: d.draw_if(v >= 2, TopicId::ZERO),
            log_end_offset: d.draw(),
            last_fetch_timestamp: d.draw_if(v >= 1, -1),
            last_caught_up_timestamp: d.draw_if(v >= 1, -1),
        }
    }
}

impl Draw for DescribeQuorumNode {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            node_id: d.draw(),
            listeners: d.draw(),
        }
    }
}

impl Draw for DescribeQuorumListener {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            name: d.draw(),
            host: d.draw(),
            port: d.draw(),
        }
    }
}

impl Draw for DescribeClusterRequest {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            include_cluster_authorized_operations: d.draw(),
            endpoint_type: d.draw_if(v >= 1, 1),
        }
    }
}

impl Draw for DescribeClusterResponse {
    fn draw(d: &mut Drawer) -> Self {
        let v = d.version;
        Self {
            throttle_time_ms: d.draw(),
            error_code: d.draw(),
            error_message: d.draw(),
            endpoint_type: d.draw_if(v >= 1, 1),
            cluster_id: d.draw(),
            controller_id: d.draw(),
            brokers: d.draw(),
            cluster_authorized_operations: d.draw(),
        }
    }
}

impl Draw for DescribeClusterBroker {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            broker_id: d.draw(),
            host: d.draw(),
            port: d.draw(),
            rack: d.draw(),
        }
    }
}

impl Draw for AddRaftVoterRequest {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            cluster_id: d.draw(),
            timeout_ms: d.draw(),
            voter_id: d.draw(),
            voter_directory_id: d.draw(),
            listeners: d.draw(),
        }
    }
}

impl Draw for AddRaftVoterListener {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            name: d.draw(),
            host: d.draw(),
            port: d.draw(),
        }
    }
}

impl Draw for AddRaftVoterResponse {
    fn draw(d: &mut Drawer) -> Self {
        Self {
            throttle_time_ms: d.draw(),
            error_code: d.draw(),
            error_message: d.draw(),
        }
    }
}
