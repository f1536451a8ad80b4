//! The machines of a run, and what can be done to them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use madsim::net::NetSim;
use madsim::runtime::{Handle, NodeHandle};
use tidelog::cluster::Cluster;
use tidelog::driver::Ended;
use tidelog::options::Options;
use tidelog::simulated::{self, Platter, TcpStream};
use tidelog_core::broker::{Broker, Settings};
use tidelog_core::effect::Halt;
use tidelog_core::id::NodeId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::witness::Witness;

/// How many brokers there are.
pub(crate) const BROKERS: u32 = 3;
const PORT: u16 = 9092;
const PEER_PORT: u16 = 9192;
const ADMIN_PORT: u16 = 8080;

/// The machines of brokers.
#[derive(Clone)]
pub(crate) struct Machines {
    brokers: Vec<NodeHandle>,
    operator: NodeHandle,
    witness: Witness,
}

pub(crate) fn brokers() -> impl Iterator<Item = NodeId> {
    (1..=BROKERS).map(NodeId)
}

fn ip(node: NodeId) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, node.0 as u8).into()
}

/// Where a broker listens for clients.
pub(crate) fn address(node: NodeId) -> SocketAddr {
    (ip(node), PORT).into()
}

/// A machine for a client.
pub(crate) fn client(number: u8) -> NodeHandle {
    Handle::current().create_node().name(format!("client {number}")).ip(Ipv4Addr::new(10, 0, 1, number).into()).build()
}

impl Machines {
    /// Starts every broker, on empty disks.
    pub(crate) fn start(witness: &Witness, settings: &Settings) -> Self {
        let list: Vec<String> = brokers().map(|node| format!("{node}@{}:{PEER_PORT}", ip(node))).collect();
        let cluster = Cluster::parse(&list.join(",")).expect("a good list");
        let start = |node| {
            let options = Options {
                node,
                listen: address(node).to_string(),
                admin_listen: Some(format!("{}:{ADMIN_PORT}", ip(node))),
                cluster: Some(cluster.clone()),
                ..Options::default()
            };
            let platter = Platter::blank();
            let (witness, settings) = (witness.clone(), settings.clone());
            let life = move || life(options.clone(), platter.clone(), witness.clone(), settings.clone());
            Handle::current().create_node().name(format!("broker {node}")).ip(ip(node)).init(life).build()
        };
        Self { brokers: brokers().map(start).collect(), operator: client(201), witness: witness.clone() }
    }

    fn machine(&self, node: NodeId) -> &NodeHandle {
        &self.brokers[node.0 as usize - 1]
    }

    /// Asks a broker, which can be reached, how it is.
    pub(crate) async fn examine(&self, node: NodeId, paths: &'static [&'static str]) {
        let asking = self.operator.spawn(async move {
            let mut wrong = Vec::new();
            for path in paths {
                match health(node, path).await {
                    Ok(answer) if *path == "/metrics" && !answer.contains("\ntidelog_peers_refused_total 0\n") => {
                        wrong.push(format!("broker {node} sent other brokers away: {answer}"));
                    }
                    Ok(_) => {}
                    Err(why) => wrong.push(why),
                }
            }
            wrong
        });
        let wrong = asking.await.expect("nobody kills the operator");
        self.witness.seen().wrong.extend(wrong);
    }

    /// Kills the process of a broker.
    pub(crate) fn kill(&self, node: NodeId) {
        Handle::current().kill(self.machine(node).id());
        self.witness.seen().died(node);
    }

    /// Starts the process of a broker that has none.
    pub(crate) fn restart(&self, node: NodeId) {
        Handle::current().restart(self.machine(node).id());
    }

    /// Asks a broker to end, and waits until its process has.
    pub(crate) async fn stop(&self, node: NodeId) {
        Handle::current().send_ctrl_c(self.machine(node).id());
        let ended = self.until(Duration::from_secs(10), || self.witness.seen().ended.contains_key(&node)).await;
        let how = self.witness.seen().ended.remove(&node);
        if !ended || how != Some(Ended::Halted(Halt::Stopped)) {
            let wrong = format!("broker {node} was asked to end, and came to {how:?} within 10 s");
            self.witness.seen().wrong.push(wrong);
        }
        // Its sockets go with the process.
        self.kill(node);
    }

    /// Freezes or thaws the process of a broker.
    pub(crate) fn pause(&self, node: NodeId, paused: bool) {
        let id = self.machine(node).id();
        if paused { Handle::current().pause(id) } else { Handle::current().resume(id) }
    }

    /// Clogs or clears the way from one broker to another.
    pub(crate) fn clog(&self, from: NodeId, to: NodeId, clogged: bool) {
        let (net, from, to) = (NetSim::current(), self.machine(from).id(), self.machine(to).id());
        if clogged { net.clog_link(from, to) } else { net.unclog_link(from, to) }
    }

    /// Clogs or clears every way from and to a broker.
    pub(crate) fn isolate(&self, node: NodeId, isolated: bool) {
        let (net, id) = (NetSim::current(), self.machine(node).id());
        if isolated { net.clog_node(id) } else { net.unclog_node(id) }
    }

    /// Resets the connections between two brokers, both ways.
    pub(crate) fn cut(&self, one: NodeId, other: NodeId) -> u64 {
        simulated::cut(ip(one), ip(other)) as u64
    }

    /// Resets the connections between a broker and a client's machine.
    pub(crate) fn cut_client(&self, node: NodeId, client: u8) -> u64 {
        simulated::cut(ip(node), Ipv4Addr::new(10, 0, 1, client).into()) as u64
    }

    /// Waits until something is so; gives whether it is by then.
    pub(crate) async fn until(&self, patience: Duration, so: impl Fn() -> bool) -> bool {
        let mut waited = Duration::ZERO;
        while !so() {
            if waited >= patience {
                return false;
            }
            sleep(Duration::from_millis(20)).await;
            waited += Duration::from_millis(20);
        }
        true
    }
}

/// One life of a broker.
async fn life(options: Options, platter: Platter, witness: Witness, settings: Settings) {
    let node = options.node;
    let (asker, ready) = oneshot::channel();
    let told = witness.clone();
    tokio::spawn(async move {
        if ready.await.is_ok() {
            told.seen().ready.insert(node);
        }
    });
    let broker = |mut config: tidelog_core::broker::Config, boot| {
        config.settings = settings;
        witness.watch(node, Broker::new(config, boot))
    };
    let ended = simulated::run(&options, &platter, asker, broker).await;
    let mut seen = witness.seen();
    match ended {
        Ok(ended @ Ended::Halted(Halt::Stopped)) => drop(seen.ended.insert(node, ended)),
        Ok(ended) => seen.wrong.push(format!("broker {node} ended: {ended:?}")),
        Err(error) => seen.wrong.push(format!("broker {node} does not start: {error}")),
    }
}

/// What a broker answers to a health check: an error if that is not 200.
async fn health(node: NodeId, path: &str) -> Result<String, String> {
    let told = |error: &dyn fmt::Display| format!("broker {node}, {path}: {error}");
    let asked = async {
        let mut stream = TcpStream::connect(SocketAddr::from((ip(node), ADMIN_PORT))).await?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(5), asked).await.map_err(|late| told(&late))?;
    let answer = answer.map_err(|error| told(&error))?;
    if answer.starts_with("HTTP/1.1 200 ") { Ok(answer) } else { Err(told(&answer)) }
}
