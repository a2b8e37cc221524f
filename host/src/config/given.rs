//! A value as it was given: by a TOML file, with a type, or by a variable or flag, as text.

use std::fmt;
use toml::de::DeValue;

/// How much of a text is repeated in a message, characters.
const SHOWN_CHARS_MAX: usize = 80;

pub(super) enum Given<'a> {
    Toml(&'a DeValue<'a>),
    Text(&'a str),
}

impl Given<'_> {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Toml(DeValue::String(text)) => Some(text),
            Self::Toml(_) => None,
            Self::Text(text) => Some(text),
        }
    }

    pub(super) fn whole_number(&self) -> Option<u64> {
        match self {
            Self::Toml(DeValue::Integer(digits)) => u64::from_str_radix(digits.as_str(), digits.radix()).ok(),
            Self::Toml(_) => None,
            // `parse` would take a leading plus.
            Self::Text(text) => text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?,
        }
    }

    pub(super) fn flag(&self) -> Option<bool> {
        match self {
            Self::Toml(DeValue::Boolean(flag)) => Some(*flag),
            Self::Toml(_) => None,
            Self::Text(text) => text.parse().ok(),
        }
    }
}

/// As a message names it: what was found in the place of what was expected.
impl fmt::Display for Given<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write_text(f, text),
            Self::Toml(DeValue::String(text)) => write_text(f, text),
            Self::Toml(DeValue::Integer(digits)) => write!(f, "{digits}"),
            Self::Toml(DeValue::Float(digits)) => write!(f, "{digits}"),
            Self::Toml(DeValue::Boolean(flag)) => write!(f, "{flag}"),
            Self::Toml(DeValue::Datetime(_)) => f.write_str("a date or time"),
            Self::Toml(DeValue::Array(_)) => f.write_str("an array"),
            Self::Toml(DeValue::Table(_)) => f.write_str("a table"),
        }
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => write!(f, "{:?}…", &text[..end]),
        None => write!(f, "{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_a_number_only_as_plain_digits() {
        assert_eq!(Given::Text("18446744073709551615").whole_number(), Some(u64::MAX));
        for wrong in ["", "+1", "-1", " 1", "1_000", "0x10", "1.0", "18446744073709551616"] {
            assert_eq!(Given::Text(wrong).whole_number(), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_number_of_toml_may_be_in_any_of_its_bases() {
        for right in ["1000", "1_000", "+1000", "0x3e8", "0b1111101000", "0o1750"] {
            let value = DeValue::parse(right).unwrap();
            assert_eq!(Given::Toml(value.get_ref()).whole_number(), Some(1000), "{right}");
        }
    }

    #[test]
    fn what_was_found_is_named_in_few_words() {
        let shown = |value: &str| Given::Toml(DeValue::parse(value).unwrap().get_ref()).to_string();
        assert_eq!(shown("-7"), "-7");
        assert_eq!(shown("0xff"), "0xff");
        assert_eq!(shown("1.5"), "1.5");
        assert_eq!(shown("true"), "true");
        assert_eq!(shown("1979-05-27"), "a date or time");
        assert_eq!(shown("[1]"), "an array");
        assert_eq!(shown("{ a = 1 }"), "a table");
        assert_eq!(shown(r#""tab\t""#), r#""tab\t""#);
        assert_eq!(Given::Text(&"ä".repeat(81)).to_string(), format!("\"{}\"…", "ä".repeat(80)));
    }
}
