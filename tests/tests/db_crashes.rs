//! `Db` on a disk that is late and loses power, at every step that the disk takes: what has returned stays, what was called for is there up to some point, and the whole
//! is one state that the program went through (invariants 2, 3, 6).

#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use std::cell::RefCell;
use std::rc::Rc;

use osprey_core::clock::Clock;
use osprey_core::db::{Db, Error};
use osprey_core::engine;
use osprey_core::storage::memory::MemoryStorage;
use osprey_core::storage::{LogFiles, SegmentNumber, Storage, StorageDone, StorageError, StorageOp};
use osprey_core::wal::writer::SyncPolicy;
use osprey_tests::db::{Contents, Ticking, contents};
use osprey_tests::machine::small_options;
use osprey_tests::simulator::disk::{Crash, Disk, Loss, Progress};
use osprey_tests::simulator::tape::{Choices, Tape};

#[derive(Debug)]
struct Machine {
    disk: Disk,
    /// The power goes after so many steps.
    steps_left: usize,
    steps: usize,
    picks: Vec<Choices>,
}

/// The disk of a [`Machine`], which outlives the database on it. Nothing is done before somebody waits for it.
#[derive(Clone, Debug)]
struct LateDisk(Rc<RefCell<Machine>>);

impl LateDisk {
    fn new(disk: Disk, steps_left: usize, seed: u64) -> Self {
        let picks = Tape::from_seed(seed, 64).chunks().collect();
        Self(Rc::new(RefCell::new(Machine { disk, steps_left, steps: 0, picks })))
    }

    /// The power goes, whatever is under way.
    fn cut_power(self, crash: Crash, choices: &mut Choices) -> Disk {
        let mut machine = self.0.borrow_mut();
        machine.disk.crash(crash, choices);
        machine.disk.copy()
    }
}

impl Storage for LateDisk {
    fn submit(&mut self, op: StorageOp) -> Option<StorageDone> {
        let mut machine = self.0.borrow_mut();
        machine.disk.prompt = Progress { append: false, sync: false, reserve: false, snapshot: false };
        machine.disk.submit(op)
    }

    fn poll(&mut self) -> Option<StorageDone> {
        None
    }

    fn wait(&mut self) -> Option<StorageDone> {
        let mut machine = self.0.borrow_mut();
        if machine.steps_left == 0 {
            // The process that asks is gone; this only ends the test's.
            let op = StorageOp::Sync { segment: SegmentNumber(0), trim_to: None };
            return Some(StorageDone { op, result: Err(StorageError::Io(None)) });
        }
        machine.steps_left -= 1;
        machine.steps += 1;
        let at = machine.steps % machine.picks.len();
        let pick = usize::from(machine.picks[at].byte());
        machine.disk.work(pick);
        assert_eq!(machine.disk.violation, None);
        machine.disk.poll()
    }
}

impl LogFiles for LateDisk {
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
        LogFiles::segments(&mut self.0.borrow_mut().disk)
    }

    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        self.0.borrow_mut().disk.read(segment, offset, buffer)
    }

    fn truncate(&mut self, segment: SegmentNumber, length: u64) -> Result<(), StorageError> {
        self.0.borrow_mut().disk.truncate(segment, length)
    }

    fn remove(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.0.borrow_mut().disk.remove(segment)
    }

    fn sync(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.0.borrow_mut().disk.sync(segment)
    }
}

/// What the program has called for, and how much of it has returned. Each is a number of writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reached {
    called: usize,
    returned: usize,
}

/// Writes of all kinds, some of them in batches, until one fails. `after` is told of each write that has been done.
fn program<S: Storage, C: Clock>(db: &mut Db<S, C>, seed: u64, mut after: impl FnMut(&mut Db<S, C>)) -> Reached {
    let mut reached = Reached::default();
    let mut write = |db: &mut Db<S, C>, number: u64, reached: &mut Reached| -> Result<(), Error> {
        reached.called += 1;
        let key = [b'a' + u8::try_from(number % 5).unwrap()];
        let value = vec![b'0' + u8::try_from(number % 10).unwrap(); usize::try_from(number % 7).unwrap() * 150];
        match number % 11 {
            0..=4 => drop(db.set(&key, &value)?),
            5 | 6 => drop(db.incr(b"number", 1)?),
            7 | 8 => drop(db.delete(&key)?),
            _ => db.set_many(&[(&key, b"many"), (b"number", b"0")])?,
        }
        after(db);
        Ok(())
    };
    let mut numbers = Tape::from_seed(seed, 64)
        .chunks()
        .map(|mut choices| u64::from(choices.byte()) << 8 | u64::from(choices.byte()))
        .collect::<Vec<_>>();
    while let Some(number) = numbers.pop() {
        let done = if number % 4 == 0 {
            let many: Vec<u64> = numbers.drain(numbers.len().saturating_sub(4)..).collect();
            db.batch(|db| many.iter().try_for_each(|number| write(db, *number, &mut reached)))
        } else {
            write(db, number, &mut reached)
        };
        if done.is_err() {
            return reached;
        }
        reached.returned = reached.called;
    }
    reached
}

fn clock() -> Ticking {
    Ticking(1000)
}

/// Cuts the power behind each step, and checks what is there then.
fn cut_everywhere(policy: SyncPolicy, crash: Crash, seed: u64) {
    let options = small_options(policy);
    // Where nothing fails: the state behind each write.
    let mut states = vec![Contents::new()];
    let mut undisturbed = Db::open(MemoryStorage::new(), clock(), options).unwrap();
    let all = program(&mut undisturbed, seed, |db| states.push(contents(db)));
    assert_eq!((all.called, all.returned), (states.len() - 1, states.len() - 1));
    let mut lost = 0;
    for steps in 0.. {
        let disk = LateDisk::new(Disk::default(), steps, seed);
        let reached = match Db::open(disk.clone(), clock(), options) {
            Ok(mut db) => program(&mut db, seed, |_| ()),
            Err(_) => Reached::default(),
        };
        let survives_kill = crash == Crash::Kill || policy == SyncPolicy::Always;
        let mut choices = Choices::new((seed ^ steps as u64).to_le_bytes());
        let left = disk.cut_power(crash, &mut choices);
        let mut db = Db::open(LateDisk::new(left, usize::MAX, seed), clock(), options).unwrap();
        let found = contents(&mut db);
        let least = if survives_kill { reached.returned } else { 0 };
        let place = states[least..=reached.called].iter().position(|state| *state == found);
        assert!(place.is_some(), "{crash:?} behind step {steps} of seed {seed}: {reached:?} writes, and there is {found:?}");
        lost += usize::from(reached.returned > 0 && place != Some(reached.called - least));
        if reached == all {
            assert!(steps > 25, "{steps} steps");
            assert!(lost > 0 || crash == Crash::PowerCut(Loss::None), "no cut has taken anything: does it do what it says?");
            return;
        }
    }
}

#[test]
fn nothing_that_has_returned_is_lost_in_a_power_cut() {
    for loss in [Loss::All, Loss::None, Loss::Mixed, Loss::Tail, Loss::Head] {
        (0..12).for_each(|seed| cut_everywhere(SyncPolicy::Always, Crash::PowerCut(loss), seed));
    }
}

#[test]
fn nothing_that_has_returned_is_lost_when_the_process_dies() {
    for policy in [SyncPolicy::Os, SyncPolicy::Batch { delay_ms: 20, bytes: 1000 }, SyncPolicy::Always] {
        (0..12).for_each(|seed| cut_everywhere(policy, Crash::Kill, seed));
    }
}

#[test]
fn without_a_sync_a_power_cut_leaves_one_state_from_before() {
    for loss in [Loss::All, Loss::Mixed, Loss::Tail, Loss::Head] {
        (0..12).for_each(|seed| cut_everywhere(SyncPolicy::Batch { delay_ms: 20, bytes: 1000 }, Crash::PowerCut(loss), seed));
    }
}

#[test]
fn writes_go_on_when_there_is_space_again() {
    let mut disk = Disk::default();
    disk.full = true;
    let disk = LateDisk::new(disk, usize::MAX, 1);
    let mut db = Db::open(disk.clone(), clock(), small_options(SyncPolicy::Always)).unwrap();
    // Long enough that it is tried again, in vain.
    for _ in 0..3000 {
        assert_eq!(db.set(b"key", b"value"), Err(Error::Refused(engine::Error::ReadOnly)));
    }
    disk.0.borrow_mut().disk.full = false;
    assert!((0..3000).any(|_| db.set(b"key", b"value").is_ok()), "nobody has looked whether there is space");
    db.close().unwrap();
}

#[test]
fn a_database_that_never_had_space_can_be_closed() {
    let mut disk = Disk::default();
    disk.full = true;
    let db = Db::open(LateDisk::new(disk, usize::MAX, 1), clock(), small_options(SyncPolicy::Always)).unwrap();
    db.close().unwrap();
}
