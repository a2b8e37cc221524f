//! The loop, one turn after another, with real sockets and files.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use osprey_core::engine::Next;
use osprey_core::wal::writer::SyncPolicy;
use tempfile::TempDir;

use super::receive::text;
use super::*;
use crate::server::{Server, Settings};

/// More turns than anything here needs: a loop that has lost somebody gets there without an answer.
const TURNS_MAX: usize = 2000;

struct Rig {
    plane: DataPlane,
    address: SocketAddr,
    events: Events,
    _directory: TempDir,
}

impl Rig {
    fn new(sync_policy: SyncPolicy) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            metrics: None,
            data_dir: directory.path().join("data"),
            clients_max: 100,
            timeouts: Timeouts { idle_ms: 0, request_ms: 0, write_ms: 0, shutdown_ms: 1000, slow_ms: 0, busy_ms: 0 },
            limits: osprey_core::engine::Limits::default(),
            sync_policy,
            segment_bytes: 1 << 20,
            sweep_interval_ms: 200,
            sweep_batch: 1000,
            snapshots: osprey_core::engine::SnapshotOptions::default(),
            snapshot_pause_max_ms: 1,
            directory_bytes_warn: 0,
        };
        let Server { mut plane, address, .. } = Server::open(settings).unwrap();
        plane.warm_up().unwrap();
        Self { plane, address, events: Events::new(), _directory: directory }
    }

    /// One turn, after waiting for something to happen as the loop does, but not for long.
    fn turn(&mut self) {
        let wait = if self.plane.ready.is_empty() { Duration::from_millis(1) } else { Duration::ZERO };
        self.plane.readiness.wait(Some(wait), &mut self.events).unwrap();
        self.plane.turn(&self.events).unwrap();
    }

    fn client(&mut self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_nonblocking(true).unwrap();
        let before = self.plane.connections.len();
        while self.plane.connections.len() == before {
            self.turn();
        }
        client
    }

    /// Turns until the client has received exactly `reply`.
    fn receives(&mut self, mut client: &TcpStream, reply: &[u8]) {
        let mut received = Vec::new();
        for _ in 0..TURNS_MAX {
            match client.read_to_end(&mut received) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                ended => assert!(ended.is_ok() && received.len() >= reply.len(), "the connection ended: {ended:?}"),
            }
            if received.len() >= reply.len() {
                break;
            }
            self.turn();
        }
        assert_eq!(text(&received), text(reply));
    }
}

#[test]
fn after_a_write_the_next_sync_is_in_the_calendar() {
    let mut rig = Rig::new(SyncPolicy::Batch { delay_ms: 100, bytes: 1 << 20 });
    let mut client = rig.client();
    client.write_all(b"SET k 1\r\nv\r\n").unwrap();
    rig.receives(&client, b"OK 1\r\n");
    // From here on nobody sends anything: only this deadline brings the loop back in time.
    let due = rig.plane.tick_at.expect("a sync is to come");
    assert!(due.since(rig.plane.clock.now()) <= 100);
}

#[test]
fn a_write_that_finds_the_frame_full_goes_on_in_the_next_turn() {
    // Under `os` an append ends in the turn in which it began, and none may follow it for a long time.
    let mut rig = Rig::new(SyncPolicy::Os);
    let clients: Vec<TcpStream> = (0..20).map(|_| rig.client()).collect();
    let value = vec![b'v'; 60_000];
    for (number, mut client) in clients.iter().enumerate() {
        client.write_all(&[format!("SET {number} {}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat()).unwrap();
    }
    for client in &clients {
        rig.receives(client, b"OK 1\r\n");
    }
}

#[test]
fn a_connection_goes_on_after_a_reply_that_fills_its_buffer_and_after_a_full_turn() {
    let mut rig = Rig::new(SyncPolicy::Os);
    let mut client = rig.client();
    let value = vec![b'v'; 300 << 10];
    let set = [format!("SET k {}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat();
    client.set_nonblocking(false).unwrap();
    client.write_all(&set).unwrap();
    client.set_nonblocking(true).unwrap();
    rig.receives(&client, b"OK 1\r\n");
    client.write_all(b"GET k\r\n").unwrap();
    rig.receives(&client, &[format!("VALUE {} 1 -1\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat());
    // As many as one call serves, and nothing behind them.
    client.write_all(&b"PING\r\n".repeat(1024)).unwrap();
    rig.receives(&client, &b"PONG\r\n".repeat(1024));
    client.write_all(b"PING\r\n").unwrap();
    rig.receives(&client, b"PONG\r\n");
}

/// Under `always` the first of them waits for its sync, and is kept; the others are sent from where they are stored.
#[test]
fn large_values_keep_their_place_among_the_replies() {
    for policy in [SyncPolicy::Os, SyncPolicy::Always] {
        let mut rig = Rig::new(policy);
        let mut client = rig.client();
        let value = vec![b'v'; 100 << 10];
        let requests = [format!("SET k {}\r\n", value.len()).as_bytes(), &value, b"\r\nGET k\r\nGET k\r\nPING\r\n"].concat();
        client.set_nonblocking(false).unwrap();
        client.write_all(&requests).unwrap();
        client.set_nonblocking(true).unwrap();
        let shown = [format!("VALUE {} 1 -1\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat();
        rig.receives(&client, &[b"OK 1\r\n", shown.as_slice(), shown.as_slice(), b"PONG\r\n"].concat());
    }
}

/// More than the socket takes at once: the rest follows when there is room, and nothing is sent twice.
#[test]
fn a_value_larger_than_the_sockets_buffers_arrives_whole() {
    let mut rig = Rig::new(SyncPolicy::Os);
    let mut client = rig.client();
    let value: Vec<u8> = (0..12_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let set = [format!("SET k {}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat();
    let mut sent = 0;
    while sent < set.len() {
        match client.write(&set[sent..]) {
            Ok(written) => sent += written,
            Err(_) => rig.turn(),
        }
    }
    rig.receives(&client, b"OK 1\r\n");
    client.write_all(b"GET k\r\n").unwrap();
    (0..20).for_each(|_| rig.turn());
    rig.receives(&client, &[format!("VALUE {} 1 -1\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat());
}

#[test]
fn a_client_that_resets_while_it_waits_for_storage_is_closed() {
    let mut rig = Rig::new(SyncPolicy::Os);
    let client = rig.client();
    let (_, connection) = rig.plane.connections.iter_mut().next().unwrap();
    connection.next = Next::Storage;
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    for _ in 0..TURNS_MAX {
        if rig.plane.connections.is_empty() {
            return;
        }
        rig.turn();
    }
    panic!("its end is reported in every turn, and nobody listens");
}

impl Rig {
    fn sees_the_end(&mut self, what: &str) {
        for _ in 0..TURNS_MAX {
            if self.plane.connections.is_empty() {
                return;
            }
            self.turn();
        }
        panic!("the end was lost: {what}");
    }
}

#[test]
fn an_end_that_came_with_the_last_request_is_seen() {
    for requests in ["", "PING\r\n", "PING\r\nPI"] {
        let mut rig = Rig::new(SyncPolicy::Os);
        let mut client = rig.client();
        client.write_all(requests.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        rig.sees_the_end(requests);
        let mut received = String::new();
        client.set_nonblocking(false).unwrap();
        client.read_to_string(&mut received).unwrap();
        assert_eq!(received, if requests.is_empty() { "" } else { "PONG\r\n" });
    }
}

#[test]
fn an_end_that_came_within_a_request_is_seen() {
    let mut rig = Rig::new(SyncPolicy::Os);
    let mut client = rig.client();
    client.write_all(b"SET k 1000\r\nv").unwrap();
    for _ in 0..TURNS_MAX {
        if rig.plane.connections.iter().all(|(_, connection)| !connection.input.is_empty()) {
            break;
        }
        rig.turn();
    }
    client.write_all(b"v").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    rig.sees_the_end("with some of a value");
}

/// Its only event comes while nothing is read from it.
#[test]
fn what_arrives_while_a_connection_waits_for_storage_is_read_afterwards() {
    let mut rig = Rig::new(SyncPolicy::Os);
    let mut client = rig.client();
    let (key, connection) = rig.plane.connections.iter_mut().next().unwrap();
    connection.next = Next::Storage;
    client.write_all(b"PING\r\n").unwrap();
    for _ in 0..TURNS_MAX {
        if rig.plane.connections[key].unread {
            break;
        }
        rig.turn();
    }
    // As the loop does when storage has ended something.
    rig.plane.queue(key);
    rig.receives(&client, b"PONG\r\n");
}
