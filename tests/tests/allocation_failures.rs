//! Every single allocation that the core makes over a workload is refused in its turn: the first, the second, … until a run needs no more. (Invariants 8 and 10.)
//!
//! What was asked for is done, or refused with `ERR OOM` and nothing has changed; a snapshot is given up, a recovery ends with its error and leaves the disk as it was; and with memory
//! everything goes on as if nothing had been. An allocation that can't fail would abort this test.

#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use std::iter::Sum;
use std::thread;

use osprey_core::engine::{Engine, Next, Options, Session, SnapshotOptions};
use osprey_core::recovery::RecoveryError;
use osprey_core::storage::{LogFiles, SegmentNumber, SnapshotName, Storage as _, StorageError};
use osprey_core::units::Millis;
use osprey_core::wal::writer::SyncPolicy;
use osprey_tests::machine::{BEGIN, State, small_options};
use osprey_tests::memory_storage::{Disk, MemoryStorage};
use osprey_tests::refusing_allocator::{RefusingAllocator, asked, counted, is_near, over, plan, uncounted};

#[global_allocator]
static ALLOCATOR: RefusingAllocator = RefusingAllocator;

/// Runs side by side.
const THREADS: usize = 2;

/// How long something may wait when there was no memory for it, ms.
const PATIENCE_MS: u64 = 5000;

enum Step {
    Ask(String),
    /// Time passes, until so many ms behind the beginning.
    Until(u64),
    /// The process ends without notice, and is there again.
    Kill,
    /// The last frame is torn, too.
    KillAndTear,
    /// The newest snapshot is damaged, too.
    KillAndDamage,
    /// An orderly end and a new start.
    Restart,
}

/// Every command; tables that split, lists that grow, deadlines in several chunks, sweeps, what is scattered and gathered; segments one after the other; snapshots, also of large entries, that
/// make others and segments superfluous; recoveries with and without them, of a log that is torn, of a snapshot that is damaged.
fn workload() -> Vec<Step> {
    let ask = |text: &str| Step::Ask(text.replace('\n', "\r\n"));
    let mut steps = vec![
        ask("PING\n"),
        ask("SET a 1\nx\n"),
        ask("SET a 2 XX\nyy\n"),
        ask("SET b 2 NX EX 90500\nbb\n"),
        ask("SET a 1 VER 7\nx\n"),
        ask("INCR n\n"),
        ask("DECR n 100\n"),
        ask("MGET a b missing n\n"),
        ask("EXPIRE a 80500\n"),
        ask("PERSIST a\n"),
        ask("TTL b\n"),
        ask("EXISTS a\n"),
        ask("DEL a\n"),
        ask("GET b\n"),
        ask("NONSENSE\n"),
        ask("SET a 9999\n"),
        ask("SCAN 0 COUNT 100 PREFIX b\n"),
        ask("STATS\n"),
        ask("SNAPSHOT\n"),
    ];
    // The payload that was too large is passed over.
    let too_large = steps.iter().position(|step| matches!(step, Step::Ask(text) if text.contains("9999"))).unwrap();
    steps[too_large] = Step::Ask(format!("SET a 9999\r\n{}\r\n", "v".repeat(9999)));
    let mset = |keys: std::ops::Range<u32>, len: usize| {
        let line: String = keys.clone().map(|key| format!(" key{key} {len}")).collect();
        Step::Ask(format!("MSET{line}\r\n{}\r\n", "v".repeat(len * keys.len())))
    };
    let many: String = (0..150).map(|n| format!("SET due{n} 3 PXAT {}\r\nabc\r\n", BEGIN.0 + 20_000 + n * 10)).collect();
    steps.extend((0..29).map(|at| mset(at * 16..at * 16 + 16, 20)));
    steps.extend([Step::Kill, Step::Ask(many), ask("MGET key1 key400 due5\n"), ask("SCAN 0 COUNT 5000\n"), Step::Until(1500)]);
    steps.extend((0..3).map(|at| mset(at * 4..at * 4 + 4, 500)));
    steps.extend([ask("MSET key1 400 key1 400 new 400\n"), ask("SNAPSHOT\n")]);
    let at = steps.len() - 2;
    steps[at] = Step::Ask(format!("MSET key1 400 key1 400 new 400\r\n{}\r\n", "w".repeat(1200)));
    // Large entries, so that a table is copied in several steps; and what was small becomes large.
    steps.extend((0..12).map(|n| Step::Ask(format!("SET large{n} 2000\r\n{}\r\n", "l".repeat(2000)))));
    steps.extend([ask("SNAPSHOT\n"), Step::KillAndDamage, ask("GET large3\n")]);
    // What was due goes; most of what is left is deleted, so that the rest is gathered.
    let gone: String = (0..464).filter(|n| n % 10 != 0).map(|n| format!("DEL key{n}\r\n")).collect();
    steps.extend([Step::Until(30_000), Step::Ask(gone), Step::Until(33_000), ask("SET last 3\nend\n"), Step::KillAndTear]);
    steps.extend([
        ask("SET behind 3 EX 500\nabc\n"),
        ask("SNAPSHOT\n"),
        Step::Until(35_000),
        ask("GET behind\n"),
        Step::Restart,
        ask("INCR n\n"),
        Step::Kill,
    ]);
    steps
}

fn options() -> Options {
    let mut options = small_options(SyncPolicy::Always);
    options.limits.memory_bytes_max = 8 << 20;
    options.limits.unsent_bytes_soft_max = 1 << 20;
    options.snapshots = Some(SnapshotOptions { log_bytes_max: u64::MAX, ..SnapshotOptions::default() });
    options
}

/// What is the same in every run. What memory was refused for may come some milliseconds later, and so the times are those of the second.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    reply: String,
    state: Option<State>,
}

struct Host {
    engine: Engine,
    storage: MemoryStorage,
    session: Session,
    now: Millis,
    runs: u64,
    /// Requests.
    asked: u64,
    out: Vec<u8>,
    /// Operations of storage.
    ended: u64,
    refusals: Refusals,
}

/// What became of what was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Refusals {
    requests: usize,
    connections: usize,
    snapshots: usize,
    recoveries: usize,
    /// An operation came late, after so many ms at most.
    late_ms: u64,
}

impl Host {
    fn new() -> Self {
        let (engine, _) = Engine::recover(options(), &mut Disk::default(), BEGIN).unwrap();
        let storage = MemoryStorage::default();
        Self {
            engine,
            storage,
            session: Session::new(),
            now: BEGIN,
            runs: 0,
            asked: 0,
            out: Vec::new(),
            ended: 0,
            refusals: Refusals::default(),
        }
    }

    /// What a client can see, all at once.
    fn state(&self) -> State {
        let (store, now) = (self.engine.store(), self.engine.now());
        let mut state = State::new();
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            cursor = store.walk(at, |record| {
                if record.expiry.is_none_or(|expiry| expiry > now) {
                    let expiry = record.expiry.map(|expiry| Millis(expiry.0 / 1000));
                    state.insert(record.key.to_vec(), (record.value.to_vec(), record.version, expiry));
                }
            });
        }
        state
    }

    /// Does all that can be done now.
    fn drive(&mut self) {
        loop {
            if self.engine.wants_snapshot_slice() {
                counted(|| self.engine.snapshot_slice(self.now, || true));
            }
            let Some(op) = counted(|| self.engine.poll_storage()) else { return };
            let done = self.storage.submit(op).unwrap();
            counted(|| self.engine.storage_done(done)).unwrap();
            self.ended += 1;
        }
    }

    /// Lets time pass as an idle host does: it comes when it was told to, and not before.
    fn wait(&mut self, ms: u64, until: impl Fn(&mut Self) -> bool) -> bool {
        let end = Millis(self.now.0 + ms);
        loop {
            let next = counted(|| self.engine.tick(self.now));
            self.drive();
            if until(self) {
                return true;
            }
            match next {
                Some(next) if next <= end => self.now = next.max(Millis(self.now.0 + 1)),
                _ => {
                    self.now = end;
                    counted(|| self.engine.tick(self.now));
                    self.drive();
                    return until(self);
                }
            }
        }
    }

    fn step(&mut self, step: &Step) -> String {
        match step {
            Step::Ask(requests) => return self.ask(requests),
            Step::Until(ms) => {
                self.wait(BEGIN.0 + ms - self.now.0, |_| false);
            }
            Step::Restart => {
                self.engine.close();
                self.drive();
                assert!(self.engine.closed() || self.wait(PATIENCE_MS, |host| host.engine.closed()), "it does not end");
                self.recover();
            }
            Step::Kill => self.recover(),
            Step::KillAndTear => {
                let (last, length) = self.storage.disk.last();
                self.storage.disk = self.storage.disk.cut(last, length - 1);
                self.recover();
            }
            Step::KillAndDamage => {
                let newest = self.storage.disk.snapshots().last().unwrap().0;
                self.storage.disk = self.storage.disk.with_snapshot(newest, |bytes| *bytes.last_mut().unwrap() ^= 1);
                self.recover();
            }
        }
        String::new()
    }

    /// One request after the other, each answered and acknowledged before the next; returns all replies.
    fn ask(&mut self, requests: &str) -> String {
        let mut rest = requests.as_bytes();
        let mut replies = String::new();
        while !rest.is_empty() {
            let (reply, consumed) = self.ask_one(rest);
            replies += &reply;
            rest = &rest[consumed..];
        }
        replies
    }

    fn ask_one(&mut self, input: &[u8]) -> (String, usize) {
        for _ in 0..1000 {
            // With a refusal it has to be what it was.
            let before = is_near().then(|| self.state());
            let request = one_request(input);
            self.asked += 1;
            if self.asked.is_multiple_of(20) {
                // An idle connection has no buffer.
                self.out = Vec::new();
            }
            self.out.clear();
            let served = counted(|| self.engine.serve(self.now, &mut self.session, request, &mut self.out));
            let reply = String::from_utf8_lossy(&self.out).into_owned();
            let refused = reply.starts_with("ERR OOM ");
            if served.next == Next::Storage {
                // It is tried again when something has ended, and not before.
                let ended = self.ended;
                let moved = |host: &mut Self| host.ended > ended;
                self.drive();
                assert!(moved(self) || self.wait(PATIENCE_MS, moved), "{} waits for nothing", request.escape_ascii());
            } else if served.next == Next::Close || refused {
                assert!(reply.is_empty() || refused, "{reply}");
                // A snapshot is given up at any later time.
                assert!(before.is_some() || reply.contains("snapshot"), "{reply}");
                before.into_iter().for_each(|before| assert_eq!(self.state(), before, "{}", request.escape_ascii()));
                if reply.contains("snapshot") {
                    self.refusals.snapshots += 1;
                } else if refused {
                    self.refusals.requests += 1;
                } else {
                    self.refusals.connections += 1;
                    self.session = Session::new();
                }
                self.drive();
            } else if served.consumed > 0 {
                let gated = |host: &mut Self| !host.session.gated(host.engine.watermark());
                self.drive();
                let asked_at = self.now;
                assert!(gated(self) || self.wait(PATIENCE_MS, gated), "{reply:?} is never acknowledged");
                self.refusals.late_ms = self.refusals.late_ms.max(self.now.since(asked_at));
                return (reply, served.consumed);
            }
        }
        panic!("never answered: {}", one_request(input).escape_ascii());
    }

    fn recover(&mut self) {
        self.session = Session::new();
        self.runs += 1;
        let mut options = options();
        options.entropy.salt += self.runs;
        loop {
            let disk = self.storage.disk.clone();
            let mut files = Undisturbed(disk.clone());
            match counted(|| Engine::recover(options, &mut files, self.now)) {
                Ok((engine, _)) => {
                    self.engine = engine;
                    self.storage = MemoryStorage::new(files.0);
                    break;
                }
                Err(error) => {
                    assert_eq!(error, RecoveryError::OutOfMemory);
                    assert!(files.0 == disk, "a recovery that fails changes nothing");
                    self.refusals.recoveries += 1;
                }
            }
        }
        self.drive();
        let started = |host: &mut Self| !host.engine.starting();
        assert!(started(self) || self.wait(PATIENCE_MS, started), "the first segment is never started");
    }
}

/// Up to the end of the first request, so that each is answered by itself.
fn one_request(input: &[u8]) -> &[u8] {
    let line = input.windows(2).position(|end| end == b"\r\n").map_or(input.len(), |at| at + 2);
    let words: Vec<&str> = str::from_utf8(&input[..line]).unwrap().split_whitespace().collect();
    let payload: usize = match words.as_slice() {
        ["SET", _, len, ..] => len.parse().unwrap(),
        ["MSET", pairs @ ..] => pairs.chunks(2).map(|pair| pair[1].parse::<usize>().unwrap()).sum(),
        _ => return &input[..line],
    };
    &input[..line + payload + 2]
}

/// A word of a reply, if it is a time.
fn in_seconds(word: &str) -> String {
    let (number, rest) = word.split_at(word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len()));
    number.parse::<u64>().ok().filter(|&ms| ms > 10_000).map_or_else(|| word.to_owned(), |ms| format!("{}{rest}", ms / 1000))
}

/// The whole workload, with `refused` allocations refused behind the first `before`.
fn run(steps: &[Step], before: usize, refused: usize, reference: Option<&[Seen]>) -> (Vec<Seen>, Refusals, usize) {
    plan(before, refused);
    let mut host = Host::new();
    host.drive();
    let mut seen = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let was_over = over();
        let reply = host.step(step);
        // The state is looked at where something was refused, and at the end.
        let look = reference.is_none() || was_over != over() || !over() && refused == 0 || at + 1 == steps.len();
        let reply = reply.split(' ').map(in_seconds).collect::<Vec<_>>().join(" ");
        let now = Seen { reply, state: look.then(|| host.state()) };
        if let Some(expected) = reference.map(|reference| &reference[at]) {
            let what = match step {
                Step::Ask(requests) => requests.chars().take(60).collect(),
                _ => format!("step {at}"),
            };
            if !what.starts_with("STATS") {
                assert_eq!(now.reply, expected.reply, "{what:?}, with {refused} allocations refused behind {before}");
            }
            if look {
                assert_eq!(now.state, expected.state, "{what:?}, with {refused} allocations refused behind {before}");
            }
        }
        seen.push(now);
    }
    (seen, host.refusals, asked())
}

/// A log whose own allocations are not refused: they stand for the system's.
struct Undisturbed(Disk);

impl LogFiles for Undisturbed {
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
        uncounted(|| LogFiles::segments(&mut self.0))
    }

    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        uncounted(|| self.0.read(segment, offset, buffer))
    }

    fn truncate(&mut self, segment: SegmentNumber, length: u64) -> Result<(), StorageError> {
        uncounted(|| self.0.truncate(segment, length))
    }

    fn remove(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        uncounted(|| self.0.remove(segment))
    }

    fn sync(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        uncounted(|| self.0.sync(segment))
    }

    fn snapshots(&mut self) -> Result<Vec<(SnapshotName, u64)>, StorageError> {
        uncounted(|| LogFiles::snapshots(&mut self.0))
    }

    fn read_snapshot(&mut self, name: SnapshotName, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        uncounted(|| self.0.read_snapshot(name, offset, buffer))
    }
}

#[test]
fn each_allocation_in_turn_is_refused() {
    let steps = workload();
    let (reference, nothing, points) = run(&steps, usize::MAX, 0, None);
    assert_eq!(nothing, Refusals::default());
    println!("{points} allocations");
    let documented = documented_points();
    assert!(points.abs_diff(documented) * 10 < documented, "{points} allocations; docs/EMBEDDING.md says {documented}");
    for refused in [1, 7] {
        let sum = thread::scope(|scope| {
            let sweep = |first: usize| {
                let (steps, reference) = (&steps, &reference);
                move || (first..points).step_by(THREADS).map(|before| run(steps, before, refused, Some(reference)).1).sum::<Refusals>()
            };
            let threads: Vec<_> = (0..THREADS).map(|first| scope.spawn(sweep(first))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<Refusals>()
        });
        println!("{points} allocations, {refused} refused from each on: {sum:?}");
        assert!(sum.requests > 50 && sum.connections > 10 && sum.snapshots > 10 && sum.recoveries > 100, "{sum:?}");
        assert!(sum.late_ms <= 100, "what memory was refused for is tried again soon, not after {} ms", sum.late_ms);
    }
}

/// How many allocations the documentation says that there are.
fn documented_points() -> usize {
    let text = include_str!("../../docs/EMBEDDING.md");
    let (before, _) = text.split_once(" allocations of the core").unwrap();
    before.rsplit(' ').next().unwrap().replace(',', "").parse().unwrap()
}

impl Sum for Refusals {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            requests: sum.requests + one.requests,
            connections: sum.connections + one.connections,
            snapshots: sum.snapshots + one.snapshots,
            recoveries: sum.recoveries + one.recoveries,
            late_ms: sum.late_ms.max(one.late_ms),
        })
    }
}
