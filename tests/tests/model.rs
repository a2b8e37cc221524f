//! Random programs of commands, with time passing and restarts in between, against a model that a page holds: every reply and the whole
//! state are the model's (invariants 1, 5, 6, 7).

use std::collections::BTreeMap;

use osprey_core::units::{Millis, Version};
use osprey_core::wal::writer::SyncPolicy;
use osprey_tests::machine::{BEGIN, ClientId, Machine, State, small_options};
use osprey_tests::transcript::show;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Expiry {
    Clear,
    In(u64),
    /// Relative to the beginning of time, so that it may have passed.
    At(u64),
    Keep,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Any,
    Current,
    Zero,
    Stale,
    Huge,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Presence {
    Any,
    Absent,
    Present,
}

type Key = u8;

#[derive(Clone, Debug)]
enum Step {
    Get(Key),
    Exists(Key),
    Ttl(Key),
    Persist(Key),
    Mget(Vec<Key>),
    Scan,
    Set(Key, Vec<u8>, Expiry, Presence, Asked),
    Mset(Vec<(Key, Vec<u8>)>),
    Del(Key, Asked),
    Expire(Key, i64, Asked),
    Add(Key, i64, bool),
    Advance(u64),
    Kill,
    ShutDown,
}

fn key() -> impl Strategy<Value = Key> {
    b'a'..b'g'
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        prop_oneof![Just("0"), Just("-0"), Just("007"), Just("9223372036854775807"), Just(""), Just("\r\nGET a\r\n")]
            .prop_map(|text| text.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
        (0..1500_usize).prop_map(|len| vec![b'x'; len]),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    prop_oneof![6 => Just(Asked::Any), 2 => Just(Asked::Current), 1 => Just(Asked::Zero), 1 => Just(Asked::Stale), 1 => Just(Asked::Huge)]
}

fn step() -> impl Strategy<Value = Step> {
    let expiry = prop_oneof![
        3 => Just(Expiry::Clear),
        2 => (1..400_u64).prop_map(Expiry::In),
        1 => (0..3000_u64).prop_map(Expiry::At),
        1 => Just(Expiry::Keep),
    ];
    let presence = prop_oneof![4 => Just(Presence::Any), 1 => Just(Presence::Absent), 1 => Just(Presence::Present)];
    let delta = prop_oneof![-3..3_i64, any::<i64>(), Just(i64::MIN), Just(i64::MAX)];
    let milliseconds = prop_oneof![4 => 1..400_i64, 1 => -1..=0_i64];
    prop_oneof![
        2 => key().prop_map(Step::Get),
        1 => key().prop_map(Step::Exists),
        1 => key().prop_map(Step::Ttl),
        1 => key().prop_map(Step::Persist),
        1 => proptest::collection::vec(key(), 1..6).prop_map(Step::Mget),
        1 => Just(Step::Scan),
        6 => (key(), value(), expiry, presence, asked()).prop_map(|(key, value, expiry, presence, asked)| {
            Step::Set(key, value, expiry, presence, asked)
        }),
        2 => proptest::collection::vec((key(), value().prop_filter("short", |value| value.len() < 100)), 1..6).prop_map(Step::Mset),
        2 => (key(), asked()).prop_map(|(key, asked)| Step::Del(key, asked)),
        2 => (key(), milliseconds, asked()).prop_map(|(key, ms, asked)| Step::Expire(key, ms, asked)),
        3 => (key(), delta, any::<bool>()).prop_map(|(key, delta, negated)| Step::Add(key, delta, negated)),
        3 => (0..300_u64).prop_map(Step::Advance),
        1 => Just(Step::Kill),
        1 => Just(Step::ShutDown),
    ]
}

#[derive(Debug)]
enum Expected {
    Exactly(Vec<u8>),
    Error(&'static str),
    /// The message ends with the current version.
    Version(u64),
}

impl Expected {
    fn matches(&self, reply: &[u8]) -> bool {
        match self {
            Self::Exactly(expected) => reply == expected,
            Self::Error(code) => reply.starts_with(format!("ERR {code} ").as_bytes()) && reply.ends_with(b"\r\n"),
            Self::Version(current) => reply.starts_with(b"ERR VER ") && reply.ends_with(format!(" {current}\r\n").as_bytes()),
        }
    }
}

fn line(text: impl std::fmt::Display) -> Expected {
    Expected::Exactly(format!("{text}\r\n").into_bytes())
}

/// What there is, and the highest version that each key ever had.
#[derive(Debug, Default)]
struct Model {
    keys: State,
    highest: BTreeMap<Vec<u8>, u64>,
}

impl Model {
    fn expire(&mut self, now: Millis) {
        self.keys.retain(|_, (_, _, expiry)| expiry.is_none_or(|expiry| expiry > now));
    }

    fn version(&self, key: Key) -> u64 {
        self.keys.get(&[key][..]).map_or(0, |(_, version, _)| version.0)
    }

    fn asked(&self, key: Key, asked: Asked) -> Option<u64> {
        match asked {
            Asked::Any => None,
            Asked::Current => Some(self.version(key)),
            Asked::Zero => Some(0),
            Asked::Stale => Some(self.version(key).saturating_sub(1)),
            Asked::Huge => Some(u64::MAX),
        }
    }

    /// The version that a write gives a key. A key that is there gets the next one; for a new one the engine chooses (`chosen`), but none that the key
    /// had before, and none further than the next.
    fn next_version(&mut self, key: Key, chosen: u64) -> u64 {
        let current = self.version(key);
        let highest_of_all = self.highest.values().max().copied().unwrap_or(0);
        let highest = self.highest.entry(vec![key]).or_default();
        if current > 0 {
            *highest = current + 1;
        } else {
            assert!(chosen > *highest, "version {chosen} again of {}", char::from(key));
            assert!(chosen <= highest_of_all + 1, "version {chosen}, the highest of all was {highest_of_all}");
            *highest = chosen;
        }
        *highest
    }

    /// The reply to a step, and what it does. `actual` is the state of the engine behind it, for the versions of new keys; `replied` the version in its reply.
    fn execute(&mut self, step: &Step, now: Millis, actual: &State, replied: u64) -> Expected {
        let chosen = |key: Key| actual.get(&[key][..]).map_or(replied, |(_, version, _)| version.0);
        let mismatch = |model: &Self, key, asked| model.asked(key, asked).is_some_and(|asked| asked != model.version(key));
        match step {
            Step::Get(key) => match self.keys.get(&[*key][..]) {
                Some((value, version, expiry)) => Expected::Exactly(found("VALUE", value, *version, *expiry)),
                None => line("NOT_FOUND"),
            },
            Step::Exists(key) => line(format!("EXISTS {}", u8::from(self.version(*key) > 0))),
            Step::Ttl(key) => match self.keys.get(&[*key][..]) {
                Some((_, _, Some(expiry))) => line(expiry.0 - now.0),
                Some(_) => line(-1),
                None => line(-2),
            },
            Step::Persist(key) => match self.keys.get_mut(&[*key][..]) {
                Some((_, _, expiry)) => {
                    *expiry = None;
                    line("OK")
                }
                None => line("NOT_FOUND"),
            },
            Step::Mget(keys) => {
                let reply = |key: &Key| match self.keys.get(&[*key][..]) {
                    Some((value, version, expiry)) => found(&format!("VALUE {}", char::from(*key)), value, *version, *expiry),
                    None => format!("NOT_FOUND {}\r\n", char::from(*key)).into_bytes(),
                };
                Expected::Exactly(keys.iter().flat_map(reply).collect())
            }
            Step::Set(key, _, _, Presence::Absent, _) if self.version(*key) > 0 => Expected::Error("EXISTS"),
            Step::Set(key, _, _, Presence::Present, _) if self.version(*key) == 0 => Expected::Error("NEXISTS"),
            Step::Set(key, .., asked) | Step::Del(key, asked) | Step::Expire(key, _, asked) if mismatch(self, *key, *asked) => {
                Expected::Version(self.version(*key))
            }
            Step::Set(key, value, expiry, ..) => {
                let expiry = match expiry {
                    Expiry::Clear => None,
                    Expiry::In(ms) => Some(Millis(now.0 + ms)),
                    Expiry::At(ms) => Some(Millis(BEGIN.0 + ms)),
                    Expiry::Keep => self.keys.get(&[*key][..]).and_then(|(_, _, expiry)| *expiry),
                };
                let version = self.next_version(*key, chosen(*key));
                self.keys.insert(vec![*key], (value.clone(), Version(version), expiry));
                self.expire(now);
                line(format!("OK {version}"))
            }
            Step::Mset(pairs) => {
                for (at, (key, value)) in pairs.iter().enumerate() {
                    let repeated = pairs[at + 1..].iter().filter(|(later, _)| later == key).count() as u64;
                    let version = self.next_version(*key, chosen(*key) - repeated);
                    self.keys.insert(vec![*key], (value.clone(), Version(version), None));
                }
                line(format!("OK {}", pairs.len()))
            }
            Step::Del(key, _) => line(format!("DELETED {}", u8::from(self.keys.remove(&[*key][..]).is_some()))),
            Step::Expire(key, ms, _) => match self.keys.get_mut(&[*key][..]) {
                Some((_, _, expiry)) => {
                    *expiry = Some(Millis(now.0.saturating_add_signed(*ms)));
                    self.expire(now);
                    line("OK")
                }
                None => line("NOT_FOUND"),
            },
            Step::Add(key, delta, negated) => {
                let old = self.keys.get(&[*key][..]).map_or((b"0".to_vec(), None), |(value, _, expiry)| (value.clone(), *expiry));
                let text = String::from_utf8_lossy(&old.0).into_owned();
                let Some(number) = text.parse::<i64>().ok().filter(|number| number.to_string() == text) else {
                    return Expected::Error("TYPE");
                };
                let sum = if *negated { number.checked_sub(*delta) } else { number.checked_add(*delta) };
                let Some(sum) = sum else { return Expected::Error("RANGE") };
                let version = self.next_version(*key, chosen(*key));
                self.keys.insert(vec![*key], (sum.to_string().into_bytes(), Version(version), old.1));
                line(sum)
            }
            Step::Scan | Step::Advance(_) | Step::Kill | Step::ShutDown => Expected::Exactly(Vec::new()),
        }
    }
}

fn found(head: &str, value: &[u8], version: Version, expiry: Option<Millis>) -> Vec<u8> {
    let expiry = expiry.map_or("-1".to_owned(), |expiry| expiry.0.to_string());
    [format!("{head} {} {} {expiry}\r\n", value.len(), version.0).as_bytes(), value, b"\r\n"].concat()
}

/// The request's bytes; empty for a step that is none.
fn request(step: &Step, model: &Model) -> Vec<u8> {
    let ver = |key, asked| model.asked(key, asked).map_or(String::new(), |version| format!(" VER {version}"));
    let text = match step {
        Step::Get(key) => format!("GET {}", char::from(*key)),
        Step::Exists(key) => format!("EXISTS {}", char::from(*key)),
        Step::Ttl(key) => format!("TTL {}", char::from(*key)),
        Step::Persist(key) => format!("PERSIST {}", char::from(*key)),
        Step::Mget(keys) => format!("MGET {}", keys.iter().map(|&key| char::from(key).to_string()).collect::<Vec<_>>().join(" ")),
        Step::Scan => "SCAN 0 COUNT 1000".to_owned(),
        Step::Set(key, value, expiry, presence, asked) => {
            let expiry = match expiry {
                Expiry::Clear => String::new(),
                Expiry::In(ms) => format!(" EX {ms}"),
                Expiry::At(ms) => format!(" PXAT {}", BEGIN.0 + ms),
                Expiry::Keep => " KEEPTTL".to_owned(),
            };
            let presence = match presence {
                Presence::Any => "",
                Presence::Absent => " NX",
                Presence::Present => " XX",
            };
            let line = format!("SET {} {}{expiry}{presence}{}\r\n", char::from(*key), value.len(), ver(*key, *asked));
            return [line.as_bytes(), value, b"\r\n"].concat();
        }
        Step::Mset(pairs) => {
            let words: String = pairs.iter().map(|(key, value)| format!(" {} {}", char::from(*key), value.len())).collect();
            let values = pairs.iter().flat_map(|(_, value)| value.clone()).collect();
            return [format!("MSET{words}\r\n").into_bytes(), values, b"\r\n".to_vec()].concat();
        }
        Step::Del(key, asked) => format!("DEL {}{}", char::from(*key), ver(*key, *asked)),
        Step::Expire(key, ms, asked) => format!("EXPIRE {} {ms}{}", char::from(*key), ver(*key, *asked)),
        Step::Add(key, delta, negated) => format!("{} {} {delta}", if *negated { "DECR" } else { "INCR" }, char::from(*key)),
        Step::Advance(_) | Step::Kill | Step::ShutDown => return Vec::new(),
    };
    format!("{text}\r\n").into_bytes()
}

/// All keys in some order, whatever the model's is.
fn check_scan(reply: &[u8], model: &Model) {
    let text = String::from_utf8(reply.to_vec()).expect("keys are letters");
    let lines: Vec<&str> = text.lines().collect();
    let [first, keys @ .., last] = lines.as_slice() else { panic!("{text:?}") };
    assert_eq!((*first, *last), ("CURSOR 0", "END"));
    let mut keys: Vec<Vec<u8>> = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
    keys.sort();
    assert!(keys.iter().eq(model.keys.keys()), "{text:?} of {:?}", model.keys.keys());
}

fn run(policy: SyncPolicy, steps: &[Step]) {
    let mut machine = Machine::new(small_options(policy));
    let mut client: ClientId = machine.connect();
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Advance(ms) => machine.advance(*ms),
            Step::Kill | Step::ShutDown => {
                let now = machine.now;
                let disk = match step {
                    Step::ShutDown => machine.shut_down(),
                    _ if policy == SyncPolicy::Always => machine.cut_power(),
                    _ => machine.kill(),
                };
                machine = Machine::recover(small_options(policy), disk, now).expect("an undamaged log").0;
                client = machine.connect();
            }
            _ => {}
        }
        model.expire(machine.now);
        machine.send(client, &request(step, &model));
        let reply = machine.received(client);
        let actual = machine.state();
        let replied = std::str::from_utf8(&reply).ok().and_then(|reply| reply.trim_end().strip_prefix("OK ")?.parse().ok()).unwrap_or(0);
        let expected = model.execute(step, machine.now, &actual, replied);
        if matches!(step, Step::Scan) {
            check_scan(&reply, &model);
        } else {
            assert!(expected.matches(&reply), "{step:?}: {}, not {expected:?}", show(&reply));
        }
        assert_eq!(actual, model.keys, "behind {step:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn every_reply_is_the_models(
        policy in prop_oneof![
            Just(SyncPolicy::Os),
            Just(SyncPolicy::Batch { delay_ms: 100, bytes: 4096 }),
            Just(SyncPolicy::Always),
        ],
        steps in proptest::collection::vec(step(), 1..250),
    ) {
        run(policy, &steps);
    }
}
