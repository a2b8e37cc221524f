//! The words of a line.

use nom::bytes::complete::take_while1;
use nom::character::complete::space0;
use nom::{IResult, Parser as _};

/// A word: anything up to the next space or tab.
#[inline]
fn word(input: &[u8]) -> IResult<&[u8], &[u8], ()> {
    let (input, _) = space0(input)?;
    take_while1(|byte| byte != b' ' && byte != b'\t').parse(input)
}

/// What is left of a line, word by word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (rest, word) = word(self.0).ok()?;
        self.0 = rest;
        Some(word)
    }
}

/// Whether a byte may stand in a key: no control character, no space.
#[inline]
pub(super) fn is_key_byte(byte: u8) -> bool {
    byte > 0x20 && byte != 0x7F
}

/// A line without its end: LF, and one CR directly before it.
#[inline]
pub(super) fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}
