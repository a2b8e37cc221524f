//! The museum of planted bugs: a simulator that finds nothing wrong proves something only if it finds what is.
//!
//! ```text
//!   catalogue ── name, story, budget ──▶ search ── plants it, runs seeds ──▶ caught at which seed, by which check
//! ```
//! - [`catalogue`]: the bugs. Each stands in the code, at the place of the line that is right, behind `planted("its name")`.
//! - `search`, in the museum's builds only: looks for a seed that fails.
//!
//! The bugs are there only in builds with `--cfg museum`, and do something only once they are planted by name. `make museum` builds them and
//! runs them all; `docs/SIMULATOR.md` has the table.

pub mod catalogue;
pub mod real;
#[cfg(museum)]
pub mod search;

#[cfg(museum)]
pub use osprey_core::museum::planted;

/// Whether a bug is planted: never.
#[cfg(not(museum))]
#[inline]
#[must_use]
pub(crate) const fn planted(_name: &str) -> bool {
    false
}
