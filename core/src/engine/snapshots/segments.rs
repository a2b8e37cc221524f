//! Which segments of the log there are, and how much of it lies behind the newest snapshot.

use super::Snapshots;
use crate::recovery::SegmentInfo;
use crate::storage::{SegmentNumber, StorageOp};
use crate::wal::segment::{HEADER_BYTES, SegmentHeader};
use crate::wal::writer::LogWriter;

impl Snapshots {
    /// Takes note of what the log's operations make of its segments.
    pub(crate) fn note_log(&mut self, op: &StorageOp) {
        match op {
            StorageOp::Start { segment, header } => {
                let Ok(header) = SegmentHeader::decode(header, self.checksum) else { return };
                self.segments.retain(|info| info.number != *segment);
                // Without memory it is only not removed when its time has come.
                if self.segments.try_reserve(1).is_ok() {
                    let bytes = HEADER_BYTES;
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

    /// How much log a recovery would replay on the newest snapshot, bytes.
    pub(crate) fn log_bytes(&self, log: &LogWriter) -> u64 {
        self.recovered_bytes + log.appended_bytes() - self.log_bytes_base
    }
}
