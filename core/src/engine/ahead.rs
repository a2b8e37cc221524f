//! Requests that are parsed ahead, so that what they will need comes from memory together.
//!
//! The entry of a key is behind three loads that wait for each other and are seldom in a cache. Executed one by one, the requests of a
//! pipeline would wait for each of them in turn; touched one after the other before the first is executed, their loads overlap.

use heapless::Vec;

use crate::protocol::request::{Limits, Parser, Step};
use crate::store::{Hash, Store};

/// How many requests are parsed ahead.
const REQUESTS_MAX: usize = 16;

/// What stands at one place of the input.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    pub(super) step: Step<'a>,
    /// Of the request's key, if it has just one.
    pub(super) hash: Hash,
}

/// What was parsed ahead: requests, and at the end perhaps something else. It has kilobytes, so it is filled where it is.
pub(super) type Ahead<'a> = Vec<Parsed<'a>, REQUESTS_MAX>;

/// What stands at the beginning of the input, up to the first that is no request; with the parser behind the last of them. Behind the others
/// it is a new one.
pub(super) fn parse<'a>(parsed: &mut Ahead<'a>, parser: &Parser, limits: &Limits, store: &Store, mut input: &'a [u8]) -> Parser {
    parsed.clear();
    let mut parser = parser.clone();
    while !input.is_empty() {
        let step = parser.next(limits, input);
        let (hash, consumed) = match &step {
            Step::Request { command, consumed } => (command.key().map_or(Hash(0), |key| store.hash(key)), Some(*consumed)),
            Step::Skip { .. } | Step::Reject { .. } | Step::Incomplete { .. } => (Hash(0), None),
        };
        let full = parsed.push(Parsed { step, hash }).is_err() || parsed.is_full();
        let (Some(consumed), false) = (consumed, full) else { break };
        input = input.get(consumed..).unwrap_or_default();
    }
    if parsed.len() > 1 {
        store.touch::<REQUESTS_MAX>(parsed.iter().map(|request| request.hash));
    }
    parser
}
