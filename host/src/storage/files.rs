//! Reading what is there, and cutting it: for recovery.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;

use osprey_core::storage::{LogFiles, SegmentNumber, SnapshotName, StorageError};

use super::directory::number_of;
use super::{FileStorage, failure};

impl LogFiles for FileStorage {
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
        let path = &self.directory.path;
        let list = || -> io::Result<_> {
            let mut segments = Vec::new();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                if let Some(number) = entry.file_name().to_str().and_then(number_of) {
                    segments.push((number, entry.metadata()?.len()));
                }
            }
            Ok(segments)
        };
        list().map_err(|error| failure("list", path, &error))
    }

    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let path = self.directory.segment(segment);
        let file = self.reading(segment)?;
        read_at(file, offset, buffer).map_err(|error| failure("read", &path, &error))
    }

    fn truncate(&mut self, segment: SegmentNumber, length: u64) -> Result<(), StorageError> {
        let path = self.directory.segment(segment);
        let file = self.reading(segment)?;
        file.set_len(length).and_then(|()| file.sync_all()).map_err(|error| failure("cut", &path, &error))
    }

    fn remove(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.reading = None;
        let path = self.directory.segment(segment);
        fs::remove_file(&path).and_then(|()| self.directory.sync()).map_err(|error| failure("remove", &path, &error))
    }

    fn sync(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        let path = self.directory.segment(segment);
        self.reading(segment)?.sync_all().map_err(|error| failure("sync", &path, &error))?;
        self.directory.sync().map_err(|error| failure("sync the directory of", &path, &error))
    }

    fn snapshots(&mut self) -> Result<Vec<(SnapshotName, u64)>, StorageError> {
        let path = &self.directory.path;
        let list = || -> io::Result<_> {
            let mut snapshots = Vec::new();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                if let Some(name) = entry.file_name().to_str().and_then(SnapshotName::parse) {
                    snapshots.push((name, entry.metadata()?.len()));
                }
            }
            Ok(snapshots)
        };
        list().map_err(|error| failure("list", path, &error))
    }

    fn read_snapshot(&mut self, name: SnapshotName, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let path = self.directory.snapshot(name);
        if self.reading_snapshot.as_ref().is_none_or(|(open, _)| *open != name) {
            let file = File::open(&path).map_err(|error| failure("open", &path, &error))?;
            self.reading_snapshot = Some((name, file));
        }
        let Some((_, file)) = &self.reading_snapshot else { return Err(StorageError::Io(None)) };
        read_at(file, offset, buffer).map_err(|error| failure("read", &path, &error))
    }
}

impl FileStorage {
    fn reading(&mut self, segment: SegmentNumber) -> Result<&File, StorageError> {
        if self.reading.as_ref().is_none_or(|(number, _)| *number != segment) {
            let path = self.directory.segment(segment);
            let file = OpenOptions::new().read(true).write(true).open(&path).map_err(|error| failure("open", &path, &error))?;
            self.reading = Some((segment, file));
        }
        self.reading.as_ref().map(|(_, file)| file).ok_or(StorageError::Io(None))
    }
}

/// Reads until the buffer is full or the file ends.
pub(crate) fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
