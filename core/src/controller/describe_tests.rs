//! What clients learn of configs.

use super::*;
use crate::controller::command::{Command, CreateTopic, Origin, RegisterBroker};
use crate::id::{ClusterId, DirectoryId, Index};

fn image() -> Image {
    let mut image = Image::new(ClusterId([3; 16]));
    let register = RegisterBroker {
        node: NodeId(1),
        host: "h".to_owned(),
        port: 9092,
        rack: None,
        directory: DirectoryId([1; 16]),
        boot: 1,
    };
    image.apply(Index(1), Command::RegisterBroker(register)).expect("registered");
    let create = CreateTopic {
        origin: Origin { node: NodeId(1), boot: 1, sequence: 1 },
        name: "a".to_owned(),
        partitions: 1,
        replication_factor: 1,
        assignment: Vec::new(),
        configs: [("segment.bytes".to_owned(), "1048576".to_owned())].into(),
        defaults: Defaults::default(),
        heirs: true,
    };
    image.apply(Index(2), Command::CreateTopic(create)).expect("created");
    image
}

fn ask(resource_type: i8, name: &str, keys: Option<&[&str]>, everything: bool) -> DescribeConfigsResult {
    let settings = BrokerSettings { node: NodeId(1), auto_create_topics: true, defaults: Defaults::default() };
    let resource = DescribeConfigsResource {
        resource_type,
        resource_name: name.to_owned(),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).to_owned()).collect()),
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: everything,
        include_documentation: everything,
    };
    let mut response = describe_configs(&image(), &settings, &request);
    assert_eq!(response.results.len(), 1);
    let result = response.results.remove(0);
    assert_eq!((result.resource_type, result.resource_name.as_str()), (resource_type, name));
    result
}

#[test]
fn no_list_or_an_empty_one_is_all_configs() {
    for keys in [None, Some([].as_slice())] {
        let result = ask(TOPIC, "a", keys, false);
        assert_eq!((result.error_code, result.error_message), (0, None));
        assert_eq!(result.configs.len(), configs::DEFINITIONS.len());
    }
    let result = ask(TOPIC, "a", Some(&["retention.ms", "nonsense"]), false);
    assert_eq!(result.configs.len(), 1);
    assert_eq!(result.configs[0].value.as_deref(), Some("-1"), "nothing is deleted yet");
}

#[test]
fn an_override_is_told_with_the_default_behind_it() {
    let config = ask(TOPIC, "a", Some(&["segment.bytes"]), true).configs.remove(0);
    assert_eq!(config.value.as_deref(), Some("1048576"));
    assert_eq!((config.config_source, config.config_type, config.read_only, config.is_sensitive), (1, 3, false, false));
    assert!(config.documentation.is_some());
    let synonyms: Vec<(&str, Option<&str>, i8)> = config
        .synonyms
        .iter()
        .map(|synonym| (synonym.name.as_str(), synonym.value.as_deref(), synonym.source))
        .collect();
    let expected = [("segment.bytes", Some("1048576"), 1), ("log.segment.bytes", Some("1073741824"), 5)];
    assert_eq!(synonyms, expected);
}

#[test]
fn a_default_is_told_as_such_and_nothing_unasked() {
    let config = ask(TOPIC, "a", Some(&["max.message.bytes"]), false).configs.remove(0);
    assert_eq!((config.config_source, config.value.as_deref()), (5, Some("1048588")));
    assert!(config.synonyms.is_empty() && config.documentation.is_none());
}

#[test]
fn a_broker_tells_of_itself_only() {
    let result = ask(BROKER, "1", None, true);
    assert_eq!(result.error_code, 0);
    assert!(result.configs.windows(2).all(|pair| pair[0].name < pair[1].name), "each once, in order");
    assert!(result.configs.iter().all(|config| config.read_only));
    let value = |name: &str| {
        let config = result.configs.iter().find(|config| config.name == name).expect("listed");
        config.value.as_deref()
    };
    assert_eq!(value("node.id"), Some("1"));
    assert_eq!(value("advertised.listeners"), Some("PLAINTEXT://h:9092"));
    assert_eq!(value("broker.rack"), None);
    assert_eq!(value("log.retention.ms"), Some("-1"));
    assert_eq!(value("message.max.bytes"), Some("1048588"));
    assert!(ask(BROKER, "", None, true).configs.is_empty(), "nothing was set for all brokers");
}

#[test]
fn refusals_are_in_kafkas_words() {
    let refused = |resource_type, name| {
        let result = ask(resource_type, name, None, true);
        assert!(result.configs.is_empty());
        let error = ErrorCode::from_code(result.error_code).expect("an error");
        (error, result.error_message.expect("a text"))
    };
    let unknown = "This server does not host this topic-partition.".to_owned();
    assert_eq!(refused(TOPIC, "nope"), (ErrorCode::UnknownTopicOrPartition, unknown));
    let empty = "Topic name is invalid: the empty string is not allowed".to_owned();
    assert_eq!(refused(TOPIC, ""), (ErrorCode::InvalidTopicException, empty));
    let text = "Broker id must be an integer, but it is: abc".to_owned();
    assert_eq!(refused(BROKER, "abc"), (ErrorCode::InvalidRequest, text));
    let text = "Unexpected broker id, expected 1 or empty string, but received 7".to_owned();
    assert_eq!(refused(BROKER, "7"), (ErrorCode::InvalidRequest, text));
    assert_eq!(refused(32, "g").0, ErrorCode::InvalidRequest);
}
