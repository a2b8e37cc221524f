use super::*;
use crate::record::Kind;
use crate::units::Millis;
use alloc::format;

fn put(store: &mut Store, key: &str, expiry: Option<u64>) {
    let record = Record { kind: Kind::Set, version: Version(1), expiry: expiry.map(Millis), key: key.as_bytes(), value: b"v" };
    store.put(store.find(store.hash(key.as_bytes()), key.as_bytes()), &record).unwrap();
}

#[test]
fn a_key_whose_time_has_come_already_is_swept_next() {
    let mut store = Store::new([0; 16]).unwrap();
    put(&mut store, "later", Some(101));
    assert_eq!(store.sweep(Millis(100), 10), (0, true));
    put(&mut store, "late", Some(50));
    put(&mut store, "now", Some(100));
    assert_eq!(store.next_expiry(), Some(Millis(100)), "no time that is over is asked for");
    assert_eq!(store.sweep(Millis(100), 10), (2, true));
    assert_eq!((store.len(), store.sweep(Millis(101), 10)), (1, (1, true)));
}

/// A snapshot holds keys as they were at some moment of its walk, and the log is replayed from its beginning.
#[test]
fn a_deletion_that_a_snapshot_is_ahead_of_uses_up_its_own_version_only() {
    let mut store = Store::new([0; 16]).unwrap();
    let record = |kind, version, value| Record { kind, version: Version(version), expiry: None, key: b"k", value };
    store.replay([record(Kind::Set, 9, b"later")].into_iter()).unwrap();
    store.replay([record(Kind::Del, 7, b"")].into_iter()).unwrap();
    assert_eq!((store.len(), store.floor()), (0, Version(7)));
    store.replay([record(Kind::Set, 9, b"later")].into_iter()).unwrap();
    assert_eq!((store.len(), store.floor()), (1, Version(7)));
}

#[test]
fn keys_that_come_and_go_leave_no_deadlines_behind() {
    const HOUR_MS: u64 = 3_600_000;
    let mut store = Store::new([0; 16]).unwrap();
    for key in 0..5000 {
        put(&mut store, &format!("stays{key}"), Some(2 * HOUR_MS + key));
        put(&mut store, &format!("for ever{key}"), None);
    }
    // Locks that are taken for an hour and given back at once, a thousand a millisecond; and one that is held again and again.
    let mut bytes_max = 0;
    for now in 0..1000_u64 {
        for lock in 0..1000_u64 {
            let lock = format!("lock{}", lock * now % 7919);
            put(&mut store, &lock, Some(now + HOUR_MS));
            store.remove(store.hash(lock.as_bytes()), lock.as_bytes());
        }
        put(&mut store, "held", None);
        put(&mut store, "held", Some(now + HOUR_MS));
        store.sweep(Millis(now), 1000);
        bytes_max = bytes_max.max(store.bytes());
    }
    assert!(bytes_max < 8 << 20, "{bytes_max} bytes for 10001 keys");
    // Nobody was forgotten, and nobody goes before its time.
    let counts = [HOUR_MS + 998, HOUR_MS + 999, 2 * HOUR_MS + 99, 3 * HOUR_MS].map(|now| {
        while !store.sweep(Millis(now), 1000).1 {}
        store.with_expiry()
    });
    assert_eq!(counts, [5001, 5000, 4900, 0]);
}

#[test]
fn memory_is_accounted() {
    let mut store = Store::new([0; 16]).unwrap();
    assert!(store.is_empty());
    for key in 0..1000 {
        put(&mut store, &format!("key{key:05}"), Some(1000 + key));
    }
    assert!(!store.is_empty());
    // Flags, length, version and expiry, key, value, padding; a deadline; a slot's name and its tag in tables that are half full.
    let (entries, deadlines, names) = (1000 * slabs::slot_bytes(11 + 8 + 1), 1000 * 12, 1000 * 10);
    let least = entries + deadlines + names / 2;
    assert!((least..least + names + 8192).contains(&store.bytes()), "{} bytes, at least {least}", store.bytes());
    assert!(store.free_bytes() < entries);
    assert_eq!(store.sweep(Millis(5000), 100), (100, false), "no more steps than are allowed");
    while !store.sweep(Millis(5000), 100).1 {}
    assert_eq!((store.len(), store.expired_total()), (0, 1000));
    assert!(store.bytes() < 8192, "{} bytes for nothing", store.bytes());
}

#[test]
fn an_expiry_that_moved_is_found_at_its_new_time() {
    let mut store = Store::new([0; 16]).unwrap();
    let hash = store.hash(b"moved");
    put(&mut store, "moved", Some(100));
    store.set_expiry(hash, b"moved", Some(Millis(200))).unwrap();
    assert_eq!(store.sweep(Millis(150), 10).0, 0, "its first deadline");
    assert_eq!((store.len(), store.next_expiry().is_some()), (1, true), "it has another");
    assert_eq!(store.sweep(Millis(200), 10).0, 1);
    put(&mut store, "moved", Some(400));
    store.set_expiry(hash, b"moved", Some(Millis(300))).unwrap();
    assert_eq!(store.sweep(Millis(300), 10).0, 1, "a sooner one needs no waiting for the first");
    assert_eq!((store.len(), store.sweep(Millis(400), 10).0), (0, 0));
}

#[test]
fn a_write_that_stays_forgets_what_was_before() {
    let mut store = Store::new([0; 16]).unwrap();
    put(&mut store, "key", None);
    let bytes = store.bytes();
    for version in 2..1000 {
        let record = Record { kind: Kind::Set, version: Version(version), expiry: None, key: b"key", value: b"w" };
        let spot = store.find(store.hash(b"key"), b"key");
        let before = store.exchange(spot, &record).unwrap();
        store.forget(before);
    }
    assert_eq!(store.bytes(), bytes);
}

#[test]
fn a_walk_from_anywhere_ends() {
    let mut store = Store::new([0; 16]).unwrap();
    for key in 0..2000 {
        put(&mut store, &format!("key{key}"), None);
    }
    for mut cursor in [u64::MAX, u64::MAX - 1, 1 << 63, 1 << 48, (1 << 48) - 1, 1 << 32, 12_345] {
        let mut steps = 0;
        while let Some(next) = store.walk(cursor, |_| ()) {
            assert!(next > cursor, "from {cursor} to {next}");
            (cursor, steps) = (next, steps + 1);
            assert!(steps < 100, "2000 keys have fewer tables");
        }
    }
}
