//! Storage in memory that breaks one rule of its contract: what the conformance suite must find.

use std::collections::BTreeMap;

use osprey_core::storage::{LogFiles, SegmentNumber, SnapshotName, SnapshotOp, Storage, StorageDone, StorageError, StorageOp};

/// How a rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names say it")]
pub enum Fault {
    NewHoldsASegment,
    SyncFails,
    AppendNeverEnds,
    SyncEndsTwice,
    AppendComesBackEmpty,
    ReservedIsListed,
    StartIsTorn,
    StartIsLostInAPowerCut,
    StartKeepsWhatWasThere,
    WideNumbersAreNotListed,
    SegmentIsListedTwice,
    LengthIsListedShort,
    AppendIgnoresItsOffset,
    LastAppendIsLostInAKill,
    GapsHoldGarbage,
    SyncDoesNothing,
    SyncTakesTheLastAppendOnly,
    AppendWithSyncTakesItselfOnly,
    AppendIsNotSynced,
    TrimIsIgnored,
    ReadIsShort,
    ReadGoesOnBehindTheEnd,
    TruncateIsLostInAPowerCut,
    TruncateCutsTooMuch,
    RemoveIsLostInAPowerCut,
    RecoverySyncDoesNothing,
    RemovingNothingFails,
    DraftIsListed,
    CreateKeepsWhatWasThere,
    PublishIsLostInAPowerCut,
    PublishIsTorn,
    SnapshotLosesItsEnd,
    SnapshotMixesUpItsPieces,
    SnapshotReadIsShort,
    SnapshotReadIsPadded,
    SnapshotRemoveIsLostInAPowerCut,
    LateAppendsAreLost,
}

/// What is held, in memory or on disk.
#[derive(Clone, Debug, Default)]
struct Held {
    segments: BTreeMap<SegmentNumber, Vec<u8>>,
    snapshots: BTreeMap<SnapshotName, Vec<u8>>,
}

/// See the module.
#[derive(Debug)]
pub struct FaultyStorage {
    fault: Option<Fault>,
    now: Held,
    durable: Held,
    draft: Option<Vec<u8>>,
    /// The last append: its segment and range.
    last: Option<(SegmentNumber, usize, usize)>,
    appends: usize,
    /// An operation that is under way until it is polled for.
    late: Vec<StorageOp>,
    again: Option<StorageDone>,
}

const MISSING: StorageError = StorageError::Io(None);

impl FaultyStorage {
    /// New storage with this fault, or none.
    #[must_use]
    pub fn new(fault: Option<Fault>) -> Self {
        let (now, durable) = Default::default();
        let mut storage = Self { fault, now, durable, draft: None, last: None, appends: 0, late: Vec::new(), again: None };
        if storage.is(Fault::NewHoldsASegment) {
            storage.now.segments.insert(SegmentNumber(1), vec![0; 4096]);
        }
        storage
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// The process ends.
    #[must_use]
    pub fn killed(mut self) -> Self {
        self.tear();
        if let (Some((segment, begin, end)), true) = (self.last, self.is(Fault::LastAppendIsLostInAKill)) {
            self.now.segments.get_mut(&segment).and_then(|bytes| bytes.get_mut(begin..end)).unwrap_or_default().fill(0);
        }
        (self.late, self.last, self.again) = (Vec::new(), None, None);
        self
    }

    /// The power fails: only what is durable is left.
    #[must_use]
    pub fn power_cut(mut self) -> Self {
        self.tear();
        (self.late, self.last, self.again, self.draft) = (Vec::new(), None, None, None);
        self.now = self.durable.clone();
        self
    }

    /// What is under way happens half.
    fn tear(&mut self) {
        for op in std::mem::take(&mut self.late) {
            match op {
                StorageOp::Start { segment, header } if self.is(Fault::StartIsTorn) => {
                    let half = header[..header.len() / 2].to_vec();
                    self.now.segments.insert(segment, half.clone());
                    self.durable.segments.insert(segment, half);
                }
                StorageOp::Snapshot(SnapshotOp::Publish { name }) if self.is(Fault::PublishIsTorn) => {
                    let mut half = self.draft.take().unwrap_or_default();
                    half.truncate(half.len() / 2);
                    self.now.snapshots.insert(name, half.clone());
                    self.durable.snapshots.insert(name, half);
                }
                _ => {}
            }
        }
    }

    fn perform(&mut self, op: &mut StorageOp) -> Result<(), StorageError> {
        match op {
            StorageOp::Reserve { segment, .. } => {
                if self.is(Fault::ReservedIsListed) {
                    self.now.segments.insert(*segment, Vec::new());
                }
            }
            StorageOp::Start { segment, header } => {
                let mut bytes = self.now.segments.remove(segment).unwrap_or_default();
                if !self.is(Fault::StartKeepsWhatWasThere) {
                    bytes.clear();
                }
                bytes.resize(bytes.len().max(header.len()), 0);
                bytes[..header.len()].copy_from_slice(header);
                if self.is(Fault::TrimIsIgnored) {
                    bytes.resize(64 << 10, 0);
                }
                if !self.is(Fault::StartIsLostInAPowerCut) {
                    self.durable.segments.insert(*segment, bytes.clone());
                }
                self.now.segments.insert(*segment, bytes);
            }
            StorageOp::Append { segment, offset, data, sync } => {
                self.append(*segment, usize::try_from(*offset).unwrap(), data, *sync)?;
                if self.is(Fault::AppendComesBackEmpty) {
                    data.clear();
                }
            }
            StorageOp::Sync { segment, trim_to } => {
                if self.is(Fault::SyncFails) {
                    return Err(MISSING);
                }
                let bytes = self.now.segments.get_mut(segment).ok_or(MISSING)?;
                if let Some(length) = trim_to.filter(|_| self.fault != Some(Fault::TrimIsIgnored)) {
                    bytes.truncate(usize::try_from(length).unwrap());
                }
                self.sync_all(*segment);
            }
            StorageOp::Snapshot(op) => self.perform_snapshot(op)?,
        }
        Ok(())
    }

    fn append(&mut self, segment: SegmentNumber, offset: usize, data: &[u8], sync: bool) -> Result<(), StorageError> {
        self.appends += 1;
        if self.is(Fault::LateAppendsAreLost) && self.appends > 100 {
            return Ok(());
        }
        let fault = self.fault;
        let bytes = self.now.segments.get_mut(&segment).ok_or(MISSING)?;
        let offset = if fault == Some(Fault::AppendIgnoresItsOffset) { bytes.len() } else { offset };
        if bytes.len() < offset + data.len() {
            bytes.resize(offset, if fault == Some(Fault::GapsHoldGarbage) { 0xFF } else { 0 });
            bytes.resize(offset + data.len(), 0);
        }
        let range = offset..offset + data.len();
        bytes[range.clone()].copy_from_slice(data);
        self.last = (!sync).then_some((segment, range.start, range.end));
        if sync && fault == Some(Fault::AppendWithSyncTakesItselfOnly) {
            self.sync_last(segment, range.start, range.end);
        } else if sync && fault != Some(Fault::AppendIsNotSynced) {
            self.sync_all(segment);
        }
        Ok(())
    }

    fn sync_all(&mut self, segment: SegmentNumber) {
        match (self.fault, self.last) {
            (Some(Fault::SyncDoesNothing), _) => {}
            (Some(Fault::SyncTakesTheLastAppendOnly), Some((last, begin, end))) if last == segment => self.sync_last(segment, begin, end),
            _ => {
                if let Some(bytes) = self.now.segments.get(&segment) {
                    self.durable.segments.insert(segment, bytes.clone());
                }
            }
        }
    }

    fn sync_last(&mut self, segment: SegmentNumber, begin: usize, end: usize) {
        if let (Some(bytes), Some(durable)) = (self.now.segments.get(&segment), self.durable.segments.get_mut(&segment)) {
            durable.resize(durable.len().max(end), 0);
            durable[begin..end].copy_from_slice(&bytes[begin..end]);
        }
    }

    fn perform_snapshot(&mut self, op: &mut SnapshotOp) -> Result<(), StorageError> {
        match op {
            SnapshotOp::Create { begin, .. } => {
                if self.draft.is_none() || !self.is(Fault::CreateKeepsWhatWasThere) {
                    self.draft = Some(Vec::new());
                }
                if self.is(Fault::DraftIsListed) {
                    self.now.snapshots.insert(SnapshotName { begin: *begin, end: *begin }, Vec::new());
                }
            }
            SnapshotOp::Append { offset, data } => {
                let mixed_up = self.is(Fault::SnapshotMixesUpItsPieces);
                let draft = self.draft.as_mut().ok_or(MISSING)?;
                let offset = if mixed_up { 0 } else { usize::try_from(*offset).unwrap() };
                draft.splice(offset.min(draft.len())..offset.min(draft.len()), data.iter().copied());
            }
            SnapshotOp::Publish { name } => {
                let mut bytes = self.draft.take().ok_or(MISSING)?;
                if self.is(Fault::SnapshotLosesItsEnd) {
                    bytes.pop();
                }
                if !self.is(Fault::PublishIsLostInAPowerCut) {
                    self.durable.snapshots.insert(*name, bytes.clone());
                }
                self.now.snapshots.insert(*name, bytes);
            }
            SnapshotOp::Discard => self.draft = None,
            SnapshotOp::Read { name, offset, buffer } => {
                let read = self.read_snapshot(*name, *offset, buffer)?;
                if !self.is(Fault::SnapshotReadIsPadded) {
                    buffer.truncate(read);
                }
            }
            SnapshotOp::Remove { name } => {
                self.now.snapshots.remove(name);
                if !self.is(Fault::SnapshotRemoveIsLostInAPowerCut) {
                    self.durable.snapshots.remove(name);
                }
            }
            SnapshotOp::RemoveSegment { segment } => {
                let removed = self.now.segments.remove(segment);
                self.durable.segments.remove(segment);
                if removed.is_none() && self.is(Fault::RemovingNothingFails) {
                    return Err(MISSING);
                }
            }
        }
        Ok(())
    }

    fn done(&mut self, mut op: StorageOp) -> StorageDone {
        let result = self.perform(&mut op);
        if let (StorageOp::Sync { segment, trim_to }, true) = (&op, self.is(Fault::SyncEndsTwice)) {
            self.again = Some(StorageDone { op: StorageOp::Sync { segment: *segment, trim_to: *trim_to }, result });
        }
        StorageDone { op, result }
    }
}

/// Every operation but appends that aren't synced is late.
impl Storage for FaultyStorage {
    fn submit(&mut self, op: StorageOp) -> Option<StorageDone> {
        match op {
            StorageOp::Append { .. } if self.is(Fault::AppendNeverEnds) => None,
            StorageOp::Append { sync: false, .. } => Some(self.done(op)),
            _ => {
                self.late.push(op);
                None
            }
        }
    }

    fn poll(&mut self) -> Option<StorageDone> {
        // The last first: in whatever order they were submitted.
        let late = self.late.pop().map(|op| self.done(op));
        late.or_else(|| self.again.take())
    }
}

impl LogFiles for FaultyStorage {
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
        let short = u64::from(self.is(Fault::LengthIsListedShort));
        let mut listed: Vec<_> = self.now.segments.iter().map(|(&number, bytes)| (number, bytes.len() as u64 - short)).collect();
        if self.is(Fault::WideNumbersAreNotListed) {
            listed.retain(|(number, _)| number.0 < 100_000_000);
        }
        if self.is(Fault::SegmentIsListedTwice) {
            listed.extend(listed.first().copied());
        }
        Ok(listed)
    }

    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let read = read_at(self.now.segments.get(&segment).ok_or(MISSING)?, offset, buffer);
        Ok(match self.fault {
            Some(Fault::ReadIsShort) => read.min(512),
            Some(Fault::ReadGoesOnBehindTheEnd) => buffer.len(),
            _ => read,
        })
    }

    fn truncate(&mut self, segment: SegmentNumber, length: u64) -> Result<(), StorageError> {
        let bytes = self.now.segments.get_mut(&segment).ok_or(MISSING)?;
        bytes.truncate(usize::try_from(length).unwrap());
        if self.fault == Some(Fault::TruncateCutsTooMuch) {
            bytes.fill(0);
        }
        if self.fault != Some(Fault::TruncateIsLostInAPowerCut) {
            self.durable.segments.insert(segment, bytes.clone());
        }
        Ok(())
    }

    fn remove(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.now.segments.remove(&segment).ok_or(MISSING)?;
        if !self.is(Fault::RemoveIsLostInAPowerCut) {
            self.durable.segments.remove(&segment);
        }
        Ok(())
    }

    fn sync(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        let bytes = self.now.segments.get(&segment).ok_or(MISSING)?;
        if !self.is(Fault::RecoverySyncDoesNothing) {
            self.durable.segments.insert(segment, bytes.clone());
        }
        Ok(())
    }

    fn snapshots(&mut self) -> Result<Vec<(SnapshotName, u64)>, StorageError> {
        Ok(self.now.snapshots.iter().map(|(&name, bytes)| (name, bytes.len() as u64)).collect())
    }

    fn read_snapshot(&mut self, name: SnapshotName, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let read = read_at(self.now.snapshots.get(&name).ok_or(MISSING)?, offset, buffer);
        Ok(if self.is(Fault::SnapshotReadIsShort) { read.min(512) } else { read })
    }
}

fn read_at(bytes: &[u8], offset: u64, buffer: &mut [u8]) -> usize {
    let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
    let len = rest.len().min(buffer.len());
    buffer[..len].copy_from_slice(&rest[..len]);
    len
}
