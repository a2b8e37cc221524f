//! Commands of the protocol: has each executed, and writes its reply.

use alloc::vec::Vec;

use super::error::{Error, Refusal};
use super::execute::{Executed, LINE_END_BYTES};
use super::journal::Gate;
use super::{Engine, Session};
use crate::museum::planted;
use crate::protocol::command::{Command, Keys};
use crate::protocol::reply;
use crate::record::{OutOfMemory, Record};
use crate::store::{Hash, Spot};
use crate::units::Lsn;
use crate::wal::writer::LogWriter;

/// Room for any reply that isn't a value or a list.
const SHORT_REPLY_BYTES: usize = 256;

/// A command was answered.
pub(super) enum Outcome {
    Answered,
    /// … but for the payload, the value at this spot, which is lent.
    Lends(Spot),
    /// … and was the last.
    Close,
}

/// Where a command's reply goes.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    pub(super) session: &'a mut Session,
    pub(super) out: &'a mut Vec<u8>,
    /// Where in `out` the replies begin that `session` doesn't count yet.
    pub(super) begin: usize,
    /// A value of this size or more isn't copied to `out`.
    pub(super) lend_bytes_min: usize,
}

impl Gate for Reply<'_> {
    /// What is appended from here on waits until the log has secured `lsn`.
    #[inline]
    fn wait_for(&mut self, log: &LogWriter, lsn: Lsn) {
        let watermark = log.watermark();
        if lsn > watermark {
            let position = self.session.position(self.out.len() - self.begin);
            self.session.gate(log.frame_of(lsn), watermark, position);
        }
    }
}

impl Engine {
    /// Executes one command; `hash` is its key's, if it has just one. Its reply goes to the end of `reply`.
    pub(super) fn answer(&mut self, reply: &mut Reply<'_>, command: &Command<'_>, hash: Hash) -> Executed<Outcome> {
        // Room for any short reply: after this only values and lists can fail for want of memory.
        reply.out.try_reserve(SHORT_REPLY_BYTES).map_err(|_| Refusal::NoReply)?;
        match *command {
            Command::Get { key } => return self.answer_get(reply, hash, key),
            Command::Set { key, value, options } => {
                let version = self.execute_set(reply, hash, key, value, &options)?;
                reply::ok_version(reply.out, version)?;
            }
            Command::Add { key, delta } => {
                let sum = self.execute_add(reply, hash, key, delta)?;
                reply::integer(reply.out, sum)?;
            }
            Command::Del { key, version } => {
                let deleted = self.execute_del(reply, hash, key, version)?;
                reply::deleted(reply.out, deleted)?;
            }
            Command::Exists { key } => {
                let there = self.execute_exists(reply, hash, key)?;
                reply::exists(reply.out, there)?;
            }
            Command::Expire { key, ms, version } => {
                let there = self.execute_expire(reply, hash, key, ms, version)?;
                ok_or_not_found(reply, there)?;
            }
            Command::Persist { key } => {
                let there = self.execute_persist(reply, hash, key)?;
                ok_or_not_found(reply, there)?;
            }
            Command::Ttl { key } => {
                let left = match self.execute_ttl(reply, hash, key)? {
                    Some(Some(ms)) => i64::try_from(ms).unwrap_or(i64::MAX),
                    Some(None) => -1,
                    None => -2,
                };
                reply::integer(reply.out, left)?;
            }
            Command::Mget { keys } => self.answer_mget(reply, keys)?,
            Command::Mset { pairs } => {
                self.execute_mset(reply, pairs.len(), &pairs.iter())?;
                reply::count(reply.out, pairs.len() as u64)?;
            }
            Command::Scan { cursor, count, prefix } => self.answer_scan(reply, cursor, count, prefix)?,
            Command::Stats => self.write_stats(reply.out)?,
            Command::Snapshot => self.answer_snapshot(reply)?,
            Command::Ping => {
                self.counters.ping += 1;
                reply::pong(reply.out)?;
            }
            Command::Quit => {
                reply::bye(reply.out)?;
                return Ok(Outcome::Close);
            }
        }
        Ok(Outcome::Answered)
    }

    fn answer_get(&mut self, reply: &mut Reply<'_>, hash: Hash, key: &[u8]) -> Executed<Outcome> {
        let found = self.execute_get(reply, hash, key)?;
        let Some(record) = found.live() else {
            reply::not_found(reply.out)?;
            return Ok(Outcome::Answered);
        };
        if record.value.len() >= reply.lend_bytes_min {
            reply::value_line(reply.out, record.value.len(), record.version, record.expiry)?;
            return Ok(Outcome::Lends(found.spot));
        }
        reply::value(reply.out, record.value, record.version, record.expiry)?;
        Ok(Outcome::Answered)
    }

    fn answer_mget(&mut self, reply: &mut Reply<'_>, keys: Keys<'_>) -> Executed {
        // Found out before anything is written, so that the answer is all or nothing, waits as a whole, and its memory is bounded.
        let limit = self.options.limits.reply_bytes_max;
        let mut bytes = 0_usize;
        self.execute_mget(reply, keys.iter(), |key, record: Option<Record<'_>>| {
            bytes = bytes.saturating_add(reply::item_bytes_max(key, record.map_or(&[], |record| record.value)));
        })?;
        if bytes > limit && keys.len() > 1 {
            return Err(Error::ReplyTooLarge { bytes, limit }.into());
        }
        reply.out.try_reserve(bytes).map_err(|_| OutOfMemory)?;
        for key in keys.iter() {
            if let Some(record) = self.store.lookup(self.store.hash(key), key, self.now).live() {
                reply::item_found(reply.out, key, record.value, record.version, record.expiry)?;
            } else {
                reply::item_missing(reply.out, key)?;
            }
        }
        Ok(())
    }

    fn answer_scan(&mut self, reply: &mut Reply<'_>, cursor: u64, count: u64, prefix: &[u8]) -> Executed {
        self.prepare_scan(reply)?;
        let begin = reply.out.len();
        let mut written = Ok(());
        let bytes_max = self.options.memory.map_or(usize::MAX, |_| self.options.scan_bytes_max());
        let next = self.scan_from(cursor, count, prefix, |record| {
            if written.is_ok() {
                let fits = reply.out.len() - begin + record.key.len() + LINE_END_BYTES <= bytes_max;
                written = if fits { reply::key_line(reply.out, record.key) } else { Err(OutOfMemory) };
            }
        });
        written?;
        reply::end(reply.out)?;
        // The next cursor is known only now, and stands before the keys.
        let end = reply.out.len();
        reply::cursor(reply.out, next.unwrap_or(0))?;
        let head = reply.out.len() - end;
        if let Some(lines) = reply.out.get_mut(begin..) {
            lines.rotate_right(head);
        }
        Ok(())
    }

    /// Asks for a snapshot when it is executed first, and is executed again until that is there.
    fn answer_snapshot(&mut self, reply: &mut Reply<'_>) -> Executed {
        self.counters.snapshot += 1;
        let last = self.journal.log.last_lsn();
        let awaited = reply.session.awaited.map_or_else(|| self.snapshots.request(last), |ticket| Ok(Some(ticket)));
        let Some(awaited) = awaited.map_err(Error::Snapshot)? else { return Ok(reply::ok(reply.out)?) };
        if planted("answered_before_published") {
            return Ok(reply::ok(reply.out)?);
        }
        let Some(outcome) = self.snapshots.outcome(awaited) else {
            reply.session.awaited = Some(awaited);
            return Err(Refusal::Wait);
        };
        reply.session.awaited = None;
        outcome.map_err(Error::Snapshot)?;
        Ok(reply::ok(reply.out)?)
    }
}

fn ok_or_not_found(reply: &mut Reply<'_>, there: bool) -> Result<(), OutOfMemory> {
    if there { reply::ok(reply.out) } else { reply::not_found(reply.out) }
}
