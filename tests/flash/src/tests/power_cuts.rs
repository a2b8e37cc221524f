//! The power is cut at random places, a thousand times on one chip: nothing that was acknowledged may be missing (invariant 3), what is there is the state after some prefix of
//! what was sent (2), and there is always a next start (10).
//!
//! `OSPREY_FLASH_SEED`, `OSPREY_FLASH_CUTS`: another seed, more cuts.

use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString as _};
use std::vec::Vec;

use osprey_core::engine::{Engine, Entropy, Options, Session, SnapshotOptions};
use osprey_core::protocol::request;
use osprey_core::storage::Storage as _;
use osprey_core::units::Millis;
use osprey_core::wal::segment::DatabaseId;
use osprey_core::wal::writer::SyncPolicy;

use super::nor::{BLOCK_BYTES, Nor};
use crate::FlashLog;
use crate::planted::PLANTED;

/// One block of head, four for a segment.
const SLOT_BLOCKS: usize = 5;

#[expect(clippy::cast_possible_truncation, reason = "20 KiB")]
pub(super) const SLOT_BYTES: u32 = (SLOT_BLOCKS * BLOCK_BYTES) as u32;

/// Enough for this much data: with fewer the log runs out of space now and then.
pub(super) const SLOTS: usize = 16;

const NO_SPACE: &str = "there is no space for the log";

type Keys = BTreeMap<String, String>;

/// One write: what these keys are afterwards.
#[derive(Clone, Debug)]
struct Write {
    request: String,
    sets: Vec<(String, Option<String>)>,
}

impl Write {
    fn apply(&self, keys: &mut Keys) {
        for (key, value) in &self.sets {
            match value {
                Some(value) => drop(keys.insert(key.clone(), value.clone())),
                None => drop(keys.remove(key)),
            }
        }
    }
}

/// What was seen in all rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    cuts: u64,
    /// Of these, while the log was looked for, and while it was recovered.
    mounting: u64,
    recovering: u64,
    acknowledged: u64,
    /// Writes that were there without having been acknowledged: the power went between.
    unacknowledged: u64,
    /// Torn ends of the log that recovery has cut.
    tails: u64,
    snapshots: u64,
    orderly: u64,
}

/// One chip, and what must be on it.
pub(super) struct Bench<const WRITE: usize> {
    pub(super) nor: Nor<WRITE>,
    pub(super) client: Client,
}

#[derive(Clone)]
pub(super) struct Client {
    rng: fastrand::Rng,
    pub(super) now: Millis,
    policy: SyncPolicy,
    /// How many of 256 rounds go beyond the start.
    long: u8,
    /// What was acknowledged; and what was sent since, in order.
    known: Keys,
    open: Vec<Write>,
    sent: u64,
    tally: Tally,
}

impl<const WRITE: usize> Bench<WRITE> {
    pub(super) fn new(slots: usize, seed: u64, policy: SyncPolicy) -> Self {
        let client = Client {
            rng: fastrand::Rng::with_seed(seed ^ 0x5EED),
            now: Millis(1_700_000_000_000),
            policy,
            long: 170,
            known: Keys::new(),
            open: Vec::new(),
            sent: 0,
            tally: Tally::default(),
        };
        Self { nor: Nor::new(slots * SLOT_BLOCKS, seed), client }
    }

    /// From a start to a power cut.
    pub(super) fn round(&mut self) -> Result<(), String> {
        let Self { nor, client } = self;
        client.now.0 += 1000;
        client.tally.cuts += 1;
        // Some of the cuts are somewhere in a start.
        let fuel = if client.rng.u8(..) < client.long { client.rng.u64(60..600) } else { client.rng.u64(1..60) };
        nor.power(fuel);
        let Ok(mut log) = FlashLog::mount(&mut *nor, SLOT_BYTES) else {
            client.tally.mounting += 1;
            return if nor.powered() { Err("it cannot be mounted".into()) } else { Ok(()) };
        };
        let options = client.options(log.segment_bytes());
        let (mut engine, report) = match Engine::recover(options, &mut log, client.now) {
            Ok(recovered) => recovered,
            Err(error) => {
                drop(log);
                client.tally.recovering += 1;
                return if nor.powered() { Err(format!("it cannot be recovered: {error}")) } else { Ok(()) };
            }
        };
        client.tally.tails += u64::from(report.torn.is_some());
        client.judge(&engine)?;
        let done = client.work(&mut engine, &mut log);
        drop(log);
        match done {
            Err(Stop::Storage(error)) if nor.powered() => Err(error),
            Err(Stop::Wrong(error)) => Err(error),
            _ => {
                nor.cut();
                Ok(())
            }
        }
    }
}

/// Why the work of a round has ended.
pub(super) enum Stop {
    /// The power, or else a bug.
    Storage(String),
    Wrong(String),
}

impl Client {
    pub(super) fn options(&mut self, segment_bytes: u64) -> Options {
        let mut options = Options::new(Entropy { hash_key: [1; 16], salt: self.rng.u64(..), database: DatabaseId([3; 16]) });
        options.limits.request = request::Limits { key_bytes_max: 32, value_bytes_max: 2048, line_bytes_max: 512, words_max: 16 };
        options.segment_bytes = segment_bytes;
        options.sync_policy = self.policy;
        options.snapshots = Some(SnapshotOptions { automatic: false, ..SnapshotOptions::default() });
        options
    }

    /// The state must be the one after all that was acknowledged, and some of what was sent after it.
    pub(super) fn judge(&mut self, engine: &Engine) -> Result<(), String> {
        let mut found = Keys::new();
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            cursor = engine.store().walk(at, |record| {
                found.insert(String::from_utf8_lossy(record.key).into_owned(), String::from_utf8_lossy(record.value).into_owned());
            });
        }
        let open = core::mem::take(&mut self.open);
        let mut open = open.iter();
        while found != self.known {
            let Some(write) = open.next() else {
                return Err("what is there is no state after what was acknowledged".into());
            };
            write.apply(&mut self.known);
            self.tally.unacknowledged += 1;
        }
        Ok(())
    }

    fn write(&mut self) -> Write {
        self.sent += 1;
        let sent = self.sent;
        let rng = &mut self.rng;
        let key = |rng: &mut fastrand::Rng| format!("key-{}", rng.u8(0..40));
        let value = |rng: &mut fastrand::Rng| {
            let len = if rng.u8(..) < 10 { rng.usize(0..2000) } else { rng.usize(0..120) };
            format!("{sent}{}", core::iter::repeat_with(|| rng.alphanumeric()).take(len).collect::<String>())
        };
        match rng.u8(0..10) {
            0 => {
                let key = key(rng);
                Write { request: format!("DEL {key}\r\n"), sets: Vec::from([(key, None)]) }
            }
            1 => {
                let (one, other, value) = (key(rng), key(rng), value(rng));
                let request = format!("MSET {one} {} {other} 2\r\n{value}..\r\n", value.len());
                Write { request, sets: Vec::from([(one, Some(value)), (other, Some("..".into()))]) }
            }
            _ => {
                let (key, value) = (key(rng), value(rng));
                Write { request: format!("SET {key} {}\r\n{value}\r\n", value.len()), sets: Vec::from([(key, Some(value))]) }
            }
        }
    }

    /// Writes until the power goes, or until it is to go while nothing is under way.
    fn work<const WRITE: usize>(&mut self, engine: &mut Engine, log: &mut FlashLog<&mut Nor<WRITE>>) -> Result<(), Stop> {
        let (mut session, mut replies) = (Session::new(), Vec::new());
        let before = engine.newest_snapshot();
        // The first segment; and a snapshot, before anything is written, if it is time.
        drive(engine, log, self.now)?;
        for _ in 0..self.rng.u32(1..150) {
            self.now.0 += self.rng.u64(0..50);
            let mut input = Vec::new();
            for _ in 0..self.rng.u8(1..5) {
                let write = self.write();
                input.extend_from_slice(write.request.as_bytes());
                self.open.push(write);
            }
            while !input.is_empty() {
                let served = engine.serve(self.now, &mut session, &input, &mut replies);
                input.drain(..served.consumed);
                engine.tick(self.now);
                let driven = drive(engine, log, self.now);
                // Also of a round that ends here: what may be sent is on the line.
                self.acknowledge(&session, engine, &mut replies)?;
                driven?;
            }
        }
        if self.rng.u8(0..4) == 0 {
            engine.close();
            drive(engine, log, self.now)?;
            self.tally.orderly += u64::from(engine.closed());
        }
        self.tally.snapshots += u64::from(engine.newest_snapshot() != before);
        Ok(())
    }

    fn acknowledge(&mut self, session: &Session, engine: &Engine, replies: &mut Vec<u8>) -> Result<(), Stop> {
        let free = session.releasable(engine.watermark(), replies.len());
        for reply in replies.drain(..free).collect::<Vec<u8>>().split_inclusive(|&byte| byte == b'\n') {
            let write = self.open.remove(0);
            if reply.starts_with(b"ERR READONLY") {
                return Err(Stop::Storage(NO_SPACE.into()));
            }
            if !(reply.starts_with(b"OK") || reply.starts_with(b"DELETED")) {
                return Err(Stop::Wrong(format!("{:?} is answered with {}", write.request, String::from_utf8_lossy(reply))));
            }
            write.apply(&mut self.known);
            self.tally.acknowledged += 1;
        }
        Ok(())
    }
}

/// Does all that the engine asks of storage.
pub(super) fn drive<const WRITE: usize>(engine: &mut Engine, log: &mut FlashLog<&mut Nor<WRITE>>, now: Millis) -> Result<(), Stop> {
    if log.wants_snapshot() {
        let _ = engine.request_snapshot();
    }
    loop {
        engine.snapshot_slice(now, || true);
        let Some(op) = engine.poll_storage() else { return Ok(()) };
        if let Some(done) = log.submit(op) {
            engine.storage_done(done).map_err(|error| Stop::Storage(error.to_string()))?;
        }
    }
}

/// So many cuts on one chip; what was seen, and the chip.
fn cut<const WRITE: usize>(slots: usize, seed: u64, policy: SyncPolicy, cuts: u64) -> Result<(Tally, Nor<WRITE>), String> {
    go_on(Bench::<WRITE>::new(slots, seed, policy), cuts)
}

fn go_on<const WRITE: usize>(mut bench: Bench<WRITE>, cuts: u64) -> Result<(Tally, Nor<WRITE>), String> {
    for at in 0..cuts {
        bench.round().map_err(|error| format!("start {at}: {error}"))?;
    }
    Ok((bench.client.tally, bench.nor))
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn run<const WRITE: usize>(policy: SyncPolicy) {
    let seed = from_environment("OSPREY_FLASH_SEED", 1);
    let cuts = from_environment("OSPREY_FLASH_CUTS", 1000);
    let (tally, nor) =
        cut::<WRITE>(SLOTS, seed, policy, cuts).unwrap_or_else(|error| panic!("seed {seed}, write units of {WRITE} bytes, {error}"));
    let (most, least) = (nor.erases.iter().max().unwrap(), nor.erases.iter().min().unwrap());
    std::println!(
        "write units of {WRITE} bytes, seed {seed}: {tally:?}, no acknowledged write lost; blocks erased {least} to {most} times, {} bytes written",
        nor.written_bytes
    );
    assert!(tally.mounting > 10 && tally.tails > 10 && tally.unacknowledged > 10, "cuts in all places: {tally:?}");
    assert!(tally.acknowledged > 10 * tally.cuts && tally.snapshots > 10 && tally.orderly > 0, "there is something to lose: {tally:?}");
    assert!(*most <= 2 * *least, "blocks wear alike: {:?}", nor.erases);
}

#[test]
fn nothing_acknowledged_is_lost_with_write_units_of_a_byte() {
    run::<1>(SyncPolicy::Always);
}

#[test]
fn nothing_acknowledged_is_lost_with_frames_that_share_sectors() {
    run::<8>(SyncPolicy::Os);
}

#[test]
fn nothing_acknowledged_is_lost_with_large_write_units() {
    run::<256>(SyncPolicy::Always);
}

/// Each of these is found: some seed shows a lost write, a refused start, or a write that flash doesn't take. With the seed from which on to look.
#[test]
fn planted_bugs_are_found() {
    let bugs = [
        ("append_lost", 1),
        ("header_behind_map", 1),
        ("commit_first", 1),
        ("live_erased", 1),
        ("used_unerased", 1),
        ("last_segment_believed", 1),
        ("torn_map_left", 1),
    ];
    for (bug, first) in bugs {
        let finds = |&seed: &u64| {
            let run = move || {
                PLANTED.set(bug);
                let mut bench = Bench::<4>::new(12, seed, SyncPolicy::Always);
                // Mostly cuts in starts, for every other seed.
                bench.client.long = if seed % 2 == 0 { 30 } else { 170 };
                go_on(bench, 300).is_err_and(|error| !error.ends_with(NO_SPACE))
            };
            // A panic is what the flash says to a write that it doesn't take.
            std::thread::spawn(run).join().unwrap_or(true)
        };
        let found = (first..first + 100).find(finds);
        std::println!("{bug}: found with seed {found:?}");
        assert!(found.is_some(), "{bug} is not found");
    }
}
