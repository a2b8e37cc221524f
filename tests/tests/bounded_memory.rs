//! An engine whose limits are set takes no more than [`Options::footprint`] says, at no moment, whatever clients do; and what it has accepted it can recover within the same. (Invariant 8.)

#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use std::collections::BTreeMap;

use osprey_core::engine::{
    Engine, Entropy, Error, FixedMemory, Footprint, Next, Options, OptionsError, Session, SetOptions, SnapshotOptions,
};
use osprey_core::protocol::request::Limits;
use osprey_core::recovery::RecoveryError;
use osprey_core::storage::memory::MemoryStorage;
use osprey_core::storage::{ChunkBytes, LogFiles, SegmentNumber, SnapshotName, Storage as _, StorageDone, StorageError};
use osprey_core::units::Millis;
use osprey_core::wal::segment::DatabaseId;
use osprey_core::wal::writer::SyncPolicy;
use osprey_tests::accounting_allocator::{AccountingAllocator, held, off_account, on_account, take_allocations, take_peak};

#[global_allocator]
static ALLOCATOR: AccountingAllocator = AccountingAllocator;

/// More are not there: without snapshots the log is one long segment, with them it is kept short.
const SEGMENTS: usize = 32;
const SNAPSHOTS: usize = 3;

/// For a machine with so much memory, of which the engine may take all, with so many connections.
fn options(memory_bytes: usize, sessions: usize, snapshots: bool, entry_bytes: usize) -> Options {
    let mut options = Options::new(Entropy { hash_key: [1; 16], salt: 1, database: DatabaseId([3; 16]) });
    options.limits.request = Limits { key_bytes_max: 32, value_bytes_max: 512, line_bytes_max: 256, words_max: 16 };
    options.limits.reply_bytes_max = 512;
    options.limits.unsent_bytes_soft_max = 512;
    options.limits.recent_slots_log2 = 6;
    options.chunk = ChunkBytes::nearest(1024);
    options.sync_policy = SyncPolicy::Always;
    if snapshots {
        options.segment_bytes = (memory_bytes / 2) as u64;
        options.snapshots = Some(SnapshotOptions { log_bytes_max: 2 * memory_bytes as u64, ..SnapshotOptions::default() });
    } else {
        options.segment_bytes = 1 << 30;
    }
    let options = options.within(memory_bytes, sessions, entry_bytes).unwrap();
    assert!(options.footprint().unwrap().total(sessions) <= memory_bytes);
    options
}

/// An engine, a connection, and storage whose memory is not the engine's.
struct Host {
    options: Options,
    bound: usize,
    engine: Option<Engine>,
    storage: MemoryStorage,
    session: Session,
    out: Vec<u8>,
    now: Millis,
    runs: u64,
    peak: usize,
    model: BTreeMap<String, usize>,
    snapshots: usize,
}

impl Host {
    fn new(options: Options, seed: u64) -> Self {
        let footprint = options.footprint().unwrap();
        let bound = footprint.total(1);
        assert_eq!(held(), 0);
        let mut host = Self {
            options,
            // These are not allocated.
            bound: bound - size_of::<Engine>() - size_of::<Session>() - options.request_bytes_max(),
            engine: None,
            storage: MemoryStorage::new(),
            session: Session::new(),
            out: Vec::new(),
            now: Millis(1_000_000),
            runs: seed * 1000,
            peak: 0,
            model: BTreeMap::new(),
            snapshots: 0,
        };
        host.recover();
        host
    }

    fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().unwrap()
    }

    fn check(&mut self) {
        let peak = take_peak();
        self.peak = self.peak.max(peak);
        assert!(peak <= self.bound, "{peak} bytes, more than {}: {:?}", self.bound, self.options.footprint());
        assert_eq!(take_allocations(), 0, "all there is was there when it was opened");
    }

    /// The process ends without notice; its keys are there again, under another hash.
    fn recover(&mut self) {
        (self.engine, self.session, self.out) = (None, Session::new(), Vec::new());
        assert_eq!(held(), 0, "all is given back");
        self.runs += 1;
        self.options.entropy.salt = self.runs;
        self.options.entropy.hash_key[..8].copy_from_slice(&self.runs.to_le_bytes());
        let mut files = Files(&mut self.storage);
        assert!(
            files.segments().unwrap().len() <= SEGMENTS && files.snapshots().unwrap().len() <= SNAPSHOTS,
            "more than was reckoned with"
        );
        let (engine, _) = on_account(|| Engine::recover(self.options, &mut files, self.now)).unwrap_or_else(|error| {
            panic!("{} keys in run {}: {error}; the footprint is {:?}", self.model.len(), self.runs, self.options.footprint())
        });
        self.engine = Some(engine);
        self.out = on_account(|| Vec::with_capacity(self.options.replies_bytes_max()));
        let allocations = take_allocations();
        let expected = self.options.footprint().unwrap().allocations + 1;
        assert!(allocations <= expected, "{allocations} allocations at the start, more than {expected}");
        self.check();
        self.drive();
        for (key, len) in self.model.clone() {
            let reply = self.ask(&format!("GET {key}\r\n"));
            assert!(reply.starts_with(&format!("VALUE {len} ")), "{key}, after recovery: {reply}");
        }
    }

    fn drive(&mut self) {
        loop {
            let (now, engine) = (self.now, self.engine.as_mut().unwrap());
            if engine.wants_snapshot_slice() {
                on_account(|| engine.snapshot_slice(now, || true));
            }
            let Some(op) = on_account(|| engine.poll_storage()) else { break };
            let StorageDone { op, result } = self.storage.submit(op).unwrap();
            on_account(|| engine.storage_done(StorageDone { op, result })).unwrap();
        }
        self.check();
    }

    fn tick(&mut self, ms: u64) {
        self.now.0 += ms;
        let now = self.now;
        on_account(|| self.engine().tick(now));
        self.drive();
    }

    fn ask(&mut self, request: &str) -> String {
        let mut rest = request.as_bytes();
        let mut replies = String::new();
        for turn in 0.. {
            assert!(turn < 100, "never answered: {request}");
            let (now, capacity) = (self.now, self.out.capacity());
            let Self { engine, session, out, .. } = self;
            let served = on_account(|| engine.as_mut().unwrap().serve(now, session, rest, out));
            assert_ne!(served.next, Next::Close, "{request}");
            assert_eq!(self.out.capacity(), capacity, "replies have room from the beginning: {request}");
            rest = &rest[served.consumed..];
            self.drive();
            replies += str::from_utf8(&self.out).unwrap();
            self.out.clear();
            if rest.is_empty() {
                return replies;
            }
        }
        replies
    }

    /// Sets a key, or is refused.
    fn set(&mut self, key: &str, len: usize, expiry: &str) -> bool {
        let reply = self.ask(&format!("SET {key} {len}{expiry}\r\n{}\r\n", "v".repeat(len)));
        let done = reply.starts_with("OK ");
        assert!(done || reply.starts_with("ERR OOM"), "{reply}");
        if done && expiry.is_empty() {
            self.model.insert(key.to_owned(), len);
        }
        done
    }

    fn del(&mut self, key: &str) {
        assert_eq!(self.ask(&format!("DEL {key}\r\n")), "DELETED 1\r\n");
        self.model.remove(key);
    }

    /// Keys of 11 bytes with values of 32, until there is no room; returns how many.
    fn fill(&mut self) -> usize {
        for number in 0.. {
            if !self.set(&format!("key{number:08}"), 32, "") {
                return number;
            }
            if number % 50 == 0 {
                self.tick(10);
            }
        }
        unreachable!()
    }

    fn done(mut self) -> (usize, usize) {
        self.check();
        (self.engine, self.out) = (None, Vec::new());
        assert_eq!(held(), 0);
        (self.peak, self.snapshots)
    }
}

struct Files<'a>(&'a mut MemoryStorage);

impl LogFiles for Files<'_> {
    // The list is handed over to the engine.
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
        LogFiles::segments(self.0)
    }

    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        off_account(|| self.0.read(segment, offset, buffer))
    }

    fn truncate(&mut self, segment: SegmentNumber, length: u64) -> Result<(), StorageError> {
        off_account(|| self.0.truncate(segment, length))
    }

    fn remove(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        off_account(|| self.0.remove(segment))
    }

    fn sync(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        off_account(|| self.0.sync(segment))
    }

    fn snapshots(&mut self) -> Result<Vec<(SnapshotName, u64)>, StorageError> {
        LogFiles::snapshots(self.0)
    }

    fn read_snapshot(&mut self, name: SnapshotName, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        off_account(|| self.0.read_snapshot(name, offset, buffer))
    }
}

/// What clients may do to a memory: sizes that change, keys that come and go, locks, large requests, lists, all until it is used up and beyond.
fn hostile(options: Options, seed: u64, rounds: usize) -> (usize, usize) {
    let mut host = Host::new(options, seed);
    let mut random = fastrand::Rng::with_seed(seed);
    let value_bytes_max = options.limits.request.value_bytes_max;
    host.fill();
    host.recover();
    for round in 0..rounds {
        // Many of one size go, others come.
        let keep = random.usize(1..8);
        let keys: Vec<String> = host.model.keys().cloned().collect();
        for key in keys.iter().filter(|_| random.usize(0..8) >= keep) {
            host.del(key);
        }
        host.tick(random.u64(1..400));
        let len = [random.usize(0..40), random.usize(0..value_bytes_max), value_bytes_max][random.usize(0..3)];
        for number in 0..random.usize(1..600) {
            let len = if random.bool() { len } else { random.usize(0..=len) };
            if !host.set(&format!("r{round}.{number}"), len, "") && random.u8(0..4) == 0 {
                break;
            }
        }
        // Locks that are taken for an hour and given back at once; keys that expire soon; expiries that move.
        for number in 0..random.usize(1..400) {
            let lock = format!("lock{}", random.u8(0..50));
            if host.set(&lock, 3, " EX 3600000") {
                host.ask(&format!("DEL {lock}\r\n"));
            }
            host.set(&format!("soon{number}"), random.usize(0..60), &format!(" EX {}", random.u64(1..2000)));
            if number % 20 == 0 {
                host.tick(random.u64(0..300));
            }
        }
        if let Some(key) = host.model.keys().next().cloned() {
            host.ask(&format!("EXPIRE {key} 100000\r\nPERSIST {key}\r\nINCR {key}\r\n"));
        }
        // As large as requests and replies become.
        let each = value_bytes_max / 7;
        let pairs: String = (0..7).map(|number| format!(" m{}.{number} {each}", round % 3)).collect();
        if host.ask(&format!("MSET{pairs}\r\n{}\r\n", "m".repeat(7 * each))).starts_with("OK") {
            host.model.extend((0..7).map(|number| (format!("m{}.{number}", round % 3), each)));
        }
        let mut cursor = String::from("0");
        for _ in 0..2000 {
            let reply = host.ask(&format!("SCAN {cursor} COUNT 10000\r\n"));
            cursor = reply.lines().next().unwrap().strip_prefix("CURSOR ").unwrap().to_owned();
            if cursor == "0" {
                break;
            }
        }
        let keys: String = host.model.keys().take(12).map(|key| format!(" {key}")).collect();
        host.ask(&format!("MGET x{keys}\r\nSTATS\r\n"));
        host.ask(&"GET m0.1\r\n".repeat(20));
        if options.snapshots.is_some() && round % 4 == 1 {
            host.snapshots += usize::from(host.ask("SNAPSHOT\r\n") == "OK\r\n");
        }
        if round % 3 == 2 {
            host.recover();
        }
    }
    host.fill();
    host.recover();
    host.done()
}

const SIZES: [usize; 3] = [64 << 10, 256 << 10, 1 << 20];

#[test]
fn the_footprint_is_never_exceeded_and_what_was_accepted_is_recovered() {
    for memory_bytes in SIZES {
        for snapshots in [false, true] {
            let memory = Some(FixedMemory { segments_max: SEGMENTS, ..FixedMemory::default() });
            let options = Options { memory, ..options(memory_bytes, 1, snapshots, 64) }.within(memory_bytes, 1, 64).unwrap();
            let (mut most, mut taken) = (0, 0);
            for seed in 0..if memory_bytes > 256 << 10 { 2 } else { 6 } {
                let (peak, snapshots) = hostile(options, seed, 12);
                (most, taken) = (most.max(peak), taken + snapshots);
            }
            let bound = options.footprint().unwrap().total(1);
            println!(
                "{memory_bytes} bytes, snapshots {snapshots}: at most {most} of {bound} on the heap, {taken} snapshots; {:?}",
                options.footprint().unwrap()
            );
            assert_eq!(taken > 0, snapshots);
            // A bound that nothing comes near to would be worth nothing.
            assert!(most * 10 > bound * 6, "only {most} of {bound} bytes");
        }
    }
}
/// As many keys of a size as there is room for, by calls without a protocol; how many, and the most that was on the heap, with a restart behind it.
fn fill_by_calls(options: Options, key_bytes: usize, value_bytes: usize) -> (usize, usize) {
    let mut storage = MemoryStorage::new();
    let value = vec![b'v'; value_bytes];
    let (mut keys, mut peak) = (0, 0);
    let _ = take_peak();
    // So few segments that no snapshot is needed.
    let options = Options { segment_bytes: 1 << 30, ..options };
    for run in 0..2 {
        assert_eq!((held(), take_allocations()), (0, 0));
        let (mut engine, _) = on_account(|| Engine::recover(options, &mut Files(&mut storage), Millis(1))).unwrap();
        assert!(take_allocations() <= options.footprint().unwrap().allocations);
        assert_eq!(engine.store().len(), keys, "all are there in run {run}");
        for _ in 0.. {
            while let Some(op) = on_account(|| engine.poll_storage()) {
                let StorageDone { op, result } = storage.submit(op).unwrap();
                on_account(|| engine.storage_done(StorageDone { op, result })).unwrap();
            }
            let key = format!("{keys:0key_bytes$}");
            match on_account(|| engine.set(Millis(1), key.as_bytes(), &value, &SetOptions::default())).result {
                Ok(_) => keys += 1,
                Err(Error::OutOfMemory) => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(take_allocations(), 0);
        peak = peak.max(take_peak());
    }
    assert_eq!(held(), 0);
    (keys, peak)
}

/// The tables in docs/EMBEDDING.md: what is stated there must be what there is.
#[test]
fn so_much_has_room() {
    fn thousands(number: usize) -> String {
        if number < 1000 { number.to_string() } else { format!("{},{:03}", thousands(number / 1000), number % 1000) }
    }
    let documented = include_str!("../../docs/EMBEDDING.md");
    let mut missing = Vec::new();
    let mut state = |row: String| {
        println!("{row}");
        if !documented.contains(&row) {
            missing.push(row);
        }
    };
    for memory_bytes in SIZES {
        for (what, sessions, snapshots) in [("calls", 0, false), ("calls, snapshots", 0, true), ("one connection, snapshots", 1, true)] {
            let cells = [(8, 16), (16, 32), (16, 256)].map(|(key_bytes, value_bytes)| {
                let options = options(memory_bytes, sessions, snapshots, key_bytes + value_bytes);
                let footprint = options.footprint().unwrap();
                let (keys, peak) = fill_by_calls(options, key_bytes, value_bytes);
                let bound = footprint.total(0) - footprint.engine;
                assert!(peak <= bound && peak * 100 >= bound * 95, "{peak} of {bound} bytes");
                assert_eq!(keys, options.memory.unwrap().keys_max, "all that was reckoned with");
                thousands(keys)
            });
            state(format!("| {} KiB | {what} | {} |", memory_bytes >> 10, cells.join(" | ")));
        }
    }
    for memory_bytes in SIZES {
        let options = options(memory_bytes, 1, true, 16 + 32);
        let (memory, footprint) = (options.memory.unwrap(), options.footprint().unwrap());
        let (_, peak) = fill_by_calls(options, 16, 32);
        let Footprint { engine, store, log, snapshots, lists, recovery, session, .. } = footprint;
        let slabs = format!("{} of {}", memory.slabs, thousands(memory.slab_bytes));
        let parts = [engine, store, log, snapshots, lists, recovery, session, footprint.total(1), peak].map(thousands);
        state(format!("| {} KiB | {slabs} | {} |", memory_bytes >> 10, parts.join(" | ")));
    }
    assert!(missing.is_empty(), "not in docs/EMBEDDING.md:\n{}", missing.join("\n"));
}

/// What doesn't hold together is refused before anything is read, and the message says what to do.
#[test]
fn options_that_do_not_hold_together_are_refused_by_name() {
    let good = options(64 << 10, 0, false, 48);
    let memory = good.memory.unwrap();
    let refused = |options: Options| match Engine::recover(options, &mut MemoryStorage::new(), Millis(1)) {
        Err(RecoveryError::Options(error)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let with = |memory: FixedMemory| refused(Options { memory: Some(memory), ..good });
    assert!(with(FixedMemory { keys_max: 0, ..memory }).starts_with("memory.keys_max is 0; it has to be 1 to"));
    assert!(with(FixedMemory { slabs: 0, ..memory }).starts_with("memory.slabs is 0"));
    assert!(with(FixedMemory { slab_bytes: 64 << 10, ..memory }).starts_with("memory.slab_bytes is 65536; it has to be 32768"));
    let small = with(FixedMemory { slab_bytes: 256, ..memory });
    assert_eq!(
        small,
        "memory.slab_bytes is 256, and the largest entry needs 576; make it larger, or limits.request.key_bytes_max and value_bytes_max smaller"
    );
    let mut large = good;
    large.limits.request.value_bytes_max = 20_000;
    assert!(refused(large).starts_with("the largest entry has 20051 bytes"));
    let none = Options { memory: None, ..good };
    assert_eq!(none.footprint(), None);
    let needed = match none.within(1000, 0, 48) {
        Err(OptionsError::TooLittle { bytes: 1000, needed }) => needed,
        other => panic!("{other:?}"),
    };
    assert!(none.within(needed - 1, 0, 48).is_err() && none.within(needed, 0, 48).is_ok());
}
