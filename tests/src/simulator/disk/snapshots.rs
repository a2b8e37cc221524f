//! Snapshots on the disk, step by step as `host/src/storage/snapshots.rs` does it; and which of what is there a recovery can begin with.

use osprey_core::storage::{SnapshotName, SnapshotOp, StorageError};

use super::Disk;
use super::file::File;
use super::names::Name;
use super::operations::{EIO, Fault, Stepped, place};
use crate::museum::planted;

/// The steps of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PublishStep {
    SyncFile,
    Rename,
    SyncDirectory,
}

const PUBLISH: [PublishStep; 3] = [PublishStep::SyncFile, PublishStep::Rename, PublishStep::SyncDirectory];

/// A snapshot that has its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub name: SnapshotName,
    /// Whether that stays over a power cut.
    pub durable: bool,
    /// Whether it is as it was written.
    pub whole: bool,
    /// Whether the engine has read it, and found it whole.
    pub verified: bool,
}

impl Disk {
    /// What is against the contract in an operation.
    pub(super) fn snapshot_violation(&self, op: &SnapshotOp) -> Option<&'static str> {
        let draft = self.draft.map(|file| self.files[file].data().len() as u64);
        match op {
            SnapshotOp::Append { .. } | SnapshotOp::Publish { .. } if draft.is_none() => Some("a snapshot that wasn't begun"),
            SnapshotOp::Append { offset, .. } if draft != Some(*offset) => Some("a snapshot that isn't written from front to back"),
            SnapshotOp::Read { name, .. } if self.names.get(Name::Snapshot(*name)).is_none() => {
                Some("a read of a snapshot that isn't there")
            }
            _ => None,
        }
    }

    /// Does the next step of an operation; whether it was the last.
    pub(super) fn snapshot_step(&mut self, op: &mut SnapshotOp, step: usize) -> Stepped {
        let fails = self.strike_snapshot();
        if self.full && matches!(op, SnapshotOp::Create { .. } | SnapshotOp::Append { .. }) {
            return Err(StorageError::NoSpace);
        }
        match op {
            SnapshotOp::Create { .. } => {
                self.discard_draft();
                fails?;
                self.files.push(File::reserved(0));
                self.draft = Some(self.files.len() - 1);
            }
            SnapshotOp::Append { offset, data } => {
                let file = self.draft.ok_or(EIO)?;
                let written = if fails.is_err() { data.len() / 2 } else { data.len() };
                self.files[file].append(&data[..written]);
                fails?;
                if let Some(Fault::Flip(part)) = self.fault.filter(|fault| matches!(fault, Fault::Flip(_))) {
                    self.failed = self.fault.take();
                    let at = place(*offset) + usize::from(part) * (data.len() - 1) / 255;
                    self.files[file].data_mut()[at] ^= 1;
                    self.files[file].damaged = true;
                }
            }
            SnapshotOp::Publish { name } => {
                let file = self.draft.ok_or(EIO)?;
                match PUBLISH[step] {
                    PublishStep::SyncFile if planted("snapshot_renamed_unsynced") => fails?,
                    PublishStep::SyncFile => {
                        self.files[file].begin_sync();
                        if fails.is_err() {
                            self.files[file].fail_sync();
                        }
                        fails?;
                        self.files[file].end_sync();
                    }
                    PublishStep::Rename => {
                        fails?;
                        self.names.give(Name::Snapshot(*name), file);
                    }
                    PublishStep::SyncDirectory => {
                        fails?;
                        if !planted("snapshot_name_unsynced") {
                            self.names.sync();
                        }
                        self.draft = None;
                    }
                }
                return Ok(step + 1 == PUBLISH.len());
            }
            SnapshotOp::Discard => {
                fails?;
                self.discard_draft();
            }
            SnapshotOp::Read { name, offset, buffer } => {
                fails?;
                let file = self.names.get(Name::Snapshot(*name)).ok_or(EIO)?;
                let rest = self.files[file].data().get(place(*offset)..).unwrap_or_default();
                let len = rest.len().min(buffer.len());
                buffer[..len].copy_from_slice(&rest[..len]);
                buffer.truncate(len);
            }
            SnapshotOp::Remove { name } => return self.remove_step(Name::Snapshot(*name), step, fails),
            SnapshotOp::RemoveSegment { segment } => return self.remove_step(Name::Segment(segment.0), step, fails),
        }
        Ok(true)
    }

    fn remove_step(&mut self, name: Name, step: usize, fails: Result<(), StorageError>) -> Stepped {
        fails?;
        if step == 0 {
            self.names.take(name);
        } else {
            self.names.sync();
        }
        Ok(step == 1)
    }

    /// The file that was begun goes, unless it has a name already.
    pub(super) fn discard_draft(&mut self) {
        if let Some(file) = self.draft.take().filter(|&file| !self.names.refer_to(file)) {
            self.files[file] = File::default();
        }
    }

    /// Fails if it is time for it.
    fn strike_snapshot(&mut self) -> Result<(), StorageError> {
        match &mut self.fault {
            Some(Fault::Snapshot(0)) => {
                self.failed = self.fault.take();
                Err(EIO)
            }
            Some(Fault::Snapshot(left)) => {
                *left -= 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Snapshots that have their names, in order.
    pub fn snapshots(&self) -> impl DoubleEndedIterator<Item = Snapshot> {
        self.names.snapshots().map(|(name, file)| {
            let File { damaged, verified, .. } = self.files[file];
            Snapshot { name, durable: self.names.is_durable(Name::Snapshot(name)), whole: !damaged, verified }
        })
    }

    /// The time in a snapshot's footer.
    #[must_use]
    pub fn time_of(&self, name: SnapshotName) -> u64 {
        let bytes = self.names.get(Name::Snapshot(name)).map_or(&[][..], |file| self.files[file].data());
        let time = bytes.last_chunk::<16>().and_then(|end| end.first_chunk());
        time.map_or(0, |time| u64::from_le_bytes(*time))
    }

    /// The engine has read this snapshot, and found it whole.
    pub fn note_verified(&mut self, name: SnapshotName) {
        if let Some(file) = self.names.get(Name::Snapshot(name)) {
            self.files[file].verified = true;
        }
    }

    /// The first of the segments that a recovery on a snapshot with this S0 needs, if all of them are there; for 0, the log from its beginning.
    #[must_use]
    pub fn log_behind(&self, begin: u64, without: Option<Name>) -> Option<u64> {
        let mut expected = None;
        for (number, file) in self.names.segments().rev() {
            if expected.is_some_and(|expected| number != expected) || without == Some(Name::Segment(number)) {
                return None;
            }
            let header = self.files[file].data();
            let field = |at: usize| header.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
            let first = field(56)?;
            if first <= begin + 1 && (begin > 0 || first == 1) {
                return Some(number);
            }
            expected = Some(number.checked_sub(1)?);
        }
        // Before the first segment is started there is nothing to be read.
        (begin == 0 && expected.is_none()).then_some(1)
    }

    /// What a recovery can begin with: snapshots that are `good`, with the log that belongs to each, and the log from its beginning; once this file is gone.
    pub fn generations(&self, without: Option<Name>, good: impl Fn(&Snapshot) -> bool) -> usize {
        let snapshots = self.snapshots().filter(|snapshot| Some(Name::Snapshot(snapshot.name)) != without && good(snapshot));
        let with_log = snapshots.filter(|snapshot| self.log_behind(snapshot.name.begin.0, without).is_some());
        with_log.count() + usize::from(self.log_behind(0, without).is_some())
    }
}
