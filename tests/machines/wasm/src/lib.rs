//! osprey-core in WebAssembly, without an operating system, imports or generated glue: whoever runs it passes requests and the time in, takes replies out, and keeps the log.
//!
//! | export | |
//! | --- | --- |
//! | `input(len)` | where to write `len` bytes for the next call |
//! | `start(len, now)` | takes 40 random bytes from there, and behind them what `save` gave before; 0, or what is wrong in `output` |
//! | `serve(len, now)` | takes requests from there; what they are answered with is in `output` |
//! | `save()` | puts the log and its snapshots into `output`: to be kept **before** the replies are passed on |
//! | `output()` | where the last call has put as many bytes as it has returned |
//!
//! Times are in milliseconds since 1970. `test.mjs` is a host.
#![no_std]

extern crate alloc;

mod machine;
mod saved;

use alloc::vec::Vec;
use core::cell::UnsafeCell;

use machine::Machine;
use osprey_core::units::Millis;

#[global_allocator]
static HEAP: rlsf::SmallGlobalTlsf = rlsf::SmallGlobalTlsf::new();

struct State {
    machine: Option<Machine>,
    input: Vec<u8>,
    output: Vec<u8>,
}

struct Shared(UnsafeCell<State>);

// SAFETY: a module without threads has one.
unsafe impl Sync for Shared {}

static STATE: Shared = Shared(UnsafeCell::new(State { machine: None, input: Vec::new(), output: Vec::new() }));

fn with<T>(call: impl FnOnce(&mut State) -> T) -> T {
    // SAFETY: one thread, and no call is made from within another.
    call(unsafe { &mut *STATE.0.get() })
}

/// Null where there is no memory.
#[unsafe(no_mangle)]
extern "C" fn input(len: usize) -> *mut u8 {
    with(|state| {
        state.input.clear();
        if state.input.try_reserve(len).is_err() {
            return core::ptr::null_mut();
        }
        state.input.resize(len, 0);
        state.input.as_mut_ptr()
    })
}

#[unsafe(no_mangle)]
extern "C" fn output() -> *const u8 {
    with(|state| state.output.as_ptr())
}

#[unsafe(no_mangle)]
extern "C" fn start(len: usize, now: u64) -> usize {
    with(|state| {
        state.output.clear();
        match Machine::start(state.input.get(..len).unwrap_or_default(), Millis(now)) {
            Ok(machine) => state.machine = Some(machine),
            Err(error) => state.output.extend_from_slice(error.as_bytes()),
        }
        state.output.len()
    })
}

#[unsafe(no_mangle)]
extern "C" fn serve(len: usize, now: u64) -> usize {
    with(|state| {
        state.output.clear();
        if let Some(machine) = &mut state.machine {
            machine.serve(state.input.get(..len).unwrap_or_default(), Millis(now), &mut state.output);
        }
        state.output.len()
    })
}

#[unsafe(no_mangle)]
extern "C" fn save() -> usize {
    with(|state| {
        state.output.clear();
        if let Some(machine) = &mut state.machine {
            machine.save(&mut state.output);
        }
        state.output.len()
    })
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    loop {}
}
