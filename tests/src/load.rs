//! Connections that write and one that reads, until the server is gone; and what must be there when it is back.
//!
//! Each writer has keys of its own, and every value begins with the number of its write. So whoever sees a value knows which write it is, and
//! the state of a writer's keys says how many of its writes have survived.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use osprey_core::protocol::client::{self as encode, Expect, Reply};
use osprey_core::protocol::command::SetOptions;
use osprey_core::units::Version;

use crate::client::Client;
use crate::server_process::ServerProcess;

const WRITERS: usize = 4;
const KEYS_PER_WRITER: usize = 40;
const PIPELINE_MAX: usize = 32;

/// What must be there when the server is back. In every case that is the state after so many of a connection's writes, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// At least after all that were acknowledged, or shown to somebody.
    Acknowledged,
    /// After any number of them.
    Prefix,
}

/// All connections. Goes on over restarts of the server.
#[derive(Debug)]
pub struct Load {
    writers: Vec<Writer>,
    random: fastrand::Rng,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Acknowledged writes that were gone, where only a prefix was promised.
    pub lost: u64,
    /// Values that were shown to the reader.
    pub shown: u64,
}

#[derive(Clone, Debug)]
enum Write {
    Set(String, Vec<u8>),
    Del(String),
    /// Two keys at once.
    SetBoth([String; 2], Vec<u8>),
}

/// What a key has; the version is unknown where no reply has told it.
type Held = (Vec<u8>, Option<Version>);

/// One connection's writes.
#[derive(Debug)]
struct Writer {
    id: usize,
    random: fastrand::Rng,
    /// What the server had when it was last looked at, and the number of the last write before.
    base: BTreeMap<String, Held>,
    base_number: u64,
    /// What was sent since, with the version where one was told.
    sent: Vec<(Write, Option<Version>)>,
    /// How many of these were acknowledged.
    acknowledged: usize,
    /// How many of these have been shown, because a later one has.
    shown: usize,
    /// Every value that a key and version were ever seen with.
    named: BTreeMap<(String, u64), Vec<u8>>,
}

impl Load {
    /// Nothing is there yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let writers = (0..WRITERS).map(|id| Writer::new(id, random.fork())).collect();
        Self { writers, random, acknowledged: 0, lost: 0, shown: 0 }
    }

    /// Writes and reads, and kills the server after some time. Returns what the server had logged.
    ///
    /// # Panics
    /// The server has ended of itself.
    pub fn run_and_kill(&mut self, server: ServerProcess, after: Duration) -> String {
        let (address, random) = (server.address, self.random.fork());
        let (shown, log) = thread::scope(|scope| {
            let reader = scope.spawn(move || read(address, random));
            for writer in &mut self.writers {
                scope.spawn(move || writer.run(address));
            }
            thread::sleep(after);
            let log = server.kill();
            (reader.join().unwrap(), log)
        });
        for (writer, (number, values)) in self.writers.iter_mut().zip(shown) {
            // An earlier value may have been there since before.
            writer.shown = usize::try_from(number.saturating_sub(writer.base_number)).unwrap();
            self.shown += values;
            self.acknowledged += writer.acknowledged as u64;
        }
        log
    }

    /// Compares what the server has with what was promised. From there it goes on.
    ///
    /// # Panics
    /// It is something else.
    pub fn check(&mut self, client: &mut Client, promise: Promise) {
        for writer in &mut self.writers {
            self.lost += writer.check(client, promise);
        }
    }
}

impl Writer {
    fn new(id: usize, random: fastrand::Rng) -> Self {
        let (base, named) = (BTreeMap::new(), BTreeMap::new());
        Self { id, random, base, base_number: 0, sent: Vec::new(), acknowledged: 0, shown: 0, named }
    }

    fn key(&mut self) -> String {
        key(self.id, self.random.usize(..KEYS_PER_WRITER))
    }

    fn next(&mut self) -> Write {
        let number = self.base_number + self.sent.len() as u64 + 1;
        let key = self.key();
        let value = format!("{number}:{}", "x".repeat(self.random.usize(0..200))).into_bytes();
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
            for _ in 0..self.random.usize(1..=PIPELINE_MAX) {
                let write = self.next();
                match &write {
                    Write::Set(key, value) => encode::set(&mut requests, key.as_bytes(), value, &SetOptions::default()),
                    Write::Del(key) => encode::del(&mut requests, key.as_bytes(), None),
                    Write::SetBoth([a, b], value) => {
                        encode::mset(&mut requests, [(a.as_bytes(), value.as_slice()), (b.as_bytes(), value.as_slice())])
                    }
                }
                .unwrap();
                self.sent.push((write, None));
            }
            if client.send(&requests).is_err() {
                return;
            }
            while self.acknowledged < self.sent.len() {
                if !self.receive(&mut client) {
                    return;
                }
            }
        }
    }

    /// Waits for the next reply; whether there is one.
    fn receive(&mut self, client: &mut Client) -> bool {
        let (write, version) = &mut self.sent[self.acknowledged];
        let expect = match write {
            Write::Set(..) => Expect::Stored,
            Write::Del(..) => Expect::Deleted,
            Write::SetBoth(..) => Expect::Count,
        };
        match (&write, client.receive(expect)) {
            (_, Err(_)) => return false,
            (Write::Set(..), Ok(Reply::Stored(given))) => *version = Some(given),
            (Write::Del(..), Ok(Reply::Deleted(_))) | (Write::SetBoth(..), Ok(Reply::Count(2))) => {}
            (write, Ok(other)) => panic!("{other:?} in reply to {write:?}"),
        }
        self.acknowledged += 1;
        if let (Write::Set(key, value), Some(version)) = (write.clone(), *version) {
            self.name(&key, version, &value);
        }
        true
    }

    fn name(&mut self, key: &str, version: Version, value: &[u8]) {
        let named = self.named.entry((key.to_owned(), version.0)).or_insert_with(|| value.to_vec());
        assert_eq!(named, value, "version {} of {key} names two values", version.0);
    }

    /// How many acknowledged writes are gone.
    fn check(&mut self, client: &mut Client, promise: Promise) -> u64 {
        if promise == Promise::Prefix {
            // Versions that are lost with their values may be given again.
            self.named.clear();
        }
        let found = self.found(client);
        let promised = if promise == Promise::Acknowledged { self.acknowledged.max(self.shown) } else { 0 };
        let mut expected = self.base.clone();
        let mut survived = None;
        for number in 0..=self.sent.len() {
            // The last state that fits: what has left no trace may as well have happened.
            if number >= promised && agree(&expected, &found) {
                survived = Some(number);
            }
            if let Some((write, version)) = self.sent.get(number) {
                apply(&mut expected, write, *version);
            }
        }
        let survived = survived.unwrap_or_else(|| self.complain(&found, promised));
        let lost = self.acknowledged.saturating_sub(survived) as u64;
        self.base = found;
        self.base_number += self.sent.len() as u64;
        self.sent.clear();
        (self.acknowledged, self.shown) = (0, 0);
        lost
    }

    fn found(&mut self, client: &mut Client) -> BTreeMap<String, Held> {
        let mut found = BTreeMap::new();
        for number in 0..KEYS_PER_WRITER {
            let key = key(self.id, number);
            if let Some((value, version)) = client.get(key.as_bytes()).unwrap() {
                self.name(&key, version, &value);
                found.insert(key, (value, Some(version)));
            }
        }
        found
    }

    fn complain(&self, found: &BTreeMap<String, Held>, promised: usize) -> ! {
        let mut expected = self.base.clone();
        self.sent[..promised].iter().for_each(|(write, version)| apply(&mut expected, write, *version));
        let show = |held: Option<&Held>| held.map(|(value, version)| (number_of(value), version.map(|version| version.0)));
        let differs = |key: &&String| match (found.get(*key), expected.get(*key)) {
            (Some(found), Some(expected)) => !fits(expected, found),
            (found, expected) => found.is_some() || expected.is_some(),
        };
        let keys = found.keys().chain(expected.keys()).filter(differs);
        let wrong: BTreeMap<_, _> = keys.map(|key| (key, (show(found.get(key)), show(expected.get(key))))).collect();
        panic!(
            "the server has lost or made up something. Of the writes from {} on {promised} were promised, {} acknowledged, {} shown, {} sent. \
             Keys with the write and version that they have, and would have after what was promised: {wrong:?}",
            self.base_number + 1,
            self.acknowledged,
            self.shown,
            self.sent.len(),
        );
    }
}

/// Reads until the server is gone; for each writer the highest number of a write that was shown, and how many were.
fn read(address: SocketAddr, mut random: fastrand::Rng) -> [(u64, u64); WRITERS] {
    let mut shown = [(0, 0); WRITERS];
    let Ok(mut client) = Client::connect(address) else { return shown };
    loop {
        let id = random.usize(..WRITERS);
        match client.get(key(id, random.usize(..KEYS_PER_WRITER)).as_bytes()) {
            Err(_) => return shown,
            Ok(None) => {}
            Ok(Some((value, _))) => {
                shown[id] = (shown[id].0.max(number_of(&value)), shown[id].1 + 1);
            }
        }
    }
}

/// Which write a value is of.
fn number_of(value: &[u8]) -> u64 {
    let number = value.split(|byte| *byte == b':').next().unwrap();
    std::str::from_utf8(number).unwrap().parse().unwrap()
}

fn key(writer: usize, number: usize) -> String {
    format!("writer{writer}:{number}")
}

fn apply(keys: &mut BTreeMap<String, Held>, write: &Write, version: Option<Version>) {
    match write {
        Write::Set(key, value) => drop(keys.insert(key.clone(), (value.clone(), version))),
        Write::Del(key) => drop(keys.remove(key)),
        Write::SetBoth(both, value) => both.iter().for_each(|key| drop(keys.insert(key.clone(), (value.clone(), None)))),
    }
}

fn agree(expected: &BTreeMap<String, Held>, found: &BTreeMap<String, Held>) -> bool {
    expected.len() == found.len() && expected.iter().all(|(key, held)| found.get(key).is_some_and(|found| fits(held, found)))
}

fn fits(expected: &Held, found: &Held) -> bool {
    expected.0 == found.0 && (expected.1.is_none() || expected.1 == found.1)
}
