//! One client's connection: its socket, and the buffers that it holds only while it needs them.

use std::io::{self, ErrorKind, IoSlice, Write as _};
use std::net::TcpStream;

use osprey_core::engine::{Next, Payload, Session};
use osprey_core::units::Lsn;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::RecvFlags;

use crate::readiness::Watched;

/// So many empty buffers wait for their next user.
const SPARE_BUFFERS: usize = 64;

/// What all of these may hold, bytes: some large values one after the other, each in memory that is there already. (Memory that is new costs more
/// than what is copied into it.)
const SPARE_BYTES_MAX: usize = 4 << 20;

/// While a large request arrives, its buffer grows by at most [`GROWTH`] times what has arrived, or by this, bytes. So a length that is only
/// claimed costs nothing, and little is copied.
const GROWTH_BYTES_MIN: usize = 16 << 10;

/// See [`GROWTH_BYTES_MIN`].
const GROWTH: usize = 4;

/// Empty buffers for connections that have something to hold.
#[derive(Debug, Default)]
pub(super) struct Spare {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Spare {
    fn take(&mut self, buffer: &mut Vec<u8>) {
        if buffer.capacity() == 0
            && let Some(spare) = self.buffers.pop()
        {
            self.bytes -= spare.capacity();
            *buffer = spare;
        }
    }

    fn put(&mut self, buffer: &mut Vec<u8>) {
        buffer.clear();
        let buffer = std::mem::take(buffer);
        if buffer.capacity() > 0 && self.bytes + buffer.capacity() <= SPARE_BYTES_MAX && self.buffers.len() < SPARE_BUFFERS {
            self.bytes += buffer.capacity();
            self.buffers.push(buffer);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What a receive has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// At least one byte; all that there was room for, if `filled`: then there may be more.
    Bytes { filled: bool },
    /// Nothing at the moment.
    Nothing,
    /// The client will send no more.
    End,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: Watched<TcpStream>,
    pub(super) session: Session,
    /// Received and not consumed.
    pub(super) input: Vec<u8>,
    /// Replies; those before `sent` are gone.
    pub(super) out: Vec<u8>,
    sent: usize,
    pub(super) next: Next,
    /// There may be more to receive, of which no event will tell.
    pub(super) unread: bool,
    /// An event has told that the client has closed its half, or all of it: the end is behind what is unread.
    pub(super) ending: bool,
    /// The client has closed its half.
    pub(super) ended: bool,
    /// The socket took less than it was given.
    pub(super) blocked: bool,
    /// When something last came or went, ms of the loop's time.
    pub(super) active_at_ms: u64,
    /// Since when a request is incomplete.
    pub(super) partial_since_ms: Option<u64>,
    /// Since when replies could not be sent.
    pub(super) blocked_since_ms: Option<u64>,
    /// In the loop's list of connections to be served or flushed.
    pub(super) queued: bool,
}

impl Connection {
    pub(super) fn new(socket: Watched<TcpStream>, now_ms: u64) -> Self {
        Self {
            socket,
            session: Session::new(),
            input: Vec::new(),
            out: Vec::new(),
            sent: 0,
            next: Next::Read { at_least: 1 },
            unread: false,
            ending: false,
            ended: false,
            blocked: false,
            active_at_ms: now_ms,
            partial_since_ms: None,
            blocked_since_ms: None,
            queued: false,
        }
    }

    /// Memory held by the buffers, bytes.
    pub(super) fn bytes(&self) -> usize {
        self.input.capacity() + self.out.capacity()
    }

    /// Whether it is to be read from.
    pub(super) fn reads(&self) -> bool {
        !self.ended && matches!(self.next, Next::Read { .. })
    }

    /// Whether the engine needs more input than is here.
    pub(super) fn holds_too_little(&self) -> bool {
        matches!(self.next, Next::Read { at_least } if self.input.len() < at_least)
    }

    /// Replies that weren't sent yet, bytes.
    pub(super) fn unsent(&self) -> usize {
        self.out.len() - self.sent
    }

    /// One receive into `shared`, which is empty. For connections that hold no input.
    pub(super) fn receive_into(&self, shared: &mut Vec<u8>) -> io::Result<Received> {
        received(&self.socket, shared)
    }

    /// One receive behind the input that is held already.
    pub(super) fn receive_more(&mut self) -> io::Result<Received> {
        let missing = match self.next {
            Next::Read { at_least } => at_least.saturating_sub(self.input.len()),
            _ => 0,
        };
        let growth = missing.clamp(GROWTH_BYTES_MIN, (GROWTH * self.input.len()).max(GROWTH_BYTES_MIN));
        if self.input.capacity() - self.input.len() < growth {
            // Exactly: what fits behind a large request is received with it, and then moved to the front again and again.
            self.input.try_reserve_exact(growth).map_err(|_| ErrorKind::OutOfMemory)?;
        }
        received(&self.socket, &mut self.input)
    }

    /// Keeps what wasn't consumed of `received`.
    pub(super) fn keep(&mut self, rest: &[u8], spare: &mut Spare) -> io::Result<()> {
        if !rest.is_empty() {
            spare.take(&mut self.input);
            self.input.try_reserve(rest.len()).map_err(|_| ErrorKind::OutOfMemory)?;
            self.input.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Forgets the first bytes of the input that is held.
    pub(super) fn consume(&mut self, bytes: usize, spare: &mut Spare) {
        if bytes >= self.input.len() {
            spare.put(&mut self.input);
        } else if bytes > 0 {
            self.input.drain(..bytes);
        }
    }

    /// Makes `out` hold only what was not sent, with a buffer to grow in.
    pub(super) fn prepare_out(&mut self, spare: &mut Spare) {
        spare.take(&mut self.out);
        if self.sent > 0 {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Sends what may be sent. Sets `blocked`.
    pub(super) fn send(&mut self, watermark: Lsn, now_ms: u64, spare: &mut Spare) -> io::Result<()> {
        let mut free = self.session.releasable(watermark, self.unsent());
        self.blocked = false;
        while free > 0 {
            let chunk = self.out.get(self.sent..self.sent + free).unwrap_or_default();
            match (&*self.socket).write(chunk) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.sent += written;
                    free -= written;
                    self.active_at_ms = now_ms;
                    self.blocked_since_ms = None;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    self.blocked_since_ms.get_or_insert(now_ms);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if self.unsent() == 0 {
            self.sent = 0;
            spare.put(&mut self.out);
        }
        Ok(())
    }

    /// Sends the replies and the payload that follows them, without copying it; what the socket doesn't take, or what may not leave yet, is kept.
    pub(super) fn send_with(&mut self, mut payload: Payload<'_>, watermark: Lsn, now_ms: u64) -> io::Result<()> {
        let whole = self.unsent() + payload.len();
        // Half a reply isn't worth it: it is sent with the rest of the turn's.
        let mut takes = !self.blocked && self.session.releasable(watermark, whole) == whole;
        while takes && !payload.is_empty() {
            let [value, line_end] = payload.parts();
            let parts = [self.out.get(self.sent..).unwrap_or_default(), value, line_end].map(IoSlice::new);
            match (&*self.socket).write_vectored(&parts) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    let of_out = written.min(self.unsent());
                    self.sent += of_out;
                    payload.advance(written - of_out);
                    self.active_at_ms = now_ms;
                    self.blocked_since_ms = None;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The end of the turn finds out and waits for room.
                Err(error) if error.kind() == ErrorKind::WouldBlock => takes = false,
                Err(error) => return Err(error),
            }
        }
        payload.append_to(&mut self.out).map_err(|_| ErrorKind::OutOfMemory.into())
    }
}

/// One receive behind what `buffer` holds.
fn received(socket: &TcpStream, buffer: &mut Vec<u8>) -> io::Result<Received> {
    match retry_on_intr(|| rustix::net::recv(socket, spare_capacity(buffer), RecvFlags::empty())) {
        Ok((_, 0)) => Ok(Received::End),
        Ok(_) => Ok(Received::Bytes { filled: buffer.len() == buffer.capacity() }),
        Err(Errno::AGAIN) => Ok(Received::Nothing),
        Err(error) => Err(error.into()),
    }
}
