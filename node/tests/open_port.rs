//! Whoever is let in is answered: the port opens when clients can be, and closes before the node ends.

mod common;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Client, Scratch, api_versions, api_versions_answer, options};
use tidelog::cluster::Cluster;
use tidelog::driver::Machine;
use tidelog::error::StartError;
use tidelog::options::Options;
use tidelog::server::{Ended, Server, start, start_with};
use tidelog_core::broker::Status;
use tidelog_core::effect::{Effect, Effects, Halt, Input};
use tidelog_core::kafka::messages::MetadataRequest;
use tidelog_core::kafka::{RequestBody, ResponseBody};
use tidelog_core::time::{Duration, Now};

/// A broker that answers when it is let, and ends when it was asked to and has answered twice, whichever comes first.
struct Reluctant {
    answers: Arc<AtomicBool>,
    asked_to_end: bool,
    answered: u32,
}

impl Machine for Reluctant {
    fn step(&mut self, now: Now, input: Input, out: &mut Effects) {
        match input {
            // It is asked whether it answers after each step, so it makes some.
            Input::Wake if !self.answers() => {
                out.push(Effect::WakeAt(now.mono + Duration::from_millis(1)));
            }
            Input::Stop => self.asked_to_end = true,
            Input::Request { conn, id, request } => {
                out.push(Effect::Respond { conn, id, response: api_versions_answer(&request.header) });
                self.answered += 1;
            }
            Input::Wake
            | Input::Opened { .. }
            | Input::Closed { .. }
            | Input::Peer { .. }
            | Input::Lost { .. }
            | Input::DiskDone { .. }
            | Input::Computed { .. } => {}
        }
        if self.asked_to_end && self.answered >= 2 {
            out.push(Effect::Halt(Halt::Stopped));
        }
    }

    fn status(&self) -> Status {
        Status { ready: true, ..Status::default() }
    }

    fn answers(&self) -> bool {
        self.answers.load(Ordering::Acquire)
    }
}

fn reluctant(options: &Options) -> (Server, Arc<AtomicBool>) {
    let answers = Arc::new(AtomicBool::new(false));
    let machine = Reluctant { answers: Arc::clone(&answers), asked_to_end: false, answered: 0 };
    (start_with(options, |_, _| machine).expect("it starts"), answers)
}

fn is_refused(address: SocketAddr) -> bool {
    match TcpStream::connect(address) {
        Ok(_) => false,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => true,
        // It was in the queue of a port that closed.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => false,
        Err(error) => panic!("{error}"),
    }
}

fn health(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer
}

#[test]
fn clients_are_refused_until_they_can_be_answered() {
    let scratch = Scratch::new();
    let options = Options { admin_listen: Some("127.0.0.1:0".to_owned()), ..options(scratch.path()) };
    let (server, answers) = reluctant(&options);
    let (address, admin) = (server.address(), server.admin_address().expect("asked for"));
    assert!(address.port() > 0 && !server.is_open());
    for _ in 0..20 {
        assert!(is_refused(address));
    }
    assert!(health(admin, "/livez").starts_with("HTTP/1.1 200 "));
    let ready = health(admin, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains("waiting for the port to open"), "{ready}");
    answers.store(true, Ordering::Release);
    assert!(server.wait_open() && server.wait_ready());
    assert!(health(admin, "/readyz").starts_with("HTTP/1.1 200 "));
    Client::connect(address).ask(3, &api_versions());
    server.kill();
}

#[test]
fn a_port_is_taken_before_it_is_open() {
    let scratch = Scratch::new();
    let (server, _) = reluctant(&options(&scratch.join("one")));
    let address = server.address();
    let taken = TcpListener::bind(address).expect_err("it is taken");
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    let second = Options { listen: address.to_string(), ..options(&scratch.join("two")) };
    assert!(matches!(start(&second), Err(StartError::PortInUse { .. })));
    assert!(!scratch.join("two").exists(), "a refused node touched its directory");
    server.kill();
}

/// Where connections of an earlier life fade, another process may take the port in the same way: who listens first has it.
#[test]
fn a_port_that_is_lost_ends_the_node_with_a_sentence() {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};
    let other = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    sockopt::set_socket_reuseaddr(&other, true).expect("a socket");
    bind(&other, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let address = rustix::net::getsockname(&other).expect("it is bound");
    let address = SocketAddr::try_from(address).expect("an address");
    let scratch = Scratch::new();
    let (server, answers) = reluctant(&Options { listen: address.to_string(), ..options(scratch.path()) });
    listen(&other, 1).expect("a port of its own");
    answers.store(true, Ordering::Release);
    assert!(!server.wait_open());
    let ended = server.wait();
    let sentence = ended.failure().expect("a failure");
    assert!(matches!(ended, Ended::PortLost(_)), "{ended:?}");
    assert!(sentence.contains(&format!("another process listens on {address}")), "{sentence}");
}

/// Connections that a node closed are remembered by the system for a minute; the next life has the port all the same.
#[test]
fn the_next_life_has_the_same_port() {
    let scratch = Scratch::new();
    let mut options = options(scratch.path());
    for _ in 0..4 {
        let (server, answers) = reluctant(&options);
        answers.store(true, Ordering::Release);
        assert!(server.wait_open());
        options.listen = server.address().to_string();
        let mut client = Client::connect(server.address());
        client.ask(3, &api_versions());
        server.kill();
        client.expect_end();
    }
}

#[test]
fn a_node_that_is_to_end_refuses_who_comes_and_serves_who_is_there() {
    let scratch = Scratch::new();
    let (server, answers) = reluctant(&options(scratch.path()));
    answers.store(true, Ordering::Release);
    assert!(server.wait_open());
    let address = server.address();
    let mut before = Client::connect(address);
    before.ask(3, &api_versions());
    // In the queue as the node is asked to end: accepted or not.
    let mut crowd: Vec<Client> = (0..20).map(|_| Client::connect(address)).collect();
    server.stop();
    while !is_refused(address) {
        std::thread::yield_now();
    }
    for client in crowd.drain(1..) {
        drop(client);
    }
    let mut last = crowd.pop().expect("one is left");
    last.ask(3, &api_versions());
    assert_eq!(server.wait(), Ended::Halted(Halt::Stopped));
    before.expect_end();
}

#[test]
fn a_node_that_never_opened_ends_when_asked() {
    let scratch = Scratch::new();
    let options = Options {
        cluster: Some(Cluster::parse("1@127.0.0.1:9,2@127.0.0.1:10").expect("a good list")),
        peer_listen: Some("127.0.0.1:0".to_owned()),
        ..options(scratch.path())
    };
    let server = start(&options).expect("it starts");
    assert!(!server.is_open());
    server.stop();
    assert!(!server.wait_open() && !server.wait_ready());
    assert_eq!(server.wait(), Ended::Halted(Halt::Stopped));
}

/// A real broker: the first connection that is accepted is answered, and what it is told is of use.
#[test]
fn the_first_connection_is_answered_in_every_life() {
    let scratch = Scratch::new();
    for _ in 0..3 {
        let server = start(&options(scratch.path())).expect("it starts");
        let mut client = loop {
            match Client::try_connect(server.address()) {
                Ok(client) => break client,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused),
            }
        };
        client.ask(3, &api_versions());
        let ResponseBody::Metadata(told) = client.ask(9, &RequestBody::Metadata(MetadataRequest::default())) else {
            panic!("another answer")
        };
        assert_eq!(told.brokers.iter().map(|broker| broker.node_id).collect::<Vec<_>>(), [1]);
        server.kill();
    }
}

/// One of three that waits for the others refuses clients, and says for whom it waits.
#[test]
fn who_waits_for_a_cluster_says_for_whom() {
    let scratch = Scratch::new();
    let sockets: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    let free: Vec<SocketAddr> = sockets.iter().map(|socket| socket.local_addr().expect("a port")).collect();
    drop(sockets);
    let mut node = Command::new(env!("CARGO_BIN_EXE_tidelog"))
        .args(["node", "--listen", &free[0].to_string(), "--admin-listen", &free[1].to_string(), "--data-dir"])
        .arg(scratch.path())
        .args(["--peer-listen", &free[2].to_string(), "--cluster", "1@127.0.0.1:9,2@127.0.0.1:10,3@127.0.0.1:11"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut log = BufReader::new(node.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let waits = "no client is let in yet: waiting for broker 2 to form the cluster";
    assert!(log.any(|line| line.contains(waits)), "it ended");
    assert!(is_refused(free[0]));
    assert!(health(free[1], "/livez").starts_with("HTTP/1.1 200 "));
    let ready = health(free[1], "/readyz");
    assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains("waiting for broker 2"), "{ready}");
    rustix::process::kill_process(rustix::process::Pid::from_child(&node), rustix::process::Signal::TERM)
        .expect("it runs");
    let mut greeting = String::new();
    node.stdout.take().expect("piped").read_to_string(&mut greeting).expect("text");
    assert_eq!(greeting, "", "it greets as if it served");
    assert!(node.wait().expect("it ends").success());
}
