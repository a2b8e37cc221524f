//! `osprey backup` and `restore` as programs: the copy is the data, all of it or as of a moment.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use osprey::client::blocking::Client;
use osprey_core::protocol::command::SetOptions;
use osprey_tests::sample_log::{directory, segments};
use osprey_tests::sample_snapshots::{data_with_snapshots, flip};
use osprey_tests::server_process::Setup;
use osprey_tests::tool::{done, osprey, text};
use tempfile::TempDir;

fn scratch() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

#[test]
fn a_backup_is_restored_whole_or_as_of_an_earlier_moment() {
    let scratch = scratch();
    let path = |name: &str| scratch.path().join(name);
    let server = Setup::new(&path("data")).sync_policy("always").start();
    let mut client = Client::connect(&server.address.to_string()).expect("a server");
    let mut set = |value: &str| client.set("key", value, &SetOptions::default()).expect("stored");
    set("first");
    set("second");
    thread::sleep(Duration::from_millis(30));
    let between = jiff_now();
    thread::sleep(Duration::from_millis(30));
    set("third");
    server.stop();

    let said = done(["backup", text(&path("backup")), text(&path("data"))]);
    assert!(said.contains("1 key: copied and verified"), "{said}");
    assert_eq!(osprey(["backup", text(&path("backup")), text(&path("data"))]).code, Some(2), "not over another");
    let value_of = |moment: &[&str], name: &str| {
        let (backup, target) = (path("backup"), path(name));
        let arguments = [&["restore", text(&backup), text(&target)], moment].concat();
        done(arguments);
        assert_eq!(osprey(["check", text(&target)]).code, Some(0));
        done(["dump", text(&target)]).lines().last().expect("a line").to_owned()
    };
    let entry = |value, version| format!("{{\"key\":\"key\",\"value\":\"{value}\",\"version\":{version}}}");
    assert_eq!(value_of(&[], "whole"), entry("third", 3));
    assert_eq!(value_of(&["--at", "1"], "lsn"), entry("first", 1));
    assert_eq!(value_of(&["--at", &between], "time"), entry("second", 2));
    let early = osprey(["restore", text(&path("backup")), text(&path("early")), "--at", "2000-01-01T00:00:00Z"]);
    assert_eq!(early.code, Some(2), "{}", early.err);
    assert!(!path("early").exists() || fs::read_dir(path("early")).expect("a directory").next().is_none());
    assert_eq!(osprey(["restore", text(&path("backup")), text(&path("x")), "--at", "yesterday"]).code, Some(2));
    let occupied = osprey(["restore", text(&path("backup")), text(&path("whole"))]);
    assert_eq!((occupied.code, occupied.err.contains("is not empty")), (Some(2), true), "{}", occupied.err);
    // Its server goes on from there.
    let server = Setup::new(&path("time")).start();
    let mut client = Client::connect(&server.address.to_string()).expect("a server");
    assert_eq!(client.get("key").expect("read").expect("there").value, b"second");
    client.set("key", "another third", &SetOptions::default()).expect("stored");
    server.stop();
    assert_eq!(osprey(["check", text(&path("time"))]).code, Some(0));
}

/// As `--at` wants it.
fn jiff_now() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S.%3NZ"]).output().expect("date");
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

#[test]
fn a_damaged_directory_is_not_backed_up() {
    let (scratch, data) = (scratch(), directory(&segments()));
    flip(&data.path().join("wal-00000001.oswal"), 5000);
    let copy = scratch.path().join("backup");
    let ran = osprey(["backup", text(&copy), text(data.path())]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(!copy.exists());
}

#[test]
fn snapshots_are_checked_and_backed_up_with_the_log() {
    let scratch = scratch();
    let path = |name: &str| scratch.path().join(name);
    let snapshots = data_with_snapshots(&path("data"));
    let checked = done(["check", text(&path("data"))]);
    assert!(checked.contains(&format!("{}: whole, 20 keys", snapshots.last().expect("one"))), "{checked}");
    let dump = done(["dump", text(&path("data"))]);
    assert_eq!(dump.lines().count(), 21, "{dump}");
    done(["backup", text(&path("backup")), text(&path("data"))]);
    assert!(snapshots.iter().all(|name| path("backup").join(name).exists()));
    done(["restore", text(&path("backup")), text(&path("restored"))]);
    assert_eq!(done(["dump", text(&path("restored"))]), dump);
    // The end of the second round: the snapshots up to there are kept.
    done(["restore", text(&path("backup")), text(&path("earlier")), "--at", "40"]);
    assert!(done(["dump", text(&path("earlier"))]).lines().skip(1).all(|line| line.contains("\"value\":\"1\"")));
}
