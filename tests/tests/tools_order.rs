//! `osprey repair` and power cuts: in which order it makes durable what it writes, as the library of `tests/power_cut` sees it. Whatever a power cut takes of what comes later, the next repair goes on from there
//! (`tests/tests/tools_repair.rs` does, from every step).
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use osprey_tests::directory::{names, segments, snapshots};
use osprey_tests::power_cut::event::Event;
use osprey_tests::power_cut::library;
use osprey_tests::program::program;
use osprey_tests::server_process::Setup;

/// A directory with a damaged segment, which will be written anew, and a snapshot without its log, which will be removed.
fn damaged(data: &Path) {
    let setup = Setup::new(data).option("wal_segment_bytes", "65536").option("max_value_bytes", "1024").option("max_args", "16");
    let server = setup.option("enable_snapshot", "false").start();
    let mut client = server.connect();
    for key in 0..200 {
        client.set(format!("key:{key}").as_bytes(), &[b'x'; 1000]).unwrap();
    }
    server.stop();
    for path in [&segments(data)[1], &segments(data)[2]] {
        let mut bytes = fs::read(path).unwrap();
        bytes[20_000] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    fs::write(data.join("snap-00000005-00000006.osnap"), b"no snapshot").unwrap();
    assert_eq!(snapshots(data).len(), 1);
}

#[test]
fn a_repair_changes_names_only_when_what_it_replaces_is_safe() {
    let scratch = tempfile::tempdir().unwrap();
    let scratch = scratch.path().canonicalize().unwrap();
    let (data, journal) = (scratch.join("data"), scratch.join("journal"));
    damaged(&data);
    let inode = |name: &str| fs::metadata(data.join(name)).unwrap().ino();
    let originals: BTreeMap<String, u64> = names(&data).into_iter().map(|name| (name.clone(), inode(&name))).collect();
    let mut repair = Command::new(program("osprey"));
    repair.arg("repair").arg(&data).arg("--yes").env("LD_PRELOAD", library());
    let repaired = repair.env("POWER_CUT_DIRECTORY", &data).env("POWER_CUT_JOURNAL", &journal).output().unwrap();
    let out = String::from_utf8_lossy(&repaired.stdout);
    assert!(repaired.status.success(), "{out}");

    let journal = fs::read(journal).unwrap();
    let (mut events, mut rest) = (Vec::new(), journal.as_slice());
    while let Some((event, behind)) = Event::decode(rest) {
        events.push(event);
        rest = behind;
    }
    let noted =
        events.iter().position(|event| matches!(event, Event::Renamed { to: b"repair.todo", .. })).expect("a note of what is to be done");
    let is_data = |name: &[u8]| name.starts_with(b"wal-") || name.starts_with(b"snap-");
    let synced = |wanted: u64, from: usize, until: usize| {
        let covers_it =
            |event: &Event<'_>| matches!(event, Event::Synced { inode, covers, .. } if *inode == wanted && *covers >= from as u64);
        events[from..until].iter().any(covers_it)
    };
    let directory_synced = |from: usize, until: usize| {
        events[from..until].iter().any(|event| matches!(event, Event::DirectorySynced { covers } if *covers >= from as u64))
    };

    // What is replaced has a second name, and that and its bytes are on disk.
    let quarantine = names(&data).into_iter().find(|name| name.starts_with("quarantine-")).unwrap();
    assert!(synced(inode(&quarantine), 0, noted), "the names in the quarantine");
    let mut changed = 0;
    for (at, event) in events.iter().enumerate() {
        let name = match event {
            Event::Renamed { from, to } if is_data(to) => {
                let made = events.iter().find_map(|event| match event {
                    Event::Opened { inode, name, made: true, .. } if name == from => Some(*inode),
                    _ => None,
                });
                let made = made.expect("it was written in this run");
                let written = events[..at].iter().rposition(|event| matches!(event, Event::Written { inode, .. } if *inode == made));
                assert!(synced(made, written.expect("its bytes") + 1, at), "{} is on disk before it gets its name", to.escape_ascii());
                to
            }
            Event::Removed { name } if is_data(name) && !name.ends_with(b".repair") => name,
            _ => continue,
        };
        changed += 1;
        let name = String::from_utf8(name.to_vec()).unwrap();
        assert!(at > noted, "{name} is changed before that is noted");
        assert!(directory_synced(noted + 1, at), "{name} is changed before the note is on disk");
        assert!(synced(originals[&name], 0, noted), "{name} is on disk in the quarantine");
        assert!(data.join(&quarantine).join(&name).exists());
    }
    assert!(changed >= 3, "two segments and a snapshot: {out}");
    let last = events.iter().rposition(|event| matches!(event, Event::Renamed { .. } | Event::Removed { .. })).unwrap();
    assert!(directory_synced(last + 1, events.len()), "and in the end all names are");
}
