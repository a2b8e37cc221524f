//! Storage in memory: for tests of what is built on this crate, and for data that need not outlive its process.

use alloc::vec::Vec;

use super::{LogFiles, SegmentNumber, SnapshotName, SnapshotOp, Storage, StorageDone, StorageError, StorageOp};

const MISSING: StorageError = StorageError::Io(None);

/// The log's segments and the snapshots, in memory. Every operation is done at once; there is nothing to sync, and no space to set aside.
///
/// A copy is what a crash would leave. It counts towards no limit, and grows as far as memory does.
///
/// ```
/// use osprey_core::storage::memory::MemoryStorage;
/// use osprey_core::storage::{LogFiles, SegmentNumber, Storage, StorageOp};
///
/// let mut storage = MemoryStorage::new();
/// let segment = SegmentNumber(1);
/// let started = storage.submit(StorageOp::Start { segment, header: vec![1, 2, 3] }).expect("done at once");
/// assert_eq!(started.result, Ok(()));
/// assert_eq!((storage.segments(), storage.bytes()), (Ok(vec![(segment, 3)]), 3));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStorage {
    segments: Vec<(SegmentNumber, Vec<u8>)>,
    snapshots: Vec<(SnapshotName, Vec<u8>)>,
    /// A snapshot that has no name yet.
    draft: Option<Vec<u8>>,
}

impl MemoryStorage {
    /// Storage with nothing in it.
    #[must_use]
    pub const fn new() -> Self {
        Self { segments: Vec::new(), snapshots: Vec::new(), draft: None }
    }

    /// What it takes, bytes, of segments and snapshots.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let segments = self.segments.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        segments + self.snapshots.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
    }

    fn segment(&mut self, number: SegmentNumber) -> Result<&mut Vec<u8>, StorageError> {
        find(&mut self.segments, number)
    }

    fn perform(&mut self, op: &mut StorageOp) -> Result<(), StorageError> {
        match op {
            StorageOp::Reserve { .. } => Ok(()),
            StorageOp::Start { segment, header } => {
                // A copy: an operation comes back whole.
                let mut bytes = Vec::new();
                write(&mut bytes, 0, header)?;
                put(&mut self.segments, *segment, bytes)
            }
            StorageOp::Append { segment, offset, data, .. } => write(self.segment(*segment)?, *offset, data),
            StorageOp::Sync { segment, .. } => self.segment(*segment).map(|_| ()),
            StorageOp::Snapshot(op) => self.perform_snapshot(op),
        }
    }

    fn perform_snapshot(&mut self, op: &mut SnapshotOp) -> Result<(), StorageError> {
        match op {
            SnapshotOp::Create { .. } => self.draft = Some(Vec::new()),
            SnapshotOp::Append { offset, data } => write(self.draft.as_mut().ok_or(MISSING)?, *offset, data)?,
            SnapshotOp::Publish { name } => {
                let draft = self.draft.take().ok_or(MISSING)?;
                put(&mut self.snapshots, *name, draft)?;
            }
            SnapshotOp::Discard => self.draft = None,
            SnapshotOp::Read { name, offset, buffer } => {
                let read = read(find(&mut self.snapshots, *name)?, *offset, buffer);
                buffer.truncate(read);
            }
            SnapshotOp::Remove { name } => self.snapshots.retain(|(other, _)| other != name),
            SnapshotOp::RemoveSegment { segment } => self.segments.retain(|(other, _)| other != segment),
        }
        Ok(())
    }
}

impl Storage for MemoryStorage {
    fn submit(&mut self, mut op: StorageOp) -> Option<StorageDone> {
        let result = self.perform(&mut op);
        Some(StorageDone { op, result })
    }

    fn poll(&mut self) -> Option<StorageDone> {
        None
    }
}

impl LogFiles for MemoryStorage {
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
        list(&self.segments)
    }

    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        Ok(read(self.segment(segment)?, offset, buffer))
    }

    fn truncate(&mut self, segment: SegmentNumber, length: u64) -> Result<(), StorageError> {
        let bytes = self.segment(segment)?;
        bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(())
    }

    fn remove(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.segment(segment)?;
        self.segments.retain(|(other, _)| *other != segment);
        Ok(())
    }

    fn sync(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.segment(segment).map(|_| ())
    }

    fn snapshots(&mut self) -> Result<Vec<(SnapshotName, u64)>, StorageError> {
        list(&self.snapshots)
    }

    fn read_snapshot(&mut self, name: SnapshotName, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        Ok(read(find(&mut self.snapshots, name)?, offset, buffer))
    }
}

fn find<N: PartialEq + Copy>(files: &mut [(N, Vec<u8>)], name: N) -> Result<&mut Vec<u8>, StorageError> {
    files.iter_mut().find(|(other, _)| *other == name).map(|(_, bytes)| bytes).ok_or(MISSING)
}

/// Puts a file in place of one that has its name.
fn put<N: PartialEq + Copy>(files: &mut Vec<(N, Vec<u8>)>, name: N, bytes: Vec<u8>) -> Result<(), StorageError> {
    files.try_reserve(1).map_err(|_| StorageError::NoSpace)?;
    files.retain(|(other, _)| *other != name);
    files.push((name, bytes));
    Ok(())
}

fn list<N: Copy>(files: &[(N, Vec<u8>)]) -> Result<Vec<(N, u64)>, StorageError> {
    let mut listed = Vec::new();
    listed.try_reserve_exact(files.len()).map_err(|_| StorageError::NoSpace)?;
    listed.extend(files.iter().map(|(name, bytes)| (*name, bytes.len() as u64)));
    Ok(listed)
}

fn write(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) -> Result<(), StorageError> {
    let end = usize::try_from(offset).ok().and_then(|offset| offset.checked_add(data.len())).ok_or(StorageError::NoSpace)?;
    bytes.try_reserve(end.saturating_sub(bytes.len())).map_err(|_| StorageError::NoSpace)?;
    bytes.resize(end - data.len(), 0);
    bytes.extend_from_slice(data);
    Ok(())
}

fn read(bytes: &[u8], offset: u64, buffer: &mut [u8]) -> usize {
    let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
    rest.iter().zip(buffer).map(|(from, to)| *to = *from).count()
}
