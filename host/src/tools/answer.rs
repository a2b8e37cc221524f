//! How numbers, times and bytes are written for people.

use jiff::Timestamp;
use osprey_core::units::{Lsn, Millis};

/// No more of a key or value is shown, bytes.
const SHOWN_BYTES_MAX: usize = 80;

/// A time in ISO 8601, UTC.
pub(super) fn time(at: Millis) -> String {
    let known = i64::try_from(at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    known.map_or_else(|| format!("{} ms", at.0), |time| time.to_string())
}

/// `LSN 7` or `LSN 7–9`.
pub(super) fn lsns(first: Lsn, last: Lsn) -> String {
    if first == last { format!("LSN {}", first.0) } else { format!("LSN {}–{}", first.0, last.0) }
}

/// `1 key`, `2 keys`.
pub(super) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Bytes as a text on one line that no terminal takes for commands.
pub(super) fn text(bytes: &[u8]) -> String {
    let shown = bytes.get(..SHOWN_BYTES_MAX).unwrap_or(bytes);
    let text: String = match std::str::from_utf8(shown) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => shown.escape_ascii().to_string(),
    };
    if bytes.len() > shown.len() { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}
