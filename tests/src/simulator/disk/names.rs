//! What files are called: as the system shows it, and as it is on the platter. The two agree once the directory is synced.

use std::collections::BTreeMap;
use std::fmt;

use osprey_core::storage::{SegmentNumber, SnapshotName};

use super::file::Loss;
use crate::simulator::tape::Choices;

/// A file's name. Segments come before snapshots, each in the order in which they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// A segment of the log.
    Segment(u64),
    /// A snapshot.
    Snapshot(SnapshotName),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(number) => SegmentNumber(*number).fmt(f),
            Self::Snapshot(name) => name.fmt(f),
        }
    }
}

/// See the module. A file is its place among the disk's.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    shown: BTreeMap<Name, usize>,
    durable: BTreeMap<Name, usize>,
    /// Those on which the two may not agree.
    unsynced: Vec<Name>,
}

impl Names {
    /// What is called so.
    pub(super) fn get(&self, name: Name) -> Option<usize> {
        self.shown.get(&name).copied()
    }

    /// Whether a power cut leaves the name to this file.
    pub(super) fn is_durable(&self, name: Name) -> bool {
        self.shown.get(&name).is_some_and(|file| self.durable.get(&name) == Some(file))
    }

    /// Gives a name, maybe one that another file had.
    pub(super) fn give(&mut self, name: Name, file: usize) {
        self.shown.insert(name, file);
        self.unsynced.push(name);
    }

    /// Takes a name away.
    pub(super) fn take(&mut self, name: Name) {
        self.shown.remove(&name);
        self.unsynced.push(name);
    }

    /// Gives a name, or takes it away, as if it had ever been so: what a disk does by itself.
    pub(super) fn set(&mut self, name: Name, file: Option<usize>) {
        match file {
            Some(file) => {
                self.shown.insert(name, file);
                self.durable.insert(name, file);
            }
            None => {
                self.shown.remove(&name);
                self.durable.remove(&name);
            }
        }
    }

    /// The directory is synced.
    pub(super) fn sync(&mut self) {
        for name in self.unsynced.drain(..) {
            match self.shown.get(&name) {
                Some(&file) => self.durable.insert(name, file),
                None => self.durable.remove(&name),
            };
        }
    }

    /// The power fails: each name that wasn't synced is the old one or the new one.
    pub(super) fn cut_power(&mut self, loss: Loss, choices: &mut Choices) {
        for name in std::mem::take(&mut self.unsynced) {
            let keeps_new = loss == Loss::None || (loss != Loss::All && choices.one_in(2));
            let (from, to) = if keeps_new { (&self.shown, &mut self.durable) } else { (&self.durable, &mut self.shown) };
            match from.get(&name) {
                Some(&file) => to.insert(name, file),
                None => to.remove(&name),
            };
        }
    }

    /// Whether a file has a name, or may have one after a power cut.
    pub(super) fn refer_to(&self, file: usize) -> bool {
        self.shown.values().chain(self.durable.values()).any(|&named| named == file)
    }

    /// Segments in order, with their files.
    pub(super) fn segments(&self) -> impl DoubleEndedIterator<Item = (u64, usize)> {
        let segments = self.shown.range(..=Name::Segment(u64::MAX));
        segments.filter_map(|(name, &file)| if let Name::Segment(number) = name { Some((*number, file)) } else { None })
    }

    /// Snapshots in order, with their files.
    pub(super) fn snapshots(&self) -> impl DoubleEndedIterator<Item = (SnapshotName, usize)> {
        let snapshots = self.shown.range(Name::Snapshot(SnapshotName::default())..);
        snapshots.filter_map(|(name, &file)| if let Name::Snapshot(name) = name { Some((*name, file)) } else { None })
    }

    /// All names, with their files.
    pub(super) fn all(&self) -> impl Iterator<Item = (Name, usize)> {
        self.shown.iter().map(|(&name, &file)| (name, file))
    }
}
