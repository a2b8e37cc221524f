//! The log and its snapshots as files of a directory. An operation is done when `submit` returns, so it belongs where waiting does no harm.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use osprey_core::storage::{LogFiles, SegmentNumber, SnapshotName, SnapshotOp, Storage, StorageDone, StorageError, StorageOp};

/// See the module.
#[derive(Debug)]
pub(crate) struct Files {
    path: PathBuf,
    /// To sync names, and locked: two engines on one log would be its end.
    directory: File,
    /// The file that was used last.
    open: Option<(PathBuf, File)>,
}

impl Files {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let directory = File::open(path)?;
        directory.try_lock()?;
        for entry in fs::read_dir(path)? {
            // What was never part of the log: reservations, and snapshots that weren't finished.
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| name.ends_with(".next")) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { path: path.to_owned(), directory, open: None })
    }

    fn file(&mut self, name: &impl ToString) -> io::Result<&File> {
        let path = self.path.join(name.to_string());
        if self.open.as_ref().is_none_or(|(open, _)| *open != path) {
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            self.open = Some((path, file));
        }
        self.open.as_ref().map(|(_, file)| file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// A new file under a name that nobody takes for a segment or a snapshot.
    fn create(&mut self, name: &str) -> io::Result<&File> {
        self.open = None;
        File::create(self.path.join(name))?;
        self.file(&name)
    }

    /// Gives a file its name when all of it is on disk: after a power cut it is whole, or isn't there.
    fn publish(&mut self, from: &str, to: &impl ToString) -> io::Result<()> {
        self.file(&from)?.sync_all()?;
        self.open = None;
        fs::rename(self.path.join(from), self.path.join(to.to_string()))?;
        self.directory.sync_all()
    }

    fn delete(&mut self, name: &impl ToString) -> io::Result<()> {
        self.open = None;
        match fs::remove_file(self.path.join(name.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.directory.sync_all(),
        }
    }

    fn perform(&mut self, op: &mut StorageOp) -> io::Result<()> {
        const DRAFT: &str = "snapshot.osnap.next";
        const RESERVED: &str = "wal.oswal.next";
        match op {
            StorageOp::Reserve { bytes, .. } => {
                // Really written, so that no append meets a full disk: std can't ask for blocks otherwise.
                let file = self.create(RESERVED)?;
                for offset in (0..*bytes).step_by(64 << 10) {
                    file.write_all_at(&[0; 64 << 10], offset)?;
                }
                file.set_len(*bytes)?;
                file.sync_all()
            }
            StorageOp::Start { segment, header } => {
                self.file(&RESERVED)?.write_all_at(header, 0)?;
                self.publish(RESERVED, segment)
            }
            StorageOp::Append { segment, offset, data, sync } => {
                let file = self.file(segment)?;
                file.write_all_at(data, *offset)?;
                if *sync { file.sync_data() } else { Ok(()) }
            }
            StorageOp::Sync { segment, trim_to } => {
                let file = self.file(segment)?;
                trim_to.map_or(Ok(()), |length| file.set_len(length))?;
                file.sync_data()
            }
            StorageOp::Snapshot(SnapshotOp::Create { .. }) => self.create(DRAFT).map(drop),
            StorageOp::Snapshot(SnapshotOp::Append { offset, data }) => self.file(&DRAFT)?.write_all_at(data, *offset),
            StorageOp::Snapshot(SnapshotOp::Publish { name }) => self.publish(DRAFT, name),
            StorageOp::Snapshot(SnapshotOp::Discard) => self.delete(&DRAFT),
            StorageOp::Snapshot(SnapshotOp::Read { name, offset, buffer }) => {
                let read = read_at(self.file(name)?, *offset, buffer)?;
                buffer.truncate(read);
                Ok(())
            }
            StorageOp::Snapshot(SnapshotOp::Remove { name }) => self.delete(name),
            StorageOp::Snapshot(SnapshotOp::RemoveSegment { segment }) => self.delete(segment),
        }
    }

    /// The files whose names `parse` knows, with their lengths.
    fn list<T>(&self, parse: impl Fn(&str) -> Option<T>) -> io::Result<Vec<(T, u64)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if let Some(name) = entry.file_name().to_str().and_then(&parse) {
                found.push((name, entry.metadata()?.len()));
            }
        }
        Ok(found)
    }
}

/// Fills the buffer, but for what is behind the file's end.
fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failure(error: io::Error) -> StorageError {
    eprintln!("storage: {error}");
    if error.kind() == io::ErrorKind::StorageFull { StorageError::NoSpace } else { StorageError::Io(error.raw_os_error()) }
}

impl Storage for Files {
    fn submit(&mut self, mut op: StorageOp) -> Option<StorageDone> {
        let result = self.perform(&mut op).map_err(failure);
        Some(StorageDone { op, result })
    }

    fn poll(&mut self) -> Option<StorageDone> {
        None
    }
}

impl LogFiles for Files {
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
        let number = |name: &str| Some(SegmentNumber(name.strip_prefix("wal-")?.strip_suffix(".oswal")?.parse().ok()?));
        self.list(|name| number(name).filter(|number| number.to_string() == name)).map_err(failure)
    }

    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        self.file(&segment).and_then(|file| read_at(file, offset, buffer)).map_err(failure)
    }

    fn truncate(&mut self, segment: SegmentNumber, length: u64) -> Result<(), StorageError> {
        self.file(&segment).and_then(|file| file.set_len(length).and_then(|()| file.sync_all())).map_err(failure)
    }

    fn remove(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.delete(&segment).map_err(failure)
    }

    fn sync(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.file(&segment).and_then(File::sync_all).and_then(|()| self.directory.sync_all()).map_err(failure)
    }

    fn snapshots(&mut self) -> Result<Vec<(SnapshotName, u64)>, StorageError> {
        self.list(SnapshotName::parse).map_err(failure)
    }

    fn read_snapshot(&mut self, name: SnapshotName, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        self.file(&name).and_then(|file| read_at(file, offset, buffer)).map_err(failure)
    }
}
