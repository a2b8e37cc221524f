//! The keys of a run: numbers with a name each, the same in all runs.

use std::sync::OnceLock;

/// A key's number.
pub type Key = u16;

/// How many keys there are at most.
pub const KEYS_MAX: usize = 2048;

/// The longest name, and so the longest key that is allowed, bytes.
pub const KEY_BYTES_MAX: usize = 24;

/// What names begin with.
pub const PREFIXES: [&[u8]; 3] = [b"a", b"b", "\u{e9}".as_bytes()];

/// A key's name: its prefix and its number; every seventh is as long as a key may be.
#[must_use]
pub fn name(key: Key) -> &'static [u8] {
    static NAMES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let name = |key: usize| {
            let mut name = PREFIXES[key % PREFIXES.len()].to_vec();
            name.extend_from_slice(key.to_string().as_bytes());
            if key % 7 == 3 {
                name.resize(KEY_BYTES_MAX, b'.');
            }
            name
        };
        (0..KEYS_MAX).map(name).collect()
    });
    &names[usize::from(key)]
}

/// The key of a name.
#[must_use]
pub fn of_name(name_given: &[u8]) -> Option<Key> {
    let prefix = PREFIXES.iter().find(|prefix| name_given.starts_with(prefix))?;
    let digits = &name_given[prefix.len()..];
    let len = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    let key = digits[..len].iter().try_fold(0_usize, |number, digit| number.checked_mul(10)?.checked_add(usize::from(digit - b'0')))?;
    let key = Key::try_from(key).ok().filter(|&key| usize::from(key) < KEYS_MAX)?;
    (name(key) == name_given).then_some(key)
}
