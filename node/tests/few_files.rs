//! What a node makes of the number of open files that the system allows it.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Client, Scratch, api_versions};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use tidelog_core::kafka::batch::Builder;
use tidelog_core::kafka::messages::{
    CreatableTopic, CreateTopicsRequest, PartitionProduceData, ProduceRequest, TopicProduceData,
};
use tidelog_core::kafka::{RequestBody, ResponseBody};
use tidelog_core::time::Timestamp;

/// A node that is allowed so many files at first, and so many if it asks.
fn command(soft: u32, hard: u32, data_dir: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -S -n $0; ulimit -H -n $1; shift; exec \"$@\"", &soft.to_string(), &hard.to_string()])
        .arg(env!("CARGO_BIN_EXE_tidelog"))
        .args(["node", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data_dir);
    command
}

struct Node {
    process: Child,
    address: SocketAddr,
    log: BufReader<ChildStderr>,
}

impl Node {
    fn start(soft: u32, hard: u32, data_dir: &Path) -> Self {
        Self::start_with(soft, hard, data_dir, &[])
    }

    fn start_with(soft: u32, hard: u32, data_dir: &Path, flags: &[&str]) -> Self {
        let mut command = command(soft, hard, data_dir);
        command.args(flags);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
        let mut greeting = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut greeting).expect("text");
        let address = greeting.split(" listens on ").nth(1).and_then(|rest| rest.split(',').next());
        let address = address.expect("a greeting").parse().expect("an address");
        let log = BufReader::new(process.stderr.take().expect("piped"));
        Self { process, address, log }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Stops it in good order, and gives what it logged.
    fn stop(mut self) -> Vec<String> {
        rustix::process::kill_process(self.pid(), Signal::TERM).expect("it runs");
        let log = self.log.lines().map_while(Result::ok).collect();
        assert!(self.process.wait().expect("it ends").success(), "{log:?}");
        log
    }
}

/// A client that is answered, if there is room for one.
fn held(address: SocketAddr) -> Option<Client> {
    let mut client = Client::connect(address);
    client.try_ask(3, &api_versions()).ok().map(|_| client)
}

fn count(log: &[String], what: &str) -> usize {
    log.iter().filter(|line| line.contains(what)).count()
}

fn create(client: &mut Client, partitions: i32) {
    let topic = CreatableTopic {
        name: "tides".to_owned(),
        num_partitions: partitions,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 60_000, ..CreateTopicsRequest::default() };
    let ResponseBody::CreateTopics(answer) = client.ask(5, &RequestBody::CreateTopics(request)) else {
        panic!("another answer")
    };
    assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
}

/// Has a record acknowledged by every partition.
fn produce(client: &mut Client, partitions: i32) {
    for partition in 0..partitions {
        loop {
            let mut batch = Builder::new();
            batch.push(Timestamp(1), None, Some(b"wave"), &[]);
            let data = PartitionProduceData { index: partition, records: Some(batch.build().into()) };
            let request = RequestBody::Produce(ProduceRequest {
                acks: -1,
                timeout_ms: 30_000,
                topic_data: vec![TopicProduceData { name: "tides".to_owned(), partition_data: vec![data] }],
                ..ProduceRequest::default()
            });
            let ResponseBody::Produce(answer) = client.ask(9, &request) else { panic!("another answer") };
            // It may have no leader yet.
            if answer.responses[0].partition_responses[0].error_code == 0 {
                break;
            }
        }
    }
}

#[test]
fn too_few_files_are_told_before_anything_is_touched() {
    let scratch = Scratch::new();
    let directory = scratch.join("data");
    let output = command(255, 255, &directory).output().expect("the program runs");
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("255 open files") && said.contains("`ulimit -n 65536`"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!directory.exists(), "a refused node touched its directory");
}

#[test]
fn half_a_thousand_files_serve_a_hundred_clients_of_many_partitions() {
    const PARTITIONS: i32 = 300;
    let scratch = Scratch::new();
    let node = Node::start(512, 512, scratch.path());
    let mut clients: Vec<Client> = (0..100).map(|at| held(node.address).unwrap_or_else(|| panic!("{at}"))).collect();
    create(&mut clients[0], PARTITIONS);
    produce(&mut clients[1], PARTITIONS);
    for client in &mut clients {
        client.ask(3, &api_versions());
    }
    drop(clients);
    let log = node.stop();
    assert_eq!(count(&log, "the system allows 512 open files: for "), 1, "{log:?}");
    assert_eq!(count(&log, "WARN") + count(&log, "ERROR"), 0, "{log:?}");

    // What it left is opened again with as few.
    let node = Node::start(512, 512, scratch.path());
    produce(&mut held(node.address).expect("room"), PARTITIONS);
    let log = node.stop();
    assert_eq!(count(&log, "WARN") + count(&log, "ERROR"), 0, "{log:?}");
}

#[test]
fn a_node_asks_for_as_many_files_as_it_may() {
    let scratch = Scratch::new();
    let node = Node::start(300, 800, scratch.path());
    // More than the files it was given at first.
    let clients: Vec<Client> = (0..301).map_while(|_| held(node.address)).collect();
    assert_eq!(clients.len(), 301);
    drop(clients);
    let log = node.stop();
    assert_eq!(count(&log, "the system allows 800 open files: for "), 1, "{log:?}");
}

#[test]
fn one_client_too_many_is_told_once_and_costs_nobody_else_anything() {
    let scratch = Scratch::new();
    let admin = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let node = Node::start_with(256, 256, scratch.path(), &["--admin-listen", &admin.to_string()]);
    let mut clients: Vec<Client> = (0..256).map_while(|_| held(node.address)).collect();
    assert!((50..200).contains(&clients.len()), "{}", clients.len());
    for _ in 0..20 {
        assert!(held(node.address).is_none(), "it had no room");
    }
    for client in &mut clients {
        client.ask(3, &api_versions());
    }
    // Files are left for what is not a client.
    create(&mut clients[0], 20);
    produce(&mut clients[1], 20);
    let mut check = TcpStream::connect(admin).expect("it listens");
    check.write_all(b"GET /livez HTTP/1.1\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    check.read_to_string(&mut answer).expect("text");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    clients.pop();
    // Somebody leaves: there is room once the node has heard of that.
    let deadline = Instant::now() + Duration::from_secs(60);
    while held(node.address).is_none() {
        assert!(Instant::now() < deadline, "there is no room again");
    }
    let log = node.stop();
    assert_eq!(count(&log, "as many as there may be"), 1, "{log:?}");
}

#[test]
fn a_system_without_files_is_told_once_and_cuts_nobody_off() {
    let scratch = Scratch::new();
    let node = Node::start(1024, 4096, scratch.path());
    let mut client = held(node.address).expect("room");
    create(&mut client, 20);
    let allowed = rustix::process::prlimit(Some(node.pid()), Resource::Nofile, few(&node)).expect("it runs");
    // They wait in the system's queue: more than there can be files that the node still finds or lets go of.
    let mut waiting: Vec<Client> = (0..100).map(|_| Client::connect(node.address)).collect();
    let headers: Vec<_> = waiting.iter_mut().map(|client| client.send(3, &api_versions())).collect();
    // Long enough for some attempts, none of which comes at others' cost: what needs another file takes one that is kept.
    let end = Instant::now() + Duration::from_millis(700);
    while Instant::now() < end {
        client.ask(3, &api_versions());
        produce(&mut client, 20);
    }
    rustix::process::prlimit(Some(node.pid()), Resource::Nofile, allowed).expect("it runs");
    for (client, header) in waiting.iter_mut().zip(&headers) {
        client.receive(header);
    }
    client.ask(3, &api_versions());
    let log = node.stop();
    assert_eq!(count(&log, "the system gives no new connections"), 1, "{log:?}");
    assert_eq!(count(&log, "connections are accepted again"), 1, "{log:?}");
    let failures = log.iter().find_map(|line| line.split("failures=").nth(1)).expect("a count");
    let failures: u32 = failures.split_whitespace().next().expect("a word").parse().expect("a number");
    assert!(failures < 50, "it spins: {failures} attempts in less than a second");
}

/// No more than a node has open now.
fn few(node: &Node) -> Rlimit {
    let open = fs::read_dir(format!("/proc/{}/fd", node.process.id())).expect("it runs").count();
    Rlimit { current: Some(open as u64), maximum: Some(4096) }
}
