//! osprey-core on a Cortex-M3 without an operating system: serves the text protocol over the first serial line of an MPS2 board; the log is in what stands in for flash.
#![no_std]
#![no_main]

mod flash;
mod registers;

use core::mem::MaybeUninit;
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use embedded_storage::nor_flash::ReadNorFlash as _;
use osprey_core::checksum::crc32c;
use osprey_core::engine::Entropy;
use osprey_core::units::Millis;
use osprey_core::wal::segment::DatabaseId;
use osprey_firmware::{Board, ENGINE_BYTES, Heap, serve};

/// Room for a segment of 64 KiB, and its head.
const SLOT_BYTES: u32 = 68 << 10;

/// The engine, and what is the flash log's and the allocator's own.
const HEAP_BYTES: usize = ENGINE_BYTES + (64 << 10);

#[global_allocator]
static HEAP: Heap = Heap::new();

struct Mps2 {
    registers: registers::Registers,
    flash: Option<flash::Psram>,
    /// The time at the start, as far as the log knows it.
    started: Millis,
}

impl Board for Mps2 {
    type Flash = flash::Psram;

    fn flash(&mut self) -> Option<flash::Psram> {
        self.flash.take()
    }

    fn slot_bytes(&self) -> u32 {
        SLOT_BYTES
    }

    /// The board has no source of random numbers. In its place: checksums of what is in flash, where each start writes something new. That makes them different for each run, but no secret.
    fn entropy(&mut self) -> Entropy {
        let mut sums = [[0; 8]; 5];
        if let Some(flash) = &mut self.flash {
            for slot in 0..64 {
                let mut head = [0; 2048];
                let _ = flash.read(slot * SLOT_BYTES, &mut head);
                for (sum, part) in sums.iter_mut().flat_map(|sum| sum.as_chunks_mut().0).zip(head.chunks(2048 / 10)) {
                    *sum = crc32c(u32::from_le_bytes(*sum), part).to_le_bytes();
                }
            }
        }
        let [a, b, c, d, salt] = sums;
        let pair = |a: [u8; 8], b: [u8; 8]| (u128::from(u64::from_le_bytes(a)) << 64 | u128::from(u64::from_le_bytes(b))).to_le_bytes();
        Entropy { hash_key: pair(a, b), salt: u64::from_le_bytes(salt), database: DatabaseId(pair(c, d)) }
    }

    fn now(&mut self) -> Millis {
        Millis(self.started.0 + self.registers.milliseconds())
    }

    /// Its counter begins anew with each start.
    fn go_on_from(&mut self, latest: Millis) {
        self.started = latest;
    }

    fn receive(&mut self) -> Option<u8> {
        self.registers.receive()
    }

    fn send(&mut self, bytes: &[u8]) {
        self.registers.send(bytes);
    }

    fn heap_peak_bytes(&self) -> usize {
        HEAP.peak_bytes()
    }
}

#[entry]
fn main() -> ! {
    static mut MEMORY: [MaybeUninit<u8>; HEAP_BYTES] = [MaybeUninit::uninit(); HEAP_BYTES];
    HEAP.give(MEMORY);
    // SAFETY: this is the board, and `main` is called once.
    let (registers, flash) = unsafe { (registers::Registers::new(), flash::Psram::new()) };
    serve(&mut Mps2 { registers, flash: Some(flash), started: Millis(0) });
    halt()
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: as above; whoever used it doesn't any more.
    unsafe { registers::Registers::new() }.send(b"\r\n# panic\r\n");
    halt()
}

fn halt() -> ! {
    loop {
        core::hint::spin_loop();
    }
}
