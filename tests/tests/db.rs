//! `Db`: that its calls wait for what they must, and for no more; and that what is due happens within them.

#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use osprey_core::clock::Clock;
use osprey_core::db::{Db, Error, OpenError};
use osprey_core::engine::{self, Options, SetExpiry, SetOptions, SnapshotOptions, TimeToLive};
use osprey_core::storage::memory::MemoryStorage as CoreStorage;
use osprey_core::storage::{ChunkBytes, LogFiles, StorageError};
use osprey_core::units::{Millis, Version};
use osprey_core::wal::writer::SyncPolicy;
use osprey_tests::db::contents;
use osprey_tests::machine::small_options;
use osprey_tests::memory_storage::{Disk, MemoryStorage, Work};

/// Time as the test says.
#[derive(Clone, Debug)]
struct TestClock(Rc<Cell<u64>>);

impl TestClock {
    fn new(ms: u64) -> Self {
        Self(Rc::new(Cell::new(ms)))
    }
}

impl Clock for TestClock {
    fn now(&mut self) -> Millis {
        Millis(self.0.get())
    }
}

type TestDb = Db<MemoryStorage, TestClock>;

fn open(disk: Disk, clock: &TestClock, options: Options) -> TestDb {
    Db::open(MemoryStorage::new(disk), clock.clone(), options).unwrap()
}

fn always() -> Options {
    small_options(SyncPolicy::Always)
}

#[test]
fn every_call_does_what_its_name_says() {
    let clock = TestClock::new(1000);
    let mut db = open(Disk::default(), &clock, always());
    assert_eq!(db.get(b"key").unwrap(), None);
    assert_eq!(db.set(b"key", b"one"), Ok(Version(1)));
    assert_eq!(db.get(b"key").unwrap().map(|entry| (entry.value, entry.version)), Some((&b"one"[..], Version(1))));
    assert_eq!(db.compare_and_set(b"key", Version(2), b"no"), Err(Error::Refused(engine::Error::Version(Version(1)))));
    assert_eq!(db.compare_and_set(b"key", Version(1), b"two"), Ok(Version(2)));
    assert_eq!(db.set_with(b"key", b"three", &SetOptions { expiry: SetExpiry::In(50), ..SetOptions::default() }), Ok(Version(3)));
    assert_eq!((db.ttl(b"key"), db.ttl(b"nothing")), (Ok(TimeToLive::Ms(50)), Ok(TimeToLive::NoKey)));
    assert_eq!((db.persist(b"key"), db.ttl(b"key")), (Ok(true), Ok(TimeToLive::Endless)));
    assert_eq!(db.expire(b"key", 10), Ok(true));
    clock.0.set(1010);
    assert_eq!((db.exists(b"key"), db.expire(b"key", 10)), (Ok(false), Ok(false)));
    assert_eq!((db.incr(b"number", 5), db.incr(b"number", -7)), (Ok(5), Ok(-2)));
    db.set_many(&[(b"a", b"1"), (b"b", b"2")]).unwrap();
    let values: Vec<_> = db.get_many(&[b"b", b"nothing", b"a"]).unwrap().map(|entry| entry.map(|entry| entry.value.to_vec())).collect();
    assert_eq!(values, [Some(b"2".to_vec()), None, Some(b"1".to_vec())]);
    assert_eq!(db.compare_and_delete(b"a", Version(9)), Err(Error::Refused(engine::Error::Version(Version(1)))));
    assert_eq!((db.compare_and_delete(b"a", Version(1)), db.delete(b"a")), (Ok(true), Ok(false)));
    assert_eq!(contents(&mut db).into_keys().collect::<Vec<_>>(), [b"b".to_vec(), b"number".to_vec()]);
    let before = contents(&mut db);
    let disk = db.close().unwrap().disk;
    assert_eq!(contents(&mut open(disk, &clock, always())), before);
}

/// Invariant 3: when a call returns, a power cut takes nothing that it has said.
#[test]
fn what_has_returned_is_durable() {
    let clock = TestClock::new(1);
    let mut db = open(Disk::default(), &clock, always());
    for round in 0..20 {
        db.incr(b"n", 1).unwrap();
        let after = db.engine().last_lsn();
        assert_eq!(db.engine().durable_lsn(), after, "round {round}");
    }
}

#[test]
fn a_batch_is_one_append_and_one_sync() {
    let clock = TestClock::new(1);
    let count = |batches: bool| {
        let mut db = open(Disk::default(), &clock, always());
        let appends = |db: TestDb| db.close().unwrap().submitted(Work::Append);
        if batches {
            db.batch(|db| (0..10).try_for_each(|_| db.batch(|db| db.incr(b"n", 1).map(|_| ())))).unwrap();
        } else {
            (0..10).try_for_each(|_| db.incr(b"n", 1).map(|_| ())).unwrap();
        }
        assert_eq!(db.engine().durable_lsn(), db.engine().last_lsn());
        // Without the SEAL.
        appends(db) - 1
    };
    assert_eq!((count(false), count(true)), (10, 1));
}

#[test]
fn a_batch_that_fails_keeps_what_it_has_done() {
    let clock = TestClock::new(1);
    let mut db = open(Disk::default(), &clock, always());
    let failed = db.batch(|db| {
        db.set(b"text", b"done")?;
        db.incr(b"text", 1)
    });
    assert_eq!(failed, Err(Error::Refused(engine::Error::NotAnInteger)));
    assert_eq!(db.engine().durable_lsn(), db.engine().last_lsn());
    // Also one that panics: calls wait again behind it.
    let panicked = catch_unwind(AssertUnwindSafe(|| db.batch(|_| -> Result<(), Error> { panic!("as planned") })));
    assert!(panicked.is_err());
    db.set(b"key", b"value").unwrap();
    assert_eq!(db.engine().durable_lsn(), db.engine().last_lsn());
}

#[test]
fn a_batch_larger_than_a_frame_goes_out_in_several() {
    let clock = TestClock::new(1);
    let mut options = always();
    options.limits.request.value_bytes_max = 300 << 10;
    options.segment_bytes = 2 << 20;
    let mut db = open(Disk::default(), &clock, options);
    let value = vec![b'v'; 300 << 10];
    db.batch(|db| (0..20_u8).try_for_each(|key| db.set(&[b'a' + key], &value).map(|_| ()))).unwrap();
    let before = contents(&mut db);
    assert_eq!(before.len(), 20);
    // As the power cut leaves it.
    let disk = db.close().unwrap().disk.after_power_cut();
    assert_eq!(contents(&mut open(disk, &clock, options)), before);
}

/// The policy `batch`: [`Db::tick`] is what makes the last writes durable.
#[test]
fn what_is_due_happens_in_ticks() {
    let clock = TestClock::new(1000);
    let mut db = open(Disk::default(), &clock, small_options(SyncPolicy::Batch { delay_ms: 100, bytes: 1 << 20 }));
    db.set_with(b"key", b"value", &SetOptions { expiry: SetExpiry::In(5000), ..SetOptions::default() }).unwrap();
    let last = db.engine().last_lsn();
    assert!(db.engine().durable_lsn() < last);
    let due = db.tick().unwrap().unwrap();
    assert_eq!(due, Millis(1100));
    clock.0.set(due.0);
    db.tick().unwrap();
    assert_eq!(db.engine().durable_lsn(), last);
    db.set(b"other", b"").unwrap();
    db.sync().unwrap();
    assert_eq!(db.engine().durable_lsn(), db.engine().last_lsn(), "at once, if asked");
    // Nobody asks for the key, and its memory comes back.
    while let Some(due) = db.tick().unwrap() {
        clock.0.set(due.0.max(clock.0.get()));
    }
    assert_eq!(db.engine().store().len(), 1);
}

fn with_snapshots(log_bytes_max: u64) -> Options {
    Options { snapshots: Some(SnapshotOptions { log_bytes_max, ..SnapshotOptions::default() }), ..always() }
}

/// Invariant 7, and that the log stays short.
#[test]
fn snapshots_are_taken_within_writes() {
    let clock = TestClock::new(1);
    let mut db = open(Disk::default(), &clock, with_snapshots(64 << 10));
    for round in 0..4000_u32 {
        db.set(format!("key{}", round % 300).as_bytes(), &round.to_le_bytes().repeat(20)).unwrap();
        clock.0.set(u64::from(round));
    }
    let stats: BTreeMap<_, _> = db.engine().stats().collect();
    assert!(stats["snapshots_total"] >= 3, "{} snapshots", stats["snapshots_total"]);
    // Each write is synced, and takes a sector.
    assert!(stats["directory_bytes"] < 700 << 10, "{} bytes of {}", stats["directory_bytes"], 4000 * 512);
    let before = contents(&mut db);
    let mut disk = db.close().unwrap().disk;
    // The older generation goes before the next is begun, where it would take too much.
    assert!(!LogFiles::snapshots(&mut disk).unwrap().is_empty());
    assert_eq!(contents(&mut open(disk, &clock, with_snapshots(64 << 10))), before);
}

#[test]
fn a_snapshot_is_taken_when_asked_for() {
    let clock = TestClock::new(1);
    let mut db = Db::open(CoreStorage::new(), clock.clone(), with_snapshots(1 << 30)).unwrap();
    db.set(b"key", b"value").unwrap();
    db.snapshot().unwrap();
    let newest = db.engine().newest_snapshot();
    assert_eq!(newest.map(|name| name.end), Some(db.engine().last_lsn()));
    db.snapshot().unwrap();
    assert_eq!(db.engine().newest_snapshot(), newest, "another would be the same");
    let mut storage = db.close().unwrap();
    assert_eq!(storage.snapshots().unwrap().len(), 1);
    assert!(storage.bytes() > 0);
    let mut db = Db::open(storage, clock.clone(), always()).unwrap();
    assert_eq!(db.get(b"key").unwrap().unwrap().value, b"value");
    let unsupported = engine::Error::Snapshot(engine::SnapshotFailure::Unsupported);
    assert_eq!(db.snapshot(), Err(Error::Refused(unsupported)), "this time without");
}

/// Nothing else is called, and the host sleeps for as long as it is told.
#[test]
fn a_snapshot_goes_on_in_ticks_alone() {
    let clock = TestClock::new(1);
    // Reading it back takes many operations.
    let mut db = open(Disk::default(), &clock, Options { chunk: ChunkBytes::nearest(1), ..with_snapshots(32 << 10) });
    db.batch(|db| (0..300).try_for_each(|key| db.set(format!("key{key}").as_bytes(), &[7; 200]).map(drop))).unwrap();
    let mut turns = 0;
    while db.engine().snapshots_ended().0 == 0 {
        let due = db.tick().unwrap().expect("there is a snapshot to be gone on with");
        clock.0.set(due.0.max(clock.0.get()));
        turns += 1;
        assert!(turns < 10_000 && clock.0.get() < 100, "{turns} turns until {:?}", clock.0);
    }
    assert!(turns > 10, "{turns} turns");
}

/// Whoever waits for a snapshot isn't kept waiting for time to pass, which needn't.
#[test]
fn a_snapshot_that_is_waited_for_needs_no_clock_that_goes_on() {
    let looks = Cell::new(0_u32);
    let clock = || {
        looks.set(looks.get() + 1);
        assert!(looks.get() < 100_000, "it waits for a clock that stands still");
        Millis(1)
    };
    let snapshots = SnapshotOptions { automatic: false, bandwidth_max: 1, ..SnapshotOptions::default() };
    let options = Options { snapshots: Some(snapshots), chunk: ChunkBytes::nearest(1), ..always() };
    let mut db = Db::open(CoreStorage::new(), clock, options).unwrap();
    for key in 0..300 {
        db.set(format!("key{key}").as_bytes(), &[7; 200]).unwrap();
    }
    db.snapshot().unwrap();
    assert_eq!(db.engine().newest_snapshot().map(|name| name.end), Some(db.engine().last_lsn()));
}

/// After a failure nothing is promised any more, not even by reads.
#[test]
fn a_failure_of_storage_is_the_end() {
    let clock = TestClock::new(1);
    let mut storage = MemoryStorage::default();
    storage.failing = Some((Work::Append, StorageError::Io(Some(5))));
    let mut db = Db::open(storage, clock.clone(), always()).unwrap();
    let Err(Error::Failed(poisoned)) = db.set(b"key", b"value") else { panic!("it was not written") };
    assert_eq!(db.get(b"key"), Err(Error::Failed(poisoned)));
    assert_eq!(db.sync(), Err(Error::Failed(poisoned)));
    assert_eq!(db.close().map(|_| ()), Err(Error::Failed(poisoned)));
}

#[test]
fn without_space_writes_are_refused_and_reads_go_on() {
    let clock = TestClock::new(1);
    let mut storage = MemoryStorage::default();
    storage.failing = Some((Work::Reserve, StorageError::NoSpace));
    let mut db = Db::open(storage, clock.clone(), always()).unwrap();
    assert_eq!(db.set(b"key", b"value"), Err(Error::Refused(engine::Error::ReadOnly)));
    assert_eq!(db.get(b"key"), Ok(None));
}

#[test]
fn what_cannot_be_read_is_not_opened() {
    let clock = TestClock::new(1);
    let mut db = open(Disk::default(), &clock, always());
    db.set(b"key", b"value").unwrap();
    db.set(b"key", b"value").unwrap();
    let disk = db.close().unwrap().disk;
    let (segment, _) = disk.last();
    let damaged = disk.flipped(segment, 4096 + 70, 1);
    let refused = Db::open(MemoryStorage::new(damaged), clock, always());
    assert!(matches!(refused, Err(OpenError::Recovery(_))), "{refused:?}");
}
