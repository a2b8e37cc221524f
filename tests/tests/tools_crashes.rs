//! Crashes of the tools themselves: whatever a kill or a power cut behind any of their steps leaves, nothing is lost that the tool would have kept, no server takes what is half done for whole, and
//! the same command again does the rest. (Invariants 2 and 9.)
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use std::fs;
use std::path::Path;

use osprey_core::wal::frame::FRAME_HEADER_BYTES;
use osprey_tests::power_cut::event::Event;
use osprey_tests::power_cut::{Files, read};
use osprey_tests::sample_log::{MIDDLE, Segments, frames, segments, write_to};
use osprey_tests::sample_snapshots::{blocks, data_in_blocks, flip, snapshots_of};
use osprey_tests::server_process::Setup;
use osprey_tests::tool::{Ran, command, done, osprey, run, text};
use osprey_tests::tool_crashes::Recording;

/// What a server would serve, if it would: it asks the same recovery as a dump.
fn served(data: &Path) -> Option<String> {
    let ran = osprey(["dump", text(data)]);
    assert!(matches!(ran.code, Some(0..=2)), "{}", ran.err);
    (ran.code == Some(0)).then_some(ran.out)
}

/// Those whose bytes are not to be found under their name or in a quarantine.
fn gone<'a>(originals: &'a Files, found: &Files) -> Vec<&'a String> {
    let is_there = |name: &String, bytes: &Vec<u8>| {
        let set_aside = |other: &String| other.starts_with("quarantine-") && other.ends_with(&format!("/{name}"));
        found.iter().any(|(other, found)| (other == name || set_aside(other)) && found == bytes)
    };
    originals.iter().filter(|(name, bytes)| *name != "LOCK" && !is_there(name, bytes)).map(|(name, _)| name).collect()
}

/// Crashes a repair everywhere.
fn crash_repair(damaged: &Files, flags: &[&str]) -> Ran {
    let scratch = tempfile::tempdir().unwrap();
    let scratch = scratch.path().canonicalize().unwrap();
    let data = |name: &str| scratch.join(name);
    let repair = |data: &Path| command([&["repair", text(data), "--yes"], flags].concat());
    fs::create_dir(data("whole")).unwrap();
    damaged.iter().for_each(|(name, bytes)| fs::write(data("whole").join(name), bytes).unwrap());
    let (repaired, mut recording) = Recording::of(repair(&data("whole")), &data("whole"), &scratch);
    assert_eq!(repaired.code, Some(0), "{}{}", repaired.out, repaired.err);
    let state = done(["dump", text(&data("whole"))]);
    assert_eq!(gone(damaged, &read(&data("whole"))), Vec::<&String>::new(), "what it replaces it keeps");

    fs::create_dir(data("crashed")).unwrap();
    let crashed = data("crashed");
    // Sometimes the next repair crashes, too.
    let mut random = fastrand::Rng::with_seed(1);
    let (mut crashes, mut ready) = (0, 0);
    for crash in recording.crashes() {
        crash.disk.write_to(&crashed);
        let what = &crash.what;
        crashes += 1;
        assert_eq!(gone(damaged, &crash.disk.files()), Vec::<&String>::new(), "{what}");
        if let Some(served) = served(&crashed) {
            assert_eq!(served, state, "{what}");
            // What is still to be removed may by then be a name of the server's.
            assert!(!crash.disk.files().contains_key("repair.todo"), "{what}");
            ready += 1;
        }
        if crashes % 5 == 0 {
            let again = Recording::of(repair(&crashed), &crashed, &scratch).1.any_crash(&mut random);
            again.disk.write_to(&crashed);
            assert_eq!(gone(damaged, &again.disk.files()), Vec::<&String>::new(), "{what}, then {}", again.what);
        }
        let again = run(repair(&crashed));
        assert_eq!(again.code, Some(0), "{what}: {}{}", again.out, again.err);
        assert_eq!(served(&crashed).as_ref(), Some(&state), "{what}: {}", again.out);
        if crashes % 4 == 0 {
            assert_eq!(osprey(["check", text(&crashed)]).code, Some(0), "{what}");
        }
        let left = read(&crashed);
        assert_eq!(gone(damaged, &left), Vec::<&String>::new(), "{what}: {}", again.out);
        assert!(!left.keys().any(|name| name.ends_with(".repair") || name == "repair.todo"), "{what}: {:?}", left.keys());
    }
    println!("{} steps, {crashes} crashes, {ready} of them at the end", recording.steps());
    // Also of files that a server had written and not synced when it was killed: they are safe before any is replaced.
    recording.unsynced = true;
    for crash in recording.crashes() {
        let found = crash.disk.files();
        if found.contains_key("repair.todo") || crash.step == recording.steps() {
            assert_eq!(gone(damaged, &found), Vec::<&String>::new(), "{}", crash.what);
        }
    }
    assert!(crashes > 20 && ready > 0 && ready < crashes / 2, "{crashes} crashes, {ready} at the end");
    repaired
}

fn files(segments: &Segments) -> Files {
    let directory = tempfile::tempdir().unwrap();
    write_to(directory.path(), segments);
    read(directory.path())
}

/// A bit in the middle segment.
fn flipped() -> Segments {
    let mut segments = segments();
    let bytes = segments.get_mut(&MIDDLE).unwrap();
    let (offset, _) = frames(bytes)[1];
    bytes[offset + FRAME_HEADER_BYTES + 200] ^= 4;
    segments
}

#[test]
fn a_repair_that_writes_one_segment_anew_and_sets_a_snapshot_aside() {
    let mut files = files(&flipped());
    files.insert("snap-00000005-00000006.osnap".to_owned(), b"no snapshot".to_vec());
    crash_repair(&files, &[]);
}

#[test]
fn a_repair_that_cuts() {
    let repaired = crash_repair(&files(&flipped()), &["--cut"]);
    assert!(repaired.out.contains(": moved to quarantine"), "{}", repaired.out);
}

#[test]
fn a_repair_of_segments_with_wrong_names() {
    let mut segments = segments();
    let (a, b) = (segments.remove(&2).unwrap(), segments.remove(&MIDDLE).unwrap());
    segments.extend([(MIDDLE, a), (2, b)]);
    segments.remove(&1);
    crash_repair(&files(&segments), &[]);
}

#[test]
fn a_repair_that_saves_what_it_can_of_snapshots() {
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    let _ = data_in_blocks(&data, 3);
    for path in snapshots_of(&data) {
        flip(&path, blocks(&fs::read(&path).unwrap())[1] + 500);
    }
    let repaired = crash_repair(&read(&data), &[]);
    assert!(repaired.out.contains(".osnap: written anew"), "{}", repaired.out);
}

/// Crashes what fills a new directory from `source` everywhere.
fn crash_filling(source: &Path, arguments: impl Fn(&Path, &Path) -> Vec<String>) {
    let scratch = tempfile::tempdir().unwrap();
    let scratch = scratch.path().canonicalize().unwrap();
    let (whole, crashed) = (scratch.join("whole"), scratch.join("crashed"));
    fs::create_dir(&whole).unwrap();
    fs::create_dir(&crashed).unwrap();
    let fill = |root: &Path| command(arguments(source, &root.join("above/data")));
    let (ran, recording) = Recording::of(fill(&whole), &whole, &scratch);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let state = done(["dump", text(&whole.join("above/data"))]);
    let noted = recording.events().position(|event| matches!(event, Event::DirectorySynced { name: b"above/data", .. })).unwrap();
    let (mut crashes, mut ready, mut refused) = (0, 0, 0);
    for crash in recording.crashes() {
        crash.disk.write_to(&crashed);
        let (what, data) = (&crash.what, crashed.join("above/data"));
        crashes += 1;
        let found = crash.disk.files();
        let is_empty = found.keys().all(|name| name.ends_with("/LOCK"));
        match (is_empty, served(&data)) {
            // A server would begin with nothing: so nobody may have waited for more than an instant.
            (true, _) => assert!(crash.step <= noted, "{what}: nothing is left"),
            (false, Some(served)) => {
                assert_eq!(served, state, "{what}");
                ready += 1;
            }
            (false, None) => {
                refused += 1;
                if refused % 10 == 1 {
                    let refused = Setup::new(&data).try_start().expect_err("what is not whole");
                    assert_eq!(refused.status.code(), Some(1), "{what}: {}", refused.log);
                    assert!(refused.log.contains("is half filled"), "{what}: {}", refused.log);
                }
                let again = run(fill(&crashed));
                assert_eq!(again.code, Some(0), "{what}: {}{}", again.out, again.err);
                assert_eq!(served(&data).as_ref(), Some(&state), "{what}");
                assert!(!read(&data).contains_key("unfinished"), "{what}");
            }
        }
        if crash.step == recording.steps() {
            assert_eq!(served(&data).as_ref(), Some(&state), "{what}: it has said that it is done");
        }
    }
    println!("{} steps, {crashes} crashes, {refused} of them half way, {ready} at the end", recording.steps());
    assert!(refused > 10 && ready > 0, "{refused} half way, {ready} at the end");
}

#[test]
fn a_restore_half_way_is_no_database() {
    let source = tempfile::tempdir().unwrap();
    write_to(source.path(), &segments());
    let words = |source: &Path, data: &Path| ["restore", text(source), text(data)].map(str::to_owned).to_vec();
    crash_filling(source.path(), words);
    let earlier = |source: &Path, data: &Path| ["restore", text(source), text(data), "--at", "100"].map(str::to_owned).to_vec();
    crash_filling(source.path(), earlier);
}

#[test]
fn a_backup_half_way_is_no_database() {
    let source = tempfile::tempdir().unwrap();
    write_to(source.path(), &segments());
    crash_filling(source.path(), |source, copy| ["backup", text(copy), text(source)].map(str::to_owned).to_vec());
}

#[test]
fn a_load_half_way_is_no_database() {
    let source = tempfile::tempdir().unwrap();
    write_to(source.path(), &segments());
    let dump = source.path().join("dump.jsonl");
    done(["dump", text(source.path()), "--output", text(&dump)]);
    crash_filling(&dump, |dump, data| ["load", text(dump), text(data)].map(str::to_owned).to_vec());
}
