//! What is checked of the log's segments.

use alloc::format;
use alloc::vec::Vec;

use super::driver::{Driver, Expected, broken, bytes, listing};
use super::{Rule, Subject, Violation};
use crate::storage::{LogFiles as _, SegmentNumber, SnapshotOp, StorageOp};
use crate::wal::segment::HEADER_BYTES;
use crate::wal::{SECTOR_BYTES, align_up};

/// Where the next append goes, as the log's writer has it: in a fresh sector behind what is synced.
const FRAME_ALIGN: u64 = 8;

type Checked = Result<(), Violation>;

pub(super) fn check(driver: &mut Driver<'_, impl Subject>) -> Checked {
    driver.renew();
    driver.expect(&[], Rule::NewIsEmpty)?;
    driver.expect_snapshots(&[], Rule::NewIsEmpty)?;
    starts(driver)?;
    reservations(driver)?;
    torn_starts(driver)?;
    replacements(driver)?;
    appends(driver)?;
    syncs(driver)?;
    rotation(driver)?;
    recovery_reads_and_cuts(driver)?;
    recovery_syncs(driver)?;
    if driver.snapshots() {
        removals(driver)?;
    }
    Ok(())
}

impl<S: Subject> Driver<'_, S> {
    fn reserve(&self, number: u64) -> StorageOp {
        StorageOp::Reserve { segment: SegmentNumber(number), bytes: self.segment_bytes() }
    }

    /// Reserves and starts a segment.
    fn start(&mut self, number: u64) -> Result<Expected, Violation> {
        let reserve = self.reserve(number);
        self.run_one(reserve)?;
        let header = header(number);
        self.run_one(start(number, &header))?;
        Ok(Expected::new(SegmentNumber(number), header))
    }

    /// Appends where the log would.
    fn append(&mut self, to: &mut Expected, len: usize, sync: bool) -> Checked {
        let op = self.next_append(to, len, sync);
        self.run_one(op).map(drop)
    }

    fn next_append(&self, to: &mut Expected, len: usize, sync: bool) -> StorageOp {
        let synced = to.pieces.len() == 1 || self.always_synced();
        self.append_op(to, len, sync || self.always_synced(), if synced { SECTOR_BYTES } else { FRAME_ALIGN })
    }

    fn append_op(&self, to: &mut Expected, len: usize, sync: bool, align: u64) -> StorageOp {
        let offset = align_up(to.end(), align);
        let data = bytes(to.number.0 ^ offset, len);
        to.pieces.push((offset, data.clone()));
        StorageOp::Append { segment: to.number, offset, data, sync }
    }
}

fn header(number: u64) -> Vec<u8> {
    bytes(number, usize::try_from(HEADER_BYTES).unwrap_or(0))
}

fn start(number: u64, header: &[u8]) -> StorageOp {
    StorageOp::Start { segment: SegmentNumber(number), header: header.to_vec() }
}

fn sync(segment: &Expected) -> StorageOp {
    StorageOp::Sync { segment: segment.number, trim_to: None }
}

fn reservations(driver: &mut Driver<'_, impl Subject>) -> Checked {
    for power in [false, true] {
        driver.renew();
        let first = driver.start(1)?;
        let reserve = driver.reserve(2);
        driver.run_one(reserve)?;
        if power && !driver.cut_power() {
            return Ok(());
        }
        if !power {
            driver.kill();
        }
        driver.expect(core::slice::from_ref(&first), Rule::ReservedIsNoSegment)?;
        // It may be lost; a new one does.
        let second = driver.start(2)?;
        driver.kill();
        driver.expect(&[first, second], Rule::ReservedIsNoSegment)?;
    }
    Ok(())
}

fn starts(driver: &mut Driver<'_, impl Subject>) -> Checked {
    // Numbers are as wide as they get.
    let numbers = [1, 2, 99_999_999, 100_000_000, 123_456_789_012];
    driver.renew();
    let mut started = Vec::new();
    for number in numbers {
        started.push(driver.start(number)?);
    }
    driver.kill();
    driver.expect(&started, Rule::ListsAll)?;
    if driver.cut_power() {
        driver.expect(&started, Rule::StartIsDurable)?;
    }
    driver.renew();
    let started = driver.start(1)?;
    if driver.cut_power() {
        driver.expect(&[started], Rule::StartIsDurable)?;
    }
    Ok(())
}

/// The process or the power ends while a segment is being started.
fn torn_starts(driver: &mut Driver<'_, impl Subject>) -> Checked {
    for power in [false, true] {
        driver.renew();
        let reserve = driver.reserve(1);
        driver.run_one(reserve)?;
        driver.begin(start(1, &header(1)))?;
        if power && !driver.cut_power() {
            return Ok(());
        }
        if !power {
            driver.kill();
        }
        if !driver.list()?.is_empty() {
            driver.expect(&[Expected::new(SegmentNumber(1), header(1))], Rule::StartIsAtomic)?;
        }
    }
    Ok(())
}

/// A run that has logged nothing but its end is replaced by the next one.
fn replacements(driver: &mut Driver<'_, impl Subject>) -> Checked {
    driver.renew();
    let before = driver.start(1)?;
    let mut replaced = driver.start(2)?;
    driver.append(&mut replaced, 64, true)?;
    driver.kill();
    driver.expect(&[before.clone(), replaced], Rule::AppendedIsThere)?;
    let reserve = driver.reserve(2);
    driver.run_one(reserve)?;
    let other = bytes(77, header(2).len());
    driver.run_one(start(2, &other))?;
    let expected = [before, Expected::new(SegmentNumber(2), other)];
    driver.kill();
    driver.expect(&expected, Rule::StartReplaces)?;
    if driver.cut_power() {
        driver.expect(&expected, Rule::StartReplaces)?;
    }
    Ok(())
}

fn appends(driver: &mut Driver<'_, impl Subject>) -> Checked {
    driver.renew();
    let mut segment = driver.start(1)?;
    let large = usize::try_from(driver.segment_bytes() / 4).unwrap_or(0);
    for len in [80, 64, 1, 513, 4096, 72, large, 65] {
        driver.append(&mut segment, len, false)?;
    }
    driver.kill();
    driver.expect(core::slice::from_ref(&segment), Rule::AppendedIsThere)?;
    // And each by itself: the last may have carried those before it along.
    for count in 1..4 {
        driver.renew();
        let mut segment = driver.start(1)?;
        for len in [100, 200, 300].into_iter().take(count) {
            driver.append(&mut segment, len, false)?;
        }
        driver.kill();
        driver.expect(&[segment], Rule::AppendedIsThere)?;
    }
    Ok(())
}

fn syncs(driver: &mut Driver<'_, impl Subject>) -> Checked {
    // A sync of its own, then more that isn't synced, which may be lost.
    driver.renew();
    let mut segment = driver.start(1)?;
    for len in [100, 200, 5000] {
        driver.append(&mut segment, len, false)?;
    }
    driver.run_one(sync(&segment))?;
    let synced = segment.clone();
    let unsynced = driver.append_op(&mut segment, 300, driver.always_synced(), SECTOR_BYTES);
    driver.run_one(unsynced)?;
    if !driver.cut_power() {
        return Ok(());
    }
    expect_beginning(driver, &synced)?;

    // An append with its sync takes those before it along.
    driver.renew();
    let mut segment = driver.start(1)?;
    driver.append(&mut segment, 100, false)?;
    driver.append(&mut segment, 100, true)?;
    driver.cut_power();
    expect_beginning(driver, &segment)?;

    // One after the other, each in a fresh sector; the last is under way when the power fails.
    driver.renew();
    let mut segment = driver.start(1)?;
    for len in [1, 500, 512, 600] {
        let op = driver.append_op(&mut segment, len, true, SECTOR_BYTES);
        driver.run_one(op)?;
    }
    let whole = segment.clone();
    let op = driver.append_op(&mut segment, 700, true, SECTOR_BYTES);
    driver.begin(op)?;
    driver.cut_power();
    expect_beginning(driver, &whole)
}

/// Whether a segment that was synced begins with that; what stands behind it isn't asked.
fn expect_beginning(driver: &mut Driver<'_, impl Subject>, synced: &Expected) -> Checked {
    let length = driver.list()?.iter().find(|(number, _)| *number == synced.number).map_or(0, |(_, length)| *length);
    let content = driver.read_all(synced.number, length)?;
    for (offset, data) in &synced.pieces {
        let range = usize::try_from(*offset).ok().map(|begin| begin..begin + data.len()).unwrap_or_default();
        if content.get(range) != Some(data) {
            let found = format!("{}: the {} bytes at {offset} are lost", synced.number, data.len());
            return broken(Rule::SyncedIsDurable, found);
        }
    }
    Ok(())
}

/// A full segment is synced and trimmed while the next one is written and the one behind that reserved.
fn rotation(driver: &mut Driver<'_, impl Subject>) -> Checked {
    driver.renew();
    let mut first = driver.start(1)?;
    let (append, reserve) = (driver.next_append(&mut first, 1000, false), driver.reserve(2));
    driver.run([append, reserve])?;
    driver.append(&mut first, 64, false)?;
    let header = header(2);
    driver.run_one(start(2, &header))?;
    let mut second = Expected::new(SegmentNumber(2), header);
    let append = driver.next_append(&mut second, 700, false);
    let (sync_first, reserve) = (StorageOp::Sync { segment: first.number, trim_to: Some(first.end()) }, driver.reserve(3));
    first.length = Some(first.end());
    driver.run([sync_first, append, reserve])?;
    driver.append(&mut second, 50, false)?;
    let (append, sync_second) = (driver.append_op(&mut second, 90, driver.always_synced(), SECTOR_BYTES), sync(&second));
    driver.run([append])?;
    driver.run([sync_second])?;
    driver.kill();
    driver.expect(&[first.clone(), second.clone()], Rule::AppendedIsThere)?;
    if driver.cut_power() {
        driver.expect(&[first, second], Rule::SyncedIsDurable)?;
    }
    Ok(())
}

fn recovery_reads_and_cuts(driver: &mut Driver<'_, impl Subject>) -> Checked {
    driver.renew();
    let [mut first, mut second, mut third] = [driver.start(1)?, driver.start(2)?, driver.start(3)?];
    for segment in [&mut first, &mut second, &mut third] {
        for len in [100, 900, 2000] {
            driver.append(segment, len, false)?;
        }
        driver.run_one(sync(segment))?;
    }
    driver.kill();
    driver.expect(&[first.clone(), second.clone(), third], Rule::AppendedIsThere)?;
    let failed = |what: &str, error| broken(Rule::DoneWithoutError, format!("{what} in recovery: {error}"));
    driver.storage().remove(SegmentNumber(3)).or_else(|error| failed("a removal", error))?;
    let [before, mut cut] = [first, second];
    cut.pieces.pop();
    // In the middle of what is lost.
    let length = cut.end() + 700;
    driver.storage().truncate(cut.number, length).or_else(|error| failed("a cut", error))?;
    for restarted in [false, true] {
        if restarted && !driver.cut_power() {
            break;
        }
        let listed = driver.list()?;
        if listed.iter().any(|(number, _)| *number == SegmentNumber(3)) {
            return broken(Rule::RemoveIsDurable, format!("there is {} after the removal of the third", listing(&listed)));
        }
        if listed.iter().all(|&(number, found)| number != cut.number || found != length) {
            return broken(Rule::TruncateIsDurable, format!("there is {} after the second was cut to {length} bytes", listing(&listed)));
        }
        let content = driver.read_all(cut.number, length)?;
        for (offset, data) in &cut.pieces {
            let begin = usize::try_from(*offset).unwrap_or(0);
            if content.get(begin..begin + data.len()) != Some(data) {
                return broken(Rule::TruncateIsDurable, format!("what stood at {offset}, before the cut, is lost"));
            }
        }
    }
    // Cut down to what counts, it is as if the rest had never been there; and the log goes on behind it.
    let end = cut.end();
    driver.storage().truncate(cut.number, end).or_else(|error| failed("a cut", error))?;
    cut.length = Some(end);
    driver.expect(&[before.clone(), cut.clone()], Rule::TruncateIsDurable)?;
    let next = driver.start(3)?;
    driver.kill();
    driver.expect(&[before, cut, next], Rule::TruncateIsDurable)
}

fn recovery_syncs(driver: &mut Driver<'_, impl Subject>) -> Checked {
    driver.renew();
    let mut segment = driver.start(1)?;
    driver.append(&mut segment, 900, false)?;
    driver.append(&mut segment, 64, false)?;
    driver.kill();
    let synced = driver.storage().sync(SegmentNumber(1));
    synced.or_else(|error| broken(Rule::DoneWithoutError, format!("a sync in recovery: {error}")))?;
    if driver.cut_power() {
        driver.expect(&[segment], Rule::RecoverySyncIsDurable)?;
    }
    Ok(())
}

/// Segments that aren't needed any more go by an operation, while the log is written.
fn removals(driver: &mut Driver<'_, impl Subject>) -> Checked {
    let remove = |number| StorageOp::Snapshot(SnapshotOp::RemoveSegment { segment: SegmentNumber(number) });
    driver.renew();
    let [_, second, mut third] = [driver.start(1)?, driver.start(2)?, driver.start(3)?];
    let append = driver.next_append(&mut third, 100, false);
    driver.run([remove(1), append])?;
    driver.run_one(remove(1))?;
    driver.run_one(remove(9))?;
    let synced = sync(&third);
    driver.run_one(synced)?;
    let left = [second, third];
    driver.kill();
    driver.expect(&left, Rule::RemoveIsDurable)?;
    if driver.cut_power() {
        driver.expect(&left, Rule::RemoveIsDurable)?;
    }
    Ok(())
}
