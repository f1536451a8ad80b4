//! What a host owes a connection, with a script in the broker's place.

mod common;

use std::io::Write;
use std::sync::mpsc;

use common::{Client, Scratch, api_versions, api_versions_answer, options, scripted};
use proptest::prelude::*;
use tidelog::server::{Ended, Server};
use tidelog_core::effect::{Effect, Effects, Halt, Input};
use tidelog_core::id::{ConnId, RequestId};
use tidelog_core::kafka::Request;
use tidelog_core::limits::REQUEST_BYTES_MAX;

fn answer(conn: ConnId, id: RequestId, request: &Request) -> Effect {
    Effect::Respond { conn, id, response: api_versions_answer(&request.header) }
}

/// Answers every request, ends when asked to.
fn obliging(input: Input, out: &mut Effects) {
    match input {
        Input::Request { conn, id, request } => out.push(answer(conn, id, &request)),
        Input::Stop => out.push(Effect::Halt(Halt::Stopped)),
        Input::Wake
        | Input::Opened { .. }
        | Input::Closed { .. }
        | Input::Peer { .. }
        | Input::Lost { .. }
        | Input::DiskDone { .. }
        | Input::Computed { .. } => {}
    }
}

fn stop(server: Server) {
    server.stop();
    assert_eq!(server.wait(), Ended::Halted(Halt::Stopped));
}

/// An obliging node that also says what came in.
fn recorded(scratch: &Scratch) -> (Server, mpsc::Receiver<Input>) {
    let (sender, inputs) = mpsc::channel();
    let server = scripted(&options(scratch.path()), move |input, out| {
        sender.send(input.clone()).expect("the test listens");
        obliging(input, out);
    });
    (server, inputs)
}

#[test]
fn the_life_of_a_connection() {
    let scratch = Scratch::new();
    let (server, inputs) = recorded(&scratch);
    let mut client = Client::connect(server.address());
    for _ in 0..3 {
        client.ask(3, &api_versions());
    }
    let local = client.stream.local_addr().expect("a socket");
    drop(client);
    assert!(matches!(inputs.recv(), Ok(Input::Wake)));
    let Ok(Input::Opened { conn, peer }) = inputs.recv() else {
        panic!("no Opened");
    };
    assert_eq!(peer, local.to_string());
    for expected in 1..=3 {
        let Ok(Input::Request { conn: on, id, .. }) = inputs.recv() else {
            panic!("no Request");
        };
        assert_eq!((on, id), (conn, RequestId(expected)));
    }
    assert!(matches!(inputs.recv(), Ok(Input::Closed { conn: closed }) if closed == conn));
    stop(server);
    assert!(matches!(inputs.recv(), Ok(Input::Stop)));
    assert!(inputs.recv().is_err(), "a step after the halt");
}

#[test]
fn garbage_closes_the_connection_after_what_was_answered() {
    let scratch = Scratch::new();
    let (server, inputs) = recorded(&scratch);
    let too_long = (REQUEST_BYTES_MAX + 1).to_be_bytes();
    let garbage: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 64],
        &[0; 64],
        &[0, 0, 0, 10, 0x7f, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0],
        &too_long,
        &[0, 0, 0, 3, 0, 18, 0],
    ];
    for bytes in garbage {
        let mut client = Client::connect(server.address());
        client.ask(3, &api_versions());
        client.stream.write_all(bytes).expect("the node reads");
        client.expect_end();
    }
    // Others do not notice.
    Client::connect(server.address()).ask(3, &api_versions());
    // The broker hears of each, a little after the client did.
    let mut closed = 0;
    while closed < garbage.len() {
        let input = inputs.recv().expect("the broker lives");
        closed += usize::from(matches!(input, Input::Closed { .. }));
    }
    stop(server);
}

#[test]
fn a_frame_cut_short_is_no_request() {
    let scratch = Scratch::new();
    let (server, inputs) = recorded(&scratch);
    let mut client = Client::connect(server.address());
    let (_, bytes) = client.encode(3, &api_versions());
    client.stream.write_all(&bytes[..bytes.len() - 1]).expect("the node reads");
    client.stream.shutdown(std::net::Shutdown::Write).expect("a socket");
    client.expect_end();
    stop(server);
    assert!(!inputs.iter().any(|input| matches!(input, Input::Request { .. })));
}

#[test]
fn close_comes_after_what_was_answered() {
    let scratch = Scratch::new();
    let (sender, closed) = mpsc::channel();
    let server = scripted(&options(scratch.path()), move |input, out| {
        match &input {
            Input::Closed { conn } => sender.send(*conn).expect("the test listens"),
            Input::Request { conn, id, request } if id.0 == 3 => {
                out.push(answer(*conn, *id, request));
                out.push(Effect::Close { conn: *conn, reason: "enough".to_owned() });
                return;
            }
            _ => {}
        }
        obliging(input, out);
    });
    let mut client = Client::connect(server.address());
    let headers: Vec<_> = (0..5).map(|_| client.send(3, &api_versions())).collect();
    for header in &headers[..3] {
        client.receive(header);
    }
    let conn = closed.recv();
    // The fourth and fifth may have been asked, and answered by the script, but not sent.
    client.expect_end();
    assert_eq!(conn, Ok(ConnId(1)));
    stop(server);
}

#[test]
fn a_muted_connection_is_not_read_from() {
    let scratch = Scratch::new();
    let (sender, asked) = mpsc::channel();
    let muted = ConnId(1);
    let server = scripted(&options(scratch.path()), move |input, out| {
        if let Input::Request { conn, id, .. } = input {
            sender.send((conn, id)).expect("the test listens");
            if (conn, id) == (muted, RequestId(1)) {
                out.push(Effect::Mute { conn });
            }
            if (conn, id) == (ConnId(2), RequestId(20)) {
                out.push(Effect::Unmute { conn: muted });
            }
        }
        obliging(input, out);
    });
    let mut first = Client::connect(server.address());
    first.ask(3, &api_versions());
    let header = first.send(3, &api_versions());
    let mut second = Client::connect(server.address());
    for _ in 0..20 {
        second.ask(3, &api_versions());
    }
    first.receive(&header);
    stop(server);
    let order: Vec<_> = asked.iter().collect();
    assert_eq!(order.first(), Some(&(muted, RequestId(1))));
    assert_eq!(order.last(), Some(&(muted, RequestId(2))));
    assert_eq!(order.len(), 22);
}

#[test]
fn a_stop_sends_what_was_answered() {
    let scratch = Scratch::new();
    let server = scripted(&options(scratch.path()), |input, out| {
        let request = matches!(input, Input::Request { .. });
        obliging(input, out);
        if request {
            out.push(Effect::Halt(Halt::Stopped));
        }
    });
    let mut client = Client::connect(server.address());
    client.ask(3, &api_versions());
    client.expect_end();
    assert_eq!(server.wait(), Ended::Halted(Halt::Stopped));
}

#[test]
fn a_halt_is_told_with_its_cause() {
    for halt in [
        Halt::DiskFailed("fsync: EIO".to_owned()),
        Halt::Corrupt("block 7".to_owned()),
        Halt::Foreign("cluster 9".to_owned()),
    ] {
        let scratch = Scratch::new();
        let reason = halt.clone();
        let server = scripted(&options(scratch.path()), move |_, out| out.push(Effect::Halt(reason.clone())));
        let ended = server.wait();
        let (Halt::DiskFailed(cause) | Halt::Corrupt(cause) | Halt::Foreign(cause)) = &halt else {
            unreachable!("not among those above");
        };
        let sentence = ended.failure().expect("a failure");
        assert!(sentence.contains(cause), "{sentence}");
        assert_eq!(ended, Ended::Halted(halt));
    }
}

#[test]
fn a_broken_invariant_ends_the_node() {
    let scratch = Scratch::new();
    let server = scripted(&options(scratch.path()), |input, _| {
        assert!(!matches!(input, Input::Opened { .. }), "planted");
    });
    let _client = Client::connect(server.address());
    assert_eq!(server.wait(), Ended::Panicked("driver".to_owned()));
}

#[test]
fn a_killed_node_leaves_its_directory_to_the_next() {
    let scratch = Scratch::new();
    for counter in 1..4 {
        let server = scripted(&options(scratch.path()), obliging);
        assert_eq!(server.directory().boot().counter, counter);
        let mut client = Client::connect(server.address());
        client.ask(3, &api_versions());
        drop(server);
        client.expect_end();
    }
}

#[test]
fn an_alarm_replaces_the_one_before() {
    let scratch = Scratch::new();
    let (sender, wakes) = mpsc::channel();
    let mut count = 0;
    let server = scripted(&options(scratch.path()), move |input, out| {
        if matches!(input, Input::Wake) {
            count += 1;
            sender.send(count).expect("the test listens");
            if count < 5 {
                out.push(Effect::WakeAt(tidelog_core::time::Instant(u64::MAX)));
                out.push(Effect::WakeAt(tidelog_core::time::Instant(0)));
            }
        }
        obliging(input, out);
    });
    for expected in 1..=5 {
        assert_eq!(wakes.recv(), Ok(expected));
    }
    stop(server);
    assert!(wakes.recv().is_err(), "a wake nobody asked for");
}

/// One node for all cases: what a client may send in however many pieces.
#[test]
fn requests_arrive_however_the_stream_is_cut() {
    let scratch = Scratch::new();
    let server = scripted(&options(scratch.path()), obliging);
    let address = server.address();
    let cuts = prop::collection::vec(1_usize..200, 1..20);
    proptest!(ProptestConfig::with_cases(32), |(count in 1_usize..40, cuts in cuts)| {
        let mut client = Client::connect(address);
        let mut stream = Vec::new();
        let mut headers = Vec::new();
        for version in (0..=4).cycle().take(count) {
            let (header, bytes) = client.encode(version, &api_versions());
            headers.push(header);
            stream.extend(bytes);
        }
        let mut rest = &stream[..];
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*cut));
            client.stream.write_all(now).expect("the node reads");
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        for header in &headers {
            client.receive(header);
        }
    });
    stop(server);
}

#[test]
fn a_large_request_arrives_whole() {
    let scratch = Scratch::new();
    let (sender, sizes) = mpsc::channel();
    let server = scripted(&options(scratch.path()), move |input, out| {
        if let Input::Request { request, .. } = &input {
            sender.send(request.bytes).expect("the test listens");
        }
        obliging(input, out);
    });
    let mut client = Client::connect(server.address());
    // ApiVersions in a version nobody serves: what follows the header is not looked at.
    let (_, mut bytes) = client.encode(3, &api_versions());
    bytes[6..8].copy_from_slice(&999_i16.to_be_bytes());
    bytes.resize(5_000_000, 7);
    let size = bytes.len() as u32 - 4;
    bytes[..4].copy_from_slice(&size.to_be_bytes());
    for _ in 0..3 {
        client.stream.write_all(&bytes).expect("the node reads");
        assert_eq!(sizes.recv(), Ok(size));
    }
    stop(server);
}
