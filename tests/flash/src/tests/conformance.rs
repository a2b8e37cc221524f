//! The contract that the engine relies on, checked by the core's own suite.

use osprey_core::conformance::{Subject, check};

use super::nor::{BLOCK_BYTES, Nor};
use crate::FlashLog;

const SLOTS: usize = 64;

/// Up to two blocks of head.
#[expect(clippy::cast_possible_truncation, reason = "72 KiB")]
const SLOT_BYTES: u32 = 18 * BLOCK_BYTES as u32;

/// A process that ends takes nothing along that a power cut wouldn't.
struct Flash<const WRITE: usize>;

impl<const WRITE: usize> Subject for Flash<WRITE> {
    type Storage = FlashLog<Nor<WRITE>>;

    fn create(&mut self) -> Self::Storage {
        FlashLog::mount(Nor::new(18 * SLOTS, 1), SLOT_BYTES).unwrap()
    }

    fn kill(&mut self, storage: Self::Storage) -> Self::Storage {
        FlashLog::mount(storage.into_flash(), SLOT_BYTES).unwrap()
    }

    fn cuts_power(&self) -> bool {
        true
    }

    fn cut_power(&mut self, storage: Self::Storage) -> Self::Storage {
        self.kill(storage)
    }

    fn always_synced(&self) -> bool {
        WRITE > 8
    }
}

#[test]
fn it_conforms() {
    let checked = check(&mut Flash::<8>).unwrap_or_else(|violation| panic!("{violation}"));
    assert!(checked.snapshots && checked.kills > 10 && checked.power_cuts > 10, "{checked:?}");
}

#[test]
fn it_conforms_with_large_write_units() {
    check(&mut Flash::<256>).unwrap_or_else(|violation| panic!("{violation}"));
}
