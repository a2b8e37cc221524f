//! Drives the storage that is checked: submits operations and waits for them, kills it, and compares what it holds with what it should hold.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use super::{Checked, Rule, Subject, Violation};
use crate::storage::{LogFiles as _, SegmentNumber, SnapshotName, SnapshotOp, Storage as _, StorageDone, StorageOp};

/// Reads of this many bytes are no multiple of anything.
const ODD_BYTES: usize = 1021;

/// A rule that is broken, by what was found.
pub(super) fn broken<T>(rule: Rule, found: String) -> Result<T, Violation> {
    Err(Violation { rule, found })
}

/// Bytes of which none is zero, others for each `seed`.
pub(super) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u8::try_from((state >> 56) % 255 + 1).unwrap_or(1)
    };
    core::iter::repeat_with(next).take(len).collect()
}

/// What a segment should hold.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) number: SegmentNumber,
    /// What was written, by offset.
    pub(super) pieces: Vec<(u64, Vec<u8>)>,
    /// Its length, if that is certain.
    pub(super) length: Option<u64>,
}

impl Expected {
    pub(super) fn new(number: SegmentNumber, header: Vec<u8>) -> Self {
        Self { number, pieces: vec![(0, header)], length: None }
    }

    /// Behind the last piece.
    pub(super) fn end(&self) -> u64 {
        self.pieces.iter().map(|(offset, data)| offset + data.len() as u64).max().unwrap_or(0)
    }
}

pub(super) struct Driver<'a, S: Subject> {
    subject: &'a mut S,
    storage: Option<S::Storage>,
    under_way: Vec<StorageOp>,
    pub(super) checked: Checked,
}

impl<'a, S: Subject> Driver<'a, S> {
    pub(super) fn new(subject: &'a mut S) -> Self {
        Self { subject, storage: None, under_way: Vec::new(), checked: Checked::default() }
    }

    pub(super) fn snapshots(&self) -> bool {
        self.subject.snapshots()
    }

    pub(super) fn segment_bytes(&self) -> u64 {
        self.subject.segment_bytes()
    }

    pub(super) fn always_synced(&self) -> bool {
        self.subject.always_synced()
    }

    pub(super) fn storage(&mut self) -> &mut S::Storage {
        let Self { subject, storage, .. } = self;
        storage.get_or_insert_with(|| subject.create())
    }

    /// Begins with new storage.
    pub(super) fn renew(&mut self) {
        // The one before first: it may hold a lock.
        self.storage = None;
        self.under_way.clear();
        self.storage = Some(self.subject.create());
    }

    pub(super) fn kill(&mut self) {
        self.under_way.clear();
        self.storage = self.storage.take().map(|storage| self.subject.kill(storage));
        self.checked.kills += 1;
    }

    /// Cuts the power and returns true; where that can't be done, it is a kill.
    pub(super) fn cut_power(&mut self) -> bool {
        if !self.subject.cuts_power() {
            self.kill();
            return false;
        }
        self.under_way.clear();
        self.storage = self.storage.take().map(|storage| self.subject.cut_power(storage));
        self.checked.power_cuts += 1;
        true
    }

    /// Hands an operation over. It has to be waited for.
    pub(super) fn begin(&mut self, op: StorageOp) -> Result<Option<StorageOp>, Violation> {
        self.under_way.push(op.clone());
        let done = self.storage().submit(op);
        done.map(|done| self.ended(done)).transpose()
    }

    /// Submits operations that may be under way together, and waits until all of them have ended.
    pub(super) fn run(&mut self, ops: impl IntoIterator<Item = StorageOp>) -> Result<Vec<StorageOp>, Violation> {
        let mut ended = Vec::new();
        for op in ops {
            ended.extend(self.begin(op)?);
        }
        let mut looks = 0;
        while !self.under_way.is_empty() {
            if let Some(done) = self.storage().poll() {
                ended.push(self.ended(done)?);
                looks = 0;
            } else {
                looks += 1;
                if !self.subject.wait(looks) {
                    return broken(Rule::EndsOnce, format!("{} does not come back", named(self.under_way.first())));
                }
            }
        }
        if let Some(more) = self.storage().poll() {
            return broken(Rule::EndsOnce, format!("{} comes back, and nothing was under way", named(Some(&more.op))));
        }
        Ok(ended)
    }

    /// One operation.
    pub(super) fn run_one(&mut self, op: StorageOp) -> Result<StorageOp, Violation> {
        let name = named(Some(&op));
        let last = self.run([op])?.pop();
        last.map_or_else(|| broken(Rule::EndsOnce, format!("{name} does not come back")), Ok)
    }

    fn ended(&mut self, StorageDone { op, result }: StorageDone) -> Result<StorageOp, Violation> {
        let name = named(Some(&op));
        let same_kind = |asked: &StorageOp| core::mem::discriminant(asked) == core::mem::discriminant(&op);
        let Some(at) = self.under_way.iter().position(same_kind) else {
            return broken(Rule::EndsOnce, format!("{name} comes back, and none was under way"));
        };
        let asked = self.under_way.swap_remove(at);
        if let Err(error) = result {
            return broken(Rule::DoneWithoutError, format!("{name}: {error}"));
        }
        if !is_whole(&asked, &op) {
            return broken(Rule::ComesBackWhole, format!("{} comes back as {name}", named(Some(&asked))));
        }
        self.checked.operations += 1;
        Ok(op)
    }

    /// Whether it holds these segments and no others. `rule` is broken where something of them is missing.
    pub(super) fn expect(&mut self, segments: &[Expected], rule: Rule) -> Result<(), Violation> {
        let listed = self.list()?;
        for expected in segments {
            let number = expected.number;
            let mut lengths = listed.iter().filter(|(listed, _)| *listed == number);
            let Some(&(_, length)) = lengths.next() else {
                return broken(rule, format!("{number} is not listed, but {}", listing(&listed)));
            };
            if lengths.next().is_some() {
                return broken(Rule::ListsAll, format!("{number} is listed twice: {}", listing(&listed)));
            }
            if length < expected.end() {
                return broken(rule, format!("{number} has {length} bytes, {} were written", expected.end()));
            }
            if let Some(expected) = expected.length.filter(|&expected| expected != length) {
                let rule = if rule == Rule::TruncateIsDurable { rule } else { Rule::TrimmedToLength };
                return broken(rule, format!("{number} has {length} bytes, not {expected}"));
            }
            let content = self.read_all(number, length)?;
            compare(expected, &content, rule)?;
        }
        match listed.iter().find(|(number, _)| segments.iter().all(|expected| expected.number != *number)) {
            Some((number, length)) => broken(rule, format!("{number} is listed, with {length} bytes")),
            None => Ok(()),
        }
    }

    pub(super) fn list(&mut self) -> Result<Vec<(SegmentNumber, u64)>, Violation> {
        self.storage().segments().or_else(|error| broken(Rule::DoneWithoutError, format!("listing the segments: {error}")))
    }

    /// All of a segment, in pieces, some of which reach behind its end.
    pub(super) fn read_all(&mut self, number: SegmentNumber, length: u64) -> Result<Vec<u8>, Violation> {
        let mut content = Vec::new();
        loop {
            let offset = content.len() as u64;
            let mut piece = vec![0xA5; ODD_BYTES];
            let read = self.read(number, offset, &mut piece)?;
            let there = usize::try_from(length.saturating_sub(offset)).map_or(ODD_BYTES, |left| left.min(ODD_BYTES));
            if read != there {
                return broken(Rule::ReadsWhole, format!("{read} bytes of {number} at {offset}, where there are {there}"));
            }
            content.extend_from_slice(piece.get(..read).unwrap_or_default());
            if read < ODD_BYTES {
                break;
            }
        }
        for (offset, there) in [(length.saturating_sub(3), 3.min(length)), (length, 0), (length + 5, 0)] {
            let read = self.read(number, offset, &mut [0; 7])?;
            if read as u64 != there {
                return broken(Rule::ReadsWhole, format!("{read} bytes of {number} at {offset}, which has {length}"));
            }
        }
        Ok(content)
    }

    fn read(&mut self, number: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, Violation> {
        let read = self.storage().read(number, offset, buffer);
        read.or_else(|error| broken(Rule::DoneWithoutError, format!("reading {number} at {offset}: {error}")))
    }

    /// Whether it has these snapshots and no others. `rule` is broken where one is missing, or there against it.
    pub(super) fn expect_snapshots(&mut self, snapshots: &[(SnapshotName, Vec<u8>)], rule: Rule) -> Result<(), Violation> {
        let listed = self.storage().snapshots();
        let mut listed = listed.or_else(|error| broken(Rule::DoneWithoutError, format!("listing the snapshots: {error}")))?;
        listed.sort_unstable();
        let expected: Vec<_> = snapshots.iter().map(|(name, bytes)| (*name, bytes.len() as u64)).collect();
        if listed != expected {
            let lengths_only = listed.iter().map(|(name, _)| name).eq(expected.iter().map(|(name, _)| name));
            let rule = match rule {
                Rule::SnapshotIsWhole if listed.len() > expected.len() => Rule::DraftIsNoSnapshot,
                Rule::CreateBeginsAnew => rule,
                _ if lengths_only => Rule::SnapshotIsWhole,
                _ => rule,
            };
            return broken(rule, format!("there is {}, instead of {}", listing(&listed), listing(&expected)));
        }
        for (name, bytes) in snapshots {
            let mut content = Vec::new();
            loop {
                let offset = content.len() as u64;
                let mut piece = vec![0xA5; ODD_BYTES];
                let read = self.storage().read_snapshot(*name, offset, &mut piece);
                let read = read.or_else(|error| broken(Rule::DoneWithoutError, format!("reading {name} at {offset}: {error}")))?;
                if read != (bytes.len() - content.len()).min(ODD_BYTES) {
                    return broken(Rule::SnapshotReadsWhole, format!("{read} bytes of {name} at {offset}, which has {}", bytes.len()));
                }
                content.extend_from_slice(piece.get(..read).unwrap_or_default());
                if read < ODD_BYTES {
                    break;
                }
            }
            if content != *bytes {
                let rule = if rule == Rule::CreateBeginsAnew { rule } else { Rule::SnapshotIsWhole };
                return broken(rule, format!("{name} holds something else"));
            }
        }
        Ok(())
    }
}

/// Whether what was written is there, and zeros elsewhere.
fn compare(expected: &Expected, content: &[u8], rule: Rule) -> Result<(), Violation> {
    let mut zeros = vec![true; content.len()];
    for (offset, data) in &expected.pieces {
        let range = usize::try_from(*offset).ok().map(|begin| begin..begin + data.len()).unwrap_or_default();
        if content.get(range.clone()) != Some(data) {
            let rule = if rule == Rule::ListsAll { Rule::AppendedIsThere } else { rule };
            return broken(rule, format!("{}: the {} bytes at {offset} are not those that were written", expected.number, data.len()));
        }
        zeros.get_mut(range).unwrap_or_default().fill(false);
    }
    match zeros.iter().zip(content).position(|(&zero, &byte)| zero && byte != 0) {
        Some(at) => broken(
            if rule == Rule::StartReplaces { rule } else { Rule::OthersAreZeros },
            format!("{}: byte {at} was not written, and is not 0", expected.number),
        ),
        None => Ok(()),
    }
}

/// Whether an operation has come back as it was.
fn is_whole(asked: &StorageOp, back: &StorageOp) -> bool {
    match (asked, back) {
        // Its buffer was to be filled.
        (
            StorageOp::Snapshot(SnapshotOp::Read { name, offset, buffer }),
            StorageOp::Snapshot(SnapshotOp::Read { name: name_back, offset: offset_back, buffer: buffer_back }),
        ) => (name, offset) == (name_back, offset_back) && buffer_back.len() <= buffer.len(),
        _ => asked == back,
    }
}

/// Files with their lengths, for messages.
pub(super) fn listing<N: fmt::Display>(files: &[(N, u64)]) -> String {
    let files: Vec<_> = files.iter().map(|(name, length)| format!("{name} with {length} bytes")).collect();
    if files.is_empty() { String::from("nothing") } else { files.join(", ") }
}

/// What an operation is called in messages.
fn named(op: Option<&StorageOp>) -> String {
    match op {
        None => String::from("nothing"),
        Some(StorageOp::Reserve { segment, bytes }) => format!("the reservation of {bytes} bytes for {segment}"),
        Some(StorageOp::Start { segment, header }) => format!("the start of {segment} with {} bytes", header.len()),
        Some(StorageOp::Append { segment, offset, data, sync }) => {
            format!("the append of {} bytes at {offset} of {segment}, sync {sync}", data.len())
        }
        Some(StorageOp::Sync { segment, trim_to }) => format!("the sync of {segment}, trimmed to {trim_to:?}"),
        Some(StorageOp::Snapshot(SnapshotOp::Append { offset, data })) => {
            format!("the append of {} bytes at {offset} of a snapshot", data.len())
        }
        Some(StorageOp::Snapshot(SnapshotOp::Read { name, offset, buffer })) => {
            format!("the read of {} bytes at {offset} of {name}", buffer.len())
        }
        Some(StorageOp::Snapshot(op)) => format!("{op:?}"),
    }
}
