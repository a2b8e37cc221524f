//! `kill -9` under load, again and again over one data directory: whatever was acknowledged is there afterwards, under every sync policy;
//! whatever wasn't may be, but only in the order in which it was sent. No deleted key comes back, no version names two values
//! (invariants 2, 5, 6).
//!
//! `OSPREY_KILL_ROUNDS` sets the number of rounds for each policy.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use osprey_core::protocol::client::{self as encode, Expect, Reply};
use osprey_core::protocol::command::SetOptions;
use osprey_core::units::Version;
use osprey_tests::client::Client;
use osprey_tests::server_process::Setup;

const WRITERS: usize = 4;
const KEYS_PER_WRITER: usize = 40;
const PIPELINE: usize = 32;

#[derive(Clone, Debug)]
enum Write {
    Set(String, Vec<u8>),
    Del(String),
    /// Two keys at once.
    SetBoth([String; 2], Vec<u8>),
}

/// What a key has; the version is unknown where no reply has told it.
type Held = (Vec<u8>, Option<Version>);

/// One connection's writes, to keys of its own, and what must have become of them.
struct Writer {
    id: usize,
    random: fastrand::Rng,
    written: u64,
    /// What was acknowledged.
    keys: BTreeMap<String, Held>,
    /// Sent, without a reply yet, in order.
    unanswered: VecDeque<Write>,
    /// Every value that a key and version were ever seen with.
    named: BTreeMap<(String, u64), Vec<u8>>,
    acknowledged: u64,
}

impl Writer {
    fn new(id: usize, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed.wrapping_add(id as u64));
        let (keys, unanswered, named) = (BTreeMap::new(), VecDeque::new(), BTreeMap::new());
        Self { id, random, written: 0, keys, unanswered, named, acknowledged: 0 }
    }

    fn key(&mut self) -> String {
        format!("writer{}:{}", self.id, self.random.usize(..KEYS_PER_WRITER))
    }

    fn next(&mut self) -> Write {
        self.written += 1;
        let key = self.key();
        let value = format!("{}:{}", self.written, "x".repeat(self.random.usize(0..200))).into_bytes();
        match self.random.u32(0..10) {
            0..3 => Write::Del(key),
            3 => Write::SetBoth([key, self.key()], value),
            _ => Write::Set(key, value),
        }
    }

    /// Writes until the server is gone.
    fn run(&mut self, address: SocketAddr) {
        let Ok(mut client) = Client::connect(address) else { return };
        loop {
            let mut requests = Vec::new();
            let batch: Vec<Write> = (0..PIPELINE).map(|_| self.next()).collect();
            for write in &batch {
                match write {
                    Write::Set(key, value) => encode::set(&mut requests, key.as_bytes(), value, &SetOptions::default()),
                    Write::Del(key) => encode::del(&mut requests, key.as_bytes(), None),
                    Write::SetBoth([a, b], value) => {
                        encode::mset(&mut requests, [(a.as_bytes(), value.as_slice()), (b.as_bytes(), value.as_slice())])
                    }
                }
                .expect("a key and a value");
            }
            self.unanswered.extend(batch);
            if client.send(&requests).is_err() {
                return;
            }
            while let Some(write) = self.unanswered.front() {
                let (expect, is_set) = match write {
                    Write::Set(..) => (Expect::Stored, true),
                    Write::Del(..) => (Expect::Deleted, false),
                    Write::SetBoth(..) => (Expect::Count, false),
                };
                let version = match client.receive(expect) {
                    Err(_) => return,
                    Ok(Reply::Stored(version)) if is_set => Some(version),
                    Ok(Reply::Deleted(_) | Reply::Count(2)) => None,
                    Ok(other) => panic!("{other:?} in reply to {write:?}"),
                };
                self.acknowledged += 1;
                let write = self.unanswered.pop_front().expect("the one that was answered");
                apply(&mut self.keys, &write, version);
                if let (Write::Set(key, value), Some(version)) = (&write, version) {
                    self.name(key, version, value);
                }
            }
        }
    }

    fn name(&mut self, key: &str, version: Version, value: &[u8]) {
        let named = self.named.entry((key.to_owned(), version.0)).or_insert_with(|| value.to_vec());
        assert_eq!(named, value, "version {} of {key} names two values", version.0);
    }

    /// What the server has must be what was acknowledged, and of what wasn't the first so many. From there it goes on.
    fn check(&mut self, client: &mut Client) {
        let mut found = BTreeMap::new();
        for number in 0..KEYS_PER_WRITER {
            let key = format!("writer{}:{number}", self.id);
            if let Some((value, version)) = client.get(key.as_bytes()).expect("a reply") {
                self.name(&key, version, &value);
                found.insert(key, (value, Some(version)));
            }
        }
        let mut expected = self.keys.clone();
        let mut answered = self.unanswered.iter();
        while !agree(&expected, &found) {
            let Some(write) = answered.next() else {
                let wrong: Vec<_> = found.keys().chain(self.keys.keys()).filter(|key| found.get(*key) != self.keys.get(*key)).collect();
                panic!(
                    "the server has lost or made up something: of the keys {wrong:?} it has {:?}, acknowledged were {:?}, unanswered {:?}",
                    wrong.iter().map(|key| found.get(*key)).collect::<Vec<_>>(),
                    wrong.iter().map(|key| self.keys.get(*key)).collect::<Vec<_>>(),
                    self.unanswered,
                );
            };
            apply(&mut expected, write, None);
        }
        self.keys = found;
        self.unanswered.clear();
    }
}

fn apply(keys: &mut BTreeMap<String, Held>, write: &Write, version: Option<Version>) {
    match write {
        Write::Set(key, value) => drop(keys.insert(key.clone(), (value.clone(), version))),
        Write::Del(key) => drop(keys.remove(key)),
        Write::SetBoth(both, value) => both.iter().for_each(|key| drop(keys.insert(key.clone(), (value.clone(), None)))),
    }
}

fn agree(expected: &BTreeMap<String, Held>, found: &BTreeMap<String, Held>) -> bool {
    let same = |(a, b): (&Held, &Held)| a.0 == b.0 && (a.1.is_none() || a.1 == b.1);
    expected.len() == found.len() && expected.iter().all(|(key, held)| found.get(key).is_some_and(|found| same((held, found))))
}

#[test]
fn nothing_acknowledged_is_lost() {
    let rounds: u32 = std::env::var("OSPREY_KILL_ROUNDS").map_or(6, |rounds| rounds.parse().expect("a number of rounds"));
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let directory = tempfile::tempdir().expect("a directory for the server");
    let mut writers: Vec<Writer> = (0..WRITERS).map(|id| Writer::new(id, seed)).collect();
    let begin = Instant::now();
    for policy in ["os", "batch", "always"] {
        for _ in 0..rounds {
            let server = Setup::new(directory.path()).sync_policy(policy).start();
            let mut client = server.connect();
            writers.iter_mut().for_each(|writer| writer.check(&mut client));
            let address = server.address;
            thread::scope(|scope| {
                for writer in &mut writers {
                    scope.spawn(move || writer.run(address));
                }
                thread::sleep(Duration::from_millis(random.u64(5..80)));
                server.kill();
            });
        }
    }
    let server = Setup::new(directory.path()).start();
    let mut client = server.connect();
    writers.iter_mut().for_each(|writer| writer.check(&mut client));
    let acknowledged: u64 = writers.iter().map(|writer| writer.acknowledged).sum();
    println!(
        "kill -9: 3 policies, {rounds} rounds each, {acknowledged} acknowledged writes, none lost, in {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    assert!(acknowledged > u64::from(rounds) * 100);
}
