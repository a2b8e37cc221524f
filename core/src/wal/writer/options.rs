//! What a log is told at its start.

use crate::checksum::Checksum;
use crate::storage::SegmentNumber;
use crate::units::{Lsn, Millis};
use crate::wal::segment::DatabaseId;

/// When a reply may leave, and when data is synced.
///
/// ```
/// use osprey_core::engine::{DatabaseId, Engine, Entropy, Options, SyncPolicy};
/// # use osprey_core::{storage::memory::MemoryStorage, units::Millis};
///
/// for (sync_policy, durable) in [(SyncPolicy::Os, false), (SyncPolicy::Always, true)] {
///     let entropy = Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) };
///     let mut storage = MemoryStorage::new();
///     let (mut engine, _) = Engine::recover(Options { sync_policy, ..Options::new(entropy) }, &mut storage, Millis(1_000))?;
///     while engine.drive(&mut storage)? {}
///     engine.incr(Millis(1_000), b"visits", 1).result?;
///     while engine.drive(&mut storage)? {}
///     assert_eq!(engine.watermark(), engine.last_lsn(), "it may be told");
///     assert_eq!(engine.durable_lsn() == engine.last_lsn(), durable);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
///
/// ```
/// use osprey_core::engine::{DatabaseId, Entropy, Options};
/// use osprey_core::wal::writer::WriterOptions;
///
/// // As an engine tells its log.
/// let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// let of_the_log = WriterOptions {
///     database: options.entropy.database,
///     epoch: 1,
///     salt: options.entropy.salt,
///     segment_bytes: options.segment_bytes,
///     policy: options.sync_policy,
///     checksum: options.checksum,
/// };
/// assert_eq!(of_the_log.segment_bytes, 64 << 20);
/// ```
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
///
/// ```
/// use osprey_core::storage::SegmentNumber;
/// use osprey_core::units::{Lsn, Millis};
/// use osprey_core::wal::writer::LogPosition;
///
/// // A new database's.
/// let position = LogPosition { next_segment: SegmentNumber(1), last_lsn: Lsn(0), chain: 0, time: Millis(0) };
/// assert_eq!(position.next_segment.to_string(), "wal-00000001.oswal");
/// ```
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
