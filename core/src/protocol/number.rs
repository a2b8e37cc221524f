//! Decimal numbers as the protocol writes them: one way for each number, no `+`, no leading zeros, never a wrap.

/// A number of 64 bits without sign.
#[must_use]
#[inline]
pub(super) fn unsigned(word: &[u8]) -> Option<u64> {
    match word {
        [] | [b'0', _, ..] => None,
        digits => digits.iter().try_fold(0_u64, |number, &digit| {
            let digit = digit.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            number.checked_mul(10)?.checked_add(u64::from(digit))
        }),
    }
}

/// A number of 64 bits, negative behind a `-`. There is no `-0`.
#[must_use]
pub(super) fn signed(word: &[u8]) -> Option<i64> {
    match word.strip_prefix(b"-") {
        None => unsigned(word).and_then(|number| i64::try_from(number).ok()),
        Some(b"0") => None,
        Some(digits) => unsigned(digits).and_then(|number| 0_i64.checked_sub_unsigned(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn one_way_to_write_each_number() {
        assert_eq!(unsigned(b"0"), Some(0));
        assert_eq!(unsigned(b"18446744073709551615"), Some(u64::MAX));
        for wrong in ["", "00", "01", "+1", "-1", " 1", "1 ", "1a", "18446744073709551616", "99999999999999999999999"] {
            assert_eq!(unsigned(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_ends_of_i64_are_exact() {
        for number in [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX] {
            assert_eq!(signed(format!("{number}").as_bytes()), Some(number));
        }
        for wrong in ["-0", "--1", "-", "-01", "9223372036854775808", "-9223372036854775809"] {
            assert_eq!(signed(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
