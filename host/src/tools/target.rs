//! Where entries go that come from elsewhere: a new data directory, or a running server.

use std::path::{Path, PathBuf};

use clap::Args;
use osprey_core::clock::Clock as _;
use osprey_core::protocol::command::{SetExpiry, SetOptions};
use osprey_core::record::{Kind, Record};
use osprey_core::storage::SegmentNumber;
use osprey_core::units::{Lsn, Millis, Version};
use osprey_core::wal::segment::{DatabaseId, SegmentHeader};

use super::answer::text;
use super::backup::verify;
use super::failure::Failure;
use super::line::Entry;
use super::new_directory::NewDirectory;
use super::segment_file::SegmentFile;
use crate::client::blocking::Client;
use crate::clock::SystemClock;
use crate::museum::planted;

/// As the server's default.
const SEGMENT_BYTES: u64 = 64 << 20;

/// So much is sent before answers are looked at.
const BATCH_BYTES: usize = 4 << 20;
const BATCH_REQUESTS: usize = 10_000;

#[derive(Debug, Args)]
pub(super) struct Destination {
    /// A new or empty directory, for a server to be started on [default: data_dir of the configuration]
    #[arg(value_name = "DIR")]
    pub(super) directory: Option<PathBuf>,

    /// Not into a directory, but through the server here
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "directory")]
    addr: Option<String>,
}

/// Takes entries.
pub(super) enum Target {
    Directory(Box<Log>),
    Server(Box<Server>),
}

impl Target {
    pub(super) fn open(arguments: &Destination, path: &Path) -> Result<Self, Failure> {
        Ok(match &arguments.addr {
            None => Self::Directory(Box::new(Log::create(path)?)),
            Some(address) => {
                let client = Client::connect(address).map_err(|error| Failure::cannot(error.to_string()))?;
                Self::Server(Box::new(Server { client, batch: Vec::new(), bytes: 0, stored: 0 }))
            }
        })
    }

    pub(super) fn put(&mut self, entry: Entry) -> Result<(), Failure> {
        match self {
            Self::Directory(log) => log.put(&entry),
            Self::Server(server) => server.put(entry),
        }
    }

    /// No new key gets a version up to this one. A server gives versions as it likes.
    pub(super) fn floor(&mut self, floor: Version) {
        if let (Self::Directory(log), false) = (self, planted("floor_not_loaded")) {
            log.file.floor = log.file.floor.max(floor);
        }
    }

    /// Makes it all count. Returns how many entries there were.
    pub(super) fn finish(self) -> Result<u64, Failure> {
        match self {
            Self::Directory(log) => log.finish(),
            Self::Server(mut server) => {
                server.send()?;
                Ok(server.stored)
            }
        }
    }
}

/// A new log. No server finds it before it is complete.
pub(super) struct Log {
    target: NewDirectory,
    header: SegmentHeader,
    file: SegmentFile,
    stored: u64,
}

impl Log {
    fn create(path: &Path) -> Result<Self, Failure> {
        let target = NewDirectory::create(path)?;
        let mut random = [0; 24];
        getrandom::fill(&mut random).map_err(|error| Failure::cannot(format!("the system gives no random numbers: {error}")))?;
        let (database, salt) = random.split_at(16);
        let header = SegmentHeader {
            database: DatabaseId(database.try_into().unwrap_or_default()),
            epoch: 1,
            salt: u64::from_le_bytes(salt.try_into().unwrap_or_default()),
            number: SegmentNumber(1),
            first_lsn: Lsn(1),
            durable: Lsn(0),
            time: SystemClock::default().now(),
            floor: Version::NONE,
            chain: 0,
        };
        let file = create(&target, &header)?;
        Ok(Self { target, header, file, stored: 0 })
    }

    fn put(&mut self, entry: &Entry) -> Result<(), Failure> {
        let Entry { key, value, version, expiry } = entry;
        let record = Record { kind: Kind::Set, version: *version, expiry: *expiry, key, value };
        if self.file.bytes() + record.encoded_len() as u64 > SEGMENT_BYTES {
            self.rotate()?;
        }
        self.stored += 1;
        self.file.record(&record).map_err(Failure::file("write to", &self.target.directory.path))
    }

    fn rotate(&mut self) -> Result<(), Failure> {
        let failed = Failure::file("write to", &self.target.directory.path);
        self.file.marks(0).map_err(&failed)?;
        let (first_lsn, time, floor) = (self.file.next_lsn, self.file.time, self.file.floor);
        let number = self.header.number.next();
        let mut header = SegmentHeader { number, first_lsn, durable: Lsn(first_lsn.0 - 1), time, floor, ..self.header };
        let placeholder = create(&self.target, &header)?;
        header.chain = std::mem::replace(&mut self.file, placeholder).finish(true).map_err(&failed)?;
        self.file = create(&self.target, &header)?;
        self.header = header;
        Ok(())
    }

    fn finish(self) -> Result<u64, Failure> {
        let Self { target, mut file, stored, .. } = self;
        // A mark carries the floor, also where there is no key.
        file.marks(1).and_then(|()| file.finish(true)).map_err(Failure::file("write to", &target.directory.path))?;
        let path = target.directory.path.clone();
        verify(target, &path)?;
        Ok(stored)
    }
}

fn create(target: &NewDirectory, header: &SegmentHeader) -> Result<SegmentFile, Failure> {
    let path = target.directory.path.join(header.number.to_string());
    SegmentFile::create(&path, header).map_err(Failure::file("write", &path))
}

/// A running server.
pub(super) struct Server {
    client: Client,
    batch: Vec<Entry>,
    bytes: usize,
    stored: u64,
}

impl Server {
    fn put(&mut self, entry: Entry) -> Result<(), Failure> {
        self.bytes += entry.key.len() + entry.value.len();
        self.batch.push(entry);
        if self.bytes >= BATCH_BYTES || self.batch.len() >= BATCH_REQUESTS { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<(), Failure> {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        let mut pipeline = self.client.pipeline();
        for entry in &batch {
            let expiry = match entry.expiry {
                None => SetExpiry::Clear,
                Some(Millis(0)) => SetExpiry::At(Millis(1)),
                Some(at) => SetExpiry::At(at),
            };
            pipeline.set(&entry.key, &entry.value, &SetOptions { expiry, ..SetOptions::default() });
        }
        for (entry, reply) in batch.iter().zip(pipeline.run()) {
            reply.map_err(|error| Failure {
                status: super::failure::DAMAGED,
                message: format!("stopped at key {}, behind {} that were stored: {error}", text(&entry.key), self.stored),
            })?;
            self.stored += 1;
        }
        Ok(())
    }
}
