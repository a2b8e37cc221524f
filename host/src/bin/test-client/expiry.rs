//! Expiry: `EX`, `PXAT`, `KEEPTTL`, `EXPIRE`, `PERSIST`, `TTL`, and a key that really goes away.
//!
//! The server's clock is not compared with ours, so absolute times are far away on either side.

use std::thread;
use std::time::{Duration, Instant};

use osprey::client::{Error, Millis, Reply, SetExpiry, SetOptions, Ttl, Version};

use super::expected::{at_most, no_entry, reply, stored_above, value_expiring, value_until, version_is};
use super::show::show;
use super::walk::Walk;

/// 2100-01-01.
const FAR: Millis = Millis(4_102_444_800_000);
/// How long a key may live on after its expiry before we call it a fault: nothing but the way of the request.
const PATIENCE: Duration = Duration::from_secs(2);

fn expiring(expiry: SetExpiry) -> SetOptions {
    SetOptions { expiry, ..SetOptions::default() }
}

pub(crate) fn check(w: &mut Walk) -> Result<(), Error> {
    with_set(w)?;
    with_expire(w)?;
    really(w)
}

fn with_set(w: &mut Walk) -> Result<(), Error> {
    w.group("SET with EX, PXAT, KEEPTTL; TTL, PERSIST");
    let k = w.key("expiry");
    let stored = || stored_above(Version::NONE);
    let plain = SetOptions::default();
    w.check(&format!("TTL {k}, no such key"), |p| p.ttl(&k), reply(Reply::Ttl(Ttl::Missing)))?;
    w.check(&format!("PERSIST {k}, no such key"), |p| p.persist(&k), reply(Reply::Changed(false)))?;
    w.check(&format!("SET {k} 1"), |p| p.set(&k, "1", &plain), stored())?;
    w.check(&format!("TTL {k}"), |p| p.ttl(&k), reply(Reply::Ttl(Ttl::Unlimited)))?;
    w.check(&format!("SET {k} 1 EX 60000"), |p| p.set(&k, "2", &expiring(SetExpiry::In(60_000))), stored())?;
    w.check(&format!("TTL {k}"), |p| p.ttl(&k), at_most(60_000))?;
    w.check(&format!("SET {k} 1 KEEPTTL"), |p| p.set(&k, "3", &expiring(SetExpiry::Keep)), stored())?;
    w.check(&format!("TTL {k}"), |p| p.ttl(&k), at_most(60_000))?;
    w.check(&format!("GET {k}"), |p| p.get(&k), value_expiring("3", true))?;
    w.check(&format!("PERSIST {k}"), |p| p.persist(&k), reply(Reply::Changed(true)))?;
    w.check(&format!("TTL {k}"), |p| p.ttl(&k), reply(Reply::Ttl(Ttl::Unlimited)))?;
    w.check(&format!("SET {k} 1 PXAT {}", FAR.0), |p| p.set(&k, "4", &expiring(SetExpiry::At(FAR))), stored())?;
    w.check(&format!("GET {k}"), |p| p.get(&k), value_until("4", FAR))?;
    w.check(&format!("SET {k} 1, which clears the expiry"), |p| p.set(&k, "5", &plain), stored())?;
    w.check(&format!("GET {k}"), |p| p.get(&k), value_expiring("5", false))?;
    w.check(&format!("SET {k} 1 PXAT 1, long past"), |p| p.set(&k, "6", &expiring(SetExpiry::At(Millis(1)))), stored())?;
    w.check(&format!("GET {k}"), |p| p.get(&k), no_entry())?;
    Ok(())
}

fn with_expire(w: &mut Walk) -> Result<(), Error> {
    w.group("EXPIRE");
    let k = w.key("expire");
    let plain = SetOptions::default();
    w.check(&format!("EXPIRE {k} 1000, no such key"), |p| p.expire(&k, 1000, None), reply(Reply::Changed(false)))?;
    let seven = Some(Version(7));
    w.check(&format!("EXPIRE {k} 1000 VER 7, no such key"), |p| p.expire(&k, 1000, seven), version_is(Version::NONE))?;
    let mut version = Version::NONE;
    for ms in [0, -1, i64::MIN] {
        version = w.check(&format!("SET {k} 1"), |p| p.set(&k, "1", &plain), stored_above(version))?;
        w.check(&format!("EXPIRE {k} {ms}, at once"), |p| p.expire(&k, ms, None), reply(Reply::Changed(true)))?;
        w.check(&format!("EXISTS {k}"), |p| p.exists(&k), reply(Reply::Exists(false)))?;
    }
    let version = w.check(&format!("SET {k} 1"), |p| p.set(&k, "2", &plain), stored_above(version))?;
    w.check(&format!("EXPIRE {k} 60000"), |p| p.expire(&k, 60_000, None), reply(Reply::Changed(true)))?;
    w.check(&format!("TTL {k}"), |p| p.ttl(&k), at_most(60_000))?;
    let other = Version(version.0 + 1);
    w.check(&format!("EXPIRE {k} 0 VER {}, another version", other.0), |p| p.expire(&k, 0, Some(other)), version_is(version))?;
    // EXPIRE does not change the version, so it can still be named.
    w.check(&format!("EXPIRE {k} 0 VER {}", version.0), |p| p.expire(&k, 0, Some(version)), reply(Reply::Changed(true)))?;
    w.check(&format!("EXISTS {k}"), |p| p.exists(&k), reply(Reply::Exists(false)))?;
    Ok(())
}

fn really(w: &mut Walk) -> Result<(), Error> {
    w.group("A key that expires");
    let k = w.key("fleeting");
    let ms = 100;
    let fleeting = expiring(SetExpiry::In(ms));
    let version = w.check(&format!("SET {k} 1 EX {ms}"), |p| p.set(&k, "1", &fleeting), stored_above(Version::NONE))?;
    let since = Instant::now();
    let end = Duration::from_millis(ms) + PATIENCE;
    let last = loop {
        let got = w.ask(|p| p.get(&k))?;
        if since.elapsed() > end || !matches!(got, Ok(Reply::Entry(Some(_)))) {
            break got;
        }
        thread::sleep(Duration::from_millis(10));
    };
    let expected = format!("NOT_FOUND within {} ms", end.as_millis());
    w.judge(format!("GET {k} until it is gone"), expected, no_entry().holds(&last), show(&last));
    let plain = SetOptions::default();
    w.check(&format!("SET {k} 1, anew"), |p| p.set(&k, "2", &plain), stored_above(version))?;
    Ok(())
}
