//! Every call of storage fails once: a fixed program of four runs (rotation, expiry, MSET, an orderly end, a kill), in which the n-th operation of storage
//! fails, for every n, every error, and nothing, half or all of it having happened; and every recovery of what such programs leave, in which the n-th call fails.
//!
//! A failed reservation makes the log read-only, until there is space; any other failed operation poisons the engine, and nothing is asked of storage
//! any more. Nothing that was promised is lost, whatever the disk has kept (invariants 2, 3). The fault is gone afterwards: after a restart, where
//! the engine was poisoned, all of the program's rest is answered as the model says (invariant 10).

use std::collections::BTreeMap;

use osprey_core::engine::Engine;
use osprey_core::recovery::RecoveryError;
use osprey_core::storage::{LogFiles, SegmentNumber, StorageError};
use osprey_core::units::Millis;
use osprey_core::wal::writer::SyncPolicy;
use osprey_tests::memory_log::MemoryLog;
use osprey_tests::simulator::failure::{Check, Checked, ensure, fail};
use osprey_tests::small_scope::disk::{Extent, Fault};
use osprey_tests::small_scope::explore::{POLICIES, options};
use osprey_tests::small_scope::host::{Host, Schedule};
use osprey_tests::small_scope::judge;
use osprey_tests::small_scope::program::Operation::{
    self, Close, DelA, ExpireA, Idle, IncrA, Mset, Observe, SetA, SetAExpiring, SetBLong, Wait,
};

const BEGIN: Millis = Millis(1_000_000_000);
const ERRORS: [StorageError; 2] = [StorageError::NoSpace, StorageError::Io(Some(5))];
const EXTENTS: [Extent; 3] = [Extent::Nothing, Extent::Half, Extent::All];
const SCHEDULES: [Schedule; 2] = [Schedule::Prompt, Schedule::Late];

/// The runs of the server: all end in order but the second, which is killed. The first three fill more than a segment, and wait so long that what was refused for
/// want of space is accepted again.
const RUNS: [&[Operation]; 4] = [
    &[
        SetA,
        SetBLong,
        Mset,
        Observe,
        SetBLong,
        SetBLong,
        SetBLong,
        SetBLong,
        SetBLong,
        SetBLong,
        SetAExpiring,
        Observe,
        Wait,
        Observe,
        IncrA,
        Mset,
        Idle,
        SetBLong,
        SetBLong,
        SetBLong,
        SetBLong,
        SetBLong,
        Idle,
        DelA,
        SetA,
        Idle,
        Close,
    ],
    &[Observe, SetBLong, SetBLong, SetBLong, ExpireA, SetBLong, SetBLong, SetBLong, SetBLong, Idle, Observe, Mset, Idle, IncrA],
    &[Observe, IncrA, SetBLong, SetBLong, SetBLong, SetBLong, SetBLong, SetBLong, SetBLong, Mset, Idle, SetA, Observe, Idle, Close],
    &[Idle, Observe, SetA, Close],
];

/// What a fault came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Came {
    Poisoned,
    ReadOnly,
    /// There was none.
    Nothing,
}

/// What a program has done.
struct Ran {
    submitted: u64,
    came: Came,
    recovered: u64,
    /// What its runs leave.
    logs: Vec<MemoryLog>,
}

/// Images of the disk, if it has very many: the oldest, the newest, and some between.
fn some_images(host: &Host) -> impl Iterator<Item = MemoryLog> {
    let count = host.disk.images();
    let mut numbers = [0, count / 3, count / 2, count - 1].to_vec();
    numbers.dedup();
    numbers.into_iter().map(|number| host.disk.image(number))
}

fn run(policy: SyncPolicy, schedule: Schedule, fault: Option<Fault>) -> Checked<Ran> {
    let mut host = Host::new(options(policy), schedule, BEGIN)?;
    host.disk.fault = fault;
    let mut ran = Ran { submitted: 0, came: Came::Nothing, recovered: 0, logs: Vec::new() };
    let mut read_only = false;
    let mut look = |host: &Host| {
        read_only |= host.read_only;
        Ok(())
    };
    for (number, operations) in RUNS.iter().enumerate() {
        host.finish(&mut look)?;
        for operation in *operations {
            if host.poisoned {
                ran.came = Came::Poisoned;
                ran.recovered += end_poisoned(&mut host)?;
            }
            operation.run(&mut host, &mut look)?;
        }
        if host.poisoned {
            ran.came = Came::Poisoned;
            ran.recovered += end_poisoned(&mut host)?;
        } else if number + 1 < RUNS.len() {
            let kill = host.disk.shown();
            ran.logs.extend(some_images(&host));
            let report = host.restart(kill, false)?;
            let ended_in_order = operations.last() == Some(&Close);
            ensure(report.sealed == ended_in_order, Check::Prefix, || format!("run {number}: {report:?}"))?;
        }
    }
    if read_only {
        ran.came = Came::ReadOnly;
    }
    ensure(!host.read_only, Check::Stuck, || "still read-only, and there is space".to_owned())?;
    ran.submitted = host.disk.submitted();
    Ok(ran)
}

/// A host that goes on all the same gets nothing done; then the process dies, or the power fails as well. Returns how many logs were recovered.
fn end_poisoned(host: &mut Host) -> Checked<u64> {
    let submitted = host.disk.submitted();
    let seen = host.promised_over_kill().observed;
    for operation in [SetA, Mset, Wait, Idle, Idle, Close] {
        operation.run(host, &mut |_| Ok(()))?;
    }
    ensure(host.disk.submitted() == submitted, Check::Contract, || "a poisoned log asks storage for more".to_owned())?;
    let acknowledged = host.promised_over_kill().observed;
    ensure(acknowledged == seen, Check::Early, || "a poisoned log has acknowledged something".to_owned())?;
    let mut recovered = 0;
    let mut last = None;
    for image in some_images(host) {
        let outcome = judge::recover(host, image.clone())?;
        outcome.keeps(&host.promised_over_power_cut()).map_err(|failure| failure.at("after a power cut"))?;
        last = Some((image, outcome));
        recovered += 1;
    }
    let Some((shown, outcome)) = last else { return fail(Check::Prefix, || "no image".to_owned()) };
    outcome.keeps(&host.promised_over_kill()).map_err(|failure| failure.at("after a kill"))?;
    host.restart(shown, true)?;
    host.finish(&mut |_| Ok(()))?;
    Ok(recovered)
}

#[test]
fn every_operation_fails_once() {
    let mut came = BTreeMap::new();
    let (mut operations, mut recovered) = (0, 0);
    for policy in POLICIES {
        for schedule in SCHEDULES {
            let whole = run(policy, schedule, None).unwrap_or_else(|failure| panic!("{policy:?}, {schedule:?}: {failure}"));
            assert_eq!(whole.came, Came::Nothing);
            operations += whole.submitted;
            for after in 0..whole.submitted {
                for error in ERRORS {
                    for extent in EXTENTS {
                        let fault = Fault { after, error, extent };
                        let ran = run(policy, schedule, Some(fault))
                            .unwrap_or_else(|failure| panic!("{policy:?}, {schedule:?}, {fault:?}: {failure}"));
                        *came.entry(ran.came).or_insert(0_u64) += 1;
                        recovered += ran.recovered;
                    }
                }
            }
        }
    }
    println!("{operations} operations, each fails in 6 ways: {came:?}; {recovered} logs recovered");
    assert_eq!((operations, recovered), (498, 5766));
    assert_eq!(came, BTreeMap::from([(Came::Poisoned, 2526), (Came::ReadOnly, 462)]));
}

/// A call of recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Call {
    List,
    Read,
    Truncate,
    Remove,
    Sync,
}

/// A log of which the n-th call fails.
#[derive(Clone)]
struct Failing {
    log: MemoryLog,
    left: u64,
    error: StorageError,
    /// The change is made, and the error comes all the same.
    all: bool,
    struck: Option<Call>,
}

impl Failing {
    fn call<T>(&mut self, call: Call, log: impl FnOnce(&mut MemoryLog) -> Result<T, StorageError>) -> Result<T, StorageError> {
        assert_eq!(self.struck, None, "another call, though one has failed");
        if self.left > 0 {
            self.left -= 1;
            return log(&mut self.log);
        }
        self.struck = Some(call);
        if self.all {
            log(&mut self.log)?;
        }
        Err(self.error)
    }
}

impl LogFiles for Failing {
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
        self.call(Call::List, MemoryLog::segments)
    }

    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        self.call(Call::Read, |log| log.read(segment, offset, buffer))
    }

    fn truncate(&mut self, segment: SegmentNumber, length: u64) -> Result<(), StorageError> {
        self.call(Call::Truncate, |log| log.truncate(segment, length))
    }

    fn remove(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.call(Call::Remove, |log| log.remove(segment))
    }

    fn sync(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.call(Call::Sync, |log| log.sync(segment))
    }
}

/// What a recovery has come to, and the log then.
fn facts(policy: SyncPolicy, mut log: MemoryLog) -> (String, MemoryLog) {
    let (engine, _) = Engine::recover(options(policy), &mut log, BEGIN).unwrap_or_else(|error| panic!("only crashes: {error}"));
    let mut entries = Vec::new();
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        cursor = engine.store().walk(at, |record| entries.push(format!("{record:?}")));
    }
    entries.sort();
    (format!("{:?} {:?} {:?} {entries:?}", engine.last_lsn(), engine.now(), engine.store().floor()), log)
}

/// A recovery that fails says what storage has said, and has changed nothing that the next one doesn't do the same way.
#[test]
fn every_call_of_recovery_fails_once() {
    let mut struck = BTreeMap::new();
    for policy in POLICIES {
        for schedule in SCHEDULES {
            for log in logs(policy, schedule) {
                let expected = facts(policy, log.clone());
                for (error, all) in [(ERRORS[0], false), (ERRORS[1], false), (ERRORS[0], true), (ERRORS[1], true)] {
                    for left in 0.. {
                        let mut failing = Failing { log: log.clone(), left, error, all, struck: None };
                        let result = Engine::recover(options(policy), &mut failing, BEGIN);
                        let Some(call) = failing.struck else { break };
                        *struck.entry(call).or_insert(0_u64) += 1;
                        let said = result.expect_err("a call has failed");
                        assert!(matches!(said, RecoveryError::Storage(_, given) if given == error), "{call:?}: {said}");
                        assert!(
                            matches!(call, Call::Truncate | Call::Remove | Call::Sync) || failing.log == log,
                            "{call:?} fails, and the log has changed"
                        );
                        assert!(facts(policy, failing.log) == expected, "{call:?} has failed, and the next recovery gives something else");
                    }
                }
            }
        }
    }
    println!("{struck:?}");
    let expected = [(Call::List, 1776), (Call::Read, 8376), (Call::Truncate, 1580), (Call::Remove, 136), (Call::Sync, 3732)];
    assert_eq!(struck, BTreeMap::from(expected));
}

/// What programs leave: between their runs, and wherever the power is cut in the first one.
fn logs(policy: SyncPolicy, schedule: Schedule) -> Vec<MemoryLog> {
    let mut logs = run(policy, schedule, None).expect("no fault").logs;
    let mut host = Host::new(options(policy), schedule, BEGIN).expect("an empty disk");
    for operation in RUNS[0] {
        let mut add = |host: &Host| {
            logs.extend(some_images(host));
            Ok(())
        };
        operation.run(&mut host, &mut add).expect("no fault");
    }
    logs.sort_by(|a, b| a.0.cmp(&b.0));
    logs.dedup();
    logs
}
