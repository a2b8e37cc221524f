//! Checks storage against the [contract](crate::storage): for who writes a [`Storage`] of their own. Behind the feature `conformance`.
//!
//! ```text
//!  check ──▶ subject: makes storage, kills it, cuts its power
//!    └─────▶ driver: submits operations, waits for them, reads back ──▶ Violation { rule, found }
//! ```
//! The storage is asked for what an engine asks for, in ways in which an engine may ask, and what it holds is read back after the process's end and, if the subject can
//! do that, after a loss of power. Whatever isn't as it should be is named by the rule that it breaks. Last, an engine runs on it.
//!
//! It is for tests: it allocates as it likes.

mod driver;
mod log;
mod running;
mod snapshots;

use alloc::string::String;
use core::fmt;

use crate::storage::{LogFiles, Storage};
use crate::wal::segment::HEADER_BYTES;
use driver::Driver;

/// Storage to be checked, and how it is treated.
///
/// ```
/// use osprey_core::conformance::{Subject, check};
/// use osprey_core::storage::memory::MemoryStorage;
///
/// struct InMemory;
///
/// impl Subject for InMemory {
///     type Storage = MemoryStorage;
///
///     fn create(&mut self) -> MemoryStorage {
///         MemoryStorage::new()
///     }
///
///     fn kill(&mut self, storage: MemoryStorage) -> MemoryStorage {
///         storage // of files: close them, open the directory anew
///     }
///
///     fn cuts_power(&self) -> bool {
///         true
///     }
///
///     fn cut_power(&mut self, storage: MemoryStorage) -> MemoryStorage {
///         storage // of files: lose what was not synced
///     }
///
///     fn snapshots(&self) -> bool {
///         true
///     }
///
///     fn segment_bytes(&self) -> u64 {
///         32 << 10
///     }
///
///     fn always_synced(&self) -> bool {
///         false
///     }
///
///     fn wait(&mut self, looks: u32) -> bool {
///         looks < 1_000 // it does everything at once
///     }
/// }
///
/// let checked = check(&mut InMemory)?;
/// assert!(checked.kills > 0 && checked.power_cuts > 0 && checked.snapshots);
/// # Ok::<(), osprey_core::conformance::Violation>(())
/// ```
pub trait Subject {
    /// What is checked.
    type Storage: Storage + LogFiles;

    /// Storage that is new and empty.
    fn create(&mut self) -> Self::Storage;

    /// The process ends without notice and begins again: the same storage, opened anew. Operations under way may have happened or not.
    fn kill(&mut self, storage: Self::Storage) -> Self::Storage;

    /// Whether [`Subject::cut_power`] does something. If not, the rules about a loss of power aren't checked.
    fn cuts_power(&self) -> bool {
        false
    }

    /// The power fails and returns. The more is lost of what may be lost, the better.
    fn cut_power(&mut self, storage: Self::Storage) -> Self::Storage {
        storage
    }

    /// Whether it does [`StorageOp::Snapshot`](crate::storage::StorageOp::Snapshot).
    fn snapshots(&self) -> bool {
        true
    }

    /// How large a segment may be, bytes; at least 32 KiB.
    fn segment_bytes(&self) -> u64 {
        64 << 10
    }

    /// Whether every append is to be synced ([`SyncPolicy::Always`](crate::wal::writer::SyncPolicy::Always)): some flash can't write otherwise.
    fn always_synced(&self) -> bool {
        false
    }

    /// Lets some time pass, since nothing has ended at the last of so many looks in a row. Returns whether to look again; else the operation is taken for lost.
    fn wait(&mut self, looks: u32) -> bool {
        core::hint::spin_loop();
        looks < 100_000_000
    }
}

/// What storage owes. The texts say it.
///
/// ```
/// use osprey_core::conformance::Rule;
///
/// assert_eq!(Rule::NewIsEmpty.text(), "new storage holds no segment and no snapshot");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "see `Rule::text`")]
pub enum Rule {
    NewIsEmpty,
    DoneWithoutError,
    EndsOnce,
    ComesBackWhole,
    ReservedIsNoSegment,
    StartIsAtomic,
    StartIsDurable,
    StartReplaces,
    ListsAll,
    AppendedIsThere,
    OthersAreZeros,
    SyncedIsDurable,
    TrimmedToLength,
    ReadsWhole,
    TruncateIsDurable,
    RemoveIsDurable,
    RecoverySyncIsDurable,
    DraftIsNoSnapshot,
    CreateBeginsAnew,
    PublishIsDurable,
    PublishIsAtomic,
    SnapshotIsWhole,
    SnapshotReadsWhole,
    SnapshotRemoveIsDurable,
    EngineRecovers,
}

impl Rule {
    /// The rule in words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::NewIsEmpty => "new storage holds no segment and no snapshot",
            Self::DoneWithoutError => "an operation for which there is space, and a file, succeeds",
            Self::EndsOnce => "an operation comes back exactly once, from `submit` or from `poll`",
            Self::ComesBackWhole => "an operation comes back as it was submitted, with its buffers",
            Self::ReservedIsNoSegment => "what is reserved is no segment before it is started, also after the process's end",
            Self::StartIsAtomic => "a segment that is being started has its whole header, or is not there",
            Self::StartIsDurable => "a segment that was started survives a loss of power, with its header",
            Self::StartReplaces => "a segment that is started replaces one of the same number, and all that was in it",
            Self::ListsAll => {
                "every segment that was started and not removed is listed once, with a length that holds all that was appended"
            }
            Self::AppendedIsThere => "a segment's header and what was appended stand at their offsets, also after the process's end",
            Self::OthersAreZeros => "what was not written reads as zeros: between appends, and behind the last up to the segment's length",
            Self::SyncedIsDurable => {
                "an append with `sync`, and a sync, outlive a loss of power, with everything that was appended to the segment before"
            }
            Self::TrimmedToLength => "a sync with `trim_to` leaves the segment with that length",
            Self::ReadsWhole => "a read fills its buffer; less only at the segment's end, and nothing behind it",
            Self::TruncateIsDurable => {
                "a segment that is cut has the new length, what stood before it, and keeps both over a loss of power"
            }
            Self::RemoveIsDurable => {
                "a segment that is removed is gone, also after a loss of power; it is no mistake to remove one that is not there by an operation"
            }
            Self::RecoverySyncIsDurable => "recovery's sync makes a segment durable as it is, its name included",
            Self::DraftIsNoSnapshot => "a snapshot has no name before it is published, also after the process's end",
            Self::CreateBeginsAnew => "a snapshot that is begun is empty, whatever another attempt has left",
            Self::PublishIsDurable => "a snapshot that was published survives a loss of power",
            Self::PublishIsAtomic => "a snapshot that is being published is whole under its name, or not there",
            Self::SnapshotIsWhole => "a snapshot is listed once, with its length, and holds what was appended to it",
            Self::SnapshotReadsWhole => "a read of a snapshot fills its buffer, and is cut only where the snapshot ends",
            Self::SnapshotRemoveIsDurable => {
                "a snapshot that is removed or discarded is gone, also after a loss of power; removing what is not there is no mistake"
            }
            Self::EngineRecovers => "an engine that is recovered has everything that was acknowledged",
        }
    }

    /// What it mostly is, where the storage is files; empty where there is nothing to say.
    fn hint(self) -> &'static str {
        match self {
            Self::DoneWithoutError => "To remove or discard what isn't there is no failure.",
            Self::EndsOnce => "Return it from `submit` if it is done, else keep it and return it from `poll`, failed or not.",
            Self::ReservedIsNoSegment | Self::DraftIsNoSnapshot => "Write it under a name that `segments` and `snapshots` don't list.",
            Self::StartIsAtomic | Self::PublishIsAtomic | Self::StartIsDurable | Self::PublishIsDurable => {
                "Write, sync the file, give it its name, sync the directory: in this order."
            }
            Self::RemoveIsDurable | Self::SnapshotRemoveIsDurable => "Sync the directory after the removal.",
            Self::StartReplaces => "Rename the new file over it.",
            Self::ListsAll => "Numbers in names have eight digits or more.",
            Self::AppendedIsThere => {
                "A write of the system's may take less than it is given; a file that was opened for appending ignores the offset."
            }
            Self::OthersAreZeros => "A file that is used again has to be emptied first.",
            Self::SyncedIsDurable => "Sync that very file, after the write has returned.",
            Self::ReadsWhole => {
                "A read of the system's may give less than was asked for: read on until the buffer is full or the end has come."
            }
            Self::TruncateIsDurable => "Sync the file after cutting it.",
            Self::RecoverySyncIsDurable => "Sync the file and the directory: the run before may have ended before it did.",
            Self::CreateBeginsAnew => "Cut what is there to nothing.",
            Self::SnapshotIsWhole => "Write at the offset that is given, and sync the file before it gets its name.",
            Self::SnapshotReadsWhole => "Read on until the buffer is full or the end has come, and cut the buffer there.",
            Self::NewIsEmpty | Self::ComesBackWhole | Self::TrimmedToLength | Self::EngineRecovers => "",
        }
    }
}

/// How storage breaks the contract.
///
/// ```
/// use osprey_core::conformance::{Rule, Subject, check};
/// use osprey_core::storage::memory::MemoryStorage;
///
/// /// Its storage goes with the process.
/// struct Forgets;
///
/// impl Subject for Forgets {
///     type Storage = MemoryStorage;
///
///     fn create(&mut self) -> MemoryStorage {
///         MemoryStorage::new()
///     }
///
///     fn kill(&mut self, _: MemoryStorage) -> MemoryStorage {
///         MemoryStorage::new()
///     }
/// }
///
/// let violation = check(&mut Forgets).expect_err("what was acknowledged is gone");
/// assert_eq!(violation.rule, Rule::ListsAll);
/// assert!(violation.to_string().starts_with("the rule \"every segment that was started"), "{violation}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule that is broken.
    pub rule: Rule,
    /// By what.
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the rule \"{}\" is broken: {}", self.rule.text(), self.found)?;
        match self.rule.hint() {
            "" => Ok(()),
            hint => write!(f, ". {hint}"),
        }
    }
}

impl core::error::Error for Violation {}

/// What was checked.
///
/// ```
/// use osprey_core::conformance::Checked;
///
/// // What a test should insist on, so that it can't pass for want of anything checked.
/// let checked = Checked { operations: 500, kills: 20, power_cuts: 0, snapshots: true };
/// assert!(checked.operations > 0 && checked.kills > 0);
/// assert_eq!(checked.power_cuts, 0, "the subject can't cut the power");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Operations that ended as they should.
    pub operations: u64,
    /// How often the process was killed.
    pub kills: u64,
    /// How often the power was cut; 0: the rules about that weren't checked.
    pub power_cuts: u64,
    /// Whether snapshots were checked.
    pub snapshots: bool,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operations, kills, power_cuts, snapshots } = self;
        write!(f, "{operations} operations, {kills} kills, {power_cuts} power cuts")?;
        if *power_cuts == 0 {
            f.write_str("; NOT checked: what outlives a loss of power (`Subject::cut_power`)")?;
        }
        f.write_str(if *snapshots { "" } else { "; NOT checked: snapshots (`Subject::snapshots`)" })
    }
}

/// Checks everything.
///
/// # Errors
/// The first rule that was found broken.
///
/// ```
/// use osprey_core::conformance::{Subject, check};
/// use osprey_core::storage::memory::MemoryStorage;
///
/// struct InMemory;
///
/// impl Subject for InMemory {
///     type Storage = MemoryStorage;
///
///     fn create(&mut self) -> MemoryStorage {
///         MemoryStorage::new()
///     }
///
///     fn kill(&mut self, storage: MemoryStorage) -> MemoryStorage {
///         storage
///     }
/// }
///
/// assert!(check(&mut InMemory)?.operations > 100);
/// # Ok::<(), osprey_core::conformance::Violation>(())
/// ```
pub fn check(subject: &mut impl Subject) -> Result<Checked, Violation> {
    debug_assert!(subject.segment_bytes() >= 8 * HEADER_BYTES);
    let mut driver = Driver::new(subject);
    log::check(&mut driver)?;
    if driver.snapshots() {
        snapshots::check(&mut driver)?;
        driver.checked.snapshots = true;
    }
    running::check(&mut driver)?;
    Ok(driver.checked)
}
