//! What the engine asks of storage, and the traits that a host implements for it.
//!
//! The engine never waits: it hands out owned operations ([`crate::engine::Engine::poll_storage`]) and takes them
//! back, done, later. At most one operation of each [kind](StorageOp) is under way, so a host needs four threads at most (appends
//! must not wait for a sync), and may as well do each at once.
//!
//! # The contract
//! - An operation that was reported done without error has happened; after a process's death all that was reported
//!   done is there.
//! - `sync` means: durable over a power cut, with everything that was appended to that segment before.
//! - [`StorageOp::Start`] is atomic and durable: after a power cut the segment has its whole header, or isn't there.
//! - An operation must not be tried again by the host after a failed sync: the kernel may have dropped the data and
//!   marked the pages clean.
//!
//! The feature `conformance` adds a module, `conformance`, that checks a storage against all of this, and against what is said at each operation.

pub mod memory;

use alloc::vec::Vec;
use core::fmt;

use crate::units::Lsn;

/// A segment's number: 1, 2, 3, … in the order in which the log was written.
///
/// ```
/// use osprey_core::storage::SegmentNumber;
///
/// assert_eq!(SegmentNumber(1).next().to_string(), "wal-00000002.oswal");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNumber(pub u64);

impl SegmentNumber {
    /// The number of the segment that follows.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for SegmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wal-{:08}.oswal", self.0)
    }
}

/// A snapshot's name: between which two LSNs its entries were copied. It gets it when it is whole, and not before.
///
/// ```
/// use osprey_core::storage::SnapshotName;
/// use osprey_core::units::Lsn;
///
/// let name = SnapshotName { begin: Lsn(120), end: Lsn(188) };
/// assert_eq!(name.to_string(), "snap-00000120-00000188.osnap");
/// assert_eq!(SnapshotName::parse("snap-00000120-00000188.osnap"), Some(name));
/// assert_eq!(SnapshotName::parse("snap-120-188.osnap"), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotName {
    /// S1: without the log up to here it is of no use. (First, so that snapshots are in the order in which they were taken.)
    pub end: Lsn,
    /// S0: the log behind this has to be replayed.
    pub begin: Lsn,
}

impl SnapshotName {
    /// The snapshot that a file's name stands for. There is one way of writing each: no other file may pass for it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        use core::fmt::Write as _;
        let (begin, end) = name.strip_prefix("snap-")?.strip_suffix(".osnap")?.split_once('-')?;
        let parsed = Self { begin: Lsn(begin.parse().ok()?), end: Lsn(end.parse().ok()?) };
        let mut written = heapless::String::<64>::new();
        write!(written, "{parsed}").ok()?;
        (written == name).then_some(parsed)
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "snap-{:08}-{:08}.osnap", self.begin.0, self.end.0)
    }
}

/// How much is read of log and snapshots at once, and written of snapshots. Recovery holds one such buffer, or two (of a snapshot's end and what comes behind it); a snapshot that is
/// taken two or three. A frame or an entry that is longer takes as much as it is long, so that this bounds memory only together with the limits of requests.
///
/// ```
/// use osprey_core::storage::ChunkBytes;
///
/// // For a machine with little memory.
/// assert_eq!(ChunkBytes::nearest(4_100).get(), 4_096);
/// assert_eq!(ChunkBytes::nearest(1), ChunkBytes::MIN);
/// assert_eq!(ChunkBytes::nearest(usize::MAX), ChunkBytes::MAX);
/// assert_eq!(ChunkBytes::default().get(), 256 << 10);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkBytes(usize);

impl ChunkBytes {
    /// Less is not worth the calls: one sector.
    pub const MIN: Self = Self(512);

    /// More gains nothing.
    pub const MAX: Self = Self(64 << 20);

    /// So many bytes, or what is nearest: a multiple of 512 between [`ChunkBytes::MIN`] and [`ChunkBytes::MAX`].
    #[must_use]
    pub const fn nearest(bytes: usize) -> Self {
        let Self(min) = Self::MIN;
        let Self(max) = Self::MAX;
        if bytes >= max {
            return Self::MAX;
        }
        if bytes < min { Self::MIN } else { Self(bytes - bytes % min) }
    }

    /// How many bytes.
    #[must_use]
    pub const fn get(self) -> usize {
        let Self(bytes) = self;
        bytes
    }
}

/// 256 KiB.
impl Default for ChunkBytes {
    fn default() -> Self {
        Self(256 << 10)
    }
}

/// A piece of work about snapshots. One at a time; a failure is no poison: the snapshot is given up, and what there was before stays.
///
/// What a snapshot is made of: a file that gets its name when it is whole.
///
/// ```
/// use osprey_core::storage::memory::MemoryStorage;
/// use osprey_core::storage::{LogFiles, SnapshotName, SnapshotOp, Storage, StorageOp};
/// use osprey_core::units::Lsn;
///
/// let mut storage = MemoryStorage::new();
/// let name = SnapshotName { begin: Lsn(0), end: Lsn(9) };
/// let create = SnapshotOp::Create { begin: name.begin, bytes: 3 };
/// let append = SnapshotOp::Append { offset: 0, data: b"abc".to_vec() };
/// for op in [create, append] {
///     assert_eq!(storage.submit(StorageOp::Snapshot(op)).expect("done at once").result, Ok(()));
///     assert_eq!(storage.snapshots(), Ok(vec![]));
/// }
/// storage.submit(StorageOp::Snapshot(SnapshotOp::Publish { name }));
/// assert_eq!(storage.snapshots(), Ok(vec![(name, 3)]));
/// ```
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(feature = "conformance", derive(Clone))]
pub enum SnapshotOp {
    /// Begin a file under a name that no reader takes for a snapshot, in place of what is left of another attempt.
    Create {
        /// The last LSN before it.
        begin: Lsn,
        /// About how large it will be. Storage that knows that it hasn't got this should say so now.
        bytes: u64,
    },
    /// Write `data` at `offset`, the end of the file that was begun.
    Append {
        /// Where.
        offset: u64,
        /// What.
        data: Vec<u8>,
    },
    /// Make the file that was begun durable, then give it this name, durably: a power cut leaves it whole under its name, or without it.
    Publish {
        /// The name.
        name: SnapshotName,
    },
    /// Remove the file that was begun, if there is one.
    Discard,
    /// Fill `buffer` with what stands at `offset` of a snapshot; cut it where the snapshot ends.
    Read {
        /// The snapshot.
        name: SnapshotName,
        /// From where.
        offset: u64,
        /// As long as is to be read.
        buffer: Vec<u8>,
    },
    /// Remove a snapshot durably; nothing to do if there is none.
    Remove {
        /// The snapshot.
        name: SnapshotName,
    },
    /// Remove a segment of the log durably; nothing to do if there is none.
    RemoveSegment {
        /// The segment.
        segment: SegmentNumber,
    },
}

/// One piece of work for storage. Owned: it can wait in a queue and cross threads.
///
/// A segment's life, as the engine asks for it:
///
/// ```
/// use osprey_core::storage::memory::MemoryStorage;
/// use osprey_core::storage::{LogFiles, SegmentNumber, Storage, StorageOp};
///
/// let mut storage = MemoryStorage::new();
/// let segment = SegmentNumber(1);
/// let reserve = StorageOp::Reserve { segment, bytes: 1 << 20 };
/// let start = StorageOp::Start { segment, header: b"header".to_vec() };
/// let append = StorageOp::Append { segment, offset: 8, data: b"frame".to_vec(), sync: false };
/// let sync = StorageOp::Sync { segment, trim_to: None };
/// for op in [reserve, start, append, sync] {
///     assert_eq!(storage.submit(op).expect("done at once").result, Ok(()));
/// }
/// let mut bytes = [0xFF; 20];
/// assert_eq!(storage.read(segment, 0, &mut bytes), Ok(13));
/// assert!(bytes.starts_with(b"header\0\0frame"));
/// ```
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(feature = "conformance", derive(Clone))]
pub enum StorageOp {
    /// Set `bytes` of space aside for the segment that will come next, so that appending to it can't meet a full disk.
    /// It is not part of the log until started, and may be lost over a restart.
    Reserve {
        /// The segment that will be started.
        segment: SegmentNumber,
        /// How much space it needs in all.
        bytes: u64,
    },
    /// Write `header` to the beginning of the reserved segment, make it durable, and give it its name, replacing a segment
    /// of the same number if there is one (an empty one, of an earlier run).
    Start {
        /// The segment.
        segment: SegmentNumber,
        /// Its first bytes.
        header: Vec<u8>,
    },
    /// Write `data` at `offset`. Space between the last append and this one reads as zeros.
    Append {
        /// The segment, which was started.
        segment: SegmentNumber,
        /// Where, in bytes from the segment's beginning.
        offset: u64,
        /// What.
        data: Vec<u8>,
        /// Not done before it is durable.
        sync: bool,
    },
    /// Make everything durable that was appended to the segment before.
    Sync {
        /// The segment.
        segment: SegmentNumber,
        /// The segment is complete: first give back the space after this length.
        trim_to: Option<u64>,
    },
    /// About snapshots. Only asked for where [`crate::engine::Options::snapshots`] is given.
    Snapshot(SnapshotOp),
}

/// An operation that has ended; it comes back whole, so that its buffer serves again.
///
/// ```
/// use osprey_core::storage::{SegmentNumber, StorageDone, StorageError, StorageOp};
///
/// // A disk that is full, by the host's report: without harm here, nothing was accepted that needs the space.
/// let op = StorageOp::Reserve { segment: SegmentNumber(2), bytes: 64 << 20 };
/// let done = StorageDone { op, result: Err(StorageError::NoSpace) };
/// assert!(matches!(done.op, StorageOp::Reserve { .. }) && done.result.is_err());
/// ```
#[derive(Debug)]
pub struct StorageDone {
    /// What was to be done.
    pub op: StorageOp,
    /// How it ended.
    pub result: Result<(), StorageError>,
}

/// Why storage failed.
///
/// ```
/// use osprey_core::storage::StorageError;
///
/// fn of(error: &std::io::Error) -> StorageError {
///     match error.kind() {
///         std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StorageError::NoSpace,
///         _ => StorageError::Io(error.raw_os_error()),
///     }
/// }
///
/// assert_eq!(of(&std::io::ErrorKind::StorageFull.into()), StorageError::NoSpace);
/// assert_eq!(of(&std::io::Error::from_raw_os_error(5)).to_string(), "I/O error (system error 5)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageError {
    /// No space (or quota) left. Only harmless where space is reserved.
    NoSpace,
    /// Anything else, with the system's error number where there is one.
    Io(Option<i32>),
    /// It has told of the end of an operation that was not asked of it, or was ended already: a mistake in whatever implements [`Storage`]. Never returned by storage itself.
    NotAskedFor,
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSpace => f.write_str("no space left on the device"),
            Self::Io(Some(code)) => write!(f, "I/O error (system error {code})"),
            Self::Io(None) => f.write_str("I/O error"),
            Self::NotAskedFor => f.write_str("storage says that it has ended what it was not asked for"),
        }
    }
}

impl core::error::Error for StorageError {}

/// The log's storage while the engine runs.
///
/// The least of all, for an engine whose data needn't outlive it:
///
/// ```
/// use osprey_core::storage::{SnapshotOp, Storage, StorageDone, StorageError, StorageOp};
///
/// struct Nowhere;
///
/// impl Storage for Nowhere {
///     fn submit(&mut self, op: StorageOp) -> Option<StorageDone> {
///         let result = if matches!(op, StorageOp::Snapshot(_)) { Err(StorageError::Io(None)) } else { Ok(()) };
///         Some(StorageDone { op, result })
///     }
///
///     fn poll(&mut self) -> Option<StorageDone> {
///         None
///     }
/// }
///
/// let done = Nowhere.submit(StorageOp::Snapshot(SnapshotOp::Discard)).expect("done at once");
/// assert_eq!(done.result, Err(StorageError::Io(None)));
/// ```
pub trait Storage {
    /// Takes an operation. An implementation that does it at once returns it, done; otherwise it comes from
    /// [`Storage::poll`] later.
    fn submit(&mut self, op: StorageOp) -> Option<StorageDone>;

    /// The next operation that has ended, if any. Never waits.
    fn poll(&mut self) -> Option<StorageDone>;

    /// As [`Storage::poll`], but waits until an operation that is under way has ended, where the implementation can. Only [`Db`](crate::db::Db) calls it, with one under way; without a
    /// better implementation it asks again and again.
    ///
    /// ```
    /// use std::sync::mpsc::{Receiver, Sender, channel};
    ///
    /// use osprey_core::storage::{SegmentNumber, Storage, StorageDone, StorageOp};
    ///
    /// /// Storage beside a thread that does what it is sent.
    /// struct Beside {
    ///     ops: Sender<StorageOp>,
    ///     done: Receiver<StorageDone>,
    /// }
    ///
    /// impl Storage for Beside {
    ///     fn submit(&mut self, op: StorageOp) -> Option<StorageDone> {
    ///         self.ops.send(op).expect("the thread lives as long as this");
    ///         None
    ///     }
    ///
    ///     fn poll(&mut self) -> Option<StorageDone> {
    ///         self.done.try_recv().ok()
    ///     }
    ///
    ///     fn wait(&mut self) -> Option<StorageDone> {
    ///         self.done.recv().ok()
    ///     }
    /// }
    ///
    /// let ((ops, thread_ops), (thread_done, done)) = (channel(), channel());
    /// std::thread::spawn(move || {
    ///     for op in thread_ops {
    ///         let _ = thread_done.send(StorageDone { op, result: Ok(()) });
    ///     }
    /// });
    /// let mut storage = Beside { ops, done };
    /// let sync = StorageOp::Sync { segment: SegmentNumber(1), trim_to: None };
    /// assert!(storage.submit(sync).is_none(), "under way");
    /// assert_eq!(storage.wait().map(|done| done.result), Some(Ok(())));
    /// ```
    fn wait(&mut self) -> Option<StorageDone> {
        self.poll()
    }
}

/// The log's storage while it is recovered: plain calls that wait. Nobody else changes the log meanwhile.
///
/// Recovery lists once, and reads a [chunk](ChunkBytes) and a frame's header at once, or one frame that is longer.
/// Any error ends it as [`RecoveryError::Storage`](crate::recovery::RecoveryError::Storage).
///
/// ```
/// use osprey_core::storage::memory::MemoryStorage;
/// use osprey_core::storage::{LogFiles, SegmentNumber, SnapshotName, Storage, StorageOp};
///
/// let mut files = MemoryStorage::new();
/// for number in [1, 2] {
///     files.submit(StorageOp::Start { segment: SegmentNumber(number), header: b"header".to_vec() });
/// }
/// // What recovery does with the segment in which it finds a torn end, and with those behind it.
/// let (torn, behind) = (SegmentNumber(1), SegmentNumber(2));
/// files.remove(behind)?;
/// files.truncate(torn, 4)?;
/// files.sync(torn)?;
/// let mut bytes = [0; 6];
/// assert_eq!((files.segments()?, files.read(torn, 0, &mut bytes)?), (vec![(torn, 4)], 4));
/// assert_eq!(&bytes, b"head\0\0");
///
/// assert!(files.snapshots()?.is_empty());
/// assert!(files.read_snapshot(SnapshotName::default(), 0, &mut bytes).is_err(), "there is none");
/// # Ok::<(), osprey_core::storage::StorageError>(())
/// ```
pub trait LogFiles {
    /// All segments that have their name, in any order, each with its length in bytes.
    ///
    /// # Errors
    /// The log can't be listed, or there is no memory for the list.
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError>;

    /// Reads at `offset` into `buffer`; returns how many bytes, less than asked only at the segment's end.
    ///
    /// # Errors
    /// There is no such segment, or it can't be read.
    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError>;

    /// Cuts a segment to `length` bytes, durably.
    ///
    /// # Errors
    /// It can't be cut, or not be made durable: what was behind `length` may or may not be there.
    fn truncate(&mut self, segment: SegmentNumber, length: u64) -> Result<(), StorageError>;

    /// Removes a segment, durably.
    ///
    /// # Errors
    /// It can't be removed, or that can't be made durable: it may come back.
    fn remove(&mut self, segment: SegmentNumber) -> Result<(), StorageError>;

    /// Makes a segment durable as it is, its name included: the run before may have ended before it was.
    ///
    /// # Errors
    /// It isn't certain to be durable. Not to be tried again.
    fn sync(&mut self, segment: SegmentNumber) -> Result<(), StorageError>;

    /// All snapshots that have their name, in any order, each with its length in bytes. Storage that doesn't do [`StorageOp::Snapshot`] has none.
    ///
    /// # Errors
    /// They can't be listed, or there is no memory for the list.
    fn snapshots(&mut self) -> Result<Vec<(SnapshotName, u64)>, StorageError> {
        Ok(Vec::new())
    }

    /// As [`LogFiles::read`], of a snapshot.
    ///
    /// # Errors
    /// There is no such snapshot, or it can't be read; always so without a better implementation.
    fn read_snapshot(&mut self, _name: SnapshotName, _offset: u64, _buffer: &mut [u8]) -> Result<usize, StorageError> {
        Err(StorageError::Io(None))
    }
}
