//! What was found wrong, and by which check: shrinking keeps to one.

use std::fmt;

/// The check that failed. The numbers are those of the invariants in `docs/ARCHITECTURE.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// 1: a reply isn't the model's.
    Reply,
    /// 2, 7: the recovered state isn't the model's at one prefix of the log.
    Prefix,
    /// 3: something that was promised is lost.
    Lost,
    /// 4: a reply left before what it depends on was secured.
    Early,
    /// 5: a key that was seen to be gone may come back.
    Back,
    /// 6: a version that a key had is given again.
    Version,
    /// 7: recovering twice isn't the same as once.
    Twice,
    /// 8: memory, a buffer or a call goes over its bounds.
    Bounds,
    /// 9: damage was served as data, or a refusal has changed the log.
    Damage,
    /// 9: a log that only a crash has touched was refused.
    Refused,
    /// 10: without faults the service doesn't resume.
    Stuck,
    /// The engine asked storage for what the contract doesn't allow.
    Contract,
    /// A panic, and where.
    Panic(String),
}

/// A failed check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub check: Check,
    /// What was expected and what was found.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.check, self.message)
    }
}

impl Failure {
    /// The same, with where it was found before its message.
    #[must_use]
    pub fn at(mut self: Box<Self>, place: impl fmt::Display) -> Box<Self> {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

/// A check's outcome; boxed, since failing is rare.
pub type Checked<T = ()> = Result<T, Box<Failure>>;

/// A failure of `check`. The message is only made when it is needed.
pub fn fail<T>(check: Check, message: impl FnOnce() -> String) -> Checked<T> {
    Err(Box::new(Failure { check, message: message() }))
}

/// Fails unless `holds`.
#[inline]
pub fn ensure(holds: bool, check: Check, message: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { fail(check, message) }
}
