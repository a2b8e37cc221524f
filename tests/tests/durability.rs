//! What a reply promises under each sync policy, and what storage's failures do to it. Virtual time, a disk that is as late as the test
//! wants it.

use osprey_core::storage::StorageError;
use osprey_core::wal::writer::SyncPolicy;
use osprey_tests::machine::{BEGIN, Machine, options, small_options};
use osprey_tests::memory_storage::{Disk, MemoryStorage, Work};

const BATCH: SyncPolicy = SyncPolicy::Batch { delay_ms: 100, bytes: 4096 };
const POLICIES: [SyncPolicy; 3] = [SyncPolicy::Os, BATCH, SyncPolicy::Always];

/// Invariant 4. In every policy nothing is answered before the record is in the system's hands; under `always`, on disk.
#[test]
fn no_reply_before_the_append_is_done() {
    for policy in POLICIES {
        let mut machine = Machine::new(options(policy));
        let client = machine.connect();
        machine.storage.hold(Work::Append);
        assert_eq!(machine.ask(client, "SET k 1\nv"), "", "{policy:?}");
        assert_eq!(machine.ask(client, "PING"), "", "{policy:?}: replies keep their order");
        assert_eq!(machine.storage.held(Work::Append), 1);
        machine.storage.release(Work::Append);
        machine.settle();
        assert_eq!(machine.replies(client), "OK 1\nPONG", "{policy:?}");
    }
}

/// Invariant 3: what `always` has acknowledged survives a power cut.
#[test]
fn always_means_on_disk() {
    let mut machine = Machine::new(options(SyncPolicy::Always));
    let client = machine.connect();
    assert_eq!(machine.ask(client, "SET k 1\nv"), "OK 1");
    assert_eq!(machine.engine.durable_lsn(), machine.engine.last_lsn());
    let state = machine.state();
    let (machine, _) = Machine::recover(options(SyncPolicy::Always), machine.cut_power(), BEGIN).expect("an undamaged log");
    assert_eq!(machine.state(), state);
}

/// `os` and `batch` promise to survive the process, not the power, and so never wait for a sync.
#[test]
fn os_and_batch_do_not_wait_for_a_sync() {
    for policy in [SyncPolicy::Os, BATCH] {
        let mut machine = Machine::new(options(policy));
        let client = machine.connect();
        machine.storage.hold(Work::Sync);
        for version in 1..=100 {
            assert_eq!(machine.ask(client, &format!("SET k 100\n{:100}", 0)), format!("OK {version}"));
            machine.advance(10);
        }
        let syncs_held = if policy == SyncPolicy::Os { 0 } else { 1 };
        assert_eq!(machine.storage.held(Work::Sync), syncs_held, "{policy:?}: one sync at a time");
        let state = machine.state();
        let (machine, _) = Machine::recover(options(policy), machine.kill(), BEGIN).expect("an undamaged log");
        assert_eq!(machine.state(), state, "{policy:?}: after kill -9");
    }
}

/// Under `always` a reply waits for whatever it shows, also where it shows that something is *not* there, or is an error (invariant 3).
/// Replies about other keys don't wait.
#[test]
fn always_shows_nothing_that_is_not_on_disk() {
    // What was written and isn't on disk; what is asked on another connection; the reply that has to wait.
    let revelations = [
        ("SET k 1\nw", "GET k", "VALUE 1 2 -1\nw"),
        ("SET k 1\nw", "EXISTS k", "EXISTS 1"),
        ("SET k 1\nw", "TTL k", "-1"),
        ("SET k 1\nw", "MGET k other", "VALUE k 1 2 -1\nw\nNOT_FOUND other"),
        ("SET k 1\nw", "SET k 1 NX\nx", "ERR EXISTS"),
        ("SET k 1\nw", "SET k 1 VER 1\nx", "ERR VER"),
        ("SET k 1\nw", "DEL k VER 1", "ERR VER"),
        ("SET k 1\nw", "EXPIRE k 9 VER 1", "ERR VER"),
        ("SET k 1\nw", "INCR k", "ERR TYPE"),
        ("SET k 1\nw", "PERSIST k", "OK"),
        ("SET new 1\nw", "SCAN 0", "CURSOR 0"),
        ("MSET new 1 k 1\nwx", "GET new", "VALUE 1 1 -1\nw"),
        ("EXPIRE k 1000", "TTL k", "1000"),
        ("DEL k", "GET k", "NOT_FOUND"),
        ("DEL k", "EXISTS k", "EXISTS 0"),
        ("DEL k", "TTL k", "-2"),
        ("DEL k", "MGET k", "NOT_FOUND k"),
        ("DEL k", "DEL k", "DELETED 0"),
        ("DEL k", "EXPIRE k 9", "NOT_FOUND"),
        ("DEL k", "PERSIST k", "NOT_FOUND"),
        ("DEL k", "SET k 1 XX\nx", "ERR NEXISTS"),
        ("DEL k", "SET k 1 VER 1\nx", "ERR VER"),
        ("DEL k", "SCAN 0 PREFIX k", "CURSOR 0\nEND"),
        ("EXPIRE k 0", "GET k", "NOT_FOUND"),
        ("SET k 1 PXAT 1\nx", "GET k", "NOT_FOUND"),
    ];
    for (write, question, answer) in revelations {
        let mut machine = Machine::new(options(SyncPolicy::Always));
        let [writer, reader, other] = [(); 3].map(|()| machine.connect());
        assert_eq!(machine.ask(writer, "SET k 1\nv"), "OK 1");
        machine.storage.hold(Work::Append);
        machine.send(writer, format!("{write}\r\n").as_bytes());
        assert_eq!(machine.ask(reader, question), "", "{question} after {write}, which isn't on disk");
        assert_eq!(machine.ask(other, "GET elsewhere"), "NOT_FOUND");
        machine.storage.release(Work::Append);
        machine.settle();
        let shown = machine.replies(reader);
        assert!(shown.starts_with(answer), "{question} after {write}: {shown}");
    }
}

/// The next frame fills while one is being synced, and each reply waits for its own.
#[test]
fn replies_leave_with_their_frame() {
    let mut machine = Machine::new(options(SyncPolicy::Always));
    let [a, b] = [(); 2].map(|()| machine.connect());
    machine.storage.hold(Work::Append);
    assert_eq!(machine.ask(a, "SET a 1\nx"), "");
    assert_eq!(machine.ask(b, "SET b 1\nx\nGET c\nGET a\nSET a 1\ny"), "");
    machine.storage.release(Work::Append);
    machine.storage.hold(Work::Append);
    machine.settle();
    assert_eq!(machine.replies(a), "OK 1");
    assert_eq!(machine.replies(b), "", "its first reply is in the second frame");
    assert_eq!(machine.storage.held(Work::Append), 1, "one frame for all that came meanwhile");
    machine.storage.release(Work::Append);
    machine.settle();
    assert_eq!(machine.replies(b), "OK 1\nNOT_FOUND\nVALUE 1 1 -1\nx\nOK 2");
}

#[test]
fn batch_syncs_after_its_delay() {
    let mut machine = Machine::new(options(BATCH));
    let client = machine.connect();
    let before = machine.storage.submitted(Work::Sync);
    assert_eq!(machine.ask(client, "SET k 1\nv"), "OK 1");
    machine.advance(60);
    assert_eq!(machine.ask(client, "SET k 1\nw"), "OK 2");
    machine.advance(39);
    assert_eq!(machine.storage.submitted(Work::Sync), before, "the oldest record is 99 ms old");
    machine.advance(1);
    assert_eq!(machine.storage.submitted(Work::Sync), before + 1);
    assert_eq!(machine.engine.durable_lsn(), machine.engine.last_lsn());
    machine.advance(900);
    assert_eq!(machine.storage.submitted(Work::Sync), before + 1, "nothing new, nothing to sync");
}

#[test]
fn batch_syncs_after_its_bytes() {
    let mut machine = Machine::new(options(BATCH));
    let client = machine.connect();
    let before = machine.storage.submitted(Work::Sync);
    assert_eq!(machine.ask(client, &format!("SET k 2000\n{:2000}", 0)), "OK 1");
    assert_eq!(machine.storage.submitted(Work::Sync), before);
    assert_eq!(machine.ask(client, &format!("SET k 2000\n{:2000}", 0)), "OK 2");
    assert_eq!(machine.storage.submitted(Work::Sync), before + 1, "4096 bytes have come together");
}

/// Section 6 of the promises: a failed append or sync is never tried again, and nothing more is acknowledged.
#[test]
fn a_failed_append_or_sync_poisons() {
    let error = StorageError::Io(Some(5));
    for (policy, work) in [(SyncPolicy::Os, Work::Append), (BATCH, Work::Append), (SyncPolicy::Always, Work::Append), (BATCH, Work::Sync)] {
        let mut machine = Machine::new(options(policy));
        let [client, other] = [(); 2].map(|()| machine.connect());
        assert_eq!(machine.ask(client, "SET a 1\nv"), "OK 1");
        machine.advance(1000);
        if work == Work::Append {
            machine.storage.failing = Some((work, error));
            assert_eq!(machine.ask(client, "SET k 1\nv"), "", "{policy:?}");
        } else {
            machine.storage.hold(Work::Sync);
            assert_eq!(machine.ask(client, "SET k 1\nv"), "OK 1", "{policy:?}");
            machine.advance(100);
            machine.storage.failing = Some((work, error));
            machine.storage.release(Work::Sync);
            machine.settle();
        }
        let poisoned = machine.poisoned.expect("storage has failed");
        assert_eq!(poisoned.error, error);
        let what = if work == Work::Append { "append to" } else { "sync" };
        assert_eq!(poisoned.to_string(), format!("cannot {what} the log segment wal-00000001.oswal: I/O error (system error 5)"));
        let syncs = machine.storage.submitted(Work::Sync);

        // Even a host that went on, with a disk that is well again, would get nothing acknowledged and nothing to do.
        machine.storage.failing = None;
        machine.poisoned = None;
        machine.advance(10_000);
        assert_eq!(machine.ask(client, "SET k 1\nw"), "", "{policy:?}");
        assert_eq!(machine.ask(other, "SET other 1\nw\nPING"), "", "{policy:?}");
        assert_eq!(machine.storage.submitted(Work::Sync), syncs, "{policy:?}: no sync is tried again");
        assert!(machine.engine.poll_storage().is_none());
    }
}

/// Invariant 5. A key that was seen to have expired stays gone, though the process dies, or the power fails, and the clock is set back.
#[test]
fn what_has_expired_stays_gone() {
    let sightings = [
        ("GET k", "NOT_FOUND"),
        ("EXISTS k", "EXISTS 0"),
        ("TTL k", "-2"),
        ("MGET k", "NOT_FOUND k"),
        ("DEL k", "DELETED 0"),
        ("EXPIRE k 100", "NOT_FOUND"),
        ("PERSIST k", "NOT_FOUND"),
        ("SCAN 0", "CURSOR 0\nEND"),
        ("SET k 1 XX\nw", "ERR NEXISTS the key does not exist; XX sets only a key that does"),
    ];
    // Past the expiry without and with a sweep.
    for elapsed_ms in [50, 500] {
        for policy in POLICIES {
            for (question, answer) in sightings {
                let mut machine = Machine::new(options(policy));
                let client = machine.connect();
                assert_eq!(machine.ask(client, "SET k 1 EX 50\nv"), "OK 1");
                machine.advance(elapsed_ms);
                assert_eq!(machine.ask(client, question), answer);
                let disk = if policy == SyncPolicy::Always { machine.cut_power() } else { machine.kill() };
                let (mut machine, _) = Machine::recover(options(policy), disk, BEGIN).expect("an undamaged log");
                let client = machine.connect();
                assert_eq!(machine.ask(client, "GET k"), "NOT_FOUND", "{policy:?}: seen by {question} after {elapsed_ms} ms");
            }
        }
    }
}

/// … and under `always` it isn't seen before that is certain.
#[test]
fn an_expiry_is_shown_when_its_time_is_on_disk() {
    for question in ["GET k", "MGET k", "SCAN 0", "DEL k", "SET k 1 XX\nw"] {
        let mut machine = Machine::new(options(SyncPolicy::Always));
        let [client, other] = [(); 2].map(|()| machine.connect());
        assert_eq!(machine.ask(client, "SET k 1 EX 50\nv"), "OK 1");
        machine.storage.hold(Work::Append);
        machine.advance(50);
        assert_eq!(machine.ask(client, question), "", "{question}: a power cut now would bring the key back");
        assert_eq!(machine.ask(other, "GET elsewhere"), "NOT_FOUND");
        machine.storage.release(Work::Append);
        machine.settle();
        assert_ne!(machine.replies(client), "", "{question}");
    }
}

/// … not even when another frame is, that was handed out before the key's time had come.
#[test]
fn an_earlier_frame_does_not_carry_a_later_time() {
    let mut machine = Machine::new(options(SyncPolicy::Always));
    let [client, other] = [(); 2].map(|()| machine.connect());
    assert_eq!(machine.ask(client, "SET k 1 EX 50\nv"), "OK 1");
    machine.storage.hold(Work::Append);
    assert_eq!(machine.ask(other, "SET other 1\nv"), "");
    machine.advance(50);
    assert_eq!(machine.ask(client, "GET k"), "");
    machine.storage.release(Work::Append);
    machine.storage.hold(Work::Append);
    machine.settle();
    assert_eq!(machine.replies(other), "OK 1");
    assert_eq!(machine.replies(client), "", "a power cut now would bring the key back");
    machine.storage.release(Work::Append);
    machine.settle();
    assert_eq!(machine.replies(client), "NOT_FOUND");
}

/// Invariant 6. However a key goes and however the server ends, its next version is one that it never had.
#[test]
fn versions_never_repeat() {
    type End = fn(Machine) -> Disk;
    // How the key goes, and how long that takes.
    let removals =
        [("DEL k", 0), ("DEL k VER 3", 0), ("EXPIRE k 0", 0), ("EXPIRE k 50", 50), ("EXPIRE k 50", 5000), ("SET k 1 PXAT 1\nx", 0)];
    let ends: [(&str, End); 3] = [("kill", Machine::kill), ("power cut", Machine::cut_power), ("orderly", Machine::shut_down)];
    for (removal, wait_ms) in removals {
        for (end, ended) in ends {
            // After the removal, and once more without a word in between.
            let mut machine = Machine::new(options(SyncPolicy::Always));
            let client = machine.connect();
            assert_eq!(machine.ask(client, "SET k 1\na\nSET k 1\nb\nSET k 1\nc"), "OK 1\nOK 2\nOK 3");
            machine.ask(client, removal);
            machine.advance(wait_ms);
            assert_eq!(machine.ask(client, "GET k"), "NOT_FOUND");
            for _ in 0..3 {
                let now = machine.now;
                machine = Machine::recover(options(SyncPolicy::Always), ended(machine), now).expect("an undamaged log").0;
            }
            let client = machine.connect();
            let reply = machine.ask(client, "SET k 1\nz");
            let version: u64 = reply.strip_prefix("OK ").and_then(|version| version.parse().ok()).expect("a version");
            assert!(version > 3, "{removal}, {end}: {reply}");
            assert_eq!(machine.ask(client, "SET k 1\nz"), format!("OK {}", version + 1));
        }
    }
}

/// The disk is full: what can't be logged is refused before anything changes, reads go on, and writes do by themselves when
/// there is space again (invariant 10).
#[test]
fn read_only_while_the_disk_is_full() {
    for policy in POLICIES {
        let mut machine = Machine::new(small_options(policy));
        let client = machine.connect();
        assert_eq!(machine.ask(client, "SET k 1\nv"), "OK 1");
        // The next segment is reserved already; the one after that can't be.
        machine.storage.failing = Some((Work::Reserve, StorageError::NoSpace));
        let write = format!("SET fill 1000\n{:1000}", 0);
        let accepted = (0..100).take_while(|_| machine.ask(client, &write).starts_with("OK")).count();
        assert!((12..40).contains(&accepted), "two segments of 16 KiB: {accepted}");
        // What is left takes smaller records, up to the last.
        while machine.ask(client, "SET f 0\n").starts_with("OK") {}
        let state = machine.state();
        for write in ["DEL k", "EXPIRE k 1000", "EXPIRE k 0", "INCR n", "MSET k 1 n 1\nxy", "SET k 1 PXAT 1\nx"] {
            let reply = machine.ask(client, write);
            assert!(reply.starts_with("ERR READONLY"), "{write}: {reply}");
        }
        assert_eq!(machine.state(), state, "nothing has changed");
        assert!(machine.ask(client, "SET new 1\nx").starts_with("ERR READONLY"));
        assert_eq!(machine.ask(client, "GET new"), "NOT_FOUND");
        assert_eq!(machine.ask(client, "EXISTS fill"), "EXISTS 1");
        assert!(machine.poisoned.is_none());
        machine.advance(5000);
        assert!(machine.ask(client, "SET new 1\nx").starts_with("ERR READONLY"));

        machine.storage.failing = None;
        machine.advance(1000);
        assert_eq!(machine.ask(client, "SET new 1\nx").split(' ').next(), Some("OK"), "{policy:?}: space has returned");
        let state = machine.state();
        let (machine, _) = Machine::recover(small_options(policy), machine.kill(), BEGIN).expect("an undamaged log");
        assert_eq!(machine.state(), state, "{policy:?}");
    }
}

/// A server that starts on a full disk serves what it has.
#[test]
fn read_only_from_the_start() {
    let mut machine = Machine::new(small_options(BATCH));
    let client = machine.connect();
    assert_eq!(machine.ask(client, "SET k 1\nv"), "OK 1");
    let mut storage = MemoryStorage::new(machine.kill());
    storage.failing = Some((Work::Reserve, StorageError::NoSpace));
    let (mut machine, _) = Machine::recover_on(small_options(BATCH), storage, BEGIN).expect("an undamaged log");
    let client = machine.connect();
    assert_eq!(machine.ask(client, "GET k"), "VALUE 1 1 -1\nv");
    assert!(machine.ask(client, "SET k 1\nw").starts_with("ERR READONLY"));
    machine.storage.failing = None;
    machine.advance(1000);
    assert_eq!(machine.ask(client, "SET k 1\nw"), "OK 2");
}

/// Invariant 8: over the memory limit writes that grow are refused; everything that shrinks, or only reads, goes on.
#[test]
fn the_memory_limit_refuses_growth_only() {
    let mut options = options(BATCH);
    options.limits.memory_bytes_max = 100_000;
    let mut machine = Machine::new(options);
    let client = machine.connect();
    let write = |i: u32| format!("SET key:{i} 1000\n{i:01000}");
    let accepted = (0..200).take_while(|&i| machine.ask(client, &write(i)).starts_with("OK")).count();
    assert!((40..100).contains(&accepted), "{accepted} KB in 100 KB");
    assert!(machine.engine.memory_bytes() <= 101_000);
    let state = machine.state();
    assert!(machine.ask(client, &write(500)).starts_with("ERR OOM"));
    assert!(machine.ask(client, &format!("MSET a 1 key:501 1000\nx{:1000}", 0)).starts_with("ERR OOM"));
    assert!(machine.ask(client, &format!("SET key:0 3000\n{:3000}", 0)).starts_with("ERR OOM"));
    assert_eq!(machine.state(), state, "nothing has changed");
    assert!(machine.ask(client, "GET key:0").starts_with("VALUE 1000 1 -1"));
    assert_eq!(machine.ask(client, "EXPIRE key:0 1000"), "OK");
    assert_eq!(machine.ask(client, "PERSIST key:0"), "OK");
    assert_eq!(machine.ask(client, &write(0)), "OK 2", "the same size again");
    for i in 1..4 {
        assert_eq!(machine.ask(client, &format!("DEL key:{i}")), "DELETED 1");
    }
    assert!(machine.ask(client, &write(502)).starts_with("OK"), "there is room again");
}
