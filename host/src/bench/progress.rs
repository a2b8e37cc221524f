//! How far a run is: a live bar on a terminal, plain lines elsewhere, on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// Where progress goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Display {
    /// Nowhere.
    None,
    /// A line after every such time.
    Lines(Duration),
    /// A bar that is drawn anew.
    Bar,
}

impl Display {
    /// A bar if standard error is a terminal, otherwise a line after every `report`.
    #[must_use]
    pub fn suited_to_stderr(report: Duration) -> Self {
        if std::io::stderr().is_terminal() { Self::Bar } else { Self::Lines(report) }
    }

    /// How often there is something to show.
    pub(crate) fn interval(self) -> Duration {
        match self {
            Self::None => Duration::from_secs(3600),
            Self::Lines(every) => every.max(Duration::from_millis(1)),
            Self::Bar => Duration::from_millis(200),
        }
    }
}

/// The progress of one phase.
#[derive(Debug)]
pub(crate) struct Progress {
    display: Display,
    name: &'static str,
    end: End,
    bar: Option<ProgressBar>,
    start: Instant,
    last: Instant,
    last_replies: u64,
}

/// What a phase's end is measured by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Requests(u64),
    Time(Duration),
}

impl Progress {
    pub(crate) fn new(display: Display, name: &'static str, end: End, start: Instant) -> Self {
        let bar = (display == Display::Bar).then(|| {
            let length = match end {
                End::Requests(count) => count,
                End::Time(time) => millis(time),
            };
            let style = ProgressStyle::with_template("{prefix:>8} [{bar:30}] {percent:>3}%  {msg}").expect("a valid constant");
            ProgressBar::new(length).with_style(style.progress_chars("=> ")).with_prefix(name)
        });
        Self { display, name, end, bar, start, last: start, last_replies: 0 }
    }

    pub(crate) fn show(&mut self, replies: u64, errors: u64) {
        if self.display == Display::None {
            return;
        }
        let now = Instant::now();
        let rate = per_second(replies.saturating_sub(self.last_replies), now - self.last);
        (self.last, self.last_replies) = (now, replies);
        let text = format!("{} requests/s, {} in all, {} errors", HumanCount(rate), HumanCount(replies), HumanCount(errors));
        match &self.bar {
            Some(bar) => {
                bar.set_message(text);
                bar.set_position(match self.end {
                    End::Requests(_) => replies,
                    End::Time(_) => millis(now - self.start),
                });
            }
            None => eprintln!("{} {:.1} s: {text}", self.name, (now - self.start).as_secs_f64()),
        }
    }

    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn per_second(count: u64, time: Duration) -> u64 {
    let nanos = time.as_nanos().max(1);
    u64::try_from(u128::from(count) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}
