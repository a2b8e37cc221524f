//! One connection: a batch of requests on its way out, its replies on their way in.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use fastrand::Rng;

use super::options::SizeRange;
use super::request::Requests;
use super::tally::Tally;
use super::wire::{Operation, Protocol, Reply, Step, Unencodable};

/// A non-blocking socket, its random numbers, and the one batch that is under way on it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    seed: u64,
    rng: Rng,
    protocol: Protocol,
    value_sizes: SizeRange,
    outbox: Vec<u8>,
    written: usize,
    inbox: Inbox,
    /// The batch's requests in order; replies carry nothing that says to which they are.
    asked: Vec<Operation>,
    answered: usize,
    /// From when latency counts.
    due: Instant,
    /// When the batch was made, which is `due` or later.
    begun: Instant,
}

/// What a connection sends next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Keys to be stored one after another, from this one.
    Store { next: u64 },
    /// The load.
    Load,
    /// One kind of the load's operations.
    Only(Operation),
}

/// Why a connection is of no more use, which ends the run.
#[derive(Debug)]
pub(crate) enum Broken {
    Io(io::Error),
    /// The server closed it.
    Closed,
    /// What came is no reply; its first bytes.
    Malformed(Operation, Vec<u8>),
    /// More came than was asked for; the first bytes.
    Unasked(Vec<u8>),
    TooLarge,
    Unencodable(Unencodable),
}

/// Buffers that pass from one connection to the next. Ten thousand connections with buffers of their own would fill the processor's caches with them,
/// the server's share included.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    inbox: Vec<u8>,
    outbox: Vec<u8>,
}

/// Received bytes that are not parsed yet.
#[derive(Debug)]
struct Inbox {
    /// Empty while nothing is under way.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Parsing again is of no use with fewer bytes than this.
    at_least: usize,
}

/// What a buffer holds at first; it grows when a reply fills it.
const INBOX_BYTES: usize = 16 * 1024;
/// The largest that it may get: a value of [`SizeRange::LIMIT`] fits.
const INBOX_BYTES_MAX: usize = 2 * SizeRange::LIMIT;

impl Connection {
    /// Takes over a non-blocking socket. `seed` decides what is sent on it.
    pub(crate) fn new(stream: TcpStream, protocol: Protocol, value_sizes: SizeRange, seed: u64) -> Self {
        let inbox = Inbox { bytes: Vec::new(), start: 0, end: 0, at_least: 1 };
        let now = Instant::now();
        Self {
            stream,
            seed,
            rng: Rng::with_seed(seed),
            protocol,
            value_sizes,
            outbox: Vec::new(),
            written: 0,
            inbox,
            asked: Vec::new(),
            answered: 0,
            due: now,
            begun: now,
        }
    }

    /// Begins the random numbers anew, as the `stream`-th of the connection's sequences.
    pub(crate) fn reseed(&mut self, stream: u64) {
        self.rng = Rng::with_seed(self.seed.wrapping_add(stream));
    }

    /// Makes a batch of `count` requests and sends what the socket takes; whether that was all. Its latency counts from when it was due or, without that,
    /// from now on.
    pub(crate) fn begin(
        &mut self,
        requests: &mut Requests,
        source: &mut Source,
        count: u64,
        due: Option<Instant>,
        spare: &mut Spare,
    ) -> Result<bool, Broken> {
        if self.outbox.capacity() == 0 {
            self.outbox = std::mem::take(&mut spare.outbox);
        }
        self.outbox.clear();
        self.written = 0;
        self.asked.clear();
        self.answered = 0;
        for _ in 0..count {
            let operation = match source {
                Source::Load => requests.append(&mut self.rng, &mut self.outbox)?,
                Source::Only(operation) => requests.append_one(*operation, &mut self.rng, &mut self.outbox)?,
                Source::Store { next } => {
                    let key = *next;
                    *next += 1;
                    requests.append_store(key, &mut self.rng, &mut self.outbox)?
                }
            };
            self.asked.push(operation);
        }
        self.begun = Instant::now();
        self.due = due.unwrap_or(self.begun);
        self.flush(spare)
    }

    /// Whether replies are awaited.
    pub(crate) fn is_busy(&self) -> bool {
        self.answered < self.asked.len()
    }

    /// When the batch under way was made.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    /// Writes what the socket takes; whether that was all.
    pub(crate) fn flush(&mut self, spare: &mut Spare) -> Result<bool, Broken> {
        while self.written < self.outbox.len() {
            match self.stream.write(&self.outbox[self.written..]) {
                Ok(0) => return Err(Broken::Closed),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Broken::Io(error)),
            }
        }
        spare.outbox = std::mem::take(&mut self.outbox);
        Ok(true)
    }

    /// Reads once and parses what is whole. Replies that came with one read have come at one time.
    pub(crate) fn receive(&mut self, spare: &mut Spare, tally: &mut Tally) -> Result<Instant, Broken> {
        if self.inbox.bytes.is_empty() {
            self.inbox.bytes = std::mem::take(&mut spare.inbox);
        }
        let count = match self.stream.read(self.inbox.room()?) {
            Ok(0) => return Err(Broken::Closed),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            Err(error) => return Err(Broken::Io(error)),
        };
        self.inbox.end += count;
        let now = Instant::now();
        self.take_replies(tally, now)?;
        if self.inbox.is_spare() {
            spare.inbox = std::mem::take(&mut self.inbox.bytes);
        }
        Ok(now)
    }

    fn take_replies(&mut self, tally: &mut Tally, now: Instant) -> Result<(), Broken> {
        let latency = now.saturating_duration_since(self.due);
        while self.inbox.is_worth_parsing() {
            let input = self.inbox.unparsed();
            let Some(&operation) = self.asked.get(self.answered) else {
                return Err(Broken::Unasked(beginning(input)));
            };
            match self.protocol.parse(operation, input) {
                Ok(Step::Incomplete { at_least }) => self.inbox.at_least = at_least,
                Ok(Step::Complete { reply, consumed }) => {
                    check(reply, operation, self.value_sizes, tally);
                    tally.reply(operation, latency);
                    self.answered += 1;
                    self.inbox.consume(consumed);
                }
                Err(_) => return Err(Broken::Malformed(operation, beginning(input))),
            }
        }
        Ok(())
    }
}

/// Counts what a reply that has the protocol's form says.
fn check(reply: Reply<'_>, operation: Operation, value_sizes: SizeRange, tally: &mut Tally) {
    match reply {
        Reply::Stored | Reply::Number => {}
        Reply::Missing => tally.misses += 1,
        Reply::Value { bytes } if (value_sizes.min..=value_sizes.max).contains(&bytes) => {}
        Reply::Value { bytes } => tally.error(|| format!("a value of {bytes} bytes, expected {value_sizes}")),
        Reply::Refused(line) => tally.error(|| format!("{} {operation}", line.escape_ascii())),
        Reply::Unexpected(line) => tally.error(|| format!("unexpected reply {operation}: {}", line.escape_ascii())),
    }
}

fn beginning(input: &[u8]) -> Vec<u8> {
    input[..input.len().min(80)].to_vec()
}

impl Inbox {
    /// Where to read to.
    fn room(&mut self) -> Result<&mut [u8], Broken> {
        if self.bytes.is_empty() {
            self.bytes.resize(INBOX_BYTES, 0);
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end == self.bytes.len() {
                if self.bytes.len() >= INBOX_BYTES_MAX {
                    return Err(Broken::TooLarge);
                }
                self.bytes.resize(self.bytes.len() * 2, 0);
            }
        }
        Ok(&mut self.bytes[self.end..])
    }

    /// Whether the buffer can be another's: one that has grown stays where it is needed again.
    fn is_spare(&self) -> bool {
        self.start == self.end && self.bytes.len() == INBOX_BYTES
    }

    fn is_worth_parsing(&self) -> bool {
        self.end - self.start >= self.at_least
    }

    fn unparsed(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        self.at_least = 1;
    }
}

impl From<Unencodable> for Broken {
    fn from(error: Unencodable) -> Self {
        Self::Unencodable(error)
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "(to a get)",
            Self::Set => "(to a set)",
            Self::Incr => "(to an incr)",
        })
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the connection failed: {error}"),
            Self::Closed => f.write_str("the server closed the connection"),
            Self::Malformed(operation, bytes) => write!(f, "no reply of this protocol {operation}: {}", bytes.escape_ascii()),
            Self::Unasked(bytes) => write!(f, "a reply to nothing: {}", bytes.escape_ascii()),
            Self::TooLarge => f.write_str("a reply is larger than any value can be"),
            Self::Unencodable(Unencodable(why)) => f.write_str(why),
        }
    }
}
