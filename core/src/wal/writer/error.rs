//! Why nothing can be logged: for now, or for ever.

use crate::storage::{SegmentNumber, StorageError};

/// Why a record can't be logged now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// Storage is busy: possible again after the next completion.
    Busy,
    /// No space on the device for another segment.
    ReadOnly,
    /// No memory for the frame.
    OutOfMemory,
}

/// Storage has failed in a way after which nothing may be promised any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poisoned {
    /// The segment concerned.
    pub segment: SegmentNumber,
    /// What was to be done.
    pub during: &'static str,
    /// What storage said.
    pub error: StorageError,
}

impl core::fmt::Display for Poisoned {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "cannot {} {}: {}", self.during, self.segment, self.error)
    }
}

impl core::error::Error for Poisoned {}
