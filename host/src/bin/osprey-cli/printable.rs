//! Bytes from the server on a terminal: what would steer the terminal is shown, not obeyed.

use std::fmt;

/// Prints text as it is, with line ends and tabs; other control characters and bytes that are no UTF-8 as `\xHH`.
pub(crate) struct Printable<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() && !matches!(character, '\n' | '\t') {
                    let mut encoded = [0; 4];
                    hexadecimal(f, character.encode_utf8(&mut encoded).as_bytes())?;
                } else {
                    fmt::Write::write_char(f, character)?;
                }
            }
            hexadecimal(f, chunk.invalid())?;
        }
        Ok(())
    }
}

fn hexadecimal(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_printed_as_it_is() {
        assert_eq!(Printable("grün\n\tblau".as_bytes()).to_string(), "grün\n\tblau");
    }

    #[test]
    fn terminal_sequences_and_odd_bytes_are_shown() {
        assert_eq!(Printable(b"\x1b[2Jx\r\x00\xff").to_string(), "\\x1b[2Jx\\x0d\\x00\\xff");
        assert_eq!(Printable("\u{9b}31m".as_bytes()).to_string(), "\\xc2\\x9b31m");
    }
}
