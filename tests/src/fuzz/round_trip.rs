//! Both ends of the protocol understand each other: what the client's half encodes the server's half reads, and the other way round.
//!
//! - An encoded request is read as that request, wholly, and refused only for a limit.
//! - A request that can't be encoded has appended nothing.
//! - An encoded reply is read as that reply, wholly.

use std::num::NonZeroU64;

use arbitrary::{Arbitrary, Unstructured};
use osprey_core::protocol::client::{self, EncodeError, Expect, Found, Reply, ReplyLimits};
use osprey_core::protocol::command::{Command, Presence, SetExpiry, SetOptions};
use osprey_core::protocol::error::{ErrorCode, RequestError};
use osprey_core::protocol::reply;
use osprey_core::protocol::request::{Limits, Parser, Step};
use osprey_core::record::OutOfMemory;
use osprey_core::units::{Millis, Version};

const LIMITS: Limits = Limits { key_bytes_max: 256, value_bytes_max: 512, line_bytes_max: 1024, words_max: 16 };

/// Stands before what is tested.
const BEFORE: &[u8] = b"before";

/// What is sent.
#[derive(Arbitrary, Debug)]
pub struct Input(Message);

#[derive(Arbitrary, Debug)]
enum Message {
    Request(Request),
    Reply(Answer),
}

#[derive(Arbitrary, Debug)]
enum Request {
    Ping,
    Get(Vec<u8>),
    Set { key: Vec<u8>, value: Vec<u8>, expiry: Expiry, presence: Option<bool>, version: Option<u64> },
    Del(Vec<u8>, Option<u64>),
    Exists(Vec<u8>),
    Expire(Vec<u8>, i64, Option<u64>),
    Persist(Vec<u8>),
    Ttl(Vec<u8>),
    Incr(Vec<u8>, i64),
    Decr(Vec<u8>, i64),
    Mget(Vec<Vec<u8>>),
    Mset(Vec<(Vec<u8>, Vec<u8>)>),
    Scan { cursor: u64, count: Option<u64>, prefix: Vec<u8> },
    Stats,
    Quit,
    Snapshot,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Expiry {
    Clear,
    In(u64),
    At(u64),
    Keep,
}

impl Expiry {
    /// Whether the protocol can express it.
    fn expressible(self) -> bool {
        match self {
            Self::Clear | Self::Keep => true,
            Self::In(ms) | Self::At(ms) => (1..=Millis::MAX.0).contains(&ms),
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Answer {
    Pong,
    Ok,
    Stored(NonZeroU64),
    Count(NonZeroU64),
    Value { value: Vec<u8>, version: NonZeroU64, expiry: Option<u64> },
    Item { key: Vec<u8>, value: Option<Vec<u8>>, version: NonZeroU64, expiry: Option<u64> },
    NotFound,
    Deleted(bool),
    Exists(bool),
    Integer(i64),
    Cursor(u64),
    Key(Vec<u8>),
    Stat { number: u64 },
    End,
    Bye,
    Error { limit: usize },
}

/// See the module.
pub fn check(data: &[u8]) {
    if let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) {
        input.run();
    }
}

impl Input {
    /// See the module.
    pub fn run(&self) {
        match &self.0 {
            Message::Request(request) => check_request(request),
            Message::Reply(answer) => check_answer(answer),
        }
    }
}

fn check_request(request: &Request) {
    let mut bytes = BEFORE.to_vec();
    match request.encode(&mut bytes) {
        Ok(()) => {}
        Err(error) => {
            assert_eq!(bytes, BEFORE, "a request that can't be encoded leaves a part of it");
            assert!(error != EncodeError::OutOfMemory && !request.encodable(), "{error:?}: {request:?}");
            return;
        }
    }
    assert!(request.encodable(), "{request:?}");
    let bytes = &bytes[BEFORE.len()..];
    match Parser::default().next(&LIMITS, bytes) {
        Step::Request { command, consumed } => {
            assert_eq!(consumed, bytes.len(), "{command:?}");
            request.assert_is(&command);
        }
        Step::Reject { error, .. } => assert_eq!(error.code(), ErrorCode::TooLarge, "{error} for {request:?}"),
        step @ (Step::Incomplete { .. } | Step::Skip { .. }) => panic!("{step:?} for {request:?}"),
    }
}

impl Request {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let version = |version: &Option<u64>| version.map(Version);
        match self {
            Self::Ping => client::ping(out),
            Self::Get(key) => client::get(out, key),
            Self::Set { key, value, .. } => client::set(out, key, value, &self.options()),
            Self::Del(key, ver) => client::del(out, key, version(ver)),
            Self::Exists(key) => client::exists(out, key),
            Self::Expire(key, ms, ver) => client::expire(out, key, *ms, version(ver)),
            Self::Persist(key) => client::persist(out, key),
            Self::Ttl(key) => client::ttl(out, key),
            Self::Incr(key, delta) => client::incr(out, key, *delta),
            Self::Decr(key, delta) => client::decr(out, key, *delta),
            Self::Mget(keys) => client::mget(out, keys.iter().map(Vec::as_slice)),
            Self::Mset(pairs) => client::mset(out, pairs.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))),
            Self::Scan { cursor, count, prefix } => client::scan(out, *cursor, *count, prefix),
            Self::Stats => client::stats(out),
            Self::Quit => client::quit(out),
            Self::Snapshot => client::snapshot(out),
        }
    }

    fn options(&self) -> SetOptions {
        let Self::Set { expiry, presence, version, .. } = self else { return SetOptions::default() };
        SetOptions {
            expiry: match *expiry {
                Expiry::Clear => SetExpiry::Clear,
                Expiry::In(ms) => SetExpiry::In(ms),
                Expiry::At(at) => SetExpiry::At(Millis(at)),
                Expiry::Keep => SetExpiry::Keep,
            },
            presence: match presence {
                None => Presence::Any,
                Some(true) => Presence::Present,
                Some(false) => Presence::Absent,
            },
            version: version.map(Version),
        }
    }

    /// Whether the client may encode it.
    fn encodable(&self) -> bool {
        match self {
            Self::Ping | Self::Stats | Self::Quit | Self::Snapshot => true,
            Self::Get(key)
            | Self::Del(key, _)
            | Self::Exists(key)
            | Self::Expire(key, ..)
            | Self::Persist(key)
            | Self::Ttl(key)
            | Self::Incr(key, _)
            | Self::Decr(key, _) => is_key(key),
            Self::Set { key, expiry, .. } => is_key(key) && expiry.expressible(),
            Self::Mget(keys) => !keys.is_empty() && keys.iter().all(|key| is_key(key)),
            Self::Mset(pairs) => !pairs.is_empty() && pairs.iter().all(|(key, _)| is_key(key)),
            Self::Scan { count, prefix, .. } => *count != Some(0) && (prefix.is_empty() || is_key(prefix)),
        }
    }

    fn assert_is(&self, command: &Command<'_>) {
        let is = match (self, *command) {
            (Self::Ping, Command::Ping)
            | (Self::Stats, Command::Stats)
            | (Self::Quit, Command::Quit)
            | (Self::Snapshot, Command::Snapshot) => true,
            (Self::Get(asked), Command::Get { key })
            | (Self::Exists(asked), Command::Exists { key })
            | (Self::Persist(asked), Command::Persist { key })
            | (Self::Ttl(asked), Command::Ttl { key }) => asked == key,
            (Self::Set { key: asked, value: given, .. }, Command::Set { key, value, options }) => {
                (asked.as_slice(), given.as_slice(), self.options()) == (key, value, options)
            }
            (Self::Del(asked, ver), Command::Del { key, version }) => asked == key && ver.map(Version) == version,
            (Self::Expire(asked, time, ver), Command::Expire { key, ms, version }) => {
                asked == key && *time == ms && ver.map(Version) == version
            }
            (Self::Incr(asked, by), Command::Add { key, delta }) => asked == key && i128::from(*by) == delta,
            (Self::Decr(asked, by), Command::Add { key, delta }) => asked == key && -i128::from(*by) == delta,
            (Self::Mget(asked), Command::Mget { keys }) => asked.iter().eq(keys.iter()),
            (Self::Mset(given), Command::Mset { pairs }) => {
                given.iter().map(|(key, value)| (key.as_slice(), value.as_slice())).eq(pairs.iter())
            }
            (Self::Scan { cursor: from, count: some, prefix: begin }, Command::Scan { cursor, count, prefix }) => {
                *from == cursor && some.is_none_or(|some| some == count) && begin == prefix
            }
            _ => false,
        };
        assert!(is, "{self:?} is read as {command:?}");
    }
}

fn is_key(key: &[u8]) -> bool {
    !key.is_empty() && key.len() <= usize::from(u16::MAX) && key.iter().all(|&byte| byte > b' ' && byte != 0x7F)
}

fn check_answer(answer: &Answer) {
    if matches!(answer, Answer::Item { key, .. } | Answer::Key(key) if !is_key(key) || key == b"END") {
        // No server has such keys; a list of keys can't tell a key `END` from its end.
        return;
    }
    let mut bytes = Vec::new();
    assert_eq!(answer.encode(&mut bytes), Ok(()));
    let (expect, expected) = answer.expected();
    let step = client::parse_reply(expect, &bytes, &ReplyLimits::default());
    let Ok(client::Step::Complete { reply, consumed }) = step else { panic!("{step:?} for {answer:?}") };
    assert_eq!(consumed, bytes.len(), "{answer:?}");
    match (answer, reply, expected) {
        (Answer::Stat { number }, Reply::Stat { name: b"keys", value }, _) => assert_eq!(value, number.to_string().as_bytes()),
        // The message is for people.
        (Answer::Error { .. }, Reply::Error { code: ErrorCode::TooLarge, .. }, _) => {}
        (_, reply, expected) => assert_eq!(Some(reply), expected, "{answer:?}"),
    }
}

/// An expiry that the protocol can express.
fn time(expiry: &Option<u64>) -> Option<Millis> {
    expiry.map(|ms| Millis(ms.clamp(1, Millis::MAX.0)))
}

impl Answer {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), OutOfMemory> {
        match self {
            Self::Pong => reply::pong(out),
            Self::Ok => reply::ok(out),
            Self::Stored(version) => reply::ok_version(out, Version(version.get())),
            Self::Count(count) => reply::count(out, count.get()),
            Self::Value { value, version, expiry } => reply::value(out, value, Version(version.get()), time(expiry)),
            Self::Item { key, value: Some(value), version, expiry } => {
                reply::item_found(out, key, value, Version(version.get()), time(expiry))
            }
            Self::Item { key, .. } => reply::item_missing(out, key),
            Self::NotFound => reply::not_found(out),
            Self::Deleted(deleted) => reply::deleted(out, *deleted),
            Self::Exists(exists) => reply::exists(out, *exists),
            Self::Integer(integer) => reply::integer(out, *integer),
            Self::Cursor(next) => reply::cursor(out, *next),
            Self::Key(key) => reply::key_line(out, key),
            Self::Stat { number } => reply::stat_number(out, "keys", *number),
            Self::End => reply::end(out),
            Self::Bye => reply::bye(out),
            Self::Error { limit } => reply::error(out, ErrorCode::TooLarge, RequestError::LineTooLong(*limit)),
        }
    }

    /// What the client asked for, and what it must read (`None`: a text).
    fn expected(&self) -> (Expect, Option<Reply<'_>>) {
        let found =
            |value, version: &NonZeroU64, expiry: &Option<u64>| Found { value, version: Version(version.get()), expiry: time(expiry) };
        let (expect, reply) = match self {
            Self::Pong => (Expect::Pong, Reply::Pong),
            Self::Ok => (Expect::Changed, Reply::Changed),
            Self::Stored(version) => (Expect::Stored, Reply::Stored(Version(version.get()))),
            Self::Count(count) => (Expect::Count, Reply::Count(count.get())),
            Self::Value { value, version, expiry } => (Expect::Value, Reply::Value(found(value, version, expiry))),
            Self::Item { key, value, version, expiry } => {
                (Expect::Item, Reply::Item { key, found: value.as_deref().map(|value| found(value, version, expiry)) })
            }
            Self::NotFound => (Expect::Value, Reply::NotFound),
            Self::Deleted(deleted) => (Expect::Deleted, Reply::Deleted(*deleted)),
            Self::Exists(exists) => (Expect::Exists, Reply::Exists(*exists)),
            Self::Integer(integer) => (Expect::Integer, Reply::Integer(*integer)),
            Self::Cursor(next) => (Expect::Cursor, Reply::Cursor(*next)),
            Self::Key(key) => (Expect::ScanItem, Reply::Key(key)),
            Self::Stat { .. } => return (Expect::Stat, None),
            Self::End => (Expect::ScanItem, Reply::End),
            Self::Bye => (Expect::Bye, Reply::Bye),
            Self::Error { .. } => return (Expect::Item, None),
        };
        (expect, Some(reply))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_every_range() {
        let key = || b"k".to_vec();
        let requests = [
            Request::Incr(key(), i64::MIN),
            Request::Decr(key(), i64::MIN),
            Request::Decr(key(), i64::MAX),
            Request::Expire(key(), i64::MIN, Some(u64::MAX)),
            Request::Del(key(), Some(0)),
            Request::Scan { cursor: u64::MAX, count: Some(u64::MAX), prefix: vec![0xFF; 256] },
            Request::Scan { cursor: 0, count: Some(0), prefix: vec![] },
            Request::Get(vec![b'k'; 256]),
            Request::Get(vec![b'k'; 257]),
            Request::Get(vec![b'k'; 65_536]),
            Request::Mget(vec![key(); 15]),
            Request::Mget(vec![key(); 16]),
            Request::Mget(vec![]),
            Request::Snapshot,
        ];
        requests.iter().for_each(check_request);
        let times = [0, 1, Millis::MAX.0, Millis::MAX.0 + 1, u64::MAX];
        let expiries = times.into_iter().flat_map(|ms| [Expiry::In(ms), Expiry::At(ms)]).chain([Expiry::Clear, Expiry::Keep]);
        for expiry in expiries {
            for presence in [None, Some(false), Some(true)] {
                check_request(&Request::Set { key: key(), value: b"\r\n".to_vec(), expiry, presence, version: Some(u64::MAX) });
            }
        }
        for integer in [i64::MIN, -1, 0, i64::MAX] {
            check_answer(&Answer::Integer(integer));
        }
        check_answer(&Answer::Value { value: b"\r\n".to_vec(), version: NonZeroU64::MAX, expiry: Some(u64::MAX) });
    }
}
