//! What a recovery has found, and how far it is.

use alloc::vec::Vec;

use crate::snapshot::SnapshotError;
use crate::storage::{SegmentNumber, SnapshotName};
use crate::units::{Lsn, Millis};
use crate::wal::segment::DatabaseId;
use crate::wal::writer::LogPosition;

/// What recovery found and did.
///
/// ```
/// # use osprey_core::engine::{DatabaseId, Engine, Entropy, Options, SetOptions};
/// # use osprey_core::storage::memory::MemoryStorage;
/// # use osprey_core::units::Millis;
/// # let entropy = Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) };
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(Options::new(entropy), &mut storage, Millis(1))?;
/// # while engine.drive(&mut storage)? {}
/// # engine.set(Millis(1), b"key", b"value", &SetOptions::default()).result?;
/// # while engine.drive(&mut storage)? {}
/// let (_, report) = Engine::recover(Options::new(entropy), &mut storage, Millis(2))?;
/// assert_eq!((report.segments, report.records), (1, 1));
/// assert!(!report.sealed, "the run before was not closed");
/// assert_eq!(report.torn, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Segments read.
    pub segments: u64,
    /// Their bytes, headers and frames.
    pub bytes: u64,
    /// Frames read.
    pub frames: u64,
    /// Records replayed: those behind the snapshot.
    pub records: u64,
    /// The snapshot that the log was replayed on, and how many entries it had.
    pub snapshot: Option<(SnapshotName, u64)>,
    /// The newest snapshot that was of no use, and why. One before it serves, or all of the log.
    pub unusable: Option<(SnapshotName, SnapshotError)>,
    /// Bytes of the log that were read to be replayed.
    pub replayed_bytes: u64,
    /// The last frame was a SEAL: the run before had ended in order.
    pub sealed: bool,
    /// What was cut.
    pub torn: Option<TornTail>,
}

/// The end of a log that a crash has torn. None of it was promised to be durable.
///
/// ```
/// use osprey_core::storage::{LogFiles, SegmentNumber, Storage, StorageOp};
/// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
/// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
/// # while engine.drive(&mut storage)? {}
///
/// engine.incr(Millis(1_000), b"visits", 1).result?;
/// while engine.drive(&mut storage)? {}
/// // A crash has left the beginning of another frame.
/// let end = storage.bytes() as u64;
/// storage.submit(StorageOp::Append { segment: SegmentNumber(1), offset: end, data: b"OSF1\x01".to_vec(), sync: false });
/// let (engine, report) = Engine::recover(options, &mut storage, Millis(2_000))?;
/// let torn = report.torn.expect("the end was cut");
/// assert_eq!((torn.segment, torn.offset, torn.segments_removed), (SegmentNumber(1), end, 0));
/// assert_eq!((storage.segments()?, engine.store().len()), (vec![(SegmentNumber(1), end)], 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment that was cut.
    pub segment: SegmentNumber,
    /// At which length.
    pub offset: u64,
    /// How many bytes were cut, of this segment and of those behind it.
    pub bytes: u64,
    /// How many segments behind it were removed whole.
    pub segments_removed: u64,
}

/// What a directory says beside its data.
///
/// ```
/// use osprey_core::checksum::crc32c;
/// use osprey_core::recovery::{Recovered, recover};
/// use osprey_core::storage::ChunkBytes;
/// use osprey_core::store::Store;
/// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
/// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
/// # while engine.drive(&mut storage)? {}
///
/// engine.incr(Millis(1_000), b"visits", 1).result?;
/// while engine.drive(&mut storage)? {}
/// let mut store = Store::new([7; 16])?;
/// let recovered = recover(&mut storage, &mut store, crc32c, ChunkBytes::default(), &mut |_| ())?;
/// let Recovered { database, epoch, position, .. } = recovered;
/// assert_eq!((database, epoch), (Some(options.entropy.database), 1));
/// assert_eq!((position.last_lsn, position.next_segment.0), (engine.last_lsn(), 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Recovered {
    /// Where the log goes on.
    pub position: LogPosition,
    /// Its database; `None` for one that is new.
    pub database: Option<DatabaseId>,
    /// The epoch of the last run.
    pub epoch: u64,
    /// The segments that are there, in order.
    pub segments: Vec<SegmentInfo>,
    /// The snapshots that are there, in order; those that are known to be of no use are marked.
    pub snapshots: Vec<SnapshotInfo>,
    /// For people.
    pub report: Report,
}

/// A segment that is there.
///
/// ```
/// # use osprey_core::checksum::crc32c;
/// # use osprey_core::recovery::recover;
/// # use osprey_core::storage::ChunkBytes;
/// # use osprey_core::store::Store;
/// use osprey_core::recovery::SegmentInfo;
/// use osprey_core::storage::SegmentNumber;
/// use osprey_core::units::Lsn;
/// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
/// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
/// # while engine.drive(&mut storage)? {}
///
/// engine.incr(Millis(1_000), b"visits", 1).result?;
/// while engine.drive(&mut storage)? {}
/// let mut store = Store::new([7; 16])?;
/// let recovered = recover(&mut storage, &mut store, crc32c, ChunkBytes::default(), &mut |_| ())?;
/// let (number, bytes) = (SegmentNumber(1), storage.bytes() as u64);
/// assert_eq!(recovered.segments, [SegmentInfo { number, first_lsn: Lsn(1), time: Millis(1_000), bytes }]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Which.
    pub number: SegmentNumber,
    /// The first LSN in it.
    pub first_lsn: Lsn,
    /// The time when it was begun.
    pub time: Millis,
    /// How long it is, bytes.
    pub bytes: u64,
}

/// A snapshot that is there.
///
/// ```
/// # use osprey_core::checksum::crc32c;
/// # use osprey_core::engine::SnapshotOptions;
/// # use osprey_core::recovery::recover;
/// # use osprey_core::storage::{ChunkBytes, LogFiles};
/// # use osprey_core::store::Store;
/// use osprey_core::recovery::SnapshotInfo;
/// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
/// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// # let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), options)?;
///
/// let snapshots = Some(SnapshotOptions::default());
/// let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), Options { snapshots, ..options })?;
/// db.set(b"key", b"value")?;
/// db.snapshot()?;
/// let mut storage = db.close()?;
/// let mut store = Store::new([7; 16])?;
/// let recovered = recover(&mut storage, &mut store, crc32c, ChunkBytes::default(), &mut |_| ())?;
/// let (name, bytes) = storage.snapshots()?[0];
/// assert_eq!(recovered.snapshots, [SnapshotInfo { name, bytes, unusable: false }]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Which.
    pub name: SnapshotName,
    /// How long it is, bytes.
    pub bytes: u64,
    /// Whether it was found to be of no use.
    pub unusable: bool,
}

/// How far a recovery has come.
///
/// ```
/// use osprey_core::recovery::Progress;
///
/// let percent = |Progress { bytes, bytes_total, .. }| bytes * 100 / bytes_total.max(1);
/// assert_eq!(percent(Progress { bytes: 512, bytes_total: 2_048, keys: 10 }), 25);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that were read, of the snapshot and the log.
    pub bytes: u64,
    /// Bytes that there are to read.
    pub bytes_total: u64,
    /// Keys that are there so far.
    pub keys: u64,
}
