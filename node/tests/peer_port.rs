//! The port for other brokers: whatever comes, the node lives, hears who is right, and says what it has to say.

mod common;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use common::{Client, Scratch, api_versions, api_versions_answer, options, scripted};
use tidelog::cluster::Cluster;
use tidelog::options::Options;
use tidelog::peer::hello::{MAGIC, VERSION};
use tidelog::server::{Ended, Server};
use tidelog_core::effect::{Effect, Effects, Halt, Input};
use tidelog_core::id::NodeId;
use tidelog_core::kafka::ResponseBody;
use tidelog_core::limits::ENVELOPE_BYTES_MAX;
use tidelog_core::peer::Envelope;
use tidelog_core::rng::Rng;

/// Long enough for anything that happens at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// What stands in for broker 2 when node 1 connects.
struct Other(TcpListener);

impl Other {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a port"))
    }

    fn accept(&self) -> TcpStream {
        let (stream, _) = self.0.accept().expect("the node connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream
    }

    /// Accepts and greets as broker 2 should.
    fn welcome(&self) -> TcpStream {
        let mut stream = self.accept();
        stream.write_all(&[&begin(VERSION, 2)[..], &7_u64.to_be_bytes()].concat()).expect("it reads");
        let mut answer = [0; 42];
        stream.read_exact(&mut answer).expect("it greets");
        let expected = [&begin(VERSION, 1)[..], &2_u32.to_be_bytes(), &7_u64.to_be_bytes()].concat();
        assert_eq!(answer[..26], expected);
        assert_ne!(answer[26..], [0; 16], "it names its directory");
        stream.write_all(&[0]).expect("it reads");
        stream
    }
}

/// Node 1 of a list of two, driven by a script. What it hears from others arrives at the receiver.
fn node(scratch: &Scratch, other: &Other) -> (Server, mpsc::Receiver<(NodeId, Envelope)>) {
    let (node, hearing, _) = watched(scratch, other);
    (node, hearing)
}

/// As [`node`]; which brokers it is told are lost arrives at the second receiver.
fn watched(scratch: &Scratch, other: &Other) -> (Server, mpsc::Receiver<(NodeId, Envelope)>, mpsc::Receiver<NodeId>) {
    let (heard, hearing) = mpsc::channel();
    let (lost, losing) = mpsc::channel();
    let step = move |input: Input, out: &mut Effects| match input {
        Input::Peer { from, envelope } => heard.send((from, envelope)).expect("the test listens"),
        Input::Request { conn, id, request } => {
            // What a client asks for is that something is sent.
            out.push(Effect::Send { to: NodeId(2), envelope: to_two(id.0) });
            out.push(Effect::Send { to: NodeId(9), envelope: to_two(id.0) });
            out.push(Effect::Respond { conn, id, response: api_versions_answer(&request.header) });
        }
        Input::Stop => {
            for number in 0..1_000 {
                out.push(Effect::Send { to: NodeId(2), envelope: to_two(number) });
            }
            out.push(Effect::Halt(Halt::Stopped));
        }
        // Most tests do not care.
        Input::Lost { node } => drop(lost.send(node)),
        Input::Wake | Input::Opened { .. } | Input::Closed { .. } | Input::DiskDone { .. } | Input::Computed { .. } => {
        }
    };
    let address = other.0.local_addr().expect("a port");
    let cluster = Cluster::parse(&format!("1@127.0.0.1:9,2@{address}")).expect("a good list");
    let options =
        Options { cluster: Some(cluster), peer_listen: Some("127.0.0.1:0".to_owned()), ..options(scratch.path()) };
    (scripted(&options, step), hearing, losing)
}

fn to_two(number: u64) -> Envelope {
    let commands = vec![Bytes::from(number.to_be_bytes().repeat(100))];
    Envelope { from: NodeId(1), to: NodeId(2), commands, ..Envelope::default() }
}

fn to_one(text: &'static str) -> Envelope {
    let commands = vec![Bytes::from_static(text.as_bytes())];
    Envelope { from: NodeId(2), to: NodeId(1), commands, ..Envelope::default() }
}

fn begin(version: u16, node: u32) -> Vec<u8> {
    [&MAGIC[..], &version.to_be_bytes(), &node.to_be_bytes()].concat()
}

fn connect(address: SocketAddr) -> (TcpStream, u64) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let mut hello = [0; 22];
    stream.read_exact(&mut hello).expect("it greets");
    assert_eq!(hello[..14], begin(VERSION, 1));
    (stream, u64::from_be_bytes(hello[14..].try_into().expect("eight bytes")))
}

/// Greets like this, and gives the verdict.
fn greet(address: SocketAddr, version: u16, from: u32, to: u32, challenge: impl Fn(u64) -> u64) -> (TcpStream, u8) {
    greet_with(address, [2; 16], version, from, to, challenge)
}

/// As [`greet`], with this data directory.
fn greet_with(
    address: SocketAddr,
    directory: [u8; 16],
    version: u16,
    from: u32,
    to: u32,
    challenge: impl Fn(u64) -> u64,
) -> (TcpStream, u8) {
    let (mut stream, asked) = connect(address);
    let bytes =
        [&begin(version, from)[..], &to.to_be_bytes(), &challenge(asked).to_be_bytes(), &directory[..]].concat();
    stream.write_all(&bytes).expect("it reads");
    let mut verdict = [0];
    stream.read_exact(&mut verdict).expect("it judges");
    (stream, verdict[0])
}

/// Connects as broker 2.
fn as_two(address: SocketAddr) -> TcpStream {
    let (stream, verdict) = greet(address, VERSION, 2, 1, |challenge| challenge);
    assert_eq!(verdict, 0);
    stream
}

fn expect_end(stream: &mut TcpStream) {
    match io::copy(stream, &mut io::sink()) {
        Ok(more) => assert_eq!(more, 0, "it says something"),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}"),
    }
}

fn hears(hearing: &mpsc::Receiver<(NodeId, Envelope)>, envelope: &Envelope) {
    let heard = hearing.recv_timeout(PATIENCE).expect("it arrives");
    assert_eq!(heard, (NodeId(2), envelope.clone()));
}

/// A well-behaved broker and a client get what they should.
fn serves(node: &Server, hearing: &mpsc::Receiver<(NodeId, Envelope)>) {
    let mut two = as_two(node.peer_address().expect("it listens"));
    for text in ["one", "and another"] {
        two.write_all(&to_one(text).encode().concat()).expect("it reads");
        hears(hearing, &to_one(text));
    }
    let answer = Client::connect(node.address()).ask(3, &api_versions());
    assert!(matches!(answer, ResponseBody::ApiVersions(_)));
}

#[test]
fn garbage_ends_its_connection_and_nothing_else() {
    let (scratch, other) = (Scratch::new(), Other::new());
    let (node, hearing) = node(&scratch, &other);
    let address = node.peer_address().expect("it listens");
    let mut rng = Rng::stream(1, &[]);
    for round in 0..200 {
        // Half of it behind a good greeting.
        let mut stream = if round % 2 == 0 { as_two(address) } else { connect(address).0 };
        let garbage: Vec<u8> = (0..rng.between(1, 400)).map(|_| rng.next_u64() as u8).collect();
        // The node may have hung up already.
        let _ = stream.write_all(&garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        expect_end_after_verdict(&mut stream);
    }
    serves(&node, &hearing);
    node.kill();
}

/// As [`expect_end`], but a verdict may come first.
fn expect_end_after_verdict(stream: &mut TcpStream) {
    match io::copy(stream, &mut io::sink()) {
        Ok(more) => assert!(more <= 1, "it says more than a verdict"),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}"),
    }
}

#[test]
fn every_cut_of_an_envelope_ends_in_silence() {
    let (scratch, other) = (Scratch::new(), Other::new());
    let (node, hearing) = node(&scratch, &other);
    let bytes = to_one("cut").encode().concat();
    for cut in 0..bytes.len() {
        let mut stream = as_two(node.peer_address().expect("it listens"));
        stream.write_all(&bytes[..cut]).expect("it reads");
        stream.shutdown(std::net::Shutdown::Write).expect("it is open");
        expect_end(&mut stream);
    }
    serves(&node, &hearing);
    assert!(hearing.try_recv().is_err(), "a cut envelope arrived");
    node.kill();
}

#[test]
fn lengths_that_lie_end_the_connection_or_wait_without_memory() {
    let (scratch, other) = (Scratch::new(), Other::new());
    let (node, hearing) = node(&scratch, &other);
    let address = node.peer_address().expect("it listens");
    for length in [u32::MAX, 1 << 31, ENVELOPE_BYTES_MAX + 1, 0, 1, 5] {
        let mut stream = as_two(address);
        stream.write_all(&[&length.to_be_bytes()[..], &[0; 5]].concat()).expect("it reads");
        expect_end(&mut stream);
    }
    let mut waiting = Vec::new();
    for _ in 0..40 {
        let mut stream = as_two(address);
        stream.write_all(&ENVELOPE_BYTES_MAX.to_be_bytes()).expect("it reads");
        waiting.push(stream);
    }
    serves(&node, &hearing);
    node.kill();
}

#[test]
fn who_greets_wrongly_is_told_why() {
    let (scratch, other) = (Scratch::new(), Other::new());
    let (node, hearing) = node(&scratch, &other);
    let address = node.peer_address().expect("it listens");
    for (version, from, to, challenge, verdict) in [
        (VERSION + 1, 2, 1, 0, 1),
        (VERSION, 2, 3, 0, 2),
        (VERSION, 3, 1, 0, 3),
        (VERSION, 1, 1, 0, 3),
        // What a recorded connection would say.
        (VERSION, 2, 1, 1, 4),
    ] {
        let (mut stream, told) = greet(address, version, from, to, |asked| asked ^ challenge);
        assert_eq!(told, verdict, "version {version} from {from} to {to}");
        // Nothing of what follows is heard.
        let _ = stream.write_all(&to_one("never").encode().concat());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        expect_end(&mut stream);
    }
    serves(&node, &hearing);
    assert!(hearing.try_recv().is_err(), "a stranger was heard");
    node.kill();
}

#[test]
fn who_lends_his_name_is_cut_off() {
    let (scratch, other) = (Scratch::new(), Other::new());
    let (node, hearing) = node(&scratch, &other);
    let mut stream = as_two(node.peer_address().expect("it listens"));
    let envelope = Envelope { from: NodeId(3), ..to_one("not mine") };
    stream.write_all(&envelope.encode().concat()).expect("it reads");
    expect_end(&mut stream);
    serves(&node, &hearing);
    node.kill();
}

#[test]
fn another_directory_under_the_number_of_a_connected_broker_is_refused() {
    let (scratch, other) = (Scratch::new(), Other::new());
    let (node, hearing) = node(&scratch, &other);
    let address = node.peer_address().expect("it listens");
    let mut first = as_two(address);
    let empty = |verdict| {
        let (mut stream, told) = greet_with(address, [9; 16], VERSION, 2, 1, |challenge| challenge);
        assert_eq!(told, verdict);
        let _ = stream.write_all(&to_one("another").encode().concat());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        expect_end(&mut stream);
    };
    empty(5);
    first.write_all(&to_one("first").encode().concat()).expect("it reads");
    hears(&hearing, &to_one("first"));
    assert!(hearing.try_recv().is_err(), "the other was heard");
    // Once that one is gone, its number is free.
    drop(first);
    for _ in 0..200 {
        let (mut stream, told) = greet_with(address, [9; 16], VERSION, 2, 1, |challenge| challenge);
        if told == 0 {
            stream.write_all(&to_one("another").encode().concat()).expect("it reads");
            break;
        }
    }
    hears(&hearing, &to_one("another"));
    node.kill();
}

#[test]
fn a_newer_connection_of_a_broker_ends_the_older() {
    let (scratch, other) = (Scratch::new(), Other::new());
    let (node, hearing) = node(&scratch, &other);
    let address = node.peer_address().expect("it listens");
    let mut older = as_two(address);
    older.write_all(&to_one("older").encode().concat()).expect("it reads");
    hears(&hearing, &to_one("older"));
    let mut newer = as_two(address);
    expect_end(&mut older);
    newer.write_all(&to_one("newer").encode().concat()).expect("it reads");
    hears(&hearing, &to_one("newer"));
    node.kill();
}

#[test]
fn a_broker_is_lost_when_its_newest_connection_ends() {
    let (scratch, other) = (Scratch::new(), Other::new());
    let (node, hearing, losing) = watched(&scratch, &other);
    let address = node.peer_address().expect("it listens");
    let mut older = as_two(address);
    older.write_all(&to_one("older").encode().concat()).expect("it reads");
    hears(&hearing, &to_one("older"));
    let mut newer = as_two(address);
    newer.write_all(&to_one("newer").encode().concat()).expect("it reads");
    hears(&hearing, &to_one("newer"));
    expect_end(&mut older);
    drop(older);
    drop(connect(address));
    // Whatever came of the older one came before this.
    newer.write_all(&to_one("still there").encode().concat()).expect("it reads");
    hears(&hearing, &to_one("still there"));
    assert!(losing.try_recv().is_err(), "a broker with a connection is lost");
    drop(newer);
    assert_eq!(losing.recv_timeout(PATIENCE), Ok(NodeId(2)));
    assert!(losing.try_recv().is_err(), "it is lost once");
    node.kill();
}

#[test]
fn large_envelopes_arrive_whole() {
    let (scratch, other) = (Scratch::new(), Other::new());
    let (node, hearing) = node(&scratch, &other);
    let mut stream = as_two(node.peer_address().expect("it listens"));
    for size in [3 << 20, 20 << 20, 1] {
        let commands = vec![Bytes::from(vec![7; size])];
        let envelope = Envelope { commands, ..to_one("") };
        stream.write_all(&envelope.encode().concat()).expect("it reads");
        hears(&hearing, &envelope);
    }
    node.kill();
}

/// The next envelope that the node sends.
fn next(stream: &mut TcpStream) -> Option<Envelope> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
        Err(error) => panic!("{error}"),
    }
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).expect("a whole frame");
    Some(Envelope::decode(frame.into()).expect("an envelope"))
}

#[test]
fn envelopes_leave_and_a_broken_connection_is_made_anew() {
    let (scratch, other) = (Scratch::new(), Other::new());
    let (node, _hearing) = node(&scratch, &other);
    let mut client = Client::connect(node.address());
    // Not what the node wants to hear: another broker, another protocol, nothing, a refusal.
    other.accept().write_all(&[&begin(VERSION, 3)[..], &[0; 8]].concat()).expect("it reads");
    other.accept().write_all(&begin(VERSION + 1, 2)).expect("it reads");
    other.accept().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("it reads");
    drop(other.accept());
    let mut refusing = other.accept();
    refusing.write_all(&[&begin(VERSION, 2)[..], &[0; 8]].concat()).expect("it reads");
    refusing.read_exact(&mut [0; 42]).expect("it greets");
    refusing.write_all(&[3]).expect("it reads");
    drop(refusing);
    for _ in 0..3 {
        let mut stream = other.welcome();
        // What was sent before may have been lost, not what is sent from now on.
        for _ in 0..3 {
            client.ask(3, &api_versions());
            let envelope = next(&mut stream).expect("it sends");
            assert_eq!((envelope.from, envelope.to), (NodeId(1), NodeId(2)));
        }
        // It has nothing to be told here.
        stream.write_all(b"?").expect("it reads");
        assert!(next(&mut stream).is_none());
    }
    node.kill();
}

#[test]
fn the_last_envelopes_leave_before_a_node_stops() {
    let (scratch, other) = (Scratch::new(), Other::new());
    let (node, _hearing) = node(&scratch, &other);
    let mut stream = other.welcome();
    // The node knows that it is welcome once it sends something.
    Client::connect(node.address()).ask(3, &api_versions());
    next(&mut stream).expect("it sends");
    node.stop();
    let reader = std::thread::spawn(move || {
        let mut numbers = Vec::new();
        while let Some(envelope) = next(&mut stream) {
            let number = envelope.commands[0].first_chunk::<8>().expect("ours");
            numbers.push(u64::from_be_bytes(*number));
        }
        numbers
    });
    assert_eq!(node.wait(), Ended::Halted(Halt::Stopped));
    assert_eq!(reader.join().expect("it reads"), (0..1_000).collect::<Vec<_>>());
}
