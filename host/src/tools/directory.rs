//! A data directory that no server uses, locked for as long as a tool works with it, and its segments as the core reads them. Reading changes nothing, also where
//! recovery would.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crc32c::crc32c_append;
use osprey_core::recovery::{self, Recovered, RecoveryError};
use osprey_core::snapshot::{self, SnapshotError};
use osprey_core::storage::{ChunkBytes, LogFiles, SegmentNumber, SnapshotName, StorageError};
use osprey_core::store::Store;

use super::failure::Failure;
use super::progress::Progress;
use crate::museum::planted;
use crate::storage::{OpenError, Unfinished, lock, number_of};

/// A directory, locked.
#[derive(Debug)]
pub(super) struct DataDirectory {
    pub(super) path: PathBuf,
    _lock: Option<File>,
}

impl DataDirectory {
    /// One that is there, and whole.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let directory = Self::open_half_repaired(path)?;
        match Unfinished::of(path) {
            Some(what) => Err(Failure::damaged(OpenError::Unfinished(path.to_owned(), what).to_string())),
            None => Ok(directory),
        }
    }

    /// One that is there, and may be in the middle of a repair.
    pub(super) fn open_half_repaired(path: &Path) -> Result<Self, Failure> {
        // Nothing is not sound data: most likely it is another directory that was meant. In that not even a LOCK is left.
        if path.is_dir() && Unfinished::of(path).is_none() && !holds_data(path).map_err(Failure::file("list", path))? {
            return Err(Failure::cannot(format!("there is no data in {}", path.display())));
        }
        let directory = Self::lock(path)?;
        match Unfinished::of(path) {
            Some(what @ Unfinished::Copy) => Err(Failure::damaged(OpenError::Unfinished(path.to_owned(), what).to_string())),
            Some(Unfinished::Repair) | None => Ok(directory),
        }
    }

    /// One that is there, whatever is in it.
    pub(super) fn lock(path: &Path) -> Result<Self, Failure> {
        if !fs::metadata(path).map_err(Failure::file("open the data directory", path))?.is_dir() {
            return Err(Failure::cannot(format!("{} is not a directory", path.display())));
        }
        let lock = match lock(path) {
            Ok(lock) => Some(lock),
            // A copy on a medium that can't be written has no server either.
            Err(OpenError::Directory(_, error)) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => None,
            Err(OpenError::Directory(_, error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(Failure::cannot(format!("cannot lock {}: {error}; be the user whose data it is", path.display())));
            }
            Err(error) => return Err(Failure::cannot(error.to_string())),
        };
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The names of its files, sorted; those that are no text are left out.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Makes the names of its files durable.
    pub(super) fn sync(&self) -> Result<(), Failure> {
        sync_directory(&self.path)
    }

    /// Its segments.
    pub(super) fn files(&self) -> Result<Files, Failure> {
        let names = self.names().map_err(Failure::file("list", &self.path))?;
        let named = names.iter().filter_map(|name| Some((number_of(name)?, self.path.join(name))));
        let snapshots = names.iter().filter_map(|name| Some((SnapshotName::parse(name)?, self.path.join(name))));
        Ok(Files::new(named.collect(), snapshots.collect()))
    }
}

/// Whether there are segments or snapshots, whatever is in them.
fn holds_data(path: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(path)? {
        if entry?.file_name().to_str().is_some_and(is_data) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The names of segments and snapshots.
pub(super) fn is_data(name: &str) -> bool {
    number_of(name).is_some() || SnapshotName::parse(name).is_some()
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), Failure> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(Failure::file("sync the directory", path))
}

/// Segments as files, wherever they are. What recovery would change stays as it is.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) paths: BTreeMap<SegmentNumber, PathBuf>,
    pub(super) snapshots: BTreeMap<SnapshotName, PathBuf>,
    reading: Option<(SegmentNumber, File)>,
    read: u64,
    progress: Option<Progress>,
}

impl Files {
    pub(super) fn new(paths: BTreeMap<SegmentNumber, PathBuf>, snapshots: BTreeMap<SnapshotName, PathBuf>) -> Self {
        Self { paths, snapshots, reading: None, read: 0, progress: None }
    }

    /// Shows progress from now on, over all segments read once.
    pub(super) fn with_progress(mut self, doing: &'static str) -> Self {
        let total = self.paths.values().filter_map(|path| fs::metadata(path).ok()).map(|file| file.len()).sum();
        self.progress = Some(Progress::new(doing, total));
        self
    }

    /// Snapshots that are not whole, and why: also those that a server would not look at yet.
    pub(super) fn damaged_snapshots(&mut self) -> Vec<(SnapshotName, SnapshotError)> {
        let names: Vec<SnapshotName> = self.snapshots.keys().copied().filter(|_| !planted("snapshots_unchecked")).collect();
        let damage = |name| snapshot::verify(|offset, buffer: &mut [u8]| self.read_snapshot(name, offset, buffer), crc32c_append).err();
        names.iter().copied().map(damage).zip(&names).filter_map(|(error, name)| Some((*name, error?))).collect()
    }

    /// What a server would load, and how far the log goes.
    pub(super) fn load(&mut self) -> Result<(Store, Recovered), RecoveryError> {
        let mut store = Store::new([0; 16]).map_err(|_| RecoveryError::OutOfMemory)?;
        let recovered = recovery::recover(self, &mut store, crc32c_append, ChunkBytes::default(), &mut |_| {})?;
        Ok((store, recovered))
    }
}

impl LogFiles for Files {
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
        let lengths = self.paths.iter().map(|(number, path)| Ok((*number, fs::metadata(path)?.len())));
        lengths.collect::<io::Result<_>>().map_err(|error| StorageError::Io(error.raw_os_error()))
    }

    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let failed = |error: io::Error| StorageError::Io(error.raw_os_error());
        if self.reading.as_ref().is_none_or(|(number, _)| *number != segment) {
            let path = self.paths.get(&segment).ok_or(StorageError::Io(None))?;
            self.reading = Some((segment, File::open(path).map_err(failed)?));
        }
        let Some((_, file)) = &self.reading else { return Err(StorageError::Io(None)) };
        let filled = crate::storage::read_at(file, offset, buffer).map_err(failed)?;
        self.read += filled as u64;
        if let Some(progress) = &mut self.progress {
            progress.set(self.read);
        }
        Ok(filled)
    }

    fn snapshots(&mut self) -> Result<Vec<(SnapshotName, u64)>, StorageError> {
        let lengths = self.snapshots.iter().map(|(name, path)| Ok((*name, fs::metadata(path)?.len())));
        lengths.collect::<io::Result<_>>().map_err(|error| StorageError::Io(error.raw_os_error()))
    }

    fn read_snapshot(&mut self, name: SnapshotName, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let failed = |error: io::Error| StorageError::Io(error.raw_os_error());
        let path = self.snapshots.get(&name).ok_or(StorageError::Io(None))?;
        let file = File::open(path).map_err(failed)?;
        crate::storage::read_at(&file, offset, buffer).map_err(failed)
    }

    fn truncate(&mut self, _: SegmentNumber, _: u64) -> Result<(), StorageError> {
        Ok(())
    }

    fn remove(&mut self, _: SegmentNumber) -> Result<(), StorageError> {
        Ok(())
    }

    fn sync(&mut self, _: SegmentNumber) -> Result<(), StorageError> {
        Ok(())
    }
}
