//! Which APIs there are, in which versions, and the request and the answer of each.
//!
//! Generated from `schema.txt` by `cargo run -p tidelog-core --example generate_codec`: change that, not this.

use std::ops::RangeInclusive;

use crate::kafka::messages::*;
use crate::kafka::wire::{Flaw, Reader, Writer};

/// An API that we know, under Kafka's key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(i16)]
pub enum ApiKey {
    /// Produce (0).
    Produce = 0,
    /// Fetch (1).
    Fetch = 1,
    /// ListOffsets (2).
    ListOffsets = 2,
    /// Metadata (3).
    Metadata = 3,
    /// ApiVersions (18).
    ApiVersions = 18,
    /// CreateTopics (19).
    CreateTopics = 19,
    /// DeleteTopics (20).
    DeleteTopics = 20,
    /// InitProducerId (22).
    InitProducerId = 22,
    /// OffsetForLeaderEpoch (23).
    OffsetForLeaderEpoch = 23,
    /// DescribeConfigs (32).
    DescribeConfigs = 32,
    /// DescribeQuorum (55).
    DescribeQuorum = 55,
    /// DescribeCluster (60).
    DescribeCluster = 60,
    /// AddRaftVoter (80).
    AddRaftVoter = 80,
}

/// What we advertise, in key order: API, lowest and highest version.
pub const SUPPORTED: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 0, 11),
    (ApiKey::Fetch, 4, 16),
    (ApiKey::ListOffsets, 1, 9),
    (ApiKey::Metadata, 0, 13),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 6),
    (ApiKey::InitProducerId, 0, 5),
    (ApiKey::OffsetForLeaderEpoch, 2, 4),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::DescribeQuorum, 0, 2),
    (ApiKey::DescribeCluster, 0, 1),
    (ApiKey::AddRaftVoter, 0, 0),
];

impl ApiKey {
    /// The API with this key, if we know it.
    pub const fn from_code(code: i16) -> Option<Self> {
        match code {
            0 => Some(Self::Produce),
            1 => Some(Self::Fetch),
            2 => Some(Self::ListOffsets),
            3 => Some(Self::Metadata),
            18 => Some(Self::ApiVersions),
            19 => Some(Self::CreateTopics),
            20 => Some(Self::DeleteTopics),
            22 => Some(Self::InitProducerId),
            23 => Some(Self::OffsetForLeaderEpoch),
            32 => Some(Self::DescribeConfigs),
            55 => Some(Self::DescribeQuorum),
            60 => Some(Self::DescribeCluster),
            80 => Some(Self::AddRaftVoter),
            _ => None,
        }
    }

    /// The versions that are served: those advertised, but for Produce below 3 (KAFKA-18659).
    pub const fn served(self) -> RangeInclusive<i16> {
        match self {
            Self::Produce => 3..=11,
            Self::Fetch => 4..=16,
            Self::ListOffsets => 1..=9,
            Self::Metadata => 0..=13,
            Self::ApiVersions => 0..=4,
            Self::CreateTopics => 2..=7,
            Self::DeleteTopics => 1..=6,
            Self::InitProducerId => 0..=5,
            Self::OffsetForLeaderEpoch => 2..=4,
            Self::DescribeConfigs => 1..=4,
            Self::DescribeQuorum => 0..=2,
            Self::DescribeCluster => 0..=1,
            Self::AddRaftVoter => 0..=0,
        }
    }

    /// The first version with compact lengths and tagged fields (KIP-482).
    pub const fn flexible_from(self) -> i16 {
        match self {
            Self::Produce => 9,
            Self::Fetch => 12,
            Self::ListOffsets => 6,
            Self::Metadata => 9,
            Self::ApiVersions => 3,
            Self::CreateTopics => 5,
            Self::DeleteTopics => 4,
            Self::InitProducerId => 2,
            Self::OffsetForLeaderEpoch => 4,
            Self::DescribeConfigs => 4,
            Self::DescribeQuorum => 0,
            Self::DescribeCluster => 0,
            Self::AddRaftVoter => 0,
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum RequestBody {
    /// Produce (0).
    Produce(ProduceRequest),
    /// Fetch (1).
    Fetch(FetchRequest),
    /// ListOffsets (2).
    ListOffsets(ListOffsetsRequest),
    /// Metadata (3).
    Metadata(MetadataRequest),
    /// ApiVersions (18).
    ApiVersions(ApiVersionsRequest),
    /// CreateTopics (19).
    CreateTopics(CreateTopicsRequest),
    /// DeleteTopics (20).
    DeleteTopics(DeleteTopicsRequest),
    /// InitProducerId (22).
    InitProducerId(InitProducerIdRequest),
    /// OffsetForLeaderEpoch (23).
    OffsetForLeaderEpoch(OffsetForLeaderEpochRequest),
    /// DescribeConfigs (32).
    DescribeConfigs(DescribeConfigsRequest),
    /// DescribeQuorum (55).
    DescribeQuorum(DescribeQuorumRequest),
    /// DescribeCluster (60).
    DescribeCluster(DescribeClusterRequest),
    /// AddRaftVoter (80).
    AddRaftVoter(AddRaftVoterRequest),
    /// ApiVersions at a version we lack: answered in version 0 with error 35 (KIP-511).
    ApiVersionsUnsupported,
}

impl RequestBody {
    /// The API it belongs to.
    pub const fn api_key(&self) -> ApiKey {
        match self {
            Self::Produce(_) => ApiKey::Produce,
            Self::Fetch(_) => ApiKey::Fetch,
            Self::ListOffsets(_) => ApiKey::ListOffsets,
            Self::Metadata(_) => ApiKey::Metadata,
            Self::ApiVersions(_) => ApiKey::ApiVersions,
            Self::CreateTopics(_) => ApiKey::CreateTopics,
            Self::DeleteTopics(_) => ApiKey::DeleteTopics,
            Self::InitProducerId(_) => ApiKey::InitProducerId,
            Self::OffsetForLeaderEpoch(_) => ApiKey::OffsetForLeaderEpoch,
            Self::DescribeConfigs(_) => ApiKey::DescribeConfigs,
            Self::DescribeQuorum(_) => ApiKey::DescribeQuorum,
            Self::DescribeCluster(_) => ApiKey::DescribeCluster,
            Self::AddRaftVoter(_) => ApiKey::AddRaftVoter,
            Self::ApiVersionsUnsupported => ApiKey::ApiVersions,
        }
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        match self {
            Self::Produce(body) => w.put(body),
            Self::Fetch(body) => w.put(body),
            Self::ListOffsets(body) => w.put(body),
            Self::Metadata(body) => w.put(body),
            Self::ApiVersions(body) => w.put(body),
            Self::CreateTopics(body) => w.put(body),
            Self::DeleteTopics(body) => w.put(body),
            Self::InitProducerId(body) => w.put(body),
            Self::OffsetForLeaderEpoch(body) => w.put(body),
            Self::DescribeConfigs(body) => w.put(body),
            Self::DescribeQuorum(body) => w.put(body),
            Self::DescribeCluster(body) => w.put(body),
            Self::AddRaftVoter(body) => w.put(body),
            Self::ApiVersionsUnsupported => {}
        }
    }

    pub(crate) fn read(api_key: ApiKey, r: &mut Reader) -> Result<Self, Flaw> {
        match api_key {
            ApiKey::Produce => r.get().map(Self::Produce),
            ApiKey::Fetch => r.get().map(Self::Fetch),
            ApiKey::ListOffsets => r.get().map(Self::ListOffsets),
            ApiKey::Metadata => r.get().map(Self::Metadata),
            ApiKey::ApiVersions => r.get().map(Self::ApiVersions),
            ApiKey::CreateTopics => r.get().map(Self::CreateTopics),
            ApiKey::DeleteTopics => r.get().map(Self::DeleteTopics),
            ApiKey::InitProducerId => r.get().map(Self::InitProducerId),
            ApiKey::OffsetForLeaderEpoch => r.get().map(Self::OffsetForLeaderEpoch),
            ApiKey::DescribeConfigs => r.get().map(Self::DescribeConfigs),
            ApiKey::DescribeQuorum => r.get().map(Self::DescribeQuorum),
            ApiKey::DescribeCluster => r.get().map(Self::DescribeCluster),
            ApiKey::AddRaftVoter => r.get().map(Self::AddRaftVoter),
        }
    }
}

impl From<ProduceRequest> for RequestBody {
    fn from(body: ProduceRequest) -> Self {
        Self::Produce(body)
    }
}

impl From<FetchRequest> for RequestBody {
    fn from(body: FetchRequest) -> Self {
        Self::Fetch(body)
    }
}

impl From<ListOffsetsRequest> for RequestBody {
    fn from(body: ListOffsetsRequest) -> Self {
        Self::ListOffsets(body)
    }
}

impl From<MetadataRequest> for RequestBody {
    fn from(body: MetadataRequest) -> Self {
        Self::Metadata(body)
    }
}

impl From<ApiVersionsRequest> for RequestBody {
    fn from(body: ApiVersionsRequest) -> Self {
        Self::ApiVersions(body)
    }
}

impl From<CreateTopicsRequest> for RequestBody {
    fn from(body: CreateTopicsRequest) -> Self {
        Self::CreateTopics(body)
    }
}

impl From<DeleteTopicsRequest> for RequestBody {
    fn from(body: DeleteTopicsRequest) -> Self {
        Self::DeleteTopics(body)
    }
}

impl From<InitProducerIdRequest> for RequestBody {
    fn from(body: InitProducerIdRequest) -> Self {
        Self::InitProducerId(body)
    }
}

impl From<OffsetForLeaderEpochRequest> for RequestBody {
    fn from(body: OffsetForLeaderEpochRequest) -> Self {
        Self::OffsetForLeaderEpoch(body)
    }
}

impl From<DescribeConfigsRequest> for RequestBody {
    fn from(body: DescribeConfigsRequest) -> Self {
        Self::DescribeConfigs(body)
    }
}

impl From<DescribeQuorumRequest> for RequestBody {
    fn from(body: DescribeQuorumRequest) -> Self {
        Self::DescribeQuorum(body)
    }
}

impl From<DescribeClusterRequest> for RequestBody {
    fn from(body: DescribeClusterRequest) -> Self {
        Self::DescribeCluster(body)
    }
}

impl From<AddRaftVoterRequest> for RequestBody {
    fn from(body: AddRaftVoterRequest) -> Self {
        Self::AddRaftVoter(body)
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum ResponseBody {
    /// Produce (0).
    Produce(ProduceResponse),
    /// Fetch (1).
    Fetch(FetchResponse),
    /// ListOffsets (2).
    ListOffsets(ListOffsetsResponse),
    /// Metadata (3).
    Metadata(MetadataResponse),
    /// ApiVersions (18).
    ApiVersions(ApiVersionsResponse),
    /// CreateTopics (19).
    CreateTopics(CreateTopicsResponse),
    /// DeleteTopics (20).
    DeleteTopics(DeleteTopicsResponse),
    /// InitProducerId (22).
    InitProducerId(InitProducerIdResponse),
    /// OffsetForLeaderEpoch (23).
    OffsetForLeaderEpoch(OffsetForLeaderEpochResponse),
    /// DescribeConfigs (32).
    DescribeConfigs(DescribeConfigsResponse),
    /// DescribeQuorum (55).
    DescribeQuorum(DescribeQuorumResponse),
    /// DescribeCluster (60).
    DescribeCluster(DescribeClusterResponse),
    /// AddRaftVoter (80).
    AddRaftVoter(AddRaftVoterResponse),
}

impl ResponseBody {
    /// The API it belongs to.
    pub const fn api_key(&self) -> ApiKey {
        match self {
            Self::Produce(_) => ApiKey::Produce,
            Self::Fetch(_) => ApiKey::Fetch,
            Self::ListOffsets(_) => ApiKey::ListOffsets,
            Self::Metadata(_) => ApiKey::Metadata,
            Self::ApiVersions(_) => ApiKey::ApiVersions,
            Self::CreateTopics(_) => ApiKey::CreateTopics,
            Self::DeleteTopics(_) => ApiKey::DeleteTopics,
            Self::InitProducerId(_) => ApiKey::InitProducerId,
            Self::OffsetForLeaderEpoch(_) => ApiKey::OffsetForLeaderEpoch,
            Self::DescribeConfigs(_) => ApiKey::DescribeConfigs,
            Self::DescribeQuorum(_) => ApiKey::DescribeQuorum,
            Self::DescribeCluster(_) => ApiKey::DescribeCluster,
            Self::AddRaftVoter(_) => ApiKey::AddRaftVoter,
        }
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        match self {
            Self::Produce(body) => w.put(body),
            Self::Fetch(body) => w.put(body),
            Self::ListOffsets(body) => w.put(body),
            Self::Metadata(body) => w.put(body),
            Self::ApiVersions(body) => w.put(body),
            Self::CreateTopics(body) => w.put(body),
            Self::DeleteTopics(body) => w.put(body),
            Self::InitProducerId(body) => w.put(body),
            Self::OffsetForLeaderEpoch(body) => w.put(body),
            Self::DescribeConfigs(body) => w.put(body),
            Self::DescribeQuorum(body) => w.put(body),
            Self::DescribeCluster(body) => w.put(body),
            Self::AddRaftVoter(body) => w.put(body),
        }
    }

    pub(crate) fn read(api_key: ApiKey, r: &mut Reader) -> Result<Self, Flaw> {
        match api_key {
            ApiKey::Produce => r.get().map(Self::Produce),
            ApiKey::Fetch => r.get().map(Self::Fetch),
            ApiKey::ListOffsets => r.get().map(Self::ListOffsets),
            ApiKey::Metadata => r.get().map(Self::Metadata),
            ApiKey::ApiVersions => r.get().map(Self::ApiVersions),
            ApiKey::CreateTopics => r.get().map(Self::CreateTopics),
            ApiKey::DeleteTopics => r.get().map(Self::DeleteTopics),
            ApiKey::InitProducerId => r.get().map(Self::InitProducerId),
            ApiKey::OffsetForLeaderEpoch => r.get().map(Self::OffsetForLeaderEpoch),
            ApiKey::DescribeConfigs => r.get().map(Self::DescribeConfigs),
            ApiKey::DescribeQuorum => r.get().map(Self::DescribeQuorum),
            ApiKey::DescribeCluster => r.get().map(Self::DescribeCluster),
            ApiKey::AddRaftVoter => r.get().map(Self::AddRaftVoter),
        }
    }
}

impl From<ProduceResponse> for ResponseBody {
    fn from(body: ProduceResponse) -> Self {
        Self::Produce(body)
    }
}

impl From<FetchResponse> for ResponseBody {
    fn from(body: FetchResponse) -> Self {
        Self::Fetch(body)
    }
}

impl From<ListOffsetsResponse> for ResponseBody {
    fn from(body: ListOffsetsResponse) -> Self {
        Self::ListOffsets(body)
    }
}

impl From<MetadataResponse> for ResponseBody {
    fn from(body: MetadataResponse) -> Self {
        Self::Metadata(body)
    }
}

impl From<ApiVersionsResponse> for ResponseBody {
    fn from(body: ApiVersionsResponse) -> Self {
        Self::ApiVersions(body)
    }
}

impl From<CreateTopicsResponse> for ResponseBody {
    fn from(body: CreateTopicsResponse) -> Self {
        Self::CreateTopics(body)
    }
}

impl From<DeleteTopicsResponse> for ResponseBody {
    fn from(body: DeleteTopicsResponse) -> Self {
        Self::DeleteTopics(body)
    }
}

impl From<InitProducerIdResponse> for ResponseBody {
    fn from(body: InitProducerIdResponse) -> Self {
        Self::InitProducerId(body)
    }
}

impl From<OffsetForLeaderEpochResponse> for ResponseBody {
    fn from(body: OffsetForLeaderEpochResponse) -> Self {
        Self::OffsetForLeaderEpoch(body)
    }
}

impl From<DescribeConfigsResponse> for ResponseBody {
    fn from(body: DescribeConfigsResponse) -> Self {
        Self::DescribeConfigs(body)
    }
}

impl From<DescribeQuorumResponse> for ResponseBody {
    fn from(body: DescribeQuorumResponse) -> Self {
        Self::DescribeQuorum(body)
    }
}

impl From<DescribeClusterResponse> for ResponseBody {
    fn from(body: DescribeClusterResponse) -> Self {
        Self::DescribeCluster(body)
    }
}

impl From<AddRaftVoterResponse> for ResponseBody {
    fn from(body: AddRaftVoterResponse) -> Self {
        Self::AddRaftVoter(body)
    }
}
