//! What can go wrong with a database.

use core::fmt;

use crate::engine;
use crate::recovery::RecoveryError;
use crate::wal::writer::Poisoned;

/// Why a call has failed.
///
/// ```
/// use osprey_core::db::Error;
/// use osprey_core::{engine, units::Version};
/// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
/// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// # let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), options)?;
///
/// db.set(b"name", b"Ada")?;
/// assert_eq!(db.incr(b"name", 1), Err(Error::Refused(engine::Error::NotAnInteger)));
/// // What another has changed meanwhile: read, and try again.
/// let outdated = db.compare_and_set(b"name", Version(9), b"Grace").unwrap_err();
/// assert_eq!(outdated.to_string(), "another version is current: 1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Nothing was done, for a reason that the caller can deal with. Never [`engine::Error::Busy`].
    Refused(engine::Error),
    /// Storage has failed. Whether the last writes are durable is not known, and nothing more can be: every later call fails as well. Open the database anew.
    Failed(Poisoned),
    /// There is no memory to go on with the log. What was called for has been done, but isn't certain to be durable; [`Db::sync`](super::Db::sync) tries again.
    Stalled,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Failed(poisoned) => poisoned.fmt(f),
            Self::Stalled => f.write_str("no memory to go on with the log; what was done is not certain to be durable"),
        }
    }
}

impl core::error::Error for Error {}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        Self::Refused(error)
    }
}

impl From<Poisoned> for Error {
    fn from(poisoned: Poisoned) -> Self {
        Self::Failed(poisoned)
    }
}

/// Why a database can't be opened.
///
/// ```
/// use osprey_core::db::OpenError;
/// use osprey_core::recovery::RecoveryError;
/// use osprey_core::storage::{LogFiles, SegmentNumber, Storage, StorageOp};
/// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
/// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
///
/// let mut storage = MemoryStorage::new();
/// storage.submit(StorageOp::Start { segment: SegmentNumber(1), header: b"something else".to_vec() });
/// let error = Db::open(storage, || Millis(1_000), options).err().expect("it is no log");
/// assert!(matches!(error, OpenError::Recovery(RecoveryError::Header(SegmentNumber(1), _))));
/// assert_eq!(error.to_string(), "wal-00000001.oswal: it does not begin with a segment header");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// What is there can't be read. Nothing was changed.
    Recovery(RecoveryError),
    /// The log can't be continued.
    Failed(Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recovery(error) => error.fmt(f),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for OpenError {}

impl From<RecoveryError> for OpenError {
    fn from(error: RecoveryError) -> Self {
        Self::Recovery(error)
    }
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
