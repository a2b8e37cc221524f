//! Where time comes from. The engine itself never asks: every call that needs the time takes it as an argument.

use crate::units::Millis;

/// A clock that never goes backwards.
///
/// The engine protects itself from a clock that does (it keeps the latest time it was told, also over a restart), but
/// while such a clock catches up no time passes: nothing expires, and what is due by time, as the syncs of a batch, waits. A host's
/// clock should slow down rather than stand still.
pub trait Clock {
    /// Milliseconds since the Unix epoch, never less than at an earlier call.
    fn now(&mut self) -> Millis;
}
