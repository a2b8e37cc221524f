//! Both front ends of the client library over real sockets, against a server that follows a script. What the bytes mean is
//! tested without sockets, beside the machine that the front ends share.

mod scripted_server;

use std::io;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use osprey::client::{self, Activity, Error, ErrorCode, Options, Presence, Reply, SetExpiry, SetOptions, Version, blocking};
use scripted_server::{Peer, ScriptedServer};
use smol::future::FutureExt;

fn impatient() -> Options {
    Options { read_timeout: Some(Duration::from_millis(50)), ..Options::default() }
}

fn a_conversation(peer: &mut Peer) {
    peer.expects("SET k 3 EX 5000 NX\r\na\nb\r\n").sends("OK 7\r\n");
    peer.expects("GET k\r\n").sends("VALUE 3 7 1700000000000\r\na\nb\r\n");
    peer.expects("DEL k VER 6\r\n").sends("ERR VER the current version is 7\r\n");
    peer.expects("PING\r\nINCR n -5\r\n").sends("PONG\r\n-5\r\n");
    peer.expects("QUIT\r\n").sends("BYE\r\n").expects_end();
}

#[test]
fn blocking_conversation() -> Result<(), Error> {
    let server = ScriptedServer::start(a_conversation);
    let mut client = blocking::Client::connect(server.address())?;
    let options = SetOptions { expiry: SetExpiry::In(5000), presence: Presence::Absent, version: None };
    assert_eq!(client.set("k", "a\nb", &options)?, Version(7));
    assert_eq!(client.get("k")?.map(|entry| entry.value), Some(b"a\nb".to_vec()));
    let refusal = client.del("k", Some(Version(6))).unwrap_err();
    assert!(refusal.is_refusal(ErrorCode::Ver), "{refusal}");
    let mut pipeline = client.pipeline();
    let replies: Result<Vec<Reply>, Error> = pipeline.ping().incr("n", -5).run().into_iter().collect();
    assert!(pipeline.is_empty());
    assert_eq!(replies?, [Reply::Pong, Reply::Integer(-5)]);
    client.quit()?;
    server.finish();
    Ok(())
}

#[test]
fn async_conversation() -> Result<(), Error> {
    let server = ScriptedServer::start(a_conversation);
    smol::block_on(async {
        let mut client = client::Client::connect(server.address()).await?;
        let options = SetOptions { expiry: SetExpiry::In(5000), presence: Presence::Absent, version: None };
        assert_eq!(client.set("k", "a\nb", &options).await?, Version(7));
        assert_eq!(client.get("k").await?.map(|entry| entry.value), Some(b"a\nb".to_vec()));
        let refusal = client.del("k", Some(Version(6))).await.unwrap_err();
        assert!(refusal.is_refusal(ErrorCode::Ver), "{refusal}");
        let replies: Result<Vec<Reply>, Error> = client.pipeline().ping().incr("n", -5).run().await.into_iter().collect();
        assert_eq!(replies?, [Reply::Pong, Reply::Integer(-5)]);
        client.quit().await
    })?;
    server.finish();
    Ok(())
}

/// More than socket buffers hold, both of requests and of replies.
const REQUESTS: usize = 20_000;

fn long_key() -> String {
    "k".repeat(1000)
}

/// A server that does not go on reading until its reply is taken.
fn answers_before_it_reads_on(peer: &mut Peer) {
    let (request, reply) = (format!("GET {}\r\n", long_key()), format!("VALUE 1000 1 -1\r\n{}\r\n", "v".repeat(1000)));
    for _ in 0..REQUESTS {
        peer.expects(&request).sends(&reply);
    }
}

#[test]
fn a_huge_blocking_pipeline_does_not_deadlock() -> Result<(), Error> {
    let server = ScriptedServer::start(answers_before_it_reads_on);
    let mut client = blocking::Client::connect(server.address())?;
    let mut pipeline = client.pipeline();
    for _ in 0..REQUESTS {
        pipeline.get(long_key());
    }
    assert_eq!(pipeline.run().iter().filter(|reply| matches!(reply, Ok(Reply::Entry(Some(_))))).count(), REQUESTS);
    server.finish();
    Ok(())
}

#[test]
fn a_huge_async_pipeline_does_not_deadlock() -> Result<(), Error> {
    let server = ScriptedServer::start(answers_before_it_reads_on);
    smol::block_on(async {
        let mut client = client::Client::connect(server.address()).await?;
        let mut pipeline = client.pipeline();
        for _ in 0..REQUESTS {
            pipeline.get(long_key());
        }
        assert_eq!(pipeline.run().await.iter().filter(|reply| matches!(reply, Ok(Reply::Entry(Some(_))))).count(), REQUESTS);
        Ok::<(), Error>(())
    })?;
    server.finish();
    Ok(())
}

fn answers_nothing(peer: &mut Peer) {
    peer.expects("PING\r\n").expects_end();
}

#[test]
fn a_blocking_timeout_closes_the_connection() -> Result<(), Error> {
    let server = ScriptedServer::start(answers_nothing);
    let mut client = blocking::Client::connect_with(server.address(), impatient())?;
    assert!(matches!(client.ping(), Err(Error::Timeout { activity: Activity::Read, .. })));
    assert!(client.is_closed());
    server.finish();
    assert!(matches!(client.ping(), Err(Error::Closed { because }) if because.contains("no reply within 50 ms")));
    Ok(())
}

#[test]
fn an_async_timeout_closes_the_connection() -> Result<(), Error> {
    let server = ScriptedServer::start(answers_nothing);
    smol::block_on(async {
        let mut client = client::Client::connect_with(server.address(), impatient()).await?;
        assert!(matches!(client.ping().await, Err(Error::Timeout { activity: Activity::Read, .. })));
        server.finish();
        assert!(matches!(client.ping().await, Err(Error::Closed { because }) if because.contains("no reply within 50 ms")));
        Ok(())
    })
}

#[test]
fn a_dropped_async_call_closes_the_connection() -> Result<(), Error> {
    let server = ScriptedServer::start(answers_nothing);
    smol::block_on(async {
        let mut client = client::Client::connect(server.address()).await?;
        let given_up = async {
            smol::Timer::after(Duration::from_millis(50)).await;
            Ok(())
        };
        client.ping().or(given_up).await?;
        assert!(matches!(client.ping().await, Err(Error::Closed { because }) if because.contains("dropped")));
        server.finish();
        Ok(())
    })
}

#[test]
fn a_server_that_hangs_up_is_told_from_one_that_is_wrong() -> Result<(), Error> {
    let server = ScriptedServer::start(|peer| {
        peer.expects("PING\r\n");
    });
    let mut client = blocking::Client::connect(server.address())?;
    assert!(matches!(client.ping(), Err(Error::Disconnected)));

    let server = ScriptedServer::start(|peer| {
        peer.expects("PING\r\n").sends("HTTP/1.1 400 Bad Request\r\n");
    });
    let mut client = blocking::Client::connect(server.address())?;
    assert!(matches!(client.ping(), Err(Error::Protocol(_))));
    Ok(())
}

/// An address where nobody listens.
fn nobody() -> io::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

#[test]
fn no_server_no_connection() -> io::Result<()> {
    let address = nobody()?;
    let refused = |error: &Error| matches!(error, Error::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused);
    let error = blocking::Client::connect(&address).unwrap_err();
    assert!(refused(&error), "{error}");
    let error = smol::block_on(client::Client::connect(&address)).unwrap_err();
    assert!(refused(&error), "{error}");
    Ok(())
}

#[test]
fn an_address_needs_a_port() {
    assert!(matches!(blocking::Client::connect("localhost"), Err(Error::Connect { .. })));
    assert!(matches!(smol::block_on(client::Client::connect("localhost")), Err(Error::Connect { .. })));
}

#[test]
fn connecting_has_a_time_limit() {
    // No time at all has run out before any answer can come.
    let options = Options { connect_timeout: Duration::ZERO, ..Options::default() };
    let begun = Instant::now();
    let error = blocking::Client::connect_with("127.0.0.1:1", options).unwrap_err();
    assert!(matches!(error, Error::Timeout { activity: Activity::Connect, .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(1));
}
