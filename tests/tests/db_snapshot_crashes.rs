//! `Db` and its snapshots, those that are asked for and those that are due, on a disk that is late: at every step of the disk, and whenever a call has returned, the machine goes down in every way.
//! What has returned is there, the whole is one state that the program went through, a snapshot that was waited for is what the next start begins with, and the database goes on from there
//! (invariants 2, 3, 6, 7).

#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use osprey_core::clock::Clock;
use osprey_core::db::{Db, Error, OpenError};
use osprey_core::engine::{Engine, Options, SnapshotOptions};
use osprey_core::storage::memory::MemoryStorage;
use osprey_core::storage::{ChunkBytes, LogFiles, SnapshotName, SnapshotOp, Storage, StorageDone, StorageOp};
use osprey_core::units::{Lsn, Millis};
use osprey_core::wal::writer::SyncPolicy;
use osprey_tests::db::{Contents, Ticking, contents};
use osprey_tests::machine::small_options;
use osprey_tests::simulator::disk::{Crash, Disk, Loss, Progress};
use osprey_tests::simulator::tape::{Choices, Tape};

const CRASHES: [Crash; 6] = [
    Crash::Kill,
    Crash::PowerCut(Loss::All),
    Crash::PowerCut(Loss::None),
    Crash::PowerCut(Loss::Mixed),
    Crash::PowerCut(Loss::Tail),
    Crash::PowerCut(Loss::Head),
];

/// Steps of the program.
const STEPS: usize = 150;

/// What the program has called for, and what of it must outlive the machine. All but the last are numbers of writes.
#[derive(Clone, Copy, Debug, Default)]
struct Reached {
    called: usize,
    /// The calls have returned: so much outlives the process, and under `Always` the machine.
    returned: usize,
    /// Was there when a snapshot or a sync returned: so much outlives the machine whatever the policy.
    durable: usize,
    /// The log's end when the last snapshot that has returned was asked for.
    snapshot: Lsn,
}

/// What was seen, so that nothing is left out silently.
#[derive(Debug, Default)]
struct Seen {
    crash_points: usize,
    images: usize,
    /// What was under way about snapshots, and how many of its steps were done.
    under_way: BTreeSet<(&'static str, usize)>,
    /// Images that hadn't all that was called for.
    lost: usize,
    /// Images in which the log had lost its beginning.
    cut: usize,
    /// Starts that went down, too.
    nested: usize,
    /// Segments that were begun.
    segments: usize,
    snapshots: Taken,
}

/// Snapshots, by the calls in which they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Taken {
    asked: u64,
    written: u64,
    ticked: u64,
}

#[derive(Debug)]
struct Machine {
    disk: Disk,
    policy: SyncPolicy,
    seed: u64,
    steps: usize,
    reached: Reached,
    /// The state behind each write, where nothing fails.
    states: Vec<Contents>,
    seen: Seen,
}

/// The disk of a [`Machine`]. What is asked of it is done a step at a time, when somebody looks whether it is done: now and then, or, who waits for it, always.
#[derive(Clone, Debug)]
struct WatchedDisk(Rc<RefCell<Machine>>);

impl WatchedDisk {
    fn step(&self) -> Option<StorageDone> {
        self.judge();
        let mut machine = self.0.borrow_mut();
        machine.steps += 1;
        let pick = Choices::new((machine.seed << 32 | machine.steps as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()).byte();
        machine.disk.work(pick.into());
        assert_eq!(machine.disk.violation, None);
        machine.disk.poll()
    }

    /// The machine goes down, in every way: on copies of its disk.
    fn judge(&self) {
        let mut machine = self.0.borrow_mut();
        let Machine { disk, policy, seed, steps, reached, states, seen } = &mut *machine;
        seen.crash_points += 1;
        seen.under_way.extend(disk.snapshot_under_way().map(|(op, done)| (name(op), done)));
        for crash in CRASHES {
            let at = || format!("{policy:?}, seed {seed}, step {steps}, {crash:?}, {reached:?}");
            let mut choices = Choices::new((*seed << 32 | *steps as u64).to_le_bytes());
            let mut left = disk.after(crash, &mut choices);
            let everything_outlives = crash == Crash::Kill || *policy == SyncPolicy::Always;
            let least = if everything_outlives { reached.returned } else { 0 }.max(reached.durable);
            let newest = newest(&mut left);
            assert!(
                reached.snapshot == Lsn(0) || newest.is_some_and(|name| name.end >= reached.snapshot),
                "{}: the newest snapshot is {newest:?}",
                at()
            );
            seen.cut += usize::from(left.segments().next().is_some_and(|(number, _)| number > 1));
            if *steps % 4 == 0 {
                seen.nested += start_again_and_again(&mut left, crash, *policy, &mut choices);
            }
            let mut db = open(left, *policy, 2).unwrap_or_else(|error| panic!("{}: {error}", at()));
            let found = contents(&mut db);
            let place = states[least..=reached.called].iter().position(|state| *state == found);
            let place = place.unwrap_or_else(|| panic!("{}: there is {:?}", at(), sizes(&found)));
            seen.images += 1;
            seen.lost += usize::from(least + place < reached.called);
            goes_on(db, &found, *policy, &at);
        }
    }

    fn reach(&self, change: impl FnOnce(&mut Reached)) {
        change(&mut self.0.borrow_mut().reached);
    }
}

/// The machine goes down in the start, after one more of its changes each time, until it gets through. Returns how often.
fn start_again_and_again(disk: &mut Disk, crash: Crash, policy: SyncPolicy, choices: &mut Choices) -> usize {
    for changes in 0.. {
        disk.fuse.changes_left = Some(changes);
        let started = Engine::recover(options(policy, 2), disk, Millis(1_000_000));
        *disk = disk.after(crash, choices);
        if started.is_ok() {
            return usize::try_from(changes).unwrap();
        }
    }
    unreachable!("a start has an end")
}

/// What was recovered is a database like any other: it takes a write and a snapshot, and has both the next time.
fn goes_on(mut db: Db<Disk, Ticking>, found: &Contents, policy: SyncPolicy, at: &dyn Fn() -> String) {
    let version = db.set(b"afterwards", b"value").unwrap();
    db.snapshot().unwrap_or_else(|error| panic!("{}: no snapshot afterwards: {error}", at()));
    let end = db.engine().last_lsn();
    let mut disk = db.close().unwrap();
    assert!(newest(&mut disk).is_some_and(|name| name.end >= end), "{}", at());
    let mut db = open(disk, policy, 3).unwrap_or_else(|error| panic!("{}: afterwards: {error}", at()));
    let mut expected = found.clone();
    expected.insert(b"afterwards".to_vec(), (b"value".to_vec(), version));
    assert!(contents(&mut db) == expected, "{}: afterwards there is {:?}", at(), sizes(&contents(&mut db)));
}

fn options(policy: SyncPolicy, run: u64) -> Options {
    let mut options = small_options(policy);
    options.entropy.salt += run;
    options.chunk = ChunkBytes::nearest(4 << 10);
    options.snapshots = Some(SnapshotOptions { log_bytes_max: 8 << 10, ..SnapshotOptions::default() });
    options
}

fn open(disk: Disk, policy: SyncPolicy, run: u64) -> Result<Db<Disk, Ticking>, OpenError> {
    Db::open(disk, Ticking(1_000_000 * run), options(policy, run))
}

fn newest(disk: &mut Disk) -> Option<SnapshotName> {
    LogFiles::snapshots(disk).unwrap().last().map(|(name, _)| *name)
}

fn sizes(contents: &Contents) -> Vec<(String, usize, u64)> {
    contents.iter().map(|(key, (value, version))| (String::from_utf8_lossy(key).into_owned(), value.len(), version.0)).collect()
}

fn name(op: &SnapshotOp) -> &'static str {
    match op {
        SnapshotOp::Create { .. } => "create",
        SnapshotOp::Append { .. } => "append",
        SnapshotOp::Publish { .. } => "publish",
        SnapshotOp::Discard => "discard",
        SnapshotOp::Read { .. } => "read",
        SnapshotOp::Remove { .. } => "remove",
        SnapshotOp::RemoveSegment { .. } => "remove segment",
    }
}

impl Storage for WatchedDisk {
    fn submit(&mut self, op: StorageOp) -> Option<StorageDone> {
        let mut machine = self.0.borrow_mut();
        machine.seen.segments += usize::from(matches!(op, StorageOp::Start { .. }));
        machine.disk.submit(op)
    }

    fn poll(&mut self) -> Option<StorageDone> {
        let under_way = self.0.borrow().disk.under_way();
        if under_way == 0 { None } else { self.step() }
    }

    fn wait(&mut self) -> Option<StorageDone> {
        self.step()
    }
}

/// What happens to the program's calls.
trait Watch<S, C> {
    /// The next call is a write.
    fn called(&mut self);
    /// It has been done.
    fn done(&mut self, db: &mut Db<S, C>);
    /// Every write that was called for has returned.
    fn returned(&mut self);
    /// A snapshot is asked for.
    fn snapshot(&mut self, db: &Db<S, C>);
    /// Every write that was called for outlives the machine.
    fn durable(&mut self);
}

/// Writes of all kinds, in batches and alone, snapshots in the middle of batches too, syncs, and time in which nothing is called but `tick`.
fn program<S: Storage, C: Clock>(db: &mut Db<S, C>, seed: u64, watch: &mut impl Watch<S, C>) -> Result<Taken, Error> {
    let mut taken = Taken::default();
    for mut choices in Tape::from_seed(seed, STEPS).chunks() {
        let (before, _) = db.engine().snapshots_ended();
        let by = match choices.below(16) {
            0..=8 => {
                write(db, &mut choices, watch)?;
                watch.returned();
                &mut taken.written
            }
            9 | 10 => {
                db.batch(|db| {
                    (0..2).try_for_each(|_| write(db, &mut choices, watch))?;
                    if choices.one_in(8) {
                        snapshot(db, watch)?;
                    }
                    write(db, &mut choices, watch)
                })?;
                watch.returned();
                &mut taken.asked
            }
            11 if choices.one_in(3) => {
                snapshot(db, watch)?;
                &mut taken.asked
            }
            12 => {
                db.sync()?;
                watch.durable();
                &mut taken.written
            }
            _ => {
                (0..choices.below(24)).try_for_each(|_| db.tick().map(drop))?;
                &mut taken.ticked
            }
        };
        *by += db.engine().snapshots_ended().0 - before;
    }
    Ok(taken)
}

fn write<S: Storage, C: Clock>(db: &mut Db<S, C>, choices: &mut Choices, watch: &mut impl Watch<S, C>) -> Result<(), Error> {
    let key = [b'a' + u8::try_from(choices.below(12)).unwrap()];
    let value = vec![b'0' + choices.byte() % 10; choices.below(1900)];
    watch.called();
    match choices.below(8) {
        0..=4 => drop(db.set(&key, &value)?),
        5 => drop(db.incr(b"number", 1)?),
        6 => drop(db.delete(&key)?),
        _ => db.set_many(&[(&key, b"many"), (b"number", b"0")])?,
    }
    watch.done(db);
    Ok(())
}

fn snapshot<S: Storage, C: Clock>(db: &mut Db<S, C>, watch: &mut impl Watch<S, C>) -> Result<(), Error> {
    watch.snapshot(db);
    db.snapshot()?;
    watch.durable();
    Ok(())
}

/// Takes down the state behind each write.
struct Undisturbed(Vec<Contents>);

impl<S: Storage, C: Clock> Watch<S, C> for Undisturbed {
    fn called(&mut self) {}

    fn done(&mut self, db: &mut Db<S, C>) {
        self.0.push(contents(db));
    }

    fn returned(&mut self) {}

    fn snapshot(&mut self, _: &Db<S, C>) {}

    fn durable(&mut self) {}
}

/// Tells the disk, and has it judged behind each call.
struct Watched {
    disk: WatchedDisk,
    asked_at: Lsn,
}

impl<S: Storage, C: Clock> Watch<S, C> for Watched {
    fn called(&mut self) {
        self.disk.reach(|reached| reached.called += 1);
    }

    fn done(&mut self, _: &mut Db<S, C>) {}

    fn returned(&mut self) {
        self.disk.reach(|reached| reached.returned = reached.called);
        self.disk.judge();
    }

    fn snapshot(&mut self, db: &Db<S, C>) {
        self.asked_at = db.engine().last_lsn();
    }

    fn durable(&mut self) {
        self.disk.reach(|reached| (reached.durable, reached.snapshot) = (reached.called, self.asked_at));
        self.disk.judge();
    }
}

fn crash_everywhere(policy: SyncPolicy, seed: u64) -> Seen {
    let mut undisturbed = Undisturbed(vec![Contents::new()]);
    let mut db = Db::open(MemoryStorage::new(), Ticking(1000), options(policy, 1)).unwrap();
    program(&mut db, seed, &mut undisturbed).unwrap();
    let Undisturbed(states) = undisturbed;
    let mut disk = Disk::default();
    disk.prompt = Progress { append: false, sync: false, reserve: false, snapshot: false };
    let machine = Machine { disk, policy, seed, steps: 0, reached: Reached::default(), states, seen: Seen::default() };
    let disk = WatchedDisk(Rc::new(RefCell::new(machine)));
    let (engine, _) = Engine::recover(options(policy, 1), &mut MemoryStorage::new(), Millis(1000)).unwrap();
    let mut db = Db::with_engine(engine, disk.clone(), Ticking(1000)).unwrap();
    let snapshots = program(&mut db, seed, &mut Watched { disk: disk.clone(), asked_at: Lsn(0) }).unwrap();
    assert_eq!(db.engine().snapshots_ended().1, 0, "none is given up");
    drop(db);
    let Machine { seen, .. } = Rc::into_inner(disk.0).unwrap().into_inner();
    Seen { snapshots, ..seen }
}

#[test]
fn snapshots_lose_nothing_wherever_the_machine_goes_down() {
    #[cfg(museum)]
    osprey::museum::wake();
    let mut under_way = BTreeSet::new();
    for policy in [SyncPolicy::Os, SyncPolicy::Batch { delay_ms: 20, bytes: 1000 }, SyncPolicy::Always] {
        for seed in 0..6 {
            let seen = crash_everywhere(policy, seed);
            println!("{policy:?}, seed {seed}: {seen:?}");
            let Taken { asked, written, ticked } = seen.snapshots;
            assert!(asked > 0 && written > 0 && ticked > 0 && seen.segments > 4, "{seen:?}");
            assert!(seen.crash_points > 300 && seen.lost > 300 && seen.cut > 300 && seen.nested > 100, "{seen:?}");
            under_way.extend(seen.under_way);
        }
    }
    // Every operation, after each of its steps but the last.
    let all = [
        ("append", 0),
        ("create", 0),
        ("publish", 0),
        ("publish", 1),
        ("publish", 2),
        ("read", 0),
        ("remove", 0),
        ("remove", 1),
        ("remove segment", 0),
        ("remove segment", 1),
    ];
    assert_eq!(under_way, BTreeSet::from(all));
}
