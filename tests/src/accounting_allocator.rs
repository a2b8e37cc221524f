//! An allocator that counts what is allocated on an engine's account, and the most of it at any moment. A block remembers on whose account it is, wherever it is given back.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Before each block.
const HEADER_BYTES: usize = 16;

thread_local! {
    static ON_ACCOUNT: Cell<bool> = const { Cell::new(false) };
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, which a test makes its global one. What grows is held twice for a moment, as it is with the simplest of allocators.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccountingAllocator;

/// Allocations of `act` are on the account.
pub fn on_account<T>(act: impl FnOnce() -> T) -> T {
    let before = ON_ACCOUNT.replace(true);
    let done = act();
    ON_ACCOUNT.set(before);
    done
}

/// Allocations of `act` are not, although it is called by what is.
pub fn off_account<T>(act: impl FnOnce() -> T) -> T {
    let before = ON_ACCOUNT.replace(false);
    let done = act();
    ON_ACCOUNT.set(before);
    done
}

/// What is held on the account of this thread, bytes.
#[must_use]
pub fn held() -> usize {
    HELD.get()
}

/// How many allocations there were on the account of this thread since the last call.
#[must_use]
pub fn take_allocations() -> usize {
    ALLOCATIONS.replace(0)
}

/// The most that was held since the last call, bytes.
#[must_use]
pub fn take_peak() -> usize {
    PEAK.replace(HELD.get())
}

fn with_header(layout: Layout) -> Option<(Layout, usize)> {
    let align = layout.align().max(HEADER_BYTES);
    let extended = Layout::from_size_align(layout.size().checked_add(align)?, align).ok()?;
    Some((extended, align))
}

// SAFETY: a block is the system's, behind a header that is as long as the alignment asks for, so that it is aligned; both calls compute the same header.
unsafe impl GlobalAlloc for AccountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((extended, offset)) = with_header(layout) else { return std::ptr::null_mut() };
        // SAFETY: the layout isn't empty, as it has the header.
        let block = unsafe { System.alloc(extended) };
        if block.is_null() {
            return block;
        }
        // A thread that ends may allocate when its variables are gone.
        let on_account = ON_ACCOUNT.try_with(Cell::get).unwrap_or(false);
        if on_account {
            HELD.set(HELD.get() + layout.size());
            PEAK.set(PEAK.get().max(HELD.get()));
            ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        }
        // SAFETY: the header is inside the block.
        unsafe {
            block.write(u8::from(on_account));
            block.add(offset)
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some((extended, offset)) = with_header(layout) else { return };
        // SAFETY: the block was made by `alloc` with this layout, so the header is before it.
        unsafe {
            let whole = block.sub(offset);
            if whole.read() != 0 {
                let _ = HELD.try_with(|held| held.set(held.get() - layout.size()));
            }
            System.dealloc(whole, extended);
        }
    }
}
