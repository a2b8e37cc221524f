//! What can go wrong between a client and its server, as values to decide by.

use std::fmt;
use std::io;
use std::time::Duration;

use osprey_core::protocol::client::{EncodeError, Malformed};
use osprey_core::protocol::error::ErrorCode;

/// Why a request has no reply.
///
/// After [`Error::Server`] and [`Error::Request`] the connection can be used on; after every other error it is closed.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/client/example_server.rs"));
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = ExampleServer::start();
/// # let address = &server.address;
/// use osprey::client::{Error, ErrorCode, SetOptions, blocking::Client};
///
/// let mut client = Client::connect(address)?;
/// client.set("name", "Ada", &SetOptions::default())?;
/// let refused = client.incr("name", 1).expect_err("it is no number");
/// assert!(refused.is_refusal(ErrorCode::Type));
/// assert!(matches!(client.get("two words"), Err(Error::Request(_))));
/// client.ping()?; // neither has harmed the connection
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The server answered `ERR`.
    Server {
        /// What kind of refusal; decide by this.
        code: ErrorCode,
        /// For people, with bytes that are no UTF-8 replaced.
        message: String,
    },
    /// The request cannot be put on the wire; nothing of it was sent.
    Request(EncodeError),
    /// No connection came about.
    Connect {
        /// `HOST:PORT` as given.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// Nothing moved for longer than the [`Options`](super::Options) allow.
    Timeout {
        /// What was waited for.
        activity: Activity,
        /// The limit that ran out.
        limit: Duration,
    },
    /// The system refused to read or to write.
    Io(io::Error),
    /// The server closed the connection before it had answered.
    Disconnected,
    /// The server's reply is not the protocol's.
    Protocol(ProtocolViolation),
    /// Not sent, or sent and without an answer, as the connection was closed after an earlier failure.
    Closed {
        /// The earlier failure.
        because: String,
    },
}

/// What a client waits for.
///
/// ```
/// use osprey::client::{Activity, Error, Options, blocking::Client};
/// use std::{net::TcpListener, time::Duration};
///
/// // Somebody who listens and never answers.
/// let silent = TcpListener::bind("127.0.0.1:0")?;
/// let limit = Duration::from_millis(20);
/// let mut client = Client::connect_with(&silent.local_addr()?.to_string(), Options { read_timeout: Some(limit), ..Options::default() })?;
/// assert!(matches!(client.ping(), Err(Error::Timeout { activity: Activity::Read, .. })));
/// assert!(client.is_closed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// The connection to be accepted.
    Connect,
    /// The system to take bytes of a request.
    Write,
    /// Bytes of a reply.
    Read,
}

/// How a server's reply departs from the protocol.
///
/// ```
/// use osprey::client::{Error, ProtocolViolation, blocking::Client};
/// use std::{io::Write as _, net::TcpListener};
///
/// // Some other server.
/// let other = TcpListener::bind("127.0.0.1:0")?;
/// let mut client = Client::connect(&other.local_addr()?.to_string())?;
/// other.accept()?.0.write_all(b"+PONG\r\n")?;
/// assert!(matches!(client.ping(), Err(Error::Protocol(ProtocolViolation::Malformed(_)))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ProtocolViolation {
    /// A reply that is not in the grammar, or not the one that was due.
    Malformed(Malformed),
    /// A reply above [`Options::reply_bytes_max`](super::Options::reply_bytes_max).
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// `TTL` was answered with this number, which is neither a time nor −1 nor −2.
    Ttl(i64),
    /// A well-formed reply that does not belong here.
    OutOfPlace,
    /// Bytes beyond the last reply that was asked for.
    Unasked,
}

impl Error {
    /// Whether the server refused with this code.
    #[must_use]
    pub fn is_refusal(&self, expected: ErrorCode) -> bool {
        matches!(self, Self::Server { code, .. } if *code == expected)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server { code, message } => write!(f, "the server refused: {code} {message}"),
            Self::Request(error) => write!(f, "the request cannot be sent: {error}"),
            Self::Connect { address, source } => write!(f, "cannot connect to {address}: {source}"),
            Self::Timeout { activity, limit } => {
                let what = match activity {
                    Activity::Connect => "no connection",
                    Activity::Write => "the server took no more of the request",
                    Activity::Read => "no reply",
                };
                write!(f, "{what} within {} ms", limit.as_millis())
            }
            Self::Io(error) => write!(f, "the connection failed: {error}"),
            Self::Disconnected => f.write_str("the server closed the connection before it had answered"),
            Self::Protocol(violation) => write!(f, "the reply is not Osprey's protocol: {violation}"),
            Self::Closed { because } => write!(f, "the connection is closed after an earlier failure ({because}); connect anew"),
        }
    }
}

impl fmt::Display for ProtocolViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => write!(f, "{malformed}"),
            Self::TooLarge { limit } => write!(f, "a reply above the limit of {limit} bytes"),
            Self::Ttl(number) => write!(f, "{number} is no time to live"),
            Self::OutOfPlace => f.write_str("a reply to another kind of request"),
            Self::Unasked => f.write_str("bytes that answer no request"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { source, .. } | Self::Io(source) => Some(source),
            _ => None,
        }
    }
}

impl From<ProtocolViolation> for Error {
    fn from(violation: ProtocolViolation) -> Self {
        Self::Protocol(violation)
    }
}
