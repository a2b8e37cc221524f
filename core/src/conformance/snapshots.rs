//! What is checked of snapshots.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use super::driver::{Driver, broken, bytes};
use super::{Rule, Subject, Violation};
use crate::storage::{SnapshotName, SnapshotOp, StorageOp};
use crate::units::Lsn;

type Checked = Result<(), Violation>;

pub(super) fn check(driver: &mut Driver<'_, impl Subject>) -> Checked {
    published(driver)?;
    drafts(driver)?;
    torn(driver)?;
    removals(driver)
}

fn name(begin: u64, end: u64) -> SnapshotName {
    SnapshotName { begin: Lsn(begin), end: Lsn(end) }
}

impl<S: Subject> Driver<'_, S> {
    fn snapshot(&mut self, op: SnapshotOp) -> Checked {
        self.run_one(StorageOp::Snapshot(op)).map(drop)
    }

    /// Begins a snapshot and writes it in two pieces; returns them.
    fn write(&mut self, begin: u64, len: usize) -> Result<Vec<u8>, Violation> {
        let content = bytes(begin, len);
        self.snapshot(SnapshotOp::Create { begin: Lsn(begin), bytes: len as u64 })?;
        let (first, second) = content.split_at(len / 3);
        for (offset, data) in [(0, first), (first.len(), second)] {
            self.snapshot(SnapshotOp::Append { offset: offset as u64, data: data.to_vec() })?;
        }
        Ok(content)
    }
}

fn drafts(driver: &mut Driver<'_, impl Subject>) -> Checked {
    for power in [false, true] {
        driver.renew();
        driver.write(1, 9000)?;
        if power && !driver.cut_power() {
            break;
        }
        if !power {
            driver.kill();
        }
        driver.expect_snapshots(&[], Rule::DraftIsNoSnapshot)?;
        // What is left of it is in nobody's way; neither is one that was given up in this run.
        driver.write(1, 5000)?;
        let content = driver.write(1, 700)?;
        driver.snapshot(SnapshotOp::Publish { name: name(1, 3) })?;
        driver.kill();
        driver.expect_snapshots(&[(name(1, 3), content)], Rule::CreateBeginsAnew)?;
    }
    driver.renew();
    driver.snapshot(SnapshotOp::Discard)?;
    driver.write(1, 1000)?;
    driver.snapshot(SnapshotOp::Discard)?;
    driver.snapshot(SnapshotOp::Discard)?;
    driver.kill();
    driver.expect_snapshots(&[], Rule::SnapshotRemoveIsDurable)
}

/// Their order is that of their ends; names are as wide as they get.
const PUBLISHED: [(u64, u64, usize); 3] = [(1, 3, 3000), (2, 100_000_000, 1), (1_234_567_890_123, 1_234_567_890_124, 20_000)];

fn published(driver: &mut Driver<'_, impl Subject>) -> Checked {
    driver.renew();
    let mut all = Vec::new();
    for (begin, end, len) in PUBLISHED {
        let content = driver.write(begin, len)?;
        driver.snapshot(SnapshotOp::Publish { name: name(begin, end) })?;
        all.push((name(begin, end), content));
    }
    driver.kill();
    driver.expect_snapshots(&all, Rule::SnapshotIsWhole)?;
    if driver.cut_power() {
        driver.expect_snapshots(&all, Rule::PublishIsDurable)?;
    }
    // Read back by operations, as an engine does to verify one.
    driver.renew();
    for (begin, end, len) in PUBLISHED {
        let content = driver.write(begin, len)?;
        driver.snapshot(SnapshotOp::Publish { name: name(begin, end) })?;
        for (offset, room, there) in
            [(0, 700, 700.min(len)), (0, len, len), (0, len + 1, len), (len - 1, 2, 1), (len, 16, 0), (len + 9, 16, 0)]
        {
            let read = StorageOp::Snapshot(SnapshotOp::Read { name: name(begin, end), offset: offset as u64, buffer: vec![0; room] });
            let StorageOp::Snapshot(SnapshotOp::Read { buffer, .. }) = driver.run_one(read)? else { continue };
            let expected = content.get(offset..).and_then(|rest| rest.get(..there)).unwrap_or_default();
            if buffer != expected {
                let what = if buffer.len() == there { "others than were written" } else { "another number" };
                let found =
                    format!("{room} bytes asked for at {offset} of a snapshot of {len} bytes: a buffer of {}, {what}", buffer.len());
                return broken(Rule::SnapshotReadsWhole, found);
            }
        }
    }
    driver.renew();
    let content = driver.write(5, 8000)?;
    driver.snapshot(SnapshotOp::Publish { name: name(5, 5) })?;
    if driver.cut_power() {
        driver.expect_snapshots(&[(name(5, 5), content)], Rule::PublishIsDurable)?;
    }
    Ok(())
}

/// The process or the power ends while one is being published.
fn torn(driver: &mut Driver<'_, impl Subject>) -> Checked {
    for power in [false, true] {
        driver.renew();
        let content = driver.write(1, 3000)?;
        driver.begin(StorageOp::Snapshot(SnapshotOp::Publish { name: name(1, 2) }))?;
        if power && !driver.cut_power() {
            break;
        }
        if !power {
            driver.kill();
        }
        if driver.expect_snapshots(&[], Rule::PublishIsAtomic).is_err() {
            let whole = driver.expect_snapshots(&[(name(1, 2), content)], Rule::PublishIsAtomic);
            whole.map_err(|Violation { found, .. }| Violation { rule: Rule::PublishIsAtomic, found })?;
        }
    }
    Ok(())
}

fn removals(driver: &mut Driver<'_, impl Subject>) -> Checked {
    driver.renew();
    let mut all = Vec::new();
    for number in 1..4 {
        let content = driver.write(number, 500)?;
        driver.snapshot(SnapshotOp::Publish { name: name(number, number) })?;
        all.push((name(number, number), content));
    }
    driver.snapshot(SnapshotOp::Remove { name: name(2, 2) })?;
    driver.snapshot(SnapshotOp::Remove { name: name(2, 2) })?;
    driver.snapshot(SnapshotOp::Remove { name: name(7, 8) })?;
    all.remove(1);
    driver.kill();
    driver.expect_snapshots(&all, Rule::SnapshotRemoveIsDurable)?;
    if driver.cut_power() {
        driver.expect_snapshots(&all, Rule::SnapshotRemoveIsDurable)?;
    }
    Ok(())
}
