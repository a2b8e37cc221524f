//! All programs from one start, under one sync policy and one schedule.

use osprey_core::engine::{Entropy, Options};
use osprey_core::units::Millis;
use osprey_core::wal::segment::DatabaseId;
use osprey_core::wal::writer::SyncPolicy;

use super::host::{Host, Schedule};
use super::judge::{Judge, Tally};
use super::program::{LONG_BYTES, Operation, SHORT_MS, programs};
use crate::simulator::failure::Checked;
use crate::simulator::keys::KEY_BYTES_MAX;

const BEGIN: Millis = Millis(1_000_000_000);

/// What has happened before a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing: its crash points are those of a first start, too.
    Empty,
    /// So many writes that the second short one that follows doesn't fit into the segment any more. All of it has reached the disk.
    NearlyFull,
    /// A run that was killed, and another one that was killed before it wrote anything: its segment will be replaced.
    Again,
}

/// Every start.
pub const STARTS: [Start; 3] = [Start::Empty, Start::NearlyFull, Start::Again];

/// Every policy.
pub const POLICIES: [SyncPolicy; 3] = [SyncPolicy::Os, SyncPolicy::Batch { delay_ms: SHORT_MS, bytes: 1 << 20 }, SyncPolicy::Always];

/// Limits so small that a segment holds eight sectors of frames.
#[must_use]
pub fn options(policy: SyncPolicy) -> Options {
    let entropy = Entropy { hash_key: [0; 16], salt: 1, database: DatabaseId(*b"a small scope...") };
    let mut options = Options { sync_policy: policy, segment_bytes: 0, ..Options::new(entropy) };
    let request = &mut options.limits.request;
    (request.key_bytes_max, request.value_bytes_max, request.line_bytes_max, request.words_max) = (KEY_BYTES_MAX, LONG_BYTES, 200, 5);
    options.limits.recent_slots_log2 = 4;
    options
}

/// Runs all programs of up to so many operations.
///
/// # Errors
/// The first finding, with what led to it.
pub fn explore(start: Start, policy: SyncPolicy, schedule: Schedule, operations_max: u32) -> Checked<Tally> {
    let mut judge = Judge::default();
    for program in programs(operations_max) {
        judge.begin();
        run(start, policy, schedule, &program, &mut judge)
            .map_err(|failure| failure.at(format_args!("{start:?}, {policy:?}, {schedule:?}: {program:?}")))?;
    }
    Ok(judge.tally)
}

fn run(start: Start, policy: SyncPolicy, schedule: Schedule, program: &[Operation], judge: &mut Judge) -> Checked {
    let unjudged = &mut |_: &Host| Ok(());
    let mut host = begin(start, policy)?;
    let Some((last, before)) = program.split_last() else {
        return host.finish(&mut |host| judge.at(host));
    };
    host.finish(unjudged)?;
    if start == Start::NearlyFull {
        host.disk.write_back();
    }
    host.schedule = schedule;
    for operation in before {
        operation.run(&mut host, unjudged)?;
    }
    last.run(&mut host, &mut |host| judge.at(host))?;
    host.finish(&mut |host| judge.at(host))
}

/// A server with its start behind it, but for what storage has to do still.
fn begin(start: Start, policy: SyncPolicy) -> Checked<Host> {
    let unjudged = &mut |_: &Host| Ok(());
    let mut host = Host::new(options(policy), Schedule::Prompt, BEGIN)?;
    let before: &[Operation] = match (start, policy) {
        (Start::Empty, _) => &[],
        (Start::NearlyFull, SyncPolicy::Always) => {
            &[Operation::SetBLong, Operation::SetBLong, Operation::SetBLong, Operation::SetA, Operation::DelA]
        }
        (Start::NearlyFull, _) => {
            const LONG: Operation = Operation::SetBLong;
            &[LONG, LONG, LONG, LONG, LONG, Operation::SetA, Operation::DelA]
        }
        (Start::Again, _) => &[Operation::SetBLong, Operation::Mset],
    };
    for operation in before {
        operation.run(&mut host, unjudged)?;
    }
    if start == Start::Again {
        host.restart(host.disk.shown(), false)?;
        host.finish(unjudged)?;
        host.restart(host.disk.shown(), false)?;
    }
    Ok(host)
}
