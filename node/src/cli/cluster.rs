//! `tidelog cluster`: who is in the cluster, and the admission of brokers whose disks were empty.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use serde_json::json;
use tidelog_core::client::{Operation, Outcome, QuorumMember};
use tidelog_core::id::NodeId;

use super::client::{ClientArgs, print_json, sentence};
use super::stop::Stop;
use crate::client::Driver;

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
pub(super) fn run(args: ClusterArgs) -> Result<(), Stop> {
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

/// Voters; of them, those that came back with another disk; and how many it takes to decide.
fn counts(members: &[QuorumMember]) -> (usize, usize, usize) {
    let voters = members.iter().filter(|member| member.voter);
    let replaced = voters.clone().filter(|voter| members.iter().any(|it| it.node == voter.node && asks(it)));
    (voters.clone().count(), replaced.count(), voters.count() / 2 + 1)
}

/// What helps when the controller has no leader: time, or nothing but a disk of before. The latter is an error.
fn leaderless(members: &[QuorumMember]) -> Result<String, String> {
    let (voters, replaced, most) = counts(members);
    if voters - replaced >= most {
        Ok(format!("nothing can be decided until {most} of the {voters} voters run and elect a leader"))
    } else {
        Err(format!(
            "nothing can be decided: that takes {most} of the {voters} voters on the directories they had, and {replaced} came back \
             with an empty one; bring a former data directory back (nobody can be admitted, and nothing was thrown away)"
        ))
    }
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
    if leader.is_none() {
        let helps = leaderless(&members);
        writeln!(out, "{}", helps.as_ref().unwrap_or_else(|hopeless| hopeless))?;
        if helps.is_err() {
            return Ok(out.flush()?);
        }
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
    if known.leader.is_none()
        && let Err(hopeless) = leaderless(&known.members)
    {
        return Err(Stop::Failed(format!("broker {node} can not be admitted: {hopeless}")));
    }
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

#[cfg(test)]
mod tests {
    use tidelog_core::id::DirectoryId;

    use super::*;

    fn member(node: i32, voter: bool) -> QuorumMember {
        QuorumMember { node, directory: DirectoryId([node as u8; 16]), voter, end: voter.then_some(7) }
    }

    #[test]
    fn a_minority_that_lost_its_disks_is_waited_for_and_a_majority_is_not() {
        let voters = || (1..=3).map(|node| member(node, true));
        let with = |lost: &[i32]| voters().chain(lost.iter().map(|node| member(*node, false))).collect::<Vec<_>>();
        for (lost, told) in [(&[][..], "2 of the 3 voters run"), (&[3], "2 of the 3 voters run"), (&[9], "2 of the 3")]
        {
            assert!(leaderless(&with(lost)).is_ok_and(|text| text.contains(told)), "{lost:?}");
        }
        let hopeless = leaderless(&with(&[2, 3])).expect_err("one of three is no majority");
        assert!(hopeless.contains("2 came back with an empty one"), "{hopeless}");
    }
}
