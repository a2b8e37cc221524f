//! The engine against a model, over lists of operations.
//!
//! - Every reply equals the model's (invariant 1); a deleted or expired key never comes back (5); a key and version never name two
//!   values (6).
//! - A process that ends, in order or not, loses nothing that storage was asked to do, and no more than what it wasn't (2, 7).
//! - Every reply may leave once storage has done what it was asked.

mod op;

use arbitrary::{Arbitrary, Unstructured};
use osprey_core::protocol::client::{self, Expect, Found, Reply, ReplyLimits, Step};
use osprey_core::protocol::command::{Presence, SetExpiry, SetOptions};
use osprey_core::protocol::error::ErrorCode;
use osprey_core::units::{Millis, Version};
use osprey_core::wal::writer::SyncPolicy;

use super::model::{Held, Model};
use super::operations::all;
use super::server::{EntryCopy, Server};
use crate::memory_log::MemoryLog;
use op::{Key, Ms, Op, Value, Ver};

/// How many keys one [`Op::Fill`] sets.
const FILL_KEYS: usize = 50;

const BEGIN: u64 = 1_700_000_000_000;

/// What happens.
#[derive(Arbitrary, Debug)]
pub struct Input {
    policy: Policy,
    #[arbitrary(with = all)]
    operations: Vec<Op>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Policy {
    Os,
    Batch,
    Always,
}

impl From<Policy> for SyncPolicy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Os => Self::Os,
            Policy::Batch => Self::Batch { delay_ms: 50, bytes: 1000 },
            Policy::Always => Self::Always,
        }
    }
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
        let policy = self.policy.into();
        let server = start(MemoryLog::default(), policy, 0, BEGIN);
        let model = Model::new(BEGIN);
        let mut pair = Pair { server, stored: model.clone(), model, policy, runs: 1 };
        for op in &self.operations {
            pair.perform(op);
        }
        pair.restart(true);
    }
}

fn start(log: MemoryLog, policy: SyncPolicy, run: u64, now: u64) -> Server {
    let (_, recovered) = Server::recover(log, policy, run, Millis(now));
    let (server, report) = recovered.unwrap_or_else(|error| panic!("an undamaged log: {error}"));
    assert_eq!(report.torn, None, "an undamaged log");
    server
}

/// The engine and the model, which get the same operations.
struct Pair {
    server: Server,
    model: Model,
    /// The model as it was when storage had done everything.
    stored: Model,
    policy: SyncPolicy,
    runs: u64,
}

impl Pair {
    fn perform(&mut self, op: &Op) {
        match op {
            Op::Get(key) => self.get(&key.bytes()),
            Op::Set { key, value, expiry, presence, version } => {
                let key = key.bytes();
                let options = SetOptions {
                    expiry: expiry.option(self.model.now),
                    presence: match presence {
                        None => Presence::Any,
                        Some(true) => Presence::Present,
                        Some(false) => Presence::Absent,
                    },
                    version: self.version(&key, *version),
                };
                self.set(&key, &value.bytes(64), &options);
            }
            Op::Del(key, version) => {
                let key = key.bytes();
                let version = self.version(&key, *version);
                self.ask(
                    Expect::Deleted,
                    |out| client::del(out, &key, version),
                    |model| model.delete(&key, version.map(|version| version.0)).map(Reply::Deleted),
                );
            }
            Op::Exists(key) => {
                let key = key.bytes();
                self.ask(Expect::Exists, |out| client::exists(out, &key), |model| Ok(Reply::Exists(model.live(&key).is_some())));
            }
            Op::Expire(key, ms, version) => {
                let key = key.bytes();
                let version = self.version(&key, *version);
                let ms = match *ms {
                    Ms::Short(ms) => i64::from(ms),
                    Ms::Any(ms) => ms,
                };
                self.ask(
                    Expect::Changed,
                    |out| client::expire(out, &key, ms, version),
                    |model| model.expire(&key, ms, version.map(|version| version.0)).map(changed),
                );
            }
            Op::Persist(key) => {
                let key = key.bytes();
                self.ask(Expect::Changed, |out| client::persist(out, &key), |model| Ok(changed(model.persist(&key))));
            }
            Op::Ttl(key) => {
                let key = key.bytes();
                self.ask(Expect::Integer, |out| client::ttl(out, &key), |model| Ok(Reply::Integer(model.ttl(&key))));
            }
            Op::Incr(key, delta) => self.add(&key.bytes(), i128::from(*delta), |out, key| client::incr(out, key, *delta)),
            Op::Decr(key, delta) => self.add(&key.bytes(), -i128::from(*delta), |out, key| client::decr(out, key, *delta)),
            Op::Mget(keys) => self.mget(keys),
            Op::Mset(pairs) => self.mset(pairs),
            Op::Scan { count, prefix } => self.scan(count.map(|count| u64::from(count.get())), if *prefix { b"f" } else { b"" }),
            Op::Stats => self.stats(),
            Op::Fill { from, expiry_ms } => {
                let expiry = if *expiry_ms == 0 { SetExpiry::Clear } else { SetExpiry::In(u64::from(*expiry_ms)) };
                for key in (u16::from(*from) * 2..).take(FILL_KEYS) {
                    self.set(format!("f{key}").as_bytes(), b"", &SetOptions { expiry, ..SetOptions::default() });
                }
            }
            Op::Wait { ms } => self.model.now += u64::from(*ms),
            Op::WaitFor { key, before } => {
                if let Some(expiry) = self.model.live(&key.bytes()).and_then(|held| held.expiry) {
                    self.model.now = expiry - u64::from(*before);
                }
            }
            Op::Tick => drop(self.server.engine.tick(Millis(self.model.now))),
            Op::Store => self.store(),
            Op::Kill => self.restart(false),
            Op::Restart => self.restart(true),
        }
    }

    fn version(&self, key: &[u8], version: Option<Ver>) -> Option<Version> {
        let current = self.model.version(key);
        version.map(|version| match version {
            Ver::Current => Version(current),
            Ver::Near(by) => Version(current.saturating_add_signed(i64::from(by))),
            Ver::None => Version::NONE,
        })
    }

    fn store(&mut self) {
        self.server.store();
        self.stored = self.model.clone();
    }

    /// Sends one request; storage works first if it must.
    fn send(&mut self, encode: impl FnOnce(&mut Vec<u8>) -> Result<(), client::EncodeError>) -> Vec<u8> {
        let mut request = Vec::new();
        assert_eq!(encode(&mut request), Ok(()));
        let now = Millis(self.model.now);
        if let Some(replies) = self.server.ask(&request, now) {
            return replies;
        }
        self.store();
        self.server.ask(&request, now).expect("storage has done all that it was asked for")
    }

    /// Sends one request and compares its reply with what the model, which follows, says.
    fn ask(
        &mut self,
        expect: Expect,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), client::EncodeError>,
        expected: impl for<'m> FnOnce(&'m mut Model) -> Result<Reply<'m>, ErrorCode>,
    ) {
        let bytes = self.send(encode);
        let mut replies = Replies(&bytes);
        assert_eq!(replies.next(expect), expected(&mut self.model));
        replies.end();
    }

    fn get(&mut self, key: &[u8]) {
        self.ask(
            Expect::Value,
            |out| client::get(out, key),
            |model| Ok(model.live(key).map_or(Reply::NotFound, |held| Reply::Value(found(held)))),
        );
    }

    fn set(&mut self, key: &[u8], value: &[u8], options: &SetOptions) {
        let expected = self.model.may_set(key, options);
        let bytes = self.send(|out| client::set(out, key, value, options));
        let mut replies = Replies(&bytes);
        match (replies.next(Expect::Stored), expected) {
            (Ok(Reply::Stored(version)), Ok(expiry)) => self.model.set(key, value, expiry, version.0, 1),
            (reply, expected) => assert_eq!(reply.map(drop), expected.map(drop), "{options:?}"),
        }
        replies.end();
    }

    fn add(&mut self, key: &[u8], delta: i128, encode: impl FnOnce(&mut Vec<u8>, &[u8]) -> Result<(), client::EncodeError>) {
        let sum = self.model.sum(key, delta);
        self.ask(Expect::Integer, |out| encode(out, key), |_| sum.map(Reply::Integer));
        if let Ok(sum) = sum {
            let expiry = self.model.live(key).and_then(|held| held.expiry);
            self.learn(key, sum.to_string().as_bytes(), expiry, 1);
        }
    }

    /// The key must have this value and expiry, and a version that only the server knows yet.
    fn learn(&mut self, key: &[u8], value: &[u8], expiry: Option<u64>, writes: u64) {
        let bytes = self.send(|out| client::get(out, key));
        let reply = Replies(&bytes).next(Expect::Value);
        let Ok(Reply::Value(Found { value: held, version, expiry: until })) = reply else { panic!("{reply:?} for a key just written") };
        assert_eq!((held, until), (value, expiry.map(Millis)));
        self.model.set(key, value, expiry, version.0, writes);
    }

    fn mget(&mut self, keys: &[Key; 3]) {
        let keys = keys.map(Key::bytes);
        let bytes = self.send(|out| client::mget(out, keys.iter().map(Vec::as_slice)));
        let mut replies = Replies(&bytes);
        for key in &keys {
            let found = self.model.live(key).map(found);
            assert_eq!(replies.next(Expect::Item), Ok(Reply::Item { key, found }));
        }
        replies.end();
    }

    fn mset(&mut self, pairs: &[(Key, Value)]) {
        // All payloads together are within the limit.
        let pairs: Vec<(Vec<u8>, Vec<u8>)> = pairs.iter().map(|(key, value)| (key.bytes(), value.bytes(16))).collect();
        if pairs.is_empty() {
            return;
        }
        let slices = pairs.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
        self.ask(Expect::Count, |out| client::mset(out, slices), |_| Ok(Reply::Count(pairs.len() as u64)));
        for (at, (key, value)) in pairs.iter().enumerate() {
            // The last of a repeated key wins.
            if !pairs.iter().skip(at + 1).any(|(later, _)| later == key) {
                let writes = pairs.iter().filter(|(same, _)| same == key).count() as u64;
                self.learn(key, value, None, writes);
            }
        }
    }

    fn scan(&mut self, count: Option<u64>, prefix: &[u8]) {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let mut cursor = 0;
        loop {
            let bytes = self.send(|out| client::scan(out, cursor, count, prefix));
            let mut replies = Replies(&bytes);
            let Ok(Reply::Cursor(next)) = replies.next(Expect::Cursor) else { panic!("a SCAN begins with its cursor") };
            loop {
                match replies.next(Expect::ScanItem) {
                    Ok(Reply::Key(key)) => keys.push(key.to_vec()),
                    Ok(Reply::End) => break,
                    reply => panic!("{reply:?} in a SCAN"),
                }
            }
            replies.end();
            if next == 0 {
                break;
            }
            assert!(next > cursor, "a SCAN that doesn't come to its end");
            cursor = next;
        }
        keys.sort_unstable();
        let expected = self.model.all_live().map(|(key, _)| key).filter(|key| key.starts_with(prefix));
        assert!(keys.iter().map(Vec::as_slice).eq(expected), "a SCAN gave {keys:?}");
    }

    fn stats(&mut self) {
        let bytes = self.send(client::stats);
        let mut replies = Replies(&bytes);
        let mut keys = None;
        loop {
            match replies.next(Expect::Stat) {
                Ok(Reply::Stat { name: b"keys", value }) => keys = std::str::from_utf8(value).ok().and_then(|keys| keys.parse().ok()),
                Ok(Reply::Stat { .. }) => {}
                Ok(Reply::End) => break,
                reply => panic!("{reply:?} in STATS"),
            }
        }
        replies.end();
        // Those count that have expired and weren't swept yet.
        assert!(keys.is_some_and(|keys: usize| keys >= self.model.all_live().count()), "{keys:?}");
    }

    fn restart(&mut self, orderly: bool) {
        if orderly {
            self.server.close();
        } else {
            let now = self.model.now;
            self.model = self.stored.clone();
            self.model.now = now;
        }
        self.runs += 1;
        self.server = start(core::mem::take(&mut self.server.log), self.policy, self.runs, self.model.now);
        self.stored = self.model.clone();
        let copy = |(key, held): (&[u8], &Held)| (key.to_vec(), held.version, held.expiry, held.value.clone());
        assert_eq!(self.server.live_entries(), self.model.all_live().map(copy).collect::<Vec<EntryCopy>>(), "after a restart");
    }
}

fn changed(was_there: bool) -> Reply<'static> {
    if was_there { Reply::Changed } else { Reply::NotFound }
}

fn found(held: &Held) -> Found<'_> {
    Found { value: &held.value, version: Version(held.version), expiry: held.expiry.map(Millis) }
}

/// Replies, one after the other.
struct Replies<'a>(&'a [u8]);

impl<'a> Replies<'a> {
    /// The next piece; of an error its code.
    fn next(&mut self, expect: Expect) -> Result<Reply<'a>, ErrorCode> {
        match client::parse_reply(expect, self.0, &ReplyLimits::default()) {
            Ok(Step::Complete { reply, consumed }) => {
                self.0 = &self.0[consumed..];
                match reply {
                    Reply::Error { code, .. } => Err(code),
                    reply => Ok(reply),
                }
            }
            other => panic!("{other:?}: {}", self.0.escape_ascii()),
        }
    }

    fn end(self) {
        assert!(self.0.is_empty(), "more than a reply: {}", self.0.escape_ascii());
    }
}

#[cfg(test)]
mod tests {
    use super::op::Expiry;
    use super::*;

    fn run(operations: &[Op]) {
        for policy in [Policy::Os, Policy::Batch, Policy::Always] {
            Input { policy, operations: operations.to_vec() }.run();
        }
    }

    #[test]
    fn tables_split_expire_and_fill_again() {
        let fill = |expiry_ms| (0..10).map(move |at| Op::Fill { from: at * 25, expiry_ms });
        let scan = || Op::Scan { count: None, prefix: true };
        let operations = fill(0).chain([scan(), Op::Restart, scan()]).chain(fill(9)).chain([Op::Wait { ms: 9 }, Op::Tick, scan()]);
        let operations: Vec<Op> = operations.chain(fill(0)).chain([scan(), Op::Store, Op::Kill, scan()]).collect();
        run(&operations);
    }

    #[test]
    fn a_key_is_gone_at_its_millisecond_and_not_before() {
        let key = Key(1);
        let set = Op::Set { key, value: Value::Integer(1), expiry: Expiry::In(99), presence: None, version: None };
        let look = || [Op::Get(key), Op::Exists(key), Op::Ttl(key), Op::Scan { count: None, prefix: false }];
        let mut operations = vec![set, Op::WaitFor { key, before: true }];
        operations.extend(look());
        operations.extend([Op::Restart, Op::WaitFor { key, before: false }]);
        operations.extend(look());
        run(&operations);
    }

    #[test]
    fn versions_go_on_after_removal_and_restart() {
        let set = |key, expiry| Op::Set { key: Key(key), value: Value::Integer(1), expiry, presence: None, version: Some(Ver::Current) };
        let removals = [
            Op::Del(Key(1), Some(Ver::Current)),
            Op::Expire(Key(1), Ms::Short(0), None),
            set(1, Expiry::At(0)),
            Op::WaitFor { key: Key(1), before: false },
        ];
        for removal in removals {
            for restart in [Op::Kill, Op::Restart] {
                let before = [set(1, Expiry::In(5)), set(1, Expiry::Keep), removal.clone(), Op::Tick, Op::Store, restart];
                let after = [set(1, Expiry::Clear), set(2, Expiry::Clear), Op::Mget([Key(1), Key(2), Key(3)])];
                run(&before.into_iter().chain(after).collect::<Vec<Op>>());
            }
        }
    }
}
