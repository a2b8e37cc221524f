//! A log in memory: the least that an engine needs for storage. Every operation is done at once, and nothing outlives the process.

use std::collections::BTreeMap;

use osprey_core::storage::{LogFiles, SegmentNumber, Storage, StorageDone, StorageError, StorageOp};

/// The bytes of each segment.
#[derive(Debug, Default)]
pub(crate) struct MemoryLog(pub(crate) BTreeMap<SegmentNumber, Vec<u8>>);

const MISSING: StorageError = StorageError::Io(None);

impl MemoryLog {
    fn segment(&mut self, number: SegmentNumber) -> Result<&mut Vec<u8>, StorageError> {
        self.0.get_mut(&number).ok_or(MISSING)
    }

    fn perform(&mut self, op: &StorageOp) -> Result<(), StorageError> {
        match op {
            // Memory has no space to set aside, and nothing to sync.
            StorageOp::Reserve { .. } => {}
            StorageOp::Sync { segment, .. } => drop(self.segment(*segment)?),
            StorageOp::Start { segment, header } => drop(self.0.insert(*segment, header.clone())),
            // Never asked for: `Options::snapshots` is `None`.
            StorageOp::Snapshot(_) => return Err(MISSING),
            StorageOp::Append { segment, offset, data, .. } => {
                let bytes = self.segment(*segment)?;
                bytes.resize(usize::try_from(*offset).map_err(|_| StorageError::NoSpace)?, 0);
                bytes.extend_from_slice(data);
            }
        }
        Ok(())
    }
}

/// What a running engine asks for.
impl Storage for MemoryLog {
    fn submit(&mut self, op: StorageOp) -> Option<StorageDone> {
        let result = self.perform(&op);
        Some(StorageDone { op, result })
    }

    fn poll(&mut self) -> Option<StorageDone> {
        None
    }
}

/// What recovery asks for.
impl LogFiles for MemoryLog {
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
        Ok(self.0.iter().map(|(&number, bytes)| (number, bytes.len() as u64)).collect())
    }

    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let bytes = self.segment(segment)?;
        let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn truncate(&mut self, segment: SegmentNumber, length: u64) -> Result<(), StorageError> {
        let length = usize::try_from(length).map_err(|_| StorageError::NoSpace)?;
        self.segment(segment)?.truncate(length);
        Ok(())
    }

    fn remove(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.0.remove(&segment).map(drop).ok_or(MISSING)
    }

    fn sync(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.segment(segment).map(drop)
    }
}
