//! Replies as owned values.

use osprey_core::units::{Millis, Version};

/// A key's value and what the server knows about it.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/client/example_server.rs"));
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = ExampleServer::start();
/// # let address = &server.address;
/// use osprey::client::{Entry, SetOptions, blocking::Client};
///
/// let mut client = Client::connect(address)?;
/// let version = client.set("name", "Ada", &SetOptions::default())?;
/// let entry = Entry { value: b"Ada".to_vec(), version, expiry: None };
/// assert_eq!(client.get("name")?, Some(entry));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The bytes, exactly as they were set.
    pub value: Vec<u8>,
    /// The value's version: a token for compare-and-set and for fencing.
    pub version: Version,
    /// When the key goes away; `None`: never.
    pub expiry: Option<Millis>,
}

/// What `TTL` says about a key.
///
/// ```
/// use osprey::client::Ttl;
///
/// let text = |ttl| match ttl {
///     Ttl::Missing => "gone".to_owned(),
///     Ttl::Unlimited => "for ever".to_owned(),
///     Ttl::Remaining { ms } => format!("{ms} ms"),
/// };
/// assert_eq!(text(Ttl::Remaining { ms: 1_500 }), "1500 ms");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// The key is not there.
    Missing,
    /// The key is there and has no expiry.
    Unlimited,
    /// The key goes away in so many milliseconds.
    Remaining {
        /// Milliseconds left.
        ms: u64,
    },
}

/// One step of a walk over the keys.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/client/example_server.rs"));
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = ExampleServer::start();
/// # let address = &server.address;
/// use osprey::client::blocking::Client;
/// use std::collections::BTreeSet;
///
/// let mut client = Client::connect(address)?;
/// client.mset(&[("user:1", "Ada"), ("user:2", "Grace"), ("visits", "0")])?;
/// let (mut cursor, mut keys) = (0, BTreeSet::new());
/// loop {
///     let page = client.scan(cursor, None, "user:")?;
///     keys.extend(page.keys);
///     cursor = page.next;
///     if cursor == 0 {
///         break;
///     }
/// }
/// assert_eq!(keys, [b"user:1".to_vec(), b"user:2".to_vec()].into());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanPage {
    /// The cursor of the next step; 0: the walk is complete.
    pub next: u64,
    /// The keys of this step, possibly none, in no order. A key may come again in a later step. A key called `END` ends the list: don't use it
    /// where you scan (a limit of the protocol).
    pub keys: Vec<Vec<u8>>,
}

/// The reply to one request of a [`Pipeline`](super::Pipeline).
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/client/example_server.rs"));
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = ExampleServer::start();
/// # let address = &server.address;
/// use osprey::client::{Reply, blocking::Client};
///
/// let mut client = Client::connect(address)?;
/// let replies = client.pipeline().incr("visits", 1).exists("visits").run();
/// let replies: Vec<Reply> = replies.into_iter().collect::<Result<_, _>>()?;
/// assert_eq!(replies, [Reply::Integer(1), Reply::Exists(true)]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// To `PING`.
    Pong,
    /// To `SET`: the value's version.
    Stored(Version),
    /// To `GET`: `None` if the key is not there.
    Entry(Option<Entry>),
    /// To `DEL`: whether there was a key to delete.
    Deleted(bool),
    /// To `EXISTS`.
    Exists(bool),
    /// To `EXPIRE` and `PERSIST`: whether the key is there.
    Changed(bool),
    /// To `TTL`.
    Ttl(Ttl),
    /// To `INCR` and `DECR`: the new number.
    Integer(i64),
    /// To `MGET`: an entry for each key, in the order asked.
    Entries(Vec<Option<Entry>>),
    /// To `MSET`: how many pairs were stored.
    Count(u64),
    /// To `SCAN`.
    Page(ScanPage),
    /// To `STATS`: names and values, in the server's order.
    Stats(Vec<(String, String)>),
    /// To `QUIT`.
    Bye,
}

/// Takes a reply apart as the one type that a command gives; `None` for another command's reply.
#[expect(clippy::needless_pass_by_value, reason = "all have one form, so that they can be passed to one function")]
pub(crate) mod typed {
    use super::{Entry, Reply, ScanPage, Ttl, Version};

    macro_rules! takers {
        ($($name:ident: $variant:ident -> $type:ty;)*) => { $(
            pub(crate) fn $name(reply: Reply) -> Option<$type> {
                if let Reply::$variant(inner) = reply { Some(inner) } else { None }
            }
        )* };
    }

    takers! {
        stored: Stored -> Version;
        entry: Entry -> Option<Entry>;
        deleted: Deleted -> bool;
        exists: Exists -> bool;
        changed: Changed -> bool;
        ttl: Ttl -> Ttl;
        integer: Integer -> i64;
        entries: Entries -> Vec<Option<Entry>>;
        count: Count -> u64;
        page: Page -> ScanPage;
        stats: Stats -> Vec<(String, String)>;
    }

    pub(crate) fn pong(reply: Reply) -> Option<()> {
        (reply == Reply::Pong).then_some(())
    }

    pub(crate) fn bye(reply: Reply) -> Option<()> {
        (reply == Reply::Bye).then_some(())
    }
}
