//! The machine against a peer made of byte slices: no socket, no clock.

use std::collections::VecDeque;

use osprey_core::protocol::command::SetOptions;
use osprey_core::protocol::error::ErrorCode;
use osprey_core::units::{Millis, Version};

use super::super::pipeline::Pipeline;
use super::super::reply::{Entry, ScanPage, Ttl};
use super::*;

/// What the machine reads, one item a read; and, when these are used up, the end of the stream.
struct Peer {
    incoming: VecDeque<io::Result<Vec<u8>>>,
    received: Vec<u8>,
}

impl Peer {
    fn sends(pieces: &[&str]) -> Self {
        Self { incoming: pieces.iter().map(|piece| Ok(piece.as_bytes().to_vec())).collect(), received: Vec::new() }
    }

    fn byte_by_byte(reply: &str) -> Self {
        Self { incoming: reply.bytes().map(|byte| Ok(vec![byte])).collect(), received: Vec::new() }
    }

    fn then_fails(mut self, kind: io::ErrorKind) -> Self {
        self.incoming.push_back(Err(kind.into()));
        self
    }

    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let Some(next) = self.incoming.pop_front() else { return Ok(0) };
        let mut bytes = next?;
        let count = bytes.len().min(room.len());
        room[..count].copy_from_slice(&bytes[..count]);
        if count < bytes.len() {
            self.incoming.push_front(Ok(bytes.split_off(count)));
        }
        Ok(count)
    }
}

fn link() -> Link {
    Link::new(Options::default())
}

fn small_link(reply_bytes_max: usize) -> Link {
    Link::new(Options { reply_bytes_max, ..Options::default() })
}

fn run(link: &mut Link, peer: &mut Peer, fill: impl FnOnce(&mut Pipeline<'_, ()>)) -> Vec<Result<Reply, Error>> {
    let mut nobody = ();
    let mut pipeline = Pipeline::new(&mut nobody);
    fill(&mut pipeline);
    link.begin(pipeline.batch);
    loop {
        match link.step() {
            Step::Write(bytes) => {
                peer.received.extend_from_slice(bytes);
                let count = bytes.len();
                link.wrote(Ok(count));
            }
            Step::Read(room) => {
                let result = peer.read(room);
                link.received(result);
            }
            Step::Done => return link.finish(),
        }
    }
}

fn replies(results: Vec<Result<Reply, Error>>) -> Vec<Reply> {
    results.into_iter().map(|result| result.expect("a reply")).collect()
}

fn entry(value: &str, version: u64, expiry: Option<u64>) -> Entry {
    Entry { value: value.into(), version: Version(version), expiry: expiry.map(Millis) }
}

const EVERY_REPLY: &str = "PONG\r\nVALUE 5 7 1700000000000\r\na\r\nb\n\r\nNOT_FOUND\r\nOK 8\r\nDELETED 1\r\nDELETED 0\r\nEXISTS 1\r\n\
                           OK\r\nNOT_FOUND\r\n-1\r\n-2\r\n4500\r\n-9223372036854775808\r\n3\r\n\
                           VALUE k 1 2 -1\r\nv\r\nNOT_FOUND l\r\nOK 2\r\nCURSOR 9\r\nk\r\nl\r\nEND\r\nkeys=1\r\nname=a=b\r\nEND\r\nBYE\r\n";

fn ask_everything(p: &mut Pipeline<'_, ()>) {
    p.ping().get("k").get("k").set("k", "v", &SetOptions::default()).del("k", None).del("k", None).exists("k");
    p.expire("k", 5, None).persist("k").ttl("k").ttl("k").ttl("k").incr("n", 1).decr("n", 1);
    p.mget(&["k", "l"]).mset(&[("k", "v"), ("l", "w")]).scan(0, None, "").stats().quit();
}

fn every_reply() -> Vec<Reply> {
    vec![
        Reply::Pong,
        Reply::Entry(Some(entry("a\r\nb\n", 7, Some(1_700_000_000_000)))),
        Reply::Entry(None),
        Reply::Stored(Version(8)),
        Reply::Deleted(true),
        Reply::Deleted(false),
        Reply::Exists(true),
        Reply::Changed(true),
        Reply::Changed(false),
        Reply::Ttl(Ttl::Unlimited),
        Reply::Ttl(Ttl::Missing),
        Reply::Ttl(Ttl::Remaining { ms: 4500 }),
        Reply::Integer(i64::MIN),
        Reply::Integer(3),
        Reply::Entries(vec![Some(entry("v", 2, None)), None]),
        Reply::Count(2),
        Reply::Page(ScanPage { next: 9, keys: vec![b"k".to_vec(), b"l".to_vec()] }),
        Reply::Stats(vec![("keys".into(), "1".into()), ("name".into(), "a=b".into())]),
        Reply::Bye,
    ]
}

#[test]
fn every_command_s_reply_is_told_apart_by_what_was_asked() {
    let mut peer = Peer::sends(&[EVERY_REPLY]);
    assert_eq!(replies(run(&mut link(), &mut peer, ask_everything)), every_reply());
}

#[test]
fn replies_are_the_same_however_they_are_split() {
    let mut peer = Peer::byte_by_byte(EVERY_REPLY);
    assert_eq!(replies(run(&mut link(), &mut peer, ask_everything)), every_reply());
}

#[test]
fn an_error_belongs_to_one_request_and_the_connection_goes_on() {
    let mut link = link();
    let mut peer = Peer::sends(&["ERR TYPE no integer\r\nERR OOM full\r\nERR OOM full\r\nPONG\r\n"]);
    let results = run(&mut link, &mut peer, |p| {
        p.incr("k", 1).mget(&["k", "l"]).scan(0, None, "").ping();
    });
    assert!(matches!(&results[0], Err(Error::Server { code: ErrorCode::Type, message }) if message == "no integer"));
    assert!(matches!(&results[1], Err(Error::Server { code: ErrorCode::Oom, .. })));
    assert!(matches!(&results[2], Err(Error::Server { code: ErrorCode::Oom, .. })));
    assert!(matches!(&results[3], Ok(Reply::Pong)));
    assert!(!link.is_closed());
}

#[test]
fn a_request_that_cannot_be_encoded_is_not_sent_and_keeps_its_place() {
    let mut peer = Peer::sends(&["PONG\r\nPONG\r\n"]);
    let results = run(&mut link(), &mut peer, |p| {
        p.get("two words").ping().get("").ping().mget::<&str>(&[]);
    });
    let kinds: Vec<_> = results.iter().map(|result| matches!(result, Err(Error::Request(_)))).collect();
    assert_eq!(kinds, [true, false, true, false, true], "{results:?}");
    assert_eq!(peer.received, b"PING\r\nPING\r\n");
}

#[test]
fn only_refused_requests_need_no_server() {
    let results = run(&mut link(), &mut Peer::sends(&[]).then_fails(io::ErrorKind::Other), |p| {
        p.get("");
    });
    assert!(matches!(results[..], [Err(Error::Request(_))]));
}

#[test]
fn a_malformed_reply_closes_the_connection_for_good() {
    let mut link = link();
    let results = run(&mut link, &mut Peer::sends(&["PONG\r\nGNOP\r\nPONG\r\n"]), |p| {
        p.ping().ping().ping();
    });
    assert!(matches!(&results[0], Ok(Reply::Pong)));
    assert!(matches!(&results[1], Err(Error::Protocol(ProtocolViolation::Malformed(_)))));
    assert!(matches!(&results[2], Err(Error::Closed { .. })));
    assert!(link.is_closed());

    let later = run(&mut link, &mut Peer::sends(&["PONG\r\n"]), |p| {
        p.ping().get("");
    });
    assert!(matches!(&later[0], Err(Error::Closed { because }) if because.contains("protocol")), "{later:?}");
    assert!(matches!(&later[1], Err(Error::Request(_))));
}

#[test]
fn a_ttl_that_is_no_time_is_malformed() {
    let results = run(&mut link(), &mut Peer::sends(&["-3\r\n"]), |p| {
        p.ttl("k");
    });
    assert!(matches!(results[..], [Err(Error::Protocol(ProtocolViolation::Ttl(-3)))]));
}

#[test]
fn bytes_that_nobody_asked_for_close_the_connection() {
    let mut link = link();
    let results = run(&mut link, &mut Peer::sends(&["PONG\r\nPONG\r\n"]), |p| {
        p.ping();
    });
    assert!(matches!(results[..], [Ok(Reply::Pong)]));
    assert!(link.is_closed());
}

#[test]
fn a_value_over_the_limit_is_refused_by_its_length_alone() {
    let results = run(&mut small_link(1000), &mut Peer::sends(&["VALUE 1001 1 -1\r\n"]).then_fails(io::ErrorKind::Other), |p| {
        p.get("k");
    });
    assert!(matches!(results[..], [Err(Error::Protocol(_))]), "{results:?}");
}

#[test]
fn a_reply_of_many_parts_is_limited_as_a_whole() {
    let endless = format!("CURSOR 0\r\n{}", "0123456789\r\n".repeat(1000));
    let results = run(&mut small_link(1000), &mut Peer::sends(&[&endless]), |p| {
        p.scan(0, None, "");
    });
    assert!(matches!(results[..], [Err(Error::Protocol(ProtocolViolation::TooLarge { limit: 1000 }))]), "{results:?}");
}

#[test]
fn a_large_value_arrives_in_pieces() {
    let value = "x".repeat(1 << 20);
    let reply = format!("VALUE {} 1 -1\r\n{value}\r\n", value.len());
    let pieces: Vec<&str> = reply.as_bytes().chunks(1460).map(|chunk| std::str::from_utf8(chunk).unwrap()).collect();
    let results = run(&mut link(), &mut Peer::sends(&pieces), |p| {
        p.get("k");
    });
    assert_eq!(replies(results), [Reply::Entry(Some(entry(&value, 1, None)))]);
}

#[test]
fn a_lost_connection_says_so_and_what_came_before_it_stands() {
    let results = run(&mut link(), &mut Peer::sends(&["PONG\r\nVALUE 5 1 -1\r\nhe"]), |p| {
        p.ping().get("k").ping();
    });
    assert!(matches!(&results[..], [Ok(Reply::Pong), Err(Error::Disconnected), Err(Error::Closed { .. })]), "{results:?}");
}

#[test]
fn a_read_that_takes_too_long_is_a_timeout() {
    let results = run(&mut link(), &mut Peer::sends(&["PO"]).then_fails(io::ErrorKind::WouldBlock), |p| {
        p.ping();
    });
    assert!(matches!(results[..], [Err(Error::Timeout { activity: Activity::Read, .. })]), "{results:?}");
}

#[test]
fn interrupted_calls_are_made_again() {
    let mut peer = Peer::sends(&[]).then_fails(io::ErrorKind::Interrupted);
    peer.incoming.push_back(Ok(b"PONG\r\n".to_vec()));
    let results = run(&mut link(), &mut peer, |p| {
        p.ping();
    });
    assert!(matches!(results[..], [Ok(Reply::Pong)]));
}

fn one_ping() -> Batch {
    let mut nobody = ();
    let mut pipeline = Pipeline::new(&mut nobody);
    pipeline.ping();
    pipeline.batch
}

#[test]
fn a_server_that_refuses_the_connection_is_heard_although_it_takes_nothing() {
    let mut link = link();
    link.begin(one_ping());
    assert!(matches!(link.step(), Step::Write(_)));
    link.wrote(Err(io::ErrorKind::BrokenPipe.into()));
    let Step::Read(room) = link.step() else { panic!("nothing is read") };
    let busy = b"ERR BUSY too many clients\r\n";
    room[..busy.len()].copy_from_slice(busy);
    link.received(Ok(busy.len()));
    assert!(matches!(link.step(), Step::Done));
    assert!(matches!(link.finish()[..], [Err(Error::Server { code: ErrorCode::Busy, .. })]));
    assert!(link.is_closed(), "nothing can be sent any more");
}

#[test]
fn a_call_dropped_half_way_closes_the_connection() {
    let mut link = link();
    link.begin(one_ping());
    assert!(matches!(link.step(), Step::Write(_)));
    // The front end's future is dropped here; the reply would be taken for the next request's.
    link.begin(one_ping());
    assert!(matches!(link.step(), Step::Done));
    assert!(matches!(&link.finish()[..], [Err(Error::Closed { because })] if because.contains("dropped")));
    assert!(link.is_closed());
}

#[test]
fn no_more_than_the_limit_is_under_way_and_the_rest_follows_the_answers() {
    const REQUESTS: usize = 100_000;
    let mut nobody = ();
    let mut pipeline = Pipeline::new(&mut nobody);
    for _ in 0..REQUESTS {
        pipeline.ping();
    }
    let mut link = link();
    link.begin(pipeline.batch);
    let (mut sent, mut answered, mut writes) = (0, 0, 0);
    loop {
        match link.step() {
            Step::Write(bytes) => {
                let count = bytes.len();
                sent += count;
                writes += 1;
                link.wrote(Ok(count));
                assert!(sent - answered <= IN_FLIGHT_MAX_BYTES, "{} bytes are under way", sent - answered);
            }
            Step::Read(room) => {
                let count = (sent - answered).min(room.len()) / 6 * 6;
                assert!(count > 0, "waits for a reply to nothing");
                for reply in room[..count].chunks_mut(6) {
                    reply.copy_from_slice(b"PONG\r\n");
                }
                answered += count;
                link.received(Ok(count));
            }
            Step::Done => break,
        }
    }
    assert_eq!(link.finish().into_iter().filter(|result| matches!(result, Ok(Reply::Pong))).count(), REQUESTS);
    assert!(writes < REQUESTS / 1000, "{writes} writes");
}

#[test]
fn a_request_above_the_limit_goes_alone() {
    let large = vec![b'x'; 3 * IN_FLIGHT_MAX_BYTES];
    let mut nobody = ();
    let mut pipeline = Pipeline::new(&mut nobody);
    pipeline.ping().set("k", &large, &SetOptions::default()).ping();
    let mut link = link();
    link.begin(pipeline.batch);
    let mut turns = Vec::new();
    for reply in ["PONG\r\n", "OK 1\r\n", "PONG\r\n"] {
        let Step::Write(bytes) = link.step() else { panic!("nothing is written before {reply:?}") };
        let count = bytes.len();
        turns.push(count);
        link.wrote(Ok(count));
        let Step::Read(room) = link.step() else { panic!("nothing is read after {turns:?}") };
        room[..reply.len()].copy_from_slice(reply.as_bytes());
        link.received(Ok(reply.len()));
    }
    assert!(matches!(link.step(), Step::Done));
    assert!(turns[0] == 6 && turns[1] > large.len() && turns[2] == 6, "{turns:?}");
}
