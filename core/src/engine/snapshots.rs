//! When a snapshot is taken, how it comes to be, and what may be removed when it is there.
//!
//! ```text
//!  S0 noted          S1 noted       log durable through S1
//!     ▼                 ▼                 ▼
//!  Create ─▶ walk, Append … ─▶ (sync of the log) ─▶ footer ─▶ Publish ─▶ Read … verified ─▶ Remove, RemoveSegment
//! ```
//! If all of it would take more than it should ([`super::space`]), the older generation goes before: the newest snapshot is read back and verified once more, and only if it is whole what only
//! the older one needs is removed (`Read …` and `Remove` before `Create`). So at least one generation is there always, and it was verified.
//!
//! The walk goes on between requests, in [slices](super::Engine::snapshot_slice). One operation is under way at a time, and beside it one chunk is being filled: that is all
//! the memory that it takes. Whatever fails before the end, what was there before stays, and is what a recovery begins with.

use alloc::vec::Vec;
use core::fmt;

use super::retention::{self, Generations, Removals, Retention};
use super::space::Space;
use super::{Entropy, Options};
use crate::checksum::Checksum;
use crate::museum::planted;
use crate::record::OutOfMemory;
use crate::recovery::{Recovered, SegmentInfo, SnapshotInfo};
use crate::snapshot::writer::SnapshotWriter;
use crate::snapshot::{Decoder, Header, SnapshotError, reader::Decoded};
use crate::storage::{ChunkBytes, SegmentNumber, SnapshotName, SnapshotOp, StorageError, StorageOp};
use crate::store::Store;
use crate::units::{Lsn, Millis, Version};
use crate::wal::segment::{DatabaseId, SegmentHeader};
use crate::wal::writer::LogWriter;

/// A step of the walk copies about so much, bytes, beside one entry's; less, where chunks are smaller.
const STEP_BYTES: usize = 16 << 10;

/// After a failure the next snapshot is tried after this time, and after twice as long each time that it fails again.
const RETRY_MS: u64 = 60_000;

/// The longest pause between two tries.
const RETRY_MS_MAX: u64 = 3_600_000;

/// How snapshots are taken.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotOptions {
    /// Whether one is taken when there is much log; else only when a client or the host asks for it.
    pub automatic: bool,
    /// So much log may come together before one is taken, bytes; more, where it is less than half of the data; less, where [`SnapshotOptions::stored_percent_max`] asks for it.
    pub log_bytes_max: u64,
    /// What log and snapshots should take at most, percent of what a snapshot of the data takes (but no less than twice `log_bytes_max`, and that once): a snapshot is taken earlier for it, and the older
    /// generation goes before the next is begun. Beside it come what is written while a snapshot is taken, and that segments are removed whole. Less than 250 can't be kept.
    /// 0: there is no limit, and the older generation always stays until the next is there. It is no limit, either, where [`Retention`] keeps more.
    pub stored_percent_max: u64,
    /// How fast one is written at most, bytes a second; 0: as fast as it can be.
    pub bandwidth_max: u64,
    /// What is kept of the log, and of older snapshots, beyond what a recovery may need.
    pub retention: Retention,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        Self { automatic: true, log_bytes_max: 256 << 20, stored_percent_max: 250, bandwidth_max: 0, retention: Retention::default() }
    }
}

/// Why there is no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotFailure {
    /// This engine takes none: its storage cannot.
    Unsupported,
    /// Storage failed.
    Storage(StorageError),
    /// No memory.
    OutOfMemory,
    /// What was read back isn't what was written.
    Unverified(SnapshotError),
    /// The newest snapshot, which had been whole, isn't any more: it was read again, since the one before was to make room. That stays, and another is taken at once.
    Damaged(SnapshotName, SnapshotError),
    /// The log needed the space.
    LogFirst,
    /// The server ends.
    Stopping,
}

impl fmt::Display for SnapshotFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported => f.write_str("this server takes no snapshots"),
            Self::Storage(error) => write!(f, "the snapshot was given up: {error}"),
            Self::OutOfMemory => f.write_str("the snapshot was given up: no memory left"),
            Self::Unverified(error) => write!(f, "the snapshot was given up, since reading it back showed that {error}"),
            Self::Damaged(name, error) => write!(f, "{name}, which was whole, is damaged now: {error}"),
            Self::LogFirst => f.write_str("the snapshot was given up: the log needed the space"),
            Self::Stopping => f.write_str("the snapshot was given up: the server is stopping"),
        }
    }
}

impl core::error::Error for SnapshotFailure {}

/// A snapshot that somebody waits for: see [`Engine::snapshot_outcome`](super::Engine::snapshot_outcome).
///
/// ```
/// # use osprey_core::engine::{DatabaseId, Engine, Entropy, Options, SetOptions, SnapshotOptions};
/// # use osprey_core::storage::memory::MemoryStorage;
/// # use osprey_core::units::Millis;
/// # let entropy = Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) };
/// # let mut storage = MemoryStorage::new();
/// let options = Options { snapshots: Some(SnapshotOptions::default()), ..Options::new(entropy) };
/// let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1))?;
/// while engine.drive(&mut storage)? {}
/// engine.set(Millis(1), b"key", b"value", &SetOptions::default()).result?;
/// let ticket = engine.request_snapshot()?.expect("there is none yet");
/// while engine.snapshot_outcome(ticket).is_none() {
///     engine.snapshot_slice(Millis(1), || true);
///     engine.drive(&mut storage)?;
/// }
/// assert_eq!(engine.snapshot_outcome(ticket), Some(Ok(())));
/// assert_eq!(engine.newest_snapshot().map(|name| name.end), Some(engine.last_lsn()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

#[derive(Debug)]
enum Phase {
    Idle,
    /// The newest snapshot is read once more, before the older generation makes room.
    Checking {
        name: SnapshotName,
        offset: u64,
        decoder: Decoder,
    },
    /// The file is being begun.
    Creating,
    Walking {
        position: u64,
    },
    /// All is copied, and must not be published before the log is durable up to S1.
    Securing,
    /// The footer is being written.
    Ending,
    Publishing,
    Verifying {
        offset: u64,
        decoder: Decoder,
    },
    /// Nobody waits any more: what isn't needed is removed.
    Clearing,
    /// It has failed: what there is of it is removed.
    Discarding,
}

/// The one that is being taken.
#[derive(Debug)]
struct Taking {
    begun: Millis,
    begin: Lsn,
    end: Lsn,
    floor: Version,
    time: Millis,
    /// How much log there had been when it was begun.
    log_bytes: u64,
    writer: SnapshotWriter,
    /// Where the next chunk goes.
    offset: u64,
}

impl Taking {
    fn name(&self) -> SnapshotName {
        SnapshotName { begin: self.begin, end: self.end }
    }
}

/// Numbers for `STATS`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SnapshotStats {
    pub(super) total: u64,
    pub(super) failures: u64,
    pub(super) last_took_ms: u64,
    pub(super) last_good_at: Millis,
    pub(super) last_failure: Option<SnapshotFailure>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Snapshots {
    options: Option<SnapshotOptions>,
    chunk: ChunkBytes,
    checksum: Checksum,
    database: DatabaseId,
    epoch: u64,
    salt: u64,
    phase: Phase,
    taking: Option<Taking>,
    spare: Vec<u8>,
    under_way: bool,
    removals: Removals,
    requested: bool,
    /// The older generation takes more than there should be: it was asked whether it may go, since the last snapshot.
    room_made: bool,
    stopping: bool,
    started: u64,
    finished: u64,
    last: Result<(), SnapshotFailure>,
    retry_at: Millis,
    failures_in_a_row: u32,
    /// Log bytes of this run when the newest snapshot was begun, less those of runs before that came behind it.
    log_bytes_base: u64,
    recovered_bytes: u64,
    pub(super) segments: Vec<SegmentInfo>,
    pub(super) kept: Vec<SnapshotInfo>,
    pub(super) stats: SnapshotStats,
}

impl Snapshots {
    pub(super) fn new(options: &Options, database: DatabaseId, recovered: Recovered) -> Self {
        let Options { snapshots, chunk, checksum, entropy: Entropy { salt, .. }, .. } = *options;
        Self {
            options: snapshots,
            chunk,
            checksum,
            database,
            epoch: recovered.epoch.saturating_add(1),
            salt,
            phase: Phase::Idle,
            taking: None,
            spare: Vec::new(),
            under_way: false,
            removals: Removals::default(),
            requested: false,
            room_made: false,
            stopping: false,
            started: 0,
            finished: 0,
            last: Ok(()),
            retry_at: Millis(0),
            failures_in_a_row: 0,
            log_bytes_base: 0,
            recovered_bytes: recovered.report.replayed_bytes,
            segments: recovered.segments,
            kept: recovered.snapshots,
            stats: SnapshotStats::default(),
        }
    }

    /// A snapshot is wanted that holds all that was logged until now, `last`. Joins the one that is being taken if its walk isn't over; else it is the next.
    /// `None`: there is one already.
    ///
    /// # Errors
    /// There will be none.
    pub(super) fn request(&mut self, last: Lsn) -> Result<Option<Ticket>, SnapshotFailure> {
        if self.options.is_none() {
            return Err(SnapshotFailure::Unsupported);
        }
        if self.stopping {
            return Err(SnapshotFailure::Stopping);
        }
        if matches!(self.phase, Phase::Creating | Phase::Walking { .. }) {
            return Ok(Some(Ticket(self.started)));
        }
        // Another one would be the same. (This one may even have the name that the other would have.)
        let newest = self.kept.iter().rfind(|snapshot| !snapshot.unusable);
        if newest.is_some_and(|newest| newest.name.end == last) && !self.running() {
            return Ok(None);
        }
        self.requested = true;
        Ok(Some(Ticket(self.started + 1)))
    }

    /// Whether the newest has the name that the next would have. It would take the place of one that is known to be whole.
    fn is_there(&self, last: Lsn) -> bool {
        let newest = self.kept.iter().rfind(|snapshot| !snapshot.unusable);
        newest.is_some_and(|newest| newest.name == SnapshotName { begin: last, end: last })
    }

    /// How a snapshot that was waited for has ended, if it has.
    pub(super) fn outcome(&self, Ticket(ticket): Ticket) -> Option<Result<(), SnapshotFailure>> {
        (self.finished >= ticket).then_some(self.last)
    }

    /// Whether one is being taken.
    pub(super) fn running(&self) -> bool {
        self.taking.is_some()
    }

    /// How much log a recovery would replay on the newest snapshot, bytes.
    pub(super) fn log_bytes(&self, log: &LogWriter) -> u64 {
        self.recovered_bytes + log.appended_bytes() - self.log_bytes_base
    }

    /// Begins one if it is time; returns when to look again.
    pub(super) fn tick(&mut self, now: Millis, log: &LogWriter, store: &Store) -> Option<Millis> {
        let options = self.options?;
        if let Some(taking) = self.taking.as_ref().filter(|_| matches!(self.phase, Phase::Walking { .. }) && !self.under_way) {
            return Some(self.may_write_at(&options, taking)).filter(|&at| at > now);
        }
        if !matches!(self.phase, Phase::Idle) || self.stopping {
            return None;
        }
        let space = self.space(log, store);
        if options.automatic && space.passes(&options, 0) {
            self.make_room(now);
        }
        if !(options.automatic && space.is_due(&options)) {
            return None;
        }
        if self.retry_at <= now {
            self.requested = true;
            return None;
        }
        Some(self.retry_at)
    }

    fn may_write_at(&self, options: &SnapshotOptions, taking: &Taking) -> Millis {
        let ms = taking.offset.saturating_mul(1000).checked_div(options.bandwidth_max).unwrap_or(0);
        Millis(taking.begun.0.saturating_add(ms))
    }

    pub(super) fn space(&self, log: &LogWriter, store: &Store) -> Space {
        let newest = self.kept.iter().rfind(|snapshot| !snapshot.unusable).map_or(0, |newest| newest.bytes);
        Space {
            data: store.bytes() as u64,
            coming: store.entry_bytes() as u64,
            stored: self.stored_bytes(),
            newest,
            log: self.log_bytes(log),
        }
    }

    /// What log and snapshots take, without what is reserved.
    pub(super) fn stored_bytes(&self) -> u64 {
        let log: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        log + self.kept.iter().map(|snapshot| snapshot.bytes).sum::<u64>()
    }

    /// Whether a snapshot is being taken that should hurry.
    pub(super) fn late(&self, log: &LogWriter, store: &Store) -> bool {
        let (Some(options), Some(taking), Phase::Walking { position }) = (self.options, &self.taking, &self.phase) else { return false };
        self.space(log, store).is_late(&options, *position, log.appended_bytes() - taking.log_bytes)
    }

    /// Begins to look whether the older generation may go, if there is one; returns whether it does. Asked once for each snapshot.
    fn make_room(&mut self, now: Millis) -> bool {
        let Some(newest) = self.kept.iter().rfind(|snapshot| !snapshot.unusable).filter(|_| !self.room_made) else { return false };
        let name = newest.name;
        self.room_made = true;
        let needless = !self.removals_of(Generations::Newest, now).is_empty();
        if needless {
            self.phase = Phase::Checking { name, offset: 0, decoder: Decoder::new(self.checksum) };
        }
        needless
    }

    fn begin(&mut self, now: Millis, log: &LogWriter, store: &Store) -> Option<SnapshotOp> {
        let (space, options) = (self.space(log, store), self.options?);
        if space.passes(&options, space.coming) && self.make_room(now) {
            return None;
        }
        if let (true, [oldest, _, ..]) = (planted("older_generation_removed_first"), self.kept.as_slice()) {
            self.removals.only(oldest.name);
        }
        self.requested = false;
        self.started += 1;
        let begin = log.last_lsn();
        let header = Header { database: self.database, epoch: self.epoch, salt: self.salt, begin };
        let Ok(writer) = SnapshotWriter::new(&header, self.checksum, self.chunk) else {
            self.fail(SnapshotFailure::OutOfMemory, now);
            return None;
        };
        let (end, floor, time) = (begin, Version::NONE, now);
        self.taking = Some(Taking { begun: now, begin, end, floor, time, log_bytes: log.appended_bytes(), writer, offset: 0 });
        self.phase = Phase::Creating;
        Some(SnapshotOp::Create { begin, bytes: space.coming })
    }

    /// Whether the walk can go on.
    pub(super) fn wants_slice(&self) -> bool {
        let room = self.taking.as_ref().is_some_and(|taking| taking.writer.pending() < self.chunk.get());
        room && matches!(self.phase, Phase::Walking { .. })
    }

    /// Copies entries, step by step as long as `within` says so, or until the chunk is full.
    pub(super) fn slice(&mut self, now: Millis, log: &LogWriter, store: &Store, mut within: impl FnMut() -> bool) {
        let step = STEP_BYTES.min(self.chunk.get());
        while self.wants_slice() && within() {
            let (Phase::Walking { position }, Some(taking)) = (&mut self.phase, &mut self.taking) else { return };
            let mut added = Ok(());
            let next = store.copy_from(*position, step, |record| added = added.and_then(|()| taking.writer.add(record)));
            match (next, added) {
                (Ok(Some(next)), Ok(())) => *position = next,
                (Ok(None), Ok(())) => {
                    (taking.end, taking.floor, taking.time) = (log.last_lsn(), store.floor(), now);
                    self.phase = Phase::Securing;
                }
                (Err(OutOfMemory), _) | (_, Err(OutOfMemory)) => return self.fail(SnapshotFailure::OutOfMemory, now),
            }
        }
    }

    /// The next operation, if one can begin.
    pub(super) fn poll(&mut self, now: Millis, log: &mut LogWriter, store: &Store) -> Option<StorageOp> {
        let options = self.options?;
        if self.under_way {
            return None;
        }
        if planted("older_generation_removed_first")
            && matches!(self.phase, Phase::Walking { .. })
            && let Some(op) = self.removals.next()
        {
            self.under_way = true;
            return Some(StorageOp::Snapshot(op));
        }
        if self.requested && matches!(self.phase, Phase::Idle) && self.is_there(log.last_lsn()) && !planted("snapshot_taken_twice") {
            self.requested = false;
            self.started += 1;
            self.ended(Ok(()));
        }
        let op = match &mut self.phase {
            Phase::Idle if self.requested && !self.stopping && !log.starting() => match self.begin(now, log, store) {
                Some(op) => op,
                None if matches!(self.phase, Phase::Checking { .. }) => return self.poll(now, log, store),
                None => return None,
            },
            Phase::Walking { .. } => {
                let taking = self.taking.as_ref().filter(|taking| taking.writer.pending() >= self.chunk.get())?;
                if self.may_write_at(&options, taking) > now {
                    return None;
                }
                self.append()?
            }
            Phase::Securing => {
                let taking = self.taking.as_mut()?;
                if log.durable_lsn() < taking.end && !planted("published_before_durable") {
                    log.request_sync();
                    return None;
                }
                let (offset, end) = (taking.offset, taking.end);
                let Ok(data) = taking.writer.finish(end, taking.floor, taking.time) else {
                    self.fail(SnapshotFailure::OutOfMemory, now);
                    return None;
                };
                taking.offset += data.len() as u64;
                self.phase = Phase::Ending;
                SnapshotOp::Append { offset, data }
            }
            &mut Phase::Verifying { offset, .. } => {
                let name = self.taking.as_ref()?.name();
                let Ok(read) = self.read(name, offset) else {
                    self.fail(SnapshotFailure::OutOfMemory, now);
                    return None;
                };
                read
            }
            &mut Phase::Checking { name, offset, .. } => {
                let Ok(read) = self.read(name, offset) else {
                    // Without memory to look at it, it isn't known to be whole: everything stays.
                    self.phase = Phase::Idle;
                    return None;
                };
                read
            }
            Phase::Discarding => SnapshotOp::Discard,
            Phase::Clearing => {
                let Some(op) = self.removals.next() else {
                    self.phase = Phase::Idle;
                    // Who has asked for the next one needn't wait for anything else to happen.
                    return self.poll(now, log, store);
                };
                op
            }
            Phase::Idle | Phase::Creating | Phase::Ending | Phase::Publishing => return None,
        };
        self.under_way = true;
        Some(StorageOp::Snapshot(op))
    }

    fn read(&mut self, name: SnapshotName, offset: u64) -> Result<SnapshotOp, OutOfMemory> {
        let mut buffer = core::mem::take(&mut self.spare);
        buffer.clear();
        buffer.try_reserve(self.chunk.get()).map_err(|_| OutOfMemory)?;
        buffer.resize(self.chunk.get(), 0);
        Ok(SnapshotOp::Read { name, offset, buffer })
    }

    fn append(&mut self) -> Option<SnapshotOp> {
        let spare = core::mem::take(&mut self.spare);
        let taking = self.taking.as_mut()?;
        let offset = taking.offset;
        let data = taking.writer.take(spare);
        taking.offset += data.len() as u64;
        Some(SnapshotOp::Append { offset, data })
    }

    /// Takes back an operation that has ended.
    pub(super) fn done(&mut self, op: SnapshotOp, result: Result<(), StorageError>, now: Millis) {
        self.under_way = false;
        let failed = result.err().map(SnapshotFailure::Storage);
        match (op, failed) {
            // What can't be removed is tried again after the next snapshot.
            (SnapshotOp::Remove { name }, failed) => {
                if failed.is_none() {
                    self.kept.retain(|snapshot| snapshot.name != name);
                }
            }
            (SnapshotOp::RemoveSegment { segment }, failed) => {
                if failed.is_none() {
                    self.segments.retain(|info| info.number != segment);
                }
            }
            (SnapshotOp::Read { buffer, .. }, failed) if matches!(self.phase, Phase::Checking { .. }) => self.check(buffer, failed, now),
            // It failed meanwhile: there is a file to be removed first.
            (SnapshotOp::Discard, _) => self.phase = Phase::Clearing,
            _ if matches!(self.phase, Phase::Discarding) => {}
            (_, Some(failure)) => self.fail(failure, now),
            (SnapshotOp::Create { .. }, None) => self.phase = Phase::Walking { position: 0 },
            (SnapshotOp::Append { data, .. }, None) => {
                if matches!(self.phase, Phase::Ending) {
                    self.phase = Phase::Publishing;
                } else {
                    self.spare = data;
                }
            }
            (SnapshotOp::Publish { .. }, None) => {
                self.phase = Phase::Verifying { offset: 0, decoder: Decoder::new(self.checksum) };
            }
            (SnapshotOp::Read { buffer, .. }, None) => self.verify(buffer, now),
        }
    }

    /// The publication isn't polled for in [`Snapshots::poll`] together with the footer, as it has to wait for it.
    pub(super) fn poll_publish(&mut self) -> Option<StorageOp> {
        if self.under_way || !matches!(self.phase, Phase::Publishing) {
            return None;
        }
        self.under_way = true;
        Some(StorageOp::Snapshot(SnapshotOp::Publish { name: self.taking.as_ref()?.name() }))
    }

    fn verify(&mut self, buffer: Vec<u8>, now: Millis) {
        let chunk = self.chunk.get();
        let Phase::Verifying { offset, decoder } = &mut self.phase else { return };
        *offset += buffer.len() as u64;
        let checked = decode(decoder, &buffer, chunk);
        let Some(taking) = &self.taking else { return };
        let checked = if planted("snapshot_not_verified") { Ok(Some(taking.end)) } else { checked };
        match checked {
            Ok(None) => {}
            Ok(Some(end)) if end == taking.end => {
                let (name, bytes) = (taking.name(), taking.offset);
                if self.kept.try_reserve(1).is_err() {
                    return self.fail(SnapshotFailure::OutOfMemory, now);
                }
                // One of this name was of no use; its file was replaced.
                if !planted("snapshot_taken_twice") && !planted("damaged_one_not_forgotten") {
                    self.kept.retain(|snapshot| snapshot.name != name);
                }
                self.kept.push(SnapshotInfo { name, bytes, unusable: false });
                self.room_made = false;
                self.stats.total += 1;
                self.stats.last_took_ms = now.since(taking.begun);
                self.stats.last_good_at = now;
                self.stats.last_failure = None;
                self.failures_in_a_row = 0;
                (self.recovered_bytes, self.log_bytes_base) = (0, taking.log_bytes);
                self.ended(Ok(()));
                self.plan_removals(now);
                self.phase = Phase::Clearing;
            }
            Ok(Some(_)) => self.fail(SnapshotFailure::Unverified(SnapshotError::Misnamed), now),
            Err(SnapshotError::OutOfMemory) => self.fail(SnapshotFailure::OutOfMemory, now),
            Err(error) => self.fail(SnapshotFailure::Unverified(error), now),
        }
        self.spare = buffer;
    }

    /// The newest snapshot is looked at before the older generation goes: that stays, if there is the least doubt.
    fn check(&mut self, buffer: Vec<u8>, failed: Option<SnapshotFailure>, now: Millis) {
        let chunk = self.chunk.get();
        let Phase::Checking { name, offset, decoder } = &mut self.phase else { return };
        let name = *name;
        *offset += buffer.len() as u64;
        let checked = decode(decoder, &buffer, chunk);
        let checked = if planted("spare_gone_unchecked") { Ok(Some(name.end)) } else { checked };
        self.spare = buffer;
        self.phase = match (failed, checked) {
            (None, Ok(None)) if !self.stopping => return,
            (None, Ok(Some(end))) if end == name.end && !self.stopping => {
                self.removals = self.removals_of(Generations::Newest, now);
                Phase::Clearing
            }
            (None, Ok(Some(_)) | Err(_)) if !self.stopping && !matches!(checked, Err(SnapshotError::OutOfMemory)) => {
                // It is no generation any more, and another is needed at once.
                self.kept.iter_mut().filter(|snapshot| snapshot.name == name).for_each(|snapshot| snapshot.unusable = true);
                self.stats.failures += 1;
                self.stats.last_failure = Some(SnapshotFailure::Damaged(name, checked.err().unwrap_or(SnapshotError::Misnamed)));
                self.requested = true;
                Phase::Idle
            }
            _ => Phase::Idle,
        };
    }

    /// Without memory for the list nothing is removed this time.
    fn removals_of(&self, generations: Generations, now: Millis) -> Removals {
        let retention = self.options.map(|options| options.retention).unwrap_or_default();
        retention::removals(&self.kept, &self.segments, generations, &retention, now).unwrap_or_default()
    }

    fn plan_removals(&mut self, now: Millis) {
        self.removals = self.removals_of(Generations::Two, now);
    }

    /// Nobody has to wait for it any more.
    fn ended(&mut self, result: Result<(), SnapshotFailure>) {
        self.finished = self.started;
        self.last = result;
        self.taking = None;
    }

    fn fail(&mut self, failure: SnapshotFailure, now: Millis) {
        // Under its name it must not stay: it isn't known to be whole.
        if let (Phase::Publishing | Phase::Verifying { .. }, Some(taking)) = (&self.phase, &self.taking) {
            self.removals.only(taking.name());
        }
        let pause = RETRY_MS.saturating_mul(1 << self.failures_in_a_row.min(16)).min(RETRY_MS_MAX);
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.retry_at = Millis(now.0.saturating_add(pause));
        self.stats.failures += 1;
        self.stats.last_failure = Some(failure);
        self.phase = Phase::Discarding;
        self.ended(Err(failure));
    }

    /// The log has no space: what a snapshot takes comes after it.
    pub(super) fn yield_to_log(&mut self, now: Millis) {
        if matches!(self.phase, Phase::Creating | Phase::Walking { .. } | Phase::Securing | Phase::Ending) {
            self.fail(SnapshotFailure::LogFirst, now);
        }
    }

    /// No more snapshots; one that is being taken is given up, and who waits for one is told.
    pub(super) fn stop(&mut self, now: Millis) {
        self.stopping = true;
        if self.taking.is_some() {
            self.fail(SnapshotFailure::Stopping, now);
        }
        if self.requested {
            self.requested = false;
            self.started += 1;
            self.ended(Err(SnapshotFailure::Stopping));
        }
    }

    /// Takes note of what the log's operations make of its segments.
    pub(super) fn note_log(&mut self, op: &StorageOp) {
        match op {
            StorageOp::Start { segment, header } => {
                let Ok(header) = SegmentHeader::decode(header, self.checksum) else { return };
                self.segments.retain(|info| info.number != *segment);
                // Without memory it is only not removed when its time has come.
                if self.segments.try_reserve(1).is_ok() {
                    let bytes = crate::wal::segment::HEADER_BYTES;
                    self.segments.push(SegmentInfo { number: *segment, first_lsn: header.first_lsn, time: header.time, bytes });
                }
            }
            StorageOp::Append { segment, offset, data, .. } => self.note_length(*segment, offset + data.len() as u64),
            StorageOp::Reserve { .. } | StorageOp::Sync { .. } | StorageOp::Snapshot(_) => {}
        }
    }

    fn note_length(&mut self, segment: SegmentNumber, bytes: u64) {
        self.segments.iter_mut().rev().filter(|info| info.number == segment).for_each(|info| info.bytes = info.bytes.max(bytes));
    }
}

/// Takes a piece of a snapshot apart; says at the end, which is where less was read than a chunk, how far it reaches.
fn decode(decoder: &mut Decoder, piece: &[u8], chunk: usize) -> Result<Option<Lsn>, SnapshotError> {
    decoder.feed(piece)?;
    while !matches!(decoder.next()?, Decoded::More) {}
    if piece.len() < chunk { decoder.end().map(|footer| Some(footer.end)) } else { Ok(None) }
}
