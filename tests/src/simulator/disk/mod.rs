//! A data directory on a disk that is late, fails, and loses power.
//!
//! What the engine asks for is done in the steps in which `host/src/storage.rs` and `host/src/storage/snapshots.rs` do it; between any two of them the process may be killed or the power cut, and each
//! may fail. Names are durable once the directory is synced.

mod damage;
mod file;
mod names;
mod operations;
mod recovery;
mod snapshots;

pub use damage::{Damage, Damaged};
use file::File;
pub use file::{Loss, SECTOR_BYTES};
pub use names::Name;
use names::Names;
pub use operations::{Fault, Progress};
pub use recovery::{Fuse, Step};
pub use snapshots::Snapshot;

use super::tape::Choices;
use crate::museum::planted;
use operations::InFlight;
use osprey_core::storage::StorageDone;

/// How the machine goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process dies.
    Kill,
    /// The power fails.
    PowerCut(Loss),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Disk {
    /// A file is its place here.
    files: Vec<File>,
    names: Names,
    /// Space set aside for a segment, under a name of its own.
    reserved: Option<(u64, usize)>,
    /// A snapshot that was begun, under a name of its own.
    draft: Option<usize>,
    under_way: Vec<InFlight>,
    /// Operations that have ended, and nobody has polled yet.
    ended: Vec<StorageDone>,
    /// Operations that are done at once.
    pub prompt: Progress,
    /// Whether no space is left.
    pub full: bool,
    /// What fails next.
    pub fault: Option<Fault>,
    /// Whether the armed fault has happened.
    pub failed: Option<Fault>,
    /// What the engine has asked for against the contract.
    pub violation: Option<&'static str>,
    /// Cuts recovery short.
    pub fuse: Fuse,
}

impl Disk {
    /// The machine goes down. Returns whether something that the system had taken may be lost.
    pub fn crash(&mut self, crash: Crash, choices: &mut Choices) -> bool {
        let under_way = std::mem::take(&mut self.under_way);
        self.interrupt(&under_way, choices);
        self.ended.clear();
        if let Some((_, file)) = self.reserved.take() {
            self.files[file] = File::default();
        }
        self.discard_draft();
        self.fault = None;
        self.failed = None;
        self.fuse = Fuse::default();
        let lost = match crash {
            Crash::Kill => {
                let mut lost = false;
                for file in &mut self.files {
                    if planted("append_buffered") {
                        file.cut_power(Loss::All, choices);
                    }
                    lost |= file.kill(choices);
                }
                lost
            }
            Crash::PowerCut(loss) => {
                for file in &mut self.files {
                    if !file.is_synced() {
                        file.cut_power(loss, choices);
                    }
                }
                self.names.cut_power(loss, choices);
                true
            }
        };
        for (at, file) in self.files.iter_mut().enumerate() {
            if !file.data().is_empty() && !self.names.refer_to(at) {
                *file = File::default();
            }
        }
        lost
    }

    /// What there would be if the machine went down now.
    #[must_use]
    pub fn after(&self, crash: Crash, choices: &mut Choices) -> Self {
        let mut left = self.copy();
        left.interrupt(&self.under_way, choices);
        left.crash(crash, choices);
        left
    }

    /// Another disk with the same files; nothing is under way on it.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { files: self.files.clone(), names: self.names.clone(), ..Self::default() }
    }

    /// Whether a reader sees the same on both.
    #[must_use]
    pub fn shows_the_same(&self, other: &Self) -> bool {
        self.contents().eq(other.contents()) || planted("check_takes_any_bytes")
    }

    /// All segments and snapshots with their bytes, as a reader sees them.
    pub fn contents(&self) -> impl Iterator<Item = (Name, &[u8])> {
        self.names.all().map(|(name, file)| (name, self.files[file].data()))
    }

    /// All segments with their bytes, as a reader sees them.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = (u64, &[u8])> {
        self.names.segments().map(|(number, file)| (number, self.files[file].data()))
    }
}
