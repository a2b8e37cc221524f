//! The simulator in small: some seeds, always the same ones, and the tapes on which something was once found wrong. (Many seeds: `cargo run --release -p
//! osprey-tests -- --seeds 1000`; see `docs/SIMULATOR.md`.)

use std::fs;
use std::path::Path;

use osprey_core::units::Millis;
use osprey_core::wal::writer::SyncPolicy;
use osprey_tests::machine::{BEGIN, Machine, options};
use osprey_tests::memory_storage::{MemoryStorage, Work};
use osprey_tests::simulator::coverage::Coverage;
use osprey_tests::simulator::events::Keep;
use osprey_tests::simulator::run::{Outcome, run};
use osprey_tests::simulator::tape::{SEED_STEPS, Tape};

/// Runs a tape in which nothing must be wrong.
fn passes(tape: &Tape, what: &str) -> Outcome {
    let outcome = run(tape, Keep::Nothing);
    assert_eq!(outcome.failure, None, "{what}");
    outcome
}

#[test]
fn some_seeds_pass_and_meet_most_of_what_can_happen() {
    let mut sum = Coverage::default();
    for seed in 0..60 {
        sum += &passes(&Tape::from_seed(seed, SEED_STEPS), &format!("--seed {seed}")).coverage;
    }
    let missing: Vec<_> = sum.missing().collect();
    assert!(missing.len() < 6, "{missing:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let hashes = || (100..110).map(|seed| run(&Tape::from_seed(seed, 500), Keep::Nothing).hash).collect::<Vec<_>>();
    let first = hashes();
    assert_eq!(first, hashes());
    assert!(first.windows(2).all(|pair| pair[0] != pair[1]), "other seeds are other runs");
    let kept = run(&Tape::from_seed(100, 500), Keep::List);
    assert_eq!(kept.hash, first[0], "keeping the events changes nothing");
    assert!(!kept.events.is_empty());
}

/// Whatever bytes a fuzzer comes with are a tape.
#[test]
fn any_bytes_are_a_tape() {
    for len in [0, 1, 7, 8, 9, 100, 1000] {
        for byte in [0, 1, 0x7F, 0xFF] {
            passes(&Tape(vec![byte; len]), &format!("{len} times {byte}"));
        }
    }
}

/// What was once found stays found. Each tape fails without the change that mended what it had found.
#[test]
fn saved_tapes_pass() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("simulator_tapes");
    let mut tapes = 0;
    for entry in fs::read_dir(&directory).expect("a directory of tapes") {
        let path = entry.expect("a directory that can be read").path();
        let bytes = fs::read(&path).expect("a tape");
        passes(&Tape(bytes), &path.display().to_string());
        tapes += 1;
    }
    assert!(tapes > 0);
}

/// What the tape `expired-shown-while-reserving` has found, as a script. While the log had no room for a MARK since the next segment was being reserved, a
/// reply said that a key had expired, and a crash with an earlier clock brought the key back (invariant 5).
#[test]
fn the_end_of_a_key_is_not_shown_before_it_can_be_logged() {
    for policy in [SyncPolicy::Os, SyncPolicy::Batch { delay_ms: 100, bytes: 4096 }, SyncPolicy::Always] {
        let mut machine = Machine::new(options(policy));
        let client = machine.connect();
        assert_eq!(machine.ask(client, "SET k 1 EX 20\nv"), "OK 1");
        let mut storage = MemoryStorage::new(machine.kill());
        storage.hold(Work::Reserve);
        let (mut machine, _) = Machine::recover_on(options(policy), storage, Millis(BEGIN.0 + 20)).expect("an undamaged log");
        let client = machine.connect();
        for request in ["GET k", "EXISTS k", "TTL k", "SCAN 0", "PING"] {
            assert_eq!(machine.ask(client, request), "", "{policy:?}: {request}");
        }
        machine.storage.release(Work::Reserve);
        machine.settle();
        assert_eq!(machine.replies(client), "NOT_FOUND\nEXISTS 0\n-2\nCURSOR 0\nEND\nPONG", "{policy:?}");
    }
}
