//! Snapshots as files. One is written under a name that nobody takes for a snapshot's, and gets its own when all of it is on disk.
//!
//! It goes past the page cache (see [`direct`]) in both directions, where the file system has such a way: nobody reads it soon, and what it would push out there, or leave there to be written when the
//! log is synced, is others'. And what is read back for verification comes from the disk.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use osprey_core::storage::{SnapshotName, SnapshotOp};
use osprey_core::units::Lsn;
use rustix::fs::Advice;

use super::direct::{self, Buffer, SECTOR_BYTES};
use super::{Directory, read_at};
use crate::museum::planted;

/// What the one that is being written is called.
pub(super) const DRAFT_NAME: &str = "snapshot.osnap.next";

/// How much goes past the page cache at a time, bytes: the log's appends stand behind no more than that.
const PIECE_BYTES: usize = 1 << 20;

/// After so many bytes in the page cache they are synced, so that the log's own syncs don't find all of them before them, and given out of it.
const SYNC_EVERY_BYTES: u64 = 8 << 20;

/// So much is left of the disk to the log, beside what the snapshot will take.
const HEADROOM_BYTES: u64 = 64 << 20;

/// What the thread for snapshots has open: one that is being written, or one that is read.
#[derive(Debug, Default)]
pub(super) struct Draft {
    file: Option<DraftFile>,
    reading: Option<(SnapshotName, Reading)>,
    /// How large the last one was that got its name.
    published_bytes: Option<u64>,
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
        if !matches!(op, SnapshotOp::Read { .. }) {
            // Its name may be another file's soon.
            draft.reading = None;
        }
        match op {
            SnapshotOp::Create { begin, bytes } => ("begin", path, self.begin(draft, *begin, *bytes)),
            SnapshotOp::Append { offset, data } => {
                let file = draft.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into());
                ("write", path, file.and_then(|file| file.append(*offset, data)))
            }
            SnapshotOp::Publish { name } => ("publish", self.snapshot(*name), self.publish(draft, *name)),
            SnapshotOp::Discard => {
                draft.file = None;
                let removed = if planted("draft_left") { Ok(()) } else { missing_is_fine(fs::remove_file(&path)) };
                ("remove", path, removed)
            }
            SnapshotOp::Read { name, offset, buffer } => {
                let path = self.snapshot(*name);
                let read = draft.reading(*name, &path).and_then(|reading| reading.read(*offset, buffer));
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
                let reserved = self.reserved(*segment);
                let removed = missing_is_fine(self.retired.retire(&path, reserved, draft.published_bytes)).and_then(|()| self.sync());
                ("remove", path, removed)
            }
        }
    }

    fn begin(&self, draft: &mut Draft, begin: Lsn, bytes: u64) -> io::Result<()> {
        let fits = || -> io::Result<bool> {
            let space = rustix::fs::fstatvfs(&*self.handle)?;
            Ok(space.f_bavail.saturating_mul(space.f_frsize) >= bytes.saturating_add(HEADROOM_BYTES))
        };
        if !fits()? {
            self.retired.remove_all();
            if !fits()? {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        draft.file = Some(DraftFile::create(&self.draft())?);
        if planted("draft_under_its_name") {
            fs::hard_link(self.draft(), self.snapshot(SnapshotName { begin, end: Lsn(begin.0 + 1) }))?;
        }
        Ok(())
    }

    fn publish(&self, draft: &mut Draft, name: SnapshotName) -> io::Result<()> {
        let mut file = draft.file.take().ok_or(io::ErrorKind::NotFound)?;
        file.write_rest()?;
        draft.published_bytes = Some(file.written);
        if !planted("draft_published_unsynced") {
            file.cached.sync_all()?;
        }
        fs::rename(self.draft(), self.snapshot(name))?;
        if planted("published_name_unsynced") { Ok(()) } else { self.sync() }
    }
}

impl Draft {
    fn reading(&mut self, name: SnapshotName, path: &Path) -> io::Result<&mut Reading> {
        if self.reading.as_ref().is_none_or(|(open, _)| *open != name) {
            self.reading = Some((name, Reading::open(path)?));
        }
        self.reading.as_mut().map(|(_, reading)| reading).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// The snapshot that is being written.
#[derive(Debug)]
struct DraftFile {
    cached: File,
    /// The way past the page cache, if there is one.
    direct: Option<File>,
    /// What waits until it is a whole piece, and how much.
    piece: Buffer,
    waiting: usize,
    /// What is in the file.
    written: u64,
    synced: u64,
}

impl DraftFile {
    fn create(path: &Path) -> io::Result<Self> {
        let cached = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let mut piece = Buffer::default();
        let direct = direct::open_new(path, &mut piece);
        Ok(Self { cached, direct, piece, waiting: 0, written: 0, synced: 0 })
    }

    fn append(&mut self, offset: u64, mut data: &[u8]) -> io::Result<()> {
        let Some(direct) = &self.direct else { return self.append_cached(offset, data) };
        if offset != self.written + self.waiting as u64 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        while !data.is_empty() {
            let piece = self.piece.bytes(PIECE_BYTES)?;
            let (now, later) = data.split_at(data.len().min(PIECE_BYTES - self.waiting));
            piece.split_at_mut(self.waiting).1.split_at_mut(now.len()).0.copy_from_slice(now);
            (self.waiting, data) = (self.waiting + now.len(), later);
            if self.waiting == PIECE_BYTES {
                direct.write_all_at(piece, self.written)?;
                (self.waiting, self.written) = (0, self.written + PIECE_BYTES as u64);
            }
        }
        Ok(())
    }

    fn append_cached(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.cached.write_all_at(data, offset)?;
        self.written = offset + data.len() as u64;
        if self.written - self.synced >= SYNC_EVERY_BYTES {
            self.cached.sync_data()?;
            // A hint: what the log and others have in the page cache is needed sooner.
            let _ = rustix::fs::fadvise(&self.cached, self.synced, NonZeroU64::new(self.written - self.synced), Advice::DontNeed);
            self.synced = self.written;
        }
        Ok(())
    }

    /// Writes what waits, in whole sectors, and cuts the file where it ends.
    fn write_rest(&mut self) -> io::Result<()> {
        let Some(direct) = self.direct.as_ref() else { return Ok(()) };
        let sectors = self.waiting.next_multiple_of(SECTOR_BYTES);
        let piece = self.piece.bytes(PIECE_BYTES)?.split_at_mut(sectors).0;
        piece.split_at_mut(self.waiting).1.fill(0);
        direct.write_all_at(piece, self.written)?;
        self.written += self.waiting as u64;
        self.waiting = 0;
        self.cached.set_len(self.written)
    }
}

/// A snapshot that is read.
#[derive(Debug)]
struct Reading {
    cached: File,
    /// The way past the page cache, as long as nothing has spoken against it.
    direct: Option<File>,
    buffer: Buffer,
}

impl Reading {
    fn open(path: &Path) -> io::Result<Self> {
        let cached = File::open(path)?;
        Ok(Self { cached, direct: direct::open(path, OpenOptions::new().read(true)).ok(), buffer: Buffer::default() })
    }

    fn read(&mut self, offset: u64, data: &mut [u8]) -> io::Result<usize> {
        if let Some(direct) = self.direct.as_ref().filter(|_| offset.is_multiple_of(SECTOR_BYTES as u64)) {
            match self.buffer.read(direct, offset, data) {
                // Some file systems open a file for it and then refuse, or ask for larger sectors.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.direct = None,
                read => return read,
            }
        }
        let read = read_at(&self.cached, offset, data)?;
        // A hint.
        let _ = rustix::fs::fadvise(&self.cached, offset, NonZeroU64::new(read as u64), Advice::DontNeed);
        Ok(read)
    }
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests;
