//! osprey-core on an x86-64 without an operating system: serves the text protocol over the first serial port; the log is on a virtio block device.
#![no_std]
#![no_main]
// Otherwise the compiler would make `memcpy` of the loop that is `memcpy`.
#![no_builtins]

mod boot;
mod clock;
mod disk;
// Of the proof that runs on Linux.
#[path = "../../../no_std/src/memory.rs"]
mod memory;

use core::mem::MaybeUninit;
use core::panic::PanicInfo;

use osprey_core::engine::Entropy;
use osprey_core::units::Millis;
use osprey_core::wal::segment::DatabaseId;
use osprey_firmware::{Board, ENGINE_BYTES, Heap, serve};
use uart_16550::backend::PioBackend;
use uart_16550::{Config, Uart16550};

/// The engine, and what is the flash log's and the allocator's own.
const HEAP_BYTES: usize = ENGINE_BYTES + (64 << 10);

#[global_allocator]
static HEAP: Heap = Heap::new();

struct Microvm {
    line: Uart16550<PioBackend>,
    clock: clock::Rtc,
}

impl Board for Microvm {
    type Flash = disk::Disk;

    fn flash(&mut self) -> Option<disk::Disk> {
        disk::Disk::find()
    }

    fn slot_bytes(&self) -> u32 {
        76 << 10
    }

    fn entropy(&mut self) -> Entropy {
        let mut bytes = [0; 16];
        for chunk in bytes.chunks_exact_mut(8) {
            chunk.copy_from_slice(&boot::random().to_le_bytes());
        }
        let mut database = [0; 16];
        for chunk in database.chunks_exact_mut(8) {
            chunk.copy_from_slice(&boot::random().to_le_bytes());
        }
        Entropy { hash_key: bytes, salt: boot::random(), database: DatabaseId(database) }
    }

    fn now(&mut self) -> Millis {
        self.clock.now()
    }

    fn receive(&mut self) -> Option<u8> {
        self.line.try_receive_byte().ok()
    }

    fn send(&mut self, bytes: &[u8]) {
        self.line.send_bytes_exact(bytes);
    }

    fn heap_peak_bytes(&self) -> usize {
        HEAP.peak_bytes()
    }
}

/// Called once, by [`boot`], in 64-bit mode with a stack.
extern "C" fn main() -> ! {
    static mut MEMORY: [MaybeUninit<u8>; HEAP_BYTES] = [MaybeUninit::uninit(); HEAP_BYTES];
    // SAFETY: nothing else names it, and `main` is called once.
    #[expect(clippy::deref_addrof, reason = "a reference to a mutable static is refused otherwise")]
    HEAP.give(unsafe { &mut *(&raw mut MEMORY) });
    // SAFETY: the first serial port of every PC, which nothing else uses.
    if let Ok(mut line) = unsafe { Uart16550::new_port(0x3F8) }
        && line.init(Config::default()).is_ok()
    {
        serve(&mut Microvm { line, clock: clock::Rtc::default() });
    }
    boot::halt()
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: as above; whoever used it doesn't any more.
    if let Ok(mut line) = unsafe { Uart16550::new_port(0x3F8) } {
        line.send_bytes_exact(b"\r\n# panic\r\n");
    }
    boot::halt()
}
