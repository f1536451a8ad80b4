//! ApiVersions: the request, the answer, and what they hold.
//!
//! Generated from `schema.txt` by `cargo run -p tidelog-core --example generate_codec`: change that, not this.

use crate::kafka::wire::{Flaw, Reader, Wire, Writer};

/// Which APIs does the broker serve?
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ApiVersionsRequest {
    /// The client's name. From version 3.
    pub client_software_name: String,
    /// The client's version. From version 3.
    pub client_software_version: String,
}

impl Wire for ApiVersionsRequest {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        if v >= 3 {
            w.put(&self.client_software_name);
        }
        if v >= 3 {
            w.put(&self.client_software_version);
        }
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            client_software_name: r.get_if(v >= 3, String::new())?,
            client_software_version: r.get_if(v >= 3, String::new())?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// The APIs that the broker serves.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiVersionsResponse {
    /// What went wrong, or 0.
    pub error_code: i16,
    /// The APIs.
    pub api_keys: Vec<ApiVersion>,
    /// How long the client is throttled, in milliseconds. From version 1.
    pub throttle_time_ms: i32,
    /// The features the broker could serve (KIP-584). From version 3.
    pub supported_features: Vec<SupportedFeatureKey>,
    /// The epoch of the finalized features, or -1. From version 3.
    pub finalized_features_epoch: i64,
    /// The features that the cluster has agreed on. From version 3.
    pub finalized_features: Vec<FinalizedFeatureKey>,
    /// Whether a migration from ZooKeeper can go on; never, here. From version 3.
    pub zk_migration_ready: bool,
}

impl Default for ApiVersionsResponse {
    fn default() -> Self {
        Self {
            error_code: 0,
            api_keys: Vec::new(),
            throttle_time_ms: 0,
            supported_features: Vec::new(),
            finalized_features_epoch: -1,
            finalized_features: Vec::new(),
            zk_migration_ready: false,
        }
    }
}

impl Wire for ApiVersionsResponse {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put(&self.error_code);
        w.put(&self.api_keys);
        if v >= 1 {
            w.put(&self.throttle_time_ms);
        }
        w.tags(|tags| {
            if v >= 3 && !self.supported_features.is_empty() {
                tags.put(0, &self.supported_features);
            }
            if v >= 3 && self.finalized_features_epoch != -1 {
                tags.put(1, &self.finalized_features_epoch);
            }
            if v >= 3 && !self.finalized_features.is_empty() {
                tags.put(2, &self.finalized_features);
            }
            if v >= 3 && self.zk_migration_ready {
                tags.put(3, &self.zk_migration_ready);
            }
        });
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let mut this = Self {
            error_code: r.get()?,
            api_keys: r.get()?,
            throttle_time_ms: r.get_if(v >= 1, 0)?,
            supported_features: Vec::new(),
            finalized_features_epoch: -1,
            finalized_features: Vec::new(),
            zk_migration_ready: false,
        };
        r.tags(|tag, r| {
            match tag {
                0 if v >= 3 => this.supported_features = r.get()?,
                1 if v >= 3 => this.finalized_features_epoch = r.get()?,
                2 if v >= 3 => this.finalized_features = r.get()?,
                3 if v >= 3 => this.zk_migration_ready = r.get()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(this)
    }
}

/// The versions served of one API.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ApiVersion {
    /// The API.
    pub api_key: i16,
    /// The lowest version.
    pub min_version: i16,
    /// The highest version.
    pub max_version: i16,
}

impl Wire for ApiVersion {
    fn write(&self, w: &mut Writer) {
        w.put(&self.api_key);
        w.put(&self.min_version);
        w.put(&self.max_version);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            api_key: r.get()?,
            min_version: r.get()?,
            max_version: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// A feature the broker could serve.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct SupportedFeatureKey {
    /// Its name.
    pub name: String,
    /// The lowest level.
    pub min_version: i16,
    /// The highest level.
    pub max_version: i16,
}

impl Wire for SupportedFeatureKey {
    fn write(&self, w: &mut Writer) {
        w.put(&self.name);
        w.put(&self.min_version);
        w.put(&self.max_version);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            name: r.get()?,
            min_version: r.get()?,
            max_version: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// A feature that the cluster has agreed on.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct FinalizedFeatureKey {
    /// Its name.
    pub name: String,
    /// The highest level.
    pub max_version_level: i16,
    /// The lowest level.
    pub min_version_level: i16,
}

impl Wire for FinalizedFeatureKey {
    fn write(&self, w: &mut Writer) {
        w.put(&self.name);
        w.put(&self.max_version_level);
        w.put(&self.min_version_level);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            name: r.get()?,
            max_version_level: r.get()?,
            min_version_level: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}
