//! The health checks.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use common::{Scratch, Script, options};
use tidelog::cluster::Cluster;
use tidelog::options::Options;
use tidelog::server::{Server, start, start_with};
use tidelog_core::broker::Status;
use tidelog_core::effect::{Effect, Effects, Halt, Input};

fn http(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

fn node(scratch: &Scratch, status: Status) -> (Server, SocketAddr) {
    let options = Options { admin_listen: Some("127.0.0.1:0".to_owned()), ..options(scratch.path()) };
    let step = |input, out: &mut Effects| {
        if matches!(input, Input::Stop) {
            out.push(Effect::Halt(Halt::Stopped));
        }
    };
    let server = start_with(&options, |_, _| Script { step, status }).expect("it starts");
    assert!(server.wait_open());
    let address = server.admin_address().expect("asked for");
    (server, address)
}

#[test]
fn a_broker_that_waits_is_alive_but_not_ready() {
    let scratch = Scratch::new();
    let status = Status { waiting_for: "a leader".to_owned(), ..Status::default() };
    let (server, address) = node(&scratch, status);
    let live = http(address, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(live, ("HTTP/1.1 200 OK".to_owned(), "ok\n".to_owned()));
    let ready = http(address, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(ready, ("HTTP/1.1 503 Service Unavailable".to_owned(), "waiting for a leader\n".to_owned()));
    server.kill();
}

#[test]
fn a_broker_that_serves_is_ready() {
    let scratch = Scratch::new();
    let status = Status { ready: true, ..Status::default() };
    let (server, address) = node(&scratch, status);
    let ready = http(address, "GET /readyz?verbose HTTP/1.0\r\n\r\n");
    assert_eq!(ready, ("HTTP/1.1 200 OK".to_owned(), "ready\n".to_owned()));
    server.kill();
}

#[test]
fn other_questions_are_refused() {
    let scratch = Scratch::new();
    let (server, address) = node(&scratch, Status::default());
    assert_eq!(http(address, "POST /livez HTTP/1.1\r\n\r\n").0, "HTTP/1.1 405 Method Not Allowed");
    assert_eq!(http(address, "GET / HTTP/1.1\r\n\r\n").0, "HTTP/1.1 404 Not Found");
    assert_eq!(http(address, "\r\n\r\n").0, "HTTP/1.1 404 Not Found");
    server.kill();
}

#[test]
fn what_the_disk_did_is_counted() {
    let scratch = Scratch::new();
    let options = Options { admin_listen: Some("127.0.0.1:0".to_owned()), ..options(scratch.path()) };
    let server = start(&options).expect("it starts");
    assert!(server.wait_ready());
    let (head, body) = http(server.admin_address().expect("asked for"), "GET /metrics HTTP/1.1\r\n\r\n");
    assert_eq!(head, "HTTP/1.1 200 OK");
    let counter = |name: &str| {
        let line = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<u64>().ok()).unwrap_or_else(|| panic!("no {name} in {body}"))
    };
    // It is a cluster of its own by now, and that is in its journal.
    let blocks = counter("tidelog_disk_journal_blocks_total");
    assert!(blocks > 0, "{body}");
    assert!(counter("tidelog_disk_journal_bytes_total") >= blocks, "{body}");
    assert!(counter("tidelog_disk_syncs_total") >= blocks, "{body}");
    server.kill();
}

#[test]
fn who_is_sent_away_from_the_port_for_brokers_is_counted() {
    let scratch = Scratch::new();
    let options = Options {
        admin_listen: Some("127.0.0.1:0".to_owned()),
        peer_listen: Some("127.0.0.1:0".to_owned()),
        cluster: Some(Cluster::parse("1@127.0.0.1:9,2@127.0.0.1:10").expect("a good list")),
        ..options(scratch.path())
    };
    let server = common::scripted(&options, |_, _| {});
    let (peers, admin) = (server.peer_address().expect("asked for"), server.admin_address().expect("asked for"));
    for _ in 0..3 {
        let mut stream = TcpStream::connect(peers).expect("it listens");
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it reads");
        stream.shutdown(std::net::Shutdown::Write).expect("it is open");
        // It is counted before the end is said.
        stream.read_to_end(&mut Vec::new()).expect("it ends");
    }
    let (_, body) = http(admin, "GET /metrics HTTP/1.1\r\n\r\n");
    assert!(body.lines().any(|line| line == "tidelog_peers_refused_total 3"), "{body}");
    server.kill();
}

#[test]
fn nobody_listens_unless_asked_to() {
    let scratch = Scratch::new();
    let server = common::scripted(&options(scratch.path()), |_, _| {});
    assert_eq!(server.admin_address(), None);
    server.kill();
}
