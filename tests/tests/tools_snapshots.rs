//! `osprey check` and `repair` where snapshots are damaged: what serves instead, and what is saved of them (invariant 9).

use std::collections::BTreeMap;
use std::fs;

use osprey::client::blocking::Client;
use osprey_core::protocol::command::SetOptions;
use osprey_core::storage::SnapshotName;
use osprey_tests::directory::segments;
use osprey_tests::sample_log::frames;
use osprey_tests::sample_snapshots::{blocks, data_in_blocks, data_with_snapshots, flip, snapshots_of};
use osprey_tests::server_process::Setup;
use osprey_tests::tool::{done, osprey, text};
use tempfile::TempDir;

fn scratch() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// Each key's line of a dump.
fn lines(dump: &str) -> BTreeMap<String, String> {
    let key = |line: &str| line.split("\"key\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a key").to_owned();
    dump.lines().skip(1).map(|line| (key(line), line.to_owned())).collect()
}

#[test]
fn a_damaged_snapshot_is_set_aside_and_nothing_is_lost() {
    let scratch = scratch();
    let data = scratch.path().join("data");
    let snapshots = data_with_snapshots(&data);
    let dump = done(["dump", text(&data)]);
    // The spare first, which a server would not look at.
    for name in &snapshots {
        let length = fs::metadata(data.join(name)).expect("a snapshot").len();
        flip(&data.join(name), usize::try_from(length).expect("small") / 2);
        let checked = osprey(["check", text(&data)]);
        assert_eq!(checked.code, Some(3), "{}", checked.out);
        assert!(checked.out.contains(&format!("damaged: {name}: ")), "{}", checked.out);
        let repaired = osprey(["repair", text(&data), "--yes"]);
        assert_eq!(repaired.code, Some(0), "{}{}", repaired.out, repaired.err);
        assert!(
            repaired.out.contains("no record is lost") && repaired.out.contains(&format!("{name}: moved to quarantine")),
            "{}",
            repaired.out
        );
        assert_eq!((done(["dump", text(&data)]), osprey(["check", text(&data)]).code), (dump.clone(), Some(0)));
    }
    Setup::new(&data).start().stop();
}

/// Every snapshot is damaged, each somewhere else: what is whole of them is put together, with the log behind.
#[test]
fn of_damaged_snapshots_whole_blocks_are_saved() {
    let scratch = scratch();
    let data = scratch.path().join("data");
    let dump = data_in_blocks(&data, 3);
    let [older, newer] = snapshots_of(&data).try_into().expect("two snapshots");
    // The header of one, a block in the middle and the footer of the other: every entry is whole in one of them.
    let in_newer = blocks(&fs::read(&newer).expect("a snapshot"));
    assert!(in_newer.len() > 4, "{in_newer:?}");
    flip(&older, 20);
    flip(&newer, in_newer[1] + 100);
    flip(&newer, in_newer[in_newer.len() - 1] + 12);
    let checked = osprey(["check", text(&data)]);
    assert_eq!(checked.code, Some(1), "{}", checked.out);
    let refused = Setup::new(&data).try_start().expect_err("no generation is whole");
    assert_eq!(refused.status.code(), Some(1), "{}", refused.log);
    let repaired = osprey(["repair", text(&data), "--yes"]);
    assert_eq!(repaired.code, Some(0), "{}{}", repaired.out, repaired.err);
    assert!(repaired.out.contains("no record of the log is lost") && !repaired.out.contains("lost: "), "{}", repaired.out);
    assert_eq!(lines(&done(["dump", text(&data)])), lines(&dump), "{}", repaired.out);
    assert_eq!(osprey(["check", text(&data)]).code, Some(0));
    // Versions that cannot be known are not given again: a new key's is above every LSN.
    let server = Setup::new(&data).start();
    let mut client = Client::connect(&server.address.to_string()).expect("a server");
    assert!(client.set("new", "", &SetOptions::default()).expect("stored").0 > 200, "{}", repaired.out);
    server.stop();
    let quarantined =
        fs::read_dir(&data).expect("a directory").flatten().find(|entry| entry.file_name().to_string_lossy().starts_with("quarantine-"));
    let quarantine = quarantined.expect("a quarantine").path();
    for path in [&older, &newer] {
        assert!(quarantine.join(path.file_name().expect("a name")).exists(), "{}", repaired.out);
    }
}

/// One block is damaged in both: its entries are named, but for those that were written later; all others stay.
#[test]
fn what_no_snapshot_has_whole_is_named() {
    let scratch = scratch();
    let data = scratch.path().join("data");
    let dump = data_in_blocks(&data, 3);
    let snapshots = snapshots_of(&data);
    for path in &snapshots {
        let offsets = blocks(&fs::read(path).expect("a snapshot"));
        // In the value of the block's first entry: keys can still be made out. (Each run has an order of its own, so the blocks are not the same.)
        flip(path, offsets[1] + 24 + 4 + 500);
        flip(path, offsets[2] + 24 + 4 + 500);
    }
    let checked = osprey(["check", text(&data)]);
    let repaired = osprey(["repair", text(&data), "--yes"]);
    assert_eq!(repaired.code, Some(0), "{}{}", repaired.out, repaired.err);
    let named: Vec<String> = repaired
        .out
        .lines()
        .filter_map(|line| line.strip_prefix("lost: the entry of ")?.strip_suffix(", unless it was written later"))
        .map(str::to_owned)
        .collect();
    assert!(named.len() > 5, "{}", repaired.out);
    assert!(named.iter().all(|key| checked.out.contains(&format!("lost: the entry of {key},"))), "a check says the same: {}", checked.out);
    let (before, after) = (lines(&dump), lines(&done(["dump", text(&data)])));
    assert!(after.len() < before.len(), "something is lost");
    for (key, line) in &before {
        match after.get(key) {
            Some(found) => assert_eq!(found, line),
            None => assert!(named.contains(key), "{key} is gone without a word: {}", repaired.out),
        }
    }
    assert!(after.keys().all(|key| before.contains_key(key)), "nothing comes back");
    assert_eq!(osprey(["check", text(&data)]).code, Some(0));
    Setup::new(&data).start().stop();
}

/// The log behind the snapshots is damaged, too, and nothing is to be kept behind that: what is whole of the snapshots serves, and the log up to there.
#[test]
fn a_cut_behind_damaged_snapshots_keeps_what_is_whole_of_them() {
    let scratch = scratch();
    let data = scratch.path().join("data");
    let dump = data_in_blocks(&data, 3);
    let [older, newer] = snapshots_of(&data).try_into().expect("two snapshots");
    // Each entry is whole in one of them.
    flip(&older, 20);
    flip(&newer, blocks(&fs::read(&newer).expect("a snapshot"))[1] + 100);
    let end = SnapshotName::parse(newer.file_name().and_then(|name| name.to_str()).expect("a name")).expect("a snapshot").end.0;
    // Behind the newest snapshot there are one frame a write; the fifth is damaged.
    let last = segments(&data).pop().expect("a segment");
    let (offset, header) = frames(&fs::read(&last).expect("a segment"))[4];
    assert_eq!(header.first_lsn.0, end + 5);
    let log = done(["log", text(&data), "--json", "--from-lsn", &(end + 1).to_string()]);
    flip(&last, offset + 300);
    let records: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let written: BTreeMap<String, u64> =
        records.iter().filter_map(|record| Some((record["key"].as_str()?.to_owned(), record["lsn"].as_u64()?))).collect();
    assert!(written.len() > 10, "{log:.2000}");

    let repaired = osprey(["repair", text(&data), "--cut", "--yes"]);
    assert_eq!(repaired.code, Some(0), "{}{}", repaired.out, repaired.err);
    assert!(repaired.out.contains(&format!("lost: LSN {}–", end + 5)) && !repaired.out.contains("lost: the entry"), "{}", repaired.out);
    let (before, after) = (lines(&dump), lines(&done(["dump", text(&data)])));
    for (key, line) in &before {
        match written.get(key) {
            // Not written since, or in front of the cut.
            None => assert!(after.get(key) == Some(line), "{key}"),
            Some(&lsn) if lsn < end + 5 => assert!(after.get(key) == Some(line), "{key}"),
            // What it was at the moment of the cut.
            Some(_) => {
                let found = after.get(key).unwrap_or_else(|| panic!("{key} is missing: {}", repaired.out));
                assert!(!found.contains("\"value\":\"3:"), "{key}: {found:.100}");
                assert!(repaired.out.contains(&format!("lost: a write to {key}\n")), "{key}: {}", repaired.out);
            }
        }
    }
    assert_eq!(after.len(), before.len() + 1, "the last deletion is behind the cut");
    assert_eq!(osprey(["check", text(&data)]).code, Some(0));
    Setup::new(&data).start().stop();
}

/// Damage in front of the snapshots' end: an entry of theirs may show what is behind the cut, so none can be kept.
#[test]
fn a_cut_before_the_snapshots_end_keeps_nothing_of_them_and_says_so() {
    let scratch = scratch();
    let data = scratch.path().join("data");
    let dump = data_in_blocks(&data, 3);
    for path in snapshots_of(&data) {
        flip(&path, blocks(&fs::read(&path).expect("a snapshot"))[1] + 100);
    }
    let oldest = segments(&data).swap_remove(0);
    let (offset, _) = frames(&fs::read(&oldest).expect("a segment"))[2];
    flip(&oldest, offset + 300);
    let asked = osprey(["repair", text(&data), "--cut"]);
    assert_eq!(asked.code, Some(1), "{}", asked.err);
    assert!(asked.out.contains("lost: LSN 1–"), "{}", asked.out);
    let gentle = osprey(["repair", text(&data), "--yes"]);
    assert_eq!(gentle.code, Some(0), "{}{}", gentle.out, gentle.err);
    let (before, after) = (lines(&dump), lines(&done(["dump", text(&data)])));
    assert!(after.len() * 2 > before.len(), "{} of {} keys: {}", after.len(), before.len(), gentle.out);
    Setup::new(&data).start().stop();
}

/// A start doesn't need it, and doesn't notice; a check says what could not be fallen back on, and the next snapshots put it right.
#[test]
fn damage_to_what_only_the_older_generation_needs_is_warned_of() {
    let scratch = scratch();
    let data = scratch.path().join("data");
    let dump = data_in_blocks(&data, 3);
    let sound = done(["check", text(&data)]);
    assert!(sound.contains("and the log behind it: the same data, if ever a server has to fall back on it"), "{sound}");
    let oldest =
        fs::read_dir(&data).expect("a directory").flatten().map(|entry| entry.path()).filter(|path| text(path).ends_with(".oswal")).min();
    let oldest = oldest.expect("a segment");
    let bytes = fs::read(&oldest).expect("a segment");
    let damages: [&dyn Fn(); 4] =
        [&|| flip(&oldest, 4096 + 200), &|| flip(&oldest, 40), &|| fs::write(&oldest, &bytes[..5000]).expect("a segment"), &|| {
            fs::remove_file(&oldest).expect("a segment");
        }];
    for (at, damage) in damages.iter().enumerate() {
        damage();
        let checked = osprey(["check", text(&data)]);
        assert_eq!(checked.code, Some(3), "{at}: {}{}", checked.out, checked.err);
        assert!(checked.out.contains("warning: snap-") && checked.out.contains("\nsound: "), "{at}: {}", checked.out);
        let repaired = osprey(["repair", text(&data), "--yes"]);
        assert_eq!((repaired.code, repaired.out.contains("nothing to repair")), (Some(0), true), "{at}: {}", repaired.out);
        assert_eq!(done(["dump", text(&data)]), dump, "{at}");
        fs::write(&oldest, &bytes).expect("a segment");
    }
    flip(&oldest, 4096 + 200);
    let server = Setup::new(&data).start();
    let mut client = Client::connect(&server.address.to_string()).expect("a server");
    for round in 0..2 {
        client.set("key:0", format!("{round}"), &SetOptions::default()).expect("stored");
        client.snapshot().expect("published");
    }
    server.stop();
    assert!(!oldest.exists(), "it has gone with its generation");
    assert_eq!(osprey(["check", text(&data)]).code, Some(0));
}

#[test]
fn without_any_snapshot_a_log_that_begins_late_is_what_is_left() {
    let scratch = scratch();
    let data = scratch.path().join("data");
    let snapshots = data_with_snapshots(&data);
    for name in &snapshots {
        let mut bytes = fs::read(data.join(name)).expect("a snapshot");
        // Not a block is whole.
        bytes.truncate(100);
        fs::write(data.join(name), bytes).expect("a snapshot");
    }
    // What a run would have removed in time.
    fs::remove_file(data.join("wal-00000001.oswal")).expect("a segment");
    assert_eq!(osprey(["check", text(&data)]).code, Some(1));
    let repaired = osprey(["repair", text(&data), "--yes"]);
    assert_eq!(repaired.code, Some(0), "{}{}", repaired.out, repaired.err);
    assert!(repaired.out.contains("lost: LSN 1–40,"), "{}", repaired.out);
    assert_eq!(done(["dump", text(&data)]).matches("\"value\":\"2\"").count(), 20);
    Setup::new(&data).start().stop();
}
