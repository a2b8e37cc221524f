//! From a snapshot and the log's segments to a store, or a clear refusal.
//!
//! The newest snapshot that is whole is loaded, and the log replayed behind it; where the newest isn't, the one before serves, with more of the log, and the
//! report says so. Segments are read in order along one unbroken chain. At the first frame that doesn't continue it, everything behind is
//! asked whether that position had been **durable**: every later frame and header names what was when it was written.
//! If any does, synced data is damaged, and recovery refuses, naming the place. If none does, a crash has torn the tail of what was never
//! promised: it is cut and reported. Nothing is changed before the whole log has been read.

use alloc::vec::Vec;
use core::fmt;

use crate::checksum::Checksum;
use crate::museum::planted;
use crate::record::OutOfMemory;
use crate::snapshot::{Header, SnapshotError, SnapshotReader};
use crate::storage::{ChunkBytes, LogFiles, SegmentNumber, SnapshotName, StorageError};
use crate::store::Store;
use crate::units::{Lsn, Millis, Version};
use crate::wal::frame::Records;
use crate::wal::reader::{Frame, ReadError, SegmentReader, Tail};
use crate::wal::segment::{DatabaseId, HEADER_USED_BYTES, HeaderError, SegmentHeader};
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

/// Why a log can't be recovered. Nothing was changed.
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

/// What a directory says beside its data.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that were read, of the snapshot and the log.
    pub bytes: u64,
    /// Bytes that there are to read.
    pub bytes_total: u64,
    /// Keys that are there so far.
    pub keys: u64,
}

/// Reads a snapshot and the log behind it into `store`, `chunk` bytes at a time, then cuts a torn tail and makes what is left durable. Tells `progress` now and then how far
/// it is.
///
/// # Errors
/// See [`RecoveryError`]; the store is of no use then.
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

impl<F: LogFiles> Log<'_, F> {
    /// Loads the newest snapshot that is of use, and finds the segments behind it.
    fn choose(&mut self, segments: &[(SegmentNumber, u64)]) -> Result<(), RecoveryError> {
        for at in (0..self.snapshots.len()).rev() {
            let at = if planted("oldest_snapshot_first") { self.snapshots.len() - 1 - at } else { at };
            let Some(&SnapshotInfo { name, bytes, .. }) = self.snapshots.get(at) else { break };
            // Before it is loaded: with a gap behind it all of that would be for nothing.
            let tried = match self.open_from(segments, name.begin) {
                Ok(()) => self.load(name, bytes),
                Err(RecoveryError::Missing(_)) => Err(SnapshotError::LogMissing),
                Err(error) => return Err(error),
            };
            let Err(error) = tried else {
                self.report.snapshot = Some((name, self.store.len() as u64));
                return Ok(());
            };
            match error {
                SnapshotError::Storage(error) => return Err(RecoveryError::Storage(None, error)),
                SnapshotError::OutOfMemory => return Err(RecoveryError::OutOfMemory),
                _ => {}
            }
            self.report.unusable.get_or_insert((name, error));
            self.snapshots.iter_mut().filter(|snapshot| snapshot.name == name).for_each(|snapshot| snapshot.unusable = true);
            self.store.clear();
            (self.base, self.time) = (Base::default(), Millis(0));
        }
        match (self.open_from(segments, Lsn(0)), self.report.unusable) {
            (Err(RecoveryError::Missing(_)), Some((name, error))) => Err(RecoveryError::Snapshot(name, error)),
            (opened, _) => opened,
        }
    }

    /// Opens the segments from the last one that begins at the record behind `begin` or before, on.
    fn open_from(&mut self, segments: &[(SegmentNumber, u64)], begin: Lsn) -> Result<(), RecoveryError> {
        self.segments.clear();
        self.older.clear();
        self.epoch_before = None;
        let wanted = Lsn(begin.0.saturating_add(1));
        for (at, &(number, length)) in segments.iter().enumerate().rev() {
            let header = self.header(number)?;
            if let Some(behind) = self.segments.last().map(|behind| behind.header) {
                let expected = number.next();
                if behind.number != expected {
                    return Err(RecoveryError::Missing(SegmentNumber(behind.number.0.saturating_sub(1))));
                }
                if behind.database != header.database {
                    return Err(RecoveryError::OtherDatabase { segment: behind.number, expected: header.database, found: behind.database });
                }
            }
            self.segments.push(Segment { header, length });
            let is_first = header.first_lsn == Lsn(1) && header.chain == 0;
            if header.first_lsn <= wanted && (begin > Lsn(0) || is_first) {
                self.segments.reverse();
                let (before, _) = segments.split_at(at);
                return self.note_older(before, &header);
            }
        }
        match self.segments.last() {
            None if begin == Lsn(0) => Ok(()),
            None => Err(RecoveryError::Missing(SegmentNumber(1))),
            Some(first) => Err(RecoveryError::Missing(SegmentNumber(first.header.number.0.saturating_sub(1)))),
        }
    }

    /// Segments that aren't needed any more may be damaged: what isn't known of them is taken from the one that is needed.
    fn note_older(&mut self, before: &[(SegmentNumber, u64)], first: &SegmentHeader) -> Result<(), RecoveryError> {
        for &(number, bytes) in before {
            let SegmentHeader { first_lsn, time, epoch, .. } = match self.header(number) {
                Ok(header) if header.first_lsn <= first.first_lsn => header,
                Err(error @ RecoveryError::Storage(..)) => return Err(error),
                _ => *first,
            };
            self.epoch_before = Some(epoch);
            self.older.push(SegmentInfo { number, first_lsn, time, bytes });
        }
        Ok(())
    }

    /// A segment's header, if it is what its name says.
    fn header(&mut self, number: SegmentNumber) -> Result<SegmentHeader, RecoveryError> {
        let mut bytes = [0; HEADER_USED_BYTES];
        let read = self.files.read(number, 0, &mut bytes).map_err(|error| RecoveryError::Storage(Some(number), error))?;
        let bytes = bytes.get(..read).unwrap_or_default();
        let header = SegmentHeader::decode(bytes, self.checksum).map_err(|error| RecoveryError::Header(number, error))?;
        if header.number != number {
            return Err(RecoveryError::Misnamed { segment: number, header: header.number });
        }
        Ok(header)
    }

    /// Loads a snapshot. If it isn't whole, what it has left in the store is of no use.
    fn load(&mut self, name: SnapshotName, length: u64) -> Result<(), SnapshotError> {
        let log_bytes: u64 = self.segments.iter().map(|segment| segment.length).sum();
        self.reached = Progress { bytes: 0, bytes_total: length.saturating_add(log_bytes), keys: 0 };
        let Self { files, store, segments, progress, reached, .. } = self;
        let read = |offset, buffer: &mut [u8]| files.read_snapshot(name, offset, buffer);
        let mut reader = SnapshotReader::new(read, self.checksum).with_chunk(self.chunk);
        let Header { begin, database, epoch, .. } = reader.header()?;
        if begin != name.begin {
            return Err(SnapshotError::Misnamed);
        }
        if segments.first().is_some_and(|segment| segment.header.database != database) {
            return Err(SnapshotError::OtherDatabase);
        }
        while let Some(block) = reader.next_block()? {
            store.replay(block.records())?;
            (reached.bytes, reached.keys) = (reader.reached().0, store.len() as u64);
            progress(*reached);
        }
        let footer = *reader.footer().ok_or(SnapshotError::Truncated(length))?;
        if footer.end != name.end {
            return Err(SnapshotError::Misnamed);
        }
        if !planted("snapshot_floor_lost") {
            store.raise_floor(footer.floor);
        }
        if !planted("snapshot_time_lost") {
            self.time = footer.time;
        }
        let begin = if planted("replayed_from_the_end") { footer.end } else { begin };
        self.base = Base { begin, epoch, database: Some(database) };
        Ok(())
    }

    fn replay(mut self) -> Result<Recovered, RecoveryError> {
        let first = self.segments.first().map(|first| first.header);
        let mut tail = first.map_or(Tail { next_lsn: Lsn(self.base.begin.0 + 1), chain: 0 }, |first| Tail {
            next_lsn: first.first_lsn,
            chain: first.chain,
        });
        // Behind what the snapshot had, if there is one.
        let log_bytes: u64 = self.segments.iter().map(|segment| segment.length).sum();
        self.reached.bytes_total = self.reached.bytes.saturating_add(log_bytes);
        let mut passed = self.reached.bytes;
        let mut next_segment = SegmentNumber(1);
        let mut keep = self.segments.len();
        // The last frame's checksum before the segment that was read last.
        let mut follows = tail.chain;
        for at in 0..self.segments.len() {
            let Some(&Segment { header, length }) = self.segments.get(at) else { break };
            let before = tail.next_lsn;
            let reader = self.replay_segment(&header, length, &mut tail)?;
            self.report.bytes += reader.end();
            // Its header and what was reserved behind its end, too.
            passed = passed.saturating_add(length);
            self.reached.bytes = passed;
            // A segment without a record is replaced, so that starting a server often doesn't fill the directory. Not where the one before is of the same epoch and
            // wasn't read: its SEAL may be lost, and then only a header of that epoch says how the chain goes on.
            let replaced = tail.next_lsn == before && (at > 0 || self.epoch_before != Some(header.epoch));
            next_segment = if replaced || planted("segment_reused") { header.number } else { header.number.next() };
            let next = self.segments.get(at + 1).map(|next| next.header);
            self.report.sealed = reader.sealed() && next.is_none();
            if self.report.sealed {
                self.buffer = reader.into_buffer();
                continue;
            }
            if let Some(next) = next.filter(|next| next.first_lsn == tail.next_lsn) {
                // A SEAL holds no record: where it alone is missing, nothing is, and the next segment's header names its checksum.
                let only_unsealed = !reader.sealed() && next.epoch == header.epoch;
                if next.chain == tail.chain || only_unsealed {
                    follows = tail.chain;
                    tail.chain = next.chain;
                    self.buffer = reader.into_buffer();
                    continue;
                }
            }
            self.judge_tail(at, reader, tail)?;
            keep = at + 1;
            break;
        }
        self.check_reach(tail)?;
        self.cut(keep)?;
        if self.segments.last().is_some_and(|last| last.header.number == next_segment) && !planted("chain_of_replaced_segment") {
            tail.chain = follows;
        }
        let mut segments = core::mem::take(&mut self.older);
        let cut_at = self.cut_at;
        segments.extend(self.segments.iter().map(|&Segment { header, length }| SegmentInfo {
            number: header.number,
            first_lsn: header.first_lsn,
            time: header.time,
            bytes: cut_at.filter(|(number, _)| *number == header.number).map_or(length, |(_, cut)| cut),
        }));
        Ok(Recovered {
            position: LogPosition { next_segment, last_lsn: Lsn(tail.next_lsn.0 - 1), chain: tail.chain, time: self.time },
            database: self.segments.first().map(|first| first.header.database).or(self.base.database),
            epoch: self.segments.last().map_or(0, |last| last.header.epoch).max(self.base.epoch),
            segments,
            snapshots: self.snapshots,
            report: self.report,
        })
    }

    /// A snapshot is only published when the log is durable as far as its name says: that is a claim as good as a frame's, also of one that is damaged.
    fn claimed_by_snapshots(&self) -> Lsn {
        let claims = self.snapshots.iter().filter(|_| !planted("snapshot_claims_nothing"));
        claims.map(|snapshot| snapshot.name.end).max().unwrap_or_default()
    }

    /// Without the log up to S1 the entries of a snapshot are not of one moment.
    fn check_reach(&self, tail: Tail) -> Result<(), RecoveryError> {
        let claimed = self.claimed_by_snapshots();
        if claimed < tail.next_lsn {
            return Ok(());
        }
        let last = self.segments.last();
        Err(RecoveryError::Corrupt {
            segment: last.map_or(SegmentNumber(1), |last| last.header.number),
            offset: last.map_or(0, |last| last.length),
            first_lsn: tail.next_lsn,
            last_lsn: claimed,
        })
    }

    fn reader(&mut self, header: &SegmentHeader, length: u64) -> SegmentReader {
        let buffer = core::mem::take(&mut self.buffer);
        SegmentReader::new(header.number, length, header.salt, self.checksum).with_buffer(self.chunk, buffer)
    }

    fn replay_segment(&mut self, header: &SegmentHeader, length: u64, tail: &mut Tail) -> Result<SegmentReader, RecoveryError> {
        self.report.segments += 1;
        self.learn(header.time, header.floor);
        let mut reader = self.reader(header, length);
        loop {
            let next = reader.next(self.files, tail).map_err(|error| read_error(header.number, error))?;
            let Some(Frame { header: frame, offset, payload }) = next else { return Ok(reader) };
            self.report.frames += 1;
            let malformed = RecoveryError::Malformed { segment: header.number, offset };
            // What a snapshot holds already would take its entries back to an earlier state, if only for a while.
            let held = (self.base.begin.0 + 1).saturating_sub(frame.first_lsn.0).min(u64::from(frame.records));
            let mut records = 0_u32;
            let mut well_formed = true;
            let decoded = Records(payload).map_while(|record| {
                well_formed &= record.is_ok();
                records = records.saturating_add(1);
                record.ok()
            });
            let held_records = usize::try_from(held).map_err(|_| malformed)?;
            self.store.replay(decoded.skip(held_records)).map_err(|OutOfMemory| RecoveryError::OutOfMemory)?;
            if !well_formed || records != frame.records {
                return Err(malformed);
            }
            let replayed = u64::from(frame.records) - held;
            self.report.records += replayed;
            if replayed > 0 {
                self.report.replayed_bytes += frame.frame_len();
            }
            self.reached.bytes += frame.frame_len();
            self.reached.keys = self.store.len() as u64;
            (self.progress)(self.reached);
            if !planted("version_restart") {
                self.store.raise_floor(frame.floor);
            }
            self.time = self.time.max(frame.time);
        }
    }

    fn learn(&mut self, time: Millis, floor: Version) {
        self.time = self.time.max(time);
        self.store.raise_floor(floor);
    }

    /// Decides whether what follows the last good frame of segment `at` is a torn tail, to be cut, or damage.
    fn judge_tail(&mut self, at: usize, mut reader: SegmentReader, tail: Tail) -> Result<(), RecoveryError> {
        let (_, rest) = self.segments.split_at(at);
        let Some((Segment { header, .. }, later)) = rest.split_first() else { return Ok(()) };
        let header_number = header.number;
        let end = reader.end();
        let remainder = reader.remainder(self.files, end).map_err(|error| read_error(header.number, error))?;
        let mut claimed = remainder.claimed.max(self.claimed_by_snapshots());
        let mut bytes = remainder.bytes;
        let sealed = reader.sealed() && !later.is_empty();
        let mut buffer = reader.into_buffer();
        for segment in later {
            let number = segment.header.number;
            claimed = claimed.max(if segment.header.epoch == header.epoch {
                segment.header.durable
            } else {
                // A new run begins by making durable all that it has recovered.
                Lsn(segment.header.first_lsn.0.saturating_sub(1))
            });
            let reader = SegmentReader::new(number, segment.length, segment.header.salt, self.checksum);
            let mut reader = reader.with_buffer(self.chunk, buffer);
            let first = reader.end();
            let remainder = reader.remainder(self.files, first).map_err(|error| read_error(number, error))?;
            claimed = claimed.max(remainder.claimed);
            bytes = bytes.saturating_add(remainder.bytes);
            buffer = reader.into_buffer();
        }
        let other_epoch = later.iter().any(|segment| segment.header.epoch != header.epoch);
        // A crash tears a segment before its SEAL, never between a SEAL and the segment that continues it.
        let promised = claimed >= tail.next_lsn && !planted("damage_cut_as_torn");
        if promised || other_epoch || sealed {
            if planted("cut_before_refused") {
                let _ = self.files.truncate(header_number, end);
            }
            let last_lsn = claimed.max(tail.next_lsn);
            return Err(RecoveryError::Corrupt { segment: header.number, offset: end, first_lsn: tail.next_lsn, last_lsn });
        }
        let segments_removed = later.len() as u64;
        if bytes > 0 || segments_removed > 0 {
            self.report.torn = Some(TornTail { segment: header_number, offset: end, bytes, segments_removed });
        }
        if self.segments.get(at).is_some_and(|segment| segment.length > end) && !planted("torn_tail_left") {
            self.cut_at = Some((header_number, end));
        }
        Ok(())
    }

    /// Removes the segments from `keep` on, the last one first, so that a crash meanwhile leaves a log that is judged the same;
    /// then cuts the torn segment, and makes all that the last run may have left unsynced durable.
    fn cut(&mut self, keep: usize) -> Result<(), RecoveryError> {
        while self.segments.len() > keep {
            let Some(last) = self.segments.pop() else { break };
            let number = last.header.number;
            self.files.remove(number).map_err(|error| RecoveryError::Storage(Some(number), error))?;
        }
        // Also where nothing was torn: space that was set aside for the segment isn't needed any more.
        if let Some((number, length)) = self.cut_at {
            self.files.truncate(number, length).map_err(|error| RecoveryError::Storage(Some(number), error))?;
        }
        let epoch = self.segments.last().map_or(0, |last| last.header.epoch);
        for segment in self.segments.iter().filter(|segment| segment.header.epoch == epoch && !planted("recovered_unsynced")) {
            let number = segment.header.number;
            self.files.sync(number).map_err(|error| RecoveryError::Storage(Some(number), error))?;
        }
        Ok(())
    }
}

fn read_error(segment: SegmentNumber, error: ReadError) -> RecoveryError {
    match error {
        ReadError::Storage(error) => RecoveryError::Storage(Some(segment), error),
        ReadError::OutOfMemory => RecoveryError::OutOfMemory,
    }
}
