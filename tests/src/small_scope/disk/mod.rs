//! A disk that remembers all that a power cut may leave of it.
//!
//! Beside what the system shows, every sector keeps each content that it has had since it was last certain, for the system may have written any of them back;
//! names and lengths keep the old and the new one. An *image* is one choice of all of these. Sectors are written whole or not at all.
//! A snapshot that has no name yet is no part of an image: a start removes it.

mod file;
mod images;
mod operations;

use std::collections::BTreeMap;

use osprey_core::storage::{SegmentNumber, SnapshotName, SnapshotOp, StorageDone, StorageOp};

use crate::memory_log::MemoryLog;
use file::File;
use operations::Job;
pub use operations::{Extent, Fault};

/// What a file is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Segment(SegmentNumber),
    Snapshot(SnapshotName),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Disk {
    files: Vec<File>,
    /// Segments and snapshots as the system shows them: places in `files`.
    names: BTreeMap<Name, usize>,
    /// The same on the platter.
    durable_names: BTreeMap<Name, usize>,
    reserved: Option<usize>,
    /// The snapshot that has no name yet.
    draft: Option<usize>,
    /// Of snapshots that are begun when so many have been, a bit is turned over on the way to the disk.
    pub damages_snapshots_from: Option<u64>,
    snapshots_begun: u64,
    under_way: Vec<Job>,
    /// What fails.
    pub fault: Option<Fault>,
    submitted: u64,
    /// Counts what may change images.
    generation: u64,
    /// Where the last step has written, until that is over.
    last_write: Option<(usize, std::ops::Range<usize>)>,
}

impl Disk {
    /// The machine was down, and this is what it has found: all of it durable. Operations go on being counted.
    pub fn reload(&mut self, log: MemoryLog) {
        *self = Self { fault: self.fault, submitted: self.submitted, generation: self.generation + 1, ..Self::default() };
        let segments = log.0.into_iter().map(|(number, shown)| (Name::Segment(number), shown));
        for (name, shown) in segments.chain(log.1.into_iter().map(|(name, shown)| (Name::Snapshot(name), shown))) {
            self.names.insert(name, self.files.len());
            self.files.push(File { shown, ..File::default() });
        }
        self.durable_names.clone_from(&self.names);
    }

    /// What was written and not synced happens to have reached the platter.
    pub fn write_back(&mut self) {
        for file in &mut self.files {
            file.begin_sync();
            file.end_sync();
        }
        self.generation += 1;
    }

    /// Takes an operation.
    ///
    /// # Panics
    /// It is against the contract.
    pub fn submit(&mut self, op: StorageOp, round: u32) {
        let kind = std::mem::discriminant(&op);
        assert!(self.under_way.iter().all(|job| std::mem::discriminant(&job.op) != kind), "two operations of a kind at once: {op:?}");
        let file = match &op {
            StorageOp::Reserve { .. } => self.files.len(),
            StorageOp::Snapshot(SnapshotOp::Append { .. } | SnapshotOp::Publish { .. }) => self.draft.unwrap(),
            StorageOp::Snapshot(SnapshotOp::Read { name, .. }) => self.names[&Name::Snapshot(*name)],
            // Not about a file's content.
            StorageOp::Snapshot(_) => usize::MAX,
            StorageOp::Start { .. } => self.reserved.take().unwrap(),
            StorageOp::Append { segment, .. } | StorageOp::Sync { segment, .. } => self.names[&Name::Segment(*segment)],
        };
        let fails = self.fault.filter(|fault| fault.after == self.submitted);
        self.submitted += 1;
        self.under_way.push(Job { op, step: 0, file, round, fails });
    }

    /// How many operations there have been.
    #[must_use]
    pub fn submitted(&self) -> u64 {
        self.submitted
    }

    /// Does one step of an operation under way; returns it if it has ended. Outer `None`: nothing may be done. What begins comes before what ends, and a step that
    /// ends an operation is only done if that was asked for before `round`; one that is the only step always is.
    pub fn step(&mut self, round: u32) -> Option<Option<StorageDone>> {
        let begins = self.under_way.iter().position(|job| job.step + 1 < job.steps() || job.steps() == 1);
        let at = begins.or_else(|| self.under_way.iter().position(|job| job.round < round))?;
        let mut job = self.under_way.remove(at);
        self.generation += 1;
        if let Some(fault) = job.fails {
            self.fail(&mut job, fault.extent);
            return Some(Some(StorageDone { op: job.op, result: Err(fault.error) }));
        }
        self.perform(&mut job.op, job.file, job.step);
        job.step += 1;
        if job.step == job.steps() {
            return Some(Some(StorageDone { op: job.op, result: Ok(()) }));
        }
        self.under_way.insert(at, job);
        Some(None)
    }

    /// The process can't die in the middle of the last step any more.
    pub fn step_is_over(&mut self) {
        self.last_write = None;
    }

    /// Changes whenever images may have.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }
}
