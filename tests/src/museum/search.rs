//! Plants bugs and looks for a seed that finds them.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use osprey_core::museum::plant;

use crate::simulator::events::Keep;
use crate::simulator::failure::Failure;
use crate::simulator::run::run;
use crate::simulator::tape::{SEED_STEPS, Tape};
use crate::small_scope::snapshots::{SCENES, explore};

/// How a saved tape fails with a bug planted.
#[must_use]
pub fn replay(planted: &str, tape: &str) -> Option<Failure> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/simulator_tapes/").to_owned() + tape + ".tape";
    let bytes = fs::read(path).ok()?;
    plant(&[planted]);
    let failure = run(&Tape(bytes), Keep::Nothing).failure;
    plant(&[]);
    failure
}

/// How the enumerated crashes of snapshots fail with a bug planted.
#[must_use]
pub fn enumerate(planted: &str) -> Option<Failure> {
    plant(&[planted]);
    let failure = SCENES.iter().find_map(|&(scene, policy, schedule)| explore(scene, policy, schedule).err());
    plant(&[]);
    failure.map(|failure| *failure)
}

/// The first of the seeds 1, 2, 3, … `budget` that fails with these bugs planted, and how. On all processors.
#[must_use]
pub fn search(planted: &[&str], budget: u64) -> Option<(u64, Failure)> {
    plant(planted);
    let next = AtomicU64::new(1);
    // Every seed below the one that is found has been run.
    let found = Mutex::new(None::<(u64, Failure)>);
    let worker = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let known = found.lock().ok().and_then(|found| found.as_ref().map(|(known, _)| *known));
            if seed > budget.min(known.unwrap_or(budget)) {
                return;
            }
            let failure = run(&Tape::from_seed(seed, SEED_STEPS), Keep::Nothing).failure;
            if let (Some(failure), Ok(mut found)) = (failure, found.lock())
                && found.as_ref().is_none_or(|(known, _)| seed < *known)
            {
                *found = Some((seed, failure));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, Into::into) {
            scope.spawn(worker);
        }
    });
    plant(&[]);
    found.into_inner().ok().flatten()
}
