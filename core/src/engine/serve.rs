//! Requests in, replies out: the bytes at the start of a connection's input are executed one after the other.

use alloc::vec::Vec;
use core::mem;

use super::ahead::{self, Ahead, Parsed};
use super::answer::{Outcome, Reply};
use super::error::Refusal;
use super::{Engine, Payload, Session};
use crate::museum::planted;
use crate::protocol::reply;
use crate::protocol::request::{Parser, Step};
use crate::record::OutOfMemory;
use crate::store::{Hash, Spot};
use crate::units::Millis;

/// What [`Engine::serve`] did.
///
/// ```
/// use osprey_core::engine::{Next, Served, Session};
/// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
/// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
/// # while engine.drive(&mut storage)? {}
///
/// let (mut session, mut out) = (Session::new(), Vec::new());
/// let served = engine.serve(Millis(1_000), &mut session, b"PING\r\nQUIT\r\nPING\r\n", &mut out);
/// assert_eq!(served, Served { consumed: 12, next: Next::Close });
/// assert_eq!(out, b"PONG\r\nBYE\r\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// So many bytes of the input are done with.
    pub consumed: usize,
    /// What has to happen before the next call for this connection.
    pub next: Next,
}

/// What a connection waits for.
///
/// ```
/// use osprey_core::engine::{Next, Session};
/// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
/// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
/// # while engine.drive(&mut storage)? {}
///
/// let mut options = options;
/// options.limits.requests_per_call = 2;
/// let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
/// let (mut session, mut out) = (Session::new(), Vec::new());
/// let mut serve = |engine: &mut Engine, input| engine.serve(Millis(1_000), &mut session, input, &mut out).next;
/// assert_eq!(serve(&mut engine, b"PING\r\nPING\r\nPING\r\n"), Next::Again, "others come first");
/// assert_eq!(serve(&mut engine, b"PING\r\n"), Next::Read { at_least: 1 });
/// assert_eq!(serve(&mut engine, b"SET key 5\r\nvalue\r\n"), Next::Storage, "the log's first segment isn't there yet");
/// while engine.drive(&mut storage)? {}
/// assert_eq!(serve(&mut engine, b"SET key 5\r\nvalue\r\n"), Next::Read { at_least: 1 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More input: the rest must be at least this long before another call can do anything.
    Read {
        /// Bytes, those not consumed included.
        at_least: usize,
    },
    /// Replies to be sent: too many are waiting.
    Flush,
    /// Its turn: other connections come first.
    Again,
    /// An operation of storage to end.
    Storage,
    /// Nothing: send what there is, then close.
    Close,
}

impl Engine {
    /// Parses and executes the requests at the start of `input` and appends their replies to `out`, which holds what
    /// was not sent yet.
    ///
    /// Bounded: at most [`Limits::requests_per_call`](super::Limits::requests_per_call) requests, and no further one once `out` has
    /// [`Limits::unsent_bytes_soft_max`](super::Limits::unsent_bytes_soft_max); one request looks at [`words_max`](crate::protocol::request::Limits::words_max) keys at most. [`Next::Again`],
    /// [`Next::Flush`] and [`Next::Storage`] always leave some input.
    ///
    /// ```
    /// use osprey_core::engine::{Next, Session};
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    ///
    /// let (mut session, mut out) = (Session::new(), Vec::new());
    /// let served = engine.serve(Millis(1_000), &mut session, b"PING\r\nGET key\r\nSET key 5\r\nval", &mut out);
    /// assert_eq!(out, b"PONG\r\nNOT_FOUND\r\n");
    /// // The SET comes again, with the rest of it: a line, five bytes of value and the line's end.
    /// assert_eq!((served.consumed, served.next), (15, Next::Read { at_least: 17 }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn serve(&mut self, now: Millis, session: &mut Session, input: &[u8], out: &mut Vec<u8>) -> Served {
        self.serve_lending(now, session, input, out, usize::MAX).0
    }

    /// As [`Engine::serve`], but ends behind a `GET` whose value has `lend_bytes_min` bytes or more, and does not copy that: `out` ends with its `VALUE` line, and
    /// the payload that follows is lent.
    ///
    /// ```
    /// use osprey_core::engine::Session;
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    ///
    /// engine.set(Millis(1_000), b"image", &[0xFF; 100_000], &SetOptions::default()).result?;
    /// while engine.drive(&mut storage)? {}
    /// let (mut session, mut out) = (Session::new(), Vec::new());
    /// let (_, lent) = engine.serve_lending(Millis(1_000), &mut session, b"GET image\r\n", &mut out, 64 << 10);
    /// let payload = lent.expect("it is 64 KiB or more");
    /// assert_eq!(out, b"VALUE 100000 1 -1\r\n");
    /// // What a host may pass to `writev`, behind `out`.
    /// assert_eq!(payload.parts().map(<[u8]>::len), [100_000, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn serve_lending(
        &mut self,
        now: Millis,
        session: &mut Session,
        input: &[u8],
        out: &mut Vec<u8>,
        lend_bytes_min: usize,
    ) -> (Served, Option<Payload<'_>>) {
        self.now = self.now.max(now);
        let begin = out.len();
        let mut consumed = 0;
        let mut lent = None;
        let mut parsed = Ahead::new();
        let mut budget = self.options.limits.requests_per_call;
        let next = 'serving: loop {
            if session.closing {
                break Next::Close;
            }
            let rest = input.get(consumed..).unwrap_or_default();
            if rest.is_empty() {
                // Before anything else: whoever has no input left can only be helped by more.
                break Next::Read { at_least: 1 };
            }
            let mut behind = ahead::parse(&mut parsed, &session.parser, &self.options.limits.request, &self.store, rest);
            for (at, &Parsed { ref step, hash }) in parsed.iter().enumerate() {
                if session.closing {
                    break;
                }
                if out.len() >= self.options.limits.unsent_bytes_soft_max && !planted("replies_without_bound") {
                    break 'serving Next::Flush;
                }
                if budget == 0 {
                    break 'serving Next::Again;
                }
                budget -= 1;
                match self.take_step(&mut Reply { session, out, begin, lend_bytes_min }, step, hash) {
                    Ok(spot) => lent = spot,
                    Err(next) => {
                        // A request that waits for storage is parsed again; of an unfinished one the parser remembers how far it has come.
                        if matches!(next, Next::Read { .. }) {
                            session.parser = behind;
                        }
                        break 'serving next;
                    }
                }
                session.parser = if at + 1 == parsed.len() { mem::take(&mut behind) } else { Parser::default() };
                consumed += step.consumed();
                if lent.is_some() {
                    let left = consumed < input.len();
                    break 'serving if left { Next::Again } else { Next::Read { at_least: 1 } };
                }
            }
        };
        let payload = lent.map(|spot| Payload::new(self.store.value_at(spot)));
        session.produced(out.len() - begin + payload.map_or(0, |payload| payload.len()));
        (Served { consumed, next }, payload)
    }

    /// Does what one step of the input asks for, and appends the answer to `reply`, except for a payload that is lent.
    ///
    /// # Errors
    /// What the connection waits for before that can be done.
    #[inline(always)] // It has one caller, for which a call would be forty instructions a request.
    fn take_step(&mut self, reply: &mut Reply<'_>, step: &Step<'_>, hash: Hash) -> Result<Option<Spot>, Next> {
        // Whatever is appended from here on answers this request.
        let replied = reply.out.len();
        let mut lent = None;
        let answered = match *step {
            Step::Incomplete { at_least } => return Err(Next::Read { at_least }),
            Step::Skip { .. } => Ok(()),
            Step::Request { ref command, .. } => match self.answer(reply, command, hash) {
                Ok(Outcome::Answered) => Ok(()),
                Ok(Outcome::Lends(spot)) => {
                    lent = Some(spot);
                    Ok(())
                }
                Ok(Outcome::Close) => {
                    reply.session.closing = true;
                    Ok(())
                }
                Err(refusal) if self.waits(&refusal) => {
                    self.counters.take_back(command);
                    return Err(Next::Storage);
                }
                Err(Refusal::Error(error)) => {
                    reply.out.truncate(replied);
                    self.counters.errors += 1;
                    reply::error(reply.out, error.code(), error)
                }
                Err(Refusal::NoReply | Refusal::Wait) => Err(OutOfMemory),
            },
            Step::Reject { error, close, .. } => {
                self.counters.errors += 1;
                reply.session.closing |= close;
                reply::error(reply.out, error.code(), error)
            }
        };
        if answered.is_err() {
            // Not even an error can be sent. A stream with a reply missing would be worse than its end.
            reply.out.truncate(replied);
            reply.session.closing = true;
        }
        Ok(lent)
    }
}
