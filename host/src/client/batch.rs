//! Requests to be sent, and what must answer each.

use std::collections::VecDeque;

use osprey_core::protocol::client::{EncodeError, Expect};

use super::error::Error;
use super::reply::Reply;

/// The form of one request's whole reply.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// One piece.
    One(Expect),
    /// One piece, a number with a meaning of its own.
    Ttl,
    /// `MGET`: so many items.
    Items(usize),
    /// `SCAN`: a cursor, then keys until `END`.
    Page,
    /// `STATS`: lines until `END`.
    Stats,
}

/// A queued request.
#[derive(Debug)]
pub(super) enum Queued {
    /// In the batch's bytes up to `end`, from where the one before it ends.
    Encoded { shape: Shape, end: usize },
    /// Cannot be sent; has no bytes.
    Refused(EncodeError),
}

impl Queued {
    /// The result of a request that cannot be sent; `None` for one that can.
    pub(super) fn refusal(self) -> Option<Result<Reply, Error>> {
        match self {
            Self::Encoded { .. } => None,
            Self::Refused(error) => Some(Err(Error::Request(error))),
        }
    }
}

/// Encoded requests in the order of their sending.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) queue: VecDeque<Queued>,
}

impl Batch {
    /// Queues one request. One that `encode` refuses keeps its place in the order of replies and leaves no bytes behind.
    pub(super) fn push(&mut self, shape: Shape, encode: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>) {
        let start = self.bytes.len();
        self.queue.push_back(match encode(&mut self.bytes) {
            Ok(()) => Queued::Encoded { shape, end: self.bytes.len() },
            Err(error) => {
                self.bytes.truncate(start);
                Queued::Refused(error)
            }
        });
    }
}
