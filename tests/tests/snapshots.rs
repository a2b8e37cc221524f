//! Snapshots: what they hold, when they are published, what goes and what stays (invariants 2, 5, 6, 7, 9).
#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use osprey_core::engine::{Options, Retention, SnapshotFailure, SnapshotOptions};
use osprey_core::recovery::RecoveryError;
use osprey_core::storage::{SegmentNumber, SnapshotName, StorageError};
use osprey_core::units::Lsn;
use osprey_core::wal::writer::SyncPolicy;
use osprey_tests::machine::{ClientId, Machine, small_options};
use osprey_tests::memory_storage::{Disk, MemoryStorage, Work};

fn options(policy: SyncPolicy) -> Options {
    let snapshots = SnapshotOptions { automatic: false, ..SnapshotOptions::default() };
    Options { snapshots: Some(snapshots), ..small_options(policy) }
}

fn automatic(log_bytes_max: u64) -> Options {
    let snapshots = SnapshotOptions { automatic: true, log_bytes_max, stored_percent_max: 0, ..SnapshotOptions::default() };
    Options { snapshots: Some(snapshots), ..small_options(SyncPolicy::Always) }
}

fn set_all(machine: &mut Machine, client: ClientId, keys: std::ops::Range<u32>, value: &str) {
    for key in keys {
        let reply = machine.ask(client, &format!("SET key{key} {}\r\n{value}", value.len()));
        assert!(reply.starts_with("OK"), "{reply}");
    }
}

fn snapshots(machine: &Machine) -> Vec<String> {
    machine.storage.disk.snapshots().map(|(name, _)| name.to_string()).collect()
}

fn segments(disk: &Disk) -> Vec<u64> {
    disk.segments().map(|(number, _)| number.0).collect()
}

/// Recovers what a power cut leaves, and holds it against what the machine has.
fn assert_recovers(machine: &Machine) -> osprey_core::recovery::Report {
    let (recovered, report) = Machine::recover(options(SyncPolicy::Always), machine.storage.disk.after_power_cut(), machine.now).unwrap();
    assert_eq!(recovered.state(), machine.state());
    assert_eq!(recovered.engine.store().floor(), machine.engine.store().floor());
    report
}

#[test]
fn a_snapshot_takes_the_place_of_the_log_before_it() {
    let mut machine = Machine::new(options(SyncPolicy::Always));
    let client = machine.connect();
    set_all(&mut machine, client, 0..300, "one");
    assert_eq!(machine.ask(client, "SNAPSHOT"), "OK");
    assert_eq!(snapshots(&machine), ["snap-00000300-00000300.osnap"]);
    set_all(&mut machine, client, 200..400, "two");
    machine.ask(client, "DEL key7\r\nPERSIST key8\r\nEXPIRE key9 60000");
    let report = assert_recovers(&machine);
    assert_eq!((report.snapshot.unwrap().1, report.records), (300, 202));

    let first = segments(&machine.storage.disk)[0];
    assert_eq!(first, 1, "the log from its beginning is the spare generation");
    assert_eq!(machine.ask(client, "SNAPSHOT"), "OK");
    assert_eq!(snapshots(&machine).len(), 2);
    assert!(segments(&machine.storage.disk)[0] > 1, "the first snapshot is, with the log behind it");
    set_all(&mut machine, client, 0..10, "three");
    assert_eq!(machine.ask(client, "SNAPSHOT"), "OK");
    assert_eq!(snapshots(&machine).len(), 2, "two generations, and no more");
    assert_eq!(assert_recovers(&machine).records, 0);
    assert_eq!(machine.ask(client, "SNAPSHOT"), "OK", "nothing has changed");
    assert_eq!(snapshots(&machine).len(), 2);
}

#[test]
fn writes_go_on_while_it_is_taken() {
    let mut machine = Machine::new(options(SyncPolicy::Always));
    let (client, asking) = (machine.connect(), machine.connect());
    set_all(&mut machine, client, 0..3000, "as it was");
    machine.hold_walk = true;
    assert_eq!(machine.ask(asking, "SNAPSHOT"), "", "it is not there yet");
    assert_eq!(machine.ask(asking, "PING"), "", "and replies keep their order");
    // Keys in places that the walk has been to, and in places that it hasn't; tables split meanwhile.
    for round in 0..60 {
        if round % 10 == 0 {
            machine.slice(2);
        }
        set_all(&mut machine, client, round * 90..round * 90 + 130, "changed");
        machine.ask(client, &format!("DEL key{}\r\nSET lock 1\r\n1\r\nDEL lock\r\nINCR n", round * 50 + 7));
    }
    assert_eq!(machine.replies(asking), "");
    machine.hold_walk = false;
    machine.settle();
    assert_eq!(machine.replies(asking), "OK\nPONG");
    let (name, entries) = assert_recovers(&machine).snapshot.unwrap();
    assert!(name.begin == Lsn(3000) && name.end > Lsn(6000), "{name}");
    assert!(entries > 3000);
}

#[test]
fn a_snapshot_can_be_asked_for_again_and_again() {
    let mut machine = Machine::new(options(SyncPolicy::Always));
    let [first, second, writer] = [machine.connect(), machine.connect(), machine.connect()];
    set_all(&mut machine, writer, 0..100, "v");
    machine.hold_walk = true;
    machine.ask(first, "SNAPSHOT");
    set_all(&mut machine, writer, 0..1, "w");
    machine.ask(second, "SNAPSHOT");
    machine.hold_walk = false;
    machine.settle();
    assert_eq!((machine.replies(first), machine.replies(second)), ("OK".into(), "OK".into()));
    assert_eq!(snapshots(&machine), ["snap-00000100-00000101.osnap"], "the second joins the first: it holds all that was before it");

    // With the walk over, what has been written since is in the next one only.
    machine.storage.hold(Work::Snapshot);
    set_all(&mut machine, writer, 0..1, "x");
    machine.ask(first, "SNAPSHOT");
    machine.storage.release(Work::Snapshot);
    machine.settle();
    assert_eq!(machine.replies(first), "OK");
    assert_eq!(snapshots(&machine).len(), 2);
}

#[test]
fn it_is_published_only_when_the_log_is_durable_as_far_as_it_reaches() {
    let mut machine = Machine::new(options(SyncPolicy::Os));
    let client = machine.connect();
    set_all(&mut machine, client, 0..50, "v");
    machine.storage.hold(Work::Sync);
    assert_eq!(machine.ask(client, "SNAPSHOT"), "");
    assert_eq!(machine.storage.held(Work::Sync), 1, "nothing else would sync it");
    assert!(snapshots(&machine).is_empty());
    machine.storage.release(Work::Sync);
    machine.settle();
    assert_eq!(machine.replies(client), "OK");
    assert_recovers(&machine);
}

#[test]
fn a_walk_through_large_values_takes_small_steps() {
    let mut options = options(SyncPolicy::Always);
    options.limits.request.value_bytes_max = 100_000;
    let mut machine = Machine::new(options);
    let client = machine.connect();
    let large = "x".repeat(50_000);
    set_all(&mut machine, client, 0..100, &large);
    machine.hold_walk = true;
    machine.ask(client, "SNAPSHOT");
    let mut steps = 0;
    while machine.engine.wants_snapshot_slice() {
        machine.slice(2);
        steps += 1;
    }
    assert_eq!(steps, 100, "one value each");
    assert_eq!(machine.replies(client), "OK");
    let (recovered, _) = Machine::recover(options, machine.storage.disk.after_power_cut(), machine.now).unwrap();
    assert_eq!(recovered.state(), machine.state());
}

#[test]
fn what_is_gone_does_not_come_back() {
    // Invariants 5 and 6: deleted before, while and after; expired and swept while it is taken.
    let mut machine = Machine::new(options(SyncPolicy::Always));
    let client = machine.connect();
    set_all(&mut machine, client, 0..2000, "v");
    machine.ask(client, "SET swept 1 EX 100\r\n1\r\nSET swept 1 EX 100\r\n2\r\nSET swept 1 EX 100\r\n3\r\nDEL key0");
    machine.hold_walk = true;
    machine.ask(client, "SNAPSHOT");
    machine.slice(5);
    for key in 1..200 {
        let another = machine.connect();
        machine.ask(another, &format!("DEL key{}", key * 7));
    }
    machine.advance(1000);
    machine.hold_walk = false;
    machine.settle();
    assert_recovers(&machine);
    // All of the log before it is out of reach: the floor is the snapshot's.
    let mut disk = machine.storage.disk.after_power_cut();
    for _ in 0..2 {
        let (mut later, _) = Machine::recover(options(SyncPolicy::Always), disk, machine.now).unwrap();
        let client = later.connect();
        assert_eq!(later.ask(client, "GET swept\r\nGET key0\r\nGET key7"), "NOT_FOUND\nNOT_FOUND\nNOT_FOUND");
        later.ask(client, "SET other 1\r\n1\r\nSNAPSHOT");
        disk = later.storage.disk.after_power_cut();
    }
    let (mut later, _) = Machine::recover(options(SyncPolicy::Always), disk, machine.now).unwrap();
    let client = later.connect();
    assert_eq!(later.ask(client, "SET swept 1\r\n1"), "OK 4");
}

/// A disk with two generations, and log before the older, between both and behind the newer.
fn two_generations() -> (Disk, Machine) {
    let mut machine = Machine::new(options(SyncPolicy::Always));
    let client = machine.connect();
    for (round, value) in ["one", "two", "three"].iter().enumerate() {
        let begin = u32::try_from(round).unwrap() * 5;
        set_all(&mut machine, client, begin..begin + 12, value);
        if round < 2 {
            assert_eq!(machine.ask(client, "SNAPSHOT"), "OK");
        }
    }
    (machine.storage.disk.after_power_cut(), machine)
}

#[test]
fn every_bit_of_a_snapshot_that_is_another_leads_to_the_older_generation() {
    let (disk, machine) = two_generations();
    let (newest, bytes) = disk.snapshots().last().map(|(name, bytes)| (name, bytes.len())).unwrap();
    for bit in 0..8 * bytes {
        let damaged = disk.with_snapshot(newest, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let (recovered, report) = Machine::recover(options(SyncPolicy::Always), damaged, machine.now).unwrap();
        assert_eq!(report.unusable.map(|(name, _)| name), Some(newest), "bit {bit}");
        assert!(report.snapshot.is_some_and(|(name, _)| name < newest));
        assert_eq!(recovered.state(), machine.state(), "bit {bit}");
        assert_eq!(recovered.engine.store().floor(), machine.engine.store().floor());
    }
    for len in 0..bytes {
        let damaged = disk.with_snapshot(newest, |bytes| bytes.truncate(len));
        let (recovered, _) = Machine::recover(options(SyncPolicy::Always), damaged, machine.now).unwrap();
        assert_eq!(recovered.state(), machine.state(), "cut to {len}");
    }
}

#[test]
fn every_bit_of_the_log_that_is_another_is_refused_or_makes_no_difference() {
    let (disk, machine) = two_generations();
    let lengths: Vec<(SegmentNumber, usize)> = disk.segments().map(|(number, bytes)| (number, bytes.len())).collect();
    let mut refused = 0;
    for (number, length) in lengths {
        for bit in (0..8 * length).filter(|bit| bit / 8 < 96 || bit / 8 >= 4096) {
            let damaged = disk.with(number, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            match Machine::recover(options(SyncPolicy::Always), damaged, machine.now) {
                Err(error) => {
                    assert!(
                        matches!(error, RecoveryError::Corrupt { .. } | RecoveryError::Header(..) | RecoveryError::Misnamed { .. }),
                        "{error}"
                    );
                    refused += 1;
                }
                Ok((recovered, report)) => {
                    // Behind every claim damage looks like a torn tail; a snapshot's S1 is such a claim.
                    let newest = disk.snapshots().last().unwrap().0;
                    assert!(recovered.engine.last_lsn() >= newest.end);
                    if report.torn.is_none() {
                        assert_eq!(recovered.state(), machine.state(), "{number}, bit {bit}");
                    }
                }
            }
        }
    }
    assert!(refused > 1000, "{refused}");
}

/// The segment that a recovery begins with is empty, and the SEAL before it lost, which nobody reads then: the runs that follow must leave what an older
/// generation needs to come past that place.
#[test]
fn a_seal_that_is_lost_before_where_recovery_begins_costs_nothing() {
    let mut machine = Machine::new(options(SyncPolicy::Os));
    let client = machine.connect();
    let mut before = machine.state();
    for key in 0.. {
        set_all(&mut machine, client, key..key + 1, &"v".repeat(1000));
        if segments(&machine.storage.disk).len() > 1 {
            break;
        }
        before = machine.state();
        assert_eq!(machine.ask(client, "SNAPSHOT"), "OK");
    }
    let now = machine.now;
    let disk = machine.kill();
    let sealed = disk.segments().next().map(|(_, bytes)| bytes.len()).unwrap();
    let mut disk = disk.cut(SegmentNumber(1), sealed - 64).cut(SegmentNumber(2), 4096);
    let names: Vec<SnapshotName> = disk.snapshots().map(|(name, _)| name).collect();
    for start in 0..5 {
        let (machine, report) = Machine::recover(options(SyncPolicy::Os), disk, now).unwrap();
        assert_eq!((report.segments, report.snapshot.map(|(name, _)| name)), (1, Some(names[1])), "the earlier segment isn't read");
        assert_eq!(machine.state(), before);
        disk = machine.kill();
        assert!(segments(&disk).len() <= 3, "start {start}");
        for damaged in 0..=names.len() {
            let disk = names.iter().rev().take(damaged).fold(disk.clone(), |disk, &name| disk.with_snapshot(name, |bytes| bytes[60] ^= 1));
            let (recovered, report) = Machine::recover(options(SyncPolicy::Os), disk, now).unwrap();
            assert_eq!(report.snapshot.map(|(name, _)| name), names.iter().rev().nth(damaged).copied());
            assert_eq!(recovered.state(), before, "start {start}, {damaged} snapshots are damaged");
        }
    }
}

#[test]
fn without_a_generation_that_is_whole_the_server_does_not_start() {
    let (disk, machine) = two_generations();
    let names: Vec<SnapshotName> = disk.snapshots().map(|(name, _)| name).collect();
    let mut damaged = disk.clone();
    for &name in &names {
        damaged = damaged.with_snapshot(name, |bytes| *bytes.last_mut().unwrap() ^= 1);
    }
    // Both damaged: the log from its beginning serves, while it is there.
    let (recovered, _) = Machine::recover(options(SyncPolicy::Always), damaged.clone(), machine.now).unwrap();
    assert_eq!(recovered.state(), machine.state());
    // With the log's beginning gone nothing does.
    let mut machine = machine;
    let client = machine.connect();
    for _ in 0..3 {
        set_all(&mut machine, client, 0..300, "more");
        assert_eq!(machine.ask(client, "SNAPSHOT"), "OK");
    }
    let mut damaged = machine.storage.disk.after_power_cut();
    let names: Vec<SnapshotName> = damaged.snapshots().map(|(name, _)| name).collect();
    assert!(segments(&damaged)[0] > 1);
    for &name in &names {
        damaged = damaged.with_snapshot(name, |bytes| bytes[60] ^= 1);
    }
    let error = Machine::recover(options(SyncPolicy::Always), damaged, machine.now).unwrap_err();
    assert!(matches!(error, RecoveryError::Snapshot(name, _) if name == *names.last().unwrap()), "{error}");
    // Neither does it when the snapshots are gone without a trace.
    let mut gone = machine.storage.disk.after_power_cut();
    for &name in &names {
        gone = gone.without_snapshot(name);
    }
    let error = Machine::recover(options(SyncPolicy::Always), gone, machine.now).unwrap_err();
    assert!(matches!(error, RecoveryError::Missing(_)), "{error}");
}

#[test]
fn a_log_that_ends_before_the_snapshot_does_is_refused() {
    let (disk, machine) = two_generations();
    let (last, length) = disk.last();
    let mut cut_short = 0;
    for len in 4096..length {
        match Machine::recover(options(SyncPolicy::Always), disk.cut(last, len), machine.now) {
            Ok((recovered, _)) => {
                let (newest, _) = disk.snapshots().last().unwrap();
                assert!(recovered.engine.last_lsn() >= newest.end, "cut to {len}");
            }
            Err(error) => {
                assert!(matches!(error, RecoveryError::Corrupt { .. }), "{error}");
                cut_short += 1;
            }
        }
    }
    assert!(cut_short > 0);
}

#[test]
fn a_failure_gives_up_the_snapshot_and_nothing_else() {
    for (error, code) in [(StorageError::NoSpace, "ERR READONLY"), (StorageError::Io(Some(5)), "ERR INTERNAL")] {
        let mut machine = Machine::new(options(SyncPolicy::Always));
        let client = machine.connect();
        set_all(&mut machine, client, 0..100, "v");
        assert_eq!(machine.ask(client, "SNAPSHOT"), "OK");
        set_all(&mut machine, client, 0..100, "w");
        machine.storage.failing = Some((Work::Snapshot, error));
        let reply = machine.ask(client, "SNAPSHOT");
        assert!(reply.starts_with(code), "{reply}");
        assert!(machine.ask(client, "STATS").contains("snapshot_last_error=the snapshot was given up"));
        set_all(&mut machine, client, 0..100, "x");
        assert_eq!(snapshots(&machine).len(), 1, "the old one stays");
        assert_recovers(&machine);
        machine.storage.failing = None;
        assert_eq!(machine.ask(client, "SNAPSHOT"), "OK");
        assert!(machine.ask(client, "STATS").contains("snapshot_last_error=none"));
        assert_recovers(&machine);
    }
}

#[test]
fn automatic_ones_keep_the_log_short_and_wait_after_a_failure() {
    let mut machine = Machine::new(automatic(20_000));
    let client = machine.connect();
    let value = "v".repeat(500);
    for _ in 0..20 {
        set_all(&mut machine, client, 0..20, &value);
        machine.advance(10);
    }
    let log: usize = machine.storage.disk.segments().map(|(_, bytes)| bytes.len()).sum();
    assert!(log < 80_000, "{log} bytes of log for 200000 written");
    assert_eq!(snapshots(&machine).len(), 2);
    assert_recovers(&machine);

    machine.storage.failing = Some((Work::Snapshot, StorageError::NoSpace));
    let tries = |machine: &mut Machine, ms| {
        let before = machine.storage.submitted(Work::Snapshot);
        machine.advance(ms);
        machine.storage.submitted(Work::Snapshot) - before
    };
    set_all(&mut machine, client, 0..20, &value);
    set_all(&mut machine, client, 0..20, &value);
    set_all(&mut machine, client, 0..20, &value);
    assert!(tries(&mut machine, 10) > 0);
    assert_eq!(tries(&mut machine, 50_000), 0, "not before a minute");
    assert!(tries(&mut machine, 20_000) > 0);
    assert_eq!(tries(&mut machine, 100_000), 0, "not before two more");
    machine.storage.failing = None;
    assert!(tries(&mut machine, 30_000) > 2);
    assert_recovers(&machine);
}

#[test]
fn its_bandwidth_is_bounded() {
    let mut options = options(SyncPolicy::Always);
    options.snapshots = Some(SnapshotOptions { automatic: false, bandwidth_max: 1 << 20, ..SnapshotOptions::default() });
    let mut machine = Machine::new(options);
    let client = machine.connect();
    let value = "v".repeat(2000);
    set_all(&mut machine, client, 0..2000, &value);
    machine.ask(client, "SNAPSHOT");
    machine.advance(3000);
    assert_eq!(machine.replies(client), "", "4 MB at 1 MiB a second");
    machine.advance(1500);
    assert_eq!(machine.replies(client), "OK");
}

#[test]
fn what_is_to_be_restorable_is_kept() {
    let mut options = options(SyncPolicy::Always);
    let retention = Retention { keep_ms: 10_000, keep_bytes: 0 };
    options.snapshots = Some(SnapshotOptions { automatic: false, retention, ..SnapshotOptions::default() });
    let mut machine = Machine::new(options);
    let client = machine.connect();
    let value = "v".repeat(1000);
    for _ in 0..20 {
        set_all(&mut machine, client, 0..30, &value);
        assert_eq!(machine.ask(client, "SNAPSHOT"), "OK");
        machine.advance(1000);
    }
    let kept = snapshots(&machine).len();
    assert!((10..=13).contains(&kept), "{kept} snapshots for ten seconds");
    assert!(segments(&machine.storage.disk)[0] > 10);
    assert_recovers(&machine);
}

#[test]
fn one_that_is_damaged_on_its_way_is_not_kept() {
    let mut machine = Machine::new(options(SyncPolicy::Always));
    let client = machine.connect();
    set_all(&mut machine, client, 0..100, "v");
    // Between publication and reading back.
    machine.storage.hold(Work::Snapshot);
    machine.ask(client, "SNAPSHOT");
    while machine.storage.disk.snapshots().next().is_none() {
        machine.storage.release(Work::Snapshot);
        machine.storage.hold(Work::Snapshot);
        machine.settle();
    }
    let (name, _) = machine.storage.disk.snapshots().next().unwrap();
    machine.storage.disk = machine.storage.disk.with_snapshot(name, |bytes| bytes[100] ^= 4);
    machine.storage.release(Work::Snapshot);
    machine.settle();
    let reply = machine.replies(client);
    assert!(reply.starts_with("ERR INTERNAL the snapshot was given up, since reading it back showed that it is damaged"), "{reply}");
    assert!(snapshots(&machine).is_empty());
}

/// A second one of the same name would take the place of the first, and count as its spare generation: the one that there was would be removed.
#[test]
fn what_was_asked_for_while_the_same_was_published_is_there_already() {
    let (disk, machine) = two_generations();
    let (mut machine, _) = Machine::recover(options(SyncPolicy::Always), disk, machine.now).unwrap();
    let [first, second] = [machine.connect(), machine.connect()];
    machine.storage.hold(Work::Snapshot);
    machine.ask(first, "SNAPSHOT");
    while snapshots(&machine).len() < 3 {
        machine.storage.release(Work::Snapshot);
        machine.storage.hold(Work::Snapshot);
        machine.settle();
    }
    // Published, and not yet read back: nobody knows whether it is whole.
    assert_eq!(machine.ask(second, "SNAPSHOT"), "");
    machine.storage.release(Work::Snapshot);
    machine.settle();
    assert_eq!((machine.replies(first), machine.replies(second)), ("OK".into(), "OK".into()));
    let names: Vec<SnapshotName> = machine.storage.disk.snapshots().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    machine.storage.disk = machine.storage.disk.with_snapshot(names[1], |bytes| bytes[100] ^= 1);
    assert_eq!(assert_recovers(&machine).snapshot.map(|(name, _)| name), Some(names[0]));
}

/// It has the same name if nothing was written since. What is known of the one that was damaged isn't true of this one.
#[test]
fn one_that_takes_the_place_of_a_damaged_one_stays() {
    let (disk, machine) = two_generations();
    let (mut machine, _) = Machine::recover(options(SyncPolicy::Always), disk, machine.now).unwrap();
    let client = machine.connect();
    assert_eq!(machine.ask(client, "SNAPSHOT"), "OK");
    let (newest, _) = machine.storage.disk.snapshots().last().unwrap();
    let damaged = machine.storage.disk.after_power_cut().with_snapshot(newest, |bytes| bytes[100] ^= 1);
    let (mut machine, report) = Machine::recover(options(SyncPolicy::Always), damaged, machine.now).unwrap();
    assert_eq!(report.unusable.map(|(name, _)| name), Some(newest));
    let client = machine.connect();
    assert_eq!(machine.ask(client, "SNAPSHOT"), "OK");
    let report = assert_recovers(&machine);
    assert_eq!((report.snapshot.map(|(name, _)| name), report.unusable), (Some(newest), None));
}

#[test]
fn a_server_that_stops_tells_who_waits() {
    let mut machine = Machine::new(options(SyncPolicy::Always));
    let client = machine.connect();
    set_all(&mut machine, client, 0..100, "v");
    machine.hold_walk = true;
    machine.ask(client, "SNAPSHOT");
    machine.engine.stop_snapshots();
    machine.settle();
    assert!(machine.replies(client).starts_with("ERR INTERNAL the snapshot was given up: the server is stopping"));
    assert!(MemoryStorage::new(machine.storage.disk.after_power_cut()).disk.snapshots().next().is_none());
}

/// Log and snapshots should take two and a half times what a snapshot takes.
fn bounded_options(segment_bytes: u64) -> Options {
    let snapshots = SnapshotOptions { log_bytes_max: 0, ..SnapshotOptions::default() };
    let options = small_options(SyncPolicy::Batch { delay_ms: 5, bytes: 4096 });
    Options { snapshots: Some(snapshots), segment_bytes, ..options }
}

/// A machine with these options and 1200 keys.
fn bounded(segment_bytes: u64, value_bytes: usize) -> (Machine, ClientId) {
    let mut machine = Machine::new(bounded_options(segment_bytes));
    let client = machine.connect();
    set_all(&mut machine, client, 0..1200, &"v".repeat(value_bytes));
    machine.advance(100);
    (machine, client)
}

/// Twenty times as much is written as there is, a little at a time, as over a day. Counted is all that the directory takes: what is reserved, what is not cut yet, a snapshot that is being written.
#[test]
fn log_and_snapshots_stay_below_three_times_the_data() {
    // The data takes 28 segments, 10, or 7; in the second case slots are a seventh larger than what is in them.
    for (segment_bytes, value_bytes) in [(64 << 10, 1480), (128 << 10, 1000), (128 << 10, 700)] {
        let (mut machine, client) = bounded(segment_bytes, value_bytes);
        // Keys and values.
        let live: usize = machine.state().iter().map(|(key, (value, ..))| key.len() + value.len()).sum();
        let (mut most, mut two_generations, mut turns) = (0, 0, 0);
        for round in 0..20_u32 {
            for step in 0..40 {
                // A snapshot's walk takes its time, while others write.
                machine.hold_walk = true;
                let begin = (round * 7 + step * 30) % 1170;
                set_all(&mut machine, client, begin..begin + 30, &"w".repeat(value_bytes + round as usize));
                for _ in 0..4 {
                    if machine.engine.wants_snapshot_slice() {
                        machine.slice(40);
                    }
                }
                machine.advance(3);
                most = most.max(machine.storage.allocated_bytes());
                turns += 1;
                two_generations += usize::from(machine.storage.disk.snapshots().count() > 1);
            }
        }
        let snapshots = machine.storage.submitted(Work::Snapshot);
        assert!(snapshots > 500, "{snapshots} operations");
        let percent = 100 * most / live as u64;
        assert!(percent < 300, "{most} bytes for {live}: {percent} percent, with segments of {segment_bytes} and values of {value_bytes}");
        assert!(5 * two_generations > turns, "an older generation was there in {two_generations} of {turns} looks");
        machine.hold_walk = false;
        machine.settle();
        let (recovered, _) = Machine::recover(options(SyncPolicy::Always), machine.storage.disk.clone(), machine.now).unwrap();
        assert_eq!(recovered.state(), machine.state());
    }
}

/// One that is damaged is no generation. Until there is another one it is tried again, after a pause, however little log there is.
#[test]
fn one_in_the_place_of_a_damaged_one_is_tried_again() {
    let (mut machine, client) = bounded(64 << 10, 1500);
    for _ in 0..2 {
        set_all(&mut machine, client, 0..20, "x");
        assert_eq!(machine.ask(client, "SNAPSHOT"), "OK");
    }
    set_all(&mut machine, client, 0..20, "y");
    let (newest, _) = machine.storage.disk.snapshots().last().unwrap();
    machine.storage.disk = machine.storage.disk.with_snapshot(newest, |bytes| bytes[1000] ^= 1);
    machine.hold_walk = true;
    machine.ask(client, "SNAPSHOT");
    assert!(machine.engine.taking_snapshot(), "the damage was found, and another was begun");
    let damaged = machine.storage.disk.after_power_cut();
    machine.storage.failing = Some((Work::Snapshot, StorageError::NoSpace));
    machine.hold_walk = false;
    machine.settle();
    assert!(machine.replies(client).starts_with("ERR READONLY"));
    let before = snapshots(&machine);
    let submitted = machine.storage.submitted(Work::Snapshot);
    machine.advance(59_000);
    assert_eq!(machine.storage.submitted(Work::Snapshot), submitted, "not before a minute");
    machine.advance(2000);
    assert!(machine.storage.submitted(Work::Snapshot) > submitted, "it was tried again, and has failed again");
    machine.storage.failing = None;
    machine.advance(115_000);
    assert_eq!(snapshots(&machine), before, "not before two more");
    machine.advance(10_000);
    assert!(!snapshots(&machine).contains(&newest.to_string()));
    assert_eq!(machine.engine.newest_snapshot().map(|name| name.end), Some(machine.engine.last_lsn()));

    // Where a start has found the damage, too.
    let (mut machine, report) = Machine::recover(bounded_options(64 << 10), damaged, machine.now).unwrap();
    assert_eq!(report.unusable.map(|(name, _)| name), Some(newest));
    assert!(machine.engine.newest_snapshot().unwrap() < newest);
    machine.advance(10);
    assert!(machine.engine.newest_snapshot().unwrap() >= newest);
}

/// Whoever waits may ask late, when others have been taken or have failed.
#[test]
fn who_waits_hears_of_its_own() {
    let mut machine = Machine::new(options(SyncPolicy::Always));
    let client = machine.connect();
    let mut waiting = Vec::new();
    for round in 0..12_u32 {
        set_all(&mut machine, client, round..round + 1, "v");
        let failing = (round % 3 != 1).then_some((Work::Snapshot, StorageError::Io(Some(round as i32))));
        machine.storage.failing = failing;
        let expected = failing.map_or(Ok(()), |(_, error)| Err(SnapshotFailure::Storage(error)));
        waiting.push((machine.engine.request_snapshot().unwrap().unwrap(), expected));
        machine.settle();
        for &(ticket, expected) in waiting.iter().rev().take(8) {
            assert_eq!(machine.engine.snapshot_outcome(ticket), Some(expected), "{ticket:?} after {round}");
        }
    }
    // Of those before it is still known whether there was one later, which has what they should have had.
    let &(first, _) = waiting.first().unwrap();
    assert_eq!(machine.engine.snapshot_outcome(first), Some(Ok(())));
}

/// The older generation goes only when the newest has been seen to be whole once more; else it stays, is said, and another snapshot is taken.
#[test]
fn the_older_generation_is_not_given_up_for_one_that_is_damaged() {
    for damaged in [false, true] {
        let (mut machine, client) = bounded(64 << 10, 1500);
        for _ in 0..2 {
            set_all(&mut machine, client, 0..20, "x");
            assert_eq!(machine.ask(client, "SNAPSHOT"), "OK");
        }
        set_all(&mut machine, client, 0..20, "y");
        let before = snapshots(&machine);
        let (newest, _) = machine.storage.disk.snapshots().last().unwrap();
        assert_eq!(before.len(), 2);
        if damaged {
            machine.storage.disk = machine.storage.disk.with_snapshot(newest, |bytes| bytes[1000] ^= 1);
        }
        machine.hold_walk = true;
        assert_eq!(machine.ask(client, "SNAPSHOT"), "");
        if damaged {
            assert_eq!(snapshots(&machine), before);
            let error = format!("snapshot_last_error={newest}, which was whole, is damaged now");
            let other = machine.connect();
            assert!(machine.ask(other, "STATS").contains(&error));
        } else {
            assert_eq!(snapshots(&machine), [newest.to_string()]);
        }
        let after_cut = machine.storage.disk.after_power_cut();
        let (recovered, _) = Machine::recover(options(SyncPolicy::Always), after_cut, machine.now).unwrap();
        assert!(recovered.engine.last_lsn() >= newest.end);
        machine.hold_walk = false;
        machine.settle();
        assert_eq!(machine.replies(client), "OK");
        assert_eq!(snapshots(&machine).len(), 2, "{:?}", snapshots(&machine));
        assert_eq!(snapshots(&machine).contains(&newest.to_string()), !damaged);
        let (recovered, _) = Machine::recover(options(SyncPolicy::Always), machine.storage.disk.clone(), machine.now).unwrap();
        assert_eq!(recovered.state(), machine.state());
    }
}
