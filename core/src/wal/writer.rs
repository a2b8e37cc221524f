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
//! Knows nothing of keys and values; never reads.

use alloc::vec::Vec;

use super::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, FrameType, RECORD_LENGTH_BYTES};
use super::segment::{DatabaseId, HEADER_BYTES, SegmentHeader};
use super::{SECTOR_BYTES, align_up};
use crate::checksum::Checksum;
use crate::museum::planted;
use crate::record::Record;
use crate::storage::{SegmentNumber, StorageDone, StorageError, StorageOp};
use crate::units::{Lsn, Millis, Version};

/// When a reply may leave, and when data is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// When the record was handed to the operating system. Synced only when a segment is full and at the end.
    Os,
    /// As [`SyncPolicy::Os`]; synced when the oldest record that isn't is `delay_ms` old, or `bytes` of them have come together.
    Batch {
        /// How long a record stays unsynced at most, before its sync begins.
        delay_ms: u64,
        /// How much stays unsynced at most.
        bytes: u64,
    },
    /// When the record is durable.
    Always,
}

/// A frame is handed out at the latest when it has this size, bytes; one record may make it larger.
pub const FRAME_BYTES_SOFT_MAX: usize = 1 << 20;

/// A buffer larger than this isn't kept for the next frame, bytes.
const SPARE_BYTES_MAX: usize = 4 << 20;

/// What stays free in a segment for what must always fit: its SEAL, at a fresh sector.
const SEAL_BYTES: u64 = SECTOR_BYTES + FRAME_HEADER_BYTES as u64;

/// After a failed reservation the next attempt comes this much later.
const RESERVE_RETRY_MS: u64 = 1000;

/// Where there was no memory for an operation, it is tried again this much later.
const MEMORY_RETRY_MS: u64 = 10;

/// An idle log says after this time in a frame of its own what has become durable, so that damage to the last frames can be told from a torn tail.
const IDLE_MARK_MS: u64 = 1000;

/// What the log is told at its start.
#[derive(Clone, Copy, Debug)]
pub struct WriterOptions {
    /// The database.
    pub database: DatabaseId,
    /// This run.
    pub epoch: u64,
    /// This run's random number.
    pub salt: u64,
    /// A segment's size, bytes.
    pub segment_bytes: u64,
    /// When replies may leave.
    pub policy: SyncPolicy,
    /// How checksums are computed.
    pub checksum: Checksum,
}

/// Where a log goes on: the result of reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPosition {
    /// The number of the segment that will be started.
    pub next_segment: SegmentNumber,
    /// The last record.
    pub last_lsn: Lsn,
    /// The last frame's checksum.
    pub chain: u32,
    /// The latest time that the log knows of.
    pub time: Millis,
}

/// Why a record can't be logged now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// Storage is busy: possible again after the next completion.
    Busy,
    /// No space on the device for another segment.
    ReadOnly,
    /// No memory for the frame.
    OutOfMemory,
}

/// Storage has failed in a way after which nothing may be promised any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poisoned {
    /// The segment concerned.
    pub segment: SegmentNumber,
    /// What was to be done.
    pub during: &'static str,
    /// What storage said.
    pub error: StorageError,
}

impl core::fmt::Display for Poisoned {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "cannot {} {}: {}", self.during, self.segment, self.error)
    }
}

impl core::error::Error for Poisoned {}

/// A point that the log has reached.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    lsn: Lsn,
    time: Millis,
}

/// See [`LogWriter::savepoint`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Savepoint {
    pending_len: usize,
    records: u32,
    last_lsn: Lsn,
    last_data: Lsn,
}

#[derive(Debug)]
struct Active {
    number: SegmentNumber,
    /// Behind the last frame that was handed out.
    end: u64,
    /// What stands before `end` was synced, or is being synced: the next frame needs a fresh sector.
    synced: bool,
    sealed: bool,
}

impl Active {
    fn next_offset(&self) -> u64 {
        let fresh = self.synced && !planted("synced_sector_rewritten");
        align_up(self.end, if fresh { SECTOR_BYTES } else { FRAME_ALIGN as u64 })
    }
}

/// A segment that is full but not yet durable.
#[derive(Debug)]
struct Full {
    number: SegmentNumber,
    length: u64,
    last: Mark,
}

#[derive(Debug)]
enum Appending {
    Start,
    Frame { first: Lsn, last: Mark, bytes: u64, sync: bool },
    Seal { closes: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reserve {
    Wanted,
    UnderWay,
    Ready,
    Failed { retry_at: Millis },
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

    /// Asks for a sync of what has been written, whatever the policy.
    pub(crate) fn request_sync(&mut self) {
        self.sync_wanted = true;
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

    /// Makes room for `records` records of `bytes` bytes in all; after that, logging them can't fail.
    ///
    /// # Errors
    /// See [`NoRoom`]. Nothing has changed.
    pub fn make_room(&mut self, records: usize, bytes: usize) -> Result<(), NoRoom> {
        let more = records * RECORD_LENGTH_BYTES + bytes;
        let empty = self.pending_records == 0;
        let frame = if empty { FRAME_HEADER_BYTES } else { self.pending.len() } + more;
        if !empty && frame > FRAME_BYTES_SOFT_MAX {
            return Err(NoRoom::Busy);
        }
        if !self.fits_active(frame as u64) {
            if HEADER_BYTES + frame as u64 + SEAL_BYTES > self.options.segment_bytes {
                return Err(if empty { NoRoom::ReadOnly } else { NoRoom::Busy });
            }
            match self.reserve {
                Reserve::Ready => {}
                Reserve::Wanted | Reserve::UnderWay => return Err(NoRoom::Busy),
                Reserve::Failed { .. } => return Err(NoRoom::ReadOnly),
            }
        }
        if self.pending.is_empty() && self.pending.capacity() < self.spare.capacity() {
            core::mem::swap(&mut self.pending, &mut self.spare);
        }
        self.pending.try_reserve(frame - self.pending.len()).map_err(|_| NoRoom::OutOfMemory)?;
        if self.pending.is_empty() {
            self.pending.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        }
        Ok(())
    }

    /// Logs one record, for which [`LogWriter::make_room`] has made room; returns its LSN.
    #[inline]
    pub fn log(&mut self, record: &Record<'_>) -> Lsn {
        let len = u32::try_from(record.encoded_len()).unwrap_or(u32::MAX);
        self.pending.extend_from_slice(&len.to_le_bytes());
        record.encode(&mut self.pending);
        self.logged()
    }

    /// As [`LogWriter::log`], for a record that is encoded already.
    #[inline]
    pub(crate) fn log_encoded(&mut self, record: &[u8]) -> Lsn {
        let mut len = u32::try_from(record.len()).unwrap_or(u32::MAX);
        len &= if planted("short_length") { 0xFFFF } else { u32::MAX };
        self.pending.extend_from_slice(&len.to_le_bytes());
        self.pending.extend_from_slice(record);
        self.logged()
    }

    /// A point in the pending frame to which [`LogWriter::rollback`] can return, as long as no operation was polled meanwhile.
    #[must_use]
    pub(crate) fn savepoint(&self) -> Savepoint {
        Savepoint { pending_len: self.pending.len(), records: self.pending_records, last_lsn: self.last_lsn, last_data: self.last_data }
    }

    /// Forgets what was logged since.
    pub(crate) fn rollback(&mut self, to: Savepoint) {
        self.pending.truncate(to.pending_len);
        self.pending_records = to.records;
        self.last_lsn = to.last_lsn;
        self.last_data = to.last_data;
    }

    fn logged(&mut self) -> Lsn {
        self.pending_records += 1;
        self.last_lsn.0 += 1;
        self.last_data = self.last_lsn;
        self.last_lsn
    }

    /// The first LSN of the frame that `lsn` is in, if that frame isn't secured yet; else `lsn`. A frame's records are secured together.
    #[must_use]
    pub fn frame_of(&self, lsn: Lsn) -> Lsn {
        let pending = Lsn(self.last_lsn.0 + 1 - u64::from(self.pending_records));
        match self.appending {
            _ if lsn >= pending && !planted("gate_a_frame_early") => pending,
            Some(Appending::Frame { first, .. }) if lsn >= first => first,
            _ => lsn,
        }
    }

    /// The LSN whose durability makes it certain that time `upto` is never forgotten; logs a mark for it if no frame that
    /// carries the time is on its way yet. `None`: it is certain already.
    ///
    /// # Errors
    /// There is no room for a mark, and the time stays uncertain: with [`NoRoom::Busy`] for now.
    pub(crate) fn secure_time(&mut self, upto: Millis) -> Result<Option<Lsn>, NoRoom> {
        if upto <= self.secured().time {
            return Ok(None);
        }
        if self.pending_records > 0 {
            return Ok(Some(self.last_lsn));
        }
        match self.appending {
            Some(Appending::Frame { last, .. }) if upto <= last.time => return Ok(Some(last.lsn)),
            _ => {}
        }
        self.mark().map(Some)
    }

    fn mark(&mut self) -> Result<Lsn, NoRoom> {
        let mark = Record { kind: crate::record::Kind::Mark, version: Version::NONE, expiry: None, key: &[], value: &[] };
        self.make_room(1, mark.encoded_len())?;
        let last_data = self.last_data;
        let lsn = self.log(&mark);
        self.last_data = last_data;
        Ok(lsn)
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

    fn poll_reserve(&mut self) -> Option<StorageOp> {
        // At the end none is needed: what was accepted has a place in this segment, or in the next, which is reserved.
        if self.reserve != Reserve::Wanted || self.closing != Closing::No {
            return None;
        }
        self.reserve = Reserve::UnderWay;
        Some(StorageOp::Reserve { segment: self.next_segment, bytes: self.options.segment_bytes })
    }

    fn poll_append(&mut self, now: Millis, floor: Version) -> Option<StorageOp> {
        if self.appending.is_some() {
            return None;
        }
        if self.pending_records == 0 {
            // The first segment is started at once, so that a first write needn't wait for it.
            if self.active.is_none() && self.closing == Closing::No {
                return self.poll_start(now, floor);
            }
            let ready_to_seal = self.closing == Closing::Requested && self.full.is_none() && self.syncing.is_none();
            if ready_to_seal && self.durable.lsn == self.last_lsn {
                return self.poll_seal(now, floor, true);
            }
            return None;
        }
        if self.fits_active(self.pending.len() as u64) {
            return self.poll_frame(now, floor);
        }
        match &self.active {
            Some(active) if !active.sealed => self.poll_seal(now, floor, false),
            _ => self.poll_start(now, floor),
        }
    }

    /// Whether the segment has room for a frame of this size, also if a sync begins before the frame goes out and moves it to a fresh sector.
    fn fits_active(&self, frame: u64) -> bool {
        let fits = |active: &Active| align_up(active.end, SECTOR_BYTES) + frame + SEAL_BYTES <= self.options.segment_bytes;
        self.active.as_ref().is_some_and(|active| !active.sealed && fits(active))
    }

    fn poll_frame(&mut self, now: Millis, floor: Version) -> Option<StorageOp> {
        let active = self.active.as_mut()?;
        let mut header = FrameHeader {
            kind: FrameType::Data,
            payload_len: u32::try_from(self.pending.len() - FRAME_HEADER_BYTES).unwrap_or(u32::MAX),
            records: self.pending_records,
            first_lsn: Lsn(self.last_lsn.0 + 1 - u64::from(self.pending_records)),
            durable: self.durable.lsn,
            time: now,
            floor,
            previous: self.chain,
            payload_crc: 0,
            crc: 0,
        };
        let (head, payload) = self.pending.split_at_mut(FRAME_HEADER_BYTES);
        head.copy_from_slice(&header.seal(self.options.salt, payload, self.options.checksum));
        let data = core::mem::replace(&mut self.pending, core::mem::take(&mut self.spare));
        self.lent_bytes = data.capacity();
        self.pending.clear();
        self.pending_records = 0;
        self.chain = header.crc;
        self.claimed = header.durable;
        let offset = active.next_offset();
        let bytes = data.len() as u64;
        let sync = self.options.policy == SyncPolicy::Always;
        active.end = offset + bytes;
        active.synced = sync;
        self.appended_bytes += bytes;
        self.last_append_at = now;
        self.appending = Some(Appending::Frame { first: header.first_lsn, last: Mark { lsn: self.last_lsn, time: now }, bytes, sync });
        Some(StorageOp::Append { segment: active.number, offset, data, sync: sync && !planted("early_acknowledgement") })
    }

    /// A SEAL: `closes` at the orderly end (durable), else before the next segment.
    fn poll_seal(&mut self, now: Millis, floor: Version, closes: bool) -> Option<StorageOp> {
        let Some(active) = self.active.as_mut() else {
            self.closing = Closing::Closed;
            return None;
        };
        let mut header = FrameHeader {
            kind: FrameType::Seal,
            payload_len: 0,
            records: 0,
            first_lsn: Lsn(self.last_lsn.0 + 1 - u64::from(self.pending_records)),
            durable: self.durable.lsn,
            time: now,
            floor,
            previous: self.chain,
            payload_crc: 0,
            crc: 0,
        };
        let mut data = Vec::new();
        self.starved = data.try_reserve_exact(FRAME_HEADER_BYTES).is_err();
        if self.starved {
            return None;
        }
        data.extend_from_slice(&header.seal(self.options.salt, &[], self.options.checksum));
        self.chain = header.crc;
        self.claimed = header.durable;
        let offset = active.next_offset();
        active.end = offset + FRAME_HEADER_BYTES as u64;
        active.sealed = true;
        self.appending = Some(Appending::Seal { closes });
        Some(StorageOp::Append { segment: active.number, offset, data, sync: closes || self.options.policy == SyncPolicy::Always })
    }

    fn poll_start(&mut self, now: Millis, floor: Version) -> Option<StorageOp> {
        // One full segment at a time waits for its sync: the next may only become full once the one before is durable.
        if self.reserve != Reserve::Ready || self.full.is_some() {
            return None;
        }
        let header = SegmentHeader {
            database: self.options.database,
            epoch: self.options.epoch,
            salt: self.options.salt,
            number: self.next_segment,
            first_lsn: Lsn(self.last_lsn.0 + 1 - u64::from(self.pending_records)),
            durable: self.durable.lsn,
            time: now,
            floor,
            chain: self.chain,
        };
        // Without memory for it now, the next call tries again; if nothing else makes the host call, the time does.
        let header_bytes = header.encode(self.options.checksum);
        self.starved = header_bytes.is_err();
        let header_bytes = header_bytes.ok()?;
        if let Some(active) = self.active.take() {
            if self.durable.lsn < self.written.lsn || self.syncing.is_some() {
                self.unsynced_bytes = 0;
                self.unsynced_since = None;
            }
            self.full =
                (!planted("full_segment_unsynced")).then_some(Full { number: active.number, length: active.end, last: self.written });
        }
        self.active = Some(Active { number: self.next_segment, end: HEADER_BYTES, synced: true, sealed: false });
        self.next_segment = self.next_segment.next();
        self.reserve = Reserve::Wanted;
        self.appending = Some(Appending::Start);
        Some(StorageOp::Start { segment: header.number, header: header_bytes })
    }

    fn poll_sync(&mut self) -> Option<StorageOp> {
        if self.syncing.is_some() {
            return None;
        }
        if let Some(full) = &self.full {
            self.syncing = Some(full.last);
            return Some(StorageOp::Sync { segment: full.number, trim_to: Some(full.length) });
        }
        let flush = self.closing == Closing::Requested && self.idle();
        let active = self.active.as_mut()?;
        if self.closing == Closing::Sealed {
            self.closing = Closing::Trimming;
            self.syncing = Some(self.written);
            return Some(StorageOp::Sync { segment: active.number, trim_to: Some(active.end) });
        }
        // An append under way may lie in the sector that the sync would end in; only those that follow begin in a fresh one.
        let appending = matches!(self.appending, Some(Appending::Frame { .. } | Appending::Seal { .. }));
        if !(self.sync_wanted || flush) || (appending && !planted("sync_covers_append_under_way")) || self.written.lsn <= self.durable.lsn {
            return None;
        }
        self.sync_wanted = false;
        self.unsynced_bytes = 0;
        self.unsynced_since = None;
        self.syncing = Some(self.written);
        active.synced = !planted("synced_sector_shared");
        Some(StorageOp::Sync { segment: active.number, trim_to: None })
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
            StorageOp::Reserve { .. } => {
                self.reserve = match result {
                    Ok(()) => Reserve::Ready,
                    Err(_) => Reserve::Failed { retry_at: Millis(now.0.saturating_add(RESERVE_RETRY_MS)) },
                };
            }
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

    fn keep(&mut self, mut data: Vec<u8>) {
        self.lent_bytes = 0;
        if data.capacity() <= SPARE_BYTES_MAX && data.capacity() > self.spare.capacity() {
            data.clear();
            self.spare = data;
        }
    }

    fn appended(&mut self, now: Millis) {
        match self.appending.take() {
            Some(Appending::Frame { last, bytes, sync, .. }) => {
                self.written = last;
                if sync {
                    self.durable = last;
                    self.syncs += 1;
                } else {
                    self.unsynced_bytes += bytes;
                    self.unsynced_since = self.unsynced_since.or(Some(now));
                    if matches!(self.options.policy, SyncPolicy::Batch { bytes, .. } if self.unsynced_bytes >= bytes) {
                        self.sync_wanted = true;
                    }
                }
            }
            Some(Appending::Seal { closes: true }) => self.closing = Closing::Sealed,
            Some(Appending::Seal { closes: false } | Appending::Start) | None => {}
        }
    }

    fn synced(&mut self, trimmed: bool) {
        self.syncs += 1;
        if let Some(reached) = self.syncing.take().filter(|reached| reached.lsn >= self.durable.lsn) {
            self.durable = if planted("sync_covers_append_under_way") { self.written } else { reached };
        }
        if self.closing == Closing::Trimming {
            self.closing = Closing::Closed;
        } else if trimmed {
            self.full = None;
        }
    }
}
