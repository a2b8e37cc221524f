//! Types into a machine's serial line: `serial ROUNDS QEMU…` boots the machine of this command line, replays the first transcript of
//! `tests/machines/transcripts`, cuts the power (kills QEMU), boots again and replays the second. Then it cuts the power in the middle of
//! writes, as often as asked: no increment that was acknowledged may be missing (invariant 3), none may be there that was not sent. At
//! last it stores until memory is used up, and cuts the power once more.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use osprey_tests::transcript::{Expected, Peer, Transcript, show};

/// How long a machine may take for anything: an emulator on a busy computer is slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// A machine that is switched on. Dropping it cuts its power.
struct Powered {
    qemu: Child,
    line: Receiver<Vec<u8>>,
    received: Vec<u8>,
}

impl Powered {
    fn on(command: &[String]) -> Result<Self, String> {
        let (program, arguments) = command.split_first().ok_or("which machine?")?;
        let spawned = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut qemu = spawned.map_err(|error| format!("{program}: {error}"))?;
        let mut output = qemu.stdout.take().ok_or("no output")?;
        let (sender, line) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer[..len].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Self { qemu, line, received: Vec::new() })
    }

    /// Waits for more to come in, until `deadline`.
    fn wait(&mut self, deadline: Instant) -> Result<(), RecvTimeoutError> {
        let bytes = self.line.recv_timeout(deadline.saturating_duration_since(Instant::now()))?;
        self.received.extend(bytes);
        Ok(())
    }

    fn take_line(&mut self) -> Option<String> {
        let end = self.received.windows(2).position(|pair| pair == b"\r\n")?;
        let line: Vec<u8> = self.received.drain(..end + 2).collect();
        Some(String::from_utf8_lossy(&line[..end]).into_owned())
    }

    fn line(&mut self) -> Result<String, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = self.take_line() {
                return Ok(line);
            }
            self.wait(deadline).map_err(|error| format!("no line came: {error}; received {}", show(&self.received)))?;
        }
    }
}

impl Drop for Powered {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

impl Peer for Powered {
    fn connect(&mut self) {}

    fn send(&mut self, bytes: &[u8]) {
        // A machine that has died is noticed by what doesn't come back.
        let _ = self.qemu.stdin.as_mut().map(|input| input.write_all(bytes).and_then(|()| input.flush()));
    }

    fn expect(&mut self, expected: &Expected) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(matched) = expected.matches(&self.received) {
                self.received.drain(..matched);
                return Ok(());
            }
            self.wait(deadline).map_err(|_| expected.complain(&self.received))?;
        }
    }

    fn expect_close(&mut self) -> Result<(), String> {
        Err("a serial line does not close".to_owned())
    }

    fn finish(&mut self) -> Result<(), String> {
        if self.received.is_empty() { Ok(()) } else { Err(format!("nobody expects {}", show(&self.received))) }
    }

    fn advance(&mut self, _: u64) {}
}

fn replay(command: &[String], name: &str) -> Result<(), String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("machines/transcripts").join(name);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let transcript = Transcript::parse(&text);
    transcript.replay(&mut Powered::on(command)?, |bytes| vec![bytes]).map_err(|error| format!("{name}, {error}"))
}

/// Increments until the power goes, some milliseconds after the first reply. Returns what was acknowledged last, and how many were sent.
fn increment(command: &[String], known: (i64, i64), lifetime: Duration) -> Result<(i64, i64), String> {
    let mut machine = Powered::on(command)?;
    let greeting = machine.line()?;
    if !greeting.starts_with("# osprey: ") {
        return Err(format!("it says {greeting:?}"));
    }
    machine.send(b"INCR cuts 0\r\n");
    let found: i64 = machine.line()?.parse().map_err(|_| "INCR gave no number".to_owned())?;
    let (acknowledged, sent) = known;
    if !(acknowledged..=sent).contains(&found) {
        return Err(format!("{acknowledged} increments were acknowledged and {sent} sent, but there are {found}"));
    }
    let (mut last, mut sent) = (found, found);
    let deadline = Instant::now() + lifetime;
    while Instant::now() < deadline {
        while sent < last + 8 {
            machine.send(b"INCR cuts\r\n");
            sent += 1;
        }
        let _ = machine.wait(deadline);
        while let Some(line) = machine.take_line() {
            last = line.parse().map_err(|_| format!("instead of a number came {line:?}"))?;
        }
    }
    Ok((last, sent))
}

/// Stores until memory is used up, and boots again: what was let in must find room in recovery too. Returns how many keys that are, and
/// what the machine said of its second boot.
fn fill(command: &[String]) -> Result<(usize, String), String> {
    let mut machine = Powered::on(command)?;
    machine.line()?;
    let mut stored = 0;
    loop {
        machine.send(format!("SET fill-{stored} 32\r\n{:032}\r\n", stored).as_bytes());
        match machine.line()? {
            line if line.starts_with("OK ") => stored += 1,
            line if line.starts_with("ERR OOM ") => break,
            line => return Err(format!("instead of OK or OOM came {line:?}")),
        }
    }
    drop(machine);
    let mut machine = Powered::on(command)?;
    let greeting = machine.line()?;
    for key in 0..stored {
        machine.send(format!("GET fill-{key}\r\n").as_bytes());
        let (head, value) = (machine.line()?, machine.line()?);
        if !head.starts_with("VALUE 32 ") || value != format!("{key:032}") {
            return Err(format!("after {greeting:?} key {key} of {stored} is {head:?}, {value:?}"));
        }
    }
    Ok((stored, greeting))
}

fn run() -> Result<String, String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (rounds, command) = arguments.split_first().ok_or("serial ROUNDS QEMU…")?;
    let rounds: u32 = rounds.parse().map_err(|_| "ROUNDS is a number")?;
    replay(command, "1-first-boot.txt")?;
    replay(command, "2-after-the-power-cut.txt")?;
    let mut known = (0, 0);
    for _ in 0..rounds {
        known = increment(command, known, Duration::from_millis(fastrand::u64(20..200)))?;
    }
    let (acknowledged, _) = increment(command, known, Duration::ZERO)?;
    if rounds > 0 && acknowledged == 0 {
        return Err("no increment was acknowledged in any round".to_owned());
    }
    let (stored, greeting) = fill(command)?;
    Ok(format!(
        "{} boots, {acknowledged} increments survived {rounds} power cuts amid them, none acknowledged was lost; {stored} keys until out of memory, all there after the next ({})",
        rounds + 5,
        greeting.trim_start_matches("# osprey: ")
    ))
}

fn main() -> ExitCode {
    match run() {
        Ok(found) => {
            println!("{found}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}
