//! The pending frame goes out whole, one at a time; what it was, when it is written.

use alloc::vec::Vec;

use super::rotation::SEAL_BYTES;
use super::{Closing, LogWriter, Mark, SyncPolicy};
use crate::museum::planted;
use crate::storage::{SegmentNumber, StorageOp};
use crate::units::{Lsn, Millis, Version};
use crate::wal::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, FrameType};
use crate::wal::{SECTOR_BYTES, align_up};

/// A buffer larger than this isn't kept for the next frame, bytes.
const SPARE_BYTES_MAX: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Active {
    pub(super) number: SegmentNumber,
    /// Behind the last frame that was handed out.
    pub(super) end: u64,
    /// What stands before `end` was synced, or is being synced: the next frame needs a fresh sector.
    pub(super) synced: bool,
    pub(super) sealed: bool,
}

impl Active {
    pub(super) fn next_offset(&self) -> u64 {
        let fresh = self.synced && !planted("synced_sector_rewritten");
        align_up(self.end, if fresh { SECTOR_BYTES } else { FRAME_ALIGN as u64 })
    }
}

#[derive(Debug)]
pub(super) enum Appending {
    Start,
    Frame { first: Lsn, last: Mark, bytes: u64, sync: bool },
    Seal { closes: bool },
}

impl LogWriter {
    pub(super) fn poll_append(&mut self, now: Millis, floor: Version) -> Option<StorageOp> {
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
    pub(super) fn fits_active(&self, frame: u64) -> bool {
        let fits = |active: &Active| align_up(active.end, SECTOR_BYTES) + frame + SEAL_BYTES <= self.options.segment_bytes;
        self.active.as_ref().is_some_and(|active| !active.sealed && fits(active))
    }

    fn poll_frame(&mut self, now: Millis, floor: Version) -> Option<StorageOp> {
        let payload_len = u32::try_from(self.pending.len() - FRAME_HEADER_BYTES).unwrap_or(u32::MAX);
        let mut header = FrameHeader { payload_len, records: self.pending_records, ..self.frame_header(FrameType::Data, now, floor) };
        let active = self.active.as_mut()?;
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

    /// The header of a frame that goes out now, still without a payload and its checksums.
    pub(super) fn frame_header(&self, kind: FrameType, now: Millis, floor: Version) -> FrameHeader {
        FrameHeader {
            kind,
            payload_len: 0,
            records: 0,
            first_lsn: self.first_pending(),
            durable: self.durable.lsn,
            time: now,
            floor,
            previous: self.chain,
            payload_crc: 0,
            crc: 0,
        }
    }

    pub(super) fn keep(&mut self, mut data: Vec<u8>) {
        self.lent_bytes = 0;
        if data.capacity() <= SPARE_BYTES_MAX && data.capacity() > self.spare.capacity() {
            data.clear();
            self.spare = data;
        }
    }

    pub(super) fn appended(&mut self, now: Millis) {
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
}
