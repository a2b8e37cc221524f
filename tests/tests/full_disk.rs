//! The real server on a disk that is full, with snapshots on: writes are refused, reads go on, and when there is space again, so do writes. A snapshot that doesn't fit is given up and
//! said; it takes nothing along. What was acknowledged is there after every start, also after one on the full disk (invariants 2, 3, 10).
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use osprey::client::Error;
use osprey::client::blocking::Client;
use osprey_core::protocol::command::SetOptions;
use osprey_core::protocol::error::ErrorCode;
use osprey_tests::directory::{DRAFT, names, snapshots, verify, wait_until};
use osprey_tests::server_process::{ServerProcess, Setup};
use osprey_tests::small_disk::SmallDisk;

const MIB: u64 = 1 << 20;

/// `None`, and said so, where the system lets nobody mount one.
fn small_disk(bytes: u64) -> Option<SmallDisk> {
    SmallDisk::new(bytes).inspect_err(|why| eprintln!("NOT RUN: no file system to fill ({why}): user namespaces are needed")).ok()
}

fn setup(disk: &SmallDisk) -> Setup {
    disk.setup().option("wal_segment_bytes", "65536").option("max_value_bytes", "1024").option("max_args", "16")
}

fn connect(server: &ServerProcess) -> Client {
    Client::connect(&server.address.to_string()).unwrap()
}

/// Writes of one client, and what they must have left.
#[derive(Default)]
struct Written {
    number: u32,
    acknowledged: BTreeMap<String, Vec<u8>>,
}

impl Written {
    fn one(&mut self, client: &mut Client, keys: u32) -> Result<(), Error> {
        self.number += 1;
        let (key, mut value) = (format!("key:{}", self.number % keys), format!("{}:", self.number).into_bytes());
        value.resize(1000, b'x');
        client.set(&key, &value, &SetOptions::default())?;
        self.acknowledged.insert(key, value);
        Ok(())
    }

    fn some(&mut self, client: &mut Client, writes: u32, keys: u32) {
        for _ in 0..writes {
            self.one(client, keys).unwrap();
        }
    }

    /// Until there is no space; then every write is refused, deletions too, and reads go on.
    fn until_read_only(&mut self, client: &mut Client, keys: u32) {
        let refused = (0..200_000).find_map(|_| self.one(client, keys).err()).expect("the disk is full some time");
        assert!(is_read_only(&refused), "{refused}");
        // Deletions are logged, too: a few have room where a value of 1000 bytes has none.
        let keys: Vec<String> = self.acknowledged.keys().take(50).cloned().collect();
        let refused = keys.iter().find_map(|key| match client.del(key, None) {
            Ok(deleted) => {
                assert!(deleted && self.acknowledged.remove(key).is_some());
                None
            }
            Err(refused) => Some(refused),
        });
        assert!(refused.as_ref().is_some_and(is_read_only), "{refused:?}");
        self.check(client);
        assert_eq!(stats(client)["read_only"], "1");
    }

    /// Once there is space again.
    fn goes_on(&mut self, client: &mut Client, keys: u32) {
        wait_until("writes are taken again", || self.one(client, keys).is_ok());
        self.some(client, 100, keys);
        assert_eq!(stats(client)["read_only"], "0");
    }

    fn check(&self, client: &mut Client) {
        for (key, value) in &self.acknowledged {
            assert!(client.get(key).unwrap().is_some_and(|found| found.value == *value), "{key} is not what was acknowledged");
        }
        assert_eq!(stats(client)["keys"], self.acknowledged.len().to_string());
    }
}

fn is_read_only(error: &Error) -> bool {
    matches!(error, Error::Server { code: ErrorCode::ReadOnly, .. })
}

fn stats(client: &mut Client) -> BTreeMap<String, String> {
    client.stats().unwrap().into_iter().collect()
}

#[test]
fn a_disk_without_room_for_a_snapshot_serves_until_the_log_is_full_and_then_reads() {
    let Some(mut disk) = small_disk(8 * MIB) else { return };
    let data = disk.data();
    for policy in ["always", "batch"] {
        let setup = setup(&disk).sync_policy(policy).option("wal_max_bytes", "1000000");
        let server = setup.start();
        let mut client = connect(&server);
        let mut written = Written::default();
        written.until_read_only(&mut client, 300);
        let now = stats(&mut client);
        assert!(now["snapshot_failures"] != "0" && now["snapshots_total"] == "0", "{now:?}");
        assert!(now["snapshot_last_error"].contains("no space left"), "{now:?}");
        assert!(server.logged().contains("the snapshot was given up: no space left on the device; what there was before stays"));
        // As much log as 8 MiB take: snapshots that did not fit have left nothing behind.
        assert!(written.number > 4000, "{} writes of 1000 bytes", written.number);
        assert!(!names(&data).contains(&DRAFT.to_owned()));
        let refused = client.snapshot().unwrap_err();
        assert!(is_read_only(&refused), "{refused}");
        server.kill();

        // It starts on the full disk, too.
        let server = setup.start();
        let mut client = connect(&server);
        written.check(&mut client);
        assert!(is_read_only(&written.one(&mut client, 300).unwrap_err()));
        disk.resize(120 * MIB);
        written.goes_on(&mut client, 300);
        client.snapshot().unwrap();
        assert_eq!(stats(&mut client)["snapshot_last_error"], "none");
        server.kill();

        let server = setup.start();
        assert!(server.ready.contains("snap-"), "{}", server.ready);
        written.check(&mut connect(&server));
        server.stop();
        // From the beginning.
        std::fs::remove_dir_all(&data).unwrap();
        disk.resize(8 * MIB);
    }
}

#[test]
fn a_snapshot_that_meets_a_full_disk_is_given_up_and_poisons_nothing() {
    let Some(disk) = small_disk(160 * MIB) else { return };
    let data = disk.data();
    // Slow enough for the disk to be full before it is done.
    let setup = setup(&disk).sync_policy("always").option("snapshot_bandwidth_max", "1500000");
    let server = setup.start();
    let mut client = connect(&server);
    let mut written = Written::default();
    written.some(&mut client, 4_000, 4_000);
    let mut asking = connect(&server);
    thread::scope(|scope| {
        let asked = scope.spawn(move || asking.snapshot());
        wait_until("the snapshot is being written", || std::fs::metadata(data.join(DRAFT)).is_ok_and(|draft| draft.len() > MIB));
        disk.leave(0);
        // What it had written is given back to the disk, and others may have it: so again, until nothing is left.
        while !asked.is_finished() {
            thread::sleep(Duration::from_millis(5));
        }
        let refused = asked.join().unwrap().unwrap_err();
        assert!(is_read_only(&refused), "{refused}");
    });
    wait_until("nothing is left of it", || !names(&disk.data()).contains(&DRAFT.to_owned()));
    assert_eq!(snapshots(&disk.data()), []);
    disk.leave(0);
    written.until_read_only(&mut client, 4_000);
    let now = stats(&mut client);
    assert_eq!((now["snapshot_failures"].as_str(), now["snapshot_running"].as_str()), ("1", "0"), "{now:?}");
    disk.give_back();
    written.goes_on(&mut client, 4_000);
    client.snapshot().unwrap();
    let newest = snapshots(&disk.data())[0];
    assert_eq!(verify(&disk.data(), newest), Ok(written.acknowledged.len() as u64));
    server.kill();
    let server = setup.start();
    assert!(server.ready.contains(&newest.to_string()), "{}", server.ready);
    written.check(&mut connect(&server));
    server.stop();
}
