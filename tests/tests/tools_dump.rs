//! `osprey dump`, `load` and `log` as programs: what goes out comes in again, whatever the bytes.

use std::fs;
use std::path::Path;

use osprey::client::blocking::Client;
use osprey_core::protocol::command::{SetExpiry, SetOptions};
use osprey_core::units::Millis;
use osprey_tests::server_process::Setup;
use osprey_tests::tool::{done, osprey, text};
use tempfile::TempDir;

/// The year 2100, Unix ms.
const LATER: u64 = 4_102_444_800_000;

fn scratch() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// A directory with keys, values, versions and expiries of all kinds, and a floor.
fn data(directory: &Path) {
    let server = Setup::new(directory).start();
    let mut client = Client::connect(&server.address.to_string()).expect("a server");
    let plain = SetOptions::default();
    let every: Vec<u8> = (0..=255).collect();
    for (key, value) in [
        (b"greeting".as_slice(), b"hello".as_slice()),
        (b"empty", b""),
        (b"bytes", &every),
        ("schlüssel".as_bytes(), "\u{fffd}\"quoted\", \\ and\r\nlines\n".as_bytes()),
        (b"\xff\xfe", b"value of a key that is no text"),
        (b"=cmd()", b"'1,2"),
        (b"large", &every.repeat(5000)),
    ] {
        client.set(key, value, &plain).expect("stored");
    }
    for _ in 0..299 {
        client.incr("counter", 1).expect("counted");
    }
    client.set("lock", "held", &SetOptions { expiry: SetExpiry::At(Millis(LATER)), ..plain }).expect("stored");
    for _ in 0..7 {
        client.set("gone", "x", &plain).expect("stored");
    }
    client.set("over", "x", &SetOptions { expiry: SetExpiry::In(1), ..plain }).expect("stored");
    client.del("gone", None).expect("deleted");
    server.stop();
}

#[test]
fn a_dump_loaded_and_dumped_again_is_the_same() {
    let scratch = scratch();
    let path = |name: &str| scratch.path().join(name);
    data(&path("data"));
    let dump = done(["dump", text(&path("data"))]);
    assert!(dump.starts_with("{\"osprey_dump\":1,\"floor\":7,\"keys\":9}\n"), "{:.200}", dump);
    assert!(dump.contains("{\"key\":\"greeting\",\"value\":\"hello\",\"version\":1}\n") && dump.contains("\"key_base64\":\"//4=\""));
    assert!(dump.contains(&format!("\"version\":8,\"expiry\":{LATER}}}\n")) || dump.contains(&format!("\"expiry\":{LATER}}}\n")));
    for form in ["jsonl", "csv"] {
        let (file, loaded) = (path(&format!("dump.{form}")), path(&format!("from-{form}")));
        done(["dump", text(&path("data")), "--output", text(&file)]);
        assert_eq!(done(["load", text(&file), text(&loaded)]), "loaded 9 keys\n");
        assert_eq!(done(["dump", text(&loaded)]), dump, "{form}");
        assert_eq!(osprey(["check", text(&loaded)]).code, Some(0));
        // A server serves it, and goes on with its versions: a new key is above the floor, one that stays above its own.
        let server = Setup::new(&loaded).start();
        let mut client = Client::connect(&server.address.to_string()).expect("a server");
        assert_eq!(client.set("new", "", &SetOptions::default()).expect("stored").0, 8);
        assert_eq!(client.get("counter").expect("read").expect("there").version.0, 299);
        server.stop();
        let again = osprey(["load", text(&file), text(&loaded)]);
        assert_eq!(again.code, Some(2));
        assert!(again.err.contains("is not empty"), "{}", again.err);
    }
}

#[test]
fn a_dump_is_loaded_through_a_server() {
    let scratch = scratch();
    let path = |name: &str| scratch.path().join(name);
    data(&path("data"));
    done(["dump", text(&path("data")), "-o", text(&path("dump"))]);
    let server = Setup::new(&path("other")).start();
    assert_eq!(done(["load", text(&path("dump")), "--addr", &server.address.to_string()]), "loaded 9 keys\n");
    server.stop();
    // All but the versions.
    let without_versions = |dump: String| -> Vec<serde_json::Value> {
        dump.lines()
            .skip(1)
            .map(|line| {
                let mut entry: serde_json::Value = serde_json::from_str(line).expect("JSON");
                entry["version"] = 0.into();
                entry
            })
            .collect()
    };
    assert_eq!(without_versions(done(["dump", text(&path("other"))])), without_versions(fs::read_to_string(path("dump")).expect("a dump")));
}

#[test]
fn what_is_no_dump_is_refused_by_line_and_leaves_no_data() {
    let scratch = scratch();
    let file = scratch.path().join("dump.jsonl");
    for (line, fault) in [
        ("{\"key\":\"a\"}", "one of value and value_base64"),
        ("{\"key\":\"a b\",\"value\":\"\"}", "spaces"),
        ("{\"key\":\"\",\"value\":\"\"}", "empty"),
        ("{\"kee\":\"a\",\"value\":\"\"}", "kee"),
        ("{\"key_base64\":\"%\",\"value\":\"\"}", "key_base64"),
        ("nonsense", "line 2"),
    ] {
        fs::write(&file, format!("{{\"key\":\"good\",\"value\":\"\"}}\n{line}\n")).expect("a file");
        let target = scratch.path().join("target");
        let ran = osprey(["load", text(&file), text(&target)]);
        assert_eq!(ran.code, Some(1), "{line}: {}", ran.err);
        assert!(ran.err.contains("line 2") && ran.err.contains(fault), "{line}: {}", ran.err);
        assert!(!target.exists(), "{line}");
    }
}

#[test]
fn the_log_is_printed_and_filtered() {
    let scratch = scratch();
    data(scratch.path());
    let all = done(["log", text(scratch.path())]);
    assert!(all.starts_with("wal-00000001.oswal: ") && all.contains("DATA LSN 1") && all.contains("SEAL"), "{:.500}", all);
    let one = done(["log", text(scratch.path()), "--key", "gone"]);
    assert_eq!(
        (one.matches(" SET gone ").count(), one.matches(" DEL gone version 7").count(), one.matches("greeting").count()),
        (7, 1, 0),
        "{one}"
    );
    let some = done(["log", text(scratch.path()), "--json", "--from-lsn", "2", "--to-lsn", "3"]);
    let lsns: Vec<u64> = some
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["lsn"].as_u64().expect("a number"))
        .collect();
    assert_eq!(lsns, [2, 3]);
}
