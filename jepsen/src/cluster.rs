//! The nodes: real processes, started, killed, paused and started again, with a log each.
//!
//! Promises: ends only what it started, all of it, also when it is dropped in the middle of something. A node keeps its ports and
//! its directory over its lives. Not known here: why anybody wants a node dead.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::plan::NodeId;
use crate::ports;
use crate::proxy::Links;

/// How long a health check may take.
const HEALTH_WAIT: Duration = Duration::from_secs(1);

/// One node, alive or not.
#[derive(Debug)]
struct Node {
    listen: SocketAddr,
    admin: SocketAddr,
    /// Where it listens for other nodes, and how it is told to find them; a node alone does neither.
    peers: Option<(SocketAddr, String)>,
    directory: PathBuf,
    data: PathBuf,
    child: Option<Child>,
    paused: bool,
}

/// All nodes of a cluster, and the links between them.
#[derive(Debug)]
pub struct Cluster {
    binary: PathBuf,
    nodes: BTreeMap<NodeId, Node>,
    links: Links,
    /// Nodes that ended without being killed, and how.
    deaths: Vec<String>,
}

impl Cluster {
    /// `count` nodes with directories below `directory`; none is started.
    pub fn prepare(binary: &Path, count: u32, directory: &Path) -> io::Result<Self> {
        let per_node = 3;
        let mut addresses = ports::free(usize::try_from(count).unwrap_or(0) * per_node)?.into_iter();
        let mut next = || addresses.next().ok_or_else(|| io::Error::other("too few ports"));
        let mut nodes = BTreeMap::new();
        let mut peers = BTreeMap::new();
        for id in 1..=count {
            let (listen, admin, peer) = (next()?, next()?, next()?);
            let directory = directory.join(format!("node-{id}"));
            fs::create_dir_all(&directory)?;
            let data = directory.join("data");
            nodes.insert(id, Node { listen, admin, peers: None, directory, data, child: None, paused: false });
            peers.insert(id, peer);
        }
        let links = Links::open(&peers)?;
        for (&id, node) in nodes.iter_mut().filter(|_| count > 1) {
            // Every node sees the others through proxies of its own.
            let seen = |(&other, &address): (&NodeId, &SocketAddr)| {
                format!("{other}@{}", links.address((id, other)).unwrap_or(address))
            };
            let list: Vec<String> = peers.iter().map(seen).collect();
            node.peers = Some((peers[&id], list.join(",")));
        }
        Ok(Self { binary: binary.to_owned(), nodes, links, deaths: Vec::new() })
    }

    /// The numbers of all nodes.
    pub fn ids(&self) -> BTreeSet<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// The links between them.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// Where clients connect to, as Kafka's `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.nodes.values().map(|node| node.listen.to_string()).collect::<Vec<_>>().join(",")
    }

    /// Where the data of a node is.
    pub fn data(&self, id: NodeId) -> Option<&Path> {
        self.nodes.get(&id).map(|node| node.data.as_path())
    }

    /// Starts a node that is not running.
    pub fn start(&mut self, id: NodeId) -> io::Result<()> {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        if node.child.is_some() {
            return Ok(());
        }
        let log = |name: &str| OpenOptions::new().create(true).append(true).open(node.directory.join(name));
        let mut stderr = log("log")?;
        writeln!(stderr, "-- started by tidelog-jepsen")?;
        let mut command = Command::new(&self.binary);
        command.arg("node").arg("--node-id").arg(id.to_string());
        command.arg("--listen").arg(node.listen.to_string()).arg("--admin-listen").arg(node.admin.to_string());
        command.arg("--data-dir").arg(&node.data);
        if let Some((listen, list)) = &node.peers {
            command.arg("--peer-listen").arg(listen.to_string()).arg("--cluster").arg(list);
        }
        // A group of its own: Ctrl-C is for us, and we end it.
        command.stdin(Stdio::null()).stdout(log("stdout")?).stderr(stderr).process_group(0);
        node.child = Some(command.spawn()?);
        node.paused = false;
        Ok(())
    }

    /// SIGKILL. Whether there was anything to kill.
    pub fn kill(&mut self, id: NodeId) -> bool {
        self.notice_deaths();
        let Some(node) = self.nodes.get_mut(&id) else { return false };
        let Some(mut child) = node.child.take() else { return false };
        // Fails only on what has ended, and that was noticed above.
        let _ = child.kill();
        let _ = child.wait();
        true
    }

    /// SIGKILL to all, without waiting for their ends. How many there were to kill.
    pub fn shoot(&mut self) -> usize {
        self.notice_deaths();
        let running = self.nodes.values_mut().filter_map(|node| node.child.as_mut());
        running.filter_map(|child| child.kill().ok()).count()
    }

    /// Waits for the ends of all that were shot.
    pub fn bury(&mut self) {
        for child in self.nodes.values_mut().filter_map(|node| node.child.take()) {
            let mut child = child;
            // Fails only on what has been waited for.
            let _ = child.wait();
        }
    }

    /// SIGSTOP. Whether there was anything to stop.
    pub fn pause(&mut self, id: NodeId) -> bool {
        self.signal(id, Signal::STOP, true)
    }

    /// SIGCONT.
    pub fn resume(&mut self, id: NodeId) -> bool {
        self.signal(id, Signal::CONT, false)
    }

    fn signal(&mut self, id: NodeId, signal: Signal, paused: bool) -> bool {
        self.notice_deaths();
        let Some(node) = self.nodes.get_mut(&id) else { return false };
        let Some(child) = &node.child else { return false };
        node.paused = paused;
        kill_process(Pid::from_child(child), signal).is_ok()
    }

    /// Nodes that ended by themselves so far, a sentence each: a node never should.
    pub fn deaths(&mut self) -> &[String] {
        self.notice_deaths();
        &self.deaths
    }

    fn notice_deaths(&mut self) {
        for (id, node) in &mut self.nodes {
            let Some(child) = &mut node.child else { continue };
            if let Ok(Some(status)) = child.try_wait() {
                let how = match (status.code(), status.signal()) {
                    (Some(code), _) => format!("with exit code {code}"),
                    (None, signal) => format!("by signal {}", signal.unwrap_or_default()),
                };
                let last = last_line(&node.directory.join("log"));
                self.deaths.push(format!("node {id} ended by itself {how}; its last words: {last}"));
                node.child = None;
            }
        }
    }

    /// What a node says of itself: nothing if it is ready, else why it is not.
    pub fn unready(&self, id: NodeId) -> Option<String> {
        let node = self.nodes.get(&id)?;
        match health(node.admin) {
            Ok(text) if text.starts_with("HTTP/1.1 200") => None,
            Ok(text) => Some(text.lines().last().unwrap_or_default().to_owned()),
            Err(error) => Some(format!("no answer ({error})")),
        }
    }

    /// Lines of the nodes' logs that tell of a panic.
    pub fn panics(&self) -> Vec<String> {
        let of_node = |(id, node): (&NodeId, &Node)| {
            let text = fs::read(node.directory.join("log")).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let lines = text.lines().filter(|line| line.contains("panicked")).map(|line| format!("node {id}: {line}"));
            lines.collect::<Vec<_>>()
        };
        self.nodes.iter().flat_map(of_node).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in self.nodes.values_mut() {
            if let Some(mut child) = node.child.take() {
                // Kills what is stopped, too. Fails on what has ended.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

fn health(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, HEALTH_WAIT)?;
    stream.set_read_timeout(Some(HEALTH_WAIT))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\n\r\n")?;
    let mut text = String::new();
    stream.take(64 * 1024).read_to_string(&mut text)?;
    Ok(text)
}

fn last_line(file: &Path) -> String {
    let mut text = Vec::new();
    if let Ok(mut open) = File::open(file) {
        // What can not be read has no last line.
        let _ = open.read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).lines().rfind(|line| !line.trim().is_empty()).unwrap_or("none").trim().to_owned()
}
