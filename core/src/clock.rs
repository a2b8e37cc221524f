//! Where time comes from. The engine itself never asks: every call that needs the time takes it as an argument.

use crate::units::Millis;

/// A clock that never goes backwards.
///
/// The engine protects itself from a clock that does (it keeps the latest time it was told, also over a restart), but
/// while such a clock catches up no time passes: nothing expires, and what is due by time, as the syncs of a batch, waits. A host's
/// clock should slow down rather than stand still.
///
/// A closure that returns the time is one, too:
///
/// ```
/// use osprey_core::clock::Clock;
/// use osprey_core::units::Millis;
///
/// let mut ticks = 0;
/// let mut clock = || {
///     ticks += 10;
///     Millis(ticks)
/// };
/// assert_eq!((clock.now(), clock.now()), (Millis(10), Millis(20)));
/// ```
///
/// ```
/// use std::time::Instant;
///
/// use osprey_core::clock::Clock;
/// use osprey_core::units::Millis;
///
/// /// Milliseconds since the program began, on top of a time that was known then.
/// struct SinceStart(Millis, Instant);
///
/// impl Clock for SinceStart {
///     fn now(&mut self) -> Millis {
///         Millis(self.0.0 + u64::try_from(self.1.elapsed().as_millis()).unwrap_or(u64::MAX / 2))
///     }
/// }
///
/// let mut clock = SinceStart(Millis(1_000), Instant::now());
/// assert!(clock.now() >= Millis(1_000));
/// ```
pub trait Clock {
    /// Milliseconds since the Unix epoch, never less than at an earlier call.
    fn now(&mut self) -> Millis;
}

impl<F: FnMut() -> Millis> Clock for F {
    fn now(&mut self) -> Millis {
        self()
    }
}
