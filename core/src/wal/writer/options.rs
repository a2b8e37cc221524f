//! What a log is told at its start.

use crate::checksum::Checksum;
use crate::storage::SegmentNumber;
use crate::units::{Lsn, Millis};
use crate::wal::segment::DatabaseId;

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
