//! Commands whose output nobody reads, or has no room: no panic, no half of the work, no 0 for what was not told.
#![cfg(target_os = "linux")]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};

use common::{Scratch, options};
use rustix::process::{Pid, Signal};
use tidelog::options::Options;
use tidelog::server::{Server, start};

/// What a shell says of a program that SIGPIPE killed.
const UNREAD: Option<i32> = Some(141);
const LINES: usize = 30_000;

/// Where output goes to be lost.
#[derive(Clone, Copy, Debug)]
enum Lost {
    /// A pipe that nobody reads.
    Pipe,
    /// A disk without room.
    Disk,
}

impl Lost {
    fn stdio(self) -> Stdio {
        match self {
            Self::Pipe => {
                let (reader, writer) = std::io::pipe().expect("a pipe");
                drop(reader);
                writer.into()
            }
            Self::Disk => File::options().write(true).open("/dev/full").expect("it is there").into(),
        }
    }
}

struct Node {
    server: Option<Server>,
    scratch: Scratch,
}

impl Node {
    /// A node with a topic of some records.
    fn start() -> Self {
        let scratch = Scratch::new();
        let record = Some(scratch.join("recording"));
        let server = start(&Options { record, ..options(&scratch.join("data")) }).expect("it starts");
        assert!(server.wait_ready());
        let node = Self { server: Some(server), scratch };
        node.ok(&["topic", "create", "t", "--partitions", "1"], "");
        node.ok(&["produce", "t"], "some\nwords\n");
        node
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidelog"));
        command.args(arguments);
        if let Some(server) = &self.server
            && !["--help", "--version", "replay"].iter().any(|word| arguments.contains(word))
        {
            command.args(["--bootstrap-server", &server.address().to_string()]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn ok(&self, arguments: &[&str], stdin: &str) -> String {
        let mut child = self.command(arguments).spawn().expect("the program runs");
        give(&mut child, stdin);
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs a command whose stdout is lost. How it ended, and what it said on stderr.
    fn lost(&self, arguments: &[&str], stdin: &str, lost: Lost) -> (ExitStatus, String) {
        let mut child = self.command(arguments).stdout(lost.stdio()).spawn().expect("the program runs");
        give(&mut child, stdin);
        let output = child.wait_with_output().expect("it ends");
        (output.status, String::from_utf8(output.stderr).expect("text"))
    }

    fn written(&self) -> usize {
        self.ok(&["consume", "t", "--from-beginning", "--exit-at-end"], "").lines().count()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }
}

fn give(child: &mut Child, stdin: &str) {
    // A command that does not read ends its side.
    let _ = child.stdin.take().expect("a pipe").write_all(stdin.as_bytes());
}

fn lines() -> String {
    (0..LINES).map(|number| format!("{number}\n")).collect()
}

#[test]
fn every_command_ends_quietly_when_nobody_reads_and_with_a_sentence_when_there_is_no_room() {
    let mut node = Node::start();
    let commands: [&[&str]; 12] = [
        &["--help"],
        &["--version"],
        &["consume", "--help"],
        &["topic", "list"],
        &["topic", "list", "--json"],
        &["topic", "describe", "t"],
        &["topic", "describe", "t", "--json"],
        &["cluster", "status"],
        &["cluster", "status", "--json"],
        &["consume", "t", "--from-beginning"],
        &["consume", "t", "--from-beginning", "--json"],
        &["consume", "t", "--from-beginning", "--format", "%s"],
    ];
    for arguments in commands {
        let (status, said) = node.lost(arguments, "", Lost::Pipe);
        assert_eq!((status.code(), said.as_str()), (UNREAD, ""), "{arguments:?}");
        let (status, said) = node.lost(arguments, "", Lost::Disk);
        assert_eq!(status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.starts_with("tidelog: could not write to stdout (No space left"), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    }
    for (at, lost) in [Lost::Pipe, Lost::Disk].into_iter().enumerate() {
        let name = format!("made{at}");
        let (status, said) = node.lost(&["topic", "create", &name, "--json"], "", lost);
        assert!(matches!(status.code(), UNREAD | Some(1)), "{lost:?}: {said}");
        let (status, said) = node.lost(&["topic", "delete", &name], "", lost);
        assert!(matches!(status.code(), UNREAD | Some(1)), "{lost:?}: {said}");
    }
    node.server.take().expect("it runs").kill();
    let recording = node.scratch.join("recording");
    let replay = ["replay", recording.to_str().expect("text")];
    assert_eq!(node.lost(&replay, "", Lost::Pipe).0.code(), UNREAD);
    let (status, said) = node.lost(&replay, "", Lost::Disk);
    assert!(status.code() == Some(1) && said.contains("No space left"), "{said}");
}

#[test]
fn produce_writes_every_line_whatever_becomes_of_what_it_prints() {
    let node = Node::start();
    let mut there = node.written();
    for how in ["-v", "--json"] {
        let (status, said) = node.lost(&["produce", "t", how], &lines(), Lost::Pipe);
        assert_eq!((status.code(), said.as_str()), (Some(0), ""));
        there += LINES;
        assert_eq!(node.written(), there);
        let (status, said) = node.lost(&["produce", "t", how], &lines(), Lost::Disk);
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("every line was written to topic t") && said.contains("No space left"), "{said}");
        there += LINES;
        assert_eq!(node.written(), there);
    }
    // Somebody reads a little, and goes.
    let mut child = node.command(&["produce", "t", "-v"]).spawn().expect("the program runs");
    let mut first = [0; 4];
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"first\n").expect("it reads");
    let mut stdout = child.stdout.take().expect("a pipe");
    stdout.read_exact(&mut first).expect("it prints");
    drop(stdout);
    stdin.write_all(lines().as_bytes()).expect("it reads on");
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
    assert_eq!(node.written(), there + 1 + LINES);
}

#[test]
fn a_stderr_that_nobody_reads_changes_no_exit_code() {
    let node = Node::start();
    for (arguments, code) in [(&["topic", "delete", "nowhere"][..], 1), (&["topic", "list", "--colour"][..], 2)] {
        for lost in [Lost::Pipe, Lost::Disk] {
            let status = node.command(arguments).stderr(lost.stdio()).status().expect("the program runs");
            assert_eq!(status.code(), Some(code), "{arguments:?}, {lost:?}");
        }
    }
    // Closed, as by `2>&-`: and stdout, too.
    let address = node.server.as_ref().expect("it runs").address().to_string();
    let closed = "exec \"$0\" topic list --bootstrap-server \"$1\" >&- 2>&-";
    let status = Command::new("sh").args(["-c", closed, env!("CARGO_BIN_EXE_tidelog"), &address]).status();
    assert_eq!(status.expect("it runs").code(), Some(0));
}

/// A node whose terminal goes, or never was, is a node.
#[test]
fn a_node_runs_on_without_a_reader() {
    for lost in [Lost::Pipe, Lost::Disk] {
        let scratch = Scratch::new();
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        let mut node = Command::new(env!("CARGO_BIN_EXE_tidelog"))
            .args(["node", "--listen", &free.to_string(), "--data-dir"])
            .arg(scratch.path())
            .stdout(lost.stdio())
            .stderr(lost.stdio())
            .spawn()
            .expect("the program runs");
        let listed = Command::new(env!("CARGO_BIN_EXE_tidelog"))
            .args(["topic", "list", "--bootstrap-server", &free.to_string()])
            .output()
            .expect("the program runs");
        assert!(listed.status.success(), "{listed:?}");
        rustix::process::kill_process(Pid::from_child(&node), Signal::HUP).expect("it runs");
        assert!(node.wait().expect("it ends").success());
    }
}

/// Whoever starts a node with nohup wants it to outlive the terminal.
#[test]
fn a_hangup_that_is_ignored_stays_ignored() {
    let scratch = Scratch::new();
    let run = |ignoring: &str| {
        let mut node = Command::new("sh")
            .args(["-c", &format!("{ignoring} exec \"$0\" node --listen 127.0.0.1:0 --data-dir \"$1\"")])
            .arg(env!("CARGO_BIN_EXE_tidelog"))
            .arg(scratch.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        // It has its handlers when it greets.
        node.stdout.as_mut().expect("piped").read_exact(&mut [0; 7]).expect("it greets");
        let status = std::fs::read_to_string(format!("/proc/{}/status", node.id())).expect("it runs");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("Linux tells");
        let caught = u64::from_str_radix(caught.trim(), 16).expect("a mask");
        rustix::process::kill_process(Pid::from_child(&node), Signal::TERM).expect("it runs");
        assert!(node.wait().expect("it ends").success());
        caught & 1 == 1
    };
    assert!(run(""));
    assert!(!run("trap '' HUP;"));
}
