//! Between engine and disk: what is handed over, what comes back, and what that means for history.

use osprey_core::storage::{Storage as _, StorageDone, StorageOp};

use super::coverage::Mark;
use super::disk::{Fault, SECTOR_BYTES};
use super::events::{Event, Submitted};
use super::failure::{Check, Checked, ensure, fail};
use super::history::Frame;
use super::world::World;
use crate::museum::planted;

/// One call of the storage loop ends after so many operations, or the engine asks for more and more.
const OPERATIONS_PER_TURN_MAX: usize = 2000;

impl World {
    /// Hands storage what the engine asks for, and takes back what has ended.
    pub(super) fn drive(&mut self) -> Checked {
        for turn in 0.. {
            ensure(turn < OPERATIONS_PER_TURN_MAX, Check::Bounds, || "the engine asks storage for more and more".to_owned())?;
            let done = match self.engine.poll_storage() {
                Some(op) => Some(self.submit(op)?),
                None => None,
            };
            let done = match done {
                Some(done) => done,
                None => match self.disk.poll() {
                    Some(done) => {
                        self.coverage.hit(Mark::Late);
                        Some(done)
                    }
                    None => return Ok(()),
                },
            };
            if let Some(done) = done {
                self.done(done)?;
            }
        }
        Ok(())
    }

    fn submit(&mut self, op: StorageOp) -> Checked<Option<StorageDone>> {
        ensure(self.poisoned.is_none(), Check::Contract, || "an operation of a log that is poisoned".to_owned())?;
        let frame =
            Frame { lsn: self.engine.last_lsn().0, position: self.model.position(), floor: self.model.floor, time: self.engine.now().0 };
        self.history.submitted(&op, frame);
        match &op {
            StorageOp::Reserve { .. } => {
                if std::mem::replace(&mut self.read_only, false) {
                    self.coverage.hit(Mark::ReadOnlyLeft);
                }
            }
            StorageOp::Start { .. } => {
                if self.started {
                    self.coverage.hit(Mark::Rotation);
                }
                self.appended_to = 4096;
            }
            StorageOp::Append { offset, data, .. } => {
                if data.get(12..16) == Some(&[1, 0, 0, 0]) && data.get(68).is_some_and(|flags| flags & 3 == 3) {
                    self.coverage.hit(Mark::MarkFrame);
                }
                let begins = offset.is_multiple_of(SECTOR_BYTES as u64);
                self.coverage.hit(if begins && !self.appended_to.is_multiple_of(SECTOR_BYTES as u64) {
                    Mark::FreshSector
                } else {
                    Mark::SharedSector
                });
                self.appended_to = offset + data.len() as u64;
            }
            StorageOp::Snapshot(op) => self.snapshot_submitted(op)?,
            StorageOp::Sync { .. } => {}
        }
        let submitted = Submitted::from(&op);
        let bytes = if let StorageOp::Append { offset, .. } = &op { *offset } else { 0 };
        let done = self.disk.submit(op);
        let at_once = done.is_some();
        self.trace.note(11, bytes, || Event::Submitted { op: submitted, at_once });
        if let Some(violation) = self.disk.violation.filter(|_| !planted("check_knows_no_contract")) {
            return fail(Check::Contract, || format!("{violation}: {submitted:?}"));
        }
        if self.disk.overlaps() {
            self.coverage.hit(Mark::Overlap);
        }
        Ok(done)
    }

    fn done(&mut self, done: StorageDone) -> Checked {
        let failed = done.result.is_err();
        let submitted = Submitted::from(&done.op);
        self.trace.note(12, u64::from(failed), || Event::Done { op: submitted, failed });
        self.storage_ended = true;
        if !failed {
            self.history.done(&done.op);
            self.started |= matches!(submitted, Submitted::Start { .. });
        }
        let is_snapshot = submitted.is_snapshot();
        let poisons = failed && !is_snapshot && !matches!(submitted, Submitted::Reserve { .. });
        let becomes_read_only = failed && !is_snapshot && !poisons;
        if becomes_read_only {
            self.read_only = true;
            self.coverage.hit(Mark::ReadOnlyEntered);
            self.coverage.hit(if self.disk.failed == Some(Fault::Reserve) { Mark::ReserveFailed } else { Mark::NoSpace });
        }
        match (poisons, self.disk.failed.take_if(|fault| !matches!(fault, Fault::Snapshot(_)))) {
            (true, Some(Fault::Append(_))) => self.coverage.hit(Mark::AppendFailed),
            (true, Some(Fault::Sync)) => self.coverage.hit(Mark::SyncFailed),
            (true, Some(Fault::Start(_))) => self.coverage.hit(Mark::StartFailed),
            _ => {}
        }
        let (taking, result) = (self.engine.taking_snapshot(), done.result);
        let poisoned = self.engine.storage_done(done).is_err();
        if poisoned && self.poisoned.is_none() {
            self.poisoned = Some(0);
            self.trace.note(13, 0, || Event::Poisoned);
        }
        ensure(poisoned == (poisons || self.poisoned.is_some()), Check::Contract, || {
            format!(
                "{submitted:?} {}, and the log is {}poisoned",
                if failed { "failed" } else { "ended" },
                if poisoned { "" } else { "not " }
            )
        })?;
        if is_snapshot {
            return self.snapshot_done(submitted, result);
        }
        if taking && !self.engine.taking_snapshot() {
            self.snapshot_gave_way()?;
        }
        Ok(())
    }
}
