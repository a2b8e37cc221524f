//! `PING`, and values: `SET`, `GET`, `DEL`, `EXISTS`, `MGET`, `MSET`, whatever their bytes and their size.

use osprey::client::{Error, Reply, SetOptions, Version};

use super::expected::{no_entry, reply, stats, stored_above, value, values};
use super::walk::Walk;

const PLAIN: SetOptions = SetOptions { expiry: osprey::client::SetExpiry::Clear, presence: osprey::client::Presence::Any, version: None };

pub(crate) fn check(w: &mut Walk) -> Result<(), Error> {
    single(w)?;
    several(w)?;
    any_bytes(w)
}

fn single(w: &mut Walk) -> Result<(), Error> {
    w.group("PING, SET, GET, EXISTS, DEL");
    let a = w.key("a");
    w.check("PING", |p| p.ping(), reply(Reply::Pong))?;
    w.check(&format!("GET {a}"), |p| p.get(&a), no_entry())?;
    w.check(&format!("EXISTS {a}"), |p| p.exists(&a), reply(Reply::Exists(false)))?;
    w.check(&format!("DEL {a}"), |p| p.del(&a, None), reply(Reply::Deleted(false)))?;

    let first = w.check(&format!("SET {a} 5 alice"), |p| p.set(&a, "alice", &PLAIN), stored_above(Version::NONE))?;
    w.check(&format!("GET {a}"), |p| p.get(&a), value("alice", first))?;
    w.check(&format!("EXISTS {a}"), |p| p.exists(&a), reply(Reply::Exists(true)))?;
    let second = w.check(&format!("SET {a} 3 bob"), |p| p.set(&a, "bob", &PLAIN), stored_above(first))?;
    w.check(&format!("GET {a}"), |p| p.get(&a), value("bob", second))?;

    w.check(&format!("DEL {a}"), |p| p.del(&a, None), reply(Reply::Deleted(true)))?;
    w.check(&format!("GET {a}"), |p| p.get(&a), no_entry())?;
    // No version ever names two values, not even of a key that was deleted between.
    let third = w.check(&format!("SET {a} 3 eve"), |p| p.set(&a, "eve", &PLAIN), stored_above(second))?;
    w.check(&format!("GET {a}"), |p| p.get(&a), value("eve", third))?;

    w.group("STATS");
    let names = &["uptime_ms", "keys", "expired_total", "evicted_total", "cmd_get", "cmd_set", "cmd_del", "cmd_incr", "clients"];
    w.check("STATS", |p| p.stats(), stats(names))?;

    w.group("SNAPSHOT");
    w.check("SNAPSHOT", |p| p.snapshot(), reply(Reply::Changed(true)))?;
    w.check(&format!("GET {a}"), |p| p.get(&a), value("eve", third))?;
    let names = &["snapshots_total", "snapshot_current", "snapshot_last_error"];
    w.check("STATS", |p| p.stats(), stats(names))?;
    Ok(())
}

fn several(w: &mut Walk) -> Result<(), Error> {
    w.group("MGET, MSET");
    let (b, c, missing) = (w.key("b"), w.key("c"), w.key("missing"));
    w.check(&format!("MSET {b} 3 {c} 4"), |p| p.mset(&[(&b, "bee"), (&c, "seas")]), reply(Reply::Count(2)))?;
    w.check(
        &format!("MGET {c} {missing} {b} {b}"),
        |p| p.mget(&[&c, &missing, &b, &b]),
        values(&[Some("seas"), None, Some("bee"), Some("bee")]),
    )?;
    w.check(&format!("MSET {b} 5 {b} 4, a key twice"), |p| p.mset(&[(&b, "first"), (&b, "last")]), reply(Reply::Count(2)))?;
    w.check(&format!("MGET {b}"), |p| p.mget(&[&b]), values(&[Some("last")]))?;
    Ok(())
}

fn any_bytes(w: &mut Walk) -> Result<(), Error> {
    w.group("Values of any bytes");
    let bytes: Vec<u8> = (0..=u8::MAX).collect();
    let large: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(1 << 20).collect();
    let cases: [(&str, &[u8]); 5] = [
        ("an empty value", b""),
        ("every byte", &bytes),
        ("line ends", b"\r\n\r\n\n"),
        ("what looks like a reply", b"END\r\nERR BADREQ no\r\n"),
        ("1 MiB at random", &large),
    ];
    for (name, bytes) in cases {
        let k = w.key("bytes");
        let version = w.check(&format!("SET {k} {}, {name}", bytes.len()), |p| p.set(&k, bytes, &PLAIN), stored_above(Version::NONE))?;
        w.check(&format!("GET {k}"), |p| p.get(&k), value(bytes, version))?;
    }
    let unicode = w.key("schlüssel-鍵");
    let version = w.check(&format!("SET {unicode} 1 v"), |p| p.set(&unicode, "v", &PLAIN), stored_above(Version::NONE))?;
    w.check(&format!("GET {unicode}"), |p| p.get(&unicode), value("v", version))?;
    Ok(())
}
