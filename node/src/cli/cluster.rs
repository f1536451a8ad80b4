//! `tidelog cluster`: who is in the cluster, and the admission of brokers whose disks were empty.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use serde_json::json;
use tidelog_core::client::{Operation, Outcome, QuorumMember};
use tidelog_core::id::NodeId;

use super::client::{ClientArgs, Stop, print_json, sentence};
use super::driver::Driver;

/// What is done about the cluster.
#[derive(Clone, Debug, Args)]
pub struct ClusterArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ClusterCommand,
}

/// What is done about the cluster.
#[derive(Clone, Debug, Subcommand)]
pub enum ClusterCommand {
    /// Show the brokers, who votes in the controller, and who asks to be admitted
    Status {
        /// The cluster.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Admit a broker that came back with an empty disk, or a new one: it gets new replica ids, and copies what it shall hold
    Admit {
        /// The number of the broker, as `tidelog cluster status` shows it
        #[arg(value_parser = clap::value_parser!(u32).range(1..=0x7fff_ffff))]
        node: u32,
        /// The cluster.
        #[command(flatten)]
        client: ClientArgs,
    },
}

/// Does it.
pub(super) fn run(args: ClusterArgs) -> Result<(), String> {
    match args.command {
        ClusterCommand::Status { client } => {
            client.run(client.config(), async |mut driver| status(&mut driver, client.json).await)
        }
        ClusterCommand::Admit { node, client } => {
            client.run(client.config(), async |mut driver| admit(&mut driver, NodeId(node), client.json).await)
        }
    }
}

/// What is known of the cluster.
struct Known {
    id: Option<String>,
    brokers: Vec<(i32, String)>,
    leader: Option<i32>,
    epoch: i32,
    committed: i64,
    members: Vec<QuorumMember>,
}

/// A broker that asks to be admitted has no log the controller knows of.
fn asks(member: &QuorumMember) -> bool {
    !member.voter && member.end.is_none()
}

async fn learn(driver: &mut Driver) -> Result<Known, Stop> {
    let outcome = driver.run(Operation::Describe { topics: Some(Vec::new()) }).await;
    let outcome = outcome.map_err(|failure| sentence("describe the cluster", &failure))?;
    let Outcome::Cluster { cluster_id, brokers, .. } = outcome else { unreachable!("that is what Describe gives") };
    let outcome = driver.run(Operation::DescribeQuorum).await;
    let outcome = outcome.map_err(|failure| sentence("describe the controller", &failure))?;
    let Outcome::Quorum { leader, epoch, committed, members } = outcome else {
        unreachable!("that is what DescribeQuorum gives")
    };
    let brokers = brokers.into_iter().map(|broker| (broker.id, format!("{}:{}", broker.host, broker.port))).collect();
    Ok(Known { id: cluster_id, brokers, leader, epoch, committed, members })
}

async fn status(driver: &mut Driver, json: bool) -> Result<(), Stop> {
    let Known { id, brokers, leader, epoch, committed, members } = learn(driver).await?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    if json {
        let members = members.iter().map(|member| {
            json!({
                "node": member.node,
                "directory": member.directory.to_string(),
                "voter": member.voter,
                "asks": asks(member),
                "end": member.end,
            })
        });
        let brokers = brokers.iter().map(|(node, address)| json!({"node": node, "address": address}));
        let value = json!({
            "cluster": id,
            "leader": leader,
            "epoch": epoch,
            "committed": committed,
            "brokers": brokers.collect::<Vec<_>>(),
            "controller": members.collect::<Vec<_>>(),
        });
        print_json(&mut out, &value)?;
        return Ok(out.flush()?);
    }
    writeln!(out, "cluster {}", id.as_deref().unwrap_or("(no id)"))?;
    for (node, address) in &brokers {
        writeln!(out, "broker {node}  {address}")?;
    }
    let leads = leader.map_or_else(|| "nobody leads".to_owned(), |leader| format!("broker {leader} leads"));
    writeln!(out, "controller: {leads}, epoch {epoch}, committed {committed}")?;
    for member in &members {
        let what = match (member.voter, asks(member)) {
            (true, _) => "votes",
            (false, false) => "listens",
            (false, true) => "asks to be admitted",
        };
        let behind = member.end.map_or_else(String::new, |end| match committed - end {
            ..=0 => "  up to date".to_owned(),
            behind => format!("  {behind} behind"),
        });
        writeln!(out, "  broker {} on directory {}  {what}{behind}", member.node, member.directory)?;
    }
    for member in members.iter().filter(|member| asks(member)) {
        writeln!(out, "to admit it: tidelog cluster admit {}", member.node)?;
    }
    Ok(out.flush()?)
}

async fn admit(driver: &mut Driver, node: NodeId, json: bool) -> Result<(), Stop> {
    let known = learn(driver).await?;
    let applicant = known.members.iter().find(|member| u32::try_from(member.node) == Ok(node.0) && asks(member));
    let Some(applicant) = applicant else {
        return Err(Stop::Failed(format!(
            "broker {node} does not ask to be admitted: start it with an empty data directory and the cluster's list, and look at \
             `tidelog cluster status`"
        )));
    };
    let operation = Operation::Admit { node, directory: applicant.directory };
    driver.run(operation).await.map_err(|failure| sentence(&format!("admit broker {node}"), &failure))?;
    let mut out = io::stdout().lock();
    if json {
        print_json(&mut out, &json!({"node": node.0, "directory": applicant.directory.to_string(), "admitted": true}))?;
    } else {
        writeln!(out, "admitted broker {node} on directory {}", applicant.directory)?;
    }
    Ok(out.flush()?)
}
