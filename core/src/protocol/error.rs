//! Errors: their codes, and what can be wrong with a request.

use core::fmt;

/// The word behind `ERR`.
///
/// ```
/// use osprey_core::protocol::error::ErrorCode;
///
/// assert_eq!(ErrorCode::from_word(b"READONLY"), ErrorCode::ReadOnly);
/// assert_eq!(ErrorCode::ReadOnly.as_str(), "READONLY");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Malformed command, arguments, key or number.
    BadReq,
    /// Key, value, line or number of arguments over its limit.
    TooLarge,
    /// `NX`, and the key is there.
    Exists,
    /// `XX`, and the key is not there.
    NExists,
    /// Another version is current.
    Ver,
    /// The value is no integer.
    Type,
    /// The result of `INCR` or `DECR` leaves the 64-bit range.
    Range,
    /// No memory, or over its limit.
    Oom,
    /// The log can't be written.
    ReadOnly,
    /// Too many clients.
    Busy,
    /// Reserved for authentication.
    NoAuth,
    /// A fault of the server's own.
    Internal,
    /// A code that this client doesn't know. No server of this version sends it.
    Other,
}

impl ErrorCode {
    const ALL: [Self; 12] = [
        Self::BadReq,
        Self::TooLarge,
        Self::Exists,
        Self::NExists,
        Self::Ver,
        Self::Type,
        Self::Range,
        Self::Oom,
        Self::ReadOnly,
        Self::Busy,
        Self::NoAuth,
        Self::Internal,
    ];

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadReq => "BADREQ",
            Self::TooLarge => "TOOLARGE",
            Self::Exists => "EXISTS",
            Self::NExists => "NEXISTS",
            Self::Ver => "VER",
            Self::Type => "TYPE",
            Self::Range => "RANGE",
            Self::Oom => "OOM",
            Self::ReadOnly => "READONLY",
            Self::Busy => "BUSY",
            Self::NoAuth => "NOAUTH",
            Self::Internal => "INTERNAL",
            Self::Other => "OTHER",
        }
    }

    /// The code that a word stands for; [`ErrorCode::Other`] for an unknown one.
    #[must_use]
    pub fn from_word(word: &[u8]) -> Self {
        Self::ALL.into_iter().find(|code| code.as_str().as_bytes() == word).unwrap_or(Self::Other)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The beginning of a word that a client sent, fit to be shown: printable ASCII.
///
/// ```
/// use osprey_core::engine;
/// use osprey_core::protocol::error::RequestError;
/// use osprey_core::protocol::request::{Parser, Step};
///
/// let limits = engine::Limits::default().request;
/// let step = Parser::default().next(&limits, b"GE\x07T-A-VERY-LONG-WORD-INDEED key\r\n");
/// let Step::Reject { error: RequestError::UnknownCommand(word), .. } = step else { panic!("no such command") };
/// assert_eq!(word.to_string(), "GE?T-A-VERY-LONG-WORD-IN");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excerpt {
    bytes: [u8; Self::BYTES_MAX],
    len: u8,
}

impl Excerpt {
    const BYTES_MAX: usize = 24;

    pub(super) fn new(word: &[u8]) -> Self {
        let mut excerpt = Self { bytes: [0; Self::BYTES_MAX], len: 0 };
        for (to, &from) in excerpt.bytes.iter_mut().zip(word) {
            *to = if from.is_ascii_graphic() { from } else { b'?' };
            excerpt.len += 1;
        }
        excerpt
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        f.write_str(core::str::from_utf8(bytes).unwrap_or_default())
    }
}

/// What is wrong with a request.
///
/// ```
/// use osprey_core::protocol::error::{ErrorCode, RequestError};
///
/// let error = RequestError::KeyTooLong { bytes: 300, limit: 256 };
/// assert_eq!(error.code(), ErrorCode::TooLarge);
/// assert_eq!(error.to_string(), "the key has 300 bytes, the limit is 256");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// No such command.
    UnknownCommand(Excerpt),
    /// Not the arguments that the command takes; what it takes.
    Usage(&'static str),
    /// An option that the command doesn't have.
    UnknownOption(&'static str, Excerpt),
    /// An option twice.
    RepeatedOption(&'static str),
    /// An option without its argument, or with one that is none.
    BadOption(&'static str),
    /// Two options that exclude each other.
    Conflict(&'static str),
    /// A key with a control character in it.
    BadKey,
    /// A length that can't be read: the rest of the stream can't be understood.
    BadLength,
    /// A number that isn't one; what it is for.
    BadNumber(&'static str),
    /// The payload doesn't end with its line.
    PayloadEnd,
    /// A key over its limit.
    KeyTooLong {
        /// Its length, bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A payload over its limit.
    ValueTooLong {
        /// Its length, bytes.
        bytes: u64,
        /// The limit.
        limit: usize,
    },
    /// A line over its limit.
    LineTooLong(usize),
    /// More words than allowed.
    TooManyWords(usize),
    /// A web browser.
    Http,
}

impl RequestError {
    /// The error's code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::KeyTooLong { .. } | Self::ValueTooLong { .. } | Self::LineTooLong(_) | Self::TooManyWords(_) => ErrorCode::TooLarge,
            _ => ErrorCode::BadReq,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownCommand(word) => write!(f, "unknown command '{word}'"),
            Self::Usage(usage) => write!(f, "wrong number of arguments; the form is: {usage}"),
            Self::UnknownOption(command, word) => write!(f, "unknown option '{word}' of {command}"),
            Self::RepeatedOption(option) => write!(f, "{option} is given twice"),
            Self::BadOption(form) => write!(f, "bad option; the form is: {form}"),
            Self::Conflict(options) => write!(f, "{options} exclude each other"),
            Self::BadKey => f.write_str("the key has a control character; bytes 0x00-0x20 and 0x7F are not allowed"),
            Self::BadLength => {
                f.write_str("the length of the payload cannot be read; closing, since what follows cannot be told from commands")
            }
            Self::BadNumber(what) => write!(f, "{what} is no decimal number of its range"),
            Self::PayloadEnd => f.write_str("the payload is not followed by a line end; is its length right?"),
            Self::KeyTooLong { bytes, limit } => write!(f, "the key has {bytes} bytes, the limit is {limit}"),
            Self::ValueTooLong { bytes, limit } => write!(f, "the payload has {bytes} bytes, the limit is {limit}"),
            Self::LineTooLong(limit) => write!(f, "the line is longer than {limit} bytes"),
            Self::TooManyWords(limit) => write!(f, "the request has more than {limit} words"),
            Self::Http => f.write_str("this is no HTTP server; closing"),
        }
    }
}

impl core::error::Error for RequestError {}
