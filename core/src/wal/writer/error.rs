//! Why nothing can be logged: for now, or for ever.

use crate::storage::{SegmentNumber, StorageError};

/// Why a record can't be logged now.
///
/// ```
/// # use osprey_core::checksum::crc32c;
/// # use osprey_core::storage::SegmentNumber;
/// # use osprey_core::units::{Lsn, Millis, Version};
/// # use osprey_core::wal::{segment::DatabaseId, writer::{LogPosition, SyncPolicy, WriterOptions}};
/// use osprey_core::storage::{StorageDone, StorageError};
/// use osprey_core::wal::writer::{LogWriter, NoRoom};
///
/// # let position = LogPosition { next_segment: SegmentNumber(1), last_lsn: Lsn(0), chain: 0, time: Millis(0) };
/// # let (database, policy) = (DatabaseId([3; 16]), SyncPolicy::Os);
/// # let options = WriterOptions { database, epoch: 1, salt: 2, segment_bytes: 64 << 10, policy, checksum: crc32c };
/// let mut log = LogWriter::new(options, position);
/// assert_eq!(log.make_room(1, 100), Err(NoRoom::Busy), "there is no segment yet");
/// let op = log.poll(Millis(1_000), Version::NONE).expect("the first segment is to be reserved");
/// log.done(StorageDone { op, result: Err(StorageError::NoSpace) }, Millis(1_000))?;
/// assert_eq!(log.make_room(1, 100), Err(NoRoom::ReadOnly));
/// assert!(log.read_only() && log.tick(Millis(1_000)).is_some(), "it will be tried again");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// Storage is busy: possible again after the next completion.
    Busy,
    /// No space on the device for another segment.
    ReadOnly,
    /// No memory for the frame.
    OutOfMemory,
}

impl core::fmt::Display for NoRoom {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Busy => "storage must end an operation first",
            Self::ReadOnly => "no space left for another segment of the log",
            Self::OutOfMemory => "no memory for a frame of the log",
        })
    }
}

impl core::error::Error for NoRoom {}

/// Storage has failed in a way after which nothing may be promised any more.
///
/// ```
/// use osprey_core::engine::Poisoned;
/// use osprey_core::storage::{SegmentNumber, StorageError};
///
/// let poisoned = Poisoned { segment: SegmentNumber(3), during: "sync the log segment", error: StorageError::Io(Some(5)) };
/// assert_eq!(poisoned.to_string(), "cannot sync the log segment wal-00000003.oswal: I/O error (system error 5)");
/// ```
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
