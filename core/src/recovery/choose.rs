//! Where to begin: the newest snapshot that is whole, and the segments behind it.

use super::{Base, Log, Progress, RecoveryError, Segment, SegmentInfo, SnapshotInfo};
use crate::museum::planted;
use crate::snapshot::{Footer, Header, SnapshotError, SnapshotReader};
use crate::storage::{LogFiles, SegmentNumber, SnapshotName, StorageError};
use crate::store::Store;
use crate::units::{Lsn, Millis};
use crate::wal::segment::{DatabaseId, HEADER_USED_BYTES, SegmentHeader};

impl<F: LogFiles> Log<'_, F> {
    /// Loads the newest snapshot that is of use, and finds the segments behind it.
    pub(super) fn choose(&mut self, segments: &[(SegmentNumber, u64)]) -> Result<(), RecoveryError> {
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
        let buffer = core::mem::take(&mut self.snapshot_buffer);
        let Self { files, store, segments, progress, reached, .. } = self;
        let read = |offset, buffer: &mut [u8]| files.read_snapshot(name, offset, buffer);
        let mut reader = SnapshotReader::new(read, self.checksum).with_chunk(self.chunk).within(buffer);
        let database = segments.first().map(|segment| segment.header.database);
        let loaded = load_entries(&mut reader, name, length, database, store, |bytes, keys| {
            (reached.bytes, reached.keys) = (bytes, keys);
            progress(*reached);
        });
        self.snapshot_buffer = reader.into_buffer();
        let (Header { begin, database, epoch, .. }, footer) = loaded?;
        if !planted("snapshot_floor_lost") {
            self.store.raise_floor(footer.floor);
        }
        if !planted("snapshot_time_lost") {
            self.time = footer.time;
        }
        let begin = if planted("replayed_from_the_end") { footer.end } else { begin };
        self.base = Base { begin, epoch, database: Some(database) };
        Ok(())
    }
}

/// Puts a snapshot's entries into the store, if it is what its name says and of this database.
fn load_entries<R: FnMut(u64, &mut [u8]) -> Result<usize, StorageError>>(
    reader: &mut SnapshotReader<R>,
    name: SnapshotName,
    length: u64,
    expected: Option<DatabaseId>,
    store: &mut Store,
    mut reached: impl FnMut(u64, u64),
) -> Result<(Header, Footer), SnapshotError> {
    let header = reader.header()?;
    if header.begin != name.begin {
        return Err(SnapshotError::Misnamed);
    }
    if expected.is_some_and(|expected| expected != header.database) {
        return Err(SnapshotError::OtherDatabase);
    }
    while let Some(block) = reader.next_block()? {
        store.replay(block.records())?;
        reached(reader.reached().0, store.len() as u64);
    }
    let footer = *reader.footer().ok_or(SnapshotError::Truncated(length))?;
    if footer.end != name.end {
        return Err(SnapshotError::Misnamed);
    }
    Ok((header, footer))
}
