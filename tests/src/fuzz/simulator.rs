//! The simulator (see [`crate::simulator`]), with any bytes as its tape: eight are one step of the world.

use crate::simulator::events::Keep;
use crate::simulator::run::run;
use crate::simulator::tape::Tape;

/// Runs the tape; nothing must be found wrong.
///
/// # Panics
/// Something is. The input, saved, is told step by step by `cargo run -p osprey-tests -- --tape FILE`.
pub fn check(input: &[u8]) {
    if let Some(failure) = run(&Tape(input.to_vec()), Keep::Nothing).failure {
        panic!("{failure}");
    }
}
