//! From the log's segments to a store, or a clear refusal.
//!
//! Segments are read in order along one unbroken chain. At the first frame that doesn't continue it, everything behind is
//! asked whether that position had been **durable**: every later frame and header names what was when it was written.
//! If any does, synced data is damaged, and recovery refuses, naming the place. If none does, a crash has torn the tail of what was never
//! promised: it is cut and reported. Nothing is changed before the whole log has been read.

use alloc::vec::Vec;
use core::fmt;

use crate::checksum::Checksum;
use crate::museum::planted;
use crate::record::{Kind, OutOfMemory};
use crate::storage::{LogFiles, SegmentNumber, StorageError};
use crate::store::Store;
use crate::units::{Lsn, Millis, Version};
use crate::wal::frame::Records;
use crate::wal::reader::{Frame, ReadError, SegmentReader, Tail};
use crate::wal::segment::{DatabaseId, HEADER_USED_BYTES, HeaderError, SegmentHeader};
use crate::wal::writer::LogPosition;

/// What recovery found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Segments read.
    pub segments: u64,
    /// Their bytes, headers and frames.
    pub bytes: u64,
    /// Frames read.
    pub frames: u64,
    /// Records replayed.
    pub records: u64,
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
            Self::Malformed { segment, offset } => {
                write!(f, "{segment}: the frame at byte {offset} is whole, but holds records that this version cannot read")
            }
        }
    }
}

impl core::error::Error for RecoveryError {}

/// What a log says beside its data.
#[derive(Clone, Copy, Debug)]
pub struct Recovered {
    /// Where it goes on.
    pub position: LogPosition,
    /// Its database; `None` for one that is new.
    pub database: Option<DatabaseId>,
    /// The epoch of the last run.
    pub epoch: u64,
    /// For people.
    pub report: Report,
}

/// Reads the whole log into `store`, then cuts a torn tail and makes what is left durable.
///
/// # Errors
/// See [`RecoveryError`]; the store is of no use then.
pub fn recover(files: &mut impl LogFiles, store: &mut Store, checksum: Checksum) -> Result<Recovered, RecoveryError> {
    let mut segments = files.segments().map_err(|error| RecoveryError::Storage(None, error))?;
    segments.sort_unstable();
    let mut log = Log { files, store, checksum, segments: Vec::new(), time: Millis(0), cut_at: None, report: Report::default() };
    log.segments.try_reserve(segments.len()).map_err(|_| RecoveryError::OutOfMemory)?;
    for (number, length) in segments {
        log.open(number, length)?;
    }
    log.replay()
}

struct Segment {
    header: SegmentHeader,
    length: u64,
}

struct Log<'a, F> {
    files: &'a mut F,
    store: &'a mut Store,
    checksum: Checksum,
    segments: Vec<Segment>,
    time: Millis,
    cut_at: Option<(SegmentNumber, u64)>,
    report: Report,
}

impl<F: LogFiles> Log<'_, F> {
    /// Checks that a segment is what its name says, and follows the one before.
    fn open(&mut self, number: SegmentNumber, length: u64) -> Result<(), RecoveryError> {
        let mut bytes = [0; HEADER_USED_BYTES];
        let read = self.files.read(number, 0, &mut bytes).map_err(|error| RecoveryError::Storage(Some(number), error))?;
        let bytes = bytes.get(..read).unwrap_or_default();
        let header = SegmentHeader::decode(bytes, self.checksum).map_err(|error| RecoveryError::Header(number, error))?;
        if header.number != number {
            return Err(RecoveryError::Misnamed { segment: number, header: header.number });
        }
        let expected = match self.segments.last() {
            None if header.first_lsn == Lsn(1) && header.chain == 0 => number,
            None => return Err(RecoveryError::Missing(SegmentNumber(number.0.saturating_sub(1)))),
            Some(before) => before.header.number.next(),
        };
        if number != expected {
            return Err(RecoveryError::Missing(expected));
        }
        if let Some(first) = self.segments.first().filter(|first| first.header.database != header.database) {
            return Err(RecoveryError::OtherDatabase { segment: number, expected: first.header.database, found: header.database });
        }
        self.segments.push(Segment { header, length });
        Ok(())
    }

    fn replay(mut self) -> Result<Recovered, RecoveryError> {
        let mut tail = Tail { next_lsn: Lsn(1), chain: 0 };
        let mut next_segment = SegmentNumber(1);
        let mut keep = self.segments.len();
        // The last frame's checksum before the segment that was read last.
        let mut follows = 0;
        for at in 0..self.segments.len() {
            let Some(&Segment { header, length }) = self.segments.get(at) else { break };
            // A segment without a record is replaced, so that starting a server often doesn't fill the directory.
            let before = tail.next_lsn;
            let reader = self.replay_segment(&header, length, &mut tail)?;
            self.report.bytes += reader.end();
            next_segment = if tail.next_lsn == before || planted("segment_reused") { header.number } else { header.number.next() };
            let next = self.segments.get(at + 1).map(|next| next.header);
            self.report.sealed = reader.sealed() && next.is_none();
            if self.report.sealed {
                continue;
            }
            if let Some(next) = next.filter(|next| next.first_lsn == tail.next_lsn) {
                // A SEAL holds no record: where it alone is missing, nothing is, and the next segment's header names its checksum.
                let only_unsealed = !reader.sealed() && next.epoch == header.epoch;
                if next.chain == tail.chain || only_unsealed {
                    follows = tail.chain;
                    tail.chain = next.chain;
                    continue;
                }
            }
            self.judge_tail(at, reader, tail)?;
            keep = at + 1;
            break;
        }
        self.cut(keep)?;
        if self.segments.last().is_some_and(|last| last.header.number == next_segment) && !planted("chain_of_replaced_segment") {
            tail.chain = follows;
        }
        Ok(Recovered {
            position: LogPosition { next_segment, last_lsn: Lsn(tail.next_lsn.0 - 1), chain: tail.chain, time: self.time },
            database: self.segments.first().map(|first| first.header.database),
            epoch: self.segments.last().map_or(0, |last| last.header.epoch),
            report: self.report,
        })
    }

    fn replay_segment(&mut self, header: &SegmentHeader, length: u64, tail: &mut Tail) -> Result<SegmentReader, RecoveryError> {
        self.report.segments += 1;
        self.learn(header.time, header.floor);
        let mut reader = SegmentReader::new(header.number, length, header.salt, self.checksum);
        loop {
            let next = reader.next(self.files, tail).map_err(|error| read_error(header.number, error))?;
            let Some(Frame { header: frame, offset, payload }) = next else { return Ok(reader) };
            self.report.frames += 1;
            let malformed = RecoveryError::Malformed { segment: header.number, offset };
            let mut records = 0;
            for record in Records(payload) {
                let record = record.map_err(|_| malformed)?;
                records += 1;
                self.store.replay(&record).map_err(|OutOfMemory| RecoveryError::OutOfMemory)?;
                debug_assert!(record.kind != Kind::Mark || record.key.is_empty());
            }
            if records != frame.records {
                return Err(malformed);
            }
            self.report.records += u64::from(records);
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
        let mut claimed = remainder.claimed;
        let mut bytes = remainder.bytes;
        for segment in later {
            let number = segment.header.number;
            claimed = claimed.max(if segment.header.epoch == header.epoch {
                segment.header.durable
            } else {
                // A new run begins by making durable all that it has recovered.
                Lsn(segment.header.first_lsn.0.saturating_sub(1))
            });
            let mut reader = SegmentReader::new(number, segment.length, segment.header.salt, self.checksum);
            let first = reader.end();
            let remainder = reader.remainder(self.files, first).map_err(|error| read_error(number, error))?;
            claimed = claimed.max(remainder.claimed);
            bytes = bytes.saturating_add(remainder.bytes);
        }
        let other_epoch = later.iter().any(|segment| segment.header.epoch != header.epoch);
        // A crash tears a segment before its SEAL, never between a SEAL and the segment that continues it.
        let sealed = reader.sealed() && !later.is_empty();
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
