//! An allocator that refuses chosen allocations of a thread: for tests of what happens without memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Which allocations are refused: so many succeed first, then so many fail.
#[derive(Clone, Copy, Debug)]
struct Plan {
    before: usize,
    refused: usize,
}

thread_local! {
    static ARMED: Cell<bool> = const { Cell::new(false) };
    static PLAN: Cell<Plan> = const { Cell::new(Plan { before: usize::MAX, refused: 0 }) };
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, but for what a thread has [planned](plan) to be refused. A test makes it its global allocator.
#[derive(Clone, Copy, Debug, Default)]
pub struct RefusingAllocator;

/// After `before` more allocations of this thread that are [counted], `refused` are refused.
pub fn plan(before: usize, refused: usize) {
    PLAN.set(Plan { before, refused });
    ASKED.set(0);
}

/// Whether all that was planned has been refused.
#[must_use]
pub fn over() -> bool {
    PLAN.get().refused == 0
}

/// Whether one of the next few allocations is to be refused.
#[must_use]
pub fn is_near() -> bool {
    let plan = PLAN.get();
    plan.refused > 0 && plan.before < 50
}

/// How many allocations were counted since the last [`plan`].
#[must_use]
pub fn asked() -> usize {
    ASKED.get()
}

/// Allocations of `act` count, and may be refused; others never are.
pub fn counted<T>(act: impl FnOnce() -> T) -> T {
    let before = ARMED.replace(true);
    let done = act();
    ARMED.set(before);
    done
}

/// Allocations of `act` don't count, although it is called by what does: they stand for somebody else's.
pub fn uncounted<T>(act: impl FnOnce() -> T) -> T {
    let before = ARMED.replace(false);
    let done = act();
    ARMED.set(before);
    done
}

fn refused() -> bool {
    // A thread that ends may allocate when its variables are gone.
    if !ARMED.try_with(Cell::get).unwrap_or(false) {
        return false;
    }
    ASKED.set(ASKED.get() + 1);
    let plan = PLAN.get();
    match (plan.before.checked_sub(1), plan.refused.checked_sub(1)) {
        (Some(before), _) => PLAN.set(Plan { before, ..plan }),
        (None, Some(refused)) => {
            PLAN.set(Plan { refused, ..plan });
            return true;
        }
        (None, None) => {}
    }
    false
}

// SAFETY: everything is the system's allocator's, but that some allocations are refused, which an allocator may do at any time.
unsafe impl GlobalAlloc for RefusingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        if refused() { std::ptr::null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        if refused() { std::ptr::null_mut() } else { unsafe { System.alloc_zeroed(layout) } }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above; a block whose reallocation is refused stays as it is.
        if refused() { std::ptr::null_mut() } else { unsafe { System.realloc(block, layout, size) } }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}
