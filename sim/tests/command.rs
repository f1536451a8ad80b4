//! The command as it is typed: what it refuses before it runs anything, and what it says of what it ran.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a command is run, and files are written for it"
)]

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// Its exit code, and what it says on stdout and stderr.
fn said(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidelog-sim"));
    // `last` of whoever works here stays what it is.
    let output = command.args(arguments).env("CARGO_TARGET_DIR", env!("CARGO_TARGET_TMPDIR")).output();
    let output = output.expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    (output.status.code().expect("it ends by itself"), text(&output.stdout), text(&output.stderr))
}

/// What it says on stderr when it refuses to do something.
fn refused(arguments: &[&str]) -> String {
    let (code, stdout, stderr) = said(arguments);
    assert_eq!((code, stdout.as_str()), (1, ""), "{arguments:?}: {stderr}");
    stderr
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn what_can_not_be_kept_is_not_run() {
    let nowhere = file("no-such-directory").join("run");
    let nowhere = nowhere.to_str().expect("text");
    // A billion seeds would be noticed.
    for arguments in [
        &["run", "--seed", "1", "--seeds", "1000000000", "--save", nowhere][..],
        &["replay", "3", "--save", nowhere],
        &["replay", "3", "--history", nowhere],
    ] {
        assert!(refused(arguments).contains("No such file"), "{arguments:?}");
    }
}

#[test]
fn nothing_is_not_run() {
    for arguments in [&["run", "--seeds", "0"][..], &["profile", "--seeds", "0"], &["mutants", "--starts", "0"]] {
        assert!(refused(arguments).contains("0 is not in 1.."), "{arguments:?}");
    }
}

#[test]
fn a_broker_that_does_not_exist_is_refused_with_those_that_do() {
    // Seed 1 has five brokers.
    assert!(
        refused(&["replay", "1", "--node", "9"])
            .contains("there is no broker 9 in this run: there are 1, 2, 3, 4 and 5")
    );
    assert!(refused(&["replay", "1", "--node", "0"]).contains("there is no broker 0"));
}

#[test]
fn a_run_that_was_cut_short_does_not_pass() {
    let (code, stdout, _) = said(&["replay", "3", "--until", "2000"]);
    assert_eq!(code, 7, "{stdout}");
    assert!(stdout.starts_with("CUT SHORT  seed 0x3 ") && !stdout.contains("PASS"), "{stdout}");
}

#[test]
fn a_saved_run_that_can_not_be_run_is_refused_by_line() {
    let good = file("good-run");
    let (code, ..) = said(&["replay", "3", "--until", "10", "--save", good.to_str().expect("text")]);
    assert_eq!(code, 7);
    let text = std::fs::read_to_string(&good).expect("it was saved");
    let line = 1 + text.lines().position(|line| line.starts_with("scenario brokers ")).expect("it has brokers");
    let bad = file("bad-run");
    let cases = [
        (text.replace("scenario brokers ", "scenario brookers "), format!("line {line}: unknown field `brookers`")),
        (
            text.clone() + "fault 7000000 {\"kind\":\"kill\",\"target\":{\"node\":8},\"down\":1}\n",
            "there is no broker 8".to_owned(),
        ),
    ];
    for (text, complaint) in cases {
        std::fs::write(&bad, text).expect("there is room");
        let stderr = refused(&["replay", bad.to_str().expect("text")]);
        assert!(stderr.contains(bad.to_str().expect("text")) && stderr.contains(&complaint), "{stderr}");
    }
}

#[test]
fn json_tells_what_passed_and_what_failed() {
    let (code, stdout, _) = said(&["run", "--seed", "3", "--seeds", "1", "--json"]);
    let told: Value = serde_json::from_str(&stdout).expect("one object");
    assert_eq!((code, told["passed"].as_u64(), told["failed"].as_u64()), (0, Some(1), Some(0)));
    assert_eq!((told["failures"].as_array().map(Vec::len), &told["passed_before"]), (Some(0), &Value::Null));
    for key in ["verdict", "acked", "vacuous", "trace_hash", "violations", "chain", "marks", "faults"] {
        assert!(told.get(key).is_some(), "{key} is gone");
    }
}

#[cfg(not(feature = "mutants"))]
#[test]
fn a_build_without_planted_bugs_says_how_to_get_one_with_them() {
    let stderr = refused(&["run", "--mutant", "ack-before-sync", "--seeds", "1"]);
    assert!(stderr.contains("-p tidelog-sim --features mutants -- run --mutant ack-before-sync"), "{stderr}");
    assert!(refused(&["mutants", "--list"]).contains("-p tidelog-sim --features mutants -- mutants"));
}

#[cfg(feature = "mutants")]
mod planted {
    use super::*;

    /// It is caught before a first record is acknowledged, in every seed.
    const BUG: [&str; 2] = ["--mutant", "ack-before-sync"];

    #[test]
    fn an_unknown_bug_is_refused_with_the_nearest() {
        let stderr = refused(&["run", "--mutant", "ack-befor-sync", "--seeds", "1"]);
        assert!(
            stderr.contains("no planted bug is called `ack-befor-sync`; the nearest are ack-before-sync, "),
            "{stderr}"
        );
        assert!(refused(&["mutants", "ack-befor-sync"]).contains("ack-before-sync"));
    }

    #[test]
    fn every_failure_is_told_and_summed_up() {
        let run = ["run", "--seed", "1", "--seeds", "4", "--keep-going"];
        let (code, stdout, _) = said(&[&run[..], &BUG[..]].concat());
        assert_eq!(code, 2, "{stdout}");
        let lines: Vec<&str> = stdout.lines().collect();
        assert!(stdout.contains("\n4 seeds from 0x1: 0 passed, 4 failed, 0 proved nothing; "), "{stdout}");
        assert_eq!(lines.last(), Some(&"     4  invariant/durable-early, first at seed 0x1"), "{stdout}");

        let (_, stdout, _) = said(&[&run[..], &BUG[..], &["--json"]].concat());
        let told: Value = serde_json::from_str(&stdout).expect("one object");
        let failures = told["failures"].as_array().expect("a list");
        let seeds: Vec<u64> = failures.iter().filter_map(|failure| failure["seed"].as_u64()).collect();
        assert_eq!(seeds, [1, 2, 3, 4]);
        for failure in failures {
            assert_eq!(failure["oracle"], "durable-early");
            assert!(failure["sentence"].as_str().is_some_and(|sentence| sentence.contains("durable")), "{failure}");
            let replay = failure["replay"].as_str().expect("a command");
            let seed = failure["seed"].as_u64().expect("a number");
            assert!(replay.ends_with(&format!("replay {seed:#x} --mutant ack-before-sync")), "{replay}");
        }
    }

    #[test]
    fn run_and_replay_name_the_same_command_and_it_fails_as_told() {
        let saved = file("saved run");
        let path = saved.to_str().expect("text");
        let replay_line = |stdout: &str| {
            let line = stdout.lines().find_map(|line| line.strip_prefix("replay: "));
            line.unwrap_or_else(|| panic!("no command in {stdout}")).to_owned()
        };
        let (code, stdout, _) = said(&[&["run", "--seed", "2", "--save", path][..], &BUG[..]].concat());
        assert_eq!(code, 2);
        let command = replay_line(&stdout);
        let (first, rest) = command.split_once(" -- ").expect("arguments");
        assert_eq!(first, "cargo run --release -p tidelog-sim --features mutants");
        let words: Vec<&str> = rest.split(' ').collect();
        let (code, stdout, _) = said(&words);
        assert_eq!((code, &replay_line(&stdout)), (2, &command));
        let (code, stdout, _) = said(&[&["replay", path][..], &BUG[..]].concat());
        assert_eq!(code, 2);
        assert_eq!(replay_line(&stdout), format!("{first} -- replay '{path}' --mutant ack-before-sync"));
    }

    #[test]
    fn the_table_of_planted_bugs_is_printed_and_written() {
        let table = file("planted.tsv");
        std::fs::write(&table, "ack-before-sync\t0x99\tstuck\nvote-before-sync\t0x7\tvote-twice\n")
            .expect("there is room");
        let path = table.to_str().expect("text");
        let hunt = ["mutants", "ack-before-sync", "--starts", "3", "--budget", "2", "--json", "--write", path];
        let (code, stdout, _) = said(&hunt);
        let told: Value = serde_json::from_str(&stdout).expect("one object");
        let bugs = told["bugs"].as_array().expect("a list");
        assert_eq!((code, bugs.len()), (0, 1), "{stdout}");
        let bug = &bugs[0];
        assert_eq!((&bug["name"], &bug["oracle"]), (&"ack-before-sync".into(), &"durable-early".into()));
        assert_eq!((bug["seed"].as_u64(), bug["after"].as_u64(), bug["median"].as_u64()), (Some(1), Some(1), Some(1)));
        assert_eq!(bug["committed_seed"].as_u64(), Some(0x99));
        let starts: Vec<u64> =
            bug["starts"].as_array().into_iter().flatten().filter_map(|it| it["seed"].as_u64()).collect();
        assert_eq!(starts, [1, 1_001, 2_001]);
        let written = std::fs::read_to_string(&table).expect("it was written");
        assert_eq!(written, "ack-before-sync\t0x1\tdurable-early\nvote-before-sync\t0x7\tvote-twice\n");

        let (code, stdout, _) = said(&["mutants", "--committed", "ack-before-sync", "--json"]);
        let told: Value = serde_json::from_str(&stdout).expect("one object");
        assert_eq!((code, &told["bugs"][0]["caught"], &told["missed"]), (0, &true.into(), &Value::Array(Vec::new())));
        let (_, stdout, _) = said(&["mutants", "--list", "--json"]);
        let told: Value = serde_json::from_str(&stdout).expect("one object");
        assert!(
            told["bugs"]
                .as_array()
                .is_some_and(|bugs| bugs.len() > 40 && bugs.iter().all(|bug| bug["sentence"].is_string()))
        );
    }

    #[test]
    fn a_panic_is_told_with_the_broker_and_what_it_was_at() {
        let (code, stdout, _) = said(&["run", "--seed", "1", "--seeds", "8", "--mutant", "recycle-early", "--json"]);
        let told: Value = serde_json::from_str(&stdout).expect("one object");
        let sentence = told["violations"][0]["sentence"].as_str().expect("a sentence");
        assert_eq!(code, 5, "{sentence}");
        let (who, rest) = sentence.split_once(" broke one of its own assertions over ").expect("who, and over what");
        assert!(who.starts_with("broker ") && rest.contains(": "), "{sentence}");
        let chain: Vec<&str> = told["chain"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        assert!(chain.iter().any(|moment| moment.contains(who)), "{chain:?}");
    }
}
