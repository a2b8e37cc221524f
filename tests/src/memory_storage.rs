//! A disk in memory: implements what the engine asks of storage, at once or as late as a test likes.
//!
//! [`Disk`] is what there is to recover from, and can be copied, cut and damaged. [`MemoryStorage`] is a disk at work. An operation
//! that is held has not happened yet.

use std::collections::{BTreeMap, VecDeque};

use osprey_core::storage::{LogFiles, SegmentNumber, SnapshotName, SnapshotOp, Storage, StorageDone, StorageError, StorageOp};

/// The kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// [`StorageOp::Reserve`]
    Reserve,
    /// [`StorageOp::Start`]
    Start,
    /// [`StorageOp::Append`], with or without its own sync.
    Append,
    /// [`StorageOp::Sync`]
    Sync,
    /// [`StorageOp::Snapshot`]
    Snapshot,
}

impl Work {
    fn of(op: &StorageOp) -> Self {
        match op {
            StorageOp::Reserve { .. } => Self::Reserve,
            StorageOp::Start { .. } => Self::Start,
            StorageOp::Append { .. } => Self::Append,
            StorageOp::Sync { .. } => Self::Sync,
            StorageOp::Snapshot(_) => Self::Snapshot,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Segment {
    /// What a read returns: survives the process.
    written: Vec<u8>,
    /// What survives a power cut.
    durable: Vec<u8>,
}

/// The segments of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    segments: BTreeMap<SegmentNumber, Segment>,
    /// Whole snapshots, all of them durable.
    snapshots: BTreeMap<SnapshotName, Vec<u8>>,
    /// One that has no name yet.
    draft: Option<Vec<u8>>,
}

impl Disk {
    /// What a power cut leaves, if the disk keeps no more than it must: exactly what was synced.
    #[must_use]
    pub fn after_power_cut(&self) -> Self {
        let mut after = Self { draft: None, ..self.clone() };
        for segment in after.segments.values_mut() {
            segment.written.clone_from(&segment.durable);
        }
        after
    }

    /// Its segments with their bytes, in order.
    pub fn segments(&self) -> impl Iterator<Item = (SegmentNumber, &[u8])> {
        self.segments.iter().map(|(&number, segment)| (number, segment.written.as_slice()))
    }

    /// The last segment and its length in bytes.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn last(&self) -> (SegmentNumber, usize) {
        let (&number, segment) = self.segments.last_key_value().unwrap();
        (number, segment.written.len())
    }

    /// The same, but with `segment` cut to `length` bytes.
    #[must_use]
    pub fn cut(&self, segment: SegmentNumber, length: usize) -> Self {
        self.with(segment, |bytes| bytes.truncate(length))
    }

    /// The same, but with some bits of one byte turned over.
    #[must_use]
    pub fn flipped(&self, segment: SegmentNumber, offset: usize, bits: u8) -> Self {
        self.with(segment, |bytes| bytes[offset] ^= bits)
    }

    /// The same, but without `segment`.
    #[must_use]
    pub fn without(&self, segment: SegmentNumber) -> Self {
        let mut other = self.clone();
        other.segments.remove(&segment).unwrap();
        other
    }

    /// The same, but with the bytes of `segment` changed, on the surface and below.
    #[must_use]
    pub fn with(&self, segment: SegmentNumber, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut other = self.clone();
        let changed = other.segments.get_mut(&segment).unwrap();
        change(&mut changed.written);
        changed.durable.clone_from(&changed.written);
        other
    }

    /// Its snapshots with their bytes, in order.
    pub fn snapshots(&self) -> impl Iterator<Item = (SnapshotName, &[u8])> {
        self.snapshots.iter().map(|(&name, bytes)| (name, bytes.as_slice()))
    }

    /// How long the snapshot is that has no name yet.
    #[must_use]
    pub fn draft_bytes(&self) -> usize {
        self.draft.as_ref().map_or(0, Vec::len)
    }

    /// The same, but with a snapshot's bytes changed.
    #[must_use]
    pub fn with_snapshot(&self, name: SnapshotName, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut other = self.clone();
        change(other.snapshots.get_mut(&name).unwrap());
        other
    }

    /// The same, but without a snapshot.
    #[must_use]
    pub fn without_snapshot(&self, name: SnapshotName) -> Self {
        let mut other = self.clone();
        other.snapshots.remove(&name).unwrap();
        other
    }

    fn segment(&mut self, number: SegmentNumber) -> Result<&mut Segment, StorageError> {
        self.segments.get_mut(&number).ok_or(StorageError::Io(None))
    }

    fn perform(&mut self, op: &mut StorageOp) -> Result<(), StorageError> {
        match op {
            StorageOp::Reserve { .. } => {}
            StorageOp::Start { segment, header } => {
                self.segments.insert(*segment, Segment { written: header.clone(), durable: header.clone() });
            }
            StorageOp::Append { segment, offset, data, sync } => {
                let segment = self.segment(*segment)?;
                let offset = usize::try_from(*offset).unwrap();
                assert!(offset >= segment.written.len(), "the log never writes over what it has written");
                segment.written.resize(offset, 0);
                segment.written.extend_from_slice(data);
                if *sync {
                    segment.durable.clone_from(&segment.written);
                }
            }
            StorageOp::Sync { segment, trim_to } => {
                let segment = self.segment(*segment)?;
                if let Some(length) = trim_to {
                    segment.written.truncate(usize::try_from(*length).unwrap());
                }
                segment.durable.clone_from(&segment.written);
            }
            StorageOp::Snapshot(op) => self.perform_snapshot(op)?,
        }
        Ok(())
    }

    fn perform_snapshot(&mut self, op: &mut SnapshotOp) -> Result<(), StorageError> {
        match op {
            SnapshotOp::Create { .. } => self.draft = Some(Vec::new()),
            SnapshotOp::Append { offset, data } => {
                let draft = self.draft.as_mut().ok_or(StorageError::Io(None))?;
                assert_eq!(draft.len() as u64, *offset, "a snapshot is written from front to back");
                draft.extend_from_slice(data);
            }
            SnapshotOp::Publish { name } => {
                let draft = self.draft.take().ok_or(StorageError::Io(None))?;
                self.snapshots.insert(*name, draft);
            }
            SnapshotOp::Discard => self.draft = None,
            SnapshotOp::Read { name, offset, buffer } => {
                let read = self.read_snapshot(*name, *offset, buffer)?;
                buffer.truncate(read);
            }
            SnapshotOp::Remove { name } => drop(self.snapshots.remove(name)),
            SnapshotOp::RemoveSegment { segment } => drop(self.segments.remove(segment)),
        }
        Ok(())
    }
}

impl LogFiles for Disk {
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
        Ok(self.segments.iter().map(|(&number, segment)| (number, segment.written.len() as u64)).collect())
    }

    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let bytes = &self.segment(segment)?.written;
        let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn truncate(&mut self, segment: SegmentNumber, length: u64) -> Result<(), StorageError> {
        let length = usize::try_from(length).unwrap();
        let segment = self.segment(segment)?;
        segment.written.truncate(length);
        segment.durable.clone_from(&segment.written);
        Ok(())
    }

    fn remove(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.segments.remove(&segment).map(drop).ok_or(StorageError::Io(None))
    }

    fn sync(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        let segment = self.segment(segment)?;
        segment.durable.clone_from(&segment.written);
        Ok(())
    }

    fn snapshots(&mut self) -> Result<Vec<(SnapshotName, u64)>, StorageError> {
        Ok(self.snapshots.iter().map(|(&name, bytes)| (name, bytes.len() as u64)).collect())
    }

    fn read_snapshot(&mut self, name: SnapshotName, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let bytes = self.snapshots.get(&name).ok_or(StorageError::Io(None))?;
        let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

/// A disk at work.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    /// What it has done so far.
    pub disk: Disk,
    /// Operations of this kind fail.
    pub failing: Option<(Work, StorageError)>,
    holding: Vec<Work>,
    held: VecDeque<StorageOp>,
    ended: VecDeque<StorageDone>,
    submitted: Vec<Work>,
    /// Segments whose space is set aside, with that space: reserved ones, and those that aren't cut yet.
    reserved: BTreeMap<SegmentNumber, u64>,
}

impl MemoryStorage {
    /// A disk that does everything at once.
    #[must_use]
    pub fn new(disk: Disk) -> Self {
        Self { disk, ..Self::default() }
    }

    /// From now on operations of this kind don't happen before they are released.
    pub fn hold(&mut self, work: Work) {
        self.holding.push(work);
    }

    /// Does what was held of this kind, and holds nothing of it any more.
    pub fn release(&mut self, work: Work) {
        self.holding.retain(|&held| held != work);
        for op in std::mem::take(&mut self.held) {
            if Work::of(&op) == work {
                let done = self.perform(op);
                self.ended.push_back(done);
            } else {
                self.held.push_back(op);
            }
        }
    }

    /// How many operations of this kind are held.
    #[must_use]
    pub fn held(&self, work: Work) -> usize {
        self.held.iter().filter(|op| Work::of(op) == work).count()
    }

    /// How many operations of this kind were asked for so far.
    #[must_use]
    pub fn submitted(&self, work: Work) -> usize {
        self.submitted.iter().filter(|&&submitted| submitted == work).count()
    }

    /// What all files take, bytes: space that is set aside as well, and a snapshot that has no name yet.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        let reserved: u64 = self.reserved.values().sum();
        let cut = self.disk.segments().filter(|(number, _)| !self.reserved.contains_key(number));
        let log: usize = cut.map(|(_, bytes)| bytes.len()).sum();
        let snapshots: usize = self.disk.snapshots().map(|(_, bytes)| bytes.len()).sum();
        reserved + (log + snapshots + self.disk.draft_bytes()) as u64
    }

    fn perform(&mut self, mut op: StorageOp) -> StorageDone {
        let result = match self.failing {
            Some((work, error)) if work == Work::of(&op) => Err(error),
            _ => self.disk.perform(&mut op),
        };
        if result.is_ok() {
            self.note_space(&op);
        }
        StorageDone { op, result }
    }

    fn note_space(&mut self, op: &StorageOp) {
        match op {
            StorageOp::Reserve { segment, bytes } => drop(self.reserved.insert(*segment, *bytes)),
            StorageOp::Sync { segment, trim_to: Some(_) } | StorageOp::Snapshot(SnapshotOp::RemoveSegment { segment }) => {
                self.reserved.remove(segment);
            }
            _ => {}
        }
    }
}

impl Storage for MemoryStorage {
    fn submit(&mut self, op: StorageOp) -> Option<StorageDone> {
        let work = Work::of(&op);
        self.submitted.push(work);
        if self.holding.contains(&work) {
            self.held.push_back(op);
            return None;
        }
        Some(self.perform(op))
    }

    fn poll(&mut self) -> Option<StorageDone> {
        self.ended.pop_front()
    }
}

/// As a host that recovers from the same storage that it writes to.
impl LogFiles for MemoryStorage {
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
        LogFiles::segments(&mut self.disk)
    }

    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        self.disk.read(segment, offset, buffer)
    }

    fn truncate(&mut self, segment: SegmentNumber, length: u64) -> Result<(), StorageError> {
        self.disk.truncate(segment, length)
    }

    fn remove(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.disk.remove(segment)
    }

    fn sync(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.disk.sync(segment)
    }

    fn snapshots(&mut self) -> Result<Vec<(SnapshotName, u64)>, StorageError> {
        LogFiles::snapshots(&mut self.disk)
    }

    fn read_snapshot(&mut self, name: SnapshotName, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        self.disk.read_snapshot(name, offset, buffer)
    }
}
