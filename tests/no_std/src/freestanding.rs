//! What a program needs where there is nothing: an entry point, a way out, memory, and the functions that the compiler
//! itself calls.
//!
//! For Linux on x86-64 and AArch64, since that is what this proof runs on; osprey-core knows nothing of it.

use core::alloc::{GlobalAlloc, Layout};
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::ffi::c_int;
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

// The compiler makes calls of these five; where there is a libc they are libc's. Plain loops: it's a proof, not a server.

/// # Safety
/// As in C: both are `len` bytes long and don't overlap.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    for at in 0..len {
        // SAFETY: the caller's promise.
        unsafe { *to.add(at) = *from.add(at) };
    }
    to
}

/// # Safety
/// As in C: both are `len` bytes long.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    if to.cast_const() <= from {
        // SAFETY: the caller's promise; forwards, no byte is overwritten before it is read.
        return unsafe { memcpy(to, from, len) };
    }
    for at in (0..len).rev() {
        // SAFETY: the caller's promise.
        unsafe { *to.add(at) = *from.add(at) };
    }
    to
}

/// # Safety
/// As in C: `to` is `len` bytes long.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: c_int, len: usize) -> *mut u8 {
    for at in 0..len {
        // SAFETY: the caller's promise. C passes the byte as an int and means its low bits.
        unsafe { *to.add(at) = byte as u8 };
    }
    to
}

/// # Safety
/// As in C: both are `len` bytes long.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, len: usize) -> c_int {
    for at in 0..len {
        // SAFETY: the caller's promise.
        let (left, right) = unsafe { (*left.add(at), *right.add(at)) };
        if left != right {
            return c_int::from(left) - c_int::from(right);
        }
    }
    0
}

/// # Safety
/// As in C: both are `len` bytes long.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, len: usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { memcmp(left, right, len) }
}

/// The unwind tables of the `alloc` that comes with the toolchain name this. Nobody calls it: a panic ends the process.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() -> ! {
    exit(PANICKED)
}
