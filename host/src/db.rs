//! The store without the server: a directory opened by the program that uses it.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("data");
//! let mut db = osprey::open(&path)?;
//! db.set(b"user:1", b"Ada")?; // on disk when it returns
//! db.batch(|db| (0..1000).try_for_each(|_| db.incr(b"visits", 1).map(drop)))?; // one sync for all of them
//! db.close()?;
//!
//! let mut db = osprey::open(&path)?;
//! assert_eq!(db.get(b"user:1")?.expect("it was set").value, b"Ada");
//! assert_eq!(db.incr(b"visits", 0)?, 1000);
//! # Ok(())
//! # }
//! ```
//! The files are those of the server: either may open what the other has left, but only one at a time, and the tools work on both.

use std::fmt;
use std::path::Path;

use crc32c::crc32c_append;
use osprey_core::clock::Clock as _;
use osprey_core::engine::{Engine, Options, SnapshotOptions};
use osprey_core::recovery::RecoveryError;
use osprey_core::wal::writer::SyncPolicy;

use crate::clock::SystemClock;
use crate::entropy::entropy;
use crate::storage::{self, FileStorage, Reservation};

/// A database in a directory. Its calls are those of [`osprey_core::db::Db`].
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("data");
/// use osprey::Db;
///
/// /// How often this program has been started.
/// fn starts(db: &mut Db) -> Result<i64, osprey::osprey_core::db::Error> {
///     db.incr(b"starts", 1)
/// }
///
/// assert_eq!(starts(&mut osprey::open(&path)?)?, 1);
/// assert_eq!(starts(&mut osprey::open(&path)?)?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type Db = osprey_core::db::Db<FileStorage, SystemClock>;

/// Why a directory can't be opened.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("data");
/// let _first = osprey::open(&path)?;
/// let second = osprey::open(&path).expect_err("a directory is open once");
/// assert!(matches!(second, osprey::db::OpenError::Directory(osprey::storage::OpenError::Locked(..))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub enum OpenError {
    /// It can't be used, or is in use.
    Directory(storage::OpenError),
    /// What is in it can't be read. Nothing was changed.
    Recovery(RecoveryError),
    /// Its log can't be continued.
    Log(osprey_core::db::Error),
    /// The system gives no random numbers.
    Entropy(getrandom::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(error) => error.fmt(f),
            Self::Recovery(error) => error.fmt(f),
            Self::Log(error) => error.fmt(f),
            Self::Entropy(error) => write!(f, "the system gives no random numbers: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// Opens the database in a directory, which is made if there is none, with [`options`].
///
/// # Errors
/// See [`OpenError`].
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("data");
/// let mut db = osprey::open(&path)?;
/// db.set(b"user:1", b"Ada")?; // on disk when it returns
/// drop(db); // as if the program had ended here
/// assert_eq!(osprey::open(&path)?.get(b"user:1")?.expect("it was set").value, b"Ada");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn open(path: impl AsRef<Path>) -> Result<Db, OpenError> {
    open_with(path, options().map_err(OpenError::Entropy)?)
}

/// What [`open`] takes: every write is on disk when its call returns ([`SyncPolicy::Always`]), snapshots are taken when there is much log, limits are the server's defaults.
///
/// # Errors
/// The system gives no random numbers.
///
/// ```
/// let options = osprey::db::options()?;
/// assert!(options.snapshots.is_some());
/// assert_ne!(options.entropy.hash_key, osprey::db::options()?.entropy.hash_key, "random, and new each time");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn options() -> Result<Options, getrandom::Error> {
    Ok(Options {
        sync_policy: SyncPolicy::Always,
        snapshots: Some(SnapshotOptions::default()),
        checksum: crc32c_append,
        ..Options::new(entropy()?)
    })
}

/// As [`open`], with options of your own, which are best made from [`options`].
///
/// # Errors
/// See [`OpenError`].
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("data");
/// use osprey::osprey_core::engine::{Options, SyncPolicy};
///
/// // Writes that a crash of the machine may take back, a tenth of a second of them, don't wait for the disk.
/// let sync_policy = SyncPolicy::Batch { delay_ms: 100, bytes: 1 << 20 };
/// let mut db = osprey::open_with(&path, Options { sync_policy, ..osprey::db::options()? })?;
/// assert_eq!(db.incr(b"visits", 1)?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn open_with(path: impl AsRef<Path>, options: Options) -> Result<Db, OpenError> {
    let mut storage = FileStorage::open(path.as_ref(), Reservation::Allocated, || ()).map_err(OpenError::Directory)?;
    storage.append_at_once();
    let (engine, report) = Engine::recover(options, &mut storage, SystemClock::default().now()).map_err(OpenError::Recovery)?;
    if let Some(torn) = report.torn {
        log::warn!("{}: the end of the log was torn: {} bytes from {} on were cut", path.as_ref().display(), torn.bytes, torn.offset);
    }
    let clock = SystemClock::not_before(engine.now());
    Db::with_engine(engine, storage, clock).map_err(OpenError::Log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_that_is_given_back_serves_again() {
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            // One segment without a record: the next start replaces it.
            open(directory.path()).unwrap().close().unwrap();
        }
        let mut db = open(directory.path()).unwrap();
        for round in 0..20_u8 {
            db.set(b"round", &[round]).unwrap();
            let storage = db.close().unwrap();
            db = Db::open(storage, SystemClock::default(), options().unwrap()).unwrap();
            assert_eq!(db.get(b"round").unwrap().expect("it was set").value, [round]);
        }
    }

    #[test]
    fn nobody_works_in_a_directory_that_is_open_no_more() {
        let directory = tempfile::tempdir().unwrap();
        for round in 0..20_u8 {
            let mut db = open(directory.path()).unwrap();
            db.set(b"round", &[round]).unwrap();
            drop(db);
            let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert!(names.iter().all(|name| !name.to_string_lossy().ends_with(".next")), "{names:?}");
        }
    }
}
