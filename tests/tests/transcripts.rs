//! Every transcript in `transcripts/`, replayed against the engine: as it is noted, byte by byte, at random splits, and pipelined. The
//! replies must be the same (invariant 1, and PROTOCOL: "a result is the same however the bytes were split over reads").

use std::fs;
use std::io::Read as _;
use std::net::Shutdown;
use std::path::PathBuf;

use osprey_core::wal::writer::SyncPolicy;
use osprey_tests::client::Client;
use osprey_tests::machine::{ClientId, Machine, options};
use osprey_tests::server_process::{ServerProcess, Setup};
use osprey_tests::transcript::{Expected, Peer, Transcript, show};

fn transcripts() -> Vec<(String, Transcript)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("transcripts");
    let mut found: Vec<_> = fs::read_dir(directory)
        .expect("the transcripts lie beside the tests")
        .map(|entry| {
            let path = entry.expect("a directory entry").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, Transcript::parse(&fs::read_to_string(path).expect("a text")))
        })
        .collect();
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert!(!found.is_empty());
    found
}

/// The engine as a [`Peer`].
struct OverEngine {
    machine: Machine,
    client: ClientId,
    received: Vec<u8>,
}

impl OverEngine {
    fn new(transcript: &Transcript) -> Self {
        let mut options = options(SyncPolicy::Os);
        transcript.apply_limits(&mut options.limits);
        let mut machine = Machine::new(options);
        let client = machine.connect();
        Self { machine, client, received: Vec::new() }
    }
}

impl Peer for OverEngine {
    fn connect(&mut self) {
        self.client = self.machine.connect();
        self.received.clear();
    }

    fn send(&mut self, bytes: &[u8]) {
        self.machine.send(self.client, bytes);
        self.received.extend(self.machine.received(self.client));
    }

    fn expect(&mut self, expected: &Expected) -> Result<(), String> {
        let matched = expected.matches(&self.received).ok_or_else(|| expected.complain(&self.received))?;
        self.received.drain(..matched);
        Ok(())
    }

    fn expect_close(&mut self) -> Result<(), String> {
        self.finish()?;
        if self.machine.closed(self.client) { Ok(()) } else { Err("the connection is still open".to_owned()) }
    }

    fn finish(&mut self) -> Result<(), String> {
        if self.received.is_empty() { Ok(()) } else { Err(format!("nobody expects\n  {}", show(&self.received))) }
    }

    fn advance(&mut self, ms: u64) {
        self.machine.advance(ms);
    }
}

fn replay<'a>(how: &str, transcripts: &'a [(String, Transcript)], mut pieces: impl FnMut(&'a [u8]) -> Vec<&'a [u8]>) {
    let complaints: Vec<String> = transcripts
        .iter()
        .filter_map(|(name, transcript)| {
            let result = transcript.replay(&mut OverEngine::new(transcript), &mut pieces);
            result.err().map(|complaint| format!("{name}, {how}: {complaint}"))
        })
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn as_they_are_noted() {
    replay("as noted", &transcripts(), |bytes| vec![bytes]);
}

#[test]
fn byte_by_byte() {
    replay("byte by byte", &transcripts(), |bytes| bytes.chunks(1).collect());
}

#[test]
fn at_random_splits() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let transcripts = transcripts();
    for _ in 0..20 {
        replay(&format!("split with seed {seed}"), &transcripts, |mut bytes| {
            let mut pieces = Vec::new();
            while !bytes.is_empty() {
                let (piece, rest) = bytes.split_at(random.usize(1..=bytes.len().min(24)));
                pieces.push(piece);
                bytes = rest;
            }
            pieces
        });
    }
}

#[test]
fn pipelined() {
    let pipelined: Vec<_> = transcripts().into_iter().map(|(name, transcript)| (name, transcript.pipelined())).collect();
    replay("pipelined", &pipelined, |bytes| vec![bytes]);
    replay("pipelined byte by byte", &pipelined, |bytes| bytes.chunks(1).collect());
}

/// The real server as a [`Peer`].
struct OverTcp {
    server: ServerProcess,
    client: Client,
    received: Vec<u8>,
}

impl OverTcp {
    fn receive(&mut self) -> usize {
        let mut buffer = [0; 1 << 16];
        let read = self.client.socket.read(&mut buffer).unwrap_or(0);
        self.received.extend_from_slice(&buffer[..read]);
        read
    }
}

impl Peer for OverTcp {
    fn connect(&mut self) {
        self.client = self.server.connect();
        self.received.clear();
    }

    fn send(&mut self, bytes: &[u8]) {
        // The server may have closed already, which the transcript will say.
        let _ = self.client.send(bytes);
    }

    fn expect(&mut self, expected: &Expected) -> Result<(), String> {
        loop {
            if let Some(matched) = expected.matches(&self.received) {
                self.received.drain(..matched);
                return Ok(());
            }
            if self.receive() == 0 {
                return Err(expected.complain(&self.received));
            }
        }
    }

    fn expect_close(&mut self) -> Result<(), String> {
        while self.receive() > 0 {}
        if self.received.is_empty() { Ok(()) } else { Err(format!("nobody expects\n  {}", show(&self.received))) }
    }

    fn finish(&mut self) -> Result<(), String> {
        self.client.socket.shutdown(Shutdown::Write).map_err(|error| error.to_string())?;
        self.expect_close()
    }

    fn advance(&mut self, _ms: u64) {
        unreachable!("only transcripts without a clock are replayed here");
    }
}

#[test]
fn over_tcp() {
    let transcripts = transcripts().into_iter().filter(|(_, transcript)| transcript.needs_no_clock());
    let complaints: Vec<String> = transcripts
        .flat_map(|(name, transcript)| [(format!("{name}, pipelined"), transcript.pipelined()), (name, transcript)])
        .filter_map(|(name, transcript)| {
            let directory = tempfile::tempdir().expect("a directory for the server");
            let setup = Setup::new(directory.path()).sync_policy("os");
            let setup = transcript.limits().fold(setup, |setup, (name, value)| setup.option(name, &value.to_string()));
            let server = setup.start();
            let client = server.connect();
            let mut peer = OverTcp { server, client, received: Vec::new() };
            transcript.replay(&mut peer, |bytes| vec![bytes]).err().map(|complaint| format!("{name}, over TCP: {complaint}"))
        })
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
