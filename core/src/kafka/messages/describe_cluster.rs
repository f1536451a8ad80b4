//! DescribeCluster: the request, the answer, and what they hold.
//!
//! Generated from `schema.txt` by `cargo run -p tidelog-core --example generate_codec`: change that, not this.

use crate::kafka::wire::{Flaw, Reader, Wire, Writer};

/// Which brokers are there?
#[derive(Clone, Debug, PartialEq)]
pub struct DescribeClusterRequest {
    /// Whether to tell what the client may do to the cluster.
    pub include_cluster_authorized_operations: bool,
    /// Which endpoints to tell: 1 the brokers', 2 the controllers'. From version 1.
    pub endpoint_type: i8,
}

impl Default for DescribeClusterRequest {
    fn default() -> Self {
        Self {
            include_cluster_authorized_operations: false,
            endpoint_type: 1,
        }
    }
}

impl Wire for DescribeClusterRequest {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put(&self.include_cluster_authorized_operations);
        if v >= 1 {
            w.put(&self.endpoint_type);
        }
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            include_cluster_authorized_operations: r.get()?,
            endpoint_type: r.get_if(v >= 1, 1)?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// The brokers.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribeClusterResponse {
    /// How long the client is throttled, in milliseconds.
    pub throttle_time_ms: i32,
    /// What went wrong, or 0.
    pub error_code: i16,
    /// The error in words.
    pub error_message: Option<String>,
    /// Which endpoints these are: 1 the brokers', 2 the controllers'. From version 1.
    pub endpoint_type: i8,
    /// The cluster.
    pub cluster_id: String,
    /// The controller, one of the brokers, or -1.
    pub controller_id: i32,
    /// The brokers.
    pub brokers: Vec<DescribeClusterBroker>,
    /// What the client may do to the cluster, as bits; the least number if not asked.
    pub cluster_authorized_operations: i32,
}

impl Default for DescribeClusterResponse {
    fn default() -> Self {
        Self {
            throttle_time_ms: 0,
            error_code: 0,
            error_message: None,
            endpoint_type: 1,
            cluster_id: String::new(),
            controller_id: -1,
            brokers: Vec::new(),
            cluster_authorized_operations: i32::MIN,
        }
    }
}

impl Wire for DescribeClusterResponse {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put(&self.throttle_time_ms);
        w.put(&self.error_code);
        w.put(&self.error_message);
        if v >= 1 {
            w.put(&self.endpoint_type);
        }
        w.put(&self.cluster_id);
        w.put(&self.controller_id);
        w.put(&self.brokers);
        w.put(&self.cluster_authorized_operations);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            throttle_time_ms: r.get()?,
            error_code: r.get()?,
            error_message: r.get()?,
            endpoint_type: r.get_if(v >= 1, 1)?,
            cluster_id: r.get()?,
            controller_id: r.get()?,
            brokers: r.get()?,
            cluster_authorized_operations: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// A broker.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DescribeClusterBroker {
    /// Its id.
    pub broker_id: i32,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: i32,
    /// Its rack.
    pub rack: Option<String>,
}

impl Wire for DescribeClusterBroker {
    fn write(&self, w: &mut Writer) {
        w.put(&self.broker_id);
        w.put(&self.host);
        w.put(&self.port);
        w.put(&self.rack);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            broker_id: r.get()?,
            host: r.get()?,
            port: r.get()?,
            rack: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}
