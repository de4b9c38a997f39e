//! How far a replay is, how fast, and how long it will take.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::span::{Span, Spans};

/// How often the line is written on a terminal, and elsewhere.
const EVERY: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(5)];

struct Stretch {
    stream: String,
    begun: Instant,
    first: u64,
    len: u64,
}

pub(crate) struct Progress {
    terminal: bool,
    drawn: AtomicBool,
    stretch: Mutex<Stretch>,
    /// The last sequence that was judged or read.
    reached: AtomicU64,
    landed: AtomicU64,
}

impl Progress {
    pub(crate) fn new(spans: &Spans) -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            drawn: AtomicBool::new(false),
            stretch: Mutex::new(stretch(&spans.answers)),
            reached: AtomicU64::new(0),
            landed: AtomicU64::new(0),
        }
    }

    fn stretch(&self) -> MutexGuard<'_, Stretch> {
        self.stretch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins with a stream.
    pub(crate) fn begin(&self, span: &Span) {
        self.reached.store(0, Ordering::Relaxed);
        *self.stretch() = stretch(span);
    }

    /// Everything up to this sequence was read.
    pub(crate) fn reached(&self, sequence: u64) {
        self.reached.fetch_max(sequence, Ordering::Relaxed);
    }

    /// So many more were landed.
    pub(crate) fn landed(&self, count: u64) {
        self.landed.fetch_add(count, Ordering::Relaxed);
    }

    fn line(&self) -> String {
        let elapsed = self.stretch().begun.elapsed();
        self.line_after(elapsed)
    }

    fn line_after(&self, elapsed: Duration) -> String {
        let stretch = self.stretch();
        let reached = self.reached.load(Ordering::Relaxed);
        let done = (reached + 1).saturating_sub(stretch.first).min(stretch.len);
        let seconds = elapsed.as_secs_f64();
        let rate = done as f64 / seconds.max(0.001);
        let left = (stretch.len - done) as f64;
        let eta = if done > 0 && left > 0.0 {
            format!(" · about {:.0} s to go", (left / rate).max(1.0))
        } else {
            String::new()
        };
        format!(
            "{}: {done} of {} messages · {rate:.0} a second · {} landed{eta}",
            stretch.stream,
            stretch.len,
            self.landed.load(Ordering::Relaxed)
        )
    }

    /// Shows it, without end.
    pub(crate) async fn show(&self) {
        let [terminal, elsewhere] = EVERY;
        let mut ticks = tokio::time::interval(if self.terminal { terminal } else { elsewhere });
        // Nothing has happened yet.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let line = self.line();
            if self.terminal {
                eprint!("\r\x1b[2K{line}");
                let _ = std::io::stderr().flush();
                self.drawn.store(true, Ordering::Relaxed);
            } else {
                eprintln!("{line}");
            }
        }
    }

    /// Ends the line, with what it has come to.
    pub(crate) fn finish(&self) {
        if self.drawn.swap(false, Ordering::Relaxed) {
            eprintln!();
        } else {
            eprintln!("{}", self.line());
        }
    }
}

fn stretch(span: &Span) -> Stretch {
    Stretch {
        stream: span.stream.clone(),
        begun: Instant::now(),
        first: span.first,
        len: span.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_how_far_how_fast_and_how_long() {
        let progress = Progress {
            terminal: false,
            drawn: AtomicBool::new(false),
            stretch: Mutex::new(Stretch {
                stream: "PR_FETCHED".to_owned(),
                begun: Instant::now(),
                first: 101,
                len: 1_000,
            }),
            reached: AtomicU64::new(0),
            landed: AtomicU64::new(0),
        };
        let after = |seconds| progress.line_after(Duration::from_secs(seconds));
        assert_eq!(
            after(1),
            "PR_FETCHED: 0 of 1000 messages · 0 a second · 0 landed"
        );
        progress.reached(350);
        progress.landed(240);
        // What is told late does not go back.
        progress.reached(340);
        assert_eq!(
            after(5),
            "PR_FETCHED: 250 of 1000 messages · 50 a second · 240 landed · about 15 s to go"
        );
        progress.reached(1_100);
        assert_eq!(
            after(10),
            "PR_FETCHED: 1000 of 1000 messages · 100 a second · 240 landed"
        );
    }
}
