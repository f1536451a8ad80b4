//! A good history passes, and one that was tampered with does not: the program's own exit codes, without a cluster.

use std::path::PathBuf;
use std::process::{Command, Output};

use tidelog_properties::History;
use tidelog_properties::history::{Op, OpId, Outcome, Poll, Process, Seen, Send};

const RECORDS: u64 = 200;

fn send(value: u64, session: u64) -> Op {
    Op::Send(Send {
        producer: 1,
        session,
        idempotent: true,
        acks: -1,
        topic: "t".to_owned(),
        partition: 0,
        value,
        key_hash: None,
        digest: value,
    })
}

fn seen(value: u64) -> Seen {
    Seen { offset: value as i64, value: Some(value), digest: value, timestamp: 5 }
}

/// One producer, one final reader; `tamper` may change what the reader was told.
fn history(tamper: impl FnOnce(&mut Vec<Seen>)) -> History {
    let mut history = History::new();
    for value in 0..RECORDS {
        let id = history.invoke(Process(1), value, send(value, value / 100));
        history.complete(id, value, Outcome::Sent { offset: Some(value as i64) });
    }
    let poll = Poll { consumer: 2, topic: "t".to_owned(), partition: 0, from_offset: 0, is_final: true };
    let id: OpId = history.invoke(Process(2), RECORDS, Op::Poll(poll));
    let mut records: Vec<Seen> = (0..RECORDS).map(seen).collect();
    tamper(&mut records);
    history.complete(id, RECORDS, Outcome::Polled { records, next: RECORDS as i64 });
    history
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tidelog-jepsen"))
}

fn judged(name: &str, history: &History) -> Output {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.jsonl"));
    std::fs::write(&file, history.to_json_lines()).expect("the file can be written");
    program().arg("--judge").arg(file).output().expect("the program runs")
}

fn ends_with(output: &Output, code: i32, words: &str) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(words), "{text}");
}

#[test]
fn a_good_history_passes() {
    ends_with(&judged("good", &history(|_| {})), 0, "verdict: pass");
}

#[test]
fn a_lost_value_is_3() {
    let lose = |records: &mut Vec<Seen>| records.retain(|seen| seen.offset != 77);
    ends_with(&judged("lost", &history(lose)), 3, "lost-write");
}

#[test]
fn a_doubled_value_is_3() {
    let double = |records: &mut Vec<Seen>| records[78] = Seen { offset: 78, ..records[77].clone() };
    ends_with(&judged("doubled", &history(double)), 3, "duplicate");
}

#[test]
fn two_values_the_wrong_way_round_are_3() {
    let swap = |records: &mut Vec<Seen>| {
        let (a, b) = (records[10].offset, records[11].offset);
        records.swap(10, 11);
        (records[10].offset, records[11].offset) = (a, b);
    };
    ends_with(&judged("swapped", &history(swap)), 3, "verdict: violation");
}

#[test]
fn changed_bytes_are_3() {
    ends_with(&judged("changed", &history(|records| records[5].digest ^= 1)), 3, "wrong-bytes");
}

#[test]
fn a_history_in_which_nothing_happened_is_7() {
    ends_with(&judged("empty", &History::new()), 7, "0 records were acknowledged");
}

#[test]
fn what_is_missing_is_1_and_one_sentence() {
    let cases: [&[&str]; 4] = [
        &["--judge", "/nonexistent/history"],
        &["--python", "/nonexistent/python"],
        &["--python", "/bin/false"],
        &["--out", env!("CARGO_MANIFEST_DIR")],
    ];
    for arguments in cases {
        let output = program().args(arguments).output().expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
        assert!(said.contains("nonexistent") || said.contains("/bin/false") || said.contains("not empty"), "{said}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn words_that_nobody_reads_are_no_panic_and_no_success() {
    let lost = |full: bool| -> std::process::Stdio {
        if full {
            return std::fs::File::options().write(true).open("/dev/full").expect("it is there").into();
        }
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        writer.into()
    };
    let file = |name: &str, history: &History| {
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.jsonl"));
        std::fs::write(&file, history.to_json_lines()).expect("the file can be written");
        file
    };
    let good = file("unread-good", &history(|_| {}));
    let bad = file(
        "unread-bad",
        &history(|records| {
            records.remove(100);
        }),
    );
    for (full, code) in [(false, 141), (true, 1)] {
        let help = program().arg("--help").stdout(lost(full)).output().expect("the program runs");
        assert_eq!(help.status.code(), Some(code));
        let judged = program().arg("--judge").arg(&good).stdout(lost(full)).output().expect("the program runs");
        let said = String::from_utf8_lossy(&judged.stderr);
        assert_eq!(judged.status.code(), Some(code), "{said}");
        assert_eq!(said.contains("could not write to stdout"), full, "{said}");
        // What is wrong is told by the exit code all the same.
        let judged = program().arg("--judge").arg(&bad).stdout(lost(full)).output().expect("the program runs");
        assert_eq!(judged.status.code(), Some(3));
    }
}
