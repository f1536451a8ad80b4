//! Whose a data directory is, how often it was started, and who may use it.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::Scratch;
use tidelog::data_dir::{DataDir, FORMAT};
use tidelog::error::StartError;
use tidelog_core::id::{DirectoryId, NodeId};

const NODE: NodeId = NodeId(1);

#[test]
fn identity_stays_and_starts_are_counted() {
    let scratch = Scratch::new();
    let path = scratch.join("deep/er");
    let first = DataDir::open(&path, NODE).expect("a missing directory is made");
    assert!(first.formatted());
    assert_eq!(first.boot().counter, 1);
    let (directory, seed) = (first.directory(), first.boot().seed);
    assert_ne!(directory, DirectoryId::ZERO);
    drop(first);
    for counter in 2..5 {
        let again = DataDir::open(&path, NODE).expect("it is ours");
        assert!(!again.formatted());
        assert_eq!(again.directory(), directory);
        assert_eq!(again.boot().counter, counter);
        assert_ne!(again.boot().seed, seed);
    }
}

#[test]
fn a_start_that_is_refused_is_not_counted() {
    let scratch = Scratch::new();
    drop(DataDir::open(scratch.path(), NODE).expect("ours"));
    let _ = DataDir::open(scratch.path(), NodeId(2)).expect_err("another node's");
    assert_eq!(DataDir::open(scratch.path(), NODE).expect("ours").boot().counter, 2);
}

#[test]
fn two_directories_are_told_apart() {
    let scratch = Scratch::new();
    let one = DataDir::open(&scratch.join("one"), NODE).expect("ours");
    let two = DataDir::open(&scratch.join("two"), NODE).expect("ours");
    assert_ne!(one.directory(), two.directory());
}

#[test]
fn a_directory_in_use_is_refused() {
    let scratch = Scratch::new();
    let first = DataDir::open(scratch.path(), NODE).expect("ours");
    let error = DataDir::open(scratch.path(), NODE).expect_err("locked");
    assert!(matches!(error, StartError::Locked { .. }), "{error}");
    drop(first);
    DataDir::open(scratch.path(), NODE).expect("free again");
}

#[test]
fn the_directory_of_another_node_is_refused() {
    let scratch = Scratch::new();
    drop(DataDir::open(scratch.path(), NODE).expect("ours"));
    let error = DataDir::open(scratch.path(), NodeId(7)).expect_err("another node's");
    let sentence = error.to_string();
    assert!(sentence.contains("node 1") && sentence.contains("node 7"), "{sentence}");
}

#[test]
fn another_format_is_refused_whatever_else_it_says() {
    let scratch = Scratch::new();
    let later = FORMAT + 1;
    fs::write(scratch.join("meta.json"), format!(r#"{{"format":{later},"who":"knows"}}"#)).expect("a file");
    let error = DataDir::open(scratch.path(), NODE).expect_err("a later format");
    assert!(matches!(error, StartError::OtherFormat { found, .. } if found == later), "{error}");
}

#[test]
fn a_damaged_identity_is_refused_and_left_alone() {
    let whole = {
        let scratch = Scratch::new();
        drop(DataDir::open(scratch.path(), NODE).expect("ours"));
        fs::read_to_string(scratch.join("meta.json")).expect("its identity")
    };
    let cluster = whole.split('"').nth(5).expect("the cluster's digits").to_owned();
    let damaged = [
        String::new(),
        "{}".to_owned(),
        whole[..whole.trim_end().len() / 2].to_owned(),
        whole.replace(&cluster, &cluster[1..]),
        whole.replace(&cluster, &format!("+{}", &cluster[1..])),
    ];
    for text in damaged {
        let scratch = Scratch::new();
        fs::write(scratch.join("meta.json"), &text).expect("a file");
        let error = DataDir::open(scratch.path(), NODE).expect_err("damaged");
        assert!(matches!(error, StartError::BadIdentity { .. }), "{text}: {error}");
        assert_eq!(fs::read_to_string(scratch.join("meta.json")).expect("still there"), text);
    }
}

#[test]
fn a_directory_with_other_files_is_not_formatted() {
    let scratch = Scratch::new();
    fs::write(scratch.join("holiday.jpg"), b"").expect("a file");
    let error = DataDir::open(scratch.path(), NODE).expect_err("not empty");
    assert!(error.to_string().contains("holiday.jpg"), "{error}");
    assert!(!scratch.join("meta.json").exists());
}

#[test]
fn a_formatting_cut_short_is_done_again() {
    let scratch = Scratch::new();
    fs::write(scratch.join("meta.json.new"), b"{\"for").expect("a file");
    fs::write(scratch.join("lock"), b"").expect("a file");
    assert!(DataDir::open(scratch.path(), NODE).expect("as good as empty").formatted());
}

#[test]
fn a_directory_started_too_often_is_refused() {
    let scratch = Scratch::new();
    drop(DataDir::open(scratch.path(), NODE).expect("ours"));
    let file = scratch.join("meta.json");
    let text = fs::read_to_string(&file).expect("its identity");
    fs::write(&file, text.replace("\"boots\": 1", "\"boots\": 268435455")).expect("a file");
    let error = DataDir::open(scratch.path(), NODE).expect_err("worn out");
    assert!(matches!(error, StartError::WornOut { .. }), "{error}");
}

#[test]
fn missing_permission_is_told() {
    let scratch = Scratch::new();
    let path = scratch.join("closed");
    fs::create_dir(&path).expect("a directory");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o500)).expect("ours to close");
    // The superuser is denied nothing; then there is nothing to tell.
    if fs::write(path.join("probe"), b"").is_err() {
        let error = DataDir::open(&path, NODE).expect_err("no permission");
        assert!(error.to_string().starts_with("missing permission to write"), "{error}");
    }
    // A file where the directory should be is told whoever we are.
    let file = scratch.join("file");
    fs::write(&file, b"").expect("a file");
    let error = DataDir::open(&file, NODE).expect_err("a file");
    assert!(error.to_string().contains("create the directory"), "{error}");
}
