//! The client over `std::net`: every call waits for its reply.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Instant;

use osprey_core::protocol::command::SetOptions;
use osprey_core::units::Version;

use super::error::{Activity, Error, ProtocolViolation};
use super::link::{Link, Step};
use super::options::Options;
use super::pipeline::Pipeline;
use super::reply::{Entry, Reply, ScanPage, Ttl, typed};

/// A connection to a server. See the [module](super) for what happens to it when something goes wrong.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/client/example_server.rs"));
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = ExampleServer::start();
/// # let address = &server.address;
/// use osprey::client::{ErrorCode, Presence, SetExpiry, SetOptions, blocking::Client};
///
/// let mut client = Client::connect(address)?;
/// // A lock that nobody else holds, for ten seconds; its version is the fencing token.
/// let lock = SetOptions { presence: Presence::Absent, expiry: SetExpiry::In(10_000), ..SetOptions::default() };
/// match client.set("lock", "worker 7", &lock) {
///     Ok(token) => {
///         client.expire("lock", 10_000, Some(token))?; // renew
///         client.del("lock", Some(token))?; // release
///     }
///     Err(error) if error.is_refusal(ErrorCode::Exists) => println!("somebody else holds it"),
///     Err(error) => return Err(error.into()),
/// }
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
/// use osprey::client::blocking::Client;
/// use osprey::client::{Options, SetOptions, Ttl};
/// use std::time::Duration;
///
/// let hasty = Options { connect_timeout: Duration::from_secs(1), ..Options::default() };
/// let mut client = Client::connect_with(address, hasty)?;
/// client.ping()?;
/// let first = client.set("name", "Ada", &SetOptions::default())?;
/// let entry = client.get("name")?.expect("it was set");
/// assert_eq!((entry.value, entry.version), (b"Ada".to_vec(), first));
/// assert!(client.exists("name")?);
///
/// assert!(client.expire("name", 60_000, Some(first))?);
/// assert!(matches!(client.ttl("name")?, Ttl::Remaining { ms: 1..=60_000 }));
/// assert!(client.persist("name")?);
/// assert_eq!(client.ttl("name")?, Ttl::Unlimited);
///
/// assert_eq!(client.incr("visits", 3)?, 3);
/// assert_eq!(client.decr("visits", 1)?, 2);
/// assert_eq!(client.mset(&[("one", "1"), ("two", "2")])?, 2);
/// let entries = client.mget(&["two", "three"])?;
/// assert_eq!(entries.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false]);
///
/// let page = client.scan(0, Some(100), "")?;
/// assert_eq!((page.keys.len(), page.next), (4, 0));
/// assert!(client.stats()?.contains(&("keys".to_owned(), "4".to_owned())));
/// client.snapshot()?;
/// assert!(client.del("name", Some(first))?);
///
/// let replies = client.pipeline().get("one").get("two").run();
/// assert_eq!(replies.len(), 2);
/// assert!(!client.is_closed());
/// client.quit()?;
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
    pub fn connect(address: &str) -> Result<Self, Error> {
        Self::connect_with(address, Options::default())
    }

    /// Connects to `HOST:PORT`, trying all addresses of the name.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Timeout`].
    pub fn connect_with(address: &str, options: Options) -> Result<Self, Error> {
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::TimedOut => Error::Timeout { activity: Activity::Connect, limit: options.connect_timeout },
            _ => Error::Connect { address: address.into(), source },
        };
        let stream = dial(address, &options).map_err(refused)?;
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
    pub fn ping(&mut self) -> Result<(), Error> {
        self.ask(|p| p.ping(), typed::pong)
    }

    /// The key's entry, or `None` if there is none.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn get(&mut self, key: impl AsRef<[u8]>) -> Result<Option<Entry>, Error> {
        self.ask(|p| p.get(key), typed::entry)
    }

    /// Stores a value; gives its version. Plain options ([`SetOptions::default`]) also clear an expiry.
    ///
    /// # Errors
    /// See [`Error`]; `EXISTS`, `NEXISTS` and `VER` when a condition of the options does not hold.
    pub fn set(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, options: &SetOptions) -> Result<Version, Error> {
        self.ask(|p| p.set(key, value, options), typed::stored)
    }

    /// Deletes the key, of this version only if one is given; tells whether it was there.
    ///
    /// # Errors
    /// See [`Error`]; `VER` when the version is another.
    pub fn del(&mut self, key: impl AsRef<[u8]>, version: Option<Version>) -> Result<bool, Error> {
        self.ask(|p| p.del(key, version), typed::deleted)
    }

    /// Whether the key is there.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn exists(&mut self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.ask(|p| p.exists(key), typed::exists)
    }

    /// Lets the key expire in `ms` milliseconds (at once if not positive), of this version only if one is given; tells
    /// whether it was there.
    ///
    /// # Errors
    /// See [`Error`]; `VER` when the version is another.
    pub fn expire(&mut self, key: impl AsRef<[u8]>, ms: i64, version: Option<Version>) -> Result<bool, Error> {
        self.ask(|p| p.expire(key, ms, version), typed::changed)
    }

    /// Removes the key's expiry; tells whether the key is there.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn persist(&mut self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.ask(|p| p.persist(key), typed::changed)
    }

    /// How long the key has to live.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn ttl(&mut self, key: impl AsRef<[u8]>) -> Result<Ttl, Error> {
        self.ask(|p| p.ttl(key), typed::ttl)
    }

    /// Adds `delta` to the number in the key (0 if there is none); gives the sum.
    ///
    /// # Errors
    /// See [`Error`]; `TYPE` when the value is no number, `RANGE` when the sum leaves the 64-bit range.
    pub fn incr(&mut self, key: impl AsRef<[u8]>, delta: i64) -> Result<i64, Error> {
        self.ask(|p| p.incr(key, delta), typed::integer)
    }

    /// Subtracts `delta` from the number in the key (0 if there is none); gives the difference.
    ///
    /// # Errors
    /// As for [`incr`](Self::incr).
    pub fn decr(&mut self, key: impl AsRef<[u8]>, delta: i64) -> Result<i64, Error> {
        self.ask(|p| p.decr(key, delta), typed::integer)
    }

    /// The entries of several keys, at least one, in the order asked.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn mget<K: AsRef<[u8]>>(&mut self, keys: &[K]) -> Result<Vec<Option<Entry>>, Error> {
        self.ask(|p| p.mget(keys), typed::entries)
    }

    /// Stores several pairs, at least one: all or, on an error, none. Of a repeated key the last pair wins. Gives the number
    /// of pairs.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn mset<K: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, pairs: &[(K, V)]) -> Result<u64, Error> {
        self.ask(|p| p.mset(pairs), typed::count)
    }

    /// One step of a walk over the keys that begin with `prefix` (empty: all). Begin with cursor 0, go on with the page's
    /// `next` until that is 0. A key that is there throughout comes at least once.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn scan(&mut self, cursor: u64, count: Option<u64>, prefix: impl AsRef<[u8]>) -> Result<ScanPage, Error> {
        self.ask(|p| p.scan(cursor, count, prefix), typed::page)
    }

    /// The server's figures, as names and values.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn stats(&mut self) -> Result<Vec<(String, String)>, Error> {
        self.ask(|p| p.stats(), typed::stats)
    }

    /// Asks for a snapshot, and returns when it is there; the client's timeout has to allow for that.
    ///
    /// # Errors
    /// See [`Error`]; also where the snapshot could not be taken.
    pub fn snapshot(&mut self) -> Result<(), Error> {
        self.ask(|p| p.snapshot(), typed::changed).map(drop)
    }

    /// Takes leave: the server answers and closes. Dropping the client closes the connection as well.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn quit(mut self) -> Result<(), Error> {
        self.ask(|p| p.quit(), typed::bye)
    }

    fn ask<T>(
        &mut self,
        request: impl for<'p, 'c> FnOnce(&'p mut Pipeline<'c, Self>) -> &'p mut Pipeline<'c, Self>,
        typed: fn(Reply) -> Option<T>,
    ) -> Result<T, Error> {
        let result = request(&mut self.pipeline()).run().pop();
        let reply = result.unwrap_or(Err(Error::Disconnected))?;
        typed(reply).ok_or(ProtocolViolation::OutOfPlace.into())
    }
}

impl Pipeline<'_, Client> {
    /// Sends what is queued and waits for all replies: one for each request, in order.
    ///
    /// When the connection fails half way, the request that was to be answered next gets the failure and those after it
    /// [`Error::Closed`]; whether the server has carried these out is not known.
    pub fn run(&mut self) -> Vec<Result<Reply, Error>> {
        let Client { stream, link } = &mut *self.client;
        link.begin(std::mem::take(&mut self.batch));
        loop {
            match link.step() {
                Step::Write(bytes) => {
                    let result = stream.write(bytes);
                    link.wrote(result);
                }
                Step::Read(room) => {
                    let result = stream.read(room);
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

/// Tries the addresses one after the other until the time for all of them has run out.
fn dial(address: &str, options: &Options) -> io::Result<TcpStream> {
    let begun = Instant::now();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in address.to_socket_addrs()? {
        let Some(left) = options.connect_timeout.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) else {
            return Err(io::ErrorKind::TimedOut.into());
        };
        match TcpStream::connect_timeout(&candidate, left) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(options.read_timeout)?;
                stream.set_write_timeout(options.write_timeout)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
