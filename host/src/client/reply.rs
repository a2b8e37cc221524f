//! Replies as owned values.

use osprey_core::units::{Millis, Version};

/// A key's value and what the server knows about it.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanPage {
    /// The cursor of the next step; 0: the walk is complete.
    pub next: u64,
    /// The keys of this step, possibly none, in no order. A key may come again in a later step. A key called `END` ends the list: don't use it
    /// where you scan (a limit of the protocol).
    pub keys: Vec<Vec<u8>>,
}

/// The reply to one request of a [`Pipeline`](super::Pipeline).
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
