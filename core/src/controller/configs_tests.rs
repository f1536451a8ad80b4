//! The table of topic configs is sound, and refusals are in Kafka's words.

use super::*;

fn text(name: &str, value: &str) -> String {
    validate(name, value).expect_err("refused").to_string()
}

#[test]
fn the_table_is_sorted_and_every_default_is_accepted() {
    assert_eq!(DEFINITIONS.len(), 33, "the topic configs of Kafka 4.3");
    assert!(DEFINITIONS.windows(2).all(|pair| pair[0].name < pair[1].name));
    for definition in DEFINITIONS {
        assert_eq!(validate(definition.name, definition.default), Ok(()), "{}", definition.name);
        assert!(!definition.doc.is_empty() && !definition.doc.contains('\n'));
        assert_eq!(super::definition(definition.name), Some(definition));
    }
}

#[test]
fn typed_defaults_are_those_of_the_table() {
    let table: BTreeMap<String, String> =
        DEFINITIONS.iter().map(|definition| (definition.name.to_owned(), definition.default.to_owned())).collect();
    assert_eq!(TopicConfig::from_overrides(&table), TopicConfig::default());
}

#[test]
fn overrides_reach_partitions() {
    let overrides = [
        ("max.message.bytes", " 7 "),
        ("message.timestamp.type", "LogAppendTime"),
        ("min.insync.replicas", "+2"),
        ("segment.bytes", "1048576"),
        ("message.timestamp.before.max.ms", "0"),
        ("message.timestamp.after.max.ms", "9223372036854775807"),
    ];
    let overrides: BTreeMap<String, String> = overrides
        .into_iter()
        .map(|(name, value)| {
            assert_eq!(validate(name, value), Ok(()));
            (name.to_owned(), value.to_owned())
        })
        .collect();
    let expected = TopicConfig {
        max_message_bytes: 7,
        timestamp_type: TimestampType::LogAppendTime,
        min_insync_replicas: 2,
        segment_bytes: 1_048_576,
        timestamp_before_max_ms: 0,
        timestamp_after_max_ms: i64::MAX,
    };
    assert_eq!(TopicConfig::from_overrides(&overrides), expected);
}

#[test]
fn refusals_are_in_kafkas_words() {
    // Each was asked of Apache Kafka 4.3.1.
    let refused = [
        ("segment.bytes", "1048575", "Value must be at least 1048576"),
        ("segment.bytes", "abc", "Not a number of type INT"),
        ("segment.bytes", "99999999999", "Not a number of type INT"),
        ("min.insync.replicas", "0", "Value must be at least 1"),
        ("max.message.bytes", "-1", "Value must be at least 0"),
        ("max.message.bytes", "", "Not a number of type INT"),
        ("cleanup.policy", "foo", "String must be one of: compact, delete"),
        ("compression.type", "foo", "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer"),
        ("message.timestamp.type", "createtime", "String must be one of: CreateTime, LogAppendTime"),
        ("retention.ms", "-2", "Value must be at least -1"),
        ("retention.ms", "x", "Not a number of type LONG"),
        ("preallocate", "yes", "Expected value to be either true or false"),
        ("min.cleanable.dirty.ratio", "x", "Not a number of type DOUBLE"),
        ("segment.ms", "0", "Value must be at least 1"),
        ("index.interval.bytes", "-1", "Value must be at least 0"),
        ("max.compaction.lag.ms", "0", "Value must be at least 1"),
        ("message.timestamp.after.max.ms", "-1", "Value must be at least 0"),
        ("message.timestamp.before.max.ms", "1h", "Not a number of type LONG"),
    ];
    for (name, value, why) in refused {
        assert_eq!(text(name, value), format!("Invalid value {value} for configuration {name}: {why}"));
    }
    for name in ["foo", "", "message.format.version", "message.downconversion.enable"] {
        assert_eq!(text(name, "1"), format!("Unknown topic config name: {name}"));
    }
}

#[test]
fn what_is_not_here_yet_is_refused_unless_it_asks_for_what_happens() {
    let refused = [
        ("retention.ms", "604800000"),
        ("retention.bytes", "0"),
        ("cleanup.policy", "compact"),
        ("cleanup.policy", "compact,delete"),
        ("cleanup.policy", ""),
        ("compression.type", "zstd"),
        ("min.cleanable.dirty.ratio", "0.51"),
        ("min.cleanable.dirty.ratio", "1"),
        ("unclean.leader.election.enable", "true"),
        ("leader.replication.throttled.replicas", "*"),
    ];
    for (name, value) in refused {
        let only = definition(name).expect("known").default;
        let expected = format!("{name}={value} would have no effect yet: this broker only accepts {name}={only}");
        assert_eq!(text(name, value), expected);
    }
    let accepted = [
        ("retention.ms", "-01"),
        ("cleanup.policy", " delete , delete"),
        ("min.cleanable.dirty.ratio", "0.500"),
        ("min.cleanable.dirty.ratio", ".5"),
        ("unclean.leader.election.enable", "FALSE"),
        ("flush.messages", "1"),
        ("flush.ms", "1000"),
    ];
    for (name, value) in accepted {
        assert_eq!(validate(name, value), Ok(()), "{name}={value}");
    }
}

#[test]
fn long_names_and_values_are_neither_kept_nor_echoed_whole() {
    let long = "7".repeat(1_000_000);
    assert!(text("follower.replication.throttled.replicas", &long).len() < 2_000);
    assert!(text(&long, "1").len() < 2_000);
    let padded = format!("{}7", "0".repeat(CONFIG_VALUE_BYTES_MAX));
    assert!(validate("max.message.bytes", &padded).is_err());
}
