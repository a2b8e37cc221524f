//! The clients `osprey-cli` and `test-client` as programs, against the real server: what a script sees of them.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use osprey_tests::program::program;
use osprey_tests::server_process::Setup;
use tempfile::TempDir;

/// Every byte there is, with what a terminal, a shell or a line-based program would stumble over.
fn binary_value() -> Vec<u8> {
    let all: Vec<u8> = (0..=255).collect();
    [b"\r\n\0END\r\nERR \x1b[2J".as_slice(), &all.repeat(300), b"\n\r"].concat()
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// What one run left behind.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    out: Vec<u8>,
    err: String,
    code: Option<i32>,
}

impl Ran {
    fn out(&self) -> &str {
        std::str::from_utf8(&self.out).expect("a text")
    }
}

/// Runs a client against a server, with `input` at its standard input.
fn run(name: &str, address: SocketAddr, arguments: &[&str], input: &[u8]) -> Ran {
    let mut command = Command::new(program(name));
    command.arg("-addr").arg(address.to_string()).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    // One that reads no input may have ended already.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    let output = child.wait_with_output().expect("it ends");
    Ran { out: output.stdout, err: String::from_utf8_lossy(&output.stderr).into_owned(), code: output.status.code() }
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

#[test]
fn every_check_of_test_client_holds() {
    for policy in ["os", "batch", "always"] {
        let directory = directory();
        let server = Setup::new(directory.path()).sync_policy(policy).start();
        // A second time over the versions that the first has left behind.
        for _ in 0..2 {
            let ran = run("test-client", server.address, &[], b"");
            let out = ran.out();
            assert_eq!(ran.code, Some(0), "{policy}: {out}{}", ran.err);
            assert!(!out.contains("FAIL"), "{policy}: {out}");
            let (_, last) = out.trim_end().rsplit_once('\n').expect("many lines");
            let (held, rest) = last.split_once(' ').expect("a number");
            assert_eq!(rest, "checks hold, 0 fail", "{policy}");
            assert_eq!(held.parse::<usize>().expect("a number"), out.matches("  pass  ").count(), "{policy}: {out}");
        }
        // It has cleaned up.
        assert_eq!(run("osprey-cli", server.address, &["scan"], b"").out(), "");
        server.stop();
    }
}

#[test]
fn a_server_with_other_limits_fails_checks_of_test_client() {
    let directory = directory();
    let server = Setup::new(directory.path()).option("max_value_bytes", "10").start();
    let ran = run("test-client", server.address, &[], b"");
    assert_eq!(ran.code, Some(1), "{}{}", ran.out(), ran.err);
    assert!(ran.out().contains("FAIL") && ran.out().contains("ERR TOOLARGE"), "{}", ran.out());
}

#[test]
fn usage_and_connection_have_exit_codes_of_their_own() {
    for name in ["test-client", "osprey-cli"] {
        let command = if name == "osprey-cli" { &["ping"][..] } else { &[] };
        let ran = run(name, nobody(), command, b"");
        assert_eq!((ran.code, ran.out()), (Some(3), ""), "{name}: {}", ran.err);
        assert!(ran.err.contains("is the server running?"), "{name}: {}", ran.err);
        let ran = run(name, nobody(), &["--no-such-flag"], b"");
        assert_eq!((ran.code, ran.out()), (Some(2), ""), "{name}: {}", ran.err);
    }
}

#[test]
fn answers_are_lines_and_exit_codes() {
    let directory = directory();
    let server = Setup::new(directory.path()).start();
    let cli = |arguments: &str, out: &str, code: i32| {
        let ran = run("osprey-cli", server.address, &arguments.split(' ').collect::<Vec<_>>(), b"");
        assert_eq!((ran.out(), ran.code), (out, Some(code)), "{arguments}: {}", ran.err);
        ran.err
    };
    cli("ping", "PONG\n", 0);
    cli("set k v", "OK 1\n", 0);
    cli("get k", "v", 0);
    cli("set k w VER 1", "OK 2\n", 0);
    assert!(cli("set k x VER 1", "", 1).starts_with("ERR VER ") && cli("set k x nx", "", 1).starts_with("ERR EXISTS "));
    assert!(cli("set none x XX", "", 1).starts_with("ERR NEXISTS "));
    cli("exists k", "EXISTS 1\n", 0);
    cli("exists none", "EXISTS 0\n", 1);
    cli("ttl k", "-1\n", 0);
    cli("ttl none", "-2\n", 1);
    cli("expire k 4000000000000", "OK\n", 0);
    cli("persist k", "OK\n", 0);
    cli("expire none 1", "NOT_FOUND\n", 1);
    cli("incr n 5", "5\n", 0);
    cli("decr n -3", "8\n", 0);
    assert!(cli("incr k", "", 1).starts_with("ERR TYPE "));
    cli("mset a 1 b 2", "OK 2\n", 0);
    cli("mget a none", "VALUE a 1 1 -1\n1\nNOT_FOUND none\n", 1);
    cli("mget a b", "VALUE a 1 1 -1\n1\nVALUE b 1 1 -1\n2\n", 0);
    cli("scan a", "a\n", 0);
    cli("del k VER 2", "DELETED 1\n", 0);
    cli("del k", "DELETED 0\n", 1);
    assert_eq!(cli("get k", "", 1), "NOT_FOUND\n");
    assert!(cli("get", "", 2).contains("get KEY"));
    assert!(cli("frobnicate k", "", 2).contains("unknown command `frobnicate`"));
}

/// The value goes from a file or standard input to the server, and from there to a file or a pipe, without a byte changed.
#[test]
fn values_are_raw_bytes_on_every_way() {
    let directory = directory();
    let server = Setup::new(&directory.path().join("data")).start();
    let value = binary_value();
    let [source, target] = ["source", "target"].map(|name| directory.path().join(name).to_str().expect("UTF-8").to_owned());
    fs::write(&source, &value).expect("a file");
    let cli = |arguments: &[&str], input: &[u8]| run("osprey-cli", server.address, arguments, input);
    let done = |ran: Ran| assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{:?}", ran.out);

    done(cli(&["-in", &source, "set", "from-file"], b""));
    done(cli(&["-in", "-", "set", "from-pipe", "NX"], &value));
    for key in ["from-file", "from-pipe"] {
        let piped = cli(&["get", key], b"");
        assert!(piped.out == value, "{key}: {} bytes instead of {}", piped.out.len(), value.len());
        done(piped);
        let written = cli(&["-out", &target, "get", key], b"");
        assert_eq!(written.out(), format!("VALUE {} 1 -1\nValue written to {target}\n", value.len()));
        assert!(fs::read(&target).expect("the value") == value, "{key}");
    }
    let framed = [format!("VALUE from-pipe {} 1 -1\n", value.len()).as_bytes(), &value, b"\n"].concat();
    assert!(cli(&["mget", "from-pipe"], b"").out == framed);

    // A missing value is no value: nothing in the pipe, and the file stays.
    let missing = cli(&["-out", &target, "get", "none"], b"");
    assert_eq!((missing.code, missing.out()), (Some(1), "NOT_FOUND\n"));
    assert!(fs::read(&target).expect("the value before") == value);
    // Files that can't be read or written.
    assert_eq!(cli(&["-in", "/nonexistent/file", "set", "k"], b"").code, Some(2));
    assert_eq!(cli(&["-out", "/dev/null/file", "get", "from-file"], b"").code, Some(2));
}
