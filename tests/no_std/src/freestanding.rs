//! What a program needs where there is nothing: an entry point, a way out, memory, and the functions that the compiler
//! itself calls.
//!
//! For Linux on x86-64 and AArch64, since that is what this proof runs on; osprey-core knows nothing of it.

use core::alloc::{GlobalAlloc, Layout};
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Exit status after a panic.
const PANICKED: u8 = 101;

// The kernel jumps here with an aligned stack and nothing to return to.
#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "call {main}", "ud2", main = sym crate::main);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, #0", "bl {main}", "brk #1", main = sym crate::main);

/// Ends the process.
pub fn exit(status: u8) -> ! {
    // SAFETY: the system call `exit` takes one integer and doesn't return.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("syscall", in("rax") 60, in("rdi") u64::from(status), options(noreturn, nostack));
        #[cfg(target_arch = "aarch64")]
        asm!("svc #0", in("x8") 93, in("x0") u64::from(status), options(noreturn, nostack));
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    exit(PANICKED)
}

const HEAP_BYTES: usize = 32 << 20;

/// Memory is handed out in order and never taken back: the program is short.
#[repr(C, align(4096))]
struct Heap {
    memory: UnsafeCell<[u8; HEAP_BYTES]>,
    used: AtomicUsize,
}

// SAFETY: `alloc` hands out every byte once.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap { memory: UnsafeCell::new([0; HEAP_BYTES]), used: AtomicUsize::new(0) };

// SAFETY: blocks don't overlap, since `used` only grows, lie within `memory`, and are aligned, as `memory` itself is to 4096.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let take = |used: usize| {
            let begin = used.checked_next_multiple_of(layout.align())?;
            begin.checked_add(layout.size()).filter(|&end| end <= HEAP_BYTES && layout.align() <= 4096)
        };
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            // SAFETY: the offset is within `memory`.
            Ok(used) => unsafe { self.memory.get().cast::<u8>().add(used.next_multiple_of(layout.align())) },
            Err(_) => core::ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

/// The unwind tables of the `alloc` that comes with the toolchain name this. Nobody calls it: a panic ends the process.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() -> ! {
    exit(PANICKED)
}
