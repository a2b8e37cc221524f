//! The data directory: what the files in it are called, and who may use it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use osprey_core::storage::SegmentNumber;

use super::Reservation;
use super::retired::Retired;
use super::snapshots::{DRAFT_NAME, Draft};
use super::unfinished::Unfinished;

const LOCK_NAME: &str = "LOCK";

const SUFFIX: &str = ".oswal";

const PREFIX: &str = "wal-";

/// What a segment is called before it is part of the log.
const RESERVED_SUFFIX: &str = ".oswal.next";

/// Why a data directory can't be used.
///
/// ```
/// use osprey::storage::{FileStorage, OpenError, Reservation};
/// # let directory = tempfile::tempdir()?;
///
/// let file = directory.path().join("file");
/// std::fs::write(&file, "")?;
/// let error = FileStorage::open(&file, Reservation::Allocated, || ()).expect_err("it is no directory");
/// assert!(matches!(error, OpenError::Directory(..)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub enum OpenError {
    /// It can't be made or opened.
    Directory(PathBuf, io::Error),
    /// Another server uses it; its process id, if it could be read.
    Locked(PathBuf, Option<u32>),
    /// A tool was interrupted in it.
    Unfinished(PathBuf, Unfinished),
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(path, error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) => {
                write!(f, "cannot use the data directory {}: a file stands in its place, or above it; set another data_dir", path.display())
            }
            Self::Directory(path, error) => {
                write!(f, "cannot use the data directory {}: {error}; set data_dir to a directory that this user can write", path.display())
            }
            Self::Locked(path, holder) => {
                write!(f, "the data directory {} is in use by another server", path.display())?;
                if let Some(pid) = holder {
                    write!(f, " (process {pid})")?;
                }
                f.write_str("; stop it, or set another data_dir")
            }
            Self::Unfinished(path, what) => what.describe(path, f),
        }
    }
}

impl std::error::Error for OpenError {}

#[derive(Clone, Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    pub(super) handle: Arc<File>,
    pub(super) reservation: Reservation,
    /// Of the thread for snapshots.
    pub(super) draft: Arc<Mutex<Draft>>,
    pub(super) retired: Arc<Retired>,
}

impl Directory {
    pub(super) fn segment(&self, number: SegmentNumber) -> PathBuf {
        self.path.join(number.to_string())
    }

    pub(super) fn reserved(&self, number: SegmentNumber) -> PathBuf {
        self.path.join(format!("{number}.next"))
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    /// Reservations of an earlier run were never part of the log.
    pub(super) fn remove_reserved(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let left_over = |name: &str| (name.starts_with(PREFIX) && name.ends_with(RESERVED_SUFFIX)) || name == DRAFT_NAME;
            if entry.file_name().to_str().is_some_and(left_over) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Makes a directory and what is missing above it, and makes their names durable: what is synced inside a directory whose own name is lost is
/// lost with it.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    let missing = path.ancestors().take_while(|above| !above.as_os_str().is_empty() && !above.exists()).count();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for made in path.ancestors().take(missing) {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Locks a data directory for as long as the file is open.
pub(crate) fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join(LOCK_NAME);
    let failed = |error| OpenError::Directory(directory.to_owned(), error);
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let pid = file.read_to_string(&mut holder).ok().and_then(|_| holder.trim().parse().ok());
            return Err(OpenError::Locked(directory.to_owned(), pid));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
    Ok(file)
}

/// The segment that a file is, by its name.
pub(crate) fn number_of(name: &str) -> Option<SegmentNumber> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let number = SegmentNumber(digits.parse().ok()?);
    // Only the one way of writing it: no other file may pass for a segment.
    (number.to_string() == name).then_some(number)
}
