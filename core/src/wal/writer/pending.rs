//! Records gather in the pending frame, as long as there is a place set aside for them.

use super::append::Appending;
use super::rotation::{Reserve, SEAL_BYTES};
use super::{LogWriter, NoRoom};
use crate::museum::planted;
use crate::record::{Kind, Record};
use crate::units::{Lsn, Millis, Version};
use crate::wal::frame::{FRAME_HEADER_BYTES, RECORD_LENGTH_BYTES};
use crate::wal::segment::HEADER_BYTES;

/// A frame is handed out at the latest when it has this size, bytes; one record may make it larger.
///
/// ```
/// use osprey_core::engine::Error;
/// use osprey_core::wal::writer::FRAME_BYTES_SOFT_MAX;
/// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
/// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
/// # while engine.drive(&mut storage)? {}
///
/// // So much may wait for an append that is under way; the next write has to.
/// let value = vec![0; FRAME_BYTES_SOFT_MAX / 4];
/// let mut set = 0;
/// while engine.set(Millis(1_000), b"key", &value, &SetOptions::default()).result != Err(Error::Busy) {
///     set += 1;
/// }
/// assert!((3..=4).contains(&set), "{set}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const FRAME_BYTES_SOFT_MAX: usize = 1 << 20;

/// See [`LogWriter::savepoint`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Savepoint {
    pending_len: usize,
    records: u32,
    last_lsn: Lsn,
    last_data: Lsn,
}

impl LogWriter {
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

    /// The first LSN of the pending frame, whether or not it holds a record yet.
    #[inline]
    pub(super) fn first_pending(&self) -> Lsn {
        Lsn(self.last_lsn.0 + 1 - u64::from(self.pending_records))
    }

    /// The first LSN of the frame that `lsn` is in, if that frame isn't secured yet; else `lsn`. A frame's records are secured together.
    #[must_use]
    pub fn frame_of(&self, lsn: Lsn) -> Lsn {
        let pending = self.first_pending();
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

    pub(super) fn mark(&mut self) -> Result<Lsn, NoRoom> {
        let mark = Record { kind: Kind::Mark, version: Version::NONE, expiry: None, key: &[], value: &[] };
        self.make_room(1, mark.encoded_len())?;
        let last_data = self.last_data;
        let lsn = self.log(&mark);
        self.last_data = last_data;
        Ok(lsn)
    }
}
