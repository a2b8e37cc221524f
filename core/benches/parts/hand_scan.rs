//! `GET`, plain `SET` and `MGET` scanned by hand, byte by byte: what the parser of the core is compared with.
//!
//! It takes what the parser takes of these three: words in either case, blanks between them, LF or CRLF, the limits, the bytes that a key may
//! have, numbers written in one way. What it doesn't know is [`Scan::Other`]: other commands and options, and whatever is wrong. So it
//! has no error to explain, no payload to skip, and remembers nothing of an incomplete request.

use osprey_core::protocol::request::Limits;

/// What stands at the beginning of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scan<'a> {
    Get { key: &'a [u8], consumed: usize },
    Set { key: &'a [u8], value: &'a [u8], consumed: usize },
    Mget { keys: Keys<'a>, consumed: usize },
    Incomplete,
    Other,
}

/// The keys of an `MGET`, which were checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keys<'a> {
    line: &'a [u8],
    pub(crate) len: usize,
}

impl<'a> Keys<'a> {
    pub(crate) fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        self.line.split(|&byte| is_blank(byte)).filter(|word| !word.is_empty())
    }
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Behind the blanks at `at`.
fn skip_blanks(line: &[u8], mut at: usize) -> usize {
    while line.get(at).is_some_and(|&byte| is_blank(byte)) {
        at += 1;
    }
    at
}

/// The key that begins at `at` and where it ends; `None` if there is none.
fn scan_key<'a>(limits: &Limits, line: &'a [u8], at: usize) -> Option<(&'a [u8], usize)> {
    let mut end = at;
    while line.get(end).is_some_and(|&byte| byte > b' ' && byte != 0x7F) {
        end += 1;
    }
    let ends = line.get(end).is_none_or(|&byte| is_blank(byte));
    (ends && end > at && end - at <= limits.key_bytes_max).then(|| (&line[at..end], end))
}

/// The number that begins at `at` and where it ends.
fn scan_number(line: &[u8], at: usize) -> Option<(usize, usize)> {
    let (mut number, mut end) = (0_usize, at);
    while let Some(digit) = line.get(end).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit <= 9) {
        number = number.checked_mul(10)?.checked_add(usize::from(digit))?;
        end += 1;
    }
    let canonical = end == at + 1 || (end > at && line[at] != b'0');
    canonical.then_some((number, end))
}

/// What stands at the beginning of `input`.
pub(crate) fn scan<'a>(limits: &Limits, input: &'a [u8]) -> Scan<'a> {
    let Some(line_len) = memchr::memchr(b'\n', input) else { return Scan::Incomplete };
    let mut line = &input[..line_len];
    if let [rest @ .., b'\r'] = line {
        line = rest;
    }
    if line.len() > limits.line_bytes_max {
        return Scan::Other;
    }
    request(limits, input, line, line_len + 1).unwrap_or(Scan::Other)
}

/// `None`: none of those that are known here.
fn request<'a>(limits: &Limits, input: &'a [u8], line: &'a [u8], payload: usize) -> Option<Scan<'a>> {
    let begin = skip_blanks(line, 0);
    let mut at = begin;
    while line.get(at).is_some_and(|&byte| !is_blank(byte)) {
        at += 1;
    }
    let word = &line[begin..at];
    at = skip_blanks(line, at);
    if word.eq_ignore_ascii_case(b"GET") {
        let (key, end) = scan_key(limits, line, at)?;
        return (skip_blanks(line, end) == line.len()).then_some(Scan::Get { key, consumed: payload });
    }
    if word.eq_ignore_ascii_case(b"SET") {
        let (key, end) = scan_key(limits, line, at)?;
        let (len, end) = scan_number(line, skip_blanks(line, end))?;
        if skip_blanks(line, end) != line.len() || len > limits.value_bytes_max {
            return None;
        }
        let end = payload + len;
        let Some(value) = input.get(payload..end) else { return Some(Scan::Incomplete) };
        return match &input[end..] {
            [b'\n', ..] => Some(Scan::Set { key, value, consumed: end + 1 }),
            [b'\r', b'\n', ..] => Some(Scan::Set { key, value, consumed: end + 2 }),
            [] | [b'\r'] => Some(Scan::Incomplete),
            _ => None,
        };
    }
    if word.eq_ignore_ascii_case(b"MGET") {
        let (keys, mut len) = (&line[at..], 0);
        while at < line.len() {
            let (_, end) = scan_key(limits, line, at)?;
            len += 1;
            at = skip_blanks(line, end);
        }
        return (len > 0 && len < limits.words_max).then_some(Scan::Mget { keys: Keys { line: keys, len }, consumed: payload });
    }
    None
}
