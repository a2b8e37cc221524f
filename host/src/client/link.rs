//! One connection without its socket: what to write, how much to read, and which bytes answer which request.
//!
//! A front end loops over [`Link::step`], does the one call on the socket that the step asks for, and hands its result to
//! [`Link::wrote`] or [`Link::received`]. It decides nothing.

use std::collections::VecDeque;
use std::io;
use std::mem;

use osprey_core::protocol::client::{self as wire, ReplyLimits};

use super::assemble::{Assembly, Progress};
use super::batch::{Batch, Queued, Shape};
use super::error::{Activity, Error, ProtocolViolation};
use super::input::Input;
use super::options::Options;
use super::reply::Reply;

/// The most bytes of requests under way without an answer, unless one request alone has more. It fits the socket buffers of
/// common systems: when the server stops reading until its replies are taken, our write still ends, and we come to take them.
/// (A large request alone is safe too: its reply comes after it has been read.)
const IN_FLIGHT_MAX_BYTES: usize = 64 << 10;

/// What the front end does next.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// Write some of these bytes, then call [`Link::wrote`].
    Write(&'a [u8]),
    /// Read into this room, then call [`Link::received`].
    Read(&'a mut [u8]),
    /// Every request has its result: take [`Link::finish`].
    Done,
}

#[derive(Debug)]
enum State {
    Idle,
    /// Between `begin` and `finish`. If a call finds it so at its begin, the one before was abandoned half way.
    Busy,
    Closed {
        because: String,
    },
}

/// The machine of one connection.
#[derive(Debug)]
pub(super) struct Link {
    options: Options,
    state: State,
    input: Input,
    /// Unread bytes needed before parsing can go on.
    wanted: usize,
    /// The batch's encoded requests, and how many of these bytes are written, admitted to be written, and answered.
    output: Vec<u8>,
    written: usize,
    admitted: usize,
    answered: usize,
    /// Requests not yet admitted, and those admitted and not yet answered.
    waiting: VecDeque<Queued>,
    asked: VecDeque<Queued>,
    /// The reply to the first of `asked`, if a part of it has come, and the bytes it has had so far.
    partial: Option<Assembly>,
    partial_bytes: usize,
    /// The peer takes no more: what is left is to read what it may have said about that.
    write_error: Option<io::Error>,
    results: Vec<Result<Reply, Error>>,
}

impl Link {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            state: State::Idle,
            input: Input::default(),
            wanted: 1,
            output: Vec::new(),
            written: 0,
            admitted: 0,
            answered: 0,
            waiting: VecDeque::new(),
            asked: VecDeque::new(),
            partial: None,
            partial_bytes: 0,
            write_error: None,
            results: Vec::new(),
        }
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    /// Takes up a batch.
    pub(super) fn begin(&mut self, batch: Batch) {
        if matches!(self.state, State::Busy) {
            self.state = State::Closed { because: "a call was dropped before its reply came".into() };
        }
        self.output = batch.bytes;
        (self.written, self.admitted, self.answered) = (0, 0, 0);
        self.waiting = batch.queue;
        self.asked.clear();
        self.results.clear();
        match self.state {
            State::Closed { .. } => self.close_rest(),
            _ => self.state = State::Busy,
        }
    }

    /// What to do next.
    pub(super) fn step(&mut self) -> Step<'_> {
        self.admit();
        self.parse();
        // What was just answered makes room for more.
        self.admit();
        if self.asked.is_empty() {
            return Step::Done;
        }
        if self.written < self.admitted && self.write_error.is_none() {
            return Step::Write(&self.output[self.written..self.admitted]);
        }
        match self.input.make_room(self.wanted) {
            Ok(()) => Step::Read(self.input.room()),
            Err(error) => {
                self.fail(Error::Io(error));
                Step::Done
            }
        }
    }

    /// The result of the write that the last step asked for.
    pub(super) fn wrote(&mut self, result: io::Result<usize>) {
        match result {
            Ok(0) => self.write_error = Some(io::ErrorKind::WriteZero.into()),
            Ok(count) => self.written = (self.written + count).min(self.admitted),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    let limit = self.options.write_timeout.unwrap_or_default();
                    self.fail(Error::Timeout { activity: Activity::Write, limit });
                }
                // A server that refuses a connection says why before it closes.
                _ => self.write_error = Some(error),
            },
        }
    }

    /// The result of the read that the last step asked for.
    pub(super) fn received(&mut self, result: io::Result<usize>) {
        let error = match result {
            Ok(0) => Error::Disconnected,
            Ok(count) => return self.input.filled(count),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => return,
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    Error::Timeout { activity: Activity::Read, limit: self.options.read_timeout.unwrap_or_default() }
                }
                io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Error::Disconnected,
                _ => Error::Io(error),
            },
        };
        // A write that had failed before tells more than the end of the input, unless both say the same.
        let error = match (error, self.write_error.take()) {
            (Error::Disconnected, Some(cause)) if !is_hangup(&cause) => Error::Io(cause),
            (error, _) => error,
        };
        self.fail(error);
    }

    /// The results of the batch, one for each request in order.
    pub(super) fn finish(&mut self) -> Vec<Result<Reply, Error>> {
        if matches!(self.state, State::Busy) {
            self.state = State::Idle;
            if let Some(error) = self.write_error.take() {
                self.close(&Error::Io(error));
            } else if !self.input.unread().is_empty() {
                self.close(&Error::from(ProtocolViolation::Unasked));
            }
        }
        self.output = Vec::new();
        mem::take(&mut self.results)
    }

    /// Whether the socket is of no more use.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Lets requests go while few are under way; many at a time rather than one for each that is answered.
    fn admit(&mut self) {
        if self.admitted - self.answered > IN_FLIGHT_MAX_BYTES / 2 {
            return;
        }
        while let Some(next) = self.waiting.front() {
            if let Queued::Encoded { end, .. } = *next {
                if self.admitted > self.answered && end - self.answered > IN_FLIGHT_MAX_BYTES {
                    return;
                }
                self.admitted = end;
            }
            self.asked.extend(self.waiting.pop_front());
        }
    }

    /// Turns what has arrived into results, until more input is needed.
    fn parse(&mut self) {
        while let Some(queued) = self.asked.pop_front() {
            let Queued::Encoded { shape, end } = queued else {
                self.results.extend(queued.refusal());
                continue;
            };
            match self.parse_reply(shape) {
                Ok(Some(result)) => {
                    self.results.push(result);
                    self.answered = end;
                }
                incomplete_or_wrong => {
                    self.asked.push_front(queued);
                    if let Err(error) = incomplete_or_wrong {
                        self.fail(error);
                    }
                    return;
                }
            }
        }
    }

    /// One whole reply (an `ERR` is one too), or `None` until more of it has arrived.
    ///
    /// # Errors
    /// The reply cannot be understood or kept, so the connection is of no more use.
    fn parse_reply(&mut self, shape: Shape) -> Result<Option<Result<Reply, Error>>, Error> {
        let limit = self.options.reply_bytes_max;
        let mut assembly = self.partial.take().unwrap_or_else(|| Assembly::new(shape));
        while self.input.unread().len() >= self.wanted {
            let limits = ReplyLimits { value_bytes_max: limit.saturating_sub(self.partial_bytes), ..ReplyLimits::default() };
            match wire::parse_reply(assembly.expect(), self.input.unread(), &limits).map_err(ProtocolViolation::Malformed)? {
                wire::Step::Incomplete { at_least } => self.wanted = at_least,
                wire::Step::Complete { reply, consumed } => {
                    let progress = assembly.add(reply)?;
                    self.input.consume(consumed);
                    self.wanted = 1;
                    self.partial_bytes += consumed;
                    match progress {
                        Progress::Partial(_) if self.partial_bytes > limit => return Err(ProtocolViolation::TooLarge { limit }.into()),
                        Progress::Partial(rest) => assembly = rest,
                        Progress::Complete(result) => {
                            self.partial_bytes = 0;
                            return Ok(Some(result));
                        }
                    }
                }
            }
        }
        self.partial = Some(assembly);
        Ok(None)
    }

    /// Gives `error` to the request that was to be answered next, and closes for the ones after it.
    fn fail(&mut self, error: Error) {
        self.close(&error);
        self.asked.pop_front();
        self.results.push(Err(error));
        self.close_rest();
    }

    fn close(&mut self, error: &Error) {
        self.state = State::Closed { because: error.to_string() };
    }

    fn close_rest(&mut self) {
        let State::Closed { because } = &self.state else { return };
        for queued in self.asked.drain(..).chain(self.waiting.drain(..)) {
            let closed = || Err(Error::Closed { because: because.clone() });
            self.results.push(queued.refusal().unwrap_or_else(closed));
        }
    }
}

/// Whether a failed write says no more than that the peer has closed.
fn is_hangup(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted)
}

#[cfg(test)]
mod tests;
