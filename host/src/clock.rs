//! The system's clock, as the engine wants it.

use std::time::{SystemTime, UNIX_EPOCH};

use osprey_core::clock::Clock;
use osprey_core::units::Millis;

/// Wall-clock time that never goes back: while the system's clock is behind an earlier reading, that reading is repeated.
#[derive(Debug, Default)]
pub struct SystemClock {
    latest: Millis,
}

impl Clock for SystemClock {
    fn now(&mut self) -> Millis {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)).min(Millis::MAX);
        self.latest = self.latest.max(now);
        self.latest
    }
}
