//! How far long work has come: a bar on a terminal, a log line now and then elsewhere.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use memoir_engine::{Halt, Metrics};

/// Between two log lines.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// All bars of the process: whoever writes to standard error must take them away for that moment.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Standard error for others than the bars.
pub struct BesideBars;

impl Write for BesideBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        BARS.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

pub struct Progress {
    what: &'static str,
    display: Display,
}

enum Display {
    Bar(ProgressBar),
    Lines(Mutex<Lines>),
}

struct Lines {
    done: u64,
    total: Option<u64>,
    last: Instant,
    /// What the last line said.
    told: u64,
}

impl Lines {
    /// Whether it is time for a line. One that says what the last one said is none: a daemon may have nothing to do for
    /// days.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.done != self.told && now.duration_since(self.last) >= LOG_EVERY;
        if is_due {
            (self.last, self.told) = (now, self.done);
        }
        is_due
    }
}

impl Progress {
    /// Begins to show how much of `total` is done; without a total, just how much. `what` is what is counted.
    pub fn start(what: &'static str, total: Option<u64>) -> Self {
        let display = if std::io::stderr().is_terminal() {
            Display::Bar(BARS.add(bar(what, total)))
        } else {
            Display::Lines(Mutex::new(Lines { done: 0, total, last: Instant::now(), told: 0 }))
        };
        Self { what, display }
    }

    pub fn advance(&self, by: u64) {
        match &self.display {
            Display::Bar(bar) => bar.inc(by),
            Display::Lines(lines) => {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.done += by;
                if lines.is_due(Instant::now()) {
                    match lines.total {
                        Some(total) => tracing::info!("{} of {total} {}", lines.done, self.what),
                        None => tracing::info!("{} {}", lines.done, self.what),
                    }
                }
            }
        }
    }
}

/// Between two looks at the counters of a run.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Shows how many events a run has taken, until it is halted or the task is aborted.
pub async fn show(metrics: Arc<Metrics>, halt: Halt) {
    let progress = Progress::start("events", None);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut shown = 0;
    while !halt.is_halted() {
        looks.tick().await;
        let taken = metrics.events.get();
        progress.advance(taken.saturating_sub(shown));
        shown = taken;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &'static str, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{bar:32} {human_pos} of {human_len} {msg} ({per_sec}, {eta} left)"),
        None => (ProgressBar::new_spinner(), "{spinner} {human_pos} {msg} ({per_sec})"),
    };
    // The templates stand above; should one be wrong, the standard style does as well.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_message(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_says_nothing_new_is_not_written() {
        let start = Instant::now();
        let mut lines = Lines { done: 0, total: None, last: start, told: 0 };
        assert!(!lines.is_due(start + LOG_EVERY));
        lines.done = 565;
        assert!(!lines.is_due(start + LOG_EVERY / 2));
        assert!(lines.is_due(start + LOG_EVERY));
        assert!(!lines.is_due(start + LOG_EVERY * 2));
        lines.done = 566;
        assert!(lines.is_due(start + LOG_EVERY * 2));
        assert!(!lines.is_due(start + LOG_EVERY * 9));
    }
}
