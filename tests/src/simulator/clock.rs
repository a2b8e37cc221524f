//! The system's clock: it may stand still, jump ahead, and be set back.

use osprey_core::clock::Clock;
use osprey_core::units::Millis;

use crate::museum::planted;

/// Where every run's time begins: far enough from 0 to be set back.
pub const BEGIN: Millis = Millis(1_000_000_000);

/// See the module.
#[derive(Clone, Debug)]
pub struct SimulatedClock {
    now: Millis,
}

impl Default for SimulatedClock {
    fn default() -> Self {
        Self { now: BEGIN }
    }
}

impl SimulatedClock {
    /// Time passes.
    pub fn advance(&mut self, ms: u64) {
        self.now.0 += ms;
    }

    /// The clock is set back.
    pub fn set_back(&mut self, ms: u64) {
        self.now.0 -= if planted("clock_never_set_back") { 0 } else { ms.min(self.now.0) };
    }

    /// The clock is set, ahead if it is behind.
    pub fn at_least(&mut self, now: Millis) {
        self.now = self.now.max(now);
    }
}

impl Clock for SimulatedClock {
    /// Against the trait's promise it may be earlier than before: the engine is to be safe from that, too.
    fn now(&mut self) -> Millis {
        self.now
    }
}
