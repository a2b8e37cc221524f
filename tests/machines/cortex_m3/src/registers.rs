//! The board's serial line and its counter of time, by their registers: Arm's CMSDK, and application note 385.

use core::ptr::with_exposed_provenance_mut;

const UART: usize = 0x4000_4000;
const DATA: usize = UART;
const STATE: usize = UART + 0x4;
const CONTROL: usize = UART + 0x8;
const BAUD_DIVIDER: usize = UART + 0x10;

const STATE_SENDING: u32 = 1;
const STATE_RECEIVED: u32 = 2;
const CONTROL_SEND_AND_RECEIVE: u32 = 3;

/// Hundredths of a second since the start.
const CLOCK_100_HZ: usize = 0x4002_8014;

/// The line and the counter, which nothing else uses.
pub struct Registers(());

impl Registers {
    /// Switches the line on.
    ///
    /// # Safety
    /// On this board only, and nothing else may use them.
    pub unsafe fn new() -> Self {
        let mut registers = Self(());
        registers.set(BAUD_DIVIDER, 16);
        registers.set(CONTROL, CONTROL_SEND_AND_RECEIVE);
        // QEMU doesn't look at its end of the line again before something was taken from this one.
        let _ = registers.value(DATA);
        registers
    }

    fn value(&self, register: usize) -> u32 {
        // SAFETY: whoever made this has said that the board has these registers.
        unsafe { with_exposed_provenance_mut::<u32>(register).read_volatile() }
    }

    fn set(&mut self, register: usize, value: u32) {
        // SAFETY: as above.
        unsafe { with_exposed_provenance_mut::<u32>(register).write_volatile(value) };
    }

    pub fn receive(&mut self) -> Option<u8> {
        // Its low byte is what was received.
        (self.value(STATE) & STATE_RECEIVED != 0).then(|| self.value(DATA).to_le_bytes()[0])
    }

    pub fn send(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            while self.value(STATE) & STATE_SENDING != 0 {}
            self.set(DATA, byte.into());
        }
    }

    /// Since the start, in steps of 10.
    pub fn milliseconds(&self) -> u64 {
        u64::from(self.value(CLOCK_100_HZ)) * 10
    }
}
