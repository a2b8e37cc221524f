//! `kill -9` under load, again and again over one data directory: whatever was acknowledged or shown is there afterwards, under every sync
//! policy; whatever wasn't may be, but only in the order in which it was sent. No deleted key comes back, no version names two values
//! (invariants 2, 5, 6).
//!
//! `OSPREY_KILL_ROUNDS` sets the number of rounds for each policy.

use std::time::{Duration, Instant};

use osprey_tests::load::{Load, Promise};
use osprey_tests::server_process::Setup;

#[test]
fn nothing_acknowledged_is_lost() {
    let rounds: u32 = std::env::var("OSPREY_KILL_ROUNDS").map_or(6, |rounds| rounds.parse().expect("a number of rounds"));
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
