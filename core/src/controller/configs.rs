//! The configs a topic can have: Kafka's names and types, and what each of them does here.
//!
//! Every topic config of Kafka 4.x is known. Some take effect ([`Standing::Effective`]). The others describe machinery that
//! is not here yet, and are accepted only with the value that says what happens anyway: a client that asks for something
//! else is told so, rather than left to find out. What DescribeConfigs reports is therefore true.
//!
//! Does not know configs of brokers, groups or clients.

use std::collections::BTreeMap;

use super::CONFIG_VALUE_BYTES_MAX;

/// The type of a config's value, as Kafka names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean,
    /// Text.
    String,
    /// 32 bits.
    Int,
    /// 64 bits.
    Long,
    /// A fraction.
    Double,
    /// Texts with commas between them.
    List,
}

impl ConfigType {
    /// The number DescribeConfigs answers with (KIP-569).
    pub const fn code(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
        }
    }
}

/// Which values Kafka allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    /// `true` or `false`, in any case.
    Boolean,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A 32-bit number, this or more.
    Int(i32),
    /// A 32-bit number from the first to the second.
    IntBetween(i32, i32),
    /// A 64-bit number, this or more.
    Long(i64),
    /// A decimal fraction from 0 to 1.
    Fraction,
    /// A list of these.
    ListOf(&'static [&'static str]),
    /// A list of anything.
    List,
}

/// What a config does here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It takes effect.
    Effective,
    /// Whatever it asks for is given anyway, so any value is accepted.
    Given,
    /// It has no effect yet; only its default, which says what happens anyway, is accepted.
    Fixed,
}

/// A topic config.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Definition {
    /// Its name.
    pub name: &'static str,
    /// The type of its value.
    pub kind: ConfigType,
    rule: Rule,
    /// Its value where a topic does not say otherwise.
    pub default: &'static str,
    /// What it does here.
    pub standing: Standing,
    /// The broker config that Kafka takes the default from; DescribeConfigs lists it as a synonym.
    pub broker_name: Option<&'static str>,
    /// One line for people.
    pub doc: &'static str,
}

/// The default of `max.message.bytes`.
pub const MAX_MESSAGE_BYTES_DEFAULT: i32 = 1_048_588;
/// The default of `segment.bytes`.
pub const SEGMENT_BYTES_DEFAULT: i32 = 1_073_741_824;
/// The default of `message.timestamp.after.max.ms`: an hour (KIP-937, KIP-1030).
pub const TIMESTAMP_AFTER_MAX_MS_DEFAULT: i64 = 3_600_000;
/// The least `segment.bytes` may be (KIP-1030).
pub const SEGMENT_BYTES_MIN: i32 = 1_048_576;

const TIMESTAMP_TYPES: &[&str] = &["CreateTime", "LogAppendTime"];
const COMPRESSION_TYPES: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
const FOREVER: &str = "9223372036854775807";

macro_rules! definitions {
    ($($name:literal, $kind:ident, $rule:expr, $default:expr, $standing:ident, $broker:expr, $doc:literal;)*) => {
        /// Every topic config, ascending by name.
        pub const DEFINITIONS: &[Definition] = &[$(Definition {
            name: $name,
            kind: ConfigType::$kind,
            rule: $rule,
            default: $default,
            standing: Standing::$standing,
            broker_name: $broker,
            doc: $doc,
        }),*];
    };
}

definitions! {
    "cleanup.policy", List, Rule::ListOf(&["compact", "delete"]), "delete", Fixed, Some("log.cleanup.policy"),
        "What happens to old segments. Compaction is not here yet, and deletion is governed by retention.ms and retention.bytes.";
    "compression.gzip.level", Int, Rule::IntBetween(-1, 9), "-1", Fixed, Some("compression.gzip.level"),
        "The gzip level of a broker that recompresses; batches are kept as the producer compressed them.";
    "compression.lz4.level", Int, Rule::IntBetween(1, 17), "9", Fixed, Some("compression.lz4.level"),
        "The lz4 level of a broker that recompresses; batches are kept as the producer compressed them.";
    "compression.type", String, Rule::OneOf(COMPRESSION_TYPES), "producer", Fixed, Some("compression.type"),
        "How batches are compressed on disk: always as the producer compressed them.";
    "compression.zstd.level", Int, Rule::IntBetween(-131_072, 22), "3", Fixed, Some("compression.zstd.level"),
        "The zstd level of a broker that recompresses; batches are kept as the producer compressed them.";
    "delete.retention.ms", Long, Rule::Long(0), "86400000", Fixed, Some("log.cleaner.delete.retention.ms"),
        "How long compaction keeps tombstones, in milliseconds. Compaction is not here yet.";
    "file.delete.delay.ms", Long, Rule::Long(0), "60000", Fixed, Some("log.segment.delete.delay.ms"),
        "How long a file stays after it was given up, in milliseconds. Not here yet.";
    "flush.messages", Long, Rule::Long(1), FOREVER, Given, Some("log.flush.interval.messages"),
        "After how many records the log is made durable: here always before they are acknowledged.";
    "flush.ms", Long, Rule::Long(0), FOREVER, Given, None,
        "After how many milliseconds the log is made durable: here always before records are acknowledged.";
    "follower.replication.throttled.replicas", List, Rule::List, "", Fixed, None,
        "Followers whose replication is throttled. Not here yet.";
    "index.interval.bytes", Int, Rule::Int(0), "4096", Fixed, Some("log.index.interval.bytes"),
        "How many bytes lie between entries of the offset index. Not adjustable yet.";
    "leader.replication.throttled.replicas", List, Rule::List, "", Fixed, None,
        "Leaders whose replication is throttled. Not here yet.";
    "local.retention.bytes", Long, Rule::Long(-2), "-2", Fixed, Some("log.local.retention.bytes"),
        "How many bytes tiered storage keeps on local disk. Tiered storage is not here.";
    "local.retention.ms", Long, Rule::Long(-2), "-2", Fixed, Some("log.local.retention.ms"),
        "How long tiered storage keeps records on local disk, in milliseconds. Tiered storage is not here.";
    "max.compaction.lag.ms", Long, Rule::Long(1), FOREVER, Fixed, Some("log.cleaner.max.compaction.lag.ms"),
        "How long a record may stay uncompacted, in milliseconds. Compaction is not here yet.";
    "max.message.bytes", Int, Rule::Int(0), "1048588", Effective, Some("message.max.bytes"),
        "The largest record batch a producer may send, in bytes, as compressed by it.";
    "message.timestamp.after.max.ms", Long, Rule::Long(0), "3600000", Effective, Some("log.message.timestamp.after.max.ms"),
        "How far a record's timestamp may be ahead of the leader's clock, in milliseconds. Not of records that carry the leader's own.";
    "message.timestamp.before.max.ms", Long, Rule::Long(0), FOREVER, Effective, Some("log.message.timestamp.before.max.ms"),
        "How far a record's timestamp may be behind the leader's clock, in milliseconds. Not of records that carry the leader's own.";
    "message.timestamp.type", String, Rule::OneOf(TIMESTAMP_TYPES), "CreateTime", Effective, Some("log.message.timestamp.type"),
        "Whose time a record carries: CreateTime is the producer's, LogAppendTime the leader's.";
    "min.cleanable.dirty.ratio", Double, Rule::Fraction, "0.5", Fixed, Some("log.cleaner.min.cleanable.ratio"),
        "The part of a log that must be dirty before it is compacted. Compaction is not here yet.";
    "min.compaction.lag.ms", Long, Rule::Long(0), "0", Fixed, Some("log.cleaner.min.compaction.lag.ms"),
        "How long a record stays uncompacted at least, in milliseconds. Compaction is not here yet.";
    "min.insync.replicas", Int, Rule::Int(1), "1", Effective, Some("min.insync.replicas"),
        "How many replicas must hold a batch before acks=all is answered; never fewer than a majority of them.";
    "preallocate", Boolean, Rule::Boolean, "true", Fixed, Some("log.preallocate"),
        "Whether space for a segment is set aside before it is written: always.";
    "remote.log.copy.disable", Boolean, Rule::Boolean, "false", Fixed, None,
        "Whether copying to tiered storage is off. Tiered storage is not here.";
    "remote.log.delete.on.disable", Boolean, Rule::Boolean, "false", Fixed, None,
        "Whether data in tiered storage goes when that is disabled. Tiered storage is not here.";
    "remote.storage.enable", Boolean, Rule::Boolean, "false", Fixed, None,
        "Whether tiered storage is on. Tiered storage is not here.";
    "retention.bytes", Long, Rule::Long(i64::MIN), "-1", Fixed, Some("log.retention.bytes"),
        "How many bytes of a partition are kept; -1 keeps all of them, as nothing is deleted yet.";
    "retention.ms", Long, Rule::Long(-1), "-1", Fixed, Some("log.retention.ms"),
        "How long records are kept, in milliseconds; -1 keeps them for ever, as nothing is deleted yet.";
    "segment.bytes", Int, Rule::Int(SEGMENT_BYTES_MIN), "1073741824", Effective, Some("log.segment.bytes"),
        "How many bytes a segment file may hold before the next one is begun.";
    "segment.index.bytes", Int, Rule::Int(4), "10485760", Fixed, Some("log.index.size.max.bytes"),
        "How large the index of a segment may be. Not adjustable yet.";
    "segment.jitter.ms", Long, Rule::Long(0), "0", Fixed, None,
        "How much the age at which segments end varies, in milliseconds. Segments do not end by age yet.";
    "segment.ms", Long, Rule::Long(1), FOREVER, Fixed, None,
        "The age at which a segment ends, in milliseconds. Segments do not end by age yet.";
    "unclean.leader.election.enable", Boolean, Rule::Boolean, "false", Fixed, Some("unclean.leader.election.enable"),
        "Whether a replica that misses acknowledged records may lead: never.";
}

/// Why a config is refused. Its text is Kafka's, or says that tidelog lacks something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigError {
    /// No topic config has this name.
    Unknown(String),
    /// The value is not of the type, or not allowed.
    Invalid {
        /// The config.
        name: &'static str,
        /// What was asked for.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// Kafka would do this; tidelog can not yet.
    NoEffect {
        /// The config.
        name: &'static str,
        /// What was asked for.
        value: String,
        /// The only value that is accepted.
        only: &'static str,
    },
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "Unknown topic config name: {name}"),
            Self::Invalid { name, value, why } => {
                write!(f, "Invalid value {value} for configuration {name}: {why}")
            }
            Self::NoEffect { name, value, only } => {
                write!(f, "{name}={value} would have no effect yet: this broker only accepts {name}={only}")
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// The config with this name.
pub fn definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.binary_search_by(|definition| definition.name.cmp(name)).ok().map(|at| &DEFINITIONS[at])
}

/// Whether a topic may have `name` set to `value`.
pub fn validate(name: &str, value: &str) -> Result<(), ConfigError> {
    // Both may be as long as a request: do not send megabytes back.
    let short = |text: &str| text.chars().take(CONFIG_VALUE_BYTES_MAX).collect::<String>();
    let definition = definition(name).ok_or_else(|| ConfigError::Unknown(short(name)))?;
    let invalid = |why: String| ConfigError::Invalid { name: definition.name, value: short(value), why };
    if value.len() > CONFIG_VALUE_BYTES_MAX {
        return Err(invalid(format!("Value must be no longer than {CONFIG_VALUE_BYTES_MAX} bytes")));
    }
    check(definition.rule, value).map_err(invalid)?;
    match definition.standing {
        Standing::Effective | Standing::Given => Ok(()),
        Standing::Fixed if means_the_same(definition.rule, value, definition.default) => Ok(()),
        Standing::Fixed => {
            Err(ConfigError::NoEffect { name: definition.name, value: short(value), only: definition.default })
        }
    }
}

fn at_least<T: PartialOrd + std::fmt::Display>(value: T, least: T) -> Result<(), String> {
    if value < least { Err(format!("Value must be at least {least}")) } else { Ok(()) }
}

fn one_of(value: &str, allowed: &[&str]) -> Result<(), String> {
    if allowed.contains(&value) { Ok(()) } else { Err(format!("String must be one of: {}", allowed.join(", "))) }
}

fn check(rule: Rule, value: &str) -> Result<(), String> {
    let value = value.trim();
    let int = || value.parse::<i32>().map_err(|_| "Not a number of type INT".to_owned());
    match rule {
        Rule::Boolean if is_true(value) || value.eq_ignore_ascii_case("false") => Ok(()),
        Rule::Boolean => Err("Expected value to be either true or false".to_owned()),
        Rule::OneOf(allowed) => one_of(value, allowed),
        Rule::Int(least) => at_least(int()?, least),
        Rule::IntBetween(least, most) => {
            let value = int()?;
            at_least(value, least)?;
            if value > most { Err(format!("Value must be no more than {most}")) } else { Ok(()) }
        }
        Rule::Long(least) => at_least(value.parse::<i64>().map_err(|_| "Not a number of type LONG".to_owned())?, least),
        Rule::Fraction => fraction(value).map(|_| ()),
        Rule::ListOf(allowed) => items(value).into_iter().try_for_each(|item| one_of(item, allowed)),
        Rule::List => Ok(()),
    }
}

fn is_true(value: &str) -> bool {
    value.eq_ignore_ascii_case("true")
}

/// A decimal fraction between 0 and 1, without a sign or exponent: its whole part, and its decimals without trailing zeros.
fn fraction(value: &str) -> Result<(bool, &str), String> {
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || (whole.is_empty() && decimals.is_empty()) {
        return Err("Not a number of type DOUBLE".to_owned());
    }
    let decimals = decimals.trim_end_matches('0');
    match whole.trim_start_matches('0') {
        "" => Ok((false, decimals)),
        "1" if decimals.is_empty() => Ok((true, decimals)),
        _ => Err("Value must be no more than 1".to_owned()),
    }
}

fn items(value: &str) -> Vec<&str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
}

/// Whether two allowed values of a config say the same.
fn means_the_same(rule: Rule, left: &str, right: &str) -> bool {
    let (left, right) = (left.trim(), right.trim());
    match rule {
        Rule::Boolean => is_true(left) == is_true(right),
        Rule::OneOf(_) => left == right,
        Rule::Int(_) | Rule::IntBetween(..) | Rule::Long(_) => {
            matches!((left.parse::<i64>(), right.parse::<i64>()), (Ok(left), Ok(right)) if left == right)
        }
        Rule::Fraction => matches!((fraction(left), fraction(right)), (Ok(left), Ok(right)) if left == right),
        Rule::ListOf(_) | Rule::List => {
            let sorted = |value| {
                let mut items = items(value);
                items.sort_unstable();
                items.dedup();
                items
            };
            sorted(left) == sorted(right)
        }
    }
}

/// Whose time a topic's records carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The leader's.
    LogAppendTime,
}

/// The configs that take effect, as partitions use them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicConfig {
    /// The largest record batch accepted, in bytes.
    pub max_message_bytes: i32,
    /// Whose time records carry.
    pub timestamp_type: TimestampType,
    /// How many replicas must hold a batch before `acks=all` is answered.
    pub min_insync_replicas: i32,
    /// How many bytes a segment may hold.
    pub segment_bytes: i32,
    /// How far a record's timestamp may be behind the leader's clock, in milliseconds.
    pub timestamp_before_max_ms: i64,
    /// How far a record's timestamp may be ahead of the leader's clock, in milliseconds.
    pub timestamp_after_max_ms: i64,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            max_message_bytes: MAX_MESSAGE_BYTES_DEFAULT,
            timestamp_type: TimestampType::CreateTime,
            min_insync_replicas: 1,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: TIMESTAMP_AFTER_MAX_MS_DEFAULT,
        }
    }
}

impl TopicConfig {
    /// The configs of a topic with these overrides.
    ///
    /// # Panics
    /// If one of them was not [`validate`]d: no image holds such a topic.
    pub fn from_overrides(overrides: &BTreeMap<String, String>) -> Self {
        let value = |name: &str| overrides.get(name).map(|value| value.trim());
        let int = |name: &str, default: i32| {
            value(name).map_or(default, |value| value.parse().expect("an override was validated"))
        };
        let long = |name: &str, default: i64| {
            value(name).map_or(default, |value| value.parse().expect("an override was validated"))
        };
        let default = Self::default();
        Self {
            max_message_bytes: int("max.message.bytes", default.max_message_bytes),
            timestamp_type: match value("message.timestamp.type") {
                Some("LogAppendTime") => TimestampType::LogAppendTime,
                Some(_) | None => TimestampType::CreateTime,
            },
            min_insync_replicas: int("min.insync.replicas", default.min_insync_replicas),
            segment_bytes: int("segment.bytes", default.segment_bytes),
            timestamp_before_max_ms: long("message.timestamp.before.max.ms", default.timestamp_before_max_ms),
            timestamp_after_max_ms: long("message.timestamp.after.max.ms", default.timestamp_after_max_ms),
        }
    }
}

#[cfg(test)]
#[path = "configs_tests.rs"]
mod tests;
