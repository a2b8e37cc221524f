//! The walk over the checks: one connection, one line a check, and the keys to be removed afterwards.

use std::fmt;

use osprey::client::blocking::Client;
use osprey::client::{Error, Pipeline, Reply, Version};

use super::expected::Expected;
use super::show::{cut, show};

/// What a request gave.
pub(crate) type Got = Result<Reply, Error>;

/// How far we are.
pub(crate) struct Walk {
    address: String,
    client: Client,
    prefix: String,
    passed: usize,
    failed: usize,
}

impl Walk {
    pub(crate) fn begin(address: &str) -> Result<Self, Error> {
        let prefix = format!("test-client:{:016x}:", fastrand::u64(..));
        Ok(Self { address: address.into(), client: Client::connect(address)?, prefix, passed: 0, failed: 0 })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A key of this walk.
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(crate) fn passed(&self) -> usize {
        self.passed
    }

    pub(crate) fn failed(&self) -> usize {
        self.failed
    }

    /// Headline of a group of checks.
    pub(crate) fn group(&self, name: &str) {
        println!("\n{name}");
    }

    /// Sends one request, which `sent` describes, and judges the reply. Gives the version that was stored, to be named by
    /// what follows; [`Version::NONE`] if none was.
    pub(crate) fn check(
        &mut self,
        sent: &str,
        request: impl for<'p, 'c> FnOnce(&'p mut Pipeline<'c, Client>) -> &'p mut Pipeline<'c, Client>,
        expected: Expected,
    ) -> Result<Version, Error> {
        let got = self.ask(request)?;
        let holds = expected.holds(&got);
        self.judge(sent, expected.into_text(), holds, show(&got));
        Ok(match got {
            Ok(Reply::Stored(version)) => version,
            _ => Version::NONE,
        })
    }

    /// Sends one request that is no check by itself; over a new connection if the last one has failed.
    pub(crate) fn ask(
        &mut self,
        request: impl for<'p, 'c> FnOnce(&'p mut Pipeline<'c, Client>) -> &'p mut Pipeline<'c, Client>,
    ) -> Result<Got, Error> {
        let client = self.client()?;
        Ok(request(&mut client.pipeline()).run().pop().unwrap_or(Err(Error::Disconnected)))
    }

    /// A connection that works as far as known.
    pub(crate) fn client(&mut self) -> Result<&mut Client, Error> {
        if self.client.is_closed() {
            self.client = Client::connect(&self.address)?;
        }
        Ok(&mut self.client)
    }

    /// Prints and counts one check.
    pub(crate) fn judge(&mut self, sent: impl fmt::Display, expected: impl fmt::Display, holds: bool, got: impl fmt::Display) {
        // Whoever reads this knows the keys by their names; the prefix is noise.
        let plain = |text: String| text.replace(&self.prefix, "");
        let (sent, got) = (cut(&plain(sent.to_string())), plain(got.to_string()));
        if holds {
            self.passed += 1;
            println!("  pass  {sent}  ->  {got}");
        } else {
            self.failed += 1;
            println!("  FAIL  sent: {sent}  |  expected: {}  |  got: {got}", plain(expected.to_string()));
        }
    }

    /// Deletes every key of this walk.
    pub(crate) fn clean_up(&mut self) -> Result<(), Error> {
        self.group("Clean-up");
        let prefix = self.prefix.clone();
        let client = self.client()?;
        let mut cursor = 0;
        loop {
            let page = client.scan(cursor, Some(1000), &prefix)?;
            let mut pipeline = client.pipeline();
            for key in &page.keys {
                pipeline.del(key, None);
            }
            for deleted in pipeline.run() {
                deleted?;
            }
            cursor = page.next;
            if cursor == 0 {
                break;
            }
        }
        println!("  all keys of these checks are deleted");
        Ok(())
    }
}
