//! Writes that depend on what is there: `NX`, `XX`, `VER`; and a lock made of them.

use osprey::client::{Error, ErrorCode, Presence, Reply, SetExpiry, SetOptions, Version};

use super::expected::{at_most, refused, reply, stored_above, value, version_is};
use super::walk::Walk;

fn presence(presence: Presence) -> SetOptions {
    SetOptions { presence, ..SetOptions::default() }
}

fn only(version: Version) -> SetOptions {
    SetOptions { version: Some(version), ..SetOptions::default() }
}

pub(crate) fn check(w: &mut Walk) -> Result<(), Error> {
    by_presence(w)?;
    by_version(w)?;
    lock(w)
}

fn by_presence(w: &mut Walk) -> Result<(), Error> {
    w.group("SET with NX, XX");
    let k = w.key("presence");
    let (nx, xx) = (presence(Presence::Absent), presence(Presence::Present));
    w.check(&format!("SET {k} 1 XX, no such key"), |p| p.set(&k, "0", &xx), refused(ErrorCode::NExists))?;
    w.check(&format!("EXISTS {k}"), |p| p.exists(&k), reply(Reply::Exists(false)))?;
    let first = w.check(&format!("SET {k} 1 NX"), |p| p.set(&k, "1", &nx), stored_above(Version::NONE))?;
    w.check(&format!("SET {k} 1 NX, key exists"), |p| p.set(&k, "2", &nx), refused(ErrorCode::Exists))?;
    w.check(&format!("GET {k}"), |p| p.get(&k), value("1", first))?;
    let second = w.check(&format!("SET {k} 1 XX"), |p| p.set(&k, "3", &xx), stored_above(first))?;
    w.check(&format!("GET {k}"), |p| p.get(&k), value("3", second))?;
    Ok(())
}

fn by_version(w: &mut Walk) -> Result<(), Error> {
    w.group("SET and DEL with VER");
    let k = w.key("version");
    let none = Version::NONE;
    w.check(&format!("SET {k} 1 VER 7, no such key"), |p| p.set(&k, "0", &only(Version(7))), version_is(none))?;
    w.check(&format!("DEL {k} VER 7, no such key"), |p| p.del(&k, Some(Version(7))), version_is(none))?;
    let first = w.check(&format!("SET {k} 1 VER 0"), |p| p.set(&k, "1", &only(none)), stored_above(none))?;
    w.check(&format!("SET {k} 1 VER 0, key exists"), |p| p.set(&k, "2", &only(none)), version_is(first))?;
    let n = first.0;
    let second = w.check(&format!("SET {k} 1 VER {n}"), |p| p.set(&k, "2", &only(first)), stored_above(first))?;
    w.check(&format!("SET {k} 1 VER {n}, overtaken"), |p| p.set(&k, "3", &only(first)), version_is(second))?;
    w.check(&format!("DEL {k} VER {n}, overtaken"), |p| p.del(&k, Some(first)), version_is(second))?;
    w.check(&format!("GET {k}"), |p| p.get(&k), value("2", second))?;
    w.check(&format!("DEL {k} VER {}", second.0), |p| p.del(&k, Some(second)), reply(Reply::Deleted(true)))?;
    Ok(())
}

fn lock(w: &mut Walk) -> Result<(), Error> {
    w.group("A lock: SET NX EX, EXPIRE VER, DEL VER");
    let k = w.key("lock");
    let take = SetOptions { presence: Presence::Absent, expiry: SetExpiry::In(60_000), ..SetOptions::default() };
    let mine = w.check(&format!("SET {k} 2 NX EX 60000"), |p| p.set(&k, "me", &take), stored_above(Version::NONE))?;
    w.check(&format!("SET {k} 5 NX EX 60000"), |p| p.set(&k, "other", &take), refused(ErrorCode::Exists))?;
    let token = mine.0;
    w.check(&format!("EXPIRE {k} 90000 VER {token}"), |p| p.expire(&k, 90_000, Some(mine)), reply(Reply::Changed(true)))?;
    w.check(&format!("TTL {k}"), |p| p.ttl(&k), at_most(90_000))?;
    w.check(&format!("DEL {k} VER {token}"), |p| p.del(&k, Some(mine)), reply(Reply::Deleted(true)))?;
    let theirs = w.check(&format!("SET {k} 5 NX EX 60000"), |p| p.set(&k, "other", &take), stored_above(mine))?;
    w.check(&format!("EXPIRE {k} 90000 VER {token}, lost"), |p| p.expire(&k, 90_000, Some(mine)), version_is(theirs))?;
    w.check(&format!("DEL {k} VER {token}, lost"), |p| p.del(&k, Some(mine)), version_is(theirs))?;
    Ok(())
}
