//! What becomes of a snapshot, for those who wait for one.

use core::fmt;

use heapless::Deque;

use crate::snapshot::SnapshotError;
use crate::storage::{SnapshotName, StorageError};

/// Why there is no snapshot.
///
/// ```
/// use osprey_core::engine::SnapshotFailure;
/// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
/// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
/// # while engine.drive(&mut storage)? {}
///
/// let failure = engine.request_snapshot().expect_err("`Options::snapshots` is `None`");
/// assert_eq!(failure, SnapshotFailure::Unsupported);
/// assert_eq!(failure.to_string(), "this server takes no snapshots");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotFailure {
    /// This engine takes none: its storage cannot.
    Unsupported,
    /// Storage failed.
    Storage(StorageError),
    /// No memory.
    OutOfMemory,
    /// What was read back isn't what was written.
    Unverified(SnapshotError),
    /// The newest snapshot, which had been whole, isn't any more: it was read again, since the one before was to make room. That stays, and another is taken at once.
    Damaged(SnapshotName, SnapshotError),
    /// The log needed the space.
    LogFirst,
    /// The server ends.
    Stopping,
}

impl fmt::Display for SnapshotFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported => f.write_str("this server takes no snapshots"),
            Self::Storage(error) => write!(f, "the snapshot was given up: {error}"),
            Self::OutOfMemory => f.write_str("the snapshot was given up: no memory left"),
            Self::Unverified(error) => write!(f, "the snapshot was given up, since reading it back showed that {error}"),
            Self::Damaged(name, error) => write!(f, "{name}, which was whole, is damaged now: {error}"),
            Self::LogFirst => f.write_str("the snapshot was given up: the log needed the space"),
            Self::Stopping => f.write_str("the snapshot was given up: the server is stopping"),
        }
    }
}

impl core::error::Error for SnapshotFailure {}

/// A snapshot that somebody waits for: see [`Engine::snapshot_outcome`](crate::engine::Engine::snapshot_outcome).
///
/// ```
/// # use osprey_core::engine::{DatabaseId, Engine, Entropy, Options, SetOptions, SnapshotOptions};
/// # use osprey_core::storage::memory::MemoryStorage;
/// # use osprey_core::units::Millis;
/// # let entropy = Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) };
/// # let mut storage = MemoryStorage::new();
/// let options = Options { snapshots: Some(SnapshotOptions::default()), ..Options::new(entropy) };
/// let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1))?;
/// while engine.drive(&mut storage)? {}
/// engine.set(Millis(1), b"key", b"value", &SetOptions::default()).result?;
/// let ticket = engine.request_snapshot()?.expect("there is none yet");
/// while engine.snapshot_outcome(ticket).is_none() {
///     engine.snapshot_slice(Millis(1), || true);
///     engine.drive(&mut storage)?;
/// }
/// assert_eq!(engine.snapshot_outcome(ticket), Some(Ok(())));
/// assert_eq!(engine.newest_snapshot().map(|name| name.end), Some(engine.last_lsn()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(pub(super) u64);

/// How many snapshots are remembered with their own outcomes.
const REMEMBERED: usize = 8;

/// How the last snapshots have ended: whoever waits for one may ask late, when the next have ended, too.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    /// How many have ended, the last of them last.
    ended: u64,
    last: Deque<Result<(), SnapshotFailure>, REMEMBERED>,
    /// The last that is there.
    good: u64,
}

impl Outcomes {
    /// Snapshot number `number` has ended.
    pub(super) fn note(&mut self, number: u64, outcome: Result<(), SnapshotFailure>) {
        self.ended = number;
        if outcome.is_ok() {
            self.good = number;
        }
        if self.last.is_full() {
            self.last.pop_front();
        }
        // There is room now.
        let _ = self.last.push_back(outcome);
    }

    /// How the one that is waited for has ended, if it has. What isn't remembered any more is good if any since was: that holds what this one should have held.
    pub(super) fn of(&self, Ticket(ticket): Ticket) -> Option<Result<(), SnapshotFailure>> {
        let behind = usize::try_from(self.ended.checked_sub(ticket)?).unwrap_or(usize::MAX);
        match self.last.iter().rev().nth(behind) {
            Some(outcome) => Some(*outcome),
            None if self.good >= ticket => Some(Ok(())),
            None => self.last.front().copied(),
        }
    }
}
