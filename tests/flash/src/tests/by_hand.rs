//! What the log does with single operations.

use std::vec;
use std::vec::Vec;

use osprey_core::storage::{LogFiles as _, SegmentNumber, SnapshotName, SnapshotOp, Storage as _, StorageError, StorageOp};
use osprey_core::units::Lsn;

use super::nor::{BLOCK_BYTES, Nor};
use crate::FlashLog;
use crate::planted::PLANTED;

const SLOTS: usize = 12;

#[expect(clippy::cast_possible_truncation, reason = "16 KiB")]
const SLOT_BYTES: u32 = 4 * BLOCK_BYTES as u32;

fn mount(nor: &mut Nor<16>) -> Result<FlashLog<&mut Nor<16>>, StorageError> {
    FlashLog::mount(nor, SLOT_BYTES)
}

fn perform(log: &mut FlashLog<&mut Nor<16>>, op: StorageOp) -> Result<StorageOp, StorageError> {
    let done = log.submit(op).unwrap();
    done.result.map(|()| done.op)
}

fn start(log: &mut FlashLog<&mut Nor<16>>, number: u64) {
    let segment = SegmentNumber(number);
    perform(log, StorageOp::Reserve { segment, bytes: log.segment_bytes() }).unwrap();
    perform(log, StorageOp::Start { segment, header: vec![1; 96] }).unwrap();
}

fn snapshot(log: &mut FlashLog<&mut Nor<16>>, op: SnapshotOp) -> Result<StorageOp, StorageError> {
    perform(log, StorageOp::Snapshot(op))
}

fn begin(log: &mut FlashLog<&mut Nor<16>>, data: Vec<u8>) {
    snapshot(log, SnapshotOp::Create { begin: Lsn(1), bytes: 0 }).unwrap();
    snapshot(log, SnapshotOp::Append { offset: 0, data }).unwrap();
}

#[test]
fn a_snapshot_has_its_name_with_all_its_parts() {
    let mut nor = Nor::new(4 * SLOTS, 1);
    let name = SnapshotName { begin: Lsn(1), end: Lsn(2) };
    // Appends that end within a write unit, and parts in three slots.
    let data: Vec<u8> = (0..30_001).map(|at: u32| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
    let mut log = mount(&mut nor).unwrap();
    start(&mut log, 1);
    begin(&mut log, data[..5].to_vec());
    snapshot(&mut log, SnapshotOp::Append { offset: 5, data: data[5..12].to_vec() }).unwrap();
    snapshot(&mut log, SnapshotOp::Append { offset: 12, data: data[12..20_003].to_vec() }).unwrap();
    snapshot(&mut log, SnapshotOp::Append { offset: 20_003, data: data[20_003..].to_vec() }).unwrap();
    assert_eq!(mount(&mut nor).unwrap().snapshots().unwrap(), [], "not before it is published");

    let mut log = mount(&mut nor).unwrap();
    begin(&mut log, data[..29_999].to_vec());
    snapshot(&mut log, SnapshotOp::Append { offset: 29_999, data: data[29_999..].to_vec() }).unwrap();
    snapshot(&mut log, SnapshotOp::Publish { name }).unwrap();
    let mut log = mount(&mut nor).unwrap();
    assert_eq!(log.snapshots().unwrap(), [(name, 30_001)]);
    let Ok(StorageOp::Snapshot(SnapshotOp::Read { buffer, .. })) =
        snapshot(&mut log, SnapshotOp::Read { name, offset: 7, buffer: vec![0; 40_000] })
    else {
        panic!("it cannot be read")
    };
    assert!(buffer == data[7..], "what was written, cut where it ends");
    snapshot(&mut log, SnapshotOp::Remove { name }).unwrap();
    let mut log = mount(&mut nor).unwrap();
    assert_eq!((log.snapshots().unwrap(), log.segments().unwrap()), (vec![], vec![(SegmentNumber(1), log.segment_bytes())]));
}

/// Snapshots that are begun and given up use all free slots in turn; the map is in one whose body is free.
#[test]
fn the_slot_of_the_newest_map_is_not_erased() {
    let run = |bug| {
        PLANTED.set(bug);
        let mut nor = Nor::new(4 * SLOTS, 1);
        let mut log = mount(&mut nor).unwrap();
        start(&mut log, 1);
        begin(&mut log, vec![7; 100]);
        snapshot(&mut log, SnapshotOp::Publish { name: SnapshotName { begin: Lsn(1), end: Lsn(2) } }).unwrap();
        for _ in 0..SLOTS {
            begin(&mut log, vec![8; 100]);
            snapshot(&mut log, SnapshotOp::Discard).unwrap();
        }
        PLANTED.set("");
        mount(&mut nor).map(|mut log| log.snapshots().unwrap().len())
    };
    assert_eq!(run(""), Ok(1));
    assert_eq!(run("map_erased"), Ok(0), "the bug is seen");
}

/// A note says that a segment is gone, and can be read or not. Whatever the next mount makes of it, and wherever the power goes in that, the one after finds a whole segment, or none.
#[test]
fn a_slot_is_not_erased_because_of_a_note_that_may_be_gone_later() {
    let run = |bug, fuel, seed| {
        let mut nor = Nor::new(4 * SLOTS, seed);
        let mut log = mount(&mut nor).unwrap();
        (1..=10).for_each(|number| start(&mut log, number));
        (2..=4).for_each(|number| log.remove(SegmentNumber(number)).unwrap());
        (11..=12).for_each(|number| start(&mut log, number));
        // Its slot is the first, and the next in turn.
        log.remove(SegmentNumber(1)).unwrap();
        let map = log.map.unwrap();
        nor.unsettle(map.slot * SLOT_BYTES as usize + map.end as usize - 31);
        nor.power(fuel);
        PLANTED.set(bug);
        let _ = mount(&mut nor);
        PLANTED.set("");
        nor.power(u64::MAX);
        let mut log = mount(&mut nor).unwrap();
        let mut header = [1; 96];
        if log.segment(SegmentNumber(1)).is_some() {
            log.read(SegmentNumber(1), 0, &mut header).unwrap();
        }
        header == [1; 96]
    };
    let mut all = (1..20).flat_map(|fuel| (0..10).map(move |seed| (fuel, seed)));
    assert!(all.clone().all(|(fuel, seed)| run("", fuel, seed)));
    assert!(!all.all(|(fuel, seed)| run("last_note_believed", fuel, seed)), "the bug is seen");
}

#[test]
fn a_damaged_map_is_refused_and_not_taken_for_a_torn_one() {
    let mut nor = Nor::new(4 * SLOTS, 1);
    for number in 1..4 {
        start(&mut mount(&mut nor).unwrap(), number);
    }
    let map = mount(&mut nor).unwrap().map.unwrap();
    let head = map.slot * SLOT_BYTES as usize;
    for offset in 0..96 {
        nor.flip(head + offset);
        assert!(mount(&mut nor).is_err(), "byte {offset} of the newest map");
        nor.flip(head + offset);
    }
    assert_eq!(mount(&mut nor).unwrap().segments().unwrap().len(), 3);
}

#[test]
fn space_that_is_used_up_is_an_error_and_comes_back() {
    let mut nor = Nor::new(4 * SLOTS, 1);
    let mut log = mount(&mut nor).unwrap();
    let full = (1..20).find(|&number| {
        let segment = SegmentNumber(number);
        let reserved = perform(&mut log, StorageOp::Reserve { segment, bytes: 1 });
        if reserved.is_ok() {
            perform(&mut log, StorageOp::Start { segment, header: vec![1; 96] }).unwrap();
        }
        reserved == Err(StorageError::NoSpace)
    });
    assert_eq!(full, Some(11), "two slots are left for the next mount");
    let mut log = mount(&mut nor).unwrap();
    assert_eq!(log.segments().unwrap().len(), 10);
    snapshot(&mut log, SnapshotOp::RemoveSegment { segment: SegmentNumber(1) }).unwrap();
    perform(&mut log, StorageOp::Reserve { segment: SegmentNumber(11), bytes: 1 }).unwrap();
    let too_much = log.segment_bytes() + 1;
    assert_eq!(perform(&mut log, StorageOp::Reserve { segment: SegmentNumber(11), bytes: too_much }), Err(StorageError::NoSpace));
}
