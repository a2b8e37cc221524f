//! Operations, in the steps in which `host/src/storage.rs` and `host/src/storage/snapshots.rs` do them; and what has happened of one that fails.

use osprey_core::storage::{SnapshotOp, StorageError, StorageOp};

use super::file::{File, sectors};
use super::{Disk, Name};
use crate::museum::planted;

/// How much of an operation has happened when it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Nothing.
    Nothing,
    /// The first half of the data; of the steps of a start those before the segment has its name.
    Half,
    /// All, and the error comes all the same.
    All,
}

/// The failure of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// So many operations are left in peace before it.
    pub after: u64,
    /// What is reported.
    pub error: StorageError,
    /// What has happened.
    pub extent: Extent,
}

/// An operation under way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) op: StorageOp,
    pub(super) step: usize,
    pub(super) file: usize,
    /// In which round of the host it was asked for.
    pub(super) round: u32,
    pub(super) fails: Option<Fault>,
}

impl Job {
    /// So many steps it has: between any two of them the machine may go down.
    pub(super) fn steps(&self) -> usize {
        match self.op {
            StorageOp::Reserve { .. } | StorageOp::Append { sync: false, .. } => 1,
            StorageOp::Append { sync: true, .. } | StorageOp::Sync { .. } => 2,
            // Sync, rename, sync the directory.
            StorageOp::Snapshot(SnapshotOp::Publish { .. }) => 3,
            // Remove, sync the directory.
            StorageOp::Snapshot(SnapshotOp::Remove { .. } | SnapshotOp::RemoveSegment { .. }) => 2,
            StorageOp::Snapshot(_) => 1,
            // Write the header, sync, rename, sync the directory.
            StorageOp::Start { .. } => 4,
        }
    }
}

impl Disk {
    pub(super) fn perform(&mut self, op: &mut StorageOp, file: usize, step: usize) {
        match op {
            StorageOp::Reserve { bytes, .. } => {
                self.reserved = Some(file);
                self.files.push(File { shown: vec![0; place(*bytes)], ..File::default() });
            }
            StorageOp::Start { segment, header } => match step {
                0 => self.write(file, 0, header),
                1 => {
                    self.files[file].begin_sync();
                    self.files[file].end_sync();
                }
                2 => drop(self.names.insert(Name::Segment(*segment), file)),
                _ => self.durable_names.clone_from(&self.names),
            },
            StorageOp::Append { offset, data, .. } if step == 0 => {
                self.write(file, place(*offset), data);
                self.files[file].begin_sync();
            }
            StorageOp::Sync { trim_to, .. } if step == 0 => {
                if let Some(length) = trim_to {
                    let file = &mut self.files[file];
                    file.cut = file.shown.split_off(place(*length));
                }
                self.files[file].begin_sync();
            }
            StorageOp::Append { .. } | StorageOp::Sync { .. } => self.files[file].end_sync(),
            StorageOp::Snapshot(op) => self.perform_snapshot(op, file, step),
        }
    }

    fn perform_snapshot(&mut self, op: &mut SnapshotOp, file: usize, step: usize) {
        match op {
            SnapshotOp::Create { .. } => {
                self.draft = Some(self.files.len());
                self.snapshots_begun += 1;
                self.files.push(File::default());
            }
            SnapshotOp::Append { offset, data } => {
                assert_eq!(self.files[file].shown.len() as u64, *offset, "a snapshot is written from front to back");
                self.files[file].shown.resize(place(*offset) + data.len(), 0);
                self.files[file].write(place(*offset), data);
                if self.damages_snapshots_from.is_some_and(|from| self.snapshots_begun > from) {
                    *self.files[file].shown.last_mut().unwrap() ^= 1;
                }
            }
            SnapshotOp::Publish { name } => match step {
                0 if planted("snapshot_renamed_unsynced") => {}
                0 => {
                    self.files[file].begin_sync();
                    self.files[file].end_sync();
                }
                1 => {
                    self.draft = None;
                    self.names.insert(Name::Snapshot(*name), file);
                }
                _ if planted("snapshot_name_unsynced") => {}
                _ => self.durable_names.clone_from(&self.names),
            },
            SnapshotOp::Discard => self.draft = None,
            SnapshotOp::Read { offset, buffer, .. } => {
                let there = self.files[file].shown.get(place(*offset)..).unwrap_or_default();
                let len = there.len().min(buffer.len());
                buffer[..len].copy_from_slice(&there[..len]);
                buffer.truncate(len);
            }
            SnapshotOp::Remove { name } if step == 0 => drop(self.names.remove(&Name::Snapshot(*name))),
            SnapshotOp::RemoveSegment { segment } if step == 0 => drop(self.names.remove(&Name::Segment(*segment))),
            SnapshotOp::Remove { .. } | SnapshotOp::RemoveSegment { .. } => self.durable_names.clone_from(&self.names),
        }
    }

    /// A bit of the newest snapshot turns over where it lies.
    ///
    /// # Panics
    /// There is none.
    pub fn damage_newest_snapshot(&mut self) {
        let newest = self.names.iter().rfind(|(name, _)| matches!(name, Name::Snapshot(_))).map(|(_, &file)| file);
        let bytes = &mut self.files[newest.unwrap()].shown;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    }

    /// The operation on snapshots that is under way, and how many of its steps are done.
    #[must_use]
    pub fn snapshot_under_way(&self) -> Option<(&'static str, usize)> {
        self.under_way.iter().find_map(|job| {
            let StorageOp::Snapshot(op) = &job.op else { return None };
            let name = match op {
                SnapshotOp::Create { .. } => "create",
                SnapshotOp::Append { .. } => "append",
                SnapshotOp::Publish { .. } => "publish",
                SnapshotOp::Discard => "discard",
                SnapshotOp::Read { .. } => "read",
                SnapshotOp::Remove { .. } => "remove",
                SnapshotOp::RemoveSegment { .. } => "remove segment",
            };
            Some((name, job.step))
        })
    }

    fn write(&mut self, file: usize, offset: usize, bytes: &[u8]) {
        self.files[file].write(offset, bytes);
        self.last_write = Some((file, sectors(offset, bytes.len())));
    }

    pub(super) fn fail(&mut self, job: &mut Job, extent: Extent) {
        let steps = job.steps();
        match (&mut job.op, extent) {
            (_, Extent::Nothing) | (StorageOp::Reserve { .. } | StorageOp::Snapshot(_), _) => {}
            (StorageOp::Append { offset, data, .. }, Extent::Half) => self.write(job.file, place(*offset), &data[..data.len() / 2]),
            (op @ StorageOp::Start { .. }, Extent::Half) => (0..2).for_each(|step| self.perform(op, job.file, step)),
            (op @ StorageOp::Sync { .. }, Extent::Half) => self.perform(op, job.file, 0),
            (op, Extent::All) => (0..steps).for_each(|step| self.perform(op, job.file, step)),
        }
    }
}

/// A place in a file that is in memory.
fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}
