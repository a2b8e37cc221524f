//! The log's segments, and snapshots to recover from, in memory, without faults: everything is done at once and nothing is lost.
//!
//! Uses `alloc` only, so that the proof in `tests/no_std` runs on it too.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use osprey_core::storage::{LogFiles, SegmentNumber, SnapshotName, StorageError, StorageOp};

/// Segments by number, and snapshots by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryLog(pub BTreeMap<SegmentNumber, Vec<u8>>, pub BTreeMap<SnapshotName, Vec<u8>>);

const MISSING: StorageError = StorageError::Io(None);

impl MemoryLog {
    /// Does an operation.
    ///
    /// # Errors
    /// It is about a segment that was not started: the engine's fault.
    pub fn execute(&mut self, op: &StorageOp) -> Result<(), StorageError> {
        match op {
            StorageOp::Reserve { .. } => {}
            StorageOp::Start { segment, header } => drop(self.0.insert(*segment, header.clone())),
            // Nobody asks for one here.
            StorageOp::Snapshot(_) => return Err(MISSING),
            StorageOp::Append { segment, offset, data, .. } => {
                let file = self.0.get_mut(segment).ok_or(MISSING)?;
                file.resize(usize::try_from(*offset).map_err(|_| StorageError::NoSpace)?, 0);
                file.extend_from_slice(data);
            }
            StorageOp::Sync { segment, .. } => drop(self.0.get(segment).ok_or(MISSING)?),
        }
        Ok(())
    }
}

impl LogFiles for MemoryLog {
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
        Ok(self.0.iter().map(|(&number, file)| (number, file.len() as u64)).collect())
    }

    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let file = self.0.get(&segment).ok_or(MISSING)?;
        Ok(read_at(file, offset, buffer))
    }

    fn truncate(&mut self, segment: SegmentNumber, length: u64) -> Result<(), StorageError> {
        let file = self.0.get_mut(&segment).ok_or(MISSING)?;
        file.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(())
    }

    fn remove(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.0.remove(&segment).map(drop).ok_or(MISSING)
    }

    fn sync(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.0.get(&segment).map(|_| ()).ok_or(MISSING)
    }

    fn snapshots(&mut self) -> Result<Vec<(SnapshotName, u64)>, StorageError> {
        Ok(self.1.iter().map(|(&name, file)| (name, file.len() as u64)).collect())
    }

    fn read_snapshot(&mut self, name: SnapshotName, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        Ok(read_at(self.1.get(&name).ok_or(MISSING)?, offset, buffer))
    }
}

fn read_at(file: &[u8], offset: u64, buffer: &mut [u8]) -> usize {
    let rest = usize::try_from(offset).ok().and_then(|offset| file.get(offset..)).unwrap_or_default();
    let len = rest.len().min(buffer.len());
    buffer[..len].copy_from_slice(&rest[..len]);
    len
}
