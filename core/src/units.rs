//! Types for quantities, so that a time is never taken for a version.

/// A point in time: milliseconds since the Unix epoch.
///
/// ```
/// use osprey_core::units::Millis;
///
/// let now = Millis(1_700_000_000_000);
/// let expiry = now.checked_add(60_000).expect("not at the end of time");
/// assert_eq!((expiry.since(now), now.since(expiry)), (60_000, 0));
/// assert_eq!(Millis::MAX.checked_add(1), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    /// The latest time that the protocol can express as an expiry (2^63 − 1 ms).
    pub const MAX: Self = Self(i64::MAX as u64);

    /// This time plus `ms`, or `None` past [`Millis::MAX`].
    #[must_use]
    pub fn checked_add(self, ms: u64) -> Option<Self> {
        self.0.checked_add(ms).map(Self).filter(|&sum| sum <= Self::MAX)
    }

    /// Milliseconds from `earlier` to this time; 0 if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Log sequence number: counts the records of a database's log, from 1. 0 is before the first.
///
/// ```
/// use osprey_core::units::Lsn;
///
/// let (written, watermark) = (Lsn(7), Lsn(6));
/// assert!(written > watermark, "what shows record 7 has to wait");
/// assert_eq!(Lsn::default(), Lsn(0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// The version of a key's value. Versions of one key only grow, also over its removal; 0 stands for "no such key".
///
/// ```
/// use osprey_core::units::Version;
///
/// assert_eq!(Version::NONE.next(), Some(Version(1)));
/// assert_eq!(Version(u64::MAX).next(), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    /// No value: the version of a key that is not there.
    pub const NONE: Self = Self(0);

    /// The version after this one, or `None` when the 64-bit range is used up.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}
