//! The simulator when nobody reads what it prints, or there is no room for it: no panic, and no 0.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_types, reason = "what a command prints to is a file")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidelog-sim"));
    // `last` of whoever works here stays what it is.
    command.args(arguments).env("CARGO_TARGET_DIR", env!("CARGO_TARGET_TMPDIR"));
    command
}

fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("it is there").into()
}

fn into(arguments: &[&str], stdout: Stdio) -> Output {
    program(arguments).stdout(stdout).output().expect("the program runs")
}

#[test]
fn every_command_ends_quietly_when_nobody_reads_and_with_a_sentence_when_there_is_no_room() {
    let commands: [&[&str]; 8] = [
        &["--help"],
        &["run", "--help"],
        &["run", "--seed", "3", "--seeds", "1"],
        &["run", "--seed", "3", "--seeds", "1", "--json"],
        &["replay", "3", "--until", "2000", "--trace"],
        &["replay", "3", "--until", "2000", "--state"],
        &["replay", "3", "--until", "2000", "--story"],
        &["profile", "--seed", "3", "--seeds", "1"],
    ];
    for arguments in commands {
        let output = into(arguments, unread());
        assert_eq!((output.status.code(), &output.stderr[..]), (Some(141), &b""[..]), "{arguments:?}: {output:?}");
        let output = into(arguments, full());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("No space left"), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_trace() {
    let mut child = program(&["replay", "3", "--trace"]).stdout(Stdio::piped()).spawn().expect("the program runs");
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut first).expect("text");
    assert!(!first.is_empty());
    assert_eq!(child.wait().expect("it ends").code(), Some(141));
}

#[test]
fn a_stderr_that_nobody_reads_changes_no_exit_code() {
    for arguments in [&["replay", "no-such-file"][..], &["run", "--colour"]] {
        let status = program(arguments).stderr(unread()).status().expect("the program runs");
        assert_eq!(status.code(), Some(1), "{arguments:?}");
    }
}
