//! The project's storages fulfil the contract that the engine relies on; storage that breaks a rule of it is caught, and the rule named.

#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

// As an embedder finds it.
#[path = "../../core/examples/embed/memory_log.rs"]
mod memory_log;

use std::thread;
use std::time::Duration;

use memory_log::MemoryLog;
use osprey::storage::{FileStorage, Reservation};
use osprey_core::conformance::{Rule, Subject, check};
use osprey_tests::faulty_storage::{Fault, FaultyStorage};
use osprey_tests::memory_storage::MemoryStorage;
use tempfile::TempDir;

/// The example's log: nothing outlives the process, so that a kill leaves it as it is.
struct Example;

impl Subject for Example {
    type Storage = MemoryLog;

    fn create(&mut self) -> MemoryLog {
        MemoryLog::default()
    }

    fn kill(&mut self, storage: MemoryLog) -> MemoryLog {
        storage
    }

    fn snapshots(&self) -> bool {
        false
    }
}

#[test]
fn the_example_conforms() {
    let checked = check(&mut Example).unwrap_or_else(|violation| panic!("{violation}"));
    println!("{checked:?}");
    assert!(checked.operations > 300 && checked.kills > 10 && checked.power_cuts == 0, "{checked:?}");
}

/// The core's storage in memory. A power cut leaves it as a kill does.
struct InMemory;

impl Subject for InMemory {
    type Storage = osprey_core::storage::memory::MemoryStorage;

    fn create(&mut self) -> Self::Storage {
        Self::Storage::new()
    }

    fn kill(&mut self, storage: Self::Storage) -> Self::Storage {
        storage
    }

    fn cuts_power(&self) -> bool {
        true
    }
}

#[test]
fn the_storage_in_memory_conforms() {
    let checked = check(&mut InMemory).unwrap_or_else(|violation| panic!("{violation}"));
    assert!(checked.snapshots && checked.kills > 10 && checked.power_cuts > 10, "{checked:?}");
}

struct OnDisk(TempDir, Reservation, bool);

impl OnDisk {
    fn open(&self) -> FileStorage {
        let mut storage = FileStorage::open(self.0.path(), self.1, || ()).unwrap();
        if self.2 {
            storage.append_at_once();
        }
        storage
    }
}

/// The server's files. (Their power can't be cut in here; what is left of them then: `power_cut.rs`.)
impl Subject for OnDisk {
    type Storage = FileStorage;

    fn create(&mut self) -> FileStorage {
        self.0 = TempDir::new().unwrap();
        self.open()
    }

    fn kill(&mut self, storage: FileStorage) -> FileStorage {
        drop(storage);
        self.open()
    }

    fn wait(&mut self, looks: u32) -> bool {
        thread::sleep(Duration::from_micros(100));
        looks < 100_000
    }
}

#[test]
fn the_servers_files_conform() {
    for (reservation, at_once) in [(Reservation::Allocated, false), (Reservation::Zeroed, false), (Reservation::Allocated, true)] {
        let checked = check(&mut OnDisk(TempDir::new().unwrap(), reservation, at_once)).unwrap_or_else(|violation| panic!("{violation}"));
        println!("{checked:?}");
        assert!(checked.snapshots && checked.kills > 10, "{checked:?}");
    }
}

/// The tests' disk, whose power can be cut.
struct Memory;

impl Subject for Memory {
    type Storage = MemoryStorage;

    fn create(&mut self) -> MemoryStorage {
        MemoryStorage::default()
    }

    fn kill(&mut self, storage: MemoryStorage) -> MemoryStorage {
        MemoryStorage::new(storage.disk)
    }

    fn cuts_power(&self) -> bool {
        true
    }

    fn cut_power(&mut self, storage: MemoryStorage) -> MemoryStorage {
        MemoryStorage::new(storage.disk.after_power_cut())
    }
}

#[test]
fn the_tests_disk_conforms() {
    let checked = check(&mut Memory).unwrap_or_else(|violation| panic!("{violation}"));
    println!("{checked:?}");
    assert!(checked.snapshots && checked.power_cuts > 10, "{checked:?}");
}

/// Storage that conforms but for one fault.
struct Broken(Option<Fault>);

impl Subject for Broken {
    type Storage = FaultyStorage;

    fn create(&mut self) -> FaultyStorage {
        FaultyStorage::new(self.0)
    }

    fn kill(&mut self, storage: FaultyStorage) -> FaultyStorage {
        storage.killed()
    }

    fn cuts_power(&self) -> bool {
        true
    }

    fn cut_power(&mut self, storage: FaultyStorage) -> FaultyStorage {
        storage.power_cut()
    }

    fn wait(&mut self, looks: u32) -> bool {
        looks < 10
    }
}

#[test]
fn every_broken_rule_is_found_and_named() {
    let checked = check(&mut Broken(None)).unwrap_or_else(|violation| panic!("nothing is broken: {violation}"));
    println!("{checked:?}");
    let faults = [
        (Fault::NewHoldsASegment, Rule::NewIsEmpty),
        (Fault::SyncFails, Rule::DoneWithoutError),
        (Fault::AppendNeverEnds, Rule::EndsOnce),
        (Fault::SyncEndsTwice, Rule::EndsOnce),
        (Fault::AppendComesBackEmpty, Rule::ComesBackWhole),
        (Fault::ReservedIsListed, Rule::ReservedIsNoSegment),
        (Fault::StartIsTorn, Rule::StartIsAtomic),
        (Fault::StartIsLostInAPowerCut, Rule::StartIsDurable),
        (Fault::StartKeepsWhatWasThere, Rule::StartReplaces),
        (Fault::WideNumbersAreNotListed, Rule::ListsAll),
        (Fault::SegmentIsListedTwice, Rule::ListsAll),
        (Fault::LengthIsListedShort, Rule::ListsAll),
        (Fault::AppendIgnoresItsOffset, Rule::AppendedIsThere),
        (Fault::LastAppendIsLostInAKill, Rule::AppendedIsThere),
        (Fault::GapsHoldGarbage, Rule::OthersAreZeros),
        (Fault::SyncDoesNothing, Rule::SyncedIsDurable),
        (Fault::SyncTakesTheLastAppendOnly, Rule::SyncedIsDurable),
        (Fault::AppendWithSyncTakesItselfOnly, Rule::SyncedIsDurable),
        (Fault::AppendIsNotSynced, Rule::SyncedIsDurable),
        (Fault::TrimIsIgnored, Rule::TrimmedToLength),
        (Fault::ReadIsShort, Rule::ReadsWhole),
        (Fault::ReadGoesOnBehindTheEnd, Rule::ReadsWhole),
        (Fault::TruncateIsLostInAPowerCut, Rule::TruncateIsDurable),
        (Fault::TruncateCutsTooMuch, Rule::TruncateIsDurable),
        (Fault::RemoveIsLostInAPowerCut, Rule::RemoveIsDurable),
        (Fault::RecoverySyncDoesNothing, Rule::RecoverySyncIsDurable),
        (Fault::RemovingNothingFails, Rule::DoneWithoutError),
        (Fault::DraftIsListed, Rule::DraftIsNoSnapshot),
        (Fault::CreateKeepsWhatWasThere, Rule::CreateBeginsAnew),
        (Fault::PublishIsLostInAPowerCut, Rule::PublishIsDurable),
        (Fault::PublishIsTorn, Rule::PublishIsAtomic),
        (Fault::SnapshotLosesItsEnd, Rule::SnapshotIsWhole),
        (Fault::SnapshotMixesUpItsPieces, Rule::SnapshotIsWhole),
        (Fault::SnapshotReadIsShort, Rule::SnapshotReadsWhole),
        (Fault::SnapshotReadIsPadded, Rule::SnapshotReadsWhole),
        (Fault::SnapshotRemoveIsLostInAPowerCut, Rule::SnapshotRemoveIsDurable),
        (Fault::LateAppendsAreLost, Rule::EngineRecovers),
    ];
    let mut wrong = Vec::new();
    for (fault, rule) in faults {
        match check(&mut Broken(Some(fault))) {
            Ok(_) => wrong.push(format!("{fault:?} is not found")),
            Err(violation) if violation.rule != rule => wrong.push(format!("{fault:?}, instead of {rule:?}: {violation:?}")),
            Err(violation) => println!("{fault:?}: {violation}"),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
