//! The command line as a user meets it: flags, refusals, exit codes.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use clap::Parser;
use common::{Scratch, options, scripted};
use rustix::process::Signal;
use tidelog::cli::{self, Cli};
use tidelog::cluster::Cluster;
use tidelog::options::{Advertise, Options};

fn tidelog(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidelog")).args(arguments).output().expect("the program runs")
}

/// Runs a node that must not start, and gives the one sentence it says.
fn refused(arguments: &[&str]) -> String {
    let output = tidelog(&[&["node"], arguments].concat());
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(output.stdout, b"");
    let sentence = text.strip_prefix("tidelog: ").expect("who says it");
    assert_eq!(sentence.lines().count(), 1, "{sentence}");
    sentence.trim_end().to_owned()
}

fn parsed(arguments: &[&str]) -> Options {
    let all = [&["tidelog", "node"], arguments].concat();
    match Cli::try_parse_from(all).expect("flags that are fine").command {
        cli::Command::Node(args) => args.into(),
        #[allow(unreachable_patterns, reason = "there will be more commands")]
        _ => panic!("another command"),
    }
}

#[test]
fn no_flags_mean_the_defaults() {
    assert_eq!(parsed(&[]), Options::default());
}

#[test]
fn every_flag_arrives() {
    let flags = "--node-id 3 --listen [::1]:5 --advertise [2001:db8::1]:7 --data-dir /d --auto-create false \
                 --admin-listen localhost:8 --cluster 3@[::1]:6,1@a:6 --peer-listen [::]:6 --rack east --record /r --log warn,tidelog::net=debug";
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let advertise = Advertise { host: "2001:db8::1".to_owned(), port: 7 };
    let expected = Options {
        node: tidelog_core::id::NodeId(3),
        listen: "[::1]:5".to_owned(),
        advertise: Some(advertise),
        data_dir: "/d".into(),
        auto_create: false,
        admin_listen: Some("localhost:8".to_owned()),
        cluster: Some(Cluster::parse("1@a:6,3@[::1]:6").expect("a good list")),
        peer_listen: Some("[::]:6".to_owned()),
        rack: Some("east".to_owned()),
        record: Some("/r".into()),
    };
    assert_eq!(parsed(&flags), expected);
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    for flags in [
        ["--node-id", "0"],
        ["--node-id", "2147483648"],
        ["--node-id", "one"],
        ["--advertise", "here"],
        ["--advertise", "here:0"],
        ["--advertise", "0.0.0.0:9092"],
        ["--advertise", "::1:9092"],
        ["--advertise", ":9092"],
        ["--auto-create", "perhaps"],
        ["--cluster", "1@a:1,1@b:1"],
        ["--cluster", "1@a"],
        ["--cluster", ""],
        ["--rack", ""],
        ["--log", "tidelog=loud"],
    ] {
        let error = Cli::try_parse_from([&["tidelog", "node"], &flags[..]].concat()).expect_err(flags[1]);
        assert!(error.to_string().contains(flags[0]), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn help_names_every_flag_and_its_default() {
    let output = tidelog(&["node", "--help"]);
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).expect("text");
    for flag in [
        "--node-id",
        "--listen",
        "--advertise",
        "--data-dir",
        "--auto-create",
        "--admin-listen",
        "--cluster",
        "--peer-listen",
        "--rack",
        "--record",
        "--log",
    ] {
        let line = help.lines().position(|line| line.contains(flag)).expect(flag);
        let about: String = help.lines().skip(line).take(2).collect();
        assert!(about.contains("[default"), "{flag}: {about}");
    }
}

#[test]
fn listening_everywhere_needs_an_address_to_tell() {
    let scratch = Scratch::new();
    let directory = scratch.join("data");
    let data_dir = directory.to_str().expect("text");
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let sentence = refused(&["--listen", listen, "--data-dir", data_dir]);
        assert!(sentence.contains("add --advertise HOST:PORT"), "{sentence}");
    }
    assert!(!directory.exists(), "a refused node touched its directory");
}

#[test]
fn a_port_in_use_is_told() {
    let scratch = Scratch::new();
    let directory = scratch.join("data");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("a port").to_string();
    let sentence = refused(&["--listen", &address, "--data-dir", directory.to_str().expect("text")]);
    assert!(sentence.contains(&format!("another process listens on {address}")), "{sentence}");
    assert!(!directory.exists(), "a refused node touched its directory");
}

#[test]
fn an_address_that_is_none_is_told() {
    let sentence = refused(&["--listen", "9092"]);
    assert!(sentence.contains("--listen 9092 is not an address"), "{sentence}");
}

#[test]
fn a_list_of_voters_that_does_not_go_with_the_rest_is_told() {
    let scratch = Scratch::new();
    let directory = scratch.join("data");
    let data_dir = directory.to_str().expect("text");
    let all = ["--listen", "127.0.0.1:0", "--data-dir", data_dir];
    let sentence = refused(&[&all[..], &["--cluster", "2@127.0.0.1:1,3@127.0.0.1:2"]].concat());
    assert!(sentence.contains("broker 1 is not in --cluster 2@127.0.0.1:1,3@127.0.0.1:2: add it"), "{sentence}");
    let sentence = refused(&[&all[..], &["--peer-listen", "127.0.0.1:0"]].concat());
    assert!(sentence.contains("name all of them with --cluster"), "{sentence}");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let cluster = format!("1@{}", taken.local_addr().expect("a port"));
    let sentence = refused(&[&all[..], &["--cluster", &cluster]].concat());
    assert!(sentence.contains("choose another port with --peer-listen"), "{sentence}");
    assert!(!directory.exists(), "a refused node touched its directory");
}

#[test]
fn a_directory_in_use_or_of_another_node_is_told() {
    let scratch = Scratch::new();
    let data_dir = scratch.path().to_str().expect("text");
    let server = scripted(&options(scratch.path()), |_, _| {});
    let sentence = refused(&["--listen", "127.0.0.1:0", "--data-dir", data_dir]);
    assert!(sentence.starts_with("another process uses the data directory"), "{sentence}");
    server.kill();
    let sentence = refused(&["--listen", "127.0.0.1:0", "--data-dir", data_dir, "--node-id", "2"]);
    assert!(sentence.contains("belongs to node 1, not to node 2"), "{sentence}");
}

#[test]
fn a_node_greets_with_three_commands_and_stops_on_a_signal() {
    let scratch = Scratch::new();
    let program = env!("CARGO_BIN_EXE_tidelog");
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut node = Command::new(program)
            .args(["node", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(scratch.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut lines = BufReader::new(node.stdout.take().expect("piped")).lines();
        let mut commands = Vec::new();
        while let Some(Ok(line)) = lines.next() {
            if line.contains(program) {
                commands.push(line.trim().to_owned());
            } else if line.starts_with("Ctrl-C") {
                break;
            }
        }
        assert_eq!(commands.len(), 3, "{commands:?}");
        let process = rustix::process::Pid::from_child(&node);
        rustix::process::kill_process(process, signal).expect("it runs");
        let mut log = String::new();
        node.stderr.take().expect("piped").read_to_string(&mut log).expect("text");
        assert!(node.wait().expect("it ends").success(), "{log}");
        assert!(log.lines().count() < 8, "not quiet: {log}");
    }
}
