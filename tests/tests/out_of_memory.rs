//! An allocator that refuses, once, at each allocation of each request in turn: the request is done, or it is refused and nothing has changed
//! (invariant 8). Nothing may allocate in a way that can't fail: that would end the process.

#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use osprey_core::engine::{Engine, Next, Session};
use osprey_core::storage::StorageDone;
use osprey_core::wal::writer::SyncPolicy;
use osprey_tests::machine::{BEGIN, small_options};
use osprey_tests::memory_storage::Disk;

thread_local! {
    /// How many allocations of this thread succeed before one is refused; `None`: all do.
    static REFUSED: Cell<Option<usize>> = const { Cell::new(None) };
}

struct Refusing;

/// Whether this allocation is to be refused.
fn refused() -> bool {
    let left = REFUSED.get();
    REFUSED.set(left.and_then(|left| left.checked_sub(1)));
    left == Some(0)
}

// SAFETY: everything is the system's allocator's, but that some allocations are refused, which an allocator may do at any time.
unsafe impl GlobalAlloc for Refusing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        if refused() { std::ptr::null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above; a block whose reallocation is refused stays as it is.
        if refused() { std::ptr::null_mut() } else { unsafe { System.realloc(block, layout, size) } }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Refusing = Refusing;

struct Server {
    engine: Engine,
    session: Session,
}

impl Server {
    /// With a few keys, and a log that takes requests.
    fn new() -> Self {
        let (engine, _) = Engine::recover(small_options(SyncPolicy::Os), &mut Disk::default(), BEGIN).unwrap();
        let mut server = Self { engine, session: Session::new() };
        server.drive_storage();
        let (reply, _) = server.serve("MSET a 1 b 1 n 1\r\n121\r\nSET later 1 EX 5000\r\nx\r\n");
        assert_eq!(reply, "OK 3\r\nOK 1\r\n");
        server.drive_storage();
        server
    }

    fn serve(&mut self, request: &str) -> (String, Next) {
        let mut out = Vec::new();
        let served = self.engine.serve(BEGIN, &mut self.session, request.as_bytes(), &mut out);
        (String::from_utf8(out).unwrap(), served.next)
    }

    fn drive_storage(&mut self) {
        while let Some(op) = self.engine.poll_storage() {
            self.engine.storage_done(StorageDone { op, result: Ok(()) }).unwrap();
        }
    }

    /// Everything that a client can see, and the position of the log.
    fn state(&self) -> (Vec<String>, u64, u64) {
        let mut keys = Vec::new();
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            cursor = self.engine.store().walk(at, |record| keys.push(format!("{record:?}")));
        }
        keys.sort();
        (keys, self.engine.store().floor().0, self.engine.last_lsn().0)
    }
}

#[test]
fn a_refused_allocation_changes_nothing() {
    let requests = [
        "GET a",
        "GET missing",
        "MGET a b missing n",
        "SET a 1\r\nx",
        "SET a 300\r\n",
        "SET new 3 EX 1000\r\nabc",
        "SET later 1 EX 100\r\nx",
        "INCR n",
        "INCR new",
        "EXPIRE a 1000",
        "PERSIST later",
        "DEL a",
        "MSET a 4 b 4 new 4 other 300\r\nlongLONGnew ",
        "MSET a 5 a 6 new 3 new 4\r\nfirstsecondonetwo2",
        "SCAN 0 COUNT 100",
        "STATS",
        "NONSENSE",
        "EXISTS a",
        "TTL later",
    ];
    let (mut refusals, mut closings) = (0, 0);
    for request in requests {
        // A payload that is announced longer than it is written here is filled up.
        let request = match request.split_once("300\r\n") {
            Some((line, begin)) => format!("{line}300\r\n{begin}{}\r\n", "v".repeat(300)),
            None => format!("{request}\r\n"),
        };
        let expected = {
            let mut server = Server::new();
            let (reply, next) = server.serve(&request);
            assert_eq!(next, Next::Read { at_least: 1 }, "{request}");
            (reply, server.state())
        };
        for allocation in 0.. {
            assert!(allocation < 1000, "{request} allocates for ever");
            let mut server = Server::new();
            let before = server.state();
            let mut out = Vec::new();
            REFUSED.set(Some(allocation));
            let served = server.engine.serve(BEGIN, &mut server.session, request.as_bytes(), &mut out);
            let was_refused = REFUSED.take().is_none();
            let reply = String::from_utf8(out).unwrap();
            if served.next == Next::Close {
                // There was no memory for an answer.
                closings += 1;
                assert_eq!((reply.as_str(), server.state()), ("", before), "{request}: allocation {allocation}");
            } else if reply.starts_with("ERR OOM ") {
                refusals += 1;
                assert_eq!(server.state(), before, "{request}: allocation {allocation}");
                // And with memory everything goes on as if nothing had been, but for what is counted.
                server.drive_storage();
                let again = server.serve(&request).0;
                assert!(again == expected.0 || request.starts_with("STATS"), "{request}, again: {again}");
                assert_eq!(server.state().0, expected.1.0, "{request}, again");
            } else {
                assert_eq!((reply, server.state()), expected, "{request}: allocation {allocation}");
            }
            if !was_refused {
                break;
            }
        }
    }
    println!("{refusals} requests refused, {closings} connections closed");
    assert!(refusals >= 15 && closings >= 15, "{refusals} refusals, {closings} closings");
}
