//! DescribeConfigs, answered from an image and the table of topic configs.
//!
//! Promises that what is reported is what happens: nothing is listed that this broker does not have. Brokers report only
//! what is asked of them themselves, as clients ask each broker for its own. Does not know how a broker was configured: the
//! few settings it needs are given.

use super::command::Defaults;
use super::configs::{self, ConfigType, Definition};
use super::image::{BrokerInfo, Image, Rejection};
use super::{apply, names};
use crate::id::NodeId;
use crate::kafka::errors::ErrorCode;
use crate::kafka::messages::{
    CreatableTopicConfigs, DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};

/// Where a value comes from (`ConfigSource`).
const FROM_TOPIC: i8 = 1;
const FROM_BROKER_FILE: i8 = 4;
const FROM_DEFAULT: i8 = 5;

/// What kind of thing has configs (`ConfigResource.Type`).
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// What a broker reports of itself beyond what the image says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerSettings {
    /// Its id.
    pub node: NodeId,
    /// Whether it creates topics that clients ask Metadata for.
    pub auto_create_topics: bool,
    /// What new topics get when the client does not say.
    pub defaults: Defaults,
}

/// Answers DescribeConfigs.
pub fn describe_configs(
    image: &Image,
    settings: &BrokerSettings,
    request: &DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let result = |resource: &DescribeConfigsResource| {
        let (error, message, mut configs) = match describe(image, settings, resource) {
            Ok(configs) => (ErrorCode::None, None, configs),
            Err(rejection) => (rejection.error, Some(rejection.message), Vec::new()),
        };
        if let Some(keys) = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty()) {
            configs.retain(|config| keys.contains(&config.name));
        }
        for config in &mut configs {
            if !request.include_synonyms {
                config.synonyms.clear();
            }
            if !request.include_documentation {
                config.documentation = None;
            }
        }
        DescribeConfigsResult {
            error_code: error.code(),
            error_message: message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            configs,
        }
    };
    DescribeConfigsResponse { throttle_time_ms: 0, results: request.resources.iter().map(result).collect() }
}

fn describe(
    image: &Image,
    settings: &BrokerSettings,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, Rejection> {
    let name = &resource.resource_name;
    match resource.resource_type {
        TOPIC => {
            names::validate(name)
                .map_err(|error| Rejection::new(ErrorCode::InvalidTopicException, error.to_string()))?;
            let topic = image.topic_named(name).ok_or_else(apply::unknown_topic_name)?;
            let entry = |config| topic_entry(config, topic.configs.get(config.name));
            Ok(configs::DEFINITIONS.iter().map(entry).collect())
        }
        // The defaults that were set for all brokers while they run: there are none.
        BROKER if name.is_empty() => Ok(Vec::new()),
        BROKER => {
            let invalid = |message: String| Rejection::new(ErrorCode::InvalidRequest, message);
            let id: i32 =
                name.parse().map_err(|_| invalid(format!("Broker id must be an integer, but it is: {name}")))?;
            let node = settings.node;
            let broker =
                image.brokers().get(&node).filter(|_| i64::from(id) == i64::from(node.0)).ok_or_else(|| {
                    invalid(format!("Unexpected broker id, expected {node} or empty string, but received {name}"))
                })?;
            Ok(broker_entries(settings, broker))
        }
        other => Err(Rejection::new(ErrorCode::InvalidRequest, format!("Unsupported resource type: {other}"))),
    }
}

fn topic_entry(config: &Definition, set: Option<&String>) -> DescribeConfigsResourceResult {
    let value = set.map_or(config.default, String::as_str);
    let synonym = |name: &str, value: &str, source| DescribeConfigsSynonym {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        source,
    };
    let own = set.map(|value| synonym(config.name, value, FROM_TOPIC));
    let default = config.broker_name.map(|name| synonym(name, config.default, FROM_DEFAULT));
    DescribeConfigsResourceResult {
        name: config.name.to_owned(),
        value: Some(value.to_owned()),
        read_only: false,
        config_source: if set.is_some() { FROM_TOPIC } else { FROM_DEFAULT },
        is_sensitive: false,
        synonyms: own.into_iter().chain(default).collect(),
        config_type: config.kind.code(),
        documentation: Some(config.doc.to_owned()),
    }
}

fn broker_entries(settings: &BrokerSettings, broker: &BrokerInfo) -> Vec<DescribeConfigsResourceResult> {
    let entry = |name: &str, value: Option<String>, kind: ConfigType, source: i8, doc: &str| {
        let synonym =
            value.clone().map(|value| DescribeConfigsSynonym { name: name.to_owned(), value: Some(value), source });
        DescribeConfigsResourceResult {
            name: name.to_owned(),
            value,
            // Nothing of a broker can be changed while it runs.
            read_only: true,
            config_source: source,
            is_sensitive: false,
            synonyms: synonym.into_iter().collect(),
            config_type: kind.code(),
            documentation: Some(doc.to_owned()),
        }
    };
    let node = settings.node.to_string();
    let listener = format!("PLAINTEXT://{}:{}", broker.host, broker.port);
    let (partitions, replicas) = (settings.defaults.partitions, settings.defaults.replication_factor);
    let own = [
        (
            "advertised.listeners",
            Some(listener),
            ConfigType::List,
            FROM_BROKER_FILE,
            "Where clients reach this broker.",
        ),
        (
            "auto.create.topics.enable",
            Some(settings.auto_create_topics.to_string()),
            ConfigType::Boolean,
            FROM_BROKER_FILE,
            "Whether topics that clients ask for are created.",
        ),
        ("broker.id", Some(node.clone()), ConfigType::Int, FROM_BROKER_FILE, "The id of this broker."),
        ("broker.rack", broker.rack.clone(), ConfigType::String, FROM_BROKER_FILE, "The rack this broker is in."),
        (
            "default.replication.factor",
            Some(replicas.to_string()),
            ConfigType::Int,
            FROM_BROKER_FILE,
            "How many replicas a new topic gets if the client does not say; fewer if there are fewer brokers.",
        ),
        (
            "delete.topic.enable",
            Some("true".to_owned()),
            ConfigType::Boolean,
            FROM_DEFAULT,
            "Whether topics can be deleted: always.",
        ),
        ("node.id", Some(node), ConfigType::Int, FROM_BROKER_FILE, "The id of this broker."),
        (
            "num.partitions",
            Some(partitions.to_string()),
            ConfigType::Int,
            FROM_BROKER_FILE,
            "How many partitions a new topic gets if the client does not say.",
        ),
    ];
    let defaults = configs::DEFINITIONS.iter().filter_map(|config| {
        Some(entry(config.broker_name?, Some(config.default.to_owned()), config.kind, FROM_DEFAULT, config.doc))
    });
    let own = own.into_iter().map(|(name, value, kind, source, doc)| entry(name, value, kind, source, doc));
    let mut entries: Vec<DescribeConfigsResourceResult> = own.chain(defaults).collect();
    entries.sort_by(|left, right| left.name.cmp(&right.name));
    entries
}

/// All configs of a topic with these overrides, as CreateTopics answers them.
pub(super) fn created_configs(overrides: &std::collections::BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
    let entry = |config: &Definition| {
        let set = overrides.get(config.name);
        CreatableTopicConfigs {
            name: config.name.to_owned(),
            value: Some(set.map_or(config.default, String::as_str).to_owned()),
            read_only: false,
            config_source: if set.is_some() { FROM_TOPIC } else { FROM_DEFAULT },
            is_sensitive: false,
        }
    };
    configs::DEFINITIONS.iter().map(entry).collect()
}

#[cfg(test)]
#[path = "describe_tests.rs"]
mod tests;
