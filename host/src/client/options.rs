//! What a connection waits for, and how much it takes in.

use std::time::Duration;

/// Limits of one connection.
///
/// ```
/// use osprey::client::Options;
/// use std::time::Duration;
///
/// let patient = Options { read_timeout: None, ..Options::default() };
/// assert_eq!(patient.connect_timeout, Duration::from_secs(5));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Longest time to connect, over all addresses of the name. 5 s by default; not zero.
    pub connect_timeout: Duration,
    /// Longest wait for the next bytes of a reply; `None` waits for ever. 30 s by default; not zero.
    pub read_timeout: Option<Duration>,
    /// Longest wait until the system takes the next bytes of a request; `None` waits for ever. 30 s by default; not zero.
    pub write_timeout: Option<Duration>,
    /// The most bytes that one reply may have: a value, all values of an `MGET`, all keys of a `SCAN` step. 1 GiB by default.
    /// Memory is taken as bytes arrive, never because the server has named a length.
    pub reply_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            read_timeout: Some(Duration::from_secs(30)),
            write_timeout: Some(Duration::from_secs(30)),
            reply_bytes_max: 1 << 30,
        }
    }
}
