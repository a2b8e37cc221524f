//! What the log has been told, frame by frame, and how much of it must be there after a crash.

use osprey_core::storage::{SnapshotOp, StorageOp};
use osprey_core::wal::writer::SyncPolicy;

use crate::museum::planted;

/// A frame with records, as it was handed to storage.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Its last record.
    pub lsn: u64,
    /// The model's position behind it.
    pub position: usize,
    /// The version floor when it was handed out.
    pub floor: u64,
    /// The engine's time then.
    pub time: u64,
}

/// Bytes of the log that say that something is durable.
#[derive(Clone, Copy, Debug)]
struct Claim {
    segment: u64,
    from: usize,
    to: usize,
    lsn: u64,
    /// How many frames there were when it was handed out.
    frames: usize,
    state: State,
    /// A sync is under way that covers it.
    in_sync: bool,
    /// Of a segment's header: its epoch.
    epoch: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    HandedOut,
    Written,
    Durable,
}

/// See the module.
#[derive(Debug, Default)]
pub struct History {
    /// Frames by LSN.
    frames: Vec<Frame>,
    /// In which segment each is.
    segments: Vec<u64>,
    claims: Vec<Claim>,
    /// So many frames were appended.
    written: usize,
    /// So many are durable.
    durable: usize,
    /// How many frames had been appended when the sync under way was asked for.
    syncing: Option<usize>,
    /// The epoch of the last segment.
    epoch: u64,
    /// A time that is durable beside the frames': in a segment's header, or behind the last frame that was recovered.
    known_time: u64,
    /// The time in the snapshot that this run has begun with.
    snapshot_time: u64,
    starting_time: u64,
    /// The latest time that was handed to storage.
    latest_time: u64,
}

/// Up to where something reaches: a frame's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// LSN.
    pub lsn: u64,
    /// The model's position.
    pub position: usize,
    /// Time.
    pub time: u64,
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

impl History {
    /// An operation was handed to storage. `now` is what the engine and the model have come to.
    pub fn submitted(&mut self, op: &StorageOp, now: Frame) {
        match op {
            StorageOp::Append { segment, offset, data, .. } => {
                let from = usize::try_from(*offset).unwrap_or(usize::MAX);
                let is_data = data.get(4) == Some(&1);
                if is_data {
                    self.frames.push(now);
                    self.segments.push(segment.0);
                }
                self.latest_time = self.latest_time.max(number(data, 32));
                self.claims.push(Claim {
                    segment: segment.0,
                    from,
                    to: from + data.len(),
                    lsn: number(data, 24),
                    frames: self.frames.len(),
                    state: State::HandedOut,
                    in_sync: false,
                    epoch: None,
                });
            }
            StorageOp::Start { segment, header } => {
                // The first segment of an epoch claims everything before it; a later one what its header says.
                self.starting_time = number(header, 72);
                self.latest_time = self.latest_time.max(self.starting_time);
                let first = number(header, 56) - 1;
                let epoch = number(header, 32);
                let lsn = if epoch == self.epoch { number(header, 64) } else { first };
                self.epoch = epoch;
                self.claims.retain(|claim| claim.segment != segment.0);
                let frames = self.frames.len();
                self.claims.push(Claim {
                    segment: segment.0,
                    from: 0,
                    to: 96,
                    lsn,
                    frames,
                    state: State::HandedOut,
                    in_sync: false,
                    epoch: Some(epoch),
                });
            }
            StorageOp::Sync { segment, .. } => {
                self.syncing = Some(self.written);
                for claim in self.claims.iter_mut().filter(|claim| claim.segment == segment.0) {
                    claim.in_sync = claim.state == State::Written;
                }
            }
            // Whether that has happened is uncertain from now on.
            StorageOp::Snapshot(SnapshotOp::RemoveSegment { segment }) => self.claims.retain(|claim| claim.segment != segment.0),
            StorageOp::Reserve { .. } | StorageOp::Snapshot(_) => {}
        }
    }

    /// An operation has ended well.
    pub fn done(&mut self, op: &StorageOp) {
        match op {
            StorageOp::Append { segment, data, sync, .. } => {
                if data.get(4) == Some(&1) {
                    self.written = self.frames.len();
                }
                self.reached(segment.0, if *sync { State::Durable } else { State::Written });
                if *sync {
                    self.synced(segment.0, self.written);
                }
            }
            StorageOp::Sync { segment, .. } => {
                let written = self.syncing.take().unwrap_or(0);
                for claim in self.claims.iter_mut().filter(|claim| claim.segment == segment.0 && claim.in_sync) {
                    claim.state = State::Durable;
                    claim.in_sync = false;
                }
                self.synced(segment.0, written);
            }
            StorageOp::Start { segment, .. } => {
                self.known_time = self.known_time.max(self.starting_time);
                self.reached(segment.0, State::Durable);
            }
            StorageOp::Reserve { .. } | StorageOp::Snapshot(_) => {}
        }
    }

    /// What was handed out last for a segment has come so far.
    fn reached(&mut self, segment: u64, state: State) {
        if let Some(claim) = self.claims.iter_mut().rev().find(|claim| claim.segment == segment) {
            claim.state = state;
        }
    }

    /// The frames of a segment, of the first `written` ones, are on disk. Only what has no gap before it counts.
    fn synced(&mut self, segment: u64, written: usize) {
        while self.durable < written && self.segments[self.durable] == segment {
            self.durable += 1;
        }
    }

    fn reach(&self, frames: usize) -> Reach {
        let frame = frames.checked_sub(1).and_then(|last| self.frames.get(last));
        let time = self.known_time.max(self.snapshot_time);
        frame.map_or(Reach { time, ..Reach::default() }, |frame| Reach {
            lsn: frame.lsn,
            position: frame.position,
            time: frame.time.max(time),
        })
    }

    /// The time that is durable without any snapshot.
    #[must_use]
    pub fn time_of_log(&self) -> u64 {
        let frame = self.durable.checked_sub(1).and_then(|last| self.frames.get(last));
        frame.map_or(0, |frame| frame.time).max(self.known_time)
    }

    /// What is with the system: it survives the process.
    #[must_use]
    pub fn written(&self) -> Reach {
        self.reach(self.written)
    }

    /// What is on disk: it survives a power cut.
    #[must_use]
    pub fn durable(&self) -> Reach {
        self.reach(self.durable)
    }

    /// What replies may show under a policy.
    #[must_use]
    pub fn secured(&self, policy: SyncPolicy) -> Reach {
        if policy == SyncPolicy::Always { self.durable() } else { self.written() }
    }

    /// The frame that ends at an LSN, and how many there are up to it. `None`: no frame does. LSN 0 is before the first.
    #[must_use]
    pub fn frame_at(&self, lsn: u64) -> Option<(usize, Option<Frame>)> {
        if lsn == 0 {
            return Some((0, None));
        }
        let at = self.frames.binary_search_by_key(&lsn, |frame| frame.lsn).ok()?;
        Some((at + 1, Some(self.frames[at])))
    }

    /// The last LSN that anything was handed out with.
    #[must_use]
    pub fn last_lsn(&self) -> u64 {
        self.frames.last().map_or(0, |frame| frame.lsn)
    }

    /// The highest LSN that is claimed to be durable by anything in the log that is there and isn't in what was damaged.
    #[must_use]
    pub fn claimed(&self, segment: u64, from: usize, to: usize, power_lost: bool) -> u64 {
        if planted("check_hears_no_claim") {
            return 0;
        }
        let there = if power_lost { State::Durable } else { State::Written };
        let intact = |claim: &&Claim| claim.state >= there && (claim.segment != segment || claim.to <= from || claim.from >= to);
        self.claims.iter().filter(intact).map(|claim| claim.lsn).max().unwrap_or(0)
    }

    /// Whether a later run of the server has begun behind a segment: it has made durable all that it had recovered, so nothing before it can be torn.
    #[must_use]
    pub fn is_behind_a_later_run(&self, segment: u64, power_lost: bool) -> bool {
        let there = if power_lost { State::Durable } else { State::Written };
        let headers = || self.claims.iter().filter(|claim| claim.state >= there).filter_map(|claim| Some((claim.segment, claim.epoch?)));
        let Some((_, epoch)) = headers().find(|(number, _)| *number == segment) else { return false };
        headers().any(|(number, later)| number > segment && later > epoch)
    }

    /// A recovery has begun with a snapshot that holds this time.
    pub fn recovered_from_snapshot(&mut self, time: u64) {
        self.snapshot_time = time;
    }

    /// A recovery has ended with so many frames: from here on all of them are durable, and those behind never were. `length`: of a
    /// segment now, if it is there.
    pub fn recovered(&mut self, frames: usize, power_lost: bool, length: impl Fn(u64) -> Option<usize>) {
        self.snapshot_time = 0;
        self.frames.truncate(frames);
        self.segments.truncate(frames);
        let there = if power_lost { State::Durable } else { State::Written };
        self.claims.retain(|claim| {
            claim.frames <= frames && claim.state >= there && length(claim.segment).is_some_and(|length| claim.to <= length)
        });
        self.claims.iter_mut().for_each(|claim| claim.state = State::Durable);
        // The tail that wasn't promised may have had a SEAL in it, and that a later time than the frames.
        self.known_time = self.known_time.max(self.latest_time);
        self.written = frames;
        self.durable = frames;
        self.syncing = None;
    }
}
