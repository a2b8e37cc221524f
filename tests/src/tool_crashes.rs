//! Crashes of a tool, at each of its steps: what it does to a disk is recorded once, and from that made what is there after it was killed behind each system call, or after the power has
//! failed there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::power_cut::event::Event;
use crate::power_cut::{Disk, Files, library, read};
use crate::tool::{Ran, run};

/// What is left of what was not synced when the power fails: of changes of names, of bytes; and by which seed. File systems write back either first.
const POWER_CUTS: [(f64, f64, u64); 6] = [(0.0, 0.0, 0), (1.0, 0.0, 0), (0.0, 1.0, 0), (0.5, 0.5, 1), (0.5, 0.5, 2), (0.9, 0.9, 3)];

/// What a tool has done.
#[derive(Debug)]
pub struct Recording {
    before: Files,
    /// Nobody had synced them.
    pub unsynced: bool,
    journal: Vec<u8>,
    /// Where each event in the journal ends.
    ends: Vec<usize>,
}

/// A disk after a crash.
#[derive(Debug)]
pub struct Crashed {
    /// Behind which step, and how.
    pub what: String,
    /// Behind which step.
    pub step: usize,
    /// What is on it.
    pub disk: Disk,
}

impl Recording {
    /// Runs a tool to its end, and records what it does below `root`. `beside` is a place for the journal.
    ///
    /// # Panics
    /// It did something there that was not seen.
    #[must_use]
    pub fn of(mut command: Command, root: &Path, beside: &Path) -> (Ran, Self) {
        let journal = beside.join("journal");
        fs::write(&journal, b"").unwrap();
        let before = read(root);
        command.env("LD_PRELOAD", library()).env("POWER_CUT_DIRECTORY", root).env("POWER_CUT_JOURNAL", &journal);
        let ran = run(command);
        let journal = fs::read(journal).unwrap();
        let mut ends = Vec::new();
        let mut rest = journal.as_slice();
        while let Some((_, behind)) = Event::decode(rest) {
            rest = behind;
            ends.push(journal.len() - rest.len());
        }
        let recording = Self { before, unsynced: false, journal, ends };
        let seen = recording.after(recording.steps(), 0);
        assert!(seen.files() == read(root), "the journal is about other files or bytes than the directory");
        (ran, recording)
    }

    /// How many there are.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.ends.len()
    }

    /// What the first steps do.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        let mut rest = self.journal.as_slice();
        std::iter::from_fn(move || {
            let (event, behind) = Event::decode(rest)?;
            rest = behind;
            Some(event)
        })
    }

    /// What is there behind so many steps, for a process that comes then.
    ///
    /// # Panics
    /// There are fewer steps.
    #[must_use]
    pub fn after(&self, steps: usize, seed: u64) -> Disk {
        let mut disk = Disk::with(&self.before, seed);
        if self.unsynced {
            disk.forget_syncs();
        }
        let end = steps.checked_sub(1).map_or(0, |last| self.ends[last]);
        disk.follow(&self.journal[..end]);
        disk
    }

    /// Every disk that a crash leaves, each once; and once more behind the last step.
    pub fn crashes(&self) -> impl Iterator<Item = Crashed> {
        let mut known = BTreeSet::new();
        let last = self.steps();
        let killed = (0..=self.steps()).map(|step| Crashed { what: format!("killed behind step {step}"), step, disk: self.after(step, 0) });
        let power_cuts = (0..=self.steps()).flat_map(|step| POWER_CUTS.map(|cut| self.power_cut(step, cut)));
        killed
            .chain(power_cuts)
            .filter(move |crashed| known.insert((crashed.disk.files(), crashed.disk.directories(), crashed.step == last)))
    }

    /// One of the crashes.
    pub fn any_crash(&self, random: &mut fastrand::Rng) -> Crashed {
        self.power_cut(random.usize(0..=self.steps()), (random.f64(), random.f64(), random.u64(..)))
    }

    fn power_cut(&self, step: usize, (names_kept, bytes_kept, seed): (f64, f64, u64)) -> Crashed {
        let mut disk = self.after(step, seed);
        disk.cut_power_after(names_kept, bytes_kept);
        let what = format!("power cut behind step {step}, of names {names_kept} and of bytes {bytes_kept} kept, seed {seed}");
        Crashed { what, step, disk }
    }
}
