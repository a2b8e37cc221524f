//! What has happened in a run, counted: a simulator that never meets a full disk proves nothing about one.

use std::ops::AddAssign;

macro_rules! marks {
    ($($(#[doc = $text:literal])+ $mark:ident,)+) => {
        /// Something that can happen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mark { $($(#[doc = $text])+ $mark,)+ }

        /// All marks with their descriptions.
        pub const MARKS: &[(Mark, &str)] = &[$((Mark::$mark, concat!($($text),+)),)+];
    };
}

marks! {
    /// a step of the tape
    Step,
    /// a request was answered
    Answered,
    /// a request was refused as malformed
    Malformed,
    /// a connection was opened
    Connected,
    /// a connection was reset by its client
    Reset,
    /// a client closed its half of a connection
    HalfClosed,
    /// a client stopped reading
    StoppedReading,
    /// bytes came in fragments
    Fragment,
    /// the server closed a connection
    Closed,
    /// serve: replies must be sent first
    NextFlush,
    /// serve: others come first
    NextAgain,
    /// serve: storage must end something first
    NextStorage,
    /// the reply of an MGET was too large
    ReplyTooLarge,
    /// a walk by SCAN was completed
    WalkEnded,
    /// a table was split during a walk by SCAN
    SplitDuringWalk,
    /// a read was held back for a write that was not secured
    ReadHeld,
    /// a reply was held back since it shows that a key has expired
    ExpiryHeld,
    /// a sweep removed expired keys
    Swept,
    /// entries were moved, so that few slabs hold them
    Gathered,
    /// a write was refused for want of memory
    Oom,
    /// a write was refused since the disk is full
    ReadOnly,
    /// the log became read-only
    ReadOnlyEntered,
    /// the log became writable again
    ReadOnlyLeft,
    /// the log went on in a new segment
    Rotation,
    /// a frame with nothing but a MARK
    MarkFrame,
    /// a frame began in a fresh sector
    FreshSector,
    /// a frame shared a sector with the one before
    SharedSector,
    /// an append and a sync were under way together
    Overlap,
    /// an operation was done late
    Late,
    /// the clock jumped ahead
    ClockAhead,
    /// the clock was set back
    ClockBack,
    /// fault, tolerated: the process was killed
    Kill,
    /// fault, tolerated: the power was cut, nothing unsynced was left
    PowerCutAll,
    /// fault, tolerated: the power was cut, everything had reached the platter
    PowerCutNone,
    /// fault, tolerated: the power was cut, each unsynced sector old, new, zero, garbage or torn
    PowerCutMixed,
    /// fault, tolerated: the power was cut, the end was torn off
    PowerCutTail,
    /// fault, tolerated: the power was cut, the beginning was missing
    PowerCutHead,
    /// fault, tolerated: the machine went down between the steps of a start
    HalfStarted,
    /// fault, tolerated: the machine went down with operations under way
    CrashUnderWay,
    /// fault, tolerated: no space for a reservation
    NoSpace,
    /// fault, tolerated: a reservation failed
    ReserveFailed,
    /// fault, tolerated by ending: an append was cut short and failed
    AppendFailed,
    /// fault, tolerated by ending: a sync failed, its pages were lost
    SyncFailed,
    /// fault, tolerated by ending: a start failed at one of its steps
    StartFailed,
    /// fault, tolerated: the machine went down during recovery, in a cut
    CrashInTruncate,
    /// fault, tolerated: the machine went down during recovery, in a removal
    CrashInRemove,
    /// fault, tolerated: the machine went down during recovery, in a sync
    CrashInSync,
    /// fault, tolerated: a read failed during recovery
    ReadFailed,
    /// fault, detectable: a bit of a synced segment was flipped
    DamageBit,
    /// fault, detectable: bytes of a synced segment were zeroed
    DamageZeros,
    /// fault, detectable: a sector of a synced segment was overwritten with garbage
    DamageGarbage,
    /// fault, detectable: a sector of a synced segment was overwritten with another
    DamageMisdirected,
    /// fault, detectable: a synced segment was cut
    DamageCut,
    /// fault, detectable: a synced segment was removed
    DamageRemoved,
    /// fault, tolerated: no space to begin a snapshot
    NoSpaceToBegin,
    /// fault, tolerated: no space to go on with a snapshot
    NoSpaceToWrite,
    /// fault, tolerated: a snapshot was given up, since the log had no space
    SnapshotGaveWay,
    /// fault, tolerated: a snapshot could not be begun, or was cut short and failed
    SnapshotWriteFailed,
    /// fault, tolerated: the sync, the rename or the sync of the directory failed that publish a snapshot
    PublishFailed,
    /// fault, tolerated: reading a snapshot back failed
    VerifyFailed,
    /// fault, tolerated: what isn't needed any more could not be removed
    RemovalFailed,
    /// fault, tolerated: a bit of a snapshot was another on disk, and reading it back showed that
    SnapshotUnverified,
    /// fault, tolerated: the machine went down during the walk of a snapshot
    CrashInWalk,
    /// fault, tolerated: the machine went down while a snapshot was written
    CrashInSnapshotWrite,
    /// fault, tolerated: the machine went down before a snapshot had its name
    CrashBeforeName,
    /// fault, tolerated: the machine went down before a snapshot's name was synced
    CrashUnderUnsyncedName,
    /// fault, tolerated: the machine went down before a snapshot was verified
    CrashBeforeVerified,
    /// fault, tolerated: the machine went down before the removal of a snapshot was synced
    CrashInSnapshotRemoval,
    /// fault, tolerated: the machine went down before the removal of a segment was synced
    CrashInSegmentRemoval,
    /// fault, tolerated: a read failed, or the machine went down, while a snapshot was loaded
    LoadCutShort,
    /// fault, detectable: a snapshot was damaged or removed
    DamageOfSnapshot,
    /// damage in what wasn't needed any more made no difference
    DamageUnread,
    /// a snapshot was taken that a client had asked for
    SnapshotTaken,
    /// a snapshot was taken since there was much log
    SnapshotByItself,
    /// something was written between a snapshot's S0 and its S1
    WriteDuringWalk,
    /// the walk of a snapshot took several slices
    WalkInSlices,
    /// a snapshot was written in several chunks
    SnapshotChunk,
    /// a SNAPSHOT was answered OK
    SnapshotAnswered,
    /// a SNAPSHOT was answered with an error
    SnapshotRefused,
    /// an old snapshot was removed
    SnapshotGone,
    /// a segment that wasn't needed any more was removed
    SegmentGone,
    /// nothing was left that wasn't needed
    Tidy,
    /// a recovery began with a snapshot
    FromSnapshot,
    /// a recovery began with an older snapshot
    FellBackToSnapshot,
    /// a recovery began with the log, since no snapshot was of use
    FellBackToLog,
    /// damage was refused: no snapshot is of use
    RefusedSnapshot,
    /// a restart in order
    Restart,
    /// a recovery
    Recovery,
    /// a recovery cut a torn tail
    TornTail,
    /// a recovery removed a segment
    SegmentRemoved,
    /// a recovery replaced an empty segment
    EmptyReplaced,
    /// a recovery lost writes that nobody was promised
    UnpromisedLost,
    /// a recovery learned the version floor from a frame
    FloorRecovered,
    /// a recovery had a clock that was behind the log
    ClockBehindLog,
    /// a recovery was done twice
    RecoveredTwice,
    /// damage was refused: corrupt
    RefusedCorrupt,
    /// damage was refused: a header
    RefusedHeader,
    /// damage was refused: a segment is missing
    RefusedMissing,
    /// damage made no difference to what was recovered
    DamageHarmless,
    /// damage behind everything that was claimed was cut like a torn tail
    DamageCutOff,
}

/// How often each mark was hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage([u64; MARKS.len()]);

impl Default for Coverage {
    fn default() -> Self {
        Self([0; MARKS.len()])
    }
}

impl Coverage {
    /// Counts.
    #[inline]
    pub fn hit(&mut self, mark: Mark) {
        self.0[mark as usize] += 1;
    }

    /// How often.
    #[must_use]
    pub fn count(&self, mark: Mark) -> u64 {
        self.0[mark as usize]
    }

    /// What never happened.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> + '_ {
        MARKS.iter().filter(|(mark, _)| self.count(*mark) == 0).map(|(_, text)| *text)
    }
}

impl AddAssign<&Self> for Coverage {
    fn add_assign(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }
}
