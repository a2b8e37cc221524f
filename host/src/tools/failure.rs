//! Why a tool could not do what it was asked for.

use std::fmt::Display;
use std::io;
use std::path::Path;

use osprey_core::recovery::RecoveryError;
use osprey_core::wal::reader::ReadError;

/// All is well.
pub(super) const SOUND: u8 = 0;
/// Data is damaged, or was refused.
pub(super) const DAMAGED: u8 = 1;
/// It could not be done; clap's status for wrong usage too.
pub(super) const CANNOT: u8 = 2;

/// A server starts and nothing is lost, but what it would fall back on is damaged. Of `check` only.
pub(super) const SPARE_DAMAGED: u8 = 3;

/// What to say, and the exit status.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: u8,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn cannot(message: impl Into<String>) -> Self {
        Self { status: CANNOT, message: message.into() }
    }

    pub(super) fn damaged(message: impl Into<String>) -> Self {
        Self { status: DAMAGED, message: message.into() }
    }

    /// For `map_err`: what could not be done with which file.
    pub(super) fn file<E: Display>(doing: &str, path: &Path) -> impl Fn(E) -> Self {
        move |error| Self::cannot(format!("cannot {doing} {}: {error}", path.display()))
    }

    /// The data can't be read as a server would read it.
    pub(super) fn recovery(path: &Path, error: &RecoveryError) -> Self {
        match error {
            RecoveryError::OutOfMemory | RecoveryError::Storage(..) => Self::cannot(format!("{}: {error}", path.display())),
            _ => Self::damaged(format!("the data in {} is damaged: {error}; `osprey check` says more", path.display())),
        }
    }

    /// For lines of an answer that matters beyond them: who has heard enough, as `head` has, stops neither what is being done nor what the exit status says.
    pub(super) fn unless_closed(written: io::Result<()>) -> Result<(), Self> {
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|error| Self::output(&error)),
        }
    }

    /// Whether standard output was closed, by `head` or the like: no fault of anybody's.
    pub(super) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self { status: SOUND, message: String::new() },
            _ => Self::cannot(format!("cannot write the output: {error}")),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::cannot(match error {
            ReadError::Storage(error) => format!("the log cannot be read: {error}"),
            ReadError::OutOfMemory => "not enough memory to read the log".to_owned(),
        })
    }
}
