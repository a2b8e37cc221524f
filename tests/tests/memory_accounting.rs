//! An allocator that counts, beside the store that says how much memory it holds: the limit on memory, and STATS, are worth what that number is worth.

#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use osprey_core::record::{Kind, Record};
use osprey_core::store::Store;
use osprey_core::units::{Millis, Version};

thread_local! {
    /// What this thread has allocated and not given back, bytes.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is the system's allocator's; beside it, a number is kept.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.set(HELD.get().wrapping_add(layout.size()));
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HELD.set(HELD.get().wrapping_sub(layout.size()));
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A store, and what was held before it.
struct Counted {
    store: Store,
    before: usize,
}

impl Counted {
    fn new() -> Self {
        let before = HELD.get();
        Self { store: Store::new([7; 16]).unwrap(), before }
    }

    fn put(&mut self, number: u32, value: &[u8], expiry: Option<u64>) {
        let key = number.to_be_bytes();
        let record = Record { kind: Kind::Set, version: Version(1), expiry: expiry.map(Millis), key: &key, value };
        let spot = self.store.lookup(self.store.hash(&key), &key, Millis(0)).spot;
        self.store.put(spot, &record).unwrap();
    }

    fn remove(&mut self, number: u32) {
        let key = number.to_be_bytes();
        self.store.remove(self.store.hash(&key), &key);
    }

    /// How much more is held than the store says, bytes.
    fn unaccounted(&self) -> isize {
        let held = HELD.get().wrapping_sub(self.before);
        held.wrapping_sub(self.store.bytes() + self.store.free_bytes()).cast_signed()
    }
}

/// Lists of slabs with room: a few bytes for each slab.
const LISTS_BYTES: isize = 8192;

/// Deadlines count as many as there are; their chunks are allocated by doubling up to 12 KiB, one for each bit of a time.
const CHUNKS_BYTES: isize = 48 * 12 * 1024;

#[test]
fn what_is_held_is_what_is_said() {
    let mut counted = Counted::new();
    let mut random = fastrand::Rng::with_seed(1);
    let value = [b'v'; 5000];
    for round in 0..200_000_u32 {
        match random.u32(0..8) {
            0 => counted.remove(random.u32(0..20_000)),
            // Seldom one so large that it has an allocation of its own.
            1 if round % 64 == 0 => counted.put(random.u32(0..20_000), &value, None),
            _ => counted.put(random.u32(0..20_000), &value[..random.usize(0..200)], None),
        }
        if round % 100 == 0 {
            let unaccounted = counted.unaccounted();
            assert!((0..LISTS_BYTES).contains(&unaccounted), "{unaccounted} bytes more are held, in round {round}");
        }
    }
    for number in 0..20_000 {
        counted.remove(number);
        if number % 10 == 0 {
            let unaccounted = counted.unaccounted();
            assert!((0..LISTS_BYTES).contains(&unaccounted), "{unaccounted} bytes more are held, with {number} keys removed");
        }
    }
    while !counted.store.sweep(Millis(1), 1000).1 {}
    let unaccounted = counted.unaccounted();
    assert!((0..LISTS_BYTES).contains(&unaccounted), "{unaccounted} bytes more are held, for nothing");
}

#[test]
fn what_deadlines_hold_is_said() {
    let mut counted = Counted::new();
    for number in 0..400_000 {
        counted.put(number, b"value", Some(u64::from(number) * 10 + 1));
    }
    let unaccounted = counted.unaccounted();
    assert!((0..CHUNKS_BYTES).contains(&unaccounted), "{unaccounted} bytes more are held");
    // Half of them come due; the rest loses its expiry, and then most deadlines stand for nothing.
    while !counted.store.sweep(Millis(2_000_000), 1000).1 {}
    assert_eq!(counted.store.len(), 200_000);
    for number in 200_000..400_000_u32 {
        let key = number.to_be_bytes();
        counted.store.set_expiry(counted.store.hash(&key), &key, None).unwrap();
    }
    let mut now = 2_000_000;
    while !counted.store.sweep(Millis(now), 100).1 {
        let unaccounted = counted.unaccounted();
        assert!((0..CHUNKS_BYTES).contains(&unaccounted), "{unaccounted} bytes more are held at {now}");
        now += 1;
    }
    assert!(now > 2_000_500, "200,000 keys are looked at some hundreds at a time, not in {} sweeps", now - 2_000_000);
    let unaccounted = counted.unaccounted();
    assert!((0..LISTS_BYTES + 24 * 1024).contains(&unaccounted), "{unaccounted} bytes more are held at the end");
}

#[test]
fn what_is_scattered_is_gathered() {
    let mut counted = Counted::new();
    (0..500_000).for_each(|number| counted.put(number, b"a value of some length", None));
    let unaccounted = counted.unaccounted();
    assert!((0..LISTS_BYTES).contains(&unaccounted), "{unaccounted} bytes more are held");
    let free = counted.store.free_bytes();
    assert!(free < counted.store.bytes() / 4, "{free} bytes free beside {}", counted.store.bytes());
    // One of sixteen stays, so that hardly any slab is empty.
    (0..500_000).filter(|number| number % 16 != 0).for_each(|number| counted.remove(number));
    assert!(counted.store.is_scattered());
    let mut sweeps = 0;
    while !counted.store.sweep(Millis(1), 1000).1 {
        sweeps += 1;
    }
    assert!(sweeps > 10, "bounded steps, {sweeps}");
    let (used, free) = (counted.store.bytes(), counted.store.free_bytes());
    assert!(!counted.store.is_scattered() && free < used, "{free} bytes free beside {used}");
    let unaccounted = counted.unaccounted();
    assert!((0..LISTS_BYTES).contains(&unaccounted), "{unaccounted} bytes more are held after gathering");
}
