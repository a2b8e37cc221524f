//! What recovery asks of storage: plain calls, any of which may be the last before the machine goes down again.

use osprey_core::storage::{LogFiles, SegmentNumber, SnapshotName, StorageError};

use super::Disk;
use super::names::Name;
use crate::museum::planted;

/// Lets so many steps of recovery happen, and no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fuse {
    /// Steps that change something: of a cut, a removal, a sync.
    pub changes_left: Option<u32>,
    /// Reads; one that fails has changed nothing.
    pub reads_left: Option<u32>,
    /// It has burnt down: nothing works any more.
    pub burnt: bool,
    /// During what.
    pub during: Option<Step>,
}

/// A step of recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reading the log.
    Read,
    /// Loading a snapshot.
    Load,
    /// Cutting a segment.
    Truncate,
    /// Removing one.
    Remove,
    /// Syncing.
    Sync,
}

const BURNT: StorageError = StorageError::Io(Some(5));

impl Fuse {
    fn change(&mut self, during: Step) -> Result<(), StorageError> {
        Self::burn(&mut self.changes_left, &mut self.burnt, &mut self.during, during)
    }

    fn read(&mut self, during: Step) -> Result<(), StorageError> {
        Self::burn(&mut self.reads_left, &mut self.burnt, &mut self.during, during)
    }

    fn burn(left: &mut Option<u32>, burnt: &mut bool, during: &mut Option<Step>, step: Step) -> Result<(), StorageError> {
        match left {
            Some(0) => {
                during.get_or_insert(step);
                *burnt = true;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        if *burnt { Err(BURNT) } else { Ok(()) }
    }
}

impl Disk {
    fn named(&mut self, segment: SegmentNumber) -> Result<usize, StorageError> {
        self.names.get(Name::Segment(segment.0)).ok_or(StorageError::Io(Some(2)))
    }
}

impl LogFiles for Disk {
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
        Ok(Self::segments(self).map(|(number, bytes)| (SegmentNumber(number), bytes.len() as u64)).collect())
    }

    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        self.fuse.read(Step::Read)?;
        let file = self.named(segment)?;
        Ok(read_at(self.files[file].data(), offset, buffer))
    }

    fn truncate(&mut self, segment: SegmentNumber, length: u64) -> Result<(), StorageError> {
        let file = self.named(segment)?;
        self.fuse.change(Step::Truncate)?;
        self.files[file].truncate(usize::try_from(length).unwrap_or(usize::MAX));
        self.fuse.change(Step::Truncate)?;
        self.files[file].begin_sync();
        self.files[file].end_sync();
        Ok(())
    }

    fn remove(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.named(segment)?;
        self.fuse.change(Step::Remove)?;
        self.names.take(Name::Segment(segment.0));
        self.fuse.change(Step::Remove)?;
        self.names.sync();
        Ok(())
    }

    fn sync(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        let file = self.named(segment)?;
        self.fuse.change(Step::Sync)?;
        self.files[file].begin_sync();
        self.files[file].end_sync();
        if !planted("recovered_name_unsynced") {
            self.names.sync();
        }
        Ok(())
    }

    fn snapshots(&mut self) -> Result<Vec<(SnapshotName, u64)>, StorageError> {
        Ok(self.names.snapshots().map(|(name, file)| (name, self.files[file].data().len() as u64)).collect())
    }

    fn read_snapshot(&mut self, name: SnapshotName, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        self.fuse.read(Step::Load)?;
        let file = self.names.get(Name::Snapshot(name)).ok_or(StorageError::Io(Some(2)))?;
        Ok(read_at(self.files[file].data(), offset, buffer))
    }
}

fn read_at(file: &[u8], offset: u64, buffer: &mut [u8]) -> usize {
    let rest = usize::try_from(offset).ok().and_then(|offset| file.get(offset..)).unwrap_or_default();
    let len = rest.len().min(buffer.len());
    buffer[..len].copy_from_slice(&rest[..len]);
    len
}
