//! The heap: TLSF, which allocates and frees in bounded time, over memory that the machine gives it. Counts what is in use.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use rlsf::Tlsf;

struct State {
    tlsf: Tlsf<'static, u32, u32, 24, 16>,
    used_bytes: usize,
    peak_bytes: usize,
}

/// A global allocator for a program of one thread without interrupts.
pub struct Heap(UnsafeCell<State>);

// SAFETY: there is one thread and no interrupt handler, so nobody is in a call while another begins.
unsafe impl Sync for Heap {}

impl Heap {
    /// Without memory: every allocation fails until [`Heap::give`].
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a static needs a const function")]
    pub const fn new() -> Self {
        Self(UnsafeCell::new(State { tlsf: Tlsf::new(), used_bytes: 0, peak_bytes: 0 }))
    }

    /// Memory to allocate from.
    pub fn give(&self, memory: &'static mut [MaybeUninit<u8>]) {
        // SAFETY: the only reference to the state, see `Sync`.
        let state = unsafe { &mut *self.0.get() };
        let _ = state.tlsf.insert_free_block(memory);
    }

    /// The most that was allocated at one moment, bytes.
    #[must_use]
    pub fn peak_bytes(&self) -> usize {
        // SAFETY: nobody is in a call, see `Sync`.
        unsafe { (*self.0.get()).peak_bytes }
    }
}

// SAFETY: TLSF gives out blocks that don't overlap, of at least the layout's size and alignment.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the only reference to the state, see `Sync`.
        let state = unsafe { &mut *self.0.get() };
        let Some(block) = state.tlsf.allocate(layout) else { return core::ptr::null_mut() };
        state.used_bytes += layout.size();
        state.peak_bytes = state.peak_bytes.max(state.used_bytes);
        block.as_ptr()
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the only reference to the state, see `Sync`.
        let state = unsafe { &mut *self.0.get() };
        state.used_bytes -= layout.size();
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller's promise: it is from `alloc`, with this layout.
            unsafe { state.tlsf.deallocate(block, layout.align()) };
        }
    }
}
