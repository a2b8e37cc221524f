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
