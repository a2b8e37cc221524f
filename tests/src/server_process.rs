//! The real server as a process of its own, on a free port and a data directory.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Client, PATIENCE};
use crate::program::program;

/// A running server. Killed when dropped.
#[derive(Debug)]
pub struct ServerProcess {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it said when it was ready: also what it has recovered from.
    pub ready: String,
    child: Child,
    log: Receiver<String>,
    seen: Mutex<Vec<String>>,
}

/// How a server is to be started.
#[derive(Clone, Debug)]
pub struct Setup {
    data_dir: PathBuf,
    sync_policy: &'static str,
    environment: Vec<(String, OsString)>,
    descriptors_max: Option<u64>,
    prefix: Vec<OsString>,
}

/// How a server has ended, with the lines that it logged.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Exit code or signal.
    pub status: ExitStatus,
    /// What it has logged.
    pub log: String,
}

impl Setup {
    /// A server on `data_dir` that listens on a free port of the loopback interface.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        let (environment, prefix) = (Vec::new(), Vec::new());
        Self { data_dir: data_dir.to_owned(), sync_policy: "batch", environment, descriptors_max: None, prefix }
    }

    /// With `os`, `batch` or `always`.
    #[must_use]
    pub fn sync_policy(mut self, policy: &'static str) -> Self {
        self.sync_policy = policy;
        self
    }

    /// With an option of the configuration.
    #[must_use]
    pub fn option(self, name: &str, value: &str) -> Self {
        self.variable(&format!("OSPREY_{}", name.to_uppercase()), value)
    }

    /// With a variable in its environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// With so many file descriptors and no more.
    #[must_use]
    pub fn descriptors_max(mut self, descriptors: u64) -> Self {
        self.descriptors_max = Some(descriptors);
        self
    }

    /// Started by these words, behind which the server and its arguments follow. They must become the server, not wait for it.
    #[must_use]
    pub fn behind<S: Into<OsString>>(mut self, prefix: impl IntoIterator<Item = S>) -> Self {
        self.prefix = prefix.into_iter().map(Into::into).collect();
        self
    }

    fn command(&self) -> Command {
        let binary = program("osprey");
        let mut command = match self.descriptors_max {
            None => match self.prefix.split_first() {
                None => Command::new(binary),
                Some((first, rest)) => {
                    let mut prefixed = Command::new(first);
                    prefixed.args(rest).arg(binary);
                    prefixed
                }
            },
            Some(descriptors) => {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"")).arg(binary);
                shell
            }
        };
        command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(&self.data_dir).env("OSPREY_SYNC_POLICY", self.sync_policy);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Starts the server and waits until it is ready.
    ///
    /// # Panics
    /// It ends instead, or takes too long.
    #[must_use]
    pub fn start(&self) -> ServerProcess {
        match self.try_start() {
            Ok(server) => server,
            Err(ended) => panic!("the server did not start: {}\n{}", ended.status, ended.log),
        }
    }

    /// Starts the server and waits until it is ready or has ended.
    ///
    /// # Errors
    /// It has ended.
    ///
    /// # Panics
    /// It takes too long.
    pub fn try_start(&self) -> Result<ServerProcess, Ended> {
        let mut server = self.spawn();
        match server.wait_for_line("is ready on ") {
            Some(line) => {
                let (_, rest) = line.split_once("is ready on ").unwrap();
                server.address = rest.split(": ").next().unwrap().parse().unwrap();
                server.ready = line;
                Ok(server)
            }
            None => Err(server.wait()),
        }
    }

    /// Starts the process and waits for nothing: the server has no address yet.
    ///
    /// # Panics
    /// There is no such program.
    #[must_use]
    pub fn spawn(&self) -> ServerProcess {
        let mut child = self.command().spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (report, log) = channel();
        thread::spawn(move || {
            // A line that nobody waits for is thrown away, but read: a full pipe would stop the server.
            BufReader::new(stderr).lines().map_while(Result::ok).for_each(|line| drop(report.send(line)));
        });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        ServerProcess { address, ready: String::new(), child, log, seen: Mutex::default() }
    }
}

impl ServerProcess {
    /// A new connection.
    ///
    /// # Panics
    /// It is refused.
    #[must_use]
    pub fn connect(&self) -> Client {
        Client::connect(self.address).unwrap()
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for a line of the log with `text` in it; `None`: the server has ended without.
    ///
    /// # Panics
    /// Neither happens for too long.
    pub fn wait_for_line(&self, text: &str) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
                    if line.contains(text) {
                        return Some(line);
                    }
                }
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("the server does not say {text:?}"),
            }
        }
    }

    /// What it has logged so far.
    #[must_use]
    pub fn logged(&self) -> String {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.extend(self.log.try_iter());
        seen.join("\n")
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// It doesn't.
    pub fn wait(&mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the server does not end");
            thread::sleep(Duration::from_millis(2));
        };
        let mut log = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        log.extend(self.log.iter());
        Ended { status, log: log.join("\n") }
    }

    /// An orderly end.
    ///
    /// # Panics
    /// It isn't one.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let ended = self.wait();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    }

    /// A sudden one. Returns what it had logged.
    ///
    /// # Panics
    /// It had ended before, of itself.
    pub fn kill(mut self) -> String {
        self.signal(Signal::KILL);
        let ended = self.wait();
        assert_eq!(ended.status.signal(), Some(Signal::KILL.as_raw()), "{}", ended.log);
        ended.log
    }

    /// A line of `/proc/<pid>/<file>`, by the word that it begins with.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn proc_kib(&self, file: &str, name: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/{file}", self.pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Resident memory, KiB.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        self.proc_kib("status", "VmRSS")
    }

    /// CPU time used so far, user and system, in the kernel's ticks of 10 ms.
    ///
    /// # Panics
    /// The process is gone.
    #[must_use]
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // Behind the name, which may have spaces in it, these are the 12th and 13th field.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
