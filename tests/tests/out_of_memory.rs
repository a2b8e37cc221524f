//! An allocator that refuses, once, at each allocation in turn: of requests, of the store, of recovery. What was asked for is done, or it is refused
//! and nothing has changed (invariant 8). Nothing may allocate in a way that can't fail: that would end the process.

#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use osprey_core::engine::{Engine, Next, Session};
use osprey_core::record::{Kind, Record};
use osprey_core::recovery::RecoveryError;
use osprey_core::storage::{LogFiles, SegmentNumber, StorageDone, StorageError};
use osprey_core::store::Store;
use osprey_core::units::{Millis, Version};
use osprey_core::wal::writer::SyncPolicy;
use osprey_tests::machine::{BEGIN, Machine, small_options};
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
    assert!(refusals >= 12 && closings >= 15, "{refusals} refusals, {closings} closings");
}

/// What is put, by its number: values of all sizes, some large enough for memory of their own.
fn with_record<T>(number: u64, expiry: Option<Millis>, act: impl FnOnce(&Record<'_>) -> T) -> T {
    let key = format!("key{number}");
    let value = vec![b'v'; usize::try_from(number * 37 % 499 + if number.is_multiple_of(97) { 5000 } else { 0 }).unwrap()];
    act(&Record { kind: Kind::Set, version: Version(number + 1), expiry, key: key.as_bytes(), value: &value })
}

/// Whether the store has this record at `now`.
fn has(store: &Store, now: Millis, record: &Record<'_>) -> bool {
    store.lookup(store.hash(record.key), record.key, now).live() == Some(*record)
}

/// Allocations are refused meanwhile, the `allocation`th.
fn refusing<T>(allocation: usize, act: impl FnOnce() -> T) -> T {
    REFUSED.set(Some(allocation));
    let done = act();
    REFUSED.set(None);
    done
}

/// One key after the other: tables split, lists grow, and each allocation that this takes is refused once.
#[test]
fn a_key_is_put_as_a_whole_or_not_at_all() {
    let (mut store, mut unhindered) = [(); 2].map(|()| Store::new([0; 16]).unwrap()).into();
    let mut refusals = 0;
    for number in 0..3000 {
        with_record(number, None, |record| {
            let hash = store.hash(record.key);
            for allocation in 0.. {
                let spot = store.lookup(hash, record.key, BEGIN).spot;
                if refusing(allocation, || store.put(spot, record).is_ok()) {
                    break;
                }
                refusals += 1;
                assert!(!has(&store, BEGIN, record) && store.len() == unhindered.len(), "{number}: allocation {allocation}");
            }
            let spot = unhindered.lookup(hash, record.key, BEGIN).spot;
            unhindered.put(spot, record).unwrap();
        });
    }
    assert!((0..3000).all(|number| with_record(number, None, |record| has(&store, BEGIN, record))));
    assert_eq!(
        (store.len(), store.bytes(), store.free_bytes()),
        (3000, unhindered.bytes(), unhindered.free_bytes()),
        "nothing is left behind"
    );
    assert!(refusals > 100, "{refusals}");
}

/// What sweeping does, it may leave undone: a key is gone at its time, and no earlier, whether or not there is memory to put things in order.
#[test]
fn a_sweep_without_memory_takes_nothing_and_leaves_nothing_to_be_seen() {
    const KEYS: u64 = 4000;
    const END: u64 = BEGIN.0 + 20 * KEYS;
    // Keys that go one after the other, and keys that stay; of these most are deleted, so that their memory is worth gathering.
    let expiry = |number: u64| number.is_multiple_of(2).then_some(Millis(BEGIN.0 + 10 * number));
    let deleted = |number: u64| number % 2 == 1 && number % 10 != 1;
    let mut store = Store::new([0; 16]).unwrap();
    let put = |store: &mut Store, record: &Record<'_>| {
        let spot = store.lookup(store.hash(record.key), record.key, BEGIN).spot;
        store.put(spot, record).map(|_| ()).unwrap();
    };
    // So many deadlines that stand for nothing are gathered anew.
    for _ in 0..100_000 {
        put(&mut store, &Record { kind: Kind::Set, version: Version(1), expiry: Some(Millis(END + 1)), key: b"lock", value: b"" });
        store.remove(store.hash(b"lock"), b"lock");
    }
    (0..KEYS).for_each(|number| with_record(number, expiry(number), |record| put(&mut store, record)));
    for number in (0..KEYS).filter(|&number| deleted(number)) {
        with_record(number, None, |record| assert!(store.remove(store.hash(record.key), record.key)));
    }
    let check = |store: &Store, now: u64| {
        for number in 0..KEYS {
            let there = !deleted(number) && expiry(number).is_none_or(|expiry| expiry.0 > now);
            with_record(number, expiry(number), |record| assert_eq!(has(store, Millis(now), record), there, "key{number} at {now}"));
        }
    };
    for (turn, now) in (BEGIN.0..END).step_by(50).enumerate() {
        refusing(turn % 5, || store.sweep(Millis(now), 20));
        if turn % 50 == 0 {
            check(&store, now);
        }
    }
    while !store.sweep(Millis(END), 1000).1 {}
    check(&store, END);
    assert_eq!(store.next_expiry(), None);
    assert!(!store.is_scattered());
}

/// A log whose own allocations are not refused: they stand for the system's.
struct Undisturbed(Disk);

impl Undisturbed {
    fn run<T>(&mut self, act: impl FnOnce(&mut Disk) -> T) -> T {
        let refused = REFUSED.take();
        let done = act(&mut self.0);
        REFUSED.set(refused);
        done
    }
}

impl LogFiles for Undisturbed {
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
        self.run(LogFiles::segments)
    }

    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        self.run(|disk| disk.read(segment, offset, buffer))
    }

    fn truncate(&mut self, segment: SegmentNumber, length: u64) -> Result<(), StorageError> {
        self.run(|disk| disk.truncate(segment, length))
    }

    fn remove(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.run(|disk| disk.remove(segment))
    }

    fn sync(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.run(|disk| disk.sync(segment))
    }
}

#[test]
fn a_recovery_without_memory_says_so_and_loses_nothing() {
    let mut machine = Machine::new(small_options(SyncPolicy::Always));
    let client = machine.connect();
    for number in 0..200 {
        let value = "v".repeat(number * 7);
        let expiry = if number.is_multiple_of(3) { " EX 100000" } else { "" };
        assert_eq!(machine.ask(client, &format!("SET key{number} {}{expiry}\n{value}", value.len())), "OK 1");
    }
    let expected = machine.state();
    let disk = machine.kill();
    // The last frame is torn, so that there is something to cut.
    let (last, length) = disk.last();
    let disk = disk.cut(last, length - 1);
    let mut refusals = 0;
    for allocation in 0.. {
        let mut files = Undisturbed(disk.clone());
        let options = small_options(SyncPolicy::Always);
        let recovered = refusing(allocation, || Engine::recover(options, &mut files, BEGIN).map(|_| ()));
        match recovered {
            Err(error) => assert_eq!(error, RecoveryError::OutOfMemory, "allocation {allocation}"),
            Ok(()) => break,
        }
        refusals += 1;
        let (machine, report) = Machine::recover(small_options(SyncPolicy::Always), files.0, BEGIN).unwrap();
        assert_eq!(machine.state().len(), expected.len() - 1, "allocation {allocation}: {report:?}");
    }
    assert!(refusals > 10, "{refusals}");
}
