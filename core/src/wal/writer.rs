//! Turns records into storage operations: group commit, sync beside it, rotation, and what is durable.
//!
//! Records gather in one pending frame while the frame before is being written; when that is done the pending frame goes out whole. So at most
//! one append is under way, and a burst costs one write and, under [`SyncPolicy::Always`], one sync. Beside the append there is
//! at most one sync, and at most one reservation of the segment that comes next: a record is only accepted when there is
//! a place set aside for it.
//!
//! ```text
//!            log()                poll()                          done()
//!  record ─────────▶ pending ─────────────▶ Append under way ─────────────▶ written ── Sync ──▶ durable
//!                       ▲                          │
//!                       └──────── buffer ──────────┘
//! ```
//! | part | what |
//! | --- | --- |
//! | `pending` | records gather in the pending frame |
//! | `append` | it goes out, and is written |
//! | `sync` | what is written becomes durable |
//! | `rotation` | reservations, and from one segment to the next |
//!
//! Here: what they share, the order in which they get their turn, time, and the end. Knows nothing of keys and values; never reads.

mod append;
mod error;
mod options;
mod pending;
mod rotation;
mod sync;

use alloc::vec::Vec;

use append::{Active, Appending};
pub use error::{NoRoom, Poisoned};
pub use options::{LogPosition, SyncPolicy, WriterOptions};
pub use pending::FRAME_BYTES_SOFT_MAX;
use rotation::{Full, Reserve};

use crate::museum::planted;
use crate::storage::{SegmentNumber, StorageDone, StorageError, StorageOp};
use crate::units::{Lsn, Millis, Version};

/// Where there was no memory for an operation, it is tried again this much later.
const MEMORY_RETRY_MS: u64 = 10;

/// An idle log says after this time in a frame of its own what has become durable, so that damage to the last frames can be told from a torn tail.
const IDLE_MARK_MS: u64 = 1000;

/// A point that the log has reached.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    lsn: Lsn,
    time: Millis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    No,
    /// Drain, sync, seal.
    Requested,
    /// The SEAL is written and durable: give back the space behind it.
    Sealed,
    Trimming,
    Closed,
}

/// The writing half of the log.
///
/// ```
/// use osprey_core::checksum::crc32c;
/// use osprey_core::record::{Kind, Record};
/// use osprey_core::storage::memory::MemoryStorage;
/// use osprey_core::storage::{SegmentNumber, Storage};
/// use osprey_core::units::{Lsn, Millis, Version};
/// use osprey_core::wal::segment::DatabaseId;
/// use osprey_core::wal::writer::{LogPosition, LogWriter, Poisoned, SyncPolicy, WriterOptions};
///
/// /// Storage does everything at once here.
/// fn drive(log: &mut LogWriter, storage: &mut MemoryStorage) -> Result<(), Poisoned> {
///     while let Some(done) = log.poll(Millis(1_000), Version::NONE).and_then(|op| storage.submit(op)) {
///         log.done(done, Millis(1_000))?;
///     }
///     Ok(())
/// }
///
/// let (database, policy) = (DatabaseId([3; 16]), SyncPolicy::Always);
/// let options = WriterOptions { database, epoch: 1, salt: 2, segment_bytes: 64 << 10, policy, checksum: crc32c };
/// let position = LogPosition { next_segment: SegmentNumber(1), last_lsn: Lsn(0), chain: 0, time: Millis(0) };
/// let (mut log, mut storage) = (LogWriter::new(options, position), MemoryStorage::new());
/// assert!(log.starting());
/// drive(&mut log, &mut storage)?;
/// assert_eq!((log.starting(), log.active_segment()), (false, Some(SegmentNumber(1))));
///
/// let record = Record { kind: Kind::Set, version: Version(1), expiry: None, key: b"key", value: b"value" };
/// log.make_room(2, 2 * record.encoded_len()).expect("the segment has room for both");
/// let (first, second) = (log.log(&record), log.log(&record));
/// assert_eq!((second, log.frame_of(second)), (Lsn(2), first), "they are secured together");
/// assert!(log.watermark() < first && log.buffer_bytes() > 0);
/// drive(&mut log, &mut storage)?;
/// assert_eq!((log.watermark(), log.durable_lsn(), log.last_lsn()), (second, second, second));
/// assert_eq!(log.appended_bytes(), 64 + 2 * (4 + record.encoded_len() as u64));
///
/// // An idle log says in a frame of its own what has become durable.
/// assert_eq!((log.read_only(), log.tick(Millis(1_000))), (false, Some(Millis(2_000))));
/// log.close();
/// drive(&mut log, &mut storage)?;
/// assert!(log.closed() && !log.poisoned() && log.syncs() > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LogWriter {
    options: WriterOptions,
    active: Option<Active>,
    next_segment: SegmentNumber,
    reserve: Reserve,
    full: Option<Full>,

    pending: Vec<u8>,
    pending_records: u32,
    spare: Vec<u8>,
    /// The frame's buffer that storage has.
    lent_bytes: usize,
    last_lsn: Lsn,
    chain: u32,
    appending: Option<Appending>,
    syncing: Option<Mark>,
    closing: Closing,

    written: Mark,
    durable: Mark,
    /// The durable LSN that the last frame has named.
    claimed: Lsn,
    /// The last record that was no mark.
    last_data: Lsn,
    sync_wanted: bool,
    /// There was no memory for an operation.
    starved: bool,
    unsynced_bytes: u64,
    unsynced_since: Option<Millis>,
    last_append_at: Millis,
    poisoned: Option<Poisoned>,
    syncs: u64,
    appended_bytes: u64,
}

impl LogWriter {
    /// A log that goes on at `position`. Its first operations reserve and start a segment.
    #[must_use]
    pub fn new(options: WriterOptions, position: LogPosition) -> Self {
        let reached = Mark { lsn: position.last_lsn, time: position.time };
        Self {
            options,
            active: None,
            next_segment: position.next_segment,
            reserve: Reserve::Wanted,
            full: None,
            pending: Vec::new(),
            pending_records: 0,
            spare: Vec::new(),
            lent_bytes: 0,
            last_lsn: position.last_lsn,
            chain: position.chain,
            appending: None,
            syncing: None,
            closing: Closing::No,
            written: reached,
            durable: reached,
            claimed: position.last_lsn,
            last_data: position.last_lsn,
            sync_wanted: false,
            starved: false,
            unsynced_bytes: 0,
            unsynced_since: None,
            last_append_at: position.time,
            poisoned: None,
            syncs: 0,
            appended_bytes: 0,
        }
    }

    /// Everything up to here may be answered under the sync policy.
    #[must_use]
    #[inline]
    pub fn watermark(&self) -> Lsn {
        if planted("acknowledged_before_logged") { self.last_lsn } else { self.secured().lsn }
    }

    /// The latest time that will survive: nothing that expired before it can come back.
    #[must_use]
    pub(crate) fn secured_time(&self) -> Millis {
        self.secured().time
    }

    fn secured(&self) -> Mark {
        match self.options.policy {
            SyncPolicy::Os | SyncPolicy::Batch { .. } => self.written,
            SyncPolicy::Always => self.durable,
        }
    }

    /// The last record that was logged, durable or not.
    #[must_use]
    pub fn last_lsn(&self) -> Lsn {
        self.last_lsn
    }

    /// Everything up to here is durable.
    #[must_use]
    pub fn durable_lsn(&self) -> Lsn {
        self.durable.lsn
    }

    /// The segment that is appended to.
    #[must_use]
    pub fn active_segment(&self) -> Option<SegmentNumber> {
        self.active.as_ref().map(|active| active.number)
    }

    /// How many bytes of frames this run has handed to storage.
    #[must_use]
    pub fn appended_bytes(&self) -> u64 {
        self.appended_bytes
    }

    /// How many syncs have ended well.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.syncs
    }

    /// Whether the log takes no operation any more.
    #[must_use]
    pub fn poisoned(&self) -> bool {
        self.poisoned.is_some()
    }

    /// What has ended the log.
    #[must_use]
    pub(crate) fn poisoned_by(&self) -> Option<Poisoned> {
        self.poisoned
    }

    /// Memory held for frames, bytes.
    #[must_use]
    pub fn buffer_bytes(&self) -> usize {
        self.pending.capacity() + self.spare.capacity() + self.lent_bytes
    }

    /// Whether the first segment of this run is still being prepared.
    #[must_use]
    pub fn starting(&self) -> bool {
        let preparing = self.active.is_none() && !self.read_only();
        preparing || matches!(self.appending, Some(Appending::Start))
    }

    /// Whether nothing more can be logged until space returns.
    #[must_use]
    pub fn read_only(&self) -> bool {
        matches!(self.reserve, Reserve::Failed { .. })
    }

    /// Looks at the clock: whether a sync, another attempt at a reservation, or a mark is due. Returns when to look again.
    pub fn tick(&mut self, now: Millis) -> Option<Millis> {
        let mut next = None;
        let mut at = |due: Millis| next = Some(next.map_or(due, |next: Millis| next.min(due)));
        if let (SyncPolicy::Batch { delay_ms, .. }, Some(since)) = (self.options.policy, self.unsynced_since) {
            let due = Millis(since.0.saturating_add(delay_ms));
            if due <= now {
                self.sync_wanted = true;
            } else {
                at(due);
            }
        }
        if let Reserve::Failed { retry_at } = self.reserve {
            if retry_at <= now {
                self.reserve = if planted("read_only_for_ever") { Reserve::UnderWay } else { Reserve::Wanted };
            } else {
                at(retry_at);
            }
        }
        if self.starved {
            at(Millis(now.0.saturating_add(MEMORY_RETRY_MS)));
        }
        if self.durable.lsn.min(self.last_data) > self.claimed && self.idle() {
            let due = Millis(self.last_append_at.0.saturating_add(IDLE_MARK_MS));
            if due <= now {
                // Without room the next frame will say it.
                let _ = self.mark();
            } else {
                at(due);
            }
        }
        next
    }

    fn idle(&self) -> bool {
        self.pending_records == 0 && self.appending.is_none()
    }

    /// Asks for an orderly end: everything synced, the segment sealed, unused space given back. [`LogWriter::closed`] says when that is done.
    pub fn close(&mut self) {
        if self.closing == Closing::No {
            self.closing = Closing::Requested;
        }
    }

    /// Whether the end has been reached.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.closing == Closing::Closed || (planted("closed_before_durable") && self.closing != Closing::No && self.idle())
    }

    /// The next operation for storage, if one can begin. `now` and `floor` go into a frame's header.
    pub fn poll(&mut self, now: Millis, floor: Version) -> Option<StorageOp> {
        if self.poisoned.is_some() && !planted("goes_on_poisoned") {
            return None;
        }
        // The sync first: it waits for the append under way to end, and would wait for ever if the next always began before it.
        self.poll_sync().or_else(|| self.poll_append(now, floor)).or_else(|| self.poll_reserve())
    }

    /// Takes back an operation that has ended.
    ///
    /// # Errors
    /// Storage has failed: nothing more may be acknowledged, and no operation follows.
    pub fn done(&mut self, done: StorageDone, now: Millis) -> Result<(), Poisoned> {
        let StorageDone { op, result } = done;
        if let Some(poisoned) = self.poisoned {
            return Err(poisoned);
        }
        match op {
            StorageOp::Reserve { segment, .. } => self.reserved(segment, result, now)?,
            StorageOp::Start { segment, .. } => {
                self.check(result, segment, "start the log segment")?;
                self.appending = None;
            }
            StorageOp::Append { segment, data, .. } => {
                self.check(result, segment, "append to the log segment")?;
                self.keep(data);
                self.appended(now);
            }
            StorageOp::Sync { segment, trim_to } => {
                let result = if planted("retried_sync") { Ok(()) } else { result };
                self.check(result, segment, "sync the log segment")?;
                self.synced(trim_to.is_some());
            }
            // The engine's.
            StorageOp::Snapshot(_) => {}
        }
        Ok(())
    }

    fn check(&mut self, result: Result<(), StorageError>, segment: SegmentNumber, during: &'static str) -> Result<(), Poisoned> {
        result.map_err(|error| *self.poisoned.insert(Poisoned { segment, during, error }))
    }
}
