//! What the tools say and leave where something is wrong that is no damage: a wrong path, a wrong file, a full disk, a reader that has heard enough, a moment that is too early. An error names what is wrong and where,
//! the exit status is the one that is documented, and nothing half written stays.
#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use osprey_core::checksum::crc32c;
use osprey_tests::directory::{names, segments as segments_of};
use osprey_tests::sample_log::{MIDDLE, Segments, directory, frames, segments};
use osprey_tests::sample_snapshots::data_in_blocks;
use osprey_tests::server_process::Setup;
use osprey_tests::tool::{Ran, command, done, osprey, run, text};
use tempfile::TempDir;

fn scratch() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// It fails with this status, and says each of these on one line of standard error.
fn fails(arguments: &[&str], code: i32, said: &[&str]) {
    let ran = osprey(arguments);
    assert_eq!(ran.code, Some(code), "{arguments:?}: {}{}", ran.out, ran.err);
    assert!(ran.err.lines().any(|line| said.iter().all(|said| line.contains(said))), "{arguments:?}: {}", ran.err);
}

#[test]
fn a_directory_without_data_is_not_called_sound() {
    let scratch = scratch();
    let (empty, copy) = (scratch.path().join("empty"), scratch.path().join("copy"));
    fs::create_dir(&empty).unwrap();
    fs::write(empty.join("notes.txt"), "not ours").unwrap();
    for tool in [&["check", text(&empty)][..], &["dump", text(&empty)], &["log", text(&empty)], &["repair", text(&empty)]] {
        fails(tool, 2, &["there is no data in", text(&empty)]);
    }
    fails(&["backup", text(&copy), text(&empty)], 2, &["there is no data in", text(&empty)]);
    fails(&["restore", text(&empty), text(&copy)], 2, &["there is no data in", text(&empty)]);
    assert!(!copy.exists());
    assert_eq!(names(&empty), ["notes.txt"], "a directory that is none of ours is left as it is");
}

#[test]
fn a_file_in_place_of_a_directory_is_said() {
    let (scratch, data) = (scratch(), directory(&segments()));
    let file = scratch.path().join("file");
    fs::write(&file, "").unwrap();
    let (file, data) = (text(&file), text(data.path()));
    let file_to_load = ["load", file, file];
    for arguments in [&["check", file][..], &["backup", file, data], &["restore", file, "x"], &["restore", data, file], &file_to_load] {
        fails(arguments, 2, &[file, "is not a directory"]);
    }
    fails(&["load", data, "x"], 2, &[data, "is a directory, not a dump"]);
    let refused = Setup::new(Path::new(file)).try_start().unwrap_err();
    assert!(refused.log.contains("a file stands in its place"), "{}", refused.log);
}

#[test]
fn a_dump_that_is_cut_short_is_refused() {
    let scratch = scratch();
    let data = directory(&segments());
    for form in ["jsonl", "csv"] {
        let (file, loaded) = (scratch.path().join(format!("dump.{form}")), scratch.path().join("loaded"));
        done(["dump", text(data.path()), "-o", text(&file)]);
        let whole = fs::read_to_string(&file).unwrap();
        let short: Vec<&str> = whole.lines().collect();
        fs::write(&file, short[..short.len() - 1].join("\n") + "\n").unwrap();
        fails(&["load", text(&file), text(&loaded)], 1, &[text(&file), "it is cut short"]);
        fs::write(&file, "").unwrap();
        fails(&["load", text(&file), text(&loaded)], 1, &[text(&file), "it is empty"]);
        assert!(!loaded.exists());
        // Two of them in a row are one, if a header doesn't come between.
        if form == "jsonl" {
            fs::write(&file, whole.repeat(2)).unwrap();
            done(["load", text(&file), text(&loaded)]);
            fs::remove_dir_all(&loaded).unwrap();
        }
    }
    let other = scratch.path().join("other.csv");
    fs::write(&other, "name,price\nx,1\n").unwrap();
    fails(&["load", text(&other), text(&scratch.path().join("loaded"))], 1, &["the columns must be key,value,version,expiry,encoding"]);
    let broken = scratch.path().join("broken.jsonl");
    fs::write(&broken, "{\"key\":\"a\",\"value\":\"\"}\n{\"key\":").unwrap();
    fails(&["load", text(&broken), text(&scratch.path().join("loaded"))], 1, &["line 2: EOF while parsing a value, at byte 7"]);
}

/// Runs a tool that can't write files longer than some blocks, as on a disk that is full.
fn without_room(arguments: &[&str]) -> Ran {
    let tool = command(arguments);
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -f 10; trap '' XFSZ; exec \"$0\" \"$@\""]).arg(tool.get_program()).args(tool.get_args()).stdin(Stdio::null());
    run(shell)
}

/// An older dump by the same name is there until the new one is whole.
#[test]
fn a_dump_replaces_a_file_when_it_is_whole() {
    let scratch = scratch();
    let data = directory(&segments());
    let (file, link) = (scratch.path().join("dump.jsonl"), scratch.path().join("link.jsonl"));
    fs::write(&file, "the older one").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let arguments = ["dump", text(data.path()), "-o", text(&link)];
    let ran = without_room(&arguments);
    assert!(ran.code == Some(2) && ran.err.contains(&format!("cannot write {}", text(&link))), "{ran:?}");
    assert_eq!(fs::read(&file).unwrap(), b"the older one");
    assert_eq!(names(scratch.path()), ["dump.jsonl", "link.jsonl"], "nothing half written stays");
    done(arguments);
    assert!(fs::read(&file).unwrap().starts_with(b"{\"osprey_dump\"") && link.is_symlink());
    // A device is no file to be replaced.
    done(["dump", text(data.path()), "-o", "/dev/null"]);
    fails(&["dump", text(data.path()), "-o", "/dev/full"], 2, &["cannot write /dev/full: No space left on device"]);
}

#[test]
fn what_does_not_fit_leaves_nothing() {
    let scratch = scratch();
    let data = directory(&segments());
    let (target, kept) = (scratch.path().join("target"), scratch.path().join("kept"));
    let dump = scratch.path().join("dump.jsonl");
    done(["dump", text(data.path()), "-o", text(&dump)]);
    fs::create_dir(&kept).unwrap();
    for target in [&target, &kept] {
        for arguments in
            [["restore", text(data.path()), text(target)], ["backup", text(target), text(data.path())], ["load", text(&dump), text(target)]]
        {
            let ran = without_room(&arguments);
            assert!(ran.code == Some(2) && ran.err.contains(text(target)) && ran.err.contains("File too large"), "{arguments:?}: {ran:?}");
            assert!(!target.exists() || names(target) == ["LOCK"], "{arguments:?}: {:?}", names(target));
        }
    }
    assert!(!target.exists() && kept.exists(), "what was there stays");
    done(["restore", text(data.path()), text(&kept)]);
}

/// `head` ends; the repair does not, and a check's status says what it has found.
#[test]
fn who_has_heard_enough_stops_nothing() {
    let mut damaged: Segments = segments();
    let bytes = damaged.get_mut(&MIDDLE).unwrap();
    let (offset, _) = frames(bytes)[1];
    bytes[offset + 300] ^= 1;
    let data = directory(&damaged);
    let deaf = |arguments: &[&str]| {
        let mut child = command(arguments).stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        child.wait().unwrap().code()
    };
    assert_eq!(deaf(&["check", text(data.path())]), Some(1));
    assert_eq!(deaf(&["repair", text(data.path()), "--yes"]), Some(0));
    assert_eq!(osprey(["check", text(data.path())]).code, Some(0), "it was repaired all the same");
    assert_eq!(deaf(&["dump", text(data.path())]), Some(0));
    assert_eq!(deaf(&["log", text(data.path())]), Some(0));
}

/// A newer version's files must not be taken apart by this one.
#[test]
fn what_another_version_has_written_is_not_repaired() {
    let mut newer = segments();
    for bytes in newer.values_mut() {
        bytes[8] = 2;
        let crc = crc32c(0, &bytes[..92]);
        bytes[92..96].copy_from_slice(&crc.to_le_bytes());
    }
    let data = directory(&newer);
    let before = osprey_tests::power_cut::read(data.path());
    fails(&["repair", text(data.path()), "--yes"], 1, &["its format is 2, this version reads format 1", "another version of Osprey"]);
    let checked = osprey(["check", text(data.path())]);
    assert!(checked.code == Some(1) && checked.out.contains("another version of Osprey"), "{}", checked.out);
    let refused = Setup::new(data.path()).try_start().unwrap_err();
    assert!(refused.log.contains("If another version of Osprey has written it, start that"), "{}", refused.log);
    let mut after = osprey_tests::power_cut::read(data.path());
    after.remove("LOCK");
    assert!(before == after, "nothing was changed");
}

#[test]
fn a_moment_that_the_log_does_not_reach_back_to_is_said() {
    let scratch = scratch();
    let (data, target) = (scratch.path().join("data"), scratch.path().join("target"));
    let plain = directory(&segments());
    let restore = |source: &Path, at: &str, said: &[&str]| {
        fails(&["restore", text(source), text(&target), "--at", at], 2, said);
        assert!(!target.exists(), "{at}");
    };
    restore(plain.path(), "0", &["the log begins later than that, at LSN 1, ", "nothing was restored"]);
    // The log is of the first hour of 1970.
    restore(plain.path(), "1970-01-01T01:00:00+01:00", &["the log begins later than that, at LSN 1, "]);
    restore(plain.path(), "2026-01-31T12:00:00", &["a time is written as in 2026-01-31T12:00:00Z or 2026-01-31T13:00:00+01:00"]);
    // Behind all there is: the newest.
    let said = done(["restore", text(plain.path()), text(&target), "--at", "2100-01-01T00:00:00Z"]);
    assert!(said.contains("as of LSN "), "{said}");
    fs::remove_dir_all(&target).unwrap();
    let _ = data_in_blocks(&data, 3);
    let oldest = frames(&fs::read(&segments_of(&data)[0]).unwrap())[0].1.first_lsn.0;
    restore(&data, &oldest.to_string(), &["it does not reach back to LSN", "the oldest snapshot is as of LSN"]);
}

#[test]
fn a_file_that_is_no_rdb_file_is_said() {
    let scratch = scratch();
    let (file, target) = (scratch.path().join("dump.rdb"), scratch.path().join("target"));
    for bytes in [&b""[..], b"REDIS", b"{\"key\":1}", b"REDIS0012"] {
        fs::write(&file, bytes).unwrap();
        let said = if bytes.starts_with(b"REDIS0") { "it ends too early" } else { "it is no RDB file" };
        fails(&["import-redis", text(&file), text(&target)], 1, &[text(&file), said]);
    }
    assert!(!target.exists());
}
