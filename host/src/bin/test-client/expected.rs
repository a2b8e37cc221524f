//! What a reply should be: a predicate, and its text for the case that it does not hold.

use osprey::client::{Entry, Error, ErrorCode, Millis, Reply, Ttl, Version};

use super::show::{show_bytes, show_reply};
use super::walk::Got;

/// An expectation.
pub(crate) struct Expected {
    text: String,
    holds: Box<dyn Fn(&Got) -> bool>,
}

impl Expected {
    fn new(text: impl Into<String>, holds: impl Fn(&Got) -> bool + 'static) -> Self {
        Self { text: text.into(), holds: Box::new(holds) }
    }

    fn entry(text: String, holds: impl Fn(&Entry) -> bool + 'static) -> Self {
        Self::new(text, move |got| matches!(got, Ok(Reply::Entry(Some(entry))) if holds(entry)))
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    pub(crate) fn holds(&self, got: &Got) -> bool {
        (self.holds)(got)
    }
}

/// Exactly this reply.
pub(crate) fn reply(expected: Reply) -> Expected {
    Expected::new(show_reply(&expected), move |got| matches!(got, Ok(reply) if *reply == expected))
}

/// `NOT_FOUND` to a `GET`.
pub(crate) fn no_entry() -> Expected {
    reply(Reply::Entry(None))
}

/// `ERR` with this code.
pub(crate) fn refused(code: ErrorCode) -> Expected {
    Expected::new(format!("ERR {code}"), move |got| matches!(got, Err(error) if error.is_refusal(code)))
}

/// `ERR VER` whose message ends with the current version.
pub(crate) fn version_is(current: Version) -> Expected {
    Expected::new(format!("ERR VER … {}", current.0), move |got| match got {
        Err(Error::Server { code: ErrorCode::Ver, message }) => {
            message.rsplit(' ').next().and_then(|word| word.parse().ok()) == Some(current.0)
        }
        _ => false,
    })
}

/// `OK` with a version above `floor`.
pub(crate) fn stored_above(floor: Version) -> Expected {
    Expected::new(format!("OK <above {}>", floor.0), move |got| matches!(got, Ok(Reply::Stored(version)) if *version > floor))
}

/// A value without an expiry.
pub(crate) fn value(expected: impl AsRef<[u8]>, version: Version) -> Expected {
    let expected = expected.as_ref().to_vec();
    let text = format!("VALUE {} {} -1 {}", expected.len(), version.0, show_bytes(&expected));
    Expected::entry(text, move |entry| entry.value == expected && entry.version == version && entry.expiry.is_none())
}

/// A value that expires at this time.
pub(crate) fn value_until(expected: &'static str, expiry: Millis) -> Expected {
    let text = format!("VALUE {} <version> {} {expected}", expected.len(), expiry.0);
    Expected::entry(text, move |entry| entry.value == expected.as_bytes() && entry.expiry == Some(expiry))
}

/// A value of any version that has an expiry or has none.
pub(crate) fn value_expiring(expected: &'static str, expires: bool) -> Expected {
    let text = format!("VALUE {} <version> {} {expected}", expected.len(), if expires { "<expiry>" } else { "-1" });
    Expected::entry(text, move |entry| entry.value == expected.as_bytes() && entry.expiry.is_some() == expires)
}

/// A time to live of at most `ms`, and more than none.
pub(crate) fn at_most(ms: u64) -> Expected {
    Expected::new(format!("<1 to {ms}>"), move |got| matches!(got, Ok(Reply::Ttl(Ttl::Remaining { ms: left })) if (1..=ms).contains(left)))
}

/// These values, `None` for missing keys, whatever their versions.
pub(crate) fn values(expected: &'static [Option<&'static str>]) -> Expected {
    Expected::new(format!("values {expected:?}"), move |got| match got {
        Ok(Reply::Entries(entries)) => entries
            .iter()
            .map(|entry| entry.as_ref().map(|entry| entry.value.as_slice()))
            .eq(expected.iter().map(|value| value.map(str::as_bytes))),
        _ => false,
    })
}

/// `STATS` with at least these names.
pub(crate) fn stats(names: &'static [&'static str]) -> Expected {
    Expected::new(format!("lines with {names:?}"), move |got| match got {
        Ok(Reply::Stats(stats)) => names.iter().all(|name| stats.iter().any(|(known, _)| known == name)),
        _ => false,
    })
}
