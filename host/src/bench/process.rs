//! What a process costs: its CPU time and its resident memory, as `/proc` tells them.

use std::fs;
use std::io::{self, ErrorKind};
use std::ops::Sub;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;

/// A running process.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    /// Its directory's name below `/proc`.
    name: String,
}

/// CPU time of all threads of a process, since it began or between two readings. The kernel shows it in clock ticks, of
/// which there are mostly a hundred a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuTime {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl Process {
    pub(crate) fn with_id(id: u32) -> Self {
        Self { name: id.to_string() }
    }

    /// The load generator itself.
    pub(crate) fn current() -> Self {
        Self { name: "self".into() }
    }

    pub(crate) fn cpu_time(&self) -> io::Result<CpuTime> {
        parse_stat(&fs::read_to_string(format!("/proc/{}/stat", self.name))?, clock_ticks_per_second())
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "/proc/<pid>/stat has no CPU times"))
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> io::Result<u64> {
        parse_status(&fs::read_to_string(format!("/proc/{}/status", self.name))?)
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "/proc/<pid>/status has no VmRSS"))
    }
}

/// Fields 14 and 15 of proc_pid_stat(5), of all threads together.
fn parse_stat(text: &str, ticks_per_second: u64) -> Option<CpuTime> {
    // Field 2 is the program's name in parentheses and may contain anything; field 3 follows the last parenthesis.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(14 - 3);
    let mut time = || {
        let ticks: u64 = fields.next()?.parse().ok()?;
        Some(Duration::from_nanos(ticks.checked_mul(1_000_000_000)? / ticks_per_second.max(1)))
    };
    Some(CpuTime { user: time()?, system: time()? })
}

fn parse_status(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

impl CpuTime {
    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { user: self.user.saturating_sub(earlier.user), system: self.system.saturating_sub(earlier.system) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "71 (a) b (c) S 1 71 71 0 -1 4194560 5 0 0 0 250 175 9 9 20 0 4 0 1000 200000 300 18446744073709551615";
        let expected = CpuTime { user: Duration::from_millis(2500), system: Duration::from_millis(1750) };
        assert_eq!(parse_stat(stat, 100), Some(expected));
        assert_eq!(parse_stat("71 (a) S 1 71", 100), None);
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        assert_eq!(parse_status("VmPeak:\t    9 kB\nVmRSS:\t    1234 kB\nThreads: 1\n"), Some(1234 * 1024));
        assert_eq!(parse_status("Name: kthreadd\n"), None);
    }

    #[test]
    fn work_of_this_process_shows_in_its_time() {
        let process = Process::current();
        let before = process.cpu_time().unwrap();
        while (process.cpu_time().unwrap() - before).total() < Duration::from_millis(20) {}
        assert!(process.resident_bytes().unwrap() > 100 * 1024);
    }
}
