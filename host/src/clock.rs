//! The system's clock, as the engine wants it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use osprey_core::clock::Clock;
use osprey_core::units::Millis;

/// Wall-clock time that never goes back, and never stands still: while the system's clock is behind an earlier reading, time passes at half
/// speed, until that clock has caught up.
///
/// Were the earlier reading repeated instead, a clock that was set back by an hour would for an hour bring no sync, and nothing would expire.
///
/// ```
/// use osprey::clock::SystemClock;
/// use osprey::osprey_core::{clock::Clock, units::Millis};
///
/// let first = SystemClock::default().now();
/// assert!(first > Millis(1_700_000_000_000));
/// // A log knows of a later time than the system: time goes on from there.
/// let ahead = Millis(first.0 + 60_000);
/// assert!(SystemClock::not_before(ahead).now() >= ahead);
/// ```
#[derive(Debug, Default)]
pub struct SystemClock {
    latest: Millis,
    /// Since when the system's clock is behind, and the time that was reached then.
    behind: Option<(Instant, Millis)>,
}

impl SystemClock {
    /// A clock that begins at `earliest`, if the system's is behind that.
    #[must_use]
    pub fn not_before(earliest: Millis) -> Self {
        Self { latest: earliest, behind: None }
    }

    fn read(&mut self, system: Millis, instant: impl FnOnce() -> Instant) -> Millis {
        if system >= self.latest {
            self.behind = None;
            self.latest = system;
        } else {
            let at = instant();
            let (since, reached) = *self.behind.get_or_insert((at, self.latest));
            let passed = u64::try_from(at.saturating_duration_since(since).as_millis() / 2).unwrap_or(u64::MAX);
            self.latest = self.latest.max(reached.checked_add(passed).unwrap_or(Millis::MAX));
        }
        self.latest
    }
}

impl Clock for SystemClock {
    fn now(&mut self) -> Millis {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let system = Millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)).min(Millis::MAX);
        self.read(system, Instant::now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_that_is_set_back_slows_time_down_until_it_has_caught_up() {
        let begin = Instant::now();
        let after = |ms| move || begin + Duration::from_millis(ms);
        let mut clock = SystemClock::not_before(Millis(10_000));
        assert_eq!(clock.read(Millis(8_000), after(0)), Millis(10_000));
        assert_eq!(clock.read(Millis(8_001), after(1)), Millis(10_000));
        assert_eq!(clock.read(Millis(8_200), after(200)), Millis(10_100));
        assert_eq!(clock.read(Millis(10_000), after(2_000)), Millis(11_000));
        assert_eq!(clock.read(Millis(12_000), after(4_000)), Millis(12_000));
        assert_eq!(clock.read(Millis(12_005), after(4_005)), Millis(12_005));
        // Once more: it counts from here, not from the first time.
        assert_eq!(clock.read(Millis(12_000), after(4_010)), Millis(12_005));
        assert_eq!(clock.read(Millis(12_010), after(4_020)), Millis(12_010));
    }

    #[test]
    fn the_end_of_time_is_not_passed() {
        let begin = Instant::now();
        let mut clock = SystemClock::not_before(Millis::MAX);
        clock.read(Millis(1), || begin);
        assert_eq!(clock.read(Millis(1), || begin + Duration::from_secs(10)), Millis::MAX);
    }
}
