//! AddRaftVoter: the request, the answer, and what they hold.
//!
//! Generated from `schema.txt` by `cargo run -p tidelog-core --example generate_codec`: change that, not this.

use crate::id::TopicId;
use crate::kafka::wire::{Flaw, Reader, Wire, Writer};

/// A broker on this data directory shall be a member (KIP-853).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct AddRaftVoterRequest {
    /// The cluster it is meant for, if the client says so.
    pub cluster_id: Option<String>,
    /// How long to wait, in milliseconds.
    pub timeout_ms: i32,
    /// The broker.
    pub voter_id: i32,
    /// Its data directory.
    pub voter_directory_id: TopicId,
    /// Where it listens for its peers.
    pub listeners: Vec<AddRaftVoterListener>,
}

impl Wire for AddRaftVoterRequest {
    fn write(&self, w: &mut Writer) {
        w.put(&self.cluster_id);
        w.put(&self.timeout_ms);
        w.put(&self.voter_id);
        w.put(&self.voter_directory_id);
        w.put(&self.listeners);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            cluster_id: r.get()?,
            timeout_ms: r.get()?,
            voter_id: r.get()?,
            voter_directory_id: r.get()?,
            listeners: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// Where a broker listens for its peers.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct AddRaftVoterListener {
    /// The name of the listener.
    pub name: String,
    /// Its host.
    pub host: String,
    /// Its port, an unsigned number.
    pub port: i16,
}

impl Wire for AddRaftVoterListener {
    fn write(&self, w: &mut Writer) {
        w.put(&self.name);
        w.put(&self.host);
        w.put(&self.port);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            name: r.get()?,
            host: r.get()?,
            port: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// Whether it is a member.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct AddRaftVoterResponse {
    /// How long the client is throttled, in milliseconds.
    pub throttle_time_ms: i32,
    /// What went wrong, or 0.
    pub error_code: i16,
    /// The error in words.
    pub error_message: Option<String>,
}

impl Wire for AddRaftVoterResponse {
    fn write(&self, w: &mut Writer) {
        w.put(&self.throttle_time_ms);
        w.put(&self.error_code);
        w.put(&self.error_message);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            throttle_time_ms: r.get()?,
            error_code: r.get()?,
            error_message: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}
