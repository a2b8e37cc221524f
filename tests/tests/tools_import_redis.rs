//! `osprey import-redis` as a program: on a file that Redis 7.0 has written, and on one by the Redis that is installed.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use osprey_tests::server_process::Setup;
use osprey_tests::tool::{done, osprey, text};
use tempfile::TempDir;

/// The year 2100, Unix ms.
const LATER: u64 = 4_102_444_800_000;

fn scratch() -> TempDir {
    tempfile::tempdir().expect("a directory")
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
