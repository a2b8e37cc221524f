//! What can go wrong with a database.

use core::fmt;

use crate::engine;
use crate::recovery::RecoveryError;
use crate::wal::writer::Poisoned;

/// Why a call has failed.
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
