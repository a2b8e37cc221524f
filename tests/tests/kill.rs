//! `kill -9` under load, again and again over one data directory: whatever was acknowledged or shown is there afterwards, under every sync
//! policy; whatever wasn't may be, but only in the order in which it was sent. No deleted key comes back, no version names two values
//! (invariants 2, 5, 6). Once without snapshots, and once while one follows the other (invariant 7).
//!
//! `OSPREY_KILL_ROUNDS` sets the number of rounds for each policy.

use std::path::Path;
use std::time::{Duration, Instant};

use osprey_core::protocol::client::{Expect, Reply};
use osprey_tests::client::Client;
use osprey_tests::directory::{DRAFT, names, snapshots, verify};
use osprey_tests::load::{Load, Promise};
use osprey_tests::server_process::Setup;

/// Keys that stay as they are, so that a snapshot has several chunks: with their values a megabyte.
const STILL: usize = 1000;

fn rounds() -> u32 {
    std::env::var("OSPREY_KILL_ROUNDS").map_or(6, |rounds| rounds.parse().expect("a number of rounds"))
}

#[test]
fn nothing_acknowledged_is_lost() {
    let rounds = rounds();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let directory = tempfile::tempdir().expect("a directory for the server");
    let mut load = Load::new(seed);
    let begin = Instant::now();
    for policy in ["os", "batch", "always"] {
        for _ in 0..rounds {
            let server = Setup::new(directory.path()).sync_policy(policy).start();
            load.check(&mut server.connect(), Promise::Acknowledged);
            load.run_and_kill(server, Duration::from_millis(random.u64(5..80)));
        }
    }
    let server = Setup::new(directory.path()).start();
    load.check(&mut server.connect(), Promise::Acknowledged);
    println!(
        "kill -9: 3 policies, {rounds} rounds each, {} acknowledged writes, {} values shown, none lost, in {:.1} s",
        load.acknowledged,
        load.shown,
        begin.elapsed().as_secs_f64()
    );
    assert!(load.acknowledged > u64::from(rounds) * 100);
}

fn fill(client: &mut Client) {
    let value = [b's'; 1000];
    for key in 0..STILL {
        client.set(format!("still:{key}").as_bytes(), &value).expect("a reply");
    }
}

fn check_still(client: &mut Client) {
    client.send((0..STILL).map(|key| format!("GET still:{key}\r\n")).collect::<String>().as_bytes()).expect("room in the socket");
    for key in 0..STILL {
        let reply = client.receive(Expect::Value).expect("a reply");
        assert!(matches!(reply, Reply::Value(found) if found.value == [b's'; 1000] && found.version.0 == 1), "still:{key}: {reply:?}");
    }
}

#[test]
fn nothing_acknowledged_is_lost_while_snapshots_are_taken() {
    let rounds = rounds();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let directory = tempfile::tempdir().expect("a directory for the server");
    let mut load = Load::new(seed);
    let begin = Instant::now();
    let (mut taken, mut unfinished, mut started_from) = (0, 0, 0);
    // One follows the other, and each takes some 50 ms.
    let setup = |policy| {
        let setup =
            Setup::new(directory.path()).sync_policy(policy).option("wal_max_bytes", "1").option("snapshot_bandwidth_max", "20000000");
        setup.option("wal_segment_bytes", "65536").option("max_value_bytes", "1024").option("max_args", "16")
    };
    fill(&mut setup("batch").start().connect());
    for policy in ["os", "batch", "always"] {
        for _ in 0..rounds {
            let server = setup(policy).start();
            started_from += u32::from(server.ready.contains("snap-"));
            let mut client = server.connect();
            check_still(&mut client);
            load.check(&mut client, Promise::Acknowledged);
            let log = load.run_and_kill(server, Duration::from_millis(random.u64(20..250)));
            assert!(!log.contains("is of no use") && !log.contains("given up"), "{log}");
            taken += log.matches("is taken and verified").count();
            unfinished += u32::from(names(directory.path()).iter().any(|name| name == DRAFT));
            assert_whole(directory.path());
        }
    }
    let server = setup("batch").start();
    check_still(&mut server.connect());
    load.check(&mut server.connect(), Promise::Acknowledged);
    println!(
        "kill -9 with snapshots: 3 policies, {rounds} rounds each, {} acknowledged writes, {} values shown, none lost; {taken} snapshots taken, {unfinished} \
         kills left one unfinished, {started_from} starts were from one; in {:.1} s",
        load.acknowledged,
        load.shown,
        begin.elapsed().as_secs_f64()
    );
    assert!(load.acknowledged > u64::from(rounds) * 100);
    assert!(taken > 0 && unfinished > 0 && started_from > rounds, "{taken} taken, {unfinished} unfinished, {started_from} started from");
}

/// Whatever has a snapshot's name is one.
fn assert_whole(directory: &Path) {
    for name in snapshots(directory) {
        verify(directory, name).unwrap_or_else(|error| panic!("{name} was published, and {error}"));
    }
}
