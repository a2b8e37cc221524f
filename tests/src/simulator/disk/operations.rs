//! What the engine asks of storage while it runs, step by step.

use osprey_core::storage::{SnapshotOp, Storage, StorageDone, StorageError, StorageOp};

use super::Disk;
use super::file::File;
use super::names::Name;
use crate::museum::planted;
use crate::simulator::tape::Choices;

/// Which operations are done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Appends and starts of segments.
    pub append: bool,
    /// Syncs.
    pub sync: bool,
    /// Reservations.
    pub reserve: bool,
    /// What is about snapshots.
    pub snapshot: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self { append: true, sync: true, reserve: true, snapshot: true }
    }
}

/// A failure of the next operation of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The append writes so many 256ths of its data, then fails.
    Append(u8),
    /// The sync (an append's, too) fails; what it should have taken is not on the platter, and taken for clean.
    Sync,
    /// The start fails at this step.
    Start(u8),
    /// The reservation fails, though there is space.
    Reserve,
    /// Of the steps of what is about snapshots the one behind so many fails.
    Snapshot(u8),
    /// In what is written next of a snapshot a bit is another; it comes at so many 256ths.
    Flip(u8),
}

/// The steps of a start, in `host/src/storage.rs` as here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StartStep {
    WriteHeader,
    SyncFile,
    Rename,
    SyncDirectory,
}

const START: [StartStep; 4] = [StartStep::WriteHeader, StartStep::SyncFile, StartStep::Rename, StartStep::SyncDirectory];

#[derive(Debug)]
pub(super) struct InFlight {
    op: StorageOp,
    step: usize,
    file: Option<usize>,
}

/// What a step has come to.
pub(super) type Stepped = Result<bool, StorageError>;

pub(super) const EIO: StorageError = StorageError::Io(Some(5));

impl Disk {
    /// How many operations are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Whether an append and a sync are under way together.
    #[must_use]
    pub fn overlaps(&self) -> bool {
        let any = |kind: fn(&StorageOp) -> bool| self.under_way.iter().any(|job| kind(&job.op));
        any(|op| matches!(op, StorageOp::Append { .. })) && any(|op| matches!(op, StorageOp::Sync { .. }))
    }

    /// The step that a start which is under way has reached.
    #[must_use]
    pub fn starting(&self) -> Option<usize> {
        self.under_way.iter().find(|job| matches!(job.op, StorageOp::Start { .. })).map(|job| job.step)
    }

    /// What is under way about snapshots, and how many of its steps are done.
    #[must_use]
    pub fn snapshot_under_way(&self) -> Option<(&SnapshotOp, usize)> {
        self.under_way.iter().find_map(|job| if let StorageOp::Snapshot(op) = &job.op { Some((op, job.step)) } else { None })
    }

    /// Lets the disk do one step of an operation under way.
    pub fn work(&mut self, pick: usize) {
        if self.under_way.is_empty() {
            return;
        }
        let at = pick % self.under_way.len();
        let mut job = self.under_way.remove(at);
        match self.step(&mut job) {
            Ok(false) => self.under_way.insert(at, job),
            Ok(true) => self.ended.push(StorageDone { op: job.op, result: Ok(()) }),
            Err(error) => self.ended.push(StorageDone { op: job.op, result: Err(error) }),
        }
    }

    /// The machine goes down in the middle of these: a write may have been begun.
    pub(super) fn interrupt(&mut self, under_way: &[InFlight], choices: &mut Choices) {
        for job in under_way {
            if let (StorageOp::Append { offset, data, .. }, 0, Some(file)) = (&job.op, job.step, job.file) {
                let written = [0, data.len(), choices.below(data.len() + 1)][choices.below(3)];
                self.files[file].write(place(*offset), &data[..written]);
            }
        }
    }

    /// Checks an operation against the contract, and finds its file.
    fn begin(&mut self, op: StorageOp) -> InFlight {
        let mut violation = None;
        let mut demand = |holds: bool, what| {
            if !holds {
                violation = Some(what);
            }
        };
        let kind = std::mem::discriminant(&op);
        let file = match &op {
            StorageOp::Reserve { .. } => {
                demand(self.reserved.is_none(), "a second reservation");
                None
            }
            StorageOp::Snapshot(op) => {
                let wrong = self.snapshot_violation(op);
                demand(wrong.is_none(), wrong.unwrap_or_default());
                None
            }
            StorageOp::Start { segment, header } => {
                let file = self.reserved.take_if(|(number, _)| *number == segment.0).map(|(_, file)| file);
                demand(file.is_some(), "a start of a segment that wasn't reserved");
                demand(header.len() == 4096, "a header that isn't 4096 bytes long");
                file
            }
            StorageOp::Append { segment, offset, data, .. } => {
                let file = self.names.get(Name::Segment(segment.0));
                demand(file.is_some(), "an append to a segment that wasn't started");
                if let Some(content) = file.map(|file| self.files[file].data()) {
                    let (begin, end) = (place(*offset), place(*offset) + data.len());
                    demand(end <= content.len(), "an append outside of what was reserved");
                    let there = content.get(begin..end).unwrap_or_default();
                    demand(there.iter().all(|&byte| byte == 0), "an append over what was written");
                }
                file
            }
            StorageOp::Sync { segment, .. } => {
                let file = self.names.get(Name::Segment(segment.0));
                demand(file.is_some(), "a sync of a segment that wasn't started");
                file
            }
        };
        demand(self.under_way.iter().all(|job| std::mem::discriminant(&job.op) != kind), "two operations of a kind at once");
        self.violation = self.violation.or(violation);
        InFlight { op, step: 0, file }
    }

    fn is_prompt(&self, op: &StorageOp) -> bool {
        match op {
            StorageOp::Append { .. } | StorageOp::Start { .. } => self.prompt.append,
            StorageOp::Sync { .. } => self.prompt.sync,
            StorageOp::Reserve { .. } => self.prompt.reserve,
            StorageOp::Snapshot(_) => self.prompt.snapshot,
        }
    }

    /// Does a job's next step; whether it was the last.
    fn step(&mut self, job: &mut InFlight) -> Stepped {
        let step = job.step;
        job.step += 1;
        if let StorageOp::Snapshot(op) = &mut job.op {
            return self.snapshot_step(op, step);
        }
        match (&job.op, job.file) {
            (StorageOp::Reserve { segment, bytes }, _) => {
                if self.full {
                    return Err(StorageError::NoSpace);
                }
                self.strike(|fault| fault == Fault::Reserve)?;
                let mut file = File::reserved(place(*bytes));
                if let Some(old) = self.files.first().filter(|old| planted("recycled_segment") && old.data().len() <= place(*bytes)) {
                    file.data_mut()[..old.data().len()].copy_from_slice(old.data());
                }
                self.files.push(file);
                self.reserved = Some((segment.0, self.files.len() - 1));
                Ok(true)
            }
            (StorageOp::Start { segment, header }, Some(file)) => {
                self.strike(|fault| fault == Fault::Start(u8::try_from(step).unwrap_or(u8::MAX)))?;
                match START[step] {
                    StartStep::SyncFile if planted("header_unsynced") => {}
                    StartStep::SyncDirectory if planted("directory_unsynced") => {}
                    StartStep::WriteHeader => self.files[file].write(0, header),
                    StartStep::SyncFile => {
                        self.files[file].begin_sync();
                        self.files[file].end_sync();
                    }
                    StartStep::Rename => self.names.give(Name::Segment(segment.0), file),
                    StartStep::SyncDirectory => self.names.sync(),
                }
                Ok(step + 1 == START.len())
            }
            (StorageOp::Append { offset, data, sync, .. }, Some(file)) => {
                if step == 0 {
                    if let Some(Fault::Append(part)) = self.fault {
                        let written = data.len() * usize::from(part) / 256;
                        self.files[file].write(place(*offset), &data[..written]);
                    }
                    self.strike(|fault| matches!(fault, Fault::Append(_)))?;
                    self.files[file].write(place(*offset), data);
                    if *sync && !planted("append_synced_in_name_only") {
                        self.files[file].begin_sync();
                    }
                    return Ok(!sync);
                }
                self.finish_sync(file)
            }
            (StorageOp::Sync { trim_to, .. }, Some(file)) => {
                if step == 0 {
                    if let Some(length) = trim_to {
                        self.files[file].truncate(place(*length));
                    }
                    self.files[file].begin_sync();
                    return Ok(false);
                }
                self.finish_sync(file)
            }
            (StorageOp::Snapshot(_), _) | (_, None) => Err(EIO),
        }
    }

    fn finish_sync(&mut self, file: usize) -> Stepped {
        if self.fault == Some(Fault::Sync) {
            self.files[file].fail_sync();
        }
        self.strike(|fault| fault == Fault::Sync)?;
        self.files[file].end_sync();
        Ok(true)
    }

    /// Fails if such a fault is armed.
    fn strike(&mut self, is_it: impl Fn(Fault) -> bool) -> Result<(), StorageError> {
        if self.fault.is_some_and(is_it) {
            self.failed = self.fault.take();
            return Err(EIO);
        }
        Ok(())
    }
}

impl Storage for Disk {
    fn submit(&mut self, op: StorageOp) -> Option<StorageDone> {
        let mut job = self.begin(op);
        if !self.is_prompt(&job.op) {
            self.under_way.push(job);
            return None;
        }
        let result = loop {
            match self.step(&mut job) {
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        Some(StorageDone { op: job.op, result })
    }

    fn poll(&mut self) -> Option<StorageDone> {
        if self.ended.is_empty() { None } else { Some(self.ended.remove(0)) }
    }
}

/// A place in a file that is in memory.
pub(super) fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
