//! The server's parser, over any bytes in any fragments.
//!
//! - It doesn't panic, consumes no more than there is, and every step but [`Step::Incomplete`] moves on or closes.
//! - However the stream is split, the requests, refusals and their places are those of the whole stream; also for a caller
//!   that takes `at_least` at its word and doesn't ask earlier.
//! - A request that is asked for twice is the same twice.
//! - What is accepted is within the limits.
//!
//! Input: a byte that chooses the limits, four lengths of fragments, the stream.

use osprey_core::protocol::command::Command;
use osprey_core::protocol::error::RequestError;
use osprey_core::protocol::request::{Limits, Parser, Step};

use super::fragments::Fragmented;

/// Everything can be over these with few bytes.
const NARROW: Limits = Limits { key_bytes_max: 6, value_bytes_max: 12, line_bytes_max: 40, words_max: 7 };

/// Those of a server.
const WIDE: Limits = Limits { key_bytes_max: 256, value_bytes_max: 16 << 20, line_bytes_max: 1 << 20, words_max: 4096 };

/// What a client gets to know of a step, and where in the stream it begins.
#[derive(Debug, PartialEq)]
struct Event<'a> {
    begin: usize,
    what: What<'a>,
}

#[derive(Debug, PartialEq)]
enum What<'a> {
    Request(Command<'a>),
    Reject { error: RequestError, close: bool },
}

/// See the module.
pub fn check(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let Some(input) = Fragmented::new(data) else { return };
    let limits = if choice & 1 == 0 { NARROW } else { WIDE };
    let whole = Run::new(&limits, input.stream).arrive(input.stream.len());

    let mut eager = Run::new(&limits, input.stream);
    let mut patient = Run::new(&limits, input.stream);
    for arrived in input.arrivals() {
        eager = eager.arrive(arrived);
        if arrived - patient.consumed >= patient.at_least {
            patient = patient.arrive(arrived);
        }
    }
    for split in [eager, patient] {
        assert_eq!(whole.events, split.events, "fragments change the outcome");
        assert_eq!(whole.closed, split.closed, "fragments change whether the connection goes on");
        // Of a stream that is closed nobody reads the rest.
        assert!(whole.closed || whole.consumed == split.consumed, "fragments change what is consumed");
    }
}

/// A connection's life as far as the parser goes.
struct Run<'a> {
    limits: &'a Limits,
    stream: &'a [u8],
    parser: Parser,
    consumed: usize,
    at_least: usize,
    closed: bool,
    events: Vec<Event<'a>>,
}

impl<'a> Run<'a> {
    fn new(limits: &'a Limits, stream: &'a [u8]) -> Self {
        Self { limits, stream, parser: Parser::default(), consumed: 0, at_least: 0, closed: false, events: Vec::new() }
    }

    /// Takes all steps that are possible when so much of the stream is there.
    fn arrive(mut self, arrived: usize) -> Self {
        while !self.closed {
            let input = &self.stream[self.consumed..arrived];
            let begin = self.consumed;
            let step = self.parser.next(self.limits, input);
            let (consumed, event) = match step {
                Step::Incomplete { at_least } => {
                    assert!(at_least > input.len(), "asks for {at_least} bytes and has {}", input.len());
                    self.at_least = at_least;
                    break;
                }
                Step::Skip { consumed } => (consumed, None),
                Step::Request { command, consumed } => {
                    assert_eq!(self.parser.next(self.limits, input), step, "asked for again");
                    assert_within(self.limits, &command);
                    (consumed, Some(What::Request(command)))
                }
                Step::Reject { error, consumed, close } => {
                    assert!(!error.to_string().is_empty());
                    self.closed = close;
                    (consumed, Some(What::Reject { error, close }))
                }
            };
            assert!(consumed <= input.len(), "consumes {consumed} of {} bytes", input.len());
            assert!(consumed > 0 || self.closed, "stands still: {step:?}");
            self.consumed += consumed;
            self.events.extend(event.map(|what| Event { begin, what }));
        }
        self
    }
}

fn assert_within(limits: &Limits, command: &Command<'_>) {
    let assert_key = |key: &[u8]| {
        assert!(!key.is_empty() && key.len() <= limits.key_bytes_max, "a key of {} bytes", key.len());
        assert!(key.iter().all(|&byte| byte > b' ' && byte != 0x7F), "a control character in {key:?}");
    };
    match *command {
        Command::Get { key }
        | Command::Del { key, .. }
        | Command::Exists { key }
        | Command::Expire { key, .. }
        | Command::Persist { key }
        | Command::Ttl { key }
        | Command::Add { key, .. } => assert_key(key),
        Command::Set { key, value, .. } => {
            assert_key(key);
            assert!(value.len() <= limits.value_bytes_max);
        }
        Command::Mget { keys } => {
            keys.iter().for_each(assert_key);
            assert_eq!(keys.iter().count(), keys.len());
            assert!(keys.len() < limits.words_max);
        }
        Command::Mset { pairs } => {
            pairs.iter().for_each(|(key, _)| assert_key(key));
            assert_eq!(pairs.iter().count(), pairs.len());
            assert!(pairs.len() * 2 < limits.words_max);
            assert!(pairs.iter().map(|(_, value)| value.len()).sum::<usize>() <= limits.value_bytes_max);
        }
        Command::Scan { count, prefix, .. } => {
            assert!(count > 0);
            if !prefix.is_empty() {
                assert_key(prefix);
            }
        }
        Command::Ping | Command::Stats | Command::Snapshot | Command::Quit => {}
    }
}
