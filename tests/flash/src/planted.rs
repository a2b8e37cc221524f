//! Bugs that the tests plant, to see that they would be found. In every other build [`planted`] is a constant, and nothing of them is left.

#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn planted(_name: &str) -> bool {
    false
}

#[cfg(test)]
std::thread_local! {
    pub(crate) static PLANTED: core::cell::Cell<&'static str> = const { core::cell::Cell::new("") };
}

#[cfg(test)]
pub(crate) fn planted(name: &str) -> bool {
    PLANTED.get() == name
}
