//! `INCR` and `DECR`, to the ends of the range.

use osprey::client::{Error, ErrorCode, Reply, SetExpiry, SetOptions, Version};

use super::expected::{at_most, refused, reply, stored_above};
use super::walk::Walk;

pub(crate) fn check(w: &mut Walk) -> Result<(), Error> {
    w.group("INCR, DECR");
    let n = w.key("counter");
    w.check(&format!("INCR {n} 1, no such key"), |p| p.incr(&n, 1), reply(Reply::Integer(1)))?;
    w.check(&format!("INCR {n} 41"), |p| p.incr(&n, 41), reply(Reply::Integer(42)))?;
    w.check(&format!("DECR {n} 50"), |p| p.decr(&n, 50), reply(Reply::Integer(-8)))?;
    w.check(&format!("INCR {n} -2"), |p| p.incr(&n, -2), reply(Reply::Integer(-10)))?;
    w.check(&format!("DECR {n} -10"), |p| p.decr(&n, -10), reply(Reply::Integer(0)))?;

    w.group("The ends of the 64-bit range");
    w.check(&format!("INCR {n} {}", i64::MAX), |p| p.incr(&n, i64::MAX), reply(Reply::Integer(i64::MAX)))?;
    w.check(&format!("INCR {n} 1"), |p| p.incr(&n, 1), refused(ErrorCode::Range))?;
    w.check(&format!("INCR {n} 0, the value stays"), |p| p.incr(&n, 0), reply(Reply::Integer(i64::MAX)))?;
    w.check(&format!("DECR {n} {}", i64::MAX), |p| p.decr(&n, i64::MAX), reply(Reply::Integer(0)))?;
    w.check(&format!("INCR {n} {}", i64::MIN), |p| p.incr(&n, i64::MIN), reply(Reply::Integer(i64::MIN)))?;
    w.check(&format!("DECR {n} 1"), |p| p.decr(&n, 1), refused(ErrorCode::Range))?;
    w.check(&format!("DECR {n} {}", i64::MIN), |p| p.decr(&n, i64::MIN), reply(Reply::Integer(0)))?;

    w.group("Values that are no integers");
    let t = w.key("text");
    let plain = SetOptions::default();
    for text in ["", "abc", "1.5", " 1", "+1", "01", "-0", "9223372036854775808"] {
        w.check(&format!("SET {t} {} {text:?}", text.len()), |p| p.set(&t, text, &plain), stored_above(Version::NONE))?;
        w.check(&format!("INCR {t} 1"), |p| p.incr(&t, 1), refused(ErrorCode::Type))?;
    }

    w.group("INCR keeps the expiry");
    let e = w.key("expiring-counter");
    let expiring = SetOptions { expiry: SetExpiry::In(60_000), ..SetOptions::default() };
    w.check(&format!("SET {e} 1 EX 60000"), |p| p.set(&e, "5", &expiring), stored_above(Version::NONE))?;
    w.check(&format!("INCR {e} 1"), |p| p.incr(&e, 1), reply(Reply::Integer(6)))?;
    w.check(&format!("TTL {e}"), |p| p.ttl(&e), at_most(60_000))?;
    Ok(())
}
