//! Pieces of a reply, as the parser gives them, into one owned [`Reply`].

use std::io;

use osprey_core::protocol::client::{Expect, Found, Reply as Piece};

use super::batch::Shape;
use super::error::{Error, ProtocolViolation};
use super::reply::{Entry, Reply, ScanPage, Ttl};

/// One reply on its way, and what of it has come.
#[derive(Debug)]
pub(super) enum Assembly {
    One(Expect),
    Ttl,
    Items { entries: Vec<Option<Entry>>, due: usize },
    Cursor,
    Page(ScanPage),
    Stats(Vec<(String, String)>),
}

/// What a piece completed.
#[derive(Debug)]
pub(super) enum Progress {
    /// More pieces are due.
    Partial(Assembly),
    /// The whole reply; an `ERR` is one too.
    Complete(Result<Reply, Error>),
}

impl Assembly {
    pub(super) fn new(shape: Shape) -> Self {
        match shape {
            Shape::One(expect) => Self::One(expect),
            Shape::Ttl => Self::Ttl,
            Shape::Items(due) => Self::Items { entries: Vec::new(), due },
            Shape::Page => Self::Cursor,
            Shape::Stats => Self::Stats(Vec::new()),
        }
    }

    /// What the next piece must be.
    pub(super) fn expect(&self) -> Expect {
        match self {
            Self::One(expect) => *expect,
            Self::Ttl => Expect::Integer,
            Self::Items { .. } => Expect::Item,
            Self::Cursor => Expect::Cursor,
            Self::Page(_) => Expect::ScanItem,
            Self::Stats(_) => Expect::Stat,
        }
    }

    /// Takes in the next piece.
    ///
    /// # Errors
    /// The piece does not belong here, or there is no memory to keep it.
    pub(super) fn add(self, piece: Piece<'_>) -> Result<Progress, Error> {
        Ok(match (self, piece) {
            (_, Piece::Error { code, message }) => {
                Progress::Complete(Err(Error::Server { code, message: String::from_utf8_lossy(message).into_owned() }))
            }
            (Self::One(expect), piece) => Progress::Complete(Ok(single(expect, piece)?)),
            (Self::Ttl, Piece::Integer(number)) => Progress::Complete(Ok(Reply::Ttl(time_to_live(number)?))),
            (Self::Items { mut entries, due }, Piece::Item { found, .. }) => {
                entries.push(found.map(owned).transpose()?);
                if entries.len() < due {
                    Progress::Partial(Self::Items { entries, due })
                } else {
                    Progress::Complete(Ok(Reply::Entries(entries)))
                }
            }
            (Self::Cursor, Piece::Cursor(next)) => Progress::Partial(Self::Page(ScanPage { next, keys: Vec::new() })),
            (Self::Page(mut page), Piece::Key(key)) => {
                page.keys.push(key.to_vec());
                Progress::Partial(Self::Page(page))
            }
            (Self::Page(page), Piece::End) => Progress::Complete(Ok(Reply::Page(page))),
            (Self::Stats(mut stats), Piece::Stat { name, value }) => {
                stats.push((String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned()));
                Progress::Partial(Self::Stats(stats))
            }
            (Self::Stats(stats), Piece::End) => Progress::Complete(Ok(Reply::Stats(stats))),
            _ => return Err(ProtocolViolation::OutOfPlace.into()),
        })
    }
}

/// A reply of one piece.
fn single(expect: Expect, piece: Piece<'_>) -> Result<Reply, Error> {
    Ok(match (expect, piece) {
        (Expect::Pong, Piece::Pong) => Reply::Pong,
        (Expect::Stored, Piece::Stored(version)) => Reply::Stored(version),
        (Expect::Value, Piece::Value(found)) => Reply::Entry(Some(owned(found)?)),
        (Expect::Value, Piece::NotFound) => Reply::Entry(None),
        (Expect::Deleted, Piece::Deleted(deleted)) => Reply::Deleted(deleted),
        (Expect::Exists, Piece::Exists(exists)) => Reply::Exists(exists),
        (Expect::Changed, Piece::Changed) => Reply::Changed(true),
        (Expect::Changed, Piece::NotFound) => Reply::Changed(false),
        (Expect::Integer, Piece::Integer(number)) => Reply::Integer(number),
        (Expect::Count, Piece::Count(count)) => Reply::Count(count),
        (Expect::Bye, Piece::Bye) => Reply::Bye,
        _ => return Err(ProtocolViolation::OutOfPlace.into()),
    })
}

/// A copy of an entry; fallible, as values may be as large as memory.
fn owned(found: Found<'_>) -> Result<Entry, Error> {
    let mut value = Vec::new();
    value.try_reserve_exact(found.value.len()).map_err(|_| Error::Io(io::ErrorKind::OutOfMemory.into()))?;
    value.extend_from_slice(found.value);
    Ok(Entry { value, version: found.version, expiry: found.expiry })
}

fn time_to_live(number: i64) -> Result<Ttl, Error> {
    match (number, u64::try_from(number)) {
        (_, Ok(ms)) => Ok(Ttl::Remaining { ms }),
        (-1, _) => Ok(Ttl::Unlimited),
        (-2, _) => Ok(Ttl::Missing),
        _ => Err(ProtocolViolation::Ttl(number).into()),
    }
}
