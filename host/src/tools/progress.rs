//! How far long work is: a bar on a terminal, a line now and then elsewhere, on standard error.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// Work that is done sooner is not reported.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often there is a line where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Progress over a number of bytes.
#[derive(Debug)]
pub(super) struct Progress {
    doing: &'static str,
    total: u64,
    bar: Option<ProgressBar>,
    begin: Instant,
    line_at: Instant,
}

impl Progress {
    pub(super) fn new(doing: &'static str, total: u64) -> Self {
        let begin = Instant::now();
        Self { doing, total, bar: None, begin, line_at: begin + LINE_EVERY }
    }

    /// So much is done by now.
    pub(super) fn set(&mut self, done: u64) {
        let now = Instant::now();
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if now - self.begin > PATIENCE && io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{prefix} [{bar:30}] {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left")
                .expect("a valid constant");
            self.bar = Some(ProgressBar::new(self.total).with_style(style.progress_chars("=> ")).with_prefix(self.doing));
        } else if now >= self.line_at {
            self.line_at = now + LINE_EVERY;
            let _ = writeln!(io::stderr(), "{}: {} of {}", self.doing, HumanBytes(done), HumanBytes(self.total));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
