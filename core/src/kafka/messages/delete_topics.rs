//! DeleteTopics: the request, the answer, and what they hold.
//!
//! Generated from `schema.txt` by `cargo run -p tidelog-core --example generate_codec`: change that, not this.

use crate::id::TopicId;
use crate::kafka::wire::{Flaw, Reader, Wire, Writer};

/// Topics to delete.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DeleteTopicsRequest {
    /// The topics, by name or id. From version 6.
    pub topics: Vec<DeleteTopicState>,
    /// The topics, by name. Up to version 5.
    pub topic_names: Vec<String>,
    /// How long to wait for it, in milliseconds.
    pub timeout_ms: i32,
}

impl Wire for DeleteTopicsRequest {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        if v >= 6 {
            w.put(&self.topics);
        }
        if v <= 5 {
            w.put(&self.topic_names);
        }
        w.put(&self.timeout_ms);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            topics: r.get_if(v >= 6, Vec::new())?,
            topic_names: r.get_if(v <= 5, Vec::new())?,
            timeout_ms: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// A topic to delete.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DeleteTopicState {
    /// Its name, or null to go by the id.
    pub name: Option<String>,
    /// Its id, or zero to go by the name.
    pub topic_id: TopicId,
}

impl Wire for DeleteTopicState {
    fn write(&self, w: &mut Writer) {
        w.put(&self.name);
        w.put(&self.topic_id);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            name: r.get()?,
            topic_id: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// How the deleting of topics went.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DeleteTopicsResponse {
    /// How long the client is throttled, in milliseconds.
    pub throttle_time_ms: i32,
    /// The results, by topic.
    pub responses: Vec<DeletableTopicResult>,
}

impl Wire for DeleteTopicsResponse {
    fn write(&self, w: &mut Writer) {
        w.put(&self.throttle_time_ms);
        w.put(&self.responses);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            throttle_time_ms: r.get()?,
            responses: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// How the deleting of one topic went.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DeletableTopicResult {
    /// The topic's name, if known.
    pub name: Option<String>,
    /// The topic's id. From version 6.
    pub topic_id: TopicId,
    /// What went wrong, or 0.
    pub error_code: i16,
    /// The error in words. From version 5.
    pub error_message: Option<String>,
}

impl Wire for DeletableTopicResult {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put_nullable(v >= 6, &self.name);
        if v >= 6 {
            w.put(&self.topic_id);
        }
        w.put(&self.error_code);
        if v >= 5 {
            w.put(&self.error_message);
        }
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            name: r.get_nullable(v >= 6)?,
            topic_id: r.get_if(v >= 6, TopicId::ZERO)?,
            error_code: r.get()?,
            error_message: r.get_if(v >= 5, None)?,
        };
        r.no_tags()?;
        Ok(this)
    }
}
