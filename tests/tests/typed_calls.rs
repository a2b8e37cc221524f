//! The engine's calls and the protocol's requests are one and the same: two engines, one of which is asked in bytes and the other by calls, give the same answers, wait for
//! the same points of their logs, and end with the same states, numbers and log bytes (invariants 1, 3, 4).

#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use osprey_core::engine::{Answer, Engine, Error, Next, Presence, Session, SetExpiry, SetOptions, TimeToLive};
use osprey_core::protocol::reply;
use osprey_core::storage::Storage as _;
use osprey_core::units::{Lsn, Millis, Version};
use osprey_core::wal::writer::SyncPolicy;
use osprey_tests::machine::small_options;
use osprey_tests::memory_storage::{Disk, MemoryStorage, Work};
use osprey_tests::transcript::show;
use proptest::prelude::*;

type Key = Vec<u8>;

const WORKS: [Work; 4] = [Work::Reserve, Work::Start, Work::Append, Work::Sync];

#[derive(Clone, Debug)]
enum Step {
    Get(Key),
    GetMany(Vec<Key>),
    Exists(Key),
    Ttl(Key),
    Set(Key, Vec<u8>, SetOptions),
    SetMany(Vec<(Key, Vec<u8>)>),
    Delete(Key, Option<Version>),
    Incr(Key, i64),
    Expire(Key, u64, Option<Version>),
    Persist(Key),
    Scan(u64, u64, Key),
    Advance(u64),
    /// Operations of this kind don't end …
    Hold(Work),
    /// … before this.
    Release(Work),
    Drive,
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        30 => "[a-f]".prop_map(String::into_bytes),
        // At the limit, over it, and what no key may have.
        1 => (31..35_usize).prop_map(|len| vec![b'k'; len]),
        1 => Just(b"bad\x7Fkey".to_vec()),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        4 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => (2040..2056_usize).prop_map(|len| vec![b'v'; len]),
    ]
}

fn version() -> impl Strategy<Value = Option<Version>> {
    prop_oneof![3 => Just(None), 2 => (0..8_u64).prop_map(|version| Some(Version(version)))]
}

fn set_options() -> impl Strategy<Value = SetOptions> {
    let expiry = prop_oneof![
        4 => Just(SetExpiry::Clear),
        2 => (1..400_u64).prop_map(SetExpiry::In),
        1 => Just(SetExpiry::In(Millis::MAX.0)),
        1 => (1..2000_u64).prop_map(|at| SetExpiry::At(Millis(at))),
        1 => Just(SetExpiry::Keep),
    ];
    let presence = prop_oneof![4 => Just(Presence::Any), 1 => Just(Presence::Absent), 1 => Just(Presence::Present)];
    (expiry, presence, version()).prop_map(|(expiry, presence, version)| SetOptions { expiry, presence, version })
}

fn step() -> impl Strategy<Value = Step> {
    let work = || prop_oneof![Just(Work::Append), Just(Work::Sync), Just(Work::Reserve), Just(Work::Start)];
    let short = || value().prop_filter("short", |value| value.len() < 400);
    prop_oneof![
        4 => key().prop_map(Step::Get),
        2 => proptest::collection::vec(key(), 1..36).prop_map(Step::GetMany),
        1 => key().prop_map(Step::Exists),
        2 => key().prop_map(Step::Ttl),
        6 => (key(), value(), set_options()).prop_map(|(key, value, options)| Step::Set(key, value, options)),
        3 => proptest::collection::vec((key(), short()), 1..18).prop_map(Step::SetMany),
        2 => (key(), version()).prop_map(|(key, version)| Step::Delete(key, version)),
        3 => (key(), prop_oneof![-3..3_i64, any::<i64>()]).prop_map(|(key, delta)| Step::Incr(key, delta)),
        2 => (key(), prop_oneof![0..400_u64, Just(Millis::MAX.0)], version()).prop_map(|(key, ms, version)| Step::Expire(key, ms, version)),
        1 => key().prop_map(Step::Persist),
        2 => (Just(0_u64), 1..20_u64, prop_oneof![Just(Vec::new()), key()]).prop_map(|(cursor, count, prefix)| Step::Scan(cursor, count, prefix)),
        4 => (0..300_u64).prop_map(Step::Advance),
        1 => work().prop_map(Step::Hold),
        1 => work().prop_map(Step::Release),
        3 => Just(Step::Drive),
    ]
}

fn ver(version: Option<Version>) -> String {
    version.map_or(String::new(), |version| format!(" VER {}", version.0))
}

/// What a client would send. `None`: nothing that a client can do.
fn request(step: &Step) -> Option<Vec<u8>> {
    let line = |name: &str, key: &Key, rest: &str| [name.as_bytes(), b" ", key, rest.as_bytes(), b"\r\n"].concat();
    Some(match step {
        Step::Get(key) => line("GET", key, ""),
        Step::GetMany(keys) => [b"MGET ", keys.join(&b' ').as_slice(), b"\r\n"].concat(),
        Step::Exists(key) => line("EXISTS", key, ""),
        Step::Ttl(key) => line("TTL", key, ""),
        Step::Persist(key) => line("PERSIST", key, ""),
        Step::Set(key, value, options) => {
            let expiry = match options.expiry {
                SetExpiry::Clear => String::new(),
                SetExpiry::In(ms) => format!(" EX {ms}"),
                SetExpiry::At(at) => format!(" PXAT {}", at.0),
                SetExpiry::Keep => " KEEPTTL".to_owned(),
            };
            let presence = match options.presence {
                Presence::Any => "",
                Presence::Absent => " NX",
                Presence::Present => " XX",
            };
            let head = line("SET", key, &format!(" {}{expiry}{presence}{}", value.len(), ver(options.version)));
            [head.as_slice(), value, b"\r\n"].concat()
        }
        Step::SetMany(pairs) => {
            let words: Vec<u8> =
                pairs.iter().flat_map(|(key, value)| [b" ", key.as_slice(), format!(" {}", value.len()).as_bytes()].concat()).collect();
            let values: Vec<u8> = pairs.iter().flat_map(|(_, value)| value.clone()).collect();
            [b"MSET", words.as_slice(), b"\r\n", &values, b"\r\n"].concat()
        }
        Step::Delete(key, version) => line("DEL", key, &ver(*version)),
        Step::Incr(key, delta) => line("INCR", key, &format!(" {delta}")),
        Step::Expire(key, ms, version) => line("EXPIRE", key, &format!(" {ms}{}", ver(*version))),
        Step::Scan(cursor, count, prefix) => {
            let prefix = if prefix.is_empty() { Vec::new() } else { [b" PREFIX ", prefix.as_slice()].concat() };
            [format!("SCAN {cursor} COUNT {count}").as_bytes(), &prefix, b"\r\n"].concat()
        }
        Step::Advance(_) | Step::Hold(_) | Step::Release(_) | Step::Drive => return None,
    })
}

/// The reply that stands for an answer, what it waits for, and whether it has to be asked for again.
fn reply_of<T>(answer: Answer<T>, write: impl FnOnce(&mut Vec<u8>, T)) -> (Result<Vec<u8>, Error>, Option<Lsn>) {
    let mut out = Vec::new();
    let reply = match answer.result {
        Err(Error::Busy) => Err(Error::Busy),
        Err(error) => {
            reply::error(&mut out, error.code(), error).unwrap();
            Ok(out)
        }
        Ok(result) => {
            write(&mut out, result);
            Ok(out)
        }
    };
    (reply, answer.after)
}

fn ok_or_not_found(out: &mut Vec<u8>, there: bool) {
    if there { reply::ok(out).unwrap() } else { reply::not_found(out).unwrap() }
}

fn call(engine: &mut Engine, now: Millis, step: &Step) -> (Result<Vec<u8>, Error>, Option<Lsn>) {
    match step {
        Step::Get(key) => reply_of(engine.get(now, key), |out, entry| match entry {
            Some(entry) => reply::value(out, entry.value, entry.version, entry.expiry).unwrap(),
            None => reply::not_found(out).unwrap(),
        }),
        Step::GetMany(keys) => {
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            reply_of(engine.get_many(now, &keys), |out, entries| {
                assert_eq!(entries.len(), keys.len());
                for (key, entry) in keys.iter().zip(entries) {
                    match entry {
                        Some(entry) => reply::item_found(out, key, entry.value, entry.version, entry.expiry).unwrap(),
                        None => reply::item_missing(out, key).unwrap(),
                    }
                }
            })
        }
        Step::Exists(key) => reply_of(engine.exists(now, key), |out, there| reply::exists(out, there).unwrap()),
        Step::Ttl(key) => reply_of(engine.ttl(now, key), |out, left| {
            let left = match left {
                TimeToLive::NoKey => -2,
                TimeToLive::Endless => -1,
                TimeToLive::Ms(ms) => i64::try_from(ms).unwrap(),
            };
            reply::integer(out, left).unwrap();
        }),
        Step::Persist(key) => reply_of(engine.persist(now, key), ok_or_not_found),
        Step::Set(key, value, options) => {
            let answer = match *options {
                SetOptions { expiry: SetExpiry::Clear, presence: Presence::Any, version: Some(current) } => {
                    engine.compare_and_set(now, key, current, value)
                }
                _ => engine.set(now, key, value, options),
            };
            reply_of(answer, |out, version| reply::ok_version(out, version).unwrap())
        }
        Step::SetMany(pairs) => {
            let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(key, value)| (key.as_slice(), value.as_slice())).collect();
            reply_of(engine.set_many(now, &pairs), |out, ()| reply::count(out, pairs.len() as u64).unwrap())
        }
        Step::Delete(key, version) => reply_of(engine.delete(now, key, *version), |out, there| reply::deleted(out, there).unwrap()),
        Step::Incr(key, delta) => reply_of(engine.incr(now, key, *delta), |out, sum| reply::integer(out, sum).unwrap()),
        Step::Expire(key, ms, version) => reply_of(engine.expire(now, key, *ms, *version), ok_or_not_found),
        Step::Scan(cursor, count, prefix) => {
            let mut lines = Vec::new();
            let answer = engine.scan(now, *cursor, *count, prefix, |key, _| reply::key_line(&mut lines, key).unwrap());
            reply_of(answer, |out, next| {
                reply::cursor(out, next.unwrap_or(0)).unwrap();
                out.extend_from_slice(&lines);
                reply::end(out).unwrap();
            })
        }
        Step::Advance(_) | Step::Hold(_) | Step::Release(_) | Step::Drive => unreachable!("nothing that is asked for"),
    }
}

/// An engine with its disk.
struct Side {
    engine: Engine,
    storage: MemoryStorage,
}

impl Side {
    fn new(policy: SyncPolicy, memory_bytes_max: u64) -> Self {
        let mut options = small_options(policy);
        options.limits.memory_bytes_max = memory_bytes_max;
        let (engine, _) = Engine::recover(options, &mut Disk::default(), Millis(1)).unwrap();
        Self { engine, storage: MemoryStorage::default() }
    }

    fn drive(&mut self) {
        while self.engine.drive(&mut self.storage).unwrap() {}
    }
}

fn run(policy: SyncPolicy, memory_bytes_max: u64, steps: &[Step]) {
    let [mut wire, mut typed] = [(), ()].map(|()| Side::new(policy, memory_bytes_max));
    let mut now = Millis(1000);
    // What was answered, and waits or not.
    let mut answered: Vec<(Session, Option<Lsn>)> = Vec::new();
    for step in steps {
        match step {
            Step::Advance(ms) => {
                now.0 += ms;
                assert_eq!(wire.engine.tick(now), typed.engine.tick(now));
            }
            Step::Hold(work) => [&mut wire, &mut typed].into_iter().for_each(|side| side.storage.hold(*work)),
            Step::Release(work) => [&mut wire, &mut typed].into_iter().for_each(|side| side.storage.release(*work)),
            Step::Drive => [&mut wire, &mut typed].into_iter().for_each(Side::drive),
            step => {
                let input = request(step).unwrap();
                let (mut session, mut out) = (Session::new(), Vec::new());
                loop {
                    let served = wire.engine.serve(now, &mut session, &input, &mut out);
                    let (called, after) = call(&mut typed.engine, now, step);
                    if served.next == Next::Storage {
                        assert_eq!(called, Err(Error::Busy), "{step:?}");
                        for side in [&mut wire, &mut typed] {
                            WORKS.into_iter().for_each(|work| side.storage.release(work));
                            side.drive();
                        }
                        // Asked anew, and not for what it waited for at first.
                        session = Session::new();
                        continue;
                    }
                    let called = called.unwrap_or_else(|error| panic!("{error} for {step:?}, but the request was executed"));
                    assert_eq!(show(&called), show(&out), "{step:?}");
                    answered.push((session, after));
                    break;
                }
            }
        }
        let watermark = wire.engine.watermark();
        assert_eq!(watermark, typed.engine.watermark());
        for (session, after) in &answered {
            assert_eq!(after.is_some_and(|after| after > watermark), session.gated(watermark), "behind {step:?}");
        }
        answered.retain(|(session, _)| session.gated(watermark));
        assert_eq!(wire.engine.stats().collect::<Vec<_>>(), typed.engine.stats().collect::<Vec<_>>(), "behind {step:?}");
    }
    for side in [&mut wire, &mut typed] {
        WORKS.into_iter().for_each(|work| side.storage.release(work));
        side.drive();
    }
    assert_eq!(wire.storage.poll().map(|done| done.result), None);
    assert!(wire.storage.disk == typed.storage.disk, "the logs differ");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn calls_do_what_requests_do(
        policy in prop_oneof![Just(SyncPolicy::Os), Just(SyncPolicy::Batch { delay_ms: 100, bytes: 4096 }), Just(SyncPolicy::Always)],
        memory_bytes_max in prop_oneof![3 => Just(0_u64), 1 => Just(24_000)],
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        run(policy, memory_bytes_max, &steps);
    }
}

#[test]
fn what_no_client_can_send_is_refused() {
    let Side { mut engine, .. } = Side::new(SyncPolicy::Os, 0);
    let now = Millis(1);
    assert_eq!(engine.get(now, b"").result, Err(Error::EmptyKey));
    assert_eq!(engine.set(now, b"two words", b"", &SetOptions::default()).result, Err(Error::BadKey));
    let late = SetOptions { expiry: SetExpiry::At(Millis(Millis::MAX.0 + 1)), ..SetOptions::default() };
    assert_eq!(engine.set(now, b"key", b"", &late).result, Err(Error::ExpiryTooFar));
    assert_eq!(engine.set_many(now, &[]).result, Ok(()), "nothing to do");
    assert_eq!(engine.last_lsn(), Lsn(0));
}

/// Under `always` a read of what isn't on disk yet waits, and one of anything else does not.
#[test]
fn a_read_waits_for_what_it_shows() {
    let Side { mut engine, mut storage } = Side::new(SyncPolicy::Always, 0);
    while engine.drive(&mut storage).unwrap() {}
    storage.hold(Work::Append);
    let now = Millis(1);
    let set = engine.set(now, b"key", b"value", &SetOptions::default());
    while engine.drive(&mut storage).unwrap() {}
    let get = engine.get(now, b"key");
    assert_eq!((get.after, get.result.unwrap().unwrap().value), (set.after, &b"value"[..]));
    assert_eq!(engine.exists(now, b"nothing").after, None);
    let refused = engine.set(now, b"key", b"", &SetOptions { presence: Presence::Absent, ..SetOptions::default() });
    assert_eq!((refused.result, refused.after), (Err(Error::Exists), set.after), "that there is such a key isn't certain either");
    storage.release(Work::Append);
    assert!(set.waits(engine.watermark()));
    while engine.drive(&mut storage).unwrap() {}
    assert!(!set.waits(engine.watermark()));
    assert_eq!(engine.get(now, b"key").after, None);
}
