//! The sizes of slots: in steps of 8 bytes at first, then eight to each power of two, so that rounding costs a sixteenth on average.

use super::slab::TRAILER_BYTES;

/// A slab of shared slots is about this large when its class has grown to that, bytes.
pub(super) const SLAB_BYTES: usize = 64 << 10;

/// The largest slot that is shared, bytes. A larger entry has a slab of its own, of exactly its size.
pub(in crate::store) const SHARED_BYTES_MAX: usize = SLAB_BYTES / 4;

/// Slots up to this size come in steps of [`FINE_STEP`], bytes; above there are eight sizes to each power of two.
const FINE_BYTES_MAX: usize = 128;
const FINE_STEP: usize = 8;
const FINE_CLASSES: usize = FINE_BYTES_MAX / FINE_STEP;
const CLASSES_PER_DOUBLING: usize = 8;

/// How many sizes of shared slots there are.
pub(super) const CLASSES: usize = FINE_CLASSES + (SHARED_BYTES_MAX / FINE_BYTES_MAX).ilog2() as usize * CLASSES_PER_DOUBLING;

/// How many bytes a record of `len` bytes takes.
pub(in crate::store) fn slot_bytes(len: usize) -> usize {
    let bytes = len + TRAILER_BYTES;
    if bytes > SHARED_BYTES_MAX { bytes } else { align_up(bytes, step(bytes)) }
}

/// The next multiple of a power of two: a division takes longer than all else that is done with sizes.
fn align_up(bytes: usize, step: usize) -> usize {
    (bytes + (step - 1)) & !(step - 1)
}

/// By how much the sizes around this one grow, bytes.
fn step(bytes: usize) -> usize {
    if bytes <= FINE_BYTES_MAX { FINE_STEP } else { bytes.next_power_of_two() / (2 * CLASSES_PER_DOUBLING) }
}

/// The class of a shared slot's size.
pub(super) fn class_of(slot_bytes: usize) -> usize {
    if slot_bytes <= FINE_BYTES_MAX {
        return slot_bytes / FINE_STEP - 1;
    }
    let doubling = ((slot_bytes - 1) / FINE_BYTES_MAX).ilog2() as usize;
    FINE_CLASSES + doubling * CLASSES_PER_DOUBLING + (slot_bytes - 1) / step(slot_bytes) - CLASSES_PER_DOUBLING
}

/// The size of a class's slots, bytes: the inverse of [`class_of`].
pub(super) fn slot_bytes_of(class: usize) -> usize {
    match class.checked_sub(FINE_CLASSES) {
        None => (class + 1) * FINE_STEP,
        Some(coarse) => {
            (FINE_BYTES_MAX << (coarse / CLASSES_PER_DOUBLING)) / CLASSES_PER_DOUBLING
                * (CLASSES_PER_DOUBLING + 1 + coarse % CLASSES_PER_DOUBLING)
        }
    }
}
