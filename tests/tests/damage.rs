//! Damage to a data directory, everywhere: each of its segments is cut at every byte, and every bit is turned over (invariant 9). Recovery refuses, naming segment and
//! byte, and changes nothing; or it gives the state behind one frame, with everything in it that undamaged bytes claim to have been durable.
//! (`recovery.rs` tells single cases as scripts; damage past the checksums is what the fuzz target `replay_repaired` makes.)
//!
//! What can't be told, by design (`docs/FORMAT.md`, "Torn or corrupt"), and is counted here:
//!
//! - *Cut off*: damage to a frame that no undamaged byte behind it vouches for looks like a write that a crash has torn. The frame and what follows is cut, and that is
//!   reported. These are the frames after the last claim: under `always` one, until the next frame or, in an idle log, the mark a second later claims it;
//!   under `batch` those since the last sync that a frame speaks of; under `os` those since the last full segment was synced. No flip of a directory that was closed
//!   in order comes to that.
//! - *Silent*: a last segment that ends between two frames, or in the zeros behind one, looks like one to which no more was written. If what was there
//!   vouched for itself only, nothing is left that says so, and nothing is reported. That takes a cut, which no single bit does, and a file system that shortens
//!   files; after an orderly end, too.
//! - *Unharmed*: nobody reads the zeros between frames and behind a segment's header, so nobody misses them.

use std::collections::BTreeSet;

use osprey_core::checksum::crc32c;
use osprey_core::engine::Engine;
use osprey_core::recovery::RecoveryError;
use osprey_core::storage::SegmentNumber;
use osprey_core::units::{Lsn, Millis};
use osprey_core::wal::frame::Records;
use osprey_core::wal::reader::{SegmentReader, Tail};
use osprey_core::wal::segment::{HEADER_BYTES, HEADER_USED_BYTES, SegmentHeader};
use osprey_core::wal::writer::SyncPolicy;
use osprey_tests::memory_log::MemoryLog;
use osprey_tests::small_scope::explore::{POLICIES, options};
use osprey_tests::small_scope::host::{Host, Schedule};
use osprey_tests::small_scope::judge::check_state;
use osprey_tests::small_scope::program::Operation::{
    self, Close, DelA, ExpireA, Idle, IncrA, Mset, Observe, SetA, SetAExpiring, SetBLong, Wait,
};

/// Two runs; the second one's segments are full of all kinds of records.
const RUNS: [&[Operation]; 2] = [
    &[SetBLong, Mset, SetA, IncrA],
    &[
        SetA,
        ExpireA,
        SetBLong,
        Mset,
        SetBLong,
        DelA,
        SetAExpiring,
        SetBLong,
        Wait,
        Observe,
        SetBLong,
        SetBLong,
        Idle,
        SetBLong,
        IncrA,
        DelA,
        SetA,
        Mset,
    ],
];

/// A data directory, and what it should hold.
struct Directory {
    host: Host,
    log: MemoryLog,
    /// It has lost what wasn't synced.
    power_lost: bool,
    /// The last record of it that recovery finds as long as nothing is damaged.
    last_lsn: u64,
}

/// How many cuts or flips came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    refused: u32,
    unharmed: u32,
    cut_off: u32,
    silent: u32,
}

fn directory(policy: SyncPolicy, end: &[Operation], power_lost: bool) -> Directory {
    let mut host = Host::new(options(policy), Schedule::Prompt, Millis(1_000_000_000)).expect("an empty disk");
    let unjudged = &mut |_: &Host| Ok(());
    for (run, operations) in RUNS.iter().enumerate() {
        if run > 0 {
            host.restart(host.disk.shown(), false).expect("an undamaged log");
        }
        host.finish(unjudged).expect("no fault");
        for operation in *operations {
            operation.run(&mut host, unjudged).expect("no fault");
        }
    }
    for operation in end {
        operation.run(&mut host, unjudged).expect("no fault");
    }
    // Half of what wasn't synced is there: some of the sectors.
    let log = if power_lost { host.disk.image(host.disk.images() / 2) } else { host.disk.shown() };
    let (engine, report) = Engine::recover(host.options, &mut log.clone(), Millis(0)).expect("only a crash");
    assert_eq!(report.torn.is_some(), power_lost, "a torn tail is to be there");
    assert!(log.0.len() >= 3, "{} segments", log.0.len());
    assert_eq!(kinds(&log), ["Del", "Expire", "Mark", "Set"].map(str::to_owned).into());
    let last_lsn = engine.last_lsn().0;
    Directory { host, log, power_lost, last_lsn }
}

/// The kinds of records that a log holds.
fn kinds(log: &MemoryLog) -> BTreeSet<String> {
    let mut kinds = BTreeSet::new();
    let mut tail = Tail { next_lsn: Lsn(1), chain: 0 };
    for (&segment, bytes) in &log.0 {
        let salt = SegmentHeader::decode(bytes, crc32c).expect("a header").salt;
        let mut reader = SegmentReader::new(segment, bytes.len() as u64, salt, crc32c);
        while let Some(frame) = reader.next(&mut log.clone(), &mut tail).expect("a log in memory") {
            kinds.extend(Records(frame.payload).flatten().map(|record| format!("{:?}", record.kind)));
        }
    }
    kinds
}

impl Directory {
    fn cut_everywhere(&self) -> Counts {
        let mut counts = Counts::default();
        for (&segment, bytes) in &self.log.0 {
            for length in 0..bytes.len() {
                let mut log = self.log.clone();
                log.0.insert(segment, bytes[..length].to_vec());
                self.recover(log, segment, length, bytes.len(), &mut counts);
            }
        }
        counts
    }

    /// Every bit; of sectors that are nothing but zeros one of each byte will do, unless `all`.
    fn flip_everywhere(&self, all: bool) -> Counts {
        let mut counts = Counts::default();
        for (&segment, bytes) in &self.log.0 {
            for offset in 0..bytes.len() {
                let sector = bytes[offset / 512 * 512..].iter().take(512);
                let bits = if all || sector.copied().any(|byte| byte != 0) { 0..8 } else { offset % 8..offset % 8 + 1 };
                for bit in bits {
                    let mut log = self.log.clone();
                    let damaged = log.0.get_mut(&segment).and_then(|bytes| bytes.get_mut(offset));
                    *damaged.expect("a byte that is there") ^= 1 << bit;
                    self.recover(log, segment, offset, offset + 1, &mut counts);
                }
            }
        }
        assert_eq!(counts.silent, 0, "a frame that is there and damaged is reported");
        counts
    }

    /// Recovers `log`, in which some bytes of a segment are damaged or gone.
    fn recover(&self, mut log: MemoryLog, segment: SegmentNumber, from: usize, to: usize, counts: &mut Counts) {
        let before = log.clone();
        let (engine, report) = match Engine::recover(self.host.options, &mut log, Millis(0)) {
            Ok(recovered) => recovered,
            Err(error) => {
                assert!(log == before, "{segment} {from}: refused and changed: {error}");
                assert_names(&error, segment, from);
                counts.refused += 1;
                return;
            }
        };
        let lsn = engine.last_lsn().0;
        let Some((_, state)) = self.host.state_at(lsn) else {
            panic!("{segment} {from}: recovered through {lsn}, where no frame has ended")
        };
        check_state(&engine, state).unwrap_or_else(|failure| panic!("{segment} {from}: {failure}"));
        if lsn >= self.last_lsn {
            assert_eq!(lsn, self.last_lsn, "{segment} {from}: more than there was");
            counts.unharmed += 1;
            return;
        }
        let claimed = self.host.history.claimed(segment.0, from, to, self.power_lost);
        assert!(lsn >= claimed, "{segment} {from}: recovered through {lsn}; {claimed} is claimed to have been durable");
        assert!(!self.host.history.is_behind_a_later_run(segment.0, self.power_lost), "{segment} {from}: not the last run's");
        if report.torn.is_some() {
            counts.cut_off += 1;
        } else {
            counts.silent += 1;
        }
    }
}

/// A refusal names the segment, and for damaged frames from which byte on, and which records are missing.
fn assert_names(error: &RecoveryError, segment: SegmentNumber, damaged: usize) {
    let text = error.to_string();
    assert!(text.contains(&segment.to_string()), "{segment} is damaged at byte {damaged}: {text}");
    match *error {
        RecoveryError::Header(..) => assert!(damaged < HEADER_USED_BYTES, "{text}, but byte {damaged} is damaged"),
        RecoveryError::Corrupt { segment: named, offset, first_lsn, last_lsn } => {
            assert_eq!(named, segment, "{text}");
            assert!((HEADER_BYTES..=damaged.max(4096) as u64).contains(&offset), "{text}, but byte {damaged} is damaged");
            assert!(first_lsn <= last_lsn, "{text}");
        }
        ref other => panic!("{segment} is damaged at byte {damaged}, and the refusal is {other:?}"),
    }
}

/// How a directory was left (policy, last operations, whether the power was cut), and what cuts and flips of it come to.
type Case = (SyncPolicy, &'static [Operation], bool, Counts, Counts);

const fn counts(refused: u32, unharmed: u32, cut_off: u32, silent: u32) -> Counts {
    Counts { refused, unharmed, cut_off, silent }
}

const OS: SyncPolicy = POLICIES[0];
const BATCH: SyncPolicy = POLICIES[1];
const ALWAYS: SyncPolicy = POLICIES[2];

/// Everything on disk was promised, and the SEAL says so: nothing but that can be missing, unless it is cut off with what it vouches for.
const CLOSED: [Case; 3] = [
    (OS, &[Close], false, counts(13607, 394, 2264, 4033), counts(62552, 24568, 0, 0)),
    (BATCH, &[Close], false, counts(13313, 216, 2966, 4531), counts(61984, 30960, 0, 0)),
    (ALWAYS, &[Close], false, counts(22339, 1142, 1422, 5571), counts(63320, 80120, 0, 0)),
];

/// Killed while it had nothing to do: a mark has claimed the last frame, and only that one can be missing.
const IDLE: [Case; 2] = [
    (BATCH, &[Wait, Idle], false, counts(13313, 1390, 3036, 4619), counts(61984, 34860, 568, 0)),
    (ALWAYS, &[Wait, Idle], false, counts(22339, 2836, 1492, 5651), counts(63320, 84532, 568, 0)),
];

/// Killed right after writes, which nothing vouches for yet.
const BUSY: [Case; 3] = [
    (OS, &[], false, counts(13607, 2750, 2264, 4033), counts(44384, 26476, 18168, 0)),
    (BATCH, &[], false, counts(13313, 1548, 2966, 4531), counts(50568, 31844, 11416, 0)),
    (ALWAYS, &[], false, counts(22339, 2986, 1422, 5571), counts(59856, 81516, 3464, 0)),
];

/// The power was cut, and has left a torn tail; then comes the damage.
const TORN: [Case; 2] = [
    (OS, &[SetBLong, SetBLong], true, counts(5658, 9047, 7949, 0), counts(13136, 30308, 31248, 0)),
    (BATCH, &[SetBLong, SetBLong], true, counts(18958, 9112, 2728, 0), counts(51336, 45820, 17600, 0)),
];

fn check(cases: &[Case]) {
    let mut found = Vec::new();
    for &(policy, end, power_lost, ..) in cases {
        let directory = directory(policy, end, power_lost);
        let case = (policy, end, power_lost, directory.cut_everywhere(), directory.flip_everywhere(false));
        println!("{case:?}");
        found.push(case);
    }
    assert_eq!(found, cases);
}

#[test]
fn an_orderly_end() {
    check(&CLOSED);
}

#[test]
fn an_idle_server_is_killed() {
    check(&IDLE);
}

#[test]
fn a_busy_server_is_killed() {
    check(&BUSY);
}

#[test]
fn a_torn_tail() {
    check(&TORN);
}

#[test]
#[ignore = "takes a minute"]
fn every_bit_of_every_zero() {
    for (policy, end, power_lost, ..) in CLOSED.into_iter().chain(IDLE).chain(BUSY).chain(TORN) {
        println!("{policy:?}, {end:?}: {:?}", directory(policy, end, power_lost).flip_everywhere(true));
    }
}
