//! A line of the prompt into words.
//!
//! Words are separated by blanks. In `"…"` blanks belong to the word and `\n`, `\r`, `\t`, `\0`, `\\`, `\"` and `\xHH` stand
//! for bytes; in `'…'` everything stands for itself. Quotes may begin and end anywhere in a word, and `""` is the empty word.

use std::fmt;

/// Why a line is not words. Columns count characters from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LineError {
    /// The quote opened at this column is not closed.
    Unclosed { column: usize },
    /// The escape at this column means nothing.
    Escape { column: usize },
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unclosed { column } => write!(f, "the quote at column {column} is not closed"),
            Self::Escape { column } => {
                write!(f, r#"the escape at column {column} is none of \n \r \t \0 \\ \" \xHH; write \\ for a backslash"#)
            }
        }
    }
}

/// Splits a line.
pub(crate) fn split(line: &str) -> Result<Vec<Vec<u8>>, LineError> {
    let mut words = Vec::new();
    let mut characters = line.chars().zip(1..).peekable();
    loop {
        while characters.next_if(|(c, _)| c.is_ascii_whitespace()).is_some() {}
        if characters.peek().is_none() {
            return Ok(words);
        }
        let mut word = Vec::new();
        while let Some((c, column)) = characters.next_if(|(c, _)| !c.is_ascii_whitespace()) {
            match c {
                '"' => double_quoted(&mut characters, column, &mut word)?,
                '\'' => single_quoted(&mut characters, column, &mut word)?,
                c => push(&mut word, c),
            }
        }
        words.push(word);
    }
}

fn single_quoted(characters: &mut impl Iterator<Item = (char, usize)>, column: usize, word: &mut Vec<u8>) -> Result<(), LineError> {
    for (c, _) in characters {
        if c == '\'' {
            return Ok(());
        }
        push(word, c);
    }
    Err(LineError::Unclosed { column })
}

fn double_quoted(characters: &mut impl Iterator<Item = (char, usize)>, column: usize, word: &mut Vec<u8>) -> Result<(), LineError> {
    let unclosed = LineError::Unclosed { column };
    while let Some((c, column)) = characters.next() {
        match c {
            '"' => return Ok(()),
            '\\' => {
                let mut next = || characters.next().map(|(c, _)| c);
                word.push(match next().ok_or(unclosed.clone())? {
                    'n' => b'\n',
                    'r' => b'\r',
                    't' => b'\t',
                    '0' => 0,
                    '\\' => b'\\',
                    '"' => b'"',
                    'x' => {
                        let mut digit = || next().and_then(|c| c.to_digit(16)).ok_or(LineError::Escape { column });
                        let (high, low) = (digit()?, digit()?);
                        u8::try_from(high << 4 | low).map_err(|_| LineError::Escape { column })?
                    }
                    _ => return Err(LineError::Escape { column }),
                });
            }
            c => push(word, c),
        }
    }
    Err(unclosed)
}

fn push(word: &mut Vec<u8>, c: char) {
    word.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_separate_words() {
        assert_eq!(split("  set\tk  v "), Ok(vec![b"set".to_vec(), b"k".to_vec(), b"v".to_vec()]));
        assert_eq!(split("   "), Ok(vec![]));
    }

    #[test]
    fn quotes_keep_blanks_and_make_empty_words() {
        assert_eq!(split(r#""a b" '' 'c "d"' e"f g"h"#), Ok(vec![b"a b".to_vec(), vec![], b"c \"d\"".to_vec(), b"ef gh".to_vec()]));
    }

    #[test]
    fn escapes_stand_for_bytes_in_double_quotes_only() {
        assert_eq!(split(r#""\n\r\t\0\\\"\xfF""#), Ok(vec![b"\n\r\t\0\\\"\xff".to_vec()]));
        assert_eq!(split(r"a\n '\n'"), Ok(vec![br"a\n".to_vec(), br"\n".to_vec()]));
        assert_eq!(split("grün"), Ok(vec!["grün".as_bytes().to_vec()]));
    }

    #[test]
    fn what_is_wrong_is_shown_by_its_column() {
        assert_eq!(split(r#"set k "v"#), Err(LineError::Unclosed { column: 7 }));
        assert_eq!(split("'v"), Err(LineError::Unclosed { column: 1 }));
        assert_eq!(split(r#""a\q""#), Err(LineError::Escape { column: 3 }));
        assert_eq!(split(r#""\x1""#), Err(LineError::Escape { column: 2 }));
        assert_eq!(split("\"\\"), Err(LineError::Unclosed { column: 1 }));
    }
}
