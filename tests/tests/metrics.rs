//! Metrics over HTTP: what Prometheus gets, and what becomes of requests that are none.

#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use osprey_tests::server_process::{ServerProcess, Setup};

/// A server with metrics, and where they are.
fn start(directory: &tempfile::TempDir) -> (ServerProcess, String) {
    let server = Setup::new(directory.path()).option("metrics_addr", "127.0.0.1:0").start();
    let line = server.wait_for_line("metrics are at http://").unwrap();
    let (_, address) = line.split_once("http://").unwrap();
    let address = address.strip_suffix("/metrics").unwrap().to_owned();
    (server, address)
}

fn ask(address: &str, request: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn metrics_are_the_numbers_of_stats() {
    let directory = tempfile::tempdir().unwrap();
    let (server, address) = start(&directory);
    let mut client = server.connect();
    for key in ["a", "b", "c"] {
        client.set(key.as_bytes(), b"value").unwrap();
    }
    client.get(b"a").unwrap();
    client.get(b"missing").unwrap();
    let answer = ask(&address, "GET /metrics HTTP/1.1\r\nHost: here\r\nAccept: */*\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    for line in [
        "osprey_keys 3",
        "osprey_clients 1",
        "osprey_commands_total{command=\"set\"} 3",
        "osprey_commands_total{command=\"get\"} 2",
        "osprey_get_hits_total 1",
        "osprey_get_misses_total 1",
        "osprey_lsn_last 3",
        "osprey_read_only 0",
    ] {
        assert!(body.lines().any(|found| found == line), "{line}\n{body}");
    }
    // Each metric has its lines of HELP and TYPE before it.
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        assert!(body.contains(&format!("# HELP {name} ")) && body.contains(&format!("# TYPE {name} ")), "{line}");
    }
    server.stop();
}

/// Each number of `STATS` is there under some name, with the value that it has.
#[test]
fn snapshots_log_and_directory_are_shown() {
    let directory = tempfile::tempdir().unwrap();
    let (server, address) = start(&directory);
    let body = |address: &str| ask(address, "GET /metrics HTTP/1.1\r\n\r\n").split_once("\r\n\r\n").unwrap().1.to_owned();
    let number = |body: &str, name: &str| -> f64 {
        let line = body.lines().find_map(|line| line.strip_prefix(&format!("osprey_{name} ")));
        line.unwrap_or_else(|| panic!("{name} is not in {body}")).parse().unwrap()
    };
    let before = body(&address);
    for name in ["snapshots_total", "snapshot_failures_total", "snapshot_running", "snapshot_bytes", "snapshot_last_lsn", "snapshots_kept"]
    {
        assert_eq!(number(&before, name), 0.0, "{name}");
    }
    let mut client = osprey::client::blocking::Client::connect(&server.address.to_string()).unwrap();
    for key in 0..100 {
        client.set(format!("key:{key}"), [b'x'; 100], &osprey::client::SetOptions::default()).unwrap();
    }
    client.snapshot().unwrap();
    client.set("behind", "it", &osprey::client::SetOptions::default()).unwrap();
    let stats: std::collections::BTreeMap<String, String> = client.stats().unwrap().into_iter().collect();
    let after = body(&address);
    for (name, stat) in [
        ("snapshots_total", "snapshots_total"),
        ("snapshot_bytes", "snapshot_bytes"),
        ("snapshot_last_lsn", "snapshot_last_lsn"),
        ("snapshots_kept", "snapshots_kept"),
        ("wal_segments", "wal_segments"),
        ("wal_since_snapshot_bytes", "wal_since_snapshot_bytes"),
        ("wal_bytes", "wal_bytes"),
        ("directory_bytes", "directory_bytes"),
        ("directory_over_limit", "directory_over_limit"),
    ] {
        assert_eq!(number(&after, name), stats[stat].parse::<f64>().unwrap(), "{name}");
    }
    assert_eq!((number(&after, "snapshots_total"), number(&after, "snapshot_last_lsn")), (1.0, 100.0));
    assert!(number(&after, "directory_bytes") > number(&after, "snapshot_bytes") + 4096.0);
    assert!(number(&after, "wal_sync_max_seconds") > 0.0 && number(&after, "wal_sync_max_seconds") < 20.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - number(&after, "snapshot_last_timestamp_seconds")).abs() < 20.0);
    server.stop();
}

#[test]
fn what_is_no_request_for_metrics_gets_its_status() {
    let directory = tempfile::tempdir().unwrap();
    let (server, address) = start(&directory);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "405 Method Not Allowed"),
        ("SET k 5\r\nhello\r\n", "400 Bad Request"),
        (&format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(9000)), "431 Request Header Fields Too Large"),
    ] {
        let answer = ask(&address, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request:.40}: {answer}");
    }
    let answer = ask(&address, "HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    server.stop();
}

/// Those who connect and say nothing hold all places for a few seconds; clients of the server don't notice, and afterwards metrics are back.
#[test]
fn silent_connections_are_closed() {
    let directory = tempfile::tempdir().unwrap();
    let (server, address) = start(&directory);
    let silent: Vec<TcpStream> = (0..6).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let mut client = server.connect();
    client.ping().unwrap();
    assert!(ask(&address, "GET /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 OK\r\n"));
    drop(silent);
    server.stop();
}

#[test]
fn an_address_that_is_in_use_is_named_with_its_option() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ended = Setup::new(directory.path()).option("metrics_addr", &taken.local_addr().unwrap().to_string()).try_start().err().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.log.contains("another program uses the port: stop it, or set another metrics_addr"), "{}", ended.log);
}
