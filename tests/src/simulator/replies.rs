//! Serving one connection, and holding every reply against the model's (invariant 1).

use osprey_core::clock::Clock as _;
use osprey_core::engine::Next;

use super::clients::{Client, Reply};
use super::coverage::Mark;
use super::events::Event;
use super::failure::{Check, Checked, ensure, fail};
use super::keys::{self, KEYS_MAX, PREFIXES};
use super::model::{Change, Decision, Expected, Shows};
use super::request::Command;
use super::walk::Walk;
use super::world::World;
use crate::museum::planted;

/// What memory accounting may be off by while a call goes on: the log's buffers grow, tables grow.
const MEMORY_SLACK_BYTES: u64 = 40_000;

/// From so many keys on a table may have been split.
const KEYS_OF_ONE_TABLE: usize = 400;

/// What a call was like, for the checks of its replies.
struct Call {
    memory_bytes: u64,
}

impl World {
    /// Has the engine serve a connection, and checks what comes of it.
    pub(super) fn serve(&mut self, at: usize, client: &mut Client) -> Checked {
        let begin = client.out.len();
        let clock = self.clock.now();
        let before = self.engine.memory_bytes();
        let served = self.engine.serve(clock, &mut client.session, &client.input, &mut client.out);
        let call = Call { memory_bytes: before.max(self.engine.memory_bytes()) };
        self.now = self.now.max(clock.0);
        ensure(self.engine.now().0 == self.now, Check::Reply, || format!("the engine's time is not {}", self.now))?;
        ensure(served.consumed <= client.input.len(), Check::Bounds, || "more was consumed than there was".to_owned())?;
        client.input.drain(..served.consumed);
        client.consumed += served.consumed as u64;
        client.next = served.next;
        let left = client.input.len();
        match served.next {
            Next::Read { at_least } => {
                ensure(at_least > left, Check::Stuck, || format!("waits for {at_least} bytes, and {left} are there"))?;
            }
            Next::Flush => self.coverage.hit(Mark::NextFlush),
            Next::Again => self.coverage.hit(Mark::NextAgain),
            Next::Storage => self.coverage.hit(Mark::NextStorage),
            Next::Close => {}
        }
        if matches!(served.next, Next::Flush | Next::Again | Next::Storage) {
            ensure(left > 0, Check::Stuck, || format!("waits for {:?} without input", served.next))?;
        }
        let out = std::mem::take(&mut client.out);
        let mut used = begin;
        let mut answered = 0;
        let mut last = begin;
        while client.requests.front().is_some_and(|&(start, _)| start < client.consumed) {
            let Some((_, command)) = client.requests.pop_front() else { break };
            answered += 1;
            last = used;
            let (len, shows) = self.check(at, client, &command, &out[used..], &call)?;
            used += len;
            client.produced += len as u64;
            if len > 0 {
                client.replies.push_back(Reply { end: client.produced, shows });
            }
        }
        ensure(used == out.len(), Check::Reply, || format!("{} bytes too many: {}", out.len() - used, out[used..].escape_ascii()))?;
        let limits = &self.options.limits;
        ensure(answered <= limits.requests_per_call, Check::Bounds, || format!("{answered} requests in one call"))?;
        let unsent_max = limits.unsent_bytes_soft_max;
        ensure(last < unsent_max || answered == 0 || planted("check_knows_no_bounds"), Check::Bounds, || {
            format!("a request was answered with {last} bytes unsent")
        })?;
        client.out = out;
        if let (Next::Storage, Some((_, Command::Snapshot))) = (served.next, client.requests.front()) {
            self.snapshot_awaited(client);
        }
        Ok(())
    }

    /// Checks the reply at the beginning of `actual`; returns its length and what it shows.
    fn check(&mut self, at: usize, client: &mut Client, command: &Command, actual: &[u8], call: &Call) -> Checked<(usize, Shows)> {
        self.coverage.hit(Mark::Answered);
        let now = self.now;
        let mut expected = std::mem::take(&mut self.buffer);
        expected.clear();
        let decision = self.model.decide(command, now, &mut expected);
        let wrong = |what: &str| {
            let (is, should) = (actual[..actual.len().min(200)].escape_ascii(), expected.escape_ascii());
            fail(Check::Reply, || {
                format!("client {at} at {now}: {command:?} is answered `{is}`, {what} {:?} `{should}`", decision.expected)
            })
        };
        let len = match decision.expected {
            Expected::Nothing => 0,
            Expected::Exactly if actual.starts_with(&expected) => expected.len(),
            Expected::Exactly if is_error(actual, "OOM") || is_error(actual, "READONLY") => line(actual),
            Expected::Error(code) if is_error(actual, code) => line(actual),
            Expected::Version(current) if is_error(actual, "VER") => {
                let len = line(actual);
                let said = actual[..len].trim_ascii().rsplit(|&byte| byte == b' ').next().unwrap_or_default();
                if said != current.to_string().as_bytes() {
                    return wrong("not");
                }
                len
            }
            Expected::Scan if actual.starts_with(b"CURSOR ") => list(actual),
            Expected::Stats if actual.starts_with(b"uptime_ms=") => list(actual),
            Expected::Snapshot if actual.starts_with(b"OK\r\n") || actual.starts_with(b"ERR ") => line(actual),
            _ => return wrong("not"),
        };
        if len == 0 && decision.expected != Expected::Nothing {
            return wrong("which has no end; not");
        }
        let reply = &actual[..len];
        let is_exact = decision.expected == Expected::Exactly && reply == expected.as_slice();
        self.buffer = expected;
        self.trace.note(16, len as u64, || Event::Replied { client: at, now, reply: reply.to_vec() });
        match command {
            Command::Scan { prefix, walk, cursor, .. } => self.check_scan(at, client, reply, *cursor, *prefix, *walk)?,
            Command::Stats => self.check_stats(reply)?,
            Command::Snapshot => self.check_snapshot_reply(client, reply)?,
            Command::Malformed { closes, .. } => {
                self.coverage.hit(Mark::Malformed);
                ensure(!closes || client.next == Next::Close, Check::Reply, || "should close the connection".to_owned())?;
            }
            Command::Mget(_) if decision.expected == Expected::Error("TOOLARGE") => self.coverage.hit(Mark::ReplyTooLarge),
            Command::Quit => ensure(client.next == Next::Close, Check::Reply, || "QUIT should close".to_owned())?,
            _ => {}
        }
        let shows = if decision.expected == Expected::Exactly && !is_exact {
            self.check_refusal(reply, &decision, call)?;
            Shows::default()
        } else {
            self.accept(command, decision)?
        };
        Ok((len, shows))
    }

    /// The command was done: so does the model.
    fn accept(&mut self, command: &Command, decision: Decision) -> Checked<Shows> {
        let Decision { mut shows, change, growth, .. } = decision;
        let limit = self.options.limits.memory_bytes_max;
        if limit > 0 && growth > 0 {
            // Most of the time a sum that is too large is small enough.
            let bytes = if self.model.entry_bytes + growth <= limit { 0 } else { self.model.live_bytes(self.now) + growth };
            ensure(bytes <= limit, Check::Bounds, || format!("{bytes} bytes of entries, the limit is {limit}"))?;
        }
        if !matches!(change, Change::None) {
            self.model.apply(change, self.now).or_else(|(key, version)| {
                fail(Check::Version, || format!("{command:?} gives key {key} version {version}, which it has had"))
            })?;
            shows.position = self.model.position();
        }
        if self.read_only {
            // What can't be logged can't be made certain: reads go on, and time is no promise.
            shows.time = 0;
        }
        let secured = self.history.secured(self.options.sync_policy);
        if command.reads() && shows.position > secured.position {
            self.coverage.hit(Mark::ReadHeld);
        }
        if shows.time > secured.time {
            self.coverage.hit(Mark::ExpiryHeld);
        }
        Ok(shows)
    }

    /// `ERR OOM` and `ERR READONLY` need a reason.
    fn check_refusal(&mut self, reply: &[u8], decision: &Decision, call: &Call) -> Checked {
        ensure(!matches!(decision.change, Change::None), Check::Reply, || {
            format!("what changes nothing is refused: {}", reply.escape_ascii())
        })?;
        if is_error(reply, "READONLY") {
            self.coverage.hit(Mark::ReadOnly);
            return ensure(self.read_only, Check::Reply, || "READONLY, and there is space".to_owned());
        }
        self.coverage.hit(Mark::Oom);
        let limit = self.options.limits.memory_bytes_max;
        let (growth, bytes) = (decision.growth, call.memory_bytes);
        let near = limit > 0 && growth > 0 && bytes + growth + MEMORY_SLACK_BYTES > limit;
        ensure(near, Check::Reply, || format!("OOM with {bytes} bytes, of {limit}, for {growth} more"))
    }

    fn check_stats(&self, reply: &[u8]) -> Checked {
        let figure = |name: &str| {
            let line = reply.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
            std::str::from_utf8(line).ok()?.trim_end().parse::<u64>().ok()
        };
        let live = self.model.entries().keys().filter(|&&key| self.model.live(key, self.now).is_some()).count() as u64;
        let keys = figure("keys").unwrap_or(u64::MAX);
        let bounds = live..=self.model.entries().len() as u64;
        ensure(bounds.contains(&keys), Check::Reply, || format!("STATS counts {keys} keys, not {bounds:?}"))?;
        // Between the moment when another attempt is due and the attempt the log isn't read-only.
        let told = figure("read_only");
        let known = told == Some(0) || (told == Some(1) && self.read_only);
        ensure(known, Check::Reply, || format!("STATS: read_only is {told:?}, and should be {}", self.read_only))?;
        let floor = Some(self.model.floor);
        ensure(figure("version_floor") == floor, Check::Version, || format!("STATS: version_floor is not {floor:?}"))
    }

    fn check_scan(&mut self, at: usize, client: &mut Client, reply: &[u8], cursor: u64, prefix: Option<usize>, walk: bool) -> Checked {
        let now = self.now;
        let crowded = self.engine.store().len() >= KEYS_OF_ONE_TABLE;
        let tables = if crowded { self.tables() } else { 1 };
        if walk && cursor == 0 {
            let model = &self.model;
            let live = model.entries().keys().copied().filter(|&key| model.live(key, now).is_some());
            let asked = live.filter(|&key| prefix.is_none_or(|prefix| keys::name(key).starts_with(PREFIXES[prefix])));
            let walk = Walk::new(prefix, asked, tables);
            self.model.walks[at] = Some(walk);
        }
        let mut lines = reply.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let next = lines.next().and_then(|line| std::str::from_utf8(line.strip_prefix(b"CURSOR ")?).ok()?.parse::<u64>().ok());
        let Some(next) = next else { return fail(Check::Reply, || "SCAN without a cursor".to_owned()) };
        let mut shown = [0_u64; KEYS_MAX / 64];
        let mut state = if walk { self.model.walks[at].take() } else { None };
        for line in lines.take_while(|line| *line != b"END") {
            let Some(key) = keys::of_name(line).filter(|&key| self.model.live(key, now).is_some()) else {
                return fail(Check::Reply, || format!("SCAN shows `{}`, which isn't there", line.escape_ascii()));
            };
            let asked = prefix.is_none_or(|prefix| line.starts_with(PREFIXES[prefix]));
            ensure(asked, Check::Reply, || format!("SCAN shows key {key}, which hasn't the prefix"))?;
            let (word, bit) = (usize::from(key) / 64, 1 << (key % 64));
            ensure(shown[word] & bit == 0, Check::Reply, || format!("SCAN shows key {key} twice"))?;
            shown[word] |= bit;
            if let Some(state) = &mut state {
                state.excuse(key);
            }
        }
        if walk {
            client.walking = false;
        }
        let Some(mut state) = state else { return Ok(()) };
        if next != 0 {
            state.cursor = next;
            self.model.walks[at] = Some(state);
            return Ok(());
        }
        self.coverage.hit(Mark::WalkEnded);
        if tables > state.tables {
            self.coverage.hit(Mark::SplitDuringWalk);
        }
        let forgotten = state.owed().find(|&key| self.model.live(key, now).is_some());
        ensure(forgotten.is_none(), Check::Reply, || format!("a walk by SCAN has not shown key {forgotten:?}, which was there throughout"))
    }

    /// How many tables the store has.
    fn tables(&self) -> usize {
        let mut tables = 0;
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            tables += 1;
            cursor = self.engine.store().walk(at, |_| {});
        }
        tables
    }
}

pub(super) fn is_error(reply: &[u8], code: &str) -> bool {
    reply.strip_prefix(b"ERR ").and_then(|rest| rest.strip_prefix(code.as_bytes())).is_some_and(|rest| rest.starts_with(b" "))
}

/// The length of a line with its CRLF; 0 without one.
fn line(bytes: &[u8]) -> usize {
    bytes.windows(2).position(|end| end == b"\r\n").map_or(0, |at| at + 2)
}

/// The length of lines up to `END`; 0 without it.
fn list(bytes: &[u8]) -> usize {
    const END: &[u8] = b"\r\nEND\r\n";
    bytes.windows(END.len()).position(|end| end == END).map_or(0, |at| at + END.len())
}
