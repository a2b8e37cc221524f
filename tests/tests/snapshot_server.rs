//! Snapshots of the real server: `SNAPSHOT` and SIGUSR1, what is in the directory when they are answered, what goes from it and what stays (invariants 7, 10).
#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use osprey::client::Error;
use osprey::client::blocking::Client;
use osprey_core::protocol::command::SetOptions;
use osprey_core::protocol::error::ErrorCode;
use osprey_tests::directory::{DRAFT, names, segments, snapshots, verify, wait_until};
use osprey_tests::program::program;
use osprey_tests::server_process::{ServerProcess, Setup};
use rustix::process::Signal;

/// With requests so small that segments can be, too; nothing is taken that isn't asked for.
fn setup(directory: &Path) -> Setup {
    let setup = Setup::new(directory).option("enable_snapshot", "false");
    setup.option("wal_segment_bytes", "65536").option("max_value_bytes", "1024").option("max_args", "16")
}

fn connect(server: &ServerProcess) -> Client {
    Client::connect(&server.address.to_string()).unwrap()
}

/// Keys with values of 1000 bytes.
fn fill(client: &mut Client, keys: std::ops::Range<u32>, value: u8) {
    let mut pipeline = client.pipeline();
    for key in keys {
        pipeline.set(format!("key:{key}"), [value; 1000], &SetOptions::default());
    }
    assert!(pipeline.run().iter().all(Result::is_ok));
}

fn stats(client: &mut Client) -> BTreeMap<String, String> {
    client.stats().unwrap().into_iter().collect()
}

fn stat(client: &mut Client, name: &str) -> u64 {
    stats(client)[name].parse().unwrap()
}

fn osprey(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(program("osprey")).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
}

#[test]
fn snapshot_is_answered_when_it_is_there_and_others_are_served_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    // Three megabytes in more than a second.
    let server = setup(path).option("snapshot_bandwidth_max", "2000000").start();
    let mut client = connect(&server);
    fill(&mut client, 0..3000, b'a');
    let mut asking = connect(&server);
    let (mut unpublished, mut slowest) = (0, Duration::ZERO);
    thread::scope(|scope| {
        let asked = scope.spawn(move || {
            let begin = Instant::now();
            asking.snapshot().unwrap();
            // Whoever has the answer finds it.
            let found = snapshots(path);
            assert_eq!(found.len(), 1, "{:?}", names(path));
            assert_eq!(verify(path, found[0]), Ok(3000));
            begin.elapsed()
        });
        while !asked.is_finished() {
            let begin = Instant::now();
            fill(&mut client, 0..1, b'b');
            slowest = slowest.max(begin.elapsed());
            if stat(&mut client, "snapshot_running") == 1 && snapshots(path).is_empty() {
                assert_eq!(stat(&mut client, "snapshots_total"), 0);
                unpublished += 1;
            }
            thread::sleep(Duration::from_millis(1));
        }
        let took = asked.join().unwrap();
        assert!(took > Duration::from_millis(900), "3 MB at 2 MB/s in {took:?}");
    });
    assert!(unpublished > 10, "it has a name only when it is whole");
    assert!(slowest < Duration::from_millis(200), "others waited for {slowest:?}");
    let after = stats(&mut client);
    assert_eq!(after["snapshot_current"], snapshots(path)[0].to_string());
    assert_eq!(
        (after["snapshots_total"].as_str(), after["snapshots_kept"].as_str(), after["snapshot_last_error"].as_str()),
        ("1", "1", "none")
    );
    assert!(!names(path).contains(&DRAFT.to_owned()));
    let wanted = client.get("key:0").unwrap();
    server.kill();
    let server = setup(path).start();
    assert!(server.ready.contains(&after["snapshot_current"]), "{}", server.ready);
    assert_eq!(connect(&server).get("key:0").unwrap(), wanted);
    server.stop();
}

#[test]
fn the_log_is_shorter_after_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let server = setup(path).start();
    let mut client = connect(&server);
    fill(&mut client, 0..1000, b'a');
    client.snapshot().unwrap();
    let before = segments(path);
    assert!(
        before.len() > 15 && before[0].ends_with("wal-00000001.oswal"),
        "as long as there is one, the log from its beginning is the other"
    );
    for round in [b'b', b'c'] {
        fill(&mut client, 0..100, round);
        client.snapshot().unwrap();
    }
    wait_until("the log is cut", || segments(path).len() < 8);
    assert!(!segments(path).contains(&before[0]));
    assert!((1..=2).contains(&snapshots(path).len()), "{:?}", names(path));
    wait_until("STATS says the same", || {
        let stats = stats(&mut client);
        (stats["wal_segments"].as_str(), stats["snapshots_kept"].as_str())
            == (segments(path).len().to_string().as_str(), snapshots(path).len().to_string().as_str())
    });
    let on_disk: u64 =
        names(path).iter().filter(|name| name.ends_with(".osnap")).map(|name| fs::metadata(path.join(name)).unwrap().len()).sum();
    let said = stat(&mut client, "directory_bytes");
    assert!(said >= on_disk && said < on_disk + (8 << 16), "{said} for snapshots of {on_disk}");
    server.kill();
    let server = setup(path).start();
    let mut client = connect(&server);
    assert_eq!(stat(&mut client, "keys"), 1000);
    assert_eq!(client.get("key:99").unwrap().unwrap().value, [b'c'; 1000]);
    assert_eq!(client.get("key:100").unwrap().unwrap().value, [b'a'; 1000]);
    server.stop();
}

#[test]
fn sigusr1_asks_for_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let server = setup(path).start();
    let mut client = connect(&server);
    for round in 1..=3 {
        fill(&mut client, 0..50, round);
        server.signal(Signal::USR1);
        server.wait_for_line("SIGUSR1: taking a snapshot").unwrap();
        let line = server.wait_for_line("is taken and verified: 50 keys").unwrap();
        let newest = *snapshots(path).last().unwrap();
        assert!(line.contains(&newest.to_string()), "{line}");
        assert_eq!(verify(path, newest), Ok(50));
    }
    assert_eq!(stat(&mut client, "snapshots_total"), 3);
    server.stop();
}

#[test]
fn one_that_is_being_taken_when_the_server_stops_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut server = setup(path).option("snapshot_bandwidth_max", "65536").start();
    let mut client = connect(&server);
    fill(&mut client, 0..2000, b'a');
    let mut asking = connect(&server);
    thread::scope(|scope| {
        let asked = scope.spawn(move || asking.snapshot());
        wait_until("it has begun", || names(path).contains(&DRAFT.to_owned()));
        server.signal(Signal::TERM);
        let refused = asked.join().unwrap();
        assert!(
            matches!(&refused, Err(Error::Server { code: ErrorCode::Internal, message }) if message.contains("stopping")),
            "{refused:?}"
        );
        let ended = server.wait();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    });
    assert_eq!(snapshots(path), []);
    let server = setup(path).start();
    assert!(!names(path).contains(&DRAFT.to_owned()), "what is left of it goes at the next start");
    assert_eq!(stat(&mut connect(&server), "keys"), 2000);
    server.stop();
}

/// Rounds of writes with a snapshot each; afterwards the server is stopped. Returns the log's last LSN of each round.
fn rounds(setup: &Setup) -> Vec<u64> {
    let server = setup.start();
    let mut client = connect(&server);
    let mut ends = Vec::new();
    for round in 1..=6 {
        fill(&mut client, 0..200, round);
        client.snapshot().unwrap();
        ends.push(stat(&mut client, "lsn_last"));
    }
    // The removals behind the last one.
    let end = ends[0];
    fill(&mut client, 0..1, 0);
    assert!(stat(&mut client, "lsn_last") > end);
    server.stop();
    ends
}

/// What `osprey restore --at` makes of it: the value that all keys have.
fn restored(data: &Path, lsn: u64) -> Result<u8, String> {
    let target = tempfile::tempdir().unwrap();
    let to = target.path().join("restored");
    match osprey(&["restore", data.to_str().unwrap(), to.to_str().unwrap(), "--at", &lsn.to_string()]) {
        (Some(0), _) => {}
        (_, said) => return Err(said),
    }
    let server = setup(&to).start();
    let mut client = connect(&server);
    let value = client.get("key:0").unwrap().unwrap().value[0];
    for key in 0..200 {
        assert_eq!(client.get(format!("key:{key}")).unwrap().unwrap().value, [value; 1000], "key:{key} is of another moment");
    }
    server.stop();
    Ok(value)
}

#[test]
fn what_is_to_be_kept_can_be_restored_and_no_more() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    // Nothing is to be kept: the first rounds are gone.
    let ends = rounds(&setup(&path("none")));
    let refused = restored(&path("none"), ends[0]).unwrap_err();
    assert!(refused.contains("begins later"), "{refused}");
    assert_eq!(restored(&path("none"), ends[5]), Ok(6));

    // All of the last hour.
    let ends = rounds(&setup(&path("hours")).option("wal_keep_hours", "1"));
    assert!(segments(&path("hours"))[0].ends_with("wal-00000001.oswal"));
    for (round, end) in (1..).zip(&ends) {
        assert_eq!(restored(&path("hours"), *end), Ok(round), "the end of round {round}");
    }

    // Some 400 KB: two rounds of 200 KB beside the last two generations.
    let ends = rounds(&setup(&path("bytes")).option("wal_keep_bytes", "700000"));
    assert!(!segments(&path("bytes"))[0].ends_with("wal-00000001.oswal"), "{:?}", names(&path("bytes")));
    let kept: u64 = segments(&path("bytes")).iter().map(|segment| fs::metadata(segment).unwrap().len()).sum();
    assert!(kept >= 700_000 - 65_536, "{kept} bytes of log");
    assert_eq!(restored(&path("bytes"), ends[3]), Ok(4));
    assert!(restored(&path("bytes"), ends[0]).is_err());
}

#[test]
fn it_is_warned_of_a_directory_that_grows_too_large() {
    let directory = tempfile::tempdir().unwrap();
    let server = setup(directory.path()).option("data_dir_warn_bytes", "1048576").start();
    let mut client = connect(&server);
    fill(&mut client, 0..500, b'a');
    thread::sleep(Duration::from_millis(1200));
    assert_eq!(stat(&mut client, "directory_over_limit"), 0);
    fill(&mut client, 0..1000, b'b');
    server.wait_for_line("more than data_dir_warn_bytes (1048576)").unwrap();
    wait_until("STATS says it", || stat(&mut client, "directory_over_limit") == 1);
    // Three generations on the log is short again.
    for round in [b'c', b'd', b'e'] {
        fill(&mut client, 900..1000, round);
        client.snapshot().unwrap();
    }
    server.stop();
}
