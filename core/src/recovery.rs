//! From a snapshot and the log's segments to a store, or a clear refusal.
//!
//! The newest snapshot that is whole is loaded, and the log replayed behind it; where the newest isn't, the one before serves, with more of the log, and the
//! report says so. Segments are read in order along one unbroken chain. At the first frame that doesn't continue it, everything behind is
//! asked whether that position had been **durable**: every later frame and header names what was when it was written.
//! If any does, synced data is damaged, and recovery refuses, naming the place. If none does, a crash has torn the tail of what was never
//! promised: it is cut and reported. Nothing is changed before the whole log has been read.
//!
//! ```text
//!  recover ──▶ choose: a snapshot, segments behind it ──▶ replay: records, along the chain ──▶ tail: judged, cut ──▶ Recovered
//! ```

mod choose;
mod error;
mod replay;
mod report;
mod tail;

use alloc::vec::Vec;

pub use error::RecoveryError;
pub use report::{Progress, Recovered, Report, SegmentInfo, SnapshotInfo, TornTail};

use crate::checksum::Checksum;
use crate::storage::{ChunkBytes, LogFiles, SegmentNumber};
use crate::store::Store;
use crate::units::{Lsn, Millis};
use crate::wal::segment::{DatabaseId, SegmentHeader};

/// Reads a snapshot and the log behind it into `store`, `chunk` bytes at a time, then cuts a torn tail and makes what is left durable. Tells `progress` now and then how far
/// it is.
///
/// # Errors
/// See [`RecoveryError`]; the store is of no use then.
///
/// ```
/// use osprey_core::checksum::crc32c;
/// use osprey_core::recovery::recover;
/// use osprey_core::storage::ChunkBytes;
/// use osprey_core::store::Store;
/// use osprey_core::units::Version;
/// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
/// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
/// # while engine.drive(&mut storage)? {}
///
/// for _ in 0..3 {
///     engine.incr(Millis(1_000), b"visits", 1).result?;
/// }
/// while engine.drive(&mut storage)? {}
///
/// // As a tool does, without an engine.
/// let mut store = Store::new([7; 16])?;
/// let recovered = recover(&mut storage, &mut store, crc32c, ChunkBytes::default(), &mut |_| ())?;
/// assert_eq!((recovered.report.frames, recovered.report.records), (1, 3));
/// let visits = store.lookup(store.hash(b"visits"), b"visits", Millis(1_000));
/// assert_eq!(visits.live().map(|record| (record.value, record.version)), Some((&b"3"[..], Version(3))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn recover(
    files: &mut impl LogFiles,
    store: &mut Store,
    checksum: Checksum,
    chunk: ChunkBytes,
    progress: &mut dyn FnMut(Progress),
) -> Result<Recovered, RecoveryError> {
    let none = |error| RecoveryError::Storage(None, error);
    let mut segments = files.segments().map_err(none)?;
    segments.sort_unstable();
    let mut listed = files.snapshots().map_err(none)?;
    listed.sort_unstable();
    let mut snapshots = Vec::new();
    snapshots.try_reserve(listed.len()).map_err(|_| RecoveryError::OutOfMemory)?;
    snapshots.extend(listed.into_iter().map(|(name, bytes)| SnapshotInfo { name, bytes, unusable: false }));
    let mut log = Log {
        files,
        store,
        checksum,
        chunk,
        buffer: Vec::new(),
        segments: Vec::new(),
        older: Vec::new(),
        epoch_before: None,
        snapshots,
        base: Base::default(),
        time: Millis(0),
        cut_at: None,
        report: Report::default(),
        progress,
        reached: Progress::default(),
    };
    log.segments.try_reserve(segments.len()).map_err(|_| RecoveryError::OutOfMemory)?;
    log.older.try_reserve(segments.len()).map_err(|_| RecoveryError::OutOfMemory)?;
    log.choose(&segments)?;
    log.replay()
}

struct Segment {
    header: SegmentHeader,
    length: u64,
}

/// What the log is replayed on: a snapshot, or nothing.
#[derive(Clone, Copy, Default)]
struct Base {
    begin: Lsn,
    epoch: u64,
    database: Option<DatabaseId>,
}

struct Log<'a, F> {
    files: &'a mut F,
    store: &'a mut Store,
    checksum: Checksum,
    chunk: ChunkBytes,
    /// What is read from segments goes through it, while nobody has it.
    buffer: Vec<u8>,
    /// Those that are replayed, in order.
    segments: Vec<Segment>,
    /// Those before them, which nobody needs to read.
    older: Vec<SegmentInfo>,
    /// The epoch of the last of them.
    epoch_before: Option<u64>,
    snapshots: Vec<SnapshotInfo>,
    base: Base,
    time: Millis,
    cut_at: Option<(SegmentNumber, u64)>,
    report: Report,
    progress: &'a mut dyn FnMut(Progress),
    reached: Progress,
}
