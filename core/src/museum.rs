//! Planted bugs, which the simulator must find: only in builds with `--cfg museum`, and there only those that were asked for by name. Each stands at the place of the
//! line that is right. In every other build [`planted`] is a constant, and nothing of them is left.
//!
//! What each of them is for, and the program that runs them, is in the project's `tests/src/museum`.

/// Whether a bug is planted: never.
#[cfg(not(museum))]
#[inline(always)]
pub(crate) const fn planted(_name: &str) -> bool {
    false
}

#[cfg(museum)]
pub use awake::{plant, planted};

#[cfg(museum)]
mod awake {
    use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

    /// Hashes of the names of what is planted; 0: nothing.
    static PLANTED: [AtomicU32; 2] = [AtomicU32::new(0), AtomicU32::new(0)];

    /// Plants these bugs, two at most, and no others. For the whole process.
    pub fn plant(names: &[&str]) {
        for (at, slot) in PLANTED.iter().enumerate() {
            slot.store(names.get(at).map_or(0, |name| hash(name)), Relaxed);
        }
    }

    /// Whether a bug is planted.
    #[must_use]
    #[inline]
    pub fn planted(name: &str) -> bool {
        let hash = hash(name);
        PLANTED.iter().any(|slot| slot.load(Relaxed) == hash)
    }

    /// FNV-1a. Names are few, and a test looks for two that have the same.
    #[inline]
    const fn hash(name: &str) -> u32 {
        let mut hash = 0x811C_9DC5_u32;
        let mut rest = name.as_bytes();
        while let Some((&byte, behind)) = rest.split_first() {
            hash = (hash ^ byte as u32).wrapping_mul(0x0100_0193);
            rest = behind;
        }
        hash
    }
}
