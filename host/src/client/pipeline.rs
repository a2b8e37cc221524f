//! Several requests on their way at once.

use std::fmt;

use osprey_core::protocol::client::{self as wire, Expect};
use osprey_core::protocol::command::SetOptions;
use osprey_core::units::Version;

use super::batch::{Batch, Shape};

/// Requests that are queued and then sent together by `run`, so that they share the time of travel.
///
/// `run` gives a result for each request, in order; one that fails does not keep the others from being carried out. It empties
/// the pipeline, which can then be filled again. However much is queued, no more than 64 KiB of requests (or one larger
/// request) are under way without an answer, so client and server never wait for each other with both their buffers full.
///
/// A pipeline is no transaction: other clients' requests may come in between.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/client/example_server.rs"));
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = ExampleServer::start();
/// # let address = &server.address;
/// use osprey::client::{Reply, blocking::Client};
///
/// let mut client = Client::connect(address)?;
/// let mut pipeline = client.pipeline();
/// for n in 0..10_000 {
///     pipeline.incr(format!("counter:{}", n % 10), 1);
/// }
/// for reply in pipeline.run() {
///     assert!(matches!(reply?, Reply::Integer(_)));
/// }
/// # Ok(())
/// # }
/// ```
///
/// Every request:
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/client/example_server.rs"));
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = ExampleServer::start();
/// # let address = &server.address;
/// use osprey::client::{Reply, SetOptions, Ttl, blocking::Client};
///
/// let mut client = Client::connect(address)?;
/// let mut pipeline = client.pipeline();
/// assert!(pipeline.is_empty());
/// pipeline.ping().set("name", "Ada", &SetOptions::default()).get("name").exists("name");
/// pipeline.expire("name", 60_000, None).persist("name").ttl("name").del("name", None);
/// pipeline.incr("visits", 3).decr("visits", 1).mset(&[("one", "1")]).mget(&["one"]);
/// pipeline.scan(0, None, "").stats().snapshot();
/// assert_eq!(pipeline.len(), 15);
/// let replies: Vec<Reply> = pipeline.run().into_iter().collect::<Result<_, _>>()?;
/// assert_eq!((&replies[0], &replies[6], &replies[9]), (&Reply::Pong, &Reply::Ttl(Ttl::Unlimited), &Reply::Integer(2)));
/// assert!(pipeline.is_empty(), "it can be filled again");
/// # Ok(())
/// # }
/// ```
pub struct Pipeline<'c, C> {
    pub(super) client: &'c mut C,
    pub(super) batch: Batch,
}

impl<C> fmt::Debug for Pipeline<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("requests", &self.len()).field("bytes", &self.batch.bytes.len()).finish_non_exhaustive()
    }
}

impl<'c, C> Pipeline<'c, C> {
    pub(super) fn new(client: &'c mut C) -> Self {
        Self { client, batch: Batch::default() }
    }

    /// How many requests are queued.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batch.queue.len()
    }

    /// Whether no request is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batch.queue.is_empty()
    }

    fn push(&mut self, shape: Shape, encode: impl FnOnce(&mut Vec<u8>) -> Result<(), wire::EncodeError>) -> &mut Self {
        self.batch.push(shape, encode);
        self
    }

    /// Queues `PING`; answered by [`Reply::Pong`](super::Reply::Pong).
    pub fn ping(&mut self) -> &mut Self {
        self.push(Shape::One(Expect::Pong), wire::ping)
    }

    /// Queues `GET`; answered by [`Reply::Entry`](super::Reply::Entry).
    pub fn get(&mut self, key: impl AsRef<[u8]>) -> &mut Self {
        self.push(Shape::One(Expect::Value), |out| wire::get(out, key.as_ref()))
    }

    /// Queues `SET`; answered by [`Reply::Stored`](super::Reply::Stored).
    pub fn set(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, options: &SetOptions) -> &mut Self {
        self.push(Shape::One(Expect::Stored), |out| wire::set(out, key.as_ref(), value.as_ref(), options))
    }

    /// Queues `DEL`, of this version only if one is given; answered by [`Reply::Deleted`](super::Reply::Deleted).
    pub fn del(&mut self, key: impl AsRef<[u8]>, version: Option<Version>) -> &mut Self {
        self.push(Shape::One(Expect::Deleted), |out| wire::del(out, key.as_ref(), version))
    }

    /// Queues `EXISTS`; answered by [`Reply::Exists`](super::Reply::Exists).
    pub fn exists(&mut self, key: impl AsRef<[u8]>) -> &mut Self {
        self.push(Shape::One(Expect::Exists), |out| wire::exists(out, key.as_ref()))
    }

    /// Queues `EXPIRE` in `ms` milliseconds (at once if not positive), of this version only if one is given; answered by
    /// [`Reply::Changed`](super::Reply::Changed).
    pub fn expire(&mut self, key: impl AsRef<[u8]>, ms: i64, version: Option<Version>) -> &mut Self {
        self.push(Shape::One(Expect::Changed), |out| wire::expire(out, key.as_ref(), ms, version))
    }

    /// Queues `PERSIST`; answered by [`Reply::Changed`](super::Reply::Changed).
    pub fn persist(&mut self, key: impl AsRef<[u8]>) -> &mut Self {
        self.push(Shape::One(Expect::Changed), |out| wire::persist(out, key.as_ref()))
    }

    /// Queues `TTL`; answered by [`Reply::Ttl`](super::Reply::Ttl).
    pub fn ttl(&mut self, key: impl AsRef<[u8]>) -> &mut Self {
        self.push(Shape::Ttl, |out| wire::ttl(out, key.as_ref()))
    }

    /// Queues `INCR`; answered by [`Reply::Integer`](super::Reply::Integer).
    pub fn incr(&mut self, key: impl AsRef<[u8]>, delta: i64) -> &mut Self {
        self.push(Shape::One(Expect::Integer), |out| wire::incr(out, key.as_ref(), delta))
    }

    /// Queues `DECR`; answered by [`Reply::Integer`](super::Reply::Integer).
    pub fn decr(&mut self, key: impl AsRef<[u8]>, delta: i64) -> &mut Self {
        self.push(Shape::One(Expect::Integer), |out| wire::decr(out, key.as_ref(), delta))
    }

    /// Queues `MGET` of at least one key; answered by [`Reply::Entries`](super::Reply::Entries).
    pub fn mget<K: AsRef<[u8]>>(&mut self, keys: &[K]) -> &mut Self {
        self.push(Shape::Items(keys.len()), |out| wire::mget(out, keys.iter().map(AsRef::as_ref)))
    }

    /// Queues `MSET` of at least one pair, which is done for all pairs or for none; answered by
    /// [`Reply::Count`](super::Reply::Count).
    pub fn mset<K: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, pairs: &[(K, V)]) -> &mut Self {
        self.push(Shape::One(Expect::Count), |out| wire::mset(out, pairs.iter().map(|(key, value)| (key.as_ref(), value.as_ref()))))
    }

    /// Queues one step of a `SCAN` from `cursor` (0 to begin) over the keys that begin with `prefix` (empty: all), looking at
    /// about `count` keys; answered by [`Reply::Page`](super::Reply::Page).
    pub fn scan(&mut self, cursor: u64, count: Option<u64>, prefix: impl AsRef<[u8]>) -> &mut Self {
        self.push(Shape::Page, |out| wire::scan(out, cursor, count, prefix.as_ref()))
    }

    /// Queues `STATS`; answered by [`Reply::Stats`](super::Reply::Stats).
    pub fn stats(&mut self) -> &mut Self {
        self.push(Shape::Stats, wire::stats)
    }

    /// Queues `SNAPSHOT`; answered by [`Reply::Changed`](super::Reply::Changed) when the snapshot is there, which may take long.
    pub fn snapshot(&mut self) -> &mut Self {
        self.push(Shape::One(Expect::Changed), wire::snapshot)
    }

    /// Queues `QUIT`; not public, as what comes after it would never be answered.
    pub(super) fn quit(&mut self) -> &mut Self {
        self.push(Shape::One(Expect::Bye), wire::quit)
    }
}
