//! Snapshots: how far their walks come in a turn, what must be there for a recovery to begin with, and what a `SNAPSHOT` may be answered (invariants 7, 8, 9).
//!
//! A *generation* is what a recovery can begin with: a snapshot that the engine has read and found whole, with the log behind it, or the log from its beginning. There is
//! one at every moment. From when a new one is there until the next is begun, or the newest is read once more so that the older one may make room, there are two.

use std::collections::BTreeMap;

use osprey_core::clock::Clock as _;
use osprey_core::recovery::Report;
use osprey_core::storage::{SnapshotName, SnapshotOp, StorageError};

use super::clients::Client;
use super::coverage::Mark;
use super::disk::{Damage, Damaged, Fault, Name, Snapshot};
use super::events::{Event, Submitted};
use super::failure::{Check, Checked, ensure, fail};
use super::replies::is_error;
use super::world::World;
use crate::museum::planted;

/// Why snapshots were given up, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GivenUp {
    /// No space, or the log needed it.
    for_space: u64,
    /// Anything else.
    otherwise: u64,
}

/// A `SNAPSHOT` that was executed, and waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What it must hold: the model's position.
    position: usize,
    /// What had failed before.
    given_up: GivenUp,
}

/// The model's positions at S0 and at S1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    begin: usize,
    end: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Snapshots {
    /// So many steps of a walk there are in a turn.
    pub steps: usize,
    given_up: GivenUp,
    /// Of the one that is being taken, so far.
    taking: Span,
    slices: u32,
    /// By the name under which it was published.
    spans: BTreeMap<SnapshotName, Span>,
    /// Another one was begun: the older of two generations may have made room for it.
    one_may_do: bool,
    /// There is damage that no recovery has met: the engine takes something for a generation that is none.
    hidden_damage: bool,
    /// This run could not read the header of a segment that it doesn't need: it doesn't know when that was begun.
    header_unread: bool,
    /// All removals that this run has asked for were done.
    tidy: bool,
    /// No other one will be begun.
    stopped: bool,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self {
            steps: 1,
            given_up: GivenUp::default(),
            taking: Span::default(),
            slices: 0,
            spans: BTreeMap::new(),
            one_may_do: true,
            hidden_damage: false,
            header_unread: false,
            tidy: false,
            stopped: false,
        }
    }
}

/// What counts as a generation, where the engine is to have known better.
fn good(snapshot: &Snapshot) -> bool {
    snapshot.durable && snapshot.whole && snapshot.verified
}

impl World {
    /// Lets the walk go on.
    pub(super) fn slice(&mut self) {
        if self.snapshots.steps == 0 || !self.engine.wants_snapshot_slice() {
            return;
        }
        let mut steps = 0..self.snapshots.steps;
        self.engine.snapshot_slice(self.clock.now(), || steps.next().is_some());
        self.now = self.now.max(self.clock.now().0);
        self.snapshots.slices += 1;
        self.snapshots.taking.end = self.model.position();
        let copied = !self.engine.wants_snapshot_slice();
        self.trace.note(30, u64::from(copied), || Event::Slice { copied });
    }

    /// The host is about to end.
    pub(super) fn stop_snapshots(&mut self) {
        self.engine.stop_snapshots();
        self.snapshots.stopped = true;
        // Who waits for one is to be told.
        self.storage_ended = true;
        self.trace.note(31, 0, || Event::Stopping);
    }

    /// An operation is about to be handed to storage.
    pub(super) fn snapshot_submitted(&mut self, op: &SnapshotOp) -> Checked {
        match op {
            SnapshotOp::Create { begin, .. } => {
                let last = self.engine.last_lsn();
                ensure(*begin == last, Check::Contract, || format!("a snapshot begins at {begin:?}, and the log is at {last:?}"))?;
                self.check_tidy()?;
                self.snapshots.taking = Span { begin: self.model.position(), end: self.model.position() };
                self.snapshots.slices = 0;
                self.snapshots.one_may_do = true;
            }
            SnapshotOp::Append { .. } if self.engine.wants_snapshot_slice() => self.coverage.hit(Mark::SnapshotChunk),
            SnapshotOp::Publish { name } => {
                let span = self.snapshots.taking;
                self.snapshots.spans.insert(*name, span);
                if span.end > span.begin {
                    self.coverage.hit(Mark::WriteDuringWalk);
                }
                if self.snapshots.slices > 1 {
                    self.coverage.hit(Mark::WalkInSlices);
                }
            }
            SnapshotOp::Remove { name } => self.check_removal(Name::Snapshot(*name))?,
            SnapshotOp::RemoveSegment { segment } => {
                self.check_removal(Name::Segment(segment.0))?;
                self.check_retention(segment.0)?;
            }
            // The newest is looked at, so that the older generation may make room.
            SnapshotOp::Read { .. } if !self.engine.taking_snapshot() => self.snapshots.one_may_do = true,
            SnapshotOp::Append { .. } | SnapshotOp::Discard | SnapshotOp::Read { .. } => {}
        }
        Ok(())
    }

    /// Whatever is removed, there is something to begin with.
    fn check_removal(&self, name: Name) -> Checked {
        let (before, after) = (self.disk.generations(None, good), self.disk.generations(Some(name), good));
        let least = if self.snapshots.one_may_do || self.snapshots.hidden_damage { 1 } else { 2 };
        ensure(after >= least.min(before) || planted("check_counts_no_generations"), Check::Damage, || {
            format!("{name} is removed, which leaves {after} generations of {before}")
        })
    }

    /// What is to be restorable stays.
    fn check_retention(&self, segment: u64) -> Checked {
        let Some(retention) = self
            .options
            .snapshots
            .map(|options| options.retention)
            .filter(|_| !self.snapshots.header_unread && !planted("check_knows_no_window"))
        else {
            return Ok(());
        };
        let behind = || self.disk.segments().filter(|(number, _)| *number >= segment);
        if behind().next().is_none_or(|(number, _)| number > segment) {
            // It is gone, and only its removal had failed.
            return Ok(());
        }
        let first_lsn = |bytes: &[u8]| bytes.get(56..64).map(<[u8]>::to_vec);
        if behind().nth(1).is_some_and(|(_, next)| behind().next().is_some_and(|(_, bytes)| first_lsn(bytes) == first_lsn(next))) {
            // It holds no record, so nothing is restored with it.
            return Ok(());
        }
        if retention.keep_bytes > 0 {
            let bytes: u64 = behind().map(|(_, bytes)| bytes.len() as u64).sum();
            let wanted = bytes <= retention.keep_bytes;
            ensure(!wanted, Check::Bounds, || format!("segment {segment} is removed, from which on there are {bytes} bytes of log only"))?;
        }
        if let (1.., Some((_, next))) = (retention.keep_ms, behind().nth(1)) {
            let ended = next.get(72..80).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
            let wanted = ended + retention.keep_ms >= self.now;
            ensure(!wanted, Check::Bounds, || format!("segment {segment} is removed, which went on until {ended}"))?;
        }
        Ok(())
    }

    /// Of what isn't needed nothing is there any more.
    fn check_tidy(&mut self) -> Checked {
        let nothing_kept =
            self.options.snapshots.is_some_and(|options| options.retention.keep_ms == 0 && options.retention.keep_bytes == 0);
        let mut snapshots = self.disk.snapshots().filter(good).map(|snapshot| snapshot.name);
        if let (true, true, Some(spare), Some(_)) = (self.snapshots.tidy, nothing_kept, snapshots.next(), snapshots.next()) {
            let more = snapshots.count();
            ensure(more == 0, Check::Bounds, || format!("there are {more} snapshots more than are needed"))?;
            let needed = self.disk.log_behind(spare.begin.0, None);
            let first = self.disk.segments().next().map(|(number, _)| number);
            ensure(first == needed, Check::Bounds, || format!("the log begins with segment {first:?}, and is needed from {needed:?} on"))?;
            self.coverage.hit(Mark::Tidy);
        }
        Ok(())
    }

    /// An operation has ended, and the engine knows it.
    pub(super) fn snapshot_done(&mut self, op: Submitted, result: Result<(), StorageError>) -> Checked {
        let struck = self.disk.failed.take_if(|fault| matches!(fault, Fault::Snapshot(_))).is_some();
        if let Err(error) = result {
            let for_space = error == StorageError::NoSpace;
            *(if for_space { &mut self.snapshots.given_up.for_space } else { &mut self.snapshots.given_up.otherwise }) += 1;
            if for_space {
                self.coverage.hit(if matches!(op, Submitted::SnapshotCreate { .. }) { Mark::NoSpaceToBegin } else { Mark::NoSpaceToWrite });
            }
            if struck {
                self.coverage.hit(match op {
                    Submitted::SnapshotCreate { .. } | Submitted::SnapshotAppend { .. } => Mark::SnapshotWriteFailed,
                    Submitted::SnapshotPublish { .. } => Mark::PublishFailed,
                    Submitted::SnapshotRead { .. } => Mark::VerifyFailed,
                    _ => Mark::RemovalFailed,
                });
            }
        }
        match (op, result) {
            (Submitted::SnapshotRemove { .. } | Submitted::RemoveSegment { .. }, Err(_)) => self.snapshots.tidy = false,
            (Submitted::SnapshotRemove { .. }, Ok(())) => self.coverage.hit(Mark::SnapshotGone),
            (Submitted::RemoveSegment { .. }, Ok(())) => self.coverage.hit(Mark::SegmentGone),
            (Submitted::SnapshotRead { name, .. }, _) => {
                let is_damaged = self.disk.snapshots().any(|snapshot| snapshot.name == name && !snapshot.whole);
                if is_damaged && !self.engine.taking_snapshot() {
                    self.snapshots.given_up.otherwise += 1;
                    self.coverage.hit(Mark::SnapshotUnverified);
                }
            }
            _ => {}
        }
        self.check_newest()
    }

    /// The log has no space: a snapshot makes room for it.
    pub(super) fn snapshot_gave_way(&mut self) -> Checked {
        self.snapshots.given_up.for_space += 1;
        self.coverage.hit(Mark::SnapshotGaveWay);
        ensure(self.read_only, Check::Stuck, || "a snapshot was given up, and there is space".to_owned())
    }

    /// If the engine says that another snapshot is there, it is.
    fn check_newest(&mut self) -> Checked {
        let Some(name) = self.engine.newest_snapshot() else { return Ok(()) };
        let found = self.disk.snapshots().find(|snapshot| snapshot.name == name);
        if found.is_some_and(|snapshot| snapshot.verified) {
            return Ok(());
        }
        let is_there = found.is_some_and(|snapshot| snapshot.whole && snapshot.durable);
        ensure(is_there, Check::Damage, || format!("{name} counts as a generation, and is {found:?}"))?;
        self.disk.note_verified(name);
        let asked = self.clients.iter().any(|client| client.awaits.is_some());
        self.coverage.hit(if asked { Mark::SnapshotTaken } else { Mark::SnapshotByItself });
        let generations = self.disk.generations(None, good);
        let enough = generations >= 2 || self.snapshots.hidden_damage || planted("check_counts_no_generations");
        ensure(enough, Check::Damage, || format!("with {name} there are {generations} generations"))?;
        self.snapshots.hidden_damage &= generations < 2;
        (self.snapshots.one_may_do, self.snapshots.tidy) = (false, true);
        Ok(())
    }

    /// A client's next request is a `SNAPSHOT` that waits.
    pub(super) fn snapshot_awaited(&self, client: &mut Client) {
        client.awaits.get_or_insert(Asked { position: self.model.position(), given_up: self.snapshots.given_up });
    }

    /// What a `SNAPSHOT` was answered is true.
    pub(super) fn check_snapshot_reply(&mut self, client: &mut Client, reply: &[u8]) -> Checked {
        let now = Asked { position: self.model.position(), given_up: self.snapshots.given_up };
        let asked = client.awaits.take().unwrap_or(now);
        if reply == b"OK\r\n" {
            self.coverage.hit(Mark::SnapshotAnswered);
            let end = |name: &SnapshotName| self.snapshots.spans.get(name).map_or(0, |span| span.end);
            let mut there = self.disk.snapshots().filter(|snapshot| snapshot.durable && snapshot.whole);
            let holds = planted("check_believes_snapshot") || there.any(|snapshot| end(&snapshot.name) >= asked.position);
            return ensure(holds, Check::Reply, || {
                format!("OK, and no snapshot is there that holds what was written up to {}", asked.position)
            });
        }
        self.coverage.hit(Mark::SnapshotRefused);
        let given_up = self.snapshots.given_up;
        let has_reason = if is_error(reply, "READONLY") {
            given_up.for_space > asked.given_up.for_space
        } else {
            is_error(reply, "INTERNAL") && (given_up.otherwise > asked.given_up.otherwise || self.snapshots.stopped)
        };
        ensure(has_reason, Check::Reply, || format!("SNAPSHOT is answered {}, without a reason", reply.escape_ascii()))
    }

    /// Where the machine goes down.
    pub(super) fn count_snapshot_crash(&mut self) {
        let taking = self.engine.taking_snapshot();
        let mark = match self.disk.snapshot_under_way() {
            Some((SnapshotOp::Append { .. }, _)) => Mark::CrashInSnapshotWrite,
            Some((SnapshotOp::Publish { .. }, 0 | 1)) => Mark::CrashBeforeName,
            Some((SnapshotOp::Publish { .. }, _)) => Mark::CrashUnderUnsyncedName,
            Some((SnapshotOp::Read { .. }, _)) => Mark::CrashBeforeVerified,
            Some((SnapshotOp::Remove { .. }, 1)) => Mark::CrashInSnapshotRemoval,
            Some((SnapshotOp::RemoveSegment { .. }, 1)) => Mark::CrashInSegmentRemoval,
            _ if taking => Mark::CrashInWalk,
            _ => return,
        };
        self.coverage.hit(mark);
    }

    /// A recovery has begun with the newest generation that is whole; returns the model's position at its S0.
    pub(super) fn check_base(&mut self, report: &Report, damage: Option<&Damaged>) -> Checked<usize> {
        let base = report.snapshot.map(|(name, _)| name);
        let usable = |snapshot: &Snapshot| snapshot.whole && self.disk.log_behind(snapshot.name.begin.0, None).is_some();
        let expected = self.disk.snapshots().rev().find(usable).map(|snapshot| snapshot.name);
        ensure(base == expected, Check::Damage, || format!("recovered from {base:?}, and {expected:?} is whole: {report:?}"))?;
        if let Some((name, error)) = report.unusable {
            let found = self.disk.snapshots().find(|snapshot| snapshot.name == name);
            let wrong = found.filter(usable);
            ensure(wrong.is_none(), Check::Damage, || format!("{name} is said to be of no use, since {error}"))?;
            self.coverage.hit(if base.is_some() { Mark::FellBackToSnapshot } else { Mark::FellBackToLog });
        }
        self.snapshots.header_unread = false;
        if let Some(damage) = damage {
            self.settle_damage(damage, base);
        }
        let Some(name) = base else { return Ok(0) };
        self.coverage.hit(Mark::FromSnapshot);
        self.disk.note_verified(name);
        match self.snapshots.spans.get(&name) {
            Some(span) => Ok(span.begin),
            None => fail(Check::Damage, || format!("recovered from {name}, which nobody has published")),
        }
    }

    /// Damage that this recovery hasn't read would meet a later one.
    fn settle_damage(&mut self, damage: &Damaged, base: Option<SnapshotName>) {
        let needed = self.disk.log_behind(base.map_or(0, |base| base.begin.0), None);
        self.snapshots.header_unread = damage.takes_header();
        match damage.segment() {
            None => self.snapshots.hidden_damage = true,
            Some(segment) if needed.is_some_and(|needed| segment >= needed) => {}
            Some(_) if damage.kind == Damage::Removed => {
                self.snapshots.hidden_damage = true;
                self.coverage.hit(Mark::DamageUnread);
            }
            Some(_) => {
                self.disk.repair(damage);
                self.coverage.hit(Mark::DamageUnread);
            }
        }
    }

    /// A run has begun.
    pub(super) fn begin_snapshots(&mut self) {
        let spans = std::mem::take(&mut self.snapshots.spans);
        let there = |name: &SnapshotName| self.disk.snapshots().any(|snapshot| snapshot.name == *name);
        self.snapshots = Snapshots {
            spans: spans.into_iter().filter(|(name, _)| there(name)).collect(),
            given_up: self.snapshots.given_up,
            hidden_damage: self.snapshots.hidden_damage,
            header_unread: self.snapshots.header_unread,
            ..Snapshots::default()
        };
    }
}
