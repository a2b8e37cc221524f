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

    /// Serves more than fits into a turn, and throws the replies away.
    fn serve_all(&mut self, mut requests: &str) {
        while !requests.is_empty() {
            requests = &requests[self.serve(requests).consumed..];
            self.out.clear();
            self.settle();
        }
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
        server.serve_all(&requests(verb, payload));
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

#[test]
fn stats_count_every_request_by_its_kind() {
    // Twice each, as one of something and none of it may be told apart by chance.
    let rounds = "PING\nSET k 1\r\n1\nGET k\nGET missing\nEXISTS k\nTTL k\nINCR k\nDECR k\nMGET k k\nMSET a 1 b 1\nxy\nEXPIRE k 1000\nPERSIST k\n\
                  SCAN 0\nDEL a\nSTATS\nSET k 1 NX\nv\nNONSENSE\nSET gone 1 EX 5\nv\n";
    let mut server = Server::new(|_| ());
    for round in 0..2 {
        // When it comes again, the key that expired meanwhile is replaced.
        let now = Millis(NOW.0 + 1000 * round);
        assert_eq!(server.engine.serve(now, &mut server.session, rounds.as_bytes(), &mut server.out).consumed, rounds.len());
        server.settle();
        server.out.clear();
    }
    // Two more are swept.
    server.engine.serve(NOW, &mut server.session, b"SET also 1 EX 5\nv\n", &mut server.out);
    for second in 2..5 {
        server.engine.tick(Millis(NOW.0 + 1000 * second));
        server.settle();
    }
    let stats = server.engine.stats().collect::<Vec<_>>();
    let expected = [
        ("cmd_ping", 2),
        ("cmd_set", 7),
        ("cmd_get", 4),
        ("get_hits", 2),
        ("get_misses", 2),
        ("cmd_exists", 2),
        ("cmd_ttl", 2),
        ("cmd_incr", 4),
        ("cmd_mget", 2),
        ("cmd_mset", 2),
        ("cmd_expire", 2),
        ("cmd_persist", 2),
        ("cmd_scan", 2),
        ("cmd_del", 2),
        ("cmd_stats", 2),
        ("errors_total", 4),
        ("expired_total", 3),
        ("wal_syncs", 4),
    ];
    for (name, count) in expected {
        assert!(stats.contains(&(name, count)), "{name} should be {count}: {stats:?}");
    }
}

#[test]
fn a_write_delays_readers_of_its_key_and_few_others() {
    let mut server = Server::new(|_| ());
    let mut writer = Session::new();
    let written = server.engine.serve(NOW, &mut writer, b"SET written 1\nx\n", &mut Vec::new()).consumed;
    assert_eq!(written, 16);
    assert!(writer.gated(server.engine.watermark()));
    let passed = |server: &mut Server, key: &str| {
        let (mut reader, mut out) = (Session::new(), Vec::new());
        server.engine.serve(NOW, &mut reader, format!("GET {key}\n").as_bytes(), &mut out);
        let gated = reader.gated(server.engine.watermark());
        assert_eq!(gated, reader.releasable(server.engine.watermark(), out.len()) == 0, "{key}");
        !gated
    };
    assert!(!passed(&mut server, "written"));
    let others = (0..1000).filter(|key| passed(&mut server, &format!("other{key}"))).count();
    assert!(others > 980, "{others} of 1000 were not delayed");
    server.settle();
    assert!(!writer.gated(server.engine.watermark()));
    assert!(passed(&mut server, "written"));
}

#[test]
fn what_waited_for_nothing_stays_free_while_more_is_asked() {
    let mut server = Server::new(|_| ());
    server.serve("PING\n");
    server.serve("SET k 1\nv\n");
    assert_eq!(server.free(), "PONG\r\n");
    server.serve("PING\n");
    assert_eq!(server.free(), "PONG\r\n", "the first reply, of three that are unsent");
    server.settle();
    assert_eq!(server.free(), "PONG\r\nOK 1\r\nPONG\r\n");
}

#[test]
fn memory_is_used_up_to_its_limit_exactly() {
    let large = format!("SET b 9000\n{}\n", "y".repeat(9000));
    let with = |limit: u64| {
        let mut server = Server::new(|options| options.limits.memory_bytes_max = limit);
        server.serve("SET a 1\nx\n");
        server.settle();
        server
    };
    let mut server = with(0);
    let (before, entries) = (server.engine.memory_bytes(), server.engine.store().bytes());
    server.serve(&large);
    let needed = before + (server.engine.store().bytes() - entries) as u64;

    let mut server = with(needed);
    server.serve(&large);
    assert_eq!(server.engine.store().len(), 2);
    let mut server = with(needed - 1);
    server.serve(&large);
    assert_eq!(server.engine.store().len(), 1);
    // Over the limit, since connections need more: what takes no more is done.
    server.engine.gauges.connection_bytes = 1 << 20;
    server.out.clear();
    server.serve("SET a 1\nz\nSET b 1\nz\nDEL a\n");
    server.settle();
    let replies: Vec<_> = server.free().lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(replies, ["OK 2", "ERR OOM", "DELETED 1"]);
}

#[test]
fn an_mget_may_answer_as_much_as_its_limit_exactly() {
    let ask = |limit: usize, request: &str| {
        let mut server = Server::new(|options| options.limits.reply_bytes_max = limit);
        server.serve(&format!("SET k 100\n{}\nSET l 100\n{}\n", "v".repeat(100), "w".repeat(100)));
        server.settle();
        server.out.clear();
        server.serve(request);
        server.free().to_owned()
    };
    let limit = (1..2000).find(|&limit| !ask(limit, "MGET k l\n").starts_with("ERR")).expect("some limit is enough");
    let message = ask(limit - 1, "MGET k l\n");
    assert!(message.contains(&format!(" {limit} bytes")) && message.contains(&format!("{}", limit - 1)), "{message}");
    assert!(ask(1, "MGET k\n").starts_with("VALUE k 100 "), "a single value that could be set can be got");
}

#[test]
fn sweeping_writes_next_to_nothing_while_nothing_is_due() {
    let mut server = Server::new(|_| ());
    server.serve("SET k 1 EX 3600000\nv\n");
    server.settle();
    let lsn = server.engine.last_lsn();
    for second in 1..3500 {
        server.engine.tick(Millis(NOW.0 + second * 1000));
        server.settle();
    }
    // A mark each time that the bound of what is due next comes near, which halves the distance at least.
    let marks = server.engine.last_lsn().0 - lsn.0;
    assert!(marks < 23, "{marks} marks for one key, which is due in 2^22 ms");
}

#[test]
fn writes_wait_for_the_first_segment() {
    let entropy = Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) };
    let (mut engine, report) = Engine::recover(Options::new(entropy), &mut Empty, NOW).expect("nothing to recover");
    assert!(engine.starting() && report.torn.is_none());
    let (mut session, mut out) = (Session::new(), Vec::new());
    let early = engine.serve(NOW, &mut session, b"SET k 1\nv\n", &mut out);
    assert_eq!((early.consumed, early.next), (0, Next::Storage));
    while let Some(op) = engine.poll_storage() {
        engine.storage_done(StorageDone { op, result: Ok(()) }).expect("nothing fails");
    }
    assert!(!engine.starting());
    assert_eq!(engine.serve(NOW, &mut session, b"SET k 1\nv\n", &mut out).consumed, 10);
}

/// Invariant 4.
#[test]
fn a_payload_that_is_lent_waits_for_the_log_like_one_that_is_copied() {
    let mut server = Server::new(|_| ());
    let Server { engine, session, out } = &mut server;
    let (served, payload) = engine.serve_lending(NOW, session, b"PING\nSET k 5\nvalue\nGET k\nPING\n", out, 5);
    assert_eq!((served.consumed, served.next), (25, Next::Again), "nothing is executed behind it");
    let payload = payload.expect("a value of this size is lent");
    assert_eq!((out.as_slice(), payload.parts()), (b"PONG\r\nOK 1\r\nVALUE 5 1 -1\r\n".as_slice(), [b"value".as_slice(), b"\r\n"]));
    payload.append_to(out).expect("memory");
    let whole = out.len();
    assert_eq!(session.releasable(engine.watermark(), whole), 6, "the PONG alone");
    server.settle();
    assert_eq!(server.session.releasable(server.engine.watermark(), whole), whole);
}

#[test]
fn a_scan_shows_about_as_many_keys_as_are_asked_for() {
    let mut server = Server::new(|options| options.limits.requests_per_call = usize::MAX);
    server.serve_all(&(0..5000).map(|key| format!("SET {key} 1\nv\n")).collect::<String>());
    server.serve("SCAN 0 COUNT 10\n");
    let keys = server.free().lines().filter(|line| line.parse::<u32>().is_ok()).count();
    assert!((10..600).contains(&keys), "{keys} keys: whole tables, of a few hundred each");
}

#[test]
fn batches_are_synced_one_by_one() {
    let mut server = Server::new(|options| options.sync_policy = SyncPolicy::Batch { bytes: u64::MAX, delay_ms: 10 });
    let syncs = |server: &Server| server.engine.stats().find(|(name, _)| *name == "wal_syncs").map(|stat| stat.1);
    let before = syncs(&server).expect("STATS has it");
    for batch in 1..=5 {
        server.serve("SET k 1\nv\nSET k 1\nw\n");
        server.settle();
        server.engine.tick(Millis(NOW.0 + 20 * batch));
        server.settle();
        assert_eq!(syncs(&server), Some(before + batch));
    }
}
