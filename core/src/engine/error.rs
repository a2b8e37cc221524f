//! Why a command is refused: one list, for the protocol's `ERR` lines and for [`Engine`](super::Engine)'s calls.

use core::fmt;

use super::journal::Busy;
use super::snapshots::SnapshotFailure;
use crate::protocol::error::{ErrorCode, RequestError};
use crate::record::OutOfMemory;
use crate::storage::StorageError;
use crate::units::Version;
use crate::wal::writer::NoRoom;

/// Why a command was refused. Nothing has changed.
///
/// Displayed it is what a client of the server is told behind `ERR` and the [code](Error::code): what is wrong, and what to do.
///
/// ```
/// use osprey_core::engine::Error;
/// use osprey_core::protocol::error::ErrorCode;
/// use osprey_core::units::Version;
///
/// let error = Error::Version(Version(3));
/// assert_eq!(error.code(), ErrorCode::Ver);
/// assert_eq!(error.to_string(), "another version is current: 3");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Storage must end an operation first: drive it, then call again. (A client of the server is never told: its request waits.)
    Busy,
    /// The key must not be there, and is.
    Exists,
    /// The key must be there, and isn't.
    NotExists,
    /// Another version is current than the one that was asked for: this one, [`Version::NONE`] where there is no key.
    Version(Version),
    /// The value is no integer.
    NotAnInteger,
    /// The sum would leave the 64-bit range.
    OutOfRange,
    /// The expiry would lie behind [`Millis::MAX`](crate::units::Millis::MAX).
    ExpiryTooFar,
    /// A key of no bytes.
    EmptyKey,
    /// A key with one of the bytes 0x00 to 0x20, or 0x7F.
    BadKey,
    /// A key over its limit.
    KeyTooLong {
        /// Its length, bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A value, or all values of one call, over their limit.
    ValueTooLong {
        /// Their length, bytes.
        bytes: u64,
        /// The limit.
        limit: usize,
    },
    /// More keys in one call than a line of the protocol may have words.
    TooMany {
        /// The most words.
        limit: usize,
    },
    /// The reply to an `MGET` would be too large. (Calls lend their values, and never meet this.)
    ReplyTooLarge {
        /// Its length, bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// No memory.
    OutOfMemory,
    /// [`Limits::memory_bytes_max`](super::Limits::memory_bytes_max), which is this, would be passed.
    MemoryLimit(u64),
    /// There is no space for the log.
    ReadOnly,
    /// The key had version 2^64 − 1.
    VersionsUsedUp,
    /// There is no snapshot.
    Snapshot(SnapshotFailure),
}

impl Error {
    /// The word behind `ERR`.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Busy => ErrorCode::Busy,
            Self::Exists => ErrorCode::Exists,
            Self::NotExists => ErrorCode::NExists,
            Self::Version(_) => ErrorCode::Ver,
            Self::NotAnInteger => ErrorCode::Type,
            Self::OutOfRange => ErrorCode::Range,
            Self::ExpiryTooFar | Self::EmptyKey | Self::BadKey => ErrorCode::BadReq,
            Self::KeyTooLong { .. } | Self::ValueTooLong { .. } | Self::TooMany { .. } | Self::ReplyTooLarge { .. } => ErrorCode::TooLarge,
            Self::OutOfMemory | Self::MemoryLimit(_) => ErrorCode::Oom,
            Self::ReadOnly => ErrorCode::ReadOnly,
            Self::VersionsUsedUp => ErrorCode::Internal,
            Self::Snapshot(failure) => match failure {
                SnapshotFailure::Storage(StorageError::NoSpace) | SnapshotFailure::LogFirst => ErrorCode::ReadOnly,
                SnapshotFailure::OutOfMemory => ErrorCode::Oom,
                SnapshotFailure::Unsupported
                | SnapshotFailure::Storage(StorageError::Io(_) | StorageError::NotAskedFor)
                | SnapshotFailure::Unverified(_)
                | SnapshotFailure::Damaged(..)
                | SnapshotFailure::Stopping => ErrorCode::Internal,
            },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Busy => f.write_str("storage must end what it does before this can be done"),
            Self::Exists => f.write_str("the key exists; NX sets only a key that does not"),
            Self::NotExists => f.write_str("the key does not exist; XX sets only a key that does"),
            Self::Version(current) => write!(f, "another version is current: {}", current.0),
            Self::NotAnInteger => f.write_str("the value is no 64-bit decimal integer"),
            Self::OutOfRange => f.write_str("the result would leave the 64-bit range; the value stays"),
            Self::ExpiryTooFar => f.write_str("the expiry is too far in the future"),
            Self::EmptyKey => f.write_str("the key is empty"),
            Self::BadKey => RequestError::BadKey.fmt(f),
            Self::KeyTooLong { bytes, limit } => RequestError::KeyTooLong { bytes, limit }.fmt(f),
            Self::ValueTooLong { bytes, limit } => RequestError::ValueTooLong { bytes, limit }.fmt(f),
            Self::TooMany { limit } => RequestError::TooManyWords(limit).fmt(f),
            Self::ReplyTooLarge { bytes, limit } => {
                write!(f, "the reply would have {bytes} bytes, the limit is {limit}; ask for fewer keys at once")
            }
            Self::OutOfMemory => f.write_str("no memory left; nothing changed, reads and DEL go on working"),
            Self::MemoryLimit(limit) => {
                write!(f, "max_memory_bytes ({limit}) is reached; nothing changed, DEL keys or raise the limit")
            }
            Self::ReadOnly => f.write_str("no space for the log on the disk; nothing changed, reads go on working, free some space"),
            Self::Snapshot(failure) => failure.fmt(f),
            Self::VersionsUsedUp => f.write_str("the versions of this key are used up"),
        }
    }
}

impl core::error::Error for Error {}

/// A command has changed nothing.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Storage is busy: execute the command again later.
    Wait,
    /// This is the answer.
    Error(Error),
    /// There is no memory for an answer.
    NoReply,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<OutOfMemory> for Refusal {
    fn from(OutOfMemory: OutOfMemory) -> Self {
        Self::Error(Error::OutOfMemory)
    }
}

impl From<Busy> for Refusal {
    fn from(Busy: Busy) -> Self {
        Self::Wait
    }
}

impl From<NoRoom> for Refusal {
    fn from(no_room: NoRoom) -> Self {
        match no_room {
            NoRoom::Busy => Self::Wait,
            NoRoom::ReadOnly => Self::Error(Error::ReadOnly),
            NoRoom::OutOfMemory => OutOfMemory.into(),
        }
    }
}
