//! The client over smol's sockets.

use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::time::Duration;

use async_io::Timer;
use osprey_core::protocol::command::SetOptions;
use osprey_core::units::Version;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpStream;

use super::error::{Activity, Error, ProtocolViolation};
use super::link::{Link, Step};
use super::options::Options;
use super::pipeline::Pipeline;
use super::reply::{Entry, Reply, ScanPage, Ttl, typed};

/// A connection to a server, with the methods of [`blocking::Client`](super::blocking::Client) as `async` ones. It runs under
/// any executor: smol's sockets bring a reactor thread of their own.
///
/// A call whose future is dropped before it is done (by a timeout around it, by a `select`) has left its reply under way: the
/// connection cannot be used on, and the next call says so with [`Error::Closed`].
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/client/example_server.rs"));
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = ExampleServer::start();
/// # let address = &server.address;
/// use osprey::client::{Client, Reply};
///
/// # smol::block_on(async {
/// let mut client = Client::connect(address).await?;
/// let mut replies = client.pipeline().incr("visits", 1).get("motd").run().await.into_iter();
/// assert_eq!(replies.next().expect("two requests")?, Reply::Integer(1));
/// assert_eq!(replies.next().expect("two requests")?, Reply::Entry(None));
/// # Ok::<(), osprey::client::Error>(())
/// # })?;
/// # Ok(())
/// # }
/// ```
///
/// Every call:
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/client/example_server.rs"));
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = ExampleServer::start();
/// # let address = &server.address;
/// use osprey::client::Client;
/// use osprey::client::{Options, SetOptions, Ttl};
/// use std::time::Duration;
///
/// # smol::block_on(async {
/// let hasty = Options { connect_timeout: Duration::from_secs(1), ..Options::default() };
/// let mut client = Client::connect_with(address, hasty).await?;
/// client.ping().await?;
/// let first = client.set("name", "Ada", &SetOptions::default()).await?;
/// let entry = client.get("name").await?.expect("it was set");
/// assert_eq!((entry.value, entry.version), (b"Ada".to_vec(), first));
/// assert!(client.exists("name").await?);
///
/// assert!(client.expire("name", 60_000, Some(first)).await?);
/// assert!(matches!(client.ttl("name").await?, Ttl::Remaining { ms: 1..=60_000 }));
/// assert!(client.persist("name").await?);
/// assert_eq!(client.ttl("name").await?, Ttl::Unlimited);
///
/// assert_eq!(client.incr("visits", 3).await?, 3);
/// assert_eq!(client.decr("visits", 1).await?, 2);
/// assert_eq!(client.mset(&[("one", "1"), ("two", "2")]).await?, 2);
/// let entries = client.mget(&["two", "three"]).await?;
/// assert_eq!(entries.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false]);
///
/// let page = client.scan(0, Some(100), "").await?;
/// assert_eq!((page.keys.len(), page.next), (4, 0));
/// assert!(client.stats().await?.contains(&("keys".to_owned(), "4".to_owned())));
/// client.snapshot().await?;
/// assert!(client.del("name", Some(first)).await?);
///
/// let replies = client.pipeline().get("one").get("two").run().await;
/// assert_eq!(replies.len(), 2);
/// assert!(!client.is_closed());
/// client.quit().await?;
/// # Ok::<(), osprey::client::Error>(())
/// # })?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    link: Link,
}

impl Client {
    /// Connects to `HOST:PORT` with the default [`Options`].
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Timeout`].
    pub async fn connect(address: &str) -> Result<Self, Error> {
        Self::connect_with(address, Options::default()).await
    }

    /// Connects to `HOST:PORT`, trying all addresses of the name.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Timeout`].
    pub async fn connect_with(address: &str, options: Options) -> Result<Self, Error> {
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::TimedOut => Error::Timeout { activity: Activity::Connect, limit: options.connect_timeout },
            _ => Error::Connect { address: address.into(), source },
        };
        let stream = dial(address, &options).await.map_err(refused)?;
        Ok(Self { stream, link: Link::new(options) })
    }

    /// Whether the connection was closed by an earlier failure.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.link.is_closed()
    }

    /// An empty pipeline over this connection.
    pub fn pipeline(&mut self) -> Pipeline<'_, Self> {
        Pipeline::new(self)
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn ping(&mut self) -> Result<(), Error> {
        self.ask(|p| p.ping(), typed::pong).await
    }

    /// The key's entry, or `None` if there is none.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get(&mut self, key: impl AsRef<[u8]>) -> Result<Option<Entry>, Error> {
        self.ask(|p| p.get(key), typed::entry).await
    }

    /// Stores a value; gives its version. Plain options ([`SetOptions::default`]) also clear an expiry.
    ///
    /// # Errors
    /// See [`Error`]; `EXISTS`, `NEXISTS` and `VER` when a condition of the options does not hold.
    pub async fn set(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, options: &SetOptions) -> Result<Version, Error> {
        self.ask(|p| p.set(key, value, options), typed::stored).await
    }

    /// Deletes the key, of this version only if one is given; tells whether it was there.
    ///
    /// # Errors
    /// See [`Error`]; `VER` when the version is another.
    pub async fn del(&mut self, key: impl AsRef<[u8]>, version: Option<Version>) -> Result<bool, Error> {
        self.ask(|p| p.del(key, version), typed::deleted).await
    }

    /// Whether the key is there.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn exists(&mut self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.ask(|p| p.exists(key), typed::exists).await
    }

    /// Lets the key expire in `ms` milliseconds (at once if not positive), of this version only if one is given; tells
    /// whether it was there.
    ///
    /// # Errors
    /// See [`Error`]; `VER` when the version is another.
    pub async fn expire(&mut self, key: impl AsRef<[u8]>, ms: i64, version: Option<Version>) -> Result<bool, Error> {
        self.ask(|p| p.expire(key, ms, version), typed::changed).await
    }

    /// Removes the key's expiry; tells whether the key is there.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn persist(&mut self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.ask(|p| p.persist(key), typed::changed).await
    }

    /// How long the key has to live.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn ttl(&mut self, key: impl AsRef<[u8]>) -> Result<Ttl, Error> {
        self.ask(|p| p.ttl(key), typed::ttl).await
    }

    /// Adds `delta` to the number in the key (0 if there is none); gives the sum.
    ///
    /// # Errors
    /// See [`Error`]; `TYPE` when the value is no number, `RANGE` when the sum leaves the 64-bit range.
    pub async fn incr(&mut self, key: impl AsRef<[u8]>, delta: i64) -> Result<i64, Error> {
        self.ask(|p| p.incr(key, delta), typed::integer).await
    }

    /// Subtracts `delta` from the number in the key (0 if there is none); gives the difference.
    ///
    /// # Errors
    /// As for [`incr`](Self::incr).
    pub async fn decr(&mut self, key: impl AsRef<[u8]>, delta: i64) -> Result<i64, Error> {
        self.ask(|p| p.decr(key, delta), typed::integer).await
    }

    /// The entries of several keys, at least one, in the order asked.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn mget<K: AsRef<[u8]>>(&mut self, keys: &[K]) -> Result<Vec<Option<Entry>>, Error> {
        self.ask(|p| p.mget(keys), typed::entries).await
    }

    /// Stores several pairs, at least one: all or, on an error, none. Of a repeated key the last pair wins. Gives the number
    /// of pairs.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn mset<K: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, pairs: &[(K, V)]) -> Result<u64, Error> {
        self.ask(|p| p.mset(pairs), typed::count).await
    }

    /// One step of a walk over the keys that begin with `prefix` (empty: all). Begin with cursor 0, go on with the page's
    /// `next` until that is 0. A key that is there throughout comes at least once.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn scan(&mut self, cursor: u64, count: Option<u64>, prefix: impl AsRef<[u8]>) -> Result<ScanPage, Error> {
        self.ask(|p| p.scan(cursor, count, prefix), typed::page).await
    }

    /// The server's figures, as names and values.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn stats(&mut self) -> Result<Vec<(String, String)>, Error> {
        self.ask(|p| p.stats(), typed::stats).await
    }

    /// Asks for a snapshot, and returns when it is there; the client's timeout has to allow for that.
    ///
    /// # Errors
    /// See [`Error`]; also where the snapshot could not be taken.
    pub async fn snapshot(&mut self) -> Result<(), Error> {
        self.ask(|p| p.snapshot(), typed::changed).await.map(drop)
    }

    /// Takes leave: the server answers and closes. Dropping the client closes the connection as well.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn quit(mut self) -> Result<(), Error> {
        self.ask(|p| p.quit(), typed::bye).await
    }

    async fn ask<T>(
        &mut self,
        request: impl for<'p, 'c> FnOnce(&'p mut Pipeline<'c, Self>) -> &'p mut Pipeline<'c, Self>,
        typed: fn(Reply) -> Option<T>,
    ) -> Result<T, Error> {
        let result = request(&mut self.pipeline()).run().await.pop();
        let reply = result.unwrap_or(Err(Error::Disconnected))?;
        typed(reply).ok_or(ProtocolViolation::OutOfPlace.into())
    }
}

impl Pipeline<'_, Client> {
    /// Sends what is queued and waits for all replies: one for each request, in order.
    ///
    /// When the connection fails half way, the request that was to be answered next gets the failure and those after it
    /// [`Error::Closed`]; whether the server has carried these out is not known.
    pub async fn run(&mut self) -> Vec<Result<Reply, Error>> {
        let Client { stream, link } = &mut *self.client;
        let Options { read_timeout, write_timeout, .. } = *link.options();
        link.begin(std::mem::take(&mut self.batch));
        loop {
            match link.step() {
                Step::Write(bytes) => {
                    let result = within(write_timeout, stream.write(bytes)).await;
                    link.wrote(result);
                }
                Step::Read(room) => {
                    let result = within(read_timeout, stream.read(room)).await;
                    link.received(result);
                }
                Step::Done => break,
            }
        }
        let results = link.finish();
        if link.is_closed() {
            // Already closed by the peer is as good.
            let _ = stream.shutdown(Shutdown::Both);
        }
        results
    }
}

async fn dial(address: &str, options: &Options) -> io::Result<TcpStream> {
    let stream = within(Some(options.connect_timeout), TcpStream::connect(address)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What `call` gives, or `TimedOut` if it takes longer than `limit`.
async fn within<T>(limit: Option<Duration>, call: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let Some(limit) = limit else { return call.await };
    let expired = async {
        Timer::after(limit).await;
        Err(io::ErrorKind::TimedOut.into())
    };
    smol::future::or(call, expired).await
}
