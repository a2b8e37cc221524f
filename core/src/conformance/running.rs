//! An engine that runs on the storage, is killed again and again, and must have what it has acknowledged.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::driver::{Driver, broken};
use super::{Rule, Subject, Violation};
use crate::engine::{Engine, Entropy, Next, Options, Session, SnapshotOptions};
use crate::storage::StorageOp;
use crate::units::Millis;
use crate::wal::segment::DatabaseId;
use crate::wal::writer::SyncPolicy;

/// How often it is started.
const RUNS: u64 = 6;

/// Keys that each run writes: enough for several segments.
const KEYS: u64 = 40;

pub(super) fn check(driver: &mut Driver<'_, impl Subject>) -> Result<(), Violation> {
    driver.renew();
    for run in 0..RUNS {
        let mut engine = recover(driver, run)?;
        let mut session = Session::new();
        drive(driver, &mut engine)?;
        expect_all(driver, &mut engine, &mut session, run)?;
        for key in 0..KEYS {
            let value = "v".repeat(usize::try_from(key * 53 % 900).unwrap_or(0));
            ask(driver, &mut engine, &mut session, &format!("SET {run}.{key} {}\r\n{value}\r\nINCR runs.{key}\r\n", value.len()))?;
            if key == KEYS / 2
                && driver.snapshots()
                && let Err(failure) = engine.request_snapshot()
            {
                return broken(Rule::EngineRecovers, format!("it takes no snapshot in run {run}: {failure}"));
            }
        }
        // Twice in order, else without notice.
        if run % 3 == 1 {
            engine.close();
            drive(driver, &mut engine)?;
        }
        if run % 2 == 0 {
            driver.kill();
        } else {
            driver.cut_power();
        }
    }
    let mut engine = recover(driver, RUNS)?;
    drive(driver, &mut engine)?;
    expect_all(driver, &mut engine, &mut Session::new(), RUNS)
}

fn recover(driver: &mut Driver<'_, impl Subject>, run: u64) -> Result<Engine, Violation> {
    let entropy = Entropy { hash_key: [7; 16], salt: run + 1, database: DatabaseId([9; 16]) };
    let mut options = Options { sync_policy: SyncPolicy::Always, ..Options::new(entropy) };
    options.limits.request.value_bytes_max = 2048;
    options.limits.request.words_max = 16;
    options.segment_bytes = driver.segment_bytes().min(32 << 10);
    options.snapshots = driver.snapshots().then(SnapshotOptions::default);
    let recovered = Engine::recover(options, driver.storage(), Millis(run));
    recovered.map(|(engine, _)| engine).or_else(|error| broken(Rule::EngineRecovers, format!("it refuses the log of run {run}: {error}")))
}

/// Does all that the engine asks for.
fn drive(driver: &mut Driver<'_, impl Subject>, engine: &mut Engine) -> Result<(), Violation> {
    loop {
        if engine.wants_snapshot_slice() {
            let now = engine.now();
            engine.snapshot_slice(now, || true);
        }
        let ops: Vec<StorageOp> = core::iter::from_fn(|| engine.poll_storage()).collect();
        if ops.is_empty() {
            return Ok(());
        }
        for op in driver.run(ops)? {
            let done = engine.storage_done(crate::storage::StorageDone { op, result: Ok(()) });
            done.or_else(|poisoned| broken(Rule::EngineRecovers, format!("{poisoned}")))?;
        }
    }
}

/// Serves requests, and returns their replies when they may be sent.
fn ask(driver: &mut Driver<'_, impl Subject>, engine: &mut Engine, session: &mut Session, requests: &str) -> Result<String, Violation> {
    let (mut rest, mut out) = (requests.as_bytes(), Vec::new());
    let now = engine.now();
    while !rest.is_empty() {
        let served = engine.serve(now, session, rest, &mut out);
        rest = rest.get(served.consumed..).unwrap_or_default();
        if served.consumed == 0 && served.next != Next::Storage {
            break;
        }
        drive(driver, engine)?;
    }
    if session.releasable(engine.watermark(), out.len()) < out.len() {
        return broken(Rule::EngineRecovers, String::from("replies still wait when storage has nothing more to do"));
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn expect_all(driver: &mut Driver<'_, impl Subject>, engine: &mut Engine, session: &mut Session, runs: u64) -> Result<(), Violation> {
    for run in 0..runs {
        for key in 0..KEYS {
            let reply = ask(driver, engine, session, &format!("GET {run}.{key}\r\n"))?;
            if !reply.starts_with(&format!("VALUE {} ", key * 53 % 900)) {
                return broken(Rule::EngineRecovers, format!("after run {run} its key {key} is {reply:?}"));
            }
        }
    }
    let count = ask(driver, engine, session, "GET runs.0\r\n")?;
    if runs > 0 && !count.ends_with(&format!("\r\n{runs}\r\n")) {
        return broken(Rule::EngineRecovers, format!("{runs} runs have counted to {count:?}"));
    }
    Ok(())
}
