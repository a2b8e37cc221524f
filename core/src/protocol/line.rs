//! The words of a line.

use nom::character::complete::space0;
use nom::sequence::preceded;
use nom::{Err, IResult, Parser as _};

/// A word of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<'a> {
    pub(super) bytes: &'a [u8],
    /// Whether all of its bytes may stand in a key: found out on the way to its end.
    pub(super) is_key: bool,
}

/// Everything up to the next space or tab.
#[inline]
fn word(input: &[u8]) -> IResult<&[u8], Word<'_>, ()> {
    let key = key_bytes(input);
    // A word may hold other bytes, too, though no valid one does.
    let others = input.get(key..).unwrap_or_default().iter().take_while(|&&byte| byte != b' ' && byte != b'\t').count();
    match input.split_at_checked(key + others) {
        Some((bytes, rest)) if !bytes.is_empty() => Ok((rest, Word { bytes, is_key: others == 0 })),
        _ => Err(Err::Error(())),
    }
}

/// What is left of a line, word by word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words<'a>(pub(super) &'a [u8]);

impl<'a> Words<'a> {
    /// As `next`, with what is known of the word.
    #[inline]
    pub(super) fn next_word(&mut self) -> Option<Word<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let (rest, word) = preceded(space0, word).parse(self.0).ok()?;
        self.0 = rest;
        Some(word)
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.next_word().map(|word| word.bytes)
    }
}

/// Whether a byte may stand in a key: no control character, no space.
#[inline]
pub(super) fn is_key_byte(byte: u8) -> bool {
    byte > 0x20 && byte != 0x7F
}

/// Whether all bytes of `word` may stand in a key.
#[inline]
pub(super) fn is_key(word: &[u8]) -> bool {
    key_bytes(word) == word.len()
}

/// How many bytes at the beginning may stand in a key.
///
/// Most of parsing a request is looking for the end of its key. So eight bytes are looked at together, by the exact tests for a byte below n and for a
/// zero byte of <https://graphics.stanford.edu/~seander/bithacks.html#ZeroInWord>: the lowest bit that is set belongs to the first such byte.
#[inline]
fn key_bytes(input: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH_BITS: u64 = ONES << 7;
    let (chunks, tail) = input.as_chunks();
    for (index, &chunk) in chunks.iter().enumerate() {
        let bytes = u64::from_le_bytes(chunk);
        let below_0x21 = bytes.wrapping_sub(ONES * 0x21) & !bytes;
        let zero_if_0x7f = bytes ^ (ONES * 0x7F);
        let is_0x7f = zero_if_0x7f.wrapping_sub(ONES) & !zero_if_0x7f;
        let others = (below_0x21 | is_0x7f) & HIGH_BITS;
        if others != 0 {
            return index * 8 + others.trailing_zeros() as usize / 8;
        }
    }
    chunks.len() * 8 + tail.iter().take_while(|&&byte| is_key_byte(byte)).count()
}

/// A line without its end: LF, and one CR directly before it.
#[inline]
pub(super) fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Every byte at every place, since the search goes by eights.
    #[test]
    fn a_key_ends_at_the_first_byte_that_no_key_has() {
        for len in 0..20 {
            for place in 0..=len {
                for byte in 0..=u8::MAX {
                    let mut text = [b'k'; 20];
                    text[place] = byte;
                    let text = &text[..len];
                    assert_eq!(key_bytes(text), text.iter().take_while(|&&byte| is_key_byte(byte)).count(), "{}", text.escape_ascii());
                }
            }
        }
        // Neighbours must not borrow from each other.
        assert_eq!(key_bytes(b"\x80\x21\x7E\xFF\x80\x80\x21\x21\x20\x20\x21\x7F\x7F\x7F\x7F\x7F"), 8);
    }

    #[test]
    fn words_end_at_blanks_and_nowhere_else() {
        let words: Vec<_> = Words(b"  GET\ta-long-key\x01\x7F\xFFwith-anything  \r \t").collect();
        assert_eq!(words, [&b"GET"[..], b"a-long-key\x01\x7F\xFFwith-anything", b"\r"]);
        assert_eq!(Words(b" \t ").next(), None);
        assert_eq!(Words(b"").next(), None);
    }
}
