//! The engine while its log's operations are done by hand: which bytes of a reply may leave, and when it wants to be called again.

use osprey_core::engine::{Engine, Entropy, Next, Options, Served, Session};
use osprey_core::storage::{LogFiles, SegmentNumber, StorageDone, StorageError, StorageOp};
use osprey_core::units::Millis;
use osprey_core::wal::segment::DatabaseId;
use osprey_core::wal::writer::SyncPolicy;

/// Nothing to recover.
struct Empty;

impl LogFiles for Empty {
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
        Ok(Vec::new())
    }

    fn read(&mut self, _: SegmentNumber, _: u64, _: &mut [u8]) -> Result<usize, StorageError> {
        Err(StorageError::Io(None))
    }

    fn truncate(&mut self, _: SegmentNumber, _: u64) -> Result<(), StorageError> {
        Err(StorageError::Io(None))
    }

    fn remove(&mut self, _: SegmentNumber) -> Result<(), StorageError> {
        Err(StorageError::Io(None))
    }

    fn sync(&mut self, _: SegmentNumber) -> Result<(), StorageError> {
        Err(StorageError::Io(None))
    }
}

struct Server {
    engine: Engine,
    session: Session,
    out: Vec<u8>,
}

impl Server {
    fn new(change: impl FnOnce(&mut Options)) -> Self {
        let entropy = Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) };
        let mut options = Options { sync_policy: SyncPolicy::Always, ..Options::new(entropy) };
        change(&mut options);
        let (engine, _) = Engine::recover(options, &mut Empty, NOW).expect("nothing to recover");
        let mut server = Self { engine, session: Session::new(), out: Vec::new() };
        server.settle();
        server
    }

    /// Does all that storage is asked for.
    fn settle(&mut self) {
        while let Some(op) = self.engine.poll_storage() {
            self.end(op);
        }
    }

    fn end(&mut self, op: StorageOp) {
        self.engine.storage_done(StorageDone { op, result: Ok(()) }).expect("nothing fails");
    }

    fn serve(&mut self, input: &str) -> Served {
        self.engine.serve(NOW, &mut self.session, input.as_bytes(), &mut self.out)
    }

    /// What may be sent now of what was not sent yet.
    fn free(&self) -> &str {
        let free = self.session.releasable(self.engine.watermark(), self.out.len());
        str::from_utf8(&self.out[..free]).expect("nothing but ASCII was stored")
    }
}

const NOW: Millis = Millis(1_000_000);

#[test]
fn an_mget_waits_as_a_whole_for_any_of_its_keys() {
    let mut server = Server::new(|_| ());
    server.serve("SET old 1\r\nx\r\n");
    server.settle();
    server.out.clear();
    // Another connection's write, which is not on disk yet.
    let mut other = Session::new();
    server.engine.serve(NOW, &mut other, b"SET new 1\r\ny\r\n", &mut Vec::new());
    server.serve("PING\r\nMGET old new none\r\n");
    assert_eq!(server.free(), "PONG\r\n");
    server.settle();
    assert_eq!(server.free(), "PONG\r\nVALUE old 1 1 -1\r\nx\r\nVALUE new 1 1 -1\r\ny\r\nNOT_FOUND none\r\n");
}

#[test]
fn without_input_more_of_it_is_all_that_is_asked_for() {
    let mut server = Server::new(|options| {
        options.limits.requests_per_call = 3;
        options.limits.unsent_bytes_soft_max = 20;
    });
    let read = Next::Read { at_least: 1 };
    assert_eq!(server.serve("EXISTS a\r\n"), Served { consumed: 10, next: read });
    assert_eq!(server.serve("EXISTS a\r\n"), Served { consumed: 10, next: read }, "the reply fills the buffer");
    assert_eq!(server.serve("EXISTS a\r\n"), Served { consumed: 0, next: Next::Flush });
    server.out.clear();
    assert_eq!(server.serve("\n\n\n"), Served { consumed: 3, next: read }, "the turn is used up");
    assert_eq!(server.serve("\n\n\n\n"), Served { consumed: 3, next: Next::Again });
}

#[test]
fn a_distant_expiry_does_not_wake_the_host_again_and_again() {
    const HOUR_MS: u64 = 3_600_000;
    let mut server = Server::new(|_| ());
    server.serve(&format!("SET k 1 EX {HOUR_MS}\r\nv\r\n"));
    let (mut now, mut calls) = (NOW, 0);
    while server.engine.store().len() == 1 {
        server.settle();
        now = server.engine.tick(now).unwrap_or(now);
        calls += 1;
        assert!(calls < 100, "called too often for one key");
    }
    assert!(now.since(NOW) >= HOUR_MS && now.since(NOW) <= HOUR_MS + 1000, "swept after {} ms", now.since(NOW));
}

#[test]
fn a_scan_over_what_was_deleted_is_bounded_and_ends() {
    let mut server = Server::new(|options| options.limits.requests_per_call = usize::MAX);
    // Tables for more keys than one SCAN may pass over.
    let requests = |verb: &str, payload: &str| (0..500_000).map(|key| format!("{verb} {key}{payload}\n")).collect::<String>();
    for (verb, payload) in [("SET", " 1\nv"), ("DEL", "")] {
        let requests = requests(verb, payload);
        let mut rest = requests.as_str();
        while !rest.is_empty() {
            rest = &rest[server.serve(rest).consumed..];
            server.out.clear();
            server.settle();
        }
    }
    assert!(server.engine.store().is_empty());
    let (mut cursor, mut calls) = (String::from("0"), 0);
    loop {
        server.out.clear();
        server.serve(&format!("SCAN {cursor} COUNT 10\r\n"));
        let reply = str::from_utf8(&server.out).expect("ASCII");
        cursor = reply.strip_prefix("CURSOR ").and_then(|rest| rest.strip_suffix("\r\nEND\r\n")).expect("no keys").to_owned();
        calls += 1;
        if cursor == "0" {
            break;
        }
    }
    assert!((2..100).contains(&calls), "{calls} calls");
}
