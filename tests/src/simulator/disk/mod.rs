//! A data directory on a disk that is late, fails, and loses power.
//!
//! What the engine asks for is done in the steps in which `host/src/storage.rs` does it; between any two of them the process may be killed or the power cut, and each
//! may fail. Names are durable once the directory is synced.

mod damage;
mod file;
mod operations;
mod recovery;

use std::collections::BTreeMap;

pub use damage::{Damage, Damaged};
use file::File;
pub use file::{Loss, SECTOR_BYTES};
pub use operations::{Fault, Progress};
pub use recovery::{Fuse, Step};

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
    files: Vec<File>,
    /// Segments by number, as the system shows them; a file is its place in `files`.
    names: BTreeMap<u64, usize>,
    /// The same on the platter.
    durable_names: BTreeMap<u64, usize>,
    /// Numbers whose names the two may not agree on.
    unsynced_names: Vec<u64>,
    /// Space set aside for a segment, under a name of its own.
    reserved: Option<(u64, usize)>,
    under_way: Vec<InFlight>,
    /// Operations that have ended, and nobody has polled yet.
    ended: Vec<StorageDone>,
    /// Operations that are done at once: append and start, sync, reserve.
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
        self.interrupt(choices);
        self.ended.clear();
        if let Some((_, file)) = self.reserved.take() {
            self.files[file] = File::default();
        }
        self.fault = None;
        self.failed = None;
        self.fuse = Fuse::default();
        match crash {
            Crash::Kill => {
                let mut lost = false;
                for file in &mut self.files {
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
                for number in std::mem::take(&mut self.unsynced_names) {
                    let keeps_new = loss == Loss::None || (loss != Loss::All && choices.one_in(2));
                    let (from, to) =
                        if keeps_new { (&self.names, &mut self.durable_names) } else { (&self.durable_names, &mut self.names) };
                    match from.get(&number) {
                        Some(&file) => to.insert(number, file),
                        None => to.remove(&number),
                    };
                }
                true
            }
        }
    }

    /// Another disk with the same files; nothing is under way on it.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self {
            files: self.files.clone(),
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            unsynced_names: self.unsynced_names.clone(),
            ..Self::default()
        }
    }

    /// Whether a reader sees the same on both.
    #[must_use]
    pub fn shows_the_same(&self, other: &Self) -> bool {
        self.contents().eq(other.contents()) || planted("check_takes_any_bytes")
    }

    /// All segments with their bytes, as a reader sees them.
    pub fn contents(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.names.iter().map(|(&number, &file)| (number, self.files[file].data()))
    }

    /// How many segments there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn sync_names(&mut self) {
        for number in self.unsynced_names.drain(..) {
            match self.names.get(&number) {
                Some(&file) => self.durable_names.insert(number, file),
                None => self.durable_names.remove(&number),
            };
        }
    }
}
