//! Where time comes from. The engine itself never asks: every call that needs the time takes it as an argument.

use crate::units::Millis;

/// A clock that never goes backwards.
///
/// The engine protects itself from a clock that does (it keeps the latest time it was told, also over a restart), but
/// while such a clock catches up no time passes and nothing expires.
pub trait Clock {
    /// Milliseconds since the Unix epoch, never less than at an earlier call.
    fn now(&mut self) -> Millis;
}
