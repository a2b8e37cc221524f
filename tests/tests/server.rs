//! The real server: starts, signals, clients that misbehave.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use osprey_core::protocol::client::{Expect, Reply};
use osprey_core::protocol::error::ErrorCode;
use osprey_tests::client::Client;
use osprey_tests::server_process::{ServerProcess, Setup};
use rustix::process::Signal;
use tempfile::TempDir;

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory for the server")
}

/// A client that asks for much and reads nothing, until the server takes no more from it.
fn stuck(server: &ServerProcess) -> Client {
    let mut client = server.connect();
    client.set(b"large", &vec![b'x'; 1 << 20]).expect("room for a value");
    let mut client = server.connect();
    client.socket.set_write_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let requests = b"GET large\r\n".repeat(1000);
    while client.send(&requests).is_ok() {}
    client
}

#[test]
fn answers() {
    let directory = directory();
    let server = Setup::new(directory.path()).start();
    let mut client = server.connect();
    client.ping().expect("a reply");
    assert_eq!(client.get(b"k").expect("a reply"), None);
    server.stop();
}

#[test]
fn goes_on_after_a_reply_that_fills_the_buffers() {
    let directory = directory();
    let server = Setup::new(directory.path()).start();
    let mut client = server.connect();
    for len in [300 << 10, 1 << 20, 16 << 20] {
        let value = vec![b'x'; len];
        client.set(b"k", &value).expect("room for a value");
        assert_eq!(client.get(b"k").expect("a reply").expect("it was set").0.len(), len);
        client.ping().expect("the connection goes on");
    }
}

#[test]
fn goes_on_after_as_many_requests_as_a_turn_takes() {
    let directory = directory();
    let server = Setup::new(directory.path()).start();
    let mut client = server.connect();
    for requests in [1023, 1024, 1025, 2048, 5000] {
        client.send(&b"PING\r\n".repeat(requests)).expect("room in the socket");
        for _ in 0..requests {
            client.receive(Expect::Pong).expect("a reply to each");
        }
    }
    let before = server.cpu_ticks();
    std::thread::sleep(Duration::from_millis(500));
    assert!(server.cpu_ticks() - before < 10, "an idle server uses no CPU time");
}

/// A client that closes its half gets its replies first.
#[test]
fn answers_a_client_that_sends_no_more() {
    let directory = directory();
    let server = Setup::new(directory.path()).start();
    let mut client = server.connect();
    client.set(b"k", &vec![b'x'; 100 << 10]).expect("room for a value");
    client.send(&b"GET k\r\n".repeat(100)).expect("room in the socket");
    client.socket.shutdown(std::net::Shutdown::Write).expect("an open socket");
    for _ in 0..100 {
        assert!(matches!(client.receive(Expect::Value).expect("a reply"), Reply::Value(found) if found.value.len() == 100 << 10));
    }
    client.expect_end();
}

#[test]
fn keeps_its_data_over_an_orderly_end() {
    let directory = directory();
    for run in 0..3_u64 {
        let server = Setup::new(directory.path()).start();
        let mut client = server.connect();
        if run > 0 {
            let (value, version) = client.get(b"k").expect("a reply").expect("it was set");
            assert_eq!((value, version.0), ((run - 1).to_string().into_bytes(), run));
        }
        assert_eq!(client.set(b"k", run.to_string().as_bytes()).expect("a reply").0, run + 1);
        server.stop();
    }
}

#[test]
fn refuses_a_second_server_by_name() {
    let directory = directory();
    let server = Setup::new(directory.path()).start();
    let ended = Setup::new(directory.path()).try_start().expect_err("the directory is in use");
    assert!(ended.status.code().is_some_and(|code| code != 0), "{}", ended.status);
    let path = directory.path().to_str().expect("UTF-8");
    for expected in [path, "in use by another server", &format!("process {}", server.pid())] {
        assert!(ended.log.contains(expected), "{expected:?} is not in {:?}", ended.log);
    }
    server.connect().ping().expect("the first goes on");
}

#[test]
fn files_are_for_their_owner_only() {
    let directory = directory();
    let data = directory.path().join("made/by the server");
    let server = Setup::new(&data).start();
    server.connect().set(b"k", b"v").expect("a reply");
    let mode = |path: &std::path::Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    let files: Vec<_> = fs::read_dir(&data).expect("a directory").map(|entry| entry.expect("an entry").path()).collect();
    assert!(files.len() >= 2, "a lock and a segment: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn ends_in_time_with_idle_and_stuck_clients() {
    let directory = directory();
    let mut server = Setup::new(directory.path()).start();
    let mut idle = server.connect();
    idle.ping().expect("a reply");
    let mut incomplete = server.connect();
    incomplete.send(b"SET k 100\r\nsome").expect("room in the socket");
    let _stuck = stuck(&server);
    let begin = Instant::now();
    server.signal(Signal::TERM);
    let ended = server.wait();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    idle.expect_end();
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let directory = directory();
    let mut server = Setup::new(directory.path()).start();
    let _stuck = stuck(&server);
    server.signal(Signal::INT);
    server.wait_for_line("once more ends at once").expect("it waits for the stuck client");
    std::thread::sleep(Duration::from_millis(50));
    let begin = Instant::now();
    server.signal(Signal::TERM);
    let ended = server.wait();
    assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
    assert_eq!(ended.status.code(), Some(130));
}

/// What has arrived before the signal is answered, and on disk.
#[test]
fn answers_what_it_had_received_before_the_signal() {
    const REQUESTS: usize = 3000;
    for policy in ["os", "batch", "always"] {
        let directory = directory();
        let setup = Setup::new(directory.path()).sync_policy(policy);
        let mut server = setup.start();
        let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| client.ping().expect("a reply"));
        // While the process stands still, requests and the signal come together.
        server.signal(Signal::STOP);
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(&format!("INCR n{number}\r\n").repeat(REQUESTS).into_bytes()).expect("room in the socket");
        }
        server.signal(Signal::TERM);
        server.signal(Signal::CONT);
        for client in &mut clients {
            for expected in 1..=REQUESTS {
                let reply = client.receive(Expect::Integer).expect("a reply to each");
                assert_eq!(reply, Reply::Integer(i64::try_from(expected).expect("small")));
            }
            client.expect_end();
        }
        let ended = server.wait();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        let server = setup.start();
        let found = server.connect().get(b"n3").expect("a reply").expect("it was counted");
        assert_eq!(found.0, REQUESTS.to_string().into_bytes(), "{policy}");
    }
}

#[test]
fn one_client_too_many_is_told_so() {
    let directory = directory();
    let server = Setup::new(directory.path()).option("max_clients", "5").start();
    let mut clients: Vec<Client> = (0..5).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.ping().expect("a reply"));
    let mut refused = server.connect();
    assert!(matches!(refused.receive(Expect::Pong).expect("a reason"), Reply::Error { code: ErrorCode::Busy, .. }));
    refused.expect_end();
    clients.pop();
    let deadline = Instant::now() + Duration::from_secs(5);
    while server.connect().ping().is_err() {
        assert!(Instant::now() < deadline, "there is room again");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Reads until the server closes; how long that took.
fn closed_after(client: &mut Client) -> Duration {
    let begin = Instant::now();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match client.socket.read(&mut buffer) {
            Ok(0) => return begin.elapsed(),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return begin.elapsed(),
            Err(error) => panic!("it is not closed: {error}"),
        }
    }
}

#[test]
fn closes_who_is_idle_or_slow() {
    let directory = directory();
    let setup = Setup::new(directory.path()).option("write_timeout_ms", "700").option("request_timeout_ms", "600");
    let server = setup.option("idle_timeout_ms", "1500").start();
    // Nothing is sent: idle.
    let mut idle = server.connect();
    // A request of which a byte comes now and then: the whole has to be there in time.
    let mut slow = server.connect();
    slow.send(b"SET k 100\r\n").expect("room in the socket");
    let begin = Instant::now();
    while slow.socket.write_all(b"x").is_ok() && begin.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let elapsed = begin.elapsed();
    assert!((Duration::from_millis(500)..Duration::from_secs(4)).contains(&elapsed), "{elapsed:?}");
    let elapsed = elapsed + closed_after(&mut idle);
    assert!((Duration::from_millis(1400)..Duration::from_secs(4)).contains(&elapsed), "{elapsed:?}");
    // Replies that aren't read.
    let _stuck = stuck(&server);
    server.wait_for_line("it does not read its replies").expect("a line of the log");
    server.connect().ping().expect("others are served");
}
