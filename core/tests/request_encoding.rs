//! What a client puts on the wire: a request that a server may take, or nothing.

use osprey_core::protocol::client::{self, EncodeError};
use osprey_core::protocol::command::{SetExpiry, SetOptions};
use osprey_core::units::Millis;

/// What is written behind what is there already. A refusal must leave that as it was.
fn encode(request: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>) -> Result<String, EncodeError> {
    let mut out = b"PING\r\n".to_vec();
    let written = request(&mut out);
    let out = String::from_utf8(out).expect("these requests are UTF-8");
    let rest = out.strip_prefix("PING\r\n").expect("what was there stays");
    assert!(written.is_ok() || rest.is_empty(), "{rest:?} is left of a refused request");
    written.map(|()| rest.to_owned())
}

fn set(expiry: SetExpiry) -> Result<String, EncodeError> {
    encode(|out| client::set(out, b"k", b"v", &SetOptions { expiry, ..SetOptions::default() }))
}

#[test]
fn a_key_must_not_break_its_line() {
    let get = |key: &[u8]| encode(|out| client::get(out, key));
    assert_eq!(get("\u{e9}".as_bytes()), Ok("GET \u{e9}\r\n".to_owned()));
    assert_eq!(get(&[b'k'; 65_535]).map(|request| request.len()), Ok("GET \r\n".len() + 65_535));
    for wrong in [&b""[..], b"a b", b"a\tb", b"k\r\nQUIT", b"k\x7F", b"\0", &[b'k'; 65_536]] {
        assert_eq!(get(wrong), Err(EncodeError::Key), "{}", wrong.escape_ascii());
    }
    assert_eq!(encode(|out| client::mset(out, [(&b"a"[..], &b"1"[..]), (b"b b", b"2")])), Err(EncodeError::Key));
    assert_eq!(encode(|out| client::scan(out, 0, None, b"a b")), Err(EncodeError::Key));
}

#[test]
fn a_list_of_keys_must_have_one() {
    assert_eq!(encode(|out| client::mget(out, [])), Err(EncodeError::NoKeys));
    assert_eq!(encode(|out| client::mset(out, [])), Err(EncodeError::NoKeys));
}

#[test]
fn a_time_must_be_one_that_servers_take() {
    assert_eq!(set(SetExpiry::In(1)), Ok("SET k 1 EX 1\r\nv\r\n".to_owned()));
    assert_eq!(set(SetExpiry::At(Millis::MAX)), Ok("SET k 1 PXAT 9223372036854775807\r\nv\r\n".to_owned()));
    for ms in [0, Millis::MAX.0 + 1, u64::MAX] {
        assert_eq!(set(SetExpiry::In(ms)), Err(EncodeError::Time), "EX {ms}");
        assert_eq!(set(SetExpiry::At(Millis(ms))), Err(EncodeError::Time), "PXAT {ms}");
    }
}

#[test]
fn a_scan_must_look_at_a_key() {
    assert_eq!(encode(|out| client::scan(out, 7, Some(1), b"p")), Ok("SCAN 7 COUNT 1 PREFIX p\r\n".to_owned()));
    assert_eq!(encode(|out| client::scan(out, 7, Some(0), b"")), Err(EncodeError::Count));
}
