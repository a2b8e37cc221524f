//! Replies as lines for people, much as they are on the wire.

use osprey::client::{Entry, Reply, Ttl};

use super::walk::Got;

/// The most bytes of a value that are shown.
const VALUE_SHOWN_MAX: usize = 32;
/// The most characters of a request that are shown.
const REQUEST_SHOWN_MAX: usize = 80;

/// A result in one line.
pub(crate) fn show(got: &Got) -> String {
    match got {
        Ok(reply) => show_reply(reply),
        Err(osprey::client::Error::Server { code, message }) => format!("ERR {code} {}", message.escape_debug()),
        Err(error) => error.to_string(),
    }
}

/// A reply in one line.
pub(crate) fn show_reply(reply: &Reply) -> String {
    match reply {
        Reply::Pong => "PONG".into(),
        Reply::Bye => "BYE".into(),
        Reply::Stored(version) => format!("OK {}", version.0),
        Reply::Entry(entry) => show_entry(entry.as_ref()),
        Reply::Deleted(deleted) => format!("DELETED {}", u8::from(*deleted)),
        Reply::Exists(exists) => format!("EXISTS {}", u8::from(*exists)),
        Reply::Changed(true) => "OK".into(),
        Reply::Changed(false) => "NOT_FOUND".into(),
        Reply::Ttl(Ttl::Missing) => "-2".into(),
        Reply::Ttl(Ttl::Unlimited) => "-1".into(),
        Reply::Ttl(Ttl::Remaining { ms }) => ms.to_string(),
        Reply::Integer(number) => number.to_string(),
        Reply::Count(count) => format!("OK {count}"),
        Reply::Entries(entries) => entries.iter().map(|entry| show_entry(entry.as_ref())).collect::<Vec<_>>().join(", "),
        Reply::Page(page) => format!("CURSOR {} and {} keys", page.next, page.keys.len()),
        Reply::Stats(stats) => format!("{} lines", stats.len()),
        other => format!("{other:?}"),
    }
}

fn show_entry(entry: Option<&Entry>) -> String {
    let Some(Entry { value, version, expiry }) = entry else { return "NOT_FOUND".into() };
    let expiry = expiry.map_or("-1".into(), |at| at.0.to_string());
    format!("VALUE {} {} {expiry} {}", value.len(), version.0, show_bytes(value))
}

/// The beginning of a value as text, control characters escaped.
pub(crate) fn show_bytes(bytes: &[u8]) -> String {
    let text = bytes[..bytes.len().min(VALUE_SHOWN_MAX)].escape_ascii().to_string();
    if bytes.len() > VALUE_SHOWN_MAX { text + "…" } else { text }
}

/// The beginning of a request.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(REQUEST_SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}
