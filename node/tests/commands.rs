//! The commands that talk to a cluster, as a user meets them: a real node, real processes, their output and exit codes.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};

use common::{Scratch, options};
use tidelog::server::{Server, start};

struct Cluster {
    server: Option<Server>,
    address: String,
    _scratch: Scratch,
}

impl Cluster {
    fn start() -> Self {
        let scratch = Scratch::new();
        let server = start(&options(scratch.path())).expect("a node starts");
        let cluster = Self { address: server.address().to_string(), server: Some(server), _scratch: scratch };
        // A node takes orders once it has registered with the controller, which is itself.
        let ready = |_: &i32| {
            let output = cluster.run(&["topic", "create", "ready"], "");
            output.status.success() || String::from_utf8_lossy(&output.stderr).contains("exists")
        };
        assert!((0..200).any(|turn| ready(&turn)), "the node takes no orders");
        cluster.ok(&["topic", "delete", "ready"], "");
        cluster
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_tidelog"))
            .args(arguments)
            .args(["--bootstrap-server", &self.address])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs")
    }

    fn run(&self, arguments: &[&str], stdin: &str) -> Output {
        let mut child = self.spawn(arguments);
        let mut pipe = child.stdin.take().expect("a pipe");
        // A command that refuses does not read.
        let _ = pipe.write_all(stdin.as_bytes());
        drop(pipe);
        child.wait_with_output().expect("it ends")
    }

    /// Runs a command that must succeed, and gives what it prints.
    fn ok(&self, arguments: &[&str], stdin: &str) -> String {
        let output = self.run(arguments, stdin);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
        assert_eq!(errors, "", "{arguments:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs a command that must fail, and gives the one sentence it says.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments, "");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert_eq!(output.stdout, b"", "{arguments:?}");
        let text = String::from_utf8(output.stderr).expect("text");
        assert_eq!(text.lines().count(), 1, "{text}");
        text.strip_prefix("tidelog: ").expect("who says it").trim_end().to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
            server.wait();
        }
    }
}

#[test]
fn lines_come_back_as_they_went_in() {
    let cluster = Cluster::start();
    assert_eq!(cluster.ok(&["topic", "create", "t", "--partitions", "1"], ""), "created topic t\n");
    let lines: String = (0..2_000).map(|n| format!("line {n}\n")).collect();
    assert_eq!(cluster.ok(&["produce", "t"], &lines), "");
    assert_eq!(cluster.ok(&["consume", "t", "--from-beginning", "--exit-at-end"], ""), lines);
    assert_eq!(cluster.ok(&["consume", "t", "--offset", "1998", "--exit-at-end"], ""), "line 1998\nline 1999\n");
    assert_eq!(cluster.ok(&["consume", "t", "--from-timestamp", "1", "--max-messages", "1"], ""), "line 0\n");
}

#[test]
fn every_level_of_acks_writes() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "t", "--partitions", "1"], "");
    assert_eq!(cluster.ok(&["produce", "t", "-v", "--acks", "all"], "a\n"), "t/0@0\n");
    assert_eq!(cluster.ok(&["produce", "t", "-v", "--acks", "1"], "b\n"), "t/0@1\n");
    assert_eq!(cluster.ok(&["produce", "t", "-v", "--acks", "0"], "c\n"), "t/0@?\n");
    assert_eq!(cluster.ok(&["consume", "t", "--from-beginning", "--max-messages", "3"], ""), "a\nb\nc\n");
}

#[test]
fn keys_formats_and_json() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "t", "--partitions", "1"], "");
    assert_eq!(cluster.ok(&["produce", "t", "--key-separator", "=", "-v"], "k=v\nplain\n"), "t/0@0\nt/0@1\n");
    let printed =
        cluster.ok(&["consume", "t", "--from-beginning", "--exit-at-end", "--format", "%t/%p@%o [%k] %s;"], "");
    assert_eq!(printed, "t/0@0 [k] v;t/0@1 [] plain;");
    let json = cluster.ok(&["consume", "t", "--from-beginning", "--exit-at-end", "--json"], "");
    let first: serde_json::Value = serde_json::from_str(json.lines().next().expect("a line")).expect("JSON");
    assert_eq!((&first["key"], &first["value"], &first["offset"]), (&"k".into(), &"v".into(), &0.into()));
}

#[test]
fn topics_are_listed_described_and_deleted() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "b", "--partitions", "2", "--config", "max.message.bytes=500000"], "");
    cluster.ok(&["topic", "create", "a"], "");
    assert_eq!(cluster.ok(&["topic", "list"], ""), "a\nb\n");
    let text = cluster.ok(&["topic", "describe", "b"], "");
    assert!(text.contains("partitions 2") && text.contains("partition 1  leader 1"), "{text}");
    assert!(text.contains("config max.message.bytes=500000\n"), "{text}");
    assert_eq!(cluster.ok(&["topic", "delete", "a"], ""), "deleted topic a\n");
    assert_eq!(cluster.ok(&["topic", "list"], ""), "b\n");
}

#[test]
fn a_failure_says_cause_and_cure() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "t", "--partitions", "1"], "");
    let cases: [(&[&str], &str, &str); 5] = [
        (&["topic", "create", "t"], "exists", "tidelog topic delete"),
        (&["topic", "delete", "u"], "topic u", "tidelog topic list"),
        (&["consume", "u"], "no such topic", "tidelog topic create"),
        (&["consume", "t", "--offset", "9", "--exit-at-end"], "ends at offset 0", "--from-beginning"),
        (&["produce", "t", "--partition", "7"], "no partition 7", "--partition"),
    ];
    for (arguments, cause, cure) in cases {
        let said = cluster.refused(arguments);
        assert!(said.contains(cause) && said.contains(cure), "{arguments:?}: {said}");
    }
}

#[test]
fn nobody_there_is_told_soon() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let output = Command::new(env!("CARGO_BIN_EXE_tidelog"))
        .args(["topic", "list", "--timeout", "1", "--bootstrap-server", &free.to_string()])
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("nothing answers") && said.contains("tidelog node"), "{said}");
}

#[test]
fn a_command_waits_a_moment_for_a_node_that_starts() {
    let scratch = Scratch::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let options = tidelog::options::Options { listen: free.to_string(), ..options(scratch.path()) };
    let child = Command::new(env!("CARGO_BIN_EXE_tidelog"))
        .args(["topic", "list", "--bootstrap-server", &options.listen])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let server = start(&options).expect("a node starts");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]), "{output:?}");
    server.kill();
}

#[test]
fn a_reader_that_goes_away_ends_a_command_quietly() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "t", "--partitions", "1"], "");
    let lines: String = (0..20_000).map(|n| format!("a line that is not so short {n}\n")).collect();
    cluster.ok(&["produce", "t"], &lines);
    let mut child = cluster.spawn(&["consume", "t", "--from-beginning"]);
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut first).expect("a line");
    assert_eq!(first, "a line that is not so short 0\n");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(output.stderr, b"");
}
