//! Connections: what their clients have sent, what is on its way, and what each reply shows.

use std::collections::VecDeque;

use osprey_core::engine::{Next, Session};

use super::model::Shows;
use super::request::Command;
use super::snapshots::Asked;

/// A reply that hasn't left whole.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    /// Where in the stream of replies it ends.
    pub end: u64,
    /// What must be secured before its first byte may leave.
    pub shows: Shows,
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    /// The engine's part.
    pub session: Session,
    /// Sent, and not arrived; from `wire_at` on.
    pub wire: Vec<u8>,
    /// So much of `wire` has arrived.
    pub wire_at: usize,
    /// Arrived, and not consumed.
    pub input: Vec<u8>,
    /// Replies that weren't sent.
    pub out: Vec<u8>,
    /// Requests that weren't answered, and where in the stream each begins.
    pub requests: VecDeque<(u64, Command)>,
    /// Where the next request will begin.
    pub requested: u64,
    /// So much of the stream was consumed.
    pub consumed: u64,
    /// Replies that haven't left whole.
    pub replies: VecDeque<Reply>,
    /// So many bytes of replies were made.
    pub produced: u64,
    /// So many have left.
    pub released: u64,
    /// What the engine waits for.
    pub next: Next,
    /// Whether the client takes replies.
    pub reads: bool,
    /// Whether the client will send no more.
    pub half_closed: bool,
    /// Whether the next step of its walk by `SCAN` is on its way.
    pub walking: bool,
    /// The `SNAPSHOT` that its oldest request is waiting for.
    pub awaits: Option<Asked>,
    /// Whether it was closed, by either side.
    pub closed: bool,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            session: Session::new(),
            wire: Vec::new(),
            wire_at: 0,
            input: Vec::new(),
            out: Vec::new(),
            requests: VecDeque::new(),
            requested: 0,
            consumed: 0,
            replies: VecDeque::new(),
            produced: 0,
            released: 0,
            next: Next::Read { at_least: 1 },
            reads: true,
            half_closed: false,
            walking: false,
            awaits: None,
            closed: false,
        }
    }
}

impl Client {
    /// Sends a request.
    pub fn request(&mut self, command: Command) {
        let before = self.wire.len();
        command.encode(&mut self.wire);
        self.requests.push_back((self.requested, command));
        self.requested += (self.wire.len() - before) as u64;
    }

    /// Lets so many bytes arrive, at most.
    pub fn deliver(&mut self, bytes: usize) -> usize {
        let bytes = bytes.min(self.wire.len() - self.wire_at);
        self.input.extend_from_slice(&self.wire[self.wire_at..self.wire_at + bytes]);
        self.wire_at += bytes;
        if self.wire_at == self.wire.len() {
            self.wire.clear();
            self.wire_at = 0;
        }
        bytes
    }

    /// Whether the server would call the engine for it.
    #[must_use]
    pub fn wants_service(&self, storage_ended: bool, flushed_below: usize) -> bool {
        !self.closed
            && match self.next {
                Next::Read { at_least } => self.input.len() >= at_least,
                Next::Again => true,
                Next::Storage => storage_ended,
                Next::Flush => self.out.len() < flushed_below,
                Next::Close => false,
            }
    }

    /// Memory held by its buffers on the server's side, bytes.
    #[must_use]
    pub fn buffer_bytes(&self) -> usize {
        self.input.capacity() + self.out.capacity()
    }
}
