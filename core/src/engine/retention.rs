//! Which snapshots and segments aren't needed any more.
//!
//! Two generations are: the newest snapshot, and the one before it with the log from its S0 on, in case that the newest turns out to be damaged. As long as there is just one, the other
//! generation is the log from its beginning. Whatever a host wants to be able to restore comes on top.

use alloc::vec::Vec;

use crate::museum::planted;
use crate::recovery::{SegmentInfo, SnapshotInfo};
use crate::storage::{SegmentNumber, SnapshotName, SnapshotOp};
use crate::units::{Lsn, Millis};

/// What is kept so that an earlier moment can be restored; 0: nothing.
///
/// ```
/// use osprey_core::engine::{Retention, SnapshotOptions};
///
/// // Any moment of the last day can be restored.
/// let retention = Retention { keep_ms: 24 * 3_600_000, ..Retention::default() };
/// let options = SnapshotOptions { retention, ..SnapshotOptions::default() };
/// assert_eq!((options.retention.keep_ms, options.retention.keep_bytes), (86_400_000, 0));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Retention {
    /// The moments of so many milliseconds.
    pub keep_ms: u64,
    /// As much log as this, bytes, and what it needs to be replayed on.
    pub keep_bytes: u64,
}

/// How many generations are to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Generations {
    /// The newest snapshot and the one before.
    Two,
    /// The newest snapshot, which was just verified.
    Newest,
}

/// What is to be removed, in this order: snapshots, then segments, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Removals {
    snapshots: Vec<SnapshotName>,
    segments: Vec<SegmentNumber>,
    /// One that has failed.
    failed: Option<SnapshotName>,
}

impl Removals {
    /// Just this snapshot.
    pub(super) fn only(&mut self, name: SnapshotName) {
        *self = Self { failed: Some(name), ..Self::default() };
    }

    pub(super) fn is_empty(&self) -> bool {
        self.snapshots.is_empty() && self.segments.is_empty() && self.failed.is_none()
    }

    pub(super) fn next(&mut self) -> Option<SnapshotOp> {
        let snapshot = self.failed.take().or_else(|| self.snapshots.pop());
        let segment = || self.segments.pop().map(|segment| SnapshotOp::RemoveSegment { segment });
        snapshot.map(|name| SnapshotOp::Remove { name }).or_else(segment)
    }
}

/// What isn't needed of these snapshots and segments, both in order. `None`: no memory for the list.
pub(super) fn removals(
    kept: &[SnapshotInfo],
    segments: &[SegmentInfo],
    generations: Generations,
    retention: &Retention,
    now: Millis,
) -> Option<Removals> {
    let window = window(segments, retention, now).filter(|_| !planted("window_not_kept"));
    let mut removals = Removals::default();
    removals.snapshots.try_reserve(kept.len()).ok()?;
    removals.segments.try_reserve(segments.len()).ok()?;
    let usable = || kept.iter().filter(|snapshot| !snapshot.unusable).map(|snapshot| snapshot.name);
    let one = generations == Generations::Newest || planted("no_spare_generation");
    // The oldest that stays.
    let spare = usable().rev().nth(usize::from(!one));
    // Where there is none, it is the log from its beginning, if that is still there.
    let mut needed = spare.map(|spare| Lsn(spare.begin.0 + 1)).or_else(|| {
        let whole = segments.first().is_some_and(|first| first.first_lsn == Lsn(1));
        usable().next().filter(|_| !whole).map(|only| Lsn(only.begin.0 + 1))
    })?;
    if planted("segment_of_the_spare_removed") {
        needed = usable().next_back().map_or(needed, |newest| Lsn(newest.begin.0 + 1));
    }
    for snapshot in kept {
        let (name, newer) = (snapshot.name, usable().find(|other| *other > snapshot.name));
        // An older one is where the window's first moments are restored from, unless the next is, too.
        let in_window = window.is_some_and(|window| newer.is_some_and(|newer| newer.end >= window));
        if snapshot.unusable || (spare.is_some_and(|spare| name < spare) && !in_window) {
            removals.snapshots.push(name);
        } else {
            needed = if planted("segment_of_the_spare_removed") { needed } else { needed.min(Lsn(name.begin.0 + 1)) };
        }
    }
    needed = needed.min(window.unwrap_or(needed));
    for (segment, next) in segments.iter().zip(segments.iter().skip(1)) {
        if next.first_lsn > needed {
            break;
        }
        removals.segments.push(segment.number);
    }
    // Taken from the end.
    removals.snapshots.reverse();
    removals.segments.reverse();
    Some(removals)
}

/// The first record that is to be restorable.
fn window(segments: &[SegmentInfo], retention: &Retention, now: Millis) -> Option<Lsn> {
    let since = Millis(now.0.saturating_sub(retention.keep_ms));
    // A segment ends when the next begins.
    let ends = segments.iter().skip(1).map(|next| next.time).chain(core::iter::once(now));
    let by_time = segments.iter().zip(ends).find(|(_, end)| *end >= since && retention.keep_ms > 0);
    let mut bytes = 0_u64;
    let by_bytes = segments.iter().rev().take_while(|segment| {
        bytes = bytes.saturating_add(segment.bytes);
        bytes <= retention.keep_bytes
    });
    let by_bytes = by_bytes.last();
    by_time.map(|(segment, _)| segment.first_lsn).into_iter().chain(by_bytes.map(|segment| segment.first_lsn)).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString as _};

    /// Four segments of ten records and 1000 bytes, begun a second apart.
    fn segments() -> Vec<SegmentInfo> {
        (0..4)
            .map(|at| SegmentInfo { number: SegmentNumber(at + 1), first_lsn: Lsn(10 * at + 1), time: Millis(1000 * at), bytes: 1000 })
            .collect()
    }

    fn removed(snapshots: &[(u64, u64)], segments: &[SegmentInfo], retention: Retention) -> String {
        removed_but(Generations::Two, snapshots, segments, retention)
    }

    fn removed_but(generations: Generations, snapshots: &[(u64, u64)], segments: &[SegmentInfo], retention: Retention) -> String {
        let kept: Vec<SnapshotInfo> = snapshots
            .iter()
            .map(|&(begin, end)| SnapshotInfo { name: SnapshotName { begin: Lsn(begin), end: Lsn(end) }, bytes: 1, unusable: false })
            .collect();
        let mut removals = removals(&kept, segments, generations, &retention, Millis(4000)).unwrap_or_default();
        let mut text = String::new();
        while let Some(op) = removals.next() {
            text += &match op {
                SnapshotOp::Remove { name } => name.to_string(),
                SnapshotOp::RemoveSegment { segment } => segment.to_string(),
                op => std::format!("{op:?}"),
            }
            .replace("0000000", "");
            text += " ";
        }
        text
    }

    #[test]
    fn the_spare_generation_keeps_its_log() {
        let none = Retention::default();
        assert_eq!(removed(&[(25, 26)], &segments(), none), "", "the log from its beginning is the spare");
        assert_eq!(removed(&[(25, 26), (35, 36)], &segments(), none), "wal-1.oswal wal-2.oswal ");
        assert_eq!(removed(&[(20, 26), (35, 36)], &segments(), none), "wal-1.oswal wal-2.oswal ", "record 21 is the first that is needed");
        assert_eq!(removed(&[(19, 26), (35, 36)], &segments(), none), "wal-1.oswal ", "record 20 is");
        assert_eq!(removed(&[(5, 6), (25, 26), (35, 36)], &segments(), none), "snap-5-6.osnap wal-1.oswal wal-2.oswal ");
        let later = segments().split_off(1);
        assert_eq!(removed(&[(35, 36)], &later, none), "wal-2.oswal wal-3.oswal ", "without a beginning the log alone is no generation");
    }

    #[test]
    fn the_newest_alone_keeps_its_own_log() {
        let removed = |snapshots: &[(u64, u64)]| removed_but(Generations::Newest, snapshots, &segments(), Retention::default());
        assert_eq!(removed(&[(5, 6), (25, 26)]), "snap-5-6.osnap wal-1.oswal wal-2.oswal ");
        assert_eq!(removed(&[(25, 26)]), "wal-1.oswal wal-2.oswal ", "the log before it is a generation, too");
        assert_eq!(removed(&[]), "");
        let hours = Retention { keep_ms: 1500, keep_bytes: 0 };
        assert_eq!(removed_but(Generations::Newest, &[(5, 6), (25, 26)], &segments(), hours), "", "from record 21 on");
    }

    #[test]
    fn what_is_to_be_restorable_is_kept_with_its_base() {
        let hours = |keep_ms| Retention { keep_ms, keep_bytes: 0 };
        let snapshots = [(5, 6), (25, 26), (35, 36)];
        assert_eq!(removed(&snapshots, &segments(), hours(10)), "snap-5-6.osnap wal-1.oswal wal-2.oswal ");
        assert_eq!(removed(&snapshots, &segments(), hours(1500)), "", "from record 21 on, for which the oldest is needed");
        let bytes = |keep_bytes| Retention { keep_ms: 0, keep_bytes };
        assert_eq!(removed(&snapshots, &segments(), bytes(1999)), "snap-5-6.osnap wal-1.oswal wal-2.oswal ");
        assert_eq!(removed(&snapshots, &segments(), bytes(2000)), "");
    }
}
