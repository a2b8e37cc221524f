use super::size::{CLASSES, SHARED_BYTES_MAX, SLAB_BYTES, class_of, slot_bytes, slot_bytes_of};
use super::slab::TRAILER_BYTES;
use super::*;
use crate::record::Kind;
use crate::units::Version;
use std::collections::BTreeMap;
use std::vec::Vec;

#[test]
fn sizes_grow_by_an_eighth() {
    let mut before = 0;
    for len in 0..2 * SHARED_BYTES_MAX {
        let bytes = slot_bytes(len);
        let waste = bytes - len - TRAILER_BYTES;
        assert!(bytes >= before && waste < 8.max(len.div_ceil(8)), "{len}: {bytes} after {before}");
        before = bytes;
        if bytes <= SHARED_BYTES_MAX {
            assert_eq!(slot_bytes_of(class_of(bytes)), bytes);
        } else {
            assert_eq!(waste, 0);
        }
    }
    assert_eq!(class_of(SHARED_BYTES_MAX), CLASSES - 1);
}

/// What each key should be: its expiry and its value's length.
type Model = BTreeMap<u32, (Slot, Option<Millis>, usize)>;

fn record<'a>(key: &'a [u8], expiry: Option<Millis>, value: &'a [u8]) -> Record<'a> {
    Record { kind: Kind::Set, version: Version(1), expiry, key, value }
}

fn verify(slabs: &Slabs, model: &Model) {
    let mut used = 0;
    for (key, &(slot, expiry, value_len)) in model {
        let key = key.to_le_bytes();
        let value: Vec<u8> = key.iter().copied().cycle().take(value_len).collect();
        let expected = record(&key, expiry, &value);
        assert!(slabs.has_key(slot, &key));
        assert_eq!(slabs.get(slot).record(), expected);
        assert_eq!(slabs.bytes_of(slot), slot_bytes(expected.encoded_len()));
        used += slabs.bytes_of(slot);
    }
    assert_eq!(slabs.used_bytes(), used);
    assert!(slabs.held_bytes() >= used);
}

fn gather(slabs: &mut Slabs, model: &mut Model) {
    for _ in 0..100_000 {
        let Some(slab) = slabs.sparse() else { if slabs.is_wasteful() { continue } else { return } };
        slabs.dissolve(slab, |key, from, to| {
            let held = model.get_mut(&u32::from_le_bytes(key.try_into().unwrap())).unwrap();
            assert_eq!(held.0, from);
            held.0 = to;
        });
    }
    panic!("there is no end to gathering");
}

/// Entries of a few dozen bytes, hundreds and thousands, put, overwritten, changed and removed at random; seldom most of them at once.
#[test]
fn entries_stay_what_they_are() {
    let mut random = 1_u64;
    let mut next = |below: u64| {
        // Knuth's MMIX generator; its upper bits are good.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((random >> 33) % below).unwrap()
    };
    let mut slabs = Slabs::new();
    let mut model = Model::new();
    for step in 0..60_000 {
        let key = u32::try_from(next(2000)).unwrap();
        let bytes = key.to_le_bytes();
        let value_len = [next(40), next(40), next(1000), next(40_000)][[0, 0, 0, 0, 1, 1, 2, 3][next(8)]];
        let value: Vec<u8> = bytes.iter().copied().cycle().take(value_len).collect();
        let expiry = (next(3) == 0).then_some(Millis(7));
        match (next(4), model.get_mut(&key)) {
            (0, Some(&mut (slot, ..))) => {
                slabs.free(slot);
                model.remove(&key);
            }
            (1, Some(held)) => {
                held.0 = slabs.set_expiry(held.0, expiry).unwrap();
                held.1 = expiry;
            }
            (_, Some(held)) => {
                if !slabs.overwrite(held.0, &record(&bytes, expiry, &value)) {
                    slabs.free(held.0);
                    held.0 = slabs.insert(&record(&bytes, expiry, &value)).unwrap();
                }
                (held.1, held.2) = (expiry, value_len);
            }
            (_, None) => {
                model.insert(key, (slabs.insert(&record(&bytes, expiry, &value)).unwrap(), expiry, value_len));
            }
        }
        if step % 9_999 == 9_998 {
            for key in model.keys().copied().filter(|key| key % 16 != 0).collect::<Vec<_>>() {
                slabs.free(model.remove(&key).unwrap().0);
            }
            verify(&slabs, &model);
            let before = slabs.held_bytes();
            gather(&mut slabs, &mut model);
            assert!(slabs.held_bytes() < before);
        }
        if step % 500 == 0 {
            verify(&slabs, &model);
        }
    }
    model.values().for_each(|&(slot, ..)| slabs.free(slot));
    model.clear();
    gather(&mut slabs, &mut model);
    assert_eq!(slabs.used_bytes(), 0);
    assert!(slabs.held_bytes() < CLASSES * SLAB_BYTES, "one empty slab of each class at most");
}

#[test]
fn what_deletions_leave_behind_is_gathered() {
    let mut slabs = Slabs::new();
    let mut model = Model::new();
    for key in 0..100_000_u32 {
        let slot = slabs.insert(&record(&key.to_le_bytes(), None, &[])).unwrap();
        model.insert(key, (slot, None, 0));
    }
    let full = slabs.held_bytes();
    for key in (0..100_000).filter(|key| key % 10 != 0) {
        slabs.free(model.remove(&key).unwrap().0);
    }
    assert!(slabs.held_bytes() > full / 2, "every slab has some entries left");
    gather(&mut slabs, &mut model);
    verify(&slabs, &model);
    assert!(slabs.held_bytes() < full / 10 * 5 / 4, "{} of {full} bytes for a tenth of the entries", slabs.held_bytes());
}
