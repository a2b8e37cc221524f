//! The program `osprey-cli` as scripts use it: its standard output is a pipe here.

mod scripted_server;

use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use scripted_server::{Peer, ScriptedServer};

/// What one run left behind.
struct Ran {
    code: Option<i32>,
    out: Vec<u8>,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self { code: output.status.code(), out: output.stdout, err: String::from_utf8_lossy(&output.stderr).into_owned() }
    }
}

fn cli(address: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osprey-cli"));
    command.env("OSPREY_ADDR", address).stdin(Stdio::null());
    command
}

/// Runs `osprey-cli` against a server that follows `script`.
fn run(arguments: &[&str], script: impl FnOnce(&mut Peer) + Send + 'static) -> Ran {
    let server = ScriptedServer::start(script);
    let ran = cli(server.address()).args(arguments).output().expect("osprey-cli runs").into();
    server.finish();
    ran
}

/// One request, one reply, one line, one exit code.
fn check(arguments: &[&str], request: &'static str, reply: &'static str, out: &str, code: i32) {
    let ran = run(arguments, move |peer| {
        peer.expects(request).sends(reply).expects_end();
    });
    assert_eq!((String::from_utf8_lossy(&ran.out).as_ref(), ran.code), (out, Some(code)), "{arguments:?}: {}", ran.err);
}

#[test]
fn answers_are_lines_and_exit_codes() {
    check(&["ping"], "PING\r\n", "PONG\r\n", "PONG\n", 0);
    check(&["set", "k", "v"], "SET k 1\r\nv\r\n", "OK 1\r\n", "OK 1\n", 0);
    check(&["SET", "k", "-v", "EX", "5000", "nx"], "SET k 2 EX 5000 NX\r\n-v\r\n", "OK 1\r\n", "OK 1\n", 0);
    check(&["set", "k", "v", "nx"], "SET k 1 NX\r\nv\r\n", "ERR EXISTS it is there\r\n", "", 1);
    check(&["del", "k"], "DEL k\r\n", "DELETED 1\r\n", "DELETED 1\n", 0);
    check(&["del", "k", "VER", "3"], "DEL k VER 3\r\n", "DELETED 0\r\n", "DELETED 0\n", 1);
    check(&["exists", "k"], "EXISTS k\r\n", "EXISTS 1\r\n", "EXISTS 1\n", 0);
    check(&["exists", "k"], "EXISTS k\r\n", "EXISTS 0\r\n", "EXISTS 0\n", 1);
    check(&["expire", "k", "-5", "ver", "3"], "EXPIRE k -5 VER 3\r\n", "OK\r\n", "OK\n", 0);
    check(&["expire", "k", "5"], "EXPIRE k 5\r\n", "NOT_FOUND\r\n", "NOT_FOUND\n", 1);
    check(&["persist", "k"], "PERSIST k\r\n", "OK\r\n", "OK\n", 0);
    check(&["ttl", "k"], "TTL k\r\n", "4500\r\n", "4500\n", 0);
    check(&["ttl", "k"], "TTL k\r\n", "-1\r\n", "-1\n", 0);
    check(&["ttl", "k"], "TTL k\r\n", "-2\r\n", "-2\n", 1);
    check(&["incr", "n"], "INCR n 1\r\n", "1\r\n", "1\n", 0);
    check(&["decr", "n", "-3"], "DECR n -3\r\n", "4\r\n", "4\n", 0);
    check(&["mset", "k", "v", "l", ""], "MSET k 1 l 0\r\nv\r\n", "OK 2\r\n", "OK 2\n", 0);
    check(&["snapshot"], "SNAPSHOT\r\n", "OK\r\n", "OK\n", 0);
    check(&["snapshot"], "SNAPSHOT\r\n", "ERR READONLY no space\r\n", "", 1);
    check(&["stats"], "STATS\r\n", "keys=1\r\nEND\r\n", "keys=1\nEND\n", 0);
}

#[test]
fn a_value_goes_into_a_pipe_as_it_is() {
    let ran = run(&["get", "k"], |peer| {
        peer.expects("GET k\r\n").sends(b"VALUE 5 1 -1\r\n\x00\n\xff\r\n\r\n");
    });
    assert_eq!((ran.out.as_slice(), ran.code), (b"\x00\n\xff\r\n".as_slice(), Some(0)));
}

#[test]
fn a_missing_value_leaves_standard_output_empty() {
    let ran = run(&["get", "k"], |peer| {
        peer.expects("GET k\r\n").sends("NOT_FOUND\r\n");
    });
    assert_eq!((ran.out.as_slice(), ran.err.as_str(), ran.code), (b"".as_slice(), "NOT_FOUND\n", Some(1)));
}

#[test]
fn out_writes_the_value_to_a_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("value");
    let ran = run(&["-out", file.to_str().expect("UTF-8"), "get", "k"], |peer| {
        peer.expects("GET k\r\n").sends(b"VALUE 2 9 1700000000000\r\n\xfe\n\r\n");
    });
    assert_eq!(std::fs::read(&file).expect("the value"), b"\xfe\n");
    let expected = format!("VALUE 2 9 1700000000000\nValue written to {}\n", file.display());
    assert_eq!((String::from_utf8_lossy(&ran.out).into_owned(), ran.code), (expected, Some(0)));

    let ran = run(&["-out", "/dev/null/value", "get", "k"], |peer| {
        peer.expects("GET k\r\n").sends("VALUE 1 1 -1\r\nv\r\n");
    });
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("/dev/null/value"), "{}", ran.err);
}

#[test]
fn in_reads_the_value_from_standard_input() {
    let server = ScriptedServer::start(|peer| {
        peer.expects("SET k 5 VER 0\r\na\nb\r\n\r\n").sends("OK 1\r\n");
    });
    let mut child = cli(server.address())
        .args(["-in", "-", "set", "k", "VER", "0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("osprey-cli runs");
    child.stdin.take().expect("a pipe").write_all(b"a\nb\r\n").expect("it reads");
    let ran: Ran = child.wait_with_output().expect("it ends").into();
    server.finish();
    assert_eq!((ran.out.as_slice(), ran.code), (b"OK 1\n".as_slice(), Some(0)));
}

#[test]
fn mget_is_framed_by_lengths() {
    let ran = run(&["mget", "k", "l", "m"], |peer| {
        peer.expects("MGET k l m\r\n").sends("VALUE k 5 3 -1\r\na\nb\r\n\r\nNOT_FOUND l\r\nVALUE m 0 4 7\r\n\r\n");
    });
    let expected = b"VALUE k 5 3 -1\na\nb\r\n\nNOT_FOUND l\nVALUE m 0 4 7\n\n".as_slice();
    assert_eq!((ran.out.as_slice(), ran.code), (expected, Some(1)));
}

#[test]
fn scan_follows_the_cursor_to_its_end() {
    let ran = run(&["scan", "user:"], |peer| {
        peer.expects("SCAN 0 COUNT 1000 PREFIX user:\r\n").sends("CURSOR 17\r\nuser:1\r\nuser:2\r\nEND\r\n");
        peer.expects("SCAN 17 COUNT 1000 PREFIX user:\r\n").sends("CURSOR 4\r\nEND\r\n");
        peer.expects("SCAN 4 COUNT 1000 PREFIX user:\r\n").sends("CURSOR 0\r\nuser:3\r\nEND\r\n");
    });
    assert_eq!((ran.out.as_slice(), ran.code), (b"user:1\nuser:2\nuser:3\n".as_slice(), Some(0)));
}

#[test]
fn the_server_s_errors_go_to_standard_error() {
    let ran = run(&["incr", "k"], |peer| {
        peer.expects("INCR k 1\r\n").sends("ERR TYPE no integer\r\n");
    });
    assert_eq!((ran.out.as_slice(), ran.code), (b"".as_slice(), Some(1)));
    assert_eq!(ran.err, "ERR TYPE no integer\n");
}

#[test]
fn what_no_server_may_send_does_not_reach_the_terminal() {
    let ran = run(&["incr", "k"], |peer| {
        peer.expects("INCR k 1\r\n").sends("ERR TYPE \x1b[31mno integer\r\n");
    });
    assert_eq!((ran.out.as_slice(), ran.code), (b"".as_slice(), Some(3)));
    assert!(!ran.err.contains('\x1b'), "{}", ran.err);
}

#[test]
fn no_server_is_exit_code_3_and_says_what_to_do() {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").to_string();
    let ran: Ran = cli(&address).arg("ping").output().expect("osprey-cli runs").into();
    assert_eq!(ran.code, Some(3));
    let says = format!("cannot connect to {address}: connection refused; is the server running? start it with `osprey`\n");
    assert_eq!(ran.err, says);
}

#[test]
fn a_server_that_is_no_osprey_is_exit_code_3() {
    let ran = run(&["ping"], |peer| {
        peer.expects("PING\r\n").sends("HTTP/1.1 400 Bad Request\r\n");
    });
    assert_eq!(ran.code, Some(3), "{}", ran.err);
}

#[test]
fn a_key_that_cannot_be_sent_is_wrong_usage() {
    let ran = run(&["get", "two words"], Peer::expects_end);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let server = ScriptedServer::start(|peer| {
        peer.expects("SCAN 0 COUNT 1000\r\n").sends("CURSOR 0\r\n").sends("some-key\r\n".repeat(50_000)).sends("END\r\n");
    });
    let mut child = cli(server.address()).arg("scan").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("osprey-cli runs");
    drop(child.stdout.take());
    let ran: Ran = child.wait_with_output().expect("it ends").into();
    server.finish();
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
}

#[test]
fn without_a_command_there_must_be_a_terminal() {
    let ran: Ran = cli("127.0.0.1:1").output().expect("osprey-cli runs").into();
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("no command is given"), "{}", ran.err);
}
