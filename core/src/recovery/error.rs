//! Why a log can't be recovered.

use core::fmt;

use crate::snapshot::SnapshotError;
use crate::storage::{SegmentNumber, SnapshotName, StorageError};
use crate::units::Lsn;
use crate::wal::reader::ReadError;
use crate::wal::segment::{DatabaseId, HeaderError};

/// Why a log can't be recovered. Nothing was changed.
///
/// ```
/// use osprey_core::recovery::RecoveryError;
/// use osprey_core::storage::{LogFiles, SegmentNumber, Storage, StorageOp};
/// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
/// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
/// # while engine.drive(&mut storage)? {}
///
/// engine.incr(Millis(1_000), b"visits", 1).result?;
/// engine.close();
/// while engine.drive(&mut storage)? {}
/// // What was synced is damaged: nothing is cut, nothing is guessed.
/// let (segment, mut bytes) = (SegmentNumber(1), vec![0; storage.bytes()]);
/// storage.read(segment, 0, &mut bytes)?;
/// bytes[4096 + 70] ^= 1;
/// storage.submit(StorageOp::Start { segment, header: bytes });
/// let error = Engine::recover(options, &mut storage, Millis(2_000)).expect_err("it is refused");
/// assert!(matches!(error, RecoveryError::Corrupt { segment: SegmentNumber(1), offset: 4096, .. }));
/// assert!(error.to_string().starts_with("wal-00000001.oswal is damaged at byte 4096: records 1 to 1"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryError {
    /// Storage failed; with the segment, where it was about one.
    Storage(Option<SegmentNumber>, StorageError),
    /// No memory for the data.
    OutOfMemory,
    /// A segment's header can't be read.
    Header(SegmentNumber, HeaderError),
    /// A segment's file name and its header name different numbers.
    Misnamed {
        /// By its name.
        segment: SegmentNumber,
        /// By its header.
        header: SegmentNumber,
    },
    /// A segment is not there, although one behind it is.
    Missing(SegmentNumber),
    /// A segment belongs to another database.
    OtherDatabase {
        /// The segment.
        segment: SegmentNumber,
        /// The database that the first segment belongs to.
        expected: DatabaseId,
        /// The one that it belongs to.
        found: DatabaseId,
    },
    /// Synced data is damaged.
    Corrupt {
        /// Where.
        segment: SegmentNumber,
        /// From which byte on.
        offset: u64,
        /// The first record that can't be read.
        first_lsn: Lsn,
        /// The last record of which it is certain that it was durable.
        last_lsn: Lsn,
    },
    /// No snapshot is of use, and the log alone begins too late. The newest one, and what is wrong with it.
    Snapshot(SnapshotName, SnapshotError),
    /// A frame whose checksum is right doesn't hold records that this version can read.
    Malformed {
        /// Where.
        segment: SegmentNumber,
        /// The frame's offset.
        offset: u64,
    },
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(Some(segment), error) => write!(f, "{segment}: {error}"),
            Self::Storage(None, error) => write!(f, "cannot list the log's segments: {error}"),
            Self::OutOfMemory => f.write_str("not enough memory to load the data"),
            Self::Header(segment, error) => write!(f, "{segment}: {error}"),
            Self::Misnamed { segment, header } => write!(f, "{segment}: its header says that it is {header}"),
            Self::Missing(segment) => write!(f, "{segment} is missing, but segments after it are there"),
            Self::OtherDatabase { segment, expected, found } => {
                write!(f, "{segment} belongs to database {found}, the segments before it to {expected}")
            }
            Self::Corrupt { segment, offset, first_lsn, last_lsn } => write!(
                f,
                "{segment} is damaged at byte {offset}: records {} to {} were on disk and cannot be read",
                first_lsn.0, last_lsn.0
            ),
            Self::Snapshot(name, error) => {
                write!(f, "{name}: {error}; there is no older snapshot that is of use, and the log does not go back to the beginning")
            }
            Self::Malformed { segment, offset } => {
                write!(f, "{segment}: the frame at byte {offset} is whole, but holds records that this version cannot read")
            }
        }
    }
}

impl core::error::Error for RecoveryError {}

pub(super) fn read_error(segment: SegmentNumber, error: ReadError) -> RecoveryError {
    match error {
        ReadError::Storage(error) => RecoveryError::Storage(Some(segment), error),
        ReadError::OutOfMemory => RecoveryError::OutOfMemory,
    }
}
