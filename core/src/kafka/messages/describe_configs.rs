//! DescribeConfigs: the request, the answer, and what they hold.
//!
//! Generated from `schema.txt` by `cargo run -p tidelog-core --example generate_codec`: change that, not this.

use crate::kafka::wire::{Flaw, Reader, Wire, Writer};

/// Configurations to describe.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DescribeConfigsRequest {
    /// Whose configurations.
    pub resources: Vec<DescribeConfigsResource>,
    /// Whether to tell all the places a value could come from.
    pub include_synonyms: bool,
    /// Whether to tell what the settings mean. From version 3.
    pub include_documentation: bool,
}

impl Wire for DescribeConfigsRequest {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put(&self.resources);
        w.put(&self.include_synonyms);
        if v >= 3 {
            w.put(&self.include_documentation);
        }
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            resources: r.get()?,
            include_synonyms: r.get()?,
            include_documentation: r.get_if(v >= 3, false)?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// Something with a configuration.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DescribeConfigsResource {
    /// What it is: 2 a topic, 4 a broker.
    pub resource_type: i8,
    /// Its name; a broker's is its id.
    pub resource_name: String,
    /// Which settings; null is all.
    pub configuration_keys: Option<Vec<String>>,
}

impl Wire for DescribeConfigsResource {
    fn write(&self, w: &mut Writer) {
        w.put(&self.resource_type);
        w.put(&self.resource_name);
        w.put(&self.configuration_keys);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            resource_type: r.get()?,
            resource_name: r.get()?,
            configuration_keys: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// Configurations.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DescribeConfigsResponse {
    /// How long the client is throttled, in milliseconds.
    pub throttle_time_ms: i32,
    /// The configurations.
    pub results: Vec<DescribeConfigsResult>,
}

impl Wire for DescribeConfigsResponse {
    fn write(&self, w: &mut Writer) {
        w.put(&self.throttle_time_ms);
        w.put(&self.results);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            throttle_time_ms: r.get()?,
            results: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// The configuration of one thing.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DescribeConfigsResult {
    /// What went wrong, or 0.
    pub error_code: i16,
    /// The error in words.
    pub error_message: Option<String>,
    /// What it is: 2 a topic, 4 a broker.
    pub resource_type: i8,
    /// Its name.
    pub resource_name: String,
    /// Its settings.
    pub configs: Vec<DescribeConfigsResourceResult>,
}

impl Wire for DescribeConfigsResult {
    fn write(&self, w: &mut Writer) {
        w.put(&self.error_code);
        w.put(&self.error_message);
        w.put(&self.resource_type);
        w.put(&self.resource_name);
        w.put(&self.configs);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            error_code: r.get()?,
            error_message: r.get()?,
            resource_type: r.get()?,
            resource_name: r.get()?,
            configs: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// One setting.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribeConfigsResourceResult {
    /// Its name.
    pub name: String,
    /// Its value; null if it is a secret or there is none.
    pub value: Option<String>,
    /// Whether it can not be changed.
    pub read_only: bool,
    /// Where the value comes from: 1 the topic, 4 the broker's file, 5 the default.
    pub config_source: i8,
    /// Whether the value is a secret.
    pub is_sensitive: bool,
    /// All the places the value could come from, the strongest first.
    pub synonyms: Vec<DescribeConfigsSynonym>,
    /// The type of the value: 1 boolean, 2 string, 3 int, 4 short, 5 long, 6 double, 7 list, 8 class, 9 password. From version 3.
    pub config_type: i8,
    /// What the setting means. From version 3.
    pub documentation: Option<String>,
}

impl Default for DescribeConfigsResourceResult {
    fn default() -> Self {
        Self {
            name: String::new(),
            value: None,
            read_only: false,
            config_source: -1,
            is_sensitive: false,
            synonyms: Vec::new(),
            config_type: 0,
            documentation: None,
        }
    }
}

impl Wire for DescribeConfigsResourceResult {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put(&self.name);
        w.put(&self.value);
        w.put(&self.read_only);
        w.put(&self.config_source);
        w.put(&self.is_sensitive);
        w.put(&self.synonyms);
        if v >= 3 {
            w.put(&self.config_type);
        }
        if v >= 3 {
            w.put(&self.documentation);
        }
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            name: r.get()?,
            value: r.get()?,
            read_only: r.get()?,
            config_source: r.get()?,
            is_sensitive: r.get()?,
            synonyms: r.get()?,
            config_type: r.get_if(v >= 3, 0)?,
            documentation: r.get_if(v >= 3, None)?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// A place that a value could come from.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DescribeConfigsSynonym {
    /// The name of the setting there.
    pub name: String,
    /// The value there.
    pub value: Option<String>,
    /// What place it is, as in `config_source`.
    pub source: i8,
}

impl Wire for DescribeConfigsSynonym {
    fn write(&self, w: &mut Writer) {
        w.put(&self.name);
        w.put(&self.value);
        w.put(&self.source);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            name: r.get()?,
            value: r.get()?,
            source: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}
