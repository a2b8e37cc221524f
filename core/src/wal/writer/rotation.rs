//! From one segment to the next: space for it is reserved while the one before is filled; that is sealed, the next one started, and the full one synced and cut.

use alloc::vec::Vec;

use super::append::{Active, Appending};
use super::{Closing, LogWriter, Mark, Poisoned, SyncPolicy};
use crate::museum::planted;
use crate::storage::{SegmentNumber, StorageError, StorageOp};
use crate::units::{Millis, Version};
use crate::wal::SECTOR_BYTES;
use crate::wal::frame::{FRAME_HEADER_BYTES, FrameType};
use crate::wal::segment::{HEADER_BYTES, SegmentHeader};

/// What stays free in a segment for what must always fit: its SEAL, at a fresh sector.
pub(super) const SEAL_BYTES: u64 = SECTOR_BYTES + FRAME_HEADER_BYTES as u64;

/// After a failed reservation the next attempt comes this much later.
const RESERVE_RETRY_MS: u64 = 1000;

/// A segment that is full but not yet durable.
#[derive(Debug)]
pub(super) struct Full {
    pub(super) number: SegmentNumber,
    pub(super) length: u64,
    pub(super) last: Mark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reserve {
    Wanted,
    UnderWay,
    Ready,
    Failed { retry_at: Millis },
}

impl LogWriter {
    /// Space that is set aside and not written to yet, bytes: in the segment that is appended to, in a full one until it is cut, and in the next.
    pub(crate) fn reserved_bytes(&self) -> u64 {
        let unused = |length: u64| self.options.segment_bytes.saturating_sub(length);
        let active = self.active.as_ref().map_or(0, |active| unused(active.end));
        let full = self.full.as_ref().map_or(0, |full| unused(full.length));
        let next = if matches!(self.reserve, Reserve::UnderWay | Reserve::Ready) { self.options.segment_bytes } else { 0 };
        active + full + next
    }

    pub(super) fn poll_reserve(&mut self) -> Option<StorageOp> {
        // At the end none is needed: what was accepted has a place in this segment, or in the next, which is reserved.
        if self.reserve != Reserve::Wanted || self.closing != Closing::No {
            return None;
        }
        self.reserve = Reserve::UnderWay;
        Some(StorageOp::Reserve { segment: self.next_segment, bytes: self.options.segment_bytes })
    }

    /// Another segment's reservation, or one that was counted already, would let records in that have no place.
    pub(super) fn reserved(&mut self, segment: SegmentNumber, result: Result<(), StorageError>, now: Millis) -> Result<(), Poisoned> {
        if (segment, self.reserve) != (self.next_segment, Reserve::UnderWay) {
            return self.check(Err(StorageError::NotAskedFor), segment, "count on the reservation of");
        }
        self.reserve = match result {
            Ok(()) => Reserve::Ready,
            Err(_) => Reserve::Failed { retry_at: Millis(now.0.saturating_add(RESERVE_RETRY_MS)) },
        };
        Ok(())
    }

    /// A SEAL: `closes` at the orderly end (durable), else before the next segment.
    pub(super) fn poll_seal(&mut self, now: Millis, floor: Version, closes: bool) -> Option<StorageOp> {
        let mut header = self.frame_header(FrameType::Seal, now, floor);
        let Some(active) = self.active.as_mut() else {
            self.closing = Closing::Closed;
            return None;
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

    pub(super) fn poll_start(&mut self, now: Millis, floor: Version) -> Option<StorageOp> {
        // One full segment at a time waits for its sync: the next may only become full once the one before is durable.
        if self.reserve != Reserve::Ready || self.full.is_some() {
            return None;
        }
        let header = SegmentHeader {
            database: self.options.database,
            epoch: self.options.epoch,
            salt: self.options.salt,
            number: self.next_segment,
            first_lsn: self.first_pending(),
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
}
