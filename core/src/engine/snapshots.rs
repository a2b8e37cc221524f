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
//!
//! | part | what |
//! | --- | --- |
//! | `due` | when one is taken, and whether the older generation makes room for it |
//! | `walk` | the file is begun, and entries are copied |
//! | `verify` | it is read back |
//! | `segments` | what there is of the log |
//! | `outcome` | what those hear who wait for it |
//! | `calls` | what a host calls |
//!
//! Here: the phases, and which operation each of them wants.

mod calls;
mod due;
mod options;
mod outcome;
mod segments;
mod verify;
mod walk;

use alloc::vec::Vec;

pub use options::SnapshotOptions;
use outcome::Outcomes;
pub use outcome::{SnapshotFailure, Ticket};

use super::retention::Removals;
use super::{Entropy, Options};
use crate::checksum::Checksum;
use crate::museum::planted;
use crate::recovery::{Recovered, SegmentInfo, SnapshotInfo};
use crate::snapshot::Decoder;
use crate::snapshot::writer::SnapshotWriter;
use crate::storage::{ChunkBytes, SnapshotName, SnapshotOp, StorageError, StorageOp};
use crate::store::Store;
use crate::units::{Lsn, Millis, Version};
use crate::wal::segment::DatabaseId;
use crate::wal::writer::LogWriter;

/// After a failure the next snapshot is tried after this time, and after twice as long each time that it fails again.
const RETRY_MS: u64 = 60_000;

/// The longest pause between two tries.
const RETRY_MS_MAX: u64 = 3_600_000;

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
    /// Somebody does nothing else but wait for the one that is being taken: its bandwidth isn't limited.
    hurried: bool,
    started: u64,
    outcomes: Outcomes,
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
            hurried: false,
            started: 0,
            outcomes: Outcomes::default(),
            retry_at: Millis(0),
            failures_in_a_row: 0,
            log_bytes_base: 0,
            recovered_bytes: recovered.report.replayed_bytes,
            segments: recovered.segments,
            kept: recovered.snapshots,
            stats: SnapshotStats::default(),
        }
    }

    /// How a snapshot that was waited for has ended, if it has.
    pub(super) fn outcome(&self, ticket: Ticket) -> Option<Result<(), SnapshotFailure>> {
        self.outcomes.of(ticket)
    }

    /// Whether one is being taken.
    pub(super) fn running(&self) -> bool {
        self.taking.is_some()
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
                    return self.poll(now, log, store);
                };
                taking.offset += data.len() as u64;
                self.phase = Phase::Ending;
                SnapshotOp::Append { offset, data }
            }
            &mut Phase::Verifying { offset, .. } => {
                let name = self.taking.as_ref()?.name();
                let Ok(read) = self.read(name, offset) else {
                    self.fail(SnapshotFailure::OutOfMemory, now);
                    return self.poll(now, log, store);
                };
                read
            }
            &mut Phase::Checking { name, offset, .. } => {
                let Ok(read) = self.read(name, offset) else {
                    // Without memory to look at it, it isn't known to be whole: everything stays.
                    self.phase = Phase::Idle;
                    return self.poll(now, log, store);
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

    /// Whether it can be gone on with now: by a step of the walk or an operation, unless one is under way. What has to wait for time has a time in [`Snapshots::tick`].
    pub(super) fn has_work(&self, now: Millis) -> bool {
        match (self.options, &self.phase) {
            (None, _) => false,
            (Some(_), Phase::Idle) => self.requested && !self.stopping,
            (Some(options), Phase::Walking { .. }) => {
                self.wants_slice() || self.taking.as_ref().is_some_and(|taking| self.may_write_at(&options, taking) <= now)
            }
            (Some(_), _) => true,
        }
    }

    /// Lifts the limit of the bandwidth for the one that is being taken.
    pub(super) fn hurry(&mut self) {
        self.hurried = self.taking.is_some();
    }

    /// The publication isn't polled for in [`Snapshots::poll`] together with the footer, as it has to wait for it.
    pub(super) fn poll_publish(&mut self) -> Option<StorageOp> {
        if self.under_way || !matches!(self.phase, Phase::Publishing) {
            return None;
        }
        self.under_way = true;
        Some(StorageOp::Snapshot(SnapshotOp::Publish { name: self.taking.as_ref()?.name() }))
    }

    /// Nobody has to wait for it any more.
    fn ended(&mut self, result: Result<(), SnapshotFailure>) {
        self.outcomes.note(self.started, result);
        self.taking = None;
        self.hurried = false;
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
}
