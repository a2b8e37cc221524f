//! `osprey dump`, `load`, `log`, `backup`, `restore` and `import-redis` as programs: what goes out comes in again, whatever the bytes.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use osprey::client::blocking::Client;
use osprey_core::protocol::command::{SetExpiry, SetOptions};
use osprey_core::units::Millis;
use osprey_tests::program::program;
use osprey_tests::server_process::Setup;
use tempfile::TempDir;

/// The year 2100, Unix ms.
const LATER: u64 = 4_102_444_800_000;

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn osprey<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Ran {
    let output = Command::new(program("osprey")).args(arguments).stdin(Stdio::null()).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// What is said by a tool that succeeds.
fn done<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> String {
    let ran = osprey(arguments);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    ran.out
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

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
    assert!(dump.starts_with("{\"osprey_dump\":1,\"floor\":7}\n"), "{:.200}", dump);
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
        assert!(done(["check", text(&target)]).contains("0 keys"), "{line}");
    }
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
    let scratch = scratch();
    let path = |name: &str| scratch.path().join(name);
    data(&path("data"));
    let segment = path("data").join("wal-00000001.oswal");
    let mut bytes = fs::read(&segment).expect("a segment");
    bytes[5000] ^= 1;
    fs::write(&segment, bytes).expect("a segment");
    let ran = osprey(["backup", text(&path("backup")), text(&path("data"))]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(!path("backup").join("wal-00000001.oswal").exists());
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

/// What `redis-7.0.rdb` must become, and what the test makes with a real server too.
fn check_import(rdb: &Path) {
    let scratch = scratch();
    let target = scratch.path().join("data");
    let ran = osprey(["import-redis", text(rdb), text(&target)]);
    assert_eq!(ran.code, Some(1), "something is left out: {}{}", ran.out, ran.err);
    assert!(ran.out.starts_with("imported 9 strings\n"), "{}", ran.out);
    for left in [
        "1 × a hash: ahash",
        "2 × a list: ",
        "2 × a set: ",
        "1 × a sorted set: azset",
        "1 × a stream: astream",
        "1 × a key with spaces or control characters: with space",
        "1 × a key of another database (--db chooses one): otherdb",
    ] {
        assert!(ran.out.contains(&format!("left out: {left}")), "{left}: {}", ran.out);
    }
    let compressed = "abcdefgh".repeat(200);
    let expected = [
        r#"{"key":"binary","value_base64":"AP8NCv4=","version":1}"#.to_owned(),
        format!(r#"{{"key":"compressed","value":"{compressed}","version":1}}"#),
        r#"{"key":"empty","value":"","version":1}"#.to_owned(),
        format!(r#"{{"key":"expiring","value":"later","version":1,"expiry":{LATER}}}"#),
        r#"{"key":"int16","value":"12345","version":1}"#.to_owned(),
        r#"{"key":"int32","value":"-1234567890","version":1}"#.to_owned(),
        r#"{"key":"int64","value":"1234567890123456789","version":1}"#.to_owned(),
        r#"{"key":"int8","value":"-12","version":1}"#.to_owned(),
        r#"{"key":"plain","value":"hello","version":1}"#.to_owned(),
    ];
    let dump = done(["dump", text(&target)]);
    assert_eq!(dump.lines().skip(1).collect::<Vec<_>>(), expected);
    // Through a server the same.
    let server = Setup::new(&scratch.path().join("served")).start();
    let ran = osprey(["import-redis", text(rdb), "--addr", &server.address.to_string()]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    server.stop();
    assert_eq!(done(["dump", text(&scratch.path().join("served"))]).lines().skip(1).collect::<Vec<_>>(), expected);
}

/// Made by Redis 7.0.15 with the commands that are below.
fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/redis-7.0.rdb")
}

#[test]
fn strings_come_over_from_redis() {
    check_import(&fixture());
    let scratch = scratch();
    let other = osprey(["import-redis", text(&fixture()), text(&scratch.path().join("one")), "--db", "1"]);
    assert!(other.out.starts_with("imported 1 string\n"), "{}", other.out);
}

#[test]
fn a_damaged_rdb_file_is_refused_before_anything_is_written() {
    let scratch = scratch();
    let bytes = fs::read(fixture()).expect("the fixture");
    let file = scratch.path().join("damaged.rdb");
    for at in (9..bytes.len()).step_by(11) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        fs::write(&file, &damaged).expect("a file");
        let ran = osprey(["import-redis", text(&file), text(&scratch.path().join("data"))]);
        assert_eq!(ran.code, Some(1), "byte {at}: {}", ran.err);
        assert!(ran.err.contains("its checksum does not match"), "byte {at}: {}", ran.err);
    }
    fs::write(&file, &bytes[..bytes.len() - 20]).expect("a file");
    assert_eq!(osprey(["import-redis", text(&file), text(&scratch.path().join("data"))]).code, Some(1));
    assert!(!scratch.path().join("data").exists());
}

#[test]
fn strings_come_over_from_the_redis_that_is_installed() {
    let scratch = scratch();
    let socket = scratch.path().join("socket");
    let server = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--unixsocket", text(&socket), "--dir", text(scratch.path())])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut server) = server else {
        eprintln!("NOT RUN: redis-server is not installed (Debian: apt-get install redis-server); the fixture was read instead");
        return;
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(std::time::Instant::now() < deadline, "redis-server does not start");
        thread::sleep(Duration::from_millis(5));
    }
    let compressed = "abcdefgh".repeat(200);
    let commands = format!(
        r#"SET plain "hello"
SET empty ""
SET int8 -12
SET int16 12345
SET int32 -1234567890
SET int64 1234567890123456789
SET "with space" x
SET binary "\x00\xff\r\n\xfe"
SET expiring later PXAT {LATER}
SET compressed {compressed}
RPUSH alist a b c
RPUSH longlist {compressed} b
HSET ahash f1 v1 f2 v2
SADD intset 1 2 3
SADD aset x y z
ZADD azset 1.5 a 2 b
XADD astream 1-1 f v
XADD astream 2-1 f v
XGROUP CREATE astream agroup 0
XREADGROUP GROUP agroup consumer COUNT 1 STREAMS astream >
SELECT 1
SET otherdb x
SAVE
SHUTDOWN NOSAVE
"#
    );
    let mut client =
        Command::new("redis-cli").args(["-s", text(&socket)]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("redis-cli");
    client.stdin.take().expect("a pipe").write_all(commands.as_bytes()).expect("it reads");
    client.wait().expect("it ends");
    server.wait().expect("it ends");
    check_import(&scratch.path().join("dump.rdb"));
}

/// A directory with two snapshots and a log that begins behind the first write; returns the names of its snapshots, the newest last.
fn data_with_snapshots(directory: &Path) -> Vec<String> {
    // The last round in a run, and so a segment, of its own.
    for rounds in [0..2, 2..3] {
        let server = Setup::new(directory).start();
        let mut client = Client::connect(&server.address.to_string()).expect("a server");
        for round in rounds {
            for key in 0..20 {
                client.set(format!("key:{key}"), format!("{round}"), &SetOptions::default()).expect("stored");
            }
            if round < 2 {
                client.snapshot().expect("published");
            }
        }
        server.stop();
    }
    let mut names: Vec<String> =
        fs::read_dir(directory).expect("a directory").flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| name.ends_with(".osnap"));
    names.sort();
    assert!(!names.is_empty(), "no snapshot");
    names
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

#[test]
fn a_damaged_snapshot_is_set_aside_and_nothing_is_lost() {
    let scratch = scratch();
    let data = scratch.path().join("data");
    let snapshots = data_with_snapshots(&data);
    let dump = done(["dump", text(&data)]);
    // The spare first, which a server would not look at.
    for name in &snapshots {
        let mut bytes = fs::read(data.join(name)).expect("a snapshot");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(data.join(name), bytes).expect("a snapshot");
        let checked = osprey(["check", text(&data)]);
        assert_eq!(checked.code, Some(3), "{}", checked.out);
        assert!(checked.out.contains(&format!("damaged: {name}: ")), "{}", checked.out);
        let repaired = osprey(["repair", text(&data), "--yes"]);
        assert_eq!(repaired.code, Some(0), "{}{}", repaired.out, repaired.err);
        assert!(
            repaired.out.contains("no record is lost") && repaired.out.contains(&format!("{name}: moved to quarantine")),
            "{}",
            repaired.out
        );
        assert_eq!((done(["dump", text(&data)]), osprey(["check", text(&data)]).code), (dump.clone(), Some(0)));
    }
    Setup::new(&data).start().stop();
}

/// Values long enough that a snapshot has several blocks, two snapshots, a log that begins behind the first LSN and goes on behind the second; and the dump of it.
fn data_in_blocks(directory: &Path, rounds: u32) -> String {
    for round in 0..=rounds {
        let server = Setup::new(directory).start();
        let mut client = Client::connect(&server.address.to_string()).expect("a server");
        // Of the last round some keys only: what the snapshots have of the others is all there is of them.
        for key in (0..200).filter(|key| round == 0 || key % 10 == round) {
            client.set(format!("key:{key}"), format!("{round}:{}", "x".repeat(2000)), &SetOptions::default()).expect("stored");
        }
        client.del(format!("key:{}", 190 + round), None).expect("deleted");
        if round < rounds {
            client.snapshot().expect("published");
            // What only generations before needed goes behind the answer.
            let before = directory.join(format!("wal-{round:08}.oswal"));
            (0..1000).take_while(|_| before.exists()).for_each(|_| thread::sleep(Duration::from_millis(5)));
        }
        server.stop();
    }
    assert!(!directory.join("wal-00000001.oswal").exists(), "two generations, none of which is the log from its beginning");
    done(["dump", text(directory)])
}

fn snapshots_of(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory").flatten().map(|entry| entry.path());
    let mut snapshots: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|extension| extension == "osnap")).collect();
    snapshots.sort();
    snapshots
}

/// Where the blocks of a snapshot begin, and its footer.
fn blocks(bytes: &[u8]) -> Vec<usize> {
    let mut offsets = vec![56];
    while let Some(rest) = bytes.get(*offsets.last().expect("one")..).filter(|rest| rest.starts_with(b"OSB1")) {
        let payload = u32::from_le_bytes(rest[4..8].try_into().expect("four bytes"));
        offsets.push(offsets.last().expect("one") + 24 + payload as usize);
    }
    offsets
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("a file");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("a file");
}

/// Each key's line of a dump.
fn lines(dump: &str) -> std::collections::BTreeMap<String, String> {
    let key = |line: &str| line.split("\"key\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a key").to_owned();
    dump.lines().skip(1).map(|line| (key(line), line.to_owned())).collect()
}

/// Every snapshot is damaged, each somewhere else: what is whole of them is put together, with the log behind.
#[test]
fn of_damaged_snapshots_whole_blocks_are_saved() {
    let scratch = scratch();
    let data = scratch.path().join("data");
    let dump = data_in_blocks(&data, 3);
    let [older, newer] = snapshots_of(&data).try_into().expect("two snapshots");
    // The header of one, a block in the middle and the footer of the other: every entry is whole in one of them.
    let in_newer = blocks(&fs::read(&newer).expect("a snapshot"));
    assert!(in_newer.len() > 4, "{in_newer:?}");
    flip(&older, 20);
    flip(&newer, in_newer[1] + 100);
    flip(&newer, in_newer[in_newer.len() - 1] + 12);
    let checked = osprey(["check", text(&data)]);
    assert_eq!(checked.code, Some(1), "{}", checked.out);
    let refused = Setup::new(&data).try_start().expect_err("no generation is whole");
    assert_eq!(refused.status.code(), Some(1), "{}", refused.log);
    let repaired = osprey(["repair", text(&data), "--yes"]);
    assert_eq!(repaired.code, Some(0), "{}{}", repaired.out, repaired.err);
    assert!(repaired.out.contains("no record of the log is lost") && !repaired.out.contains("lost: "), "{}", repaired.out);
    assert_eq!(lines(&done(["dump", text(&data)])), lines(&dump), "{}", repaired.out);
    assert_eq!(osprey(["check", text(&data)]).code, Some(0));
    // Versions that cannot be known are not given again: a new key's is above every LSN.
    let server = Setup::new(&data).start();
    let mut client = Client::connect(&server.address.to_string()).expect("a server");
    assert!(client.set("new", "", &SetOptions::default()).expect("stored").0 > 200, "{}", repaired.out);
    server.stop();
    let quarantined =
        fs::read_dir(&data).expect("a directory").flatten().find(|entry| entry.file_name().to_string_lossy().starts_with("quarantine-"));
    let quarantine = quarantined.expect("a quarantine").path();
    for path in [&older, &newer] {
        assert!(quarantine.join(path.file_name().expect("a name")).exists(), "{}", repaired.out);
    }
}

/// One block is damaged in both: its entries are named, but for those that were written later; all others stay.
#[test]
fn what_no_snapshot_has_whole_is_named() {
    let scratch = scratch();
    let data = scratch.path().join("data");
    let dump = data_in_blocks(&data, 3);
    let snapshots = snapshots_of(&data);
    for path in &snapshots {
        let offsets = blocks(&fs::read(path).expect("a snapshot"));
        // In the value of the block's first entry: keys can still be made out. (Each run has an order of its own, so the blocks are not the same.)
        flip(path, offsets[1] + 24 + 4 + 500);
        flip(path, offsets[2] + 24 + 4 + 500);
    }
    let checked = osprey(["check", text(&data)]);
    let repaired = osprey(["repair", text(&data), "--yes"]);
    assert_eq!(repaired.code, Some(0), "{}{}", repaired.out, repaired.err);
    let named: Vec<String> = repaired
        .out
        .lines()
        .filter_map(|line| line.strip_prefix("lost: the entry of ")?.strip_suffix(", unless it was written later"))
        .map(str::to_owned)
        .collect();
    assert!(named.len() > 5, "{}", repaired.out);
    assert!(named.iter().all(|key| checked.out.contains(&format!("lost: the entry of {key},"))), "a check says the same: {}", checked.out);
    let (before, after) = (lines(&dump), lines(&done(["dump", text(&data)])));
    assert!(after.len() < before.len(), "something is lost");
    for (key, line) in &before {
        match after.get(key) {
            Some(found) => assert_eq!(found, line),
            None => assert!(named.contains(key), "{key} is gone without a word: {}", repaired.out),
        }
    }
    assert!(after.keys().all(|key| before.contains_key(key)), "nothing comes back");
    assert_eq!(osprey(["check", text(&data)]).code, Some(0));
    Setup::new(&data).start().stop();
}

/// A start doesn't need it, and doesn't notice; a check says what could not be fallen back on, and the next snapshots put it right.
#[test]
fn damage_to_what_only_the_older_generation_needs_is_warned_of() {
    let scratch = scratch();
    let data = scratch.path().join("data");
    let dump = data_in_blocks(&data, 3);
    let sound = done(["check", text(&data)]);
    assert!(sound.contains("and the log behind it: the same data, if ever a server has to fall back on it"), "{sound}");
    let oldest =
        fs::read_dir(&data).expect("a directory").flatten().map(|entry| entry.path()).filter(|path| text(path).ends_with(".oswal")).min();
    let oldest = oldest.expect("a segment");
    let bytes = fs::read(&oldest).expect("a segment");
    let damages: [&dyn Fn(); 4] =
        [&|| flip(&oldest, 4096 + 200), &|| flip(&oldest, 40), &|| fs::write(&oldest, &bytes[..5000]).expect("a segment"), &|| {
            fs::remove_file(&oldest).expect("a segment");
        }];
    for (at, damage) in damages.iter().enumerate() {
        damage();
        let checked = osprey(["check", text(&data)]);
        assert_eq!(checked.code, Some(3), "{at}: {}{}", checked.out, checked.err);
        assert!(checked.out.contains("warning: snap-") && checked.out.contains("\nsound: "), "{at}: {}", checked.out);
        let repaired = osprey(["repair", text(&data), "--yes"]);
        assert_eq!((repaired.code, repaired.out.contains("nothing to repair")), (Some(0), true), "{at}: {}", repaired.out);
        assert_eq!(done(["dump", text(&data)]), dump, "{at}");
        fs::write(&oldest, &bytes).expect("a segment");
    }
    flip(&oldest, 4096 + 200);
    let server = Setup::new(&data).start();
    let mut client = Client::connect(&server.address.to_string()).expect("a server");
    for round in 0..2 {
        client.set("key:0", format!("{round}"), &SetOptions::default()).expect("stored");
        client.snapshot().expect("published");
    }
    server.stop();
    assert!(!oldest.exists(), "it has gone with its generation");
    assert_eq!(osprey(["check", text(&data)]).code, Some(0));
}

#[test]
fn without_any_snapshot_a_log_that_begins_late_is_what_is_left() {
    let scratch = scratch();
    let data = scratch.path().join("data");
    let snapshots = data_with_snapshots(&data);
    for name in &snapshots {
        let mut bytes = fs::read(data.join(name)).expect("a snapshot");
        // Not a block is whole.
        bytes.truncate(100);
        fs::write(data.join(name), bytes).expect("a snapshot");
    }
    // What a run would have removed in time.
    fs::remove_file(data.join("wal-00000001.oswal")).expect("a segment");
    assert_eq!(osprey(["check", text(&data)]).code, Some(1));
    let repaired = osprey(["repair", text(&data), "--yes"]);
    assert_eq!(repaired.code, Some(0), "{}{}", repaired.out, repaired.err);
    assert!(repaired.out.contains("lost: LSN 1–40,"), "{}", repaired.out);
    assert_eq!(done(["dump", text(&data)]).matches("\"value\":\"2\"").count(), 20);
    Setup::new(&data).start().stop();
}
