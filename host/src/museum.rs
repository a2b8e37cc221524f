//! Planted bugs of the server and the tools, which the tests of the real programs must find: only in builds with `--cfg museum`, and there only the one that `MUSEUM_PLANTED` names. In every other build
//! [`planted`] is a constant, and nothing of them is left. See `osprey_core::museum`, and the project's `tests/src/museum`.

/// Whether a bug is planted: never.
#[cfg(not(museum))]
#[inline(always)]
pub(crate) const fn planted(_name: &str) -> bool {
    false
}

#[cfg(museum)]
pub(crate) use awake::planted;
#[cfg(museum)]
pub use awake::wake;

#[cfg(museum)]
mod awake {
    use std::sync::LazyLock;

    static PLANTED: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("MUSEUM_PLANTED").ok());

    /// Whether a bug is planted.
    pub(crate) fn planted(name: &str) -> bool {
        PLANTED.as_deref() == Some(name)
    }

    /// Plants the bug in the core, too, if it is one of the core's.
    pub fn wake() {
        if let Some(name) = PLANTED.as_deref() {
            osprey_core::museum::plant(&[name]);
        }
    }
}
