//! `tidelog topic`: creates, lists, describes and deletes topics.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use serde_json::json;
use tidelog_core::client::{ConfigEntry, Failure, Operation, Outcome, Resource, Topic};
use tidelog_core::kafka::ErrorCode;

use super::client::{ClientArgs, find_topic, print_json, sentence};
use super::stop::Stop;
use crate::client::Driver;

/// What is done about topics.
#[derive(Clone, Debug, Args)]
pub struct TopicArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: TopicCommand,
}

/// What is done about topics.
#[derive(Clone, Debug, Subcommand)]
pub enum TopicCommand {
    /// Create a topic
    Create {
        /// Its name
        name: String,
        /// How many partitions it has; the broker's default if not given
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
        partitions: Option<i32>,
        /// How many brokers hold each partition; the broker's default if not given
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
        replication_factor: Option<i16>,
        /// A setting of the topic; may be given several times
        #[arg(long = "config", value_name = "KEY=VALUE", value_parser = setting)]
        configs: Vec<(String, String)>,
        /// The cluster.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// List the topics
    List {
        /// The cluster.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Describe a topic: its partitions, leaders and settings
    Describe {
        /// Its name
        name: String,
        /// The cluster.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Delete a topic and all its records
    Delete {
        /// Its name
        name: String,
        /// The cluster.
        #[command(flatten)]
        client: ClientArgs,
    },
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("give KEY=VALUE, for example retention.ms=60000")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// Does it.
pub(super) fn run(args: TopicArgs) -> Result<(), Stop> {
    match args.command {
        TopicCommand::Create { name, partitions, replication_factor, configs, client } => {
            client.run(client.config(), async |mut driver| {
                let operation = Operation::CreateTopic {
                    name: name.clone(),
                    partitions: partitions.unwrap_or(-1),
                    replication_factor: replication_factor.unwrap_or(-1),
                    configs,
                };
                let doing = format!("create topic {name}");
                let outcome = driver.run(operation).await.map_err(|failure| sentence(&doing, &failure))?;
                let Outcome::Created { id } = outcome else { unreachable!("that is what CreateTopic gives") };
                say(client.json, &json!({"topic": name, "id": id.to_string()}), &format!("created topic {name}"))
            })
        }
        TopicCommand::List { client } => {
            client.run(client.config(), async |mut driver| list(&mut driver, client.json).await)
        }
        TopicCommand::Describe { name, client } => {
            client.run(client.config(), async |mut driver| describe(&mut driver, &name, client.json).await)
        }
        TopicCommand::Delete { name, client } => client.run(client.config(), async |mut driver| {
            let doing = format!("delete topic {name}");
            let operation = Operation::DeleteTopic { name: name.clone() };
            driver.run(operation).await.map_err(|failure| sentence(&doing, &failure))?;
            say(client.json, &json!({"topic": name, "deleted": true}), &format!("deleted topic {name}"))
        }),
    }
}

fn say(json: bool, value: &serde_json::Value, text: &str) -> Result<(), Stop> {
    let mut out = io::stdout().lock();
    if json {
        print_json(&mut out, value)?
    } else {
        writeln!(out, "{text}")?
    }
    Ok(out.flush()?)
}

async fn list(driver: &mut Driver, json: bool) -> Result<(), Stop> {
    let outcome = driver.run(Operation::Describe { topics: None }).await;
    let outcome = outcome.map_err(|failure| sentence("list the topics", &failure))?;
    let Outcome::Cluster { topics, .. } = outcome else { unreachable!("that is what Describe gives") };
    let mut out = io::BufWriter::new(io::stdout().lock());
    for topic in topics {
        if json {
            let value = json!({"topic": topic.name, "id": topic.id.to_string(), "partitions": topic.partitions.len()});
            print_json(&mut out, &value)?;
        } else {
            writeln!(out, "{}", topic.name)?;
        }
    }
    Ok(out.flush()?)
}

async fn describe(driver: &mut Driver, name: &str, json: bool) -> Result<(), Stop> {
    let topic = find_topic(driver, name).await?;
    let operation = Operation::DescribeConfigs { resource: Resource::Topic(name.to_owned()) };
    let entries = match driver.run(operation).await {
        Ok(Outcome::Configs { entries }) => entries,
        Ok(_) => unreachable!("that is what DescribeConfigs gives"),
        // A broker without this question still has the topic.
        Err(Failure::Definite { error: ErrorCode::UnsupportedVersion, .. }) => Vec::new(),
        Err(failure) => return Err(sentence(&format!("read the settings of topic {name}"), &failure)),
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    if json {
        describe_json(&mut out, &topic, &entries)?
    } else {
        describe_text(&mut out, &topic, &entries)?
    }
    Ok(out.flush()?)
}

fn describe_json(out: &mut impl Write, topic: &Topic, entries: &[ConfigEntry]) -> io::Result<()> {
    let partitions = topic.partitions.iter().map(|partition| {
        json!({
            "partition": partition.partition,
            "leader": partition.leader,
            "leader_epoch": partition.leader_epoch,
            "replicas": partition.replicas,
            "in_sync": partition.in_sync,
        })
    });
    let configs =
        entries.iter().map(|entry| json!({"name": entry.name, "value": entry.value, "is_default": entry.is_default}));
    let value = json!({
        "topic": topic.name,
        "id": topic.id.to_string(),
        "partitions": partitions.collect::<Vec<_>>(),
        "configs": configs.collect::<Vec<_>>(),
    });
    print_json(out, &value)
}

fn describe_text(out: &mut impl Write, topic: &Topic, entries: &[ConfigEntry]) -> io::Result<()> {
    let list = |ids: &[i32]| ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    writeln!(out, "topic {}  id {}  partitions {}", topic.name, topic.id, topic.partitions.len())?;
    for partition in &topic.partitions {
        let leader = partition.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
        writeln!(
            out,
            "partition {}  leader {leader}  epoch {}  replicas {}  in sync {}",
            partition.partition,
            partition.leader_epoch,
            list(&partition.replicas),
            list(&partition.in_sync),
        )?;
    }
    for entry in entries {
        let value = entry.value.as_deref().unwrap_or("(not told)");
        let source = if entry.is_default { "  (default)" } else { "" };
        writeln!(out, "config {}={value}{source}", entry.name)?;
    }
    Ok(())
}
