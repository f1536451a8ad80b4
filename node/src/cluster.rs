//! The brokers of a cluster as the operator lists them: numbers, and where each listens for the others.
//!
//! Names stay names: they are looked up whenever a connection is made, so that an address may change or appear later. What it
//! means to be in the list is the core's to say.

use std::collections::BTreeMap;

use tidelog_core::id::NodeId;

use crate::options::Advertise;

/// The most brokers a list may name.
pub const VOTERS_MAX: usize = 16;

/// The voters of a cluster and where they listen for each other: at least one, no number and no address twice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cluster {
    voters: BTreeMap<NodeId, Advertise>,
}

impl Cluster {
    /// Reads `1@host:port,2@host:port,3@host:port`.
    ///
    /// # Errors
    ///
    /// One sentence, with cause and cure.
    pub fn parse(text: &str) -> Result<Self, String> {
        let example = "give the voters as 1@host1:9192,2@host2:9192,3@host3:9192";
        let mut voters = BTreeMap::new();
        for item in text.split(',') {
            let item = item.trim();
            if item.is_empty() {
                return Err(format!("a place in the list is empty: {example}"));
            }
            let (node, address) = item.split_once('@').ok_or_else(|| format!("`{item}` has no `@`: {example}"))?;
            let node = node.parse().ok().filter(|node| (1..=i32::MAX as u32).contains(node));
            let node = NodeId(node.ok_or_else(|| format!("`{item}` begins with no number from 1: {example}"))?);
            let address = Advertise::parse(address).map_err(|why| format!("the address of `{item}`: {why}"))?;
            if let Some((other, _)) = voters.iter().find(|(_, known)| **known == address) {
                return Err(format!("brokers {other} and {node} have the same address {address}: give each its own"));
            }
            if voters.insert(node, address).is_some() {
                return Err(format!("broker {node} is there twice: give each voter a number of its own"));
            }
            if voters.len() > VOTERS_MAX {
                return Err(format!(
                    "more than {VOTERS_MAX} voters: name 3 or 5, every one of them makes commits slower"
                ));
            }
        }
        Ok(Self { voters })
    }

    /// The voters, ascending.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.keys().copied()
    }

    /// Where a voter listens for the others.
    pub fn address(&self, node: NodeId) -> Option<&Advertise> {
        self.voters.get(&node)
    }

    /// Everybody but this broker, and where they listen.
    pub fn others(&self, own: NodeId) -> impl Iterator<Item = (NodeId, &Advertise)> {
        self.voters.iter().filter(move |(node, _)| **node != own).map(|(node, address)| (*node, address))
    }
}

impl std::fmt::Display for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (node, address)) in self.voters.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{node}@{address}", node = node.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_in_any_order_and_printed_in_one() {
        let cluster = Cluster::parse("3@c:3, 1@[::1]:1 ,2@127.0.0.1:2").expect("a good list");
        assert_eq!(cluster.to_string(), "1@[::1]:1,2@127.0.0.1:2,3@c:3");
        assert_eq!(cluster.voters().collect::<Vec<_>>(), [NodeId(1), NodeId(2), NodeId(3)]);
        assert_eq!(cluster.others(NodeId(2)).map(|(node, _)| node.0).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(cluster.address(NodeId(4)), None);
    }

    #[test]
    fn a_bad_list_is_told_what_is_wrong_with_it() {
        let many: Vec<String> = (1..=17).map(|node| format!("{node}@h{node}:1")).collect();
        for (list, why) in [
            ("", "empty"),
            ("1@a:1,", "empty"),
            ("a:1", "no `@`"),
            ("0@a:1", "no number from 1"),
            ("one@a:1", "no number from 1"),
            ("2147483648@a:1", "no number from 1"),
            ("1@a", "HOST:PORT"),
            ("1@a:0", "HOST:PORT"),
            ("1@0.0.0.0:1", "connect to 0.0.0.0"),
            ("1@a:1,1@b:1", "twice"),
            ("1@a:1,2@a:1", "same address"),
            (&many.join(","), "more than 16"),
        ] {
            let told = Cluster::parse(list).expect_err(list);
            assert!(told.contains(why), "{list}: {told}");
        }
    }
}
