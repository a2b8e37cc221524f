//! One run: a tape in, what happened out.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use super::coverage::Coverage;
use super::events::{Event, Keep};
use super::failure::{Check, Checked, Failure};
use super::settings::Settings;
use super::tape::{Choices, Tape};
use super::world::World;
use crate::museum::planted;

/// What a run has come to.
#[derive(Debug)]
pub struct Outcome {
    /// The same tape has the same hash.
    pub hash: u64,
    /// What was hit.
    pub coverage: Coverage,
    /// What was found wrong.
    pub failure: Option<Failure>,
    /// What happened, if a list of it was to be kept.
    pub events: Vec<Event>,
}

/// Runs a tape.
#[must_use]
pub fn run(tape: &Tape, keep: Keep) -> Outcome {
    let settings = Settings::new(&mut tape.chunks().next().unwrap_or_else(|| Choices::new([0; 8])));
    let mut world = match guarded(|| World::new(settings, keep)) {
        Ok(world) => world,
        Err(failure) => return Outcome { hash: 0, coverage: Coverage::default(), failure: Some(*failure), events: Vec::new() },
    };
    let failure = guarded(|| world.play(tape)).err().map(|failure| *failure);
    let accepted = |check: &Check| match check {
        Check::Refused => planted("check_takes_any_refusal"),
        Check::Reply => planted("check_takes_any_reply"),
        _ => false,
    };
    let failure = failure.filter(|failure| !accepted(&failure.check));
    Outcome { hash: world.trace().hash(), coverage: world.coverage().clone(), failure, events: world.trace().events().to_vec() }
}

/// Takes a panic for a failure.
fn guarded<T>(run: impl FnOnce() -> Checked<T>) -> Checked<T> {
    listen();
    let outcome = catch_unwind(AssertUnwindSafe(run));
    RUNS.set(false);
    outcome.unwrap_or_else(|_| {
        let (place, message) = LAST_PANIC.take();
        Err(Box::new(Failure { check: Check::Panic(place), message }))
    })
}

thread_local! {
    /// Where the last panic of this thread was, and what it said.
    static LAST_PANIC: RefCell<(String, String)> = RefCell::default();
    /// Whether a run is under way, whose panics are findings.
    static RUNS: RefCell<bool> = const { RefCell::new(false) };
}

/// Notes where a panic comes from: it can't be told from what is caught. Outside of runs panics are reported as ever.
fn listen() {
    static LISTENS: Once = Once::new();
    RUNS.set(true);
    LISTENS.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !RUNS.with_borrow(|runs| *runs) || cfg!(panic = "abort") {
                report(panic);
            }
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            LAST_PANIC.set((place, panic.payload_as_str().unwrap_or_default().to_owned()));
        }));
    });
}
