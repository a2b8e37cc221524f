//! Memory, descriptors and CPU time stay bounded, whatever clients do (invariant 8).

use std::io::{ErrorKind, Write as _};
use std::time::{Duration, Instant};

use osprey_core::protocol::client::{Expect, Reply};
use osprey_core::protocol::error::ErrorCode;
use osprey_tests::client::Client;
use osprey_tests::server_process::Setup;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory for the server")
}

/// How many descriptors this process may have, as many as it can get.
fn descriptors() -> u64 {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("raising the soft limit is allowed");
    maximum.unwrap_or(1 << 20)
}

/// A connection that can't be accepted stays in the kernel's queue, where a level-triggered poller would report it for ever.
#[test]
fn without_descriptors_it_waits_and_does_not_spin() {
    let directory = directory();
    let server = Setup::new(directory.path()).descriptors_max(40).start();
    let mut clients: Vec<Client> = (0..60).map(|_| server.connect()).collect();
    server.wait_for_line("cannot accept").expect("a warning");
    clients[0].ping().expect("whoever is in is served");
    let before = server.cpu_ticks();
    std::thread::sleep(Duration::from_secs(1));
    let used = server.cpu_ticks() - before;
    assert!(used < 15, "{used} % of a CPU while nothing could be done");
    clients[0].ping().expect("whoever is in is served");

    // Those that go make room for those in the queue.
    drop(clients.drain(..44));
    for client in &mut clients {
        client.ping().expect("there is room for all now");
    }
    server.connect().ping().expect("and for another");
    server.stop();
}

/// A length that is only claimed costs nothing.
#[test]
fn claimed_lengths_cost_no_memory() {
    let directory = directory();
    let server = Setup::new(directory.path()).start();
    descriptors();
    let mut witness = server.connect();
    witness.ping().expect("a reply");
    let before = server.resident_kib();
    let mut clients = Vec::new();
    for _ in 0..250 {
        let mut absurd = server.connect();
        absurd.send(b"SET k 9000000000000000\r\nthe first bytes").expect("room in the socket");
        assert!(matches!(absurd.receive(Expect::Stored), Ok(Reply::Error { code: ErrorCode::TooLarge, .. })));
        absurd.send(&[b'x'; 1000]).expect("room in the socket");
        let mut possible = server.connect();
        possible.send(b"SET k 16000000\r\nthe first bytes").expect("room in the socket");
        clients.extend([absurd, possible]);
    }
    // A little more of each payload, so that the server has to keep what it had.
    clients.iter_mut().for_each(|client| client.send(b"and the next").expect("room in the socket"));
    for _ in 0..3 {
        witness.ping().expect("a reply");
    }
    let grown = server.resident_kib().saturating_sub(before);
    assert!(grown < 12 << 10, "{grown} KiB for claims");
    println!("{grown} KiB for 500 connections that claim 16 MB and more");
}

#[test]
fn an_idle_connection_costs_less_than_a_kibibyte() {
    let directory = directory();
    let server = Setup::new(directory.path()).start();
    let count = descriptors().saturating_sub(200).min(9_900);
    let mut warm: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    for client in &mut warm {
        client.set(b"k", b"v").expect("a reply");
    }
    let before = server.proc_kib("status", "RssAnon");
    let connected: Vec<Client> = (0..count)
        .map(|_| {
            let mut client = server.connect();
            // So that its buffers have been used.
            client.set(b"k", b"v").expect("a reply");
            client
        })
        .collect();
    let grown = server.proc_kib("status", "RssAnon").saturating_sub(before);
    println!("{} bytes a connection, with {count} of them", grown * 1024 / count);
    assert!(grown < count, "{grown} KiB for {count} connections");
    drop(connected);
}

/// Clients that ask and never read are left waiting; what is kept for them is bounded, and others don't notice.
#[test]
fn clients_that_never_read_are_bounded() {
    const VALUE_BYTES: usize = 1 << 20;
    let directory = directory();
    let server = Setup::new(directory.path()).start();
    let mut witness = server.connect();
    witness.set(b"large", &vec![b'x'; VALUE_BYTES]).expect("room for a value");
    witness.get(b"large").expect("a reply");
    let before = server.resident_kib();
    let requests = b"GET large\r\n".repeat(500);
    let mut clients: Vec<Client> = (0..10).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.socket.set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let full = (0..10_000).find_map(|_| client.socket.write_all(&requests).err()).expect("the server stops taking requests");
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        let begin = Instant::now();
        witness.ping().expect("others are served");
        assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
    }
    let grown = server.resident_kib().saturating_sub(before);
    println!("{grown} KiB for 10 clients that never read");
    assert!(grown < 40 << 10, "{grown} KiB for 10 clients that have asked for much more than 1 GiB");
    drop(clients);
    witness.get(b"large").expect("a reply");
}

/// A client that was slow to read finds everything, in order.
#[test]
fn nothing_is_lost_for_a_client_that_reads_late() {
    const REPLIES: usize = 400;
    let directory = directory();
    let server = Setup::new(directory.path()).start();
    let mut client = server.connect();
    client.set(b"k", &vec![b'x'; 100 << 10]).expect("room for a value");
    for round in 0..3 {
        for _ in 0..REPLIES {
            client.send(b"GET k\r\nINCR n\r\n").expect("room in the socket");
        }
        std::thread::sleep(Duration::from_millis(100));
        for at in 1..=REPLIES {
            assert!(matches!(client.receive(Expect::Value), Ok(Reply::Value(found)) if found.value.len() == 100 << 10));
            let counted = i64::try_from(round * REPLIES + at).expect("small");
            assert_eq!(client.receive(Expect::Integer).expect("a reply"), Reply::Integer(counted));
        }
    }
}
