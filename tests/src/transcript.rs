//! Protocol transcripts: what is sent and what must come back, as a person would note it down.
//!
//! ```text
//! # A comment. Blank lines mean nothing.
//! > SET k 5              sent, with CRLF; lines in a row are sent together
//! > hello
//! < OK 1                 expected, with CRLF
//! @ +50ms                the clock moves on
//! <close>                the server closes; what is sent next goes over a new connection
//! ```
//! In both, `\r`, `\n`, `\t`, `\\` and `\xNN` stand for one byte, `\{text*N}` for `text` N times. A `\` at the end of a sent line:
//! no CRLF. In expected lines, `...` stands for any text, a line `...` for any lines, and of lines that begin with `<*` those in a row
//! may come in any order. `@ limits name=value …` at the beginning sets options of the server, to limits that are small enough to be reached.

use osprey_core::engine::Limits;

/// What a server has to send, as far as it is fixed.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    lines: Vec<Line>,
    /// Of the file, for messages.
    at: usize,
}

#[derive(Clone, Debug)]
enum Line {
    Exact(Vec<u8>),
    /// Begins so, ends so.
    Around(Vec<u8>, Vec<u8>),
    AnyLines,
    AnyOrder(Vec<Vec<u8>>),
}

impl Expected {
    /// How many bytes at the beginning of `received` are what is expected.
    #[must_use]
    pub fn matches(&self, received: &[u8]) -> Option<usize> {
        matches(&self.lines, received).map(|rest| received.len() - rest.len())
    }

    /// For people: where the transcript expects what, and what came.
    #[must_use]
    pub fn complain(&self, received: &[u8]) -> String {
        let expected: Vec<String> = self.lines.iter().map(Line::show).collect();
        format!("line {}: expected\n  {}\nbut received\n  {}", self.at, expected.join("\n  "), show(received))
    }
}

impl Line {
    fn show(&self) -> String {
        match self {
            Self::Exact(line) => show(line),
            Self::Around(begin, end) => format!("{}...{}", show(begin), show(end)),
            Self::AnyLines => "...".to_owned(),
            Self::AnyOrder(lines) => lines.iter().map(|line| show(line)).collect::<Vec<_>>().join(" | "),
        }
    }
}

/// Bytes for people; long ones are cut.
#[must_use]
pub fn show(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(600)];
    head.escape_ascii().to_string().replace("\\r\\n", "\n  ") + if head.len() < bytes.len() { "…" } else { "" }
}

/// What is left of `received` behind `lines`.
fn matches<'a>(lines: &[Line], received: &'a [u8]) -> Option<&'a [u8]> {
    let Some((line, later)) = lines.split_first() else { return Some(received) };
    match line {
        Line::Exact(text) => matches(later, received.strip_prefix(text.as_slice())?.strip_prefix(b"\r\n")?),
        Line::Around(begin, end) => {
            let (found, rest) = split_line(received)?;
            found.strip_prefix(begin.as_slice())?.ends_with(end).then_some(())?;
            matches(later, rest)
        }
        Line::AnyLines => {
            let mut rest = received;
            loop {
                if let Some(rest) = matches(later, rest) {
                    return Some(rest);
                }
                rest = split_line(rest)?.1;
            }
        }
        Line::AnyOrder(texts) => {
            let mut missing = texts.clone();
            let mut rest = received;
            while !missing.is_empty() {
                let (found, behind) = split_line(rest)?;
                missing.remove(missing.iter().position(|text| text == found)?);
                rest = behind;
            }
            matches(later, rest)
        }
    }
}

fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

#[derive(Clone, Debug)]
enum Step {
    Send(Vec<u8>),
    Expect(Expected),
    Advance(u64),
    Close,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Transcript {
    limits: Vec<(String, usize)>,
    steps: Vec<Step>,
}

impl Transcript {
    /// Reads a transcript.
    ///
    /// # Panics
    /// Where the text isn't one.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut transcript = Self { limits: Vec::new(), steps: Vec::new() };
        for (at, line) in text.lines().enumerate() {
            let steps = &mut transcript.steps;
            if line.is_empty() || line.starts_with('#') {
            } else if line == "<close>" {
                steps.push(Step::Close);
            } else if let Some(text) = content(line, ">") {
                if !matches!(steps.last(), Some(Step::Send(_))) {
                    steps.push(Step::Send(Vec::new()));
                }
                let Some(Step::Send(bytes)) = steps.last_mut() else { unreachable!("it was just pushed") };
                match text.strip_suffix('\\').filter(|text| !text.ends_with('\\')) {
                    Some(text) => bytes.extend(unescape(text)),
                    None => bytes.extend(unescape(text).iter().chain(b"\r\n")),
                }
            } else if let Some(text) = content(line, "<*") {
                let lines = expected(steps, at);
                match lines.last_mut() {
                    Some(Line::AnyOrder(texts)) => texts.push(unescape(text)),
                    _ => lines.push(Line::AnyOrder(vec![unescape(text)])),
                }
            } else if let Some(text) = content(line, "<") {
                expected(steps, at).push(match text.split_once("...") {
                    None => Line::Exact(unescape(text)),
                    Some(("", "")) => Line::AnyLines,
                    Some((begin, end)) => Line::Around(unescape(begin), unescape(end)),
                });
            } else if let Some(ms) = line.strip_prefix("@ +").and_then(|line| line.strip_suffix("ms")) {
                steps.push(Step::Advance(ms.parse().unwrap()));
            } else if let Some(limits) = line.strip_prefix("@ limits ") {
                let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.parse().unwrap()));
                transcript.limits.extend(limits.split(' ').map(|text| pair(text).unwrap()));
            } else {
                panic!("line {}: {line:?} is no line of a transcript", at + 1);
            }
        }
        transcript
    }

    /// Whether a server with a real clock must follow it too.
    #[must_use]
    pub fn needs_no_clock(&self) -> bool {
        !self.steps.iter().any(|step| matches!(step, Step::Advance(_)))
    }

    /// The limits that the transcript sets, by the names of the server's options.
    pub fn limits(&self) -> impl Iterator<Item = (&str, usize)> {
        self.limits.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// Sets the limits that the transcript names.
    ///
    /// # Panics
    /// There is no limit of that name.
    pub fn apply_limits(&self, limits: &mut Limits) {
        for (name, value) in self.limits() {
            match name {
                "max_key_bytes" => limits.request.key_bytes_max = value,
                "max_value_bytes" => limits.request.value_bytes_max = value,
                "max_line_bytes" => limits.request.line_bytes_max = value,
                "max_args" => limits.request.words_max = value,
                "max_output_bytes" => limits.reply_bytes_max = value,
                "max_memory_bytes" => limits.memory_bytes_max = value as u64,
                _ => panic!("no limit is called {name:?}"),
            }
        }
    }

    /// The same requests and replies, but between two moves of the clock everything is sent before the first reply is read.
    #[must_use]
    pub fn pipelined(&self) -> Self {
        let mut steps: Vec<Step> = Vec::new();
        let (mut sent, mut awaited) = (Vec::new(), Vec::new());
        for step in self.steps.iter().cloned().chain([Step::Close]) {
            match step {
                Step::Send(bytes) => sent.extend(bytes),
                Step::Expect(_) => awaited.push(step),
                Step::Advance(_) | Step::Close => {
                    steps.push(Step::Send(std::mem::take(&mut sent)));
                    steps.append(&mut awaited);
                    steps.push(step);
                }
            }
        }
        // The one that was added.
        steps.pop();
        Self { limits: self.limits.clone(), steps }
    }

    /// Plays the client's part. `pieces` says how what is sent together is split.
    ///
    /// # Errors
    /// The first thing that isn't as expected, for people.
    pub fn replay<'a>(&'a self, peer: &mut impl Peer, mut pieces: impl FnMut(&'a [u8]) -> Vec<&'a [u8]>) -> Result<(), String> {
        let mut open = false;
        for step in &self.steps {
            match step {
                Step::Advance(ms) => peer.advance(*ms),
                Step::Expect(expected) => peer.expect(expected)?,
                Step::Send(bytes) => {
                    if !std::mem::replace(&mut open, true) {
                        peer.connect();
                    }
                    pieces(bytes).into_iter().for_each(|piece| peer.send(piece));
                }
                Step::Close => {
                    peer.expect_close()?;
                    open = false;
                }
            }
        }
        if open { peer.finish() } else { Ok(()) }
    }
}

/// A server, as seen through one connection at a time.
pub trait Peer {
    /// Opens a connection.
    fn connect(&mut self);
    /// Sends bytes.
    fn send(&mut self, bytes: &[u8]);
    /// Takes what is expected from what was received.
    ///
    /// # Errors
    /// It is something else.
    fn expect(&mut self, expected: &Expected) -> Result<(), String>;
    /// Waits for the server to close.
    ///
    /// # Errors
    /// It doesn't, or sends something first.
    fn expect_close(&mut self) -> Result<(), String>;
    /// Ends the connection.
    ///
    /// # Errors
    /// Something was received that nobody expects.
    fn finish(&mut self) -> Result<(), String>;
    /// Lets time pass.
    fn advance(&mut self, ms: u64);
}

fn content<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(mark)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(' ') }
}

/// The lines that are expected at the end of what has been read.
fn expected(steps: &mut Vec<Step>, at: usize) -> &mut Vec<Line> {
    if !matches!(steps.last(), Some(Step::Expect(_))) {
        steps.push(Step::Expect(Expected { lines: Vec::new(), at: at + 1 }));
    }
    let Some(Step::Expect(expected)) = steps.last_mut() else { unreachable!("it was just pushed") };
    &mut expected.lines
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        out.extend(plain.as_bytes());
        let mut chars = escaped.chars();
        match chars.next().unwrap() {
            'r' => out.push(b'\r'),
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            '\\' => out.push(b'\\'),
            'x' => {
                out.push(u8::from_str_radix(&escaped[1..3], 16).unwrap());
                chars = escaped[3..].chars();
            }
            '{' => {
                let (repeated, behind) = escaped[1..].split_once('}').unwrap();
                let (unit, count) = repeated.rsplit_once('*').unwrap();
                out.extend(unit.as_bytes().repeat(count.parse().unwrap()));
                chars = behind.chars();
            }
            other => panic!("\\{other} is no escape"),
        }
        rest = chars.as_str();
    }
    out.extend(rest.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expects(text: &str, received: &str) -> bool {
        let transcript = Transcript::parse(text);
        let [Step::Expect(expected)] = transcript.steps.as_slice() else { panic!("one group of expected lines") };
        expected.matches(received.as_bytes()) == Some(received.len())
    }

    #[test]
    fn escapes_stand_for_bytes() {
        assert_eq!(unescape(r"a\r\n\t\\\x00\xffb"), b"a\r\n\t\\\x00\xffb");
        assert_eq!(unescape(r"<\{ab*3}>"), b"<ababab>");
    }

    #[test]
    fn expected_lines_can_fail() {
        assert!(expects("< OK 1\n< OK 2", "OK 1\r\nOK 2\r\n"));
        assert!(!expects("< OK 1", "OK 2\r\n"));
        assert!(!expects("< OK 1", "OK 1\n"));
        assert!(!expects("< OK 1", "OK 11\r\n"));
        assert!(expects("< ERR VER ... 3", "ERR VER now it is 3\r\n"));
        assert!(!expects("< ERR VER ... 3", "ERR VER now it is 4\r\n"));
        assert!(expects("<* a\n<* b\n< END", "b\r\na\r\nEND\r\n"));
        assert!(!expects("<* a\n<* b\n< END", "b\r\nb\r\nEND\r\n"));
        assert!(expects("< a=1\n< ...\n< END", "a=1\r\nb=2\r\nEND\r\n"));
        assert!(!expects("< ...\n< c=1\n< END", "a=1\r\nb=2\r\nEND\r\n"));
    }
}
