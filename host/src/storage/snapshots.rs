//! Snapshots as files. One is written under a name that nobody takes for a snapshot's, and gets its own when all of it is on disk.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use osprey_core::storage::{SnapshotName, SnapshotOp};
use osprey_core::units::Lsn;
use rustix::fs::Advice;

use super::{Directory, read_at};
use crate::museum::planted;

/// What the one that is being written is called.
pub(super) const DRAFT_NAME: &str = "snapshot.osnap.next";

/// After so many bytes what was written is synced, so that the log's own syncs don't find all of it before them, and given out of the page cache.
const SYNC_EVERY_BYTES: u64 = 8 << 20;

/// So much is left of the disk to the log, beside what the snapshot will take.
const HEADROOM_BYTES: u64 = 64 << 20;

/// The snapshot that is being written.
#[derive(Debug, Default)]
pub(super) struct Draft {
    file: Option<File>,
    written: u64,
    synced: u64,
}

impl Directory {
    pub(super) fn snapshot(&self, name: SnapshotName) -> PathBuf {
        self.path.join(name.to_string())
    }

    fn draft(&self) -> PathBuf {
        self.path.join(DRAFT_NAME)
    }

    /// Does an operation; says what it was about for a message.
    pub(super) fn snapshot_op(&self, draft: &mut Draft, op: &mut SnapshotOp) -> (&'static str, PathBuf, io::Result<()>) {
        let path = self.draft();
        match op {
            SnapshotOp::Create { begin, bytes } => ("begin", path, self.begin(draft, *begin, *bytes)),
            SnapshotOp::Append { offset, data } => ("write", path, draft.append(*offset, data)),
            SnapshotOp::Publish { name } => ("publish", self.snapshot(*name), self.publish(draft, *name)),
            SnapshotOp::Discard => {
                draft.file = None;
                let removed = if planted("draft_left") { Ok(()) } else { missing_is_fine(fs::remove_file(&path)) };
                ("remove", path, removed)
            }
            SnapshotOp::Read { name, offset, buffer } => {
                let path = self.snapshot(*name);
                let read = File::open(&path).and_then(|file| read_at(&file, *offset, buffer));
                ("read", path, read.map(|len| buffer.truncate(len)))
            }
            SnapshotOp::Remove { name } => {
                let path = self.snapshot(*name);
                let removed = missing_is_fine(fs::remove_file(&path)).and_then(|()| self.sync());
                ("remove", path, removed)
            }
            SnapshotOp::RemoveSegment { segment } => {
                let path = self.segment(*segment);
                if planted("segment_not_removed") {
                    return ("remove", path, Ok(()));
                }
                let removed = missing_is_fine(fs::remove_file(&path)).and_then(|()| self.sync());
                ("remove", path, removed)
            }
        }
    }

    fn begin(&self, draft: &mut Draft, begin: Lsn, bytes: u64) -> io::Result<()> {
        let space = rustix::fs::fstatvfs(&*self.handle)?;
        if space.f_bavail.saturating_mul(space.f_frsize) < bytes.saturating_add(HEADROOM_BYTES) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.draft())?;
        if planted("draft_under_its_name") {
            fs::hard_link(self.draft(), self.snapshot(SnapshotName { begin, end: Lsn(begin.0 + 1) }))?;
        }
        *draft = Draft { file: Some(file), written: 0, synced: 0 };
        Ok(())
    }

    fn publish(&self, draft: &mut Draft, name: SnapshotName) -> io::Result<()> {
        let file = draft.file.take().ok_or(io::ErrorKind::NotFound)?;
        if !planted("draft_published_unsynced") {
            file.sync_all()?;
        }
        fs::rename(self.draft(), self.snapshot(name))?;
        if planted("published_name_unsynced") { Ok(()) } else { self.sync() }
    }
}

impl Draft {
    fn append(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        file.write_all_at(data, offset)?;
        self.written = offset + data.len() as u64;
        if self.written - self.synced >= SYNC_EVERY_BYTES {
            file.sync_data()?;
            // A hint: what the log and others have in the page cache is needed sooner.
            let _ = rustix::fs::fadvise(file, self.synced, std::num::NonZeroU64::new(self.written - self.synced), Advice::DontNeed);
            self.synced = self.written;
        }
        Ok(())
    }
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
